"""Time that passes only when nothing else can happen: what waits is tested exactly, and at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from trio.testing import MockClock


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop of asyncio whose time jumps to what it waits for, as trio's MockClock does."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        selector: Any = self._selector  # type: ignore[attr-defined]
        self._look = selector.select
        selector.select = self._select

    def time(self) -> float:
        return self._now

    def _select(self, timeout: float | None) -> Any:
        # What is no wait for a time is one for a thread, a socket or a signal.
        ready = self._look(timeout and 0)
        if timeout and not ready:
            self._now += timeout
        return ready


# For tests without a network: the time of a network is that of everybody.
virtual_time = pytest.mark.parametrize(
    "anyio_backend",
    [
        ("asyncio", {"loop_factory": JumpingLoop}),
        ("trio", {"clock": MockClock(autojump_threshold=0)}),
    ],
    ids=["asyncio", "trio"],
)
