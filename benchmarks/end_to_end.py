"""The cost of whole clients, from the request to the last text, over HTTP on one machine.

The server and each client are processes of their own, so that the CPU time of a client's process is
the client's. Before each measured request another one opens a connection.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Container, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from .clients import CLIENTS
from .fixtures import anthropic, gemini, openai, reply_text
from .runs import Run
from .server import reply_model, serving

SECTION = "end to end"

FIXTURES = {"OpenAI": openai, "Anthropic": anthropic, "Gemini": gemini}


class Case(NamedTuple):
    """Replies that are asked for at once.

    pace, tokens, pause: as in server.reply_model.
    streams: the number of replies.
    first: measure the time to the first text, in place of the CPU time of each event.
    """

    pace: str
    tokens: int
    pause: int = 0
    streams: int = 1
    first: bool = False


CASES = {
    "paced": Case("paced", 1000, pause=250),
    "100 streams": Case("paced", 50, pause=20_000, streams=100),
    "bulk": Case("bulk", 5000),
    "first text": Case("paced", 10, pause=250, first=True),
}
QUICK_CASES = {
    "paced": Case("paced", 200, pause=250),
    "bulk": Case("bulk", 1000),
    "first text": CASES["first text"],
}


HEADINGS = {
    "paced": "an event in 250 µs",
    "100 streams": "100 streams, each an event in 20 ms",
    "bulk": "all events at once",
    "first text": "elapsed time to the first text",
}


class Workers:
    """The server, and a process for each client. Each starts when it is needed."""

    def __init__(self) -> None:
        self._port = 0
        self._workers: dict[tuple[str, str], subprocess.Popen[str]] = {}
        self._processes = ExitStack()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exception: object) -> None:
        self._processes.close()

    def ask(self, service: str, subject: str, case: Case) -> dict[str, Any]:
        """Ask a client for the replies of a case and return the outcome."""
        worker = self._workers.get((service, subject))
        if worker is None:
            worker = self._workers[service, subject] = self._start(service, subject)
        assert worker.stdin is not None
        assert worker.stdout is not None
        command = {
            "warm_up": reply_model("bulk", 10),
            "model": reply_model(case.pace, case.tokens, case.pause),
            "streams": case.streams,
            "first": case.first,
        }
        print(json.dumps(command), file=worker.stdin, flush=True)
        outcome: dict[str, Any] = json.loads(worker.stdout.readline())
        return outcome

    def _start(self, service: str, subject: str) -> subprocess.Popen[str]:
        self._port = self._port or self._processes.enter_context(serving())
        url = f"http://127.0.0.1:{self._port}"
        worker = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", service, subject, url],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        self._processes.callback(worker.communicate)  # ends its input, and waits
        return worker


def end_to_end_runs(
    workers: Workers,
    cases: Mapping[str, Case],
    packages: Container[str],
    *,
    variants: bool = True,
) -> Iterator[Run]:
    """Yield a run of each client in each case.

    packages: those that are installed.
    variants: include other runners than asyncio, and sseparse with other services than OpenAI.
    """
    for service, clients in CLIENTS.items():
        for subject, client in clients.items():
            is_own = subject.startswith("sseparse")
            is_variant = client.runner != "asyncio" or (is_own and service != "OpenAI")
            is_installed = not client.package or client.package in packages
            if is_installed and (variants or not is_variant):
                for name, case in cases.items():
                    yield _run(workers, service, subject, name, case)


def _run(workers: Workers, service: str, subject: str, name: str, case: Case) -> Run:
    events = case.streams * sum(1 for _ in FIXTURES[service](case.tokens))
    text = reply_text(case.tokens)

    def check() -> str:
        texts = workers.ask(service, subject, case)["texts"]
        if texts == [text]:
            return ""
        lengths = " and ".join(str(len(other)) for other in texts)
        return f"the text has {lengths} characters, expected {len(text)}"

    def once() -> float:
        ns: int = workers.ask(service, subject, case)["ns"]
        return ns if case.first else ns / events

    # Each pass is warm already.
    turn = once if case.pause and not case.first else None
    return Run(SECTION, f"{service}/{name}", subject, check, once, turn, interruptible=False)
