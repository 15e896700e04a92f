from __future__ import annotations

import copy
import json
import pickle
import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, NoReturn

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sseparse import InvalidJSON, LocalProtocolError, PartialJSON
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


def feed_all(partial: PartialJSON, pieces: Iterable[str | bytes]) -> None:
    for piece in pieces:
        partial.feed(piece)


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
        self.position = int(text.startswith("\ufeff"))
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


# Rule by rule


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("", None, id="nothing is known yet"),
        pytest.param(" \n", None, id="white space says nothing"),
        pytest.param("[", [], id="an array is shown from its bracket on"),
        pytest.param('{"a": {', {"a": {}}, id="so is an object"),
        pytest.param('["a', ["a"], id="an unfinished string stands as it is"),
        pytest.param('["', [""], id="from its quote on"),
        pytest.param('{"a', {}, id="an unfinished key is left out"),
        pytest.param('{"a": ', {}, id="so is a key without a value"),
        pytest.param("[1, 23", [1], id="so is an unfinished number"),
        pytest.param("[1, tru", [1], id="so is an unfinished literal"),
        pytest.param("[1, true", [1, True], id="which is whole with its last letter"),
        pytest.param("[1, 23 ", [1, 23], id="a number is whole with what follows"),
        pytest.param('"a\\', "a", id="half an escape is left out"),
        pytest.param('"a\\u00e', "a", id="so is half of its digits"),
        pytest.param('"a\\ud83d', "a", id="so is half a pair of surrogates"),
        pytest.param('"a\\ud83d\\ude', "a", id="even more than half"),
        pytest.param('"a\\ud83d\\ude00', "a😀", id="but not the whole"),
        pytest.param('"a\\ud83db', "a\ud83db", id="a lone surrogate stays, as in json"),
        pytest.param('"\\"\\\\\\/\\b\\f\\n\\r\\t', '"\\/\b\f\n\r\t', id="escapes are JSON's"),
        pytest.param('{"a": 1, "a": [2]}', {"a": [2]}, id="the last of equal keys wins"),
        pytest.param('{"a": 1, "a": 2', {"a": 1}, id="once its value is known"),
        pytest.param("-12.5e-1", -1.25, id="a number at the top level has no other end"),
        pytest.param(f"[{10**40}, 1e400]", [10**40, 1e400], id="numbers are those of json"),
        pytest.param(" [ ] \n", [], id="white space may follow"),
    ],
)
def test_value_so_far(text: str, value: Any) -> None:
    for pieces in ([text], list(text), [text.encode()]):
        assert observe(PartialJSON(), pieces).value == repr(value)


def test_half_a_character_is_left_out_until_it_is_whole() -> None:
    partial = PartialJSON()
    for byte, value in zip(
        '"é🎉"'.encode(), ["", "", "é", "é", "é", "é", "é🎉", "é🎉"], strict=True
    ):
        partial.feed(bytes([byte]))
        assert partial.value == value


@pytest.mark.parametrize(
    ("text", "allow", "value"),
    [
        ('["a', NONE, []),
        ('["a"', NONE, ["a"]),
        ("[1", ["numbers"], [1]),
        ("[-", ["numbers"], []),
        ("[1.", ["numbers"], [1]),
        ("[1.5e-", ["numbers"], [1.5]),
        ("[1.5e-3", ["numbers"], [0.0015]),
        ("[t", ["literals"], [True]),
        ("[fa", ["literals"], [False]),
        ('{"a": nul', ["literals"], {"a": None}),
        ('{"a', ["keys"], {}),
        ('{"a"', ["keys"], {"a": None}),
        ('{"a": "b', ["keys"], {"a": None}),
        ('{"a": "b', ["keys", "strings"], {"a": "b"}),
        ('{"a": 1, "a":', ["keys"], {"a": None}),
        ('{"a": [', ["keys"], {"a": []}),
        ('{"a": [1', ALL, {"a": [1]}),
    ],
)
def test_allow_says_which_unfinished_values_are_shown(text: str, allow: Any, value: Any) -> None:
    for pieces in ([text], list(text)):
        for read in (False, True):
            assert observe(PartialJSON(allow=allow), pieces, read).value == repr(value)


