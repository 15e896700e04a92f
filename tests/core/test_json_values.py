from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable, Iterable, Iterator
from string import ascii_letters, digits
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sseparse import (
    EventTooLarge,
    InvalidJSON,
    JSONValuesDecoder,
    LocalProtocolError,
    RemoteProtocolError,
    _json_values,
)
from tests.support.strategies import chunked_json_streams, chunks_of, cut, json_streams, json_values

BOM = b"\xef\xbb\xbf"
# The reprs of the values (they differ for 1, True and 1.0), and the error's type, offset and text.
Outcome = tuple[list[str], tuple[Any, ...] | None]


def observe(decoder: JSONValuesDecoder[Any], chunks: Iterable[bytes]) -> Outcome:
    values: list[Any] = []
    try:
        for chunk in chunks:
            values += decoder.feed(chunk)
        values += decoder.close()
    except RemoteProtocolError as error:
        values += error.events
        where = [getattr(error, name, None) for name in ("offset", "line")]
        return [*map(repr, values)], (type(error), *where)
    return [*map(repr, values)], None


def every_cut(stream: bytes) -> Iterator[list[bytes]]:
    yield [stream]
    yield cut(stream, list(range(len(stream))))
    for position in range(len(stream) + 1):
        yield cut(stream, [position])


def other_loads(text: str) -> Any:
    """Load like json.loads, which the decoder treats in a way of its own."""
    return json.loads(text)


# The reference, which reads a whole stream byte by byte.

WORD = (ascii_letters + digits + "+-.").encode()


class Refused(Exception):
    def __init__(self, offset: int, line: bytes) -> None:
        self.outcome = (InvalidJSON, offset, line[:256])


def end_of_value(stream: bytes, start: int) -> int | None:
    """Return the end of the value at `start`, or None if the stream ends before it."""
    if stream[start] in WORD:
        end = start
        while end < len(stream) and stream[end] in WORD:
            end += 1
        return end
    depth = 0
    in_string = escaped = False
    for position in range(start, len(stream)):
        character = stream[position : position + 1]
        if in_string:
            in_string = escaped or character != b'"'
            escaped = not escaped and character == b"\\"
        else:
            in_string = character == b'"'
            depth += (character in (b"[", b"{")) - (character in (b"]", b"}"))
        if not in_string and depth == 0:
            return position + 1
    return None


def expected(stream: bytes, limit: int, unwrap_array: bool) -> Outcome:
    values: list[str] = []
    in_array = False
    after: bytes = b""  # in an array, the last of "[", "," and "e" for an element
    position = len(BOM) if stream.startswith(BOM) else 0
    try:
        while True:
            while stream[position : position + 1] in (b" ", b"\t", b"\r", b"\n"):
                position += 1
            character = stream[position : position + 1]
            if character == b"":
                if in_array:
                    raise Refused(position, b"")
                return values, None
            if unwrap_array and not in_array and character == b"[":
                in_array, after = True, b"["
            elif in_array and after != b"," and character == b"]":
                in_array = False
            elif in_array and after == b"e" and character == b",":
                after = b","
            elif (in_array and after == b"e") or character[0] not in WORD + b'"[{':
                raise Refused(position, character)
            else:
                end = end_of_value(stream, position)
                if (len(stream) if end is None else end) - position > limit:
                    return values, (EventTooLarge, None, None)
                text = stream[position:end]
                may_be_cut = in_array and end == len(stream) and character[0] in WORD
                if end is None or may_be_cut:
                    raise Refused(position, text)
                try:
                    values.append(repr(json.loads(text.decode())))
                except ValueError:
                    raise Refused(position, text) from None
                position, after = end, b"e"
                continue
            position += 1
    except Refused as refused:
        return values, refused.outcome


limits = st.integers(1, 24) | st.just(1000)
loads_functions = st.sampled_from([json.loads, other_loads])


