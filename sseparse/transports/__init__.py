"""What a transport is. Each one is a small file of its own and is imported from there.

A transport is an HTTP library behind one method. It raises ConnectionError where the network
fails, whatever its library raises, with the library's error as `__cause__`. To write one, write
`send` and the response that it returns; there is nothing to register.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from sseparse._secrets import shown

__all__ = ["Request", "Response", "Transport"]


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """One HTTP request: `body` is the whole of it, in bytes.

    connect_timeout: seconds that the making of a connection may take, or None for no limit.
        Nothing of it is sent: requests that differ in it alone are equal.

    Its repr has no header field and no query: they may be secret.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    connect_timeout: float | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return f"<Request {self.method} {shown(self.url)} of {len(self.body)} bytes>"


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

        Empty bytes are the end of the body, a complete one. Raises ConnectionError when the
        body is cut. After a cancellation the response can only be closed.
        """
        ...

    async def aclose(self) -> None:
        """Close the response at once, with what only it uses, wherever it stands."""
        ...


class Transport(Protocol):
    """Sends requests."""

    async def send(self, request: Request) -> Response:
        """Send `request`, follow redirects and return the response once its head is there.

        Those that may make a GET of a request, and lose its body, are the response: 301, 302 and
        303, unless the request is a GET or a HEAD.

        Raises ConnectionError when there is no response, TimeoutError when a connection takes
        longer than the request's connect_timeout, ValueError for a request that cannot be sent.
        An exception or a cancellation leaves nothing open.
        """
        ...
