from __future__ import annotations

import json
from typing import Any

import pytest

from sseparse import IncompleteStream, InvalidJSON
from sseparse_backends import Backend, BackendError, Delta, Finish, Reasoning, Text, ToolCall, Usage
from sseparse_backends.anthropic import Anthropic
from sseparse_backends.testing import Outcome, check

# mypy checks it against the protocol.
ANTHROPIC: Backend = Anthropic()


def event(type: str, **fields: Any) -> bytes:
    data = json.dumps({"type": type, **fields}, ensure_ascii=False)
    return f"event: {type}\ndata: {data}\n\n".encode()


def block(index: int | None, start: dict[str, Any], *deltas: dict[str, Any]) -> bytes:
    """The events of one block."""
    begin = event("content_block_start", index=index, content_block=start)
    middle = (event("content_block_delta", index=index, delta=delta) for delta in deltas)
    return b"".join([begin, *middle, event("content_block_stop", index=index)])


def tool_use(index: int | None, *pieces: str, type: str = "tool_use", **start: Any) -> bytes:
    deltas = ({"type": "input_json_delta", "partial_json": piece} for piece in pieces)
    return block(index, {"type": type, **start}, *deltas)


HI = block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Hi"})
START = event("message_start", message={"usage": {"input_tokens": 9, "output_tokens": 1}})
STOP = event("message_stop")
END = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 5}) + STOP

OVERLOADED = {"type": "overloaded_error", "message": "Overloaded"}
ERROR = event("error", error=OVERLOADED)


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)


def reply(body: bytes, text: str = "", **options: Any) -> Outcome:
    return check(Anthropic(), body, text=text, error=ERROR, **options)


def content(*events: bytes, text: str = "") -> list[Delta]:
    """The deltas of a complete reply with these events, without Usage and Finish."""
    outcome = reply(b"".join([START, *events, END]), text)
    assert (outcome.usage, outcome.finish) == (Usage(9, 5), Finish("end_turn"))
    return [delta for delta in outcome.deltas if not isinstance(delta, Usage | Finish)]


