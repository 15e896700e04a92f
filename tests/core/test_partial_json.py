from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple, NoReturn

from hypothesis import example, given
from hypothesis import strategies as st

from sseparse import InvalidJSON, PartialJSON
from tests.support.strategies import chunks_of, json_values

KINDS = ("strings", "numbers", "literals", "keys")
NONE = ()
ALL = KINDS


class Seen(NamedTuple):
    # The repr: it differs for 1, True and 1.0, and a value that is read is not changed any more.
    value: str
    complete: bool
    # Of the first wrong character, in bytes.
    offset: int | None


def look(partial: PartialJSON, offset: int | None = None) -> Seen:
    return Seen(repr(partial.value), partial.complete, offset)


def observe(partial: PartialJSON, pieces: Iterable[str | bytes], read: bool = False) -> Seen:
    try:
        for piece in pieces:
            partial.feed(piece)
            if read:
                look(partial)
    except InvalidJSON as error:
        return look(partial, error.offset)
    return look(partial)


# The reference: a recursive parser of a prefix, which reports what it knows as it goes.


class Stop(Exception):
    """The text ended, or the character at `position` is wrong."""

    def __init__(self, position: int | None = None) -> None:
        self.position = position


class Reference:
    def __init__(self, text: str, allow: Iterable[str]) -> None:
        self.text = text
        self.allow = {*allow}
        self.position = 0
        self.root: list[Any] = []

    def read(self) -> Seen:
        complete, offset = False, None
        try:
            self.read_value(Slot(self.root), is_root=True)
            complete = True
            while self.position < len(self.text):
                complete = self.text[self.position] in " \t\r\n"
                self.expect(" \t\r\n")
        except Stop as stop:
            if stop.position is not None:
                offset = len(self.text[: stop.position].encode())
        value = self.root[0] if self.root else None
        return Seen(repr(value), complete, offset)

    def peek(self) -> str:
        if self.position == len(self.text):
            raise Stop
        return self.text[self.position]

    def expect(self, characters: str) -> str:
        character = self.peek()
        if character not in characters:
            raise Stop(self.position)
        self.position += 1
        return character

    def skip_space(self) -> None:
        while self.peek() in " \t\r\n":
            self.position += 1

    def read_value(self, slot: Slot, *, is_root: bool = False) -> None:
        self.skip_space()
        character = self.peek()
        if character == "[":
            self.read_array(slot)
        elif character == "{":
            self.read_object(slot)
        elif character == '"':
            self.read_string(slot if "strings" in self.allow else Slot([]), slot)
        elif character in "tfn":
            self.read_literal(slot)
        elif character in "-0123456789":
            self.read_number(slot, is_root=is_root)
        else:
            raise Stop(self.position)

    def read_array(self, slot: Slot) -> None:
        self.position += 1
        array: list[Any] = []
        slot.put(array)
        self.skip_space()
        if self.peek() == "]":
            self.position += 1
            return
        while True:
            self.read_value(Slot(array))
            self.skip_space()
            if self.expect(",]") == "]":
                return

    def read_object(self, slot: Slot) -> None:
        self.position += 1
        members: dict[str, Any] = {}
        slot.put(members)
        self.skip_space()
        if self.peek() == "}":
            self.position += 1
            return
        while True:
            self.skip_space()
            if self.peek() != '"':
                raise Stop(self.position)
            key: list[str] = []
            self.read_string(Slot([]), Slot(key))
            if "keys" in self.allow:
                members[key[0]] = None
            self.skip_space()
            self.expect(":")
            self.read_value(Slot(members, key[0]))
            self.skip_space()
            if self.expect(",}") == "}":
                return

    def read_string(self, so_far: Slot, slot: Slot) -> None:
        self.position += 1
        string = ""
        while True:
            so_far.put(string)
            character = self.peek()
            if character == '"':
                self.position += 1
                slot.put(string)
                return
            if character == "\\":
                string += self.read_escape()
            elif character < " " or "\ud800" <= character <= "\udfff":
                raise Stop(self.position)
            else:
                string += character
                self.position += 1

    def read_escape(self) -> str:
        start = self.position
        self.position += 1
        if self.expect('"\\/bfnrtu') == "u":
            for _ in range(4):
                self.expect("0123456789abcdefABCDEF")
        escape = self.text[start : self.position]
        if escape[:3].lower() == r"\ud" and escape[3] in "89abAB":
            low = self.text[self.position : self.position + 6]
            pattern = ["\\", "u", "dD", "cdefCDEF", "0123456789abcdefABCDEF"]
            pattern.append(pattern[4])
            if all(character in allowed for character, allowed in zip(low, pattern, strict=False)):
                if len(low) < 6:
                    raise Stop
                self.position += 6
                escape += low
        character: str = json.loads(f'"{escape}"')
        return character

    def read_literal(self, slot: Slot) -> None:
        names = {"t": "true", "f": "false", "n": "null"}
        name = names[self.peek()]
        if "literals" in self.allow:
            slot.put(json.loads(name))
        for character in name:
            self.expect(character)
        slot.put(json.loads(name))

    def read_number(self, slot: Slot, *, is_root: bool) -> None:
        start = self.position
        number: Any = None
        error: Stop | None = None
        while True:
            text = self.text[start : self.position + 1]
            if self.position == len(self.text):
                error = Stop()
            elif not can_become_number(text):
                error = None if is_number(text[:-1]) else Stop(self.position)
            else:
                number = json.loads(text) if is_number(text) else number
                self.position += 1
                continue
            break
        shown = is_root or "numbers" in self.allow or error is None
        if number is not None and shown:
            slot.put(number)
        if error is not None and not (is_root and is_number(text) and error.position is None):
            raise error


