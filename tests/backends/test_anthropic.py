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
    Reasoning,
    Text,
    ToolCall,
    ToolCallPiece,
    Usage,
)
from sseparse_backends.anthropic import Anthropic
from sseparse_backends.testing import Outcome, receive
from tests.support.cuts import check

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


def text(index: int | None, *pieces: str) -> bytes:
    deltas = ({"type": "text_delta", "text": piece} for piece in pieces)
    return block(index, {"type": "text", "text": ""}, *deltas)


def tool_use(index: int | None, *pieces: str, type: str = "tool_use", **start: Any) -> bytes:
    deltas = ({"type": "input_json_delta", "partial_json": piece} for piece in pieces)
    return block(index, {"type": type, **start}, *deltas)


def end(reason: str | None) -> bytes:
    return event("message_delta", delta={"stop_reason": reason}, usage={"output_tokens": 5}) + STOP


HI = text(0, "Hi")
START = event(
    "message_start",
    message={"id": "msg_1", "model": "m", "usage": {"input_tokens": 9, "output_tokens": 1}},
)
STOP = event("message_stop")
END = end("end_turn")

OVERLOADED = {"type": "overloaded_error", "message": "Overloaded"}
ERROR = event("error", error=OVERLOADED)

THINKING = {"type": "thinking", "thinking": "Hm", "signature": "c2ln"}
REDACTED = {"type": "redacted_thinking", "data": "c2VjcmV0"}
SEARCH = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}}
FOUND = {
    "type": "web_search_tool_result",
    "tool_use_id": "s",
    "content": [{"type": "web_search_result", "url": "x", "encrypted_content": "eA=="}],
}
CALL = {"type": "tool_use", "id": "a", "name": "f", "input": {"n": 1}, "caller": {"type": "direct"}}


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)


def reply(body: bytes, text: str = "", **options: Any) -> Outcome:
    return check(Anthropic(), body, text=text, error=ERROR, **options)


def content(*events: bytes, text: str = "") -> list[Delta]:
    """The deltas of a complete reply with these events, without Usage and Finish."""
    outcome = reply(b"".join([START, *events, END]), text)
    finish = Finish("end_turn", "tool_calls") if outcome.tool_calls else Finish("end_turn")
    assert (outcome.usage, outcome.finish) == (Usage(9, 5), finish)
    return [delta for delta in outcome.deltas if not isinstance(delta, Usage | Finish)]


def messages(*events: bytes, reason: str | None = "end_turn") -> list[Any]:
    return [*receive(Anthropic(), [b"".join([START, *events, end(reason)])]).messages]


def whole(*content: Any, reason: str | None = "end_turn", **fields: Any) -> bytes:
    """A reply as one JSON object."""
    message = {"type": "message", "content": content, "stop_reason": reason, **fields}
    return json.dumps(message).encode()


