from __future__ import annotations

import copy
import json
import logging
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sseparse import (
    EventTooLarge,
    InvalidJSON,
    JSONSeqDecoder,
    LocalProtocolError,
    NDJSONDecoder,
    RemoteProtocolError,
    decode,
)
from tests.support.strategies import chunked_json_streams, cut, json_streams, json_values

AnyDecoder = NDJSONDecoder[Any] | JSONSeqDecoder[Any]
DecoderClass = type[NDJSONDecoder[Any]] | type[JSONSeqDecoder[Any]]
# The reprs of the values (they differ for 1, True and 1.0), the number of skipped texts, and the
# error's type, line number, offset and text.
Outcome = tuple[list[str], int, tuple[Any, ...] | None]

BOM = b"\xef\xbb\xbf"

both_decoders = pytest.mark.parametrize("decoder_class", [NDJSONDecoder, JSONSeqDecoder])

json_errors_are_text = pytest.mark.skipif(
    sys.implementation.name == "pypy",
    reason="json.loads('é') of PyPy 8.0 raises an error that no f-string can take",
)


def observe(decoder: AnyDecoder, chunks: Iterable[bytes]) -> Outcome:
    values: list[Any] = []
    try:
        for chunk in chunks:
            values += decoder.feed(chunk)
        values += decoder.close()
    except RemoteProtocolError as error:
        values += error.events
        where = [getattr(error, name, None) for name in ("line_number", "offset", "line")]
        return [*map(repr, values)], decoder.skipped, (type(error), *where)
    return [*map(repr, values)], decoder.skipped, None


def every_cut(stream: bytes) -> Iterator[list[bytes]]:
    yield [stream]
    yield cut(stream, list(range(len(stream))))
    for position in range(len(stream) + 1):
        yield cut(stream, [position])


# The references. Each yields the texts of a whole stream as (kind, text, line number, offset).

Text = tuple[str, bytes, int | None, int]


def lines_of(stream: bytes, blank_lines: str, limit: int) -> Iterator[Text]:
    offset = len(BOM) if stream.startswith(BOM) else 0
    lines = stream[offset:].split(b"\n")
    if lines[-1] == b"":  # after the last LF, or in an empty stream
        del lines[-1]
    for number, line in enumerate(lines, 1):
        # A CR at the end of the stream is before no LF.
        has_end = offset + len(line) < len(stream)
        record = line[:-1] if has_end and line.endswith(b"\r") else line
        if len(line) > limit:
            yield "too large", line, number, offset
        elif record.strip(b" \t\r\n"):
            yield "text", record, number, offset
        elif blank_lines == "error":
            yield "invalid", record, number, offset
        offset += len(line) + 1


def texts_of(stream: bytes, limit: int) -> Iterator[Text]:
    text, start = b"", 0
    begun = in_string = escaped = False
    depth = 0
    for position, byte in enumerate([*stream, None]):
        character = b"" if byte is None else bytes([byte])
        if character == b"\n":
            in_string = escaped = False
        elif in_string:
            in_string = escaped or character != b'"'
            escaped = not escaped and character == b"\\"
        else:
            in_string = character == b'"'
            depth += (character in (b"[", b"{")) - (character in (b"]", b"}"))
        blank = text.strip(b" \t\r\n") == b""
        if (
            character in (b"", b"\x1e")
            or (character == b"\n" and blank and not begun)
            or (character == b"\n" and begun and not blank and depth <= 0)
        ):
            text += character.strip(b"\x1e")
            if (blank and begun and text) or (not blank and not begun):
                yield "invalid", text, None, start
            elif not blank:
                is_whole = text[-1:] in (b" ", b"\t", b"\r", b"\n", b"]", b"}", b'"')
                yield "text" if is_whole else "invalid", text, None, start
            begun = character == b"\x1e"
            text, start, depth, in_string, escaped = b"", position + 1, 0, False, False
        else:
            text += character
            if len(text) > limit:
                yield "too large", text, None, start


