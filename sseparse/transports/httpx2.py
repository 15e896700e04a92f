"""The transport over httpx2. A client of legacy httpx, which has the same face, works too."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import anyio
import httpx2

from . import Request


class HTTPX2Transport:
    """Send requests with httpx2, on asyncio or trio.

    client: an httpx2.AsyncClient, which stays the caller's and stays open. Its auth, proxies,
        TLS and HTTP/2 are used, but not its timeouts: a stream has its own. Without one, each
        request has a client of its own, closed with the response.
    proxy: the URL of a proxy, http:, https:, socks5: or socks5h:, for the latter case.
    trust_env: whether the latter case heeds HTTP_PROXY and the like.

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
        self._client = client
        self._proxy = None if proxy is None else httpx2.Proxy(proxy)
        self._trust_env = trust_env

    async def send(self, request: Request) -> HTTPX2Response:
        """Send `request`; see Transport.send."""
        client = self._client
        own = None
        if client is None:
            client = own = httpx2.AsyncClient(proxy=self._proxy, trust_env=self._trust_env)
        try:
            with _errors(request.url):
                built = client.build_request(
                    request.method,
                    request.url,
                    # As bytes, because a header value may hold any character, in UTF-8.
                    headers=[(k.encode(), v.encode()) for k, v in request.headers.items()],
                    content=request.body or None,
                    timeout=None,
                )
                if built.url.scheme not in ("http", "https") or not built.url.host:
                    raise ValueError(f"not an http: or https: URL: {request.url!r}")
                response = await client.send(built, stream=True, follow_redirects=True)
        except BaseException:
            if own is not None:
                with anyio.CancelScope(shield=True):
                    await own.aclose()
            raise
        return HTTPX2Response(response, own)


class HTTPX2Response:
    """A response of httpx2, as a Response."""

    def __init__(self, response: httpx2.Response, client: httpx2.AsyncClient | None) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = dict(response.headers.items())
        self._response = response
        self._client = client
        self._chunks = response.aiter_bytes()

    async def receive(self) -> bytes:
        """Return the next bytes of the body; see Response.receive."""
        with _errors(str(self._response.url)):
            return await anext(self._chunks, b"")

    async def aclose(self) -> None:
        """Close the response, and the client if it is its own."""
        await self._response.aclose()
        if (
            self._response.http_version == "HTTP/2"
            or "network_stream" not in self._response.extensions
        ):
            await self._chunks.aclose()
        else:
            # Where a body is not read to its end, a generator inside of httpx2 stays suspended,
            # and trio warns about it. Now that the socket is closed, reading on ends it.
            with suppress(Exception):
                async for _ in self._chunks:
                    pass
        if self._client is not None:
            await self._client.aclose()


@contextmanager
def _errors(url: str) -> Generator[None, None, None]:
    # By name, because the exceptions of legacy httpx are other classes of the same names.
    try:
        yield
    except ExceptionGroup as error:
        # On asyncio, the OverflowError of a port above 65535 comes like this.
        raise ConnectionError(f"{url}: {error!r}") from error
    except Exception as error:
        names = [cls.__name__ for cls in type(error).__mro__]
        if "InvalidURL" in names or "LocalProtocolError" in names:
            raise ValueError(f"{url}: {error}") from error
        if "RequestError" in names:
            raise ConnectionError(f"{url}: {_words(error)}") from error
        raise


def _words(error: Any) -> str:
    """Return what went wrong: the message of some errors is empty."""
    return str(error) or type(error).__name__
