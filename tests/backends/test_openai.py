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
    FinishKind,
    OpenAI,
    Reasoning,
    Text,
    ToolCall,
    ToolCallPiece,
    Usage,
)
from sseparse_backends.testing import Outcome, receive
from tests.support.cuts import check

OPENAI = OpenAI()
# mypy checks it against the protocol.
BACKEND: Backend = OPENAI

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
    """The deltas of a complete reply with these events, without pieces of calls and Finish."""
    *before, finish = reply(b"".join([*events, STOP, DONE]), text).deltas
    calls = any(isinstance(delta, ToolCall) for delta in before)
    assert finish == Finish("stop", "tool_calls" if calls else "stop")
    return [delta for delta in before if not isinstance(delta, ToolCallPiece)]


def message(*events: bytes, finish: str = "stop") -> Any:
    """The only message of a complete reply with these events, and the message of a whole one."""
    outcome = receive(OPENAI, [*events, chunk(finish), DONE])
    assert outcome.error is None
    (whole,) = outcome.messages
    return whole


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


def test_choice_that_came_first_is_read_whatever_its_index() -> None:
    choices = [{"index": index, "delta": {"content": str(index)}} for index in (1, 0)]
    ends = [
        event({"choices": [{"index": index, "delta": {}, "finish_reason": reason}]})
        for index, reason in ((0, "length"), (1, "stop"))
    ]
    body = b"".join([event({"choices": choices}), *ends, DONE])
    assert reply(body, "1").deltas == (Text("1"), Finish("stop"))


def test_choice_that_begins_with_its_role_is_another_one() -> None:
    roles = [{"index": index, "delta": {"role": "assistant"}} for index in (0, 1)]
    texts = [{"index": index, "delta": {"content": str(index)}} for index in (0, 1)]
    events = [event({"choices": [choice]}) for choice in [*roles, *texts]]
    assert deltas(*events, text="0") == [Text("0")]


def test_index_that_counts_the_pieces_is_one_choice() -> None:
    delta = [{"role": "assistant", "content": "One"}, {"content": " two"}, {"content": " three"}]
    events = [
        event({"choices": [{"index": number, "delta": each}]}) for number, each in enumerate(delta)
    ]
    assert deltas(*events, text="One two three") == [Text("One"), Text(" two"), Text(" three")]


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
    "data",
    [
        *(b"{", b"Hi", b"7", b'"Hi"', b'{"choices": 7}', b'{"choices": ["Hi"]}'),
        *(b'{"choices": [{"delta": "Hi"}]}', b'{"choices": [{"delta": 7}]}'),
        b'{"choices": [{"delta": {"content": {"a": 1}}}]}',
        b'{"choices": [{"delta": {"content": true}}]}',
    ],
)
def test_damaged_chunk_is_invalid_json(data: bytes) -> None:
    error = reply(HI + b"data: " + data + b"\n\n" + STOP + DONE, raises=InvalidJSON).error
    assert isinstance(error, InvalidJSON)
    assert error.line == data


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        # A server that makes a new ID for each piece.
        (
            [
                *(call(0, "a", name="f"), call(0, "b", name="", arguments='{"x":')),
                *(call(0, "c"), call(0, arguments=" 1}")),
            ],
            ToolCall(0, "a", "f", '{"x": 1}'),
        ),
        ([call(0, "a", name="edit_"), call(0, name="file")], ToolCall(0, "a", "edit_file", "{}")),
        (
            [call(0, "a", name="f", arguments="{}"), call(0, "a", name="f", arguments='{"x": 1}')],
            ToolCall(0, "a", "f", '{"x": 1}'),
        ),
        (
            [chunk(tool_calls=[{"index": "0", "id": 7, "function": {"name": 8, "arguments": {}}}])],
            ToolCall(0, "7", "8", "{}"),
        ),
        (
            [chunk(tool_calls={"id": "a", "function": {"name": "f", "arguments": {"x": "é"}}})],
            ToolCall(0, "a", "f", '{"x": "é"}'),
        ),
        (
            [
                chunk(function_call={"name": "f", "arguments": '{"x":'}),
                chunk(function_call={"arguments": " 1}"}),
            ],
            ToolCall(0, "", "f", '{"x": 1}'),
        ),
        (
            [
                chunk(tool_calls=[{"index": 0, "id": "a", "type": "custom", "custom": custom}])
                for custom in ({"name": "run", "input": "a b"}, {"input": "\nc"})
            ],
            ToolCall(0, "a", "run", "a b\nc", "custom"),
        ),
    ],
    ids=["ids", "fragments", "placeholder", "odd", "object", "function-call", "custom"],
)
def test_call_may_be_sent_in_other_ways(pieces: list[bytes], expected: ToolCall) -> None:
    assert deltas(*pieces) == [expected]