def sent(messages: Any = "Hi", **options: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(Anthropic(api_key="k").request(messages, **options).body)
    return body


def test_text_comes_in_deltas_and_with_the_beginning_of_a_block() -> None:
    start = {"type": "text", "text": " é"}
    more = block(1, start, {"type": "text_delta", "text": "漢🎉\n"})
    assert content(HI, more, text="Hi é漢🎉\n") == [Text("Hi"), Text(" é"), Text("漢🎉\n")]


def test_thinking_is_reasoning_and_its_signature_nothing() -> None:
    thinking = block(
        1,
        {"type": "thinking", "thinking": "H", "signature": ""},
        {"type": "thinking_delta", "thinking": "m"},
        {"type": "signature_delta", "signature": "c2ln"},
    )
    redacted = block(2, {"type": "redacted_thinking", "data": "c2VjcmV0"})
    assert content(thinking, redacted, HI, text="Hi") == [
        Reasoning("H"),
        Reasoning("m"),
        Text("Hi"),
    ]


def test_tool_calls_are_put_together_and_numbered_from_0() -> None:
    rome = tool_use(1, "", '{"ci', 'ty": "Rome"}', id="a", name="weather", input={})
    zone = tool_use(2, '{"zone": 1}', id="b", name="time", input={})
    assert content(HI, rome, zone, text="Hi") == [
        Text("Hi"),
        ToolCall(0, "a", "weather", '{"city": "Rome"}'),
        ToolCall(1, "b", "time", '{"zone": 1}'),
    ]


@pytest.mark.parametrize(
    ("pieces", "start", "arguments"),
    [
        ([], {"input": {"city": "Rome"}}, '{"city": "Rome"}'),
        (['{"city":', '"Rome"}'], {"input": {"city": "Rome"}}, '{"city":"Rome"}'),
        ([""], {"input": {}}, "{}"),
        ([], {"input": None}, "{}"),
        ([], {}, "{}"),
    ],
    ids=["at-once", "twice", "empty", "null", "none"],
)
def test_input_may_come_with_the_beginning_of_its_block_or_not_at_all(
    pieces: list[str], start: dict[str, Any], arguments: str
) -> None:
    assert content(tool_use(0, *pieces, id="a", **start)) == [ToolCall(0, "a", "", arguments)]


@pytest.mark.parametrize("index", [0, None])
def test_each_block_begins_anew_even_if_all_have_the_same_index(index: int | None) -> None:
    calls = [tool_use(index, piece, name="f") for piece in ('{"a": 1}', '{"b": 2}')]
    assert content(*calls, tool_use(index, "{}", type="server_tool_use")) == [
        ToolCall(0, "", "f", '{"a": 1}'),
        ToolCall(1, "", "f", '{"b": 2}'),
    ]


@pytest.mark.parametrize("type", ["server_tool_use", "mcp_tool_use"])
def test_tool_that_the_service_runs_is_no_call(type: str) -> None:
    search = tool_use(1, '{"query": "x"}', type=type, id="s", name="web_search", input={})
    result = block(2, {"type": "web_search_tool_result", "content": [{"url": "x"}]})
    assert content(search, result, HI, text="Hi") == [Text("Hi")]


@pytest.mark.parametrize(
    "noise",
    [
        event("ping") + b"event: ping\ndata: pong\n\ndata:\n\n: a comment\n\nodd: field\n\n",
        event("message_pause", index=0, delta={"type": "text_delta", "text": "No"}),
        event("content_block_start", index=0, content_block=None),
        block(0, {"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}}),
        block(0, {"type": "text"}, {"type": "citations_delta", "citation": {"title": "T"}}),
        block(0, {"type": "thinking", "thinking": ""}),
        block(0, {"type": "new", "text": "No"}, {"type": "new_delta", "text": "No"}),
        event("content_block_delta", index=7, delta={"type": "input_json_delta"}),
        event(
            "content_block_delta", index=7, delta={"type": "input_json_delta", "partial_json": "7"}
        ),
        event("message_delta", delta=None, usage=None),
    ],
)
def test_what_is_unknown_or_says_nothing_is_ignored(noise: bytes) -> None:
    assert content(noise) == []


@pytest.mark.parametrize(
    ("first", "last", "usage"),
    [
        ({"input_tokens": 9, "output_tokens": 1}, {"output_tokens": 5}, Usage(9, 5)),
        ({"input_tokens": 0, "output_tokens": 1}, {"input_tokens": 9}, Usage(9, 1)),
        ({"input_tokens": 9}, {"input_tokens": 0, "output_tokens": 5}, Usage(9, 5)),
        ({"input_tokens": 9}, {"input_tokens": 12, "output_tokens": 5}, Usage(12, 5)),
        (None, {"input_tokens": None, "output_tokens": 5}, Usage(0, 5)),
        ({"input_tokens": 9.0}, {"output_tokens": 5.0}, Usage(9, 5)),
        (None, None, None),
    ],
)
def test_usage_is_the_last_count_of_each_kind(first: Any, last: Any, usage: Usage | None) -> None:
    start = event("message_start", message={"usage": first})
    assert reply(start + event("message_delta", usage=last) + STOP).usage == usage


@pytest.mark.parametrize("reason", ["max_tokens", "refusal", "tool_use", None])
def test_finish_has_the_stop_reason(reason: str | None) -> None:
    end = event("message_delta", delta={"stop_reason": reason}) + event("message_delta", delta={})
    assert reply(end + STOP).deltas == (Finish(reason),)


@pytest.mark.parametrize(
    "form",
    [
        b"data: %(data)s\n\n",
        b"data: %(data)s\nevent: %(type)s\n\n",
        b"event: %(type)s\ndata: %(data)s         \n\n",
        b"event:%(type)s\r\ndata:%(data)s\r\n\r\n",
    ],
    ids=["no-type", "data-first", "spaces", "crlf"],
)
def test_events_may_be_written_in_other_ways(form: bytes) -> None:
    body = b""
    for plain in (START + HI + END).split(b"\n\n")[:-1]:
        name, data = plain.split(b"\n")
        body += form % {b"type": name[7:], b"data": data[6:]}
    whole = (Usage(9, 1), Text("Hi"), Usage(9, 5), Finish("end_turn"))
    assert reply(body, "Hi").deltas == whole


def test_what_comes_after_the_end_is_not_read() -> None:
    assert reply(HI + END + b"data: [DONE]\n\n", "Hi").error is None


def test_reply_without_message_stop_is_incomplete() -> None:
    error = reply((HI + END).removesuffix(STOP), "Hi", raises=IncompleteStream).error
    assert isinstance(error, IncompleteStream)
    assert error.text == "Hi"


@pytest.mark.parametrize(
    ("error", "payload"),
    [
        (ERROR, OVERLOADED),
        (ERROR.removeprefix(b"event: error\n"), OVERLOADED),
        (b"event: error\ndata: Internal Server Error\n\n", "Internal Server Error"),
        (b"error: %s\n\n" % json.dumps({"error": OVERLOADED}).encode(), OVERLOADED),
    ],
    ids=["typed", "untyped", "text", "field"],
)
def test_error_inside_the_stream_is_a_backend_error(error: bytes, payload: object) -> None:
    failure = reply(HI + error + END, "Hi", raises=BackendError).error
    assert isinstance(failure, BackendError)
    assert (failure.payload, failure.text) == (payload, "Hi")


@pytest.mark.parametrize(
    "data", [b'{"type": "message_st', b"[]", b'{"type": "message_delta", "delta": 7}']
)
def test_damaged_event_is_invalid_json(data: bytes) -> None:
    error = reply(HI + b"data: " + data + b"\n\n" + END, "Hi", raises=InvalidJSON).error
    assert isinstance(error, InvalidJSON)
    assert error.line == data


def test_event_of_a_new_type_may_have_anything_in_it() -> None:
    new = b'data: {"type": "new", "delta": "x", "message": [], "usage": 7, "index": "1"}\n\n'
    assert reply(HI + new + END, "Hi") == reply(HI + END, "Hi")


def test_request_is_exactly_this() -> None:
    request = Anthropic(api_key="sk-1").request("Grüße")
    assert (request.method, request.url) == ("POST", "https://api.anthropic.com/v1/messages")
    assert dict(request.headers) == {
        "accept": "text/event-stream",
        "content-type": "application/json",
        "anthropic-version": "2023-06-01",
        "x-api-key": "sk-1",
    }
    assert json.loads(request.body) == {
        "model": Anthropic.default_model,
        "messages": [{"role": "user", "content": "Grüße"}],
        "max_tokens": 8192,
        "stream": True,
    }


def test_options_are_fields_of_the_request() -> None:
    body = sent(model="claude-opus-5", max_tokens=9, tools=[{"name": "weather"}])
    assert (body["model"], body["max_tokens"]) == ("claude-opus-5", 9)
    assert body["tools"] == [{"name": "weather"}]
    with pytest.raises(
        TypeError, match=r"no option stream, system; its options are cache_control, "
    ):
        sent(system="Be brief.", stream=False)


def test_messages_of_the_system_become_the_system_prompt() -> None:
    hi = {"role": "user", "content": "Hi"}
    cached = {"type": "text", "text": "Rhyme.", "cache_control": {"type": "ephemeral"}}
    system = [
        {"role": "system", "content": "Be brief."},
        {"role": "system", "content": [cached]},
        {"role": "system", "content": ""},
        {"role": "developer", "content": "Be kind."},
    ]
    with pytest.raises(ValueError, match="messages must include more than"):
        sent(system)
    body = sent([*system[:2], hi, *system[2:]])
    assert body["messages"] == [hi]
    texts = [{"type": "text", "text": text} for text in ("Be brief.", "Be kind.")]
    assert body["system"] == [texts[0], cached, texts[1]]


def test_other_messages_are_sent_as_they_are() -> None:
    result = {"type": "tool_result", "tool_use_id": "a", "content": "Sunny"}
    messages = [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "input": {}}]},
        {"role": "user", "content": [result]},
        {"role": "user", "content": "So?"},
    ]
    assert sent(messages)["messages"] == messages
