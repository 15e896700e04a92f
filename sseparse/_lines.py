"""LineDecoder in Python, the readable reference: bytes in chunks of any size in, lines out."""

from __future__ import annotations

from typing import Any

from ._compiled import Stateful, compiled
from ._errors import EventTooLarge, LocalProtocolError
from ._input import as_bytes, checked_limit


@compiled
class LineDecoder(Stateful):
    """Cut a stream of bytes, in chunks of any size, into lines.

    A line ends at LF, and is returned without it, as bytes; one CR before the LF is dropped too.
    No other character ends a line. The last line, without LF, is returned by `close`.

    max_line_size: the longest line in bytes, its CR included, or None for no limit; 64 MiB.

    Raises TypeError and ValueError, naming the argument.
    """

    __slots__ = _state = (
        "_limit",
        "_line_number",
        "_line_offset",
        "_offset",
        "_over",
        "_plain",
        "_tail",
        "_text",
    )

    def __init__(
        self, *, max_line_size: int | None = 64 * 1024 * 1024, _text: bool = False
    ) -> None:
        self._limit = checked_limit("max_line_size", max_line_size)
        # Why decoding is over, or "".
        self._over = ""
        # The bytes of the unfinished line.
        self._tail = bytearray()

        # For NDJSONDecoder: a line that is UTF-8 is returned as str.
        self._text = bool(_text)
        # The offset of the next byte, and the number of the unfinished line, from 1.
        self._offset = 0
        self._line_number = 1
        # The offset of the first line that the last chunk completed, and whether all that it
        # completed begin with an ASCII character other than white space and are text, if asked for.
        self._line_offset = 0
        self._plain = False

    def feed(self, data: bytes | bytearray | memoryview, /) -> list[bytes]:
        """Return the lines that the next bytes of the stream complete, in order.

        Raises EventTooLarge for a line above the limit, with the lines before it as its `events`;
        LocalProtocolError after that or after `close`; TypeError for a str.
        """
        if type(data) is not bytes:
            data = as_bytes(data)
        if self._over:
            raise LocalProtocolError(f"feed() after {self._over}: make a new decoder")
        tail, limit = self._tail, self._limit
        self._line_offset = self._offset - len(tail)
        self._offset += len(data)
        lines = data.split(b"\n")
        unfinished = lines.pop()
        if lines and tail:
            lines[0] = bytes(tail) + lines[0]
            tail.clear()
        tail += unfinished
        too_large = len(tail) > limit
        # Only the first line can be larger than the chunk.
        if lines and (len(lines[0]) > limit or len(data) > limit):
            for number, line in enumerate(lines):
                if len(line) > limit:
                    del lines[number:]
                    too_large = True
                    break
        # The CR may have come with an earlier chunk.
        if b"\r" in data or (lines and lines[0].endswith(b"\r")):
            lines = [line.removesuffix(b"\r") for line in lines]
        # Until the lines are returned: after a MemoryError, for example, some are lost.
        self._over = "a failure"
        returned = self._end_lines(lines)
        self._over = ""
        if too_large:
            self._over = "EventTooLarge"
            error = EventTooLarge(self._limit)
            error.events = returned
            raise error
        return returned

    def close(self) -> list[bytes]:
        """End the stream, and return its last line if no LF has ended it.

        Closing again, or after an error, does nothing.
        """
        if self._over:
            return []
        self._over = "close()"
        self._line_offset = self._offset - len(self._tail)
        lines = [bytes(self._tail)] if self._tail else []
        self._tail.clear()
        return self._end_lines(lines)

    def _end_lines(self, lines: list[bytes]) -> list[Any]:
        """Return the lines as the caller gets them."""
        self._line_number += len(lines)
        self._plain = True
        if not lines:
            return lines
        returned: list[Any] = lines
        if self._text:
            try:
                returned = b"\n".join(lines).decode().split("\n")
            except UnicodeDecodeError:
                self._plain = False
                return [_decoded(line) for line in lines]
        # The smallest line has the smallest first byte, the largest line the largest.
        self._plain = min(lines) >= b"!" and max(lines) < b"\x7f"
        return returned


def _decoded(line: bytes) -> str | bytes:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line
