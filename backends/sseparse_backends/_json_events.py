"""Shared by the backends of chat services: JSON in events, and errors in that JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from typing import Any, TypeVar

import msgspec

from sseparse import InvalidJSON, ServerSentEvent, UnknownField

from ._contract import BackendError

T = TypeVar("T")
D = TypeVar("D", bound="EventData")


class EventData(msgspec.Struct):
    """The fields that any event's JSON may have: its type, or an error.

    An error is in `error`, or it is the whole object: then `type` is "error", or `object` is,
    as in vLLM's.
    """

    type: Any = None
    object: Any = None
    error: Any = None


class TokenCounts(msgspec.Struct):
    """The usage, as most services send it."""

    input_tokens: float | None = None
    output_tokens: float | None = None


def by_type(shapes: Mapping[str, type[D]]) -> Callable[[str], D | EventData]:
    """Return a function that decodes an event's data into the shape of its type.

    Data of an unlisted type becomes an EventData, since its other fields may be anything.
    """

    def decode(data: str) -> D | EventData:
        event = msgspec.json.decode(data, type=EventData)
        shape = shapes.get(event.type) if isinstance(event.type, str) else None
        return event if shape is None else msgspec.json.decode(data, type=shape)

    return decode


def parse_event(
    event: ServerSentEvent | UnknownField,
    decode: Callable[[str], D],
    types: Container[str] = frozenset(),
) -> D | None:
    """Return the JSON of an event, or None for an event without any.

    decode: turns the data into an EventData.
    types: known event types besides "message". An event of an unknown type may have any data,
        but a damaged object is an error even there.

    Raises BackendError for an error in the event type, the data or a field line, and InvalidJSON
    for damaged or misshapen data.
    """
    if isinstance(event, UnknownField):
        if event.name == "error":
            raise BackendError(_payload(event.value))
        return None
    if event.event == "error":
        raise BackendError(_payload(event.data))
    if event.data.strip() in ("", "[DONE]"):
        return None
    known = event.event == "message" or event.event in types
    try:
        data = decode_leniently(decode, event.data)
    except (msgspec.MsgspecError, RecursionError) as cause:
        damaged = not isinstance(cause, msgspec.ValidationError)
        if known or (damaged and _OBJECT.match(event.data)):
            raise InvalidJSON(f"invalid JSON in an event: {cause}", event.data.encode()) from cause
        return None
    if data.error is not None and (known or data.error):
        raise BackendError(data.error)
    if "error" in (data.type, data.object):
        raise BackendError(_payload(event.data))
    return data


# The start of an object that is not empty: it may hold text, which is not dropped in silence.
_OBJECT = re.compile(r'\s*\{\s*"')


def decode_leniently(decode: Callable[[str], T], data: str) -> T:
    r"""Return `decode(data)`, after replacing lone surrogate escapes with U+FFFD if it fails.

    JavaScript cuts strings inside a surrogate pair and writes half of it as `\ud83d`; RFC 8259,
    section 8.2, allows that.
    """
    try:
        return decode(data)
    except msgspec.DecodeError:
        return decode(_ESCAPE.sub(lambda e: e[1] or e[2] or "\N{REPLACEMENT CHARACTER}", data))


# A pair, a lone surrogate, or any other escape, so that an escaped backslash escapes nothing.
_ESCAPE = re.compile(
    r"(\\u(?i:d[89ab][0-9a-f]{2})\\u(?i:d[c-f][0-9a-f]{2}))|\\u(?i:d[89a-f][0-9a-f]{2})|(\\.)"
)


def _payload(data: str) -> Any:
    """Return an error's JSON without its envelope, or the text if it is not JSON."""
    try:
        payload = msgspec.json.decode(data)
    except (msgspec.MsgspecError, RecursionError):
        return data
    match payload:
        case {"error": error} if error is not None:
            return error
        case _:
            return payload


def as_count(count: float | None) -> int:
    """Return a token count as an int: Cohere's API declares its counts as floats."""
    return int(count or 0)


def object_text(raw: msgspec.Raw) -> str:
    """Return a JSON object's text unchanged, "{}" if it is missing or null."""
    text = bytes(raw).decode()
    return "{}" if text in ("", "null") else text
