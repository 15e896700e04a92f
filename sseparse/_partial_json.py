"""PartialJSON: the value of a JSON text that is still arriving.

Containers are built in place, so that a piece costs the same whatever came before it. Half a
character, half an escape, and a number or literal that may go on are carried over to the next
piece and read again with it: all of them are short.
"""

from __future__ import annotations

import codecs
import copy
import json
import re
import sys
from collections.abc import Collection
from typing import Any, Literal, NoReturn, TypeAlias, get_args

from ._errors import InvalidJSON, LocalProtocolError
from ._input import BOM, as_bytes, expect_type

# The states between tokens, as the words of an error.
_VALUE, _FIRST_VALUE, _AFTER_ITEM = "a value", "a value or ']'", "',' or ']'"
_KEY, _FIRST_KEY, _COLON, _AFTER_MEMBER = "a key", "a key or '}'", "':'", "',' or '}'"
_END = "the end"
_VALUES = (_VALUE, _FIRST_VALUE)
# Characters with a meaning in a state, and the state after them.
_SEPARATORS = {(_AFTER_ITEM, ","): _VALUE, (_AFTER_MEMBER, ","): _KEY, (_COLON, ":"): _VALUE}
_OPENING = {
    (state, bracket): inside
    for state in _VALUES
    for bracket, inside in (("[", _FIRST_VALUE), ("{", _FIRST_KEY))
}
_CLOSING = {(_FIRST_VALUE, "]"), (_AFTER_ITEM, "]"), (_FIRST_KEY, "}"), (_AFTER_MEMBER, "}")}
_QUOTES = {(state, '"') for state in (*_VALUES, _KEY, _FIRST_KEY)}

_SPACE = re.compile(r"[ \t\r\n]++")
_LITERALS = {"true": True, "false": False, "null": None}
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*+)(\.[0-9]++)?([eE][-+]?[0-9]++)?")
# Any start of a literal or of a number.
_SCALAR = re.compile(
    r"t(?:r(?:ue?)?)?|f(?:a(?:l(?:se?)?)?)?|n(?:u(?:ll?)?)?"
    r"|-?(?:(?:0|[1-9][0-9]*+)(?:\.[0-9]*+)?(?:(?<=[0-9])[eE][-+]?[0-9]*+)?)?"
)
_PLAIN = re.compile(r'[^"\\\x00-\x1f\udc80-\udcff]*+')
# Surrogates: a high one is half of a pair if a low one follows.
_HIGH = r"[dD][89abAB][0-9a-fA-F]{2}"
_LOW = r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_START_OF_LOW = r"(?:\\(?:u(?:[dD](?:[c-fC-F][0-9a-fA-F]?)?)?)?)?"
_ESCAPE = re.compile(
    rf'\\(?:["\\/bfnrt]|u(?:{_HIGH}(?:{_LOW}|(?!{_START_OF_LOW}\Z))|(?!{_HIGH})[0-9a-fA-F]{{4}}))'
)
_START_OF_ESCAPE = re.compile(rf"\\(?:u(?:{_HIGH}{_START_OF_LOW}|[0-9a-fA-F]{{0,3}}))?")

_Kind: TypeAlias = Literal["strings", "numbers", "literals", "keys"]
_TEXT = (str, bytes, bytearray, memoryview)
_STRINGS: tuple[_Kind, ...] = ("strings",)


