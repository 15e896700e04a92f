"""What the backends read in common: events with JSON, errors, calls of tools."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sseparse import InvalidJSON, ServerSentEvent, UnknownField
from sseparse_backends import BackendError, ToolCall
from sseparse_backends._reading import Message, ToolCalls, read


class Chunk(Message):
    text: str | None = None


decode = msgspec.json.Decoder(Chunk).decode


@pytest.mark.parametrize(
    ("event", "chunk"),
    [
        (ServerSentEvent(data='{"text": "Hi"}'), Chunk(text="Hi")),
        (ServerSentEvent("delta", '{"type": "delta", "text": "Hi"}  '), Chunk("delta", text="Hi")),
        (ServerSentEvent(data='{"error": null, "other": [{}]}'), Chunk()),
    ],
)
def test_event_is_its_json(event: ServerSentEvent, chunk: Chunk) -> None:
    assert read(event, decode) == chunk


@pytest.mark.parametrize(
    "event",
    [
        ServerSentEvent(data=""),
        ServerSentEvent(data=" \n"),
        ServerSentEvent("ping", "ping"),
        ServerSentEvent("ping", ""),
        ServerSentEvent("ping", "[1]"),
        UnknownField("seed", "1"),
        UnknownField("Error", "1"),
    ],
)
def test_event_without_json_that_counts_is_none(event: ServerSentEvent | UnknownField) -> None:
    assert read(event, decode) is None


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
        (UnknownField("error", '{"detail": "x", "error": {"code": 429}}'), {"code": 429}),
        (UnknownField("error", "overloaded"), "overloaded"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_error_is_a_backend_error_with_its_payload(
    event: ServerSentEvent | UnknownField, payload: Any
) -> None:
    with pytest.raises(BackendError) as caught:
        read(event, decode, {"delta"})
    assert caught.value.payload == payload


@pytest.mark.parametrize(
    "event",
    [
        ServerSentEvent(data="ping"),
        ServerSentEvent(data="[1]"),
        ServerSentEvent(data='{"text": "Hi"'),
        ServerSentEvent(data='{"text": 7}'),
        ServerSentEvent(data='{"text": ' + "[" * 100_000),
        ServerSentEvent("delta", ' {"text": 7}'),
    ],
    ids=lambda event: repr(event)[:60],
)
def test_data_that_is_not_what_it_should_be_is_invalid_json(event: ServerSentEvent) -> None:
    with pytest.raises(InvalidJSON, match=r"^invalid JSON in an event: ") as caught:
        read(event, decode, {"delta"})
    assert caught.value.line == event.data.encode()[:256]
    assert caught.value.data == event.data.encode()
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    "data",
    [
        "text",
        "[1]",
        "[1",
        "{starting} up",
        '{"text": 7, "error": false}',
        '{"text": 7}',
        '{"type": 5, "text": []}',
        '{"text": 7, "error": 1}',
    ],
)
def test_event_of_a_type_that_is_not_known_may_have_anything_in_it(data: str) -> None:
    assert read(ServerSentEvent("progress", data), decode) is None


def test_error_in_an_event_of_a_new_type_is_its_own() -> None:
    event = ServerSentEvent("progress", '{"type": "progress", "error": "its own"}')
    assert read(event, decode) == Chunk("progress", error="its own")


@pytest.mark.parametrize("data", ['{"error": "overloaded"}', '{"type": "error", "code": 1}'])
def test_error_is_one_whatever_the_type_of_its_event(data: str) -> None:
    with pytest.raises(BackendError):
        read(ServerSentEvent("progress", data), decode)


@pytest.mark.parametrize("data", ['{"text": "Hi"', ' { "text": \\', '{"a":' * 100_000], ids=len)
def test_damaged_object_is_invalid_json_whatever_the_type_of_its_event(data: str) -> None:
    with pytest.raises(InvalidJSON):
        read(ServerSentEvent("progress", data), decode)


@pytest.mark.parametrize("error", [None, False, ""])
def test_event_of_a_type_that_is_not_known_counts_if_it_can_be_read(error: Any) -> None:
    event = ServerSentEvent("progress", json.dumps({"text": "Hi", "error": error}))
    assert read(event, decode) == Chunk(text="Hi", error=error)


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (r"\ud83d", "\N{REPLACEMENT CHARACTER}"),
        (r"\uDE00!", "\N{REPLACEMENT CHARACTER}!"),
        (r"\ud83d\ud83d\ude00\n", "\N{REPLACEMENT CHARACTER}😀\n"),
        (r"\ude00\ud83d", "\N{REPLACEMENT CHARACTER}" * 2),
        (r"\\ud83d \ud83d", "\\ud83d \N{REPLACEMENT CHARACTER}"),
        (r"\\\ud83d \"", '\\\N{REPLACEMENT CHARACTER} "'),
    ],
)
def test_half_a_surrogate_pair_is_a_replacement_character(escaped: str, text: str) -> None:
    assert read(ServerSentEvent(data=f'{{"text": "{escaped}"}}'), decode) == Chunk(text=text)


@pytest.mark.parametrize(
    "data",
    [
        r'{"text": "\ud8"."}',
        r'{"text": "\ud83d\u12"}',
        r'{"text": "\uDxyz"}',
        r'{"text": "\UD83D"}',
    ],
)
def test_what_is_no_escape_at_all_is_damage(data: str) -> None:
    with pytest.raises(InvalidJSON):
        read(ServerSentEvent(data=data), decode)


# Calls of tools.


def put_together(*pieces: tuple[int | None, str | None, str | None, str | None]) -> list[ToolCall]:
    calls = ToolCalls()
    for piece in pieces:
        calls.add(*piece)
    return calls.take()


A = ToolCall(0, "a", "weather", '{"city": "Rome"}')
B = ToolCall(1, "b", "time", "{}")


@pytest.mark.parametrize(
    ("pieces", "calls"),
    [
        ([], []),
        ([(0, "a", "weather", '{"city": "Rome"}')], [A]),
        (
            [(0, "a", "weather", None), (0, None, None, '{"city":'), (0, None, None, ' "Rome"}')],
            [A],
        ),
        ([(0, "a", "weather", '{"city":'), (0, "a", "weather", ' "Rome"}')], [A]),
        ([(0, "", "", '{"city":'), (0, "a", "weather", ' "Rome"}')], [A]),
        ([(None, "a", "weather", '{"city":'), (None, None, None, ' "Rome"}')], [A]),
        ([(None, "a", "weather", '{"city":'), (None, "a", None, ' "Rome"}')], [A]),
        ([(7, "a", "weather", '{"city": "Rome"}'), (3, "b", "time", "{}")], [A, B]),
        ([(0, "a", "weather", '{"city": "Rome"}'), (0, "b", "time", "{}")], [A, B]),
        ([(None, "a", "weather", '{"city": "Rome"}'), (None, "b", "time", "{}")], [A, B]),
        # A first piece without an index belongs to those that have one, by the ID or without.
        ([(None, "a", "weather", '{"city":'), (0, None, None, ' "Rome"}')], [A]),
        ([(None, "a", "weather", '{"city":'), (0, "a", None, ' "Rome"}')], [A]),
        ([(1, "a", "weather", '{"city":'), (0, "a", None, ' "Rome"}')], [A]),
        (
            [(0, "a", "f", "{}"), (1, "a", "g", "{}")],
            [ToolCall(i, "a", "fg"[i], "{}") for i in (0, 1)],
        ),
        ([(None, "a", "weather", '{"city": "Rome"}'), (1, "b", "time", "{}")], [A, B]),
        # Without an ID, another name begins another call, and so do arguments that begin anew.
        (
            [(0, None, "f", '{"a": 1}'), (0, None, "g", "{}"), (0, None, "g", ' {"b": 2}')],
            [
                ToolCall(0, "", "f", '{"a": 1}'),
                ToolCall(1, "", "g", "{}"),
                ToolCall(2, "", "g", ' {"b": 2}'),
            ],
        ),
        ([(0, None, "f", '{"a":'), (0, None, "f", ' "}"}')], [ToolCall(0, "", "f", '{"a": "}"}')]),
        (
            [(0, "a", "weather", '{"city":'), (1, "b", "time", "{}"), (0, None, None, ' "Rome"}')],
            [A, B],
        ),
        (
            [(0, "a", "weather", '{"city":'), (0, "b", "time", "{}"), (0, "a", None, ' "Rome"}')],
            [A, B],
        ),
        (
            [(None, None, "weather", "{}"), (None, None, "weather", "{}")],
            [ToolCall(0, "", "weather", "{}"), ToolCall(1, "", "weather", "{}")],
        ),
        (
            [(None, None, None, '{"city":'), (None, None, "weather", ' "Rome"}')],
            [ToolCall(0, "", "weather", '{"city": "Rome"}')],
        ),
        ([(0, "b", "time", None)], [ToolCall(0, "b", "time", "{}")]),
        # What looks like a beginning may be in a string, whose end or escape another piece has.
        (
            [(0, None, "f", '{"a":"{}'), (0, None, "f", '{}"}')],
            [ToolCall(0, "", "f", '{"a":"{}{}"}')],
        ),
        (
            [(0, None, "f", '{"a":"\\'), (0, None, "f", '"}'), (0, None, "f", '{"}')],
            [ToolCall(0, "", "f", '{"a":"\\"}{"}')],
        ),
        # A piece that comes by its ID under another index moves its call there.
        (
            [(0, "a", "weather", None), (1, "a", None, '{"city":'), (1, None, None, ' "Rome"}')],
            [A],
        ),
        # A call without an index is not taken for one of another name.
        (
            [(None, None, "f", "{}"), (0, "b", "time", "{}")],
            [ToolCall(0, "", "f", "{}"), B],
        ),
        ([(None, None, "time", "{"), (0, "b", "time", "}")], [ToolCall(0, "b", "time", "{}")]),
    ],
)
def test_calls_are_put_together(
    pieces: list[tuple[int | None, str | None, str | None, str | None]], calls: list[ToolCall]
) -> None:
    assert put_together(*pieces) == calls


@pytest.mark.parametrize("whole", ['{"city": "Rome"}', "", None])
def test_whole_arguments_take_the_place_of_the_pieces(whole: str | None) -> None:
    calls = ToolCalls()
    calls.add(0, "a", "weather", '{"city": "Rome"}')
    calls.add(0, None, None, whole, whole=True)
    assert calls.take() == [A]


def test_calls_are_taken_once() -> None:
    calls = ToolCalls()
    calls.add(0, "a", "weather", '{"city": "Rome"}')
    assert calls.take() == [A]
    assert calls.take() == []
    calls.add(0, None, "weather", None)
    assert calls.take() == [ToolCall(0, "", "weather", "{}")]


@st.composite
def calls_in_pieces(draw: st.DrawFn) -> tuple[list[ToolCall], list[list[str]]]:
    """Calls, and the arguments of each in pieces."""
    calls: list[ToolCall] = []
    pieces: list[list[str]] = []
    for index in range(draw(st.integers(1, 4))):
        arguments = draw(st.text('{}":\\ é漢', min_size=1, max_size=12))
        edges = draw(st.lists(st.integers(0, len(arguments)), max_size=4))
        calls.append(ToolCall(index, f"call_{index}", "tool", arguments))
        spans = pairwise([0, *sorted(edges), len(arguments)])
        pieces.append([arguments[start:end] for start, end in spans])
    return calls, pieces


@given(calls_in_pieces(), st.randoms(use_true_random=False), st.booleans(), st.booleans())
def test_calls_are_the_same_however_they_are_cut_and_mixed(
    drawn: tuple[list[ToolCall], list[list[str]]], random: Any, indexed: bool, named: bool
) -> None:
    """With an index in each piece, or else an id, they may be mixed."""
    calls, pieces = drawn
    # They begin one after another, and go on in any order.
    order = [call for call in calls for _ in pieces[call.index][1:]]
    random.shuffle(order)
    parts = [(call, pieces[call.index].pop(0)) for call in calls + order]
    assert calls == put_together(
        *(
            (
                call.index if indexed else None,
                call.id if named or not indexed or number < len(calls) else None,
                call.name if number < len(calls) else None,
                part,
            )
            for number, (call, part) in enumerate(parts)
        )
    )


@given(calls_in_pieces(), st.sampled_from([0, 7, None]))
def test_calls_are_the_same_however_they_are_cut_one_after_another(
    drawn: tuple[list[ToolCall], list[list[str]]], index: int | None
) -> None:
    """With the id and the name in their first piece they need no index, or all have the same."""
    calls, pieces = drawn
    assert calls == put_together(
        *(
            (index, None if number else call.id, None if number else call.name, part)
            for call, parts in zip(calls, pieces, strict=True)
            for number, part in enumerate(parts)
        )
    )


@pytest.mark.parametrize("with_index", [True, False])
@pytest.mark.parametrize("with_id", [True, False])
def test_hundred_thousand_calls_are_found_without_a_search(with_index: bool, with_id: bool) -> None:
    calls = ToolCalls()
    for number in range(100_000):
        index = number if with_index else None
        calls.add(index, f"call {number}" if with_id else None, "f", '{"n":')
        calls.add(index, None, None, f"{number}}}")
    taken = calls.take()
    assert len(taken) == 100_000
    assert taken[-1].arguments == '{"n":99999}'
