"""The limit of requests in flight. No I/O, no clock."""

from __future__ import annotations

import math


class Concurrency:
    """The limit of requests in flight: additive increase, multiplicative decrease.

    most: requests in flight at the start, and at most.
    least: requests in flight at least.

    As many successes as the limit raise it by 1. A busy service halves it, once for all requests
    that were in flight: they were sent under the old limit. RFC 5681, 3.1 "Slow Start and
    Congestion Avoidance", where a window of segments is what the limit is here.
    """

    def __init__(self, most: int, least: int = 1) -> None:
        self.limit: int = most
        # Time of the clock before which no request may be sent.
        self.not_before: float = -math.inf
        self._most = most
        self._least = least
        self._halvings = 0
        self._successes = 0

    @property
    def period(self) -> int:
        """Number of halvings: of a request that is sent now, for `succeed` and `back_off`."""
        return self._halvings

    def succeed(self, period: int) -> None:
        """Count a complete reply."""
        if period == self._halvings:
            self._successes += 1
            if self._successes >= self.limit:
                self._successes = 0
                self.limit = min(self.limit + 1, self._most)

    def back_off(self, period: int) -> None:
        """Halve the limit, because the service was too busy for a request."""
        if period == self._halvings:
            self._halvings += 1
            self._successes = 0
            self.limit = max(self.limit // 2, self._least)

    def hold(self, until: float) -> None:
        """Let no request be sent before `until`, a time of the clock."""
        self.not_before = max(self.not_before, until)
