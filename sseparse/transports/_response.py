"""The parts of sending and receiving that are the same for all HTTP libraries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TypeVar

import anyio

from sseparse._display import redacted_url

from ._content import ContentDecoder, UnsupportedEncoding
from ._errors import connection_error
from ._request import Request

MAX_REDIRECTS = 20


class HTTPResponse(ABC):
    """A Response whose body a subclass reads and closes.

    url: of the request that it answers, after redirects.
    """

    def __init__(self, url: str, status: int, headers: Mapping[str, str]) -> None:
        self.status = status
        self.headers = headers
        self.url = url
        encoded = "content-encoding" in headers
        self._decoder = ContentDecoder(status, headers, url) if encoded else None
        self._pieces: Iterator[bytes] = iter(())
        # Reading on after an error, a cancellation or the closing could look like a good end.
        self._over = False

    async def receive(self) -> bytes:
        """Return the next bytes of the body; see Response.receive."""
        if self._over:
            raise ConnectionError(
                f"{redacted_url(self.url)}: the response is closed, or reading it has failed"
            )
        try:
            if self._decoder is None:
                return await self._receive()
            if (piece := next(self._pieces, None)) is not None:
                # A small chunk may decode to many pieces.
                await anyio.lowlevel.checkpoint()
                return piece
            while (piece := next(self._pieces, None)) is None:
                if not (data := await self._receive()):
                    self._decoder.close()
                    return b""
                self._pieces = self._decoder.feed(data)
            return piece
        except BaseException as error:
            self._over = True
            if isinstance(error, UnsupportedEncoding) or not isinstance(error, Exception):
                raise
            raise connection_error(self.url, error) from error

    async def aclose(self) -> None:
        """Close the response; see Response.aclose."""
        self._over = True
        await self._aclose()

    @abstractmethod
    async def _receive(self) -> bytes:
        """Return the next bytes as they are sent, or empty bytes at the end of a whole body."""

    @abstractmethod
    async def _aclose(self) -> None: ...


_ResponseT = TypeVar("_ResponseT", bound=HTTPResponse)


async def follow_redirects(
    request: Request, send: Callable[[Request], Awaitable[_ResponseT]]
) -> _ResponseT:
    """Return the response to `request`, from wherever redirects lead.

    send: sends one request. The body of a redirect is not read, because it may never end.

    Raises ConnectionError after 20 redirects, besides what `send` and Request.redirected raise.
    """
    url = request.url
    for _ in range(MAX_REDIRECTS + 1):
        response = await send(request)
        try:
            following = request.redirected(response.status, response.headers)
        except ConnectionError:
            await response.aclose()
            raise
        if following is None:
            return response
        await response.aclose()
        request = following
    raise ConnectionError(f"{redacted_url(url)}: more than {MAX_REDIRECTS} redirects")
