"""JSON in events, errors in that JSON, and fields that are read with care."""

from __future__ import annotations

import json
import logging
from typing import Any, get_args

import pytest

from sseparse import (
    EventTooLarge,
    InvalidJSON,
    RemoteProtocolError,
    ServerSentEvent,
    SSEDecoder,
    UnknownField,
)
from sseparse_backends import BackendError, Finish, FinishKind, ToolCall
from sseparse_backends._json_reply import JSONReply, loads


class Example(JSONReply):
    event_types = frozenset(["delta"])
    # Each kind but "other" is the reason of the same name.
    kinds = {kind: kind for kind in get_args(FinishKind) if kind != "other"}  # noqa: RUF012


def reply(max_size: int | None = None) -> Example:
    return Example(SSEDecoder(unknown_fields=True), max_size)


def objects(event: Any) -> list[Any]:
    return reply().objects(event)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (ServerSentEvent(data='{"text": "Hi"}'), [{"text": "Hi"}]),
        (ServerSentEvent("delta", '{"text": "Hi"}  '), [{"text": "Hi"}]),
        (ServerSentEvent(data='{"error": null, "a": [{}]}'), [{"error": None, "a": [{}]}]),
        (ServerSentEvent(data='[{"a": 1}, {"b": 2}, null]'), [{"a": 1}, {"b": 2}]),
        (ServerSentEvent(data='{"a": 1}\n{"b": 2}\n[DONE]'), [{"a": 1}, {"b": 2}, None]),
        (ServerSentEvent(data='{"a": 1}\n: ping\n\n{"b": 2}'), [{"a": 1}, {"b": 2}]),
        (ServerSentEvent(data='{"a":\n1}'), [{"a": 1}]),
        (ServerSentEvent(data='{"a":\n"\x01"}'), [{"a": "\x01"}]),
        (ServerSentEvent(data=" [DONE] "), [None]),
        (ServerSentEvent(data=": ping"), []),
        (ServerSentEvent(data="null"), []),
        (ServerSentEvent("new", '{"text": "Hi"}'), [{"text": "Hi"}]),
        ({"a": 1}, [{"a": 1}]),
        (None, []),
    ],
)
def test_event_is_its_json(event: Any, expected: list[Any]) -> None:
    assert objects(event) == expected


