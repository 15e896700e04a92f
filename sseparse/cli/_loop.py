"""The event loop of the commands that need one."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from threading import Thread
from typing import Any, TypeVar

import anyio

Result = TypeVar("Result")


def run_interruptible(work: Callable[[], Awaitable[Result]], async_backend: str) -> Result:
    """Run `work` on an event loop; see sseparse.cli.run."""
    if find_spec(async_backend) is None:
        raise ModuleNotFoundError(
            f"--async-backend {async_backend} needs another package: pip install {async_backend}"
        )
    results = anyio.run(_run_interruptible, work, async_backend, backend=async_backend)
    if not results:
        raise KeyboardInterrupt
    return results[0]


class _DaemonThreads(ThreadPoolExecutor):
    """An executor whose threads end with the process, since a resolver cannot be interrupted."""

    def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def call() -> None:
            try:
                future.set_result(function(*arguments, **options))
            except BaseException as error:
                future.set_exception(error)

        future.set_running_or_notify_cancel()
        Thread(target=call, daemon=True).start()
        return future


async def _run_interruptible(
    work: Callable[[], Awaitable[Result]], async_backend: str
) -> list[Result]:
    """Run `work`, and return its result in a list, which is empty if Ctrl-C cancelled it.

    Python's own KeyboardInterrupt may arise between any two instructions of a library, and
    leave it in disorder. A cancellation arises only where a library awaits.
    """
    if async_backend == "asyncio":
        asyncio.get_running_loop().set_default_executor(_DaemonThreads())
    results: list[Result] = []
    failure: Exception | None = None

    async def wait_for_interrupt() -> None:
        with anyio.open_signal_receiver(signal.SIGINT) as signals:
            async for _ in signals:
                tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait_for_interrupt)
        try:
            results.append(await work())
        except Exception as error:  # kept out of the task group, which would wrap it
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return results
