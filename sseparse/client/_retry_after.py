"""The Retry-After of a response."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC

_SECONDS = re.compile(r"\d+(?:\.\d*)?", re.ASCII)
# The retryDelay of a google.rpc.RetryInfo, in the body of an error of Google's services.
_RETRY_DELAY = re.compile(rb'"retryDelay"\s*:\s*"(\d{1,9}(?:\.\d{1,9})?)s"')


def retry_after(headers: Mapping[str, str], body: bytes, now: float) -> float | None:
    """Return the seconds from `now` for which a response asks to wait, or None.

    headers: its header fields, with lower-case names. `retry-after-ms`, which is finer and no
        standard, counts before Retry-After.
    body: the start of its body, where Google's services have the wait if no field has it.
    now: seconds since the epoch, for a Retry-After with a date. A date that has passed is
        less than zero.

    RFC 9110, 10.2.3 "Retry-After"; fractions of a second are accepted too.
    """
    milliseconds = headers.get("retry-after-ms", "").strip(" \t")
    if _SECONDS.fullmatch(milliseconds):
        return float(milliseconds) / 1000
    value = headers.get("retry-after", "").strip(" \t")
    if _SECONDS.fullmatch(value):
        return float(value)
    # Imported late: it loads sockets, which `import sseparse` does not.
    from email.utils import parsedate_to_datetime

    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        delay = _RETRY_DELAY.search(body)
        return float(delay[1]) if delay else None
    # One of its three formats has no time zone: they are all in UTC.
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