@pytest.mark.parametrize(
    "event",
    [
        ServerSentEvent(data=""),
        ServerSentEvent(data=" \n"),
        ServerSentEvent("ping", "ping"),
        ServerSentEvent("ping", ""),
        ServerSentEvent("ping", "[1]"),
        UnknownField("seed", "1", "seed: 1"),
        UnknownField("Error", "1", "Error: 1"),
    ],
)
def test_event_without_json_that_counts_is_none(event: ServerSentEvent | UnknownField) -> None:
    assert objects(event) == []


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        (ServerSentEvent(data='{"error": {"code": 429}}'), {"code": 429}),
        (ServerSentEvent(data='{"text": "Hi", "error": "overloaded"}'), "overloaded"),
        (ServerSentEvent("delta", '{"error": ""}'), ""),
        (ServerSentEvent(data='{"type": "error", "code": 1}'), {"type": "error", "code": 1}),
        (ServerSentEvent(data='{"object": "error", "code": 1}'), {"object": "error", "code": 1}),
        (ServerSentEvent("error", '{"type": "error", "error": {"code": 429}}'), {"code": 429}),
        (ServerSentEvent("error", '{"error": null, "code": 429}'), {"error": None, "code": 429}),
        (ServerSentEvent("error", '{"code": 429}'), {"code": 429}),
        (ServerSentEvent("error", "[1]"), [1]),
        (ServerSentEvent("error", "overloaded"), "overloaded"),
        (ServerSentEvent("error", ""), ""),
        (ServerSentEvent("error", "[" * 100_000), "[" * 100_000),
        (UnknownField("error", '{"detail": "x", "error": {"code": 429}}', ""), {"code": 429}),
        (UnknownField("error", "overloaded", "error: overloaded"), "overloaded"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_error_is_a_backend_error_with_its_payload(
    event: ServerSentEvent | UnknownField, payload: Any
) -> None:
    with pytest.raises(BackendError) as caught:
        objects(event)
    assert caught.value.payload == payload


@pytest.mark.parametrize(
    "event",
    [
        ServerSentEvent(data="ping"),
        ServerSentEvent(data="[1]"),
        ServerSentEvent(data="7"),
        ServerSentEvent(data='{"text": "Hi"'),
        ServerSentEvent(data='{"text": "Hi"}\n7'),
        ServerSentEvent(data='{"text": ' + "[" * 100_000),
        ServerSentEvent("delta", ' {"text": 7'),
        ServerSentEvent(data=r'{"text": "\ud8"."}'),
        ServerSentEvent(data=r'{"text": "\uDxyz"}'),
    ],
    ids=lambda event: repr(event)[:60],
)
def test_data_that_is_not_what_it_should_be_is_invalid_json(event: ServerSentEvent) -> None:
    with pytest.raises(InvalidJSON, match=r"^invalid JSON in an event: ") as caught:
        objects(event)
    assert caught.value.line == event.data.encode()[:256]
    assert caught.value.data == event.data.encode()


@pytest.mark.parametrize("data", ["text", "[1]", "[1", "{starting} up", "7", '"Hi"'])
def test_event_of_an_unknown_type_may_have_anything_in_it(data: str) -> None:
    assert objects(ServerSentEvent("progress", data)) == []


@pytest.mark.parametrize("data", ['{"text": "Hi"', ' { "text": \\', '{"a":' * 100_000], ids=len)
def test_damaged_object_is_invalid_json_whatever_the_type_of_its_event(data: str) -> None:
    with pytest.raises(InvalidJSON):
        objects(ServerSentEvent("progress", data))


@pytest.mark.parametrize("error", [None, False, "", {}, []])
def test_error_beside_other_fields_that_says_nothing_is_none(error: Any) -> None:
    event = ServerSentEvent("progress", json.dumps({"text": "Hi", "error": error}))
    assert objects(event) == [{"text": "Hi", "error": error}]


@pytest.mark.parametrize(
    "lines",
    [
        ['{"error": {"code": 503}}'],
        ["{", ' "error": {"code": 503}', "}"],
        ["[", '{"error":', '{"code": 503}', "}"],
        ['[{"error": {"code": 503, "words": "}"}}]'],
        [r'{"error": {"code": 503, "words": "\\\"{" }', "}"],
    ],
)
def test_json_outside_of_data_is_read_line_by_line(lines: list[str]) -> None:
    example = reply()
    *first, last = [UnknownField(line.partition(":")[0], "", line) for line in lines]
    assert [example.objects(field) for field in first] == [[]] * len(first)
    with pytest.raises(BackendError) as caught:
        example.objects(last)
    assert caught.value.payload["code"] == 503


def test_json_outside_of_data_that_has_not_ended_breaks_the_reply() -> None:
    example = reply()
    assert not example.is_broken
    assert example.objects(UnknownField("{", "", "{")) == []
    assert example.is_broken
    assert example.objects(UnknownField('"a"', "1}", '"a": 1}')) == [{"a": 1}]
    assert not example.is_broken


def test_json_outside_of_data_has_a_limit() -> None:
    example = reply(max_size=10)
    example.objects(UnknownField("{", "", "{"))
    with pytest.raises(EventTooLarge):
        example.objects(UnknownField("123456789", "", "1234567890"))


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (r"\ud83d", "\N{REPLACEMENT CHARACTER}"),
        (r"\uDE00!", "\N{REPLACEMENT CHARACTER}!"),
        (r"\ud83d\ud83d\ude00\n", "\N{REPLACEMENT CHARACTER}😀\n"),
        (r"\ude00\ud83d", "\N{REPLACEMENT CHARACTER}" * 2),
        (r"\\ud83d \ud83d", "\\ud83d \N{REPLACEMENT CHARACTER}"),
        (r"\\\ud83d \"", '\\\N{REPLACEMENT CHARACTER} "'),
        ("a\x1b[0m\tb", "a\x1b[0m\tb"),
    ],
)
def test_json_is_read_leniently(escaped: str, text: str) -> None:
    data = f'{{"{escaped}": ["{escaped}"]}}'
    assert objects(ServerSentEvent(data=data)) == [{text: [text]}]
    assert loads(data) == {text: [text]}


# Fields

ABSENT: list[Any] = [None, "", [], {}, False]


@pytest.mark.parametrize(
    ("method", "value", "expected"),
    [
        ("text", "Hi", "Hi"),
        ("text", 6, "6"),
        ("text", 0, "0"),
        ("text", 0.5, "0.5"),
        *(("text", value, "") for value in ABSENT),
        ("arguments", '{"a": 1}', '{"a": 1}'),
        ("arguments", {"a": "é"}, '{"a": "é"}'),
        ("arguments", None, ""),
        ("content", {"a": 1}, {"a": 1}),
        *(("content", value, {}) for value in ABSENT),
        ("contents", [{"a": 1}, None, {}], [{"a": 1}]),
        ("contents", {"a": 1}, [{"a": 1}]),
        *(("contents", value, []) for value in ABSENT),
        ("label", "a", "a"),
        ("label", 7, "7"),
        *(("label", value, "") for value in [*ABSENT, True, {"a": 1}, ["a"]]),
        ("index", 3, 3),
        ("index", 3.0, 3),
        ("index", "3", 3),
        *(("index", value, None) for value in [*ABSENT, True, 0.5, "x", "9" * 10, [1]]),
        *(("index", value, None) for value in (2**53, -(2**53), 10**400, 1e300)),
        ("count", 3, 3),
        ("count", 3.7, 3),
        *(("count", value, None) for value in [*ABSENT, True, -1, -0.5, float("inf"), "3", [3]]),
        ("details", {"a": 1}, {"a": 1}),
        *(("details", value, {}) for value in [*ABSENT, 7, "x", [1]]),
    ],
)
def test_field_is_what_it_plainly_means_or_absent(method: str, value: Any, expected: Any) -> None:
    found = getattr(reply(), method)({"field": value}, "field")
    assert found == expected
    assert type(found) is type(expected)
    assert getattr(reply(), method)({}, "field") == getattr(reply(), method)(
        {"field": None}, "field"
    )


