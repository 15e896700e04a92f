"""The measuring of runs: checks, turns, spread. The clock is the tests' own."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable

import pytest
from rich.progress import Progress

from benchmarks import runs
from benchmarks.runs import Effort, Run, first_difference, measure, show
from sseparse import ServerSentEvent

NO_LIMIT = 1000.0


class Clock:
    """Time that passes only when a run says so, and a little when it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 2**-20
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(runs, "perf_counter", clock)
    monkeypatch.setattr(runs, "TURN_SECONDS", 0.0)  # one pass in a turn
    return clock


def measured(*runs: Run, rounds: int = 1, seconds: float = 0) -> list[Run]:
    with Progress(disable=True) as progress:
        return measure(runs, Effort(rounds, seconds, NO_LIMIT), progress, "test")


def run_of(
    once: Callable[[], float] = lambda: 1.0, *, check: Callable[[], str] = lambda: ""
) -> Run:
    return Run("section", "case", "subject", check, once)


def test_wrong_run_is_never_timed() -> None:
    def once() -> float:
        raise AssertionError("timed")

    [run] = measured(run_of(once, check=lambda: "event 1 is nothing"))
    assert (run.mistake, run.times) == ("event 1 is nothing", [])


def test_run_that_raises_is_wrong() -> None:
    def check() -> str:
        raise RuntimeError("no such parser")

    [run] = measured(run_of(check=check))
    assert (run.mistake, run.times) == ("raised RuntimeError('no such parser')", [])


@pytest.mark.skipif(sys.platform == "win32", reason="it has no timer that interrupts")
def test_run_that_reaches_the_limit_is_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    timers: list[float] = []

    def check() -> str:
        signal.raise_signal(signal.SIGALRM)
        return ""

    monkeypatch.setattr(signal, "setitimer", lambda _, seconds: timers.append(seconds))
    [run] = measured(run_of(check=check))
    assert (run.mistake, run.times) == ("too slow: not finished after 1000 s", [])
    assert timers == [NO_LIMIT, 0]


def test_run_of_another_process_is_not_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "setitimer", None)
    run = run_of()
    run.interruptible = False
    assert measured(run) == [run]
    assert run.times == [1.0]


def test_slow_run_takes_fewer_turns_and_each_has_a_warm_up(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "TURN_SECONDS", 0.25)
    passes = {"slow": 0, "fast": 0}

    def passing(name: str, seconds: float) -> Callable[[], float]:
        def once() -> float:
            passes[name] += 1
            clock.now += seconds
            return seconds

        return once

    # A turn of the slow one takes 1 second: a pass to warm up, and one more. One of the fast one
    # takes 3/8 seconds: a pass to warm up, and two more.
    slow, fast = measured(
        run_of(passing("slow", 0.5)), run_of(passing("fast", 0.125)), rounds=6, seconds=4.5
    )
    assert slow.times == [0.5] * 4
    assert fast.times == [0.125] * 6
    # One turn more shows how long a turn takes.
    assert passes == {"slow": 2 * (4 + 1), "fast": 3 * (6 + 1)}
    assert (slow.ns, slow.spread) == (0.5, 0.0)


def test_pass_that_takes_long_is_a_turn_of_its_own(clock: Clock) -> None:
    passes: list[float] = []

    def once() -> float:
        clock.now += 2 * runs.LONG_PASS_SECONDS
        passes.append(1.0)
        return 1.0

    [run] = measured(run_of(once), rounds=3)
    assert len(passes) == 1 + len(run.times)


def test_check_that_takes_long_stands_for_the_first_turn(clock: Clock) -> None:
    passes: list[float] = []

    def check() -> str:
        clock.now += 2 * runs.LONG_PASS_SECONDS
        return ""

    def once() -> float:
        passes.append(1.0)
        return 1.0

    [run] = measured(run_of(once, check=check))
    assert len(passes) == 2 * len(run.times)


def test_turn_of_its_own_is_taken_as_it_is() -> None:
    run = run_of()
    run.turn = lambda: 7.0
    assert measured(run)[0].times == [7.0]


@pytest.mark.parametrize(
    ("times", "spread"),
    [
        ([8.0, 10.0, 11.0], 2 / 10),
        ([100.0, *range(1, 40)], 6 / 20.5),
    ],
    ids=["of a few times it is all of them", "the ranks 14 and 27 of 40"],
)
def test_spread_is_that_of_the_confidence_interval_of_the_median(
    times: list[float], spread: float
) -> None:
    run = run_of()
    run.times = times
    assert run.spread == pytest.approx(spread, abs=0.03)


def test_garbage_collection_is_as_before_after_a_run() -> None:
    def once() -> float:
        assert not gc.isenabled()
        return 1.0

    [run] = measured(run_of(once))
    assert run.times
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


@pytest.mark.parametrize(
    ("results", "difference"),
    [
        ([None, {"a": 1}], ""),
        ([None], "event 2 is nothing, expected {'a': 1}"),
        ([None, {"a": 1}, 2], "event 3 is 2, expected nothing"),
        ([None, 3, 4], "event 2 is 3, expected {'a': 1}"),
    ],
)
def test_first_difference_is_the_one_described(results: list[object], difference: str) -> None:
    assert first_difference(results, [None, {"a": 1}]) == difference


def test_event_is_shown_with_its_type_data_and_id() -> None:
    event = ServerSentEvent("a", "x" * 100, "7", retry=5)
    assert show(event).startswith("(event='a', data='xxxx")
    assert show(event).endswith("xxxx', id='7', retry=5)")
