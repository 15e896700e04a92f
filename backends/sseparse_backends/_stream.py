"""The driver: sends what an exchange asks for, feeds it what arrives, and hands out the text.

Of the library here, it is the one module that awaits. No cancel scope is open between two steps
of an iteration, and nothing outlives the stream: whatever ends a step with an exception,
cancellation included, closes the connection first.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, Literal, NamedTuple

import anyio

from sseparse import LocalProtocolError, RemoteProtocolError
from sseparse.client._driver import close
from sseparse.transports import Response, Transport

from ._contract import Backend, Delta, Messages, Text, Usage
from ._exchange import Exchange, State

# How many deltas that have arrived are handed out between two checkpoints.
_BURST = 64
# What reading the words of a refusal may take, in seconds.
_REFUSAL_TIME = 1.0
# What is read after the end of the reply, so that the connection can be used again, in seconds
# and bytes.
_DRAIN_TIME = 0.25
_DRAIN_SIZE = 65536

_logger = logging.getLogger("sseparse")


class Limits(NamedTuple):
    """The time limits of a reply, in seconds, each of them positive."""

    total: float
    connect: float
    first: float
    idle: float


class ReplyTimeout(RemoteProtocolError, TimeoutError):
    """The reply took too long.

    `limit` is the time limit in seconds, `which` tells which one: "connect", "first", "idle" or
    "total". `text` is the text that had arrived.
    """

    def __init__(
        self, limit: float, which: Literal["connect", "first", "idle", "total"], text: str = ""
    ) -> None:
        # Not through `super`, where an OSError would take the arguments for an errno and so on.
        super().__init__()
        self.args = (limit, which, text)
        self.limit = limit
        self.which = which
        self.text = text

    def __str__(self) -> str:
        what = {
            "connect": "no connection was made",
            "first": "no content arrived",
            "idle": "no further content arrived",
            "total": "the reply was not finished",
        }[self.which]
        return f"{what} within {self.limit:g} seconds (characters so far: {len(self.text)})"


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
    **options: Any,
) -> ReplyStream:
    """Return the reply of `backend` to `messages`, to be opened with `async with`.

    model: one of the backend's models; by default, its default_model.
    transport: how requests are sent; by default, HTTPX2Transport(proxy=proxy).
    proxy: the URL of a proxy, for the default transport alone.
    timeout: seconds from the opening to the end of the reply, retries included, or None for no
        limit.
    connect_timeout: seconds for making a connection, or None for no limit.
    first_timeout: seconds to wait for the first content of an attempt; by default, idle_timeout.
    idle_timeout: seconds to wait for more content, or None for no limit. Pings and usage are no
        content, and the time between two steps of the iteration, when nobody waits, does not
        count; both hold for the first content, too.
    retries: how many more attempts to make where one fails before any content, because of the
        connection or with one of the statuses 429 and 5xx. The wait before the first is up to
        half a second, and twice as long before each further one, up to 8 seconds; a Retry-After
        makes it longer. One that would go beyond the timeout is not begun.
    options: what the backend's `request` takes.

    Raises ValueError and TypeError for arguments that the backend or the transport refuses.
    """
    first_timeout = idle_timeout if first_timeout is None else first_timeout
    limits = (timeout, connect_timeout, first_timeout, idle_timeout)
    for limit in limits:
        if limit is not None and not limit > 0:
            raise ValueError(f"a time limit is a positive number of seconds, or None: {limit}")
    exchange = Exchange(backend, messages, model=model, retries=retries, **options)
    # A client that nobody else has is closed with the reply, connections and all.
    drain = transport is not None
    if transport is None:
        # Imported late: those who bring their own transport need no httpx2.
        from sseparse.transports.httpx2 import HTTPX2Transport

        transport = HTTPX2Transport(proxy=proxy)
    elif proxy is not None:
        raise ValueError("give either a transport or a proxy: a transport has its own proxies")
    seconds = (math.inf if limit is None else limit for limit in limits)
    return ReplyStream(exchange, transport, Limits(*seconds), drain=drain)


class ReplyStream:
    """A reply that arrives: an asynchronous iterator over its text, as str.

    Use it with `async with`, which opens the connection on entering and closes it on leaving.
    Without that, the first step of the iteration opens it, and the end of the iteration, an
    error or `aclose` closes it. Any step of it may raise:

    - UnexpectedResponse, when the service refuses or does not answer with a stream;
    - IncompleteStream, with the text so far, when the reply is cut;
    - ReplyTimeout, with the text so far;
    - BackendError, when the service reports an error inside the stream;
    - EventTooLarge and InvalidJSON, as the decoder and the backend say;
    - ConnectionError, when no connection could be made;
    - what the backend raises for an event that it does not expect;
    - LocalProtocolError, when the stream was closed, also by a cancellation, before the reply
      was finished.

    The iteration ends without an error only where the reply is finished. An error is raised
    again by each further step; the text before it is `text_so_far`. Of the text that has arrived,
    every 64th piece has a checkpoint. After the last, over a transport of the caller's, what is
    left of the body is read for a quarter of a second, and 64 KiB, at most: a connection whose
    response is complete goes back to the pool of its client.
    """

    def __init__(
        self, exchange: Exchange, transport: Transport, limits: Limits, *, drain: bool
    ) -> None:
        self._exchange = exchange
        self._transport = transport
        self._limits = limits
        # Whether to leave the connection as one that can be used again.
        self._drains = drain
        # When the reply must be finished, once it is asked for; when the body of a refusal is no
        # longer awaited.
        self._asked = False
        self._deadline = math.inf
        self._refusal_deadline = math.inf
        # How long the steps since the last content have waited, in seconds.
        self._waited = 0.0
        self._response: Response | None = None
        self._deltas: deque[Delta] = deque()
        # Held by who uses the connection: a step, which `aclose` cancels, or the closing.
        self._lock = anyio.Lock(fast_acquire=True)
        self._step_scope: anyio.CancelScope | None = None
        self._closed = False
        # Deltas had arrived that nobody took before the closing.
        self._lost = False

    @property
    def model(self) -> str:
        """The model that was asked."""
        return self._exchange.model

    @property
    def usage(self) -> Usage | None:
        """The tokens used, as far as the service has told."""
        return self._exchange.usage

    @property
    def finish_reason(self) -> str | None:
        """Why the reply ended, once it has and if the service tells."""
        return self._exchange.finish_reason

    @property
    def text_so_far(self) -> str:
        """The text that has arrived, put together anew each time."""
        return self._exchange.text

    async def text(self) -> str:
        """Return the whole text of the reply, what has been iterated over included."""
        async for _ in self:
            pass
        return self._exchange.text

    def deltas(self) -> AsyncIterator[Delta]:
        """Iterate over what arrives as typed items: Text, Reasoning, ToolCall, Usage, Finish."""
        return _Deltas(self._next)

    def __aiter__(self) -> ReplyStream:
        return self

    async def __anext__(self) -> str:
        while True:
            # Here as well as in `_next`, which costs a coroutine for each.
            no_checkpoint_is_due = len(self._deltas) % _BURST
            delta = self._deltas.popleft() if no_checkpoint_is_due else await self._next()
            if isinstance(delta, Text):
                return delta.text

    async def __aenter__(self) -> ReplyStream:
        try:
            while self._exchange.state in (State.SENT, State.REFUSED, State.WAITING):
                if self._closed:
                    raise LocalProtocolError("the stream was closed before it was opened")
                await self._step()
            if self._exchange.error is not None:
                raise self._exchange.error
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if exc_type is None and self._exchange.state is State.FINISHED and not self._deltas:
                await self._drain()
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Close the connection at once, from any task; an iteration in progress is over."""
        self._closed = True
        self._lost = self._lost or bool(self._deltas)
        self._deltas.clear()
        if self._step_scope is not None:
            self._step_scope.cancel()
        with anyio.CancelScope(shield=True):
            async with self._lock:
                await self._close_response()

    def __del__(self) -> None:
        if self._response is not None:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)

    async def _next(self) -> Delta:
        if len(self._deltas) % _BURST == 0:
            try:
                await self._wait_for_deltas()
            except BaseException:
                await self.aclose()
                raise
        return self._deltas.popleft()

    async def _wait_for_deltas(self) -> None:
        if self._deltas:
            await anyio.lowlevel.checkpoint()
        while not self._deltas:
            if self._exchange.error is not None:
                raise self._exchange.error
            if self._exchange.state is State.FINISHED and not self._lost:
                await self._drain()
                raise StopAsyncIteration
            if self._closed:
                raise LocalProtocolError("the stream was closed before the reply was finished")
            await self._step()

    async def _step(self) -> None:
        """Do the next thing that there is to do, unless another task did it meanwhile."""
        try:
            self._lock.acquire_nowait()  # nearly always, and without the cost of a wait
        except anyio.WouldBlock:
            await self._lock.acquire()
        try:
            # While it waited, another task may have closed the stream, or received for both.
            if self._closed or self._deltas or self._exchange.done:
                return
            exchange = self._exchange
            if not self._asked:
                self._asked = True
                self._deadline = anyio.current_time() + self._limits.total
            if exchange.state is State.WAITING:
                await self._wait()
                return
            content = exchange.content
            limit = self._limits.idle if content else self._limits.first
            start = 0.0 if limit == math.inf else anyio.current_time()
            scope = self._step_scope = anyio.CancelScope(
                deadline=min(self._deadline, self._refusal_deadline, start + limit - self._waited)
            )
            with scope:
                await self._receive()
            if scope.cancelled_caught and not self._closed:
                self._time_out()
            if limit < math.inf:
                waited = self._waited + anyio.current_time() - start
                self._waited = waited if exchange.content == content else 0.0
        finally:
            self._step_scope = None
            self._lock.release()

    async def _receive(self) -> None:
        """Wait for the next thing from the network and give it to the exchange."""
        exchange = self._exchange
        try:
            if self._response is None:
                self._response = await self._send()
                exchange.receive_response(self._response.status, self._response.headers)
                if exchange.state is State.REFUSED:
                    self._refusal_deadline = anyio.current_time() + _REFUSAL_TIME
            elif data := await self._response.receive():
                self._deltas += exchange.receive_data(data)
            else:
                self._deltas += exchange.receive_end()
        except (ConnectionError, ReplyTimeout) as error:
            exchange.lose_connection(error)
        except Exception as error:  # of the transport's own, or for a request that cannot be sent
            exchange.fail(error)

    async def _send(self) -> Response:
        limit = self._limits.connect
        seconds = limit if limit < math.inf else None
        try:
            return await self._transport.send(
                replace(self._exchange.request, connect_timeout=seconds)
            )
        except TimeoutError as error:
            raise ReplyTimeout(limit, "connect") from error

    async def _wait(self) -> None:
        """Close the connection, and wait until the next attempt, if there is time for it."""
        exchange = self._exchange
        error, wait = exchange.reason, exchange.wait
        with anyio.CancelScope() as self._step_scope:
            await self._close_response()
            if anyio.current_time() + wait >= self._deadline:
                exchange.fail(error)
                return
            _logger.info("trying again in %.1f seconds: %s", wait, error)
            await anyio.sleep(wait)
        self._refusal_deadline = math.inf
        self._waited = 0.0
        exchange.end_wait()

    def _time_out(self) -> None:
        exchange, limits = self._exchange, self._limits
        if exchange.state is State.REFUSED:
            # Whatever the deadline was, what the service has said so far says more.
            exchange.receive_end()
        elif anyio.current_time() >= self._deadline:
            exchange.fail(ReplyTimeout(limits.total, "total", exchange.text))
        elif exchange.content:
            exchange.fail(ReplyTimeout(limits.idle, "idle", exchange.text))
        else:
            exchange.fail(ReplyTimeout(limits.first, "first"))

    async def _drain(self) -> None:
        """Read what is left of the body of a finished reply."""
        left = _DRAIN_SIZE if self._drains else 0
        async with self._lock:
            try:
                with anyio.move_on_after(_DRAIN_TIME) as self._step_scope:
                    while self._response is not None and left > 0:
                        data = await self._response.receive()
                        left -= len(data) or left
            except ConnectionError:
                pass  # the reply is complete nevertheless
            except Exception:
                _logger.warning("reading what is left of a body failed", exc_info=True)
            finally:
                self._step_scope = None

    async def _close_response(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            await close(response)


class _Deltas(AsyncIterator[Delta]):
    def __init__(self, step: Callable[[], Awaitable[Delta]]) -> None:
        self._step = step

    async def __anext__(self) -> Delta:
        return await self._step()
