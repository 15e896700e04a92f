"""Output and event loop of the commands."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TextIO

import anyio
import click

from sseparse import ServerSentEvent
from sseparse._display import terminal_safe

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
            self.fail(f"{value} is no number of seconds.", param, ctx)
        return seconds


SECONDS = _Seconds(min=0, min_open=True)


def run(work: Callable[[], Awaitable[object]], async_backend: str) -> None:
    """Run `work` on an event loop, and let Ctrl-C cancel it.

    work: an async function without arguments.
    async_backend: "asyncio" or "trio".

    Raises KeyboardInterrupt after Ctrl-C.
    """
    if anyio.run(_run_interruptible, work, backend=async_backend):
        raise KeyboardInterrupt


async def _run_interruptible(work: Callable[[], Awaitable[object]]) -> bool:
    """Run `work`, and return whether Ctrl-C cancelled it.

    Python's own KeyboardInterrupt may arise between any two instructions of a library, and
    leave it in disorder. A cancellation arises only where a library awaits.
    """
    interrupted = False
    failure: Exception | None = None

    async def wait_for_interrupt() -> None:
        nonlocal interrupted
        with anyio.open_signal_receiver(signal.SIGINT) as signals:
            async for _ in signals:
                interrupted = True
                tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait_for_interrupt)
        try:
            await work()
        except Exception as error:  # kept out of the task group, which would wrap it
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return interrupted


def safe_for(text: str, file: TextIO | None, **style: Any) -> str:
    """Return `text` for `file`; a terminal gets it styled and without control characters.

    style: arguments of click.style; none where NO_COLOR is set (https://no-color.org).
    """
    if file is None or not file.isatty():
        return text
    text = terminal_safe(text)
    return click.style(text, **style) if style and not os.environ.get("NO_COLOR") else text


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
