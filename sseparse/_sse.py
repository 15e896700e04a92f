"""SSEDecoder in Python, the readable reference: bytes of a text/event-stream in, events out.

The strategy:

- Everything is done on bytes, and each field value is decoded on its own. That equals decoding
  the whole stream first, because CR and LF never occur inside a multi-byte UTF-8 sequence. It
  keeps sizes exact and costs one str per field.
- A chunk is split at its line ends by one call into C. Only its unfinished line is kept, in a
  bytearray that grows in place, so that a long line in small chunks costs linear time.
- The data lines of an event are joined as bytes, and decoded when the event ends.
- A chunk is parsed in windows that cannot make the event larger than the limit. Where the limit
  lies within a chunk does therefore not depend on how the stream was cut, and the loop over the
  lines has no limit to check. It also bounds the memory that a huge chunk costs.
"""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar, overload

from ._compiled import Stateful, compiled
from ._errors import EventTooLarge, LocalProtocolError
from ._events import Block, Comment, ServerSentEvent, UnknownField, new_event
from ._input import as_bytes, checked_options, without_bom

Item = TypeVar("Item", bound=ServerSentEvent | Block | Comment | UnknownField)

_WINDOW = 65536
_MAX_RECONNECTION_TIME = 2**63 - 1


@compiled
class SSEDecoder(Stateful, Generic[Item]):
    """Decode a `text/event-stream`, in chunks of any size, into events.

    The outcome depends on the bytes alone, never on how they were cut into chunks. No sequence
    of bytes is an error, except an event above the limit: an HTML page has no events.

    last_event_id: the last event ID to start with, in force until the stream sets another.
    max_event_size: the largest event in bytes, or None for no limit; 64 MiB. The size of an event
        is the bytes of its lines so far, the unfinished line included, line ends and finished
        comments not. A server that never ends a line, or never sends a blank one, is refused.
        Comments alone can go on forever.
    blocks: return a Block in place of each event: the fields that the block itself has. There is
        one for each block with a field, data or not.
    comments: return a Comment for each comment line too, as soon as the line ends.
    unknown_fields: return an UnknownField for each field that the standard ignores, as soon as
        its line ends.
    dispatch_at_eof: at `close`, dispatch the pending event. The standard discards it; some
        servers omit the last blank line.

    A copy or pickle has the position in the stream, but no attributes of a subclass.

    Raises TypeError and ValueError, naming the argument; ValueError for a last_event_id with CR,
    LF or NUL, which no stream can set.

    HTML Standard, 9.2.5 "Parsing an event stream" and 9.2.6 "Interpreting an event stream".
    """

    __slots__ = _state = (
        "_after_cr",
        "_at_start",
        "_blocks",
        "_comments",
        "_data",
        "_dispatch_at_eof",
        "_event_type",
        "_has_id",
        "_id_buffer",
        "_last_event_id",
        "_limit",
        "_over",
        "_reconnection_time",
        "_retry",
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
        blocks: Literal[False] = False,
        comments: Literal[False] = False,
        unknown_fields: Literal[False] = False,
        dispatch_at_eof: bool = False,
    ) -> None: ...
    @overload
    def __init__(
        self: SSEDecoder[Block],
        *,
        last_event_id: str = "",
        max_event_size: int | None = ...,
        blocks: Literal[True],
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
        blocks: Literal[False] = False,
        comments: bool = False,
        unknown_fields: bool = False,
        dispatch_at_eof: bool = False,
    ) -> None: ...
    @overload
    def __init__(
        self: SSEDecoder[ServerSentEvent | Block | Comment | UnknownField],
        *,
        last_event_id: str = "",
        max_event_size: int | None = ...,
        blocks: bool = False,
        comments: bool = False,
        unknown_fields: bool = False,
        dispatch_at_eof: bool = False,
    ) -> None: ...

    def __init__(
        self,
        *,
        last_event_id: str = "",
        max_event_size: int | None = 64 * 1024 * 1024,
        blocks: bool = False,
        comments: bool = False,
        unknown_fields: bool = False,
        dispatch_at_eof: bool = False,
    ) -> None:
        self._last_event_id, self._limit = checked_options(last_event_id, max_event_size)
        self._blocks = bool(blocks)
        self._comments = bool(comments)
        self._unknown_fields = bool(unknown_fields)
        self._dispatch_at_eof = bool(dispatch_at_eof)
        self._reconnection_time: int | None = None
        self.reset()

    def reset(self) -> None:
        """Start over for a new connection.

        The last event ID and the reconnection time stay. Pending bytes are discarded.
        """
        # Why decoding is over, or "".
        self._over = ""
        # Nothing of the stream has come yet but, perhaps, a part of a byte order mark.
        self._at_start = True
        # The last byte was a CR: an LF now would belong to the same line end.
        self._after_cr = False
        # The bytes of the unfinished line.
        self._tail = bytearray()
        # The size of the pending event, without the unfinished line.
        self._size = 0
        # The data lines since the last dispatch, joined by LF.
        self._data: bytes | bytearray | None = None
        self._event_type: str | None = None
        self._id_buffer = self._last_event_id
        # Whether the pending block has set the ID buffer.
        self._has_id = False
        self._retry: int | None = None

    @property
    def last_event_id(self) -> str:
        """The last event ID in force, which a reconnection sends as Last-Event-ID."""
        return self._last_event_id

    @property
    def reconnection_time(self) -> int | None:
        """The reconnection time in milliseconds that the stream last set, or None."""
        return self._reconnection_time

    @property
    def incomplete(self) -> bool:
        """Whether bytes are pending that an end of the stream would discard.

        Pending are an unfinished line, and data, an event type or another event ID before their
        blank line; with `blocks`, any field. After `close`: whether something was discarded.
        """
        if self._tail or self._data is not None:
            return True
        if self._blocks:
            return self._has_id or self._event_type is not None or self._retry is not None
        return bool(self._event_type) or self._id_buffer != self._last_event_id

    def feed(self, data: bytes | bytearray | memoryview, /) -> list[Item]:
        """Return the items that the next bytes of the stream complete, in order.

        Raises EventTooLarge when an event outgrows the limit, with the items before it as its
        `events`; LocalProtocolError after that or after `close`; TypeError for a str.
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
            if self._limit - self._size - len(self._tail) >= len(data) <= _WINDOW:
                return self._parse(data)
            return self._parse_in_windows(data)
        except BaseException as error:
            # After a KeyboardInterrupt, for example, items may be lost: the stream cannot go on.
            self._over = "EventTooLarge" if isinstance(error, EventTooLarge) else "a failure"
            raise

    def close(self) -> list[Item]:
        """End the stream, and return the items that its end completes.

        There are none unless `dispatch_at_eof` is set: the standard discards an event without
        its blank line. Closing again, or after an error, does nothing.
        """
        if self._over:
            return []
        self._over = "close()"
        return self._parse(b"\n\n") if self._dispatch_at_eof else []

    def _parse_in_windows(self, data: bytes) -> list[Item]:
        """Parse `data` in pieces that fit into the limit."""
        items: list[Item] = []
        start = 0
        while start < len(data):
            room = self._limit - self._size - len(self._tail)
            # Below zero only if several threads feed at once: they mix up, but must not hang.
            if room <= 0 and data[start] not in b"\r\n":
                error = EventTooLarge(self._limit)
                error.events = items
                raise error
            stop = start + min(max(room, 1), _WINDOW)
            items += self._parse(data[start:stop])
            start = stop
        return items

    def _parse(self, window: bytes) -> list[Item]:
        """Interpret the lines that `window` completes, and keep its unfinished line."""
        if self._after_cr and window:
            self._after_cr = False
            window = window.removeprefix(b"\n")
        if b"\r" in window:
            self._after_cr = window.endswith(b"\r")
            window = window.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines: list[bytes | bytearray] = window.split(b"\n")  # type: ignore[assignment]
        unfinished = lines.pop()
        if lines and self._tail:
            self._tail += lines[0]
            lines[0] = self._tail
            self._tail = bytearray()
        self._tail += unfinished

        items: list[Any] = []
        data = self._data
        size = self._size
        blocks = self._blocks
        for line in lines:
            if not line:  # "dispatch the event"
                self._last_event_id = self._id_buffer
                if blocks:
                    items += self._end_block(data)
                elif data is not None:
                    text = data.decode("utf-8", "replace")
                    event_type = self._event_type or "message"
                    items.append(new_event(event_type, text, self._id_buffer, self._retry))
                data = self._event_type = self._retry = None
                size = 0
                continue
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if not name:  # a comment
                if self._comments:
                    items.append(Comment(value.decode("utf-8", "replace")))
                continue
            size += len(line)
            if name == b"data":  # "process the field"
                if data is None:
                    data = value
                else:
                    if type(data) is bytes:
                        data = bytearray(data)  # which grows in place
                    data += b"\n"
                    data += value
            elif name == b"event":
                self._event_type = value.decode("utf-8", "replace")
            elif name == b"id":
                if b"\0" not in value:
                    self._id_buffer = value.decode("utf-8", "replace")
                    self._has_id = blocks
            elif name == b"retry":
                self._set_reconnection_time(value)
            elif self._unknown_fields:
                texts = (part.decode("utf-8", "replace") for part in (name, value, line))
                items.append(UnknownField(*texts))
        self._data = data
        self._size = size
        return items

    def _end_block(self, data: bytes | bytearray | None) -> list[Block]:
        """Return the block that a blank line ends, unless it has no field."""
        text = None if data is None else data.decode("utf-8", "replace")
        event_id = self._id_buffer if self._has_id else None
        self._has_id = False
        block = Block(self._event_type, text, event_id, self._retry)
        return [] if block == Block() else [block]

    def _set_reconnection_time(self, value: bytes | bytearray) -> None:
        if value.isdigit():  # of bytes: 0 to 9, and at least one
            digits = value.lstrip(b"0") or b"0"
            # int() is quadratic in the digits, and refuses a few thousand of them.
            if len(digits) > len(str(_MAX_RECONNECTION_TIME)):
                time = _MAX_RECONNECTION_TIME
            else:
                time = min(int(digits), _MAX_RECONNECTION_TIME)
            self._reconnection_time = self._retry = time
