"""OpenAI's chat completions: the exact request, and the deviations of compatible servers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sseparse import EventTooLarge, IncompleteStream, InvalidJSON
from sseparse_backends import (
    Backend,
    BackendError,
    Delta,
    Finish,
    OpenAI,
    Reasoning,
    Text,
    ToolCall,
    Usage,
)
from sseparse_backends.testing import Outcome, check

# mypy checks it against the protocol.
OPENAI: Backend = OpenAI()

NULLS = dict.fromkeys(["content", "refusal", "reasoning", "reasoning_content", "tool_calls"])


def event(data: Any) -> bytes:
    return b"data: %s\n\n" % json.dumps(data, ensure_ascii=False).encode()


def chunk(finish_reason: str | None = None, /, **delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return event({"object": "chat.completion.chunk", "choices": [choice], "usage": None})


def call(index: int | None = None, id: str | None = None, **function: str | None) -> bytes:
    """A piece of a tool call, without the fields that are None."""
    piece = {"index": index, "id": id, "type": "function", "function": function}
    return chunk(tool_calls=[{key: value for key, value in piece.items() if value is not None}])


HI = chunk(role="assistant", content="Hi")
STOP = chunk("stop")
DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}

OVERLOADED = {"message": "overloaded", "code": 503}
ERROR = event({"error": OVERLOADED})


@pytest.fixture(autouse=True)
def _no_key_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def reply(body: bytes, text: str = "Hi", **options: Any) -> Outcome:
    return check(OPENAI, body, text=text, **{"error": ERROR, **options})


def deltas(*events: bytes, text: str = "") -> list[Delta]:
    """The deltas of a complete reply with these events, without Finish."""
    *before, finish = reply(b"".join([*events, STOP, DONE]), text).deltas
    assert finish == Finish("stop")
    return before


def sent(messages: Any = "Hi", *, backend: OpenAI | None = None, **options: Any) -> dict[str, Any]:
    request = (backend or OpenAI(api_key="k")).request(messages, **options)
    body: dict[str, Any] = json.loads(request.body)
    return body


def test_text_comes_in_pieces_to_the_letter() -> None:
    texts = ["Hi", " é", "漢🎉\n", " "]
    pieces = [chunk(role="assistant", content=""), *(chunk(content=text) for text in texts)]
    assert deltas(*pieces, text="".join(texts)) == [Text(text) for text in texts]


@pytest.mark.parametrize(
    "end",
    [
        DONE,
        b"",
        b"data:[DONE]\n\n",
        b"data:  [DONE] \r\n\r\n",
        DONE + ERROR,
        event({"choices": [], "object": "chat.completion.chunk"}) + DONE,
        event({"choices": None, "prompt_filter_results": []}) + DONE,
        event({"object": "chat.completion.done", "choices": [{"message": {"content": "Hi"}}]}),
    ],
)
def test_reply_ends_with_done_or_after_its_reason(end: bytes) -> None:
    assert reply(HI + STOP + end).deltas == (Text("Hi"), Finish("stop"))


def test_done_ends_a_reply_without_a_reason() -> None:
    assert reply(HI + DONE).deltas == (Text("Hi"), Finish(None))


def test_body_that_ends_before_both_is_incomplete() -> None:
    error = reply(HI + chunk(content="!"), "Hi!", raises=IncompleteStream).error
    assert isinstance(error, IncompleteStream)
    assert error.text == "Hi!"


@pytest.mark.parametrize(
    "hi",
    [
        HI.replace(b"data: ", b"data:"),
        HI.replace(b"\n", b"\r\n"),
        HI.replace(b"\n\n", b"         \n\n"),
        b": OPENROUTER PROCESSING\n\n: ping - 2026-11-22 18:00:00\n\n" + HI,
        b"event: message\nid: 7\n" + HI,
        b"event: ping\ndata: pong\n\ndata:\n\nodd: field\n\n" + HI,
        chunk(**{**NULLS, "content": "Hi", "role": None, "logprobs": None, "new": {"a": [1]}}),
        event({"choices": [{"delta": {"content": "Hi"}, "new": 7}], "error": None, "new": []}),
        event({"choices": [{"index": None, "delta": None}, {"delta": {"content": "Hi"}}]}),
    ],
    ids=["tight", "crlf", "spaces", "comments", "fields", "noise", "nulls", "new", "no-index"],
)
def test_chunks_may_be_written_in_other_ways(hi: bytes) -> None:
    assert deltas(hi, text="Hi") == [Text("Hi")]


@pytest.mark.parametrize(
    "events",
    [
        STOP + event({"choices": [], "usage": USAGE}),
        STOP + event({"usage": USAGE}),
        STOP + event({"usage": {"prompt_tokens": 9.0, "completion_tokens": 5.0}}),
        event({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": USAGE}),
        event({"usage": {"prompt_tokens": 9, "completion_tokens": None}}) * 2
        + STOP
        + event({"usage": USAGE}),
        STOP + event({"choices": [], "x_groq": {"id": "req_1", "error": None, "usage": USAGE}}),
    ],
    ids=["after", "alone", "floats", "with", "each", "groq"],
)
def test_usage_is_the_last_that_comes(events: bytes) -> None:
    outcome = reply(HI + events + DONE)
    assert (outcome.usage, outcome.finish) == (Usage(9, 5), Finish("stop"))


@pytest.mark.parametrize(
    "pieces",
    [
        [
            call(0, "a", name="f", arguments=""),
            call(0, arguments='{"x"'),
            call(0, arguments=": 1}"),
        ],
        [call(0, "a", name="f", arguments=None), call(0, "a", name="f", arguments='{"x": 1}')],
        [call(1, "a", name="f"), call(1, arguments='{"x": 1}')],
        [call(0, "a", name="f", arguments='{"x": 1}')],
        [call(None, "a", name="f", arguments='{"x"'), call(arguments=": 1}")],
        [chunk(tool_calls=[{"index": 0, "id": "a"}]), call(0, name="f", arguments='{"x": 1}')],
    ],
    ids=["pieces", "repeated", "from-1", "whole", "no-index", "no-function"],
)
def test_call_of_a_tool_is_put_together(pieces: list[bytes]) -> None:
    assert deltas(HI, *pieces, text="Hi") == [Text("Hi"), ToolCall(0, "a", "f", '{"x": 1}')]


@pytest.mark.parametrize("indices", [(0, 1), (1, 2), (0, 0), (None, None)])
def test_parallel_calls_are_numbered_from_0(indices: tuple[int | None, int | None]) -> None:
    first, second = indices
    pieces = [
        call(first, "a", name="f", arguments=""),
        call(first, arguments='{"x": 1}'),
        call(second, "b", name="f", arguments=""),
        call(second, arguments='{"x": 2}'),
    ]
    whole = [ToolCall(0, "a", "f", '{"x": 1}'), ToolCall(1, "b", "f", '{"x": 2}')]
    assert deltas(*pieces) == whole


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_has_two_names(name: str) -> None:
    thoughts = [chunk(**{**NULLS, name: "Hm"}), chunk(**{"content": "", name: "."})]
    assert deltas(*thoughts, HI, text="Hi") == [Reasoning("Hm"), Reasoning("."), Text("Hi")]


def test_reasoning_with_both_names_counts_once() -> None:
    assert deltas(chunk(reasoning="Hm", reasoning_content="Hm")) == [Reasoning("Hm")]


def test_content_may_come_in_parts() -> None:
    thinking = [{"type": "text", "text": "H"}, {"type": "text", "text": "m"}, {"text": None}]
    parts = [
        {"type": "thinking", "thinking": thinking, "closed": True},
        {"type": "thinking", "thinking": []},
        {"type": "text", "text": "Hi", "thinking": None},
        {"type": "reference", "reference_ids": [1]},
    ]
    assert deltas(chunk(content=parts), text="Hi") == [Reasoning("Hm"), Text("Hi")]


def test_refusal_is_text() -> None:
    assert deltas(chunk(refusal="No", content=None), text="No") == [Text("No")]


def test_only_the_first_choice_is_read() -> None:
    choices = [{"index": index, "delta": {"content": str(index)}} for index in (1, 0)]
    end = event({"choices": [{"index": 1, "delta": {}, "finish_reason": "length"}]})
    assert deltas(event({"choices": choices}), end, text="0") == [Text("0")]


@pytest.mark.parametrize(
    ("error", "payload"),
    [
        (ERROR, OVERLOADED),
        (event({"error": "overloaded", "choices": []}), "overloaded"),
        (b"event: error\n" + ERROR, OVERLOADED),
        (b"event: error\ndata: overloaded\n\n", "overloaded"),
        (b"event: error\ndata: [DONE]\n\n", "[DONE]"),
        (b"event: chunk\n" + ERROR, OVERLOADED),
        (b'error: {"code": 503, "message": "overloaded"}\n\n', OVERLOADED),
        (b'error: {"detail": "x", "error": {"code": 503, "message": "overloaded"}}\n', OVERLOADED),
        (event({"object": "error", **OVERLOADED}), {"object": "error", **OVERLOADED}),
        (event({"choices": [{"delta": {"content": ""}, "error": OVERLOADED}]}), OVERLOADED),
        (chunk("error"), "error"),
        (event({"choices": [], "x_groq": {"error": "over_capacity"}}), "over_capacity"),
    ],
    ids="""data text event event-text event-done named field enveloped vllm choice mistral
    groq""".split(),
)
@pytest.mark.parametrize("end", [b"", STOP + DONE])
def test_error_inside_the_stream_is_a_backend_error(
    error: bytes, payload: object, end: bytes
) -> None:
    failure = reply(HI + error + end, error=error, raises=BackendError).error
    assert isinstance(failure, BackendError)
    assert (failure.payload, failure.text) == (payload, "Hi")


def test_error_after_the_reason_is_an_error_still() -> None:
    assert isinstance(reply(HI + STOP + ERROR, raises=BackendError).error, BackendError)


@pytest.mark.parametrize(
    "data", [b"{", b"Hi", b"[]", b'{"choices": 7}', b'{"choices": [{"delta": {"content": 7}}]}']
)
def test_damaged_chunk_is_invalid_json(data: bytes) -> None:
    error = reply(HI + b"data: " + data + b"\n\n" + STOP + DONE, raises=InvalidJSON).error
    assert isinstance(error, InvalidJSON)
    assert error.line == data


def test_event_beyond_the_limit_is_refused() -> None:
    backend = OpenAI(max_event_size=len(HI))
    check(backend, HI + chunk(content="x" * 99) + DONE, text="Hi", raises=EventTooLarge)


@pytest.mark.parametrize("content_type", ["application/json", "application/x-ndjson", ""])
def test_other_media_type_is_a_value_error(content_type: str) -> None:
    with pytest.raises(ValueError, match="text/event-stream"):
        OPENAI.reply(content_type)


def test_request_is_exactly_this() -> None:
    request = OpenAI(api_key="sk-1").request("Grüße")
    assert (request.method, request.url) == ("POST", "https://api.openai.com/v1/chat/completions")
    assert dict(request.headers) == {
        "accept": "text/event-stream",
        "content-type": "application/json",
        "authorization": "Bearer sk-1",
    }
    assert json.loads(request.body) == {
        "model": OpenAI.default_model,
        "messages": [{"role": "user", "content": "Grüße"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_messages_are_sent_as_they_are() -> None:
    calls = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "assistant", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "a", "content": "Sunny"},
    ]
    assert sent(messages)["messages"] == messages


def test_options_are_fields_of_the_request() -> None:
    body = sent(model="gpt-5", temperature=0, tools=[])
    assert (body["model"], body["temperature"], body["tools"]) == ("gpt-5", 0, [])
    with pytest.raises(
        TypeError, match=r"OpenAI has no option n, stream; its options are frequency_"
    ):
        sent(stream=False, n=2)
    with pytest.raises(ValueError, match="must be JSON values"):
        sent(user=object())


def test_usage_need_not_be_asked_for() -> None:
    assert "stream_options" not in sent(backend=OpenAI(api_key="k", include_usage=False))


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1/chat/completions"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000/v1/chat/completions"),
        ("https://[::1]", "https://[::1]/chat/completions"),
        ("https://proxy/v1?tenant=a%20b", "https://proxy/v1/chat/completions?tenant=a%20b"),
    ],
)
def test_another_server_needs_no_key(base_url: str, url: str) -> None:
    request = OpenAI(base_url=base_url).request("Hi")
    assert request.url == url
    assert "authorization" not in request.headers


@pytest.mark.parametrize("key", ["k", None])
def test_azure_has_a_url_for_each_deployment_and_a_header_of_its_own(key: str | None) -> None:
    azure = OpenAI(
        base_url="https://x.openai.azure.com/?a=b", api_key=key, api_version="2024-10-21"
    )
    request = azure.request("Hi", model="my model/1")
    assert request.url == (
        "https://x.openai.azure.com/openai/deployments/my%20model%2F1/chat/completions"
        "?a=b&api-version=2024-10-21"
    )
    assert request.headers.get("api-key") == key
    assert "authorization" not in request.headers
