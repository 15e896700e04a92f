from __future__ import annotations

import copy
import gc
import itertools
import os
import pickle
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sseparse import (
    Comment,
    EventTooLarge,
    LocalProtocolError,
    ProtocolError,
    ServerSentEvent,
    SSEDecoder,
    UnknownField,
    _sse,
)
from tests.reference import Outcome, interpret
from tests.strategies import chunked_streams, cut, decoder_options, streams

DecoderClass = type[SSEDecoder[Any]]
Event = ServerSentEvent
Buffer = bytes | bytearray | memoryview

BOM = b"\xef\xbb\xbf"
MAX_TIME = 2**63 - 1


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


# The rules, one by one


class Case(NamedTuple):
    rule: str
    stream: bytes
    items: list[Any]
    # Each decoder is given these, and has these properties afterwards.
    options: dict[str, Any] = {}  # noqa: RUF012  (nothing changes it)
    state: dict[str, Any] = {}  # noqa: RUF012


def data(*texts: str) -> list[Event]:
    return [Event(data=text) for text in texts]


CASES = [
    # Decode
    Case("1: invalid UTF-8 becomes U+FFFD", b"data: a\xffb\n\n", data("a\ufffdb")),
    Case("1: a cut sequence is one U+FFFD", b"data: \xf0\x9f\x8e\n\n", data("\ufffd")),
    Case("1: a surrogate is three U+FFFD", b"data: \xed\xa0\x80\n\n", data("\ufffd" * 3)),
    Case("1: an overlong sequence is two U+FFFD", b"data: \xc0\x80\n\n", data("\ufffd" * 2)),
    Case("1: text is UTF-8", "data: é漢🎉\n\n".encode(), data("é漢🎉")),
    Case("1: an event type is UTF-8", "event: é\ndata\n\n".encode(), [Event("é")]),
    Case("1: an ID is UTF-8", "id: é\ndata\n\n".encode(), [Event(id="é")]),
    Case("1: invalid UTF-8 in an ID", b"id: \xff\ndata\n\n", [Event(id="\ufffd")]),
    Case("2: a leading BOM is stripped", BOM + b"data: a\n\n", data("a")),
    Case("2: a second BOM is data", BOM + BOM + b"data: a\n\ndata: b\n\n", data("b")),
    Case("2: a BOM later on is data", b"data: " + BOM + b"\n\n", data("\ufeff")),
    Case("2: a BOM after a blank line is data", b"\n" + BOM + b"data: a\n\n", []),
    Case(
        "2: an incomplete BOM is not swallowed",
        b"\xef\xbbdata: a\n\n",
        [UnknownField("\ufffddata", "a")],
        {"unknown_fields": True},
    ),
    Case("2: an incomplete BOM is pending", BOM[:2], [], state={"incomplete": True}),
    Case("2: a lone BOM is nothing", BOM, [], state={"incomplete": False}),
    Case(
        "2: an incomplete BOM ends as a line",
        BOM[:2],
        [UnknownField("\ufffd", "")],
        {"unknown_fields": True, "dispatch_at_eof": True},
    ),
    Case("3: LF ends a line", b"data: a\ndata: b\n\n", data("a\nb")),
    Case("3: CR ends a line", b"data: a\rdata: b\r\r", data("a\nb")),
    Case("3: CRLF ends a line", b"data: a\r\ndata: b\r\n\r\n", data("a\nb")),
    Case("3: line ends may be mixed", b"data: a\rdata: b\ndata: c\r\n\n", data("a\nb\nc")),
    Case("3: LF CR is two line ends", b"data: a\n\rdata: b\n\n", data("a", "b")),
    Case("3: CR CR LF is two line ends", b"data: a\r\r\ndata: b\n\n", data("a", "b")),
    Case("3: CRLF LF is two line ends", b"data: a\r\n\ndata: b\n\n", data("a", "b")),
    Case("3: an LF after CR is only skipped once", b"data: a\r\n\n\n\n", data("a")),
    *(
        Case(
            f"3: {name} ends no line",
            f"data: a{character}data: b\n\n".encode(),
            data(f"a{character}data: b"),
        )
        for name, character in {
            "U+2028": "\u2028",
            "U+2029": "\u2029",
            "U+0085": "\x85",
            "VT": "\v",
            "FF": "\f",
            "FS": "\x1c",
            "GS": "\x1d",
            "RS": "\x1e",
            "NUL": "\0",
        }.items()
    ),
    Case("4: bytes of a cut sequence do not eat a line end", b"data: \xf0\n\n", data("\ufffd")),
    Case("4: nor a colon", b"\xe2:\n\n", [UnknownField("\ufffd", "")], {"unknown_fields": True}),
    # Lines
    Case("5: a blank line dispatches", b"data: a\n\ndata: b\n\n", data("a", "b")),
    Case("5: more blank lines do nothing", b"\n\ndata: a\n\n\n\n", data("a")),
    Case("5: a comment is ignored", b": data: a\n\n", []),
    Case("5: a comment does not dispatch", b"data: a\n:\ndata: b\n\n", data("a\nb")),
    Case("5: a comment is returned", b":a\n", [Comment("a")], {"comments": True}),
    Case("5: one space of a comment is removed", b":  a\n", [Comment(" a")], {"comments": True}),
    Case("5: a comment may be empty", b":\n: \n", [Comment("")] * 2, {"comments": True}),
    Case("5: a comment may have colons", b"::)\n", [Comment(":)")], {"comments": True}),
    Case(
        "5: comments come as their line ends, in order",
        b"data: a\n: b\n\n: c\n",
        [Comment("b"), Event(data="a"), Comment("c")],
        {"comments": True},
    ),
    Case("5: one space is removed", b"data: a\n\n", data("a")),
    Case("5: a second space is not", b"data:  a\n\n", data(" a")),
    Case("5: no space is needed", b"data:a\n\n", data("a")),
    Case("5: a trailing space stays", b"data: a \n\n", data("a ")),
    Case("5: a tab is not a space", b"data:\ta\n\n", data("\ta")),
    Case("5: U+00A0 is not a space", "data:\xa0a\n\n".encode(), data("\xa0a")),
    Case("5: the first colon separates", b"data: a: b\n\n", data("a: b")),
    Case("5: a colon may start the value", b"data::a\n\n", data(":a")),
    Case("5: without a colon all is the name", b"data\n\n", data("")),
    Case("6: names have a case", b"Data: a\nDATA: a\n\n", []),
    Case("6: names are not trimmed", b" data: a\ndata : a\n\n", []),
    Case("6: unknown names are ignored", b"error: a\ndata: b\n\n", data("b")),
    Case("6: unknown names alone are no event", b"error: a\n\n", []),
    Case("6: a name may only begin with data", b"database: a\n\n", []),
    Case(
        "6: unknown fields come as their line ends, in order",
        b"data: a\nerror: b\n\nx\n",
        [UnknownField("error", "b"), Event(data="a"), UnknownField("x", "")],
        {"unknown_fields": True},
    ),
    Case(
        "6: an unknown name may have any bytes",
        b"\xff\0: \0\n",
        [UnknownField("\ufffd\0", "\0")],
        {"unknown_fields": True},
    ),
    # Fields
    Case("7: event sets the type", b"event: a\ndata\n\n", [Event("a")]),
    Case("7: it may follow the data", b"data\nevent: a\n\n", [Event("a")]),
    Case("7: the last event wins", b"event: a\nevent: b\ndata\n\n", [Event("b")]),
    Case("7: an empty event resets", b"event: a\nevent:\ndata\n\n", [Event()]),
    Case("7: event without a colon resets", b"event: a\nevent\ndata\n\n", [Event()]),
    Case("7: event with a space alone resets", b"event: a\nevent: \ndata\n\n", [Event()]),
    Case("7: event without the space", b"event:a\ndata\n\n", [Event("a")]),
    Case("7: a type may have NUL", b"event: \0\ndata\n\n", [Event("\0")]),
    Case("8: data lines are joined by LF", b"data: a\ndata: b\ndata: c\n\n", data("a\nb\nc")),
    Case("8: data alone is an event", b"data\n\ndata:\n\ndata: \n\n", data("", "", "")),
    Case("8: two empty data lines are one LF", b"data\ndata\n\n", data("\n")),
    Case("8: an empty last data line counts", b"data: a\ndata:\n\n", data("a\n")),
    Case("9: id sets the ID", b"id: 1\ndata\n\n", [Event(id="1")], state={"last_event_id": "1"}),
    Case("9: id without the space", b"id:1\ndata\n\n", [Event(id="1")]),
    Case("9: the last id wins", b"id: 1\nid: 2\ndata\n\n", [Event(id="2")]),
    Case("9: an id with NUL is ignored", b"id: 1\nid: 2\0\ndata\n\n", [Event(id="1")]),
    Case(
        "9: an empty id resets",
        b"id: 1\ndata\n\nid\ndata\n\nid: 2\ndata\n\nid:\ndata\n\n",
        [Event(id="1"), Event(), Event(id="2"), Event()],
        state={"last_event_id": ""},
    ),
    Case("9: an id may be any text", b"id:  a:b \ndata\n\n", [Event(id=" a:b ")]),
    *(
        Case(
            f"10: retry {value!r} is {time}",
            f"retry: {value}\n".encode(),
            [],
            state={"reconnection_time": time},
        )
        for value, time in {
            "7": 7,
            "0": 0,
            "007": 7,
            "1500": 1500,
            str(MAX_TIME): MAX_TIME,
            str(MAX_TIME - 1): MAX_TIME - 1,
            str(MAX_TIME + 1): MAX_TIME,
            "9" * 20: MAX_TIME,
            "0" * 30 + "5": 5,
            "0" * 30: 0,
        }.items()
    ),
    *(
        Case(
            f"10: retry {value!r} is ignored",
            f"retry: 1\nretry:{value}\n".encode(),
            [],
            state={"reconnection_time": 1},
        )
        for value in [
            " +5",
            " 1_000",
            "  7",
            " ٣",
            " -1",
            " 12a",
            "",
            " ",
            " 1.5",
            " 1e3",
            " 0x10",
            " 7 ",
            " \v7",
            " 7\0",
            " ²",
        ]
    ),
    Case("10: retry is in force at once", b"retry: 5\n", [], state={"reconnection_time": 5}),
    Case("10: retry needs its line end", b"retry: 5", [], state={"reconnection_time": None}),
    Case("10: retry without the space", b"retry:5\n", [], state={"reconnection_time": 5}),
    Case("10: the last retry wins", b"retry: 5\nretry: 6\n", [], state={"reconnection_time": 6}),
    Case("10: an event has the retry of its block", b"retry: 5\ndata\n\n", [Event(retry=5)]),
    Case("10: but not of another block", b"retry: 5\ndata\n\ndata\n\n", [Event(retry=5), Event()]),
    Case("10: nor of a block without data", b"retry: 5\n\ndata\n\n", [Event()]),
    Case(
        "10: an ignored retry is none",
        b"retry: 5\nretry: x\ndata\n\n",
        [Event(retry=5)],
        state={"reconnection_time": 5},
    ),
    # Dispatch
    Case("11: an id alone sets the ID", b"id: 1\n\n", [], state={"last_event_id": "1"}),
    Case("11: but it is no event", b"id: 1\n\n\n\ndata\n\n", [Event(id="1")]),
    Case("11: an id is committed by the blank line", b"id: 1\n", [], state={"last_event_id": ""}),
    Case("11: without data the type is forgotten", b"event: a\n\ndata\n\n", [Event()]),
    Case("11: the type is of one event", b"event: a\ndata\n\ndata\n\n", [Event("a"), Event()]),
    Case("11: the ID stays", b"id: 1\ndata\n\ndata\n\n", [Event(id="1")] * 2),
    Case("11: one trailing LF is dropped", b"data: a\ndata\ndata\n\n", data("a\n\n")),
    Case("11: the type defaults to message", b"data\n\n", [Event("message", "")]),
    Case(
        "11: all fields at once",
        b"retry: 5\nid: 1\ndata: a\nevent: b\n\n",
        [Event("b", "a", "1", 5)],
    ),
    Case(
        "12: a given ID is in force",
        b"data\n\n",
        [Event(id="0")],
        {"last_event_id": "0"},
        {"last_event_id": "0"},
    ),
    Case(
        "12: until the stream sets another",
        b"data\nid: 1\n\n",
        [Event(id="1")],
        {"last_event_id": "0"},
        {"last_event_id": "1"},
    ),
    Case("12: or resets it", b"id\n\n", [], {"last_event_id": "0"}, {"last_event_id": ""}),
    # End of stream
    Case("13: data without a blank line", b"data: a\n", [], state={"incomplete": True}),
    Case("13: a partial line", b"data: a\n\ndata", data("a"), state={"incomplete": True}),
    Case("13: a partial comment", b": a", [], {"comments": True}, {"incomplete": True}),
    Case("13: a type", b"event: a\n", [], state={"incomplete": True}),
    Case(
        "13: an uncommitted id",
        b"id: 1\ndata\n\nid: 2\n",
        [Event(id="1")],
        state={"incomplete": True, "last_event_id": "1"},
    ),
    Case("13: a CR is a whole line end", b"data: a\r\r", data("a"), state={"incomplete": False}),
    Case("13: nothing pending", b"data: a\n\n", data("a"), state={"incomplete": False}),
    Case("13: no bytes", b"", [], state={"incomplete": False}),
    Case("13: what does nothing", b": a\nb\nretry: 1\n", [], state={"incomplete": False}),
    Case(
        "13: an id that is the same",
        b"id\nid: 0\n",
        [],
        {"last_event_id": "0"},
        {"incomplete": False},
    ),
    *(
        Case(
            f"13: dispatch_at_eof {rule}",
            stream,
            items,
            {"dispatch_at_eof": True},
            {"incomplete": False},
        )
        for rule, stream, items in [
            ("ends a partial line", b"data: a\ndata: b", data("a\nb")),
            ("takes what is pending", b"data: a\n", data("a")),
            ("takes what is pending after a CR", b"data: a\r", data("a")),
            ("takes an id", b"id: 1\ndata", [Event(id="1")]),
            ("takes a retry", b"data\nretry: 5", [Event(retry=5)]),
            ("does nothing where nothing is pending", b"data: a\n\n", data("a")),
            ("makes no event without data", b"event: a", []),
            ("does nothing without bytes", b"", []),
        ]
    ),
    Case(
        "13: dispatch_at_eof commits an id",
        b"id: 1",
        [],
        {"dispatch_at_eof": True},
        {"last_event_id": "1"},
    ),
    Case(
        "13: dispatch_at_eof ends a comment",
        b": a",
        [Comment("a")],
        {"dispatch_at_eof": True, "comments": True},
    ),
    # What is no event stream
    Case("bytes that are no event stream have no events", bytes(range(256)) * 4, []),
    Case("nor has HTML", b"<!DOCTYPE html>\n<p>data: a</p>\n\n", []),
]


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
        for chunks in ([stream], cut(stream, [1]), cut(stream, list(range(0, len(stream), 999)))):
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


