"""The transport without a network: scripted responses, for tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import anyio

from sseparse._input import expect_type

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
        response = self._responses[min(len(self.requests), len(self._responses) - 1)]
        self.requests.append(request)
        if isinstance(response, Exception):
            raise response
        self.open += 1
        return ScriptedBody(self, response)


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
