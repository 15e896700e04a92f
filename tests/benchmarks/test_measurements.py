"""The measurements: each run does its work right, and a wrong parser is found out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from benchmarks import drivers, end_to_end, parsing, scale
from benchmarks.fixtures import DARKAI
from benchmarks.peers import PYTHON, Peer, find_peers
from benchmarks.runs import Run
from sseparse import ServerSentEvent

OWN = next(peer for peer in find_peers()[0] if peer.name == PYTHON)

FIRST = """(event='message', data='{"event":"text-chunk","data":{"text":" Why"}}', id='')"""
LAST = """(event='message', data='{"event":"stream-end"}', id='')"""
LAST_STRIPPED = """(event='message', data='{"event":"stream-end"', id='')"""


def _strips(chunks: Sequence[bytes]) -> list[Any]:
    events = OWN.parse(chunks)
    events[-1] = ServerSentEvent(data=events[-1].data[:-1])
    return events


def _doubles_the_last(chunks: Sequence[bytes]) -> list[Any]:
    events = OWN.parse(chunks)
    return [*events, events[-1]]


def _finds_nothing(chunks: Sequence[bytes]) -> list[Any]:
    return []


@pytest.mark.parametrize(
    ("parse", "mistake"),
    [
        (_strips, f"event 3000 is {LAST_STRIPPED}, expected {LAST}"),
        (_doubles_the_last, f"event 3001 is {LAST}, expected nothing"),
        (_finds_nothing, f"event 1 is nothing, expected {FIRST}"),
    ],
)
def test_wrong_parser_is_found_out(
    parse: Callable[[Sequence[bytes]], list[Any]], mistake: str
) -> None:
    peer = Peer("other", "1", parse, OWN.read, has_retry=True)
    assert parsing.parser_run(peer, DARKAI, "65536").check() == mistake


def run_right(runs: Sequence[Run]) -> None:
    assert {run.subject: run.check() for run in runs} == {run.subject: "" for run in runs}
    assert all(run.once() > 0 for run in runs)


@pytest.mark.parametrize("chunking", ["whole", "1024", "65536"])
def test_ndjson_runs_are_right(chunking: str) -> None:
    runs = [run for run in parsing.ndjson_runs() if run.case == f"openai.ndjson/{chunking}"]
    run_right(runs)
    subjects = {run.subject.partition(",")[0] for run in runs}
    assert subjects == {"NDJSONDecoder", "by hand"}


@pytest.mark.parametrize("chunking", drivers.CHUNKINGS)
def test_driver_runs_are_right(chunking: str) -> None:
    runs = [run for run in drivers.driver_runs() if run.case == f"darkai/{chunking}"]
    run_right(runs)
    assert [run.subject for run in runs] == [
        "by hand: feed",
        "decode",
        "by hand: feed, from an async generator",
        "adecode, from an async generator",
    ]


@pytest.mark.parametrize("loop", drivers.LOOPS)
@pytest.mark.parametrize("chunking", drivers.CHUNKINGS)
def test_each_driver_runs_beside_code_by_hand_on_both_loops(chunking: str, loop: str) -> None:
    runs = [run for run in drivers.step_runs() if run.case == f"darkai/{chunking}, {loop}"]
    run_right(runs)
    pairs = [name for pair in drivers.BY_HAND.items() for name in pair]
    assert sorted(run.subject for run in runs) == sorted(pairs)


@pytest.mark.slow
def test_every_client_gets_the_text_over_http() -> None:
    with end_to_end.serving() as url:
        runs = [run for run in end_to_end.end_to_end_runs(url) if run.case == "at once"]
        run_right(runs)
    subjects = [run.subject for run in runs]
    assert subjects == list(end_to_end.clients())
    assert {"sseparse: stream on httpx2 (trio)", "sseparse: stream on aiohttp"} <= {*subjects}


@pytest.mark.slow
@pytest.mark.parametrize("loop", scale.LOOPS)
def test_scale_measures_every_reply(loop: str) -> None:
    outcome = scale.measure_scale(loop, 20, repeats=1)
    assert outcome["replies"] == 20
    assert outcome["events_per_second"] > 0
    assert outcome["slowest_to_median"] >= 1
