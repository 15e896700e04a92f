"""Drivers around the decoder: decode, adecode, stream and EventSource, without a network.

Code written by hand runs beside each driver: the difference is the cost of the driver.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import anyio

from sseparse import SSEDecoder, adecode, decode
from sseparse.client import EventSource
from sseparse.transports import Request
from sseparse.transports.memory import MemoryResponse, MemoryTransport
from sseparse_backends import DarkAI, Text, stream

from .fixtures import DARKAI
from .runs import Run, clock, first_difference

SECTION = "drivers"
STEPS_SECTION = "steps"
LOOPS = ("asyncio", "trio")
CHUNKINGS = ("event", "65536")

# Each driver of STEPS_SECTION, and the code by hand that it is compared with.
BY_HAND = {
    "stream": "by hand: receive, feed, interpret",
    "EventSource": "by hand: receive, feed",
}

URL = "http://127.0.0.1"

Work = Callable[[list[bytes]], Awaitable[list[Any]]]


def driver_runs() -> Iterator[Run]:
    """Yield a run of each driver on the fixture darkai, from chunks in memory, on asyncio."""
    works: dict[str, Work] = {
        "by hand: feed": _feed,
        "decode": _decode,
        "by hand: feed, from an async generator": _feed_async,
        "adecode, from an async generator": _adecode,
    }
    for chunking in CHUNKINGS:
        for subject, work in works.items():
            yield _run(SECTION, f"darkai/{chunking}", subject, work, chunking, DARKAI.expected)


def step_runs() -> Iterator[Run]:
    """Yield a run of stream and EventSource, and by hand, over MemoryTransport on each loop."""
    texts = [event.json()["data"]["text"] for event in DARKAI.expected[:-1]]
    works: dict[str, tuple[Work, Any]] = {
        BY_HAND["stream"]: (_interpret, texts),
        "stream": (_stream, texts),
        BY_HAND["EventSource"]: (_receive, DARKAI.expected),
        "EventSource": (_event_source, DARKAI.expected),
    }
    for chunking in CHUNKINGS:
        for loop in LOOPS:
            case = f"darkai/{chunking}, {loop}"
            for subject, (work, expected) in works.items():
                yield _run(STEPS_SECTION, case, subject, work, chunking, expected, loop)


def _run(
    section: str,
    case: str,
    subject: str,
    work: Work,
    chunking: str,
    expected: Any,
    loop: str = "asyncio",
) -> Run:
    chunks = DARKAI.chunks(chunking)

    async def timed() -> float:
        start = clock()
        await work(chunks)  # and free its result
        return (clock() - start) / DARKAI.count

    return Run(
        section,
        case,
        subject,
        lambda: first_difference(anyio.run(work, chunks, backend=loop), expected),
        lambda: anyio.run(timed, backend=loop),
    )


async def _source(chunks: list[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def _feed(chunks: list[bytes]) -> list[Any]:
    decoder = SSEDecoder()
    events = []
    for chunk in chunks:
        for event in decoder.feed(chunk):
            events.append(event)  # noqa: PERF402  (callers take one at a time)
    events += decoder.close()
    return events


async def _feed_async(chunks: list[bytes]) -> list[Any]:
    decoder = SSEDecoder()
    events = []
    async for chunk in _source(chunks):
        for event in decoder.feed(chunk):
            events.append(event)  # noqa: PERF402
    events += decoder.close()
    return events


async def _decode(chunks: list[bytes]) -> list[Any]:
    events = []
    for event in decode(chunks):
        events.append(event)  # noqa: PERF402
    return events


async def _adecode(chunks: list[bytes]) -> list[Any]:
    events = []
    async for event in adecode(_source(chunks)):
        events.append(event)  # noqa: PERF401
    return events


async def _interpret(chunks: list[bytes]) -> list[Any]:
    transport = MemoryTransport(MemoryResponse(chunks))
    response = await transport.send(Request("POST", URL))
    reply = DarkAI().reply("text/event-stream")
    texts = []
    while chunk := await response.receive():
        for event in reply.decoder.feed(chunk):
            for delta in reply.interpret(event):
                if isinstance(delta, Text):
                    texts.append(delta.text)  # noqa: PERF401
    await response.aclose()
    return texts


async def _stream(chunks: list[bytes]) -> list[Any]:
    texts = []
    transport = MemoryTransport(MemoryResponse(chunks))
    async with stream(DarkAI(), "Hello", transport=transport) as reply:
        async for text in reply:
            texts.append(text)  # noqa: PERF401
    return texts


def _one_stream(chunks: list[bytes]) -> MemoryTransport:
    """Return a server with one event stream; a second request is answered with 204."""
    return MemoryTransport(MemoryResponse(chunks), MemoryResponse(status=204))


async def _receive(chunks: list[bytes]) -> list[Any]:
    transport = _one_stream(chunks)
    decoder = SSEDecoder()
    events = []
    status = 200
    while status != 204:
        response = await transport.send(Request("GET", URL))
        status = response.status
        while chunk := await response.receive():
            for event in decoder.feed(chunk):
                events.append(event)  # noqa: PERF402
        await response.aclose()
    return events


async def _event_source(chunks: list[bytes]) -> list[Any]:
    events = []
    transport = _one_stream(chunks)
    async with EventSource(URL, transport=transport, reconnection_time=0) as source:
        async for event in source:
            events.append(event)  # noqa: PERF401
    return events
