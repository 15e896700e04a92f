"""How the times come about.

- Who gets the work wrong is shown as wrong, and has no time for it.
- In each round every run has its turn, in an order shuffled anew, so that a machine that slows
  down slows all of them alike. A run that is slow has fewer turns, evenly spread.
- A turn is a pass over the work to warm up, which finds the caches full of what other runs have
  left, and then as many as begin within TURN_SECONDS, one at least. It gives one time, their
  median. Where a pass takes LONG_PASS_SECONDS, there is one and no more.
- What is told is the median of the turns, and the spread beside it is how far from it the end of
  its 95 % confidence interval is.
- The time is the CPU's, of this thread, where the system tells it finely enough: what other
  programs take from the machine would hit a slow run more often than a fast one.
- Freeing what came out is in the time: a program pays for it as well.
- The garbage of one run is collected before the clock of the next starts, and none while it
  runs: what a collection costs depends on the rest of the program, not on the run.
"""

from __future__ import annotations

import gc
import math
import random
import signal
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import zip_longest
from reprlib import Repr
from statistics import median
from time import get_clock_info, perf_counter, perf_counter_ns, thread_time_ns
from types import FrameType
from typing import Any

from rich.progress import Progress

TURN_SECONDS = 0.02
LONG_PASS_SECONDS = 1.0
MIN_TURNS = 3
TOO_SLOW = "too slow"

clock = thread_time_ns if get_clock_info("thread_time").resolution < 1e-6 else perf_counter_ns

_short = Repr()
_short.maxstring = _short.maxother = 60


@dataclass(eq=False)
class Run:
    """One way to do one piece of work.

    check: do it once, and return what is wrong with the outcome, or "".
    once: do it once, and return the nanoseconds per event.
    turn: do it for a turn, and return the median; by default, by `once`.
    interruptible: whether the check can be given up; not if another process has a part in it.
    times: of each turn, in nanoseconds per event.
    """

    section: str
    case: str
    who: str
    check: Callable[[], str]
    once: Callable[[], float]
    turn: Callable[[], float] | None = None
    interruptible: bool = True
    times: list[float] = field(default_factory=list)
    mistake: str = ""

    @property
    def ns(self) -> float:
        """The median of the times."""
        return median(self.times)

    @property
    def spread(self) -> float:
        """The larger distance of the median from an end of its confidence interval, as a part.

        The interval is that of the order statistics, which assumes no distribution; of a few
        times it is all of them.
        """
        times = sorted(self.times)
        rank = max(math.floor((len(times) - 1.96 * math.sqrt(len(times))) / 2), 0)
        return max(self.ns - times[rank], times[-1 - rank] - self.ns) / self.ns

    def take_turn(self) -> float:
        """Take a turn, and return the nanoseconds per event."""
        if self.turn is not None:
            return self.turn()
        start = perf_counter()
        passes = [self.once()]
        if perf_counter() - start > LONG_PASS_SECONDS:
            return passes[0]
        over = perf_counter() + TURN_SECONDS
        while len(passes) < 2 or perf_counter() < over:
            passes.append(self.once())
        return median(passes[1:])


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    rounds: how often each run has its turn.
    seconds: how long the turns of one run may take in all; it has MIN_TURNS in any case.
    patience: how many seconds a run may take to do its work once.
    """

    rounds: int
    seconds: float
    patience: float


class _TookTooLongError(BaseException):
    """Raised inside a run; not an Exception, which the run might handle itself."""


@contextmanager
def _time_limit(seconds: float) -> Generator[None, None, None]:
    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise _TookTooLongError

    if not hasattr(signal, "setitimer"):  # Windows
        yield
        return
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _check(run: Run, patience: float) -> float:
    """Check the run, which also warms it up, and return how many seconds that took."""
    start = perf_counter()
    try:
        with _time_limit(patience) if run.interruptible else nullcontext():
            run.mistake = run.check()
    except Exception as error:
        run.mistake = f"raised {_short.repr(error)}"
    except _TookTooLongError:
        run.mistake = f"{TOO_SLOW}: not done after {patience:g} s"
    return perf_counter() - start


def measure(runs: Iterable[Run], effort: Effort, progress: Progress, title: str) -> list[Run]:
    """Check all runs, then time those that are right, all of them in each round."""
    runs = list(runs)
    seconds: dict[Run, float] = {}
    for run in progress.track(runs, description=f"{title}: checks"):
        spent = _check(run, effort.patience)
        if not run.mistake:
            seconds[run] = spent
        progress.refresh()
    timed = list(seconds)
    shuffle = random.Random(0).shuffle
    with _no_collections():
        for run in timed:
            if seconds[run] < LONG_PASS_SECONDS:
                # To check may take much longer than a turn.
                start = perf_counter()
                run.take_turn()
                seconds[run] = perf_counter() - start
        turns = {
            run: min(max(MIN_TURNS, int(effort.seconds / seconds[run])), effort.rounds)
            for run in timed
        }
        rounds = range(effort.rounds)
        for number in progress.track(rounds, description=f"{title}: {effort.rounds} rounds"):
            shuffle(timed)
            for run in timed:
                due = (number + 1) * turns[run] // effort.rounds
                if due > number * turns[run] // effort.rounds:
                    gc.collect()
                    run.times.append(run.take_turn())
            progress.refresh()
    return runs


@contextmanager
def _no_collections() -> Generator[None, None, None]:
    was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()  # what exists by now need not be looked at before every run
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()


def first_difference(found: Iterable[Any], expected: Sequence[Any]) -> str:
    """Return what is wrong with the events that were found, or ""."""
    nothing = object()
    for number, (event, right) in enumerate(
        zip_longest(found, expected, fillvalue=nothing), start=1
    ):
        if event is nothing or right is nothing or event != right:
            shown = ["nothing" if item is nothing else show(item) for item in (event, right)]
            return f"event {number} is {shown[0]}, expected {shown[1]}"
    return ""


def show(event: Any) -> str:
    """Return a short repr of an event, or of another value."""
    if not hasattr(event, "data"):
        return _short.repr(event)
    kind, data, last_id = map(_short.repr, (event.event, event.data, event.id))
    retry = "" if event.retry is None else f", retry={event.retry}"
    return f"(event={kind}, data={data}, id={last_id}{retry})"
