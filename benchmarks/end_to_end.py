"""CPU per event of a whole client: DarkAI's protocol over HTTP on this machine, on asyncio.

The server is another process, so the time of this one, user and system, is the client's alone.
Each client is asked for the text of the same reply.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from time import process_time_ns
from typing import Any, NamedTuple

import aiohttp
import httpx2

from sseparse import adecode
from sseparse.transports.httpx2 import HTTPX2Transport
from sseparse_backends import DarkAI, Finish, Text, stream

from .runs import Run
from .server import COUNT, TEXT

SECTION = "end to end"
PATHS = ("paced", "at once")

QUESTION = {"query": "Hello", "model": "gpt-4o"}


class Client(NamedTuple):
    """How to make what keeps connections, and how to ask with it: (it, URL) -> the text."""

    open: Callable[[], AbstractAsyncContextManager[Any]]
    ask: Callable[[Any, str], Awaitable[str]]


async def _stream(client: httpx2.AsyncClient, url: str) -> str:
    parts = []
    backend = DarkAI(api_endpoint=url)
    async with stream(backend, "Hello", transport=HTTPX2Transport(client)) as reply:
        async for text in reply:
            parts.append(text)  # noqa: PERF401  (a caller takes one at a time)
    return "".join(parts)


async def _adecode(session: aiohttp.ClientSession, url: str) -> str:
    parts = []
    request = DarkAI(api_endpoint=url).request("Hello")
    async with session.post(url, data=request.body, headers=request.headers) as response:
        reply = DarkAI().reply(response.headers["content-type"])
        async for event in adecode(response, reply.decoder):
            for delta in reply.interpret(event):
                if isinstance(delta, Text):
                    parts.append(delta.text)
                elif isinstance(delta, Finish):
                    return "".join(parts)
    raise AssertionError("the reply was cut")


def _text(data: str) -> str | None:
    """Return the text of an event, or None at the end of the reply."""
    message = json.loads(data)
    if message["event"] == "text-chunk":
        text: str = message["data"]["text"]
        return text
    return None if message["event"] == "stream-end" else ""


async def _httpx2_event_source(client: httpx2.AsyncClient, url: str) -> str:
    parts = []
    async with client.stream("POST", url, json=QUESTION) as response:
        async for event in httpx2.EventSource(response):
            if (text := _text(event.data)) is None:
                break
            parts.append(text)
    return "".join(parts)


async def _adecode_json(session: aiohttp.ClientSession, url: str) -> str:
    parts = []
    async with session.post(url, json=QUESTION) as response:
        async for event in adecode(response):
            if (text := _text(event.data)) is None:
                break
            parts.append(text)
    return "".join(parts)


async def _httpx_sse(client: Any, url: str) -> str:
    from httpx_sse import aconnect_sse

    parts = []
    async with aconnect_sse(client, "POST", url, json=QUESTION) as source:
        async for event in source.aiter_sse():
            if (text := _text(event.data)) is None:
                break
            parts.append(text)
    return "".join(parts)


async def _lines_by_hand(session: aiohttp.ClientSession, url: str) -> str:
    parts: list[str] = []
    buffer = b""
    async with session.post(url, json=QUESTION) as response:
        async for chunk in response.content.iter_chunked(1024):
            buffer += chunk
            while b"\n" in buffer:
                line, buffer = buffer.split(b"\n", 1)
                if line.startswith(b"data: "):
                    if (text := _text(line[6:].decode())) is None:
                        return "".join(parts)
                    parts.append(text)
    return "".join(parts)


def clients() -> dict[str, Client]:
    """Return the clients that can be had here."""
    found = {
        "sseparse: stream on httpx2": Client(httpx2.AsyncClient, _stream),
        "sseparse: adecode and interpret on aiohttp": Client(aiohttp.ClientSession, _adecode),
        "sseparse: adecode on aiohttp, and json.loads": Client(
            aiohttp.ClientSession, _adecode_json
        ),
        "httpx2: EventSource and json.loads": Client(httpx2.AsyncClient, _httpx2_event_source),
    }
    try:
        import httpx
        import httpx_sse  # noqa: F401
    except ImportError:
        pass
    else:
        found["httpx-sse on httpx, and json.loads"] = Client(httpx.AsyncClient, _httpx_sse)
    by_hand = "aiohttp: 1024 bytes, lines by hand, json.loads"
    return {**found, by_hand: Client(aiohttp.ClientSession, _lines_by_hand)}


@contextmanager
def serving() -> Generator[str, None, None]:
    """Run the server; its URL, without a path."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.server"],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.stdin.close()


def end_to_end_runs(url: str) -> Iterator[Run]:
    """Yield a run of each client, for events that come one by one and for all at once."""
    for path in PATHS:
        for who, client in clients().items():
            yield _client_run(client, who, path, f"{url}/{path.replace(' ', '-')}")


def _client_run(client: Client, who: str, path: str, url: str) -> Run:
    async def ask() -> tuple[str, float]:
        async with client.open() as opened:
            start = process_time_ns()
            text = await client.ask(opened, url)
            stop = process_time_ns()
        return text, (stop - start) / COUNT

    def check() -> str:
        text, _ = asyncio.run(ask())
        return "" if text == TEXT else f"the text has {len(text)} characters, not {len(TEXT)}"

    return Run(SECTION, path, who, check, lambda: asyncio.run(ask())[1])
