"""NDJSONDecoder and JSONSeqDecoder: streams of JSON texts.

Both cut the bytes into texts and leave the JSON to `loads`. What they share is in _TextDecoder;
they differ in where a text begins and ends.
"""

from __future__ import annotations

import json
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from operator import index, length_hint
from typing import Any, Generic, Literal, TypeVar, overload

from ._errors import EventTooLarge, InvalidJSON, LocalProtocolError, RemoteProtocolError
from ._input import as_bytes, without_bom

T = TypeVar("T")

_logger = logging.getLogger("sseparse")

_RS = b"\x1e"
_WHITESPACE = b" \t\r\n"
# A JSON string, perhaps unfinished: so that no hostile line is scanned twice.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?')
_WINDOW = 1024 * 1024
_DEFAULT_MAX_SIZE = 64 * 1024 * 1024


def _windows(block: bytes) -> Iterator[bytes]:
    """Cut `block` at LFs, into pieces of _WINDOW bytes at most, or of one line.

    A str takes four bytes for each character if one of them is beyond U+FFFF.
    """
    start = 0
    while len(block) - start > _WINDOW:
        stop = block.rfind(b"\n", start, start + _WINDOW)
        if stop < 0:
            stop = block.find(b"\n", start + _WINDOW)
        if stop < 0:
            break
        yield block[start:stop]
        start = stop + 1
    yield block[start:]


class _TextDecoder(ABC, Generic[T]):
    def __init__(
        self, loads: Callable[[str], T], max_size: int | None, errors: Literal["raise", "skip"]
    ) -> None:
        if not callable(loads):
            raise TypeError(f"loads is a function of a str, not {type(loads).__name__}")
        if max_size is not None and index(max_size) < 1:
            raise ValueError(f"the largest size must be at least 1, or None: {max_size}")
        if errors not in ("raise", "skip"):
            raise ValueError(f"errors must be 'raise' or 'skip', not {errors!r}")
        self._loads = loads
        self._max_size = max_size
        self._errors = errors
        self._skipped = 0
        # Why decoding is over, once it is.
        self._over = ""
        # The unfinished text, and the offset of its first byte in the stream.
        self._text = bytearray()
        self._offset = 0

    @property
    def skipped(self) -> int:
        """How many invalid texts have been skipped."""
        return self._skipped

    def feed(self, data: bytes | bytearray | memoryview, /) -> list[T]:
        """Take the next bytes of the stream and return the values that they complete, in order.

        Raises InvalidJSON and EventTooLarge (the values before the error are its `events`),
        LocalProtocolError after that or after `close`, TypeError for a str.
        """
        chunk = as_bytes(data)
        if self._over:
            raise LocalProtocolError(f"feed() after {self._over}: make a new decoder")
        values: list[T] = []
        try:
            self._take(chunk, values)
        except RemoteProtocolError as error:
            self._over = type(error).__name__
            error.events = values
            raise
        except BaseException:
            # Such as KeyboardInterrupt: values are lost, so it must not seem that the stream
            # can go on.
            self._over = "a failure"
            raise
        return values

    def close(self) -> list[T]:
        """Tell the end of the stream and return the value that it completes, if any.

        Raises InvalidJSON and EventTooLarge. Closing again, or after an error, does nothing.
        """
        values: list[T] = []
        if not self._over:
            self._over = "close()"
            self._finish(values)
        return values

    @abstractmethod
    def _take(self, data: bytes, values: list[T]) -> None: ...

    @abstractmethod
    def _finish(self, values: list[T]) -> None: ...

    def _check_size(self, size: int) -> None:
        if self._max_size is not None and size > self._max_size:
            raise EventTooLarge(self._max_size)

    def _load(
        self, text: bytes | bytearray, values: list[T], offset: int, line_number: int | None
    ) -> None:
        try:
            values.append(self._loads(text.decode("utf-8")))
        except MemoryError:
            raise
        except Exception as cause:
            # Any exception: each JSON library has its own, and a text that is nested too deeply
            # is a RecursionError. The cause is kept.
            self._refuse_json(cause, text, offset, line_number)

    def _refuse_json(
        self,
        cause: Exception,
        text: bytes | bytearray,
        offset: int,
        line_number: int | None,
    ) -> None:
        self._refuse(f"invalid JSON: {cause}", text, offset, line_number, cause)

    def _refuse(
        self,
        reason: str,
        text: bytes | bytearray,
        offset: int,
        line_number: int | None,
        cause: Exception | None = None,
    ) -> None:
        error = InvalidJSON(reason, bytes(text[: InvalidJSON.MAX_LINE]), line_number, offset)
        if self._errors == "raise":
            raise error from cause
        self._skipped += 1
        _logger.warning("skipped %s", error)

    def __getstate__(self) -> dict[str, Any]:
        # A copied decoder must not share its accumulator with this one.
        return vars(self) | {"_text": self._text.copy()}