@pytest.mark.parametrize(
    ("text", "value", "offset", "character", "reason"),
    [
        pytest.param("x", None, 0, b"x", "expected a value", id="no JSON"),
        pytest.param("[\ufeff]", [], 1, b"\xef\xbb\xbf", "expected a value", id="a BOM inside"),
        pytest.param(
            "\ufeff\ufeff1", None, 3, b"\xef\xbb\xbf", "expected a value", id="a second BOM"
        ),
        pytest.param("[1, ]", [1], 4, b"]", "expected a value", id="a comma last"),
        pytest.param("[,", [], 1, b",", r"expected a value or ']'", id="a comma first"),
        pytest.param("[1 2", [1], 3, b"2", "expected ',' or ']'", id="no comma"),
        pytest.param("[1}", [1], 2, b"}", "expected ',' or ']'", id="another bracket"),
        pytest.param("{1", {}, 1, b"1", "expected a key or '}'", id="a number as a key"),
        pytest.param('{"a",', {}, 4, b",", "expected ':'", id="no colon"),
        pytest.param('{"a": 1 "', {"a": 1}, 8, b'"', "expected ',' or '}'", id="no comma either"),
        pytest.param('{"a": 1,}', {"a": 1}, 8, b"}", "expected a key", id="no key"),
        pytest.param("[] []", [], 3, b"[", "expected the end", id="a second value"),
        pytest.param("[trux", [], 4, b"x", "expected more of a number or literal", id="a name"),
        pytest.param("[truex", [True], 5, b"x", "expected ','", id="a longer name"),
        pytest.param("[NaN", [], 1, b"N", "expected a value", id="NaN"),
        pytest.param("[-Infinity", [], 2, b"I", "expected more of a number", id="-Infinity"),
        pytest.param("[01", [0], 2, b"1", "expected ',' or ']'", id="a leading zero"),
        pytest.param("[1.]", [], 3, b"]", "expected more of a number", id="no fraction"),
        pytest.param("[1.e", [], 3, b"e", "expected more of a number", id="not even with e"),
        pytest.param('["é\n', ["é"], 4, b"\n", "invalid control character", id="a control char"),
        pytest.param('["a\\x', ["a"], 4, b"x", "invalid escape in a string", id="an escape"),
        pytest.param('["\\u00g', [""], 6, b"g", "invalid escape in a string", id="a digit"),
        pytest.param('["é', ["é"], 4, b"\xff", "invalid UTF-8", id="invalid UTF-8"),
        pytest.param('["a\ud83d', ["a"], 3, b"\xed", "UTF-8 in a string", id="a raw surrogate"),
    ],
)
def test_invalid_json_is_told_as_soon_as_it_comes_and_the_value_stays(
    text: str, value: Any, offset: int, character: bytes, reason: str
) -> None:
    data = text.encode("utf-8", "surrogatepass")
    if character == b"\xff":
        data += character
    for pieces in ([data], [data[:-1], data[-1:]], [bytes([byte]) for byte in data]):
        partial = PartialJSON()
        with pytest.raises(InvalidJSON, match=reason) as caught:
            feed_all(partial, pieces)
        assert (caught.value.offset, caught.value.line) == (offset, character)
        assert partial.value == value
        assert not partial.complete
        with pytest.raises(LocalProtocolError, match=r"feed\(\) after InvalidJSON"):
            partial.feed("")


def test_value_is_live() -> None:
    partial = PartialJSON()
    partial.feed('{"a": [1, "b')
    value = partial.value
    assert value == {"a": [1, "b"]}
    partial.feed('c", {')
    assert partial.value is value
    assert value == {"a": [1, "bc", {}]}


def test_complete_is_the_whole_text() -> None:
    partial = PartialJSON()
    for piece, complete in (("[", False), ("]", True), (" \n", True)):
        partial.feed(piece)
        assert partial.complete is complete
    partial.feed(b"\xc3")
    assert not partial.complete


def test_number_at_the_top_level_may_go_on() -> None:
    partial = PartialJSON()
    seen = [("1", 1, True), ("2", 12, True), (".", 12, False), ("5", 12.5, True), (" ", 12.5, True)]
    for piece, value, complete in seen:
        partial.feed(piece)
        assert (partial.value, partial.complete) == (value, complete)


@pytest.mark.parametrize("before", ["", "[", "[-"])
def test_number_that_is_longer_than_python_reads_is_refused(before: str) -> None:
    digits = sys.get_int_max_str_digits()
    sign = before.count("-")
    text = before + "1" * (digits - sign)
    for size in (1, 1000, 10**6):
        partial = PartialJSON()
        for start in range(0, len(text), size):
            partial.feed(text[start : start + size])
        with pytest.raises(InvalidJSON, match="a number is too long") as caught:
            partial.feed("1")
        assert caught.value.offset == len(text)


