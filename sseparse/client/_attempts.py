"""The retry state machine: states and timers of a request, without I/O or a clock.

    CONNECTING ──an event stream──> OPEN ──its end, a failure──> WAITING
     │  ^  └───another response───> REFUSED ──its body───────────^  │
     │  └────────────────the wait is over──────────────────────────┘
     └──a failure──> WAITING            any, by the policy's word──> CLOSED

Attempts is the machine. A Policy judges responses, chunks, ends, failures and timeouts. A driver
does the waiting, in steps:

1. Where `needs_clock`, call `begin_step` with the time.
2. By the state: send `request` and call `receive_response` (CONNECTING), read a chunk and call
   `receive_data` or, at the end of the body, `receive_end` (OPEN, REFUSED), or only wait
   (WAITING). If the network fails instead, call `lose_connection`; at `next_deadline`, stop and
   call `handle_deadline`.
3. Call `end_step` with the time after each step that called `begin_step` or changed the state.
4. Close the response once the state is WAITING or CLOSED. When CLOSED, raise `error`, if any.
"""

from __future__ import annotations

import enum
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar, get_args

from sseparse._errors import LocalProtocolError, UnexpectedResponse
from sseparse._input import expect_timeout
from sseparse.transports import CertificateError, Request

from ._retry_after import retry_after

T = TypeVar("T")

# Limits for reading the body of a refusal, in bytes and seconds.
MAX_REFUSED_BODY = 65536
REFUSAL_TIME = 1.0


class State(enum.Enum):
    """The state of the attempts."""

    CONNECTING = enum.auto()
    REFUSED = enum.auto()
    OPEN = enum.auto()
    WAITING = enum.auto()
    CLOSED = enum.auto()


