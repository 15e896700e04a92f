"""Closing from other threads, signals, time limits."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from threading import Event, Thread
from typing import Any

import httpx2
import pytest

from sseparse import LocalProtocolError, UnexpectedResponse
from sseparse.client import Attempts, Limits, State
from sseparse.sync import Driver, EventSource, _driver
from sseparse.sync._watchdog import Watchdog
from sseparse.transports import Request, SyncTransport
from sseparse.transports.httpx2 import HTTPX2Transport
from sseparse.transports.memory import MemoryResponse, MemoryTransport, SyncScriptedBody
from sseparse.transports.sync_httpx2 import SyncHTTPX2Response, SyncHTTPX2Transport
from sseparse_backends import DarkAI, Finish, ReplyTimeout, Text, Usage
from sseparse_backends.sync import stream
from tests.support.policies import CLOSING, CUT, Scripted
from tests.support.servers import (
    BODY,
    CHATTER,
    CHUNKED,
    TEXTS,
    Serve,
    chunk,
    event,
    head,
    open_sockets,
    reset,
    until_client_leaves,
)

STALL = math.inf
ENOUGH = MemoryResponse(status=204, headers={})
FIRST = event("text-chunk", text="first")


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    threads, sockets = threading.active_count(), open_sockets()
    yield
    # Of other tests, some may have ended meanwhile.
    until(lambda: threading.active_count() <= threads and open_sockets() <= sockets)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def body(*script: bytes | float | Exception, **options: Any) -> MemoryResponse:
    return MemoryResponse(script, **options)


def drive(
    transport: SyncTransport, policy: Scripted | None = None, **options: Any
) -> Driver[bytes]:
    limits = {name: options.pop(name) for name in ("timeout", "idle_timeout") if name in options}
    attempts = Attempts(policy or Scripted(wait=0.0, retries=0), Limits(**limits))
    return Driver(attempts, transport, **options)


def collect(items: Iterator[Any]) -> tuple[list[Any], Exception | None]:
    received: list[Any] = []
    try:
        for item in items:
            received.append(item)  # noqa: PERF402 - what comes before an error is kept
    except Exception as error:
        return received, error
    return received, None


# Closing from another thread


class Elsewhere(Thread):
    """Collect the items of a driver in another thread."""

    def __init__(self, items: Iterator[Any]) -> None:
        super().__init__()
        self.outcome: tuple[list[Any], Exception | None] | None = None
        self._items = items
        self.start()

    def run(self) -> None:
        self.outcome = collect(self._items)


# Bytes sent before the server falls silent, and the client's state then.
PHASES: dict[str, tuple[bytes, State]] = {
    "head": (b"", State.CONNECTING),
    "inside the head": (head()[:-2], State.CONNECTING),
    "body": (head(), State.OPEN),
    "chunk": (CHUNKED + chunk(FIRST) + b"5\r\nda", State.OPEN),
    "refusal": (head(503), State.REFUSED),
}


@pytest.mark.parametrize(("sent", "state"), PHASES.values(), ids=list(PHASES))
def test_closing_from_another_thread_ends_a_step_at_once(
    served: Serve, sent: bytes, state: State
) -> None:
    server = served([sent, until_client_leaves])
    source = EventSource(server.url, max_attempts=1)
    reading = Elsewhere(source)
    until(lambda: server.requests != [] and source._attempts.state is state)
    source.close()
    reading.join(60)
    assert reading.outcome is not None
    assert reading.outcome[1] is None
    until(lambda: server.open == 0)
    assert list(source) == []


def test_closing_from_another_thread_ends_connecting(full_backlog: int) -> None:
    source = EventSource(f"http://127.0.0.1:{full_backlog}/")
    reading = Elsewhere(source)
    until(lambda: source._driver._response is not None)
    source.close()
    reading.join(60)
    assert reading.outcome == ([], None)


def test_closing_from_another_thread_ends_a_wait() -> None:
    waiting = Event()
    source = EventSource(
        "http://127.0.0.1/",
        transport=MemoryTransport(CUT),
        reconnection_time=3600,
        max_backoff=3600,
        on_error=lambda *_: waiting.set(),
    )
    reading = Elsewhere(source)
    assert waiting.wait(60)
    source.close()
    reading.join(60)
    assert reading.outcome == ([], None)


def test_closing_from_another_thread_between_two_steps_ends_the_iteration(served: Serve) -> None:
    server = served([head() + FIRST, until_client_leaves])
    reply = stream(DarkAI(api_endpoint=server.url), "Hello")
    assert next(reply) == "first"
    closer = Thread(target=reply.close)
    closer.start()
    closer.join(60)
    until(lambda: server.open == 0)
    with pytest.raises(LocalProtocolError, match="closed before the reply was finished"):
        next(reply)


def test_closing_waits_no_longer_than_its_time_for_a_step_that_does_not_end() -> None:
    released = Event()

    class Deaf(SyncScriptedBody):
        def receive(self) -> bytes:
            assert released.wait(60)
            return b"late"

    class DeafTransport(MemoryTransport):
        def prepare(self, request: Request) -> SyncScriptedBody:
            return Deaf(self, lambda: self._answer(request))

    transport = DeafTransport(body())
    driver = drive(transport)
    driver._CLOSING_TIME = 0.01
    reading = Elsewhere(driver)
    until(lambda: transport.open == 1)
    driver.close()
    assert transport.open == 1
    released.set()
    reading.join(60)
    # No item is delivered after the closing.
    assert reading.outcome == ([], CLOSING)
    assert transport.open == 0


def test_end_of_an_aborted_body_is_no_good_end() -> None:
    class Ending(SyncScriptedBody):
        def receive(self) -> bytes:
            self._aborted.get(timeout=60)
            return b""

    class EndingTransport(MemoryTransport):
        def prepare(self, request: Request) -> SyncScriptedBody:
            return Ending(self, lambda: self._answer(request))

    _, error = collect(drive(EndingTransport(body()), timeout=0.01))
    assert isinstance(error, TimeoutError)


def test_callback_that_closes_ends_the_iteration() -> None:
    transport = MemoryTransport(body(b"data: 1\n\n", STALL))
    source = EventSource("http://127.0.0.1/", transport=transport, on_open=lambda: source.close())
    assert list(source) == []
    assert transport.open == 0


def test_step_inside_of_a_step_is_an_error() -> None:
    transport = MemoryTransport(body(b"data: 1\n\n", STALL))
    source = EventSource("http://127.0.0.1/", transport=transport, on_open=lambda: next(source))
    with pytest.raises(LocalProtocolError, match="must not be taken inside of another"):
        next(source)
    assert transport.open == 0


def test_closing_just_before_a_response_is_prepared_ends_it(served: Serve) -> None:
    class Slow(SyncHTTPX2Transport):
        def prepare(self, request: Request) -> SyncHTTPX2Response:
            closing.start()
            until(lambda: source._driver._closing)
            return super().prepare(request)

    server = served([until_client_leaves])
    source = EventSource(server.url, transport=Slow())
    closing = Thread(target=source.close)
    assert list(source) == []
    closing.join(60)
    until(lambda: server.open == 0)


# Signals


def test_signal_handler_may_close(served: Serve) -> None:
    server = served([head() + b"data: 1\n\n", until_client_leaves])
    source = EventSource(server.url)
    previous = signal.signal(signal.SIGUSR1, lambda *_: source.close())
    main = threading.main_thread().ident
    try:
        received = []
        for item in source:
            received.append(item.data)
            threading.Timer(0.05, signal.pthread_kill, (main, signal.SIGUSR1)).start()
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert received == ["1"]
    until(lambda: server.open == 0)


INTERRUPTED = """
import signal, sys, threading
from sseparse.client import ReadyState
from sseparse.sync import EventSource

