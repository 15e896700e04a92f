"""What a transport is. Each one is a small file of its own and is imported from there.

A transport is an HTTP library behind one method. It raises ConnectionError where the network
fails, whatever its library raises, with the library's error as `__cause__`. To write one, write
`send` and the response that it returns; there is nothing to register.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ._request import Request

__all__ = ["Request", "Response", "Transport"]


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

        Empty bytes are the end of the body, a complete one. After a cancellation the response
        can only be closed.

        Raises ConnectionError when the body is cut.
        """
        ...

    async def aclose(self) -> None:
        """Close the response at once, with what only it uses, wherever it stands."""
        ...


class Transport(Protocol):
    """Sends requests."""

    async def send(self, request: Request) -> Response:
        """Send `request`, follow redirects and return the response once its head has arrived.

        `request.redirected(status, headers)` says what to send after a redirect. An exception or
        a cancellation leaves nothing open.

        Raises ConnectionError when there is no response, and TimeoutError when making a
        connection takes longer than the request's connect_timeout.
        """
        ...
