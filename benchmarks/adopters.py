"""Adopters: packages with a decoder of sseparse in place of their own parser.

Each adapter has the face of the parser that its docstring names, and is a recipe for replacing it.
Its results are the same, except where the package's parser breaks a rule of the format. It sets no
size limit, because the package has none.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

from sseparse import Block, Comment, LineDecoder, ServerSentEvent, SSEDecoder, adecode, decode

from .fixtures import FIXTURES, WATCH, Fixture
from .peers import Parse, Peer
from .rules import cases, mistake
from .runs import Run, first_difference, show_all, timed_pass

SECTION = "adopters"
CHUNKINGS = ("event", "65536")
THEIRS = "its own parser"
OURS = "sseparse"


# The adapters


class EventDecoder:
    """Replaces SSEDecoder of httpx-sse and of the packages that copied it, for decode and adecode.

    A block without data is an event, unlike in the standard. A block without fields never is.

    event_class: the class of the package's events. It has defaults for None.
    """

    def __init__(self, event_class: Callable[..., Any]) -> None:
        self._decoder = SSEDecoder(blocks=True, max_event_size=None)
        self._event_class = event_class
        self._id: str | None = None

    def feed(self, data: bytes | bytearray | memoryview, /) -> list[Any]:
        events = []
        for block in self._decoder.feed(data):
            name, text, retry = block.event, block.data, block.retry
            if block.id is not None:
                self._id = block.id
            if text is not None or name or self._id or retry is not None:
                event = self._event_class(event=name, data=text, id=self._id, retry=retry)
                events.append(event)
        return events

    def close(self) -> list[Any]:
        return []


def iter_sse(source: Any) -> Iterator[Any]:
    """Replaces httpx_sse.EventSource.iter_sse."""
    from httpx_sse import ServerSentEvent

    source._check_content_type()
    yield from decode(source.response.iter_bytes(), EventDecoder(ServerSentEvent))


async def aiter_sse(source: Any) -> AsyncIterator[Any]:
    """Replaces httpx_sse.EventSource.aiter_sse."""
    from httpx_sse import ServerSentEvent

    source._check_content_type()
    decoder = EventDecoder(ServerSentEvent)
    async with adecode(source.response.aiter_bytes(), decoder) as events:
        async for event in events:
            yield event


class StreamDecoder:
    """Replaces SSEDecoder in openai._streaming and in anthropic._streaming.

    A subclass of the client returns it from `_make_sse_decoder`. The `raw` of anthropic's events
    is empty: only those of Stream.raw_events, which has a decoder of its own, need it.

    event_class: ServerSentEvent of the same module.
    """

    def __init__(self, event_class: Callable[..., Any]) -> None:
        self._event_class = event_class

    def iter_bytes(self, iterator: Iterable[bytes]) -> Iterator[Any]:
        return decode(iterator, EventDecoder(self._event_class))

    def aiter_bytes(self, iterator: AsyncIterable[bytes]) -> AsyncIterator[Any]:
        return adecode(iterator, EventDecoder(self._event_class))


class SSEClient:
    """Replaces sseclient.SSEClient. The encoding is UTF-8, as in the standard.

    An event without its last blank line is discarded; dispatch_at_eof=True would return it.
    """

    def __init__(self, event_source: Any) -> None:
        self._event_source = event_source

    def events(self) -> Iterator[Any]:
        from sseclient import Event

        decoder = SSEDecoder(blocks=True, max_event_size=None)
        for block in decode(self._event_source, decoder):
            if block.data is not None:
                retry = None if block.retry is None else str(block.retry)
                yield Event(block.id, block.event or "message", block.data, retry)

    def close(self) -> None:
        self._event_source.close()


class SSEReader:
    """Replaces _SSEReader in ld_eventsource.reader, and its _BufferedLineReader.

    One space at the start of a comment is dropped.

    chunks: the stream, in place of its lines.
    """

    def __init__(
        self,
        chunks: Iterable[bytes],
        last_event_id: str | None = None,
        set_retry: Callable[[int], None] | None = None,
    ) -> None:
        self._chunks = chunks
        self.last_event_id = last_event_id
        self._set_retry = set_retry

    def events_and_comments(self) -> Iterator[Any]:
        from ld_eventsource import actions

        decoder = SSEDecoder(blocks=True, comments=True, max_event_size=None)
        for item in decode(self._chunks, decoder):
            if isinstance(item, Block):
                event = item.event or "message"
                if item.id is not None:
                    self.last_event_id = item.id
                if item.retry is not None and self._set_retry:
                    self._set_retry(item.retry)
                if item.data is not None:
                    yield actions.Event(event, item.data, item.id, self.last_event_id)
            elif isinstance(item, Comment):
                yield actions.Comment(item.text)


def iter_resp_lines(resp: Any) -> Iterator[str]:
    """Replaces iter_resp_lines in kubernetes.watch.watch, but drops a CR before LF."""
    decoder = LineDecoder(max_line_size=None)
    for segment in resp.stream(amt=None, decode_content=False):
        chunk = segment.encode() if isinstance(segment, str) else segment
        for line in decoder.feed(chunk):
            yield line.decode("utf-8", "replace")


# The packages


@dataclass(frozen=True)
class Adopter:
    """A package with its own parser, and with sseparse.

    theirs, ours: the parsers. Both return the package's own results.
    fields: returns the parts of a result that are compared.
    fixture: the stream.
    """

    theirs: Peer
    ours: Peer
    fields: Callable[[Any], Any]
    fixture: Fixture

    @property
    def name(self) -> str:
        """The package."""
        return self.theirs.name


def _httpx_sse() -> Parse:
    from httpx_sse import EventSource

    def parse(chunks: Sequence[bytes]) -> list[Any]:
        headers = {"content-type": "text/event-stream"}
        response: Any = SimpleNamespace(headers=headers, iter_bytes=lambda: chunks)
        return list(iter_sse(EventSource(response)))

    return parse


def _openai() -> Parse:
    from openai._streaming import ServerSentEvent

    return lambda chunks: list(StreamDecoder(ServerSentEvent).iter_bytes(chunks))


def _anthropic() -> Parse:
    from anthropic._streaming import ServerSentEvent

    return lambda chunks: list(StreamDecoder(ServerSentEvent).iter_bytes(chunks))


def _sseclient() -> Parse:
    return lambda chunks: list(SSEClient(chunks).events())


def _launchdarkly() -> Parse:
    from ld_eventsource.actions import Event

    def parse(chunks: Sequence[bytes]) -> list[Any]:
        reader = SSEReader(chunks)
        return [item for item in reader.events_and_comments() if isinstance(item, Event)]

    return parse


def _watching(lines: Callable[[Any], Iterator[str]]) -> Parse:
    return lambda chunks: list(lines(SimpleNamespace(stream=lambda **_: chunks)))


def _kubernetes() -> Peer:
    from kubernetes.watch import watch

    def read(line: str) -> ServerSentEvent:
        return ServerSentEvent(data=line)

    parse = _watching(watch.iter_resp_lines)
    return Peer(KUBERNETES, version(KUBERNETES), parse, read, has_retry=False)


KUBERNETES = "kubernetes"
_EVENT = attrgetter("event", "data", "id", "retry")
# The adapter, the compared fields and the stream of each package with an event stream.
_PACKAGES: dict[str, tuple[Callable[[], Parse], Callable[[Any], Any], str]] = {
    "httpx-sse": (_httpx_sse, _EVENT, "openai"),
    "openai": (_openai, _EVENT, "openai"),
    "anthropic": (_anthropic, _EVENT, "anthropic"),
    "sseclient-py": (_sseclient, _EVENT, "openai"),
    "launchdarkly-eventsource": (
        _launchdarkly,
        attrgetter("event", "data", "id", "last_event_id"),
        "identified",
    ),
}


def find_adopters(peers: Sequence[Peer]) -> tuple[list[Adopter], dict[str, str]]:
    """Return the importable packages, and the import errors of those that are no peers.

    peers: the installed parsers.
    """
    fixtures = {fixture.name: fixture for fixture in FIXTURES}
    adopters = []
    for peer in peers:
        if peer.name in _PACKAGES:
            adapter, fields, stream = _PACKAGES[peer.name]
            ours = replace(peer, parse=adapter())
            adopters.append(Adopter(peer, ours, fields, fixtures[stream]))
    try:
        peer = _kubernetes()
    except ImportError as error:
        return adopters, {KUBERNETES: str(error)}
    ours = replace(peer, parse=_watching(iter_resp_lines))
    return [*adopters, Adopter(peer, ours, str, WATCH)], {}


# The measurements


def adopter_runs(adopters: Iterable[Adopter]) -> Iterator[Run]:
    """Yield two runs of each package in each chunking: its own parser, and sseparse."""
    for adopter in adopters:
        for chunking in CHUNKINGS:
            yield _run(adopter, chunking, THEIRS, adopter.theirs)
            yield _run(adopter, chunking, OURS, adopter.ours)


def _run(adopter: Adopter, chunking: str, subject: str, parser: Peer) -> Run:
    chunks = adopter.fixture.chunks(chunking)

    def check() -> str:
        """Compare the results with the stream's, then all fields with the other parser's."""
        results = parser.parse(chunks)
        texts = [parser.read(result).data for result in results]
        other = adopter.theirs if parser is adopter.ours else adopter.ours
        return first_difference(texts, adopter.fixture.texts) or first_difference(
            map(adopter.fields, results), [*map(adopter.fields, other.parse(chunks))]
        )

    once = timed_pass(parser.parse, chunks, adopter.fixture.count)
    return Run(SECTION, f"{adopter.name}/{chunking}", subject, check, once)


def compare_rules(adopter: Adopter) -> dict[str, Any]:
    """Return the rules of the format that a package's own parser breaks.

    changed: the cases in which sseparse has other events, each as rule, input, theirs and ours.
    kept: the cases in which it has the same, by rule.
    """
    changed: list[dict[str, str]] = []
    kept: list[str] = []
    for rule, stream, expected in cases(with_retry=adopter.theirs.has_retry):
        wrong = mistake(adopter.theirs, stream, expected)
        if wrong is None:
            continue
        own = mistake(adopter.ours, stream, expected)
        if wrong == own:
            kept.append(rule)
            continue
        cut, theirs = wrong
        ours = own[1] if own else show_all(expected)
        changed.append({"rule": rule, "input": f"{stream!r}{cut}", "theirs": theirs, "ours": ours})
    return {"changed": changed, "kept": kept}