# The states that a response may lead to.
ResponseState: TypeAlias = Literal[State.OPEN, State.REFUSED, State.CLOSED]
# The names of the time limits.
LimitName: TypeAlias = Literal["total", "first", "idle"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Time limits in seconds; None is no limit.

    timeout: for all attempts and the waits between them.
    first_timeout: for the first progress of an attempt. Default: idle_timeout.
    idle_timeout: for further progress.

    Time that the driver spends outside of its steps counts for `timeout` alone.

    Raises TypeError and ValueError, naming the limit.
    """

    timeout: float | None = None
    first_timeout: float | None = None
    idle_timeout: float | None = None

    def __post_init__(self) -> None:
        for name in ("timeout", "first_timeout", "idle_timeout"):
            expect_timeout(name, getattr(self, name))


class Verdict(NamedTuple):
    """The outcome of an attempt.

    error: why it ended. None: the stream is complete.
    wait: seconds until another attempt. None: no further attempt.
    """

    error: Exception | None = None
    wait: float | None = None


class Policy(Protocol[T]):
    """Judges responses, chunks, failures and timeouts, without I/O or a monotonic clock.

    Items are delivered before the error of a verdict that comes with them is raised.
    """

    @property
    def progress(self) -> int:
        """The progress of this attempt: each increment restarts the idle timeout.

        Reset it to 0, and the decoder with it, when returning a wait.
        """
        ...

    def request(self) -> Request:
        """Return the request of the next attempt."""
        ...

    def accept(self, status: int, headers: Mapping[str, str]) -> ResponseState:
        """Return the next state: OPEN, REFUSED, or CLOSED for an end without an error.

        The body of a refusal is read before `refuse` is called.
        """
        ...

    def receive_data(self, data: bytes) -> tuple[list[T], Verdict | None]:
        """Return the items that a chunk of the stream completes, and None to read on."""
        ...

    def receive_end(self) -> tuple[list[T], Verdict]:
        """Return the items that a complete body still holds."""
        ...

    def refuse(self, error: UnexpectedResponse) -> Verdict:
        """Judge a response that is no stream."""
        ...

    def lose_connection(self, error: Exception, opened: bool) -> Verdict:
        """Judge a failure of the network, before or after the stream was open.

        A CertificateError is final, and never judged.
        """
        ...

    def time_out(self, which: LimitName, seconds: float) -> Verdict:
        """Judge a timeout."""
        ...

    def close(self) -> Exception | None:
        """Return what a step after `aclose` raises, or None where closing is a good end."""
        ...


class Attempts(Generic[T]):
    """The attempts at one stream, and the time that each may take.

    policy: judges each attempt.
    limits: the time limits. The connect timeout is in the request.
    wall_clock: returns seconds since the epoch, for a Retry-After with a date.
    """

    def __init__(
        self, policy: Policy[T], limits: Limits, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self.state: State = State.CONNECTING
        # Whether the next step needs `begin_step` and `end_step`, because a limit is counted.
        self.needs_clock: bool = True
        # The reason for WAITING; the error to raise when CLOSED.
        self.error: Exception | None = None
        # Seconds to wait, when WAITING.
        self.wait: float = 0.0
        self._policy = policy
        self._wall_clock = wall_clock
        self._total = limits.timeout or math.inf
        self._idle = limits.idle_timeout or math.inf
        self._first = limits.first_timeout or self._idle
        self._open_needs_clock = min(self._idle, self._first) < math.inf
        # Times of the clock: the end of all attempts, and of what the state waits for.
        self._deadline = math.inf
        self._due = math.inf
        # Seconds that are left for progress, and the policy's count of it at the last step.
        self._left = self._first
        self._progress = 0
        self._status = 0
        self._headers: Mapping[str, str] = {}
        self._refused_body = bytearray()

    # Time

    def begin_step(self, now: float) -> None:
        """Start the time of a step; of the first step, also that of `timeout`.

        now: seconds of any monotonic clock.
        """
        if self._deadline == math.inf:
            self._deadline = now + self._total
        if self.state in (State.CONNECTING, State.OPEN):
            self._due = now + self._left

    def end_step(self, now: float) -> None:
        """Count the time of a step, and start the time of what it has led to."""
        self._left = self._due - now
        if self._policy.progress != self._progress:
            self._progress = self._policy.progress
            self._left = self._idle
        if self._due < math.inf:
            return
        if self.state is State.REFUSED:
            self._due = now + REFUSAL_TIME
        elif self.state is State.WAITING:
            self._due = now + self.wait
            if self._due >= self._deadline:
                self._enter(State.CLOSED, self.error)  # the wait would end after the timeout

    def next_deadline(self) -> float:
        """Return when `handle_deadline` is due, by the clock of `begin_step`; inf for never."""
        return min(self._due, self._deadline)

    def handle_deadline(self, now: float) -> None:
        """Do what is due at `next_deadline`: end a wait, a refusal, an attempt or all of them."""
        if self.state is State.WAITING:
            self._refused_body.clear()
            self._enter(State.CONNECTING)
            # The wait is no time of the attempt.
            self._left, self._progress = self._first, 0
            self._due = now + self._left
        elif self.state is State.REFUSED:
            self._refuse()  # with what has come of the body
        elif self.state is not State.CLOSED:
            which: LimitName
            if now >= self._deadline:
                which, seconds = "total", self._total
            elif self._policy.progress:
                which, seconds = "idle", self._idle
            else:
                which, seconds = "first", self._first
            self._follow(self._policy.time_out(which, seconds))

    # The network

    @property
    def request(self) -> Request:
        """The request of the next attempt."""
        return self._policy.request()

    def receive_response(self, status: int, headers: Mapping[str, str]) -> None:
        """Take the head of the response; header names are in lower case."""
        if self._expects(State.CONNECTING):
            self._status, self._headers = status, headers
            state = self._policy.accept(status, headers)
            if state not in get_args(ResponseState):
                raise LocalProtocolError(f"no transition from CONNECTING to {state.name}")
            self._enter(state)

    def receive_data(self, data: bytes) -> list[T]:
        """Take a chunk of the body, and return the items that it completes."""
        if self.state is State.OPEN:
            items, verdict = self._policy.receive_data(data)
            if verdict is not None:
                self._follow(verdict)
            return items
        if self._expects(State.REFUSED):
            room = MAX_REFUSED_BODY - len(self._refused_body)
            self._refused_body += data[:room]
            if len(data) >= room:
                self._refuse()
        return []

    def receive_end(self) -> list[T]:
        """Take the end of the body, a good one, and return the items that it completes."""
        if self.state is State.REFUSED:
            self._refuse()
        elif self._expects(State.OPEN):
            items, verdict = self._policy.receive_end()
            self._follow(verdict)
            return items
        return []

    def lose_connection(self, error: Exception) -> None:
        """Take a failure of the network, or of making a connection in time."""
        if self.state is State.REFUSED:
            self._refuse()
        elif self._expects(State.CONNECTING, State.OPEN):
            if isinstance(error, CertificateError):
                self._enter(State.CLOSED, error)
            else:
                self._follow(self._policy.lose_connection(error, self.state is State.OPEN))

    # This side

    def close(self, *, discarded: bool = False) -> None:
        """End the attempts, in any state.

        discarded: received items were dropped, so the stream is incomplete.
        """
        if self.state is not State.CLOSED:
            self._enter(State.CLOSED, self._policy.close())
        elif discarded and self.error is None:
            self.error = self._policy.close()

    def fail(self, error: Exception) -> None:
        """End the attempts with `error`, in any state but CLOSED."""
        if self.state is not State.CLOSED:
            self._enter(State.CLOSED, error)

    # Transitions

    def _refuse(self) -> None:
        body = bytes(self._refused_body)
        seconds = retry_after(self._headers, body, self._wall_clock())
        request = self._policy.request()
        accept = request.headers.get("accept", "")
        is_json = "json" in accept and "event-stream" not in accept
        expected = "a JSON stream" if is_json else "an event stream"
        error = UnexpectedResponse(
            self._status, self._headers, body, seconds, request.url, expected
        )
        self._follow(self._policy.refuse(error))

    def _follow(self, verdict: Verdict) -> None:
        if verdict.wait is None:
            self._enter(State.CLOSED, verdict.error)
        else:
            self.wait = verdict.wait
            self._enter(State.WAITING, verdict.error)

    def _enter(self, state: State, error: Exception | None = None) -> None:
        self.state = state
        self.error = error
        self.needs_clock = self._open_needs_clock or state is not State.OPEN
        if state is not State.OPEN:
            self._due = math.inf  # until the end of the step

    def _expects(self, *states: State) -> bool:
        """Return whether the state is one of these; whatever comes once CLOSED is ignored."""
        if self.state not in (*states, State.CLOSED):
            raise LocalProtocolError(f"not expected in the state {self.state.name}")
        return self.state is not State.CLOSED
