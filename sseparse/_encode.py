"""The other direction: events, comments and JSON lines as bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

_LINE_END = re.compile("\r\n|\r|\n")


def encode_event(
    data: str = "", *, event: str | None = None, id: str | None = None, retry: int | None = None
) -> bytes:
    """Return one event as the bytes that a decoder turns back into it.

    data: the text; CR, LF and CRLF in it become LF when it is decoded.
    event: the event type, or None for the default, "message".
    id: the last event ID from now on; "" resets it, None leaves it.
    retry: the reconnection time in milliseconds.

    Raises ValueError where a value would inject a field or be ignored: CR or LF in `event`, CR,
    LF or NUL in `id`, a `retry` out of range, and an empty `event`, which no decoder can tell from
    the default. HTML Standard, 9.2.5, the ABNF of a stream.
    """
    lines: list[str] = []
    if event is not None:
        if not event:
            raise ValueError("an event type is not empty: leave it out for the default")
        _refuse(event, "\r\n", "an event type")
        lines.append(f"event: {event}")
    if id is not None:
        _refuse(id, "\r\n\0", "an event ID")
        lines.append(f"id: {id}")
    if retry is not None:
        if not 0 <= retry < 2**63:
            raise ValueError(f"a reconnection time is from 0 to 2**63 - 1: {retry}")
        lines.append(f"retry: {retry:d}")
    lines += [f"data: {line}" for line in _LINE_END.split(data)]
    return "\n".join([*lines, "", ""]).encode()


def encode_comment(text: str = "") -> bytes:
    """Return `text` as comment lines, which keep a connection alive and deliver nothing."""
    return "".join([f": {line}\n" for line in _LINE_END.split(text)]).encode()


def encode_json_line(value: Any, dumps: Callable[[Any], str | bytes] = json.dumps) -> bytes:
    """Return `value` as one line of NDJSON.

    dumps: makes the JSON, as str or as bytes in UTF-8.

    Raises ValueError when `dumps` puts an LF or CR into it, which would tear the record apart.
    """
    text = dumps(value)
    line = text.encode() if isinstance(text, str) else text
    if b"\n" in line or b"\r" in line:
        raise ValueError("a record of NDJSON is a single line: dumps must not indent")
    return line + b"\n"


def _refuse(value: str, forbidden: str, what: str) -> None:
    for character in forbidden:
        if character in value:
            raise ValueError(f"{what} cannot contain {character!r}: {value!r}")
