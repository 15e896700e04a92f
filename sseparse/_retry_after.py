"""Retry-After: how long a server asks a client to wait (RFC 9110, 10.2.3)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds from `now` for which a response asks, or None where it does not.

    headers: its header fields, with lower-case names.
    now: the seconds since the epoch, to which a date is compared. One that has passed is less
        than nothing.
    """
    milliseconds = headers.get("retry-after-ms", "")  # no standard, but finer, where there is one
    if milliseconds.isascii() and milliseconds.isdigit():
        return float(milliseconds) / 1000
    value = headers.get("retry-after", "").strip(" \t")
    if value.isascii() and value.isdigit():
        # Unlike int(), float() takes any number of digits.
        return float(value)
    # Late, because it loads sockets, which `import sseparse` does not.
    from email.utils import parsedate_to_datetime

    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    # One of its three formats has no time zone: they are all in UTC.
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
