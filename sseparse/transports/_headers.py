"""What the transports check before they send a header field."""

from __future__ import annotations

import re

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def header(name: str, value: str) -> tuple[bytes, bytes]:
    """Return a header field as the bytes to send; raises ValueError for what is none."""
    # As bytes, because a value may hold any character, in UTF-8, but for control characters.
    if not TOKEN.fullmatch(name):
        raise ValueError(f"not the name of a header field: {name!r}")
    if value != value.strip(" \t") or re.search(r"[\0-\x08\n-\x1f\x7f]", value):
        raise ValueError(f"not the value of a header field: {name}: {value!r}")
    return name.encode(), value.encode()
