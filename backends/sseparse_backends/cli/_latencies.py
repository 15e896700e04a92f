"""Latencies: their quantiles, and a plot, from counts that do not grow with their number."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter

# Counts for each factor of 10: a quantile is exact to 6 %.
_STEPS = 40
# Seconds of the rows of a plot.
_ROWS = [step * 10.0**power for power in range(-3, 6) for step in (1, 2, 5)]


class Latencies:
    """Counts of seconds, by their logarithm, and by the row of a plot."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._rows: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        """Count a latency; less than a millisecond counts as one."""
        self._counts[math.ceil(_STEPS * math.log10(max(seconds, _ROWS[0])))] += 1
        self._rows[min(bisect_left(_ROWS, seconds), len(_ROWS) - 1)] += 1

    def quantile(self, share: float) -> float | None:
        """Return the seconds that `share` of the latencies do not exceed; None without any."""
        left = share * self._counts.total()
        for step in sorted(self._counts):
            left -= self._counts[step]
            if left <= 0:
                return math.pow(10.0, step / _STEPS)
        return None

    def plot(self, width: int, mark: str) -> list[str]:
        """Return a line for each row from the least to the greatest latency.

        width: characters of the longest bar.
        mark: a character of a bar.
        """
        if not self._rows:
            return []
        most = max(self._rows.values())
        lines: list[str] = []
        for row in range(min(self._rows), max(self._rows) + 1):
            bar = mark * math.ceil(width * self._rows[row] / most)
            lines.append(f"up to {_ROWS[row]:>7g} s  {bar} {self._rows[row] or ''}".rstrip())
        return lines
