"""Objects in pieces are put together without losing a field."""

from __future__ import annotations

from typing import Any

import pytest

from sseparse_backends._merge import joined, merge


def merged(*pieces: dict[str, Any]) -> Any:
    target: dict[str, Any] = {}
    for piece in pieces:
        merge(target, piece)
    return joined(target)


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        ([], {}),
        ([{"text": "H"}, {"text": "i"}, {"text": ""}], {"text": "Hi"}),
        ([{"text": None}, {"text": "Hi"}, {"text": None}], {"text": "Hi"}),
        ([{"text": "Hi"}, {"text": []}, {"text": {}}, {"text": 7}, {}], {"text": "Hi7"}),
        # Labels are said again.
        ([{"type": "text", "id": "a"}, {"type": "text", "id": "a"}], {"type": "text", "id": "a"}),
        ([{"id": "a"}, {"id": ""}], {"id": "a"}),
        ([{"n": 1, "done": False}, {"n": 0, "done": True}], {"n": 0, "done": True}),
        ([{"a": {"b": "x"}}, {"a": {"b": "y", "c": [1]}}], {"a": {"b": "xy", "c": [1]}}),
        ([{"a": [1, None]}, {"a": [2]}], {"a": [1, None, 2]}),
        # Objects and lists stay when something else follows.
        ([{"a": {"b": "x"}}, {"a": "y"}, {"a": 1}], {"a": {"b": "x"}}),
        ([{"a": [1]}, {"a": 2}, {"a": {"b": "x"}}], {"a": [1]}),
        # By their index, type and ID.
        (
            [
                {"a": [{"index": 0, "text": "H"}, {"index": 1, "text": "y"}]},
                {"a": [{"index": 1, "text": "ou"}, {"index": 0, "text": "i"}]},
            ],
            {"a": [{"index": 0, "text": "Hi"}, {"index": 1, "text": "you"}]},
        ),
        (
            [{"a": [{"index": 0, "type": "x", "text": "H"}]}, {"a": [{"index": 0, "type": "y"}]}],
            {"a": [{"index": 0, "type": "x", "text": "H"}, {"index": 0, "type": "y"}]},
        ),
        # Text goes on where text follows, and only there.
        (
            [{"a": [{"type": "text", "text": "H"}]}, {"a": [{"type": "text", "text": "i"}]}],
            {"a": [{"type": "text", "text": "Hi"}]},
        ),
        (
            [{"a": [{"text": "H", "thought": True}]}, {"a": [{"text": "i"}]}],
            {"a": [{"text": "H", "thought": True}, {"text": "i"}]},
        ),
        (
            [{"a": [{"text": "H", "signature": "s"}]}, {"a": [{"text": "i"}]}],
            {"a": [{"text": "H", "signature": "s"}, {"text": "i"}]},
        ),
        # Text and parts.
        (
            [
                *({"content": ""}, {"content": [{"type": "thinking", "thinking": []}]}),
                *({"content": "H"}, {"content": "i"}),
            ],
            {"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "Hi"}]},
        ),
        (
            [{"content": "Hi"}, {"content": [{"type": "image"}]}],
            {"content": [{"type": "text", "text": "Hi"}, {"type": "image"}]},
        ),
    ],
)
def test_pieces_are_merged(pieces: list[dict[str, Any]], whole: dict[str, Any]) -> None:
    assert merged(*pieces) == whole


def test_what_was_merged_is_copied() -> None:
    target: dict[str, Any] = {}
    piece = {"a": {"b": ["x"]}, "text": "Hi"}
    merge(target, piece)
    joined(target)["a"]["b"].append("y")
    assert joined(target) == piece == {"a": {"b": ["x"]}, "text": "Hi"}
    piece["a"]["b"].append("z")  # type: ignore[index]
    assert joined(target)["a"] == {"b": ["x"]}


def test_many_elements_and_pieces_take_linear_time() -> None:
    target: dict[str, Any] = {}
    for number in range(20_000):
        merge(target, {"text": "x" * 50, "a": [{"index": number, "text": "x"}]})
    whole = joined(target)
    assert (len(whole["text"]), len(whole["a"])) == (1_000_000, 20_000)