@pytest.mark.parametrize(
    ("method", "value"),
    [
        *(("text", value) for value in (True, ["a"], {"a": 1})),
        *(("content", value) for value in (True, 7, "a", ["a"])),
        *(("contents", value) for value in (True, 7, "a", ["a"], [[1]])),
    ],
)
def test_content_that_cannot_be_read_is_invalid_json(method: str, value: Any) -> None:
    example = reply()
    for event in (ServerSentEvent(data=json.dumps({"field": value})), {"field": value}):
        (data,) = example.objects(event)
        with pytest.raises(
            InvalidJSON, match=r"^invalid JSON in an event: field must be "
        ) as caught:
            getattr(example, method)(data, "field")
        assert caught.value.data == json.dumps({"field": value}).encode()


def test_odd_field_is_told_once_for_a_reply(caplog: pytest.LogCaptureFixture) -> None:
    example = reply()
    assert example.count({"tokens": "many"}, "tokens") is None
    assert example.label({"id": {"a": 1}}, "id") == ""
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("sseparse", logging.WARNING)
    assert record.getMessage() == ("ignored tokens of a reply: it must be a number, got a string")
    reply().label({"id": ""}, "id")
    assert len(caplog.records) == 1


# The end

CALL = ToolCall(0, "a", "f", "{}")


@pytest.mark.parametrize(
    ("calls", "kind", "expected"),
    [
        ([], "stop", "stop"),
        ([CALL], "stop", "tool_calls"),
        ([CALL], "other", "tool_calls"),
        ([CALL], "tool_calls", "tool_calls"),
        ([CALL], "pause", "pause"),
        ([], "tool_calls", "tool_calls"),
    ],
)
def test_calls_come_before_finish(
    calls: list[ToolCall], kind: FinishKind, expected: FinishKind
) -> None:
    example = reply()
    assert list(example.finish(calls, kind)) == [*calls, Finish(kind, expected)]
    assert example.tool_calls == calls


@pytest.mark.parametrize(
    ("reason", "arguments"),
    [("stop", "{}"), ("tool_calls", "{}"), ("pause", "{}"), ("new", None), ("", None)],
)
def test_call_whose_arguments_never_came_is_one_only_in_a_reply_that_is_whole(
    reason: str, arguments: str | None
) -> None:
    example = reply()
    *calls, finish = example.finish([ToolCall(0, "a", "f"), ToolCall(1)], reason)
    assert calls == ([] if arguments is None else [ToolCall(0, "a", "f", arguments)])
    assert isinstance(finish, Finish)
    assert example.tool_calls == calls


@pytest.mark.parametrize("call", [ToolCall(0, "a", "", "{}"), ToolCall(0, "", "", "{}")])
def test_call_without_a_name_is_an_error(call: ToolCall) -> None:
    with pytest.raises(InvalidJSON, match="tool call 0 must have a name"):
        next(iter(reply().finish([call], "tool_calls")))


def test_start_of_another_reply_is_an_error() -> None:
    example = reply()
    assert example.start("a")
    assert not example.start("a")
    for other in ("b", ""):
        with pytest.raises(RemoteProtocolError, match="begins inside the first, 'a'"):
            example.start(other)


@pytest.mark.parametrize("kind", ["length", "filter"])
def test_reply_that_was_cut_has_no_calls(kind: FinishKind) -> None:
    example = reply()
    assert list(example.finish([CALL], kind)) == [Finish(kind, kind)]
    assert example.tool_calls == []


def test_no_call_is_handed_out_where_arguments_are_damaged() -> None:
    example = reply()
    calls = [CALL, ToolCall(1, "b", "g", '{"a": ')]
    with pytest.raises(InvalidJSON, match=r"^the arguments of tool call 1, g, must be JSON: "):
        next(iter(example.finish(calls, "tool_calls")))
    assert example.tool_calls == []
    custom = ToolCall(0, "b", "g", "any text", "custom")
    assert next(iter(example.finish([custom], "tool_calls"))) == custom


def test_reply_reads_objects_and_the_end_mark() -> None:
    example = reply()
    with pytest.raises(NotImplementedError):
        list(example.interpret(ServerSentEvent(data="{}")))
    assert list(example.interpret(ServerSentEvent(data="[DONE]"))) == []
