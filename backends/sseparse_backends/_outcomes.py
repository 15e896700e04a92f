"""The driver of a batch: it reads prompts, sends requests, and hands out outcomes."""

from __future__ import annotations

import errno
import logging
import math
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, cast

import anyio
from anyio.abc import TaskGroup

from sseparse import IncompleteStream, LocalProtocolError, UnexpectedResponse
from sseparse.transports import CertificateError, Transport

from ._concurrency import Concurrency
from ._contract import Backend, BackendError, Finish, Usage
from ._exchange import ReplyTimeout, is_temporary, retry_wait
from ._ids import ID
from ._prompts import Prompt, ask, prompt_id
from ._results import Outcome
from ._stream import ReplyStream

# Statuses of a service that is too busy; 529 is Anthropic's.
_BUSY = (429, 503, 529)

_logger = logging.getLogger("sseparse")


class Outcomes:
    """The outcomes of prompts: an asynchronous iterator, to be opened with `async with`.

    Replies go on arriving between two steps, in tasks that end with the `async with`. A step
    outside of it raises LocalProtocolError: after a `break`, nothing would end the tasks there.

    A step raises the error of the iterable of prompts, after the outcomes of the prompts before.
    """

    def __init__(
        self,
        backend: Backend,
        prompts: Iterable[Prompt] | AsyncIterable[Prompt],
        *,
        concurrency: Concurrency,
        retries: int,
        max_wait: float,
        transport: Transport,
        connections: AbstractAsyncContextManager[object],
        options: Mapping[str, Any],
    ) -> None:
        self._backend = backend
        self._prompts = prompts
        self._concurrency = concurrency
        self._retries = retries
        self._max_wait = max_wait
        self._transport = transport
        self._connections = connections
        self._options = options
        self._tasks: TaskGroup | None = None
        self._ready: deque[Outcome] = deque()
        # Set by an outcome, and at the end of all tasks.
        self._arrived = anyio.Event()
        self._has_begun = False
        # Set at the end of all tasks.
        self._stopped = anyio.Event()
        # Ends the replies. The scope of the task group would end the caller's block with them.
        self._scope: anyio.CancelScope
        # Limits prompts read but not yet consumed.
        self._places = anyio.Semaphore(concurrency.limit)
        self._requests = anyio.CapacityLimiter(concurrency.limit)
        # Outcomes handed out whose places are released at the next step.
        self._taken = 0
        # The error after the last outcome; None for a good end.
        self._error: Exception | None = _closed_error()
        # The error of the iterable of prompts.
        self._failure: Exception | None = None

    @property
    def ready(self) -> int:
        """Number of outcomes that have arrived: as many steps do not wait."""
        return len(self._ready)

    def __aiter__(self) -> Outcomes:
        return self

    async def __anext__(self) -> Outcome:
        if self._tasks is None:
            raise LocalProtocolError("outcomes must be opened with `async with`")
        if self._taken:
            self._taken -= 1
            self._places.release()
        await anyio.lowlevel.checkpoint()
        while not self._ready:
            if self._stopped.is_set():
                raise self._error or StopAsyncIteration
            if self._arrived.is_set():
                self._arrived = anyio.Event()
            await self._arrived.wait()
        self._taken += 1
        return self._ready.popleft()

    async def __aenter__(self) -> Outcomes:
        if self._tasks is not None:
            raise LocalProtocolError("outcomes must be opened once")
        self._scope = anyio.CancelScope()
        await self._connections.__aenter__()
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._run)
        return self

    async def __aexit__(self, *exception: object) -> None:
        try:
            await self.aclose()
            # Not with the exception, which it would raise in a group.
            await cast("TaskGroup", self._tasks).__aexit__(None, None, None)
        finally:
            await self._connections.__aexit__(None, None, None)

    async def aclose(self) -> None:
        """End all replies in progress at once, from any task; an iteration in progress is over."""
        if self._tasks is not None:
            await self.stop()

    async def stop(self) -> list[Outcome]:
        """End all replies in progress at once, and return the outcomes that no step has returned.

        It cannot be cancelled.
        """
        self._scope.cancel()
        if self._has_begun:
            with anyio.CancelScope(shield=True):
                await self._stopped.wait()
        else:  # asyncio.run may have cancelled the task, which never begins then
            self._stopped.set()
            self._arrived.set()
        rest = [*self._ready]
        if rest:
            self._ready.clear()
            self._error = _closed_error()
        return rest

    async def _run(self) -> None:
        self._has_begun = True
        try:
            with self._scope:
                async with anyio.create_task_group() as replies:
                    await self._feed(replies)
                self._error = self._failure
        finally:
            self._stopped.set()
            self._arrived.set()

    async def _feed(self, replies: TaskGroup) -> None:
        """Start a task for each prompt."""
        prompts = self._prompts
        try:
            async with AsyncExitStack() as stack:
                iterator = aiter(prompts if isinstance(prompts, AsyncIterable) else _each(prompts))
                if isinstance(iterator, AsyncGenerator):
                    # Otherwise one that is not read to its end stays suspended.
                    stack.push_async_callback(iterator.aclose)
                position = 0
                await self._places.acquire()
                async for prompt in iterator:
                    replies.start_soon(self._complete, position, prompt)
                    position += 1
                    await self._places.acquire()
        except Exception as error:  # raised after the outcomes of the prompts before
            self._failure = error

    async def _complete(self, position: int, prompt: Prompt) -> None:
        self._ready.append(await self._outcome(position, prompt))
        self._arrived.set()

    async def _outcome(self, position: int, prompt: Prompt) -> Outcome:
        """Return the outcome of `prompt`, after as many attempts as it takes."""
        identity: ID = position
        began = math.inf
        attempts = 0
        while True:
            try:
                identity = prompt_id(prompt, position)
                reply = ask(self._backend, prompt, self._transport, self._options)
            except Exception as failure:  # the backend may raise anything
                return Outcome(identity, error=failure)
            async with self._requests:
                # The end moves while others are told to wait longer.
                while anyio.current_time() < self._concurrency.not_before:  # noqa: ASYNC110
                    await anyio.sleep_until(self._concurrency.not_before)
                period = self._concurrency.period
                began = min(began, anyio.current_time())
                attempts += 1
                first_seconds, content, error = await _receive(reply)
                now = anyio.current_time()
                wait = self._judge(error, period, attempts, now)
                self._requests.total_tokens = self._concurrency.limit
            if wait is None:
                return Outcome(
                    id=identity,
                    text=reply.text_so_far,
                    **content,
                    usage=reply.usage,
                    attempts=attempts,
                    first_seconds=first_seconds,
                    seconds=now - began,
                    error=error,
                )
            await anyio.sleep(wait)

    def _judge(
        self, error: Exception | None, period: int, attempts: int, now: float
    ) -> float | None:
        """Return the seconds to wait before another attempt, or None after the last one."""
        limits = self._concurrency
        if error is None:
            limits.succeed(period)
            return None
        if isinstance(error, UnexpectedResponse):
            if not is_temporary(error.status):
                return None
            if error.status in _BUSY:
                limits.back_off(period)
                _logger.info("at most %d requests in flight: %s", limits.limit, error)
            after = error.retry_after or 0.0
            # Held for a longer one too: otherwise all prompts would fail at once.
            limits.hold(now + min(after, self._max_wait))
            if after > self._max_wait:
                return None
        elif isinstance(error, ReplyTimeout):
            if error.which == "total":
                return None
        elif isinstance(error, CertificateError) or not isinstance(
            error, ConnectionError | IncompleteStream | BackendError
        ):
            return None
        elif _lacks_descriptors(error):
            limits.back_off(period)
            _logger.info("at most %d requests in flight: %s", limits.limit, error)
        return retry_wait(attempts) if attempts <= self._retries else None


def _lacks_descriptors(error: BaseException) -> bool:
    """Return whether too many files are open for a connection: EMFILE or ENFILE, at the root."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)


async def _each(prompts: Iterable[Prompt]) -> AsyncIterator[Prompt]:
    for prompt in prompts:
        yield prompt


def _closed_error() -> LocalProtocolError:
    return LocalProtocolError("the outcomes were closed before the last one")


async def _receive(
    reply: ReplyStream,
) -> tuple[float | None, dict[str, Any], Exception | None]:
    """Receive `reply` and return the seconds to its first content, fields of Outcome, its error."""
    start = anyio.current_time()
    first_seconds: float | None = None
    try:
        async with reply:
            async for delta in reply.deltas():
                if not isinstance(delta, Usage | Finish):
                    first_seconds = anyio.current_time() - start
                    break
            await reply.text()
        content = {
            "messages": reply.messages,
            "tool_calls": reply.tool_calls,
            "finish": Finish(reply.finish_reason, reply.finish_kind or "other"),
        }
    except Exception as error:  # of this reply alone; the backend may raise anything
        return first_seconds, {}, error
    return first_seconds, content, None