@pytest.mark.parametrize("unit", ["é", "漢", "🎉", "xé", "12345678é", "é12345678", "é漢🎉"])
def test_text_of_any_length_is_decoded(decoder_class: DecoderClass, unit: str) -> None:
    texts = [(unit * 300)[:length] for length in range(1, 300)]
    stream = b"".join(b"data: %b\n\n" % text.encode() for text in texts)
    decoded = [event.data for event in decoder_class().feed(stream)]
    assert decoded == texts
    assert [sys.getsizeof(text) for text in decoded] == [
        sys.getsizeof(str(text.encode(), "utf-8")) for text in texts
    ]


# What it takes


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
        buffer.append(0)  # it is not locked either
    assert items == interpret(b"".join(chunks)).items


def test_str_is_refused_with_a_word_on_the_raw_body(decoder_class: DecoderClass) -> None:
    with pytest.raises(TypeError, match=r"not str: feed it the raw body .*encode\(\)"):
        decoder_class().feed("data: a\n\n")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [None, 7, [1], ["data"]], ids=repr)
def test_what_is_no_bytes_is_refused(decoder_class: DecoderClass, value: Any) -> None:
    decoder = decoder_class()
    with pytest.raises(TypeError, match=f"not {type(value).__name__}"):
        decoder.feed(value)
    assert decoder.feed(b"data: a\n\n") == data("a")


