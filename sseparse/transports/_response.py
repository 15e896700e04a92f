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


class HTTPBody:
    """The parts of a response that do not wait.

    `url` is that of the request that it answers, after redirects.
    """

    def __init__(self) -> None:
        self.status: int = 0
        self.headers: Mapping[str, str] = {}
        self.url: str = ""
        self._decoder: ContentDecoder | None = None
        self._pieces: Iterator[bytes] = iter(())
        # Reading on after an error, a cancellation or the closing could look like a good end.
        self._over = False

    def _begin(self, url: str, status: int, headers: Mapping[str, str]) -> None:
        """Take the head of the response."""
        self.status = status
        self.headers = headers
        self.url = url
        encoded = "content-encoding" in headers
        self._decoder = ContentDecoder(status, headers, url) if encoded else None

    def _expect_readable(self) -> None:
        if self._over:
            raise ConnectionError(
                f"{redacted_url(self.url)}: the response is closed, or reading it has failed"
            )

    def _failure(self, error: BaseException) -> BaseException:
        """End the reading, and return the error to raise for `error`."""
        self._over = True
        if isinstance(error, UnsupportedEncoding) or not isinstance(error, Exception):
            return error
        return connection_error(self.url, error)


class HTTPResponse(HTTPBody, ABC):
    """A Response whose body a subclass reads and closes."""

    def __init__(self, url: str, status: int, headers: Mapping[str, str]) -> None:
        super().__init__()
        self._begin(url, status, headers)

    async def receive(self) -> bytes:
        """Return the next bytes of the body; see Response.receive."""
        self._expect_readable()
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
            failure = self._failure(error)
            if failure is error:
                raise
            raise failure from error

    async def aclose(self) -> None:
        """Close the response; see Response.aclose."""
        self._over = True
        await self._aclose()

    @abstractmethod
    async def _receive(self) -> bytes:
        """Return the next bytes as they are sent, or empty bytes at the end of a whole body."""

    @abstractmethod
    async def _aclose(self) -> None: ...


class Redirects:
    """Follow the redirects of a request.

    request: the request to send next.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self._url = request.url
        self._left = MAX_REDIRECTS

    def follow(self, status: int, headers: Mapping[str, str]) -> bool:
        """Return whether the response is a redirect that leads to another request.

        Raises ConnectionError for the 21st, and what Request.redirected raises.
        """
        following = self.request.redirected(status, headers)
        if following is None:
            return False
        if self._left == 0:
            raise ConnectionError(f"{redacted_url(self._url)}: more than {MAX_REDIRECTS} redirects")
        self._left -= 1
        self.request = following
        return True


_ResponseT = TypeVar("_ResponseT", bound=HTTPResponse)


async def follow_redirects(
    request: Request, send: Callable[[Request], Awaitable[_ResponseT]]
) -> _ResponseT:
    """Return the response to `request`, from wherever redirects lead.

    send: sends one request. The body of a redirect is not read, because it may never end.

    Raises what `send` and Redirects.follow raise.
    """
    redirects = Redirects(request)
    while True:
        response = await send(redirects.request)
        try:
            if not redirects.follow(response.status, response.headers):
                return response
        except ConnectionError:
            await response.aclose()
            raise
        await response.aclose()
