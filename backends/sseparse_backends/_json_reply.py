"""Read the JSON of all services' replies leniently.

Real servers send a number where text belongs, `null` in a list, or half a surrogate pair. A field
of an unexpected type is converted where its meaning is plain: a number becomes text. Else it is
ignored, with a warning. Content is never ignored: what cannot be read is an error.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NoReturn, cast

import msgspec

from sseparse import (
    Decoder,
    EventTooLarge,
    InvalidJSON,
    JSONValuesDecoder,
    RemoteProtocolError,
    ServerSentEvent,
    UnknownField,
)

from ._contract import BackendError, Delta, Finish, FinishKind, Reply, ToolCall
from ._merge import Object, is_list, is_object

_logger = logging.getLogger("sseparse")

_decode = msgspec.json.Decoder().decode
# RFC 8259, section 6: larger ones are not interoperable.
_MAX_INTEGER = 2**53 - 1
# The start of an object or of a list of objects.
_BARE_JSON = re.compile(r'[\s\[]*(?:\{\s*(?:"|$)|\[\s*$)')


class JSONReply(Reply[Any]):
    """One reply whose events have JSON objects as data.

    A subclass must have `interpret_object`.

    max_size: largest JSON text outside of events in characters, or None for no limit.
    is_object: the body is a JSON document in place of a stream.
    tool_calls: the calls that were handed out.
    """

    # Event types that have JSON, besides "message".
    event_types: Container[str] = ()
    # Reasons to finish and their kinds; any other reason is of the kind "other".
    kinds: Mapping[str, FinishKind] = {}

    def __init__(self, decoder: Decoder[Any], max_size: int | None = None) -> None:
        self.decoder = decoder
        self.is_object = isinstance(decoder, JSONValuesDecoder)
        self.tool_calls: list[ToolCall] = []
        self._max_size = max_size
        # The event being read, for errors.
        self._event: Any = None
        self._warned = False
        self._has_begun = False
        # The lines of a JSON text that stands in the stream without `data:`.
        self._bare = _BareJSON(max_size)

    # Reading events

    def interpret(self, event: Any, /) -> Iterator[Delta | None]:
        """See Reply.interpret."""
        for value in self.objects(event):
            yield from self.interpret_done() if value is None else self.interpret_object(value)

    def interpret_object(self, value: Object, /) -> Iterator[Delta | None]:
        """Yield the deltas of an event's object, as `interpret` does."""
        raise NotImplementedError

    def interpret_done(self) -> Iterable[Delta]:
        """Return the deltas of `[DONE]`."""
        return ()

    def objects(self, event: ServerSentEvent | UnknownField | Any) -> list[Object | None]:
        """Return the JSON objects of an event, with None for `[DONE]`.

        event: of an event stream, or a JSON value.

        Raises BackendError for an error in the event type, the data or a line outside of events,
        and InvalidJSON for damaged data.
        """
        self._event = event
        if isinstance(event, ServerSentEvent):
            kind = event.event
            if kind == "error":
                raise BackendError(_payload(event.data))
            values = self._parse(event.data, kind == "message" or kind in self.event_types)
        elif isinstance(event, UnknownField):
            if event.name == "error":
                raise BackendError(_payload(event.value))
            values = self._parse(self._bare.add(event.line), known=True)
        else:
            values = self._expect_objects(event, known=True)
        for each in values:
            if each is not None and (
                "error" in each or each.get("type") == "error" or each.get("object") == "error"
            ):
                _raise_error(each)
        return values

    def _parse(self, data: str, known: bool) -> list[Object | None]:
        try:
            value = _decode(data)
        except (msgspec.MsgspecError, RecursionError):
            return self._parse_leniently(data, known)
        return [value] if isinstance(value, dict) else self._expect_objects(value, known)

    def _parse_leniently(self, data: str, known: bool) -> list[Object | None]:
        data = data.strip()
        if data == "[DONE]":
            return [None]
        # LiteLLM wraps its keep-alive comments as data.
        if not data or data.startswith(":"):
            return []
        # Events without blank lines between them are one event of several JSON texts.
        if "\n" in data and (values := _parse_lines(data)) is not None:
            return values
        try:
            value = parse_leniently(data)
        except (ValueError, RecursionError) as cause:
            # An object with fields may hold text, which is not dropped in silence.
            if known or (data.startswith("{") and data[1:].lstrip().startswith('"')):
                self._refuse(str(cause), cause)
            return []
        return self._expect_objects(value, known)

    def _expect_objects(self, value: Any, known: bool) -> list[Object | None]:
        if isinstance(value, dict):
            return [cast("Object", value)]
        if is_list(value):
            # An array of the objects, or of one error (Google).
            objects: list[Object | None] = [item for item in value if is_object(item)]
            if known and any(item and not is_object(item) for item in value):
                self._refuse("it must be an object, or a list of objects")
            return objects
        if known and value:
            self._refuse(f"it must be an object, got {_kind(value)}")
        return []

    # Reading fields

    def text(self, source: Mapping[str, Any], name: str) -> str:
        """Return a field that is content: text, or "" where it is absent."""
        value = source.get(name)
        if value is None or isinstance(value, str):
            return value or ""
        if _is_number(value):
            return json.dumps(value)
        if value:
            self._refuse(f"{name} must be text, got {_kind(value)}")
        return ""

    def arguments(self, source: Mapping[str, Any], name: str) -> str:
        """Return arguments of a tool: text as it is, or a value as JSON."""
        value = source.get(name)
        if value is None or isinstance(value, str):
            return value or ""
        return json.dumps(value, ensure_ascii=False)

    def content(self, source: Mapping[str, Any], name: str) -> Object:
        """Return an object that holds content, {} where it is absent or empty."""
        value = source.get(name)
        if isinstance(value, dict):
            return cast("Object", value)
        if value:
            self._refuse(f"{name} must be an object, got {_kind(value)}")
        return {}

    def contents(self, source: Mapping[str, Any], name: str) -> list[Object]:
        """Return a list of objects that hold content; empty elements are left out."""
        value = source.get(name)
        if not value:
            return []
        elements = value if is_list(value) else [value]
        if not all(isinstance(element, dict) for element in elements):
            elements = [element for element in elements if element]
            for element in elements:
                if not isinstance(element, dict):
                    self._refuse(f"{name} must be a list of objects, got {_kind(element)}")
        return elements

    def label(self, source: Mapping[str, Any], name: str) -> str:
        """Return a field that is a name or an ID, or "" where it is absent."""
        value = source.get(name)
        if value is None or isinstance(value, str):
            return value or ""
        if _is_number(value):
            return json.dumps(value)
        self._ignore(name, "text", value)
        return ""

    def index(self, source: Mapping[str, Any], name: str = "index") -> int | None:
        """Return a field that is a whole number, or None where it is absent."""
        value = source.get(name)
        if value is None or (type(value) is int and abs(value) <= _MAX_INTEGER):
            return value
        if isinstance(value, str) and value.isdecimal() and len(value) < 10:
            return int(value)
        if isinstance(value, float) and value.is_integer() and abs(value) <= _MAX_INTEGER:
            return int(value)
        self._ignore(name, "a whole number", value)
        return None

    def count(self, source: Mapping[str, Any], name: str) -> int | None:
        """Return a field that is a number of tokens, or None where it is absent."""
        value = source.get(name)
        if value is None or (type(value) is int and value >= 0):
            return value
        if isinstance(value, float) and 0 <= value < math.inf:
            return int(value)  # Cohere's API declares its counts as floats
        self._ignore(name, "a number", value)
        return None

    def details(self, source: Mapping[str, Any], name: str) -> Object:
        """Return an object that holds no content, {} where it is absent."""
        value = source.get(name)
        if isinstance(value, dict):
            return cast("Object", value)
        if value is not None:
            self._ignore(name, "an object", value)
        return {}

    # The end

    def kind_of(self, reason: str) -> FinishKind:
        """Return the kind of a reason to finish, "stop" for none."""
        return self.kinds.get(reason, "other") if reason else "stop"

    def finish(self, calls: list[ToolCall], reason: str) -> Iterator[Delta]:
        """Yield the calls of a reply that ended well, and Finish.

        calls: those that the caller has to answer. Empty arguments become `{}` if the service
            gives a reason for a complete reply; else such a call was cut, and is left out.
        reason: the service's word, or "".

        Raises InvalidJSON for arguments that are not JSON, and for a call without a name.
        """
        kind = self.kind_of(reason)
        if kind in ("length", "filter"):
            calls = []  # the last one may be cut and still look complete
        is_whole = bool(reason) and kind in ("stop", "tool_calls", "pause")
        whole = [
            self._complete(call)
            for call in calls
            if call.arguments or (is_whole and (call.id or call.name))
        ]
        self.tool_calls = whole
        yield from whole
        if whole and kind in ("stop", "other"):
            kind = "tool_calls"
        yield Finish(reason or None, kind)

    @property
    def is_broken(self) -> bool:
        """Whether the body ended inside a JSON text."""
        return self._bare.is_open

    def _complete(self, call: ToolCall) -> ToolCall:
        if not call.name:
            self._refuse(f"tool call {call.index} must have a name")
        if call.kind == "custom":
            return call
        call = replace(call, arguments=call.arguments or "{}")
        try:
            json.loads(call.arguments, strict=False)
        except (ValueError, RecursionError) as cause:
            words = f"the arguments of tool call {call.index}, {call.name}, must be JSON: {cause}"
            raise InvalidJSON(words, call.arguments.encode()) from cause
        return call

    def value_of(self, arguments: str) -> Any:
        """Return the value of arguments that came as text, where the service wants it back."""
        try:
            return loads(arguments)
        except (ValueError, RecursionError) as cause:
            self._refuse(f"the arguments of a tool call must be JSON: {cause}", cause)

    def start(self, reply_id: str) -> bool:
        """Start the reply and store its ID. Return False for a repeated start.

        Raises RemoteProtocolError for another reply's: a proxy that lost its connection sent a
        second reply after the first one (vercel/ai's issue 18331).
        """
        if not self._has_begun:
            self._has_begun = True
            self.id = reply_id or None
            return True
        # LiteLLM and Bifrost sent the start twice (their issues 32478 and 4556).
        if reply_id and reply_id == self.id:
            return False
        raise RemoteProtocolError(
            f"a second reply, {reply_id!r:.100}, begins inside the first, {self.id!r:.100}"
        )

    def _refuse(self, words: str, cause: Exception | None = None) -> NoReturn:
        match self._event:
            case ServerSentEvent(data=data) | UnknownField(line=data):
                pass
            case value:
                data = json.dumps(value)
        raise InvalidJSON(f"invalid JSON in an event: {words}", data.encode()) from cause

    def _ignore(self, name: str, rule: str, value: Any) -> None:
        """Log a warning about an ignored field, once for a reply: the next event has it too."""
        if not value or self._warned:
            return
        self._warned = True
        _logger.warning("ignored %s of a reply: it must be %s, got %s", name, rule, _kind(value))


