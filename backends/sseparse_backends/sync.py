"""stream for threads: the reply of a service, as an iterator over its text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sseparse.client import Attempts, Limits
from sseparse.sync import Driver
from sseparse.transports import SyncTransport, sync_transport_or_default

from ._base_stream import BaseReplyStream, is_delta
from ._contract import Backend, Delta, Messages, Text
from ._exchange import Exchange


def stream(
    backend: Backend,
    messages: Messages,
    *,
    model: str | None = None,
    transport: SyncTransport | None = None,
    proxy: str | None = None,
    timeout: float | None = 600.0,
    connect_timeout: float | None = 30.0,
    first_timeout: float | None = None,
    idle_timeout: float | None = None,
    retries: int = 0,
    content_type: str | None = None,
    **options: Any,
) -> ReplyStream:
    """Return the reply of `backend` to `messages`, to be opened with `with`, for threads.

    The other arguments, the behaviour and the errors are those of `sseparse_backends.stream`.

    transport: sends the requests. Default: SyncHTTPX2Transport(proxy=proxy).
    """
    limits = Limits(timeout, first_timeout, idle_timeout)
    exchange = Exchange(
        backend,
        messages,
        model=model,
        connect_timeout=connect_timeout,
        retries=retries,
        content_type=content_type,
        options=options,
    )
    return ReplyStream(exchange, limits, sync_transport_or_default(transport, proxy))


class ReplyStream(BaseReplyStream):
    """A reply that arrives: an iterator over its text, as str, for threads.

    It is `sseparse_backends.ReplyStream` without `await`: `with` opens the connection on entering
    and closes it on leaving, and any step raises what a step raises there.

    `close` may be called from any thread, and from a signal handler. KeyboardInterrupt closes the
    reply too. An iteration blocks its thread, and with it an event loop that runs there.
    """

    def __init__(self, exchange: Exchange, limits: Limits, transport: SyncTransport) -> None:
        super().__init__(exchange)
        self._driver = Driver[Any](Attempts(exchange, limits), transport, keep_connection=True)

    def text(self) -> str:
        """Return the whole text of the reply, including text that was iterated over."""
        for _ in self:
            pass
        return self._exchange.text

    def deltas(self) -> Iterator[Delta]:
        """Iterate over the reply as typed items; see sseparse_backends.ReplyStream.deltas."""
        return filter(is_delta, self._driver)

    def events(self) -> Iterator[Any]:
        """Iterate over the events of the decoder; see sseparse_backends.ReplyStream.events."""
        return filter(self._event_filter(), self._driver)

    def __iter__(self) -> ReplyStream:
        return self

    def __next__(self) -> str:
        while True:
            item = next(self._driver)
            if isinstance(item, Text):
                return item.text

    def __enter__(self) -> ReplyStream:
        self._driver.open()
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *exception: object) -> None:
        try:
            if exc_type is None:
                self._driver.drain()
        finally:
            self.close()

    def close(self) -> None:
        """Close the connection at once, from any thread; an iteration in progress is over."""
        self._driver.close()