@pytest.mark.parametrize("character", ["\r", "\n", "\0"], ids=repr)
def test_last_event_id_that_no_stream_could_set_is_refused(
    decoder_class: DecoderClass, character: str
) -> None:
    with pytest.raises(ValueError, match="last event ID"):
        decoder_class(last_event_id=f"a{character}b")


@pytest.mark.parametrize(
    "options",
    [
        {"last_event_id": b"a"},
        {"last_event_id": None},
        {"last_event_id": ["a"]},
        {"max_event_size": 2.5},
        {"max_event_size": float("inf")},
        {"max_event_size": "1"},
    ],
    ids=repr,
)
def test_option_of_another_type_is_refused(
    decoder_class: DecoderClass, options: dict[str, Any]
) -> None:
    with pytest.raises(TypeError):
        decoder_class(**options)


@pytest.mark.parametrize("limit", [0, -1])
def test_limit_that_allows_nothing_is_refused(decoder_class: DecoderClass, limit: int) -> None:
    with pytest.raises(ValueError, match="max_event_size must be at least 1"):
        decoder_class(max_event_size=limit)


def test_options_have_names(decoder_class: DecoderClass) -> None:
    with pytest.raises(TypeError):
        decoder_class("1")  # type: ignore[call-overload]


# Large streams. What is quadratic would take minutes here.


