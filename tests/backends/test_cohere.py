from __future__ import annotations

import json
from typing import Any

import pytest

from sseparse import IncompleteStream, InvalidJSON
from sseparse_backends import (
    Backend,
    BackendError,
    Delta,
    Finish,
    FinishKind,
    Reasoning,
    Text,
    ToolCall,
    ToolCallPiece,
    Usage,
)
from sseparse_backends.cohere import Cohere
from sseparse_backends.testing import Outcome, receive
from tests.support.cuts import check

COHERE = Cohere()
# mypy checks it against the protocol.
BACKEND: Backend = COHERE


def event(type: str, **fields: Any) -> bytes:
    data = json.dumps({"type": type, **fields}, ensure_ascii=False)
    return f"event: {type}\ndata: {data}\n\n".encode()


def said(type: str, index: int | None = 0, **message: Any) -> bytes:
    """An event that adds to the message."""
    return event(type, index=index, delta={"message": message})


def text(piece: str) -> bytes:
    return said("content-delta", content={"text": piece})


def call(type: str, index: int | None, **function: Any) -> bytes:
    named = {"id": f"id-{index}", "type": "function"} if type == "tool-call-start" else {}
    return said(type, index, tool_calls={**named, "function": function})


def end(reason: str | None = "COMPLETE", **delta: Any) -> bytes:
    return event("message-end", delta={"finish_reason": reason, **delta})


EMPTY: dict[str, Any] = {"content": [], "tool_plan": "", "tool_calls": [], "citations": []}
START = said("message-start", role="assistant", **EMPTY)
USAGE = {
    "billed_units": {"input_tokens": 2, "output_tokens": 3},
    "tokens": {"input_tokens": 9, "output_tokens": 5},
}
END = end(usage=USAGE) + b"data: [DONE]\n\n"
ERROR = b'data: {"error": "overloaded"}\n\n'


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CO_API_KEY", raising=False)


def reply(body: bytes, text: str = "", **options: Any) -> Outcome:
    return check(Cohere(), body, text=text, error=ERROR, **options)


def content(*events: bytes, text: str = "") -> list[Delta]:
    """The deltas of a complete reply with these events, without Usage, pieces and Finish."""
    outcome = reply(b"".join([START, *events, END]), text)
    kind: FinishKind = "tool_calls" if outcome.tool_calls else "stop"
    assert (outcome.usage, outcome.finish) == (Usage(9, 5), Finish("COMPLETE", kind))
    others = Usage | ToolCallPiece | Finish
    return [delta for delta in outcome.deltas if not isinstance(delta, others)]


def sent(messages: Any = "Hi", **options: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(Cohere(api_key="k").request(messages, **options).body)
    return body


def test_text_comes_in_pieces_and_with_the_start_of_a_content() -> None:
    start = said("content-start", content={"type": "text", "text": "Hi"})
    rest = said("content-delta", content={"text": " é"}), text("漢🎉\n"), event("content-end")
    assert content(start, *rest, text="Hi é漢🎉\n") == [Text("Hi"), Text(" é"), Text("漢🎉\n")]


def test_thinking_is_reasoning() -> None:
    thoughts = [
        said("content-start", content={"type": "thinking", "thinking": "H"}),
        said("content-delta", content={"thinking": "m"}),
        event("content-end", index=0),
    ]
    answer = said("content-start", 1, content={"type": "text", "text": ""}), text("Hi")
    assert content(*thoughts, *answer, text="Hi") == [Reasoning("H"), Reasoning("m"), Text("Hi")]


def test_plan_is_reasoning_and_tool_calls_are_put_together() -> None:
    events = [
        said("tool-plan-delta", None, tool_plan="I will"),
        said("tool-plan-delta", None, tool_plan=" look."),
        call("tool-call-start", 0, name="weather", arguments=""),
        call("tool-call-delta", 0, arguments='{"city":'),
        call("tool-call-delta", 0, arguments=' "Rome"}'),
        event("tool-call-end", index=0),
        call("tool-call-start", 1, name="time", arguments='{"zone": 1}'),
        event("tool-call-end", index=1),
    ]
    assert content(*events) == [
        Reasoning("I will"),
        Reasoning(" look."),
        ToolCall(0, "id-0", "weather", '{"city": "Rome"}'),
        ToolCall(1, "id-1", "time", '{"zone": 1}'),
    ]


@pytest.mark.parametrize("function", [{"name": "f", "arguments": ""}, {"name": "f"}])
def test_call_that_takes_nothing_has_an_empty_object(function: dict[str, Any]) -> None:
    start = call("tool-call-start", 0, **function)
    assert content(start, said("tool-call-delta", tool_calls={})) == [
        ToolCall(0, "id-0", "f", "{}")
    ]


@pytest.mark.parametrize(
    "noise",
    [
        b"event: ping\ndata: pong\n\ndata:\n\n: a comment\n\nodd: field\n\n",
        event("debug", prompt="<|START|>"),
        said("citation-start", citations={"start": 0, "end": 2, "text": "Hi"}),
        event("citation-end", index=0),
        event("content-delta", delta=None),
        event("content-delta", delta={"message": None}),
        said("content-delta", content={"text": None, "thinking": None}),
        said("content-delta", content=None, tool_plan=None, tool_calls=None),
    ],
)
def test_what_is_unknown_or_says_nothing_is_ignored(noise: bytes) -> None:
    assert content(noise) == []


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({**USAGE, "cached_tokens": 7}, Usage(9, 5, 7)),
        ({"tokens": {"input_tokens": 9.0, "output_tokens": 5.0}}, Usage(9, 5)),
        ({"tokens": {"input_tokens": None}}, None),
        ({"tokens": 7, "billed_units": {"input_tokens": "x", "output_tokens": 3}}, Usage(0, 3)),
        ({"tokens": None, "billed_units": {"input_tokens": 2, "output_tokens": 3}}, Usage(2, 3)),
        ({}, None),
        (None, None),
    ],
)
def test_usage_is_the_tokens_or_else_the_billed_units(usage: Any, expected: Usage | None) -> None:
    # By repr, since 9.0 equals 9.
    assert repr(reply(text("Hi") + end(usage=usage), "Hi").usage) == repr(expected)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("COMPLETE", "stop"),
        ("STOP_SEQUENCE", "stop"),
        ("MAX_TOKENS", "length"),
        ("TOOL_CALL", "tool_calls"),
        ("NEW", "other"),
        (None, "stop"),
    ],
)
def test_finish_has_the_finish_reason(reason: str | None, kind: FinishKind) -> None:
    assert reply(end(reason)).deltas == (Finish(reason, kind),)


