"""The exception tree.

ProtocolError
├── LocalProtocolError        you did something the protocol does not allow
└── RemoteProtocolError       the other side did
    ├── EventTooLarge
    ├── InvalidJSON
    ├── IncompleteStream
    └── UnexpectedResponse

Everything worth knowing is an attribute; no message has to be parsed. `args` are the
constructor's arguments, so that the exceptions survive pickling and copying.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ._display import one_line, redacted_url


class ProtocolError(Exception):
    """The base of every error that sseparse itself raises about a stream."""


class LocalProtocolError(ProtocolError):
    """This side used a decoder or a stream in a state that does not allow it."""


class RemoteProtocolError(ProtocolError):
    """The other side sent something that cannot be accepted.

    `events` holds the items that were complete before the error in the same call of `feed` or
    `close`, in order. The drivers (`decode`, `adecode`) deliver them before they raise, and
    leave the list empty.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.events: list[Any] = []


class EventTooLarge(RemoteProtocolError):
    """An event, or a line, grew beyond the decoder's limit of `limit` bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"an event or line is larger than the limit of {self.limit} bytes"


class InvalidJSON(RemoteProtocolError):
    """A text that should have been JSON is not, or is not UTF-8.

    `reason` says why. `line` is the start of the text, at most 256 bytes. `line_number` (from 1)
    and `offset` (of the text's first byte in the stream, in bytes, from 0) say where it stood.
    The line number is None where texts are no lines, and both are for the data of an event, all of
    which is in `data` then.
    """

    MAX_LINE = 256

    def __init__(
        self,
        reason: str,
        line: bytes,
        line_number: int | None = None,
        offset: int | None = None,
    ) -> None:
        self.data = line if offset is None else None
        line = line[: self.MAX_LINE]
        super().__init__(reason, line, line_number, offset)
        self.reason = reason
        self.line = line
        self.line_number = line_number
        self.offset = offset

    def __str__(self) -> str:
        line_number = "" if self.line_number is None else f"line {self.line_number}, "
        offset = "" if self.offset is None else f"offset {self.offset}: "
        return f"{line_number}{offset}{self.reason}: {self.line!r}"


class IncompleteStream(RemoteProtocolError):
    """The stream ended, cleanly or not, before what it carried was finished.

    `text` is the text that had arrived. Where the network failed, the failure is `__cause__`.
    """

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        progress = f" (characters so far: {len(self.text)})" if self.text else ""
        return f"the stream ended before it was finished{progress}"


class UnexpectedResponse(RemoteProtocolError):
    """The server answered, but not with a stream that can be read.

    `status` is the HTTP status, `headers` its header fields with lower-case names, `body` the
    start of the body, whose first words the message shows. `retry_after` is the number of
    seconds for which the server asks to wait, or None.
    """

    SHOWN = 300

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(status, headers, body, retry_after)
        self.status = status
        self.headers = headers
        self.body = body
        self.retry_after = retry_after

    def __str__(self) -> str:
        content_type = self.headers.get("content-type", "no content type")
        words = " ".join(self.body[: 4 * self.SHOWN].decode("utf-8", "replace").split())
        if len(words) > self.SHOWN:
            words = words[: self.SHOWN] + "…"
        message = f"HTTP {self.status} ({content_type}): {words or 'empty body'}"
        if 300 <= self.status < 400 and (location := self.headers.get("location")):
            message += f" (redirects to {_without_query(location)[: self.SHOWN]})"
        if self.retry_after is not None and self.retry_after > 0:
            message += f" (retry after {self.retry_after:.0f} seconds)"
        return one_line(message)


def _without_query(location: str) -> str:
    path = re.split("[?#]", location)[0]
    is_url = re.match(r"(?:[a-zA-Z][a-zA-Z0-9+.-]*:)?//", path)
    return redacted_url(location) if is_url else path
