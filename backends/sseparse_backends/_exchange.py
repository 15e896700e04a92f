"""One request and its reply, without I/O.

    SENT ──response──> STREAMING ──Finish─────────────────> FINISHED
    │  ^                   └──────an error, the end───────> FAILED
    │  └─the wait is over── WAITING
    └────refused──> REFUSED ──its body────────────────────> FAILED

Before the first delta, where retries are left, a lost connection and the statuses 429 and 5xx
lead to WAITING instead of FAILED.

What a driver does, in order: send `request`; call `receive_response` once; call `receive_data`
with each chunk and `receive_end` at the end of the body. In place of any of these, call
`lose_connection` when the network fails. When WAITING, close the connection, wait for `wait`
seconds and call `end_wait`. When `done`, raise `error`, if there is one. Whatever comes from the
other side is never raised here, so that the deltas before an error are delivered first.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from io import StringIO
from itertools import chain
from operator import index
from random import random
from time import time
from typing import Any

from sseparse import IncompleteStream, LocalProtocolError, RemoteProtocolError, UnexpectedResponse
from sseparse.client._retry_after import retry_after

from ._contract import (
    Backend,
    BackendError,
    Delta,
    EndingReply,
    Finish,
    Messages,
    Reply,
    Text,
    Usage,
)


class State(enum.Enum):
    """How far an exchange has come."""

    SENT = enum.auto()
    STREAMING = enum.auto()
    REFUSED = enum.auto()
    WAITING = enum.auto()
    FINISHED = enum.auto()
    FAILED = enum.auto()


# Which states each state may be followed by.
TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.SENT: frozenset({State.STREAMING, State.REFUSED, State.WAITING, State.FAILED}),
    State.STREAMING: frozenset({State.WAITING, State.FINISHED, State.FAILED}),
    State.REFUSED: frozenset({State.WAITING, State.FAILED}),
    State.WAITING: frozenset({State.SENT, State.FAILED}),
    State.FINISHED: frozenset(),
    State.FAILED: frozenset(),
}

# The wait before the first retry is at most this, and doubled for each further one, in seconds.
_FIRST_WAIT = 0.5
_LONGEST_WAIT = 8.0


class Exchange:
    """The request that `backend` makes of `messages`, and the reply to it.

    retries: how many more attempts there may be.

    Raises what the backend's `request` raises, and ValueError or TypeError for retries that are
    no whole number.
    """

    # Enough for the words of any refusal, and not enough to hurt.
    MAX_REFUSED_BODY = 65536

    def __init__(
        self,
        backend: Backend,
        messages: Messages,
        *,
        model: str | None = None,
        retries: int = 0,
        **options: Any,
    ) -> None:
        if index(retries) < 0:
            raise ValueError(f"retries must be 0 or more: {retries}")
        self.request = backend.request(messages, model=model, **options)
        self.model = model or backend.default_model
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        # Whether a delta has come, and how much content, for which usage does not count.
        self.begun = False
        self.content = 0
        self.error: Exception | None = None
        # When WAITING, why, and for how many seconds.
        self.reason: Exception
        self.wait: float
        self.state = State.SENT
        self._backend = backend
        self._retries = retries
        self._longest_wait = _FIRST_WAIT
        self._reply: Reply
        self._text = StringIO()
        self._status = 0
        self._headers: Mapping[str, str] = {}
        self._refused_body = bytearray()
        # What the backend says against the media type.
        self._unreadable: ValueError | None = None

    @property
    def text(self) -> str:
        """The text of the reply so far."""
        return self._text.getvalue()

    @property
    def done(self) -> bool:
        """Whether nothing more is to be read."""
        return not TRANSITIONS[self.state]

    def receive_response(self, status: int, headers: Mapping[str, str]) -> None:
        """Take the head of the response; header names are in lower case."""
        self._expect(State.SENT)
        self._status, self._headers = status, headers
        if status != 200:
            self._enter(State.REFUSED)
            return
        try:
            self._reply = self._backend.reply(headers.get("content-type", ""))
        except ValueError as error:
            self._unreadable = error
            self._enter(State.REFUSED)
        else:
            self._enter(State.STREAMING)

    def receive_data(self, data: bytes) -> list[Delta]:
        """Take a chunk of the body, and return what it adds to the reply."""
        self._expect(State.STREAMING, State.REFUSED)
        if self.state is State.STREAMING:
            return self._take(self._reply.interpret, *_events(self._reply.decoder.feed, data))
        room = self.MAX_REFUSED_BODY - len(self._refused_body)
        self._refused_body += data[:room]
        if len(data) >= room:
            self._refuse()
        return []

    def receive_end(self) -> list[Delta]:
        """Take the end of the body, a complete one, and return what it adds to the reply."""
        self._expect(State.STREAMING, State.REFUSED)
        if self.state is State.REFUSED:
            self._refuse()
            return []
        # What the decoder does not accept here is a last item that was cut.
        events, cause = _events(self._reply.decoder.close)
        deltas = self._take(self._reply.interpret, events)
        if not self.done and isinstance(self._reply, EndingReply):
            deltas += self._take(lambda reply: reply.end(), [self._reply])
        if not self.done:
            self.fail(self._incomplete(cause))
        return deltas

    def lose_connection(self, error: Exception) -> None:
        """Take a failure of the network: `error` itself is one to connect, or else the cause."""
        self._expect(State.SENT, State.STREAMING, State.REFUSED)
        if self.state is State.REFUSED:
            # What the status has said stands, with or without the body.
            self._refuse()
        elif self.state is State.SENT:
            self._fail_or_wait(error)
        else:
            self._fail_or_wait(self._incomplete(error))

    def end_wait(self) -> None:
        """Go on to the next attempt."""
        self._expect(State.WAITING)
        self._refused_body.clear()
        self.content = 0
        self._enter(State.SENT)

    def fail(self, error: Exception) -> None:
        """End the exchange with `error`, such as a timeout, that arose on this side."""
        self._enter(State.FAILED)
        self.error = error

    def _take(
        self,
        interpret: Callable[[Any], Iterable[Delta | None]],
        events: Iterable[Any],
        error: Exception | None = None,
    ) -> list[Delta]:
        """Return the deltas of the events, up to the Finish; `error` is what follows them."""
        taken: list[Delta] = []
        try:
            for delta in chain.from_iterable(map(interpret, events)):
                self._note(delta)
                if delta is not None:
                    taken.append(delta)
                    if self.state is State.FINISHED:
                        break
        except Exception as failure:  # the backend's own: raised later, after the deltas before it
            error = failure
        self.begun = self.begun or len(taken) > 0
        if self.state is State.FINISHED:
            return taken
        if isinstance(error, BackendError):
            error.text = self.text
        if error is not None:
            self.fail(error)
        return taken

    def _note(self, delta: Delta | None) -> None:
        match delta:
            case Text(text):
                self.content += 1
                self._text.write(text)
            case Usage():
                self.usage = delta
            case Finish(reason):
                self.finish_reason = reason
                self._enter(State.FINISHED)
            case _:
                self.content += 1

    def _incomplete(self, cause: Exception | None) -> IncompleteStream:
        error = IncompleteStream(self.text)
        error.__cause__ = cause
        return error

    def _refuse(self) -> None:
        body = bytes(self._refused_body)
        seconds = retry_after(self._headers, body, time())
        error = UnexpectedResponse(self._status, self._headers, body, seconds)
        error.__cause__ = self._unreadable
        if self._status == 429 or self._status >= 500:
            self._fail_or_wait(error, error.retry_after or 0.0)
        else:
            self.fail(error)

    def _fail_or_wait(self, error: Exception, at_least: float = 0.0) -> None:
        if self.begun or self._retries == 0:
            self.fail(error)
            return
        self._retries -= 1
        self.reason = error
        # At random, so that clients that failed together do not come back together.
        self.wait = max(self._longest_wait * (0.5 + random() / 2), at_least)  # noqa: S311
        self._longest_wait = min(2 * self._longest_wait, _LONGEST_WAIT)
        self._enter(State.WAITING)

    def _expect(self, *states: State) -> None:
        if self.state not in states:
            raise LocalProtocolError(f"the exchange is {self.state.name}")

    def _enter(self, state: State) -> None:
        if state not in TRANSITIONS[self.state]:
            raise LocalProtocolError(f"from {self.state.name} there is no way to {state.name}")
        self.state = state


def _events(
    take: Callable[..., list[Any]], *data: bytes
) -> tuple[list[Any], RemoteProtocolError | None]:
    """Return the events that a decoder has, and the error that follows them."""
    try:
        return take(*data), None
    except RemoteProtocolError as error:
        events, error.events = error.events, []
        return events, error