def expected(texts: Iterator[Text], errors: str) -> Outcome:
    values: list[str] = []
    skipped = 0
    for kind, text, line_number, offset in texts:
        if kind == "too large":
            return values, skipped, (EventTooLarge, None, None, None)
        try:
            if kind == "invalid":
                raise ValueError
            values.append(repr(json.loads(text.decode())))
        except ValueError:
            if errors == "raise":
                return values, skipped, (InvalidJSON, line_number, offset, text[:256])
            skipped += 1
    return values, skipped, None


limits = st.integers(1, 24) | st.just(1000)


@json_errors_are_text
@given(
    chunked_json_streams,
    limits,
    st.sampled_from(["skip", "error"]),
    st.sampled_from(["raise", "skip"]),
)
@example([b"\x1e\r"], 2, "skip", "raise")
@example([b"1\r\n\r"], 2, "error", "raise")
def test_lines_are_those_of_the_whole_stream_whatever_the_cuts(
    chunks: list[bytes], limit: int, blank_lines: Any, errors: Any
) -> None:
    decoder = NDJSONDecoder(max_line_size=limit, blank_lines=blank_lines, errors=errors)
    lines = lines_of(b"".join(chunks), blank_lines, limit)
    assert observe(decoder, chunks) == expected(lines, errors)


@given(chunked_json_streams, limits, st.sampled_from(["raise", "skip"]))
@example([b"\x1e}\n1\n\x1e"], 1000, "raise")
@example([b'\x1e"a\\"[\n'], 1000, "raise")
@example([b'\x1e["\\\n]\n'], 1000, "raise")
@example([b'\x1e[\n"]",\n"\\"]"\n]\n1\n'], 1000, "raise")
def test_texts_are_those_of_the_whole_stream_whatever_the_cuts(
    chunks: list[bytes], limit: int, errors: Any
) -> None:
    decoder = JSONSeqDecoder(max_text_size=limit, errors=errors)
    assert observe(decoder, chunks) == expected(texts_of(b"".join(chunks), limit), errors)


@given(st.lists(json_values, max_size=4), st.sampled_from([None, 2]), st.data())
def test_values_come_back(values: list[Any], indent: int | None, draw: st.DataObject) -> None:
    whole = [json.dumps(value, indent=indent).encode() for value in values]
    for decoder, stream in (
        (NDJSONDecoder(), b"".join(text.replace(b"\n", b"\r") + b"\n" for text in whole)),
        (JSONSeqDecoder(errors="raise"), b"".join(b"\x1e" + text + b"\n" for text in whole)),
    ):
        position = draw.draw(st.integers(0, len(stream)))
        assert observe(decoder, cut(stream, [position])) == ([*map(repr, values)], 0, None)


# NDJSON, rule by rule


@pytest.mark.parametrize(
    ("stream", "values"),
    [
        pytest.param(b"1\n2\n", [1, 2], id="LF ends a record"),
        pytest.param(b"1\r\n2\r\n", [1, 2], id="one CR before it is dropped"),
        pytest.param(b"1\n2", [1, 2], id="the last record needs no LF"),
        pytest.param(b"1\n2\r", [1, 2], id="the last record may end in CR"),
        pytest.param(b"[1,\r2]\n", [[1, 2]], id="a lone CR ends nothing"),
        pytest.param('"a\u2028b\x85c"\n'.encode(), ["a\u2028b\x85c"], id="nor U+2028 and U+0085"),
        pytest.param(b"\n\r\n \t\n1\n\n", [1], id="blank lines are skipped"),
        pytest.param(b"1\n  ", [1], id="so is a blank last line"),
        pytest.param(BOM + b"1\n", [1], id="one leading BOM is skipped"),
        pytest.param(BOM, [], id="a lone BOM is nothing"),
        pytest.param(b"", [], id="no bytes are nothing"),
        pytest.param('"é漢🎉"\n'.encode(), ["é漢🎉"], id="text is UTF-8"),
        pytest.param(b'"\\ud83c\\udf89"\n', ["🎉"], id="escapes are JSON's"),
        pytest.param(b' {"a": [1, null]} \n', [{"a": [1, None]}], id="white space around"),
    ],
)
def test_ndjson_rule(stream: bytes, values: list[Any]) -> None:
    for chunks in every_cut(stream):
        assert observe(NDJSONDecoder(), chunks) == ([*map(repr, values)], 0, None)


