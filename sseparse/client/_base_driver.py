"""The parts of a driver that do not wait."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, Generic, TypeVar, cast

from sseparse._display import redacted_url
from sseparse._errors import LocalProtocolError

from ._attempts import Attempts, State

T = TypeVar("T")

_logger = logging.getLogger("sseparse")


class BaseDriver(Generic[T]):
    """Base class of the drivers, which document the arguments."""

    # Seconds to close a response; seconds and bytes to drain one.
    _CLOSING_TIME = 1.0
    _DRAIN_TIME = 0.25
    _DRAIN_SIZE = 65536

    # The open response. Always set in REFUSED and OPEN.
    _response: Any = None

    def __init__(
        self,
        attempts: Attempts[T],
        transport: Any,
        *,
        keep_connection: bool = False,
        on_open: Callable[[], object] | None = None,
        on_error: Callable[[Exception, float], object] | None = None,
    ) -> None:
        callback: Any
        for name, callback in (("on_open", on_open), ("on_error", on_error)):
            if callback is not None and (not callable(callback) or iscoroutinefunction(callback)):
                raise TypeError(f"{name} must be a plain function or None, got {callback!r}")
        self.last: T | None = None  # the item handed out last
        # Items not handed out, last first. A list: an empty deque takes 0.7 KiB.
        self._items: list[T] = []
        self._discarded = False
        self._attempts = attempts
        self._transport = transport
        self._keep_connection = keep_connection and getattr(transport, "keeps_connections", True)
        self._on_open = on_open
        self._on_error = on_error

    @property
    def is_behind(self) -> bool:
        """Whether items have arrived that were not handed out."""
        return bool(self._items) or self._discarded

    @property
    def _is_done_with_response(self) -> bool:
        """Whether to close the response, after a change of state."""
        state = self._attempts.state
        kept = self._keep_connection and self._attempts.error is None
        return state is State.WAITING or (state is State.CLOSED and not kept)

    def _report(self) -> None:
        """Log and call the callbacks after a change of state."""
        attempts = self._attempts
        if attempts.state is State.OPEN and self._on_open is not None:
            self._on_open()
        elif attempts.state is State.WAITING:
            url = redacted_url(attempts.request.url)
            error, wait = cast("Exception", attempts.error), attempts.wait
            _logger.info("%s: trying again in %.1f seconds: %s", url, wait, error)
            if self._on_error is not None:
                self._on_error(error, wait)

    def _fail(self, error: BaseException) -> None:
        """End the attempts because a step has raised `error`."""
        if isinstance(error, Exception):
            self._attempts.fail(error)
        else:
            words = f"the stream was closed by {type(error).__name__} in an earlier step"
            self._attempts.fail(LocalProtocolError(words))

    def _discard(self) -> None:
        """End the attempts for the closing, and drop the items that were not handed out."""
        self._discarded = self.is_behind
        self._attempts.close(discarded=self._discarded)
        self._items.clear()

    def __del__(self) -> None:
        if self._response is not None:
            request = self._attempts.request
            warnings.warn(f"unclosed {request!r}", ResourceWarning, stacklevel=2, source=self)