def assistant(*content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": [*content]}


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": [*content]}


def sent(messages: Any = "Hi", **options: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(Anthropic(api_key="k").request(messages, **options).body)
    return body


# The reply.


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
    assert content(thinking, block(2, REDACTED), HI, text="Hi") == [
        Reasoning("H"),
        Reasoning("m"),
        Text("Hi"),
    ]


def test_tool_calls_come_in_pieces_and_whole_at_the_end() -> None:
    rome = tool_use(1, "", '{"ci', 'ty": "Rome"}', id="a", name="weather", input={})
    zone = tool_use(2, '{"zone": 1}', id="b", name="time", input={})
    assert content(HI, rome, zone, text="Hi") == [
        Text("Hi"),
        ToolCallPiece(0, "a", "weather"),
        ToolCallPiece(0, arguments='{"ci'),
        ToolCallPiece(0, arguments='ty": "Rome"}'),
        ToolCallPiece(1, "b", "time"),
        ToolCallPiece(1, arguments='{"zone": 1}'),
        ToolCall(0, "a", "weather", '{"city": "Rome"}'),
        ToolCall(1, "b", "time", '{"zone": 1}'),
    ]


@pytest.mark.parametrize(
    ("pieces", "start", "arguments"),
    [
        ([], {"input": {"city": "Rome"}}, '{"city": "Rome"}'),
        ([], {"input": '{"city": "Rome"}'}, '{"city": "Rome"}'),
        (['{"city":', '"Rome"}'], {"input": {"city": "Rome"}}, '{"city":"Rome"}'),
        ([{"city": "Rome"}], {"input": {}}, '{"city": "Rome"}'),
        ([""], {"input": {}}, "{}"),
        ([], {"input": None}, "{}"),
        ([], {}, "{}"),
    ],
    ids=["at-once", "text", "twice", "object-as-piece", "empty", "null", "none"],
)
def test_input_may_come_with_the_beginning_of_its_block_or_not_at_all(
    pieces: list[Any], start: dict[str, Any], arguments: str
) -> None:
    use = tool_use(0, *pieces, id="a", name="f", **start)
    deltas = content(use)
    assert deltas[-1] == ToolCall(0, "a", "f", arguments)
    streamed = "".join(delta.arguments for delta in deltas if isinstance(delta, ToolCallPiece))
    assert (streamed or "{}") == arguments
    (message,) = messages(use)
    assert message["content"][0]["input"] == json.loads(arguments)


@pytest.mark.parametrize("index", [0, None, "x"])
def test_each_block_begins_anew_even_if_all_have_the_same_index(index: Any) -> None:
    calls = [tool_use(index, piece, name="f") for piece in ('{"a": 1}', '{"b": 2}')]
    body = START + b"".join(calls) + tool_use(index, "{}", type="server_tool_use") + END
    assert reply(body).tool_calls == (
        ToolCall(0, "", "f", '{"a": 1}'),
        ToolCall(1, "", "f", '{"b": 2}'),
    )


@pytest.mark.parametrize("before", [CALL, THINKING, FOUND], ids=lambda block: block["type"])
def test_delta_without_a_beginning_is_a_block(before: dict[str, Any]) -> None:
    lost = event("content_block_delta", index=7, delta={"type": "text_delta", "text": "Hi"})
    assert content(lost, text="Hi") == [Text("Hi")]
    more = event("content_block_delta", index=7, delta={"type": "text_delta", "text": "."})
    assert messages(block(0, before), lost, more) == [
        assistant(before, {"type": "text", "text": "Hi."})
    ]
    here = lost.replace(b"7", b"0")
    if before is CALL:
        assert messages(block(0, before), here) == messages(block(0, before), lost)


@pytest.mark.parametrize("type", ["server_tool_use", "mcp_tool_use", "new_tool_use"])
def test_tool_that_the_service_runs_is_no_call(type: str) -> None:
    search = tool_use(1, '{"query": "x"}', type=type, id="s", name="web_search", input={})
    assert content(search, block(2, FOUND), HI, text="Hi") == [Text("Hi")]


def test_call_of_a_toolset_has_its_name_as_the_kind() -> None:
    # Toolsets share names, such as "screenshot".
    use = tool_use(0, "{}", id="a", name="screenshot", toolset_name="computer")
    call = ToolCall(0, "a", "screenshot", "{}", "computer")
    assert reply(START + use + end("tool_use")).tool_calls == (call,)
    (block,) = Anthropic().tool_result(call, "done")["content"]
    assert block["toolset_name"] == "computer"


@pytest.mark.parametrize(
    "noise",
    [
        event("ping") + b"event: ping\ndata: pong\n\ndata:\n\n: a comment\n\nodd: field\n\n",
        event("message_pause", index=0, delta={"type": "text_delta", "text": "No"}),
        event("content_block_start", index=0, content_block=None),
        block(0, {"type": "text"}, {"type": "citations_delta", "citation": {"title": "T"}}),
        block(0, {"type": "thinking", "thinking": ""}),
        block(0, {"type": "new", "text": "No"}, {"type": "new_delta", "text": "No"}),
        event("content_block_delta", index=7, delta={"type": "input_json_delta"}),
        event(
            "content_block_delta", index=7, delta={"type": "input_json_delta", "partial_json": "7"}
        ),
        event("content_block_delta", index=7, delta=None),
        event("message_delta", delta=None, usage=None),
        b"data: [DONE]\n\n",
    ],
)
def test_what_is_unknown_or_says_nothing_is_ignored(noise: bytes) -> None:
    assert content(noise) == []


@pytest.mark.parametrize("noise", [event("ping"), START, text(0, ""), event("content_block_stop")])
def test_what_is_no_content_does_not_reset_the_idle_timeout(noise: bytes) -> None:
    answer = ANTHROPIC.reply("text/event-stream")
    deltas = [delta for item in answer.decoder.feed(noise) for delta in answer.interpret(item)]
    assert None not in deltas


@pytest.mark.parametrize(
    "piece",
    [
        block(0, REDACTED),
        block(0, FOUND),
        block(0, {"type": "thinking"}, {"type": "signature_delta", "signature": "c2ln"}),
        tool_use(0, "{", type="server_tool_use"),
    ],
)
def test_content_without_a_delta_resets_the_idle_timeout(piece: bytes) -> None:
    answer = ANTHROPIC.reply("text/event-stream")
    deltas = [delta for item in answer.decoder.feed(piece) for delta in answer.interpret(item)]
    assert deltas == [None]


@pytest.mark.parametrize(
    ("first", "last", "usage"),
    [
        ({"input_tokens": 9, "output_tokens": 1}, {"output_tokens": 5}, Usage(9, 5)),
        ({"input_tokens": 9, "output_tokens": 1}, {"output_tokens": 0}, Usage(9, 0)),
        ({"input_tokens": 0, "output_tokens": 1}, {"input_tokens": 9}, Usage(9, 1)),
        ({"input_tokens": 9}, {"input_tokens": 0, "output_tokens": 5}, Usage(9, 5)),
        ({"input_tokens": 9}, {"input_tokens": 12, "output_tokens": 5}, Usage(12, 5)),
        (None, {"input_tokens": None, "output_tokens": 5}, Usage(0, 5)),
        ({"input_tokens": 9.0}, {"output_tokens": 5.0}, Usage(9, 5)),
        (None, None, None),
        ({"service_tier": "standard"}, {"output_tokens_details": {"thinking_tokens": 3}}, None),
    ],
)
def test_usage_is_the_last_count_of_each_kind(first: Any, last: Any, usage: Usage | None) -> None:
    start = event("message_start", message={"usage": first})
    assert reply(start + event("message_delta", usage=last) + STOP).usage == usage


@pytest.mark.parametrize(
    ("first", "last", "usage"),
    [
        ((3, 40, 100), {}, Usage(143, 5, 100)),
        ((3, 40, 100), {"input_tokens": 3}, Usage(143, 5, 100)),
        ((3, 40, 100), {"input_tokens": 0, "cache_read_input_tokens": 0}, Usage(143, 5, 100)),
        # The prompt after its compaction.
        ((3, 0, 100), {"input_tokens": 9, "cache_read_input_tokens": 0}, Usage(9, 5)),
        ((3, 0, 0), {"output_tokens_details": {"thinking_tokens": 2}}, Usage(3, 5, 0, 2)),
    ],
    ids=["first", "some", "zero", "compaction", "thinking"],
)
def test_input_counts_the_tokens_of_the_cache_in(
    first: tuple[int, int, int], last: dict[str, Any], usage: Usage
) -> None:
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    start = event("message_start", message={"usage": dict(zip(names, first, strict=True))})
    delta = event("message_delta", usage={"output_tokens": 5, **last})
    assert reply(start + delta + STOP).usage == usage


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        (None, "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "filter"),
        ("pause_turn", "pause"),
        ("compaction", "pause"),
        ("of-tomorrow", "other"),
    ],
)
def test_finish_has_the_stop_reason_and_its_kind(reason: str | None, kind: Any) -> None:
    body = end(reason).removesuffix(STOP) + event("message_delta", delta={}) + STOP
    assert reply(body).finish == Finish(reason, kind)


@pytest.mark.parametrize("reason", ["max_tokens", "model_context_window_exceeded", "refusal"])
def test_call_of_a_reply_that_was_cut_is_none(reason: str) -> None:
    use = tool_use(1, '{"n": 1', id="a", name="f", input={})
    outcome = reply(START + HI + use + end(reason), "Hi")
    assert outcome.tool_calls == ()
    assert ToolCallPiece(0, arguments='{"n": 1') in outcome.deltas
    assert outcome.messages == (assistant({"type": "text", "text": "Hi"}),)


def test_damaged_input_of_a_call_is_invalid_json() -> None:
    body = START + tool_use(0, '{"n": 1', id="a", name="f") + end("tool_use")
    error = reply(body, raises=InvalidJSON).error
    assert "the arguments of tool call 0, f, must be JSON" in str(error)


def test_damaged_input_of_a_tool_that_the_service_runs_costs_no_reply() -> None:
    search = tool_use(0, '{"query": "x', type="server_tool_use", id="s", name="web_search")
    outcome = reply(START + search + text(1, "Hi") + END, "Hi")
    assert outcome.messages[0]["content"][0]["input"] == {}


def test_reply_has_its_id_and_the_model_that_served_it() -> None:
    answer = Anthropic().reply("text/event-stream")
    assert (answer.id, answer.served_model) == (None, None)
    refused = {"type": "fallback", "from": {"model": "m"}, "to": {"model": "n"}, "trigger": None}
    for model, body in [("m", START), ("n", block(0, refused))]:
        for item in answer.decoder.feed(body):
            list(answer.interpret(item))
        assert (answer.id, answer.served_model) == ("msg_1", model)
    assert answer.messages == [assistant(refused)]


def test_second_reply_inside_the_first_is_an_error() -> None:
    use = event("content_block_start", index=0, content_block={"type": "tool_use", "id": "a"})
    other = START.replace(b"msg_1", b"msg_2")
    body = START + use + other + tool_use(0, "{}", id="b") + end("tool_use")
    outcome = reply(body, raises=RemoteProtocolError)
    assert str(outcome.error) == "a second reply, 'msg_2', begins inside the first, 'msg_1'"
    assert outcome.tool_calls == ()
    nameless = event("message_start", message={})
    assert reply(nameless + nameless + END, raises=RemoteProtocolError).finish is None


def test_repeated_beginning_of_the_same_reply_is_ignored() -> None:
    again = START.replace(b"9", b"7")
    assert content(again, HI, text="Hi") == [Text("Hi")]


def test_beginning_of_a_reply_may_have_blocks() -> None:
    start = event("message_start", message={"content": [SEARCH, CALL]})
    outcome = reply(start + end("tool_use"))
    assert outcome.tool_calls == (ToolCall(0, "a", "f", '{"n": 1}'),)
    assert outcome.messages == (assistant(SEARCH, CALL),)


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
    deltas = (Usage(9, 1), Text("Hi"), Usage(9, 5), Finish("end_turn"))
    assert reply(body, "Hi").deltas == deltas


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
    "data",
    [
        b'{"type": "message_st',
        b'{"type": "content_block_start", "content_block": 7}',
        b'{"type": "content_block_delta", "delta": "Hi"}',
        b'{"type": "content_block_delta", "delta": {"type": "text_delta", "text": ["Hi"]}}',
    ],
)
def test_content_that_cannot_be_read_is_invalid_json(data: bytes) -> None:
    error = reply(HI + b"data: " + data + b"\n\n" + END, "Hi", raises=InvalidJSON).error
    assert isinstance(error, InvalidJSON)
    assert error.line == data


