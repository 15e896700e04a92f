"""The exception tree.

ProtocolError
├── LocalProtocolError        this side broke the protocol
└── RemoteProtocolError       the other side broke it
    ├── EventTooLarge
    ├── InvalidJSON
    ├── IncompleteStream
    └── UnexpectedResponse

All facts are attributes: no message has to be parsed. `args` are the constructor's arguments, so
that the exceptions survive pickling and copying.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._display import one_line, page_words, redacted_location, redacted_url

# In bytes: how much of an HTML page is searched for its words.
_MAX_PAGE = 65536


class ProtocolError(Exception):
    """The base of all errors about a stream."""


class LocalProtocolError(ProtocolError):
    """A decoder or a stream was used in a state that does not allow it."""


class RemoteProtocolError(ProtocolError):
    """The other side sent bytes that cannot be accepted.

    events: the items that the failed call of `feed` or `close` completed before the error, in
        order. The drivers (`decode`, `adecode`) yield them first, and leave the list empty.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.events: list[Any] = []


class EventTooLarge(RemoteProtocolError):
    """An event or a line is larger than the decoder's limit.

    limit: in bytes.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"an event or line is larger than the limit of {self.limit} bytes"


class InvalidJSON(RemoteProtocolError):
    """A text is not JSON, or not UTF-8.

    reason: the cause, in words.
    line: the first 256 bytes of the text, invalid UTF-8 replaced where the decoder replaces it.
    line_number: from 1; None for JSON text sequences and for an event's data.
    offset: of the text's first byte in the stream, in bytes from 0; None for an event's data.
    data: all of an event's data, else None.
    """

    MAX_LINE = 256

    def __init__(
        self, reason: str, line: bytes, line_number: int | None = None, offset: int | None = None
    ) -> None:
        self.data: bytes | None = line if offset is None else None
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
    """The stream ended, cleanly or not, before its content was finished.

    text: the text that has arrived. If the network failed, its error is the `__cause__`.
    """

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        progress = f" (characters so far: {len(self.text)})" if self.text else ""
        return f"the stream ended before it was finished{progress}"


class UnexpectedResponse(RemoteProtocolError):
    """The server's response is not a stream that can be decoded.

    status: the HTTP status.
    headers: the header fields, names in lower case.
    body: the start of the body; the message shows its first words, or an HTML page's title.
    retry_after: the seconds for which the server asks to wait, or None.
    url: the address of the response, kept without user information, query and fragment.
    expected: the kind of response that was expected, for the message.
    """

    SHOWN = 300

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        retry_after: float | None = None,
        url: str = "",
        expected: str = "a stream",
    ) -> None:
        self.url: str = redacted_url(url) if url else ""
        super().__init__(status, headers, body, retry_after, self.url, expected)
        self.status = status
        self.headers = headers
        self.body = body
        self.retry_after = retry_after
        self.expected = expected

    def __str__(self) -> str:
        # Imported late: the decoders import this module.
        from ._decoders import essence

        media_type = essence(self.headers.get("content-type"))
        is_page = media_type in ("text/html", "application/xhtml+xml")
        origin = f" from {self.url}" if self.url else ""
        kind = media_type or "no content type"
        if self.status == 200:
            message = f"not {self.expected} ({kind}){origin}"
        elif 200 < self.status < 300:
            message = f"not {self.expected} (HTTP {self.status}, {kind}){origin}"
        else:
            message = f"HTTP {self.status} ({kind}){origin}"
        words = self.body[:_MAX_PAGE].decode("utf-8", "replace")
        words = page_words(words) if is_page else " ".join(words[: 4 * self.SHOWN].split())
        if len(words) > self.SHOWN:
            words = words[: self.SHOWN] + "…"
        message += f": {words or 'empty body'}"
        if 300 <= self.status < 400 and (location := self.headers.get("location")):
            message += f" (redirects to {redacted_location(location)[: self.SHOWN]})"
        if self.retry_after is not None and self.retry_after > 0:
            message += f" (retry after {self.retry_after:.3g} seconds)"
        return one_line(message)