class Slot:
    """The place of a value: in an object, or at the end of an array, once it is put there."""

    def __init__(self, container: Any, key: Any = None) -> None:
        self.container = container
        self.key = key

    def put(self, value: Any) -> None:
        if isinstance(self.container, list) and self.key is None:
            self.key = len(self.container)
            self.container.append(value)
        else:
            self.container[self.key] = value


def is_number(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return text[-1] in "0123456789"


def can_become_number(text: str) -> bool:
    return any(is_number(text + rest) for rest in ("", "0", "0.0", ".0", "e0"))


# Fragments of JSON, and what is nearly one.
FRAGMENTS = [
    *('"', "\\", "[", "]", "{", "}", ",", ":", " ", "\n", "\t", "[[", "}}", '"a":', '{"a":', "[1,"),
    *("1", "-", "0", "12", ".", ".5", "e", "E+", "e-1", "true", "fal", "se", "null", "nul", "x"),
    *('"a"', '"b": "', '"\\n"', '\\"', "\\u", "\\u00e9", "\\ud83d", "\\ude00", "d83d", "\\udE"),
    *("00", "é", "漢", "🎉", "\0", "\x1f", "\x7f", "\u2028", "\ufeff", "\ud800", "NaN", "Infinity"),
]
fragments = st.lists(st.sampled_from(FRAGMENTS), max_size=10).map("".join)


@st.composite
def json_texts(draw: st.DrawFn) -> str:
    """Return a JSON text, and sometimes a damaged one."""
    text = json.dumps(
        draw(json_values),
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, 1])),
    )
    if draw(st.booleans()):
        position = draw(st.integers(0, len(text)))
        text = text[:position] + draw(st.sampled_from(FRAGMENTS)) + text[position:]
    return text


texts = json_texts() | fragments
allowed = st.sets(st.sampled_from(KINDS))


@given(texts, allowed)
@example("12", set())
@example('[{"a":1,"a":-', {"keys", "numbers"})
@example(r'"\ud83d\ud83d\ude00\ud83d"', {"strings"})
@example(r'"\ud83dx\ud83d\n\ud83d\u0041"', {"strings"})
def test_value_of_each_prefix_is_that_of_the_reference(text: str, allow: Any) -> None:
    partial = PartialJSON(allow=allow)
    for end, character in enumerate(text, 1):
        seen = observe(partial, [character])
        assert seen == Reference(text[:end], allow).read()
        if seen.offset is not None:
            return


@given(texts, allowed, st.booleans(), st.data())
def test_outcome_depends_on_the_text_alone(
    text: str, allow: Any, read: bool, draw: st.DataObject
) -> None:
    expected = Reference(text, allow).read()
    data = text.encode("utf-8", "surrogatepass")
    assert observe(PartialJSON(allow=allow), [text]) == expected
    assert observe(PartialJSON(allow=allow), draw.draw(chunks_of(data)), read) == expected
    positions = draw.draw(st.lists(st.integers(0, len(text)), max_size=8))
    edges = [0, *sorted(positions), len(text)]
    pieces = [text[edges[i] : edges[i + 1]] for i in range(len(edges) - 1)]
    assert observe(PartialJSON(allow=allow), pieces, read) == expected


damaged_bytes = st.builds(
    lambda before, wrong, after: before + wrong + after,
    texts.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=3),
    st.sampled_from([b"", b'"', b"]", b"\x80", b"1"]),
)


@given(damaged_bytes, allowed, st.booleans(), st.data())
def test_outcome_depends_on_the_bytes_alone(
    data: bytes, allow: Any, read: bool, draw: st.DataObject
) -> None:
    chunks = draw.draw(chunks_of(data))
    whole = observe(PartialJSON(allow=allow), [data])
    assert observe(PartialJSON(allow=allow), chunks, read) == whole


def refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


@given(texts, allowed)
def test_text_is_complete_exactly_where_json_loads_reads_it(text: str, allow: Any) -> None:
    for end in range(len(text) + 1):
        seen = observe(PartialJSON(allow=allow), [text[:end]])
        try:
            value = json.loads(text[:end].encode().decode(), parse_constant=refuse)
        except ValueError:
            assert not seen.complete
        else:
            assert seen == (repr(value), True, None)