def test_pieces_of_calls_come_as_they_arrive() -> None:
    body = [call(3, "a", name="f"), call(3, arguments="{"), call(3, arguments="}"), STOP, DONE]
    assert reply(b"".join(body), "").deltas == (
        *(ToolCallPiece(0, "a", "f"), ToolCallPiece(0, "", "", "{")),
        *(ToolCallPiece(0, "", "", "}"), ToolCall(0, "a", "f", "{}")),
        Finish("stop", "tool_calls"),
    )


@pytest.mark.parametrize(
    "delta",
    [
        {"function_call": {"name": "", "arguments": ""}},
        {"function_call": {"name": None, "arguments": None}},
        {"tool_calls": [{}]},
        {"tool_calls": [{"index": 0, "id": "", "function": {"name": "", "arguments": ""}}]},
    ],
)
def test_call_that_says_nothing_is_none(delta: dict[str, Any]) -> None:
    outcome = receive(OPENAI, [chunk(content="Hi", **delta), STOP, DONE])
    assert (outcome.tool_calls, outcome.finish) == ((), Finish("stop"))
    assert outcome.messages == ({"role": "assistant", "content": "Hi"},)


def test_older_function_call_beside_tool_calls_is_the_same_call() -> None:
    function = {"name": "f", "arguments": "{}"}
    tool_calls = [{"index": 0, "id": "a", "function": function}]
    assert deltas(chunk(tool_calls=tool_calls, function_call=function)) == [
        ToolCall(0, "a", "f", "{}")
    ]


def test_older_function_call_may_repeat_its_name() -> None:
    pieces = [chunk(function_call={"name": "f", "arguments": part}) for part in ('{"x":', " 1}")]
    assert deltas(*pieces) == [ToolCall(0, "", "f", '{"x": 1}')]


@pytest.mark.parametrize("end", [DONE, chunk("abort") + DONE])
def test_call_that_was_cut_before_its_arguments_is_none(end: bytes) -> None:
    outcome = receive(OPENAI, [HI, call(0, "a", name="rm", arguments=""), end])
    assert outcome.tool_calls == ()


@pytest.mark.parametrize("field", ["reasoning_content", "refusal", "content"])
def test_number_before_text_goes_back_too(field: str) -> None:
    whole = message(chunk(**{field: 5}), chunk(**{field: " apples"}))
    assert whole[field] == "5 apples"


@pytest.mark.parametrize(("reason", "kind"), [("length", "length"), ("content_filter", "filter")])
def test_call_that_a_limit_may_have_cut_is_none(reason: str, kind: FinishKind) -> None:
    pieces = [call(0, "a", name="f", arguments='{"x": 1}'), call(1, "b", name="g")]
    outcome = reply(b"".join([HI, *pieces, chunk(reason), DONE]))
    assert (outcome.tool_calls, outcome.finish) == ((), Finish(reason, kind))
    assert outcome.messages == ({"role": "assistant", "content": "Hi"},)


def test_arguments_that_are_no_json_are_an_error_that_names_the_call() -> None:
    body = HI + call(0, "a", name="f", arguments='{"x"') + STOP + DONE
    error = reply(body, raises=InvalidJSON).error
    assert isinstance(error, InvalidJSON)
    assert str(error).startswith("the arguments of tool call 0, f, must be JSON: ")
    assert error.data == b'{"x"'


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("stop", "stop"),
        ("eos", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("content_filter", "filter"),
        ("insufficient_system_resource", "other"),
    ],
)
def test_reason_has_a_kind(reason: str, kind: FinishKind) -> None:
    assert reply(HI + chunk(reason) + DONE).finish == Finish(reason, kind)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 5, "prompt_cache_hit_tokens": 4}, (9, 5, 4, 0)),
        (
            {
                **USAGE,
                "prompt_tokens_details": {"cached_tokens": 8},
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
            (9, 5, 8, 3),
        ),
        # The total says whether the reasoning is among the completion, as in xAI's it is not.
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 5,
                "total_tokens": 34,
                "completion_tokens_details": {"reasoning_tokens": 20},
            },
            (9, 25, 0, 20),
        ),
        ({"prompt_tokens": "9", "completion_tokens": -5, "prompt_tokens_details": 7}, None),
        ("", None),
        ({}, None),
    ],
)
def test_usage_has_one_meaning(usage: Any, expected: tuple[int, ...] | None) -> None:
    outcome = reply(HI + STOP + event({"choices": [], "usage": usage}) + DONE)
    assert outcome.usage == (None if expected is None else Usage(*expected))


# What goes back.


def test_message_has_the_text_and_all_other_fields() -> None:
    fields = {"annotations": [{"type": "url_citation", "url_citation": {"url": "u"}}]}
    assert message(HI, chunk(content="!", refusal=None), chunk(**fields)) == {
        "role": "assistant",
        "content": "Hi!",
        **fields,
    }


