"""The parsers, each driven from bytes to a list of its events as its own library drives it.

The names that these modules keep private are used here and nowhere else. Where a library has
more around its parser (a response, its `iter_text`), that is left out, in the peer's favour.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import httpx_sse._decoders
from httpx2._config import DEFAULT_MAX_EVENT_SIZE_BYTES
from httpx2._sse import _SSEParser
from ld_eventsource.actions import Event
from ld_eventsource.reader import _BufferedLineReader, _SSEReader

from sseparse import ServerSentEvent, SSEDecoder


class Peer(NamedTuple):
    """A parser: the name of its distribution, how to run it, and how to read its events.

    parse: the chunks of a stream -> what the parser makes of it, a list of its own objects.
    read: one of those -> the event, with as much of it as every peer has: the type, the data
        and the last event ID. It is not part of the time.
    """

    name: str
    parse: Callable[[Sequence[bytes]], list[Any]]
    read: Callable[[Any], ServerSentEvent]


def _sseparse(chunks: Sequence[bytes]) -> list[ServerSentEvent]:
    decoder = SSEDecoder()
    events = []
    for chunk in chunks:
        events += decoder.feed(chunk)
    events += decoder.close()
    return events


def _iter_text(chunks: Sequence[bytes]) -> Iterator[str]:
    # What Response.iter_text does in httpx and in httpx2.
    decoder = getincrementaldecoder("utf-8")(errors="replace")
    for chunk in chunks:
        if text := decoder.decode(chunk):
            yield text
    if text := decoder.decode(b"", True):
        yield text


def _httpx2(chunks: Sequence[bytes]) -> list[Any]:
    parser = _SSEParser(DEFAULT_MAX_EVENT_SIZE_BYTES)
    events: list[Any] = []
    for text in _iter_text(chunks):
        events += parser.decode(text)
    events += parser.flush()
    return events


def _httpx_sse_lines(chunks: Sequence[bytes]) -> Iterator[str]:
    decoder = httpx_sse._decoders.SSELineDecoder()
    for text in _iter_text(chunks):
        yield from decoder.decode(text)
    yield from decoder.flush()


def _httpx_sse(chunks: Sequence[bytes]) -> list[Any]:
    decoder = httpx_sse._decoders.SSEDecoder()
    events = []
    for line in _httpx_sse_lines(chunks):
        event = decoder.decode(line.rstrip("\n"))
        if event is not None:
            events.append(event)
    return events


def _launchdarkly(chunks: Sequence[bytes]) -> list[Any]:
    lines = _BufferedLineReader.lines_from(chunks)
    reader = _SSEReader(lines, None, None)
    return [item for item in reader.events_and_comments() if isinstance(item, Event)]


def _read(event: Any) -> ServerSentEvent:
    return ServerSentEvent(event.event, event.data, event.id)


def _read_launchdarkly(event: Any) -> ServerSentEvent:
    # Its `id` is the field of this one block, and None stands for no ID so far.
    return ServerSentEvent(event.event, event.data, event.last_event_id or "")


# The first is the one that the others are compared with.
PEERS = (
    Peer("sseparse", _sseparse, _read),
    Peer("httpx2", _httpx2, _read),
    Peer("httpx-sse", _httpx_sse, _read),
    Peer("launchdarkly-eventsource", _launchdarkly, _read_launchdarkly),
)
