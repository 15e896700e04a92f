"""Markdown that is rendered as it arrives."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from sseparse_backends import Text
from sseparse_backends.cli import _markdown
from sseparse_backends.cli._markdown import MarkdownPrinter, _Block, blocks

# Lines that begin, continue or end a block, and lines that only look like it.
SYNTAX = [
    *("\n", "\n\n", "\n\n\n", " ", "    ", "a", "é漢", "#", "# ", "- ", "* ", "1. ", "> ", "---"),
    *("***", "=", "`", "```", "```python\n", "~~~", "*", "_", "[", "](", ")", "![", "<div>", "\\"),
    *("</kbd>", "<!--", "[x]: http://y\n", "&amp;", "\u2028", "|", "| a | b |\n", "|---|---|\n"),
]
documents = st.lists(st.sampled_from(SYNTAX), max_size=25).map("".join)


def printed(pieces: Sequence[str], monkeypatch: pytest.MonkeyPatch, **options: Any) -> str:
    """Return the output of the pieces of a reply, after each is rendered."""
    file = io.StringIO()
    options = {"file": file, "width": 30, "height": 10, **options}
    with monkeypatch.context() as patch:
        patch.setattr(_markdown, "Console", partial(Console, **options))
        patch.setattr(_markdown, "_INTERVAL", 0)
        patch.setattr(_markdown, "_REST", 0)
        printer = MarkdownPrinter()
        for piece in pieces:
            printer.show(Text(piece))
        printer.close()
    return file.getvalue()


@given(documents)
def test_the_blocks_of_a_document_are_all_of_it(document: str) -> None:
    assert "".join(blocks(document)) == document


@given(document=documents, data=st.data())
def test_what_is_printed_does_not_depend_on_the_pieces(document: str, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(document)), max_size=8).map(sorted))
    bounds = [0, *cuts, len(document)]
    pieces = [document[start:end] for start, end in pairwise(bounds)]
    monkeypatch = pytest.MonkeyPatch()
    assert printed(pieces, monkeypatch) == printed([document], monkeypatch)


def test_blocks_are_rendered_with_a_blank_line_between_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pieces = ["Hello *yo", "u*\n\n- one\n", "- two\n\n---\n> quo", "ted <b>x</b>"]
    lines = [line.rstrip() for line in printed(pieces, monkeypatch).splitlines()]
    assert lines == ["Hello you", "", " • one", " • two", "", "-" * 30, "", "▌ quoted <b>x</b>"]


def test_the_end_of_a_block_is_shown_where_the_terminal_is_lower() -> None:
    source = "```\n" + "".join(f"line {number}\n" for number in range(20))
    console = Console(width=30, height=10)
    with console.capture() as capture:
        console.print(_Block(source, True, -9))
    lines = [line.strip() for line in capture.get().splitlines()]
    assert lines == [*(f"line {number}" for number in range(12, 20)), ""]
