"""Quantiles and plots of latencies."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sseparse_backends.cli._latencies import Latencies


def latencies(*seconds: float) -> Latencies:
    found = Latencies()
    for latency in seconds:
        found.add(latency)
    return found


def test_without_latencies_there_is_nothing() -> None:
    assert latencies().quantile(0.5) is None
    assert latencies().plot(10, "#") == []


@given(
    st.lists(st.floats(0.001, 10_000), min_size=1, max_size=50),
    st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
)
def test_a_quantile_is_six_percent_more_at_most(seconds: list[float], share: float) -> None:
    exact = sorted(seconds)[max(math.ceil(share * len(seconds)) - 1, 0)]
    found = latencies(*seconds).quantile(share)
    assert found is not None
    assert exact * 0.999 <= found <= exact * 1.06


@pytest.mark.parametrize(
    ("seconds", "rows"),
    [
        ([0.0], ["up to   0.001 s  ########## 1"]),
        ([0.5, 0.4, 0.3], ["up to     0.5 s  ########## 3"]),
        (
            [1, 1, 1, 1, 7],
            [
                "up to       1 s  ########## 4",
                "up to       2 s",
                "up to       5 s",
                "up to      10 s  ### 1",
            ],
        ),
        ([1e9], ["up to  500000 s  ########## 1"]),
    ],
)
def test_a_plot_has_a_bar_for_each_row(seconds: list[float], rows: list[str]) -> None:
    assert latencies(*seconds).plot(10, "#") == rows
