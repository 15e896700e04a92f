"""What the backends of chat services read in common: events with JSON, and errors in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from typing import Any, TypeVar

import msgspec

from sseparse import InvalidJSON, ServerSentEvent, UnknownField

from ._contract import BackendError

T = TypeVar("T")
M = TypeVar("M", bound="Message")


class Message(msgspec.Struct):
    """What the data of any event may have: its type, and an error in place of all else.

    Or else the object is the error itself, as its type says, or its `object`, as vLLM has it.
    """

    type: Any = None
    object: Any = None
    error: Any = None


def by_type(shapes: Mapping[str, type[M]]) -> Callable[[str], M | Message]:
    """Return what decodes the data of events: in the shape for its type, if there is one.

    An event of another type may have fields of the same names, and anything in them.
    """

    def decode(data: str) -> M | Message:
        message = msgspec.json.decode(data, type=Message)
        shape = shapes.get(message.type) if isinstance(message.type, str) else None
        return message if shape is None else msgspec.json.decode(data, type=shape)

    return decode


def read(
    event: ServerSentEvent | UnknownField,
    decode: Callable[[str], M],
    types: Container[str] = frozenset(),
) -> M | None:
    """Return the JSON of an event, or None where there is none that counts.

    decode: makes a Message of the data.
    types: the event types that are known, besides "message". The data of others counts if it can
        be read, and may be anything else, but no damaged object.

    Raises BackendError for an error, be it in the event type, the data or a field line, and
    InvalidJSON for data that is not what it should be. An event whose data repeats an event type
    that is not known is a new one, and what it calls an error is not one of the reply.
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
        message = lenient(decode, event.data)
    except (msgspec.MsgspecError, RecursionError) as cause:
        damaged = not isinstance(cause, msgspec.ValidationError)
        if known or (damaged and _OBJECT.match(event.data)):
            raise InvalidJSON(f"invalid JSON in an event: {cause}", event.data.encode()) from cause
        return None
    if not known and message.type == event.event:
        return message
    if known or message.error:
        raise_error(message)
    if "error" in (message.type, message.object):
        raise BackendError(_payload(event.data))
    return message


# The beginning of an object that is not empty.
_OBJECT = re.compile(r'\s*\{\s*"')


def lenient(decode: Callable[[str], T], data: str) -> T:
    """Return what `decode` makes of JSON in which half a surrogate pair may be escaped.

    It becomes U+FFFD: JavaScript cuts strings in the middle of a pair, and RFC 8259, section 8.2,
    leaves open what becomes of that.
    """
    try:
        return decode(data)
    except msgspec.DecodeError:
        whole = _SURROGATE.sub(_replacement, data)
        if whole == data:
            raise
        return decode(whole)


# An escape in a string, so that a backslash that is escaped itself escapes nothing; or a pair.
_SURROGATE = re.compile(
    r"\\u(?i:d[89ab][0-9a-f]{2})\\u(?i:d[c-f][0-9a-f]{2})|\\u(?i:d[89a-f][0-9a-f]{2})|\\."
)


def _replacement(escape: re.Match[str]) -> str:
    return "\N{REPLACEMENT CHARACTER}" if len(escape[0]) == len(r"\ud800") else escape[0]


def raise_error(message: Message) -> None:
    """Raise BackendError if the message is an error."""
    if message.error is not None:
        raise BackendError(message.error)


def _payload(data: str) -> Any:
    """Return what an error says: the JSON of it, without an envelope, or else the text."""
    try:
        payload = msgspec.json.decode(data)
    except (msgspec.MsgspecError, RecursionError):
        return data
    match payload:
        case {"error": error} if error is not None:
            return error
        case _:
            return payload


def tokens(count: float | None) -> int:
    """Return a count of tokens, which some servers write as 7.0, as the whole number it is."""
    return int(count or 0)


def object_text(raw: msgspec.Raw) -> str:
    """Return a JSON object as the text that it came as, an empty one where there is none."""
    text = bytes(raw).decode()
    return "{}" if text in ("", "null") else text
