"""The transport over aiohttp, for asyncio."""

from __future__ import annotations

import asyncio
import io
from functools import partial
from typing import Any, cast
from urllib.request import getproxies

import aiohttp
import anyio

from sseparse._input import expect_type

from . import Request
from ._content import accepting
from ._errors import connect_timeout_error, connection_error, invalid_url_error, proxy_failure
from ._request import expect_url, is_credential, same_origin
from ._response import HTTPResponse, follow_redirects


class AiohttpTransport:
    """Send requests with aiohttp, on asyncio alone.

    session: an aiohttp.ClientSession. It stays open; its auth, proxies, cookies, middlewares, TLS
        and connector are used, its timeouts and its response class are not. Looking a name up and
        the answer of a proxy are no part of the connect_timeout then. Default: each request has a
        session of its own, closed with the response.
    proxy: URL of a proxy (http: or https:). Only without a session.
    trust_env: without a session, use the proxies that HTTP_PROXY and the like name, and the
        credentials in .netrc, beside which aiohttp accepts no Authorization field.

    The session's auth and default headers that may be credentials are not sent to another origin.
    Where the connection is lost before the response to a GET or another idempotent request,
    aiohttp sends it once more. Where wrong framing arrives together with the head, aiohttp raises
    before it hands out the response, and what came before the damage is lost.

    Raises TypeError and ValueError, naming the argument.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession | None = None,
        *,
        proxy: str | None = None,
        trust_env: bool = True,
    ) -> None:
        if session is not None:
            expect_type("session", session, aiohttp.ClientSession, "an aiohttp.ClientSession")
            if proxy is not None:
                raise ValueError("proxy must be None with a session, which has its own proxies")
        if proxy is not None:
            expect_url("proxy", proxy)
        self._session = session
        self._proxy = proxy
        self._trust_env = trust_env
        self.keeps_connections: bool = session is not None

    async def send(self, request: Request) -> AiohttpResponse:
        """Send `request`; see Transport.send. Raises RuntimeError outside of asyncio."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                "aiohttp runs on asyncio alone; HTTPX2Transport runs on trio too"
            ) from None
        own = self._new_session() if self._session is None else None
        session = own or cast("aiohttp.ClientSession", self._session)
        if session.closed:
            raise RuntimeError("the session of the transport is closed")
        try:
            send = partial(self._send_once, session, request.url)
            response = await follow_redirects(request, send)
        except BaseException:
            await _close(own)
            raise
        response.own_session = own
        return response

    def _new_session(self) -> aiohttp.ClientSession:
        if self._trust_env and self._proxy is None:
            # aiohttp would check them only while it sends.
            for scheme, proxy in getproxies().items():
                if scheme in ("http", "https"):
                    expect_url(f"{scheme}_proxy in the environment", proxy)
        return aiohttp.ClientSession(trust_env=self._trust_env)

    async def _send_once(
        self, session: aiohttp.ClientSession, url: str, request: Request
    ) -> AiohttpResponse:
        """Send `request`, to which redirects from `url` led, and return its response."""
        # The proxy's yarl.URL, until a connection through it is made.
        proxy: Any = None

        def make_response(*args: Any, **options: Any) -> _Response:
            nonlocal proxy
            proxy = None
            return _Response(*args, **options)

        async def prepare(
            sent: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            nonlocal proxy
            proxy = sent.proxy
            sent.response_class = cast("type[_Response]", make_response)
            if not same_origin(request.url, url):
                for name in filter(is_credential, list(sent.headers)):
                    del sent.headers[name]
            return await send(sent)

        try:
            response = await session.request(
                request.method,
                request.url,
                headers=accepting(request.headers, session.headers.get("accept-encoding", "")),
                # aiohttp would add one to a body.
                skip_auto_headers=["Content-Type"],
                # Of bytes beyond 1 MiB, aiohttp warns.
                data=io.BytesIO(request.body) if request.body else None,
                # These take the place of the session's.
                middlewares=[*getattr(session, "_middlewares", ()), prepare],
                proxy=self._proxy,
                timeout=aiohttp.ClientTimeout(
                    total=None,
                    sock_connect=request.connect_timeout,
                    # Includes looking the name up, but also waiting for a free connection.
                    connect=None if self._session else request.connect_timeout,
                ),
                allow_redirects=False,
                auto_decompress=False,
                raise_for_status=False,
            )
            return AiohttpResponse(request.url, cast("_Response", response))
        except aiohttp.ConnectionTimeoutError as error:
            raise connect_timeout_error(request, _proxy_failure(proxy, error)) from error
        except aiohttp.InvalidURL:
            raise invalid_url_error(request, url) from None
        except Exception as error:
            failure = _proxy_failure(proxy, error)
            # The message of some has a whole URL in it, such as the proxy's with its password.
            if isinstance(error, aiohttp.ClientResponseError) and error.__cause__ is None:
                cause = ConnectionError(f"HTTP {error.status}: {error.message}")
                raise connection_error(request.url, cause, failure) from error
            raise connection_error(request.url, error.__cause__ or error, failure) from error


class AiohttpResponse(HTTPResponse):
    """A response of aiohttp, as a Response."""

    def __init__(self, url: str, response: _Response) -> None:
        fields: dict[str, list[str]] = {}
        for name, value in response.raw_headers:
            fields.setdefault(name.decode().lower(), []).append(_text(value))
        super().__init__(url, response.status, {name: ", ".join(fields[name]) for name in fields})
        self._response = response
        self.own_session: aiohttp.ClientSession | None = None
        # Done when the connection is lost; None where the whole body is here already.
        protocol = None if response.connection is None else response.connection.protocol
        self._lost = None if protocol is None else protocol.closed
        if self._lost is not None:
            # At most once for a connection, however many responses it carries.
            self._lost.remove_done_callback(_retrieve)
            self._lost.add_done_callback(_retrieve)
            self._lost.add_done_callback(self._end_content)

    async def _receive(self) -> bytes:
        content = self._response.content
        try:
            data = await content.readany()
        except Exception as error:
            # aiohttp raises it before the bytes that came before it.
            cast("Any", content).set_exception(None)
            data = content.read_nowait()
            content.set_exception(error)
            if not data:
                raise
        framed = "content-length" in self.headers or "transfer-encoding" in self.headers
        if not data and not framed and self._lost is not None and self._lost.done():
            # For aiohttp, a reset is a good end of a body that ends with the connection.
            self._lost.result()
        return data

    async def _aclose(self) -> None:
        if self._lost is not None:
            self._lost.remove_done_callback(self._end_content)
        self._response.abort()
        await _close(self.own_session)

    def _end_content(self, _: object) -> None:
        # Where the framing is wrong, aiohttp closes the connection but leaves the reader waiting.
        content = self._response.content
        if not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("the framing of the body is wrong"))


