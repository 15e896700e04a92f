"""The commands of this package: `sseparse chat` and `sseparse backends`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sseparse.cli import SECONDS, async_backend, one_line, run, safe_for
from sseparse.transports.httpx2 import HTTPX2Transport

from ._contract import Reasoning, Text
from ._registry import get_backend, installed_backends
from ._stream import ReplyStream, stream
from .demo import DemoServer


@click.command()
@click.argument("prompt")
@click.option("--backend", default="darkai", show_default=True, help="Name of the backend.")
@click.option("--model", help="Model; by default the backend's.")
@click.option("--base-url", metavar="URL", help="Address of the service, if not its public one.")
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="Option of the request, or argument of `stream`; VALUE is JSON or text. Repeatable.",
)
@click.option(
    "--backend-option",
    "backend_options",
    multiple=True,
    metavar="NAME=VALUE",
    help="Argument of the backend; VALUE is JSON or text. Repeatable.",
)
@click.option("--usage", is_flag=True, help="Print tokens and times to standard error.")
@click.option("--proxy", metavar="URL", help="Proxy: an http:, https:, socks5: or socks5h: URL.")
@click.option("--demo", is_flag=True, help="Start a demo server in place of the service.")
@async_backend
@click.option(
    "--timeout",
    type=SECONDS,
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="Time limit for the whole reply.",
)
@click.option(
    "--retries",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Further attempts if the service is unreachable or busy.",
)
def chat(async_backend: str, **arguments: Any) -> None:
    """Send PROMPT to a chat service and print the reply as it arrives.

    `sseparse backends` lists the backends. The model's reasoning goes to standard error, dimmed.
    The API key comes from the backend's environment variable, unless --backend-option api_key=KEY
    is given.
    """
    run(partial(_chat, **arguments), async_backend)


async def _chat(
    prompt: str,
    backend: str,
    base_url: str | None,
    options: Sequence[str],
    backend_options: Sequence[str],
    usage: bool,
    demo: bool,
    **arguments: Any,
) -> None:
    async with AsyncExitStack() as stack:
        backend_arguments = dict(map(_parse_option, backend_options))
        arguments |= dict(map(_parse_option, options))
        if base_url is not None:
            backend_arguments["base_url"] = base_url
        if demo:
            if backend != "darkai" or base_url is not None:
                raise ValueError("--demo must be used without --backend and --base-url")
            server = await stack.enter_async_context(DemoServer())
            backend_arguments["api_endpoint"] = server.url
            # A proxy from the environment does not reach this machine.
            arguments["transport"] = HTTPX2Transport(proxy=arguments.pop("proxy"), trust_env=False)
        try:
            reply = stream(get_backend(backend, **backend_arguments), prompt, **arguments)
        except TypeError as error:
            raise ValueError(f"{backend}: {error}") from error
        start = time.monotonic()
        first = await _print(await stack.enter_async_context(reply))
        if usage:
            _print_usage(reply, start, first)


def _parse_option(option: str) -> tuple[str, Any]:
    name, equals, value = option.partition("=")
    if not name or not equals:
        # Not shown: it may be a secret.
        raise ValueError("--option and --backend-option must be NAME=VALUE")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value


async def _print(reply: ReplyStream) -> float | None:
    """Print the reply as it arrives, and return the time of its first content.

    Unfinished lines are ended, even after an error.
    """
    first: float | None = None
    # The streams with an unfinished line: True for standard error, False for standard output.
    lines: set[bool] = set()
    try:
        async for delta in reply.deltas():
            if not isinstance(delta, Text | Reasoning):
                continue
            first = first or time.monotonic()
            err = isinstance(delta, Reasoning)
            other = not err
            # A file gets the text alone, without line ends between pieces.
            if other in lines and (other or sys.stdout.isatty()):
                click.echo(err=other)
                lines.remove(other)
            lines.add(err)
            if err:
                words = safe_for(delta.text, sys.stderr, dim=True)
            else:
                words = safe_for(delta.text, sys.stdout)
            click.echo(words, nl=False, err=err, color=True)
    finally:
        for err in lines:
            click.echo(err=err)
    return first


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


@click.command()
def backends() -> None:
    """List the installed backends."""
    table = Table("name", "default model", "models")
    for name in installed_backends():
        try:
            backend = get_backend(name)
            models = ", ".join(backend.models) or "the service's"
            row = [name, backend.default_model, models]
        except Exception as error:  # another package's backend must not hide the rest
            row = [name, str(error) or repr(error)]
        table.add_row(*(escape(one_line(str(cell))) for cell in row))
    Console().print(table)
