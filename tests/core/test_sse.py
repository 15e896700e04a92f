from __future__ import annotations

import copy
import gc
import itertools
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sseparse import (
    EventTooLarge,
    LocalProtocolError,
    ProtocolError,
    ServerSentEvent,
    SSEDecoder,
)
from tests.support.classes import in_python
from tests.support.reference import Outcome, interpret
from tests.support.rules import BOM, CASES, MAX_TIME, Case, data
from tests.support.strategies import chunked_streams, cut, decoder_options, streams

DecoderClass = type[SSEDecoder[Any]]
Event = ServerSentEvent
Buffer = bytes | bytearray | memoryview

counts_bytes = pytest.mark.skipif(
    sys.implementation.name == "pypy", reason="PyPy tells no sizes of objects"
)


def observe(
    decoder: SSEDecoder[Any], chunks: Iterable[Buffer], *, close: bool = True
) -> tuple[Outcome, ProtocolError | None]:
    items: list[Any] = []
    error: EventTooLarge | None = None
    try:
        for chunk in chunks:
            items += decoder.feed(chunk)
    except EventTooLarge as too_large:
        items += too_large.events
        error = too_large
    if close:
        items += decoder.close()
    state = (decoder.last_event_id, decoder.reconnection_time, decoder.incomplete)
    return Outcome(items, error is not None, *state), error


def outcome(decoder: SSEDecoder[Any], chunks: Iterable[Buffer], *, close: bool = True) -> Outcome:
    return observe(decoder, chunks, close=close)[0]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_rule(case: Case, decoder_class: DecoderClass) -> None:
    size = len(case.stream)
    two_pieces = [cut(case.stream, [position]) for position in range(size + 1)]
    for chunks in [[case.stream], cut(case.stream, list(range(size))), *two_pieces]:
        decoder = decoder_class(**case.options)
        items = [item for chunk in chunks for item in decoder.feed(chunk)] + decoder.close()
        assert items == case.items
        assert {name: getattr(decoder, name) for name in case.state} == case.state


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_reference_agrees_with_rule(case: Case) -> None:
    expected = interpret(case.stream, **case.options)
    assert expected.items == case.items
    assert {name: getattr(expected, name) for name in case.state} == case.state


# The law


@given(chunked_streams, decoder_options)
@example([b"data: a\n" * 2000, b"\n"], {})
def test_decoder_does_what_the_standard_says(
    decoder_class: DecoderClass, chunks: list[bytes], options: dict[str, Any]
) -> None:
    assert outcome(decoder_class(**options), chunks) == interpret(b"".join(chunks), **options)


@given(chunked_streams, decoder_options)
def test_items_come_with_the_byte_that_completes_them(
    decoder_class: DecoderClass, chunks: list[bytes], options: dict[str, Any]
) -> None:
    decoder = decoder_class(**options)
    stream = b""
    items: list[Any] = []
    for chunk in chunks:
        stream += chunk
        so_far = outcome(decoder, [chunk], close=False)
        items += so_far.items
        so_far.items = items
        assert so_far == interpret(stream, **options, at_eof=False)
        if so_far.too_large:
            break


