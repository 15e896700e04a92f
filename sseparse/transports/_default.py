"""The default transport."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from . import Transport


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
    if proxy is not None:
        raise ValueError("proxy must be None where a transport is given: that has its own")
    # HTTP clients have a `send` of another kind, and a `post`.
    is_client = hasattr(transport, "post") or not hasattr(transport, "send")
    if is_client or isinstance(transport, type):
        kind = transport if isinstance(transport, type) else type(transport)
        raise TypeError(
            f"transport must be a Transport, such as HTTPX2Transport(client), got {kind.__name__}"
        )
    return cast("Transport", transport)