@pytest.mark.parametrize(
    "odd",
    [
        {"type": "message_start", "message": "m"},
        {"type": "message_start", "message": {"id": [], "model": {}, "usage": 7}},
        {"type": "message_delta", "delta": 7, "usage": "none"},
        {"type": "message_delta", "delta": {"stop_reason": {}}, "usage": {"input_tokens": "9"}},
    ],
)
def test_odd_field_that_is_no_content_is_absent(odd: dict[str, Any]) -> None:
    assert reply(event(**odd) + HI + END, "Hi").finish == Finish("end_turn")


def test_number_is_text_where_text_is_expected() -> None:
    six: Any = {"type": "text_delta", "text": 6}
    five = block(0, {"type": "text", "text": 5}, six)
    use = block(1, {"type": "tool_use", "id": 7, "name": "f"})
    outcome = reply(START + five + use + end("tool_use"), "56")
    assert outcome.tool_calls == (ToolCall(0, "7", "f", "{}"),)
    assert outcome.messages == (
        assistant(
            {"type": "text", "text": "56"},
            {"type": "tool_use", "id": "7", "name": "f", "input": {}},
        ),
    )


def test_event_of_a_new_type_may_have_anything_in_it() -> None:
    new = b'data: {"type": "new", "delta": "x", "message": [], "usage": 7, "index": "1"}\n\n'
    assert reply(HI + new + END, "Hi") == reply(HI + END, "Hi")


