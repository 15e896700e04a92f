"""One request and its reply, without I/O.

    request sent ──response──> STREAMING ──Finish──────────────> FINISHED
         │                         └──────an error, the end────> FAILED
         └────────refused──> REFUSED ─────its body─────────────> FAILED

What a driver does, in order: send `request`; call `receive_response` once; call `receive_data`
with each chunk and `receive_end` at the end of the body, until `done`; then raise `error`, if
there is one. Whatever comes from the other side is never raised here, so that the deltas before
an error are delivered first.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from io import StringIO
from typing import Any

from sseparse import IncompleteStream, LocalProtocolError, RemoteProtocolError, UnexpectedResponse

from ._contract import Backend, Delta, Finish, Messages, Reply, Text, Usage


class State(enum.Enum):
    """How far an exchange has come."""

    SENT = enum.auto()
    STREAMING = enum.auto()
    REFUSED = enum.auto()
    FINISHED = enum.auto()
    FAILED = enum.auto()


# Which states each state may be followed by.
TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.SENT: frozenset({State.STREAMING, State.REFUSED, State.FAILED}),
    State.STREAMING: frozenset({State.FINISHED, State.FAILED}),
    State.REFUSED: frozenset({State.FAILED}),
    State.FINISHED: frozenset(),
    State.FAILED: frozenset(),
}


class Exchange:
    """The request that `backend` makes of `messages`, and the reply to it.

    Raises what the backend's `request` raises.
    """

    # Enough for the words of any refusal, and not enough to hurt.
    MAX_REFUSED_BODY = 65536

    def __init__(
        self, backend: Backend, messages: Messages, *, model: str | None = None, **options: Any
    ) -> None:
        self.request = backend.request(messages, model=model, **options)
        self.model = model or backend.default_model
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.error: Exception | None = None
        self.state = State.SENT
        self._backend = backend
        self._reply: Reply
        self._text = StringIO()
        self._status = 0
        self._headers: Mapping[str, str] = {}
        self._refused_body = bytearray()

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
        except ValueError:
            self._enter(State.REFUSED)
        else:
            self._enter(State.STREAMING)

    def receive_data(self, data: bytes) -> list[Delta]:
        """Take a chunk of the body, and return what it adds to the reply."""
        self._expect(State.STREAMING, State.REFUSED)
        if self.state is State.STREAMING:
            return self._receive_events(self._reply.decoder.feed, data)
        room = self.MAX_REFUSED_BODY - len(self._refused_body)
        self._refused_body += data[:room]
        if len(data) >= room:
            self._refuse()
        return []

    def receive_end(self, cause: Exception | None = None) -> list[Delta]:
        """Take the end of the body, and return what it adds to the reply.

        cause: the failure of the network, if that is why it ends.
        """
        self._expect(State.SENT, State.STREAMING, State.REFUSED)
        deltas: list[Delta] = []
        if self.state is State.REFUSED:
            self._refuse()
            return deltas
        if self.state is State.STREAMING and cause is None:
            deltas = self._receive_events(self._reply.decoder.close)
        if not self.done:
            error = IncompleteStream(self.text)
            error.__cause__ = cause
            self.fail(error)
        return deltas

    def fail(self, error: Exception) -> None:
        """End the exchange with `error`, such as a timeout, that arose on this side."""
        self._enter(State.FAILED)
        self.error = error

    def _receive_events(self, take: Callable[..., list[Any]], *data: bytes) -> list[Delta]:
        deltas: list[Delta] = []
        failure: Exception | None = None
        try:
            events = take(*data)
        except RemoteProtocolError as error:
            events, error.events = error.events, []
            failure = error
        try:
            for event in events:
                for delta in self._reply.interpret(event):
                    deltas.append(delta)
                    self._note(delta)
                    if self.state is State.FINISHED:
                        return deltas
        except Exception as error:  # the backend's own: raised later, after the deltas before it
            failure = error
        if failure is not None:
            self.fail(failure)
        return deltas

    def _note(self, delta: Delta) -> None:
        match delta:
            case Text(text):
                self._text.write(text)
            case Usage():
                self.usage = delta
            case Finish(reason):
                self.finish_reason = reason
                self._enter(State.FINISHED)
            case _:
                pass

    def _refuse(self) -> None:
        self.fail(UnexpectedResponse(self._status, self._headers, bytes(self._refused_body)))

    def _expect(self, *states: State) -> None:
        if self.state not in states:
            raise LocalProtocolError(f"the exchange is {self.state.name}")

    def _enter(self, state: State) -> None:
        if state not in TRANSITIONS[self.state]:
            raise LocalProtocolError(f"from {self.state.name} there is no way to {state.name}")
        self.state = state
