"""Parsing: bytes to events, and bytes to the values of NDJSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec

from sseparse import NDJSONDecoder

from .fixtures import FIXTURES, NDJSON_FIXTURES, Fixture
from .peers import NodeParser, Peer
from .runs import TURN_SECONDS, Run, first_difference, timed_pass

SECTION = "parsing"
NDJSON_SECTION = "NDJSON"


def parsing_runs(peers: Sequence[Peer], node: NodeParser | None) -> Iterator[Run]:
    """Yield a run of each parser on each stream in each chunking."""
    for fixture in FIXTURES:
        for chunking in fixture.chunkings:
            for peer in peers:
                yield parser_run(peer, fixture, chunking)
            if node is not None:
                yield _node_run(node, fixture, chunking)


def parser_run(peer: Peer, fixture: Fixture, chunking: str) -> Run:
    """Return the run of one parser on one stream."""

    def check() -> str:
        # The fields that all peers report are compared: type, data and last event ID.
        parsed = [replace(peer.read(item), retry=None) for item in peer.parse(chunks)]
        return first_difference(parsed, fixture.expected)

    chunks = fixture.chunks(chunking)
    once = timed_pass(peer.parse, chunks, fixture.count)
    return Run(SECTION, f"{fixture.name}/{chunking}", peer.name, check, once)


def _node_run(node: NodeParser, fixture: Fixture, chunking: str) -> Run:
    number = 0

    def check() -> str:
        nonlocal number
        number, events = node.load(fixture.chunks(chunking))
        return first_difference(events, fixture.expected)

    def passes(seconds: float) -> float:
        return node.time(number, seconds) / fixture.count

    case = f"{fixture.name}/{chunking}"
    once, turn = partial(passes, 0), partial(passes, TURN_SECONDS)
    return Run(SECTION, case, node.name, check, once, turn, interruptible=False)


# Each way to read NDJSON, and whether its `loads` gets text or bytes, whichever is faster.
_LOADS: tuple[tuple[Callable[[Any], Any], bool], ...] = (
    (json.loads, True),
    (msgspec.json.decode, False),
)


def ndjson_runs() -> Iterator[Run]:
    """Yield a run of NDJSONDecoder and of code by hand, on each stream in each chunking.

    Both use the same `loads`. With a fast one, more of the time is the decoder's own.
    """
    for fixture in NDJSON_FIXTURES:
        for chunking in fixture.chunkings:
            for loads, is_text in _LOADS:
                for subject, parse in (("NDJSONDecoder", _decode), ("by hand", _by_hand)):
                    work = partial(parse, loads=loads, is_text=is_text)
                    yield _ndjson_run(fixture, chunking, f"{subject}, {_library(loads)}", work)


def _library(loads: Callable[[Any], Any]) -> str:
    return loads.__module__.partition(".")[0]


def _ndjson_run(
    fixture: Fixture, chunking: str, subject: str, work: Callable[[list[bytes]], list[Any]]
) -> Run:
    chunks = fixture.chunks(chunking)
    return Run(
        NDJSON_SECTION,
        f"{fixture.name}/{chunking}",
        subject,
        lambda: first_difference(work(chunks), fixture.expected),
        timed_pass(work, chunks, fixture.count),
    )


def _decode(chunks: list[bytes], *, loads: Callable[[Any], Any], is_text: bool) -> list[Any]:
    decoder = NDJSONDecoder(loads=loads, encoding_errors="strict" if is_text else None)
    values = []
    for chunk in chunks:
        values += decoder.feed(chunk)
    values += decoder.close()
    return values


def _by_hand(chunks: list[bytes], *, loads: Callable[[Any], Any], is_text: bool) -> list[Any]:
    """Split at LF and carry the rest: without a limit, without line numbers, without CRLF."""
    values: list[Any] = []
    rest = b""
    for chunk in chunks:
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        if is_text:
            values += [loads(line.decode()) for line in lines if line]
        else:
            values += [loads(line) for line in lines if line]
    if rest:
        values.append(loads(rest))
    return values