# One JSON object in place of a stream.


def object_reply(body: bytes, text: str = "", **options: Any) -> Outcome:
    return check(Anthropic(), body, text=text, content_type="application/json", **options)


def test_object_in_place_of_a_stream_is_the_reply() -> None:
    blocks = [THINKING, {"type": "text", "text": "Hi"}, CALL]
    usage = {"input_tokens": 9, "cache_read_input_tokens": 1, "output_tokens": 5}
    outcome = object_reply(whole(*blocks, reason="tool_use", usage=usage), "Hi")
    assert outcome.deltas == (
        Reasoning("Hm"),
        Text("Hi"),
        ToolCallPiece(0, "a", "f"),
        Usage(10, 5, 1),
        ToolCallPiece(0, arguments='{"n": 1}'),
        ToolCall(0, "a", "f", '{"n": 1}'),
        Finish("tool_use", "tool_calls"),
    )
    assert outcome.messages == (assistant(*blocks),)


def test_object_with_nothing_in_it_is_an_empty_reply() -> None:
    outcome = object_reply(whole())
    assert (outcome.deltas, outcome.messages) == ((Finish("end_turn"),), ())


@pytest.mark.parametrize(
    ("answer", "payload"),
    [
        ({"type": "error", "error": OVERLOADED}, OVERLOADED),
        ({"detail": "Not Found"}, {"detail": "Not Found"}),
        ({"type": "message", "content": None}, {"type": "message", "content": None}),
    ],
)
def test_object_that_is_no_reply_is_an_error(answer: Any, payload: Any) -> None:
    failure = object_reply(json.dumps(answer).encode(), raises=BackendError).error
    assert isinstance(failure, BackendError)
    assert failure.payload == payload