class _Response(aiohttp.ClientResponse):
    """A response whose connection can be closed at once.

    aiohttp's own closing waits for the peer to read what is sent, and for TLS to end.
    """

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        try:
            return await super().start(connection)
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        # After a whole body, the connection is no longer this response's.
        if self.connection is not None and self.connection.transport is not None:
            self.connection.transport.abort()
        self.close()


def _proxy_failure(proxy: Any, error: Exception) -> str:
    """Return the words about the proxy at which `error` has occurred, or "" for the target."""
    if proxy is None:
        return ""
    # Errors of TCP, TLS and of looking a name up have the host; those of CONNECT do not.
    host = getattr(error, "host", None)
    if host is None:
        return proxy_failure(str(proxy), reached=True)
    is_proxy = (host, getattr(error, "port", None)) == (proxy.raw_host, proxy.port)
    return proxy_failure(str(proxy), reached=False) if is_proxy else ""


def _text(value: bytes) -> str:
    # RFC 9110, 5.5: historically ISO-8859-1. aiohttp's own text has surrogates.
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


async def _close(session: aiohttp.ClientSession | None) -> None:
    with anyio.CancelScope(shield=True):
        if session is not None:
            await session.close()
        # asyncio closes the socket of an aborted connection in its next round.
        await anyio.lowlevel.checkpoint()


def _retrieve(lost: asyncio.Future[None]) -> None:
    # asyncio would log an exception that nobody looks at.
    lost.exception()
