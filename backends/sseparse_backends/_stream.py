"""stream: the reply of a service, as an asynchronous iterator over its text."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from sseparse.client import Attempts, Driver, Limits
from sseparse.transports import Transport, transport_or_default

from ._base_stream import BaseReplyStream, is_delta
from ._contract import Backend, Delta, Messages, Text
from ._exchange import Exchange


def stream(
    backend: Backend,
    messages: Messages,
    *,
    model: str | None = None,
    transport: Transport | None = None,
    proxy: str | None = None,
    timeout: float | None = 600.0,
    connect_timeout: float | None = 30.0,
    first_timeout: float | None = None,
    idle_timeout: float | None = None,
    retries: int = 0,
    content_type: str | None = None,
    **options: Any,
) -> ReplyStream:
    """Return the reply of `backend` to `messages`, to be opened with `async with`.

    model: one of the backend's models. Default: its default_model.
    transport: sends the requests. Default: HTTPX2Transport(proxy=proxy).
    proxy: the URL of a proxy, for the default transport alone.
    timeout: seconds from the opening to the end of the reply, retries included. Default: 600;
        None: no limit, as for the other limits.
    connect_timeout: seconds for making a connection. Default: 30.
    first_timeout: seconds to wait for the first content of an attempt. Default: idle_timeout.
    idle_timeout: seconds to wait for more content. Only text, reasoning and tool calls are
        content. Time spent outside the iteration does not count. Default: None.
    retries: further attempts after one that fails before any content, if the connection failed or
        the status is 429 or 5xx. The wait before the first is random, up to half a second, then
        up to twice as long each time, at most 8 seconds. A Retry-After makes it longer. A wait
        that would end after the timeout is not begun. Default: 0.
    content_type: media type of the reply, overriding the server's. Default: the server's.
    options: passed to the backend's `request`.

    Raises TypeError and ValueError, naming the argument, before anything is sent.
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
    return ReplyStream(exchange, limits, transport_or_default(transport, proxy))


class ReplyStream(BaseReplyStream):
    """A reply that arrives: an asynchronous iterator over its text, as str.

    `async with` opens the connection on entering and closes it on leaving. Without that, the first
    step of the iteration opens it, and its end, an error or `aclose` closes it. Any step may raise:

    - UnexpectedResponse: the service refuses, or does not answer with a stream;
    - IncompleteStream, with the text so far: the reply is cut;
    - ReplyTimeout, with the text so far;
    - BackendError: the service reports an error inside the stream;
    - EventTooLarge, InvalidJSON, and errors that the backend raises for unexpected events;
    - ConnectionError: no connection could be made;
    - LocalProtocolError: closing or a cancelled step came before the end of the reply.

    The iteration ends without an error only where the reply is finished. Each further step raises
    an error again; the text before it is `text_so_far`. Of the text that has arrived, every 64th
    piece has a checkpoint. With an HTTP client of your own, up to 64 KiB more of the body are read
    after the last, for at most 0.25 s, so that the connection can be reused.
    """

    def __init__(self, exchange: Exchange, limits: Limits, transport: Transport) -> None:
        super().__init__(exchange)
        self._driver = Driver[Any](Attempts(exchange, limits), transport, keep_connection=True)

    async def text(self) -> str:
        """Return the whole text of the reply, including text that was iterated over."""
        async for _ in self:
            pass
        return self._exchange.text

    def deltas(self) -> AsyncIterator[Delta]:
        """Iterate over the reply as typed items.

        They are Text, Reasoning, ToolCallPiece, ToolCall, Usage and Finish.
        """
        return _View(self._driver, is_delta)

    def events(self) -> AsyncIterator[Any]:
        """Iterate over the events of the reply's decoder, unchanged.

        They hold fields that no delta has, such as citations and log probabilities. All views share
        one position in the reply. Events that arrived before the first call are skipped.
        """
        return _View(self._driver, self._event_filter())

    def __aiter__(self) -> ReplyStream:
        return self

    async def __anext__(self) -> str:
        while True:
            item = await self._driver.__anext__()
            if isinstance(item, Text):
                return item.text

    async def __aenter__(self) -> ReplyStream:
        await self._driver.open()
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, *exception: object) -> None:
        try:
            if exc_type is None:
                await self._driver.drain()
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Close the connection at once, from any task; an iteration in progress is over."""
        await self._driver.aclose()


class _View:
    """An iterator over the items of a driver for which `is_item` is true."""

    def __init__(self, driver: Driver[Any], is_item: Callable[[Any], bool]) -> None:
        self._driver = driver
        self._is_item = is_item

    def __aiter__(self) -> _View:
        return self

    async def __anext__(self) -> Any:
        while True:
            item = await self._driver.__anext__()
            if self._is_item(item):
                return item