@given(chunked_json_streams, limits, st.booleans(), loads_functions, st.sampled_from([3, 65536]))
@example([b'[[["a]\\"', b'"]]]'], 1000, True, other_loads, 3)
@example(["“é”".encode() + b" 1"], 1000, False, json.loads, 65536)
@example(['"é""é"1 "é'.encode(), '"[é'.encode()], 1000, False, json.loads, 65536)
@example([b'"\xc3" "a"'], 1000, False, json.loads, 65536)
@example([b"12", b"3"], 1000, False, json.loads, 65536)
@example([b"\xef\xbb"], 1000, False, json.loads, 65536)
def test_values_are_those_of_the_whole_stream_whatever_the_cuts(
    chunks: list[bytes], limit: int, unwrap_array: bool, loads: Any, window: int
) -> None:
    decoder = JSONValuesDecoder(loads=loads, max_value_size=limit, unwrap_array=unwrap_array)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_json_values, "_WINDOW", window)
        outcome = observe(decoder, chunks)
    assert outcome == expected(b"".join(chunks), limit, unwrap_array)


def raw_values(text: str) -> list[Any]:
    """Return the values of `text` by json alone, which wants white space to be skipped."""
    values: list[Any] = []
    text = text.lstrip(" \t\r\n")
    while text:
        value, end = json.JSONDecoder().raw_decode(text)
        values.append(value)
        text = text[end:].lstrip(" \t\r\n")
    return values


spaces = st.text(" \t\r\n", max_size=3)
indents = st.sampled_from([None, 0, 2])


@given(
    st.lists(json_values, max_size=4), spaces, indents, st.booleans(), loads_functions, st.data()
)
def test_values_come_back(
    values: list[Any],
    space: str,
    indent: int | None,
    ensure_ascii: bool,
    loads: Any,
    draw: st.DataObject,
) -> None:
    texts = [json.dumps(value, indent=indent, ensure_ascii=ensure_ascii) for value in values]
    # Words need white space between them.
    stream = "".join(
        space + text + (" " if text[-1] not in ']}"' else "") + space for text in texts
    )
    array = space + "[" + ",".join(space + text + space for text in texts) + "]" + space
    assert raw_values(stream) == values
    for text, unwrap_array in ((stream, False), (array, True)):
        chunks = draw.draw(chunks_of(text.encode()))
        decoder = JSONValuesDecoder(loads=loads, unwrap_array=unwrap_array)
        assert observe(decoder, chunks) == ([*map(repr, values)], None)


@pytest.mark.parametrize(
    ("stream", "values"),
    [
        pytest.param(b'{"a": 1}{"a": 2}', [{"a": 1}, {"a": 2}], id="objects need nothing between"),
        pytest.param(b'[1]"a"[2]', [[1], "a", [2]], id="nor do arrays and strings"),
        pytest.param(b" {} \r\n\t [] ", [{}, []], id="there may be white space"),
        pytest.param(b'{\n  "a": [\n    1\n  ]\n}\n', [{"a": [1]}], id="and within a value"),
        pytest.param(b"1 true\nnull\t-2.5e3", [1, True, None, -2500.0], id="words have it between"),
        pytest.param(b'1"a"true[]null{}', [1, "a", True, [], None, {}], id="or another value"),
        pytest.param(
            b'["]\\"}", "\\\\"]{}', [[']"}', "\\"], {}], id="quotes and brackets in strings"
        ),
        pytest.param(b"[[[[[[1]]]]]]2", [[[[[[[1]]]]]], 2], id="values may be nested"),
        pytest.param(BOM + b"1", [1], id="one leading BOM is skipped"),
        pytest.param(BOM, [], id="a lone BOM is nothing"),
        pytest.param(b"", [], id="no bytes are nothing"),
        pytest.param(b" \n ", [], id="nor is white space"),
        pytest.param('"é漢🎉"'.encode(), ["é漢🎉"], id="text is UTF-8"),
        pytest.param(b'{"a": 1, "a": 2}', [{"a": 2}], id="the last of equal keys wins"),
    ],
)
def test_rule(stream: bytes, values: list[Any]) -> None:
    for loads in (json.loads, other_loads):
        for chunks in every_cut(stream):
            assert observe(JSONValuesDecoder(loads=loads), chunks) == ([*map(repr, values)], None)


