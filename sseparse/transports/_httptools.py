"""An httpx2 transport that reads chunked bodies past h11, at a third of the cost for each chunk.

httpcore2 gets the head of a response alone from its network backend. A chunked body is read from
there, and httptools parses all chunks that have arrived at once.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Generator
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
        self._pool = httpcore2.AsyncConnectionPool(tls, through, network_backend=_Backend())

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send `request` and return the response once its head has arrived."""
        to = request.url
        sent = httpcore2.Request(
            request.method,
            httpcore2.URL(scheme=to.raw_scheme, host=to.raw_host, port=to.port, target=to.raw_path),
            headers=request.headers.raw,
            content=cast("httpx2.AsyncByteStream", request.stream),
            extensions=request.extensions,
        )
        with _httpx2_errors():
            response = await self._pool.handle_async_request(sent)
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


class _Stream(httpcore2.AsyncNetworkStream):
    """A connection. httpcore2's own takes 10 µs more for each read."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        # Bytes after a head; the last two of an unfinished head.
        self.received = self._head = b""

    async def read(self, max_bytes: int = 0, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """Return the next bytes, at most to the end of the head of a response."""
        if timeout is None:
            data = await self.read_body()
        else:  # for the answer of a proxy
            with anyio.fail_after(timeout):
                data = await self.read_body()
        # A SOCKS proxy answers first, in binary.
        if self._head or b"HTTP/".startswith(data[:5]):
            end = _HEAD_END.search(self._head + data)
            size = end.end() - len(self._head) if end else len(data)
            self._head = b"" if end else (self._head + data)[-2:]
            data, self.received = data[:size], data[size:]
        return data

    async def read_body(self) -> bytes:
        data, self.received = self.received, b""
        try:
            return data or await self._stream.receive()
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
    """The body of a response, as httpx2 reads it, with the callbacks of httptools."""

    def __init__(self, method: str, response: httpcore2.Response) -> None:
        self._stream = cast("dict[str, _Stream]", response.extensions)["network_stream"]
        self._h11_body = cast("httpx2.AsyncByteStream", response.stream)
        self._read = self._h11_body.__aiter__
        fields = {name.lower() for name, _ in response.headers}
        # RFC 9112, 6.3 "Message Body Length".
        no_body = method == "HEAD" or response.status in (101, 204, 304)
        if b"transfer-encoding" in fields and not no_body:
            self._read = self._chunked
        self._chunks: list[bytes] = []
        self._messages = self._complete = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _httpx2_errors():
            async for data in self._read():
                yield data

    async def aclose(self) -> None:
        await self._h11_body.aclose()

    async def _chunked(self) -> AsyncIterator[bytes]:
        parser = httptools.HttpResponseParser(self)
        parser.feed_data(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        failure = None
        while not self._complete and failure is None:
            data = await self._stream.read_body()
            try:
                parser.feed_data(data)
                failure = None if data else "the connection ended inside the body"
            except httptools.HttpParserError as error:
                failure = str(error)
            if self._chunks:
                yield b"".join(self._chunks)
                self._chunks.clear()
        if not self._complete:
            raise httpcore2.RemoteProtocolError(failure)
        if self._messages == 1 and failure is None:
            # h11 has not seen the body, but sees its end: the connection can be used again.
            self._stream.received = b"0\r\n\r\n"
            await anext(aiter(self._h11_body), None)

    def on_body(self, data: bytes) -> None:
        self._chunks.append(data)

    def on_message_begin(self) -> None:
        self._messages += 1

    def on_message_complete(self) -> None:
        self._complete += 1