class NDJSONDecoder(_TextDecoder[T]):
    """Decode newline-delimited JSON (JSON Lines), in chunks of any size, into values.

    A record ends at LF, or at the end of the stream; one CR before the LF is dropped. Nothing
    else ends one: not a lone CR, U+2028 or U+0085. A byte order mark at the start is skipped.

    loads: turns the text of one line into a value; whatever it raises becomes the cause of an
        InvalidJSON. `json.loads` takes NaN and Infinity, which are not JSON, for numbers.
    max_line_size: the longest line in bytes, its CR included, or None for no limit.
    blank_lines: "skip" lines of nothing but white space, or take them for an "error".
    errors: "raise" InvalidJSON for a line that is none, or "skip" it: then it counts in
        `skipped` and is logged as a warning on the logger "sseparse". A line above the limit
        is always an error.
    """

    @overload
    def __init__(
        self: NDJSONDecoder[Any],
        *,
        max_line_size: int | None = ...,
        blank_lines: Literal["skip", "error"] = "skip",
        errors: Literal["raise", "skip"] = "raise",
    ) -> None: ...
    @overload
    def __init__(
        self,
        *,
        loads: Callable[[str], T],
        max_line_size: int | None = ...,
        blank_lines: Literal["skip", "error"] = "skip",
        errors: Literal["raise", "skip"] = "raise",
    ) -> None: ...

    def __init__(
        self,
        *,
        loads: Callable[[str], Any] = json.loads,
        max_line_size: int | None = _DEFAULT_MAX_SIZE,
        blank_lines: Literal["skip", "error"] = "skip",
        errors: Literal["raise", "skip"] = "raise",
    ) -> None:
        super().__init__(loads, max_line_size, errors)
        if blank_lines not in ("skip", "error"):
            raise ValueError(f"blank_lines must be 'skip' or 'error', not {blank_lines!r}")
        self._blank_lines = blank_lines
        self._line_number = 1
        self._at_start = True

    def _take(self, data: bytes, values: list[T]) -> None:
        if self._at_start:
            fed = len(self._text) + len(data)
            start = without_bom(self._text, data)
            if start is None:
                return
            data = start
            self._offset = fed - len(data)
            self._at_start = False
        complete, lf, unfinished = data.rpartition(b"\n")
        if lf:
            if self._text:
                complete = bytes(self._text) + complete
                self._text.clear()
            for window in _windows(complete):
                self._end_lines(window, values)
        self._text += unfinished
        self._check_size(len(self._text))

    def _finish(self, values: list[T]) -> None:
        if self._text:
            self._end_lines(bytes(self._text), values)

    def _end_lines(self, block: bytes, values: list[T]) -> None:
        """Take the lines of `block`, which is without its last LF."""
        texts = self._plain_texts(block)
        if texts is None:
            for line in block.split(b"\n"):
                self._end_line(line, values)
            return
        end_offset = self._offset + len(block) + 1
        end_line_number = self._line_number + len(texts)
        counted = 0
        loads, append = self._loads, values.append
        rest = iter(texts)
        for text in rest:
            try:
                append(loads(text))
            except MemoryError:
                raise
            except Exception as cause:
                failed = len(texts) - length_hint(rest) - 1
                self._offset += sum(len(before.encode()) + 1 for before in texts[counted:failed])
                self._line_number += failed - counted
                counted = failed
                self._refuse_json(cause, text.encode(), self._offset, self._line_number)
        self._offset = end_offset
        self._line_number = end_line_number

    def _plain_texts(self, block: bytes) -> list[str] | None:
        """Return the lines of `block` if none of them needs a closer look: nearly always.

        To decode them at once, and to ask of all whether one is blank, takes less time than
        most ways to load them, where doing so line by line takes more.
        """
        if b"\r" in block or (self._max_size is not None and len(block) > self._max_size):
            return None
        try:
            lines = block.decode().split("\n")
        except UnicodeDecodeError:
            return None
        # A line that begins with white space may be blank, and then so may the first in order.
        return lines if min(lines) >= "!" else None

    def _end_line(self, line: bytes, values: list[T]) -> None:
        self._check_size(len(line))
        record = line.removesuffix(b"\r")
        if record.strip(_WHITESPACE):
            self._load(record, values, self._offset, self._line_number)
        elif self._blank_lines == "error":
            self._refuse("a blank line", record, self._offset, self._line_number)
        self._offset += len(line) + 1
        self._line_number += 1


