"""Shared by the backends of chat services: address, key and JSON body of their requests."""

from __future__ import annotations

import json
import os
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypedDict, cast, get_type_hints
from urllib.parse import urlencode, urlsplit

import msgspec

from sseparse import Decoder, JSONValuesDecoder, ServerSentEvent, SSEDecoder, decoder_for
from sseparse.transports import Request

from ._contract import Attachment, Messages


class OpenAIFields(TypedDict, total=False):
    """Fields of the request in both of OpenAI's protocols."""

    metadata: Mapping[str, str]
    parallel_tool_calls: bool
    prompt_cache_key: str
    safety_identifier: str
    service_tier: str
    store: bool
    temperature: float
    tool_choice: str | Mapping[str, Any]
    tools: Sequence[Mapping[str, Any]]
    top_logprobs: int
    top_p: float
    user: str


@dataclass(frozen=True, kw_only=True)
class Service:
    """A chat service over HTTP with JSON.

    base_url: the service's address, by default its public one. The repr leaves it out, since
        its user information or query may be secret.
    api_key: the key, by default the value of the service's environment variable. It is required
        at the public address, unless extra_headers are given. It is sent only to base_url.
    extra_headers: header fields of every request, which override the service's own.
    extra_body: fields of every request's JSON object, which override the service's own.
    max_event_size: largest event or line in bytes, or None for no limit; see SSEDecoder.

    Raises TypeError and ValueError, naming the argument.
    """

    # The environment variable that holds the key, and whether the public address requires one.
    key_variable: ClassVar[str]
    needs_key: ClassVar[bool] = True
    # The options of `request`: fields of the service's JSON object.
    options: ClassVar[frozenset[str]] = frozenset()

    # Not ClassVar, which pyright does not accept for a property of a protocol.
    models: Sequence[str] = field(default=(), init=False, repr=False, compare=False)
    base_url: str = field(default="", repr=False)
    api_key: str | None = field(default=None, repr=False)
    extra_headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False, hash=False)
    extra_body: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False, hash=False)
    max_event_size: int | None = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        check_types(self)
        check_url("base_url", self.base_url)
        SSEDecoder(max_event_size=self.max_event_size)  # raises ValueError
        if self.api_key is None:
            object.__setattr__(self, "api_key", os.environ.get(self.key_variable))

    def key_field(self, name: str, scheme: str = "") -> dict[str, str]:
        """Return the header field that carries the key, or {} without a key.

        Raises ValueError for a missing key that is required.
        """
        key = self.api_key or ""
        if key != key.strip() or not key.isprintable():
            rule = "must have no control characters, and no white space around it"
            raise ValueError(f"api_key, or {self.key_variable}, {rule}")
        address = urlsplit(self.base_url)
        if key and "@" in address.netloc:
            # Both would be an Authorization field, and transports differ in which one they send.
            raise ValueError("base_url must have no user information beside an API key")
        at_home = address.hostname == urlsplit(type(self).base_url).hostname
        if self.needs_key and at_home and not key and not self.extra_headers:
            ways = f"give it as api_key, or set the environment variable {self.key_variable}"
            raise ValueError(f"{type(self).__name__} needs an API key: {ways}")
        return {name: f"{scheme}{key}"} if key else {}

    def post(
        self,
        path: str,
        headers: Mapping[str, str],
        body: Mapping[str, Any],
        options: Mapping[str, Any],
        **query: str,
    ) -> Request:
        """Return the request that posts `body` with `options` to `path` below base_url.

        Raises TypeError for an unknown option, and ValueError for a value that is not JSON.
        """
        if unknown := options.keys() - self.options:
            raise TypeError(
                f"{type(self).__name__} has no option {', '.join(sorted(unknown))}; its options "
                f"are {', '.join(sorted(self.options))}; extra_body sends any other field"
            )
        headers = {
            "accept": "text/event-stream",
            "content-type": "application/json",
            **headers,
            **{name.lower(): value for name, value in self.extra_headers.items()},
        }
        encoded = _encode({**body, **options, **self.extra_body})
        return Request("POST", join_url(self.base_url, path, **query), headers, encoded)

    def decoder(self, content_type: str) -> Decoder[Any]:
        """Return the decoder of a reply, whose events are ServerSentEvent and UnknownField.

        A server that ignores `stream` answers with one JSON object, which becomes one event.

        Raises ValueError for another media type than text/event-stream and application/json.
        """
        limit = self.max_event_size
        if is_json(content_type):
            return JSONValuesDecoder(loads=_as_event, max_value_size=limit, unwrap_array=True)
        expect_content_type(self, content_type, "text/event-stream")
        # GPUStack and llama.cpp's older servers send an error as a field line. A last event
        # without its blank line counts if its JSON is whole.
        return SSEDecoder(max_event_size=limit, unknown_fields=True, dispatch_at_eof=True)


def is_json(content_type: str) -> bool:
    """Return whether a Content-Type is that of one JSON document."""
    return content_type.partition(";")[0].strip().lower() == "application/json"


def _as_event(text: str) -> ServerSentEvent:
    return ServerSentEvent(data=text)


def expect_content_type(backend: Any, content_type: str, media_type: str) -> None:
    """Raise ValueError for a Content-Type whose decoder is not the media type's."""
    if type(decoder_for(content_type)) is not type(decoder_for(media_type)):
        name = type(backend).__name__
        raise ValueError(f"{name} replies with {media_type}, not {content_type!r}")


