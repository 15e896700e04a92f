"""Encoders: events, comments and JSON lines as bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from ._input import expect_type

_LINE_END = re.compile("\r\n|\r|\n")


def encode_event(
    data: str = "", *, event: str | None = None, id: str | None = None, retry: int | None = None
) -> bytes:
    """Return one event as bytes of a stream.

    data: the text; its CR, LF and CRLF are all decoded as LF.
    event: the event type, or None for the default, "message".
    id: the last event ID from now on; "" resets it, None leaves it.
    retry: the reconnection time in milliseconds, from 0 to 2**63 - 1.

    Raises TypeError, and ValueError for values that would inject a field or be ignored: CR or LF
    in `event`, CR, LF or NUL in `id`, an empty `event`, which decodes as the default.

    HTML Standard, 9.2.5 "Parsing an event stream", the ABNF.
    """
    expect_type("data", data, str, "a str")
    lines: list[str] = []
    if event is not None:
        expect_type("event", event, str, "a str or None")
        if not event or "\r" in event or "\n" in event:
            raise ValueError(f"event must not be empty or contain CR or LF, got {event!r}")
        lines.append(f"event: {event}")
    if id is not None:
        expect_type("id", id, str, "a str or None")
        if "\r" in id or "\n" in id or "\0" in id:
            raise ValueError(f"id must not contain CR, LF or NUL, got {id!r}")
        lines.append(f"id: {id}")
    if retry is not None:
        expect_type("retry", retry, int, "an int or None")
        if not 0 <= retry < 2**63:
            raise ValueError(f"retry must be from 0 to 2**63 - 1, got {retry}")
        lines.append(f"retry: {retry:d}")
    lines += [f"data: {line}" for line in _LINE_END.split(data)]
    return "\n".join([*lines, "", ""]).encode()


def encode_comment(text: str = "") -> bytes:
    """Return `text` as comment lines, which keep a connection alive and deliver no event.

    Raises TypeError.
    """
    expect_type("text", text, str, "a str")
    return "".join([f": {line}\n" for line in _LINE_END.split(text)]).encode()


def encode_json_line(value: Any, dumps: Callable[[Any], str | bytes] = json.dumps) -> bytes:
    """Return `value` as one line of NDJSON.

    dumps: returns the JSON, as str or as bytes in UTF-8.

    Raises ValueError if the JSON contains CR or LF, which would split the record.
    """
    text = dumps(value)
    line = text.encode() if isinstance(text, str) else text
    if b"\n" in line or b"\r" in line:
        raise ValueError(f"dumps must return one line, without indentation, got {line[:80]!r}")
    return line + b"\n"
