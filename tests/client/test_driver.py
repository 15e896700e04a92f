"""The driver, on asyncio and trio: each item once, and nothing left open, however it ends.

The logic is tested over a MemoryTransport with a policy of the tests, the network over sockets.
"""

from __future__ import annotations

import asyncio
import gc
import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import httpx2
import pytest
from anyio.abc import SocketStream

from sseparse import LocalProtocolError, UnexpectedResponse
from sseparse.client import Attempts, Driver, Limits, State
from sseparse.transports import Request, Transport, transport_or_default
from sseparse.transports.httpx2 import HTTPX2Transport
from sseparse.transports.memory import MemoryResponse, MemoryTransport, ScriptedBody
from tests.support.cancellation import cancelling_at_each_await
from tests.support.policies import AGAIN, CLOSING, CUT, Scripted
from tests.support.servers import (
    Server,
    answer,
    head,
    open_sockets,
    read_request,
    reset,
    serve,
    until_client_leaves,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_is_left")]

STALL = math.inf
ENOUGH = MemoryResponse(status=204, headers={})
CLOSED_EARLIER = "closed by .* in an earlier step"


def body(*script: bytes | float | Exception, **options: Any) -> MemoryResponse:
    return MemoryResponse(script, **options)


def memory(*script: bytes | float | Exception, **options: Any) -> MemoryTransport:
    return MemoryTransport(body(*script, **options), ENOUGH)


class Stalling(Attempts[bytes]):
    """Attempts whose deadline has passed once the network stalls, after a chunk b"stall"."""

    stalled = False

    def receive_data(self, data: bytes) -> list[bytes]:
        self.stalled = data == b"stall"
        return super().receive_data(data)

    def next_deadline(self) -> float:
        return -math.inf if self.stalled else super().next_deadline()

    def handle_deadline(self, now: float) -> None:
        self.stalled = False
        super().handle_deadline(now)


def drive(transport: Transport, policy: Scripted | None = None, **options: Any) -> Driver[bytes]:
    limits = {name: options.pop(name) for name in ("timeout", "idle_timeout") if name in options}
    attempts = Stalling(policy or Scripted(wait=0.0), Limits(**limits))
    return Driver(attempts, transport, **options)


async def collect(driver: Driver[bytes]) -> tuple[list[bytes], Exception | None]:
    """Return the items, and the error that ends them."""
    items: list[bytes] = []
    try:
        async for item in driver:
            items.append(item)  # noqa: PERF401 - what comes before an error is kept
    except Exception as error:
        return items, error
    finally:
        await driver.aclose()
    return items, None


class Remote(Scripted):
    """A policy whose request goes to a server, and which makes one attempt."""

    def __init__(self, server: Server, retries: float = 0) -> None:
        super().__init__(wait=0.0, retries=retries)
        self._url = server.url

    def request(self) -> Request:
        return Request("POST", self._url, {}, b"query")


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    """A client for many requests: to make one takes longer than to send with it."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        yield HTTPX2Transport(client)


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(60):
        while not condition():
            await anyio.lowlevel.checkpoint()


# Items


async def test_items_come_from_one_attempt_after_another_until_the_end() -> None:
    transport = MemoryTransport(body(b"a", b"b"), CUT, body(b"c", CUT), body(b"d"), ENOUGH)
    assert await collect(drive(transport)) == ([b"a", b"b", b"end", b"c", b"d", b"end"], None)
    assert (len(transport.requests), transport.open) == (5, 0)


async def test_nothing_is_sent_before_the_first_step() -> None:
    transport = memory(b"a", b"done")
    driver = drive(transport)
    await anyio.lowlevel.checkpoint()
    assert transport.requests == []
    assert await collect(driver) == ([b"a", b"done"], None)


async def test_ended_iteration_is_closed_and_stays_ended() -> None:
    transport = memory(b"a", b"done", STALL)
    driver = drive(transport)
    for expected in ([b"a", b"done"], []):
        assert [item async for item in driver] == expected
        assert transport.open == 0


async def test_opening_waits_for_a_stream_and_raises_why_there_is_none() -> None:
    transport = MemoryTransport(CUT, body(b"busy", status=503), body(b"a", b"done"))
    driver = drive(transport)
    await driver.open()
    assert len(transport.requests) == 3
    assert await collect(driver) == ([b"a", b"done"], None)
    await driver.open()
    refused = drive(memory(status=404))
    for _ in range(2):
        with pytest.raises(UnexpectedResponse):
            await refused.open()


async def test_no_two_connections_are_open_at_once() -> None:
    class AtMostOne(MemoryTransport):
        async def send(self, request: Request) -> ScriptedBody:
            assert self.open == 0
            return await super().send(request)

    transport = AtMostOne(
        *(body(b"a"), body(CUT), body(b"stall", STALL), body(status=503)),
        *(body(b"again", STALL), ENOUGH),
    )
    items, error = await collect(drive(transport, idle_timeout=60))
    assert (items, error) == ([b"a", b"end", b"stall", b"again"], None)
    assert (len(transport.requests), transport.open) == (6, 0)


async def test_two_tasks_share_a_driver_without_loss_or_error() -> None:
    received: list[bytes] = []

    async def eat() -> None:
        async for item in driver:
            received.append(item)
            await anyio.lowlevel.checkpoint()

    transport = MemoryTransport(body(b"a", b"b", b"c"), body(b"d", CUT), ENOUGH)
    driver = drive(transport)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(eat)
        tasks.start_soon(eat)
    assert sorted(received) == [b"a", b"b", b"c", b"d", b"end"]
    assert (len(transport.requests), transport.open) == (3, 0)


class Burst(Scripted):
    """A policy that makes a thousand items of a chunk."""

    def receive_data(self, data: bytes) -> Any:
        items, verdict = super().receive_data(data)
        return items * 1000, verdict


async def test_burst_of_items_is_whole_and_lets_a_cancellation_through() -> None:
    assert await collect(drive(memory(b"done"), Burst())) == ([b"done"] * 1000, None)
    transport = memory(b"a", STALL)
    received = 0
    with anyio.CancelScope() as scope:
        async for _ in drive(transport, Burst()):
            scope.cancel()
            received += 1
    assert scope.cancelled_caught
    assert received < 100
    assert transport.open == 0


async def test_items_that_have_arrived_come_before_a_cancellation_is_seen() -> None:
    transport = MemoryTransport(body(b"a", STALL))
    driver = drive(transport)
    driver._items = [b"y", b"x"]
    received = [await anext(driver)]
    with anyio.CancelScope() as scope:
        scope.cancel()
        async for item in driver:
            received.append(item)  # noqa: PERF401 - an extension would be lost
    assert scope.cancelled_caught
    assert received == [b"x", b"y"]
    with pytest.raises(LocalProtocolError, match=CLOSED_EARLIER):
        await anext(driver)


# Errors


@pytest.mark.parametrize(
    ("response", "error_class"),
    [
        (body(b"a", b"bad", STALL), ConnectionError),
        (body(b"a", CUT), ConnectionError),
        (body(b"a"), RuntimeError),
        (body(b"no", status=404), UnexpectedResponse),
        (body(b"a", ZeroDivisionError()), ZeroDivisionError),
        (CUT, ConnectionError),
        (TimeoutError("no connection"), TimeoutError),
        (ValueError("no request"), ValueError),
    ],
)
async def test_error_comes_after_the_items_before_it_and_again_in_each_further_step(
    response: MemoryResponse | Exception, error_class: type[Exception]
) -> None:
    transport = MemoryTransport(response)
    driver = drive(transport, Scripted(retries=0))
    items: list[bytes] = []
    with pytest.raises(error_class) as caught:  # noqa: PT012 - items come before it
        while True:
            items.append(await anext(driver))
    script = response.script if isinstance(response, MemoryResponse) else ()
    assert items[:1] == ([b"a"] if b"a" in script else [])
    assert transport.open == 0
    for again in (driver.__anext__, driver.open):
        with pytest.raises(error_class) as caught_again:
            await again()
        assert caught_again.value is caught.value
    # It has ended: closing does not make a good end of it.
    await driver.aclose()
    with pytest.raises(error_class):
        await anext(driver)
    assert len(transport.requests) == 1


async def test_error_of_the_consumer_is_not_changed_by_leaving() -> None:
    transport = memory(b"a", STALL)
    driver = drive(transport)
    with pytest.raises(ZeroDivisionError) as caught:  # noqa: PT012 - the body of a try
        try:
            async for _ in driver:
                raise ZeroDivisionError
        finally:
            await driver.aclose()
    assert caught.value.__context__ is None
    assert transport.open == 0


async def test_each_attempt_is_reported_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[Any] = []
    transport = MemoryTransport(CUT, body(b"a"), body(status=503), ENOUGH)
    driver = drive(
        transport,
        on_open=lambda: calls.append("open"),
        on_error=lambda error, wait: calls.append((type(error), wait)),
    )
    with caplog.at_level("INFO", "sseparse"):
        assert await collect(driver) == ([b"a", b"end"], None)
    assert calls == [
        *((ConnectionError, 0.0), "open", (RuntimeError, 0.0), (UnexpectedResponse, 0.0)),
    ]
    url = "http://127.0.0.1/"
    reasons = ["cut", "again", "HTTP 503"]
    for message, reason in zip(caplog.messages, reasons, strict=True):
        assert message.startswith(f"{url}: trying again in 0.0 seconds: {reason}")


async def test_final_error_is_not_reported_as_a_retry() -> None:
    calls: list[object] = []
    for response in (ENOUGH, body(status=404), body(b"bad"), CUT):
        policy = Scripted(retries=0)
        driver = drive(MemoryTransport(response), policy, on_error=lambda *a: calls.append(a))
        await collect(driver)
    assert calls == []


@pytest.mark.parametrize("callback", ["on_open", "on_error"])
async def test_error_of_a_callback_passes_as_it_is_and_closes_the_connection(callback: str) -> None:
    failure = ZeroDivisionError()

    def fail(*_: object) -> None:
        raise failure

    transport = MemoryTransport(body(CUT))
    callbacks: dict[str, Any] = {callback: fail}
    driver = drive(transport, **callbacks)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError) as caught:
            await anext(driver)
        assert caught.value is failure
    assert (len(transport.requests), transport.open) == (1, 0)


@pytest.mark.parametrize("where", ["on_open", "on_error", "transport"])
async def test_stop_of_another_iteration_is_an_error_and_no_end(where: str) -> None:
    def fail(*_: object) -> None:
        raise StopAsyncIteration

    transport = MemoryTransport(body(StopAsyncIteration() if where == "transport" else CUT))
    callbacks: dict[str, Any] = {} if where == "transport" else {where: fail}
    driver = drive(transport, **callbacks)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="raised StopAsyncIteration"):
            await anext(driver)
    assert (len(transport.requests), transport.open) == (1, 0)


# Time limits. When they are due is a matter of Attempts: here they end what waits.


async def test_deadline_ends_the_wait_for_a_chunk() -> None:
    transport = MemoryTransport(body(b"a", b"stall", STALL))
    with anyio.fail_after(60):
        items, error = await collect(drive(transport, Scripted(retries=0), idle_timeout=600))
    assert items == [b"a", b"stall"]
    assert (type(error), str(error)) == (TimeoutError, "idle")
    assert transport.open == 0


async def test_time_limit_ends_the_wait_for_a_response() -> None:
    async with serve(answer(until_client_leaves)) as server:
        with anyio.fail_after(60):
            _, error = await collect(drive(HTTPX2Transport(), Remote(server), timeout=0.01))
        assert isinstance(error, TimeoutError)
        await server.until_open(0)


async def test_time_limit_of_the_caller_is_not_taken_for_one_of_the_driver() -> None:
    transport = memory(b"a", STALL)
    driver = drive(transport, idle_timeout=60)
    with pytest.raises(TimeoutError), anyio.fail_after(0.01):
        async for _ in driver:
            pass
    assert (len(transport.requests), transport.open) == (1, 0)


async def test_wait_is_slept_through() -> None:
    transport = MemoryTransport(CUT, body(b"done"))
    with anyio.fail_after(60):
        assert await collect(drive(transport, Scripted(wait=0.01))) == ([b"done"], None)


# Refusals


async def test_endless_refusal_is_read_up_to_64_kib() -> None:
    async def pour(connection: SocketStream) -> None:
        while True:
            await connection.send(b"no " * 1000)

    async with serve(answer(head(404), pour)) as server:
        with anyio.fail_after(60):
            _, error = await collect(drive(HTTPX2Transport(), Remote(server)))
        assert isinstance(error, UnexpectedResponse)
        assert error.body == (b"no " * 65536)[:65536]
        await server.until_open(0)


async def test_refusal_is_not_read_beyond_64_kib() -> None:
    script: list[bytes | Exception] = [b"x" * 65535, b"xy", ZeroDivisionError("read on")]
    _, error = await collect(drive(memory(*script, status=404)))
    assert isinstance(error, UnexpectedResponse)
    assert error.body == b"x" * 65536


@pytest.mark.parametrize("script", [(b"go away",), (b"go ", b"away", CUT)])
async def test_refusal_is_one_whether_its_body_ends_well_or_not(script: tuple[Any, ...]) -> None:
    _, error = await collect(drive(memory(*script, status=404)))
    assert isinstance(error, UnexpectedResponse)
    assert error.body == b"go away"


async def test_refusal_that_never_ends_is_one_with_what_came_of_it() -> None:
    _, error = await collect(drive(memory(b"go away: ", b"stall", STALL, status=404)))
    assert isinstance(error, UnexpectedResponse)
    assert error.body == b"go away: stall"


@pytest.mark.parametrize(("status", "tried_again"), [(503, True), (404, False)])
async def test_refusal_in_an_unknown_encoding_is_still_that_refusal(
    status: int, tried_again: bool
) -> None:
    unknown = UnexpectedResponse(status, {}, b"cannot be decoded")
    transport = MemoryTransport(body(unknown, status=status), ENOUGH)
    _, error = await collect(drive(transport))
    assert (error is None) == tried_again
    assert len(transport.requests) == 1 + tried_again


async def test_stream_in_an_unknown_encoding_is_an_error_at_once() -> None:
    unknown = UnexpectedResponse(200, {}, b"cannot be decoded")
    assert await collect(drive(MemoryTransport(body(unknown), ENOUGH))) == ([], unknown)


async def test_closing_the_coroutine_of_a_step_does_not_wait() -> None:
    driver = drive(memory(STALL))
    coroutine = driver.step()
    coroutine.send(None)
    coroutine.close()
    await driver.aclose()


# Closing


# The steps of the server, the state in which they leave the attempts, the items so far.
STAGES: dict[str, tuple[list[Any], State, list[bytes]]] = {
    "connect": ([until_client_leaves], State.CONNECTING, []),
    "head": ([head()[:20], until_client_leaves], State.CONNECTING, []),
    "refusal": ([head(500) + b"no", until_client_leaves], State.REFUSED, []),
    "read": ([head(), until_client_leaves], State.OPEN, []),
    "between items": ([head() + b"a", until_client_leaves], State.OPEN, [b"a"]),
    "wait": ([head() + b"again", until_client_leaves], State.WAITING, [b"again"]),
    "wait after a failure": ([reset], State.WAITING, []),
}


class Stage:
    """A driver whose steps wait at a stage, its server, and what has come."""

    def __init__(self, transport: Transport, server: Server, state: State, expected: list[bytes]):
        policy = Remote(server, retries=9)
        policy._wait = 600
        self.attempts = Attempts(policy, Limits())
        self.driver = Driver(self.attempts, transport)
        self.server = server
        self.state = state
        self.expected = expected
        self.received: list[bytes] = []

    async def iterate(self) -> None:
        async for item in self.driver:
            self.received.append(item)

    async def reached(self) -> None:
        """Wait until the driver stands where it stays."""
        await until(
            lambda: (
                len(self.server.requests) == 1
                and self.attempts.state is self.state
                and self.received == self.expected
            )
        )
        await anyio.wait_all_tasks_blocked()


@pytest.fixture(params=STAGES)
async def stage(request: pytest.FixtureRequest, transport: Transport) -> AsyncIterator[Stage]:
    steps, state, expected = STAGES[request.param]
    async with serve(answer(*steps)) as server:
        stage = Stage(transport, server, state, expected)
        yield stage
        await server.until_open(0)
        assert stage.attempts.state is State.CLOSED
        assert stage.received == expected
        assert server.connections == 1


async def test_aclose_from_another_task_ends_the_iteration_at_once(stage: Stage) -> None:
    async def iterate() -> None:
        with pytest.raises(LocalProtocolError) as caught:
            await stage.iterate()
        assert caught.value is CLOSING

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(iterate)
            tasks.start_soon(iterate)
            await stage.reached()
            await stage.driver.aclose()
    for _ in range(2):
        with pytest.raises(LocalProtocolError):
            await anext(stage.driver)
        await stage.driver.aclose()


async def test_cancellation_is_prompt_and_leaves_nothing_open(stage: Stage) -> None:
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stage.iterate)
            await stage.reached()
            tasks.cancel_scope.cancel()
    await stage.server.until_open(0)
    for _ in range(2):
        with pytest.raises(LocalProtocolError, match=CLOSED_EARLIER):
            await anext(stage.driver)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_timeout_of_asyncio_ends_a_step_and_closes_the_connection(stage: Stage) -> None:
    async def iterate() -> None:
        with pytest.raises(TimeoutError) as caught:  # noqa: PT012 - the body of an async with
            async with asyncio.timeout(None) as timeout:
                deadlines.append(timeout)
                await stage.iterate()
        assert type(caught.value) is TimeoutError

    deadlines: list[asyncio.Timeout] = []
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(iterate)
            await stage.reached()
            deadlines[0].reschedule(0)
    with pytest.raises(LocalProtocolError, match=CLOSED_EARLIER):
        await anext(stage.driver)


async def test_cancelling_one_of_two_tasks_ends_the_other_with_an_error() -> None:
    transport = memory(STALL)
    driver = drive(transport)
    scope = anyio.CancelScope()

    async def eat_until_cancelled() -> None:
        with scope:
            await anext(driver)

    async def eat() -> None:
        with pytest.raises(LocalProtocolError, match=CLOSED_EARLIER):
            await anext(driver)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(eat_until_cancelled)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(eat)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught
    assert (len(transport.requests), transport.open) == (1, 0)


async def test_task_that_only_waits_for_another_may_be_cancelled() -> None:
    going_on = anyio.Event()

    class Waiting(ScriptedBody):
        async def receive(self) -> bytes:
            await going_on.wait()
            return await super().receive()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sseparse.transports.memory.ScriptedBody", Waiting)
        driver = drive(memory(b"a", b"done"))
        received: list[bytes] = []

        async def eat() -> None:
            async for item in driver:
                received.append(item)  # noqa: PERF401 - each item is noted as it comes

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(eat)
            await anyio.wait_all_tasks_blocked()
            with anyio.CancelScope() as scope:
                scope.cancel()
                await driver.step()
            going_on.set()
    assert scope.cancelled_caught
    assert received == [b"a", b"done"]


@pytest.mark.parametrize("callback", ["on_open", "on_error"])
@pytest.mark.parametrize("wrong", ["x", anyio.sleep], ids=["text", "coroutine function"])
async def test_callback_must_be_a_plain_function(callback: str, wrong: object) -> None:
    arguments: dict[str, Any] = {callback: wrong}
    with pytest.raises(TypeError, match=f"^{callback} must be a plain function or None, got "):
        drive(memory(), **arguments)


async def test_item_that_had_arrived_is_lost_to_a_closing_and_a_good_end_is_none_then() -> None:
    driver = drive(memory(b"done"), Burst())
    assert await anext(driver) == b"done"
    await driver.aclose()
    assert driver.is_behind
    with pytest.raises(LocalProtocolError) as caught:
        await anext(driver)
    assert caught.value is CLOSING


async def test_closing_again_does_nothing() -> None:
    transport = memory(b"a", STALL)
    driver = drive(transport)
    assert await anext(driver) == b"a"
    for _ in range(2):
        await driver.aclose()
        assert transport.open == 0


async def test_closed_driver_opens_nothing() -> None:
    transport = memory(b"a")
    driver = drive(transport)
    await driver.aclose()
    for step in (driver.open, driver.__anext__):
        with pytest.raises(LocalProtocolError):
            await step()
    assert transport.requests == []


@pytest.mark.parametrize("pause", range(10))
async def test_nothing_is_delivered_after_close_even_if_it_arrives_with_it(pause: int) -> None:
    transport = MemoryTransport(body(b"a", 0.0, 0.0, b"b"), body(b"c", STALL))
    driver = drive(transport)
    closed = False

    async def iterate() -> None:
        with pytest.raises(LocalProtocolError):  # noqa: PT012 - the body of an async for
            async for _ in driver:
                assert not closed

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(iterate)
        for _ in range(pause):
            await anyio.lowlevel.checkpoint()
        closed = True
        await driver.aclose()
    assert transport.open == 0


async def test_aclose_in_a_cancelled_scope_closes_the_connection() -> None:
    transport = memory(b"a", STALL)
    driver = drive(transport)
    await anext(driver)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await driver.aclose()
    assert transport.open == 0


async def test_when_aclose_returns_not_even_an_attempt_is_left() -> None:
    class Reluctant(MemoryTransport):
        sending = False

        async def send(self, request: Request) -> ScriptedBody:
            self.sending = True
            try:
                return await super().send(request)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.01)
                self.sending = False

    transport = Reluctant(body(b"a"))
    driver = drive(transport)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(collect, driver)
        await until(lambda: transport.sending)
        await driver.aclose()
        assert not transport.sending
        assert transport.open == 0


async def test_two_closings_at_once_both_wait_for_the_end() -> None:
    class Slow(MemoryTransport):
        async def send(self, request: Request) -> Any:
            response = await super().send(request)
            close = response.aclose

            async def aclose() -> None:
                await anyio.sleep(0.01)
                await close()

            response.aclose = aclose  # type: ignore[method-assign]
            return response

    transport = Slow(body(b"a", STALL))
    driver = drive(transport)
    assert await anext(driver) == b"a"

    async def close() -> None:
        await driver.aclose()
        assert transport.open == 0

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(close)
        tasks.start_soon(close)


async def test_closing_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Driver, "_CLOSING_TIME", 0.01)
    monkeypatch.setattr(ScriptedBody, "aclose", lambda _: anyio.sleep_forever())
    driver = drive(memory(b"a", STALL))
    assert await anext(driver) == b"a"
    with anyio.fail_after(60):
        await driver.aclose()


async def test_closing_that_fails_is_logged_and_hides_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_: ScriptedBody) -> None:
        raise OSError("cannot close")

    monkeypatch.setattr(ScriptedBody, "aclose", fail)
    transport = MemoryTransport(body(b"a"), body(b"b", b"bad"))
    items, error = await collect(drive(transport))
    assert (items, error) == ([b"a", b"end", b"b", b"bad"], CUT)
    assert caplog.text.count("closing the connection failed") == 2


async def test_unclosed_driver_warns() -> None:
    driver = drive(memory(b"a", STALL))
    await anext(driver)
    with pytest.warns(ResourceWarning, match=r"unclosed <Request GET http://127.0.0.1/ of 0 bytes"):
        del driver


async def test_driver_without_a_connection_needs_no_closing() -> None:
    untouched = drive(memory())
    ended = drive(MemoryTransport(ENOUGH))
    assert [item async for item in ended] == []
    # A warning would be an error.
    del untouched, ended
    gc.collect()


# Cancellation


async def test_cancellation_at_any_await_closes_the_response() -> None:
    transports: list[MemoryTransport] = []

    async def run() -> None:
        transports.append(
            MemoryTransport(
                *(body(b"a", 0.0, b"b"), CUT, body(b"no", status=503)),
                *(body(b"c", CUT), body(b"done", b"more", STALL)),
            )
        )
        driver = drive(transports[-1], keep_connection=True)
        items, error = await collect(driver)
        assert (items, error) == ([b"a", b"b", b"end", b"c", b"done"], None)

    async def check() -> None:
        assert transports[-1].open == 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Driver, "_DRAIN_TIME", 0.001)
        assert await cancelling_at_each_await(run, check) > 10


@pytest.mark.parametrize("own", [True, False], ids=["own client", "callers client"])
async def test_cancellation_at_any_await_closes_the_socket(transport: Transport, own: bool) -> None:
    async def handle(connection: SocketStream, _: Server) -> None:
        await read_request(connection)
        await connection.send(head() + b"a")
        await until_client_leaves(connection)

    async def run() -> None:
        driver = drive(HTTPX2Transport() if own else transport, Remote(server))
        try:
            assert await anext(driver) == b"a"
        finally:
            await driver.aclose()

    async def check() -> None:
        await server.until_open(0)

    async with serve(handle) as server:
        before = open_sockets()
        assert await cancelling_at_each_await(run, check) > 5
        assert open_sockets() == before


# The body after a good end


async def test_body_after_a_good_end_is_not_awaited() -> None:
    transport = memory(b"a", b"done", ZeroDivisionError("read on"))
    assert await collect(drive(transport)) == ([b"a", b"done"], None)


@pytest.mark.parametrize("rest", [(), (b"more", b"more"), (CUT,), (b"x" * 65536, AGAIN)])
async def test_draining_reads_the_rest_of_the_body(
    rest: tuple[Any, ...], caplog: pytest.LogCaptureFixture
) -> None:
    transport = memory(b"a", b"done", *rest)
    assert await collect(drive(transport, keep_connection=True)) == ([b"a", b"done"], None)
    assert transport.open == 0
    assert caplog.text == ""


async def test_draining_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    transport = memory(b"a", b"done", ZeroDivisionError("surprise"))
    assert await collect(drive(transport, keep_connection=True)) == ([b"a", b"done"], None)
    assert "surprise" in caplog.text


async def test_draining_takes_a_limited_time_and_closing_ends_it() -> None:
    with pytest.MonkeyPatch.context() as patch, anyio.fail_after(60):
        patch.setattr(Driver, "_DRAIN_TIME", 0.01)
        assert await collect(drive(memory(b"done", STALL), keep_connection=True)) == (
            [b"done"],
            None,
        )
        patch.setattr(Driver, "_DRAIN_TIME", 600)
        driver = drive(memory(b"done", STALL), keep_connection=True)
        assert await anext(driver) == b"done"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(collect, driver)
            await anyio.wait_all_tasks_blocked()
            await driver.aclose()


# The transport


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        *((httpx2.AsyncClient, "AsyncClient"), (httpx2.Client, "Client"), (lambda: 7, "int")),
        *((lambda: HTTPX2Transport, "HTTPX2Transport"), (str, "str")),
    ],
    ids=["client", "sync client", "number", "class", "text"],
)
async def test_transport_must_be_one(make: Callable[[], object], kind: str) -> None:
    wrong = make()
    words = rf"^transport must be a Transport, such as HTTPX2Transport\(client\), got {kind}$"
    with pytest.raises(TypeError, match=words):
        transport_or_default(wrong)


async def test_transport_and_proxy_together_are_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"^proxy must be None where a transport is given"):
        transport_or_default(memory(), "http://127.0.0.1:1")


async def test_transport_is_httpx2_by_default() -> None:
    assert isinstance(transport_or_default(None), HTTPX2Transport)