class _BareJSON:
    """A JSON text that stands in an event stream without `data:`.

    Gemini sends errors in the middle of a stream this way, proxies in place of the stream.
    """

    def __init__(self, max_size: int | None) -> None:
        self._max_size = max_size
        self._lines: list[str] = []
        # The size of the lines, and their open braces. The decoder limits only fields of events.
        self._size = 0
        self._depth = 0

    @property
    def is_open(self) -> bool:
        """Whether a text has begun and not ended."""
        return bool(self._lines)

    def add(self, line: str) -> str:
        """Add a line, and return the text that it completes, or ""."""
        if not self._lines and not _BARE_JSON.match(line):
            return ""
        self._lines.append(line)
        self._size += len(line)
        if self._max_size is not None and self._size > self._max_size:
            raise EventTooLarge(self._max_size)
        outside = "".join(line.replace("\\\\", "").replace('\\"', "").split('"')[::2])
        self._depth += outside.count("{") - outside.count("}")
        if self._depth > 0:
            return ""
        # The array around it may be open.
        text = "\n".join(self._lines).strip("[], \t\n")
        self._lines, self._size, self._depth = [], 0, 0
        return text


def loads(text: str) -> Any:
    """Return the value of a JSON text, with `parse_leniently` if it is invalid.

    Raises ValueError and RecursionError.
    """
    try:
        return _decode(text)
    except (msgspec.MsgspecError, RecursionError):
        return parse_leniently(text)