@pytest.mark.parametrize(
    ("stream", "values"),
    [
        pytest.param(b"[1, 2,3]", [1, 2, 3], id="elements are values"),
        pytest.param(b'["a",{"b":[1]},[2,[3]],null]', ["a", {"b": [1]}, [2, [3]], None], id="any"),
        pytest.param(b"[]", [], id="an empty array has none"),
        pytest.param(b" [ ] [\n]", [], id="nor have two"),
        pytest.param(b"[1][2]\n[3,\n4]", [1, 2, 3, 4], id="arrays may follow one another"),
        pytest.param(b'{"a":1}[2]"b"[3]', [{"a": 1}, 2, "b", 3], id="and other values"),
    ],
)
def test_rule_of_unwrapped_arrays(stream: bytes, values: list[Any]) -> None:
    for loads in (json.loads, other_loads):
        for chunks in every_cut(stream):
            decoder = JSONValuesDecoder(loads=loads, unwrap_array=True)
            assert observe(decoder, chunks) == ([*map(repr, values)], None)


@pytest.mark.parametrize(
    ("stream", "values", "offset", "line", "reason"),
    [
        pytest.param(b"1 x", [1], 2, b"x", "Expecting value", id="a word"),
        pytest.param(b"truefalse", [], 0, b"truefalse", "Extra data|Expecting", id="two words"),
        pytest.param(b"1 01", [1], 2, b"01", "Extra data", id="a number"),
        pytest.param(b"1,2", [1], 1, b",", "expected a value", id="a comma"),
        pytest.param(b"1]", [1], 1, b"]", "expected a value", id="a bracket"),
        pytest.param(b" <html>", [], 1, b"<", "expected a value", id="another format"),
        pytest.param(b'{"a" 1} 2', [], 0, b'{"a" 1}', "Expecting ':'", id="an object"),
        pytest.param(b"[1,,2]", [], 0, b"[1,,2]", "Expecting value", id="an array"),
        pytest.param(b"[1}2", [], 0, b"[1}", "Expecting ','", id="brackets that do not match"),
        pytest.param(b'"\n"', [], 0, b'"\n"', "control character", id="a string"),
        pytest.param(b'1 "\xff"', [1], 2, b'"\xff"', "can't decode byte", id="invalid UTF-8"),
        pytest.param(b"\xff", [], 0, b"\xff", "expected a value", id="outside of strings"),
        pytest.param(BOM + b"{]", [], 3, b"{]", "Expecting property", id="a BOM counts as bytes"),
        pytest.param(BOM + BOM + b"1", [], 3, BOM[:1], "expected a value", id="a second BOM"),
        pytest.param(BOM[:2], [], 0, BOM[:1], "expected a value", id="half a BOM"),
        pytest.param(b'{} {"a": 1', [{}], 3, b'{"a": 1', "ended inside a value", id="cut object"),
        pytest.param(b'"a\\"', [], 0, b'"a\\"', "ended inside a value", id="cut string"),
        pytest.param(b"1 tru", [1], 2, b"tru", "Expecting value", id="cut word"),
        pytest.param(b'"' + b"a" * 300, [], 0, b'"' + b"a" * 255, "ended inside", id="long line"),
    ],
)
def test_invalid_json_tells_where_it_is(
    stream: bytes, values: list[Any], offset: int, line: bytes, reason: str
) -> None:
    for loads in (json.loads, other_loads):
        for chunks in every_cut(stream):
            outcome = observe(JSONValuesDecoder(loads=loads), chunks)
            assert outcome == ([*map(repr, values)], (InvalidJSON, offset, line))
    decoder = JSONValuesDecoder()
    with pytest.raises(InvalidJSON, match=reason):
        decoder.feed(stream), decoder.close()