@pytest.mark.parametrize("limit", [None, 16, 65536, 65540])
@pytest.mark.parametrize("line", [b"data: ab\n", b": ab\n", b"x\n\n", b"a\r\n"], ids=repr)
def test_chunk_larger_than_a_window_changes_nothing(
    decoder_class: DecoderClass, line: bytes, limit: int | None
) -> None:
    for shift in range(4):
        stream = b"d" * shift + line * (66_000 // len(line)) + b"data: a\r\n\r\ndata: b\n\n"
        options: dict[str, Any] = {"max_event_size": limit, "comments": True}
        expected = interpret(stream, **options)
        for chunks in ([stream], cut(stream, [1]), cut(stream, list(range(0, len(stream), 9999)))):
            assert outcome(decoder_class(**options), chunks) == expected


# Limits


@pytest.mark.parametrize(
    ("stream", "size"),
    [
        (b"data: a\n\n", 7),
        (b"data: a\ndata: b\n\n", 14),
        (b"data: a\r\ndata: b\r\n\r\n", 14),
        (b"data: a\n\nid: 1234\n\n", 8),
        (b"data: a\n: a comment\ndata: b\n\n", 18),  # an unfinished comment counts
        (b"data: abcdefghij\n: a\n\n", 19),
        (b": a comment\n: another\n: and so on\n", 11),
        (b"unknown: a\n\n", 10),
        (BOM + b"data: a\n\n", 7),
        ("data: é\n\n".encode(), 8),
        (b"data: a", 7),
        (b"x\n\n" + b"y" * 10, 10),
        (b": a comment\n\nx\n" + b"y" * 20, 21),
    ],
)
def test_limit_is_of_the_bytes_of_a_pending_event(
    decoder_class: DecoderClass, stream: bytes, size: int
) -> None:
    enough = decoder_class(max_event_size=size)
    assert not outcome(enough, [stream]).too_large
    expected = interpret(stream, max_event_size=size - 1)
    assert expected.too_large
    for chunks in ([stream], cut(stream, list(range(len(stream))))):
        result, error = observe(decoder_class(max_event_size=size - 1), chunks)
        assert result == expected
        assert isinstance(error, EventTooLarge)
        assert error.limit == size - 1


def test_events_before_an_error_are_on_it(decoder_class: DecoderClass) -> None:
    decoder = decoder_class(max_event_size=10)
    with pytest.raises(EventTooLarge, match="10 bytes") as caught:
        decoder.feed(b"data: a\n\nid: 1\n\ndata: 0123456789")
    assert caught.value.events == [Event(data="a")]
    assert decoder.last_event_id == "1"


def test_event_above_the_limit_is_refused_at_the_first_byte_too_many(
    decoder_class: DecoderClass,
) -> None:
    decoder = decoder_class(max_event_size=10)
    assert decoder.feed(b"data: 0123") == []
    assert decoder.feed(b"") == []
    with pytest.raises(EventTooLarge):
        decoder.feed(b"4")


def test_comments_alone_can_go_on_for_ever(decoder_class: DecoderClass) -> None:
    decoder = decoder_class(max_event_size=10)
    assert decoder.feed(b": ping\n" * 100_000 + b"data: a\n\n") == data("a")


def test_default_limit_takes_64_mib_and_no_byte_more(decoder_class: DecoderClass) -> None:
    decoder = decoder_class()
    decoder.feed(b"x" * 64 * 1024 * 1024)
    with pytest.raises(EventTooLarge) as caught:
        decoder.feed(b"x")
    assert caught.value.limit == 64 * 1024 * 1024


def test_without_a_limit_there_is_none(decoder_class: DecoderClass) -> None:
    decoder = decoder_class(max_event_size=None)
    decoder.feed(b"data: " + b"x" * 65 * 1024 * 1024)
    [event] = decoder.feed(b"\n\n")
    assert len(event.data) == 65 * 1024 * 1024


# The life of a decoder


def test_feed_after_close_is_refused(decoder_class: DecoderClass) -> None:
    decoder = decoder_class()
    decoder.close()
    with pytest.raises(LocalProtocolError, match=r"feed\(\) after close\(\)"):
        decoder.feed(b"")


def test_feed_after_an_error_is_refused(decoder_class: DecoderClass) -> None:
    decoder = decoder_class(max_event_size=1)
    with pytest.raises(EventTooLarge):
        decoder.feed(b"xx")
    with pytest.raises(LocalProtocolError, match=r"feed\(\) after EventTooLarge"):
        decoder.feed(b"")


def test_closing_again_does_nothing(decoder_class: DecoderClass) -> None:
    decoder = decoder_class(dispatch_at_eof=True)
    decoder.feed(b"data: a")
    assert decoder.close() == data("a")
    assert decoder.close() == []


def test_closing_after_an_error_does_nothing(decoder_class: DecoderClass) -> None:
    decoder = decoder_class(dispatch_at_eof=True, max_event_size=7)
    with pytest.raises(EventTooLarge):
        decoder.feed(b"data: ab")
    assert decoder.close() == []


@given(streams, decoder_options, chunked_streams, st.booleans())
def test_reset_leaves_the_id_and_the_time_alone(
    decoder_class: DecoderClass,
    before: bytes,
    options: dict[str, Any],
    after: list[bytes],
    close: bool,
) -> None:
    decoder = decoder_class(**options)
    first = outcome(decoder, [before], close=close)
    decoder.reset()
    assert not decoder.incomplete
    options["last_event_id"] = first.last_event_id
    expected = interpret(b"".join(after), **options)
    if expected.reconnection_time is None:
        expected.reconnection_time = first.reconnection_time
    assert outcome(decoder, after) == expected


@pytest.mark.parametrize(
    "duplicate",
    [
        copy.copy,
        copy.deepcopy,
        lambda decoder: pickle.loads(pickle.dumps(decoder)),
        lambda decoder: pickle.loads(pickle.dumps(decoder, protocol=0)),
    ],
    ids=["copy", "deepcopy", "pickle", "pickle of protocol 0"],
)
@given(stream=streams, options=decoder_options, draw=st.data())
@example(stream=b"data: a\n" * 3000, options={}, draw=None)
def test_copy_continues_alike_and_on_its_own(
    decoder_class: DecoderClass,
    duplicate: Callable[[SSEDecoder[Any]], SSEDecoder[Any]],
    stream: bytes,
    options: dict[str, Any],
    draw: st.DataObject | None,
) -> None:
    middle = len(stream) if draw is None else draw.draw(st.integers(0, len(stream)))
    other = b"y\n\ndata: z" if draw is None else draw.draw(streams)
    original = decoder_class(**options)
    first = outcome(original, [stream[:middle]], close=False)
    twin = duplicate(original)
    assert type(twin) is type(original)
    if first.too_large:
        with pytest.raises(LocalProtocolError):
            twin.feed(b"")
        return
    for decoder, rest in ((twin, other), (original, stream[middle:])):
        expected = interpret(stream[:middle] + rest, **options)
        expected.items = expected.items[len(first.items) :]
        assert outcome(decoder, [rest]) == expected


def test_copy_of_a_closed_decoder_is_closed(decoder_class: DecoderClass) -> None:
    decoder = decoder_class()
    decoder.close()
    with pytest.raises(LocalProtocolError):
        copy.copy(decoder).feed(b"")


# Text


# Each side of each bound in the Unicode Standard, table 3-7, "Well-Formed UTF-8 Byte Sequences".
UTF_8_BOUNDS = bytes.fromhex("00 7F 80 8F 90 9F A0 BF C0 C1 C2 DF E0 EC ED EE EF F0 F1 F3 F4 F5 FF")


@pytest.mark.parametrize(("before", "after"), [("", ""), ("é", "x" * 8), ("x" * 250, "漢")])
def test_text_is_decoded_as_utf_8_with_replacements(
    decoder_class: DecoderClass, before: str, after: str
) -> None:
    texts = [
        before.encode() + bytes(sequence) + after.encode()
        for length in range(1, 5)
        for sequence in itertools.product(UTF_8_BOUNDS, repeat=length)
        if length < 4 or sequence[0] >= 0xF0
    ]
    stream = b"".join(b"data: %b\n\n" % text for text in texts)
    decoded = [event.data for event in decoder_class().feed(stream)]
    assert decoded == [text.decode("utf-8", "replace") for text in texts]


def test_text_of_any_two_characters_is_decoded(decoder_class: DecoderClass) -> None:
    bounds = [0x41, 0x7F, 0x80, 0xFF, 0x100, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF]
    planes = [point for plane in range(1, 17) for point in (plane << 16, plane << 16 | 0xFFFF)]
    pairs = itertools.product([chr(point) for point in bounds + planes], repeat=2)
    texts = ["".join(pair) for pair in pairs]
    stream = "".join(f"data: {text}\n\n" for text in texts).encode()
    assert [event.data for event in decoder_class().feed(stream)] == texts


UNITS = ["é", "漢", "🎉", "xé", "12345678é", "é12345678", "é漢🎉"]


@pytest.mark.parametrize("unit", UNITS)
def test_text_of_any_length_is_decoded(decoder_class: DecoderClass, unit: str) -> None:
    texts, decoded = texts_of_any_length(decoder_class, unit)
    assert decoded == texts


@counts_bytes
@pytest.mark.parametrize("unit", UNITS)
def test_text_of_any_length_has_the_size_of_a_str(decoder_class: DecoderClass, unit: str) -> None:
    texts, decoded = texts_of_any_length(decoder_class, unit)
    assert [sys.getsizeof(text) for text in decoded] == [
        sys.getsizeof(str(text.encode(), "utf-8")) for text in texts
    ]


def texts_of_any_length(decoder_class: DecoderClass, unit: str) -> tuple[list[str], list[str]]:
    texts = [(unit * 300)[:length] for length in range(1, 300)]
    stream = b"".join(b"data: %b\n\n" % text.encode() for text in texts)
    return texts, [event.data for event in decoder_class().feed(stream)]


# Its argument


@given(chunked_streams, decoder_options)
def test_any_buffer_of_bytes_will_do(
    decoder_class: DecoderClass, chunks: list[bytes], options: dict[str, Any]
) -> None:
    expected = outcome(decoder_class(**options), chunks)
    every_other = [
        memoryview(bytes(byte for value in chunk for byte in (value, 0)))[::2] for chunk in chunks
    ]
    assert not any(view.contiguous for view in every_other if len(view) > 1)
    for buffers in ([bytearray(chunk) for chunk in chunks], every_other):
        assert outcome(decoder_class(**options), buffers) == expected


def test_memoryview_of_other_items_is_taken_by_its_bytes(decoder_class: DecoderClass) -> None:
    view = memoryview(b"data: 1\n\n   ").cast("I")
    assert decoder_class().feed(view) == data("1")


@given(chunked_streams)
def test_changing_a_bytearray_after_feed_changes_nothing(
    decoder_class: DecoderClass, chunks: list[bytes]
) -> None:
    decoder = decoder_class()
    items = []
    for chunk in chunks:
        buffer = bytearray(chunk)
        items += decoder.feed(buffer)
        buffer[:] = b"\n" * len(buffer)
        buffer.append(0)  # the buffer is not locked
    assert items == interpret(b"".join(chunks)).items


def test_str_is_refused_with_a_word_on_the_raw_body(decoder_class: DecoderClass) -> None:
    with pytest.raises(TypeError, match=r"data must be bytes.* got str: feed the raw body"):
        decoder_class().feed("data: a\n\n")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [None, 7, [1], ["data"]], ids=repr)
