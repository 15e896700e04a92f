"""The measurements: each run does its work right, and a wrong parser is found out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from benchmarks import drivers, end_to_end, files, parsing, scale
from benchmarks.clients import CLIENTS, find_packages
from benchmarks.end_to_end import Case
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


CASES = {
    "paced": Case("paced", 20, pause=100),
    "many": Case("paced", 5, pause=1000, streams=20),
    "bulk": Case("bulk", 20),
    "first": Case("paced", 5, pause=100, first=True),
}


class FakeWorkers(end_to_end.Workers):
    def ask(self, service: str, subject: str, case: Case) -> dict[str, Any]:
        return {"ns": 6000, "texts": ["", " Why"]}


def test_wrong_text_of_a_client_is_found_out() -> None:
    run = next(end_to_end.end_to_end_runs(FakeWorkers(), {"paced": Case("paced", 2)}, ()))
    assert run.check() == "the text has 0 and 4 characters, expected 8"


def test_time_is_per_event_of_all_streams_except_to_the_first_text() -> None:
    cases = {"many": Case("paced", 2, streams=10), "first": Case("paced", 2, first=True)}
    many, first, *_ = end_to_end.end_to_end_runs(FakeWorkers(), cases, ())
    # Two tokens of OpenAI's protocol are six events.
    assert (many.once(), first.once()) == (100, 6000)


def test_without_variants_each_library_is_run_once_for_its_service() -> None:
    packages, _ = find_packages()
    cases = {"paced": Case("paced", 2)}
    runs = [*end_to_end.end_to_end_runs(FakeWorkers(), cases, packages, variants=False)]
    assert {run.subject for run in runs} >= {"sseparse: stream on aiohttp"}
    assert not any(run.subject.endswith(")") for run in runs)
    own = [run for run in runs if run.subject.startswith("sseparse")]
    assert {run.case for run in own} == {"OpenAI/paced"}


@pytest.mark.slow
def test_every_installed_client_gets_every_text_over_http() -> None:
    versions, missing = find_packages()
    with end_to_end.Workers() as workers:
        runs = [*end_to_end.end_to_end_runs(workers, CASES, versions)]
        run_right(runs)
    subjects = {(run.case.partition("/")[0], run.subject) for run in runs}
    assert subjects == {
        (service, subject)
        for service, clients in CLIENTS.items()
        for subject, client in clients.items()
        if client.package not in missing
    }


@pytest.mark.slow
def test_each_installed_reader_reads_all_lines_of_a_file() -> None:
    started: list[str] = []
    outcomes = files.measure_files(1000, started.append)
    assert started == [*outcomes]
    assert len(outcomes) >= 5
    for outcome in outcomes.values():
        assert (outcome["lines"], outcome["mistake"]) == (1000, "")
        assert outcome["lines_per_second"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(("loop", "transport"), scale.SUBJECTS)
def test_scale_measures_every_reply(loop: str, transport: str) -> None:
    outcome = scale.measure_scale(loop, transport, 20, repeats=1)
    assert outcome["replies"] == 20
    assert outcome["events_per_second"] > 0
    assert outcome["slowest_to_median"] >= 1
