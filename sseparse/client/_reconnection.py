"""The policy of an event source: resume after the last event ID, and wait longer while it fails."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from sseparse._decoders import essence
from sseparse._errors import EventTooLarge, UnexpectedResponse
from sseparse._events import ServerSentEvent
from sseparse._input import expect_seconds
from sseparse._sse import SSEDecoder
from sseparse.transports import Request

from ._attempts import LimitName, ResponseState, State, Verdict

# The smallest base of the backoff, in seconds: a stream may set the reconnection time to 0.
_LEAST_BACKOFF = 0.5

# What HTTP cannot carry in a header field (RFC 9110, 5.5).
_CONTROL = re.compile(r"[\0-\x08\x0a-\x1f\x7f\ud800-\udfff]")

# A comment or a field of an event stream, in the first line of a body and in any other.
_FIRST_LINE = re.compile(rb"(?:\xef\xbb\xbf)?(?::|(?:data|event|id|retry)(?:[:\r\n]))")
_LATER_LINE = re.compile(rb"[\r\n](?::|(?:data|event|id|retry)(?:[:\r\n]))")
# No match is longer, in bytes.
_LONGEST_MATCH = 9


class Reconnection:
    """Retry policy of EventSource, which documents the arguments.

    request: the request of each attempt; its header fields override Accept and Cache-Control.
    random: returns a number from 0.0 to 1.0.

    HTML Standard, 9.2.3 "Processing model"; RFC 9110, 10.2.3 "Retry-After".
    """

    def __init__(
        self,
        request: Request,
        *,
        last_event_id: str,
        reconnection_time: float,
        max_backoff: float,
        max_attempts: int | None,
        retry_statuses: Collection[int],
        max_event_size: int | None,
        random: Callable[[], float] = random.random,
    ) -> None:
        expect_seconds("reconnection_time", reconnection_time)
        expect_seconds("max_backoff", max_backoff)
        count: Any = max_attempts
        if count is not None and (isinstance(count, bool) or not isinstance(count, int)):
            raise TypeError(f"max_attempts must be an int or None, got {count!r}")
        if count is not None and count < 1:
            raise ValueError(f"max_attempts must be at least 1 or None, got {count!r}")
        statuses: Any = retry_statuses
        if not isinstance(statuses, Collection) or not all(isinstance(n, int) for n in statuses):  # pyright: ignore[reportUnknownVariableType]
            raise TypeError(f"retry_statuses must be a collection of ints, got {retry_statuses!r}")
        fields = {name.lower(): value for name, value in request.headers.items()}
        if "last-event-id" in fields:
            raise ValueError("headers must not have Last-Event-ID: give last_event_id")
        self.progress: int = 0
        self._decoder: SSEDecoder[ServerSentEvent] = SSEDecoder(
            last_event_id=last_event_id, max_event_size=max_event_size
        )
        self._request = replace(
            request,
            headers={"accept": "text/event-stream", "cache-control": "no-store"} | fields,
        )
        self._default_reconnection_time = reconnection_time
        self._max_backoff = max_backoff
        self._max_attempts = max_attempts or math.inf
        self._retry_statuses = frozenset(retry_statuses)
        self._random = random
        # Attempts in a row, this one included, without an event and without anything of a stream.
        self._without_event = 1
        self._without_stream = 1
        # The end of the body so far, or all of it.
        self._body_end = b""
        self._body_is_whole = True

    @property
    def last_event_id(self) -> str:
        """The last event ID in force."""
        return self._decoder.last_event_id

    @property
    def reconnection_time(self) -> float:
        """The reconnection time in force, in seconds."""
        milliseconds = self._decoder.reconnection_time
        return self._default_reconnection_time if milliseconds is None else milliseconds / 1000

    def request(self) -> Request:
        """Return the request of the next attempt, with the Last-Event-ID, if HTTP can carry it."""
        value = self.last_event_id.strip(" \t")
        if not value or _CONTROL.search(value):
            return self._request
        return replace(self._request, headers={**self._request.headers, "last-event-id": value})

    def accept(self, status: int, headers: Mapping[str, str]) -> ResponseState:
        """Return OPEN for an event stream, CLOSED for a 204, else REFUSED."""
        if status == 200 and essence(headers.get("content-type")) == "text/event-stream":
            self.progress += 1
            return State.OPEN
        return State.CLOSED if status == 204 else State.REFUSED

    def receive_data(self, data: bytes) -> tuple[list[ServerSentEvent], Verdict | None]:
        """Return the events that a chunk completes; an event that is too large is final."""
        self.progress += 1
        verdict: Verdict | None = None
        try:
            events = self._decoder.feed(data)
        except EventTooLarge as error:
            events, error.events = error.events, []
            verdict = Verdict(error)
        if events:
            self._without_event = self._without_stream = 0
        elif self._without_stream:
            body = self._body_end + data
            if (self._body_is_whole and _FIRST_LINE.match(body)) or _LATER_LINE.search(body):
                self._without_stream = 0
            self._body_is_whole = self._body_is_whole and len(body) <= _LONGEST_MATCH
            self._body_end = body[-_LONGEST_MATCH:]
        return events, verdict

    def receive_end(self) -> tuple[list[ServerSentEvent], Verdict]:
        """Reconnect."""
        return [], self._retry(ConnectionError("the server ended the stream"))

    def refuse(self, error: UnexpectedResponse) -> Verdict:
        """Reconnect after one of the retry_statuses, at the earliest when Retry-After says."""
        if error.status in self._retry_statuses:
            return self._retry(error, error.retry_after or 0.0)
        return Verdict(error)

    def lose_connection(self, error: Exception, opened: bool) -> Verdict:
        """Reconnect."""
        return self._retry(error)

    def time_out(self, which: LimitName, seconds: float) -> Verdict:
        """Reconnect: silence is a lost connection."""
        return self._retry(TimeoutError(f"nothing arrived within {seconds:g} seconds"))

    def close(self) -> None:
        """Closing is a good end."""

    def _retry(self, error: Exception, at_least: float = 0.0) -> Verdict:
        if self._without_event >= self._max_attempts:
            return Verdict(error)
        least = most = self.reconnection_time
        if self._without_event:
            # No exponent is so large that the float overflows.
            doubled = 2.0 ** min(self._without_stream, 64)
            most = min(max(least, _LEAST_BACKOFF) * doubled, self._max_backoff)
        wait = least + self._random() * max(most - least, 0.0)
        # A partial event is discarded, and never joined to the bytes of another connection.
        self._decoder.reset()
        self.progress = 0
        self._without_event += 1
        self._without_stream += 1
        self._body_end, self._body_is_whole = b"", True
        return Verdict(error, min(max(wait, at_least), self._max_backoff))
