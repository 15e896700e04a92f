"""The httpx2 transport of _httptools for threads; its connecting can be aborted."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from ssl import SSLContext
from typing import Any, cast

import httpcore2
import httpx2

from ._connecting import connect
from ._httptools import ChunkedBody, Heads
from ._httpx2 import core_request

# Bytes of one read, as in httpcore2.
_READ_SIZE = 65536


class SyncHTTPToolsTransport(httpx2.BaseTransport):
    """Send the requests of an httpx2.Client over HTTP/1.1, without proxies.

    tls: for https: URLs.
    is_aborted: called while it connects: whether to give up.
    """

    def __init__(self, tls: SSLContext, is_aborted: Callable[[], bool]) -> None:
        self._pool = httpcore2.ConnectionPool(tls, network_backend=_Backend(is_aborted))

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send `request` and return the response once its head has arrived."""
        response = self._pool.handle_request(core_request(request))
        return httpx2.Response(
            response.status,
            headers=response.headers,
            stream=_Body(request.method, response),
            extensions=cast("dict[str, Any]", response.extensions),
        )

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


class _Backend(httpcore2.NetworkBackend):
    def __init__(self, is_aborted: Callable[[], bool]) -> None:
        self._is_aborted = is_aborted

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *_: Any, **__: Any
    ) -> _Stream:
        try:
            return _Stream(connect(host, port, timeout, self._is_aborted))
        except TimeoutError as error:
            if error.errno is not None:  # the system's own, not this timeout
                raise httpcore2.ConnectError(str(error)) from error
            raise httpcore2.ConnectTimeout from error


class _Stream(httpcore2.NetworkStream):
    """A connection; its timeouts are those of the socket."""

    def __init__(self, connected: socket.socket) -> None:
        self.heads = Heads()
        self._socket = connected

    def read(self, max_bytes: int = 0, timeout: float | None = None) -> bytes:
        """Return the next bytes, at most to the end of the head of a response."""
        self.settimeout(timeout)
        return self.heads.split(self.read_body())

    def read_body(self) -> bytes:
        return self.heads.take_rest() or self._socket.recv(_READ_SIZE)

    def settimeout(self, timeout: float | None) -> None:
        self._socket.settimeout(timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._socket.settimeout(timeout)
        try:
            self._socket.sendall(buffer)
        except OSError as error:
            # httpcore2 reads the response nevertheless: it may say why.
            raise httpcore2.WriteError(str(error)) from error

    def close(self) -> None:
        self._socket.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: Any = None
    ) -> _Stream:
        self._socket.settimeout(timeout)
        # It takes the descriptor.
        wrapped = ssl_context.wrap_socket(
            self._socket, server_hostname=server_hostname, do_handshake_on_connect=False
        )
        try:
            wrapped.do_handshake()
        except BaseException as error:
            wrapped.close()
            if isinstance(error, TimeoutError):
                raise httpcore2.ConnectTimeout from error
            raise
        return _Stream(wrapped)

    def get_extra_info(self, info: str) -> Any:
        return self._socket if info == "socket" else None


class _Body(httpx2.SyncByteStream):
    """The body of a response, as httpx2 reads it."""

    def __init__(self, method: str, response: httpcore2.Response) -> None:
        self._stream = cast("dict[str, _Stream]", response.extensions)["network_stream"]
        self._response = response
        is_chunked = ChunkedBody.is_expected(method, response.status, response.headers)
        self._read = self._chunked if is_chunked else response.iter_stream

    def __iter__(self) -> Iterator[bytes]:
        return self._read()

    def close(self) -> None:
        self._response.close()

    def _chunked(self) -> Iterator[bytes]:
        chunked = ChunkedBody()
        # The timeout was that of the head.
        self._stream.settimeout(None)
        while not chunked.is_over:
            if data := chunked.feed(self._stream.read_body()):
                yield data
        chunked.close()
