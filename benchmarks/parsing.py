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
from .runs import TURN_SECONDS, Run, clock, first_difference

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
    once = _clock(peer.parse, chunks, fixture.count)
    return Run(SECTION, f"{fixture.name}/{chunking}", peer.name, check, once)


def _clock(work: Callable[[Any], Any], argument: Any, count: int) -> Callable[[], float]:
    def once() -> float:
        start = clock()
        work(argument)  # and free its result
        return (clock() - start) / count

    return once


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


def ndjson_runs() -> Iterator[Run]:
    """Yield a run of NDJSONDecoder and of code without it, on each stream.

    Both use the same `loads`. With a fast one, more of the time is the decoder's own. json.loads
    takes longer for bytes than for text, msgspec does not.
    """
    for fixture in NDJSON_FIXTURES:
        for chunking in fixture.chunkings:
            for loads in (json.loads, msgspec.json.decode):
                yield _ndjson_run(fixture, chunking, loads, "NDJSONDecoder", _decode_ndjson)
                if chunking == "whole":
                    yield _ndjson_run(fixture, chunking, loads, "split", _split)
                    yield _ndjson_run(
                        fixture, chunking, loads, "decode and split", _decode_and_split
                    )


def _ndjson_run(
    fixture: Fixture, chunking: str, loads: Callable[[Any], Any], subject: str, parse: Any
) -> Run:
    def work(chunks: list[bytes]) -> list[Any]:
        values: list[Any] = parse(chunks, loads)
        return values

    chunks = fixture.chunks(chunking)
    return Run(
        NDJSON_SECTION,
        f"{fixture.name}/{chunking}",
        f"{subject}, {loads.__module__.partition('.')[0]}",
        lambda: first_difference(work(chunks), fixture.expected),
        _clock(work, chunks, fixture.count),
    )


def _decode_ndjson(chunks: list[bytes], loads: Callable[[Any], Any]) -> list[Any]:
    decoder = NDJSONDecoder(loads=loads)
    values = []
    for chunk in chunks:
        values += decoder.feed(chunk)
    values += decoder.close()
    return values


def _split(chunks: list[bytes], loads: Callable[[Any], Any]) -> list[Any]:
    [body] = chunks
    return [loads(line) for line in body.split(b"\n") if line]


def _decode_and_split(chunks: list[bytes], loads: Callable[[Any], Any]) -> list[Any]:
    [body] = chunks
    return [loads(line) for line in body.decode().split("\n") if line]
