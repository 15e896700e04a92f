"""Tool calls are joined from their pieces, however a server marks and cuts them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sseparse_backends import ToolCall
from sseparse_backends._tool_calls import ToolCalls


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
        # A first piece without an index belongs to the next piece with one, with or without ID.
        ([(None, "a", "weather", '{"city":'), (0, None, None, ' "Rome"}')], [A]),
        ([(None, "a", "weather", '{"city":'), (0, "a", None, ' "Rome"}')], [A]),
        ([(1, "a", "weather", '{"city":'), (0, "a", None, ' "Rome"}')], [A]),
        (
            [(0, "a", "f", "{}"), (1, "a", "g", "{}")],
            [ToolCall(i, "a", "fg"[i], "{}") for i in (0, 1)],
        ),
        ([(None, "a", "weather", '{"city": "Rome"}'), (1, "b", "time", "{}")], [A, B]),
        # Without an ID, a new name starts a call, and the same name continues it.
        (
            [(0, None, "f", '{"a": 1}'), (0, None, "g", "{}")],
            [ToolCall(0, "", "f", '{"a": 1}'), ToolCall(1, "", "g", "{}")],
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
        # A piece with a call's ID and another index moves the call to that index.
        (
            [(0, "a", "weather", None), (1, "a", None, '{"city":'), (1, None, None, ' "Rome"}')],
            [A],
        ),
        # A call without an index does not adopt a piece with another name.
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
    """Tool calls, and the arguments of each in pieces."""
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
    """Pieces with an index or an ID may be interleaved."""
    calls, pieces = drawn
    # First pieces come in order, further ones in any order.
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
    """With ID and name in the first piece, the index may be missing or always the same."""
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
def test_twenty_thousand_calls_are_found_without_a_search(with_index: bool, with_id: bool) -> None:
    calls = ToolCalls()
    for number in range(20_000):
        index = number if with_index else None
        calls.add(index, f"call {number}" if with_id else None, "f", '{"n":')
        calls.add(index, None, None, f"{number}}}")
    taken = calls.take()
    assert len(taken) == 20_000
    assert taken[-1].arguments == '{"n":19999}'