# The messages.

# Each block with its start and its deltas.
BLOCKS: dict[str, tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]] = {
    "thinking": (
        THINKING,
        {"type": "thinking", "thinking": "", "signature": ""},
        [
            {"type": "thinking_delta", "thinking": "H"},
            {"type": "thinking_delta", "thinking": "m"},
            {"type": "signature_delta", "signature": "c2ln"},
        ],
    ),
    "omitted-thinking": (
        {"type": "thinking", "thinking": "", "signature": "c2ln"},
        {"type": "thinking", "thinking": ""},
        [{"type": "signature_delta", "signature": "c2ln"}],
    ),
    "redacted-thinking": (REDACTED, REDACTED, []),
    "citations": (
        {"type": "text", "text": "Hi", "citations": [{"cited_text": "H"}, {"cited_text": "i"}]},
        {"type": "text", "text": "", "citations": []},
        [
            {"type": "citations_delta", "citation": {"cited_text": "H"}},
            {"type": "text_delta", "text": "Hi"},
            {"type": "citations_delta", "citation": {"cited_text": "i"}},
        ],
    ),
    "null-citations": (
        {"type": "text", "text": "Hi", "citations": [{"cited_text": "H"}]},
        {"type": "text", "text": "Hi", "citations": None},
        [{"type": "citations_delta", "citation": {"cited_text": "H"}}],
    ),
    "server-tool": (
        SEARCH,
        {**SEARCH, "input": {}},
        [
            {"type": "input_json_delta", "partial_json": ""},
            {"type": "input_json_delta", "partial_json": '{"query": '},
            {"type": "input_json_delta", "partial_json": '"x"}'},
        ],
    ),
    "result": (FOUND, FOUND, []),
    "texts-in-a-result": (
        {"type": "mcp_tool_result", "content": [{"type": "text", "text": t} for t in "ab"]},
        {"type": "mcp_tool_result", "content": [{"type": "text", "text": t} for t in "ab"]},
        [],
    ),
    "compaction": (
        {"type": "compaction", "content": "So far.", "encrypted_content": None},
        {"type": "compaction", "content": None},
        [{"type": "compaction_delta", "content": "So far.", "encrypted_content": None}],
    ),
    "failed-compaction": (
        {"type": "compaction", "content": None},
        {"type": "compaction", "content": None},
        [{"type": "compaction_delta", "content": None}],
    ),
    "unknown": (
        {"type": "new", "a": "xyz", "b": 2, "c": [1], "d": "D"},
        {"type": "new", "a": "x", "d": "D"},
        [
            {"type": "new_delta", "a": "y", "b": 1},
            {"type": "other_delta", "a": "z", "b": 2, "c": [1]},
        ],
    ),
}


