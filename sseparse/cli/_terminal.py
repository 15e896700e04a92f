"""Input, output and event loop of the commands."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, BinaryIO, TextIO, TypeVar, cast

import click

from sseparse import ServerSentEvent
from sseparse._display import one_line, terminal_safe

Result = TypeVar("Result")

async_backend: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--async-backend",
    type=click.Choice(["asyncio", "trio"]),
    default="asyncio",
    show_default=True,
    help="The event loop to run on.",
)


class _Seconds(click.FloatRange):
    """Seconds above zero; click takes NaN for a number in any range."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        seconds = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value} is not a number of seconds.", param, ctx)
        return seconds


SECONDS = _Seconds(min=0, min_open=True)


def run(work: Callable[[], Awaitable[Result]], async_backend: str) -> Result:
    """Run `work` on an event loop, let Ctrl-C cancel it, and return its result.

    work: an async function without arguments.
    async_backend: "asyncio" or "trio".

    Raises KeyboardInterrupt after Ctrl-C.
    """
    # Imported late: `decode` needs no event loop.
    from ._loop import run_interruptible

    return run_interruptible(work, async_backend)


def open_input(path: str) -> BinaryIO:
    """Open a file, or standard input for "-", which stays open."""
    if path == "-" and cast("Any", sys.stdin) is None:
        raise click.ClickException("standard input is closed")
    return cast("BinaryIO", click.open_file(path, "rb"))


def safe_for(text: str, file: TextIO | None, **style: Any) -> str:
    """Return `text` for `file`; a terminal gets it styled and without control characters.

    style: arguments of click.style; none where NO_COLOR is set (https://no-color.org).
    """
    if file is None or not file.isatty():
        return text
    text = terminal_safe(text)
    return click.style(text, **style) if style and not os.environ.get("NO_COLOR") else text


def note(text: str) -> None:
    """Print a status line on standard error, unless that is full or lost: the output matters."""
    with suppress(OSError):
        click.echo(safe_for(f"* {one_line(text)}", sys.stderr, dim=True), err=True, color=True)


def print_json(item: Any) -> None:
    """Print an item of a stream as a line of JSON."""
    if isinstance(item, ServerSentEvent):
        item = {"event": item.event, "data": item.data, "id": item.id, "retry": item.retry}
    text = json.dumps(item, ensure_ascii=False)
    # JSON escapes only the first 32 control characters. Terminals obey the others too.
    text = re.sub("[\x7f-\x9f]", lambda match: f"\\u{ord(match[0]):04x}", text)
    # UTF-8 has no lone surrogates: backslashreplace writes them as JSON escapes.
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
    sys.stdout.buffer.flush()