signal.signal(signal.SIGINT, signal.default_int_handler)
source = EventSource(sys.argv[1], idle_timeout=600)
try:
    with source:
        for event in source:
            print(event.data, flush=True)
except KeyboardInterrupt:
    assert source.ready_state is ReadyState.CLOSED
    assert threading.active_count() == 1
    print("interrupted", flush=True)
"""


@pytest.mark.slow
def test_ctrl_c_closes_the_connection_and_leaves_no_thread(served: Serve) -> None:
    server = served([head() + b"data: 1\n\n", until_client_leaves])
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, server.url], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == b"interrupted\n"
    assert process.returncode == 0
    until(lambda: server.open == 0)


# Time limits


def test_silence_ends_a_step_at_the_idle_timeout(served: Serve) -> None:
    server = served([head() + FIRST, until_client_leaves])
    reply = stream(DarkAI(api_endpoint=server.url), "Hello", first_timeout=60, idle_timeout=0.2)
    start = time.monotonic()
    texts, error = collect(reply)
    assert texts == ["first"]
    assert isinstance(error, ReplyTimeout)
    assert (error.which, error.text) == ("idle", "first")
    assert time.monotonic() - start >= 0.2
    until(lambda: server.open == 0)


@pytest.mark.parametrize(
    ("step", "errors"),
    [
        *((sent, ReplyTimeout) for sent, state in PHASES.values() if state is not State.REFUSED),
        (PHASES["refusal"][0], UnexpectedResponse),
        (reset, (ReplyTimeout, ConnectionError)),  # whichever ends the last wait
    ],
    ids=[*PHASES, "before"],
)
@pytest.mark.parametrize("callers", [False, True], ids=["own client", "callers client"])
def test_total_timeout_holds_in_every_phase(
    served: Serve, step: Any, errors: Any, callers: bool
) -> None:
    server = served([step] if step is reset else [step, until_client_leaves])
    with httpx2.Client(trust_env=False) as client:
        reply = stream(
            DarkAI(api_endpoint=server.url),
            "Hello",
            timeout=0.2,
            retries=1000,
            transport=SyncHTTPX2Transport(client) if callers else None,
        )
        _, error = collect(reply)
    assert isinstance(error, errors)
    until(lambda: server.open == 0)


def test_total_timeout_holds_where_a_connection_is_reused_and_its_server_is_silent(
    served: Serve,
) -> None:
    kept = head(200, "transfer-encoding: chunked") + chunk(BODY) + b"0\r\n\r\n"
    server = served([kept, until_client_leaves])
    with httpx2.Client(trust_env=False) as client:
        transport = SyncHTTPX2Transport(client)
        backend = DarkAI(api_endpoint=server.url)
        assert collect(stream(backend, "Hello", transport=transport)) == (TEXTS, None)
        _, error = collect(stream(backend, "Hello", transport=transport, timeout=0.2))
    assert isinstance(error, ReplyTimeout)
    assert server.connections == 1


def test_total_timeout_holds_while_connecting(full_backlog: int) -> None:
    backend = DarkAI(api_endpoint=f"http://127.0.0.1:{full_backlog}/")
    _, error = collect(stream(backend, "Hello", timeout=0.2))
    assert isinstance(error, ReplyTimeout)
    assert error.which == "total"


def test_items_that_came_at_the_deadline_come_before_its_error() -> None:
    transport = MemoryTransport(body(b"a", STALL))
    driver = drive(transport, idle_timeout=60)

    class Expiring(Scripted):
        def receive_data(self, data: bytes) -> Any:
            driver._watchdog.set(-math.inf)
            until(lambda: driver._watchdog.expired)
            return super().receive_data(data)

    driver._attempts._policy = Expiring(retries=0)
    items, error = collect(driver)
    assert items == [b"a"]
    assert isinstance(error, TimeoutError)


def test_watchdog_without_a_deadline_has_no_thread() -> None:
    before = threading.active_count()
    watchdog = Watchdog(lambda: None)
    watchdog.set(math.inf)
    assert threading.active_count() == before
    watchdog.stop()


def test_watchdog_heeds_a_deadline_that_comes_nearer_and_one_that_goes() -> None:
    aborted = Event()
    watchdog = Watchdog(aborted.set)
    watchdog.set(time.monotonic() + 0.05)
    watchdog.set(math.inf)
    assert not aborted.wait(0.2)
    watchdog.set(time.monotonic() + 3600)
    watchdog.set(time.monotonic())
    assert aborted.wait(60)
    assert watchdog.expired
    watchdog.stop()


def test_watchdog_may_be_stopped_by_what_it_calls() -> None:
    watchdog = Watchdog(lambda: watchdog.stop())
    watchdog.set(0)
    until(lambda: watchdog.expired)


# Threads


def test_two_threads_share_a_driver_without_loss_or_error() -> None:
    chunks = [b"%d" % number for number in range(2000)]
    driver = drive(MemoryTransport(body(*chunks, b"done")))
    threads = [Elsewhere(driver) for _ in range(2)]
    received: list[bytes] = []
    for thread in threads:
        thread.join(60)
        assert thread.outcome is not None
        assert thread.outcome[1] is None
        received += thread.outcome[0]
    assert sorted(received) == sorted([*chunks, b"done"])


def test_step_that_waited_for_another_thread_takes_no_further_one() -> None:
    driver = drive(MemoryTransport(body(b"a", b"done")))
    with driver._turn:
        waiting = Thread(target=driver.step)
        waiting.start()
        driver._items.append(b"x")
    waiting.join(60)
    assert collect(driver) == ([b"x", b"a", b"done"], None)


def test_fifty_threads_have_a_reply_each(served: Serve) -> None:
    server = served([head() + BODY])
    replies = [
        Elsewhere(stream(DarkAI(api_endpoint=server.url), "Hello", timeout=600)) for _ in range(50)
    ]
    for reply in replies:
        reply.join(60)
        assert reply.outcome == (TEXTS, None)


def test_it_works_in_the_thread_of_a_running_event_loop(served: Serve) -> None:
    async def main() -> str:
        with stream(DarkAI(api_endpoint=served([head() + BODY]).url), "Hello") as reply:
            return reply.text()

    assert asyncio.run(main()) == "".join(TEXTS)


# Ends and errors


def test_stop_iteration_of_a_transport_is_no_good_end() -> None:
    class Stopping(MemoryTransport):
        def prepare(self, request: Request) -> Any:
            raise StopIteration

    with pytest.raises(RuntimeError, match="raised StopIteration"):
        next(drive(Stopping(body())))


def test_interrupted_step_closes_and_each_further_step_says_so() -> None:
    transport = MemoryTransport(body(b"a", b"b", STALL))

    class Interrupted(Scripted):
        def receive_data(self, data: bytes) -> Any:
            raise KeyboardInterrupt

    driver = drive(transport, Interrupted())
    with pytest.raises(KeyboardInterrupt):
        next(driver)
    assert transport.open == 0
    with pytest.raises(LocalProtocolError, match="closed by KeyboardInterrupt in an earlier step"):
        next(driver)


def test_closing_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(SyncScriptedBody):
        def close(self) -> None:
            super().close()
            raise RuntimeError("no")

    class FailingTransport(MemoryTransport):
        def prepare(self, request: Request) -> SyncScriptedBody:
            return Failing(self, lambda: self._answer(request))

    with caplog.at_level(logging.WARNING, "sseparse"):
        assert collect(drive(FailingTransport(body(b"done"))))[1] is None
    assert [record.getMessage() for record in caplog.records] == ["closing the connection failed"]


@pytest.mark.parametrize("failure", [ConnectionError("cut"), RuntimeError("a bug")])
def test_failure_after_a_good_end_is_no_error(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    transport = MemoryTransport(body(b"done", b"more", failure))
    with caplog.at_level(logging.WARNING, "sseparse"):
        assert collect(drive(transport, keep_connection=True)) == ([b"done"], None)
    assert len(caplog.records) == isinstance(failure, RuntimeError)
    assert transport.open == 0


def test_refusal_in_an_unknown_encoding_is_judged_by_its_head(served: Serve) -> None:
    server = served([head(503, "content-encoding: rot13") + b"nhs"])
    with pytest.raises(UnexpectedResponse, match="503"):
        next(EventSource(server.url, max_attempts=1))
    opened = served([head(200, "content-encoding: rot13") + b"qngn"])
    with pytest.raises(UnexpectedResponse, match="rot13"):
        next(EventSource(opened.url))


def test_source_that_is_dropped_warns_and_closes() -> None:
    transport = MemoryTransport(body(b"data: 1\n\n", STALL))
    source = EventSource("http://127.0.0.1/", transport=transport, idle_timeout=600)
    next(source)
    dropped = [source]
    del source
    with pytest.warns(ResourceWarning, match="unclosed <Request GET"):
        dropped.clear()
    assert transport.open == 0


def test_ten_thousand_reconnects_hold_memory_flat() -> None:
    transport = MemoryTransport(body(b"id: 1\ndata: 1\n\nid: 2\ndata: never comp", b"leted\n"))

    def blocks() -> int:
        gc.collect()
        return sys.getallocatedblocks()

    count = before = 0
    with EventSource(
        "http://127.0.0.1/", transport=transport, reconnection_time=0, max_backoff=0
    ) as source:
        for item in source:
            assert item.id == "1"
            assert transport.open == 1
            transport.requests.clear()
            count += 1
            if count == 1000:
                before = blocks()
            elif count == 10_000:
                break
        after = blocks()
    assert transport.open == 0
    assert after - before < 100


def test_transport_must_be_one_for_threads() -> None:
    wrong: Any
    for wrong in (HTTPX2Transport(), SyncHTTPX2Transport, 7):
        with pytest.raises(TypeError, match=r"^transport must be a SyncTransport, such as Sync"):
            EventSource("http://127.0.0.1/", transport=wrong)


def test_views_are_iterators() -> None:
    lines = b'{"usage": [3, 1]}\n{"text": "Hi"}\n{"done": "stop"}\n'
    for view, expected in (
        ("deltas", [Usage(3, 1), Text("Hi"), Finish("stop")]),
        ("events", [{"usage": [3, 1]}, {"text": "Hi"}, {"done": "stop"}]),
    ):
        transport = MemoryTransport(body(lines, headers={"content-type": "application/x-ndjson"}))
        with stream(CHATTER, "Hello", transport=transport) as reply:
            assert list(getattr(reply, view)()) == expected


def test_interrupt_between_two_lines_is_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_driver, "Watchdog", interrupt)
    transport = MemoryTransport(MemoryResponse([b"data: 1\n\n"]))
    with pytest.raises(KeyboardInterrupt):
        next(EventSource("http://127.0.0.1/", transport=transport))


TLS_INTERRUPTED = """
import signal, socket, sys, threading, time
from sseparse.sync import EventSource

with socket.create_server(("127.0.0.1", 0)) as server:
    def interrupt():
        global connection
        connection, _ = server.accept()
        connection.recv(1)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    try:
        next(EventSource(f"https://127.0.0.1:{server.getsockname()[1]}/"))
    except KeyboardInterrupt as error:
        kept = error
    connection.settimeout(60)
    while connection.recv(65536):
        pass
    connection.close()
    print("closed")
"""


@pytest.mark.slow
def test_ctrl_c_closes_the_connection_in_the_handshake_too() -> None:
    command = [sys.executable, "-W", "error", "-c", TLS_INTERRUPTED]
    result = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert (result.stdout, result.stderr) == (b"closed\n", b"")
