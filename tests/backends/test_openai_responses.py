"""OpenAI's Responses API: requests, items of all kinds, and what servers leave out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sseparse import IncompleteStream, InvalidJSON, RemoteProtocolError
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
from sseparse_backends.openai_responses import OpenAIResponses
from sseparse_backends.testing import Outcome, receive
from tests.support.cuts import check

RESPONSES = OpenAIResponses()
# mypy checks it against the protocol.
BACKEND: Backend = RESPONSES

Item = dict[str, Any]


def event(type: str, **fields: Any) -> bytes:
    data = json.dumps({"type": type, "sequence_number": 7, **fields}, ensure_ascii=False)
    return f"event: {type}\ndata: {data}\n\n".encode()


def end(type: str = "response.completed", **fields: Any) -> bytes:
    response = {"status": type.removeprefix("response."), "error": None, "output": [], **fields}
    return event(type, response=response)


def text(delta: Any, index: int | None = 0) -> bytes:
    return event("response.output_text.delta", output_index=index, item_id="msg_1", delta=delta)


def function_call(call_id: str | None, name: str | None, arguments: Any) -> Item:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}


def item(state: str, item: Any, index: Any = 1) -> bytes:
    return event(f"response.output_item.{state}", output_index=index, item=item)


def piece(delta: str, index: int | None = 1, kind: str = "function_call_arguments") -> bytes:
    return event(f"response.{kind}.delta", output_index=index, item_id="fc_1", delta=delta)


def whole(index: int | None = 1, kind: str = "function_call_arguments", **fields: Any) -> bytes:
    return event(f"response.{kind}.done", output_index=index, item_id="fc_1", **fields)


def message(*content: Any, **fields: Any) -> Item:
    return {"type": "message", "role": "assistant", "content": [*content], **fields}


def said(text: str) -> Item:
    return {"type": "output_text", "text": text, "annotations": []}


ARGUMENTS = '{"x": 1}'
CALL = ToolCall(0, "call_1", "f", ARGUMENTS)
CALL_ITEM = function_call("call_1", "f", ARGUMENTS)
ADDED = item("added", function_call("call_1", "f", ""))
PIECES = piece('{"x"') + piece(": 1}")
DONE = item("done", CALL_ITEM)
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}

USAGE = {"input_tokens": 9, "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 3}}
HI = event("response.created", response={"status": "in_progress", "error": None}) + text("Hi")
COMPLETED = end(output=[message(said("Hi"))], usage=USAGE)

FAILURE = {"code": "server_error", "message": "overloaded"}
FLAT: dict[str, Any] = {"type": "error", "sequence_number": 7, **FAILURE, "param": None}
ERROR = event(**FLAT)


@pytest.fixture(autouse=True)
def _no_key_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def reply(body: bytes, said: str = "Hi", **options: Any) -> Outcome:
    every = len(body) // 100 + 1  # some cuts in each event
    return check(RESPONSES, body, text=said, **{"error": ERROR, "every": every, **options})


def deltas(*events: bytes, said: str = "", last: bytes = COMPLETED) -> list[Delta]:
    """The deltas of a complete reply with these events, without pieces, Usage and Finish."""
    outcome = reply(b"".join([*events, last]), said)
    assert outcome.finish == Finish("completed", "tool_calls" if outcome.tool_calls else "stop")
    return [d for d in outcome.deltas if not isinstance(d, ToolCallPiece | Usage | Finish)]


def pieces(outcome: Outcome) -> list[ToolCallPiece]:
    return [delta for delta in outcome.deltas if isinstance(delta, ToolCallPiece)]


def items(*events: bytes, last: bytes | None = None, text: str = "") -> list[Any]:
    """The messages of a reply with these events."""
    return [*reply(b"".join([*events, last or end()]), text).messages]


def sent(messages: Any = "Hi", *, service: Any = None, **options: Any) -> dict[str, Any]:
    request = (service or OpenAIResponses(api_key="k")).request(messages, **options)
    body: dict[str, Any] = json.loads(request.body)
    return body


# Text and reasoning.


def test_text_comes_in_pieces_to_the_letter() -> None:
    texts = ["Hi", " é", "漢🎉\n", " "]
    events = [text(""), text(None), *map(text, texts)]
    assert deltas(*events, said="".join(texts)) == [Text(text) for text in texts]


def test_refusal_is_text() -> None:
    assert deltas(event("response.refusal.delta", delta="No"), said="No") == [Text("No")]


@pytest.mark.parametrize("name", ["reasoning_summary_text", "reasoning_text", "reasoning"])
def test_reasoning_has_three_names(name: str) -> None:
    thoughts = [event(f"response.{name}.delta", delta=delta) for delta in ("Hm", "", ".")]
    assert deltas(*thoughts, HI, said="Hi") == [Reasoning("Hm"), Reasoning("."), Text("Hi")]


def test_blank_line_separates_the_texts_of_messages() -> None:
    first, second = message(said("Let me see."), phase="commentary"), message(said("Four."))
    streamed = [
        *(text("Let me", 1), text(" see.", 1), item("done", first, 1)),
        *(text("Four", 3), text(".", 3), item("done", second, 3)),
    ]
    whole = "Let me see.\n\nFour."
    texts = ["Let me", " see.", "\n\n", "Four", "."]
    output = [THOUGHT, first, CALL_ITEM, second]
    last = end(output=[{**THOUGHT, "type": "web_search_call"}, first, second])
    assert deltas(*streamed, said=whole, last=last) == [Text(text) for text in texts]
    assert receive(RESPONSES, [end(output=output)]).text == whole
    # The texts of one message have no line between them.
    assert deltas(last=end(output=[message(said("a"), said("b"))]), said="ab")


@pytest.mark.parametrize(
    "events",
    [
        [event("response.output_text.done", output_index=0, content_index=0, text="Hi!")],
        [event("response.content_part.done", output_index=0, content_index=0, part=said("Hi!"))],
        [item("done", message(said("Hi!")), 0)],
        [item("done", message(said("Hi"), {"type": "refusal", "refusal": "!"}), 0)],
        [item("done", {"type": "message", "content": "Hi!"}, 0)],
        [event("response.refusal.done", refusal="Hi!")],
        [
            event("response.output_text.done", text="Hi!"),
            event("response.content_part.done", part=said("Hi!")),
            item("done", message(said("Hi!"))),
            end(output=[message(said("Hi!"))]),
        ],
        [end(output=[message(said("Hi!"))])],
        [end("response.incomplete", output=[message(said("Hi!"))])],
    ],
    ids="text part item two-parts str refusal all last incomplete".split(),
)
@pytest.mark.parametrize("before", [b"", text("H"), text("H", None), text("Hi!")])
def test_text_that_came_as_a_whole_is_text_once(events: list[bytes], before: bytes) -> None:
    outcome = reply(b"".join([before, *events, end()]), "Hi!")
    assert len(outcome.messages) == 1


def test_whole_text_that_differs_from_its_pieces_is_not_text_again() -> None:
    events = [text("Ho"), event("response.output_text.done", text="Hi!")]
    assert deltas(*events, item("done", message(said("Hi!"))), said="Ho") == [Text("Ho")]


def test_reasoning_that_came_as_a_whole_is_reasoning_once() -> None:
    summary = [{"type": "summary_text", "text": text} for text in ("So", "", "what?")]
    thought = {**THOUGHT, "summary": summary}
    content = {**THOUGHT, "content": [{"type": "reasoning_text", "text": "Hm"}]}
    assert deltas(item("done", thought), HI, said="Hi") == [Reasoning("So\n\nwhat?"), Text("Hi")]
    last = end(output=[content, message(said("Hi"))])
    assert deltas(last=last, said="Hi") == [Reasoning("Hm"), Text("Hi")]
    streamed = event("response.reasoning_text.delta", delta="Hm", output_index=1)
    part = event("response.content_part.done", part={"type": "reasoning_text", "text": "Hm"})
    assert deltas(streamed, part, item("done", content), last=last, said="Hi") == [
        Reasoning("Hm"),
        Text("Hi"),
    ]


# Events.


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
    assert reply(body).deltas == (Text("Hi"), Usage(9, 5, 0, 3), Finish("completed"))


@pytest.mark.parametrize(
    "noise",
    [
        b"event: ping\ndata: pong\n\ndata:\n\nodd: field\n\n",
        event("keepalive"),
        event("response.shell_call_output_content.delta", delta={"stdout": "No"}),
        event("response.mcp_call_arguments.delta", delta="No", output_index=1),
        event("response.new", response="No", item="No", delta=["No"], output_index="No"),
        item("done", {"type": "new", "name": "No", "input": ["No"], "content": "No"}),
        item("added", {}),
        event("response.output_text.done", text=""),
        event("response.content_part.done", part={}),
        piece("") + whole(arguments=""),
    ],
)
def test_what_is_unknown_is_ignored(noise: bytes) -> None:
    assert deltas(noise, HI, said="Hi") == [Text("Hi")]


@pytest.mark.parametrize(
    ("data", "is_content"),
    [
        (event("response.code_interpreter_call_code.delta", delta="x = 1"), True),
        (event("response.image_generation_call.partial_image", partial_image_b64="AA=="), True),
        (event("response.output_text.annotation.added", annotation={"type": "file_path"}), True),
        (item("added", {"type": "web_search_call"}), True),
        (event("response.output_text.annotation.added", annotation=None), False),
        (event("response.web_search_call.searching", output_index=1), False),
        (event("keepalive"), False),
        (text(""), False),
    ],
)
def test_content_that_is_no_delta_counts_against_the_idle_timeout(
    data: bytes, is_content: bool
) -> None:
    answer = RESPONSES.reply("text/event-stream")
    (each,) = answer.decoder.feed(data)
    assert [*answer.interpret(each)] == [None] * is_content


def test_control_characters_in_text_are_text() -> None:
    raw = text("a?b").replace(b"?", b"\x1b[0m\t")
    assert deltas(raw, said="a\x1b[0m\tb") == [Text("a\x1b[0m\tb")]


def test_id_and_model_are_those_of_the_first_event() -> None:
    answer = RESPONSES.reply("text/event-stream")
    assert (answer.id, answer.served_model) == (None, None)
    start = event("response.created", response={"id": "resp_1", "model": "gpt-6.1-2026"})
    for each in answer.decoder.feed(start + end(id="resp_2", model="other")):
        list(answer.interpret(each))
        assert (answer.id, answer.served_model) == ("resp_1", "gpt-6.1-2026")


# Calls.


@pytest.mark.parametrize(
    "events",
    [
        [ADDED, PIECES, whole(arguments=ARGUMENTS), DONE],
        [ADDED, PIECES],
        [ADDED, PIECES, whole(arguments=ARGUMENTS)],
        [ADDED, whole(arguments=ARGUMENTS)],
        [ADDED, whole(arguments={"x": 1})],
        [ADDED, DONE],
        [DONE],
        [item("added", CALL_ITEM)],
        [item("added", function_call("call_1", "f", "{}")), PIECES],
        [PIECES, DONE],
        [ADDED, PIECES, item("done", function_call("call_1", "f", ""))],
        [ADDED, PIECES, item("done", function_call("call_1", "", None))],
        [item("added", function_call("call_1", "f", None), None), piece(ARGUMENTS, None)],
        [ADDED, PIECES, DONE, end(output=[CALL_ITEM])],
        [ADDED, PIECES, DONE, end(output=[function_call("call_1", "f", "")])],
        [ADDED, PIECES, end(output=[message(), CALL_ITEM])],
        [ADDED, piece('{"x"'), end(output=[CALL_ITEM])],
        [end(output=[message(), CALL_ITEM])],
        [PIECES, end(output=[CALL_ITEM])],
        [ADDED, PIECES, DONE, end(output=[message()])],
        [ADDED, piece('{"x"'), piece(": 1}", 7), DONE],
        [item("done", {**CALL_ITEM, "id": "fc_1"}), PIECES],
    ],
    ids=(
        "all pieces pieces-and-whole whole whole-object added-and-done done added placeholder "
        "no-added empty-done nameless-done no-index twice empty-end end cut-pieces end-alone "
        "end-after-pieces not-in-end stray-piece late-pieces"
    ).split(),
)
def test_call_is_one_whatever_the_server_leaves_out(events: list[bytes]) -> None:
    calls = [delta for delta in deltas(*events, last=end()) if isinstance(delta, ToolCall)]
    assert [json.loads(call.arguments) for call in calls] == [{"x": 1}]
    assert [(call.index, call.id, call.name) for call in calls] == [(0, "call_1", "f")]
    sent_back = [each for each in items(*events) if each["type"] == "function_call"]
    assert [json.loads(each["arguments"]) for each in sent_back] == [{"x": 1}]
    assert [(each["call_id"], each["name"]) for each in sent_back] == [("call_1", "f")]


def test_pieces_of_calls_come_as_they_arrive() -> None:
    second = function_call("call_2", "g", "{}")
    events = [ADDED, PIECES, DONE, item("done", second, 5), end()]
    assert reply(b"".join(events), "").deltas == (
        *(ToolCallPiece(0, "call_1", "f"), ToolCallPiece(0, arguments='{"x"')),
        *(ToolCallPiece(0, arguments=": 1}"), ToolCallPiece(1, "call_2", "g", "{}")),
        *(CALL, ToolCall(1, "call_2", "g", "{}")),
        Finish("completed", "tool_calls"),
    )
    assert pieces(reply(PIECES + DONE + end(), "")) == [
        *(ToolCallPiece(0, arguments='{"x"'), ToolCallPiece(0, arguments=": 1}")),
        ToolCallPiece(0, "call_1", "f"),
    ]
    assert pieces(reply(end(output=[CALL_ITEM]), "")) == [
        ToolCallPiece(0, "call_1", "f", ARGUMENTS)
    ]


@pytest.mark.parametrize("indices", [(1, 2), (0, 0), (None, None)])
def test_parallel_calls_are_numbered_from_0(indices: tuple[int | None, int | None]) -> None:
    events: list[bytes] = []
    for index, name in zip(indices, "ab", strict=True):
        events += item("added", function_call(name, "f", ""), index), piece(f'"{name}"', index)
    expected = [ToolCall(0, "a", "f", '"a"'), ToolCall(1, "b", "f", '"b"')]
    assert deltas(*events, last=end()) == expected
    for index, name in zip(indices, "ab", strict=True):
        events.append(item("done", function_call(name, "f", f'"{name}"'), index))
    assert deltas(*events, last=end()) == expected
    output = [function_call(name, "f", f'"{name}"') for name in "ba"]
    assert deltas(*events, last=end(output=output)) == expected
    assert [each["call_id"] for each in items(*events, last=end(output=output))] == ["b", "a"]


@pytest.mark.parametrize("index", [0, None])
def test_pieces_of_parallel_calls_are_told_apart_by_the_ids_of_their_items(
    index: int | None,
) -> None:
    ids = ["fc_a", "fc_b"]
    begun = [item("added", {**function_call(each, "f", ""), "id": each}, index) for each in ids]
    kind = "response.function_call_arguments.delta"
    delta = [
        event(kind, output_index=index, item_id=each, delta=text)
        for text in ("[", "]")
        for each in ids
    ]
    expected = [ToolCall(number, each, "f", "[]") for number, each in enumerate(ids)]
    assert deltas(*begun, *delta, last=end()) == expected


def test_arguments_of_a_call_of_another_type_are_none_of_a_function() -> None:
    served = {"type": "mcp_call", "id": "mcp_1", "name": "f", "arguments": ""}
    done = {**served, "arguments": ARGUMENTS, "output": "x"}
    assert deltas(item("added", served), PIECES, item("done", done), last=end()) == []
    assert items(item("added", served), PIECES, item("done", done)) == [done]


def test_call_without_arguments_has_an_empty_object() -> None:
    assert deltas(ADDED, last=end()) == [ToolCall(0, "call_1", "f", "{}")]
    assert items(ADDED) == [function_call("call_1", "f", "{}")]


def test_custom_tool_is_called_with_its_input() -> None:
    call = {"type": "custom_tool_call", "call_id": "call_1", "name": "f", "input": "x {}{"}
    kind = "custom_tool_call_input"
    expected = [ToolCall(0, "call_1", "f", "x {}{", "custom")]
    added = item("added", {**call, "input": ""})
    for events in (
        [added, piece("x {", kind=kind), piece("}{", kind=kind)],
        [added, whole(kind=kind, input="x {}{")],
        [end(output=[call])],
    ):
        assert deltas(*events, last=end()) == expected
        assert items(*events) == [call]


# Items that the caller has to answer, with their kinds and arguments.
SHELL = {"commands": ["ls"], "timeout_ms": None, "max_output_length": 99}
CLICKS = [{"type": "click", "button": "left", "x": 1, "y": 2}]
FOR_THE_CALLER: dict[str, tuple[Item, str, Any]] = {
    "function": (CALL_ITEM, "f", {"x": 1}),
    "local_shell": (
        {"type": "local_shell_call", "action": {"type": "exec", "command": ["ls"]}},
        "local_shell",
        {"type": "exec", "command": ["ls"]},
    ),
    "shell": (
        {"type": "shell_call", "action": SHELL, "environment": {"type": "local"}},
        "shell",
        SHELL,
    ),
    "apply_patch": (
        {"type": "apply_patch_call", "operation": {"type": "delete_file", "path": "a"}},
        "apply_patch",
        {"type": "delete_file", "path": "a"},
    ),
    "computer": ({"type": "computer_call", "actions": CLICKS, "action": None}, "computer", CLICKS),
    "tool_search": (
        {"type": "tool_search_call", "execution": "client", "arguments": {"q": "é"}},
        "tool_search",
        {"q": "é"},
    ),
    "browser": ({"type": "browser_call", "page": 7}, "browser", {"page": 7}),
}


@pytest.mark.parametrize("kind", FOR_THE_CALLER)
def test_item_for_the_caller_is_a_call_of_its_kind(kind: str) -> None:
    fields, name, arguments = FOR_THE_CALLER[kind]
    fields = {"id": "it_1", "status": "completed", "call_id": "call_1", **fields}
    added = item("added", {**fields, "status": "in_progress"})
    for events in (
        [added, item("done", fields), end(output=[fields])],
        [item("done", fields)],
        [added],
        [end(output=[fields])],
    ):
        outcome = reply(b"".join([*events, end()]), "")
        (call,) = outcome.tool_calls
        assert (call.index, call.id, call.name, call.kind) == (0, "call_1", name, kind)
        assert json.loads(call.arguments) == arguments
        assert pieces(outcome) == [ToolCallPiece(0, "call_1", name, call.arguments)]
        assert outcome.finish == Finish("completed", "tool_calls")
        (back,) = outcome.messages
        assert back == fields or {**back, "status": "completed"} == fields


def test_approval_is_asked_for_by_the_id_of_its_item() -> None:
    request = {
        "type": "mcp_approval_request",
        "id": "mcpr_1",
        "server_label": "zip",
        "name": "shorten",
        "arguments": '{"url": "u"}',
    }
    for events in ([item("added", request), item("done", request)], [end(output=[request])]):
        call = ToolCall(0, "mcpr_1", "shorten", '{"url": "u"}', "mcp_approval")
        assert deltas(*events, last=end()) == [call]
        assert items(*events) == [request]


@pytest.mark.parametrize(
    "served",
    [
        [{"type": "web_search_call", "call_id": "call_1", "action": {"type": "search"}}],
        [{"type": "file_search_call", "queries": ["x"]}],
        [{"type": "code_interpreter_call", "code": "1"}],
        [{"type": "mcp_call", "name": "f", "arguments": "{}", "output": "x"}],
        [{"type": "image_generation_call", "result": "AA==", "status": "completed"}],
        [{"type": "compaction", "encrypted_content": "gAAA"}],
        [
            {"type": "tool_search_call", "execution": "server", "call_id": None, "arguments": {}},
            {"type": "tool_search_output", "execution": "server", "call_id": None, "tools": []},
        ],
        [
            {
                "type": "shell_call",
                "call_id": "call_1",
                "action": {"commands": ["ls"]},
                "environment": {"type": "container_reference", "container_id": "c"},
            }
        ],
        [
            {"type": "shell_call", "call_id": "call_1", "action": {"commands": ["ls"]}},
            {"type": "shell_call_output", "call_id": "call_1", "output": []},
        ],
        [
            {"type": "new_call", "call_id": "call_1"},
            {"type": "new_call_output", "call_id": "call_1"},
        ],
        [
            {"type": "program", "call_id": "call_1", "code": "1", "fingerprint": "gAAA"},
            {"type": "program_output", "call_id": "call_1", "result": "1", "status": "completed"},
        ],
    ],
    ids=lambda served: served[0]["type"],
)
def test_call_that_the_service_ran_is_none(served: list[Item]) -> None:
    streamed = [item("done", each, index) for index, each in enumerate(served)]
    for events in (streamed, [end(output=served)], [*streamed, end(output=served)]):
        assert deltas(*events, last=end()) == []
        assert items(*events) == served


def test_call_of_a_tool_that_xai_searches_with_is_none() -> None:
    search = {"type": "custom_tool_call", "call_id": "xs_1", "name": "x_user_search", "input": "{}"}
    tools = [{"type": "x_search"}, {"type": "function", "name": "f"}, None]
    start = event("response.in_progress", response={"id": "a", "tools": tools})
    events = [start, item("added", {**search, "input": ""}, 0), item("done", search, 0)]
    assert deltas(*events, HI, said="Hi") == [Text("Hi")]
    assert deltas(*events, ADDED, DONE, last=end(output=[search, CALL_ITEM])) == [CALL]
    assert items(*events) == [search]


def test_second_reply_inside_the_first_is_an_error() -> None:
    starts = [event("response.created", response={"id": name}) for name in "ab"]
    body = starts[0] + ADDED + starts[1] + HI + end()
    error = receive(BACKEND, [body]).error
    assert isinstance(error, RemoteProtocolError)
    assert "a second reply, 'b', begins inside the first, 'a'" in str(error)
    assert receive(BACKEND, [starts[0] * 2 + HI + end()]).error is None


def test_empty_object_at_the_end_replaces_no_arguments() -> None:
    whole = item("done", {**CALL_ITEM, "arguments": "{}"})
    (call,) = reply(ADDED + piece('{"x": 1}') + whole + end(), "").tool_calls
    assert call.arguments == '{"x": 1}'


def test_arguments_that_are_no_json_are_an_error_that_names_the_call() -> None:
    error = reply(ADDED + piece('{"x"') + end(), "", raises=InvalidJSON).error
    assert isinstance(error, InvalidJSON)
    assert str(error).startswith("the arguments of tool call 0, f, must be JSON: ")


# The end.


@pytest.mark.parametrize(
    ("last", "reason", "kind"),
    [
        (COMPLETED, "completed", "stop"),
        (end("response.done", status="completed"), "completed", "stop"),
        (event("response.done", response={}), "done", "stop"),
        (event("response.completed"), "completed", "stop"),
        (end(status="in_progress"), "completed", "stop"),
        (
            end("response.incomplete", incomplete_details={"reason": "max_output_tokens"}),
            "max_output_tokens",
            "length",
        ),
        (
            end("response.incomplete", incomplete_details={"reason": "max_tokens"}),
            "max_tokens",
            "length",
        ),
        (
            end("response.incomplete", incomplete_details={"reason": "content_filter"}),
            "content_filter",
            "filter",
        ),
        (
            end("response.incomplete", incomplete_details={"reason": "steered"}),
            "steered",
            "other",
        ),
        (
            end("response.incomplete", incomplete_details={"reason": None}),
            "incomplete",
            "other",
        ),
        (end("response.incomplete", incomplete_details=None), "incomplete", "other"),
        (COMPLETED + b"data: [DONE]\n\n" + ERROR, "completed", "stop"),
        (COMPLETED.rstrip(b"\n"), "completed", "stop"),
    ],
)
def test_last_event_finishes_with_the_reason(last: bytes, reason: str, kind: FinishKind) -> None:
    outcome = receive(RESPONSES, [HI + last])
    assert (outcome.text, outcome.finish) == ("Hi", Finish(reason, kind))


def test_call_that_a_limit_may_have_cut_is_none() -> None:
    search = {"type": "web_search_call", "status": "completed"}
    events = [item("done", search, 0), item("done", THOUGHT, 1), item("added", CALL_ITEM, 2)]
    details = {"reason": "max_output_tokens"}
    for output in ([], [search, THOUGHT, CALL_ITEM]):
        last = end("response.incomplete", incomplete_details=details, output=output)
        outcome = reply(b"".join([*events, last]), "")
        assert (outcome.tool_calls, outcome.messages) == ((), (search,))
        assert outcome.finish == Finish("max_output_tokens", "length")
        assert pieces(outcome)


def test_reply_that_stopped_elsewhere_has_the_calls_that_are_done() -> None:
    cut = {**function_call("call_2", "g", '{"y'), "status": "incomplete"}
    begun = item("added", function_call("call_3", "h", ""), 3)
    events = [ADDED, DONE, item("done", cut, 2), begun, piece("{", 3)]
    outcome = reply(b"".join([*events, end("response.incomplete")]), "")
    assert outcome.tool_calls == (CALL,)
    assert outcome.finish == Finish("incomplete", "tool_calls")
    assert outcome.messages == (CALL_ITEM,)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (USAGE, Usage(9, 5, 0, 3)),
        ({**USAGE, "input_tokens_details": {"cached_tokens": 4}}, Usage(9, 5, 4, 3)),
        ({"input_tokens": 9.0, "output_tokens_details": 7}, Usage(9, 0)),
        ({"input_tokens": "9", "output_tokens": [], "total_tokens": 7}, None),
        ({}, None),
        ("", None),
        (None, None),
    ],
)
def test_usage_is_in_the_last_event(usage: Any, expected: Usage | None) -> None:
    assert reply(HI + end(usage=usage)).usage == expected


@pytest.mark.parametrize("rest", [b"", DONE, b"data: [DONE]\n\n"])
def test_reply_without_its_last_event_is_incomplete(rest: bytes) -> None:
    outcome = reply(HI + rest, raises=IncompleteStream)
    assert isinstance(outcome.error, IncompleteStream)
    assert outcome.error.text == "Hi"
    assert outcome.messages == (message(said("Hi")),)


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
        (event("response.failed"), "failed"),
        (end("response.cancelled"), "cancelled"),
        (end("response.done", status="cancelled"), "cancelled"),
        (end(error=FAILURE), FAILURE),
    ],
)
def test_error_inside_the_stream_is_a_backend_error(error: bytes, payload: object) -> None:
    failure = reply(HI + error + COMPLETED, error=error, raises=BackendError).error
    assert isinstance(failure, BackendError)
    assert (failure.payload, failure.text) == (payload, "Hi")


# What goes back.


def test_items_go_back_as_they_came() -> None:
    output: list[Item] = [
        {**THOUGHT, "status": "completed"},
        message(
            {**said("See"), "annotations": [{"type": "url_citation", "url": "u"}], "logprobs": []},
            id="msg_1",
            status="completed",
            phase="commentary",
        ),
        {"type": "image_generation_call", "id": "ig_1", "result": "AA==", "size": "1x1"},
        {"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "zip", "tools": []},
        {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAA"},
        {**CALL_ITEM, "id": "fc_1", "status": "completed", "namespace": "crm", "new": {"a": None}},
    ]
    streamed = b""
    for index, each in enumerate(output):
        streamed += item("added", {**each, "status": "in_progress"}, index)
        streamed += item("done", each, index)
    for body in (streamed + end(), streamed + end(output=output), end(output=output)):
        assert receive(RESPONSES, [body]).messages == tuple(output)
    # As the last event has them, and in its order.
    changed = [{**each, "id": f"new_{index}"} for index, each in enumerate(output)]
    assert receive(RESPONSES, [streamed + end(output=changed)]).messages == tuple(changed)
    assert receive(RESPONSES, [streamed + end(output=output[::-1])]).messages == tuple(
        output[::-1][:-1]  # reasoning with nothing after it
    )


def test_item_of_the_last_event_keeps_what_only_came_before() -> None:
    thought, answer = {**THOUGHT, "content": []}, message(said("Hi"), id="msg_1", phase="final")
    events = [item("done", thought, 0), text("Hi", 1), item("done", answer, 1)]
    bare = [{"type": "reasoning", "id": "rs_1", "summary": []}, message(id="msg_1")]
    assert items(*events, last=end(output=bare), text="Hi") == [thought, answer]
    # Items that the last event does not have stay in their place.
    assert items(*events, last=end(output=[answer]), text="Hi") == [thought, answer]
    assert items(*events, last=end(output=[thought]), text="Hi") == [thought, answer]


def test_message_is_put_together_from_pieces_that_no_item_has() -> None:
    citation = {"type": "url_citation", "url": "u"}
    annotation = event("response.output_text.annotation.added", annotation=citation)
    refusal = event("response.refusal.delta", delta="No", content_index=1)
    parts = [{**said("Hi"), "annotations": [citation]}, {"type": "refusal", "refusal": "No"}]
    events = [text("H", None), text("i", None), annotation, refusal]
    assert items(*events, text="HiNo") == [message(*parts)]
    added = item("added", message(id="msg_1", status="in_progress", phase="commentary"), None)
    empty = item("done", message(said(""), id="msg_1", status="completed"), None)
    whole = message(*parts, id="msg_1", phase="commentary")
    assert items(added, *events, text="HiNo") == [whole]
    assert items(added, *events, empty, text="HiNo") == [{**whole, "status": "completed"}]


def test_items_are_in_the_order_of_their_index() -> None:
    events = [item("done", CALL_ITEM, 2), text("Hi", 1), item("done", THOUGHT, 0)]
    assert [each["type"] for each in items(*events, text="Hi")] == [
        *("reasoning", "message", "function_call")
    ]


def test_reasoning_that_nothing_follows_stays_away() -> None:
    other = {**THOUGHT, "id": "rs_2"}
    output = [THOUGHT, message(said("Hi")), other]
    assert items(last=end(output=output), text="Hi") == output[:2]
    # Nor does what was only announced go back.
    assert items(item("added", THOUGHT), item("added", {"type": "web_search_call"}, 2)) == []


def test_messages_are_a_new_list_each_time() -> None:
    answer = RESPONSES.reply("text/event-stream")
    for each in answer.decoder.feed(HI + item("done", CALL_ITEM)):
        list(answer.interpret(each))
    answer.messages.append({})
    answer.messages[0]["content"].append({})
    assert answer.messages == [message(said("Hi"))]


def test_second_turn_has_the_reply_and_the_results() -> None:
    question = {"role": "user", "content": "Hi"}
    outcome = receive(RESPONSES, [item("done", THOUGHT, 0), ADDED, DONE, end()])
    results = [RESPONSES.tool_result(call, "Sunny") for call in outcome.tool_calls]
    output = {"type": "function_call_output", "call_id": "call_1", "output": "Sunny"}
    conversation = [question, *outcome.messages, *results]
    assert sent(conversation)["input"] == [question, THOUGHT, CALL_ITEM, output]
    body = sent(results, previous_response_id="resp_1")
    assert (body["input"], body["previous_response_id"]) == ([output], "resp_1")


@pytest.mark.parametrize(
    ("kind", "output", "fields"),
    [
        ("function", "Sunny", {"output": "Sunny"}),
        ("function", {"n": 1}, {"output": '{"n":1}'}),
        ("function", [], {"output": "[]"}),
        ("function", [{"type": "cat"}], {"output": '[{"type":"cat"}]'}),
        (
            "function",
            [{"type": "input_image", "image_url": "u"}],
            {"output": [{"type": "input_image", "image_url": "u"}]},
        ),
        (
            "function",
            {"type": "function_call_output", "output": "x", "caller": {"type": "direct"}},
            {"output": "x", "caller": {"type": "direct"}},
        ),
        ("custom", None, {"type": "custom_tool_call_output", "output": "null"}),
        ("local_shell", ["a"], {"type": "local_shell_call_output", "output": '["a"]'}),
        (
            "shell",
            "a",
            {
                "type": "shell_call_output",
                "output": [
                    {"stdout": "a", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}
                ],
                "max_output_length": 99,
            },
        ),
        (
            "shell",
            {"stdout": "a", "outcome": {"type": "timeout"}},
            {
                "type": "shell_call_output",
                "output": [{"stdout": "a", "stderr": "", "outcome": {"type": "timeout"}}],
                "max_output_length": 99,
            },
        ),
        (
            "shell",
            [{"stdout": "", "stderr": "b", "outcome": {"type": "exit", "exit_code": 1}}],
            {
                "type": "shell_call_output",
                "output": [
                    {"stdout": "", "stderr": "b", "outcome": {"type": "exit", "exit_code": 1}}
                ],
                "max_output_length": 99,
            },
        ),
        (
            "apply_patch",
            "done",
            {"type": "apply_patch_call_output", "status": "completed", "output": "done"},
        ),
        (
            "apply_patch",
            {"status": "failed", "output": "no such file"},
            {"type": "apply_patch_call_output", "status": "failed", "output": "no such file"},
        ),
        (
            "computer",
            "data:image/png;base64,AA==",
            {
                "type": "computer_call_output",
                "output": {
                    "type": "computer_screenshot",
                    "image_url": "data:image/png;base64,AA==",
                },
            },
        ),
        (
            "computer",
            {"type": "computer_screenshot", "file_id": "f"},
            {
                "type": "computer_call_output",
                "output": {"type": "computer_screenshot", "file_id": "f"},
            },
        ),
        (
            "tool_search",
            [{"type": "function", "name": "f"}],
            {
                "type": "tool_search_output",
                "execution": "client",
                "status": "completed",
                "tools": [{"type": "function", "name": "f"}],
            },
        ),
        ("browser", {"page": 7}, {"type": "browser_call_output", "output": {"page": 7}}),
    ],
)
def test_result_has_the_shape_of_its_kind(kind: str, output: Any, fields: Item) -> None:
    call = ToolCall(0, "call_1", kind, json.dumps(SHELL) if kind == "shell" else "", kind)
    expected = {"type": "function_call_output", "call_id": "call_1", **fields}
    assert RESPONSES.tool_result(call, output) == expected


@pytest.mark.parametrize(
    ("output", "fields"),
    [
        (True, {"approve": True}),
        (False, {"approve": False}),
        ({"approve": False, "reason": "no"}, {"approve": False, "reason": "no"}),
    ],
)
def test_approval_is_given_or_refused(output: Any, fields: Item) -> None:
    call = ToolCall(0, "mcpr_1", "shorten", "{}", "mcp_approval")
    expected = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", **fields}
    assert RESPONSES.tool_result(call, output) == expected


def test_shell_result_has_the_limit_of_its_call_if_that_has_one() -> None:
    for arguments in ("", "{}", '{"max_output_length": null}'):
        result = RESPONSES.tool_result(ToolCall(0, "a", "shell", arguments, "shell"), "x")
        assert result.keys() == {"type", "output", "call_id"}


@pytest.mark.parametrize(
    ("kind", "output"),
    [
        *(("mcp_approval", "yes"), ("mcp_approval", 1), ("mcp_approval", {"approve": "no"})),
        *(("computer", {"x": 1}), ("tool_search", "f"), ("computer", None)),
    ],
)
def test_output_that_a_kind_excludes_is_a_value_error(kind: str, output: Any) -> None:
    with pytest.raises(ValueError, match=r"^output must be a .*, got "):
        RESPONSES.tool_result(ToolCall(0, "a", "", "", kind), output)
    with pytest.raises(ValueError, match="must be JSON values"):
        RESPONSES.tool_result(ToolCall(0, "a", "f"), float("nan"))


RESULT = {"type": "function_call_output", "call_id": "call_1", "output": "Sunny"}
APPROVAL = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([RESULT], "got a result for 'call_1'"),
        ([RESULT, CALL_ITEM], "got a result for 'call_1'"),
        ([function_call("call_2", "f", "{}"), RESULT], "got a result for 'call_1'"),
        ([{**RESULT, "type": "new_call_output", "call_id": []}], r"got a result for '\[\]'"),
        ([APPROVAL], "got a result for 'mcpr_1'"),
        (
            [{"role": "user", "parts": [{"text": "Hi"}]}],
            "the Responses API's, got one with 'parts'",
        ),
        ([{"role": "user", "content": [{"type": "tool_result"}]}], "got one with 'tool_result'"),
        ([{"role": "assistant", "content": [{"type": "tool_use"}]}], "got one with 'tool_use'"),
        ([{"role": "assistant", "tool_calls": []}], "got one with 'tool_calls'"),
        ([{"role": "tool", "tool_call_id": "a", "content": ""}], "got one with 'tool_call_id'"),
    ],
)
def test_messages_that_the_service_would_refuse_are_a_value_error(
    messages: list[Item], words: str
) -> None:
    with pytest.raises(ValueError, match=f"^messages must have .*{words}"):
        sent(messages)


@pytest.mark.parametrize(
    ("messages", "options"),
    [
        ([RESULT, APPROVAL], {"previous_response_id": "resp_1"}),
        ([RESULT], {"conversation": "conv_1"}),
        ([{"type": "item_reference", "id": "fc_1"}, RESULT], {}),
        ([{"type": "mcp_approval_request", "id": "mcpr_1"}, APPROVAL], {}),
        ([{"type": "tool_search_output", "call_id": None, "tools": []}], {}),
    ],
)
def test_result_needs_no_call_that_the_service_has(messages: list[Item], options: Item) -> None:
    assert sent(messages, **options)["input"] == messages
    service = OpenAIResponses(api_key="k", extra_body=options)
    assert sent(messages, service=service)["input"] == messages


def test_result_of_a_call_that_a_program_made_names_its_caller() -> None:
    caller = {"type": "program", "caller_id": "call_0"}
    call, other = {**CALL_ITEM, "caller": caller}, function_call("call_2", "f", "{}")
    results = [RESULT, {**RESULT, "call_id": "call_2"}]
    assert sent([call, other, *results])["input"][2:] == [{**RESULT, "caller": caller}, results[1]]
    own = {**RESULT, "caller": {"type": "direct"}}
    assert sent([call, own])["input"] == [call, own]


# A server that ignores `stream`.

WHOLE: Item = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "error": None,
    "model": "tiny",
    "output": [THOUGHT, message(said("Hi")), CALL_ITEM],
    "usage": USAGE,
}


def test_object_need_not_say_what_it_is() -> None:
    fields = {name: value for name, value in WHOLE.items() if name not in ("object", "status")}
    outcome = receive(RESPONSES, [json.dumps(fields).encode()], content_type="application/json")
    assert (outcome.text, outcome.finish) == ("Hi", Finish(None, "tool_calls"))


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
def test_one_object_in_place_of_a_stream_is_understood(content_type: str) -> None:
    body = json.dumps(WHOLE, indent=2).encode()
    outcome = check(RESPONSES, body, text="Hi", content_type=content_type)
    assert outcome.deltas == (
        *(Text("Hi"), ToolCallPiece(0, "call_1", "f", ARGUMENTS), Usage(9, 5, 0, 3), CALL),
        Finish("completed", "tool_calls"),
    )
    assert list(outcome.messages) == WHOLE["output"]
    answer = RESPONSES.reply(content_type)
    for each in [*answer.decoder.feed(body), *answer.decoder.close()]:
        list(answer.interpret(each))
    assert (answer.id, answer.served_model) == ("resp_1", "tiny")


@pytest.mark.parametrize(
    ("whole", "payload"),
    [
        ({"error": FAILURE}, FAILURE),
        ({**WHOLE, "status": "failed", "error": FAILURE}, FAILURE),
        ({**WHOLE, "status": "cancelled"}, "cancelled"),
        ({"detail": "no such model"}, {"detail": "no such model"}),
        ({"object": "chat.completion", "choices": []},) * 2,
        ({"type": "new"},) * 2,
    ],
)
def test_object_that_is_no_reply_is_an_error_of_the_service(whole: Any, payload: Any) -> None:
    outcome = receive(RESPONSES, [json.dumps(whole).encode()], content_type="application/json")
    assert isinstance(outcome.error, BackendError)
    assert outcome.error.payload == payload


def test_object_of_a_reply_that_is_still_being_made_is_incomplete() -> None:
    body = json.dumps({**WHOLE, "status": "queued", "output": []}).encode()
    outcome = receive(RESPONSES, [body], content_type="application/json")
    assert isinstance(outcome.error, IncompleteStream)


# Fields of an unexpected type.


@pytest.mark.parametrize("odd", [7, "7", "x", None, [], ["x"], {}, {"x": 1}, True, 1.5])
def test_odd_field_that_is_no_content_kills_no_reply(odd: Any) -> None:
    odd_response = {"id": odd, "model": odd, "tools": odd, "usage": odd}
    index = {"output_index": odd, "content_index": odd, "item_id": odd}
    events = [
        event("response.created", response=odd_response),
        event("response.created", response=odd),
        item("added", {"type": odd, "id": odd, "call_id": odd, "name": odd}),
        item("done", {"type": "reasoning", "id": odd, "status": odd, "encrypted_content": odd}),
        event("response.output_text.delta", delta="Hi", logprobs=odd, **index),
        event("response.output_text.annotation.added", annotation=odd, **index),
        event("response.new", delta=odd, response=odd, item=odd),
        item("done", {**message(said("Hi")), "role": odd, "phase": odd}, odd),
    ]
    last = end(output=odd if not odd else [], incomplete_details=odd, usage={"input_tokens": odd})
    outcome = receive(RESPONSES, [*events, last])
    assert (outcome.error, outcome.text) == (None, "Hi")
    assert outcome.finish is not None


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        ({"type": "response.output_text.delta", "delta": 7}, "7"),
        ({"type": "response.refusal.delta", "delta": 1.5}, "1.5"),
        ({"type": "response.output_item.done", "item": message(said(""), {"text": 7})}, "7"),
        ({"type": "response.output_item.done", "item": message(None, said("Hi"))}, "Hi"),
        ({"type": "response.output_item.done", "item": {**message(), "content": said("Hi")}}, "Hi"),
    ],
)
def test_content_of_another_type_is_what_it_plainly_means(data: Any, texts: str) -> None:
    body = b"data: %s\n\n" % json.dumps(data).encode()
    assert reply(body + end(), texts).finish == Finish("completed")


@pytest.mark.parametrize(
    "data",
    [
        b'{"type": "resp',
        b"[7",
        b"7",
        b'{"type": "response.output_text.delta", "delta": {"a": 1}}',
        b'{"type": "response.output_text.delta", "delta": true}',
        b'{"type": "response.output_text.done", "text": ["Hi"]}',
        b'{"type": "response.content_part.done", "part": "Hi"}',
        b'{"type": "response.output_item.done", "item": "Hi"}',
        b'{"type": "response.output_item.done", "item": {"type": "message", "content": 7}}',
        b'{"type": "response.output_item.added", "item": {"type": "message", "content": ["Hi"]}}',
        b'{"type": "response.completed", "response": "Hi"}',
        b'{"type": "response.completed", "response": {"output": 7}}',
        b'{"type": "response.completed", "response": {"output": ["Hi"]}}',
    ],
)
def test_damaged_event_is_invalid_json(data: bytes) -> None:
    error = reply(HI + b"data: " + data + b"\n\n" + COMPLETED, raises=InvalidJSON).error
    assert isinstance(error, InvalidJSON)
    assert error.line == data


@pytest.mark.parametrize("name", ["output_text.delta", "output_item.done", "completed"])
def test_named_event_whose_data_is_no_json_is_an_error(name: str) -> None:
    body = HI + f"event: response.{name}\ndata: Hi\n\n".encode() + COMPLETED
    assert isinstance(reply(body, raises=InvalidJSON).error, InvalidJSON)


# Requests.


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


@pytest.mark.parametrize(
    "base_url",
    [
        "https://bedrock-runtime.us-east-2.amazonaws.com/openai/v1",
        "https://bedrock-mantle.us-east-2.api.aws/v1",
        "https://bedrock-mantle.us-east-2.api.aws/openai/v1",
    ],
)
def test_bedrock_is_another_address_with_a_key_of_its_own(base_url: str) -> None:
    service = OpenAIResponses(base_url=base_url, api_key="ABSK-1")
    request = service.request("Hi", model="openai.gpt-5.5")
    assert request.url == f"{base_url}/responses"
    assert request.headers["authorization"] == "Bearer ABSK-1"
    assert json.loads(request.body)["model"] == "openai.gpt-5.5"


def test_messages_and_items_are_sent_as_they_are() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": "Be kind."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"role": "assistant", "content": "Hm"},
        CALL_ITEM,
        RESULT,
    ]
    assert sent(messages)["input"] == messages


def test_options_are_fields_of_the_request() -> None:
    body = sent(model="gpt-5", reasoning={"effort": "low"}, max_output_tokens=9)
    assert (body["model"], body["reasoning"]) == ("gpt-5", {"effort": "low"})
    assert body["max_output_tokens"] == 9
    with pytest.raises(
        TypeError, match="no option input, max_tokens, stream; its options are access_programs, "
    ):
        sent(stream=False, input=[], max_tokens=9)
