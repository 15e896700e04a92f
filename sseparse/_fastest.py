"""The SSEDecoder that serves: the compiled one where it was built, else the one in Python."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from ._sse import SSEDecoder

if not TYPE_CHECKING and os.environ.get("SSEPARSE_PURE_PYTHON", "0") in ("", "0"):
    with suppress(ImportError):
        from ._speedups import SSEDecoder

__all__ = ["SSEDecoder"]