class PartialJSON:
    """Read a JSON text in pieces of any size, and give its value so far.

    The outcome depends on the text alone, never on how it was cut. Unfinished arrays and objects
    are part of the value.

    allow: the other unfinished parts to include, by default ("strings",).
        "strings": a string, without half an escape or half a surrogate pair.
        "numbers": the longest number that its characters begin with, 1 for `1.`. A number at the
        top level is always included, because only the end of the text ends it.
        "literals": true, false or null, from its first letter on.
        "keys": a key whose value is not known yet, with None.

    A byte order mark at the start is skipped. Values equal those of json.loads: of equal keys the
    last wins, and a lone surrogate escape stays. NaN and Infinity are invalid. A number of more
    than sys.get_int_max_str_digits() characters, by default 4,300, is invalid too.

    It can be copied and pickled, unless its value is nested too deeply for the copy module.

    Raises TypeError and ValueError, naming the argument.
    """

    def __init__(self, *, allow: Collection[_Kind] = _STRINGS) -> None:
        expect_type("allow", allow, Collection, "a collection of str")
        kinds = get_args(_Kind)
        if not all(kind in kinds for kind in allow):
            raise ValueError(f"allow must have only {', '.join(kinds)}, got {allow!r}")
        self._allow = frozenset(allow)
        # Why reading is over, or "".
        self._over = ""
        # The bytes to read again with the next piece, and the offset of the first of them.
        self._carry = b""
        self._offset = 0
        self._expected = _VALUE
        # The open containers; the first is a list that gets the value of the text.
        self._open: list[Any] = [[]]
        self._key = ""
        # The parts of the open string, or the start of the open number or literal, and whether it
        # is in its container already.
        self._parts: list[str] | None = None
        self._scalar = ""
        self._is_placed = False

    @property
    def value(self) -> Any:
        """The value so far, or None before there is any.

        Live: `feed` continues to fill the same lists and dicts. Use copy.deepcopy to keep a state.
        Each reading updates an unfinished string, in time linear in its length.
        """
        for value in self._open_value():
            self._put(value)
            self._is_placed = True
        return self._open[0][0] if self._open[0] else None

    @property
    def complete(self) -> bool:
        """Whether the text so far is a whole JSON text.

        More digits may still follow a number at the top level.
        """
        if self._over or not self._carry.isascii():  # half a character has come
            return False
        is_number = len(self._open) == 1 and _NUMBER.fullmatch(self._scalar) is not None
        return is_number or self._expected == _END

    def feed(self, data: str | bytes | bytearray | memoryview, /) -> None:
        """Read the next piece of the text.

        data: str, or bytes in UTF-8.

        Raises InvalidJSON at the first character that no JSON text can have there, with its offset
        in bytes. `value` stays readable. LocalProtocolError after that. TypeError.
        """
        expect_type("data", data, _TEXT, "str, bytes, bytearray or memoryview")
        # A lone surrogate becomes invalid UTF-8.
        piece = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else as_bytes(data)
        if self._over:
            raise LocalProtocolError(f"feed() after {self._over}: make a new PartialJSON")
        # Until the end of this call: a KeyboardInterrupt, for example, loses text.
        self._over = "a failure"
        piece = self._carry + piece
        if self._offset == 0 and piece.startswith(BOM):
            piece = piece[len(BOM) :]
            self._offset = len(BOM)
        try:
            text, size = codecs.utf_8_decode(piece)
        except UnicodeDecodeError as error:
            # The invalid byte becomes a character that no JSON has.
            size = error.start + 1
            text = piece[:size].decode("utf-8", "surrogateescape")
        stop = self._read(text)
        self._carry = text[stop:].encode() + piece[size:]
        self._offset += len(piece) - len(self._carry)
        self._over = ""

    def _read(self, text: str) -> int:
        """Read `text`, and return where the part begins that must be read again."""
        position = 0
        while True:
            parts = self._parts
            if parts is not None:
                position = self._read_string(text, position, parts)
                if self._parts is parts:
                    return position
            position = _match_end(_SPACE, text, position)
            if position == len(text):
                return position
            token = self._expected, text[position]
            if token in _SEPARATORS:
                self._expected = _SEPARATORS[token]
            elif token in _QUOTES:
                self._parts = []
            elif token in _CLOSING:
                self._open.pop()
                self._expect_next()
            elif token in _OPENING:
                container: Any = [] if token[1] == "[" else {}
                self._put(container)
                self._open.append(container)
                self._expected = _OPENING[token]
            elif self._expected in _VALUES:
                stop = self._read_scalar(text, position)
                if self._scalar:
                    return position
                position = stop
                continue
            else:
                self._refuse(f"expected {self._expected}", text, position)
            position += 1

    def _read_string(self, text: str, position: int, parts: list[str]) -> int:
        """Read on in the open string, and return where it ends or must be read again."""
        while True:
            stop = _match_end(_PLAIN, text, position)
            parts.append(text[position:stop])
            if stop == len(text):
                return stop
            if text[stop] == '"':
                self._parts = None
                if self._expected in _VALUES:
                    self._end_value("".join(parts))
                else:
                    self._key = "".join(parts)
                    self._expected = _COLON
                return stop + 1
            escape = _ESCAPE.match(text, stop)
            if escape is None:
                end = _match_end(_START_OF_ESCAPE, text, stop)
                if end < len(text):
                    wrong = "control character" if text[end] < " " else "UTF-8"
                    wrong = wrong if end == stop else "escape"
                    self._refuse(f"invalid {wrong} in a string", text, end)
                return stop
            parts.append(json.loads(f'"{escape[0]}"'))
            position = escape.end()

    def _read_scalar(self, text: str, position: int) -> int:
        """Read a number or literal, and return its end. It stays open if more of it may follow."""
        stop = _match_end(_SCALAR, text, position)
        longest = position + (sys.get_int_max_str_digits() or 4300)
        self._scalar = scalar = text[position : min(stop, longest)]
        if stop > longest:
            self._refuse("a number is too long", text, longest)
        if scalar in _LITERALS:
            self._end_value(_LITERALS[scalar])
        elif stop < len(text):
            number = _NUMBER.fullmatch(scalar)
            if number is None:
                expected = "more of a number or literal" if scalar else self._expected
                self._refuse(f"expected {expected}", text, stop)
            self._end_value(_convert(number))
        return stop

    def _end_value(self, value: Any) -> None:
        self._put(value)
        self._scalar = ""
        self._expect_next()

    def _expect_next(self) -> None:
        if len(self._open) == 1:
            self._expected = _END
        else:
            self._expected = _AFTER_ITEM if type(self._open[-1]) is list else _AFTER_MEMBER

    def _put(self, value: Any) -> None:
        """Put `value` at the open place of the innermost container."""
        container = self._open[-1]
        if type(container) is dict:
            container[self._key] = value
        elif self._is_placed:
            container[-1] = value
        else:
            container.append(value)
        self._is_placed = False

    def _open_value(self) -> list[Any]:
        """Return a list of the open value as far as it is known and allowed, else []."""
        allow = self._allow
        if self._parts is not None and self._expected in _VALUES and "strings" in allow:
            self._parts = ["".join(self._parts)]
            return self._parts
        if "literals" in allow and self._scalar[:1].isalpha():
            return [value for name, value in _LITERALS.items() if name.startswith(self._scalar)]
        number = _NUMBER.match(self._scalar)
        # At the top level, only the end of the text ends a number.
        if number is not None and ("numbers" in allow or len(self._open) == 1):
            return [_convert(number)]
        has_key = type(self._open[-1]) is dict and self._expected in (_COLON, _VALUE)
        return [None] if has_key and "keys" in allow else []

    def _refuse(self, reason: str, text: str, position: int) -> NoReturn:
        self._over = "InvalidJSON"
        offset = self._offset + len(text[:position].encode())
        wrong = text[position].encode("utf-8", "surrogateescape")
        raise InvalidJSON(f"invalid JSON: {reason}", wrong, None, offset)

    def __getstate__(self) -> dict[str, Any]:
        # A copy must not share its containers with this one.
        return copy.deepcopy(vars(self))


def _convert(number: re.Match[str]) -> int | float:
    return float(number[0]) if number[1] or number[2] else int(number[0])


def _match_end(pattern: re.Pattern[str], text: str, position: int) -> int:
    """Return the end of the match at `position`, or `position` if there is none."""
    match = pattern.match(text, position)
    return match.end() if match else position