@pytest.mark.parametrize(
    ("stream", "values", "offset", "line", "reason"),
    [
        pytest.param(b"[1,,2]", [1], 3, b",", "expected an element:", id="two commas"),
        pytest.param(b"[1 2]", [1], 3, b"2", "expected ',' or ']'", id="no comma"),
        pytest.param(b'["a""b"]', ["a"], 4, b'"', "expected ',' or ']'", id="no space either"),
        pytest.param(b"[,1]", [], 1, b",", "expected an element or ']'", id="a comma first"),
        pytest.param(b"[1,]", [1], 3, b"]", "expected an element:", id="a comma last"),
        pytest.param(b"[1}", [1], 2, b"}", "expected ',' or ']'", id="another bracket"),
        pytest.param(b"[1]]", [1], 3, b"]", "expected a value", id="two brackets"),
        pytest.param(b"[1],[2]", [1], 3, b",", "expected a value", id="a comma after the array"),
        pytest.param(b"[1,[2", [1], 3, b"[2", "ended inside a value", id="cut element"),
        pytest.param(b"[1,23", [1], 3, b"23", "ended inside a value", id="cut number"),
        pytest.param(b"[1 ", [1], 3, b"", "ended inside an array", id="cut after an element"),
        pytest.param(b"[1,", [1], 3, b"", "ended inside an array", id="cut after a comma"),
        pytest.param(b"[", [], 1, b"", "ended inside an array", id="cut at once"),
    ],
)
def test_malformed_array_tells_where_after_its_elements(
    stream: bytes, values: list[Any], offset: int, line: bytes, reason: str
) -> None:
    for loads in (json.loads, other_loads):
        for chunks in every_cut(stream):
            outcome = observe(JSONValuesDecoder(loads=loads, unwrap_array=True), chunks)
            assert outcome == ([*map(repr, values)], (InvalidJSON, offset, line))
    decoder = JSONValuesDecoder(unwrap_array=True)
    with pytest.raises(InvalidJSON, match=reason):
        decoder.feed(stream), decoder.close()


@pytest.mark.parametrize(
    ("stream", "size"),
    [(b'1 "abc"', 5), (b"12345", 5), (b"[ 1 ]", 5), (BOM + b"12", 2), (b'{}"\xc3\xa9"', 4)],
    ids=repr,
)
def test_limit_is_of_the_bytes_of_a_value(stream: bytes, size: int) -> None:
    for loads in (json.loads, other_loads):
        for chunks in every_cut(b"   " + stream + b"   " if b"\xef" not in stream else stream):
            assert observe(JSONValuesDecoder(loads=loads, max_value_size=size), chunks)[1] is None
            decoder = JSONValuesDecoder(loads=loads, max_value_size=size - 1)
            assert observe(decoder, chunks)[1] == (EventTooLarge, None, None)


def test_limit_is_of_an_element_where_arrays_are_unwrapped() -> None:
    for chunks in every_cut(b"[1, 12 , 123, 1234]"):
        decoder = JSONValuesDecoder(max_value_size=3, unwrap_array=True)
        assert observe(decoder, chunks) == (["1", "12", "123"], (EventTooLarge, None, None))


def test_value_that_never_ends_is_refused_at_the_limit_after_those_before_it() -> None:
    decoder = JSONValuesDecoder(max_value_size=1000)
    with pytest.raises(EventTooLarge) as caught:
        decoder.feed(b"1 [2]" + b"[" * 1001)
    assert caught.value.events == [1, [2]]
    assert caught.value.limit == 1000
    with pytest.raises(LocalProtocolError, match=r"feed\(\) after EventTooLarge"):
        decoder.feed(b"")


def test_value_is_returned_as_soon_as_it_ends() -> None:
    decoder = JSONValuesDecoder(unwrap_array=True)
    assert decoder.feed(b"[1") == []
    assert decoder.feed(b"2") == []
    assert decoder.feed(b",") == [12]
    assert decoder.feed(b'{"a": "}') == []
    assert decoder.feed(b'"}') == [{"a": "}"}]
    assert decoder.feed(b"] 3") == []
    assert decoder.feed(b'4"a"') == [34, "a"]
    assert decoder.feed(b"null") == []
    assert decoder.close() == [None]
    assert decoder.close() == []
    with pytest.raises(LocalProtocolError, match=r"feed\(\) after close\(\)"):
        decoder.feed(b"")


def test_values_before_an_error_are_on_it() -> None:
    decoder = JSONValuesDecoder()
    with pytest.raises(InvalidJSON) as caught:
        decoder.feed(b"1 {} {,} 2")
    assert caught.value.events == [1, {}]
    assert caught.value.line_number is None
    assert isinstance(caught.value.__cause__, json.JSONDecodeError)
    with pytest.raises(LocalProtocolError, match=r"feed\(\) after InvalidJSON"):
        decoder.feed(b"")
    assert decoder.close() == []


def test_loads_is_given_the_text_of_each_value_and_makes_the_values() -> None:
    decoder = JSONValuesDecoder(loads=lambda text: ("made of", text))
    assert decoder.feed(b' [ 1 ] "\xc3\xa9" 2 ') == [
        ("made of", text) for text in ("[ 1 ]", '"é"', "2")
    ]


