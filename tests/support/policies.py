"""A policy without a protocol, for the tests of what drives policies."""

from __future__ import annotations

import math
from collections.abc import Mapping

from sseparse import LocalProtocolError, UnexpectedResponse
from sseparse.client import LimitName, ResponseState, State, Verdict
from sseparse.transports import Request

CUT = ConnectionError("cut")
AGAIN = RuntimeError("again")
CLOSING = LocalProtocolError("closed before the end")


class Scripted:
    """A policy whose items are the chunks, and whose verdicts are arguments.

    A chunk b"." is no progress; b"again", b"done" and b"bad" have a verdict.
    """

    def __init__(self, wait: float = 5.0, retries: float = math.inf) -> None:
        self.progress = 0
        self.timeouts: list[tuple[str, float]] = []
        self._wait = wait
        self._retries = retries

    def request(self) -> Request:
        return Request("GET", "http://127.0.0.1/")

    def accept(self, status: int, headers: Mapping[str, str]) -> ResponseState:
        if status == 204:
            return State.CLOSED
        return State.OPEN if status == 200 else State.REFUSED

    def receive_data(self, data: bytes) -> tuple[list[bytes], Verdict | None]:
        self.progress += data != b"."
        if data == b"again":
            return [data], self._again(AGAIN)
        return [data], {b"done": Verdict(), b"bad": Verdict(CUT)}.get(data)

    def receive_end(self) -> tuple[list[bytes], Verdict]:
        return [b"end"], self._again(AGAIN)

    def refuse(self, error: UnexpectedResponse) -> Verdict:
        wait = error.retry_after
        return Verdict(error) if error.status == 404 else self._again(error, wait)

    def lose_connection(self, error: Exception, opened: bool) -> Verdict:
        return self._again(error)

    def time_out(self, which: LimitName, seconds: float) -> Verdict:
        self.timeouts.append((which, seconds))
        return (
            Verdict(TimeoutError(which)) if which == "total" else self._again(TimeoutError(which))
        )

    def close(self) -> Exception | None:
        return CLOSING

    def _again(self, error: Exception, wait: float | None = None) -> Verdict:
        self.progress = 0
        self._retries -= 1
        return (
            Verdict(error)
            if self._retries < 0
            else Verdict(error, self._wait if wait is None else wait)
        )
