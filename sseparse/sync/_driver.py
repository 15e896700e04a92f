"""The blocking driver, for threads."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import TIMEOUT_MAX, RLock
from time import monotonic
from typing import TypeVar

from sseparse._errors import LocalProtocolError, UnexpectedResponse
from sseparse.client import Attempts, BaseDriver, State
from sseparse.transports import SyncTransport

from ._watchdog import Watchdog

T = TypeVar("T")

# Shortest timeout given to a transport, in seconds: socket.settimeout(0) means non-blocking.
_LEAST_TIMEOUT = 0.001

_logger = logging.getLogger("sseparse")


class Driver(BaseDriver[T]):
    """Drive Attempts over a transport: an iterator over the items, for threads.

    The arguments are those of `sseparse.client.Driver`, but for the transport, a SyncTransport.

    Steps and closing may come from different threads. Each step after the end raises its error
    again. Any exception in a step, KeyboardInterrupt included, closes the connection first. With a
    time limit, each open response has a watchdog thread.
    """

    last: T | None

    def __init__(
        self,
        attempts: Attempts[T],
        transport: SyncTransport,
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
        # Held during a step, and while closing. A callback or a signal handler may close in a step
        # of its own thread, which closes then.
        self._turn = RLock()
        self._in_step = False
        # Set by `close` during a step. SimpleQueue.put is reentrant, so a signal handler may call
        # it.
        self._closing = False
        self._wake: SimpleQueue[None] = SimpleQueue()
        # Watchdog of the open response.
        self._watchdog: Watchdog

    def __iter__(self) -> Driver[T]:
        return self

    def __next__(self) -> T:
        while True:
            try:
                self.last = item = self._items.pop()
            except IndexError:
                self.step()
            else:
                return item

    def open(self) -> None:
        """Step until a stream is open, or has been.

        Raises the error that ended the attempts.
        """
        while self._attempts.state not in (State.OPEN, State.CLOSED):
            self.step()
        if self._attempts.error is not None:
            self.step()

    def step(self) -> None:
        """Take one step, or wait for that of another thread. Return at once if items are queued.

        Raises the error that ended the attempts, StopIteration for a good end, and
        LocalProtocolError inside of a step: a callback must not take one.
        """
        with self._turn:
            if self._in_step:
                raise LocalProtocolError(
                    "a step must not be taken inside of another, by a callback"
                )
            if self._items:
                return
            self._in_step = True
            try:
                if self._attempts.state is not State.CLOSED:
                    self._step()
                    if self._closing:
                        self._close()
                    return
                self._drain()
                self._close()
            except StopIteration as error:
                # It would look like a good end.
                failure = RuntimeError("the transport or a callback raised StopIteration")
                self._fail(failure)
                self._close()
                raise failure from error
            except BaseException as error:
                self._fail(error)
                self._close()
                raise
            finally:
                self._in_step = False
            raise self._attempts.error or StopIteration

    def close(self) -> None:
        """Close the connection at once, from any thread; an iteration in progress is over."""
        if not self._turn.acquire(blocking=False):
            self._interrupt()
            if not self._turn.acquire(timeout=self._CLOSING_TIME):
                return  # the step closes
        try:
            if self._in_step:
                self._interrupt()
            else:
                self._close()
        finally:
            self._turn.release()

    def drain(self) -> None:
        """Read the rest of a complete reply's body, so that the connection can be used again."""
        with self._turn:
            if self._attempts.state is State.CLOSED and not self._in_step:
                self._in_step = True
                try:
                    self._drain()
                finally:
                    self._in_step = False

    def _interrupt(self) -> None:
        """End the step in progress, which closes."""
        self._closing = True
        self._wake.put(None)
        if self._response is not None:
            self._response.abort()

    def _step(self) -> None:
        attempts = self._attempts
        before, timed = attempts.state, attempts.needs_clock
        if timed:
            attempts.begin_step(monotonic())
        deadline = attempts.next_deadline()
        if self._response is None and before is State.WAITING:
            with suppress(Empty):
                self._wake.get(timeout=min(max(deadline - monotonic(), 0), TIMEOUT_MAX))
            is_due = True
        else:
            is_due = self._exchange(deadline)
        if self._closing:
            return
        if is_due and attempts.state is before:
            attempts.handle_deadline(monotonic())
        if timed or attempts.state is not before:
            attempts.end_step(monotonic())
        if attempts.state is not before:
            if self._is_done_with_response:
                self._close_response()
            self._report()

    def _exchange(self, deadline: float) -> bool:
        """Send the request or read a chunk, and return whether the deadline has ended that."""
        attempts = self._attempts
        before = attempts.state
        if self._response is None:
            response = self._transport.prepare(attempts.request)
            self._watchdog = Watchdog(response.abort)
            self._response = response
            if self._closing:  # before `close` could see the response
                self._response.abort()
        self._watchdog.set(deadline)
        try:
            if before is State.CONNECTING:
                left = max(deadline - monotonic(), _LEAST_TIMEOUT)
                self._response.start(None if left == math.inf else left)
                attempts.receive_response(self._response.status, self._response.headers)
            elif data := self._response.receive():
                self._items = attempts.receive_data(data)[::-1]
            elif not self._is_aborted:
                self._items = attempts.receive_end()[::-1]
        except (ConnectionError, TimeoutError) as error:
            # The transport's own timeout may come before the watchdog's.
            if not self._is_aborted and monotonic() < deadline:
                attempts.lose_connection(error)
                return False
            return True
        except UnexpectedResponse as error:  # a content encoding
            if before is not State.REFUSED:
                raise
            attempts.lose_connection(error)
        finally:
            self._watchdog.set(math.inf)
        return self._watchdog.expired

    @property
    def _is_aborted(self) -> bool:
        return self._watchdog.expired or self._closing

    def _drain(self) -> None:
        if self._response is None or self.is_behind:
            return
        left = self._DRAIN_SIZE
        self._watchdog.set(monotonic() + self._DRAIN_TIME)
        try:
            while left > 0 and (data := self._response.receive()):
                left -= len(data)
        except ConnectionError:
            pass  # the stream is complete nevertheless
        except Exception:
            _logger.warning("reading the rest of a body failed", exc_info=True)
        finally:
            self._watchdog.set(math.inf)

    def _close(self) -> None:
        self._discard()
        self._close_response()

    def _close_response(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            try:
                response.close()
            except Exception:
                _logger.warning("closing the connection failed", exc_info=True)
            finally:
                self._watchdog.stop()

    def __del__(self) -> None:
        super().__del__()
        self._close_response()
