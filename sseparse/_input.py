"""Checks of arguments, and of the bytes that decoders are fed."""

from __future__ import annotations

import math
import sys
from operator import index
from typing import Any, cast

BOM = b"\xef\xbb\xbf"


def expect_type(name: str, value: object, kind: type | tuple[type, ...], words: str) -> None:
    """Raise TypeError, naming the argument, unless `value` is an instance of `kind`."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be {words}, got {type(value).__name__}")


def checked_limit(name: str, value: Any) -> int:
    """Return the limit in bytes; None, for no limit, becomes sys.maxsize.

    Raises TypeError and ValueError, naming the argument, unless it is None or at least 1.
    """
    if value is None:
        return sys.maxsize
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an int or None, got {type(value).__name__}")
    if index(value) < 1:
        raise ValueError(f"{name} must be at least 1, got {value!r}")
    return min(index(value), sys.maxsize)


def expect_timeout(name: str, value: Any) -> None:
    """Raise TypeError or ValueError, naming the argument, unless positive seconds or None."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be seconds or None, got {value!r}")
    if not value > 0:
        raise ValueError(f"{name} must be positive seconds or None, got {value!r}")


def expect_seconds(name: str, value: Any) -> None:
    """Raise TypeError or ValueError, naming the argument, unless finite seconds from 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be seconds, got {value!r}")
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be finite, non-negative seconds, got {value!r}")


def checked_options(last_event_id: str, max_event_size: int | None) -> tuple[str, int]:
    """Return the ID and the limit in bytes, for the compiled SSEDecoder too.

    Raises TypeError and ValueError, naming the argument.
    """
    expect_type("last_event_id", last_event_id, str, "a str")
    if not {"\r", "\n", "\0"}.isdisjoint(last_event_id):
        raise ValueError(f"last_event_id must not contain CR, LF or NUL, got {last_event_id!r}")
    return last_event_id, checked_limit("max_event_size", max_event_size)


def as_bytes(data: object) -> bytes:
    """Return a copy of `data` as bytes: the caller may go on to change a bytearray.

    Raises TypeError unless `data` is bytes, a bytearray or a memoryview.
    """
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(cast("memoryview", data))
    message = f"data must be bytes, bytearray or memoryview, got {type(data).__name__}"
    if isinstance(data, str):
        message += ": feed the raw body, a file opened in binary mode, or text.encode()"
    raise TypeError(message)


def without_bom(head: bytearray, data: bytes) -> bytes | None:
    """Return the start of a stream, `head` and `data`, without its byte order mark.

    None: too few bytes to tell. They are kept in `head`, which is empty otherwise.
    """
    start = bytes(head) + data
    head.clear()
    if len(start) < len(BOM) and BOM.startswith(start):
        head += start
        return None
    return start.removeprefix(BOM)
