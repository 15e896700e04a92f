"""What surrounds the parser: adecode, and stream over the transport in memory.

What one would write by hand stands beside each, so that the difference is the driver's cost.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import anyio

from sseparse import SSEDecoder, adecode, decode
from sseparse.transports import Request
from sseparse.transports.memory import MemoryResponse, MemoryTransport
from sseparse_backends import DarkAI, Text, stream

from .fixtures import FIXTURES, Fixture
from .runs import Run, clock, first_difference

SECTION = "drivers"

Work = Callable[[list[bytes]], Awaitable[list[Any]]]


def driver_runs() -> Iterator[Run]:
    """Yield a run of each driver on the stream darkai."""
    fixture = next(fixture for fixture in FIXTURES if fixture.name == "darkai")
    events = list(fixture.expected)
    texts = [event.json()["data"]["text"] for event in events[:-1]]
    for chunking in ("event", "65536"):
        for who, work in EVENT_DRIVERS.items():
            yield _driver_run(fixture, chunking, who, work, events)
        for who, work in TEXT_DRIVERS.items():
            yield _driver_run(fixture, chunking, who, work, texts)
            if work is _stream:
                yield _driver_run(fixture, chunking, f"{who}, on trio", work, texts, "trio")


def _driver_run(
    fixture: Fixture,
    chunking: str,
    who: str,
    work: Work,
    expected: list[Any],
    loop: str = "asyncio",
) -> Run:
    chunks = fixture.chunks(chunking)

    async def timed() -> float:
        start = clock()
        await work(chunks)  # and free what it returns
        return (clock() - start) / fixture.count

    return Run(
        SECTION,
        f"{fixture.name}/{chunking}",
        who,
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
            events.append(event)  # noqa: PERF402  (a caller takes one at a time)
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
    response = await transport.send(Request("POST", "http://127.0.0.1"))
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
    async with stream(
        DarkAI(), "Hello", transport=MemoryTransport(MemoryResponse(chunks))
    ) as reply:
        async for text in reply:
            texts.append(text)  # noqa: PERF401
    return texts


EVENT_DRIVERS: dict[str, Work] = {
    "events: feed, by hand": _feed,
    "events: decode": _decode,
    "events: feed, by hand, from an async generator": _feed_async,
    "events: adecode, from an async generator": _adecode,
}
TEXT_DRIVERS: dict[str, Work] = {
    "text: receive, feed and interpret, by hand": _interpret,
    "text: stream": _stream,
}
