"""Printers of a reply: text, or lines of JSON."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Protocol

import click

from sseparse.cli import note, print_json, safe_for
from sseparse_backends import Delta, Finish, Reasoning, Text, ToolCall, ToolCallPiece, Usage


class Printer(Protocol):
    """Prints one reply."""

    def show(self, delta: Delta) -> None:
        """Print a delta."""
        ...

    def close(self) -> None:
        """End what is unfinished, also after an error."""
        ...


class TextPrinter:
    """Prints text on standard output, and reasoning and tool calls on standard error."""

    def __init__(self) -> None:
        # The streams with an unfinished line: True for standard error, False for standard output.
        self._lines: set[bool] = set()

    def show(self, delta: Delta) -> None:
        """See Printer.show."""
        match delta:
            case Text(text):
                self._write(safe_for(text, sys.stdout), err=False)
            case Reasoning(text):
                self._write(safe_for(text, sys.stderr, dim=True), err=True)
            case ToolCall():
                self._leave(False)
                self._end_line(True)
                note(f"tool call: {delta.name or delta.kind} {delta.arguments}")
            case _:
                pass

    def close(self) -> None:
        """See Printer.close."""
        for err in [*self._lines]:
            self._end_line(err)

    def _write(self, words: str, err: bool) -> None:
        self._leave(not err)
        self._lines.add(err)
        click.echo(words, nl=False, err=err, color=True)

    def _leave(self, err: bool) -> None:
        """End the line of a stream before another one is written to."""
        # A file gets the text alone, without line ends between pieces.
        if err or sys.stdout.isatty():
            self._end_line(err)

    def _end_line(self, err: bool) -> None:
        if err in self._lines:
            self._lines.remove(err)
            click.echo(err=err)


class JSONPrinter:
    """Prints each delta as a line of JSON: its type and its fields."""

    def show(self, delta: Delta) -> None:
        """See Printer.show."""
        print_json({"type": _TYPES[type(delta)], **asdict(delta)})

    def close(self) -> None:
        """See Printer.close."""


_TYPES: Mapping[type[Delta], str] = {
    Text: "text",
    Reasoning: "reasoning",
    ToolCallPiece: "tool_call_piece",
    ToolCall: "tool_call",
    Usage: "usage",
    Finish: "finish",
}
