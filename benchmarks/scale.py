"""Many replies at once in one process: `python -m benchmarks.scale asyncio memory 10000`.

All replies are opened, then all are read concurrently, each by its own task. Over sockets the
server sends the next event of all replies when all have the one before, so that each event is a
read of its own. Replies that take turns in a fixed order make the slowest wait twice as long as the
median one.

The outcome is printed as a JSON object. Each measurement runs in its own process, so that its
memory can be measured.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from time import perf_counter

import anyio

from sseparse.transports import Transport
from sseparse.transports.httpx2 import HTTPX2Transport
from sseparse.transports.memory import MemoryResponse, MemoryTransport
from sseparse_backends import DarkAI, stream

from .server import NEXT, raise_file_limit, reply_model, serving

MEMORY = "memory"
AIOHTTP = "aiohttp"
OWN_HTTPX2 = "its own httpx2 clients"
# Loops and transports. A client of httpx2 that is shared by all replies is left out: its pool takes
# quadratic time to open and close their connections.
SUBJECTS = (
    ("asyncio", MEMORY),
    ("asyncio", AIOHTTP),
    ("asyncio", OWN_HTTPX2),
    ("trio", MEMORY),
    ("trio", OWN_HTTPX2),
)
REPLIES = 10_000
EVENTS = 20

SCRIPT = [b'data: {"event":"text-chunk","data":{"text":" word"}}\n\n'] * (EVENTS - 1)
SCRIPT += [b'data: {"event":"stream-end"}\n\n']


def resident_memory() -> int:
    """Return the resident bytes of this process on Linux, else 0."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


@asynccontextmanager
async def open_transport(name: str) -> AsyncGenerator[Transport, None]:
    """Open one of the transports in SUBJECTS."""
    if name == MEMORY:
        yield MemoryTransport(MemoryResponse(SCRIPT))
    elif name == AIOHTTP:
        import aiohttp

        from sseparse.transports.aiohttp import AiohttpTransport

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            yield AiohttpTransport(session)
    else:
        yield HTTPX2Transport()


async def read_all(
    count: int, transport: Transport, url: str, send_next: Callable[[], object]
) -> dict[str, float]:
    """Read `count` replies concurrently and return their cost.

    send_next: makes each reply get its next event.
    """
    backend = DarkAI(api_endpoint=url)
    opening, all_open, reading = anyio.Event(), anyio.Event(), anyio.Event()
    waits: list[float] = []
    opened = texts = 0
    asked = 0.0

    def ask_for_next() -> None:
        nonlocal asked
        asked = perf_counter()
        send_next()

    async def read_one() -> None:
        nonlocal opened, texts
        wait = 0.0
        await opening.wait()
        async with stream(backend, "Hello", transport=transport, connect_timeout=None) as reply:
            opened += 1
            if opened == count:
                all_open.set()
            await reading.wait()
            async for _ in reply:
                wait += perf_counter() - asked
                texts += 1
                if texts % count == 0:
                    ask_for_next()
        waits.append(wait)

    async with anyio.create_task_group() as tasks:
        before = resident_memory()
        for _ in range(count):
            tasks.start_soon(read_one)
        await anyio.wait_all_tasks_blocked()
        with_tasks = resident_memory()
        opening.set()
        await all_open.wait()
        if isinstance(transport, MemoryTransport):
            transport.requests.clear()  # other transports keep no requests
        with_replies = resident_memory()
        started = perf_counter()
        ask_for_next()
        reading.set()
    seconds = perf_counter() - started
    assert texts == count * (EVENTS - 1)
    return {
        "replies": count,
        "events_per_second": count * EVENTS / seconds,
        "bytes_per_reply": (with_replies - with_tasks) / count,
        "bytes_per_task": (with_tasks - before) / count,
        "slowest_to_median": max(waits) / median(waits),
    }


async def main(name: str, count: int) -> None:
    """Measure a transport and print the outcome."""
    raise_file_limit()
    async with open_transport(name) as transport:
        if name == MEMORY:
            outcome = await read_all(count, transport, "http://127.0.0.1", lambda: None)
        else:
            with serving() as port, socket.create_connection(("127.0.0.1", port)) as control:
                url = f"http://127.0.0.1:{port}/darkai/{reply_model('waiting', EVENTS - 1)}"
                outcome = await read_all(count, transport, url, lambda: control.sendall(NEXT))
    print(json.dumps(outcome))


def measure_scale(loop: str, name: str, count: int, repeats: int) -> dict[str, float]:
    """Return the medians of `repeats` processes."""
    command = [sys.executable, "-m", "benchmarks.scale", loop, name, str(count)]
    outcomes = [
        json.loads(subprocess.check_output(command, cwd=Path(__file__).parents[1]))
        for _ in range(repeats)
    ]
    return {name: median(outcome[name] for outcome in outcomes) for name in outcomes[0]}


if __name__ == "__main__":
    anyio.run(main, sys.argv[2], int(sys.argv[3]), backend=sys.argv[1])