def test_json_that_is_nested_too_deeply_for_loads_is_invalid() -> None:
    with pytest.raises(InvalidJSON) as caught:
        JSONValuesDecoder().feed(b"1 " + b"[" * 100_000 + b"]" * 100_000)
    assert isinstance(caught.value.__cause__, RecursionError)
    assert caught.value.events == [1]


def test_decoder_itself_has_no_bound_of_nesting() -> None:
    nested = b"[" * 100_000 + b"]" * 100_000
    assert JSONValuesDecoder(loads=len).feed(nested * 2) == [200_000] * 2


HOSTILE = {
    "brackets": b"[" * 150_000 + b"]" * 150_000,
    "pairs": b"[" + b"[]" * 75_000 + b"]",
    "brackets and text": b"[1,2,3," * 20_000 + b"]" * 20_000,
    "escaped quotes": b'"' + b'\\"' * 75_000 + b'"',
    "quotes": b"[" + b'"",' * 50_000 + b'""]',
    "backslashes": b'"' + b"\\\\" * 75_000 + b'"',
    "strings in arrays": b'["' * 75_000 + b'"]' * 75_000,
    "digits": b"1" * 150_000 + b" ",
    "text": b'{"a": "' + b"x" * 150_000 + b'"}',
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("size", [1, 10, 4096, 10**9])
def test_hostile_value_takes_linear_time_whatever_the_cuts(value: bytes, size: int) -> None:
    decoder = JSONValuesDecoder(loads=lambda text: len(text.encode()))
    values: list[int] = []
    # In quadratic time this would take a minute.
    for start in range(0, len(value), size):
        values += decoder.feed(value[start : start + size])
    assert sum(values) == len(value.strip())


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda decoder: pickle.loads(pickle.dumps(decoder))],
    ids=["copy", "deepcopy", "pickle"],
)
@given(stream=json_streams, other=json_streams, unwrap_array=st.booleans(), draw=st.data())
def test_copy_continues_alike_and_on_its_own(
    duplicate: Callable[[JSONValuesDecoder[Any]], JSONValuesDecoder[Any]],
    stream: bytes,
    other: bytes,
    unwrap_array: bool,
    draw: st.DataObject,
) -> None:
    middle = draw.draw(st.integers(0, len(stream)))
    original = JSONValuesDecoder(unwrap_array=unwrap_array)
    try:
        before = [*map(repr, original.feed(stream[:middle]))]
    except RemoteProtocolError:
        return
    twin = duplicate(original)
    for decoder, rest in ((twin, other), (original, stream[middle:])):
        values, error = observe(decoder, [rest])
        whole = observe(JSONValuesDecoder(unwrap_array=unwrap_array), [stream[:middle] + rest])
        assert (before + values, error) == whole


@pytest.mark.parametrize(
    ("option", "error"),
    [
        ({"max_value_size": 0}, ValueError("max_value_size must be at least 1, got 0")),
        ({"max_value_size": "1"}, TypeError("max_value_size must be an int or None, got str")),
        ({"loads": None}, TypeError("loads must be a function of a str, got NoneType")),
    ],
    ids=repr,
)
def test_wrong_option_is_named(option: dict[str, Any], error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        JSONValuesDecoder(**option)
    assert str(caught.value) == str(error)


def test_only_bytes_are_taken() -> None:
    decoder: Any = JSONValuesDecoder()
    with pytest.raises(TypeError, match=r"data must be bytes.* got str: feed the raw body"):
        decoder.feed("1 ")
    assert decoder.feed(bytearray(b"1 ")) == [1]
    assert decoder.feed(memoryview(b"2 ")) == [2]


def test_decoder_does_not_go_on_after_an_interrupt() -> None:
    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    decoder = JSONValuesDecoder(loads=interrupt)
    with pytest.raises(KeyboardInterrupt):
        decoder.feed(b"1 ")
    with pytest.raises(LocalProtocolError, match="after a failure"):
        decoder.feed(b"")


def test_value_larger_than_a_window_is_one_value() -> None:
    # With `loads` of one's own, brackets are counted in windows of 64 KiB.
    stream = b'[{"a": [' + b"1," * 100_000 + b"1]}]"
    decoder = JSONValuesDecoder(loads=lambda text: json.loads(text))
    assert decoder.feed(stream) == [[{"a": [1] * 100_001}]]
