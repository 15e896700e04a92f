"""EventSource: the event-source client, which reconnects and resumes, for threads."""

from __future__ import annotations

from collections.abc import Callable

from sseparse._events import ServerSentEvent
from sseparse.client import BaseEventSource
from sseparse.transports import SyncTransport, sync_transport_or_default

from ._driver import Driver


class EventSource(BaseEventSource[SyncTransport, Driver[ServerSentEvent]]):
    """Follow the event stream at a URL: an iterator over its events, for threads.

    The arguments, the behaviour and the errors are those of `sseparse.client.EventSource`, without
    `await`. `with` closes the source on leaving.

    transport: sends the requests. Default: SyncHTTPX2Transport().

    `close` may be called from any thread, and from a signal handler: no event is delivered after
    that. KeyboardInterrupt closes the source too. An iteration blocks its thread, and with it an
    event loop that runs there.
    """

    def __iter__(self) -> EventSource:
        return self

    def __next__(self) -> ServerSentEvent:
        return next(self._driver)

    def __enter__(self) -> EventSource:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it at once, from any thread; an iteration in progress is over."""
        self._driver.close()

    def _new_driver(
        self,
        transport: SyncTransport | None,
        on_open: Callable[[], object] | None,
        on_error: Callable[[Exception, float], object] | None,
    ) -> Driver[ServerSentEvent]:
        chosen = sync_transport_or_default(transport)
        return Driver(self._attempts, chosen, on_open=on_open, on_error=on_error)
