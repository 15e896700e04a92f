"""Attempts with a clock of numbers: a driver without a loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

from sseparse.client import Attempts, State

T = TypeVar("T")

# An input of the network, for which a step waits.
Input: TypeAlias = Callable[[Attempts[Any]], Any]


def response(status: int = 200, **fields: str) -> Input:
    headers: Mapping[str, str] = {"content-type": "text/event-stream"} | {
        name.replace("_", "-"): value for name, value in fields.items()
    }
    return lambda attempts: attempts.receive_response(status, headers)


def data(chunk: bytes) -> Input:
    return lambda attempts: attempts.receive_data(chunk)


def end(attempts: Attempts[Any]) -> Any:
    return attempts.receive_end()


def lose(error: Exception) -> Input:
    return lambda attempts: attempts.lose_connection(error)


class Machine(Attempts[T]):
    """Attempts whose waits the test ends."""

    def end_wait(self) -> None:
        assert self.state is State.WAITING
        self.handle_deadline(0.0)


@dataclass
class Simulation(Generic[T]):
    """Attempts whose driver reads `now`; `log` has each time at which a state began."""

    attempts: Attempts[T]
    now: float = 1000.0
    items: list[T] = field(default_factory=list)
    log: list[tuple[float, State]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.start = self.now

    def wait_for(self, seconds: float, what: Input | None = None) -> None:
        """Take steps until the network has done `what`, so many seconds from now, or it is over."""
        due = self.now + seconds
        while self.attempts.state is not State.CLOSED and self.now < math.inf:
            before = self.attempts.state
            clocked = self.attempts.needs_clock
            if clocked:
                self.attempts.begin_step(self.now)
            deadline = self.attempts.next_deadline()
            if deadline <= due:
                self.now = max(deadline, self.now)
                self.attempts.handle_deadline(self.now)
                if before is not State.WAITING:
                    what = None  # it was on its way to an attempt that is over
            else:
                self.now = due
                if what is not None:
                    self.items += what(self.attempts) or ()
                what = None
            if clocked or self.attempts.state is not before:
                self.attempts.end_step(self.now)
            if self.attempts.state is not before:
                self.log.append((self.now - self.start, self.attempts.state))
            if self.now == due and what is None:
                return

    def rest(self, seconds: float) -> None:
        """Let time pass between two steps."""
        self.now += seconds
