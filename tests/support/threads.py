"""Faces and transports for threads, driven by an event loop, for the tests of the async ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import anyio
import pytest

from sseparse.transports import Request, SyncResponse, SyncTransport

T = TypeVar("T")

# For a test that needs an event loop: of a cancellation, or with a callback that sets an event.
awaits_only = pytest.mark.parametrize("face", ["asyncio", "trio"], indirect=True)


async def in_thread(call: Callable[[], T], interrupt: Callable[[], object]) -> T:
    """Return what `call` returns, in a thread, and call `interrupt` where this is cancelled."""
    done = False
    result: list[T] = []
    failure: list[Exception] = []

    def work() -> None:
        try:
            result.append(call())
        except Exception as error:
            failure.append(error)

    async def watch() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            if not done:
                interrupt()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        # It starts before the thread is awaited, which a cancellation does not end.
        await anyio.lowlevel.checkpoint()
        # A limiter of its own: the default one lets 40 threads run.
        await anyio.to_thread.run_sync(work, limiter=anyio.CapacityLimiter(1))
        done = True
        tasks.cancel_scope.cancel()
    await anyio.lowlevel.checkpoint_if_cancelled()
    if failure:
        raise failure[0]
    return result[0]


class Threaded:
    """A SyncTransport as a Transport."""

    def __init__(self, transport: SyncTransport) -> None:
        self.keeps_connections = getattr(transport, "keeps_connections", True)
        self._transport = transport

    async def send(self, request: Request) -> ThreadedResponse:
        response = self._transport.prepare(request)
        try:
            await in_thread(lambda: response.start(None), response.abort)
        except BaseException:
            response.close()
            raise
        return ThreadedResponse(response)


class ThreadedResponse:
    """A SyncResponse as a Response."""

    def __init__(self, response: SyncResponse) -> None:
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response: Any = response
        self._reading = anyio.Lock()

    async def receive(self) -> bytes:
        async with self._reading:
            data: bytes = await in_thread(self._response.receive, self._response.abort)
            return data

    async def aclose(self) -> None:
        if self._reading.locked():
            self._response.abort()
        with anyio.CancelScope(shield=True):
            async with self._reading:
                self._response.close()
        await anyio.lowlevel.checkpoint()


class AsyncFace:
    """A face for threads, such as sseparse.sync.EventSource, with the methods of the async one."""

    def __init__(self, face: Any) -> None:
        self._face = face

    def __getattr__(self, name: str) -> Any:
        return getattr(self._face, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_face":
            super().__setattr__(name, value)
        else:
            setattr(self._face, name, value)

    def __repr__(self) -> str:
        return repr(self._face)

    def __aiter__(self) -> AsyncFace:
        return self

    async def __anext__(self) -> Any:
        end = object()
        item = await self._call(lambda: next(iter(self._face), end))
        if item is end:
            raise StopAsyncIteration
        return item

    async def __aenter__(self) -> AsyncFace:
        await self._call(self._face.__enter__)
        return self

    async def __aexit__(self, *exception: Any) -> None:
        with anyio.CancelScope(shield=True):
            await self._call(lambda: self._face.__exit__(*exception))

    async def aclose(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._call(self._face.close)

    async def text(self) -> Any:
        return await self._call(self._face.text)

    def deltas(self) -> AsyncFace:
        return AsyncFace(_View(self._face.deltas(), self._face.close))

    def events(self) -> AsyncFace:
        return AsyncFace(_View(self._face.events(), self._face.close))

    async def _call(self, call: Callable[[], T]) -> T:
        return await in_thread(call, self._face.close)


class _View:
    def __init__(self, view: Iterator[Any], close: Callable[[], None]) -> None:
        self._view = view
        self.close = close

    def __iter__(self) -> Iterator[Any]:
        return self._view
