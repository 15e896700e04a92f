"""JSONValuesDecoder: JSON values that follow one another, with no frame around each.

A value ends where its brackets and quotes are closed. JSON is left to `loads`. What is unfinished
is scanned on from where the last scan stopped, so that each byte is scanned at most three times,
however the stream is cut.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from string import ascii_letters
from typing import Any, TypeVar, overload

from ._errors import EventTooLarge
from ._input import checked_limit, without_bom
from ._json_lines import TextDecoder

T = TypeVar("T")

_REST_OF_STRING = rb'[^"\\]*+(?:\\.[^"\\]*+)*+'
# Atomic, so that no byte is tried twice. A possessive group will not do: before Python 3.11.5, one
# that fails halfway does not go back to where it began.
_NO_BRACKET = rb'[^"\[\]{}]*+(?>(?:"%s"[^"\[\]{}]*+)*)' % _REST_OF_STRING
_FLAT_CONTAINERS = rb"(?>(?:[\[{]%s[\]}]%s)*)" % (_NO_BRACKET, _NO_BRACKET)

_SPACE = re.compile(rb"[ \t\r\n]*+")
_WORD = re.compile(rb"[-+.0-9A-Za-z]*+")
_AFTER_WORD = re.compile(r"[^-+.0-9A-Za-z]")
_TO_QUOTE = re.compile(_REST_OF_STRING, re.DOTALL)
_TO_BRACKET = re.compile(_NO_BRACKET + _FLAT_CONTAINERS, re.DOTALL)
# The most bytes of one match of _TO_BRACKET, which takes up to 62 bytes of memory for each.
_WINDOW = 65536
_STARTS = b'"[{-+.0123456789' + ascii_letters.encode()
_QUOTE = ord('"')
_raw_decode = json.JSONDecoder().raw_decode

# The states between values, as the words of an error, and the bytes that lead from one to another
# where arrays are unwrapped.
_VALUE = "a value"
_FIRST = "an element or ']'"
_ELEMENT = "an element"
_NEXT = "',' or ']'"
_STEPS = {
    (_VALUE, ord("[")): _FIRST,
    (_FIRST, ord("]")): _VALUE,
    (_NEXT, ord(",")): _ELEMENT,
    (_NEXT, ord("]")): _VALUE,
}


class JSONValuesDecoder(TextDecoder[T]):
    """Decode concatenated JSON values, in chunks of any size.

    White space between values is optional. A value may span lines. It is returned as soon as it
    ends. A top-level number or literal ends at white space, at another value, or at the end of the
    stream: `truefalse` is one invalid text. A byte order mark at the start is skipped.

    loads: turns the text of one value into a value; its exceptions become the cause of an
        InvalidJSON. `json.loads` accepts NaN and Infinity, which are not JSON.
    max_value_size: the longest value in bytes, or None for no limit; 64 MiB.
    unwrap_array: return the elements of each top-level array instead of the array, each as soon
        as it ends. The limit then applies to an element. Arrays inside the array and top-level
        values of other types are returned whole.

    An invalid value ends the decoding, because the start of the next one is unknown. A stream
    that ends inside a value or an unwrapped array is InvalidJSON too.

    Raises TypeError and ValueError, naming the argument.
    """

    @overload
    def __init__(
        self: JSONValuesDecoder[Any],
        *,
        max_value_size: int | None = ...,
        unwrap_array: bool = False,
    ) -> None: ...
    @overload
    def __init__(
        self,
        *,
        loads: Callable[[str], T],
        max_value_size: int | None = ...,
        unwrap_array: bool = False,
    ) -> None: ...

    def __init__(
        self,
        *,
        loads: Callable[[str], Any] = json.loads,
        max_value_size: int | None = 64 * 1024 * 1024,
        unwrap_array: bool = False,
    ) -> None:
        super().__init__(loads, "raise")
        self._limit = checked_limit("max_value_size", max_value_size)
        # The bytes from the unfinished value on, and the offset of the first in the stream.
        self._text = bytearray()
        self._offset = 0
        self._steps = _STEPS if unwrap_array else {}
        self._expected = _VALUE
        self._at_start = True
        # Where the scan of the text stopped; of the unfinished value, its open brackets, and
        # whether it has an open string.
        self._scanned: int = 0
        self._depth = 0
        self._in_string = False

    def _take(self, data: bytes, values: list[T]) -> None:
        if self._at_start:
            fed = len(self._text) + len(data)
            start = without_bom(self._text, data)
            if start is None:
                return
            data = start
            self._offset = fed - len(data)
            self._at_start = False
        self._text.extend(data)
        self._load_whole_values(values)
        self._check_size(len(self._text))

    def _finish(self, values: list[T]) -> None:
        if self._at_start:  # a part of a byte order mark, or nothing
            self._load_whole_values(values)
        if self._expected != _VALUE and not self._text:
            self._refuse("the stream ended inside an array", b"", values, self._offset, None)
        if self._expected != _VALUE or self._text.startswith((b'"', b"[", b"{")):
            self._refuse("the stream ended inside a value", self._text, values, self._offset, None)
        if self._text:
            self._load(self._text, values, self._offset, None)

    def _load_whole_values(self, values: list[T]) -> None:
        """Load the values that have ended, and leave the unfinished one in the text."""
        text, start = self._text, 0
        # A decoded part of the text: the byte at `start` is its character at `start - shift`.
        window, shift = "", 0
        while True:
            if self._scanned == start:
                start = self._scanned = self._find_value(start, values)
                if start == len(text):
                    break
                if self._loads is json.loads:  # which finds the end of a value itself
                    if start - shift >= len(window):
                        window = text[start : start + _WINDOW].decode("utf-8", "surrogateescape")
                        shift = start
                    value, length, size = _load_at(window, start - shift)
                    if size:
                        self._check_size(size)
                        values.append(value)
                        start = self._scanned = start + size
                        shift += size - length
                        continue
            if not self._scan(start):
                break
            self._check_size(self._scanned - start)
            self._load(text[start : self._scanned], values, self._offset + start, None)
            start = self._scanned
        del text[:start]
        self._offset += start
        self._scanned -= start

    def _find_value(self, start: int, values: list[T]) -> int:
        """Return where the next value begins at or after `start`, or the length of the text."""
        text = self._text
        while True:
            start = _match_end(_SPACE, text, start, len(text))
            if start == len(text):
                return start
            step = self._steps.get((self._expected, text[start]))
            if step is None:
                break
            self._expected = step
            start += 1
        if self._expected == _NEXT or text[start] not in _STARTS:
            reason = f"invalid JSON: expected {self._expected}"
            self._refuse(reason, text[start : start + 1], values, self._offset + start, None)
        if self._expected != _VALUE:
            self._expected = _NEXT
        return start

    def _scan(self, start: int) -> bool:
        """Scan the rest of the value that begins at `start`, and return whether it ended."""
        text, first = self._text, self._text[start]
        if self._scanned == start:
            self._scanned = start + 1
            self._depth = int(first in b"[{")
            self._in_string = first == _QUOTE
        if first not in b'"[{':
            self._scanned = _match_end(_WORD, text, self._scanned, len(text))
            return self._scanned < len(text)
        while True:
            if self._in_string:
                stop = _match_end(_TO_QUOTE, text, self._scanned, len(text))
            else:
                stop = _match_end(_TO_BRACKET, text, self._scanned, self._scanned + _WINDOW)
            self._scanned = stop
            if stop == len(text):
                return False
            if text[stop] == _QUOTE:
                self._in_string = not self._in_string
            elif self._in_string:  # at a backslash, the last byte
                return False
            elif text[stop] in b"[{":
                self._depth += 1
            elif text[stop] in b"]}":
                self._depth -= 1
            else:  # the window ended
                continue
            self._scanned = stop + 1
            if not self._in_string and not self._depth:
                return True

    def _check_size(self, size: int) -> None:
        if size > self._limit:
            raise EventTooLarge(self._limit)

    def __getstate__(self) -> dict[str, Any]:
        # A copied decoder must not share its accumulator with this one.
        return vars(self) | {"_text": self._text.copy()}


def _match_end(pattern: re.Pattern[bytes], text: bytearray, start: int, stop: int) -> int:
    """Return the end of the match at `start` and before `stop`, or `start` if there is none."""
    match = pattern.match(text, start, stop)
    return match.end() if match else start


def _load_at(window: str, place: int) -> tuple[Any, int, int]:
    """Return the JSON value at `place`, and its length in characters and in bytes.

    The lengths are 0 where no valid value ends within the window.
    """
    try:
        value, stop = _raw_decode(window, place)
        size = len(window[place:stop].encode())
    except (ValueError, RecursionError):
        return None, 0, 0
    if window[place] not in '"[{' and not _AFTER_WORD.match(window, stop):  # it may go on
        return None, 0, 0
    return value, stop - place, size
