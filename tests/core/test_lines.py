from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sseparse import EventTooLarge, LineDecoder, LocalProtocolError
from tests.support.classes import in_python
from tests.support.strategies import chunked_streams, cut, json_streams

LineClass = type[LineDecoder]
Outcome = tuple[list[bytes], bool]

CLASSES = {"python": in_python(LineDecoder)}
if in_python(LineDecoder) is not LineDecoder:
    CLASSES["compiled"] = LineDecoder

every_class = pytest.mark.parametrize("line_class", CLASSES.values(), ids=list(CLASSES))
limits = st.none() | st.integers(1, 24)


def observe(decoder: LineDecoder, chunks: Iterable[bytes]) -> Outcome:
    lines: list[bytes] = []
    try:
        for chunk in chunks:
            lines += decoder.feed(chunk)
    except EventTooLarge as error:
        return lines + error.events, True
    return lines + decoder.close(), False


def expected(stream: bytes, limit: int | None) -> Outcome:
    *lines, last = stream.split(b"\n")
    within: list[bytes] = []
    for line in lines:
        if limit is not None and len(line) > limit:
            return within, True
        within.append(line.removesuffix(b"\r"))
    if limit is not None and len(last) > limit:
        return within, True
    return within + ([last] if last else []), False


@every_class
@pytest.mark.parametrize(
    ("stream", "lines"),
    [
        (b"", []),
        (b"\n", [b""]),
        (b"a\nb\n", [b"a", b"b"]),
        (b"a\r\nb\n", [b"a", b"b"]),
        (b"a\r\r\n", [b"a\r"]),
        (b"a\rb\n", [b"a\rb"]),
        (b"\r\n\n", [b"", b""]),
        (b"a\nb", [b"a", b"b"]),
        (b"a\r", [b"a\r"]),
        (b"\xff\xe2\x80\xa8\x85\x0b\x0c\x00\n", [b"\xff\xe2\x80\xa8\x85\x0b\x0c\x00"]),
        (b"\xef\xbb\xbfa\n", [b"\xef\xbb\xbfa"]),
    ],
)
def test_only_lf_and_crlf_end_a_line(
    line_class: LineClass, stream: bytes, lines: list[bytes]
) -> None:
    positions = range(len(stream) + 1)
    for chunks in [[stream], *(cut(stream, [i]) for i in positions), cut(stream, list(positions))]:
        assert observe(line_class(), chunks) == (lines, False)


@every_class
@given(chunked_streams, limits)
@example([b"a\r", b"\nb"], None)
@example([b"ab", b"\r", b"\nb"], 2)
def test_lines_are_those_of_the_whole_stream_whatever_the_cuts(
    line_class: LineClass, chunks: list[bytes], limit: int | None
) -> None:
    decoder = line_class(max_line_size=limit)
    assert observe(decoder, chunks) == expected(b"".join(chunks), limit)


@every_class
@given(st.lists(json_streams, max_size=6), limits)
def test_line_numbers_and_offsets_are_those_of_the_stream(
    line_class: LineClass, chunks: list[bytes], limit: int | None
) -> None:
    decoder: Any = line_class(max_line_size=limit, _text=True)
    stream = b""
    number = 1
    for chunk in chunks:
        unfinished = stream.rfind(b"\n") + 1
        stream += chunk
        try:
            lines = decoder.feed(chunk)
        except EventTooLarge:
            return
        assert decoder._line_offset == unfinished
        assert decoder._offset == len(stream)
        number += len(lines)
        assert decoder._line_number == number == stream.count(b"\n") + 1
        starts = [line[:1] for line in lines]
        assert decoder._plain == all(isinstance(c, str) and "!" <= c <= "~" for c in starts)
        for line in lines:
            if isinstance(line, bytes):
                with pytest.raises(UnicodeDecodeError):
                    line.decode()


@given(chunked_streams, chunked_streams, limits, st.booleans())
def test_both_classes_have_the_same_state(
    chunks: list[bytes], more: list[bytes], limit: int | None, is_text: bool
) -> None:
    one: Any = LineDecoder(max_line_size=limit, _text=is_text)
    other: Any = in_python(LineDecoder)(max_line_size=limit, _text=is_text)
    outcome = observe_feed(one, chunks)
    assert observe_feed(other, chunks) == outcome
    if outcome[1]:  # it is over
        return
    assert one.__getstate__() == other.__getstate__()
    continued = in_python(LineDecoder)()
    continued.__setstate__(one.__getstate__())
    other.__setstate__(one.__getstate__())
    assert observe(continued, more) == observe(one, more) == observe(other, more)


def observe_feed(decoder: LineDecoder, chunks: Iterable[bytes]) -> Outcome:
    lines: list[bytes] = []
    try:
        for chunk in chunks:
            lines += decoder.feed(chunk)
    except EventTooLarge as error:
        return lines + error.events, True
    return lines, False


