"""The transport over httpx2 for threads. A client of legacy httpx works too."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from ssl import SSLContext
from threading import RLock
from typing import Any, cast

import httpx2

from . import Request
from ._httpx2 import (
    Sending,
    environment_error,
    expect_client,
    ssl_context,
    uses_environment,
)
from ._response import HTTPBody, Redirects
from ._sync_httptools import SyncHTTPToolsTransport


class SyncHTTPX2Transport:
    """Send requests with httpx2, from threads.

    client: an httpx2.Client or httpx.Client. It stays open; its auth, proxies, TLS and HTTP/2 are
        used, its timeouts are not. Default: each request has a client of its own, closed with the
        response.
    proxy: URL of a proxy (http:, https:, socks5: or socks5h:). Only without a client.
    trust_env: without a client, use the proxies that HTTP_PROXY and the like name.
    tls: settings for https: URLs. Only without a client. Default: httpx2's.

    The client's auth and default headers that may be credentials are not sent to another origin.
    With a client or a proxy, httpx2 connects: the connect timeout then holds for each address of
    the host, and looking up a name has no limit. `close` from another thread ends connecting and
    reading at once. It does not interrupt a wait for the client's pool, nor for the head on a
    connection that is used again: there, time limits hold for each read. On HTTP/2 it ends the
    shared connection: use one client for each source.

    Raises TypeError and ValueError, naming the argument.
    """

    def __init__(
        self,
        client: httpx2.Client | None = None,
        *,
        proxy: str | None = None,
        trust_env: bool = True,
        tls: SSLContext | None = None,
    ) -> None:
        expect_client(client, "httpx2.Client", "close", proxy, tls)
        self._proxy = proxy
        self._client = client
        self._trust_env = trust_env
        self._tls = tls
        self.keeps_connections: bool = client is not None

    def prepare(self, request: Request) -> SyncHTTPX2Response:
        """Return the response to `request`; see SyncTransport.prepare."""
        return SyncHTTPX2Response(request, self._client, self._new_client, self._proxy)

    def _new_client(self, is_aborted: Callable[[], bool]) -> httpx2.Client:
        tls = self._tls or ssl_context(self._trust_env)
        if self._proxy is not None:
            return httpx2.Client(verify=tls, proxy=self._proxy)
        if not uses_environment(self._trust_env, self._proxy):
            return httpx2.Client(transport=SyncHTTPToolsTransport(tls, is_aborted))
        try:
            return httpx2.Client(verify=tls)
        except (httpx2.InvalidURL, ValueError):
            raise environment_error() from None


class SyncHTTPX2Response(HTTPBody):
    """A response of httpx2, as a SyncResponse."""

    def __init__(
        self,
        request: Request,
        client: httpx2.Client | None,
        new_client: Callable[[Callable[[], bool]], httpx2.Client],
        proxy: str | None,
    ) -> None:
        super().__init__()
        # Such as "HTTP/1.1", once it is started.
        self.http_version: str = ""
        self._request = request
        self._client = client
        self._new_client = new_client
        self._proxy = proxy
        self._own_client: httpx2.Client | None = None
        self._response: httpx2.Response | None = None
        self._chunks: Iterator[bytes] = iter(())
        # A duplicate of the connection's socket, as long as it belongs to this response alone.
        self._socket: socket.socket | None = None
        # A signal handler may abort while this thread holds it.
        self._socket_lock = RLock()
        self._aborted = False

    def start(self, timeout: float | None) -> None:
        """Send the request; see SyncResponse.start."""
        client = self._client
        if client is None:
            client = self._own_client = self._new_client(lambda: self._aborted)
        request = self._request
        if timeout is not None:
            connect_timeout = min(timeout, request.connect_timeout or timeout)
            request = replace(request, connect_timeout=connect_timeout)
        redirects = Redirects(request)
        while True:
            self._send(client, redirects.request, timeout)
            if not redirects.follow(self.status, self.headers):
                return
            cast("httpx2.Response", self._response).close()

    def receive(self) -> bytes:
        """Return the next bytes of the body; see SyncResponse.receive."""
        self._expect_readable()
        try:
            while (piece := next(self._pieces, None)) is None:
                data = next(self._chunks, b"")
                if not data and self._aborted:
                    raise ConnectionAbortedError("closed while reading")
                if self._decoder is None:
                    return data
                if not data:
                    self._decoder.close()
                    return b""
                self._pieces = self._decoder.feed(data)
            return piece
        except BaseException as error:
            failure = self._failure(error)
            if failure is error:
                raise
            raise failure from error

    def abort(self) -> None:
        """Shut the connection down; see SyncResponse.abort."""
        self._aborted = True
        with self._socket_lock:
            if self._socket is not None:
                with suppress(OSError):  # it is not connected any more
                    self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the response; see SyncResponse.close."""
        self._over = True
        self._use(None)
        try:
            if self._response is not None:
                self._response.close()
        finally:
            if self._own_client is not None:
                self._own_client.close()

    def _send(self, client: httpx2.Client, request: Request, timeout: float | None) -> None:
        """Send `request`, to which redirects may have led, and take the head of the response."""
        if self._aborted:
            raise ConnectionAbortedError("closed before the request was sent")
        sending = Sending(client, request, self._request.url, self._proxy, timeout)

        def trace(event: str, info: Mapping[str, Any]) -> None:
            if (left_open := sending.proxy.follow(event, info)) is not None:
                left_open.close()
            if event.endswith((".connect_tcp.complete", ".connect_unix_socket.complete")):
                self._use(info["return_value"])
            elif event == "http11.response_closed.started":
                self._use(None)

        sending.built.extensions["trace"] = trace
        try:
            self._response = response = client.send(sending.built, **sending.options)
        except Exception as error:
            raise sending.failure(error) from error
        # The time limit of the head is not one of the body.
        sending.built.extensions["timeout"]["read"] = None
        self._use(response.extensions.get("network_stream"))
        self._chunks = response.iter_raw()
        self.http_version = response.http_version
        self._begin(request.url, response.status_code, dict(response.headers.items()))

    def _use(self, stream: Any) -> None:
        """Remember the socket of a connection of httpcore, or forget it for None."""
        used = None if stream is None else stream.get_extra_info("socket")
        with self._socket_lock:
            if self._socket is not None:
                self._socket.close()
            self._socket = None
            if used is not None and used.fileno() >= 0:
                # A duplicate: TLS detaches the library's own, and any thread may close that.
                self._socket = socket.fromfd(used.fileno(), used.family, used.type)
        if self._aborted:
            self.abort()