@pytest.mark.parametrize(("full", "start", "deltas"), BLOCKS.values(), ids=BLOCKS)
def test_message_has_each_block_as_the_service_would_send_it_whole(
    full: dict[str, Any], start: dict[str, Any], deltas: list[dict[str, Any]]
) -> None:
    last = {"type": "text", "text": "."}
    streamed = messages(block(0, start, *deltas), block(1, last))
    assert streamed == [assistant(full, last)]
    at_once = receive(Anthropic(), [whole(full, last)], content_type="application/json")
    assert [*at_once.messages] == streamed


def test_message_has_calls_once_they_were_handed_out() -> None:
    piece = {"type": "input_json_delta", "partial_json": '{"n": 1}'}
    use = block(1, {**CALL, "input": {}}, piece)
    thinking = block(0, THINKING)
    assert messages(thinking, use, reason="tool_use") == [assistant(THINKING, CALL)]
    early = receive(Anthropic(), [START + HI + use])
    assert early.messages == (assistant({"type": "text", "text": "Hi"}),)


@pytest.mark.parametrize("blank", ["", " ", "\n\n"])
def test_message_has_no_blank_text(blank: str) -> None:
    assert messages(text(0, blank), text(1, "Hi", blank)) == [
        assistant({"type": "text", "text": "Hi" + blank})
    ]
    assert messages(text(0, blank)) == []


@pytest.mark.parametrize("reason", ["end_turn", "max_tokens"])
def test_message_does_not_end_with_thinking(reason: str) -> None:
    thinking = block(1, THINKING) + block(2, REDACTED)
    assert messages(HI, thinking, reason=reason) == [assistant({"type": "text", "text": "Hi"})]
    assert messages(thinking, text(3, ""), reason=reason) == []


def test_message_of_a_cut_reply_has_no_call_without_its_result() -> None:
    again = tool_use(2, '{"query": "y', type="server_tool_use", id="t", name="web_search")
    events = block(0, SEARCH), block(1, FOUND), again
    for reason in ("max_tokens", "refusal"):
        assert messages(*events, reason=reason) == [assistant(SEARCH, FOUND)]


def test_paused_turn_goes_on_with_its_messages() -> None:
    paused = messages(block(0, THINKING), block(1, SEARCH), reason="pause_turn")
    assert paused == [assistant(THINKING, SEARCH)]
    hi = {"role": "user", "content": "Hi"}
    assert sent([hi, *paused])["messages"] == [hi, *paused]


def test_messages_are_new_each_time() -> None:
    answer = Anthropic().reply("text/event-stream")
    for item in answer.decoder.feed(START + block(0, FOUND)):
        list(answer.interpret(item))
    first = answer.messages
    first[0]["content"][0]["content"].clear()
    assert answer.messages == [assistant(FOUND)]


@pytest.mark.parametrize("depth", [100, 500, 900, 980, 5000])
def test_deep_block_is_in_the_messages_or_an_error(depth: int) -> None:
    deep = b"[" * depth + b"]" * depth
    for name in (b'"content_block": {"type": "new", "a"', b'"delta": {"type": "new_delta", "a"'):
        kind = b"content_block_start" if b"block" in name else b"content_block_delta"
        body = HI + b'data: {"type": "%s", "index": 0, %s: %s}}\n\n' % (kind, name, deep) + END
        outcome = receive(Anthropic(), [body])
        assert outcome.error is None or isinstance(outcome.error, RemoteProtocolError)
        assert outcome.text == "Hi"


# Results of tools, and the next request.


OUTPUTS: list[tuple[Any, dict[str, Any]]] = [
    ("Sunny", {"content": "Sunny"}),
    ({"degrees": 25}, {"content": '{"degrees":25}'}),
    (25, {"content": "25"}),
    ([{"type": "dog"}], {"content": '[{"type":"dog"}]'}),
    ([1, "a"], {"content": '[1,"a"]'}),
    ([], {"content": "[]"}),
    ("", {"content": []}),
    ("\n", {"content": []}),
    ([{"type": "image"}], {"content": [{"type": "image"}]}),
    (
        {"type": "tool_result", "tool_use_id": "b", "is_error": True, "content": "timed out"},
        {"is_error": True, "content": "timed out"},
    ),
]


