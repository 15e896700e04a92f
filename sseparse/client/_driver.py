"""The driver: the only file that waits for a network.

It sends, reads and sleeps as Attempts says, and hands out items. No cancel scope is open between
two steps of an iteration, no task is started, and nothing outlives the driver: any exception in a
step, cancellation included, closes the connection first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import anyio

from sseparse._errors import UnexpectedResponse
from sseparse.transports import Transport

from ._attempts import Attempts, State
from ._base_driver import BaseDriver

T = TypeVar("T")

# Items that have arrived have a checkpoint after every 64th.
_BURST = 64

_logger = logging.getLogger("sseparse")


class Driver(BaseDriver[T]):
    """Drive Attempts over a transport: an asynchronous iterator over the items.

    transport: sends the requests.
    keep_connection: after a good end, read what is left of the body, for at most 0.25 s and 64 KiB,
        so that the transport can use the connection again.
    on_open: called when a stream has opened.
    on_error: called with the error and the wait in seconds when another attempt will be made.

    Steps and closing may come from different tasks. Each step after the end raises its error again.
    """

    last: T | None

    def __init__(
        self,
        attempts: Attempts[T],
        transport: Transport,
        *,
        keep_connection: bool = False,
        on_open: Callable[[], object] | None = None,
        on_error: Callable[[Exception, float], object] | None = None,
    ) -> None:
        super().__init__(
            attempts,
            transport,
            keep_connection=keep_connection,
            on_open=on_open,
            on_error=on_error,
        )
        # Guards the connection: held during a step (which aclose cancels) and while closing.
        self._in_use = False
        self._released: anyio.Event | None = None
        self._scope: anyio.CancelScope | None = None
        # From the first step on the class of the event loop's scopes: anyio looks it up in 1 µs.
        self._new_scope = anyio.CancelScope

    def __aiter__(self) -> Driver[T]:
        return self

    async def __anext__(self) -> T:
        if len(self._items) % _BURST == 0:
            await self.step()
        while not self._items:
            await self.step()
        self.last = item = self._items.pop()
        return item

    async def open(self) -> None:
        """Step until a stream is open, or has been.

        Raises the error that ended the attempts.
        """
        while self._attempts.state not in (State.OPEN, State.CLOSED):
            await self.step()
        if self._attempts.error is not None:
            await self.step()

    async def step(self) -> None:
        """Take one step of Attempts, or await that of another task; with items here, a checkpoint.

        Raises the error that ended the attempts, StopAsyncIteration for a good end.
        """
        attempts = self._attempts
        if self._in_use and not self._items:
            # Outside of the `try`: a task that only waits for another may be cancelled.
            await self._until_released()
            return
        try:
            if self._items:
                await anyio.lowlevel.checkpoint()
                return
            if attempts.state is not State.CLOSED:
                self._in_use = True
                try:
                    # All of a step is in one coroutine, since each takes 0.3 µs.
                    before, timed = attempts.state, attempts.needs_clock
                    if timed:
                        attempts.begin_step(anyio.current_time())
                    with self._new_scope(deadline=attempts.next_deadline()) as scope:
                        self._scope = scope
                        self._new_scope = type(scope)
                        try:
                            if self._response is None and before is State.WAITING:
                                await anyio.sleep_forever()  # until the deadline
                            elif self._response is None:
                                response = await self._transport.send(attempts.request)
                                self._response = response
                                attempts.receive_response(response.status, response.headers)
                            elif data := await self._response.receive():
                                self._items = attempts.receive_data(data)[::-1]
                            else:
                                self._items = attempts.receive_end()[::-1]
                        except (ConnectionError, TimeoutError) as error:
                            attempts.lose_connection(error)
                        except UnexpectedResponse as error:  # a content encoding
                            if before is not State.REFUSED:
                                raise
                            attempts.lose_connection(error)
                    if scope.cancelled_caught:
                        # By the deadline, or by `aclose`, which has ended the attempts.
                        attempts.handle_deadline(anyio.current_time())
                    if timed or attempts.state is not before:
                        attempts.end_step(anyio.current_time())
                    if attempts.state is not before:
                        if self._is_done_with_response:
                            await self._close_response()
                        self._report()
                finally:
                    self._release()
                return
            await self.drain()
        except GeneratorExit:
            raise  # the coroutine is closed, and must not wait
        except StopAsyncIteration as error:
            # It would look like a good end.
            failure = RuntimeError("the transport or a callback raised StopAsyncIteration")
            self._fail(failure)
            await self.aclose()
            raise failure from error
        except BaseException as error:
            self._fail(error)
            await self.aclose()
            raise
        await self.aclose()
        raise attempts.error or StopAsyncIteration

    async def aclose(self) -> None:
        """Close the connection at once, from any task; an iteration in progress is over."""
        self._discard()
        if self._scope is not None:
            self._scope.cancel()
        with anyio.CancelScope(shield=True):
            while self._in_use:
                await self._until_released()
            self._in_use = True
            try:
                await self._close_response()
            finally:
                self._release()

    async def drain(self) -> None:
        """Read what is left of the body, where all of a good end was handed out."""
        closed = self._attempts.state is State.CLOSED
        if not closed or self._response is None or self.is_behind or self._in_use:
            return
        self._in_use = True
        left = self._DRAIN_SIZE
        try:
            with anyio.move_on_after(self._DRAIN_TIME) as self._scope:
                while left > 0 and (data := await self._response.receive()):
                    left -= len(data)
        except ConnectionError:
            pass  # the stream is complete nevertheless
        except Exception:
            _logger.warning("reading the rest of a body failed", exc_info=True)
        finally:
            self._release()

    async def _close_response(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            with anyio.move_on_after(self._CLOSING_TIME, shield=True):
                try:
                    await response.aclose()
                except Exception:
                    _logger.warning("closing the connection failed", exc_info=True)

    async def _until_released(self) -> None:
        if self._released is None:
            self._released = anyio.Event()
        await self._released.wait()

    def _release(self) -> None:
        self._in_use = False
        if self._released is not None:
            self._released.set()
            self._released = None