def check_types(instance: Any) -> None:
    """Raise TypeError, naming the field, for a dataclass's value that its annotation excludes."""
    hints = get_type_hints(instance.__class__)
    for item in fields(instance):
        try:
            msgspec.convert(getattr(instance, item.name), hints[item.name])
        except msgspec.ValidationError as error:
            _, _, got = str(error).replace("`", "").partition(", ")
            raise TypeError(f"{item.name} must be {item.type}, {got}") from None


def check_url(name: str, url: str) -> None:
    """Raise ValueError or TypeError, naming the argument, for a URL that Request refuses."""
    try:
        Request("POST", url)
    except (TypeError, ValueError) as error:
        raise type(error)(str(error).replace("url", name, 1)) from None


def join_url(base_url: str, path: str, **query: str) -> str:
    """Return base_url with `path` and `query` appended to its own."""
    address = urlsplit(base_url)
    whole_query = "&".join(filter(None, [address.query, urlencode(query)]))
    return address._replace(path=address.path.rstrip("/") + path, query=whole_query).geturl()


def conversation(
    messages: Messages, service: str = "", foreign: frozenset[str] = frozenset()
) -> list[Mapping[str, Any]]:
    """Return `messages` as a list; a str becomes one message of the user.

    service: name of the service, for errors.
    foreign: keys and types, of messages and their parts, that only other services have.

    Raises ValueError for anything but a str or a non-empty list of mappings, and for a message of
    another service.
    """
    untrusted: Any = messages
    match untrusted:
        case str():
            return [{"role": "user", "content": untrusted}]
        case [_, *_] if all(isinstance(message, Mapping) for message in untrusted):
            for message in untrusted:
                if marks := _marks(message) & foreign:
                    rule = f"messages must have the shape of {service}'s"
                    raise ValueError(f"{rule}, got one with {min(marks)!r}: {message!r:.100}")
            return [*untrusted]
        case _:
            rule = "messages must be a str or a non-empty list of mappings"
            raise ValueError(f"{rule}, got {untrusted!r:.100}")


def _marks(message: Mapping[str, Any]) -> set[str]:
    """Return the keys, the type and the part types of a message."""
    marks: list[Any] = [*message, message.get("type")]
    match message.get("content"):
        case [*parts]:
            for part in parts:
                match part:
                    case {"type": kind}:
                        marks.append(kind)
                    case _:
                        pass
        case _:
            pass
    return {mark for mark in marks if isinstance(mark, str)}


def user_turn(
    text: str, parts: Iterable[Mapping[str, Any]], text_type: str = "text"
) -> dict[str, Any]:
    """Return a message of the user: `text`, after the parts if there are any.

    text_type: type of the part that has the text.
    """
    content: list[Mapping[str, Any]] = [*parts]
    if not content:
        return {"role": "user", "content": text}
    if text:  # Anthropic refuses an empty one
        content.append({"type": text_type, "text": text})
    return {"role": "user", "content": content}


def unsupported(attachment: Attachment, supported: str) -> ValueError:
    """Return the error for an attachment that is none of the supported ones."""
    got = f"{attachment.name!r:.100} ({attachment.media_type})"
    return ValueError(f"attachments must be {supported}, got {got}")


def nested(options: Mapping[str, Any], name: str, fields: type) -> dict[str, Any]:
    """Return `options` with those that `fields` lists inside the option `name`.

    name: an option with an object, whose own fields are overridden.
    fields: a TypedDict.
    """
    inner = {key: value for key, value in options.items() if key in fields.__annotations__}
    outer = {key: value for key, value in options.items() if key not in inner}
    return {**outer, name: {**(options.get(name) or {}), **inner}} if inner else outer


def expect_call(call_id: str, calls: Container[str]) -> None:
    """Raise ValueError for a tool result whose call is not in the conversation."""
    if call_id not in calls:
        rule = "messages must have the call that a tool result answers before it"
        raise ValueError(f"{rule}, got a result for {call_id!r:.100}")


def expect_answers(messages: Iterable[Mapping[str, Any]]) -> None:
    """Raise ValueError for a message of the role tool before its call, in OpenAI's shape."""
    calls: set[str] = set()
    for message in messages:
        match message:
            case {"role": "tool", "tool_call_id": call_id}:
                expect_call(str(call_id), calls)
            case {"tool_calls": [*items]}:
                for item in items:
                    match item:
                        case {"id": call_id}:
                            calls.add(str(call_id))
                        case _:
                            pass
            case _:
                pass


def result_text(output: Any) -> str:
    """Return the output of a tool as text: a str as it is, any other value as JSON.

    Raises ValueError for a value that is not JSON.
    """
    return output if isinstance(output, str) else _encode(output).decode()


_BYTES = (bytes, bytearray, memoryview)


def _encode(value: Any) -> bytes:
    # msgspec converts more types than json does, but encodes bytes as Base64 and NaN as null:
    # json refuses both.
    try:
        plain = msgspec.to_builtins(value, builtin_types=_BYTES, str_keys=True, enc_hook=_as_dict)
        text = json.dumps(plain, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"messages and options must be JSON values: {error}") from error


def _as_dict(value: Any) -> dict[Any, Any]:
    if isinstance(value, Mapping):
        return dict(cast("Any", value))
    raise TypeError(f"{type(value).__name__} is not a JSON type")
