"""OpenAI's Responses API: the exact request, and events that servers leave out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sseparse import IncompleteStream, InvalidJSON
from sseparse_backends import Backend, BackendError, Delta, Finish, Reasoning, Text, ToolCall, Usage
from sseparse_backends.openai_responses import OpenAIResponses
from sseparse_backends.testing import Outcome, check

# mypy checks it against the protocol.
RESPONSES: Backend = OpenAIResponses()


def event(type: str, **fields: Any) -> bytes:
    data = json.dumps({"type": type, "sequence_number": 7, **fields}, ensure_ascii=False)
    return f"event: {type}\ndata: {data}\n\n".encode()


def end(type: str = "response.completed", **fields: Any) -> bytes:
    response = {"status": type.removeprefix("response."), "error": None, "output": [], **fields}
    return event(type, response=response)


def text(delta: str | None) -> bytes:
    return event("response.output_text.delta", output_index=0, item_id="msg_1", delta=delta)


def function_call(call_id: str | None, name: str | None, arguments: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}


def item(state: str, item: Any, index: int | None = 1) -> bytes:
    return event(f"response.output_item.{state}", output_index=index, item=item)


def piece(delta: str, index: int | None = 1, kind: str = "function_call_arguments") -> bytes:
    return event(f"response.{kind}.delta", output_index=index, item_id="fc_1", delta=delta)


def whole(index: int | None = 1, kind: str = "function_call_arguments", **fields: str) -> bytes:
    return event(f"response.{kind}.done", output_index=index, item_id="fc_1", **fields)


def message(*content: Any) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": content}


ARGUMENTS = '{"x": 1}'
CALL = ToolCall(0, "call_1", "f", ARGUMENTS)
ADDED = item("added", function_call("call_1", "f", ""))
PIECES = piece('{"x"') + piece(": 1}")
DONE = item("done", function_call("call_1", "f", ARGUMENTS))

USAGE = {"input_tokens": 9, "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 3}}
HI = event("response.created", response={"status": "in_progress", "error": None}) + text("Hi")
COMPLETED = end(output=[message({"type": "output_text", "text": "Hi"})], usage=USAGE)

FAILURE = {"code": "server_error", "message": "overloaded"}
FLAT: dict[str, Any] = {"type": "error", "sequence_number": 7, **FAILURE, "param": None}
ERROR = event(**FLAT)


@pytest.fixture(autouse=True)
def _no_key_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def reply(body: bytes, said: str = "Hi", **options: Any) -> Outcome:
    return check(RESPONSES, body, text=said, **{"error": ERROR, **options})


def deltas(*events: bytes, said: str = "", last: bytes = COMPLETED) -> list[Delta]:
    """The deltas of a complete reply with these events, without Usage and Finish."""
    outcome = reply(b"".join([*events, last]), said)
    assert outcome.finish == Finish("completed")
    return [delta for delta in outcome.deltas if not isinstance(delta, Usage | Finish)]


def sent(messages: Any = "Hi", **options: Any) -> dict[str, Any]:
    request = OpenAIResponses(api_key="k").request(messages, **options)
    body: dict[str, Any] = json.loads(request.body)
    return body


def test_text_comes_in_pieces_to_the_letter() -> None:
    texts = ["Hi", " é", "漢🎉\n", " "]
    pieces = [text(""), text(None), *map(text, texts)]
    assert deltas(*pieces, said="".join(texts)) == [Text(text) for text in texts]


def test_refusal_is_text() -> None:
    assert deltas(event("response.refusal.delta", delta="No"), said="No") == [Text("No")]


@pytest.mark.parametrize("name", ["reasoning_summary_text", "reasoning_text", "reasoning"])
def test_reasoning_has_three_names(name: str) -> None:
    thoughts = [event(f"response.{name}.delta", delta=delta) for delta in ("Hm", "", ".")]
    assert deltas(*thoughts, HI, said="Hi") == [Reasoning("Hm"), Reasoning("."), Text("Hi")]


@pytest.mark.parametrize(
    "form",
    [
        b"data: %(data)s\n\n",
        b"data: %(data)s\nevent: %(type)s\n\n",
        b"event:%(type)s\r\ndata:%(data)s\r\n\r\n",
        b": OPENROUTER PROCESSING\n\nid: 7\nevent: message\ndata: %(data)s   \n\n",
    ],
    ids=["no-type", "data-first", "crlf", "comments"],
)
def test_events_may_be_written_in_other_ways(form: bytes) -> None:
    body = b""
    for plain in (HI + COMPLETED).split(b"\n\n")[:-1]:
        name, data = plain.split(b"\n")
        body += form % {b"type": name[7:], b"data": data[6:]}
    assert reply(body).deltas == (Text("Hi"), Usage(9, 5), Finish("completed"))


@pytest.mark.parametrize(
    "noise",
    [
        b"event: ping\ndata: pong\n\ndata:\n\nodd: field\n\n",
        event("response.shell_call_output_content.delta", delta={"stdout": "No"}),
        event("response.mcp_call_arguments.delta", delta="No", output_index=1),
        event("response.new", response="No", item="No", delta=["No"], output_index="No"),
        item("added", {"type": "tool_search_call", "call_id": None, "arguments": {"a": 1}}),
        item("done", {"type": "new", "name": "No", "input": ["No"], "content": "No"}),
        item("done", {"type": "reasoning", "content": [{"text": "No"}], "summary": []}),
    ],
)
def test_what_is_unknown_is_ignored(noise: bytes) -> None:
    assert deltas(noise, HI, said="Hi") == [Text("Hi")]


@pytest.mark.parametrize(
    "events",
    [
        [ADDED, PIECES, whole(arguments=ARGUMENTS), DONE],
        [ADDED, PIECES],
        [ADDED, PIECES, whole(arguments=ARGUMENTS)],
        [ADDED, whole(arguments=ARGUMENTS)],
        [ADDED, DONE],
        [DONE],
        [item("added", function_call("call_1", "f", ARGUMENTS))],
        [PIECES, DONE],
        [ADDED, PIECES, item("done", function_call("call_1", "f", ""))],
        [item("added", function_call("call_1", "f", None), None), piece(ARGUMENTS, None)],
        [ADDED, PIECES, end(output=[function_call("call_1", "f", ARGUMENTS)])],
        [end(output=[message(), function_call("call_1", "f", ARGUMENTS)])],
        [PIECES, end(output=[function_call("call_1", "f", ARGUMENTS)])],
    ],
    ids=(
        "all pieces pieces-and-whole whole added-and-done done added no-added empty-done no-index "
        "twice at-end pieces-alone"
    ).split(),
)
def test_call_is_one_whatever_the_server_leaves_out(events: list[bytes]) -> None:
    assert deltas(*events, last=end()) == [CALL]


@pytest.mark.parametrize("indices", [(1, 2), (0, 0), (None, None)])
def test_parallel_calls_are_numbered_from_0(indices: tuple[int | None, int | None]) -> None:
    events: list[bytes] = []
    for index, name in zip(indices, "ab", strict=True):
        events += item("added", function_call(name, "f", ""), index), piece(f'"{name}"', index)
    expected = [ToolCall(0, "a", "f", '"a"'), ToolCall(1, "b", "f", '"b"')]
    assert deltas(*events, last=end()) == expected


def test_custom_tool_is_called_with_its_input() -> None:
    call = {"type": "custom_tool_call", "call_id": "call_1", "name": "f", "input": "x"}
    kind = "custom_tool_call_input"
    expected = [ToolCall(0, "call_1", "f", "x")]
    added = item("added", {**call, "input": ""})
    assert deltas(added, piece("x", kind=kind), last=end()) == expected
    assert deltas(added, whole(kind=kind, input="x"), last=end()) == expected
    assert deltas(last=end(output=[call])) == expected


def test_text_that_comes_only_at_the_end_is_the_text() -> None:
    parts = {"type": "output_text", "text": "Hi"}, {"type": "refusal", "refusal": "!"}, {"text": ""}
    reasoning = {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "Hm"}]}
    last = end(output=[reasoning, message(*parts), message(None, {"text": None})])
    assert deltas(last=last, said="Hi!") == [Text("Hi!")]
    # Text that did not come in pieces, in part or at all.
    assert deltas(text("H"), last=last, said="Hi!") == [Text("H"), Text("i!")]
    assert deltas(text("Ho"), last=last, said="Ho") == [Text("Ho")]


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (COMPLETED, "completed"),
        (end("response.done", status="completed"), "completed"),
        (end("response.incomplete", incomplete_details={"reason": "steered"}), "steered"),
        (end("response.incomplete", incomplete_details={"reason": None}), "incomplete"),
        (end("response.incomplete", incomplete_details=None), "incomplete"),
        (event("response.completed"), "completed"),
        (COMPLETED + b"data: [DONE]\n\n" + ERROR, "completed"),
    ],
)
def test_last_event_finishes_with_the_reason(last: bytes, reason: str | None) -> None:
    assert reply(HI + last).finish == Finish(reason)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [(USAGE, Usage(9, 5)), ({"input_tokens": 9.0}, Usage(9, 0)), (None, None)],
)
def test_usage_is_in_the_last_event(usage: Any, expected: Usage | None) -> None:
    assert reply(HI + end(usage=usage)).usage == expected


@pytest.mark.parametrize("rest", [b"", DONE, b"data: [DONE]\n\n"])
def test_reply_without_its_last_event_is_incomplete(rest: bytes) -> None:
    error = reply(HI + rest, raises=IncompleteStream).error
    assert isinstance(error, IncompleteStream)
    assert error.text == "Hi"


@pytest.mark.parametrize(
    ("error", "payload"),
    [
        (ERROR, FLAT),
        (ERROR.removeprefix(b"event: error\n"), FLAT),
        (event("error", error=FAILURE), FAILURE),
        (event("error", error=FAILURE).removeprefix(b"event: error\n"), FAILURE),
        (b'data: {"error": "overloaded"}\n\n', "overloaded"),
        (end("response.failed", error=FAILURE), FAILURE),
        (end("response.failed"), "failed"),
        (event("response.failed"), "response.failed"),
        (end("response.done", status="cancelled"), "cancelled"),
        (end(error=FAILURE), FAILURE),
    ],
)
def test_error_inside_the_stream_is_a_backend_error(error: bytes, payload: object) -> None:
    failure = reply(HI + error + COMPLETED, error=error, raises=BackendError).error
    assert isinstance(failure, BackendError)
    assert (failure.payload, failure.text) == (payload, "Hi")


@pytest.mark.parametrize(
    "data",
    [
        b'{"type": "resp',
        b"[]",
        b'{"type": "response.output_text.delta", "delta": 7}',
    ],
)
def test_damaged_event_is_invalid_json(data: bytes) -> None:
    error = reply(HI + b"data: " + data + b"\n\n" + COMPLETED, raises=InvalidJSON).error
    assert isinstance(error, InvalidJSON)
    assert error.line == data


def test_request_is_exactly_this() -> None:
    request = OpenAIResponses(api_key="sk-1").request("Grüße")
    assert (request.method, request.url) == ("POST", "https://api.openai.com/v1/responses")
    assert dict(request.headers) == {
        "accept": "text/event-stream",
        "content-type": "application/json",
        "authorization": "Bearer sk-1",
    }
    assert json.loads(request.body) == {
        "model": OpenAIResponses.default_model,
        "input": [{"role": "user", "content": "Grüße"}],
        "stream": True,
    }


def test_messages_and_items_are_sent_as_they_are() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": "Be kind."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"role": "assistant", "content": "Hm"},
        function_call("call_1", "f", ARGUMENTS),
        {"type": "function_call_output", "call_id": "call_1", "output": "Sunny"},
    ]
    assert sent(messages)["input"] == messages


def test_options_are_fields_of_the_request() -> None:
    body = sent(model="gpt-5", reasoning={"effort": "low"}, max_output_tokens=9)
    assert (body["model"], body["reasoning"]) == ("gpt-5", {"effort": "low"})
    assert body["max_output_tokens"] == 9
    with pytest.raises(
        TypeError, match="no option input, max_tokens, stream; its options are background, "
    ):
        sent(stream=False, input=[], max_tokens=9)
