"""SSEDecoder: bytes of a text/event-stream in, events out.

The strategy:

- Everything is done on bytes, and each field value is decoded on its own. That equals decoding
  the whole stream first, because CR and LF never occur inside a multi-byte UTF-8 sequence. It
  keeps sizes exact and costs one str per field.
- A chunk is split at its line ends by one call into C. Only the line that it leaves unfinished
  is kept, in a bytearray that grows in place, so that a long line in small chunks costs linear
  time.
- A chunk is taken in windows that cannot make the event larger than the limit. Where the limit
  lies within a chunk does therefore not depend on how the stream was cut, and the loop over the
  lines has no limit to check. It also bounds the memory that a huge chunk costs.
"""

from __future__ import annotations

import sys
from copy import copy
from operator import index
from typing import Any, Generic, Literal, TypeVar, overload

from ._errors import EventTooLarge, LocalProtocolError
from ._events import Comment, MutableServerSentEvent, ServerSentEvent, UnknownField
from ._input import as_bytes, without_bom

Item = TypeVar("Item", bound=ServerSentEvent | Comment | UnknownField)

_COLON = 58
_WINDOW = 65536
_MAX_SEPARATE_LINES = 1024
_MAX_RECONNECTION_TIME = 2**63 - 1


class SSEDecoder(Generic[Item]):
    """Decode a `text/event-stream`, in chunks of any size, into events.

    The outcome depends on the bytes alone, never on how they were cut into chunks. No sequence
    of bytes is an error, except an event above the limit: what is no event stream has no events.

    last_event_id: the last event ID to start with, in force until the stream sets another.
    max_event_size: the largest event, in bytes, or None for no limit. The size of an event is
        the bytes of its lines so far, the unfinished line included, line ends and finished
        comments not: a server that never ends a line, or that never sends a blank one, is
        refused, while a heartbeat of comments alone can go on for ever.
    comments: return a Comment for each comment line too, as soon as the line ends.
    unknown_fields: return an UnknownField for each field that the standard ignores, likewise.
    dispatch_at_eof: at `close`, take what is pending for a whole event. The standard discards
        it; this is for servers that omit the last blank line.

    Raises ValueError for a last_event_id with CR, LF or NUL, which no stream could have set.

    HTML Standard, 9.2.5 "Parsing an event stream" and 9.2.6 "Interpreting an event stream".
    """

    __slots__ = (
        "_after_cr",
        "_at_start",
        "_comments",
        "_data",
        "_data_blocks",
        "_dispatch_at_eof",
        "_event_type",
        "_id_buffer",
        "_last_event_id",
        "_limit",
        "_over",
        "_reconnection_time",
        "_retry",
        "_room",
        "_size",
        "_tail",
        "_unknown_fields",
    )

    @overload
    def __init__(
        self: SSEDecoder[ServerSentEvent],
        *,
        last_event_id: str = "",
        max_event_size: int | None = ...,
        comments: Literal[False] = False,
        unknown_fields: Literal[False] = False,
        dispatch_at_eof: bool = False,
    ) -> None: ...
    @overload
    def __init__(
        self: SSEDecoder[ServerSentEvent | Comment | UnknownField],
        *,
        last_event_id: str = "",
        max_event_size: int | None = ...,
        comments: bool = False,
        unknown_fields: bool = False,
        dispatch_at_eof: bool = False,
    ) -> None: ...

    def __init__(
        self,
        *,
        last_event_id: str = "",
        max_event_size: int | None = 64 * 1024 * 1024,
        comments: bool = False,
        unknown_fields: bool = False,
        dispatch_at_eof: bool = False,
    ) -> None:
        if not isinstance(last_event_id, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"a last event ID is a str, not {type(last_event_id).__name__}")
        if not {"\r", "\n", "\0"}.isdisjoint(last_event_id):
            raise ValueError(f"a last event ID has no CR, LF or NUL: {last_event_id!r}")
        if max_event_size is not None and max_event_size < 1:
            raise ValueError(f"max_event_size must be at least 1, or None: {max_event_size}")
        self._limit = (
            sys.maxsize if max_event_size is None else min(index(max_event_size), sys.maxsize)
        )
        self._comments = bool(comments)
        self._unknown_fields = bool(unknown_fields)
        self._dispatch_at_eof = bool(dispatch_at_eof)
        self._last_event_id = last_event_id
        self._reconnection_time: int | None = None
        self.reset()

    def reset(self) -> None:
        """Start over for a new connection.

        The last event ID and the reconnection time stay; all that was pending is discarded.
        """
        # Why decoding is over, once it is.
        self._over = ""
        # Nothing of the stream has come yet but, perhaps, a part of a byte order mark.
        self._at_start = True
        # The last byte was a CR: an LF now would belong to the same line end.
        self._after_cr = False
        # The bytes of the unfinished line.
        self._tail = bytearray()
        # The size of the pending event without the unfinished line, and what room for more
        # bytes the limit leaves it, with the unfinished line.
        self._size = 0
        self._room = self._limit
        self._event_type = ""
        self._id_buffer = self._last_event_id
        self._retry: int | None = None
        # The data lines since the last dispatch; where there are many, all but the newest two
        # are joined into blocks, because a short str takes ten times the memory of its text.
        # Two, so that a lone line in `_data` is always the whole of the data. Neither list is
        # ever shortened: see `_join`.
        self._data: list[str] = []
        self._data_blocks: list[str] = []

    @property
    def last_event_id(self) -> str:
        """The last event ID in force: what a reconnection sends as Last-Event-ID."""
        return self._last_event_id

    @property
    def reconnection_time(self) -> int | None:
        """The reconnection time in milliseconds, as the stream last set it, or None."""
        return self._reconnection_time

    @property
    def incomplete(self) -> bool:
        """Whether bytes are pending that an end of the stream would discard.

        An unfinished line, or data, an event type or an event ID that no blank line has
        followed. After `close` it tells whether something was discarded.
        """
        return bool(
            self._tail or self._data or self._event_type or self._id_buffer != self._last_event_id
        )

    def feed(self, data: bytes | bytearray | memoryview, /) -> list[Item]:
        """Take the next bytes of the stream and return the items that they complete, in order.

        Raises EventTooLarge when an event outgrows the limit (the items before it are its
        `events`), LocalProtocolError after that or after `close`, TypeError for a str.
        """
        if type(data) is not bytes:
            data = as_bytes(data)
        if self._over:
            raise LocalProtocolError(f"feed() after {self._over}: reset() the decoder first")
        if self._at_start:
            stream = without_bom(self._tail, data)
            if stream is None:
                return []
            data = stream
            self._at_start = False
        try:
            if self._room >= len(data) <= _WINDOW:
                return self._parse(data)
            return self._parse_in_windows(data)
        except BaseException as error:
            # Such as KeyboardInterrupt: items may be lost, so it must not seem that the stream
            # can go on.
            self._over = "EventTooLarge" if isinstance(error, EventTooLarge) else "a failure"
            raise

    def close(self) -> list[Item]:
        """Tell the end of the stream, and return what it completes.

        That is nothing, unless `dispatch_at_eof` is set: the standard discards what no blank
        line has followed. Closing again, or after an error, does nothing.
        """
        if self._over:
            return []
        self._over = "close()"
        return self._parse(b"\n\n") if self._dispatch_at_eof else []

    def _parse_in_windows(self, data: bytes) -> list[Item]:
        """Interpret `data` in pieces that the limit has room for."""
        items: list[Item] = []
        start = 0
        while start < len(data):
            # Below zero only if several threads feed at once: that may mix up, but not hang.
            if self._room <= 0 and data[start] not in b"\r\n":
                error = EventTooLarge(self._limit)
                error.events = items
                raise error
            stop = start + min(max(self._room, 1), _WINDOW)
            items += self._parse(data[start:stop])
            start = stop
        return items

    def _parse(self, window: bytes) -> list[Item]:
        """Interpret the lines that `window` completes, and keep the one that it does not."""
        if self._after_cr and window:
            self._after_cr = False
            window = window.removeprefix(b"\n")
        if b"\r" in window:
            self._after_cr = window.endswith(b"\r")
            window = window.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines: list[bytes] = window.split(b"\n")
        unfinished = lines.pop()
        if not lines:
            self._tail += unfinished
            self._room -= len(unfinished)
            return []
        if self._tail:
            self._tail += lines[0]
            # A bytearray does what bytes do here, and a copy of a long line would cost memory.
            lines[0] = self._tail  # type: ignore[call-overload] # pyright: ignore[reportArgumentType]
            self._tail = bytearray(unfinished)
        elif unfinished:
            self._tail += unfinished

        items: list[Any] = []
        data = self._data
        event_type = self._event_type
        comments_size = 0
        for line in lines:
            if not line:  # "dispatch the event"
                self._last_event_id = self._id_buffer
                if data:
                    event = MutableServerSentEvent()
                    event.event = event_type or "message"
                    event.data = data[0] if len(data) == 1 else self._join(data)
                    event.id = self._id_buffer
                    event.retry = self._retry
                    event.__class__ = ServerSentEvent  # type: ignore[assignment]
                    items.append(event)
                    data = []
                event_type = ""
                self._retry = None
                comments_size = 0
            elif line[:6] == b"data: ":  # nearly every line of a stream; below are the others
                data.append(line[6:].decode("utf-8", "replace"))
            elif line[:7] == b"event: ":
                event_type = line[7:].decode("utf-8", "replace")
            elif line[0] == _COLON:
                comments_size += len(line)
                if self._comments:
                    text = line[1:].removeprefix(b" ")
                    items.append(Comment(text.decode("utf-8", "replace")))
            else:  # "process the field"
                name, _, value = line.partition(b":")
                value = value.removeprefix(b" ")
                if name == b"data":
                    data.append(value.decode("utf-8", "replace"))
                elif name == b"event":
                    event_type = value.decode("utf-8", "replace")
                elif name == b"id":
                    if b"\0" not in value:
                        self._id_buffer = value.decode("utf-8", "replace")
                elif name == b"retry":
                    self._set_reconnection_time(value)
                elif self._unknown_fields:
                    decoded = name.decode("utf-8", "replace"), value.decode("utf-8", "replace")
                    items.append(UnknownField(*decoded))
        self._data = data
        self._event_type = event_type

        if not lines[-1]:
            self._size = 0
            self._room = self._limit - len(unfinished)
        else:
            if b"" in lines:
                self._size = 0
                lines = lines[-lines[::-1].index(b"") :]
            self._size += sum(map(len, lines)) - comments_size
            self._room = self._limit - self._size - len(unfinished)
            if len(data) > _MAX_SEPARATE_LINES:
                self._data_blocks.append("\n".join(data[:-2]))
                self._data = data[-2:]
        return items

    def _join(self, data: list[str]) -> str:
        # Not `blocks + data`, and nothing that shortens a list: CPython 3.11 writes past the end of
        # the sum if a finalizer, or a thread that it lets run, feeds this decoder meanwhile.
        joined = "\n".join([*self._data_blocks, *data])
        self._data_blocks = []
        return joined

    def _set_reconnection_time(self, value: bytes) -> None:
        if value.isdigit():  # of bytes: 0 to 9, and at least one
            digits = value.lstrip(b"0") or b"0"
            # int() is quadratic in the digits, and refuses a few thousand of them.
            if len(digits) > len(str(_MAX_RECONNECTION_TIME)):
                time = _MAX_RECONNECTION_TIME
            else:
                time = min(int(digits), _MAX_RECONNECTION_TIME)
            self._reconnection_time = self._retry = time

    def __getstate__(self) -> dict[str, object]:
        # Shallow copies, or a copied decoder would share its accumulators with this one.
        return {name: copy(getattr(self, name)) for name in SSEDecoder.__slots__}

    def __setstate__(self, state: dict[str, object]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
