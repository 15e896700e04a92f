"""CPU time per event of a whole client: DarkAI's protocol over HTTP on one machine.

The server is another process, so the CPU time of this process, user and system, is the client's.
All clients ask for the same reply and return its text.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterable, Awaitable, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from pathlib import Path
from time import process_time_ns
from typing import Any, NamedTuple

import aiohttp
import anyio
import httpx2

from sseparse import adecode
from sseparse.transports import Transport
from sseparse.transports.aiohttp import AiohttpTransport
from sseparse.transports.httpx2 import HTTPX2Transport
from sseparse_backends import DarkAI, Finish, Text, stream

from .runs import Run
from .server import COUNT, TEXT

SECTION = "end to end"
PATHS = ("paced", "at once")

QUESTION = {"query": "Hello", "model": "gpt-4o"}


class Client(NamedTuple):
    """An HTTP client, and a way to get the text of a reply with it.

    open: makes the HTTP client, which keeps connections.
    ask: takes that client and a URL; returns the text.
    """

    open: Callable[[], AbstractAsyncContextManager[Any]]
    ask: Callable[[Any, str], Awaitable[str]]
    loop: str = "asyncio"


def _streaming(transport: Callable[[Any], Transport]) -> Callable[[Any, str], Awaitable[str]]:
    async def ask(client: Any, url: str) -> str:
        parts = []
        backend = DarkAI(api_endpoint=url)
        async with stream(backend, "Hello", transport=transport(client)) as reply:
            async for text in reply:
                parts.append(text)  # noqa: PERF401  (callers take one at a time)
        return "".join(parts)

    return ask


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


async def _join(events: AsyncIterable[Any]) -> str:
    """Return the text of the events up to the end of the reply."""
    parts = []
    async for event in events:
        if (text := _text(event.data)) is None:
            break
        parts.append(text)
    return "".join(parts)


async def _httpx2_event_source(client: httpx2.AsyncClient, url: str) -> str:
    async with client.stream("POST", url, json=QUESTION) as response:
        return await _join(httpx2.EventSource(response))


async def _adecode_json(session: aiohttp.ClientSession, url: str) -> str:
    async with session.post(url, json=QUESTION) as response:
        return await _join(adecode(response))


async def _httpx_sse(client: Any, url: str) -> str:
    from httpx_sse import aconnect_sse

    async with aconnect_sse(client, "POST", url, json=QUESTION) as source:
        return await _join(source.aiter_sse())


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
    """Return the clients whose libraries are installed."""
    on_httpx2, on_aiohttp = _streaming(HTTPX2Transport), _streaming(AiohttpTransport)
    on_own_client = _streaming(lambda _: HTTPX2Transport())
    clients = {
        "sseparse: stream on httpx2": Client(httpx2.AsyncClient, on_httpx2),
        "sseparse: stream on httpx2 (trio)": Client(httpx2.AsyncClient, on_httpx2, "trio"),
        "sseparse: stream on its own httpx2 client": Client(nullcontext, on_own_client),
        "sseparse: stream on its own httpx2 client (trio)": Client(
            nullcontext, on_own_client, "trio"
        ),
        "sseparse: stream on aiohttp": Client(aiohttp.ClientSession, on_aiohttp),
        "sseparse: adecode and interpret on aiohttp": Client(aiohttp.ClientSession, _adecode),
        "sseparse: adecode on aiohttp, json.loads": Client(aiohttp.ClientSession, _adecode_json),
        "httpx2: EventSource, json.loads": Client(httpx2.AsyncClient, _httpx2_event_source),
        "aiohttp: 1024-byte chunks, lines by hand, json.loads": Client(
            aiohttp.ClientSession, _lines_by_hand
        ),
    }
    try:
        import httpx
        import httpx_sse  # noqa: F401
    except ImportError:
        pass
    else:
        clients["httpx-sse on httpx, json.loads"] = Client(httpx.AsyncClient, _httpx_sse)
    return clients


@contextmanager
def serving() -> Generator[str, None, None]:
    """Run the server and yield its URL, without a path."""
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
    """Yield a run of each client, for events one by one and for all events at once."""
    for path in PATHS:
        for subject, client in clients().items():
            yield _client_run(client, subject, path, f"{url}/{path.replace(' ', '-')}")


def _client_run(client: Client, subject: str, path: str, url: str) -> Run:
    async def ask() -> tuple[str, float]:
        async with client.open() as opened:
            start = process_time_ns()
            text = await client.ask(opened, url)
            stop = process_time_ns()
        return text, (stop - start) / COUNT

    def run() -> tuple[str, float]:
        return anyio.run(ask, backend=client.loop)

    def check() -> str:
        text, _ = run()
        return "" if text == TEXT else f"the text has {len(text)} characters, expected {len(TEXT)}"

    return Run(SECTION, path, subject, check, lambda: run()[1])