@pytest.mark.parametrize(
    ("stream", "line_number", "offset", "line"),
    [
        pytest.param(b"{\n", 1, 0, b"{", id="bad JSON"),
        pytest.param(b"1\r\n\r\nx\r\n2\n", 3, 5, b"x", id="lines and bytes are counted"),
        pytest.param(b"1\nx", 2, 2, b"x", id="in the last line"),
        pytest.param(b"1 2\n", 1, 0, b"1 2", id="two values"),
        pytest.param(b"1\r2\n", 1, 0, b"1\r2", id="a lone CR between values"),
        pytest.param(b'"\xff"\n', 1, 0, b'"\xff"', id="invalid UTF-8"),
        pytest.param(BOM + b"x\n", 1, 3, b"x", id="a BOM counts as bytes"),
        pytest.param(BOM + b"1\n" + BOM + b"1\n", 2, 5, BOM + b"1", id="a BOM later on"),
        pytest.param(BOM + BOM + b"1\n", 1, 3, BOM + b"1", id="a second BOM"),
        pytest.param(BOM[:2], 1, 0, BOM[:2], id="an incomplete BOM"),
        pytest.param(BOM[:2] + b"1\n", 1, 0, BOM[:2] + b"1", id="a broken BOM"),
        pytest.param(b"\v\n", 1, 0, b"\v", id="white space that is not JSON's"),
        pytest.param("é".encode() + b"x" * 300, 1, 0, "é".encode() + b"x" * 254, id="a long line"),
    ],
)
def test_invalid_line_tells_where_it_is(
    stream: bytes, line_number: int, offset: int, line: bytes
) -> None:
    for chunks in every_cut(stream):
        _, _, error = observe(NDJSONDecoder(), chunks)
        assert error == (InvalidJSON, line_number, offset, line)


@pytest.mark.parametrize("stream", [b"1\n\n2\n", b"1\n \r\n", b"1\n\t"], ids=repr)
def test_blank_line_may_be_an_error(stream: bytes) -> None:
    for chunks in every_cut(stream):
        values, _, error = observe(NDJSONDecoder(blank_lines="error"), chunks)
        assert values == ["1"]
        assert error is not None
        assert error[:3] == (InvalidJSON, 2, 2)


def test_line_number_may_pass_many_blank_lines() -> None:
    _, _, error = observe(NDJSONDecoder(), [b"\n" * 100_000, b"x\n"])
    assert error == (InvalidJSON, 100_001, 100_000, b"x")


@pytest.mark.parametrize(
    ("stream", "size"),
    [(b'"abc"\n', 5), (b'"abc"\r\n', 6), (b'1\n"abc"', 5), (b"     \n", 5), (BOM + b"12\n", 2)],
    ids=repr,
)
def test_ndjson_limit_is_of_the_bytes_of_a_line(stream: bytes, size: int) -> None:
    for chunks in every_cut(stream):
        assert observe(NDJSONDecoder(max_line_size=size), chunks)[2] is None
        _, _, error = observe(NDJSONDecoder(max_line_size=size - 1), chunks)
        assert error == (EventTooLarge, None, None, None)


# JSON text sequences, rule by rule


