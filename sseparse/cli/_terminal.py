"""Output and event loop of the commands, those of other packages included."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TextIO

import anyio
import click

from sseparse._display import terminal_safe
from sseparse._events import ServerSentEvent

async_backend = click.option(
    "--async-backend",
    type=click.Choice(["asyncio", "trio"]),
    default="asyncio",
    show_default=True,
    help="The event loop.",
)


def run(work: Callable[[], Awaitable[object]], async_backend: str) -> None:
    """Run `work` on an event loop; KeyboardInterrupt is raised once Ctrl-C has cancelled it."""
    if anyio.run(_run_interruptible, work, backend=async_backend):
        raise KeyboardInterrupt


async def _run_interruptible(work: Callable[[], Awaitable[object]]) -> bool:
    """Do `work`, and return whether Ctrl-C ended it.

    A KeyboardInterrupt may arise anywhere in the libraries, in the middle of their work. A
    cancellation does not.
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
        except Exception as error:  # to be raised as it is, not in an ExceptionGroup
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return interrupted


def safe_for(text: str, file: TextIO | None) -> str:
    """Return `text` for `file`: on a terminal, without control characters that steer it."""
    return terminal_safe(text) if file and file.isatty() else text


def styled(text: str, file: TextIO | None, **style: Any) -> str:
    """Return `text` in a style of click's where `file` is a terminal. https://no-color.org"""
    if file is None or not file.isatty() or os.environ.get("NO_COLOR"):
        return text
    return click.style(text, **style)


def print_json(item: Any) -> None:
    """Print an item of a stream as a line of JSON, an event as an object."""
    if isinstance(item, ServerSentEvent):
        item = {"event": item.event, "data": item.data, "id": item.id, "retry": item.retry}
    text = json.dumps(item, ensure_ascii=False)
    # Of the control characters, JSON escapes the first 32 only; others steer a terminal too.
    text = re.sub("[\x7f-\x9f]", lambda match: f"\\u{ord(match[0]):04x}", text)
    # A lone surrogate has no UTF-8: backslashreplace turns it into the escape that JSON has.
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
    sys.stdout.buffer.flush()