def test_what_is_no_bytes_is_refused(decoder_class: DecoderClass, value: Any) -> None:
    decoder = decoder_class()
    with pytest.raises(TypeError, match=f"data must be bytes, .* got {type(value).__name__}"):
        decoder.feed(value)
    assert decoder.feed(b"data: a\n\n") == data("a")


@pytest.mark.parametrize("character", ["\r", "\n", "\0"], ids=repr)
def test_last_event_id_that_no_stream_could_set_is_refused(
    decoder_class: DecoderClass, character: str
) -> None:
    with pytest.raises(ValueError, match="last_event_id must not contain CR, LF or NUL, got 'a"):
        decoder_class(last_event_id=f"a{character}b")


@pytest.mark.parametrize(
    ("option", "error"),
    [
        ({"last_event_id": b"a"}, TypeError("last_event_id must be a str, got bytes")),
        ({"last_event_id": None}, TypeError("last_event_id must be a str, got NoneType")),
        ({"last_event_id": ["a"]}, TypeError("last_event_id must be a str, got list")),
        ({"max_event_size": 2.5}, TypeError("max_event_size must be an int or None, got float")),
        ({"max_event_size": "5"}, TypeError("max_event_size must be an int or None, got str")),
        ({"max_event_size": True}, TypeError("max_event_size must be an int or None, got bool")),
        ({"max_event_size": 0}, ValueError("max_event_size must be at least 1, got 0")),
        ({"max_event_size": -1}, ValueError("max_event_size must be at least 1, got -1")),
    ],
    ids=repr,
)
def test_wrong_option_is_named(
    decoder_class: DecoderClass, option: dict[str, Any], error: Exception
) -> None:
    with pytest.raises(type(error)) as caught:
        decoder_class(**option)
    assert str(caught.value) == str(error)


