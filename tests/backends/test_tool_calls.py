"""Tool calls are joined from their pieces, however a server marks and cuts them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sseparse import RemoteProtocolError
from sseparse_backends import ToolCall, ToolCallPiece
from sseparse_backends._tool_calls import ToolCalls


def put_together(*pieces: tuple[int | None, str, str, str]) -> list[ToolCall]:
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
            [(0, "a", "weather", ""), (0, "", "", '{"city":'), (0, "", "", ' "Rome"}')],
            [A],
        ),
        ([(0, "a", "weather", '{"city":'), (0, "a", "weather", ' "Rome"}')], [A]),
        ([(0, "", "", '{"city":'), (0, "a", "weather", ' "Rome"}')], [A]),
        ([(None, "a", "weather", '{"city":'), (None, "", "", ' "Rome"}')], [A]),
        ([(None, "a", "weather", '{"city":'), (None, "a", "", ' "Rome"}')], [A]),
        ([(7, "a", "weather", '{"city": "Rome"}'), (3, "b", "time", "{}")], [A, B]),
        ([(0, "a", "weather", '{"city": "Rome"}'), (0, "b", "time", "{}")], [A, B]),
        ([(None, "a", "weather", '{"city": "Rome"}'), (None, "b", "time", "{}")], [A, B]),
        # A first piece without an index belongs to the next piece with one, with or without ID.
        ([(None, "a", "weather", '{"city":'), (0, "", "", ' "Rome"}')], [A]),
        ([(None, "a", "weather", '{"city":'), (0, "a", "", ' "Rome"}')], [A]),
        ([(1, "a", "weather", '{"city":'), (0, "a", "", ' "Rome"}')], [A]),
        (
            [(0, "a", "f", "{}"), (1, "a", "g", "{}")],
            [ToolCall(i, "a", "fg"[i], "{}") for i in (0, 1)],
        ),
        ([(None, "a", "weather", '{"city": "Rome"}'), (1, "b", "time", "{}")], [A, B]),
        # Without an ID, a new name starts a call, and the same name continues it.
        (
            [(0, "", "f", '{"a": 1}'), (0, "", "g", "{}")],
            [ToolCall(0, "", "f", '{"a": 1}'), ToolCall(1, "", "g", "{}")],
        ),
        ([(0, "", "f", '{"a":'), (0, "", "f", ' "}"}')], [ToolCall(0, "", "f", '{"a": "}"}')]),
        (
            [(0, "a", "weather", '{"city":'), (1, "b", "time", "{}"), (0, "", "", ' "Rome"}')],
            [A, B],
        ),
        (
            [(0, "a", "weather", '{"city":'), (0, "b", "time", "{}"), (0, "a", "", ' "Rome"}')],
            [A, B],
        ),
        (
            [(None, "", "weather", "{}"), (None, "", "weather", "{}")],
            [ToolCall(0, "", "weather", "{}"), ToolCall(1, "", "weather", "{}")],
        ),
        (
            [(None, "", "", '{"city":'), (None, "", "weather", ' "Rome"}')],
            [ToolCall(0, "", "weather", '{"city": "Rome"}')],
        ),
        ([(0, "b", "time", "")], [ToolCall(0, "b", "time", "")]),
        # A piece with a call's ID and another index moves the call to that index.
        (
            [(0, "a", "weather", ""), (1, "a", "", '{"city":'), (1, "", "", ' "Rome"}')],
            [A],
        ),
        # A call without an index does not adopt a piece with another name.
        (
            [(None, "", "f", "{}"), (0, "b", "time", "{}")],
            [ToolCall(0, "", "f", "{}"), B],
        ),
        ([(None, "", "time", "{"), (0, "b", "time", "}")], [ToolCall(0, "b", "time", "{}")]),
    ],
)
def test_calls_are_put_together(
    pieces: list[tuple[int | None, str, str, str]], calls: list[ToolCall]
) -> None:
    assert put_together(*pieces) == calls


@pytest.mark.parametrize(
    ("pieces", "arguments"),
    [
        (["{}", '{"city": "Rome"}'], '{"city": "Rome"}'),
        (["{}", '{"city":', ' "Rome"}'], '{"city": "Rome"}'),
        (['{"city":', ' "Rome"}', '{"city": "Rome"}'], '{"city": "Rome"}'),
        (['{"city": "Rome"}\n', ' {"city": "Bari"}'], '{"city": "Bari"}'),
        (['{"city": "Rome"}', ""], '{"city": "Rome"}'),
        (["", ""], ""),
        (['{"city": "Rome"}', "{}"], '{"city": "Rome"}'),
        (["{}", "{}"], "{}"),
        # Arguments that are no objects are no repetition.
        (["1", "2"], "12"),
        (['{"a": 1}', "x"], '{"a": 1}x'),
        (['{"a": {}', "{}"], '{"a": {}{}'),
    ],
)
def test_last_of_several_objects_counts(pieces: list[str], arguments: str) -> None:
    call = ToolCall(0, "a", "weather", arguments)
    assert put_together(*((0, "a", "weather", piece) for piece in pieces)) == [call]


def test_arguments_of_a_custom_tool_are_any_text() -> None:
    calls = ToolCalls()
    calls.add(0, "a", "run", "{}{}", kind="custom")
    assert calls.take() == [ToolCall(0, "a", "run", "{}{}", "custom")]


@pytest.mark.parametrize("names", [["get_we", "ather"], ["get_weather", "get_weather"]])
def test_name_may_come_in_fragments_or_again(names: list[str]) -> None:
    pieces = [(0, "a" if number == 0 else "", name, "") for number, name in enumerate(names)]
    assert put_together(*pieces, (0, "", "", "{}")) == [ToolCall(0, "a", "get_weather", "{}")]


def test_new_id_without_a_name_goes_on_with_the_call_of_its_index() -> None:
    pieces = [(0, "a", "weather", '{"city":'), (0, "b", "", ' "Ro'), (0, "c", "", 'me"}')]
    assert put_together(*pieces) == [A]


def test_pieces_are_numbered_like_their_calls() -> None:
    calls = ToolCalls()
    pieces = [
        calls.add(7, "a", "weather"),
        calls.add(3, "b", "time", "{}"),
        calls.add(7, "", "", '{"city": "Rome"}'),
    ]
    assert pieces == [
        ToolCallPiece(0, "a", "weather"),
        ToolCallPiece(1, "b", "time", "{}"),
        ToolCallPiece(0, "", "", '{"city": "Rome"}'),
    ]
    assert calls.take() == [A, B]


def test_items_have_all_the_fields_of_their_pieces() -> None:
    calls = ToolCalls()
    calls.add(0, "a", "f", item={"index": 0, "id": "a", "extra": {"signature": "s"}})
    calls.add(0, "", "", "{}", item={"index": 0, "function": {"arguments": "{}", "strict": True}})
    function = {"name": "f", "arguments": "{}", "strict": True}
    item = {"id": "a", "type": "function", "function": function, "extra": {"signature": "s"}}
    assert calls.items(calls.take()) == [item]
    assert calls.items([]) == []


@st.composite
def calls_in_pieces(draw: st.DrawFn) -> tuple[list[ToolCall], list[list[str]]]:
    """Tool calls, and the arguments of each in pieces."""
    calls: list[ToolCall] = []
    pieces: list[list[str]] = []
    for index in range(draw(st.integers(1, 4))):
        arguments = draw(st.text('[]":\\ é漢', min_size=1, max_size=12))
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
                call.id if named or not indexed or number < len(calls) else "",
                call.name if number < len(calls) else "",
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
            (index, "" if number else call.id, "" if number else call.name, part)
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
        calls.add(index, f"call {number}" if with_id else "", "f", '{"n":')
        calls.add(index, "", "", f"{number}}}")
    taken = calls.take()
    assert len(taken) == 20_000
    assert taken[-1].arguments == '{"n":19999}'


def test_name_that_never_ends_is_refused() -> None:
    calls = ToolCalls()
    calls.add(0, "a", "f" * 999)
    with pytest.raises(RemoteProtocolError, match="must have at most 1000 characters"):
        calls.add(0, "", "gg")
