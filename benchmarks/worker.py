"""The process of a client: `python -m benchmarks.worker SERVICE CLIENT URL`.

It reads commands from standard input and writes outcomes to standard output, a line of JSON each.
It imports little more than its client: there are many of these processes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter_ns, process_time_ns
from typing import TextIO

import anyio

from .clients import CLIENTS, Client, Take


class Measurement:
    """Measure the replies of one command.

    warm_up: a model to ask before, which also opens a connection.
    model: the model to ask.
    streams: the number of replies at once.
    first: measure the elapsed time to the first text, in place of the CPU time to the end.
    """

    def __init__(self, *, warm_up: str, model: str, streams: int, first: bool) -> None:
        self.warm_up = warm_up
        self.model = model
        self._replies: list[list[str]] = [[] for _ in range(streams)]
        self._clock = perf_counter_ns if first else process_time_ns
        self._first = first
        self._end = 0

    def start(self) -> list[Take]:
        """Start the clock; return a function for each reply, which takes its texts."""
        self._start = self._clock()
        if self._first:
            return [partial(self._take_timed, texts) for texts in self._replies]
        return [texts.append for texts in self._replies]

    def _take_timed(self, texts: list[str], text: str) -> None:
        self._end = self._end or self._clock()
        texts.append(text)

    def outcome(self) -> str:
        """Return the nanoseconds and the different texts of the replies, as JSON."""
        end = self._end or self._clock()
        texts = sorted({"".join(texts) for texts in self._replies})
        return json.dumps({"ns": end - self._start, "texts": texts})


def _commands() -> Iterator[Measurement]:
    for line in sys.stdin:
        yield Measurement(**json.loads(line))


async def _run(client: Client, url: str, output: TextIO) -> None:
    async with client.open(url) as ask:
        for measurement in _commands():
            await ask(measurement.warm_up, str)
            async with anyio.create_task_group() as tasks:
                for take in measurement.start():
                    tasks.start_soon(ask, measurement.model, take)
            print(measurement.outcome(), file=output, flush=True)


def _run_in_threads(client: Client, url: str, output: TextIO) -> None:
    with client.open(url) as ask:
        for measurement in _commands():
            ask(measurement.warm_up, str)
            takes = measurement.start()
            with ThreadPoolExecutor(len(takes)) as pool:
                list(pool.map(partial(ask, measurement.model), takes))
            print(measurement.outcome(), file=output, flush=True)


def main(argv: Sequence[str]) -> None:
    """Answer commands until standard input ends."""
    service, subject, url = argv
    client = CLIENTS[service][subject]
    output, sys.stdout = sys.stdout, sys.stderr  # some libraries print
    match client.runner:
        case "threads":
            _run_in_threads(client, url, output)
        case "uvloop":
            anyio.run(_run, client, url, output, backend_options={"use_uvloop": True})
        case loop:
            anyio.run(_run, client, url, output, backend=loop)


if __name__ == "__main__":
    main(sys.argv[1:])