@pytest.mark.parametrize(("output", "fields"), OUTPUTS)
def test_result_of_a_tool_is_a_message_of_the_user(output: Any, fields: dict[str, Any]) -> None:
    result = Anthropic().tool_result(ToolCall(0, "a", "f", "{}"), output)
    assert result == user({"type": "tool_result", "tool_use_id": "a", **fields})


def test_result_that_is_not_json_is_an_error() -> None:
    with pytest.raises(ValueError, match="must be JSON values"):
        Anthropic().tool_result(ToolCall(0, "a"), object())


def test_next_request_has_the_reply_and_all_results_in_one_message() -> None:
    uses = b"".join(tool_use(n, "{}", id=name, name="f") for n, name in enumerate("ab", 1))
    outcome = receive(Anthropic(), [START + block(0, THINKING) + uses + end("tool_use")])
    turns: list[Any] = [{"role": "user", "content": "Hi"}, *outcome.messages]
    turns += [Anthropic().tool_result(call, call.id * 2) for call in outcome.tool_calls]
    results = [
        {"type": "tool_result", "tool_use_id": name, "content": name * 2} for name in ("a", "b")
    ]
    assert sent(turns)["messages"] == [*turns[:2], user(*results)]
    more = [{"role": "user", "content": "And?"}, {"role": "user", "content": "So?"}]
    assert sent([*turns, *more])["messages"] == [
        *turns[:2],
        user(*results, {"type": "text", "text": "And?"}),
        more[1],
    ]
    listed = user({"type": "text", "text": "And?"})
    assert sent([*turns, listed])["messages"][2] == user(*results, *listed["content"])
    assert len(turns) == 4  # the caller's list and messages are not changed
    assert turns[2] == user(results[0])


def test_other_messages_are_sent_as_they_are() -> None:
    result = {"type": "tool_result", "tool_use_id": "a", "content": "Sunny"}
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "user", "content": [{"type": "text", "text": "there"}]},
        assistant({"type": "tool_use", "id": "a", "input": {}}),
        user(result),
        assistant({"type": "text", "text": "Sunny"}),
        {"role": "user", "content": ""},
    ]
    assert sent(turns)["messages"] == turns


def test_result_without_its_call_is_an_error() -> None:
    result = Anthropic().tool_result(ToolCall(0, "b", "f", "{}"), "Sunny")
    words = "messages must have the call that a tool result answers before it, got a result for 'b'"
    with pytest.raises(ValueError, match=words):
        sent([assistant({"type": "tool_use", "id": "a", "input": {}}), result])
    with pytest.raises(ValueError, match=words):
        sent([result, assistant({"type": "tool_use", "id": "b", "input": {}})])


@pytest.mark.parametrize(
    "message",
    [
        {"role": "model", "parts": [{"text": "Hi"}]},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "tool_call_id": "a", "content": "Sunny"},
        {"type": "function_call_output", "call_id": "a", "output": "Sunny"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
    ],
)
def test_message_of_another_service_is_an_error(message: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="messages must have the shape of Anthropic's, got one "):
        sent([message])


# The request.


def test_request_is_exactly_this() -> None:
    request = Anthropic(api_key="sk-1").request("Grüße")
    assert (request.method, request.url) == ("POST", "https://api.anthropic.com/v1/messages")
    assert dict(request.headers) == {
        "accept": "text/event-stream",
        "content-type": "application/json",
        "anthropic-version": "2026-10-21",
        "x-api-key": "sk-1",
    }
    assert json.loads(request.body) == {
        "model": Anthropic.default_model,
        "messages": [{"role": "user", "content": "Grüße"}],
        "max_tokens": 8192,
        "stream": True,
    }


