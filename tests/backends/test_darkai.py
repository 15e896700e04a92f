"""DarkAI: the exact request, the deltas of each event, and overridden class attributes."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from contextlib import aclosing
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from sseparse import InvalidJSON, ServerSentEvent, SSEDecoder
from sseparse_backends import Backend, BackendError, DarkAI, Delta, Finish, ReplyStream, Text
from sseparse_backends.demo import DemoApp, DemoServer
from tests.support.servers import (
    BODY,
    TEXTS,
    Server,
    answer,
    head,
    http_proxy,
    serve,
    until_client_leaves,
)

# mypy checks it against the protocol.
DARKAI: Backend = DarkAI()

DAMAGED = [
    "{",
    "{'event': 'text-chunk'}",
    '{"event": "text-chunk", "data": {"te',
    '{"event": "text-chunk", "data": {"text": "a"}} {}',
    '{"event": "text-chunk", "data": {"text": "\\ud8"."}}',
]

MISSHAPEN = [
    '"text-chunk"',
    '{"event": "text-chunk", "data": "Hi"}',
    '{"event": "text-chunk", "data": {"text": {"a": 1}}}',
    '{"event": "final-response", "data": {"message": ["Hi"]}}',
]

# Nothing is lost with them.
EMPTY = [
    "",
    "[DONE]",
    ": keep-alive",
    "[]",
    "null",
    '{"event": 7}',
    '{"event": null, "data": {}}',
    '{"event": "text-chunk", "data": null}',
    '{"event": "text-chunk", "data": []}',
    '{"event": "text-chunk", "data": {"text": null}}',
]

HOSTILE = [
    "[" * 100_000,
    '{"a":' * 100_000,
    '{"event": "text-chunk", "data": ' + '{"text":' * 100_000,
    '{"event": "error", "data": ' + "[" * 100_000 + "]" * 100_000 + "}",
    '{"event": "x", "data": ' + "[" * 100_000 + "]" * 100_000 + "}",
]


def sent(messages: Any, **options: Any) -> dict[str, str]:
    body: dict[str, str] = json.loads(DarkAI().request(messages, **options).body)
    return body


def message(name: str, **data: Any) -> str:
    return json.dumps({"event": name, "data": data})


def interpret(*data: str, strict: bool = False) -> list[Delta | None]:
    reply = DarkAI(strict=strict).reply("text/event-stream")
    return [delta for text in data for delta in reply.interpret(ServerSentEvent(data=text))]


def test_request_is_exactly_this() -> None:
    request = DarkAI().request("Grüße, “you”\n")
    assert (request.method, request.url) == ("POST", "https://darkai.foundation/chat")
    assert request.body == '{"query":"Grüße, “you”\\n","model":"llama-3-70b"}'.encode()
    headers = dict(request.headers)
    assert headers.pop("user-agent").startswith("Mozilla/5.0 (")
    assert headers == {"accept": "text/event-stream", "content-type": "application/json"}


def test_endpoint_can_be_another() -> None:
    assert DarkAI(api_endpoint="http://127.0.0.1/x").request("Hi").url == "http://127.0.0.1/x"
    for base_url in ("http://127.0.0.1/x", "http://127.0.0.1/x/"):
        assert DarkAI(base_url=base_url) == DarkAI(api_endpoint="http://127.0.0.1/x/chat")
    for base_url in ("", "127.0.0.1"):
        with pytest.raises(ValueError, match="base_url must be an http: or https: URL"):
            DarkAI(base_url=base_url)


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        (None, "llama-3-70b"),
        ("", "llama-3-70b"),
        ("gpt-4o", "gpt-4o"),
        ("gpt-3.5-turbo", "gpt-3.5-turbo"),
        ("llama-3-70b", "llama-3-70b"),
        ("llama-3.1-70b", "llama-3-70b"),
    ],
)
def test_model_is_known_an_alias_or_the_default(model: str | None, asked: str) -> None:
    assert sent("Hi", model=model)["model"] == asked


@pytest.mark.parametrize("model", ["gpt-5", "GPT-4o", " gpt-4o"])
def test_unknown_model_is_told_the_known_ones(model: str) -> None:
    with pytest.raises(ValueError, match=repr(model)) as caught:
        DarkAI().request("Hi", model=model)
    known = "gpt-4o, gpt-3.5-turbo, llama-3-70b, llama-3.1-70b"
    assert str(caught.value) == f"model must be one of {known}, got {model!r}"


def test_option_that_it_does_not_have_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="'temperature'"):
        DarkAI().request("Hi", temperature=1)  # type: ignore[call-arg]


def test_str_is_sent_verbatim() -> None:
    assert sent(" User: Hi\n")["query"] == " User: Hi\n"


@pytest.mark.parametrize("role", ["user", "system", "assistant"])
def test_one_message_is_sent_verbatim_whatever_its_role(role: str) -> None:
    assert sent([{"role": role, "content": " Hi\nyou "}])["query"] == " Hi\nyou "


def test_several_messages_become_a_transcript_to_go_on_with() -> None:
    messages = (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "Why?\nHow?"},
    )
    assert sent(messages)["query"] == (
        "System: Be brief.\nUser: Hi\nAssistant: Yes?\nUser: Why?\nHow?\nAssistant:"
    )


@pytest.mark.parametrize("messages", [[], ()])
def test_no_message_is_a_value_error(messages: Any) -> None:
    with pytest.raises(ValueError, match="messages must be a str or a non-empty list"):
        DarkAI().request(messages)


@pytest.mark.parametrize(
    "malformed",
    [
        {},
        {"role": "user"},
        {"content": "Hi"},
        {"role": "user", "content": None},
        {"role": 1, "content": "Hi"},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "user", "content": b"Hi"},
    ],
)
@pytest.mark.parametrize("before", [[], [{"role": "user", "content": "Hi"}]])
def test_message_without_role_and_content_in_text_is_a_value_error(
    malformed: dict[str, Any], before: list[dict[str, Any]]
) -> None:
    with pytest.raises(ValueError, match="must each have a role and a text"):
        DarkAI().request([*before, malformed])


def test_backend_is_a_value_that_does_not_change() -> None:
    assert DarkAI() == DarkAI()
    assert hash(DarkAI(strict=True)) == hash(DarkAI(strict=True))
    assert DarkAI(strict=True) != DarkAI()
    with pytest.raises(FrozenInstanceError):
        DarkAI().strict = True  # type: ignore[misc]


@pytest.mark.parametrize(
    ("argument", "error_class"),
    [
        ({"strict": "False"}, TypeError),
        ({"strict": "no"}, TypeError),
        ({"base_url": 5}, TypeError),
        ({"base_url": "127.0.0.1"}, ValueError),
        ({"api_endpoint": 5}, TypeError),
        ({"api_endpoint": ""}, ValueError),
        ({"api_endpoint": "http://127.0.0.1:port/"}, ValueError),
    ],
)
def test_wrong_argument_is_refused_and_named(
    argument: dict[str, Any], error_class: type[Exception]
) -> None:
    (name,) = argument
    with pytest.raises(error_class, match=f"^{name} "):
        DarkAI(**argument)


def test_class_attributes_of_the_older_interface() -> None:
    assert DarkAI.url == "https://darkai.foundation/chat"
    assert DarkAI.api_endpoint == "https://darkai.foundation/chat"
    assert DarkAI.supports_stream is True
    assert DarkAI.models == ("gpt-4o", "gpt-3.5-turbo", "llama-3-70b")
    assert DarkAI.model_aliases == {"llama-3.1-70b": "llama-3-70b"}
    assert DarkAI.default_model == "llama-3-70b"


@pytest.mark.parametrize(
    "content_type",
    ["text/event-stream", "text/event-stream; charset=utf-8", "Text/Event-Stream;charset=x"],
)
def test_reply_is_an_event_stream_whatever_case_and_charset(content_type: str) -> None:
    assert isinstance(DarkAI().reply(content_type).decoder, SSEDecoder)


@pytest.mark.parametrize(
    "content_type",
    ["", "text/html", "application/json", "application/x-ndjson", "text/event-streams"],
)
def test_other_media_type_is_a_value_error(content_type: str) -> None:
    with pytest.raises(ValueError, match=repr(content_type)):
        DarkAI().reply(content_type)


def test_each_reply_has_a_decoder_of_its_own() -> None:
    backend = DarkAI()
    first, second = (backend.reply("text/event-stream") for _ in range(2))
    assert first.decoder is not second.decoder


def test_max_event_size_is_the_decoders() -> None:
    decoder = DarkAI(max_event_size=7).reply("text/event-stream").decoder
    assert decoder.feed(b":234567") == []
    with pytest.raises(Exception, match="limit of 7 bytes"):
        decoder.feed(b"8")


def test_text_chunks_are_text_to_the_letter() -> None:
    texts = ["Hi", " you", "  ", "\n", "\u2028", "漢🎉", "\ufffd"]
    chunks = [message("text-chunk", text=text) for text in texts]
    assert interpret(*chunks) == [Text(text) for text in texts]


@pytest.mark.parametrize("data", ['{"event": "text-chunk"}', message("text-chunk", text="")])
def test_text_chunk_without_text_adds_nothing(data: str) -> None:
    assert interpret(data) == []


def test_stream_end_is_finish_with_data_or_without() -> None:
    assert interpret('{"event": "stream-end"}', message("stream-end", x=1)) == [Finish()] * 2


@pytest.mark.parametrize(
    "before",
    [[], [message("text-chunk", text="")], [message("text-chunk", text="Hi")[:-1]]],
    ids=["nothing", "empty", "damaged"],
)
def test_final_response_is_the_text_when_no_text_chunk_came(before: list[str]) -> None:
    assert interpret(*before, message("final-response", message="All")) == [Text("All")]


def test_final_response_is_ignored_when_a_text_chunk_came() -> None:
    chunk = message("text-chunk", text="Hi")
    assert interpret(chunk, message("final-response", message="Hi")) == [Text("Hi")]


@pytest.mark.parametrize(
    "data", ['{"event": "final-response"}', message("final-response", message="")]
)
def test_final_response_without_a_message_adds_nothing(data: str) -> None:
    assert interpret(data) == []


@pytest.mark.parametrize(
    "data",
    ["{}", '{"data": {"text": "Hi"}}', message("thinking", text="Hm"), message("Text-Chunk")],
)
def test_other_events_are_ignored_even_if_strict(
    data: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert interpret(data, strict=True) == []
    assert caplog.records == []


def test_unknown_members_are_ignored() -> None:
    data = '{"id": [1], "event": "text-chunk", "data": {"index": {}, "text": "Hi"}, "x": null}'
    assert interpret(data, strict=True) == [Text("Hi")]


@pytest.mark.parametrize(
    ("data", "payload"),
    [
        (message("error", code=429), {"code": 429}),
        ('{"event": "error", "data": "overloaded"}', "overloaded"),
        ('{"event": "error", "data": null}', None),
        ('{"event": "error"}', {}),
    ],
)
def test_error_is_a_backend_error_with_its_payload(data: str, payload: object) -> None:
    with pytest.raises(BackendError) as caught:
        interpret(data)
    assert caught.value.payload == payload


def test_half_a_surrogate_pair_is_a_replacement_character() -> None:
    data = '{"event": "text-chunk", "data": {"text": "word \\ud83d"}}'
    assert interpret(data) == [Text("word \N{REPLACEMENT CHARACTER}")]


@pytest.mark.parametrize("data", [*DAMAGED, *MISSHAPEN, *HOSTILE], ids=lambda data: data[:40])
def test_damaged_event_is_skipped_with_a_warning_in_the_log(
    data: str, caplog: pytest.LogCaptureFixture
) -> None:
    chunk = message("text-chunk", text="Hi")
    assert interpret(chunk, data, chunk) == [Text("Hi")] * 2
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("sseparse", logging.WARNING)
    assert record.getMessage().startswith("skipped invalid JSON in an event: ")
    assert len(record.getMessage()) < 1200


@pytest.mark.parametrize("data", [*DAMAGED, *MISSHAPEN, *HOSTILE], ids=lambda data: data[:40])
def test_damaged_event_is_invalid_json_if_strict(data: str) -> None:
    with pytest.raises(InvalidJSON) as caught:
        interpret(data, strict=True)
    assert caught.value.line == data.encode()[:256]


@pytest.mark.parametrize("data", EMPTY)
def test_event_without_content_is_ignored(data: str, caplog: pytest.LogCaptureFixture) -> None:
    assert interpret(data, strict=True) == []
    assert caplog.records == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [("7", "7"), ('"\x01"', "\x01"), (r'"a\ud83d"', "a\ufffd"), (r'"\ud83c\udf89"', "🎉")],
)
def test_text_that_is_nearly_right_is_taken(text: str, expected: str) -> None:
    data = f'{{"event": "text-chunk", "data": {{"text": {text}}}}}'
    assert interpret(data, strict=True) == [Text(expected)]


def test_messages_are_the_text() -> None:
    reply = DarkAI().reply("text/event-stream")
    assert reply.messages == []
    for text in ("Hi", " you"):
        list(reply.interpret(ServerSentEvent(data=message("text-chunk", text=text))))
    assert reply.messages == [{"role": "assistant", "content": "Hi you"}]


def provider(server: Server | DemoServer) -> type[DarkAI]:
    """A subclass that posts to `server`."""

    class Provider(DarkAI):
        api_endpoint = server.url

    return Provider


class Mirror(DarkAI):
    url = "http://mirror.example"
    api_endpoint = "http://mirror.example/chat"
    supports_stream = False
    default_model = "tiny"
    models = ("tiny", "small")
    model_aliases = {"mini": "tiny"}  # noqa: RUF012


@pytest.mark.parametrize(("model", "asked"), [(None, "tiny"), ("mini", "tiny"), ("small", "small")])
def test_subclass_overrides_the_class_attributes(model: str | None, asked: str) -> None:
    request = Mirror().request("Hi", model=model)
    assert request.url == "http://mirror.example/chat"
    assert json.loads(request.body)["model"] == asked
    assert (Mirror().url, Mirror().supports_stream) == ("http://mirror.example", False)
    with pytest.raises(ValueError, match="model must be one of tiny, small, mini, got 'gpt-4o'"):
        Mirror.create_async_generator("gpt-4o", "Hi")


def test_argument_wins_over_the_class_attribute() -> None:
    assert Mirror(api_endpoint=DarkAI.url).request("Hi").url == DarkAI.url
    assert Mirror(base_url="http://127.0.0.1").request("Hi").url == "http://127.0.0.1/chat"


def test_subclass_may_be_strict() -> None:
    class Strict(DarkAI):
        strict = True

    assert Strict().strict
    assert not Strict(strict=False).strict
    assert not DarkAI().strict


def test_subclass_is_a_value_of_its_own() -> None:
    assert Mirror() == Mirror()
    assert Mirror() != DarkAI(api_endpoint=Mirror.api_endpoint)
    assert replace(Mirror(), strict=True) == Mirror(strict=True)
    assert copy.copy(Mirror()) == pickle.loads(pickle.dumps(Mirror())) == Mirror()
    assert repr(Mirror()).startswith("Mirror(strict=False, ")
    assert "secret" not in repr(DarkAI(base_url="http://me:secret@mirror.example/?key=secret"))


def test_class_attribute_set_on_the_class_counts_from_then_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = DarkAI()
    monkeypatch.setattr(DarkAI, "api_endpoint", "http://127.0.0.1/x")
    assert DarkAI().request("Hi").url == "http://127.0.0.1/x"
    assert before.request("Hi").url == "https://darkai.foundation/chat"


@pytest.mark.parametrize("api_endpoint", ["here", "", 5])
def test_wrong_class_attribute_is_refused_and_named(api_endpoint: Any) -> None:
    wrong: Any = type("Wrong", (DarkAI,), {"api_endpoint": api_endpoint})
    with pytest.raises((TypeError, ValueError), match=r"^api_endpoint must be "):
        wrong.create_async_generator("gpt-4o", "Hi")


@pytest.mark.anyio
async def test_create_async_generator_posts_to_the_address_of_its_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serve(answer(head() + BODY)) as server:
        for backend_class in (provider(server), DarkAI):
            monkeypatch.setattr(DarkAI, "api_endpoint", server.url)
            generator = backend_class.create_async_generator("gpt-4o", "Why?")
            assert [text async for text in generator] == TEXTS
    assert [request.split()[1] for request in server.requests] == [b"/chat"] * 2


@pytest.mark.anyio
async def test_create_async_generator_streams_with_a_bare_async_for() -> None:
    async with DemoServer(DemoApp(pause=0)) as server:
        messages = [{"role": "user", "content": "Why?"}]
        generator = provider(server).create_async_generator("gpt-4o", messages)
        texts = [text async for text in generator]
    assert len(texts) > 10
    assert "".join(texts).startswith("You asked gpt-4o: “Why?” This answer comes")


@pytest.mark.anyio
async def test_create_async_generator_can_be_left_early_with_aclosing() -> None:
    steps = head() + BODY[:-1], until_client_leaves
    async with serve(answer(*steps)) as server:
        generator = provider(server).create_async_generator("gpt-4o", "Why?")
        assert isinstance(generator, ReplyStream)
        async with aclosing(generator):
            assert await anext(generator) == TEXTS[0]
            assert server.open == 1
        await server.until_open(0)


@pytest.mark.anyio
async def test_create_async_generator_goes_through_its_proxy() -> None:
    async with serve(answer(head() + BODY)) as server, serve(http_proxy) as proxy:
        generator = provider(server).create_async_generator(
            "llama-3.1-70b", "Why?", proxy=f"http://127.0.0.1:{proxy.port}", timeout=60
        )
        assert [text async for text in generator] == TEXTS
        assert proxy.requests[0].startswith(f"POST {server.url} HTTP/1.1\r\n".encode())
        assert server.requests[0].endswith(b'{"query":"Why?","model":"llama-3-70b"}')


def test_create_async_generator_refuses_an_unknown_model_at_once() -> None:
    with pytest.raises(ValueError, match="got 'gpt-9'"):
        DarkAI.create_async_generator("gpt-9", "Why?")


def test_limit_that_is_none_is_refused_when_it_is_given() -> None:
    with pytest.raises(ValueError, match="max_event_size must be at least 1"):
        DarkAI(max_event_size=0)
