"""The other parsers: installed or not, right or known to be wrong, and the rules they break."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

import pytest

from benchmarks import parsing
from benchmarks.fixtures import FIXTURES
from benchmarks.peers import (
    COMPILED,
    OWN,
    PYTHON,
    MissingPeer,
    NodeParser,
    Peer,
    find_peers,
)
from benchmarks.rules import RULES, broken_rules, cases
from sseparse import SSEDecoder
from tests.support.classes import in_python
from tests.support.rules import CASES

PEERS, MISSING = find_peers()
OWN_PEERS = [peer for peer in PEERS if peer.name in OWN]

# The fixtures that a peer gets wrong. A release that corrects one fails the test.
WRONG = {
    "aiohttp-sse-client2": {"cr", "large-multiline"},
    "requests-sse": {"large-multiline"},
}


def test_peers_are_here_or_missing() -> None:
    assert PYTHON in [peer.name for peer in PEERS]
    assert len(PEERS) + len(MISSING) == 12
    assert all(peer.version for peer in PEERS)
    assert all(MISSING.values())


def test_own_parsers_are_the_class_in_python_and_the_compiled_one_if_there_is_one() -> None:
    assert (COMPILED in MISSING) == (SSEDecoder is in_python(SSEDecoder))


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_peer_gets_right_what_is_not_known_to_be_wrong(peer: Peer) -> None:
    fixtures = [fixture for fixture in FIXTURES if fixture.name != "drip" or peer.name in OWN]
    runs = [parsing.parser_run(peer, fixture, fixture.chunkings[-1]) for fixture in fixtures]
    mistakes = {run.case.partition("/")[0]: run.check() for run in runs}
    assert {name for name in mistakes if mistakes[name]} == WRONG.get(peer.name, set())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "chunking"), [("anthropic", "1024"), ("multibyte", "event")])
def test_node_parses_and_times(name: str, chunking: str) -> None:
    fixture = next(fixture for fixture in FIXTURES if fixture.name == name)
    try:
        node = NodeParser(install=False)
    except MissingPeer as error:
        pytest.skip(str(error))
    try:
        for number in range(2):
            assert node.load(fixture.chunks(chunking)) == (number, list(fixture.expected))
            assert node.time(number, 0) > 0
    finally:
        node.close()


def test_node_without_a_node_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(MissingPeer, match="node is not installed"):
        NodeParser(install=False)


@pytest.mark.parametrize("peer", OWN_PEERS, ids=lambda peer: peer.name)
def test_own_parsers_break_no_rule(peer: Peer) -> None:
    outcome = broken_rules(peer)
    assert outcome["broken"] == {}
    assert outcome["cases"] > 100


def test_rules_have_the_numbers_of_the_cases() -> None:
    numbers = {case.rule.partition(":")[0] for case in CASES if ": " in case.rule}
    # Rule 12 and blocks are about options of the decoder, limits are its own.
    assert numbers - RULES.keys() == {"12", "blocks", "limit"}
    streams = {rule: stream for rule, stream, _ in cases(with_retry=True)}
    assert streams["10: retry '7' is 7"] == b"retry: 7\ndata\n\n"
    assert "10: retry '7' is 7" not in [rule for rule, _, _ in cases(with_retry=False)]


def test_broken_rule_has_the_wrong_events_and_the_cut() -> None:
    own = OWN_PEERS[0]

    def parse(chunks: Sequence[bytes]) -> list[Any]:
        if b"data: a\xffb\n\n" in chunks:
            raise UnicodeError
        # An ASCII line end after each character "x" that comes alone.
        return own.parse([chunk + b"\n" if chunk == b"x" else chunk for chunk in chunks])

    broken = broken_rules(Peer("other", "1", parse, own.read, has_retry=True))["broken"]
    assert broken["1: invalid UTF-8 becomes U+FFFD"] == "raised UnicodeError"
    assert any(rule.endswith(", byte by byte") for rule in broken)
