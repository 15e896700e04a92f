"""The limit of requests in flight, as a table."""

from __future__ import annotations

import math
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sseparse_backends._concurrency import Concurrency

Step = Literal["ok", "busy", "start"]


def after(most: int, least: int, *steps: str) -> list[int]:
    """Return the limits after requests that each start when the one before has ended.

    "ok*3" is three successes.
    """
    limits = Concurrency(most, least)
    seen = [limits.limit]
    for step in steps:
        kind, _, times = step.partition("*")
        for _ in range(int(times or 1)):
            period = limits.period
            limits.succeed(period) if kind == "ok" else limits.back_off(period)
        seen.append(limits.limit)
    return seen


@pytest.mark.parametrize(
    ("most", "least", "steps", "expected"),
    [
        (16, 1, "ok*100", [16, 16]),
        (16, 1, "busy busy busy busy busy", [16, 8, 4, 2, 1, 1]),
        (16, 3, "busy busy busy busy", [16, 8, 4, 3, 3]),
        (5, 1, "busy busy busy", [5, 2, 1, 1]),
        (1, 1, "busy ok", [1, 1, 1]),
        # A round is as many successes as the limit.
        (16, 1, "busy ok*7 ok ok*8 ok", [16, 8, 8, 9, 9, 10]),
        (4, 1, "busy busy ok ok*2 ok*3 ok*100", [4, 2, 1, 2, 3, 4, 4]),
        # Busy in between: the round begins again.
        (16, 1, "busy ok*7 busy ok*3 ok", [16, 8, 8, 4, 4, 5]),
    ],
)
def test_busy_halves_the_limit_and_a_round_of_successes_adds_one(
    most: int, least: int, steps: str, expected: list[int]
) -> None:
    assert after(most, least, *steps.split()) == expected


def test_requests_that_were_in_flight_together_halve_the_limit_once() -> None:
    limits = Concurrency(16)
    burst = [limits.period for _ in range(16)]
    limits.back_off(burst[0])
    later = limits.period
    for period in burst[1:]:
        limits.back_off(period)
    assert limits.limit == 8
    limits.back_off(later)
    assert limits.limit == 4


def test_successes_under_an_older_limit_do_not_count() -> None:
    limits = Concurrency(4)
    burst = [limits.period for _ in range(4)]
    limits.back_off(burst[0])
    for period in burst[1:]:
        limits.succeed(period)
    assert limits.limit == 2


def test_requests_are_held_until_the_latest_time() -> None:
    limits = Concurrency(4)
    assert limits.not_before == -math.inf
    limits.hold(5.0)
    limits.hold(3.0)
    assert limits.not_before == 5.0


@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=100),
)
def test_the_limit_stays_within_its_bounds(
    least: int, more: int, ends: list[tuple[bool, int]]
) -> None:
    most = least + more
    limits = Concurrency(most, least)
    flying = [limits.period]
    for busy, number in ends:
        flying += [limits.period for _ in range(number)]
        period = flying.pop(0) if flying else limits.period
        limits.back_off(period) if busy else limits.succeed(period)
        assert least <= limits.limit <= most