def test_long_line_in_single_bytes(decoder_class: DecoderClass) -> None:
    decoder = decoder_class()
    stream = b"data: " + b"x" * 1_000_000 + b"\n\n"
    events = [event for byte in stream for event in decoder.feed(bytes([byte]))]
    assert events == data("x" * 1_000_000)


@pytest.mark.parametrize("size", [1, 11, 10_000, 10**9], ids="chunks of {}".format)
def test_hundred_thousand_data_lines_in_one_event(decoder_class: DecoderClass, size: int) -> None:
    lines = [str(number) for number in range(100_000)]
    stream = "".join(f"data: {line}\n" for line in lines).encode() + b"\ndata: next\n\n"
    decoder = decoder_class()
    events = []
    for start in range(0, len(stream), size):
        events += decoder.feed(stream[start : start + size])
    assert events == data("\n".join(lines), "next")


@pytest.mark.parametrize("count", [1023, 1024, 1025, 1026, 2049, 3000])
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


@pytest.mark.parametrize("chunk_size", [1024, 65536, 10**9], ids="chunks of {}".format)
@pytest.mark.parametrize(
    "stream",
    [b"data: " + b"x" * 8_000_000 + b"\n\n", b"data: xy\n" * 100_000 + b"\n"],
    ids=["one line", "many lines"],
)
def test_memory_of_a_large_event_is_at_most_3_6_times_its_size(
    decoder_class: DecoderClass, stream: bytes, chunk_size: int
) -> None:
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


def test_discarded_event_is_not_kept(decoder_class: DecoderClass) -> None:
    decoder = decoder_class()
    decoder.feed(b"data: " + b"x" * 1_000_000)
    decoder.reset()
    assert footprint(decoder) < 1200


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
    # What comes out is mixed up, but each thread comes to its end, and nothing breaks.
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


def test_feeding_from_within_a_garbage_collection_breaks_no_memory() -> None:
    # In a process of its own, under CPython's own checks of memory, because it would end it.
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
    # Those that CPython keeps for reuse are used up, so that any new list may be a collection.
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

    decoder = _sse.SSEDecoder()
    with monkeypatch.context() as patch:
        patch.setattr(_sse.SSEDecoder, "_parse", fail)
        with pytest.raises(MemoryError):
            decoder.feed(b"data: 1\n\n")
    with pytest.raises(LocalProtocolError, match="after a failure"):
        decoder.feed(b"\n")
