"""Progress bar and summary of `batch`."""

from __future__ import annotations

import time
from collections import Counter
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sseparse_backends._results import Outcome

from ._latencies import Latencies

_BAR = 40


class BatchProgress:
    """The progress of a batch: a line on a terminal, nothing elsewhere. A context manager.

    console: where it is shown.
    total: the prompts of the batch.
    done: those with an outcome from earlier runs.
    """

    def __init__(self, console: Console, total: int, done: int) -> None:
        self._console = console
        self._start = time.monotonic()
        self._complete = self._unfinished = 0
        self._errors: Counter[str] = Counter()
        self._tokens = Counter[str]()
        self._first, self._whole = Latencies(), Latencies()
        self._progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=total, completed=done)

    def __enter__(self) -> BatchProgress:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        if outcome.error is None:
            self._complete += 1
            kind = outcome.finish.kind if outcome.finish is not None else None
            self._unfinished += kind not in ("stop", "tool_calls")
            self._whole.add(outcome.seconds)
        else:
            self._errors[type(outcome.error).__name__] += 1
        if outcome.first_seconds is not None:
            self._first.add(outcome.first_seconds)
        if outcome.usage is not None:
            self._tokens["in"] += outcome.usage.input_tokens
            self._tokens["out"] += outcome.usage.output_tokens
        failed = f"failed: {self._errors.total()}" if self._errors else ""
        description = ", ".join(filter(None, [failed, self._rates()]))
        self._progress.update(self._task, advance=1, description=description)

    def summary(self) -> str:
        """Return a few lines about this run."""
        took = timedelta(seconds=round(time.monotonic() - self._start))
        lines = [f"complete: {self._complete}, failed: {self._errors.total()}, time: {took}"]
        if self._unfinished:
            lines.append(f"ended by a limit, a filter or a pause: {self._unfinished}")
        if self._errors:
            counts = (f"{name} {count}" for name, count in self._errors.most_common())
            lines.append(f"errors: {', '.join(counts)}")
        if self._tokens:
            lines.append(f"tokens: {self._tokens['in']} in, {self._tokens['out']} out")
        if rates := self._rates():
            lines.append(rates)
        mark = "#" if self._console.options.ascii_only else "█"
        if plot := self._whole.plot(_BAR, mark):
            lines += ["seconds for a reply:", *plot]
        return "\n".join(lines)

    def _rates(self) -> str:
        words: list[str] = []
        if self._tokens["out"]:
            seconds = max(time.monotonic() - self._start, 0.001)
            words.append(f"tokens a second: {self._tokens['out'] / seconds:.0f}")
        if (median := self._first.quantile(0.5)) is not None:
            words.append(f"first token after {median:.2g} s (median)")
        return ", ".join(words)
