"""The parts of both transports over httpx2 that do not wait."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from ssl import SSLContext
from typing import Any, cast
from urllib.request import getproxies

import httpcore2
import httpx2

from sseparse._input import expect_type

from . import Request
from ._content import accepting
from ._errors import connect_timeout_error, connection_error, invalid_url_error, proxy_failure
from ._request import expect_url, is_credential, same_origin

# The events of httpcore after which a failure is no longer one of the proxy.
_CONNECTED = (
    "http11.send_request_headers.started",
    "proxy.start_tls.started",
    "socks.setup_socks5_connection.complete",
)


def expect_client(
    client: Any, kind: str, closing: str, proxy: str | None, tls: SSLContext | None
) -> None:
    """Raise TypeError or ValueError for a wrong client, proxy or settings of TLS.

    kind: the client's class, for the message.
    closing: the name of its method that closes it. Legacy httpx has other classes, alike.
    """
    if client is not None:
        methods = hasattr(client, "build_request") and hasattr(client, closing)
        if not methods or isinstance(client, type):
            raise TypeError(f"client must be an {kind}, got {type(client).__name__}")
        if proxy is not None:
            raise ValueError("proxy must be None with a client, which has its own proxies")
        if tls is not None:
            raise ValueError("tls must be None with a client, which has its own")
    if proxy is not None:
        expect_url("proxy", proxy, ("http", "https", "socks5", "socks5h"))
    if tls is not None:
        expect_type("tls", tls, SSLContext, "an ssl.SSLContext")


def uses_environment(trust_env: bool, proxy: str | None) -> bool:
    """Return whether the environment names proxies to choose among, which httpx2 does itself."""
    return trust_env and proxy is None and bool(getproxies())


def environment_error() -> ValueError:
    """Return the error for proxies of the environment that httpx2 refuses."""
    return ValueError("HTTP_PROXY and the like must be valid URLs of proxies")


@cache
def ssl_context(trust_env: bool) -> SSLContext:
    """Return httpx2's settings for TLS.

    Raises ValueError for unusable certificates of the environment.
    """
    try:
        # Loading the certificates takes 30 ms.
        return httpx2.create_ssl_context(trust_env=trust_env)
    except OSError as error:
        words = "SSL_CERT_FILE and SSL_CERT_DIR must name certificates in PEM"
        raise ValueError(f"{words}: {error}") from error


def core_request(request: httpx2.Request) -> httpcore2.Request:
    """Return `request` as one of httpcore2."""
    to = request.url
    return httpcore2.Request(
        request.method,
        httpcore2.URL(scheme=to.raw_scheme, host=to.raw_host, port=to.port, target=to.raw_path),
        headers=request.headers.raw,
        content=cast("Any", request.stream),
        extensions=request.extensions,
    )


class Sending:
    """One request, as httpx2 sends it.

    client: an httpx2.Client or httpx2.AsyncClient.
    request: the request, to which redirects from `url` led.
    proxy: URL of the proxy, or None where only httpcore knows it.
    timeout: seconds for a wait for the pool, to write, and for bytes of the head; or None.

    Raises ValueError or ConnectionError for a URL that httpx2 refuses.
    """

    def __init__(
        self,
        client: Any,
        request: Request,
        url: str,
        proxy: str | None,
        timeout: float | None = None,
    ) -> None:
        if client.is_closed:
            raise RuntimeError("the client of the transport is closed")
        headers = accepting(request.headers, client.headers["accept-encoding"])
        try:
            built = client.build_request(
                request.method,
                request.url,
                # As bytes: httpx2 encodes a str as ASCII.
                headers=[(name.encode(), value.encode()) for name, value in headers.items()],
                content=request.body or None,
                timeout=(request.connect_timeout, timeout, timeout, timeout),
            )
        except Exception:
            # InvalidURL, of httpx2 or httpx: no name by IDNA 2008, for instance.
            raise invalid_url_error(request, url) from None
        self.built: Any = built
        self.options: dict[str, Any] = {"stream": True, "follow_redirects": False}
        if not same_origin(request.url, url):
            self.options["auth"] = None
            for name in filter(is_credential, list(built.headers)):
                del built.headers[name]
        self.proxy = ProxySteps(built, proxy)
        self._request = request

    def failure(self, error: Exception) -> Exception:
        """Return the error to raise for `error` of httpx2, or of httpx."""
        # By name, because the exception of legacy httpx is another class.
        name = type(error).__name__
        if name == "ConnectTimeout" or (name == "ReadTimeout" and self.proxy.failure):
            return connect_timeout_error(self._request, self.proxy.failure)
        return connection_error(self._request.url, error, self.proxy.failure)


class ProxySteps:
    """The way of a request through its proxy, by the events of httpcore's extension "trace".

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
        self._read_timeout = self._timeouts["read"]
        self._proxy = proxy
        self._socks: Any = None

    def follow(self, event: str, info: Mapping[str, Any]) -> Any:
        """Follow an event; return a connection to close, which httpcore leaves open, or None."""
        kind, _, step = event.partition(".")
        if step == "connect_tcp.started":
            host, port = info["host"], info["port"]
            if self._proxy is None:
                if (host, port) == self._target:
                    return None
                scheme = "socks5" if kind == "socks" else "http"
                self._proxy = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
            self.failure = proxy_failure(self._proxy, reached=False)
        elif not self.failure:
            return None
        elif event == "connection.start_tls.started":
            self.failure = self.failure.replace(" http:", " https:")
        elif step == "setup_socks5_connection.started":
            self._socks = info["stream"]
            self._wait_for_proxy()
        elif step == "setup_socks5_connection.failed":
            return self._socks
        elif step == "send_request_headers.started" and info["request"].method == b"CONNECT":
            self._wait_for_proxy()
        elif event in _CONNECTED:
            self.failure = ""
            self._timeouts["read"] = self._read_timeout
        return None

    def _wait_for_proxy(self) -> None:
        self.failure = proxy_failure(cast("str", self._proxy), reached=True)
        self._timeouts["read"] = self._timeouts["connect"]
