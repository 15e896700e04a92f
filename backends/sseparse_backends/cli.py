"""What this package adds to the command line: `chat` and `backends`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from inspect import signature
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sseparse.cli import async_backend, one_line, run, safe_for, styled
from sseparse.transports import Transport
from sseparse.transports.httpx2 import HTTPX2Transport

from ._contract import Reasoning, Text
from ._registry import get_backend, installed_backends
from ._stream import ReplyStream, stream
from .demo import DemoServer


@click.command()
@click.argument("prompt")
@click.option("--backend", default="darkai", show_default=True, help="See `sseparse backends`.")
@click.option("--model", help="By default, the backend's default model.")
@click.option("--base-url", metavar="URL", help="Where the service is, if not at its own address.")
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="An option of the request, as JSON or text. Again for each.",
)
@click.option(
    "--backend-option",
    "backend_options",
    multiple=True,
    metavar="NAME=VALUE",
    help="An argument of the backend, likewise.",
)
@click.option("--usage", is_flag=True, help="Tell the tokens and the times on standard error.")
@click.option("--proxy", metavar="URL", help="http:, https:, socks5: or socks5h:.")
@click.option("--demo", is_flag=True, help="Talk to a demo server that this command starts.")
@async_backend
@click.option(
    "--timeout",
    "limit",
    type=click.FloatRange(min=0, min_open=True),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="For the whole reply.",
)
@click.option(
    "--retries",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="More attempts where the service cannot be reached, or is busy.",
)
def chat(async_backend: str, **arguments: Any) -> None:
    """Send PROMPT to a chat service and print the reply as it arrives.

    What the model thinks before it replies goes to standard error, dimmed. A key is taken from
    the environment variable that the backend names if it finds none.
    """
    run(partial(_chat, **arguments), async_backend)


async def _chat(
    prompt: str,
    backend: str,
    model: str | None,
    base_url: str | None,
    options: Sequence[str],
    backend_options: Sequence[str],
    usage: bool,
    proxy: str | None,
    demo: bool,
    limit: float,
    retries: int,
) -> None:
    async with AsyncExitStack() as stack:
        given = dict(map(_option, backend_options))
        wanted = dict(map(_option, options))
        if taken := wanted.keys() & signature(stream).parameters.keys():
            raise ValueError(f"{', '.join(sorted(taken))}: no option of the request")
        if base_url is not None:
            given["base_url"] = base_url
        transport: Transport | None = None
        if demo:
            if backend != "darkai" or base_url is not None:
                raise ValueError("--demo stands in for darkai alone, at an address of its own")
            server = await stack.enter_async_context(DemoServer())
            given["api_endpoint"] = server.url
            # This machine is not to be found behind a proxy from the environment.
            transport = HTTPX2Transport(proxy=proxy, trust_env=False)
            proxy = None
        try:
            reply = stream(
                get_backend(backend, **given),
                prompt,
                model=model,
                transport=transport,
                proxy=proxy,
                timeout=limit,
                retries=retries,
                **wanted,
            )
        except TypeError as error:
            raise ValueError(f"{backend}: {error}") from error
        start = time.monotonic()
        first = await _print(await stack.enter_async_context(reply))
        if usage:
            _tell_usage(reply, start, first)


def _option(option: str) -> tuple[str, Any]:
    name, equals, value = option.partition("=")
    if not name or not equals:
        raise ValueError(f"an option is NAME=VALUE, not {option!r}")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value


async def _print(reply: ReplyStream) -> float | None:
    """Print the reply as it arrives, and return when its content began.

    The last lines are ended, however the reply ends.
    """
    first: float | None = None
    # Where a line is in progress: on standard error, for which True stands, or output.
    lines: set[bool] = set()
    try:
        async for delta in reply.deltas():
            if not isinstance(delta, Text | Reasoning):
                continue
            first = first or time.monotonic()
            err = isinstance(delta, Reasoning)
            other = not err
            # What goes into a file is the text and nothing else.
            if other in lines and (other or sys.stdout.isatty()):
                click.echo(err=other)
                lines.remove(other)
            lines.add(err)
            if err:
                thought = styled(safe_for(delta.text, sys.stderr), sys.stderr, dim=True)
                click.echo(thought, nl=False, err=True, color=True)
            else:
                click.echo(safe_for(delta.text, sys.stdout), nl=False, color=True)
    finally:
        for err in lines:
            click.echo(err=err)
    return first


def _tell_usage(reply: ReplyStream, start: float, first: float | None) -> None:
    """Tell what the reply, which is complete now, has taken."""
    end = time.monotonic()
    words = ["no usage told"]
    if reply.usage is not None:
        words = [f"{reply.usage.input_tokens} tokens in", f"{reply.usage.output_tokens} tokens out"]
    if first is not None:
        words.append(f"the first after {first - start:.2f} s")
        if reply.usage is not None and end > first:
            words.append(f"{reply.usage.output_tokens / (end - first):.1f} tokens a second")
    if reply.finish_reason is not None:
        words.append(f"finished: {one_line(reply.finish_reason)}")
    click.echo(", ".join(words), err=True)


@click.command()
def backends() -> None:
    """List the installed backends."""
    table = Table("name", "default model", "models")
    for name in installed_backends():
        try:
            backend = get_backend(name)
            models = ", ".join(backend.models) or "those of the service"
            row = [name, backend.default_model, models]
        except Exception as error:  # of a backend of others, which hides none of the rest
            row = [name, str(error) or repr(error)]
        table.add_row(*(escape(one_line(str(cell))) for cell in row))
    Console().print(table)
