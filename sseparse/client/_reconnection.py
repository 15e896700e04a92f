"""What an event-source client does next, without I/O.

    CONNECTING ──200, an event stream──> OPEN ──its end, a failure──> WAITING
      │  ^  └──another response──> REFUSED ──a status to retry──────────^ │
      │  └──────────────────────the wait is over──────────────────────────┘
      └──a failure──> WAITING              any ──204, refused, `close`──> CLOSED

What a driver does, in order: send a request with `headers`, and call `receive_response`; where
that leads to REFUSED, read the start of the body and call `receive_refusal`; where it leads to
OPEN, call `receive_data` with each chunk and `receive_end` at the end of the body. In place of
any of these, call `lose_connection` when the network fails or nothing comes. When WAITING, close
the connection, wait for `wait` seconds and call `end_wait`. When CLOSED, raise `error` if there
is one; whatever comes after that changes nothing.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Callable, Mapping, Set

from sseparse._decoders import SSEDecoder, essence
from sseparse._errors import EventTooLarge, LocalProtocolError, UnexpectedResponse
from sseparse._events import ServerSentEvent

from ._retry_after import retry_after


class State(enum.Enum):
    """How far a client has come."""

    CONNECTING = enum.auto()
    REFUSED = enum.auto()
    OPEN = enum.auto()
    WAITING = enum.auto()
    CLOSED = enum.auto()


# What is doubled with each failure in a row is at least this, in seconds: a stream may set the
# reconnection time to nothing.
_LEAST_BACKOFF = 0.5

_CONTROL = re.compile(r"[\0-\x08\x0a-\x1f\x7f]")


class Reconnection:
    """Decides for an event-source client: which headers, what an outcome means, how long to wait.

    headers: what each request has besides, or in place of, Accept and Cache-Control.
    last_event_id: the last event ID to resume after.
    reconnection_time: seconds, in force until the stream sets another.
    max_backoff: the longest wait in seconds, whoever asks for a longer one.
    max_attempts: how many attempts in a row may bring no event, or None for no limit.
    retry_statuses: the statuses to be taken for a passing failure.
    max_event_size: as for SSEDecoder.
    random: returns a number from 0.0 to 1.0.
    now: returns the seconds since the epoch, to which the date of a Retry-After is compared.

    The wait is the reconnection time. After an attempt that brought not a byte of a stream, it is
    a random time from there to twice as long, and each further one in a row doubles the latter.
    After one that brought no event, what is doubled is at least half a second.

    Raises ValueError for arguments that mean nothing.

    HTML Standard, 9.2.3 "Processing model"; RFC 9110, 10.2.3 "Retry-After".
    """

    def __init__(
        self,
        *,
        headers: Mapping[str, str],
        last_event_id: str,
        reconnection_time: float,
        max_backoff: float,
        max_attempts: int | None,
        retry_statuses: Set[int],
        max_event_size: int | None,
        random: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        if not 0 <= reconnection_time < math.inf or not 0 <= max_backoff < math.inf:
            raise ValueError(
                "reconnection_time and max_backoff are seconds, and not for ever: "
                f"{reconnection_time}, {max_backoff}"
            )
        if max_attempts is not None and max_attempts < 1:
            raise ValueError(f"max_attempts must be at least 1, or None: {max_attempts}")
        fields = {name.lower(): value for name, value in headers.items()}
        if len(fields) < len(headers):
            raise ValueError(f"a header field is given twice: {', '.join(headers)}")
        if "last-event-id" in fields:
            raise ValueError("give the Last-Event-ID as last_event_id")
        self.state = State.CONNECTING
        # Once CLOSED, what to raise.
        self.error: Exception | None = None
        # When WAITING, why the last attempt ended, and for how many seconds.
        self.reason: Exception
        self.wait: float
        self._decoder: SSEDecoder[ServerSentEvent] = SSEDecoder(
            last_event_id=last_event_id, max_event_size=max_event_size
        )
        self._fields = {"accept": "text/event-stream", "cache-control": "no-store"} | fields
        self._default_reconnection_time = reconnection_time
        self._max_backoff = max_backoff
        self._max_attempts = math.inf if max_attempts is None else max_attempts
        self._retry_statuses = retry_statuses
        self._random = random
        self._now = now
        self._status = 0
        self._response_headers: Mapping[str, str] = {}
        # Attempts in a row that brought no event, and those that brought not even a byte.
        self._without_event = 0
        self._without_byte = 0
        self._byte_came = self._event_came = False

    @property
    def last_event_id(self) -> str:
        """The last event ID in force."""
        return self._decoder.last_event_id

    @property
    def reconnection_time(self) -> float:
        """The reconnection time in force, in seconds."""
        milliseconds = self._decoder.reconnection_time
        return self._default_reconnection_time if milliseconds is None else milliseconds / 1000

    @property
    def headers(self) -> dict[str, str]:
        """The header fields of the next request, with lower-case names."""
        # White space around a field's value is no part of it, and a control character, which a
        # stream may put into an ID, makes it invalid (RFC 9110, 5.5): it could not be sent, or
        # would be refused, again and again.
        value = self.last_event_id.strip(" \t")
        if not value or _CONTROL.search(value):
            return dict(self._fields)
        return self._fields | {"last-event-id": value}

    def receive_response(self, status: int, headers: Mapping[str, str]) -> None:
        """Take the head of the response; header names are in lower case."""
        if not self._expects(State.CONNECTING):
            return
        self._status, self._response_headers = status, headers
        if status == 200 and essence(headers.get("content-type")) == "text/event-stream":
            self.state = State.OPEN
        elif status == 204:
            self.close()
        else:
            self.state = State.REFUSED

    def receive_refusal(self, body: bytes) -> None:
        """Take the start of the body of a response that is no event stream."""
        if not self._expects(State.REFUSED):
            return
        headers = self._response_headers
        seconds = retry_after(headers, body, self._now())
        error = UnexpectedResponse(self._status, headers, body, seconds)
        if self._status in self._retry_statuses:
            self._retry(error, seconds or 0.0)
        else:
            self.fail(error)

    def receive_data(self, data: bytes) -> list[ServerSentEvent]:
        """Take a chunk of the stream, and return the events that it completes."""
        if not self._expects(State.OPEN):
            return []
        self._byte_came = self._byte_came or len(data) > 0
        try:
            events = self._decoder.feed(data)
        except EventTooLarge as error:
            events, error.events = error.events, []
            self.fail(error)
        self._event_came = self._event_came or len(events) > 0
        return events

    def receive_end(self) -> None:
        """Take the end of the stream."""
        if self._expects(State.OPEN):
            self._retry(ConnectionError("the server ended the stream"))

    def lose_connection(self, error: Exception) -> None:
        """Take a failure of the network, or a timeout."""
        if self.state is State.REFUSED:
            # What the status has said stands, with or without the body.
            self.receive_refusal(b"")
        elif self._expects(State.CONNECTING, State.OPEN):
            self._retry(error)

    def end_wait(self) -> None:
        """Go on to the next attempt."""
        if self._expects(State.WAITING):
            self.state = State.CONNECTING
            self._byte_came = self._event_came = False

    def close(self) -> None:
        """End it, in whatever state it is."""
        self._close(None)

    def fail(self, error: Exception) -> None:
        """End it with `error`, in whatever state it is."""
        self._close(error)

    def _close(self, error: Exception | None) -> None:
        if self.state is not State.CLOSED:
            self.state = State.CLOSED
            self.error = error

    def _retry(self, error: Exception, at_least: float = 0.0) -> None:
        self._without_event = 0 if self._event_came else self._without_event + 1
        self._without_byte = 0 if self._byte_came else self._without_byte + 1
        if self._without_event >= self._max_attempts:
            self.fail(error)
            return
        self.state = State.WAITING
        self.reason = error
        # What was pending is discarded, and never joined to the bytes of another connection.
        self._decoder.reset()
        least = most = self.reconnection_time
        if not self._event_came:
            # No exponent is so large that the float overflows.
            doubled = 2.0 ** min(self._without_byte, 64)
            most = min(max(least, _LEAST_BACKOFF) * doubled, self._max_backoff)
        wait = least + self._random() * max(most - least, 0.0)
        self.wait = min(max(wait, at_least), self._max_backoff)

    def _expects(self, *states: State) -> bool:
        if self.state not in (*states, State.CLOSED):
            raise LocalProtocolError(f"the client is {self.state.name}")
        return self.state is not State.CLOSED