@pytest.mark.parametrize(
    ("stream", "values"),
    [
        pytest.param(b"\x1e1\n\x1e2\n", [1, 2], id="RS begins, LF ends"),
        pytest.param(b"\x1e\x1e\x1e1\n\x1e", [1], id="empty elements are ignored"),
        pytest.param(b"\x1e\n1\n", [1], id="white space may come first"),
        pytest.param(b"\n \x1e1\n\n", [1], id="white space may be around"),
        pytest.param(b'\x1e{"a":\n[1,\n2]}\n', [{"a": [1, 2]}], id="a text of several lines"),
        pytest.param(b'\x1e["]",\n"\\"]",\n"["]\n', [["]", '"]', "["]], id="brackets in strings"),
        pytest.param(b'\x1e{}\x1e[]\x1e"a"', [{}, [], "a"], id="what cannot be cut needs no LF"),
        pytest.param(b"\x1e1 \x1etrue\t\x1enull\r", [1, True, None], id="white space will do"),
        pytest.param('\x1e"é漢🎉\u2028"\n'.encode(), ["é漢🎉\u2028"], id="text is UTF-8"),
        pytest.param(b"", [], id="no bytes are nothing"),
    ],
)
def test_json_seq_rule(stream: bytes, values: list[Any]) -> None:
    for chunks in every_cut(stream):
        decoder = JSONSeqDecoder(errors="raise")
        assert observe(decoder, chunks) == ([*map(repr, values)], 0, None)


