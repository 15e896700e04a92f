"""Markdown, rendered on a terminal as it arrives."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import pairwise

from markdown_it import MarkdownIt
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.markdown import Markdown
from rich.segment import Segment

from sseparse.cli import safe_for
from sseparse_backends import Delta, Reasoning, Text, ToolCall

from ._printing import TextPrinter

# The last block is rendered at most so often, in seconds, and for a tenth of the time.
_INTERVAL = 0.05
_REST = 9


class MarkdownPrinter(TextPrinter):
    """Prints text as TextPrinter does, but rendered.

    A block is printed once another one follows. Only the last one is rendered again as it grows, so
    the cost of a reply is linear.
    """

    def __init__(self) -> None:
        super().__init__()
        self._console = Console()
        self._live: Live | None = None
        # The number of printed blocks, and the pieces of the one that grows.
        self._printed = 0
        self._pieces: list[str] = []
        self._next_render = 0.0

    def show(self, delta: Delta) -> None:
        """See Printer.show."""
        if isinstance(delta, Text):
            self._leave(True)
            self._pieces.append(safe_for(delta.text, sys.stdout))
            if time.monotonic() >= self._next_render:
                self._render()
        elif isinstance(delta, Reasoning | ToolCall):
            self._finish()
            super().show(delta)

    def close(self) -> None:
        """See Printer.close."""
        self._finish()
        super().close()

    def _render(self) -> None:
        start = time.monotonic()
        source = "".join(self._pieces)
        # A line that grows may still join the block before it: "#" is a heading, "#1" is not.
        *final, _ = blocks(source[: source.rfind("\n") + 1])
        last = source[sum(map(len, final)) :]
        self._pieces = [last]
        if self._live is None:
            self._live = Live(
                console=self._console,
                auto_refresh=False,
                redirect_stdout=False,
                redirect_stderr=False,
                transient=True,
            )
            self._live.start()
        self._live.update("")
        for block in final:
            self._print(block)
        height = self._console.height
        self._live.update(_Block(last, self._printed == 0, 1 - height), refresh=True)
        now = time.monotonic()
        self._next_render = now + max(_INTERVAL, _REST * (now - start))

    def _print(self, block: str) -> None:
        self._console.print(_Block(block, self._printed == 0))
        self._printed += 1

    def _finish(self) -> None:
        """Print the last block, after which no other one may come."""
        if self._live is not None:
            self._live.update("")
            self._live.stop()
            self._live = None
        for block in blocks("".join(self._pieces)):
            if block.strip():
                self._print(block)
        self._pieces.clear()


# As rich's own, but HTML is text: rich would leave it out, and fails at a lone </kbd>.
_PARSER = MarkdownIt(options_update={"html": False}).enable("strikethrough").enable("table")


def blocks(source: str) -> Iterator[str]:
    """Return the blocks of a Markdown document: paragraphs, lists, tables and so on."""
    # Not splitlines, for which U+2028 ends a line too.
    lines = re.findall(r"[^\n]*\n|[^\n]+", source)
    tokens = _PARSER.parse(source)
    starts = [token.map[0] for token in tokens if token.level == 0 and token.map]
    for start, end in pairwise([0, *starts[1:], len(lines)]):
        yield "".join(lines[start:end])


class _Block:
    """A block for rich, after a blank line unless it is the first.

    start: number of the first line to show, negative if counted from the end.
    """

    def __init__(self, source: str, is_first: bool, start: int = 0) -> None:
        self._markdown = Markdown("")
        self._markdown.parsed = _PARSER.parse(source)
        self._is_first = is_first
        self._start = start

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(self._markdown, options, pad=False)
        # rich puts an empty line before some kinds of block, and one after a rule.
        while lines and _is_empty(lines[0]):
            del lines[0]
        while lines and _is_empty(lines[-1]):
            del lines[-1]
        if not self._is_first:
            lines.insert(0, [])
        for line in lines[self._start :]:
            yield from line
            yield Segment.line()


def _is_empty(line: Iterable[Segment]) -> bool:
    return not any(segment.text for segment in line)
