"""What this package adds to the command line: `chat` and `backends`."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from sseparse._commands import async_backend, harmless, run
from sseparse.transports import Transport
from sseparse.transports.httpx2 import HTTPX2Transport

from ._registry import get_backend, installed_backends
from ._stream import ReplyStream, stream
from .demo import DemoServer


@click.command()
@click.argument("prompt")
@click.option("--backend", default="darkai", show_default=True, help="See `sseparse backends`.")
@click.option("--model", help="By default, the backend's default model.")
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
def chat(async_backend: str, **arguments: Any) -> None:
    """Send PROMPT to a chat service and print the reply as it arrives."""
    run(partial(_chat, **arguments), async_backend)


async def _chat(
    prompt: str, backend: str, model: str | None, proxy: str | None, demo: bool, limit: float
) -> None:
    async with AsyncExitStack() as stack:
        options: dict[str, Any] = {}
        transport: Transport | None = None
        if demo:
            if backend != "darkai":
                raise ValueError("--demo stands in for darkai alone")
            server = await stack.enter_async_context(DemoServer())
            options = {"api_endpoint": server.url}
            # This machine is not to be found behind a proxy from the environment.
            transport = HTTPX2Transport(proxy=proxy, trust_env=False)
            proxy = None
        chosen = get_backend(backend, **options)
        reply = stream(chosen, prompt, model=model, transport=transport, proxy=proxy, timeout=limit)
        await _print(await stack.enter_async_context(reply))


async def _print(reply: ReplyStream) -> None:
    """Print the reply, and end its last line, however it ends."""
    begun = False
    try:
        async for text in reply:
            begun = True
            sys.stdout.write(harmless(text))
            sys.stdout.flush()
    finally:
        if begun:
            sys.stdout.write("\n")
            sys.stdout.flush()


@click.command()
def backends() -> None:
    """List the installed backends."""
    table = Table("name", "default model", "models")
    for name in installed_backends():
        try:
            backend = get_backend(name)
        except ImportError as error:
            table.add_row(name, str(error))
        else:
            table.add_row(name, backend.default_model, ", ".join(backend.models))
    Console().print(table)