class Whole:
    def __index__(self) -> int:
        return 3


@pytest.mark.parametrize("limit", [2**80, Whole()], ids=["2**80", "an object with __index__"])
def test_any_whole_number_is_a_limit(decoder_class: DecoderClass, limit: Any) -> None:
    assert decoder_class(max_event_size=limit).feed(b"x\n\n") == []


@pytest.mark.parametrize("flag", ["comments", "unknown_fields", "dispatch_at_eof"])
def test_truth_of_a_flag_counts(decoder_class: DecoderClass, flag: str) -> None:
    options: dict[str, Any] = {flag: "yes"}
    decoder = decoder_class(**options)
    items = decoder.feed(b": a\nb\n\ndata: c") + decoder.close()
    assert len(items) == 1


def test_options_have_names(decoder_class: DecoderClass) -> None:
    with pytest.raises(TypeError):
        decoder_class("1")  # type: ignore[call-overload]


# Large streams: in quadratic time these would take minutes.


def test_long_line_in_single_bytes(decoder_class: DecoderClass) -> None:
    decoder = decoder_class()
    stream = b"data: " + b"x" * 300_000 + b"\n\n"
    events = [event for byte in stream for event in decoder.feed(bytes([byte]))]
    assert events == data("x" * 300_000)


@pytest.mark.parametrize("size", [1, 11, 10_000, 10**9], ids="chunks of {}".format)
def test_thirty_thousand_data_lines_in_one_event(decoder_class: DecoderClass, size: int) -> None:
    lines = [str(number) for number in range(30_000)]
    stream = "".join(f"data: {line}\n" for line in lines).encode() + b"\ndata: next\n\n"
    decoder = decoder_class()
    events = []
    for start in range(0, len(stream), size):
        events += decoder.feed(stream[start : start + size])
    assert events == data("\n".join(lines), "next")