class JSONSeqDecoder(_TextDecoder[T]):
    """Decode JSON text sequences, in chunks of any size, into values.

    A record separator (RS, 1E) begins a text. The LF that ends it may be any LF outside of
    brackets, so that texts over several lines work, and a text is returned as soon as it ends.
    A text without its LF ends at the next RS or at the end of the stream, but a top-level
    number, true, false or null that no white space follows may have been cut: that is invalid.
    Bytes that no RS precedes are invalid too.

    loads, errors: as for NDJSONDecoder, but "skip" is the default, since an invalid text does
        not end the sequence.
    max_text_size: the longest text in bytes, or None for no limit.

    RFC 7464.
    """

    @overload
    def __init__(
        self: JSONSeqDecoder[Any],
        *,
        max_text_size: int | None = ...,
        errors: Literal["raise", "skip"] = "skip",
    ) -> None: ...
    @overload
    def __init__(
        self,
        *,
        loads: Callable[[str], T],
        max_text_size: int | None = ...,
        errors: Literal["raise", "skip"] = "skip",
    ) -> None: ...

    def __init__(
        self,
        *,
        loads: Callable[[str], Any] = json.loads,
        max_text_size: int | None = _DEFAULT_MAX_SIZE,
        errors: Literal["raise", "skip"] = "skip",
    ) -> None:
        super().__init__(loads, max_text_size, errors)
        # Whether an RS began the text at hand, and whether more than white space came since.
        self._begun = False
        self._blank = True
        # The brackets that the finished lines of the text have left open, and where in the
        # text its unfinished line starts. No JSON string has an LF in it, so lines can be told
        # apart, and each byte is looked at once.
        self._depth = 0
        self._line_start = 0

    def _take(self, data: bytes, values: list[T]) -> None:
        pieces = data.split(_RS)
        self._continue(pieces[0], values)
        for piece in pieces[1:]:
            self._end_text(values)
            self._begun = True
            self._offset += 1
            self._continue(piece, values)

    def _finish(self, values: list[T]) -> None:
        self._end_text(values)

    def _continue(self, piece: bytes, values: list[T]) -> None:
        lines = piece.split(b"\n")
        self._append(lines[0])
        for line in lines[1:]:
            self._end_line(values)
            self._append(line)

    def _append(self, part: bytes) -> None:
        self._text += part
        self._blank = self._blank and not part.strip(_WHITESPACE)
        self._check_size(len(self._text))

    def _end_line(self, values: list[T]) -> None:
        """Take an LF into the text, and end the text if that can be its end."""
        skeleton = _STRING.sub(b"", self._text[self._line_start :])
        for bracket in b"[{":
            self._depth += skeleton.count(bracket)
        for bracket in b"]}":
            self._depth -= skeleton.count(bracket)
        self._text += b"\n"
        self._line_start = len(self._text)
        if self._blank or (self._begun and self._depth <= 0):
            self._end_text(values)

    def _end_text(self, values: list[T]) -> None:
        text, offset, begun, blank = self._text, self._offset, self._begun, self._blank
        self._text = bytearray()
        self._offset += len(text)
        self._begun = begun and blank
        self._blank = True
        self._depth = self._line_start = 0
        if blank:
            return
        if not begun:
            self._refuse("a text without a record separator before it", text, offset, None)
        elif text[-1] not in _WHITESPACE + b']}"':
            self._refuse("a text that may have been cut", text, offset, None)
        else:
            self._load(text, values, offset, None)
