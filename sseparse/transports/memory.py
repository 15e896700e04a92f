"""The transport without a network: scripted responses, for tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import anyio

from . import Request


@dataclass(frozen=True)
class MemoryResponse:
    """What one request gets.

    script: the body, step by step: bytes are a chunk, a number is a pause in seconds (math.inf
        a stall for ever), an exception is raised, as a ConnectionError is where a network fails.
    status: the HTTP status.
    headers: the header fields, with lower-case names.
    """

    script: Sequence[bytes | float | Exception] = ()
    status: int = 200
    headers: Mapping[str, str] = field(
        default_factory=lambda: {"content-type": "text/event-stream"}
    )


class MemoryTransport:
    """Answer each request with the next of `responses`, and all further ones with the last.

    An exception among them is raised instead of a response. `requests` are the requests that
    came; `open` is how many responses have not been closed.
    """

    def __init__(self, *responses: MemoryResponse | Exception) -> None:
        if not responses:
            raise ValueError("a MemoryTransport needs at least one response")
        self.requests: list[Request] = []
        self.open = 0
        self._responses = responses

    async def send(self, request: Request) -> ScriptedBody:
        """Take `request` and return the next response; see Transport.send."""
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
        self.status = response.status
        self.headers = response.headers
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