@pytest.mark.parametrize("count", [1, 2, 3000])
def test_data_lines_are_all_kept_when_the_blank_line_comes_alone(
    decoder_class: DecoderClass, count: int
) -> None:
    decoder = decoder_class()
    decoder.feed(b"data: a\n" * count)
    assert decoder.incomplete
    assert decoder.feed(b"\ndata: b\n\n") == data("\n".join("a" * count), "b")


@pytest.mark.parametrize(
    ("digits", "time"), [("9" * 100_000, MAX_TIME), ("0" * 100_000 + "1", 1)], ids=["9", "0…1"]
)
def test_retry_of_a_hundred_thousand_digits(
    decoder_class: DecoderClass, digits: str, time: int
) -> None:
    decoder = decoder_class()
    stream = f"retry: {digits}\ndata\n\n".encode()
    assert decoder.feed(stream) == [Event(retry=time)]
    assert decoder.reconnection_time == time


def test_hundred_thousand_empty_chunks_and_blank_lines(decoder_class: DecoderClass) -> None:
    decoder = decoder_class(max_event_size=1)
    assert [decoder.feed(b"") for _ in range(100_000)] == [[]] * 100_000
    assert decoder.feed(b"\r\n" * 100_000) == []
    assert not decoder.incomplete


# Memory