def test_finish_may_have_no_reason() -> None:
    assert reply(event("message-end")).deltas == (Finish(),)


@pytest.mark.parametrize(
    "form",
    [
        b"data:%(data)s\r\n\r\n",
        b"data: %(data)s\nevent: %(type)s\n\n",
        b"event: %(type)s\ndata: %(data)s    \n\n",
        b": ping\n\nevent:%(type)s\r\ndata:%(data)s\r\n\r\n",
    ],
    ids=["no-type", "data-first", "spaces", "crlf"],
)
def test_events_may_be_written_in_other_ways(form: bytes) -> None:
    body = b""
    for plain in (START + text("Hi") + end(usage=USAGE)).split(b"\n\n")[:-1]:
        name, data = plain.split(b"\n")
        body += form % {b"type": name[7:], b"data": data[6:]}
    assert reply(body, "Hi").deltas == (Text("Hi"), Usage(9, 5), Finish("COMPLETE"))


def test_reply_without_message_end_is_incomplete() -> None:
    error = reply(START + text("Hi") + event("content-end"), "Hi", raises=IncompleteStream).error
    assert isinstance(error, IncompleteStream)
    assert error.text == "Hi"


@pytest.mark.parametrize(
    ("error", "payload"),
    [
        (ERROR, "overloaded"),
        (b'event: error\ndata: {"message": "overloaded"}\n\n', {"message": "overloaded"}),
        (b'error: {"message": "overloaded"}\n\n', {"message": "overloaded"}),
        (end("ERROR"), "ERROR"),
        (end("TIMEOUT"), "TIMEOUT"),
        (end("ERROR", error="no GPU"), "no GPU"),
        (end(None, error="no GPU"), "no GPU"),
    ],
)
def test_error_inside_the_stream_is_a_backend_error(error: bytes, payload: object) -> None:
    start = call("tool-call-start", 0, name="f")
    outcome = reply(text("Hi") + start + error + END, "Hi", raises=BackendError)
    assert isinstance(outcome.error, BackendError)
    assert (outcome.error.payload, outcome.error.text) == (payload, "Hi")
    assert outcome.deltas == (Text("Hi"), ToolCallPiece(0, "id-0", "f"))


@pytest.mark.parametrize(
    "data", [b'{"type": "message-en', b"7", b'{"type": "content-delta", "delta": 7}']
)
def test_damaged_event_is_invalid_json(data: bytes) -> None:
    error = reply(text("Hi") + b"data: " + data + b"\n\n" + END, "Hi", raises=InvalidJSON).error
    assert isinstance(error, InvalidJSON)
    assert error.line == data


def test_event_of_a_new_type_may_have_anything_in_it() -> None:
    new = b'data: {"type": "new", "delta": "x", "index": "1"}\n\n'
    assert reply(text("Hi") + new + END, "Hi") == reply(text("Hi") + END, "Hi")


