"""Encoders: events, comments and JSON lines as bytes."""

from __future__ import annotations

import json
import math
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
        if isinstance(retry, bool):
            raise TypeError("retry must be an int or None, got bool")
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


def encode_json_line(value: Any, dumps: Callable[[Any], str | bytes] | None = None) -> bytes:
    """Return `value` as one line of NDJSON.

    dumps: returns the JSON, as str or as bytes in UTF-8. Default: `json.dumps`, without NaN and
        infinities, which are not JSON.

    Raises TypeError for a value that has no JSON. Raises ValueError for NaN and infinities, with
    their place in the value, and for JSON with CR or LF, which would split the record.

    RFC 8259, 6 "Numbers".
    """
    if dumps is None:
        try:
            text: str | bytes = json.dumps(value, allow_nan=False)
        except ValueError as error:
            if (place := _place_of_no_number(value)) is None:
                raise  # a circular reference
            raise ValueError(f"value must be JSON, but {place}") from error
    else:
        if not callable(dumps):
            raise TypeError(f"dumps must be callable or None, got {type(dumps).__name__}")
        text = dumps(value)
        expect_type("the result of dumps", text, (str, bytes), "a str or bytes")
    line = text.encode() if isinstance(text, str) else text
    if not line or b"\n" in line or b"\r" in line:
        raise ValueError(f"dumps must return one line, without indentation, got {line[:80]!r}")
    return line + b"\n"


def _place_of_no_number(value: Any) -> str | None:
    """Return where in `value` a float is NaN or infinite, such as "value['a'][0] is nan"."""
    rest: list[tuple[str, Any]] = [("value", value)]
    seen: set[int] = set()
    while rest:
        place, item = rest.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, float) and not math.isfinite(item):
            return f"{place} is {item!r}"
        pairs: list[tuple[Any, Any]] = []
        if isinstance(item, dict):
            pairs += item.items()  # pyright: ignore[reportUnknownMemberType]
            rest += [(f"a key of {place}", key) for key, _ in pairs]
        elif isinstance(item, list | tuple):
            pairs += enumerate(item)  # pyright: ignore[reportUnknownArgumentType]
        rest += [(f"{place}[{key!r}]", child) for key, child in reversed(pairs)]
    return None
