"""NDJSONDecoder and JSONSeqDecoder: streams of JSON texts.

Both cut the bytes into texts and leave the JSON to `loads`. They differ in the rules for where a
text begins and ends. TextDecoder, their common part, serves JSONValuesDecoder too.
"""

# NDJSONDecoder reads the offsets and line numbers of LineDecoder.
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001

from __future__ import annotations

import json
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from copy import copy
from itertools import islice
from operator import length_hint
from typing import Any, Generic, Literal, TypeVar, cast, overload

from ._errors import EventTooLarge, InvalidJSON, LocalProtocolError, RemoteProtocolError
from ._input import as_bytes, checked_limit, without_bom
from ._lines import LineDecoder

T = TypeVar("T")

_logger = logging.getLogger("sseparse")

_RS = b"\x1e"
_WHITESPACE = b" \t\r\n"
# A JSON string, perhaps unfinished. Possessive, so that no hostile line is scanned twice.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?')
_DEFAULT_MAX_SIZE = 64 * 1024 * 1024

Errors = Literal["raise", "skip", "return"]


class TextDecoder(ABC, Generic[T]):
    """The common part of the JSON decoders: it loads texts, and treats invalid ones.

    A subclass takes chunks apart in `_take`, and ends the stream in `_finish`.
    """

    def __init__(
        self,
        loads: Callable[[Any], T],
        errors: Errors,
        encoding_errors: Literal["strict", "replace"] | None = "strict",
    ) -> None:
        if not callable(loads):
            raise TypeError(f"loads must be a function of a str, got {type(loads).__name__}")
        if errors not in ("raise", "skip", "return"):
            raise ValueError(f"errors must be 'raise', 'skip' or 'return', got {errors!r}")
        self._loads = loads
        self._errors = errors
        self._encoding_errors = encoding_errors
        self._skipped = 0
        # Why decoding is over, or "".
        self._over = ""

    @property
    def skipped(self) -> int:
        """The number of invalid texts skipped."""
        return self._skipped

    def feed(self, data: bytes | bytearray | memoryview, /) -> list[T]:
        """Return the values that the next bytes of the stream complete, in order.

        Raises InvalidJSON and EventTooLarge, with the values before the error as its `events`;
        LocalProtocolError after that or after `close`; TypeError for a str.
        """
        if type(data) is not bytes:
            data = as_bytes(data)
        if self._over:
            raise LocalProtocolError(f"feed() after {self._over}: make a new decoder")
        values: list[T] = []
        try:
            self._take(data, values)
        except RemoteProtocolError as error:
            self._over = type(error).__name__
            error.events = values
            raise
        except BaseException:
            # After a KeyboardInterrupt, for example, values are lost: the stream cannot go on.
            self._over = "a failure"
            raise
        return values

    def close(self) -> list[T]:
        """End the stream, and return the value that its end completes, if any.

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

    def _load(
        self, text: str | bytes | bytearray, values: list[T], offset: int, line_number: int | None
    ) -> None:
        """Append the value of a text."""
        try:
            if not isinstance(text, str) and self._encoding_errors is not None:
                text = text.decode("utf-8", self._encoding_errors)
            values.append(self._loads(text))
        except MemoryError:
            raise
        except Exception as cause:
            # Any exception: each JSON library has its own, and a text that is nested too deeply
            # is a RecursionError.
            self._refuse(f"invalid JSON: {cause}", text, values, offset, line_number, cause)

    def _refuse(
        self,
        reason: str,
        text: str | bytes | bytearray,
        values: list[T],
        offset: int,
        line_number: int | None,
        cause: Exception | None = None,
    ) -> None:
        start = text[: InvalidJSON.MAX_LINE]
        line = start.encode() if isinstance(start, str) else bytes(start)
        error = InvalidJSON(reason, line[: InvalidJSON.MAX_LINE], line_number, offset)
        error.__cause__ = cause
        if self._errors == "raise":
            raise error
        if self._errors == "return":
            values.append(cast("T", error))
        else:
            self._skipped += 1
            _logger.warning("skipped %s", error)


class NDJSONDecoder(TextDecoder[T]):
    """Decode newline-delimited JSON (JSON Lines), in chunks of any size, into values.

    A record ends at LF, or at the end of the stream; one CR before the LF is dropped. A lone CR,
    U+2028 or U+0085 ends no record. A byte order mark at the start is skipped.

    loads: turns the text of one line into a value; its exceptions become the cause of an
        InvalidJSON. `json.loads` accepts NaN and Infinity, which are not JSON.
    max_line_size: the longest line in bytes, its CR included, or None for no limit; 64 MiB.
    blank_lines: "skip" lines of white space alone, or treat each as an "error".
    errors: "raise" InvalidJSON for an invalid line; "skip" it: count it in `skipped` and log a
        warning on the logger "sseparse"; or "return" the InvalidJSON among the values, in its
        place. A line above the limit is always raised.
    encoding_errors: "strict": a line that is not UTF-8 is invalid; "replace" each invalid sequence
        by U+FFFD; None: `loads` gets the line as bytes, which many JSON libraries prefer. The
        `json.loads` of the standard library then accepts UTF-16 and UTF-32 too.

    Raises TypeError and ValueError, naming the argument.
    """

    @overload
    def __init__(
        self: NDJSONDecoder[Any],
        *,
        max_line_size: int | None = ...,
        blank_lines: Literal["skip", "error"] = "skip",
        errors: Errors = "raise",
        encoding_errors: Literal["strict", "replace"] | None = "strict",
    ) -> None: ...
    @overload
    def __init__(
        self,
        *,
        loads: Callable[[str], T],
        max_line_size: int | None = ...,
        blank_lines: Literal["skip", "error"] = "skip",
        errors: Literal["raise", "skip"] = "raise",
        encoding_errors: Literal["strict", "replace"] = "strict",
    ) -> None: ...
    @overload
    def __init__(
        self,
        *,
        loads: Callable[[bytes], T],
        max_line_size: int | None = ...,
        blank_lines: Literal["skip", "error"] = "skip",
        errors: Literal["raise", "skip"] = "raise",
        encoding_errors: None,
    ) -> None: ...
    @overload
    def __init__(
        self: NDJSONDecoder[Any],
        *,
        loads: Callable[[Any], Any],
        max_line_size: int | None = ...,
        blank_lines: Literal["skip", "error"] = "skip",
        errors: Errors = "raise",
        encoding_errors: Literal["strict", "replace"] | None = "strict",
    ) -> None: ...

    def __init__(
        self,
        *,
        loads: Callable[[Any], Any] = json.loads,
        max_line_size: int | None = _DEFAULT_MAX_SIZE,
        blank_lines: Literal["skip", "error"] = "skip",
        errors: Errors = "raise",
        encoding_errors: Literal["strict", "replace"] | None = "strict",
    ) -> None:
        super().__init__(loads, errors, encoding_errors)
        if blank_lines not in ("skip", "error"):
            raise ValueError(f"blank_lines must be 'skip' or 'error', got {blank_lines!r}")
        if encoding_errors not in ("strict", "replace", None):
            raise ValueError(
                f"encoding_errors must be 'strict', 'replace' or None, got {encoding_errors!r}"
            )
        self._blank_lines = blank_lines
        self._lines = LineDecoder(max_line_size=max_line_size, _text=encoding_errors is not None)
        # The bytes so far, while they may be the start of a byte order mark; then None.
        self._head: bytearray | None = bytearray()
        self._first_offset = 0

    def _take(self, data: bytes, values: list[T]) -> None:
        if self._head is not None:
            data = self._without_bom(self._head, data)
        try:
            lines = self._lines.feed(data)
        except EventTooLarge as error:
            self._load_lines(error.events, data, values)
            raise
        self._load_lines(lines, data, values)

    def _finish(self, values: list[T]) -> None:
        # These were too few bytes for a byte order mark.
        self._lines.feed(self._head or b"")
        self._load_lines(self._lines.close(), b"", values)

    def _without_bom(self, head: bytearray, data: bytes) -> bytes:
        size = len(head) + len(data)
        start = without_bom(head, data)
        if start is None:
            return b""
        self._head = None
        self._first_offset = size - len(start)
        return start

    def _load_lines(self, lines: list[Any], data: bytes, values: list[T]) -> None:
        """Append the values of the lines that `data` completed."""
        if not self._lines._plain:
            for line, (line_number, offset) in zip(lines, self._places(lines, data), strict=False):
                self._load_line(line, values, offset, line_number)
            return
        loads, append = self._loads, values.append
        rest = iter(lines)
        places = None
        known = 0
        while True:
            try:
                for line in rest:
                    append(loads(line))
                return
            except MemoryError:
                raise
            except Exception as cause:
                number = len(lines) - length_hint(rest) - 1
                places = places or self._places(lines, data)
                line_number, offset = next(islice(places, number - known, None))
                known = number + 1
                reason = f"invalid JSON: {cause}"
                self._refuse(reason, lines[number], values, offset, line_number, cause)

    def _places(self, lines: list[Any], data: bytes) -> Iterator[tuple[int, int]]:
        """Yield the number and the offset of each of the lines that `data` completed."""
        line_number = self._lines._line_number - len(lines)
        yield line_number, self._first_offset + self._lines._line_offset
        data_offset = self._first_offset + self._lines._offset - len(data)
        position = 0
        while True:
            position = data.index(b"\n", position) + 1
            line_number += 1
            yield line_number, data_offset + position

    def _load_line(self, line: Any, values: list[T], offset: int, line_number: int) -> None:
        """Append the value of a line that may be blank, or begin with a byte order mark."""
        if not line.strip(b" \t\r" if isinstance(line, bytes) else " \t\r"):
            if self._blank_lines == "error":
                self._refuse("blank line", line, values, offset, line_number)
        elif line[:1] == "\ufeff" or line[:3] == b"\xef\xbb\xbf":
            self._refuse("byte order mark inside the stream", line, values, offset, line_number)
        else:
            self._load(line, values, offset, line_number)

    def __getstate__(self) -> dict[str, Any]:
        # A copied decoder must not share its accumulators with this one.
        return vars(self) | {"_lines": copy(self._lines), "_head": copy(self._head)}


class JSONSeqDecoder(TextDecoder[T]):
    """Decode JSON text sequences, in chunks of any size, into values.

    A record separator (RS, 1E) begins a text. The first LF outside of brackets ends it: a text may
    span several lines, and is returned as soon as it ends. A text without that LF ends at the next
    RS or at the end of the stream. Then a top-level number, true, false or null is invalid unless
    white space follows, because it may have been cut. Bytes before the first RS are invalid.

    loads, errors: as for NDJSONDecoder, but "skip" is the default, since an invalid text does
        not end the sequence.
    max_text_size: the longest text in bytes, or None for no limit; 64 MiB.

    Raises TypeError and ValueError, naming the argument.

    RFC 7464.
    """

    @overload
    def __init__(
        self: JSONSeqDecoder[Any], *, max_text_size: int | None = ..., errors: Errors = "skip"
    ) -> None: ...
    @overload
    def __init__(
        self,
        *,
        loads: Callable[[str], T],
        max_text_size: int | None = ...,
        errors: Literal["raise", "skip"] = "skip",
    ) -> None: ...
    @overload
    def __init__(
        self: JSONSeqDecoder[Any],
        *,
        loads: Callable[[str], Any],
        max_text_size: int | None = ...,
        errors: Errors = "skip",
    ) -> None: ...

    def __init__(
        self,
        *,
        loads: Callable[[str], Any] = json.loads,
        max_text_size: int | None = _DEFAULT_MAX_SIZE,
        errors: Errors = "skip",
    ) -> None:
        super().__init__(loads, errors)
        self._limit = checked_limit("max_text_size", max_text_size)
        # The unfinished text, and the offset of its first byte in the stream.
        self._text = bytearray()
        self._offset = 0
        # Whether an RS began the current text, and whether it is white space so far.
        self._begun = False
        self._blank = True
        # The brackets that the finished lines of the text leave open, and where in the text its
        # unfinished line starts. A JSON string contains no LF, so each line is scanned alone,
        # and each byte once.
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
        if len(self._text) > self._limit:
            raise EventTooLarge(self._limit)

    def _end_line(self, values: list[T]) -> None:
        """Add an LF to the text, and end the text if it is complete."""
        skeleton = _STRING.sub(b"", self._text[self._line_start :])
        for bracket in b"[{":
            self._depth += skeleton.count(bracket)
        for bracket in b"]}":
            self._depth -= skeleton.count(bracket)
        self._text += b"\n"
        self._line_start = len(self._text)
        # White space after an RS belongs to the text. Without an RS it is dropped.
        if self._blank != self._begun and self._depth <= 0:
            self._end_text(values)

    def _end_text(self, values: list[T]) -> None:
        text, offset, begun, blank = self._text, self._offset, self._begun, self._blank
        self._text = bytearray()
        self._offset += len(text)
        self._begun = False
        self._blank = True
        self._depth = self._line_start = 0
        if blank and not (begun and text):
            return
        if not begun:
            self._refuse("no record separator before the text", text, values, offset, None)
        elif blank:
            self._refuse("no text after the record separator", text, values, offset, None)
        elif text[-1] not in _WHITESPACE + b']}"':
            self._refuse("the text may have been cut", text, values, offset, None)
        else:
            self._load(text, values, offset, None)

    def __getstate__(self) -> dict[str, Any]:
        # A copied decoder must not share its accumulator with this one.
        return vars(self) | {"_text": self._text.copy()}