def test_message_has_the_calls_with_their_extra_fields() -> None:
    extra = {"google": {"thought_signature": "c2ln"}}
    first = {"index": 0, "id": "a", "type": "function", "function": {"name": "f"}}
    pieces = [chunk(tool_calls=[{**first, "extra_content": extra}]), call(0, arguments="{}")]
    function = {"name": "f", "arguments": "{}"}
    assert message(*pieces, finish="tool_calls") == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "a", "type": "function", "function": function, "extra_content": extra}
        ],
    }


def test_message_keeps_reasoning_with_its_details() -> None:
    def details(index: int, **fields: Any) -> bytes:
        return chunk(reasoning_details=[{"index": index, "format": "x-v1", **fields}])

    pieces = [
        details(0, type="reasoning.text", text="Let "),
        details(0, type="reasoning.text", text="me see"),
        details(0, type="reasoning.text", signature="c2ln"),
        details(0, type="reasoning.encrypted", data="b3BhcXVl"),
    ]
    thought = chunk(reasoning_content="Let me see")
    assert message(*pieces, thought, HI) == {
        "role": "assistant",
        "content": "Hi",
        "reasoning_content": "Let me see",
        "reasoning_details": [
            {
                "index": 0,
                "format": "x-v1",
                "type": "reasoning.text",
                "text": "Let me see",
                "signature": "c2ln",
            },
            {"index": 0, "format": "x-v1", "type": "reasoning.encrypted", "data": "b3BhcXVl"},
        ],
    }


def test_message_keeps_parts_refusal_images_and_the_id_of_audio() -> None:
    parts = [
        chunk(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "H"}]}]),
        chunk(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "m"}]}]),
        chunk(content=[{"type": "text", "text": "Hi"}, {"type": "reference", "ids": [1]}]),
    ]
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}, "index": 0}
    others = chunk(refusal="No", images=[image], audio={"id": "a1", "data": "AA=="})
    assert message(*parts, others) == {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]},
            {"type": "text", "text": "Hi"},
            {"type": "reference", "ids": [1]},
        ],
        "refusal": "No",
        "images": [image],
        "audio": {"id": "a1"},
    }


def test_message_of_the_older_function_call_goes_back_in_its_shape() -> None:
    piece = chunk(function_call={"name": "f", "arguments": "{}"})
    assert message(piece, finish="function_call") == {
        "role": "assistant",
        "content": None,
        "function_call": {"name": "f", "arguments": "{}"},
    }
    result = OPENAI.tool_result(ToolCall(0, "", "f", "{}"), {"n": 1})
    assert result == {"role": "function", "name": "f", "content": '{"n":1}'}


def test_second_turn_has_the_reply_and_the_results() -> None:
    outcome = receive(OPENAI, [call(0, "a", name="f", arguments="{}"), chunk("tool_calls"), DONE])
    service = OpenAI(base_url="http://127.0.0.1")
    messages = [{"role": "user", "content": "Hi"}, *outcome.messages]
    messages += [service.tool_result(call, "Sunny") for call in outcome.tool_calls]
    assert sent(messages, backend=service)["messages"] == [
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "Sunny"},
    ]


@pytest.mark.parametrize(
    ("output", "content"),
    [
        ("Sunny", "Sunny"),
        ([{"type": "text", "text": "Sunny"}], [{"type": "text", "text": "Sunny"}]),
        ([1, "é"], '[1,"é"]'),
        (None, "null"),
    ],
)
def test_result_is_text_or_parts_or_json(output: Any, content: Any) -> None:
    assert OPENAI.tool_result(ToolCall(0, "a", "f"), output)["content"] == content
    with pytest.raises(ValueError, match="must be JSON values"):
        OPENAI.tool_result(ToolCall(0, "a", "f"), float("nan"))


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([{"role": "tool", "tool_call_id": "b", "content": "Sunny"}], "got a result for 'b'"),
        ([{"role": "user", "parts": [{"text": "Hi"}]}], "the shape of OpenAI's, got one with 'p"),
        ([{"role": "user", "content": [{"type": "tool_result"}]}], "got one with 'tool_result'"),
        ([{"type": "function_call_output", "output": ""}], "got one with 'function_call_output'"),
    ],
)
def test_messages_that_the_service_would_refuse_are_a_value_error(
    messages: list[dict[str, Any]], words: str
) -> None:
    with pytest.raises(ValueError, match=f"^messages must have .*{words}"):
        sent(messages)


def test_id_and_model_are_those_of_the_chunks() -> None:
    answer = OPENAI.reply("text/event-stream")
    assert (answer.id, answer.served_model) == (None, None)
    for item in answer.decoder.feed(event({"id": "c1", "model": "gpt-5-mini-2026", "choices": []})):
        assert list(answer.interpret(item)) == []
    assert (answer.id, answer.served_model) == ("c1", "gpt-5-mini-2026")