@counts_bytes
@pytest.mark.parametrize("chunk_size", [1024, 65536, 10**9], ids="chunks of {}".format)
@pytest.mark.parametrize(
    "stream",
    [b"data: " + b"x" * 2_000_000 + b"\n\n", b"data: xy\n" * 30_000 + b"\n"],
    ids=["one line", "many lines"],
)
def test_memory_of_a_large_event_is_at_most_3_6_times_its_size(
    decoder_class: DecoderClass, stream: bytes, chunk_size: int
) -> None:
    import tracemalloc

    chunks = (stream[start : start + chunk_size] for start in range(0, len(stream), chunk_size))
    gc.collect()
    tracemalloc.start()
    try:
        decoder = decoder_class()
        [event] = [event for chunk in chunks for event in decoder.feed(chunk)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(event.data) > len(stream) // 4
    assert peak < 3.6 * len(stream)


@counts_bytes
def test_discarded_event_is_not_kept(decoder_class: DecoderClass) -> None:
    decoder = decoder_class()
    decoder.feed(b"data: " + b"x" * 1_000_000)
    decoder.reset()
    assert footprint(decoder) < 1200


@counts_bytes
def test_idle_decoder_is_small(decoder_class: DecoderClass) -> None:
    decoder = decoder_class()
    assert footprint(decoder) < 1200
    decoder.feed(b"id: 1\nretry: 5\nevent: a\ndata: " + b"x" * 100_000 + b"\n\n" * 3)
    assert footprint(decoder) < 1200


def footprint(decoder: SSEDecoder[Any]) -> int:
    names = getattr(type(decoder), "__slots__", ())
    return sys.getsizeof(decoder) + sum(sys.getsizeof(getattr(decoder, name)) for name in names)


# Threads


def test_threads_may_share_a_decoder(decoder_class: DecoderClass) -> None:
    # The items are mixed up, but each thread ends, and no memory breaks.
    has_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    if decoder_class is in_python(SSEDecoder) and not has_gil:
        pytest.skip("methods of a bytearray race without a GIL, and crash CPython 3.13")
    decoder = decoder_class(max_event_size=20)
    start = threading.Barrier(4)
    unexpected: list[BaseException] = []

    def feed() -> None:
        start.wait()
        try:
            for _ in range(3000):
                try:
                    decoder.feed(b"data: abc\ndata")
                    decoder.feed(b": def\r")
                    decoder.feed(b"\n\ndata: g\n\nid: 1\nx")
                except ProtocolError:
                    decoder.reset()
        except BaseException as error:
            unexpected.append(error)

    threads = [threading.Thread(target=feed, daemon=True) for _ in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    finally:
        sys.setswitchinterval(interval)
    assert not any(thread.is_alive() for thread in threads)
    assert unexpected == []
    decoder.reset()
    assert decoder.feed(b"id\ndata: a\n\n") == data("a")


@pytest.mark.slow
@pytest.mark.skipif(sys.implementation.name != "cpython", reason="the checks are CPython's")
def test_feeding_from_within_a_garbage_collection_breaks_no_memory() -> None:
    # In a process of its own, under CPython's checks of memory, because a failure ends it.
    code = """
import gc
from sseparse._sse import SSEDecoder

def feed_more(phase, info):
    decoder.feed(b"data: c\\n" * 8)

gc.disable()
for threshold in range(40):
    decoder = SSEDecoder()
    decoder.feed(b"data: a\\n")
    decoder.feed(b"data: b\\n")
    # Use up CPython's free lists, so that any new list may start a collection.
    kept = [[] for _ in range(300)]
    gc.collect()
    gc.callbacks.append(feed_more)
    gc.set_threshold(threshold)
    gc.enable()
    [event] = decoder.feed(b"\\n")
    gc.disable()
    gc.callbacks.clear()
    assert event.data.startswith("a\\nb"), event
"""
    environment = os.environ | {"PYTHONMALLOC": "debug"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_decoder_does_not_go_on_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object, window: bytes) -> None:
        raise MemoryError

    cls = in_python(SSEDecoder)
    decoder = cls()
    with monkeypatch.context() as patch:
        patch.setattr(cls, "_parse", fail)
        with pytest.raises(MemoryError):
            decoder.feed(b"data: 1\n\n")
    with pytest.raises(LocalProtocolError, match="after a failure"):
        decoder.feed(b"\n")
