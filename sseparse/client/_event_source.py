"""EventSource: the event-source client, which reconnects and resumes, on asyncio and trio.

It only sends, reads and sleeps; what to do next it asks _reconnection.py. No cancel scope is open
between two steps of an iteration, and nothing outlives the client: whatever ends a step with an
exception, cancellation included, closes the connection first.
"""

from __future__ import annotations

import enum
import logging
import math
import random
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Set
from contextlib import suppress
from types import TracebackType

import anyio

from sseparse._display import redacted_url
from sseparse._errors import LocalProtocolError
from sseparse._events import ServerSentEvent
from sseparse.transports import Request, Response, Transport

from ._driver import close
from ._reconnection import Reconnection, State

# How much of a refusal is read: the words that say why, in bytes and in seconds.
_MAX_REFUSAL = 65536
_REFUSAL_TIME = 1.0

# How many events that have arrived are handed out between two checkpoints.
_BURST = 64

_logger = logging.getLogger("sseparse")


class ReadyState(enum.IntEnum):
    """The state of an EventSource, numbered as in the standard."""

    CONNECTING = 0
    OPEN = 1
    CLOSED = 2


_READY_STATES = {
    State.CONNECTING: ReadyState.CONNECTING,
    State.REFUSED: ReadyState.CONNECTING,
    State.OPEN: ReadyState.OPEN,
    State.WAITING: ReadyState.CONNECTING,
    State.CLOSED: ReadyState.CLOSED,
}


