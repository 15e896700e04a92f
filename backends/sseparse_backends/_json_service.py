"""What the backends of chat services ask in common: where, with which key, in JSON.

A backend of your own needs none of it: the contract is all that counts.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec

from sseparse import ServerSentEvent, SSEDecoder, UnknownField, decoder_for
from sseparse._display import redacted_url
from sseparse.transports._errors import credentials, header, is_http

from ._contract import Messages, Request


class _Address(str):
    """A URL whose repr leaves out what may be secret."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(redacted_url(self))


@dataclass(frozen=True, kw_only=True)
class Service:
    """A chat service over HTTP with JSON.

    base_url: where the service is, if not at its public address.
    api_key: the key; by default, that of the service's environment variable, if it is set. At
        its public address a service needs one; elsewhere it may do without. It is sent to the
        base_url, whatever that is.
    extra_headers: further header fields of each request, which win over its own.
    extra_body: further fields of each request's JSON object, which win over its own.
    max_event_size: the largest event or line, in bytes, or None for no limit; see SSEDecoder,
        also for what it raises.

    Raises TypeError and ValueError for arguments of the wrong type, a base_url that is no http: or
    https: URL, a header field that cannot be sent, and a wrong limit.
    """

    # The environment variable of the key, and whether the service answers nobody without one.
    key_variable: ClassVar[str]
    needs_key: ClassVar[bool] = True
    # What `request` takes as options: fields of the service's own JSON object.
    options: ClassVar[frozenset[str]] = frozenset()
    # What the arguments are that anybody may get wrong, on the command line for one.
    kinds: ClassVar[Mapping[str, Any]] = {
        "base_url": str,
        "api_key": str | None,
        "extra_headers": Mapping,
        "extra_body": Mapping,
    }

    base_url: str = ""
    api_key: str | None = field(default=None, repr=False)
    # They may carry secrets, too.
    extra_headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False, hash=False)
    extra_body: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False, hash=False)
    max_event_size: int | None = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        for name, kind in self.kinds.items():
            if not isinstance(value := getattr(self, name), kind):
                raise TypeError(f"{name} cannot be a {type(value).__name__}")
        for name, value in self.extra_headers.items():
            header(name, value)
        if len({name.lower() for name in self.extra_headers}) < len(self.extra_headers):
            raise ValueError("two extra_headers differ by their case alone")
        below(self.base_url, "")
        object.__setattr__(self, "base_url", _Address(self.base_url))
        # A wrong limit is refused here, not with the first reply.
        SSEDecoder(max_event_size=self.max_event_size)
        if self.api_key is None:
            object.__setattr__(self, "api_key", os.environ.get(self.key_variable))

    def key_field(self, name: str, scheme: str = "") -> dict[str, str]:
        """Return the header field that has the key, or none where there is no key.

        Raises ValueError where one is needed, and for what can be none.
        """
        key = self.api_key or ""
        if re.search(r"\s", key) or not key.isprintable():
            raise ValueError("there is white space in the API key, or what cannot be printed")
        if key and "@" in urlsplit(self.base_url).netloc:
            # Each transport would take another one of them.
            raise ValueError(
                "give either an API key or user information in the base_url: an empty one is none"
            )
        at_home = urlsplit(self.base_url).hostname == urlsplit(type(self).base_url).hostname
        if self.needs_key and at_home and not (key or credentials(self.extra_headers)):
            raise ValueError(
                f"{type(self).__name__} needs an API key: give it as api_key, or set the "
                f"environment variable {self.key_variable}"
            )
        return {name: f"{scheme}{key}"} if key else {}

    def post(
        self,
        path: str,
        headers: Mapping[str, str],
        body: Mapping[str, Any],
        options: Mapping[str, Any],
        **query: str,
    ) -> Request:
        """Return the request that posts `body` with `options` to `path` below the base_url.

        Raises TypeError for an option that the service does not have, and ValueError for what
        cannot be JSON.
        """
        if unknown := options.keys() - self.options:
            raise TypeError(
                f"{type(self).__name__} has no option {', '.join(sorted(unknown))}; it has "
                f"{', '.join(sorted(self.options))}, and extra_body is for others"
            )
        fields = {
            "content-type": "application/json",
            **headers,
            **{name.lower(): value for name, value in self.extra_headers.items()},
        }
        try:
            encoded = _encode({**body, **options, **self.extra_body})
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"a message or an option cannot be sent as JSON: {error}") from error
        return Request("POST", below(self.base_url, path, **query), fields, encoded)

    def event_stream(self, content_type: str) -> SSEDecoder[ServerSentEvent | UnknownField]:
        """Return the decoder of a reply; raises ValueError for another media type."""
        if not isinstance(decoder_for(content_type), SSEDecoder):
            raise ValueError(
                f"{type(self).__name__} replies with text/event-stream, not {content_type!r}"
            )
        # Some servers send an error as a field line.
        decoder: SSEDecoder[Any] = SSEDecoder(
            max_event_size=self.max_event_size, unknown_fields=True
        )
        return decoder


def below(base_url: str, path: str, **query: str) -> str:
    """Return the URL of `path` below a base_url, which may have a path and a query of its own.

    Raises ValueError for a base_url that is no http: or https: URL.
    """
    if not is_http(base_url):
        # It is not shown: a part of what is no URL may be secret as well.
        raise ValueError("base_url is not an http: or https: URL")
    address = urlsplit(base_url)
    return urlunsplit(
        address._replace(
            path=address.path.rstrip("/") + path,
            query="&".join(filter(None, [address.query, urlencode(query)])),
        )
    )


_BYTES = (bytes, bytearray, memoryview)


def _plain(value: Any) -> Any:
    """Return what msgspec does not know as something that it does."""
    if isinstance(value, Mapping):
        return dict(cast("Any", value))
    raise TypeError(f"{type(value).__name__} is no JSON")


def _encode(value: Any) -> bytes:
    # msgspec knows more types than json, but would make text of bytes, and null of what is no
    # number: json refuses both.
    value = msgspec.to_builtins(value, builtin_types=_BYTES, str_keys=True, enc_hook=_plain)
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def conversation(
    messages: Messages, *, items: bool = False, parts: bool = False
) -> list[Mapping[str, Any]]:
    """Return `messages` as a list, a prompt as the one message of a user.

    items: accept items, too, which have a type in place of a role.
    parts: accept messages, too, which have parts in place of a content.

    Raises ValueError for what is neither a str nor messages, each with a role, and for none.
    """
    # No annotation keeps anybody from giving something else.
    given: Any = messages
    match given:
        case str():
            return [{"role": "user", "content": given}]
        case []:
            raise ValueError("there is no message to send")
        case [*turns]:
            for message in turns:
                _expect_message(message, items, parts)
            return turns
        case _:
            raise ValueError(_shape(given))


def _expect_message(message: Any, items: bool, parts: bool) -> None:
    match message:
        case {"role": str(), "content": str()}:
            pass
        case {"role": str(), "content": [*blocks]} if all(isinstance(b, Mapping) for b in blocks):
            pass
        case {"role": str(), "tool_calls": [*_], **rest} if rest.get("content") is None:
            pass
        case {"role": str(), "parts": [*_]} if parts:
            pass
        case {"type": str(), **rest} if items and "role" not in rest:
            pass
        case _:
            raise ValueError(_shape(message))


def _shape(value: object) -> str:
    return (
        "a prompt is a str, or a list of messages with a role and a content each, not "
        f"{value!r:.100}"
    )
