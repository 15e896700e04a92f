"""What this package adds to the command line: `chat` and `backends`."""

from __future__ import annotations

import signal
import sys
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import anyio
import click
from rich.console import Console
from rich.table import Table

from sseparse.transports import Transport
from sseparse.transports.httpx2 import HTTPX2Transport

from ._registry import get_backend, installed_backends
from ._stream import ReplyStream, stream
from .demo import DemoServer

# Control characters, which steer a terminal, but for the two that belong to text.
_HARMLESS = {
    code: "\N{REPLACEMENT CHARACTER}"
    for code in [*range(0x20), *range(0x7F, 0xA0)]
    if chr(code) not in "\n\t"
}


@click.command()
@click.argument("prompt")
@click.option("--backend", default="darkai", show_default=True, help="See `sseparse backends`.")
@click.option("--model", help="By default, the backend's default model.")
@click.option("--proxy", metavar="URL", help="http:, https:, socks5: or socks5h:.")
@click.option("--demo", is_flag=True, help="Talk to a demo server that this command starts.")
@click.option(
    "--async-backend",
    type=click.Choice(["asyncio", "trio"]),
    default="asyncio",
    show_default=True,
    help="The event loop.",
)
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
    if anyio.run(partial(_interruptible_chat, **arguments), backend=async_backend):
        raise KeyboardInterrupt


async def _interruptible_chat(**arguments: Any) -> bool:
    """Chat, and return whether Ctrl-C ended it.

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
            await _chat(**arguments)
        except Exception as error:  # to be raised as it is, not in an ExceptionGroup
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return interrupted


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
            sys.stdout.write(text.translate(_HARMLESS) if sys.stdout.isatty() else text)
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
