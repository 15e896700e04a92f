"""Many replies at once in one process: `python -m benchmarks.scale asyncio 10000`.

All replies are opened, then all are read concurrently, each by its own task. The result is printed
as one JSON object. Each measurement runs in its own process, so that its memory can be measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

import anyio

from sseparse.transports.memory import MemoryResponse, MemoryTransport
from sseparse_backends import DarkAI, stream

LOOPS = ("asyncio", "trio")
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


async def read_all(count: int) -> dict[str, float]:
    """Read `count` replies concurrently and return their cost."""
    transport = MemoryTransport(MemoryResponse(SCRIPT))
    all_open, start = anyio.Event(), anyio.Event()
    times: list[float] = []

    async def read_one() -> None:
        async with stream(DarkAI(), "Hello", transport=transport) as reply:
            if transport.open == count:
                all_open.set()
            await start.wait()
            texts = 0
            async for _ in reply:
                texts += 1
            assert texts == EVENTS - 1
        times.append(perf_counter() - started)

    async with anyio.create_task_group() as tasks:
        before = resident_memory()
        for _ in range(count):
            tasks.start_soon(read_one)
        await all_open.wait()
        transport.requests.clear()  # other transports keep no requests
        memory = resident_memory() - before
        started = perf_counter()
        start.set()
    return {
        "replies": count,
        "events_per_second": count * EVENTS / max(times),
        "bytes_per_reply": memory / count,
        "slowest_to_median": max(times) / median(times),
    }


def measure_scale(loop: str, count: int, repeats: int) -> dict[str, float]:
    """Return the medians of `repeats` processes."""
    command = [sys.executable, "-m", "benchmarks.scale", loop, str(count)]
    outcomes = [
        json.loads(subprocess.check_output(command, cwd=Path(__file__).parents[1]))
        for _ in range(repeats)
    ]
    return {name: median(outcome[name] for outcome in outcomes) for name in outcomes[0]}


if __name__ == "__main__":
    print(json.dumps(anyio.run(read_all, int(sys.argv[2]), backend=sys.argv[1])))
