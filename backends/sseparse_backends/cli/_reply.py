"""One reply of `chat`, printed as it arrives."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import click

from sseparse.cli import one_line
from sseparse_backends import Backend, Messages, Reasoning, ReplyStream, Text, stream

from ._arguments import naming_option
from ._printing import Printer


async def print_reply(
    backend: Backend,
    messages: Messages,
    arguments: Mapping[str, Any],
    printer: Printer,
    usage: bool,
) -> ReplyStream:
    """Print the reply to `messages`, and return it.

    arguments: further ones of `stream`.
    usage: print tokens and times on standard error.
    """
    with naming_option(backend):
        reply = stream(backend, messages, **arguments)
    start = time.monotonic()
    first: float | None = None
    async with reply:
        with closing(printer):
            async for delta in reply.deltas():
                if first is None and isinstance(delta, Text | Reasoning):
                    first = time.monotonic()
                printer.show(delta)
    if usage:
        _print_usage(reply, start, first)
    return reply


async def print_demo_reply(
    connect: Callable[..., Backend],
    messages: Messages,
    arguments: Mapping[str, Any],
    printer: Printer,
    usage: bool,
) -> ReplyStream:
    """Do as print_reply does, with a demo server in place of DarkAI.

    connect: returns the backend for an api_endpoint.
    """
    # Imported late: 0.7 s, which the completion of arguments would take too.
    from sseparse.transports.httpx2 import HTTPX2Transport
    from sseparse_backends.demo import DemoServer

    async with DemoServer() as server:
        # A proxy from the environment does not reach this machine.
        transport = HTTPX2Transport(proxy=arguments["proxy"], trust_env=False)
        arguments = {**arguments, "proxy": None, "transport": transport}
        backend = connect(api_endpoint=server.url)
        return await print_reply(backend, messages, arguments, printer, usage)


_ENDINGS = {
    "length": "was cut at a limit of tokens",
    "filter": "was ended by the service's filter",
    "pause": "was paused by the service, to be continued when the conversation is sent again",
    "other": "ended for an unknown reason",
}


def unfinished(reply: ReplyStream) -> str | None:
    """Return why a reply is not finished, or None for one that is."""
    words = _ENDINGS.get(reply.finish_kind or "stop")
    return words and f"the reply {words} (finish reason: {one_line(str(reply.finish_reason))})"


def _print_usage(reply: ReplyStream, start: float, first: float | None) -> None:
    """Print the tokens and times of a complete reply."""
    end = time.monotonic()
    words = ["no usage reported"]
    if reply.usage is not None:
        words = [f"{reply.usage.input_tokens} tokens in", f"{reply.usage.output_tokens} tokens out"]
    if first is not None:
        words.append(f"the first after {first - start:.2f} s")
        if reply.usage is not None and end > first:
            words.append(f"{reply.usage.output_tokens / (end - first):.1f} tokens a second")
    if reply.finish_reason is not None:
        words.append(f"finished: {one_line(reply.finish_reason)}")
    click.echo(", ".join(words), err=True)
