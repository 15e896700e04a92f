"""The adapters: with stand-ins for the packages, and against the packages that are installed."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import adopters
from benchmarks.adopters import Adopter
from benchmarks.fixtures import DARKAI, WATCH
from benchmarks.peers import PYTHON, find_peers
from sseparse import ServerSentEvent

PEERS, _ = find_peers()
OWN = next(peer for peer in PEERS if peer.name == PYTHON)
ADOPTERS, MISSING = adopters.find_adopters(PEERS)
STREAMING = [adopter for adopter in ADOPTERS if adopter.theirs in PEERS]
STAND_IN = Adopter(OWN, OWN, lambda event: event, DARKAI)

# The rules that a package breaks. A release that mends one fails the test.
BROKEN = {
    "httpx-sse": {"2", "10", "11"},
    "openai": {"1", "2", "4", "10", "11"},
    "anthropic": {"1", "2", "4", "10", "11"},
    "sseclient-py": {"1", "2", "3", "4", "9", "13"},
    "launchdarkly-eventsource": {"1", "2", "4", "11"},
}

WELL_FORMED = [
    b"data: a\n\nevent: message\ndata: a\n\nevent: \ndata: a\n\n",
    b"event: ping\n\nretry: 5\n\nevent\n\nid\n\n",
    b"data\n\ndata: a\ndata\n\n",
    b"id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\ndata: d\n\n",
    b"data: a\nid: 1\nid: 2\nretry: 5\nretry: 6\nevent: b\n\n",
    b"\n\n: comment\n\nother: a\n\n\ndata:  a \n\n",
    b"event: \xc3\xa9\r\ndata: \xe2\x80\xa8\xc2\x85\v\f\x1c\r\n\r\n",
    b"id: 1\rdata: \xf0\x9f\x8e\x89\r\r",
]


# With stand-ins


def fields(**values: Any) -> tuple[Any, ...]:
    return tuple(values[name] for name in ("event", "data", "id", "retry"))


BLOCKS = [
    b"event: message\nid: 1\nretry: 5\ndata: a\n\n: ping",
    b"\n\nevent: ping\n\ndata\n\nid\n\n",
]
EVENTS = [
    ("message", "a", "1", 5),
    ("ping", None, "1", None),
    (None, "", "1", None),
]


async def arriving(chunks: Sequence[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


class Source:
    """An EventSource of httpx-sse, over a response of httpx."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self.response = SimpleNamespace(
            iter_bytes=lambda: iter(chunks), aiter_bytes=lambda: arriving(chunks)
        )
        self.checked = False

    def _check_content_type(self) -> None:
        self.checked = True


def test_block_is_an_event_with_a_field_that_counts() -> None:
    decoder = adopters.StreamDecoder(fields)
    assert list(decoder.iter_bytes(iter(BLOCKS))) == EVENTS
    assert list(decoder.iter_bytes(iter([b"data: a\n\ndata: b"]))) == [(None, "a", None, None)]


@pytest.mark.anyio
async def test_decoder_of_streams_reads_asynchronous_chunks() -> None:
    decoder = adopters.StreamDecoder(fields)
    assert [event async for event in decoder.aiter_bytes(arriving(BLOCKS))] == EVENTS


@pytest.mark.anyio
async def test_httpx_sse_checks_the_media_type_and_reads_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "httpx_sse", SimpleNamespace(ServerSentEvent=fields))
    source = Source(BLOCKS)
    assert list(adopters.iter_sse(source)) == EVENTS
    assert source.checked
    source = Source(BLOCKS)
    assert [event async for event in adopters.aiter_sse(source)] == EVENTS
    assert source.checked


def test_sseclient_has_events_with_the_fields_of_their_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sseclient", SimpleNamespace(Event=lambda *args: args))
    closed: list[bool] = []

    class Body(list[bytes]):
        def close(self) -> None:
            closed.append(True)

    client = adopters.SSEClient(Body(BLOCKS))
    assert list(client.events()) == [("1", "message", "a", "5"), (None, "message", "", None)]
    client.close()
    assert closed == [True]


def test_launchdarkly_has_comments_ids_and_reconnection_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    actions = SimpleNamespace(Event=lambda *args: args, Comment=lambda text: text)
    monkeypatch.setitem(sys.modules, "ld_eventsource", SimpleNamespace(actions=actions))
    times: list[int] = []
    reader = adopters.SSEReader(BLOCKS, "0", times.append)
    items = reader.events_and_comments()
    assert next(items) == ("message", "a", "1", "1")
    assert list(items) == ["ping", ("message", "", None, "1")]
    assert reader.last_event_id == ""
    assert times == [5]
    reader = adopters.SSEReader([b"retry: 5\ndata: a\n\n"])
    assert list(reader.events_and_comments()) == [("message", "a", None, None)]


