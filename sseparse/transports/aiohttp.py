"""The transport over aiohttp, for asyncio."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, cast
from urllib.request import getproxies

import aiohttp
import anyio
from yarl import URL

from sseparse._display import one_line, redacted_url

from . import Request
from ._errors import TOKEN, connect_timeout_error, connection_error, credentials, header, rewrites

_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 20


class AiohttpTransport:
    """Send requests with aiohttp, on asyncio alone.

    session: an aiohttp.ClientSession, which stays the caller's and stays open. Its auth, proxies,
        cookies, TLS and connector are used, but not its timeouts: a stream has its own. Without
        one, each request has a session of its own, closed with the response. With one, the lookup
        of a name is no part of the connect_timeout.
    proxy: the URL of a proxy, http: or https:, for the latter case.
    trust_env: whether the latter case heeds HTTP_PROXY and the like, and what .netrc has for a
        host, beside which aiohttp takes no Authorization header.

    On a redirect to another origin, aiohttp sends the auth of the session along, if that has one:
    the credentials among a request's headers stay with their origin.

    Where the connection is lost before the response to a GET or another idempotent request,
    aiohttp sends it once more.

    Raises ValueError for a proxy that is no such URL.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession | None = None,
        *,
        proxy: str | None = None,
        trust_env: bool = True,
    ) -> None:
        if session is not None and proxy is not None:
            raise ValueError("give either a session or a proxy: a session has its own proxies")
        self._proxy = None if proxy is None else _url(proxy, "the URL of a proxy")
        self._session = session
        self._trust_env = trust_env

    async def send(self, request: Request) -> AiohttpResponse:
        """Send `request`; see Transport.send. Raises RuntimeError where asyncio does not run."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                "aiohttp runs on asyncio alone; HTTPX2Transport runs on trio too"
            ) from None
        own = self._new_session() if self._session is None else None
        try:
            session = own or cast("Any", self._session)
            response = await _send(session, request, self._proxy, own is not None)
            return AiohttpResponse(response, own)
        except BaseException:
            await _close(own)
            raise

    def _new_session(self) -> aiohttp.ClientSession:
        if self._trust_env and self._proxy is None:
            # Here, because aiohttp looks at them while it sends.
            for scheme, proxy in getproxies().items():
                if scheme in ("http", "https"):
                    _url(proxy, f"the URL of a proxy, which {scheme}_proxy must be")
        return aiohttp.ClientSession(trust_env=self._trust_env, response_class=_ClientResponse)


class AiohttpResponse:
    """A response of aiohttp, as a Response."""

    def __init__(
        self, response: aiohttp.ClientResponse, session: aiohttp.ClientSession | None
    ) -> None:
        fields: dict[str, list[str]] = {}
        for name, value in response.raw_headers:
            fields.setdefault(name.decode().lower(), []).append(value.decode(errors="replace"))
        self.status = response.status
        self.headers: Mapping[str, str] = {name: ", ".join(fields[name]) for name in fields}
        self._response = response
        self._session = session
        self._failure: Exception | None = None
        # Done when the connection is lost; None where the whole body is here already.
        protocol = None if response.connection is None else response.connection.protocol
        self._lost = None if protocol is None else protocol.closed
        if self._lost is not None:
            # At most once for a connection, however many responses it carries.
            self._lost.remove_done_callback(_retrieve)
            self._lost.add_done_callback(_retrieve)
            self._lost.add_done_callback(self._end_content)

    async def receive(self) -> bytes:
        """Return the next bytes of the body; see Response.receive."""
        if self._failure is None:
            content = self._response.content
            try:
                # aiohttp looks for a cancellation only where nothing has been received yet.
                await anyio.lowlevel.checkpoint_if_cancelled()
                data = await content.readany()
                if not data:
                    self._raise_if_reset()
                return data
            except Exception as error:
                self._failure = error
                # What was received before the error comes first, and aiohttp would keep it.
                cast("Any", content).set_exception(None)
                if data := content.read_nowait():
                    return data
            except BaseException:
                self._failure = RuntimeError("reading the body has been cancelled before")
                raise
        raise connection_error(str(self._response.url), self._failure) from self._failure

    async def aclose(self) -> None:
        """Close the response, and the session if it is its own."""
        self._failure = RuntimeError("the response is closed")
        if self._lost is not None:
            self._lost.remove_done_callback(self._end_content)
        _abort(self._response.connection)
        self._response.close()
        await _close(self._session)

    def _end_content(self, _: object) -> None:
        # Where the framing is wrong, aiohttp closes the connection but leaves the reader waiting.
        content = self._response.content
        if not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("the framing of the body is wrong"))

    def _raise_if_reset(self) -> None:
        # Where the body ends with the connection, any end of that is a good one for aiohttp.
        framed = "content-length" in self.headers or "transfer-encoding" in self.headers
        if not framed and self._lost is not None and self._lost.done():
            self._lost.result()


class _ClientResponse(aiohttp.ClientResponse):
    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        try:
            return await super().start(connection)
        except BaseException:
            # Over TLS, aiohttp would wait for the peer to say goodbye.
            _abort(connection)
            raise


class _Body(aiohttp.BytesPayload):
    """The body of a request, of any size, and the connections on which it went out."""

    def __init__(self, value: bytes) -> None:
        # With the whole of a large one, it would warn.
        super().__init__(b"")
        self._value = value
        self._size = len(value)
        self._transports: list[asyncio.Transport] = []

    async def write_with_length(self, writer: Any, content_length: int | None) -> None:
        self._transports.append(writer.transport)
        await super().write_with_length(writer, content_length)

    def abort(self) -> None:
        # aiohttp has them closed, but a peer that does not read could keep them open.
        for transport in self._transports:
            if transport.is_closing():
                transport.abort()


async def _send(
    session: aiohttp.ClientSession,
    request: Request,
    proxy: URL | None,
    own: bool,
) -> aiohttp.ClientResponse:
    if session.closed:
        raise RuntimeError("the session of the transport is closed")
    url = _url(request.url, "an http: or https: URL")
    if not TOKEN.fullmatch(request.method):
        raise ValueError(f"not a method of HTTP: {request.method!r}")
    for name, value in request.headers.items():
        header(name, value)
    body = _Body(request.body)
    # What is given here takes the place of the session's own.
    middlewares = [*getattr(session, "_middlewares", ()), _keep_credentials_of(url.origin())]
    try:
        for _ in range(_MAX_REDIRECTS + 1):
            response = await session.request(
                request.method,
                url,
                headers=dict(request.headers),
                # A type that aiohttp would add.
                skip_auto_headers=["Content-Type"],
                data=body if request.body else None,
                middlewares=middlewares,
                proxy=proxy,
                timeout=aiohttp.ClientTimeout(
                    total=None,
                    sock_connect=request.connect_timeout,
                    # This one has the lookup of a name in it, but also the wait for a free
                    # connection of a session that has other requests.
                    connect=request.connect_timeout if own else None,
                ),
                # Which would make a GET of a POST.
                allow_redirects=False,
                auto_decompress=True,
                raise_for_status=False,
            )
            if response.status not in _REDIRECTS or rewrites(request.method, response.status):
                return response
            _abort(response.connection)
            response.close()
            url = _target(url, response)
    except aiohttp.ConnectionTimeoutError as error:
        raise connect_timeout_error(request) from error
    except aiohttp.ClientResponseError as error:
        # As text it has the whole URL, and as its repr the header fields of the request too.
        words = one_line(error.message or type(error).__name__)
        error.request_info = error.request_info._replace(headers=cast("Any", {}))
        raise ConnectionError(f"{redacted_url(request.url)}: {words}") from error
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
        words = f"a redirect that cannot be followed ({type(error).__name__})"
        raise ConnectionError(f"{redacted_url(request.url)}: {words}") from error
    except Exception as error:
        raise connection_error(request.url, error) from error
    finally:
        body.abort()
    raise ConnectionError(f"{redacted_url(request.url)}: more than {_MAX_REDIRECTS} redirects")


def _target(url: URL, response: aiohttp.ClientResponse) -> URL:
    location = response.headers.get("location")
    if not location:
        raise aiohttp.ClientPayloadError(f"a redirect ({response.status}) to nowhere")
    try:
        target = URL(location)
        # It may have no host, which `join` does not mind.
        target = target if target.scheme else url.join(target)
        target.origin()
        return target
    except ValueError as error:
        raise aiohttp.InvalidUrlRedirectClientError(redacted_url(location)) from error


def _keep_credentials_of(origin: URL) -> Any:
    """Return a middleware that sends credentials to `origin` alone, where redirects lead to."""

    async def keep(request: aiohttp.ClientRequest, send: Any) -> aiohttp.ClientResponse:
        if request.url.origin() != origin:
            for name in credentials(request.headers):
                del request.headers[name]
        response: aiohttp.ClientResponse = await send(request)
        return response

    return keep


def _url(url: str, what: str) -> URL:
    try:
        parsed = URL(url)
        # Before a name is looked up, which is when the parts of it are checked.
        (parsed.raw_host or "").encode("idna")
    except ValueError:
        # What the library has to say repeats parts of it that may be secret.
        raise ValueError(f"not {what}: {redacted_url(url)!r}") from None
    # Of these, yarl drops some and lets some pass.
    strange = re.search(r"[\0-\x1f\x7f\ud800-\udfff]|//[^/?#]* ", url)
    if strange or parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"not {what}: {redacted_url(url)!r}")
    return parsed


def _abort(connection: Any) -> None:
    # Unlike closing, it waits neither for a peer to read nor for TLS to end.
    if connection is not None and connection.transport is not None:
        connection.transport.abort()


async def _close(session: aiohttp.ClientSession | None) -> None:
    with anyio.CancelScope(shield=True):
        if session is not None:
            await session.close()
        # asyncio closes the socket of an aborted connection in its next round.
        await anyio.lowlevel.checkpoint()


def _retrieve(lost: asyncio.Future[None]) -> None:
    # asyncio would log an exception that nobody looks at.
    lost.exception()