@pytest.mark.parametrize(
    ("stream", "offset", "line", "reason"),
    [
        pytest.param(b"\x1e12\x1e3\n", 1, b"12", "may have been cut", id="a number"),
        pytest.param(b"\x1e12", 1, b"12", "may have been cut", id="a number at the end"),
        pytest.param(b"\x1etrue\x1e3\n", 1, b"true", "may have been cut", id="true"),
        pytest.param(b"\x1efalse\x1e3\n", 1, b"false", "may have been cut", id="false"),
        pytest.param(b"\x1enull\x1e3\n", 1, b"null", "may have been cut", id="null"),
        pytest.param(b'\x1e"a\x1e3\n', 1, b'"a', "may have been cut", id="a string"),
        pytest.param(b'\x1e{"a"\x1e3\n', 1, b'{"a"', "invalid JSON", id="an object"),
        pytest.param(b"\x1e[1,\n\x1e3\n", 1, b"[1,\n", "invalid JSON", id="after an LF"),
        pytest.param(b"\x1e}\n\x1e3\n", 1, b"}\n", "invalid JSON", id="a lone bracket"),
        pytest.param(b'\x1e"\xff"\n\x1e3\n', 1, b'"\xff"\n', "invalid JSON", id="invalid UTF-8"),
        pytest.param(b"{}\n\x1e3\n", 0, b"{}\n", "no record separator", id="before any RS"),
        pytest.param(b"\n {}", 1, b" {}", "no record separator", id="no RS at all"),
        pytest.param(b"\x1e1\n2\n\x1e3\n", 3, b"2\n", "no record separator", id="after a text"),
        pytest.param(BOM + b"\x1e3\n", 0, BOM, "no record separator", id="a BOM"),
    ],
)
def test_invalid_text_does_not_end_the_sequence(
    stream: bytes,
    offset: int,
    line: bytes,
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for chunks in every_cut(stream):
        values, skipped, error = observe(JSONSeqDecoder(), chunks)
        assert (values[-1:], skipped, error) == (["3"] if b"3" in stream else [], 1, None)
        _, _, error = observe(JSONSeqDecoder(errors="raise"), chunks)
        assert error == (InvalidJSON, None, offset, line)
    assert all(reason in record.getMessage() for record in caplog.records)


def test_text_is_returned_as_soon_as_it_ends() -> None:
    decoder = JSONSeqDecoder()
    assert decoder.feed(b"\x1e1") == []
    assert decoder.feed(b"2\n") == [12]
    assert decoder.feed(b"\x1e[\n1\n") == []
    assert decoder.feed(b"]") == []
    assert decoder.feed(b"\n") == [[1]]
    assert decoder.feed(b"\x1e{}") == []
    assert decoder.feed(b"\x1e") == [{}]


@pytest.mark.parametrize(
    ("stream", "size"),
    [(b'\x1e"abc"\n', 5), (b"\x1e[\n1\n]\n", 5), (b"     \n", 5), (b"\x1e1\n\x1e12\n", 2)],
    ids=repr,
)
def test_json_seq_limit_is_of_the_bytes_of_a_text(stream: bytes, size: int) -> None:
    for chunks in every_cut(stream):
        assert observe(JSONSeqDecoder(max_text_size=size), chunks)[2] is None
        _, _, error = observe(JSONSeqDecoder(max_text_size=size - 1), chunks)
        assert error == (EventTooLarge, None, None, None)


# Errors of both decoders


@both_decoders
def test_invalid_json_has_its_cause(decoder_class: DecoderClass) -> None:
    with pytest.raises(InvalidJSON) as caught:
        decoder_class(errors="raise").feed(b"\x1ex\n")
    cause = caught.value.__cause__
    assert isinstance(cause, json.JSONDecodeError)
    assert f"invalid JSON: {cause}: " in str(caught.value)


@both_decoders
def test_whatever_loads_raises_is_the_cause(decoder_class: DecoderClass) -> None:
    def loads(text: str) -> Any:
        raise KeyError(text)

    with pytest.raises(InvalidJSON) as caught:
        decoder_class(loads=loads, errors="raise").feed(b"\x1e1 \n")
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize(
    ("decoder_class", "stream"),
    [(NDJSONDecoder, b"1\n"), (NDJSONDecoder, b" 1\n"), (JSONSeqDecoder, b"\x1e1 \n")],
)
def test_want_of_memory_is_not_the_fault_of_the_json(
    decoder_class: DecoderClass, stream: bytes
) -> None:
    def loads(text: str) -> Any:
        raise MemoryError

    with pytest.raises(MemoryError):
        decoder_class(loads=loads, errors="skip").feed(stream)


@pytest.mark.parametrize(
    ("decoder_class", "begin"), [(NDJSONDecoder, b""), (JSONSeqDecoder, b"\x1e")]
)
def test_json_that_is_nested_too_deeply_is_invalid(
    decoder_class: DecoderClass, begin: bytes
) -> None:
    nested = begin + b"[" * 100_000 + b"]" * 100_000 + b"\n"
    with pytest.raises(InvalidJSON) as caught:
        decoder_class(errors="raise").feed(nested)
    assert isinstance(caught.value.__cause__, RecursionError)
    decoder = decoder_class(errors="skip")
    assert decoder.feed(nested + begin + b"1\n") == [1]
    assert decoder.skipped == 1


@pytest.mark.parametrize(
    ("decoder_class", "begin"), [(NDJSONDecoder, b""), (JSONSeqDecoder, b"\x1e")]
)
def test_values_before_an_error_are_on_it(decoder_class: DecoderClass, begin: bytes) -> None:
    stream = b"".join(begin + line for line in (b"1\n", b"2\n", b"x\n", b"3\n"))
    decoder = decoder_class(errors="raise")
    with pytest.raises(InvalidJSON) as caught:
        decoder.feed(stream)
    assert caught.value.events == [1, 2]
    with pytest.raises(LocalProtocolError, match=r"feed\(\) after InvalidJSON"):
        decoder.feed(b"")
    assert decoder.close() == []


def test_skipped_lines_are_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    decoder = NDJSONDecoder(errors="skip", blank_lines="error")
    assert decoder.feed(b"1\nx\n\n2\n{") == [1, 2]
    assert decoder.close() == []
    assert decoder.skipped == 3
    assert {(record.name, record.levelno) for record in caplog.records} == {
        ("sseparse", logging.WARNING)
    }
    assert [message.partition(":")[0] for message in caplog.messages] == [
        "skipped line 2, offset 2",
        "skipped line 3, offset 4",
        "skipped line 5, offset 7",
    ]


@json_errors_are_text
@pytest.mark.parametrize("blank", [b"", b"\n"], ids=["plain lines", "a blank line among them"])
def test_each_line_is_loaded_once_whichever_are_invalid(
    blank: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    loaded: list[str] = []

    def loads(text: str) -> object:
        loaded.append(text)
        return json.loads(text)

    lines = ["é", '"é"', "1", "x", "x", "2", "{"]
    decoder = NDJSONDecoder(loads=loads, errors="skip")
    assert decoder.feed(blank + "".join(f"{line}\n" for line in lines).encode()) == ["é", 1, 2]
    assert loaded == lines
    where = [(1, 0), (4, 10), (5, 12), (7, 16)]
    assert [message.partition(":")[0] for message in caplog.messages] == [
        f"skipped line {line_number + len(blank)}, offset {offset + len(blank)}"
        for line_number, offset in where
    ]


@pytest.mark.parametrize("length", [1, 1000, 2**20 - 10, 2**20, 3 * 2**20])
def test_lines_of_a_large_chunk_are_counted_on(length: int) -> None:
    record = b'"%s"' % (b"x" * length)
    count = 3 * 2**20 // len(record) + 2
    values, _, error = observe(NDJSONDecoder(), [b"1\n" + (record + b"\n") * count + b"x\n"])
    assert len(values) == 1 + count
    assert error == (InvalidJSON, 2 + count, 2 + count * (len(record) + 1), b"x")


def test_last_line_of_a_large_chunk_may_be_the_longest() -> None:
    long = "x" * 3 * 2**20
    assert NDJSONDecoder().feed(f'1\n"{long}"\n'.encode()) == [1, long]


def test_many_invalid_lines_at_once_take_linear_time() -> None:
    decoder = NDJSONDecoder(errors="skip")
    logging.getLogger("sseparse").disabled = True
    try:
        assert decoder.feed(b"x\n" * 30_000 + b"1\n") == [1]
    finally:
        logging.getLogger("sseparse").disabled = False
    assert decoder.skipped == 30_000


@both_decoders
def test_text_above_the_limit_is_never_skipped(decoder_class: DecoderClass) -> None:
    size = "max_line_size" if decoder_class is NDJSONDecoder else "max_text_size"
    options: dict[str, Any] = {size: 4, "errors": "skip"}
    decoder = decoder_class(**options)
    with pytest.raises(EventTooLarge) as caught:
        decoder.feed(b"\x1e1 \n\x1e12345")
    assert caught.value.limit == 4
    assert caught.value.events == ([1] if decoder_class is JSONSeqDecoder else [])
    with pytest.raises(LocalProtocolError, match=r"feed\(\) after EventTooLarge"):
        decoder.feed(b"")


@both_decoders
def test_feed_after_close_is_refused(decoder_class: DecoderClass) -> None:
    decoder = decoder_class()
    decoder.feed(b"\x1e[1]" if decoder_class is JSONSeqDecoder else b"[1]")
    assert decoder.close() == [[1]]
    assert decoder.close() == []
    with pytest.raises(LocalProtocolError, match=r"feed\(\) after close\(\)"):
        decoder.feed(b"")


@both_decoders
def test_only_bytes_are_taken(decoder_class: DecoderClass) -> None:
    decoder: Any = decoder_class()
    with pytest.raises(TypeError, match=r"data must be bytes.* got str: feed the raw body"):
        decoder.feed("1\n")
    with pytest.raises(TypeError, match="data must be bytes, bytearray or memoryview, got list"):
        decoder.feed([1])
    stream = b"\x1e1\n" if decoder_class is JSONSeqDecoder else b"1\n"
    assert decoder.feed(bytearray(stream)) == [1]
    assert decoder.feed(memoryview(stream)) == [1]


@both_decoders
def test_loads_is_given_text_and_makes_the_values(decoder_class: DecoderClass) -> None:
    stream = b"\x1e 1\n" if decoder_class is JSONSeqDecoder else b" 1\n"
    assert decoder_class(loads=lambda text: ("made of", text.strip())).feed(stream) == [
        ("made of", "1")
    ]


@pytest.mark.parametrize(
    ("decoder_class", "option", "error"),
    [
        (
            NDJSONDecoder,
            {"max_line_size": 0},
            ValueError("max_line_size must be at least 1, got 0"),
        ),
        (
            NDJSONDecoder,
            {"max_line_size": 2.5},
            TypeError("max_line_size must be an int or None, got float"),
        ),
        (
            NDJSONDecoder,
            {"errors": "ignore"},
            ValueError("errors must be 'raise', 'skip' or 'return', got 'ignore'"),
        ),
        (
            NDJSONDecoder,
            {"blank_lines": "keep"},
            ValueError("blank_lines must be 'skip' or 'error', got 'keep'"),
        ),
        (
            NDJSONDecoder,
            {"loads": None},
            TypeError("loads must be a function of a str, got NoneType"),
        ),
        (
            JSONSeqDecoder,
            {"loads": "json.loads"},
            TypeError("loads must be a function of a str, got str"),
        ),
        (
            JSONSeqDecoder,
            {"max_text_size": "1"},
            TypeError("max_text_size must be an int or None, got str"),
        ),
        (
            JSONSeqDecoder,
            {"errors": "ignore"},
            ValueError("errors must be 'raise', 'skip' or 'return', got 'ignore'"),
        ),
    ],
    ids=repr,
)
def test_wrong_option_is_named(
    decoder_class: Callable[..., AnyDecoder], option: dict[str, Any], error: Exception
) -> None:
    with pytest.raises(type(error)) as caught:
        decoder_class(**option)
    assert str(caught.value) == str(error)


@json_errors_are_text
@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda decoder: pickle.loads(pickle.dumps(decoder))],
    ids=["copy", "deepcopy", "pickle"],
)
@both_decoders
@given(stream=json_streams, other=json_streams, draw=st.data())
def test_copy_continues_alike_and_on_its_own(
    decoder_class: DecoderClass,
    duplicate: Callable[[AnyDecoder], AnyDecoder],
    stream: bytes,
    other: bytes,
    draw: st.DataObject,
) -> None:
    middle = draw.draw(st.integers(0, len(stream)))
    original = decoder_class(errors="skip")
    before = [*map(repr, original.feed(stream[:middle]))]
    twin = duplicate(original)
    for decoder, rest in ((twin, other), (original, stream[middle:])):
        values, skipped, error = observe(decoder, [rest])
        whole = observe(decoder_class(errors="skip"), [stream[:middle] + rest])
        assert (before + values, skipped, error) == whole


