"""The clients: each stream and each reply is opened again for as long as the soak lasts."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio

from sseparse import IncompleteStream, LocalProtocolError, ServerSentEvent, UnexpectedResponse
from sseparse.client import EventSource
from sseparse.sync import EventSource as SyncEventSource
from sseparse_backends import OpenAI, ReplyTimeout, stream
from sseparse_backends.sync import stream as sync_stream
from tests.soak.server import data_of, reply_text

# Seconds without a byte, and between two cancellations of one stream, on average.
IDLE = 20.0
PATIENCE = 60.0

_SOURCE: dict[str, Any] = {
    "reconnection_time": 0.1,
    "max_backoff": 2.0,
    "idle_timeout": IDLE,
    "retry_statuses": {503},
}
_REPLY: dict[str, Any] = {"model": "soak", "idle_timeout": IDLE, "timeout": 120.0, "retries": 1}
_FAILURES = (ConnectionError, IncompleteStream, ReplyTimeout, UnexpectedResponse)


class Ledger:
    """The counts, and the checks: whatever is lost, doubled or wrong is an AssertionError."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def event(self, event: ServerSentEvent, expected: int) -> None:
        assert event.id == str(expected), f"event {event.id} came in place of {expected}"
        assert event.data == data_of(expected), f"event {expected} is {event.data!r}"
        self.counts["events"] += 1

    def reply(self, prompt: str, text: str, error: Exception | None) -> None:
        whole = reply_text(prompt)
        if error is None:
            assert text == whole, f"the reply to {prompt} is {text!r}"
        assert whole.startswith(text), f"the reply to {prompt} begins {text!r}"
        self.counts["complete" if error is None else type(error).__name__] += 1


async def follow(url: str, transport: Any, ledger: Ledger) -> None:
    """Follow a stream, and cancel it now and then."""
    expected, last_event_id = 0, ""
    while True:
        source = EventSource(
            f"{url}/events", transport=transport, last_event_id=last_event_id, **_SOURCE
        )
        with anyio.move_on_after(random.expovariate(1 / PATIENCE)):
            async with source:
                async for event in source:
                    ledger.event(event, expected)
                    expected += 1
        last_event_id = source.last_event_id
        ledger.counts["cancelled"] += 1


async def converse(url: str, transport: Any, ledger: Ledger) -> None:
    """Ask for one reply after the other, and cancel some."""
    backend = OpenAI(base_url=url, api_key="soak")
    while True:
        prompt = "x" * random.randrange(100)
        reply = stream(backend, prompt, transport=transport, **_REPLY)
        error: Exception | None = None
        with anyio.move_on_after(random.expovariate(1 / PATIENCE)) as scope:
            try:
                async with reply:
                    await reply.text()
            except _FAILURES as failure:
                error = failure
        if scope.cancelled_caught:
            error = TimeoutError()
        ledger.reply(prompt, reply.text_so_far, error)
        await anyio.sleep(random.random())


class Threads:
    """The same for threads: one thread closes what the others wait for."""

    def __init__(self, url: str, make: Callable[[], Any], ledger: Ledger) -> None:
        self.failure: BaseException | None = None
        self._url = url
        self._make = make
        self._ledger = ledger
        self._over = threading.Event()
        self._open: dict[int, Any] = {}

    def run(self, streams: int, replies: int, report: Callable[[], None], seconds: float) -> None:
        """Run so many of both for so many seconds; `report` is called once a second."""
        work = [self._follow] * streams + [self._converse] * replies
        threads = [
            threading.Thread(target=self._guard, args=(function, number))
            for number, function in enumerate(work)
        ]
        for thread in threads:
            thread.start()
        end = time.monotonic() + seconds
        next_report = time.monotonic()
        while time.monotonic() < end and self.failure is None:
            # Each is closed once in PATIENCE seconds, on average.
            time.sleep(PATIENCE / len(work))
            with suppress(KeyError):
                self._open[random.randrange(len(work))].close()
            if time.monotonic() >= next_report:
                next_report += 1
                report()
        self._over.set()
        for resource in [*self._open.values()]:
            resource.close()
        for thread in threads:
            thread.join()
        if self.failure is not None:
            raise self.failure

    def _guard(self, work: Callable[[int, Any], None], number: int) -> None:
        try:
            transport = self._make()
            while not self._over.is_set():
                work(number, transport)
        except BaseException as failure:
            self.failure = failure

    def _follow(self, number: int, transport: Any) -> None:
        expected, last_event_id = 0, ""
        while not self._over.is_set():
            source = SyncEventSource(
                f"{self._url}/events", transport=transport, last_event_id=last_event_id, **_SOURCE
            )
            self._open[number] = source
            with source:
                if self._over.is_set():
                    return
                for event in source:
                    self._ledger.event(event, expected)
                    expected += 1
            last_event_id = source.last_event_id
            self._ledger.counts["cancelled"] += 1

    def _converse(self, number: int, transport: Any) -> None:
        backend = OpenAI(base_url=self._url, api_key="soak")
        prompt = "x" * random.randrange(100)
        reply = sync_stream(backend, prompt, transport=transport, **_REPLY)
        self._open[number] = reply
        error: Exception | None = None
        try:
            with reply:
                if self._over.is_set():
                    return
                reply.text()
        except _FAILURES as failure:
            error = failure
        except LocalProtocolError:  # it was closed
            error = TimeoutError()
        self._ledger.reply(prompt, reply.text_so_far, error)
        self._over.wait(random.random())
