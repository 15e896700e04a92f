from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from sseparse import (
    EventTooLarge,
    IncompleteStream,
    InvalidJSON,
    LocalProtocolError,
    ProtocolError,
    RemoteProtocolError,
    ServerSentEvent,
    UnexpectedResponse,
)

EVENTS = [ServerSentEvent(data="a"), ServerSentEvent(data="b")]

# Each error, its attributes, and its message.
ERRORS: list[tuple[ProtocolError, dict[str, object], str]] = [
    (LocalProtocolError("feed() after close()"), {}, "feed() after close()"),
    (RemoteProtocolError("bad"), {"events": EVENTS}, "bad"),
    (
        EventTooLarge(1024),
        {"limit": 1024, "events": EVENTS},
        "an event or line is larger than the limit of 1024 bytes",
    ),
    (
        InvalidJSON("no JSON", b"{\xff", 3, 17),
        {"reason": "no JSON", "line": b"{\xff", "line_number": 3, "offset": 17, "events": EVENTS},
        "line 3, offset 17: no JSON: b'{\\xff'",
    ),
    (
        InvalidJSON("no JSON", b"{", offset=0),
        {"line_number": None, "offset": 0},
        "offset 0: no JSON: b'{'",
    ),
    (
        InvalidJSON("no JSON", b"{"),
        {"line_number": None, "offset": None},
        "no JSON: b'{'",
    ),
    (
        IncompleteStream("hello"),
        {"text": "hello", "events": EVENTS},
        "the stream ended before it was finished (characters so far: 5)",
    ),
    (IncompleteStream(), {"text": ""}, "the stream ended before it was finished"),
    (
        UnexpectedResponse(429, {"content-type": "text/plain"}, b"slow down"),
        {
            "status": 429,
            "headers": {"content-type": "text/plain"},
            "body": b"slow down",
            "events": EVENTS,
        },
        "HTTP 429 (text/plain): slow down",
    ),
    (
        UnexpectedResponse(500, {}, b""),
        {"retry_after": None, "url": "", "expected": "a stream"},
        "HTTP 500 (no content type): empty body",
    ),
    (
        UnexpectedResponse(
            200,
            {"content-type": "text/plain"},
            b"no",
            2.0,
            "https://me:secret@h:80/v1?key=secret#secret",
            "an event stream",
        ),
        {"url": "https://h:80/v1", "retry_after": 2.0, "expected": "an event stream"},
        "not an event stream (text/plain) from https://h:80/v1: no (retry after 2 seconds)",
    ),
]


def test_tree() -> None:
    assert LocalProtocolError.__bases__ == RemoteProtocolError.__bases__ == (ProtocolError,)
    for remote in (EventTooLarge, InvalidJSON, IncompleteStream, UnexpectedResponse):
        assert remote.__bases__ == (RemoteProtocolError,)
    assert ProtocolError.__bases__ == (Exception,)


@pytest.mark.parametrize(
    "duplicate",
    [
        lambda error: error,
        copy.copy,
        copy.deepcopy,
        *(
            lambda error, protocol=protocol: pickle.loads(pickle.dumps(error, protocol))
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
        ),
    ],
    ids=["itself", "copy", "deepcopy", *map("pickle {}".format, range(6))],
)
@pytest.mark.parametrize(
    ("error", "attributes", "message"), ERRORS, ids=[message for *_, message in ERRORS]
)
def test_attributes_and_message_survive(
    error: ProtocolError,
    attributes: dict[str, object],
    message: str,
    duplicate: Callable[[ProtocolError], ProtocolError],
) -> None:
    if isinstance(error, RemoteProtocolError):
        error.events = list(EVENTS)
    twin = duplicate(error)
    assert type(twin) is type(error)
    assert {name: getattr(twin, name) for name in attributes} == attributes
    assert str(twin) == message
    assert repr(twin) == repr(error)
    assert "secret" not in repr(twin)


def test_events_are_empty_until_a_decoder_fills_them() -> None:
    first, second = EventTooLarge(1), EventTooLarge(1)
    assert first.events == []
    first.events.append(1)
    assert second.events == []