def test_message_has_plan_content_calls_and_citations() -> None:
    citation = {"start": 0, "end": 2, "text": "Hi", "sources": [{"type": "tool", "id": "a:0"}]}
    events = [
        said("tool-plan-delta", None, tool_plan="I will"),
        said("tool-plan-delta", None, tool_plan=" look."),
        said("content-start", content={"type": "thinking", "thinking": "H"}),
        said("content-delta", content={"thinking": "m"}),
        said("content-start", 1, content={"type": "text", "text": ""}),
        said("content-delta", 1, content={"text": "Hi"}),
        said("citation-start", 0, citations=citation),
        call("tool-call-start", 0, name="f", arguments="{}"),
    ]
    outcome = reply(b"".join([START, *events, end("TOOL_CALL")]), "Hi")
    function = {"name": "f", "arguments": "{}"}
    message = {
        "role": "assistant",
        "tool_plan": "I will look.",
        "content": [{"type": "thinking", "thinking": "Hm"}, {"type": "text", "text": "Hi"}],
        "tool_calls": [{"id": "id-0", "type": "function", "function": function}],
        "citations": [citation],
    }
    assert list(outcome.messages) == [message]
    (result,) = (COHERE.tool_result(call, {"n": 1}) for call in outcome.tool_calls)
    assert result == {"role": "tool", "tool_call_id": "id-0", "content": '{"n":1}'}
    messages = [{"role": "user", "content": "Hi"}, *outcome.messages, result]
    assert sent(messages)["messages"] == messages
    with pytest.raises(ValueError, match="got a result for 'id-0'"):
        sent([result])


def test_one_object_in_place_of_a_stream_is_understood() -> None:
    calls = [
        {"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}}
        for name in ("f", "g")
    ]
    parts = [{"type": "thinking", "thinking": "Hm"}, {"type": "text", "text": "Hi"}]
    message = {"role": "assistant", "content": parts, "tool_calls": calls}
    whole = {"id": "c", "finish_reason": "TOOL_CALL", "message": message, "usage": USAGE}
    data = json.dumps(whole, indent=1).encode()
    outcome = check(COHERE, data, text="Hi", content_type="application/json")
    assert outcome.usage == Usage(9, 5)
    assert outcome.tool_calls == (ToolCall(0, "f", "f", "{}"), ToolCall(1, "g", "g", "{}"))
    assert list(outcome.messages) == [message]
    outcome = receive(COHERE, [b'{"message": "no"}'], content_type="application/json")
    assert isinstance(outcome.error, BackendError)
    outcome = receive(COHERE, [b'{"detail": "no"}'], content_type="application/json")
    assert isinstance(outcome.error, BackendError)


def test_request_is_exactly_this() -> None:
    request = Cohere(api_key="co-1").request("Grüße")
    assert (request.method, request.url) == ("POST", "https://api.cohere.com/v2/chat")
    assert dict(request.headers) == {
        "accept": "text/event-stream",
        "content-type": "application/json",
        "authorization": "Bearer co-1",
    }
    assert json.loads(request.body) == {
        "model": Cohere.default_model,
        "messages": [{"role": "user", "content": "Grüße"}],
        "stream": True,
    }


def test_options_are_fields_of_the_request() -> None:
    body = sent(model="command-r7b-12-2024", k=3, documents=["Rome is warm."])
    assert (body["model"], body["k"]) == ("command-r7b-12-2024", 3)
    assert body["documents"] == ["Rome is warm."]
    with pytest.raises(
        TypeError, match="no option stream, top_p; its options are citation_options, "
    ):
        sent(top_p=1, stream=False)


def test_messages_are_sent_as_they_are() -> None:
    tool_calls = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "tool_plan": "I will look.", "tool_calls": tool_calls},
        {"role": "tool", "tool_call_id": "a", "content": "Sunny"},
    ]
    assert sent(messages)["messages"] == messages


def test_one_object_as_an_event_stream_is_understood() -> None:
    message = {"role": "assistant", "content": [{"type": "text", "text": "Hi"}]}
    whole = {"id": "c", "finish_reason": "COMPLETE", "message": message}
    outcome = receive(COHERE, [json.dumps(whole).encode()])
    assert (outcome.text, outcome.finish) == ("Hi", Finish("COMPLETE"))


def test_done_before_the_end_is_ignored() -> None:
    outcome = receive(COHERE, [START + b"data: [DONE]\n\n" + text("Hi") + END])
    assert outcome.text == "Hi"


def test_result_may_be_documents() -> None:
    documents = [{"type": "document", "document": {"data": "x"}}]
    assert COHERE.tool_result(ToolCall(0, "a", "f"), documents)["content"] == documents
