"""Time every parser on every stream, and print a table.

How the times come about:

- A parser that gets a stream wrong is shown as wrong, and has no time for it.
- In each round every parser goes once over every stream, in an order shuffled anew, so that a
  machine that slows down slows all of them alike. A time is the median over the rounds.
- The garbage of one parser is collected before the clock of the next starts, and none while it
  runs: what a collection costs depends on the rest of the program, not on the parser.
"""

from __future__ import annotations

import argparse
import gc
import platform
import random
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from reprlib import Repr
from statistics import geometric_mean, median
from time import perf_counter_ns

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from sseparse import ServerSentEvent

from .fixtures import FIXTURES, Fixture
from .peers import PEERS, Peer

QUICK_ROUNDS = 15
FULL_ROUNDS = 100

_short = Repr()
_short.maxstring = 60


class Run:
    """One parser on one stream in one chunking: its times, or what it gets wrong."""

    def __init__(self, peer: Peer, fixture: Fixture, chunking: str) -> None:
        self.peer = peer
        self.fixture = fixture
        self.chunking = chunking
        self.name = f"{fixture.name}/{chunking}"
        self.times: list[float] = []
        self.mistake = ""

    def check(self) -> None:
        """Compare the parser's events with the expected ones, and keep the first difference."""
        try:
            parsed = self.peer.parse(self.fixture.chunks(self.chunking))
        except Exception as error:
            self.mistake = f"raised {error!r}"
            return
        pairs = zip_longest(map(self.peer.read, parsed), self.fixture.expected)
        for number, (event, expected) in enumerate(pairs, 1):
            if event != expected:
                self.mistake = f"event {number} is {_show(event)}, expected {_show(expected)}"
                return

    def time(self) -> None:
        """Go over the stream once and add the nanoseconds per event to `times`."""
        chunks = self.fixture.chunks(self.chunking)
        gc.collect()
        start = perf_counter_ns()
        parsed = self.peer.parse(chunks)  # freeing the events is not in the time
        stop = perf_counter_ns()
        self.times.append((stop - start) / len(parsed))

    @property
    def ns(self) -> float:
        """The median of the times."""
        return median(self.times)

    @property
    def spread(self) -> float:
        """The median distance of a time from the median, as a part of that."""
        return median(abs(time - self.ns) for time in self.times) / self.ns


def _show(event: ServerSentEvent | None) -> str:
    if event is None:
        return "nothing"
    kind, data, last_id = map(_short.repr, (event.event, event.data, event.id))
    return f"(event={kind}, data={data}, id={last_id})"


def measure(runs: Sequence[Run], rounds: int, console: Console) -> None:
    """Check all runs, then time those that are right, all of them in each round."""
    for run in runs:
        run.check()  # which also warms up
    timed = [run for run in runs if not run.mistake]
    shuffle = random.Random(0).shuffle
    gc_was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()  # what exists by now need not be looked at before every run
    gc.disable()
    try:
        # A bar that refreshed itself would do so from a thread, in the time of some parser.
        progress = Progress(
            console=console,
            auto_refresh=False,
            transient=True,
            disable=not console.is_terminal,
        )
        with progress:
            for _ in progress.track(range(rounds), description=f"{rounds} rounds"):
                shuffle(timed)
                for run in timed:
                    run.time()
    finally:
        gc.unfreeze()
        if gc_was_enabled:
            gc.enable()


def _ratios(runs: Sequence[Run]) -> dict[Run, float]:
    base = {run.name: run.ns for run in runs if run.peer is PEERS[0] and run.times}
    return {run: run.ns / base[run.name] for run in runs if run.times and run.name in base}


def report(runs: Sequence[Run], console: Console) -> None:
    """Print the times, what was wrong, the geometric means, and what it was measured on."""
    ratios = _ratios(runs)
    times = Table("stream/chunks", "parser")
    for heading in ("ns per event", "±", "ratio"):
        times.add_column(heading, justify="right")
    previous = ""
    for run in runs:
        first = run.name != previous
        if first:
            times.add_section()
            previous = run.name
        cells = ["wrong"]
        if run.times:
            cells = [f"{run.ns:,.0f}", f"{run.spread:.0%}"]
            cells += [f"{ratios[run]:.2f}"] if run in ratios else []
        times.add_row(run.name if first else "", run.peer.name, *cells)
    console.print(times)
    for run in runs:
        if run.mistake:
            message = f"{run.peer.name} gets {run.name} wrong: {run.mistake}"
            console.print(message, markup=False, highlight=False)

    means = Table("parser", "version")
    for heading in ("cases", "geometric mean of the ratios"):
        means.add_column(heading, justify="right")
    for peer in PEERS:
        own = [ratio for run, ratio in ratios.items() if run.peer is peer]
        mean = f"{geometric_mean(own):.2f}" if own else ""
        means.add_row(peer.name, version(peer.name), str(len(own)), mean)
    console.print(means)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    console.print(f"{python}, {platform.system()}, {_cpu()}", highlight=False)


def _cpu() -> str:
    # On Linux platform.processor() is mostly empty, or no more than the architecture.
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _positive(value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise argparse.ArgumentTypeError(f"must be a number of at least 1: {value!r}")
    return int(value)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit status is 1 if sseparse itself gets a stream wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Time sseparse beside other parsers of event streams, from bytes to events.",
        allow_abbrev=False,
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--rounds", type=_positive, default=FULL_ROUNDS, help="default: %(default)s")
    group.add_argument(
        "--quick",
        dest="rounds",
        action="store_const",
        const=QUICK_ROUNDS,
        help=f"{QUICK_ROUNDS} rounds",
    )
    parser.add_argument(
        "--only",
        metavar="PATTERN",
        default="",
        help="only where PATTERN, which may have wildcards, is found in stream/chunks, "
        "such as openai/1024",
    )
    options = parser.parse_args(argv)
    runs = [
        Run(peer, fixture, chunking)
        for fixture in FIXTURES
        for chunking in fixture.chunkings
        for peer in PEERS
    ]
    selected = [run for run in runs if fnmatchcase(run.name, f"*{options.only}*")]
    if not selected:
        names = ", ".join(dict.fromkeys(run.name for run in runs))
        parser.error(f"--only {options.only!r} is found in none of: {names}")
    measure(selected, options.rounds, Console(stderr=True))
    report(selected, Console())
    return int(any(run.mistake for run in selected if run.peer is PEERS[0]))


if __name__ == "__main__":
    sys.exit(main())
