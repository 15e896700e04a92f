"""The rules of the event stream, one by one: streams and their items."""

from __future__ import annotations

from typing import Any, NamedTuple

from sseparse import Block, Comment, ServerSentEvent, UnknownField

Event = ServerSentEvent

BOM = b"\xef\xbb\xbf"
MAX_TIME = 2**63 - 1


class Case(NamedTuple):
    rule: str
    stream: bytes
    items: list[Any]
    # The decoder's options, and its properties afterwards.
    options: dict[str, Any] = {}  # noqa: RUF012  (nothing changes it)
    state: dict[str, Any] = {}  # noqa: RUF012


def data(*texts: str) -> list[Event]:
    return [Event(data=text) for text in texts]


_BLOCKS: list[tuple[str, bytes, list[Any], dict[str, Any]]] = [
    ("one has the fields that it has", b"data: x\n\n", [Block(data="x")], {}),
    ("the default type may be written", b"event: message\n\n", [Block("message")], {}),
    ("an empty type is a type", b"event\n\nevent:\n\n", [Block("")] * 2, {}),
    ("data may be empty", b"data\n\n", [Block(data="")], {}),
    ("data lines are joined", b"data\ndata: a\n\n", [Block(data="\na")], {}),
    ("an ID alone makes one", b"id: 1\n\n", [Block(id="1")], {"last_event_id": "1"}),
    ("an empty ID is an ID", b"id\n\n", [Block(id="")], {"last_event_id": ""}),
    (
        "an ID is not carried over",
        b"id: 1\n\ndata\n\n",
        [Block(id="1"), Block(data="")],
        {},
    ),
    ("the same ID again is said again", b"id: 1\n\nid: 1\n\n", [Block(id="1")] * 2, {}),
    ("an ID with NUL does not count", b"id: a\0\n\n", [], {"last_event_id": ""}),
    (
        "a retry alone makes one",
        b"retry: 7\n\n",
        [Block(retry=7)],
        {"reconnection_time": 7},
    ),
    ("a repeated retry is the last", b"retry: 7\nretry: 8\n\n", [Block(retry=8)], {}),
    ("a retry that is no number does not count", b"retry: 1s\n\n", [], {}),
    ("comments and unknown fields do not count", b": a\nb: c\n\n\n", [], {}),
    (
        "all fields",
        b"id: 1\nevent: e\nretry: 7\ndata: d\n\n",
        [Block("e", "d", "1", 7)],
        {"incomplete": False},
    ),
    ("a type is pending", b"event\n", [], {"incomplete": True}),
    ("an ID is pending", b"id\n", [], {"incomplete": True}),
    ("a retry is pending", b"retry: 0\n", [], {"incomplete": True}),
    ("what does not count is not pending", b": a\nb\nretry\n", [], {"incomplete": False}),
]

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
        [UnknownField("\ufffddata", "a", "\ufffddata: a")],
        {"unknown_fields": True},
    ),
    Case("2: an incomplete BOM is pending", BOM[:2], [], state={"incomplete": True}),
    Case("2: a lone BOM is nothing", BOM, [], state={"incomplete": False}),
    Case(
        "2: an incomplete BOM ends as a line",
        BOM[:2],
        [UnknownField("\ufffd", "", "\ufffd")],
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
    Case(
        "4: nor a colon",
        b"\xe2:\n\n",
        [UnknownField("\ufffd", "", "\ufffd:")],
        {"unknown_fields": True},
    ),
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
        [UnknownField("error", "b", "error: b"), Event(data="a"), UnknownField("x", "", "x")],
        {"unknown_fields": True},
    ),
    Case(
        "6: an unknown name may have any bytes",
        b"\xff\0: \0\n",
        [UnknownField("\ufffd\0", "\0", "\ufffd\0: \0")],
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
            f"{10 if int(value) == time else 'limit'}: retry {value!r} is {time}",
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
    # Blocks, an addition to the standard
    *(
        Case(f"blocks: {rule}", stream, items, {"blocks": True}, state)
        for rule, stream, items, state in _BLOCKS
    ),
    Case(
        "blocks: dispatch_at_eof ends one",
        b"event: a",
        [Block("a")],
        {"blocks": True, "dispatch_at_eof": True},
        {"incomplete": False},
    ),
    Case(
        "blocks: comments and unknown fields come in order",
        b"id: 1\n: a\nb: c\n\n",
        [Comment("a"), UnknownField("b", "c", "b: c"), Block(id="1")],
        {"blocks": True, "comments": True, "unknown_fields": True},
    ),
    # Other content
    Case("bytes that are no event stream have no events", bytes(range(256)) * 4, []),
    Case("nor has HTML", b"<!DOCTYPE html>\n<p>data: a</p>\n\n", []),
]