@pytest.mark.parametrize(
    ("decoder_class", "begin"), [(NDJSONDecoder, b""), (JSONSeqDecoder, b"\x1e")]
)
def test_long_text_in_single_bytes(decoder_class: DecoderClass, begin: bytes) -> None:
    decoder = decoder_class(errors="raise")
    stream = begin + b'["' + b"x" * 300_000 + b'"]\n'
    values = [value for byte in stream for value in decoder.feed(bytes([byte]))]
    assert values == [["x" * 300_000]]


def test_text_of_many_lines_and_many_quotes() -> None:
    # In quadratic time this would take minutes.
    lines = b"\x1e[" + b'"\\"",\n' * 300_000 + b'""]\n'
    quotes = b'\x1e["' + b'\\"' * 1_000_000 + b'"]\n'
    assert [len(value) for value in JSONSeqDecoder(errors="raise").feed(lines + quotes)] == [
        300_001,
        1,
    ]


@pytest.mark.parametrize("decoder_class", [NDJSONDecoder, JSONSeqDecoder])
def test_decoder_does_not_go_on_after_an_interrupt(decoder_class: Any) -> None:
    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    decoder = decoder_class(loads=interrupt)
    with pytest.raises(KeyboardInterrupt):
        decoder.feed(b"\x1e1\n")
    with pytest.raises(LocalProtocolError, match="after a failure"):
        decoder.feed(b"")


