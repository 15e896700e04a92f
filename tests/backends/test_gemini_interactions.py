"""Google's Interactions API: the exact request, and the deltas of each event."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from sseparse import EventTooLarge, IncompleteStream, InvalidJSON
from sseparse_backends import (
    Backend,
    BackendError,
    Finish,
    Reasoning,
    Text,
    ToolCall,
    ToolCallPiece,
    Usage,
)
from sseparse_backends.gemini_interactions import GeminiInteractions
from sseparse_backends.testing import Outcome, receive
from tests.support.cuts import check

INTERACTIONS = GeminiInteractions(api_key="k")
# mypy checks it against the protocol.
BACKEND: Backend = INTERACTIONS

JSON = "application/json; charset=UTF-8"
DONE = b"event: done\ndata: [DONE]\n\n"
BUSY = {"message": "Deadline expired.", "code": "gateway_timeout"}


@pytest.fixture(autouse=True)
def _no_key_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {**fields, "event_type": kind}


def created(**fields: Any) -> dict[str, Any]:
    return event("interaction.created", interaction={"id": "v1", "status": "in_progress", **fields})


def step(index: int, kind: str, *deltas: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    """The events of a step."""
    return [
        event("step.start", index=index, step={"type": kind, **fields}),
        *(event("step.delta", index=index, delta=delta) for delta in deltas),
        event("step.stop", index=index),
    ]


def thought(index: int, signature: str, *summary: str) -> list[dict[str, Any]]:
    texts = [{"type": "thought_summary", "content": text(part)} for part in summary]
    signed = {"type": "thought_signature", "signature": signature}
    return step(index, "thought", *texts, signed)


def text(value: Any) -> dict[str, Any]:
    return {"type": "text", "text": value}


def output(index: int, *values: Any) -> list[dict[str, Any]]:
    return step(index, "model_output", *map(text, values))


def call(index: int, call_id: str, name: str, *arguments: Any, **more: Any) -> list[dict[str, Any]]:
    deltas = [{"type": "arguments_delta", "arguments": piece} for piece in arguments]
    return step(
        index, "function_call", *deltas, **{"id": call_id, "name": name, "arguments": {}, **more}
    )


def completed(status: str = "completed", **fields: Any) -> dict[str, Any]:
    return event("interaction.completed", interaction={"id": "v1", "status": status, **fields})


def body(*events: Any, named: bool = True) -> bytes:
    form = "event: {event_type}\n" if named else ""
    return b"".join(
        f"{form.format(**item)}data: {json.dumps(item)}\n\n".encode() for item in events
    )


HI = [created(model="gemini-x"), *output(0, "H", "i")]
ERROR = body(event("error", error=BUSY))


def checked(*events: Any, text: str = "Hi", **options: Any) -> Outcome:
    return check(INTERACTIONS, body(*events) + DONE, text=text, error=ERROR, every=3, **options)


def test_reply_is_a_series_of_steps() -> None:
    status = event("interaction.status_update", interaction_id="v1", status="in_progress")
    outcome = checked(
        created(),
        status,
        *thought(0, "c2ln", "H", "m."),
        *output(1, "H", "", "i“\n"),
        *thought(2, "Mg=="),
        *output(3, "!"),
        completed(usage={"total_input_tokens": 3, "total_output_tokens": 4}),
        text="Hi“\n!",
    )
    assert outcome.deltas == (
        *(Reasoning("H"), Reasoning("m."), Text("H"), Text("i“\n"), Text("!")),
        *(Usage(3, 4), Finish("completed")),
    )
    assert outcome.messages == (
        {"type": "thought", "summary": [text("Hm.")], "signature": "c2ln"},
        {"type": "model_output", "content": [text("Hi“\n")]},
        {"type": "thought", "signature": "Mg=="},
        {"type": "model_output", "content": [text("!")]},
    )


def test_type_of_an_event_is_in_its_data_or_beside_it() -> None:
    events = copy.deepcopy([*HI, completed()])
    outcome = check(INTERACTIONS, body(*events, named=False), text="Hi")
    assert outcome.finish == Finish("completed")
    data = "".join(
        f"event: {item.pop('event_type')}\r\ndata: {json.dumps(item)}\r\n\r\n" for item in events
    )
    assert check(INTERACTIONS, data.encode(), text="Hi").deltas == outcome.deltas


def test_what_is_not_known_adds_nothing() -> None:
    outcome = checked(
        event("interaction.new", new=[1]),
        created(),
        *output(0, "Hi"),
        *step(1, "new_step", {"type": "new_delta", "text": "no"}, new={"a": 1}),
        event("step.new", index=0, text="no"),
        completed(),
    )
    assert outcome.deltas == (Text("Hi"), Finish("completed"))
    assert outcome.messages[1] == {"type": "new_step", "new": {"a": 1}, "text": "no"}


def test_call_comes_in_pieces() -> None:
    outcome = checked(
        *HI,
        *thought(1, "c2ln"),
        *call(2, "a", "look", '{"place"', ': "Köln"}', signature="Zm4="),
        *call(3, "b", "now"),
        *call(4, "c", "at", arguments={"n": 1}),
        completed("requires_action"),
    )
    calls = (
        ToolCall(0, "a", "look", '{"place": "Köln"}'),
        ToolCall(1, "b", "now", "{}"),
        ToolCall(2, "c", "at", '{"n": 1}'),
    )
    assert outcome.deltas[2:] == (
        *(ToolCallPiece(0, "a", "look"), ToolCallPiece(0, arguments='{"place"')),
        *(ToolCallPiece(0, arguments=': "Köln"}'), ToolCallPiece(1, "b", "now")),
        ToolCallPiece(2, "c", "at", '{"n": 1}'),
        *calls,
        Finish("requires_action", "tool_calls"),
    )
    assert outcome.messages[1:] == (
        {"type": "thought", "signature": "c2ln"},
        {
            "type": "function_call",
            "id": "a",
            "name": "look",
            "arguments": {"place": "Köln"},
            "signature": "Zm4=",
        },
        {"type": "function_call", "id": "b", "name": "now", "arguments": {}},
        {"type": "function_call", "id": "c", "name": "at", "arguments": {"n": 1}},
    )


def test_pieces_of_calls_at_the_same_time_are_told_apart_by_index() -> None:
    first, second = call(0, "a", "f", '{"n"', ": 1}"), call(1, "b", "g", '{"n"', ": 2}")
    pairs = [item for pair in zip(first, second, strict=True) for item in pair]
    outcome = checked(created(), *pairs, completed("requires_action"), text="")
    assert [each.arguments for each in outcome.tool_calls] == ['{"n": 1}', '{"n": 2}']


def test_delta_without_its_step_belongs_to_the_last_one() -> None:
    deltas = [event("step.delta", index=index, delta=text("H")) for index in (7, None)]
    outcome = checked(created(), *deltas, completed(), text="HH")
    assert outcome.messages == ({"type": "model_output", "content": [text("HH")]},)


def test_call_that_an_agent_answers_itself_is_not_handed_out() -> None:
    written = step(
        1, "function_result", {"type": "function_result", "result": "ok"}, call_id="a", name="write"
    )
    data = body(
        created(agent="antigravity"),
        *call(0, "a", "write", "{broken"),
        *written,
        *call(2, "b", "look", "{}"),
        *output(3, "Hi"),
        *step(4, "function_result", result="of no call"),
        completed("requires_action"),
    )
    outcome = receive(INTERACTIONS, [data])
    assert outcome.tool_calls == (ToolCall(1, "b", "look", "{}"),)
    write, result, look, said, _ = outcome.messages
    assert write == {"type": "function_call", "id": "a", "name": "write", "arguments": {}}
    assert result == {"type": "function_result", "call_id": "a", "name": "write", "result": "ok"}
    assert (look["id"], said["type"]) == ("b", "model_output")


def test_steps_of_the_services_own_tools_are_in_the_messages() -> None:
    search = {"type": "google_search_call", "signature": "cQ==", "arguments": {"queries": ["q"]}}
    mcp = {"type": "mcp_server_tool_call", "name": "t", "server_name": "s", "arguments": {"n": 1}}
    outcome = checked(
        created(),
        *step(0, "google_search_call", search, id="g", signature=""),
        *step(
            1,
            "google_search_result",
            {"type": "google_search_result", "result": [{"url": "u"}], "is_error": False},
            {"type": "google_search_result", "result": [{"url": "v"}], "signature": "cg=="},
            call_id="g",
        ),
        *step(2, "mcp_server_tool_call", mcp, id="m", name="t", server_name="s", arguments={}),
        *step(3, "file_search_call", {"type": "arguments_delta", "arguments": '{"n": 1}'}, id="f"),
        *output(4, "Hi"),
        completed(),
    )
    assert outcome.deltas == (Text("Hi"), Finish("completed"))
    assert outcome.messages[:-1] == (
        {"id": "g", **search},
        {
            "type": "google_search_result",
            "call_id": "g",
            "result": [{"url": "u"}, {"url": "v"}],
            "is_error": False,
            "signature": "cg==",
        },
        {"id": "m", **mcp},
        {"type": "file_search_call", "id": "f", "arguments": {"n": 1}},
    )


def test_content_of_other_kinds_and_annotations_are_in_the_messages() -> None:
    image = {"type": "image", "mime_type": "image/png", "data": "iVBORw0KGgo="}
    links = [{"type": "url_citation", "url": url, "end_index": 1} for url in "uvw"]
    annotations = [{"type": "text_annotation_delta", "annotations": part} for part in (links, 7)]
    outcome = checked(
        created(),
        *step(0, "thought", {"type": "thought_summary", "content": image}),
        *step(
            1,
            "model_output",
            *(annotations[0], text("H"), text("i"), image),
            {"type": "text_annotation_delta", "annotations": links[:1]},
            {"type": "text_annotation_delta", "annotations": links[1:]},
            *(annotations[1], text("!")),
        ),
        completed(),
        text="Hi!",
    )
    assert outcome.messages == (
        {"type": "thought", "summary": [image]},
        {
            "type": "model_output",
            "content": [{**text("Hi"), "annotations": links}, image, text("!")],
        },
    )


def test_step_may_begin_with_a_part_of_its_content() -> None:
    outcome = checked(
        created(),
        *step(
            0, "thought", {"type": "thought_summary", "content": {"text": "m"}}, summary=[text("H")]
        ),
        *step(1, "model_output", {"text": "i"}, content=[text("Oh. "), text("H")]),
        completed(),
        text="Oh. Hi",
    )
    assert outcome.messages == (
        {"type": "thought", "summary": [text("Hm")]},
        {"type": "model_output", "content": [text("Oh. "), text("Hi")]},
    )


@pytest.mark.parametrize(
    ("status", "kind", "calls"),
    [
        ("completed", "tool_calls", 1),
        ("requires_action", "tool_calls", 1),
        ("new", "tool_calls", 1),
        ("incomplete", "length", 0),
        ("budget_exceeded", "length", 0),
    ],
)
def test_status_says_whether_calls_are_to_be_run(status: str, kind: Any, calls: int) -> None:
    outcome = checked(*HI, *call(1, "a", "f", "{}"), completed(status))
    assert outcome.finish == Finish(status, kind)
    assert len(outcome.tool_calls) == calls
    assert len(outcome.messages) == 1 + calls


def test_cancelled_reply_is_an_error() -> None:
    data = body(*HI, *call(1, "a", "f", "{}"), completed("cancelled"))
    assert check(INTERACTIONS, data, text="Hi", raises=BackendError).tool_calls == ()


def test_arguments_that_come_again_count_once() -> None:
    data = body(*HI, *call(1, "a", "f", '{"n": 1}', '{"n": 1}', "{}"), completed("completed"))
    (whole,) = check(INTERACTIONS, data, text="Hi").tool_calls
    assert whole.arguments == '{"n": 1}'


@pytest.mark.parametrize("status", [None, "", [], {}, ["odd"]])
def test_reply_without_a_status_is_complete(status: Any) -> None:
    assert receive(INTERACTIONS, [body(*HI, completed(status))]).finish == Finish(None)


@pytest.mark.parametrize(
    "end", [b"", DONE, body(completed("in_progress")), body(completed("queued")) + DONE]
)
def test_reply_that_is_not_completed_is_incomplete(end: bytes) -> None:
    outcome = check(INTERACTIONS, body(*HI) + end, text="Hi", raises=IncompleteStream)
    assert outcome.messages == ({"type": "model_output", "content": [text("Hi")]},)


def test_arguments_that_are_not_json_are_invalid() -> None:
    data = body(*HI, *call(1, "a", "f", '{"n": 1}', "x"), completed("requires_action"))
    outcome = check(INTERACTIONS, data, text="Hi", raises=InvalidJSON)
    assert len(outcome.messages) == 1


def test_arguments_of_no_call_are_invalid() -> None:
    delta = {"type": "arguments_delta", "arguments": "{}"}
    check(INTERACTIONS, body(*HI, *step(1, "thought", delta)), text="Hi", raises=InvalidJSON)


@pytest.mark.parametrize(
    ("error", "payload"),
    [
        (ERROR, BUSY),
        (body(event("error", error=BUSY), named=False), BUSY),
        (body(event("error", code="busy"), named=False), {"code": "busy", "event_type": "error"}),
        (b"event: error\ndata: busy\n\n", "busy"),
        (b'{"error": {"code": 503}}\n', {"code": 503}),
        (
            body(completed("failed", errors=[BUSY])),
            {"id": "v1", "status": "failed", "errors": [BUSY]},
        ),
    ],
)
def test_error_inside_the_stream_is_a_backend_error(error: bytes, payload: Any) -> None:
    outcome = check(INTERACTIONS, body(*HI) + error, text="Hi", error=error, raises=BackendError)
    assert isinstance(outcome.error, BackendError)
    assert outcome.error.payload == payload


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (
            {
                "total_tokens": 100,
                "total_input_tokens": 9,
                "total_cached_tokens": 4,
                "total_tool_use_tokens": 80,
                "total_output_tokens": 5,
                "total_thought_tokens": 6,
            },
            Usage(89, 11, 4, 6),
        ),
        ({"total_output_tokens": 5.0}, Usage(0, 5)),
        ({"total_tokens": 7}, None),
        ({"total_input_tokens": "many"}, None),
        ("odd", None),
    ],
)
def test_usage_has_what_was_counted(counts: Any, expected: Usage | None) -> None:
    assert receive(INTERACTIONS, [body(*HI, completed(usage=counts))]).usage == expected


def test_step_of_an_agent_may_tell_the_usage_so_far() -> None:
    stop = event("step.stop", index=0, usage={"total_input_tokens": 3}, step_usage={})
    outcome = checked(*HI, stop, completed())
    assert outcome.deltas[2:] == (Usage(3, 0), Finish("completed"))


def test_reply_has_an_id_and_a_model() -> None:
    for fields in ({"model": "gemini-x"}, {"agent": "deep-research"}):
        reply = INTERACTIONS.reply("text/event-stream")
        assert (reply.id, reply.served_model) == (None, None)
        for item in reply.decoder.feed(body(created(**fields), *output(0, "Hi"))):
            list(reply.interpret(item))
        assert (reply.id, reply.served_model) == ("v1", *fields.values())


def test_content_without_a_delta_is_content() -> None:
    reply = INTERACTIONS.reply("text/event-stream")
    events = [created(), *thought(0, "c2ln")]
    deltas = [
        list(reply.interpret(item)) for each in events for item in reply.decoder.feed(body(each))
    ]
    assert deltas == [[], [], [None], []]


STEPS = [
    {"type": "thought", "signature": "c2ln", "summary": [text("Hm")]},
    {"type": "model_output", "content": [text("H"), text("i")]},
    {"type": "function_call", "id": "a", "name": "f", "arguments": {"n": 1}, "signature": "Zm4="},
]


@pytest.mark.parametrize("indent", [None, 2])
def test_object_in_place_of_a_stream_is_a_whole_reply(indent: int | None) -> None:
    usage = {"total_input_tokens": 3, "total_output_tokens": 4}
    whole = {"id": "v1", "status": "requires_action", "steps": STEPS, "usage": usage}
    data = json.dumps(whole, indent=indent).encode()
    outcome = check(INTERACTIONS, data, text="Hi", content_type=JSON)
    assert outcome.deltas == (
        *(Reasoning("Hm"), Text("H"), Text("i"), ToolCallPiece(0, "a", "f", '{"n": 1}')),
        *(Usage(3, 4), ToolCall(0, "a", "f", '{"n": 1}')),
        Finish("requires_action", "tool_calls"),
    )
    assert list(outcome.messages) == STEPS


@pytest.mark.parametrize(
    ("whole", "error"),
    [
        ({"detail": "Not Found"}, BackendError),
        ({"error": BUSY}, BackendError),
        ({"id": "v1", "status": "failed", "errors": [BUSY]}, BackendError),
        ({"id": "v1", "status": "in_progress"}, IncompleteStream),
    ],
)
def test_object_that_is_no_reply_is_an_error(whole: Any, error: type[Exception]) -> None:
    data = json.dumps(whole).encode()
    check(INTERACTIONS, data, text="", content_type=JSON, raises=error)


def test_steps_may_all_come_at_the_end_of_a_stream() -> None:
    outcome = checked(created(), completed(steps=STEPS))
    assert list(outcome.messages) == STEPS


def test_other_media_types_and_large_events_are_refused() -> None:
    with pytest.raises(ValueError, match="replies with text/event-stream"):
        INTERACTIONS.reply("application/x-ndjson")
    backend = GeminiInteractions(max_event_size=200)
    check(backend, body(*HI, *output(1, "x" * 200)), text="Hi", raises=EventTooLarge)


def sent(messages: Any, **options: Any) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(INTERACTIONS.request(messages, **options).body)
    return data


def test_request_is_exactly_this() -> None:
    request = GeminiInteractions(api_key="secret").request("Hi")
    assert request.method == "POST"
    assert request.url == "https://generativelanguage.googleapis.com/v1beta/interactions"
    assert request.headers == {
        "content-type": "application/json",
        "accept": "text/event-stream",
        "x-goog-api-key": "secret",
    }
    assert json.loads(request.body) == {
        "model": GeminiInteractions.default_model,
        "input": [{"type": "user_input", "content": [text("Hi")]}],
        "stream": True,
    }


def test_key_is_required_at_the_public_address_alone() -> None:
    with pytest.raises(ValueError, match="GEMINI_API_KEY"):
        GeminiInteractions().request("Hi")
    request = GeminiInteractions(base_url="http://127.0.0.1/v1/").request("Hi", model="m")
    assert request.url == "http://127.0.0.1/v1/interactions"
    assert "x-goog-api-key" not in request.headers


def test_messages_are_steps_or_have_a_role() -> None:
    image = {"type": "image", "uri": "gs://a"}
    data = sent(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [text("What?"), image]},
            {"role": "assistant", "content": "A cat."},
            {"role": "developer", "content": [text("No jokes."), text("Please.")]},
            {"role": "model", "content": [text("Yes.")]},
            {"type": "user_input", "content": "Why?"},
            {"type": "new_step"},
        ]
    )
    assert data["system_instruction"] == "Be brief.\n\nNo jokes.\n\nPlease."
    assert data["input"] == [
        {"type": "user_input", "content": [text("What?"), image]},
        {"type": "model_output", "content": [text("A cat.")]},
        {"type": "model_output", "content": [text("Yes.")]},
        {"type": "user_input", "content": "Why?"},
        {"type": "new_step"},
    ]


def test_second_turn_has_the_steps_as_they_came_and_the_results() -> None:
    reply = checked(
        created(),
        *thought(0, "c2ln"),
        *call(1, "a", "f", '{"n": 1}', signature=""),
        *call(2, "b", "g"),
        completed("requires_action"),
        text="",
    )
    results = [INTERACTIONS.tool_result(each, {"n": 2}) for each in reply.tool_calls]
    question = {"type": "user_input", "content": [text("What?")]}
    assert sent([question, *reply.messages, *results])["input"] == [
        question,
        {"type": "thought", "signature": "c2ln"},
        {"type": "function_call", "id": "a", "name": "f", "arguments": {"n": 1}, "signature": ""},
        {"type": "function_call", "id": "b", "name": "g", "arguments": {}},
        {"type": "function_result", "call_id": "a", "name": "f", "result": [text('{"n":2}')]},
        {"type": "function_result", "call_id": "b", "name": "g", "result": [text('{"n":2}')]},
    ]
    # The service has the rest.
    assert sent(results, previous_interaction_id="v1")["input"] == results
    with pytest.raises(ValueError, match="got a result for 'a'"):
        sent(results)
    with pytest.raises(ValueError, match="got a result for 'b'"):
        sent([question, *reply.messages[:2], results[0], results[1]])


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ("Sunny", [text("Sunny")]),
        (None, [text("null")]),
        ([1, "a"], [text('[1,"a"]')]),
        (
            [text("a"), {"type": "image", "data": "AA=="}],
            [text("a"), {"type": "image", "data": "AA=="}],
        ),
    ],
)
def test_result_may_be_any_value_of_json(value: Any, result: Any) -> None:
    answer = INTERACTIONS.tool_result(ToolCall(0, "a", "f"), value)
    assert answer == {"type": "function_result", "call_id": "a", "name": "f", "result": result}


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "parts": [{"text": "Hi"}]},
        {"role": "tool", "content": "12", "tool_call_id": "a"},
        {"role": "tool", "content": "12"},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}]},
        {"type": "function_call_output", "call_id": "a", "output": "12"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"role": "system", "content": [{"type": "image"}]},
        {"role": "user", "content": 12},
    ],
)
def test_message_of_another_service_is_a_value_error(message: Any) -> None:
    with pytest.raises(ValueError, match="messages must have the shape of the Interactions API's"):
        sent([{"role": "user", "content": "Hi"}, message])


@pytest.mark.parametrize("messages", [[], [{"role": "system", "content": "Be brief."}]])
def test_there_must_be_a_message_to_reply_to(messages: Any) -> None:
    with pytest.raises(ValueError, match=r"^messages must (be|include) "):
        sent(messages)


def test_options_are_fields_of_the_request() -> None:
    data = sent(
        "Hi",
        tools=[{"type": "google_search"}],
        store=False,
        thinking_level="low",
        generation_config={"temperature": 1, "thinking_level": "high"},
    )
    del data["input"]
    assert data == {
        "model": GeminiInteractions.default_model,
        "stream": True,
        "tools": [{"type": "google_search"}],
        "store": False,
        "generation_config": {"temperature": 1, "thinking_level": "low"},
    }
    with pytest.raises(TypeError, match="GeminiInteractions has no option n; its options are"):
        sent("Hi", n=2)


def test_agent_replaces_the_default_model() -> None:
    data = sent("Hi", agent="deep-research", background=True)
    assert (data["agent"], data["background"]) == ("deep-research", True)
    assert "model" not in data


def test_one_object_as_an_event_stream_is_understood() -> None:
    steps = [{"type": "model_output", "content": [{"type": "text", "text": "Hi"}]}]
    whole = {"id": "i", "status": "completed", "steps": steps}
    outcome = receive(INTERACTIONS, [json.dumps(whole).encode()])
    assert (outcome.text, outcome.finish) == ("Hi", Finish("completed"))