def parse_leniently(data: str) -> Any:
    """Return the value of a JSON text with control characters and halves of surrogate pairs.

    JavaScript cuts strings inside a surrogate pair and writes half of it as an escape, which
    RFC 8259, section 8.2, allows; such a half becomes U+FFFD.

    Raises ValueError and RecursionError.
    """
    return _mended(json.loads(data, strict=False))


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if is_object(value):
        return {_mended(name): _mended(item) for name, item in value.items()}
    if is_list(value):
        return [_mended(item) for item in value]
    return value


def _parse_lines(data: str) -> list[Object | None] | None:
    """Return the JSON objects of data with one in each line, or None for other data."""
    values: list[Object | None] = []
    for line in data.split("\n"):
        if line.strip() == "[DONE]":
            values.append(None)
        elif line.strip() and not line.startswith(":"):
            try:
                value = parse_leniently(line)
            except (ValueError, RecursionError):
                return None
            if not isinstance(value, dict):
                return None
            values.append(cast("Object", value))
    return values


def _raise_error(value: Object) -> None:
    """Raise BackendError for an object that is an error, or has one.

    `type` says that it is one, or `object`, as in vLLM's.
    """
    error = value.get("error")
    if error or (error is not None and len(value) == 1):
        raise BackendError(error)
    if "error" in (value.get("type"), value.get("object")):
        raise BackendError(value)


def _payload(data: str) -> Any:
    """Return an error's JSON without its envelope, or the text if it is not JSON."""
    try:
        payload = parse_leniently(data)
    except (ValueError, RecursionError):
        return data
    match payload:
        case {"error": error} if error is not None:
            return error
        case _:
            return payload


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    """Return the JSON type of a value, for messages."""
    names = {bool: "a boolean", str: "a string", list: "a list", dict: "an object"}
    return names.get(value.__class__, "a number")