def test_kubernetes_has_lines_of_text_or_bytes() -> None:
    segments = ["é\n\n", b"\xff\xe2\x80", b"\xa8\r", b"\ncut"]
    response = SimpleNamespace(stream=lambda amt, decode_content: segments)
    assert list(adopters.iter_resp_lines(response)) == ["é", "", "\ufffd\u2028"]


# The measurements


def checks(adopter: Adopter) -> list[str]:
    return [run.check() for run in adopters.adopter_runs([adopter])]


def test_packages_are_here_or_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {adopter.name for adopter in ADOPTERS} | MISSING.keys() <= {*BROKEN, "kubernetes"}
    for name in ("kubernetes", "kubernetes.watch"):
        monkeypatch.setitem(sys.modules, name, None)
    found, missing = adopters.find_adopters([OWN])
    assert found == []
    assert "kubernetes" in missing["kubernetes"]


def test_kubernetes_is_measured_with_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = SimpleNamespace(iter_resp_lines=adopters.iter_resp_lines)
    monkeypatch.setitem(sys.modules, "kubernetes", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "kubernetes.watch", SimpleNamespace(watch=watch))
    monkeypatch.setattr(adopters, "version", lambda _: "1")
    [adopter], missing = adopters.find_adopters([])
    assert (adopter.name, adopter.fixture, missing) == ("kubernetes", WATCH, {})
    assert checks(adopter) == [""] * 4


def test_package_runs_with_its_own_parser_and_with_sseparse() -> None:
    runs = list(adopters.adopter_runs([STAND_IN]))
    assert [(run.case, run.subject) for run in runs] == [
        (f"{PYTHON}/{chunking}", subject)
        for chunking in adopters.CHUNKINGS
        for subject in (adopters.THEIRS, adopters.OURS)
    ]
    assert [run.check() for run in runs] == [""] * 4
    assert all(run.once() > 0 for run in runs)


def test_neither_is_timed_if_their_results_differ() -> None:
    def parse(chunks: Sequence[bytes]) -> list[Any]:
        first, *events = OWN.parse(chunks)
        return [replace(first, retry=5), *events]

    mistakes = checks(replace(STAND_IN, ours=replace(OWN, parse=parse)))
    assert all("event 1 is " in mistake and "retry=5" in mistake for mistake in mistakes)


def test_result_that_is_not_in_the_stream_is_found_out() -> None:
    def parse(chunks: Sequence[bytes]) -> list[Any]:
        return OWN.parse(chunks)[:-1]

    wrong = replace(OWN, parse=parse)
    mistakes = checks(replace(STAND_IN, theirs=wrong, ours=wrong))
    assert all(mistake.startswith("event 3000 is nothing") for mistake in mistakes)


def test_rules_are_broken_mended_or_kept() -> None:
    assert adopters.compare_rules(STAND_IN) == {"changed": [], "kept": []}

    def raising(chunks: Sequence[bytes]) -> list[Any]:
        if b"\xff" in b"".join(chunks):
            raise UnicodeError
        return OWN.parse(chunks)

    def never_dispatching(chunks: Sequence[bytes]) -> list[ServerSentEvent]:
        return []

    theirs = replace(OWN, parse=raising)
    outcome = adopters.compare_rules(replace(STAND_IN, theirs=theirs))
    assert outcome["changed"][0] == {
        "rule": "1: invalid UTF-8 becomes U+FFFD",
        "input": repr(b"data: a\xffb\n\n"),
        "theirs": "raised UnicodeError",
        "ours": "(event='message', data='a\ufffdb', id='')",
    }
    assert outcome["kept"] == []
    assert adopters.compare_rules(replace(STAND_IN, theirs=theirs, ours=theirs))["changed"] == []
    ours = replace(OWN, parse=never_dispatching)
    outcome = adopters.compare_rules(replace(STAND_IN, theirs=theirs, ours=ours))
    assert outcome["changed"][0]["ours"] == "nothing"


# Against the packages


@pytest.mark.parametrize("adopter", ADOPTERS, ids=lambda adopter: adopter.name)
def test_adapter_has_the_results_of_the_package(adopter: Adopter) -> None:
    assert checks(adopter) == [""] * 4


@pytest.mark.parametrize("stream", WELL_FORMED)
@pytest.mark.parametrize("adopter", STREAMING, ids=lambda adopter: adopter.name)
def test_adapter_has_every_field_of_the_package(adopter: Adopter, stream: bytes) -> None:
    for chunks in ([stream], [stream[i : i + 1] for i in range(len(stream))]):
        theirs, ours = (
            [adopter.fields(event) for event in peer.parse(chunks)]
            for peer in (adopter.theirs, adopter.ours)
        )
        assert ours == theirs


@pytest.mark.parametrize("adopter", STREAMING, ids=lambda adopter: adopter.name)
def test_package_breaks_the_rules_that_it_is_known_to_break(adopter: Adopter) -> None:
    changed = adopters.compare_rules(adopter)["changed"]
    assert {case["rule"].partition(":")[0] for case in changed} == BROKEN[adopter.name]
