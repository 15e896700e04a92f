"""The driver: sends what an exchange asks for, feeds it what arrives, and hands out the text.

It is the one module here that awaits. No cancel scope is open between two steps of an
iteration, and nothing outlives the stream: whatever ends a step with an exception, cancellation
included, closes the connection first.
"""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any

import anyio

from sseparse import LocalProtocolError, RemoteProtocolError
from sseparse.transports import Response, Transport
from sseparse.transports._closing import close

from ._contract import Backend, Delta, Messages, Text, Usage
from ._exchange import Exchange, State

# How many deltas that have arrived are handed out between two checkpoints.
_BURST = 64
# What reading the words of a refusal may take, in seconds.
_REFUSAL_TIME = 1.0


class ReplyTimeout(RemoteProtocolError, TimeoutError):
    """The reply took too long.

    `limit` is the time limit in seconds: the idle_timeout if `idle` is true, else the timeout.
    `text` is the text that had arrived.
    """

    def __init__(self, limit: float, idle: bool, text: str = "") -> None:
        # Not through `super`, where an OSError would take the arguments for an errno and so on.
        super().__init__()
        self.args = (limit, idle, text)
        self.limit = limit
        self.idle = idle
        self.text = text

    def __str__(self) -> str:
        what = "no content arrived" if self.idle else "the reply was not finished"
        return f"{what} within {self.limit:g} seconds (characters so far: {len(self.text)})"


def stream(
    backend: Backend,
    messages: Messages,
    *,
    model: str | None = None,
    transport: Transport | None = None,
    proxy: str | None = None,
    timeout: float | None = 600.0,
    idle_timeout: float | None = None,
    **options: Any,
) -> ReplyStream:
    """Return the reply of `backend` to `messages`, to be opened with `async with`.

    model: one of the backend's models; by default, its default_model.
    transport: how requests are sent; by default, HTTPX2Transport(proxy=proxy).
    proxy: the URL of a proxy, for the default transport alone.
    timeout: seconds from the opening to the end of the reply, or None for no limit.
    idle_timeout: seconds to wait for content, or None for no limit. Pings are no content, and
        the time between two steps of the iteration, when nobody waits, does not count.
    options: what the backend's `request` takes.

    Raises ValueError and TypeError for arguments that the backend or the transport refuses.
    """
    for limit in (timeout, idle_timeout):
        if limit is not None and not limit > 0:
            raise ValueError(f"a time limit is a positive number of seconds, or None: {limit}")
    exchange = Exchange(backend, messages, model=model, **options)
    if transport is None:
        # Imported late: those who bring their own transport need no httpx2.
        from sseparse.transports.httpx2 import HTTPX2Transport

        transport = HTTPX2Transport(proxy=proxy)
    elif proxy is not None:
        raise ValueError("give either a transport or a proxy: a transport has its own proxies")
    return ReplyStream(exchange, transport, timeout, idle_timeout)


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
    again by each further step. Of the text that has arrived, every 64th piece has a
    checkpoint.
    """

    def __init__(
        self,
        exchange: Exchange,
        transport: Transport,
        timeout: float | None,
        idle_timeout: float | None,
    ) -> None:
        self._exchange = exchange
        self._transport = transport
        self._timeout = math.inf if timeout is None else timeout
        self._idle_timeout = math.inf if idle_timeout is None else idle_timeout
        # When the reply must be finished; when the body of a refusal is no longer awaited.
        self._deadline = math.inf
        self._refusal_deadline = math.inf
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
        idle_deadline = anyio.current_time() + self._idle_timeout
        try:
            while self._exchange.state in (State.SENT, State.REFUSED):
                if self._closed:
                    raise LocalProtocolError("the stream was closed before it was opened")
                await self._step(idle_deadline)
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
                response, self._response = self._response, None
                if response is not None:
                    await close(response)

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
        idle_deadline = self._idle_timeout
        if idle_deadline < math.inf:
            idle_deadline += anyio.current_time()
        while not self._deltas:
            if self._exchange.error is not None:
                raise self._exchange.error
            if self._exchange.state is State.FINISHED and not self._lost:
                raise StopAsyncIteration
            if self._closed:
                raise LocalProtocolError("the stream was closed before the reply was finished")
            await self._step(idle_deadline)

    async def _step(self, idle_deadline: float) -> None:
        """Wait for the next thing from the network and give it to the exchange."""
        try:
            self._lock.acquire_nowait()  # nearly always, and without the cost of a wait
        except anyio.WouldBlock:
            await self._lock.acquire()
        try:
            # While it waited, another task may have closed the stream, or received for both.
            if self._closed or self._deltas or self._exchange.done:
                return
            if self._response is None:
                self._deadline = anyio.current_time() + self._timeout
            scope = self._step_scope = anyio.CancelScope(
                deadline=min(self._deadline, self._refusal_deadline, idle_deadline)
            )
            with scope:
                await self._receive()
            if scope.cancelled_caught and not self._closed:
                self._time_out()
        finally:
            self._step_scope = None
            self._lock.release()

    async def _receive(self) -> None:
        exchange = self._exchange
        try:
            if self._response is None:
                self._response = await self._transport.send(exchange.request)
                exchange.receive_response(self._response.status, self._response.headers)
                if exchange.state is State.REFUSED:
                    self._refusal_deadline = anyio.current_time() + _REFUSAL_TIME
            elif data := await self._response.receive():
                self._deltas += exchange.receive_data(data)
            else:
                self._deltas += exchange.receive_end()
        except ConnectionError as error:
            if self._response is None:
                exchange.fail(error)
            else:
                self._deltas += exchange.receive_end(error)

    def _time_out(self) -> None:
        exchange = self._exchange
        if exchange.state is State.REFUSED:
            # Whatever the deadline was, what the service has said so far says more.
            exchange.receive_end()
        elif anyio.current_time() >= self._deadline:
            exchange.fail(ReplyTimeout(self._timeout, False, exchange.text))
        else:
            exchange.fail(ReplyTimeout(self._idle_timeout, True, exchange.text))


class _Deltas(AsyncIterator[Delta]):
    def __init__(self, step: Callable[[], Awaitable[Delta]]) -> None:
        self._step = step

    async def __anext__(self) -> Delta:
        return await self._step()
