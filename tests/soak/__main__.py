"""Run the soak: a server, and a process for each transport and loop."""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import json
import os
import resource
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import anyio

from sseparse.transports.aiohttp import AiohttpTransport
from sseparse.transports.httpx2 import HTTPX2Transport
from sseparse.transports.sync_httpx2 import SyncHTTPX2Transport
from tests.soak.clients import Ledger, Threads, converse, follow

SUBJECTS = ("asyncio-httpx2", "asyncio-shared", "asyncio-aiohttp", "trio-httpx2", "threads-httpx2")

# Lines of a report from which growth can be told.
_LINES = 20


def open_sockets() -> int:
    """Return the number of open sockets of this process."""
    number = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # that of the listing itself
            number += str(descriptor.readlink()).startswith("socket:")
    return number


class _MallInfo(ctypes.Structure):
    """struct mallinfo2 of glibc."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
        )
    )


def malloc_bytes() -> int:
    """Return the bytes in use of malloc, with glibc 2.33 or newer, else 0."""
    mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo is None:
        return 0
    mallinfo.restype = _MallInfo
    info = mallinfo()
    return int(info.uordblks + info.hblkhd)


class Report:
    """The lines of a subject: memory, sockets and counts over time."""

    def __init__(self, subject: str, ledger: Ledger, every: float) -> None:
        # Memory in use by Python and by C. Resident memory would include free blocks of malloc.
        self.blocks: list[int] = []
        self.malloc: list[int] = []
        self._subject = subject
        self._ledger = ledger
        self._every = every
        self._start = self._next = time.monotonic()

    def __call__(self, *, now: bool = False) -> None:
        """Print a line, if it is time."""
        if not now and time.monotonic() < self._next:
            return
        self._next += self._every
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        gc.collect()
        self.blocks.append(sys.getallocatedblocks())
        self.malloc.append(malloc_bytes())
        line = {
            "subject": self._subject,
            "seconds": round(time.monotonic() - self._start),
            "blocks": self.blocks[-1],
            "malloc": self.malloc[-1],
            "megabytes": round(pages * resource.getpagesize() / 1e6, 1),
            "sockets": open_sockets(),
            "threads": threading.active_count(),
            **self._ledger.counts,
        }
        print(json.dumps(line), flush=True)


async def run_async(
    subject: str, url: str, options: argparse.Namespace, ledger: Ledger, report: Report
) -> None:
    async with AsyncExitStack() as stack:
        transport: Any = HTTPX2Transport(trust_env=False)
        if subject == "asyncio-shared":
            await stack.enter_async_context(transport)
        elif subject == "asyncio-aiohttp":
            connector = aiohttp.TCPConnector(limit=0)
            session = aiohttp.ClientSession(connector=connector)
            transport = AiohttpTransport(await stack.enter_async_context(session))
        async with anyio.create_task_group() as tasks:
            for work, number in ((follow, options.streams), (converse, options.replies)):
                for _ in range(number):
                    tasks.start_soon(work, url, transport, ledger)
            with anyio.move_on_after(options.seconds):
                while True:
                    report()
                    await anyio.sleep(min(1.0, options.every))
            tasks.cancel_scope.cancel()
    if not subject.startswith("trio"):
        # aiohttp closes its sockets in the loop's next rounds.
        await anyio.sleep(0.1)
        left = asyncio.all_tasks()
        assert len(left) == 1, f"tasks are left: {left}"


def run_subject(subject: str, url: str, options: argparse.Namespace) -> None:
    """Run one subject in this process.

    Raises AssertionError for whatever is lost, doubled, wrong or left.
    """
    unraisable: list[str] = []
    sys.unraisablehook = lambda failure: unraisable.append(repr(failure.exc_value))
    warnings.simplefilter("error")
    ledger = Ledger()
    report = Report(subject, ledger, options.every)
    if subject.startswith("threads"):
        make: Callable[[], Any] = partial(SyncHTTPX2Transport, trust_env=False)
        threads = Threads(url, make, ledger)
        threads.run(options.streams, options.replies, report, options.seconds)
        assert threading.active_count() == 1, f"threads are left: {threading.enumerate()}"
    else:
        loop = subject.partition("-")[0]
        anyio.run(run_async, subject, url, options, ledger, report, backend=loop)
    gc.collect()
    report(now=True)
    assert open_sockets() == 0, f"sockets are left: {open_sockets()}"
    assert not unraisable, f"errors in finalizers: {unraisable[:5]}"
    assert ledger.counts["events"], "no event came"
    assert ledger.counts["complete"], "no reply came"
    for name, sizes in (("blocks", report.blocks), ("malloc", report.malloc)):
        if len(sizes) < _LINES:
            print(f"too few lines to judge the growth of {name}: {len(sizes)}", flush=True)
            continue
        growth = growth_of(sizes)
        print(
            json.dumps({"subject": subject, "memory": name, "growth": round(growth, 3)}), flush=True
        )
        assert growth < options.growth, f"{name} in use have grown by {growth:.0%}"


def growth_of(sizes: list[int]) -> float:
    """Return the growth from the second tenth to the last, as a share of the former."""
    tenth = len(sizes) // 10
    early, late = median(sizes[tenth : 2 * tenth + 1]), median(sizes[-tenth - 1 : -1])
    return late / early - 1 if early else 0.0


def main() -> Iterator[int]:
    """Start the server and the subjects, and yield each one's exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--replies", type=int, default=500)
    parser.add_argument(
        "--every", type=float, help="seconds between two lines; by default, there are 60 in all"
    )
    parser.add_argument(
        "--growth", type=float, default=0.1, help="of the memory in use: 0.1 is a tenth"
    )
    parser.add_argument(
        "--pace", type=float, default=8.0, help="seconds between two events, on average"
    )
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("subjects", nargs="*", default=SUBJECTS, metavar="SUBJECT")
    options = parser.parse_args()
    options.every = options.every or options.seconds / 60
    if options.url is not None:
        run_subject(options.subjects[0], options.url, options)
        return
    server = [sys.executable, "-m", "tests.soak.server", str(options.pace)]
    with subprocess.Popen(server, stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        url = serving.stdout.readline().strip()
        assert url, "the server did not start"
        command = [sys.executable, "-m", "tests.soak", *sys.argv[1:], "--url", url]
        command = [argument for argument in command if argument not in options.subjects]
        # What malloc keeps for each thread to use again would count as in use.
        environment = {**os.environ, "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
        processes = [
            subprocess.Popen([*command, name], env=environment) for name in options.subjects
        ]
        try:
            for process in processes:
                yield process.wait()
        finally:
            for process in processes:
                process.kill()
            serving.kill()


if __name__ == "__main__":
    sys.exit(any([*main()]))
