"""Progress bar and summary of `batch`."""

from __future__ import annotations

import time
from collections import Counter
from datetime import timedelta

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from sseparse import UnexpectedResponse
from sseparse.cli import one_line
from sseparse_backends._results import Outcome

from ._latencies import Latencies

# Characters of a bar of the summary, and of an error.
_BAR = 40
_MESSAGE = 300
# Columns of a terminal in which the rates have a place beside the progress.
_WIDE = 80


class BatchProgress:
    """The progress of a batch: a line on a terminal, and a summary at the end. A context manager.

    console: where it is shown.
    total: the prompts of the batch.
    done: those with an outcome from earlier runs.
    """

    def __init__(self, console: Console, total: int, done: int) -> None:
        self._console = console
        self._start = time.monotonic()
        self._done_before = done
        self._complete = self._unfinished = 0
        # By kind, and the first message of each.
        self._errors: Counter[str] = Counter()
        self._messages: dict[str, str] = {}
        self._tokens = Counter[str]()
        self._first, self._whole = Latencies(), Latencies()
        self._progress = Progress(
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            console=console,
            expand=True,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=total, completed=done)

    def __enter__(self) -> BatchProgress:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()
        click.echo(self.summary(), err=True)

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        if outcome.error is None:
            self._complete += 1
            kind = outcome.finish.kind if outcome.finish is not None else None
            self._unfinished += kind not in ("stop", "tool_calls")
            self._whole.add(outcome.seconds)
        else:
            name = type(outcome.error).__name__
            if isinstance(outcome.error, UnexpectedResponse):
                name += f" {outcome.error.status}"
            self._errors[name] += 1
            self._messages.setdefault(name, one_line(str(outcome.error))[:_MESSAGE])
        if outcome.first_seconds is not None:
            self._first.add(outcome.first_seconds)
        if outcome.usage is not None:
            self._tokens["in"] += outcome.usage.input_tokens
            self._tokens["out"] += outcome.usage.output_tokens
        failed = f"failed: {self._errors.total()}" if self._errors else ""
        rates = self._rates() if self._console.width >= _WIDE else ""
        description = ", ".join(filter(None, [failed, rates]))
        self._progress.update(self._task, advance=1, description=description)

    def summary(self) -> str:
        """Return a few lines about this run."""
        took = timedelta(seconds=round(time.monotonic() - self._start))
        lines = [f"complete: {self._complete}, failed: {self._errors.total()}, time: {took}"]
        if self._done_before:
            lines.append(f"done in earlier runs: {self._done_before}")
        if self._unfinished:
            lines.append(f"ended by a limit, a filter or a pause: {self._unfinished}")
        if self._errors:
            lines.append("errors, with the first of each kind:")
            for name, count in self._errors.most_common():
                lines.append(f"  {count} {name}: {self._messages[name]}")
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
            words.append(f"{self._tokens['out'] / seconds:.0f} tokens/s")
        if (median := self._first.quantile(0.5)) is not None:
            words.append(f"first token {median:.2g} s (median)")
        return ", ".join(words)