def test_limit_of_numbers_holds_where_python_has_none() -> None:
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        assert observe(PartialJSON(), ["[" + "1" * 4300 + "]"]).complete
        assert observe(PartialJSON(), ["[" + "1" * 4301 + "]"]).offset == 4301
    finally:
        sys.set_int_max_str_digits(limit)


def test_nesting_has_no_bound() -> None:
    partial = PartialJSON()
    partial.feed("[" * 200_000)
    partial.feed("]" * 200_000)
    assert partial.complete
    depth, value = 1, partial.value
    while value:
        (value,) = value
        depth += 1
    assert depth == 200_000


HOSTILE = {
    "text": '["' + "x" * 150_000 + '"]',
    "escapes": '["' + '\\"' * 75_000 + '"]',
    "surrogates": '["' + r"\ud83d" * 25_000 + '"]',
    "key": '{"' + "x" * 150_000 + '": 1}',
    "brackets": "[" * 75_000 + "]" * 75_000,
    "items": "[" + "1," * 75_000 + "1]",
    "space": "[" + " " * 150_000 + "]",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("size", [1, 8, 10**9])
def test_piece_costs_the_same_whatever_came_before(text: str, size: int) -> None:
    partial = PartialJSON()
    # In quadratic time this would take a minute.
    for start in range(0, len(text), size):
        partial.feed(text[start : start + size])
    assert partial.complete


def test_reading_costs_no_more_than_the_open_string() -> None:
    partial = PartialJSON()
    partial.feed('["' + "x" * 1_000_000 + '"')
    # If the finished string were joined again each time, this would take a minute.
    for _ in range(30_000):
        partial.feed(", 1")
        assert partial.value[1:2] in ([], [1])


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda partial: pickle.loads(pickle.dumps(partial))],
    ids=["copy", "deepcopy", "pickle"],
)
@given(text=texts, other=fragments, allow=allowed, read=st.booleans(), draw=st.data())
def test_copy_continues_alike_and_on_its_own(
    duplicate: Callable[[PartialJSON], PartialJSON],
    text: str,
    other: str,
    allow: Any,
    read: bool,
    draw: st.DataObject,
) -> None:
    middle = draw.draw(st.integers(0, len(text)))
    original = PartialJSON(allow=allow)
    if observe(original, [text[:middle]], read).offset is not None:
        return
    twin = duplicate(original)
    for partial, rest in ((twin, other), (original, text[middle:])):
        assert observe(partial, [rest]) == Reference(text[:middle] + rest, allow).read()


def test_text_and_bytes_may_be_mixed() -> None:
    pieces: list[Any] = ['["é', "é".encode(), bytearray(b","), memoryview(b"")]
    assert observe(PartialJSON(), pieces) == Seen("['éé,']", False, None)


def test_wrong_arguments_are_named() -> None:
    wrong: Any
    for wrong in (1, None, ["a"]):
        with pytest.raises(TypeError, match=r"^data must be str, bytes, bytearray or memoryview, "):
            PartialJSON().feed(wrong)
    for wrong in (1, None):
        with pytest.raises(TypeError, match=r"^allow must be a collection of str, got "):
            PartialJSON(allow=wrong)
    for wrong in ("strings", ["string"], [["strings"]]):
        with pytest.raises(ValueError, match=r"^allow must have only strings, numbers, literals, "):
            PartialJSON(allow=wrong)


def test_it_does_not_go_on_after_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    partial = PartialJSON()
    partial.feed("[1,")
    monkeypatch.setattr(PartialJSON, "_read", interrupt)
    with pytest.raises(KeyboardInterrupt):
        partial.feed("2")
    monkeypatch.undo()
    with pytest.raises(LocalProtocolError, match=r"feed\(\) after a failure"):
        partial.feed("3")
    assert partial.value == [1]


@pytest.mark.parametrize("size", [1, 2, 100])
def test_byte_order_mark_at_the_start_is_skipped(size: int) -> None:
    data = "\ufeff[1]".encode()
    partial = PartialJSON()
    for start in range(0, len(data), size):
        partial.feed(data[start : start + size])
    assert (partial.value, partial.complete) == ([1], True)
    with pytest.raises(InvalidJSON) as caught:
        partial.feed("x")
    assert caught.value.offset == len(data)
