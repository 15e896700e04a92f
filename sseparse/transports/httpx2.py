"""The transport over httpx2. A client of legacy httpx, which has the same interface, works too."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from ssl import SSLContext
from typing import Any

import anyio
import httpx2

from . import Request
from ._httptools import HTTPToolsTransport
from ._httpx2 import Sending, environment_error, expect_client, ssl_context, uses_environment
from ._response import HTTPResponse, follow_redirects

# Seconds that closing a client may take.
GRACE = 1.0

# Requests in flight on a client that many share. For each request, the pool of httpcore2 2.16 looks
# at all of its connections: 2,000 requests on one client take eleven times the CPU of these.
_MAX_SHARED = 32


class HTTPX2Transport:
    """Send requests with httpx2, on asyncio or trio.

    client: an httpx2.AsyncClient or httpx.AsyncClient. It stays open; its auth, proxies, TLS and
        HTTP/2 are used, its timeouts are not. Default: each request has a client of its own,
        closed with the response; within `async with transport` requests share clients, and
        connections, which are closed at the end.
    proxy: URL of a proxy (http:, https:, socks5: or socks5h:). Only without a client.
    trust_env: without a client, use the proxies that HTTP_PROXY and the like name.
    tls: settings for https: URLs. Only without a client. Default: httpx2's.

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
        tls: SSLContext | None = None,
    ) -> None:
        expect_client(client, "httpx2.AsyncClient", "aclose", proxy, tls)
        self._proxy = proxy
        self._client = client
        self._trust_env = trust_env
        self._tls = tls
        # Not None while the transport is open.
        self._shared: list[_SharedClient] | None = None
        self._is_closed = False
        self.keeps_connections: bool = client is not None

    async def send(self, request: Request) -> HTTPX2Response:
        """Send `request`; see Transport.send."""
        if self._client is not None:
            return await _send(self._client, request, self._proxy)
        if self._is_closed:
            raise RuntimeError("the transport is closed")
        if self._shared is not None:
            return await self._shared_client(self._shared).send(request, self._proxy)
        client = self._new_client()
        try:
            response = await _send(client, request, self._proxy)
        except BaseException:
            await _close(client)
            raise
        response.own_client = client
        return response

    async def __aenter__(self) -> HTTPX2Transport:
        if self._client is not None or self._shared is not None:
            raise RuntimeError("the transport must have no client, and must be opened once")
        self._shared = [_SharedClient(self._new_client())]
        self.keeps_connections = True
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._is_closed = True
        async with anyio.create_task_group() as tasks:
            for shared in self._shared or ():
                tasks.start_soon(_close, shared.client)

    def _shared_client(self, all_shared: list[_SharedClient]) -> _SharedClient:
        for shared in all_shared:
            if shared.in_flight < _MAX_SHARED:
                return shared
        all_shared.append(_SharedClient(self._new_client()))
        return all_shared[-1]

    def _new_client(self) -> httpx2.AsyncClient:
        tls = self._tls or ssl_context(self._trust_env)
        if not uses_environment(self._trust_env, self._proxy):
            return httpx2.AsyncClient(transport=HTTPToolsTransport(tls, self._proxy))
        try:
            return httpx2.AsyncClient(verify=tls, limits=httpx2.Limits())
        except (httpx2.InvalidURL, ValueError):
            raise environment_error() from None


class _SharedClient:
    """A client of an open transport, and the number of its requests in flight."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.client: httpx2.AsyncClient = client
        self.in_flight: int = 0

    async def send(self, request: Request, proxy: str | None) -> HTTPX2Response:
        self.in_flight += 1
        try:
            response = await _send(self.client, request, proxy)
        except BaseException:
            self.in_flight -= 1
            raise
        response.shared_client = self
        return response


class HTTPX2Response(HTTPResponse):
    """A response of httpx2, as a Response."""

    def __init__(self, url: str, response: httpx2.Response) -> None:
        super().__init__(url, response.status_code, dict(response.headers.items()))
        self.own_client: httpx2.AsyncClient | None = None
        self.shared_client: _SharedClient | None = None
        self._response = response
        self._chunks = response.aiter_raw()

    async def _receive(self) -> bytes:
        return await anext(self._chunks, b"")

    async def _aclose(self) -> None:
        try:
            await self._response.aclose()
            await self._end_chunks()
        finally:
            if self.shared_client is not None:
                self.shared_client.in_flight -= 1
                self.shared_client = None
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


async def _send(
    client: httpx2.AsyncClient, request: Request, proxy: str | None = None
) -> HTTPX2Response:
    return await follow_redirects(request, partial(_send_once, client, proxy, request.url))


async def _send_once(
    client: httpx2.AsyncClient, proxy: str | None, url: str, request: Request
) -> HTTPX2Response:
    """Send `request`, to which redirects from `url` led, and return its response."""
    sending = Sending(client, request, url, proxy)

    async def trace(event: str, info: Mapping[str, Any]) -> None:
        if (left_open := sending.proxy.follow(event, info)) is not None:
            with anyio.CancelScope(shield=True):
                await left_open.aclose()

    sending.built.extensions["trace"] = trace
    try:
        response = await client.send(sending.built, **sending.options)
        return HTTPX2Response(request.url, response)
    except Exception as error:
        raise sending.failure(error) from error


async def _close(client: httpx2.AsyncClient) -> None:
    with anyio.move_on_after(GRACE, shield=True):
        await client.aclose()