class EventSource:
    """Follow the event stream at a URL: an asynchronous iterator over its events.

    When the stream ends or the network fails, it connects again, after the reconnection time,
    and resumes after the last event ID. Use it with `async with`, which closes it on leaving;
    the first step of the iteration opens the first connection. At most one is open at a time.

    url: http: or https:.
    method, headers, body: of the request, the same on each attempt. The headers come before the
        default Accept and Cache-Control.
    transport: how requests are sent; by default, HTTPX2Transport(). Its connections, proxies,
        auth and so on are used.
    last_event_id: the last event ID of an earlier run, to resume after.
    reconnection_time: seconds to wait before connecting again, until the stream sets another.
        After failures in a row, it is a random time from there to twice as long for the first,
        four times for the second, and so on.
    max_backoff: the longest wait in seconds, whatever the server asks for.
    max_attempts: how many attempts in a row may bring no event, or None for no limit.
    idle_timeout: seconds without a byte, pings included, after which the connection is taken for
        lost, or None for no limit. It holds for connecting too.
    retry_statuses: the statuses that are a passing failure, such as {429, 502, 503, 504}: then
        the next attempt is made, at the earliest when Retry-After says.
    max_event_size: the largest event in bytes, or None for no limit; see SSEDecoder.
    on_open: called when a connection has opened.
    on_error: called when one is lost, or could not be made, and another will be tried: with the
        error and the seconds until then.

    The iteration ends when the server answers 204, and when `aclose` is called, from any task:
    no event is delivered after that. It raises, as they are:

    - UnexpectedResponse, when the server answers with anything else than an event stream: the
      status is not in retry_statuses, or the attempts are used up;
    - EventTooLarge;
    - when the attempts are used up, the last error: a ConnectionError or a TimeoutError;
    - ValueError for a URL or a header that cannot be sent, before any connection;
    - what the callbacks raise.

    A step of the iteration that is cancelled closes it: use idle_timeout, or another EventSource
    with its last_event_id. Of the events that have arrived, every 64th has a checkpoint. An ID
    with a control character in it, which HTTP cannot carry, is not sent. The constructor raises
    ValueError for arguments that mean nothing.

    HTML Standard, 9.2.2 "The EventSource interface" and 9.2.3 "Processing model".
    """

    def __init__(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        transport: Transport | None = None,
        last_event_id: str = "",
        reconnection_time: float = 3.0,
        max_backoff: float = 60.0,
        max_attempts: int | None = None,
        idle_timeout: float | None = None,
        retry_statuses: Set[int] = frozenset(),
        max_event_size: int | None = 64 * 1024 * 1024,
        on_open: Callable[[], object] | None = None,
        on_error: Callable[[Exception, float], object] | None = None,
    ) -> None:
        Request(method, url, headers or {}, body)
        if idle_timeout is not None and not idle_timeout > 0:
            raise ValueError(
                f"a time limit is a positive number of seconds, or None: {idle_timeout}"
            )
        self.url = url
        self._method = method
        self._body = body
        self._idle_timeout = math.inf if idle_timeout is None else idle_timeout
        self._on_open = on_open
        self._on_error = on_error
        self._reconnection = Reconnection(
            headers=headers or {},
            last_event_id=last_event_id,
            reconnection_time=reconnection_time,
            max_backoff=max_backoff,
            max_attempts=max_attempts,
            retry_statuses=retry_statuses,
            max_event_size=max_event_size,
            random=random.random,
            now=time.time,
        )
        if transport is None:
            # Imported late: those who bring their own transport need no httpx2.
            from sseparse.transports.httpx2 import HTTPX2Transport

            transport = HTTPX2Transport()
        self._transport = transport
        self._response: Response | None = None
        self._events: deque[ServerSentEvent] = deque()
        self._last_event_id = last_event_id
        # Held by who uses the connection: a step, which `aclose` cancels, or the closing.
        self._lock = anyio.Lock(fast_acquire=True)
        self._step_scope: anyio.CancelScope | None = None

    @property
    def ready_state(self) -> ReadyState:
        """CONNECTING, which a wait is too, OPEN or CLOSED."""
        return _READY_STATES[self._reconnection.state]

    @property
    def last_event_id(self) -> str:
        """The last event ID in force at what was handed out: what another run can resume after."""
        return self._last_event_id

    @property
    def reconnection_time(self) -> float:
        """The reconnection time in force, in seconds."""
        return self._reconnection.reconnection_time

    def __aiter__(self) -> EventSource:
        return self

    async def __anext__(self) -> ServerSentEvent:
        if len(self._events) % _BURST == 0:
            try:
                await self._wait_for_events()
            except BaseException as error:
                if self._reconnection.state is not State.CLOSED:  # a cancellation, say
                    words = f"the client was closed by {type(error).__name__} in an earlier step"
                    self._reconnection.fail(LocalProtocolError(words))
                await self.aclose()
                raise
        event = self._events.popleft()
        self._note_id(event.id)
        return event

    async def __aenter__(self) -> EventSource:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close it at once, from any task; an iteration in progress is over."""
        self._reconnection.close()
        self._events.clear()
        if self._step_scope is not None:
            self._step_scope.cancel()
        with anyio.CancelScope(shield=True):
            async with self._lock:
                await self._close_response()

    def __del__(self) -> None:
        if getattr(self, "_response", None) is not None:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)

    def __repr__(self) -> str:
        return f"<EventSource {redacted_url(self.url)} {self.ready_state.name}>"

    async def _wait_for_events(self) -> None:
        if self._events:
            await anyio.lowlevel.checkpoint()
        while not self._events:
            if self._reconnection.state is State.CLOSED:
                raise self._reconnection.error or StopAsyncIteration
            await self._step()

    def _note_id(self, event_id: str) -> None:
        # A block without data sets the ID as well: it counts once no event before it is left.
        self._last_event_id = event_id if self._events else self._reconnection.last_event_id

    async def _step(self) -> None:
        """Do the next thing that there is to do, unless another task did it meanwhile."""
        async with self._lock:
            machine = self._reconnection
            before = machine.state
            if self._events or before is State.CLOSED:
                return
            limit = math.inf if before is State.WAITING else self._idle_timeout
            scope = self._step_scope = anyio.CancelScope(deadline=anyio.current_time() + limit)
            with scope:
                await self._advance(scope)
            # It may have been cancelled by `aclose` as well, and then this changes nothing.
            if scope.cancelled_caught:
                machine.lose_connection(
                    TimeoutError(f"nothing arrived within {self._idle_timeout:g} seconds")
                )
            if machine.state is not State.OPEN:
                await self._close_response()
            elif before is not State.OPEN and self._on_open is not None:
                self._on_open()
            if machine.state is State.WAITING:
                self._tell_retry()

    async def _advance(self, scope: anyio.CancelScope) -> None:
        machine = self._reconnection
        try:
            if machine.state is State.WAITING:
                await anyio.sleep(machine.wait)
                machine.end_wait()
            elif self._response is None:
                request = Request(self._method, self.url, machine.headers, self._body)
                self._response = await self._transport.send(request)
                machine.receive_response(self._response.status, self._response.headers)
                if machine.state is State.REFUSED:
                    # Its body has a time limit of its own.
                    scope.deadline = math.inf
                    machine.receive_refusal(await _start_of_body(self._response))
            elif data := await self._response.receive():
                self._events += machine.receive_data(data)
                self._note_id(self._last_event_id)
            else:
                machine.receive_end()
        except ConnectionError as error:
            machine.lose_connection(error)

    def _tell_retry(self) -> None:
        error, wait = self._reconnection.reason, self._reconnection.wait
        _logger.info("%s: trying again in %.1f seconds: %s", redacted_url(self.url), wait, error)
        if self._on_error is not None:
            self._on_error(error, wait)

    async def _close_response(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            await close(response)


async def _start_of_body(response: Response) -> bytes:
    body = bytearray()
    with anyio.move_on_after(_REFUSAL_TIME), suppress(ConnectionError):
        while len(body) < _MAX_REFUSAL and (data := await response.receive()):
            body += data
    return bytes(body[:_MAX_REFUSAL])