def test_wrong_encoding_errors_are_named() -> None:
    with pytest.raises(ValueError, match="encoding_errors must be 'strict'"):
        NDJSONDecoder(encoding_errors="ignore")  # type: ignore[call-overload]


class TestEncodingErrors:
    BODY = b'"a\xff"\n"b"\n'

    def test_strict_refuses_a_line_that_is_not_utf8(self) -> None:
        with pytest.raises(InvalidJSON, match="line 1, offset 0: invalid JSON: 'utf-8' codec") as e:
            NDJSONDecoder().feed(self.BODY)
        assert isinstance(e.value.__cause__, UnicodeDecodeError)

    def test_replace_gives_text_with_replacement_characters(self) -> None:
        for chunks in every_cut(self.BODY):
            decoder = NDJSONDecoder(encoding_errors="replace")
            assert observe(decoder, chunks) == (["'a\ufffd'", "'b'"], 0, None)

    def test_none_gives_bytes(self) -> None:
        decoder = NDJSONDecoder(loads=bytes.upper, encoding_errors=None)
        assert decoder.feed(b"a\r\n  \n\xff\n b\nc") == [b"A", b"\xff", b" B"]
        assert decoder.close() == [b"C"]

    @given(chunked_json_streams, st.sampled_from(["raise", "skip"]))
    def test_json_is_the_same_from_text_and_from_bytes(
        self, chunks: list[bytes], errors: Any
    ) -> None:
        def loads(line: bytes) -> Any:
            return json.loads(line.decode())

        decoder = NDJSONDecoder(loads=loads, errors=errors, encoding_errors=None)
        assert observe(decoder, chunks) == observe(NDJSONDecoder(errors=errors), chunks)


