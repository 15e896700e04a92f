"""How the drivers close a response."""

from __future__ import annotations

import logging

import anyio

from sseparse.transports import Response

# What closing may take, in seconds.
GRACE = 1.0

_logger = logging.getLogger("sseparse")


async def close(response: Response) -> None:
    """Close `response` within a second; a failure is logged, and hides nothing."""
    with anyio.move_on_after(GRACE, shield=True):
        try:
            await response.aclose()
        except Exception:
            _logger.warning("closing the connection failed", exc_info=True)
