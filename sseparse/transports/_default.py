"""The default transports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from . import SyncTransport, Transport


def transport_or_default(transport: Any, proxy: str | None = None) -> Transport:
    """Return `transport`, or an HTTPX2Transport for None; for clients of your own.

    proxy: the URL of a proxy for the HTTPX2Transport.

    Raises TypeError for an HTTP client or another object that is no transport, and ValueError for
    both a transport and a proxy.
    """
    if transport is None:
        # Imported late: callers with a transport of their own need no httpx2.
        from .httpx2 import HTTPX2Transport

        return HTTPX2Transport(proxy=proxy)
    # HTTP clients have a `send` of another kind, and a `post`.
    is_transport = hasattr(transport, "send") and not hasattr(transport, "post")
    _expect(transport, is_transport, "a Transport, such as HTTPX2Transport(client)", proxy)
    return cast("Transport", transport)


def sync_transport_or_default(transport: Any, proxy: str | None = None) -> SyncTransport:
    """Return `transport`, or a SyncHTTPX2Transport for None; see transport_or_default."""
    if transport is None:
        from .sync_httpx2 import SyncHTTPX2Transport

        return SyncHTTPX2Transport(proxy=proxy)
    is_transport = hasattr(transport, "prepare")
    _expect(transport, is_transport, "a SyncTransport, such as SyncHTTPX2Transport(client)", proxy)
    return cast("SyncTransport", transport)


def _expect(transport: Any, is_transport: bool, kind: str, proxy: str | None) -> None:
    if proxy is not None:
        raise ValueError("proxy must be None where a transport is given: that has its own")
    if not is_transport or isinstance(transport, type):
        got = transport if isinstance(transport, type) else type(transport)
        raise TypeError(f"transport must be {kind}, got {got.__name__}")