WHOLE = {
    "id": "c1",
    "object": "chat.completion",
    "model": "tiny",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Hi",
                "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                ],
            },
            "finish_reason": "tool_calls",
        }
    ],
    "usage": USAGE,
}


def test_one_object_in_place_of_a_stream_is_understood() -> None:
    body = json.dumps(WHOLE, indent=2).encode()
    outcome = check(OPENAI, body, text="Hi", content_type="application/json")
    assert (outcome.usage, outcome.finish) == (Usage(9, 5), Finish("tool_calls", "tool_calls"))
    assert outcome.tool_calls == (ToolCall(0, "a", "f", "{}"),)
    assert list(outcome.messages) == [WHOLE["choices"][0]["message"]]  # type: ignore[index]


@pytest.mark.parametrize(
    "whole", [{"error": OVERLOADED}, {"detail": "no such model"}, {"choices": []}]
)
def test_object_that_is_no_reply_is_an_error_of_the_service(whole: dict[str, Any]) -> None:
    outcome = receive(OPENAI, [json.dumps(whole).encode()], content_type="application/json")
    assert isinstance(outcome.error, BackendError)
    assert outcome.error.payload == whole.get("error", whole)


@pytest.mark.parametrize("size", [1, 2])
def test_last_event_needs_no_blank_line(size: int) -> None:
    assert receive(OPENAI, [(HI + STOP)[:-size]]).finish == Finish("stop")
    assert isinstance(receive(OPENAI, [(HI + ERROR)[:-size]]).error, BackendError)
    assert isinstance(receive(OPENAI, [(HI + STOP)[:-3]]).error, IncompleteStream)


@pytest.mark.parametrize(
    "error",
    [
        b'{"error": {"code": 503}}',
        b'{\n  "error": {\n    "code": 503\n  }\n}\n',
        b'[{"error": {"code": 503}}]',
        b'[\n{"error":\n {"code": 503}}\n]\n',
        b'data: [{"error": {"code": 503}}]\n\n',
    ],
)
def test_error_may_stand_outside_of_data_or_in_an_array(error: bytes) -> None:
    for start in (b"", HI, HI + STOP):
        outcome = receive(OPENAI, [start + error])
        assert isinstance(outcome.error, BackendError)
        assert outcome.error.payload == {"code": 503}


def test_comment_in_data_and_events_without_blank_lines_are_read() -> None:
    lines = [b"data: : keep-alive\n\n", HI[:-1], chunk(content="!")[:-1], STOP[:-1], DONE]
    assert receive(OPENAI, [b"".join(lines)]).deltas == (Text("Hi"), Text("!"), Finish("stop"))


def test_event_beyond_the_limit_is_refused() -> None:
    backend = OpenAI(max_event_size=len(HI))
    check(backend, HI + chunk(content="x" * 99) + DONE, text="Hi", raises=EventTooLarge)


@pytest.mark.parametrize("content_type", ["application/x-ndjson", "text/html", "text/plain"])
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
        (
            "https://bedrock-runtime.eu-west-1.amazonaws.com/openai/v1",
            "https://bedrock-runtime.eu-west-1.amazonaws.com/openai/v1/chat/completions",
        ),
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


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("form", ["%s", "data: %s\n\n"])
def test_one_object_as_an_event_stream_is_understood(indent: int | None, form: str) -> None:
    text = json.dumps(WHOLE, indent=None if "data" in form else indent)
    outcome = receive(OPENAI, [(form % text).encode()])
    assert (outcome.text, outcome.usage) == ("Hi", Usage(9, 5))
    assert outcome.tool_calls == (ToolCall(0, "a", "f", "{}"),)
    assert list(outcome.messages) == [WHOLE["choices"][0]["message"]]  # type: ignore[index]


def test_call_without_an_id_gets_one() -> None:
    pieces = [{"index": index, "function": {"name": name}} for index, name in enumerate("fg")]
    outcome = receive(OPENAI, [chunk(tool_calls=pieces), chunk("tool_calls"), DONE])
    assert [call.id for call in outcome.tool_calls] == ["call_0", "call_1"]
    results = [OPENAI.tool_result(call, "x") for call in outcome.tool_calls]
    assert [result["role"] for result in results] == ["tool", "tool"]
    messages = [{"role": "user", "content": "Hi"}, *outcome.messages, *results]
    assert sent(messages)["messages"] == messages


def test_calls_of_a_message_may_have_any_shape() -> None:
    messages = [{"role": "assistant", "tool_calls": ["odd", {"id": "a"}]}]
    messages += [{"role": "tool", "tool_call_id": "a", "content": "x"}]
    assert sent(messages)["messages"] == messages
