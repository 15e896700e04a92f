"""EventSource: the event-source client, which reconnects and resumes, on asyncio and trio."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from sseparse._events import ServerSentEvent
from sseparse.transports import Transport, transport_or_default

from ._base_event_source import BaseEventSource
from ._driver import Driver


class EventSource(BaseEventSource[Transport, Driver[ServerSentEvent]]):
    """Follow the event stream at a URL: an asynchronous iterator over its events.

    The first step of the iteration opens the connection. When the stream ends or the network
    fails, another is opened after the reconnection time, and resumes after the last event ID.
    At most one connection is open at a time. `async with` closes the source on leaving.

    url: http: or https:.
    method, headers, body: of the request, the same on each attempt. The headers override the
        default Accept and Cache-Control.
    transport: sends the requests. Default: HTTPX2Transport().
    last_event_id: ID of the event to resume after, from an earlier run.
    reconnection_time: seconds to wait before connecting again, until the stream sets another.
        Default: 3. After n attempts in a row that brought nothing of an event stream, the wait is
        random between the reconnection time and 2**n times it, or times 0.5 if it is shorter.
    max_backoff: the longest wait in seconds, whatever the server asks for. Default: 60.
    max_attempts: number of attempts in a row without an event after which the last error is
        raised. Default: None, no limit.
    idle_timeout: seconds without a byte, pings included, after which the connection counts as
        lost; connecting counts too. Default: None, no limit.
    connect_timeout: seconds for making a connection. Default: 30; None: no limit.
    retry_statuses: statuses of a response, such as {429, 502, 503, 504}, after which another
        attempt is made, at the earliest when Retry-After says. Default: none.
    max_event_size: the largest event in bytes, or None for no limit; see SSEDecoder.
    on_open: called when a connection has opened.
    on_error: called with the error and the seconds to wait when another attempt will be made.

    The iteration ends when the server answers 204, and when `aclose` is called, from any task:
    no event is delivered after that. An error ends it too, and each further step raises it again:

    - UnexpectedResponse: the response is no event stream, and its status is not in retry_statuses
      or the attempts are used up;
    - EventTooLarge;
    - CertificateError of sseparse.transports: the server's certificate does not verify;
    - ConnectionError or TimeoutError: the last error, when the attempts are used up;
    - errors of the callbacks.

    A cancelled step closes the source: use idle_timeout, or another EventSource with its
    last_event_id. Of the events that have arrived, every 64th has a checkpoint. An ID with a
    control character, which HTTP cannot carry, is not sent.

    Raises TypeError and ValueError, naming the argument.

    HTML Standard, 9.2.2 "The EventSource interface" and 9.2.3 "Processing model".
    """

    def __aiter__(self) -> EventSource:
        return self

    def __anext__(self) -> Coroutine[Any, Any, ServerSentEvent]:
        # Not in a coroutine of its own, since each takes 0.3 µs.
        return self._driver.__anext__()

    async def __aenter__(self) -> EventSource:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close it at once, from any task; an iteration in progress is over."""
        await self._driver.aclose()

    def _new_driver(
        self,
        transport: Transport | None,
        on_open: Callable[[], object] | None,
        on_error: Callable[[Exception, float], object] | None,
    ) -> Driver[ServerSentEvent]:
        chosen = transport_or_default(transport)
        return Driver(self._attempts, chosen, on_open=on_open, on_error=on_error)
