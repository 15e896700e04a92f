"""The policy of a reply: interpret it once, and retry only before anything of it has come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from io import StringIO
from random import random
from typing import Any, Literal, TypeAlias, cast

from sseparse import (
    IncompleteStream,
    InvalidJSON,
    LocalProtocolError,
    RemoteProtocolError,
    UnexpectedResponse,
)
from sseparse.client import LimitName, ResponseState, State, Verdict
from sseparse.transports import Request

from ._contract import (
    Backend,
    BackendError,
    Delta,
    Finish,
    Messages,
    Reply,
    Text,
    ToolCall,
    Usage,
)

# In seconds: the longest wait before the first retry, doubled for each further one up to the last.
_FIRST_WAIT = 0.5
_LONGEST_WAIT = 8.0

Which: TypeAlias = Literal["connect", "first", "idle", "total"]


def is_temporary(status: int) -> bool:
    """Return whether the same request may succeed later."""
    return status == 429 or status >= 500


def retry_wait(failures: int) -> float:
    """Return the seconds to wait after so many failures in a row, from 1."""
    longest = min(_FIRST_WAIT * 2.0 ** min(failures - 1, 16), _LONGEST_WAIT)
    # At random, so that clients that failed together do not come back together.
    return longest * (0.5 + random() / 2)  # noqa: S311


class ReplyTimeout(RemoteProtocolError, TimeoutError):
    """The reply took too long.

    limit: the time limit in seconds.
    which: its name, "connect", "first", "idle" or "total".
    text: the text that had arrived.
    """

    def __init__(self, limit: float, which: Which, text: str = "") -> None:
        # Not through `super`: an OSError would take the arguments for an errno and so on.
        super().__init__()
        self.args: tuple[Any, ...] = (limit, which, text)
        self.limit = limit
        self.which = which
        self.text = text

    def __str__(self) -> str:
        missing = {
            "connect": "no connection was made",
            "first": "no content arrived",
            "idle": "no further content arrived",
            "total": "the reply was not finished",
        }[self.which]
        return f"{missing} within {self.limit:g} seconds (characters so far: {len(self.text)})"


class Exchange:
    """Retry policy of `stream`, which documents the arguments."""

    def __init__(
        self,
        backend: Backend,
        messages: Messages,
        *,
        model: str | None = None,
        connect_timeout: float | None = None,
        retries: int = 0,
        content_type: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        untyped: Any = content_type
        if untyped is not None and not isinstance(untyped, str):
            raise TypeError(f"content_type must be a str or None, got {untyped!r}")
        count: Any = retries
        if isinstance(count, bool) or not isinstance(count, int):
            raise TypeError(f"retries must be an int, got {count!r}")
        if count < 0:
            raise ValueError(f"retries must be at least 0, got {count!r}")
        request = expect_backend(backend).request(messages, model=model, **options or {})
        if request.connect_timeout != connect_timeout:
            request = replace(request, connect_timeout=connect_timeout)
        self._request = request
        self.model: str = model or backend.default_model
        self.status: int | None = None
        self.headers: Mapping[str, str] = {}
        self.usage: Usage | None = None
        self.finish: Finish | None = None
        self.tool_calls: list[ToolCall] = []
        # The reply of the latest attempt with a stream.
        self.reply: Reply[Any] | None = None
        # Whether the items include each event, before its deltas.
        self.with_events = False
        # Pieces of content, for which usage does not count.
        self.progress: int = 0
        self._backend = backend
        self._content_type = content_type
        self._retries = retries
        self._failures = 0
        self._text = StringIO()
        # The backend's error for this media type.
        self._unreadable: ValueError | None = None

    @property
    def text(self) -> str:
        """The text of the reply so far."""
        return self._text.getvalue()

    @property
    def _accepted(self) -> str:
        """The media type that the request asks for."""
        return self._request.headers.get("accept") or "text/event-stream"

    def request(self) -> Request:
        return self._request

    def accept(self, status: int, headers: Mapping[str, str]) -> ResponseState:
        """Return OPEN for a 200 with a media type that the backend reads, else REFUSED."""
        self.status, self.headers = status, headers
        self._unreadable = None
        if status != 200:
            return State.REFUSED
        try:
            self.reply = self._backend.reply(
                self._content_type or headers.get("content-type") or self._accepted
            )
        except ValueError as error:
            self._unreadable = error
            return State.REFUSED
        return State.OPEN

    def receive_data(self, data: bytes) -> tuple[list[Any], Verdict | None]:
        """Return the items of a chunk, up to Finish; an error of the service is final."""
        reply = cast("Reply[Any]", self.reply)
        events, error = _decode(reply.decoder.feed, data)
        return self._take(reply.interpret, events, error)

    def receive_end(self) -> tuple[list[Any], Verdict]:
        """Return the items that the end completes; without Finish the reply is incomplete."""
        reply = cast("Reply[Any]", self.reply)
        # An error here means that the body ended inside an item.
        events, cause = _decode(reply.decoder.close)
        items, verdict = self._take(reply.interpret, events)
        if verdict is not None and isinstance(verdict.error, InvalidJSON | ValueError):
            # The body ended inside the data of its last event. json raises ValueError.
            verdict = Verdict(self._incomplete(verdict.error))
        if verdict is None and cause is None:
            more, verdict = self._take(lambda _: reply.end(), [None])
            items += more
        return items, verdict or Verdict(self._incomplete(cause))

    def refuse(self, error: UnexpectedResponse) -> Verdict:
        """Retry after 429 and 5xx, at the earliest when Retry-After says."""
        error.__cause__ = self._unreadable
        if is_temporary(error.status):
            return self._retry(error, error.retry_after or 0.0)
        return Verdict(error)

    def lose_connection(self, error: Exception, opened: bool) -> Verdict:
        """Retry before any delta; after that the reply is incomplete."""
        if opened:
            return self._retry(self._incomplete(error))
        if isinstance(error, TimeoutError):
            timeout = ReplyTimeout(self._request.connect_timeout or 0.0, "connect")
            timeout.__cause__ = error
            error = timeout
        return self._retry(error)

    def time_out(self, which: LimitName, seconds: float) -> Verdict:
        return Verdict(ReplyTimeout(seconds, which, self.text))

    def close(self) -> Exception:
        """Return the error of a reply that was closed before all of it was handed out."""
        return LocalProtocolError("the stream was closed before the reply was finished")

    def _take(
        self,
        interpret: Callable[[Any], Iterable[Delta | None]],
        events: list[Any],
        error: Exception | None = None,
    ) -> tuple[list[Any], Verdict | None]:
        """Return the items of `events`, up to Finish; `error` follows the events."""
        taken: list[Any] = []
        try:
            for event in events:
                if self.with_events and event is not None:
                    taken.append(event)
                    self._retries = 0
                for delta in interpret(event):
                    if delta is not None:
                        taken.append(delta)
                        self._retries = 0
                    if isinstance(delta, Text):
                        self._text.write(delta.text)
                    elif isinstance(delta, Finish):
                        self.finish = delta
                        return taken, Verdict()
                    elif isinstance(delta, ToolCall):
                        self.tool_calls.append(delta)
                    elif isinstance(delta, Usage):
                        self.usage = delta
                        continue
                    self.progress += 1
        except RecursionError as failure:
            error = RemoteProtocolError("an event is nested too deeply")
            error.__cause__ = failure
        except Exception as failure:  # the backend's own: raised later, after the deltas before it
            error = failure
        if isinstance(error, BackendError):
            error.text = self.text
        return taken, None if error is None else Verdict(error)

    def _incomplete(self, cause: Exception | None) -> IncompleteStream:
        error = IncompleteStream(self.text)
        error.__cause__ = cause
        return error

    def _retry(self, error: Exception, at_least: float = 0.0) -> Verdict:
        if self._retries == 0:
            return Verdict(error)
        self._retries -= 1
        self._failures += 1
        self.progress = 0
        return Verdict(error, max(retry_wait(self._failures), at_least))


def _decode(
    take: Callable[..., list[Any]], *data: bytes
) -> tuple[list[Any], RemoteProtocolError | None]:
    """Return the events that a decoder has, and the error that follows them."""
    try:
        return take(*data), None
    except RemoteProtocolError as error:
        events, error.events = error.events, []
        return events, error


def expect_backend(backend: Any) -> Backend:
    """Return `backend`, or raise TypeError."""
    if isinstance(backend, str):
        words = f"got a str: use get_backend({backend!r})"
    elif isinstance(backend, type):
        words = f"got a class: use {backend.__name__}()"
    elif not hasattr(backend, "request") or not hasattr(backend, "reply"):
        words = f"got {type(backend).__name__}"
    else:
        return cast("Backend", backend)
    raise TypeError(f"backend must be a Backend, {words}")
