"""The transport over httpx2. A client of legacy httpx, which has the same face, works too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from ssl import SSLContext
from typing import cast

import anyio
import httpx2

from sseparse._display import redacted_url

from . import Request
from ._errors import TOKEN, connect_timeout_error, connection_error, credentials, header, rewrites

# What closing a client may take, in seconds.
GRACE = 1.0


class HTTPX2Transport:
    """Send requests with httpx2, on asyncio or trio.

    client: an httpx2.AsyncClient, which stays the caller's and stays open. Its auth, proxies,
        TLS and HTTP/2 are used, but not its timeouts: a stream has its own. Without one, each
        request has a client of its own, closed with the response.
    proxy: the URL of a proxy, http:, https:, socks5: or socks5h:, for the latter case.
    trust_env: whether the latter case heeds HTTP_PROXY and the like.

    Over HTTP/2, closing a response early frees the client at once, but httpx2 does not tell
    the server, which goes on until flow control stops it, and counts the stream as open: use one
    client for each source there. An auth of the client that answers challenges, such as digest,
    reads the bodies of those whole, and does not see the responses to redirected requests.

    Raises ValueError for a proxy that is no such URL.
    """

    def __init__(
        self,
        client: httpx2.AsyncClient | None = None,
        *,
        proxy: str | None = None,
        trust_env: bool = True,
    ) -> None:
        if client is not None and proxy is not None:
            raise ValueError("give either a client or a proxy: a client has its own proxies")
        try:
            self._proxy = None if proxy is None else httpx2.Proxy(proxy)
        except (httpx2.InvalidURL, ValueError):
            # What the library has to say repeats parts of it that may be secret.
            raise ValueError(f"not the URL of a proxy: {redacted_url(str(proxy))!r}") from None
        self._client = client
        self._trust_env = trust_env

    async def send(self, request: Request) -> HTTPX2Response:
        """Send `request`; see Transport.send."""
        if self._client is not None:
            response = await _send(self._client, request)
            return HTTPX2Response(response, None)
        client = self._new_client()
        try:
            response = await _send(client, request)
        except BaseException:
            with anyio.move_on_after(GRACE, shield=True):
                await client.aclose()
            raise
        return HTTPX2Response(response, client)

    def _new_client(self) -> httpx2.AsyncClient:
        try:
            return httpx2.AsyncClient(
                proxy=self._proxy,
                trust_env=self._trust_env,
                verify=_ssl_context(self._trust_env),
            )
        except httpx2.InvalidURL:
            raise ValueError("a proxy in the environment is no URL") from None


class HTTPX2Response:
    """A response of httpx2, as a Response."""

    def __init__(self, response: httpx2.Response, client: httpx2.AsyncClient | None) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = dict(response.headers.items())
        self._response = response
        self._client = client
        self._chunks = response.aiter_bytes()
        self._failed = False

    async def receive(self) -> bytes:
        """Return the next bytes of the body; see Response.receive."""
        if self._failed:
            url = redacted_url(str(self._response.url))
            raise ConnectionError(f"{url}: reading the body has failed before")
        try:
            return await anext(self._chunks, b"")
        except BaseException as error:
            self._failed = True
            if isinstance(error, Exception):
                raise connection_error(str(self._response.url), error) from error
            raise

    async def aclose(self) -> None:
        """Close the response, and the client if it is its own."""
        try:
            await self._response.aclose()
            await self._end_chunks()
        finally:
            if self._client is not None:
                with anyio.move_on_after(GRACE, shield=True):
                    await self._client.aclose()

    async def _end_chunks(self) -> None:
        extensions = self._response.extensions
        if self._response.http_version == "HTTP/2" or "network_stream" not in extensions:
            await self._chunks.aclose()
        else:
            # Where a body is not read to its end, a generator inside of httpx2 stays suspended,
            # and trio warns about it. Now that the socket is closed, reading on ends it, once
            # what has been received already is out.
            with suppress(Exception):
                async for _ in self._chunks:
                    pass


async def _send(client: httpx2.AsyncClient, request: Request) -> httpx2.Response:
    if not TOKEN.fullmatch(request.method):
        raise ValueError(f"not a method: {request.method!r}")
    if re.search(r"[\0- \x7f]", request.url):
        raise ValueError(f"not an http: or https: URL: {redacted_url(request.url)!r}")
    if client.is_closed:
        raise RuntimeError("the client of the transport is closed")
    try:
        built = client.build_request(
            request.method,
            request.url,
            headers=[header(name, value) for name, value in request.headers.items()],
            content=request.body or None,
            timeout=(request.connect_timeout, None, None, None),
        )
    except Exception as error:
        # By name, because the exception of legacy httpx is another class.
        if type(error).__name__ == "InvalidURL":
            raise ValueError(f"not an http: or https: URL: {redacted_url(request.url)!r}") from None
        raise
    if built.url.scheme not in ("http", "https") or not built.url.host:
        raise ValueError(f"not an http: or https: URL: {redacted_url(request.url)!r}")
    try:
        response = await client.send(built, stream=True, follow_redirects=False)
        # httpx2 would read the body of a redirect, which may never end; so the connection is
        # not used again.
        for _ in range(client.max_redirects):
            if response.next_request is None or rewrites(request.method, response.status_code):
                break
            await response.aclose()
            response = await client.send(
                _redirected(response), auth=_as_it_is, stream=True, follow_redirects=False
            )
    except Exception as error:
        # By name, as above.
        if type(error).__name__ == "ConnectTimeout":
            raise connect_timeout_error(request) from error
        raise connection_error(request.url, error) from error
    if response.has_redirect_location and not rewrites(request.method, response.status_code):
        await response.aclose()
        raise ConnectionError(
            f"{redacted_url(request.url)}: more than {client.max_redirects} redirects"
            if response.next_request
            else f"{redacted_url(request.url)}: a redirect to what is no URL"
        )
    return response


def _redirected(response: httpx2.Response) -> httpx2.Request:
    request = cast("httpx2.Request", response.next_request)
    here, there = response.url, request.url
    if (here.scheme, here.host, here.port) != (there.scheme, there.host, there.port):
        # httpx2 has left out the Authorization and the cookies alone.
        for name in credentials(request.headers):
            del request.headers[name]
    return request


def _as_it_is(request: httpx2.Request) -> httpx2.Request:
    # The request has the credentials still, where they may be sent, and takes none from the URL.
    return request


@cache
def _ssl_context(trust_env: bool) -> SSLContext:
    # It takes 30 ms to load the certificates.
    return httpx2.create_ssl_context(trust_env=trust_env)
