"""How times are measured.

- Each run is checked first. A run with a wrong result is reported as wrong and never timed.
- In each round every run takes one turn, in a new random order, so that a machine that slows
  down slows all runs alike. Slow runs take fewer turns, spread evenly over the rounds.
- A turn makes one pass over the work to warm up, then as many as start within 20 ms, at least
  one. Its time is their median. If the first pass takes a second, it is the only one.
- The time reported is the median of the turns. The spread beside it is the distance to the
  farther end of the median's 95 % confidence interval.
- Times are CPU times of the measuring thread where the clock is fine enough: other programs
  would interrupt a slow run more often than a fast one. Node's times are elapsed times.
- Whole clients and their server run in processes of their own. The times of a client are CPU times
  of its process, user and system, and elapsed times to the first text. Garbage is collected there
  as in any program. A turn at a paced reply is a single pass.
- Times include freeing the result, as any program has to.
- Elsewhere garbage is collected before each turn and never during one: its cost depends on
  the rest of the program. Passes are repeated, so caches are warm.
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
    """One subject doing one piece of work.

    section, case: the kind of work, and the input.
    subject: the parser, driver or client.
    check: does the work once; returns a description of the mistake, or "".
    once: does the work once; returns nanoseconds per event.
    turn: takes a whole turn; returns its median. Default: repeat `once`.
    interruptible: whether `check` can be interrupted; False if another process does the work.
    times: nanoseconds per event of each turn.
    mistake: the outcome of `check`.
    """

    section: str
    case: str
    subject: str
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
        """The half width of the median's 95 % confidence interval, relative to the median.

        The larger half counts. The interval is between two order statistics, so it assumes no
        distribution; for fewer than 8 times it covers all of them.
        """
        times = sorted(self.times)
        rank = max(math.floor((len(times) - 1.96 * math.sqrt(len(times))) / 2), 0)
        return max(self.ns - times[rank], times[-1 - rank] - self.ns) / self.ns

    def take_turn(self) -> float:
        """Take a turn and return its nanoseconds per event."""
        if self.turn is not None:
            return self.turn()
        start = perf_counter()
        passes = [self.once()]
        if perf_counter() - start > LONG_PASS_SECONDS:
            return passes[0]
        end = perf_counter() + TURN_SECONDS
        while len(passes) < 2 or perf_counter() < end:
            passes.append(self.once())
        return median(passes[1:])


@dataclass(frozen=True)
class Effort:
    """The time to spend on measuring.

    rounds: the number of rounds.
    seconds: limit for all turns of one run. It takes MIN_TURNS in any case.
    patience: limit in seconds for the check of one run.
    """

    rounds: int
    seconds: float
    patience: float


class _TookTooLongError(BaseException):
    """Raised inside a run. Not an Exception, which the run might catch."""


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
    """Check the run, which also warms it up, and return the seconds this took."""
    start = perf_counter()
    try:
        with _time_limit(patience) if run.interruptible else nullcontext():
            run.mistake = run.check()
    except Exception as error:
        run.mistake = f"raised {_short.repr(error)}"
    except _TookTooLongError:
        run.mistake = f"{TOO_SLOW}: not finished after {patience:g} s"
    return perf_counter() - start


def measure(runs: Iterable[Run], effort: Effort, progress: Progress, title: str) -> list[Run]:
    """Check all runs, then time the correct ones, each of them in each round."""
    runs = list(runs)
    seconds: dict[Run, float] = {}
    for run in progress.track(runs, description=f"{title}: checks"):
        check_seconds = _check(run, effort.patience)
        if not run.mistake:
            seconds[run] = check_seconds
        progress.refresh()
    timed = list(seconds)
    shuffle = random.Random(0).shuffle
    with _no_collections():
        for run in timed:
            if seconds[run] < LONG_PASS_SECONDS:
                # A check may take much longer than a turn.
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
    gc.freeze()  # collections before each turn then skip all older objects
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()


def timed_pass(work: Callable[[Any], Any], argument: Any, count: int) -> Callable[[], float]:
    """Return a function that does `work(argument)` once and returns nanoseconds per event.

    count: the number of events.
    """

    def once() -> float:
        start = clock()
        work(argument)  # and free its result
        return (clock() - start) / count

    return once


def first_difference(results: Iterable[Any], expected: Sequence[Any]) -> str:
    """Describe the first result that differs from the expected one; "" if none does."""
    nothing = object()
    for number, pair in enumerate(zip_longest(results, expected, fillvalue=nothing), start=1):
        result, right = pair
        if result != right:
            texts = ["nothing" if item is nothing else show(item) for item in pair]
            return f"event {number} is {texts[0]}, expected {texts[1]}"
    return ""


def show_all(events: Iterable[Any]) -> str:
    """Return a short repr of each event, or "nothing"."""
    return ", ".join(map(show, events)) or "nothing"


def show(event: Any) -> str:
    """Return a short repr of an event, or of another value."""
    if not hasattr(event, "data"):
        return _short.repr(event)
    kind, data, last_id = map(_short.repr, (event.event, event.data, event.id))
    retry = "" if event.retry is None else f", retry={event.retry}"
    return f"(event={kind}, data={data}, id={last_id}{retry})"