@pytest.mark.parametrize("position", [(), (1, 0), (None, 0)])
def test_line_of_invalid_json_is_cut_and_the_data_of_an_event_kept(position: Any) -> None:
    error = InvalidJSON("no JSON", b"x" * 257, *position)
    assert error.line == b"x" * 256
    assert "x" * 257 not in f"{error} {error!r}"
    for twin in (error, pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert twin.data == (None if position else b"x" * 257)


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"a\r\n\t b\n", "a b"),
        (b"\x1b[31mred\x07\x00\x7f\x9b", "\ufffd[31mred\ufffd\ufffd\ufffd\ufffd"),
        ("\x9b2J \u202e \u2066é漢🎉".encode(), "\ufffd2J \ufffd \ufffdé漢🎉"),
        (b"\xff", "\ufffd"),
        (b" \n ", "empty body"),
        (b"x" * 300, "x" * 300),
        (b"x" * 301, "x" * 300 + "…"),
        ("漢".encode() * 500, "漢" * 300 + "…"),
    ],
)
def test_body_is_shown_in_short_and_cannot_steer_a_terminal(body: bytes, shown: str) -> None:
    for media_type in ("text/html", "text/plain"):
        error = UnexpectedResponse(400, {"content-type": media_type}, body)
        assert str(error) == f"HTTP 400 ({media_type}): {shown}"
        assert error.body == body


URL = "http://h/events"


@pytest.mark.parametrize(
    ("status", "headers", "start"),
    [
        (200, {"content-type": "text/html; a=b"}, f"not a stream (text/html) from {URL}"),
        (
            200,
            {"content-type": "application/xhtml+xml"},
            f"not a stream (application/xhtml+xml) from {URL}",
        ),
        (200, {"content-type": "Text/Plain"}, f"not a stream (text/plain) from {URL}"),
        (200, {"content-type": "text/html, text/plain"}, f"not a stream (text/plain) from {URL}"),
        (200, {}, f"not a stream (no content type) from {URL}"),
        (200, {"content-type": ""}, f"not a stream (no content type) from {URL}"),
        (206, {"content-type": "text/plain"}, f"not a stream (HTTP 206, text/plain) from {URL}"),
        (101, {}, f"HTTP 101 (no content type) from {URL}"),
        (404, {"content-type": "text/html;charset=utf-8"}, f"HTTP 404 (text/html) from {URL}"),
        (404, {"content-type": "text/html, a/b"}, f"HTTP 404 (a/b) from {URL}"),
    ],
)
def test_message_says_what_came_from_where(
    status: int, headers: dict[str, str], start: str
) -> None:
    assert str(UnexpectedResponse(status, headers, b"no", None, URL)) == f"{start}: no"
    there = f" from {URL}"
    without = UnexpectedResponse(status, headers, b"no")
    assert str(without) == f"{start.replace(there, '')}: no"
    expected = UnexpectedResponse(status, headers, b"no", url=URL, expected="an event stream")
    assert str(expected) == f"{start.replace('a stream', 'an event stream')}: no"


def test_message_about_a_page_has_its_words_in_short() -> None:
    page = b"<title>" + b"x" * 301 + b"</title>"
    error = UnexpectedResponse(404, {"content-type": "text/html"}, page)
    assert str(error) == f"HTTP 404 (text/html): {'x' * 300}…"
    assert str(UnexpectedResponse(404, {"content-type": "text/plain"}, page)) == (
        f"HTTP 404 (text/plain): <title>{'x' * 293}…"
    )
    late = UnexpectedResponse(404, {"content-type": "text/html"}, b" " * 65536 + page)
    assert str(late) == "HTTP 404 (text/html): empty body"


def test_url_cannot_steer_a_terminal_either() -> None:
    error = UnexpectedResponse(404, {}, b"a", url="http://h/\x1b[2J")
    assert str(error) == "HTTP 404 (no content type) from http://h/\ufffd[2J: a"


def test_message_shows_the_wait() -> None:
    assert str(UnexpectedResponse(429, {}, b"a", 7.0)) == (
        "HTTP 429 (no content type): a (retry after 7 seconds)"
    )
    assert "retry" not in str(UnexpectedResponse(429, {}, b"a", -1.0))


def test_content_type_cannot_steer_a_terminal_either() -> None:
    error = UnexpectedResponse(400, {"content-type": "\x1b[2J"}, b"a")
    assert str(error) == "HTTP 400 (\ufffd[2j): a"


@pytest.mark.parametrize(
    ("location", "there"),
    [
        ("https://user:secret@h/v1?key=secret#x", "https://h/v1"),
        ("/login?next=https://secret/#x", "/login"),
        ("/a//b", "/a//b"),
        ("/" + "x" * 1000, "/" + "x" * 299),
        ("//h/v1\x1b[1m", "://h/v1\N{REPLACEMENT CHARACTER}[1m"),
    ],
)
def test_message_of_a_redirect_tells_where_to(location: str, there: str) -> None:
    error = UnexpectedResponse(301, {"location": location}, b"")
    assert str(error) == f"HTTP 301 (no content type): empty body (redirects to {there})"


def test_location_of_another_response_is_not_told() -> None:
    assert "redirects" not in str(UnexpectedResponse(201, {"location": "/jobs/1"}, b""))
