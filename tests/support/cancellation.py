"""Cancel a coroutine at each of its awaits."""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

import anyio


@types.coroutine
def _cancelled_at(
    number: int, scope: anyio.CancelScope, coroutine: Coroutine[Any, Any, None]
) -> Generator[Any, Any, None]:
    """Run `coroutine`, and cancel `scope` where it waits for that many times, from 0."""
    resume: Callable[[Any], Any] = coroutine.send
    with_what: Any = None
    while True:
        try:
            waits_for = resume(with_what)
        except StopIteration:
            return
        if number == 0:
            scope.cancel()
        number -= 1
        try:
            resume, with_what = coroutine.send, (yield waits_for)
        except BaseException as error:
            resume, with_what = coroutine.throw, error


async def cancelling_at_each_await(
    run: Callable[[], Coroutine[Any, Any, None]], check: Callable[[], Awaitable[None]]
) -> int:
    """Run it as often as it waits, cancelled at its first wait, its second, ...; `check` each."""
    number = 0
    while True:
        with anyio.fail_after(60), anyio.CancelScope() as scope:
            await _cancelled_at(number, scope, run())
        await check()
        if not scope.cancel_called:
            return number
        number += 1