@pytest.mark.parametrize(
    "base_url",
    [
        "https://spam.services.ai.azure.com/anthropic",
        "https://bedrock-mantle.eu-west-1.api.aws/anthropic",
    ],
    ids=["azure", "bedrock"],
)
def test_azure_and_bedrock_take_the_same_request(base_url: str) -> None:
    service = Anthropic(base_url=base_url, api_key="k", api_version="2023-06-01")
    request = service.request("Hi", model="m", temperature=0)
    assert request.url == f"{base_url}/v1/messages"
    assert request.headers["x-api-key"] == "k"
    assert request.headers["anthropic-version"] == "2023-06-01"
    body = json.loads(request.body)
    assert (body["model"], body["temperature"]) == ("m", 0)


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("version", ["2026-10-21", "vertex-2023-10-16"])
def test_vertex_has_the_model_in_the_path_and_the_version_in_the_body(
    version: str, slash: str
) -> None:
    address = (
        "https://aiplatform.googleapis.com/v1/projects/p/locations/global/publishers/anthropic"
    )
    service = Anthropic(base_url=address + slash, api_key="token", api_version=version)
    request = service.request("Hi", model="claude-haiku-4-5@20251001", max_tokens=9)
    assert request.url == f"{address}/models/claude-haiku-4-5@20251001:streamRawPredict"
    assert dict(request.headers) == {
        "accept": "text/event-stream",
        "content-type": "application/json",
        "authorization": "Bearer token",
    }
    assert json.loads(request.body) == {
        "anthropic_version": version,
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 9,
        "stream": True,
    }


def test_model_on_vertex_stays_one_segment_of_the_path() -> None:
    service = Anthropic(base_url="https://127.0.0.1/publishers/anthropic", api_key="token")
    request = service.request("Hi", model="a/b:c?d")
    assert request.url.endswith("/publishers/anthropic/models/a%2Fb%3Ac%3Fd:streamRawPredict")


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


def test_start_of_a_call_that_comes_again_is_the_same_call() -> None:
    start = event("content_block_start", index=1, content_block=CALL_BLOCK)
    pieces = [
        event(
            "content_block_delta",
            index=1,
            delta={"type": "input_json_delta", "partial_json": '{"x": 1}'},
        )
    ]
    outcome = receive(ANTHROPIC, [START, start, start, *pieces, *ending("tool_use")])
    assert outcome.tool_calls == (ToolCall(0, "a", "f", '{"x": 1}'),)


def test_input_of_no_call_is_invalid() -> None:
    delta = {"type": "input_json_delta", "partial_json": '{"x": 1}'}
    piece = event("content_block_delta", index=0, delta=delta)
    outcome = receive(ANTHROPIC, [START, HI, piece, *ending("tool_use")])
    assert isinstance(outcome.error, InvalidJSON)


def test_call_that_was_cut_before_its_input_is_none() -> None:
    start = event("content_block_start", index=0, content_block=CALL_BLOCK)
    assert receive(ANTHROPIC, [START, start, *ending(None)]).tool_calls == ()
    assert receive(ANTHROPIC, [START, start, *ending("tool_use")]).tool_calls == (
        ToolCall(0, "a", "f", "{}"),
    )


@pytest.mark.parametrize("depth", [100, 600])
def test_deep_input_can_be_sent_back(depth: int) -> None:
    nested = '{"x": ' + "[" * depth + "]" * depth + "}"
    start = event("content_block_start", index=0, content_block=CALL_BLOCK)
    delta = {"type": "input_json_delta", "partial_json": nested}
    piece = event("content_block_delta", index=0, delta=delta)
    outcome = receive(ANTHROPIC, [START, start, piece, *ending("tool_use")])
    assert outcome.messages[0]["content"][0]["input"] == json.loads(nested)


def test_number_in_a_delta_of_a_new_kind_is_text() -> None:
    delta = {"type": "new_delta", "text": 5}
    piece = event("content_block_delta", index=0, delta=delta)
    outcome = receive(ANTHROPIC, [START, HI, piece, *ending("end_turn")])
    assert outcome.messages[0]["content"][0]["text"] == "Hi5"


CALL_BLOCK = {"type": "tool_use", "id": "a", "name": "f", "input": {}}


def ending(reason: str | None) -> list[bytes]:
    return [event("message_delta", delta={"stop_reason": reason}), event("message_stop")]


def test_one_object_as_an_event_stream_is_understood() -> None:
    content = [{"type": "text", "text": "Hi"}]
    whole = {"type": "message", "id": "m", "content": content, "stop_reason": "end_turn"}
    outcome = receive(ANTHROPIC, [json.dumps(whole).encode()])
    assert (outcome.text, outcome.finish) == ("Hi", Finish("end_turn"))
