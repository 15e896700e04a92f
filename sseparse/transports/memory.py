"""The transport without a network: scripted responses, for tests."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, cast

import anyio

from sseparse._input import expect_type
from sseparse._recording import read_recording

from . import Request


@dataclass(frozen=True)
class MemoryResponse:
    """The response to one request.

    script: the body, step by step. Bytes are a chunk, a number is a pause in seconds (math.inf: a
        stall without end), an exception is raised (ConnectionError: the network fails).
    status: the HTTP status.
    headers: the header fields, with lower-case names.

    Raises TypeError, naming the argument.
    """

    script: Sequence[bytes | float | Exception] = ()
    status: int = 200
    headers: Mapping[str, str] = field(
        default_factory=lambda: {"content-type": "text/event-stream"}
    )

    @classmethod
    def from_recording(cls, path: str | os.PathLike[str], speed: float = 1.0) -> MemoryResponse:
        """Return the response that `sseparse inspect --save` has recorded in a file.

        speed: of the pauses; 2 halves them, math.inf leaves them out. A body that was cut ends in
            a ConnectionError, and one whose recording was stopped in a stall without end.

        Raises OSError, and ValueError for a file that is no recording and for a wrong speed.
        """
        if not speed > 0:
            raise ValueError(f"speed must be positive, got {speed!r}")
        recording = read_recording(path)
        script: list[bytes | float | Exception] = []
        before = 0.0
        for seconds, data in recording.chunks:
            if pause := max(seconds - before, 0.0) / speed:
                script.append(pause)
            script.append(data)
            before = seconds
        if recording.end is None:
            script.append(math.inf)
        elif pause := max(recording.end - before, 0.0) / speed:
            script.append(pause)
        if recording.failure is not None:
            script.append(ConnectionError(recording.failure))
        return cls(script, recording.status, recording.headers)

    def __post_init__(self) -> None:
        script: Any = self.script
        # bytes are a sequence too, of int.
        if isinstance(script, bytes) or not isinstance(script, Sequence):
            raise TypeError(f"script must be a sequence of steps, got {type(script).__name__}")
        for step in cast("Sequence[object]", script):
            expect_type(
                "a step of script",
                step,
                (bytes, int, float, Exception),
                "bytes, seconds or an exception",
            )
        expect_type("status", self.status, int, "an int")
        expect_type("headers", self.headers, Mapping, "a mapping of str to str")


class MemoryTransport:
    """Answer each request with the next of `responses`, and all further ones with the last.

    It is a Transport, and a SyncTransport too.

    responses: at least one; an exception is raised instead of a response.

    `requests` holds the requests so far, `open` counts the responses that are not closed.

    Raises TypeError and ValueError for other responses, and for none.
    """

    def __init__(self, *responses: MemoryResponse | Exception) -> None:
        if not responses:
            raise ValueError("responses must be one or more, got none")
        for response in responses:
            expect_type(
                "a response", response, (MemoryResponse, Exception), "a MemoryResponse or exception"
            )
        self.requests: list[Request] = []
        self.open: int = 0
        self._responses = responses

    async def send(self, request: Request) -> ScriptedBody:
        """Record `request` and return the next response; see Transport.send."""
        await anyio.lowlevel.checkpoint()
        return ScriptedBody(self, self._answer(request))

    def prepare(self, request: Request) -> SyncScriptedBody:
        """Return a response that records `request` once started; see SyncTransport.prepare."""
        return SyncScriptedBody(self, partial(self._answer, request))

    def _answer(self, request: Request) -> MemoryResponse:
        response = self._responses[min(len(self.requests), len(self._responses) - 1)]
        self.requests.append(request)
        if isinstance(response, Exception):
            raise response
        self.open += 1
        return response


class ScriptedBody:
    """A response in progress, as a Response."""

    def __init__(self, transport: MemoryTransport, response: MemoryResponse) -> None:
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers
        self._transport = transport
        self._steps = iter(response.script)
        self._closed = False

    async def receive(self) -> bytes:
        """Return the next chunk of the script; see Response.receive."""
        await anyio.lowlevel.checkpoint()
        if self._closed:
            raise ConnectionError("the response is closed")
        for step in self._steps:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, bytes):
                return step
            await (anyio.sleep_forever() if math.isinf(step) else anyio.sleep(step))
        return b""

    async def aclose(self) -> None:
        """Close the response."""
        if not self._closed:
            self._closed = True
            self._transport.open -= 1
        await anyio.lowlevel.checkpoint()


class SyncScriptedBody:
    """A response in progress, as a SyncResponse."""

    def __init__(self, transport: MemoryTransport, answer: Callable[[], MemoryResponse]) -> None:
        self.status: int = 0
        self.headers: Mapping[str, str] = {}
        self._transport = transport
        self._answer = answer
        self._steps: Iterator[bytes | float | Exception] = iter(())
        self._open = False
        # A signal handler may put into it, and set no Event.
        self._aborted: SimpleQueue[None] = SimpleQueue()

    def start(self, timeout: float | None) -> None:
        """Record the request and take the next response; see SyncResponse.start."""
        response = self._answer()
        self._open = True
        self.status, self.headers = response.status, response.headers
        self._steps = iter(response.script)

    def receive(self) -> bytes:
        """Return the next chunk of the script; see SyncResponse.receive."""
        if not self._open:
            raise ConnectionError("the response is closed")
        for step in self._steps:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, bytes):
                return step
            with suppress(Empty):
                self._aborted.get(timeout=None if math.isinf(step) else step)
                self._aborted.put(None)
                raise ConnectionError("the response is aborted")
        return b""

    def abort(self) -> None:
        """End a pause of the script; see SyncResponse.abort."""
        self._aborted.put(None)

    def close(self) -> None:
        """Close the response."""
        if self._open:
            self._open = False
            self._transport.open -= 1