class TestReturn:
    BODY = b'1\n{\n\n\xff\n\xef\xbb\xbf\n"x"\n]'

    def test_invalid_lines_are_returned_in_their_place(self) -> None:
        for chunks in every_cut(self.BODY):
            decoder = NDJSONDecoder(errors="return", blank_lines="error")
            items = [item for chunk in chunks for item in decoder.feed(chunk)] + decoder.close()
            places = [
                (item.line_number, item.offset, item.line)
                if isinstance(item, InvalidJSON)
                else item
                for item in items
            ]
            assert places == [
                1,
                (2, 2, b"{"),
                (3, 4, b""),
                (4, 5, b"\xff"),
                (5, 7, BOM),
                "x",
                (7, 15, b"]"),
            ]
            assert decoder.skipped == 0

    def test_invalid_texts_are_returned_in_their_place(self) -> None:
        decoder = JSONSeqDecoder(errors="return")
        first, second, third = decoder.feed(b"\x1e\n\x1e1\n\x1e{\x1e")
        assert (str(first), second) == (
            "offset 1: no text after the record separator: b'\\n'",
            1,
        )
        assert isinstance(third, InvalidJSON)

    def test_their_cause_is_that_of_loads(self) -> None:
        [item] = NDJSONDecoder(errors="return").feed(b"{\n")
        assert isinstance(item.__cause__, json.JSONDecodeError)


@pytest.mark.parametrize("start", [b"", b"1\n", BOM])
def test_byte_order_mark_inside_the_stream_is_named(start: bytes) -> None:
    for stream in (start + BOM + b"\n", start + BOM + b"1\n"):
        for chunks in every_cut(stream):
            decoder = NDJSONDecoder()
            if not start:
                assert observe(decoder, chunks)[2] is None
                continue
            with pytest.raises(InvalidJSON, match="byte order mark inside the stream"):
                list(decode(chunks, decoder))


def test_invalid_lines_by_the_thousand_take_linear_time() -> None:
    # Quadratic in the chunk, it would take minutes.
    decoder = NDJSONDecoder(errors="return")
    items = decoder.feed(b"{\n" * 100_000)
    assert [item.offset for item in items] == [*range(0, 200_000, 2)]
