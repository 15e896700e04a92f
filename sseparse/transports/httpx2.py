"""The transport over httpx2. A client of legacy httpx, which has the same interface, works too."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import cache, partial
from ssl import SSLContext
from typing import Any, cast
from urllib.request import getproxies

import anyio
import httpx2

from . import Request
from ._content import accepting
from ._errors import connect_timeout_error, connection_error, invalid_url_error, proxy_failure
from ._httptools import HTTPToolsTransport
from ._request import expect_url, is_credential, same_origin
from ._response import HTTPResponse, follow_redirects

# Seconds that closing a client may take.
GRACE = 1.0

# The events of httpcore after which a failure is no longer one of the proxy.
_CONNECTED = (
    "http11.send_request_headers.started",
    "proxy.start_tls.started",
    "socks.setup_socks5_connection.complete",
)


class HTTPX2Transport:
    """Send requests with httpx2, on asyncio or trio.

    client: an httpx2.AsyncClient or httpx.AsyncClient. It stays open; its auth, proxies, TLS and
        HTTP/2 are used, its timeouts are not. Default: each request has a client of its own,
        closed with the response.
    proxy: URL of a proxy (http:, https:, socks5: or socks5h:). Only without a client.
    trust_env: without a client, use the proxies that HTTP_PROXY and the like name.

    The client's auth and default headers that may be credentials are not sent to another origin.
    Over HTTP/2, closing a response early does not tell the server, which goes on until flow
    control stops it: use one client for each source there. An auth that answers challenges, such
    as digest, reads their bodies whole.

    Raises TypeError and ValueError, naming the argument.
    """

    def __init__(
        self,
        client: httpx2.AsyncClient | None = None,
        *,
        proxy: str | None = None,
        trust_env: bool = True,
    ) -> None:
        if client is not None:
            # By methods, because the client of legacy httpx is another class.
            methods = hasattr(client, "build_request") and hasattr(client, "aclose")
            if not methods or isinstance(client, type):
                kind = type(client).__name__
                raise TypeError(f"client must be an httpx2.AsyncClient, got {kind}")
            if proxy is not None:
                raise ValueError("proxy must be None with a client, which has its own proxies")
        if proxy is not None:
            expect_url("proxy", proxy, ("http", "https", "socks5", "socks5h"))
        self._proxy = proxy
        self._client = client
        self._trust_env = trust_env
        self.keeps_connections: bool = client is not None

    async def send(self, request: Request) -> HTTPX2Response:
        """Send `request`; see Transport.send."""
        if self._client is not None:
            return await _send(self._client, request)
        client = self._new_client()
        try:
            response = await _send(client, request, self._proxy)
        except BaseException:
            await _close(client)
            raise
        response.own_client = client
        return response

    def _new_client(self) -> httpx2.AsyncClient:
        tls = _ssl_context(self._trust_env)
        if self._trust_env and self._proxy is None and getproxies():
            # httpx2's own transport chooses among the proxies of the environment.
            try:
                return httpx2.AsyncClient(verify=tls)
            except (httpx2.InvalidURL, ValueError):
                raise ValueError("HTTP_PROXY and the like must be valid URLs of proxies") from None
        return httpx2.AsyncClient(transport=HTTPToolsTransport(tls, self._proxy))


class HTTPX2Response(HTTPResponse):
    """A response of httpx2, as a Response."""

    def __init__(self, url: str, response: httpx2.Response) -> None:
        super().__init__(url, response.status_code, dict(response.headers.items()))
        self.own_client: httpx2.AsyncClient | None = None
        self._response = response
        self._chunks = response.aiter_raw()

    async def _receive(self) -> bytes:
        return await anext(self._chunks, b"")

    async def _aclose(self) -> None:
        try:
            await self._response.aclose()
            await self._end_chunks()
        finally:
            if self.own_client is not None:
                await _close(self.own_client)

    async def _end_chunks(self) -> None:
        extensions = self._response.extensions
        if self._response.http_version == "HTTP/2" or "network_stream" not in extensions:
            await self._chunks.aclose()
        else:
            # httpx2 leaves a generator of its own suspended where a body is not read to its end,
            # and trio warns about it. With the socket closed, reading on ends it, once what has
            # been received already is out.
            with suppress(Exception):
                async for _ in self._chunks:
                    pass


class _ProxyTrace:
    """Follows a request through its proxy, by the events of httpcore's extension "trace".

    sent: the request. Its connect timeout holds for each answer of the proxy too.
    proxy: URL of the proxy, or None where only httpcore knows it.

    https://www.encode.io/httpcore/extensions/#trace
    """

    def __init__(self, sent: httpx2.Request, proxy: str | None) -> None:
        # The start of an error's message, while connecting depends on the proxy.
        self.failure = ""
        port = sent.url.port or {"http": 80, "https": 443}[sent.url.scheme]
        self._target = sent.url.raw_host.decode(), port
        self._timeouts = sent.extensions["timeout"]
        self._proxy = proxy
        self._socks: Any = None

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        kind, _, step = event.partition(".")
        if step == "connect_tcp.started":
            host, port = info["host"], info["port"]
            if self._proxy is None:
                if (host, port) == self._target:
                    return
                scheme = "socks5" if kind == "socks" else "http"
                self._proxy = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
            self.failure = proxy_failure(self._proxy, reached=False)
        elif not self.failure:
            return
        elif event == "connection.start_tls.started":
            self.failure = self.failure.replace(" http:", " https:")
        elif step == "setup_socks5_connection.started":
            self._socks = info["stream"]
            self._wait_for_proxy()
        elif step == "setup_socks5_connection.failed":
            # httpcore leaves it open.
            with anyio.CancelScope(shield=True):
                await self._socks.aclose()
        elif step == "send_request_headers.started" and info["request"].method == b"CONNECT":
            self._wait_for_proxy()
        elif event in _CONNECTED:
            self.failure = ""
            self._timeouts["read"] = None

    def _wait_for_proxy(self) -> None:
        self.failure = proxy_failure(cast("str", self._proxy), reached=True)
        self._timeouts["read"] = self._timeouts["connect"]


async def _send(
    client: httpx2.AsyncClient, request: Request, proxy: str | None = None
) -> HTTPX2Response:
    if client.is_closed:
        raise RuntimeError("the client of the transport is closed")
    return await follow_redirects(request, partial(_send_once, client, proxy, request.url))


async def _send_once(
    client: httpx2.AsyncClient, proxy: str | None, url: str, request: Request
) -> HTTPX2Response:
    """Send `request`, to which redirects from `url` led, and return its response."""
    headers = accepting(request.headers, client.headers["accept-encoding"])
    try:
        built = client.build_request(
            request.method,
            request.url,
            # As bytes: httpx2 encodes a str as ASCII.
            headers=[(name.encode(), value.encode()) for name, value in headers.items()],
            content=request.body or None,
            timeout=(request.connect_timeout, None, None, None),
        )
    except Exception:
        # InvalidURL, of httpx2 or httpx: no name by IDNA 2008, for instance.
        raise invalid_url_error(request, url) from None
    options: dict[str, Any] = {}
    if not same_origin(request.url, url):
        options["auth"] = None
        for name in filter(is_credential, list(built.headers)):
            del built.headers[name]
    built.extensions["trace"] = trace = _ProxyTrace(built, proxy)
    try:
        response = await client.send(built, stream=True, follow_redirects=False, **options)
        return HTTPX2Response(request.url, response)
    except Exception as error:
        # By name, because the exception of legacy httpx is another class.
        name = type(error).__name__
        if name == "ConnectTimeout" or (name == "ReadTimeout" and trace.failure):
            raise connect_timeout_error(request, trace.failure) from error
        raise connection_error(request.url, error, trace.failure) from error


async def _close(client: httpx2.AsyncClient) -> None:
    with anyio.move_on_after(GRACE, shield=True):
        await client.aclose()


@cache
def _ssl_context(trust_env: bool) -> SSLContext:
    # Loading the certificates takes 30 ms.
    return httpx2.create_ssl_context(trust_env=trust_env)