@every_class
def test_limit_counts_the_cr_and_not_the_lf(line_class: LineClass) -> None:
    assert line_class(max_line_size=3).feed(b"abc\nab\r\n") == [b"abc", b"ab"]
    decoder = line_class(max_line_size=3)
    with pytest.raises(EventTooLarge) as caught:
        decoder.feed(b"a\nabc\r\nb\n")
    assert caught.value.events == [b"a"]
    assert caught.value.limit == 3
    with pytest.raises(LocalProtocolError, match="feed\\(\\) after EventTooLarge"):
        decoder.feed(b"")
    assert decoder.close() == []


@every_class
def test_line_that_never_ends_is_refused_at_the_limit(line_class: LineClass) -> None:
    decoder = line_class(max_line_size=1000)
    for _ in range(1000):
        decoder.feed(b"x")
    with pytest.raises(EventTooLarge):
        decoder.feed(b"x")


@every_class
def test_closed_decoder_is_done(line_class: LineClass) -> None:
    decoder = line_class()
    decoder.feed(b"a\nb")
    assert decoder.close() == [b"b"]
    assert decoder.close() == []
    with pytest.raises(
        LocalProtocolError, match="feed\\(\\) after close\\(\\): make a new decoder"
    ):
        decoder.feed(b"c")


@every_class
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_copy_goes_on_alike_and_on_its_own(line_class: LineClass, protocol: int) -> None:
    decoder = line_class(max_line_size=10)
    decoder.feed(b"a\nb")
    copies = [copy.copy(decoder), copy.deepcopy(decoder)]
    copies.append(pickle.loads(pickle.dumps(decoder, protocol)))
    for other in copies:
        assert type(other) is line_class
        assert other.feed(b"c\n") == [b"bc"]
        with pytest.raises(EventTooLarge):
            other.feed(b"x" * 11)
    assert decoder.feed(b"d\n") == [b"bd"]


@every_class
def test_any_bytes_are_taken(line_class: LineClass) -> None:
    data = bytearray(b"a\nb")
    decoder = line_class()
    assert decoder.feed(data) == [b"a"]
    data[:] = b"xxx"
    assert decoder.feed(memoryview(b"c\n")) == [b"bc"]


@every_class
@pytest.mark.parametrize("wrong", ["a\n", None, 7])
def test_text_is_refused(line_class: LineClass, wrong: Any) -> None:
    with pytest.raises(TypeError, match="data must be bytes, bytearray or memoryview, got"):
        line_class().feed(wrong)


@every_class
@pytest.mark.parametrize(
    ("limit", "error"),
    [
        (0, ValueError("max_line_size must be at least 1, got 0")),
        ("5", TypeError("max_line_size must be an int or None, got str")),
        (True, TypeError("max_line_size must be an int or None, got bool")),
    ],
)
def test_wrong_limit_is_named(line_class: LineClass, limit: Any, error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        line_class(max_line_size=limit)
    assert str(caught.value) == str(error)


@every_class
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_long_line_in_small_chunks_is_whole(line_class: LineClass, size: int) -> None:
    line = bytes(range(33, 127)) * 1000
    decoder = line_class()
    for start in range(0, len(line), size):
        assert decoder.feed(line[start : start + size]) == []
    assert decoder.feed(b"\n") == [line]
    if hasattr(line_class, "__wrapped__"):
        assert sys.getsizeof(decoder) < 400


@pytest.mark.skipif(not hasattr(LineDecoder, "__wrapped__"), reason="nothing was compiled")
@pytest.mark.parametrize(
    "change", [{"_limit": 0}, {"_over": "coffee"}, {"_tail": b"x" * 21}, {"_offset": "1"}], ids=repr
)
def test_what_is_no_state_is_refused(change: dict[str, Any]) -> None:
    decoder: Any = LineDecoder(max_line_size=20)
    names = in_python(LineDecoder).__slots__
    state = dict(zip(names, decoder.__getstate__(), strict=True)) | change
    with pytest.raises((ValueError, TypeError)):
        decoder.__setstate__(tuple(state.values()))
    with pytest.raises(TypeError, match="state must be a tuple, got NoneType"):
        decoder.__setstate__(None)
    assert decoder.feed(b"a\n") == [b"a"]


def test_decoder_in_python_does_not_go_on_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object, lines: list[bytes]) -> None:
        raise MemoryError

    cls = in_python(LineDecoder)
    decoder = cls()
    with monkeypatch.context() as patch:
        patch.setattr(cls, "_end_lines", fail)
        with pytest.raises(MemoryError):
            decoder.feed(b"a\n")
    with pytest.raises(LocalProtocolError, match="after a failure"):
        decoder.feed(b"b\n")
