"""An httpx2 transport that reads chunked bodies past h11, at a third of the cost for each chunk.

httpcore2 gets the head of a response alone from its network backend. A chunked body is read from
there, and httptools parses all chunks that have arrived at once.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Generator, Iterable
from contextlib import contextmanager
from selectors import EVENT_READ, DefaultSelector
from ssl import SSLContext
from typing import Any, cast

import anyio
import httpcore2
import httptools
import httpx2
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSAttribute, TLSStream

from ._httpx2 import core_request

_HEAD_END = re.compile(rb"\n\r?\n")


class HTTPToolsTransport(httpx2.AsyncBaseTransport):
    """Send the requests of an httpx2.AsyncClient over HTTP/1.1, with no timeout but for connecting.

    tls: for https: URLs.
    proxy: URL of a proxy for all requests, or None.
    """

    def __init__(self, tls: SSLContext, proxy: str | None) -> None:
        through = None
        if proxy is not None:
            parsed = httpx2.Proxy(proxy)
            through = httpcore2.Proxy(str(parsed.url), parsed.raw_auth)
        self._pool = httpcore2.AsyncConnectionPool(
            tls, through, max_connections=None, network_backend=_Backend()
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send `request` and return the response once its head has arrived."""
        with _httpx2_errors():
            response = await self._pool.handle_async_request(core_request(request))
        return httpx2.Response(
            response.status,
            headers=response.headers,
            stream=_Body(request.method, response),
            extensions=cast("dict[str, Any]", response.extensions),
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()


@contextmanager
def _httpx2_errors() -> Generator[None]:
    try:
        yield
    except Exception as error:
        # httpcore2's have the same names. anyio raises OSError where connecting fails.
        name = type(error).__name__
        if isinstance(error, OSError):
            name = "ConnectTimeout" if isinstance(error, TimeoutError) else "ConnectError"
        # anyio's for a reset has no message.
        words = str(error) or "the connection was lost"
        raise getattr(httpx2, name, httpx2.ReadError)(words) from error


class _Backend(httpcore2.AsyncNetworkBackend):
    async def connect_tcp(self, host: str, port: int, *_: Any, **options: Any) -> _Stream:
        with anyio.fail_after(options["timeout"]):
            try:
                return _Stream(await anyio.connect_tcp(host, port))
            except OSError as error:
                # httpcore2 removes the cause of an error of its backend, the system's own.
                raise httpcore2.ConnectError(str(error)) from error


class Heads:
    """Finds the end of the head of a response in the bytes of a connection."""

    def __init__(self) -> None:
        # Bytes after a head; the last two of an unfinished head.
        self.rest = self._tail = b""

    def take_rest(self) -> bytes:
        """Return the bytes that came with a head, once."""
        rest, self.rest = self.rest, b""
        return rest

    def split(self, data: bytes) -> bytes:
        """Return `data`, at most to the end of a head, and keep the rest."""
        # A SOCKS proxy answers first, in binary.
        if self._tail or b"HTTP/".startswith(data[:5]):
            end = _HEAD_END.search(self._tail + data)
            size = end.end() - len(self._tail) if end else len(data)
            self._tail = b"" if end else (self._tail + data)[-2:]
            data, self.rest = data[:size], data[size:]
        return data


class ChunkedBody:
    """A chunked body, without I/O, with the callbacks of httptools.

    RFC 9112, 7.1 "Chunked Transfer Coding".
    """

    def __init__(self) -> None:
        self.is_complete: bool = False
        # Whether nothing followed the body.
        self.is_last: bool = True
        self._chunks: list[bytes] = []
        self._failure: str | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._parser.feed_data(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")

    @staticmethod
    def is_expected(method: str, status: int, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Return whether a response has one (RFC 9112, 6.3 "Message Body Length")."""
        fields = {name.lower() for name, _ in headers}
        no_body = method == "HEAD" or status in (101, 204, 304)
        return b"transfer-encoding" in fields and not no_body

    def feed(self, data: bytes) -> bytes:
        """Return what `data` holds of the body; empty bytes are the end of the connection."""
        try:
            self._parser.feed_data(data)
            self._failure = None if data else "the connection ended inside the body"
        except httptools.HttpParserError as error:
            self._failure = str(error)
            self.is_last = False
        body = b"".join(self._chunks)
        self._chunks.clear()
        return body

    @property
    def is_over(self) -> bool:
        """Whether the body is complete or broken."""
        return self.is_complete or self._failure is not None

    def close(self) -> None:
        """Raise RemoteProtocolError unless the body is complete."""
        if not self.is_complete:
            raise httpcore2.RemoteProtocolError(self._failure)

    def on_body(self, data: bytes) -> None:
        self._chunks.append(data)

    def on_message_begin(self) -> None:
        self.is_last = not self.is_complete

    def on_message_complete(self) -> None:
        self.is_complete = True


class _Stream(httpcore2.AsyncNetworkStream):
    """A connection. httpcore2's own takes 10 µs more for each read."""

    def __init__(self, stream: ByteStream) -> None:
        self.heads = Heads()
        self._stream = stream

    async def read(self, max_bytes: int = 0, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """Return the next bytes, at most to the end of the head of a response."""
        if timeout is None:
            data = await self.read_body()
        else:  # for the answer of a proxy
            with anyio.fail_after(timeout):
                data = await self.read_body()
        return self.heads.split(data)

    async def read_body(self) -> bytes:
        try:
            return self.heads.take_rest() or await self._stream.receive()
        except anyio.EndOfStream:
            return b""

    async def write(self, buffer: bytes, *_: Any, **__: Any) -> None:
        try:
            await self._stream.send(buffer)
        except anyio.BrokenResourceError as error:
            # httpcore2 reads the response nevertheless: it may say why.
            raise httpcore2.WriteError(str(error)) from error

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: Any,
        server_hostname: Any = None,
        timeout: Any = None,  # noqa: ASYNC109
    ) -> _Stream:
        try:
            with anyio.fail_after(timeout):
                stream = await TLSStream.wrap(
                    self._stream,
                    hostname=server_hostname,
                    ssl_context=ssl_context,
                    standard_compatible=False,
                )
        except BaseException:
            await anyio.aclose_forcefully(self._stream)
            raise
        return _Stream(stream)

    def get_extra_info(self, info: str) -> Any:
        if info == "ssl_object":
            return self._stream.extra(TLSAttribute.ssl_object, None)  # noqa: S610 - no SQL
        # Whether an idle connection is readable: it has ended.
        with DefaultSelector() as selector:
            selector.register(self._stream.extra(SocketAttribute.raw_socket), EVENT_READ)  # noqa: S610
            return bool(selector.select(0))


class _Body(httpx2.AsyncByteStream):
    """The body of a response, as httpx2 reads it."""

    def __init__(self, method: str, response: httpcore2.Response) -> None:
        self._stream = cast("dict[str, _Stream]", response.extensions)["network_stream"]
        self._h11_body = cast("httpx2.AsyncByteStream", response.stream)
        is_chunked = ChunkedBody.is_expected(method, response.status, response.headers)
        self._read = self._chunked if is_chunked else self._h11_body.__aiter__

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _httpx2_errors():
            async for data in self._read():
                yield data

    async def aclose(self) -> None:
        await self._h11_body.aclose()

    async def _chunked(self) -> AsyncIterator[bytes]:
        chunked = ChunkedBody()
        while not chunked.is_over:
            if data := chunked.feed(await self._stream.read_body()):
                yield data
        chunked.close()
        if chunked.is_last:
            # h11 has not seen the body, but sees its end: the connection can be used again.
            self._stream.heads.rest = b"0\r\n\r\n"
            await anext(aiter(self._h11_body), None)
