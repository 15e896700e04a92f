"""Transports: how requests are sent. Each is a file of its own, imported from there.

`httpx2.HTTPX2Transport` is the default, `aiohttp.AiohttpTransport` runs on asyncio alone, and
`memory.MemoryTransport` answers from a script.

A transport of your own has a method `send`, which returns a response with `status`, `headers`,
`receive` and `aclose`; it inherits and registers nothing. If it closes each connection with the
response, it says so by `keeps_connections = False`. This one plays a stream that was
recorded with `curl -N`:

    import anyio
    from sseparse.client import EventSource

    class Player:
        def __init__(self, path):
            self.path = path

        async def send(self, request):
            try:
                return Recording(await anyio.open_file(self.path, "rb"))
            except OSError as error:
                raise ConnectionError(f"{self.path}: {error}") from error

    class Recording:
        status = 200
        headers = {"content-type": "text/event-stream"}

        def __init__(self, file):
            self.file = file

        async def receive(self):
            return await self.file.read(65536)  # at the end of the file: b""

        async def aclose(self):
            await self.file.aclose()

    async def main(path):
        async with EventSource("https://example.org/", transport=Player(path)) as events:
            print((await anext(events)).data)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ._default import transport_or_default
from ._request import Request

__all__ = ["Request", "Response", "Transport", "transport_or_default"]


class Response(Protocol):
    """A response whose head has arrived, and whose body comes in chunks."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The header fields, with lower-case names; repeated ones joined by commas."""
        ...

    async def receive(self) -> bytes:
        """Return the next bytes of the body as they arrive, content encodings undone.

        Empty bytes are the end of a complete body. After an error or a cancellation the response
        can only be closed.

        Raises ConnectionError for a body that is cut or damaged, and UnexpectedResponse for one
        whose content encoding cannot be undone.
        """
        ...

    async def aclose(self) -> None:
        """Close the response at once, in whatever state, with the connection that only it uses."""
        ...


class Transport(Protocol):
    """Sends requests."""

    async def send(self, request: Request) -> Response:
        """Send `request`, follow redirects and return the response once its head has arrived.

        `request.redirected(status, headers)` says what to send after a redirect. An exception or
        a cancellation leaves nothing open.

        Raises ConnectionError without a response, and TimeoutError where connecting takes longer
        than the request's connect_timeout; both name the proxy where connecting has failed there.
        An error of the library becomes a ConnectionError, with the library's as its `__cause__`.
        """
        ...
