"""The policy of an event source, in the machine: what each input means, and any sequence of them.

The state machine holds it to a model of its own, with the standard's algorithm for the streams.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, TypeAlias

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from sseparse import EventTooLarge, LocalProtocolError, ServerSentEvent, UnexpectedResponse
from sseparse.client import Limits, State
from sseparse.client._reconnection import Reconnection
from sseparse.transports import Request
from tests.support import reference
from tests.support.simulation import Machine, Simulation, data, response
from tests.support.simulation import end as end_of_body
from tests.support.strategies import chunks_of, streams

CONNECTING, REFUSED, OPEN, WAITING, CLOSED = State

STREAM = {"content-type": "text/event-stream"}
PAGE = {"content-type": "text/html; charset=utf-8"}
EVENT = b"id: 7\ndata: x\n\n"
LIMIT = 100
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)

CUT = ConnectionError("cut")
FAILED = ZeroDivisionError("failed")


class Source(Machine[ServerSentEvent]):
    """The attempts of an event source, with their policy."""

    def __init__(
        self, headers: Mapping[str, str], now: Callable[[], float], **options: Any
    ) -> None:
        limits = options.pop("limits", Limits())
        self.policy = Reconnection(Request("GET", "http://127.0.0.1/", headers), **options)
        super().__init__(self.policy, limits, wall_clock=now)

    @property
    def last_event_id(self) -> str:
        return self.policy.last_event_id

    @property
    def reconnection_time(self) -> float:
        return self.policy.reconnection_time

    @property
    def headers(self) -> Mapping[str, str]:
        return self.request.headers

    def receive_refusal(self, body: bytes) -> None:
        self.receive_data(body)
        self.receive_end()


def reconnection(**options: Any) -> Source:
    arguments: dict[str, Any] = {
        "headers": {},
        "last_event_id": "",
        "reconnection_time": 3.0,
        "max_backoff": 60.0,
        "max_attempts": None,
        "retry_statuses": {503},
        "max_event_size": LIMIT,
        "random": lambda: 0.0,
        "now": NOW.timestamp,
    }
    return Source(**arguments | options)


Input: TypeAlias = Callable[[Source], object]

INPUTS: dict[str, Input] = {
    "stream": lambda machine: machine.receive_response(200, STREAM),
    "refusal": lambda machine: machine.receive_response(404, STREAM),
    "busy": lambda machine: machine.receive_response(503, STREAM),
    "page": lambda machine: machine.receive_response(200, PAGE),
    "nameless": lambda machine: machine.receive_response(200, {}),
    "no content": lambda machine: machine.receive_response(204, {}),
    "nothing": lambda machine: machine.receive_data(b""),
    "event": lambda machine: machine.receive_data(EVENT),
    "too large": lambda machine: machine.receive_data(b"x" * (LIMIT + 1)),
    "end": lambda machine: machine.receive_end(),
    "lose": lambda machine: machine.lose_connection(CUT),
    "deadline": lambda machine: machine.handle_deadline(0.0),
    "close": lambda machine: machine.close(),
    "fail": lambda machine: machine.fail(FAILED),
}

# The inputs that bring a new machine into each state; into REFUSED in two ways.
WAYS: dict[str, tuple[State, list[str]]] = {
    "connecting": (CONNECTING, []),
    "refused": (REFUSED, ["refusal"]),
    "told to come back": (REFUSED, ["busy"]),
    "open": (OPEN, ["stream"]),
    "waiting": (WAITING, ["lose"]),
    "closed": (CLOSED, ["close"]),
    "failed": (CLOSED, ["fail"]),
}

ANY = {"close": CLOSED, "fail": CLOSED}
READING = {"nothing": REFUSED, "event": REFUSED, "too large": REFUSED}

# What each input leads to, where it is allowed; everywhere else it is a LocalProtocolError. What
# is closed stays closed, and takes any input: it may have been on its way.
TABLE: dict[str, dict[str, State]] = {
    "connecting": {
        "stream": OPEN,
        "refusal": REFUSED,
        "busy": REFUSED,
        "page": REFUSED,
        "nameless": REFUSED,
        "no content": CLOSED,
        "lose": WAITING,
        "deadline": WAITING,
    }
    | ANY,
    # A status is final, whether its body comes or not.
    "refused": READING | {"end": CLOSED, "lose": CLOSED, "deadline": CLOSED} | ANY,
    "told to come back": READING | {"end": WAITING, "lose": WAITING, "deadline": WAITING} | ANY,
    "open": {
        "nothing": OPEN,
        "event": OPEN,
        "too large": CLOSED,
        "end": WAITING,
        "lose": WAITING,
        "deadline": WAITING,
    }
    | ANY,
    "waiting": {"deadline": CONNECTING} | ANY,
    "closed": dict.fromkeys(INPUTS, CLOSED),
    "failed": dict.fromkeys(INPUTS, CLOSED),
}


def machine_in(way: str, **options: Any) -> Source:
    machine = reconnection(**options)
    state, names = WAYS[way]
    for name in names:
        INPUTS[name](machine)
    assert machine.state is state
    return machine


def open_again(machine: Source) -> None:
    """Go on from a wait to the next stream."""
    machine.end_wait()
    machine.receive_response(200, STREAM)


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("way", WAYS)
def test_each_input_in_each_state(way: str, name: str) -> None:
    machine = machine_in(way)
    state, error = machine.state, machine.error
    if name in TABLE[way]:
        INPUTS[name](machine)
        assert machine.state is TABLE[way][name]
    else:
        with pytest.raises(LocalProtocolError, match=state.name):
            INPUTS[name](machine)
        assert machine.state is state
    if state is CLOSED:
        assert machine.error is error


@pytest.mark.parametrize("way", ["closed", "failed"])
def test_closed_machine_delivers_nothing_and_keeps_its_id(way: str) -> None:
    machine = machine_in(way)
    assert machine.receive_data(EVENT) == []
    assert machine.last_event_id == ""


# What a response means


@pytest.mark.parametrize(
    "content_type",
    [
        *("text/event-stream", "text/event-stream;", "Text/Event-Stream", " text/event-stream\t"),
        *("text/event-stream; charset=utf-8", "text/event-stream ;charset=latin1; x"),
        # Two fields, as transports join them.
        *("text/html, text/event-stream", "text/html; charset=utf-8, text/event-stream; x=y"),
    ],
)
def test_only_the_essence_of_a_media_type_counts(content_type: str) -> None:
    machine = reconnection()
    machine.receive_response(200, {"content-type": content_type})
    assert machine.state is OPEN


@pytest.mark.parametrize(
    ("status", "content_type"),
    [
        *((200, "text/event-streams"), (200, "text/plain"), (200, ""), (200, "text")),
        *((200, "application/text/event-stream"), (200, "text/event-stream, text/plain")),
        *((201, "text/event-stream"), (205, "text/event-stream"), (206, "text/event-stream")),
        *((301, "text/event-stream"), (401, "text/event-stream"), (500, "text/event-stream")),
    ],
)
def test_any_other_response_is_final_with_status_headers_and_words(
    status: int, content_type: str
) -> None:
    machine = reconnection()
    headers = {"content-type": content_type, "x-request-id": "7"}
    machine.receive_response(status, headers)
    machine.receive_refusal(b"go away")
    error = machine.error
    assert machine.state is CLOSED
    assert isinstance(error, UnexpectedResponse)
    assert (error.status, error.headers, error.body) == (status, headers, b"go away")


def test_response_without_a_content_type_is_final() -> None:
    machine = reconnection()
    machine.receive_response(200, {})
    machine.receive_refusal(b"data: a")
    assert machine.state is CLOSED
    assert str(machine.error) == (
        f"not an event stream (no content type) from {machine.request.url}: data: a"
    )


def test_page_with_a_status_to_retry_is_retried_even_where_the_status_is_200() -> None:
    machine = reconnection(retry_statuses={200})
    machine.receive_response(200, PAGE)
    machine.receive_refusal(b"starting")
    assert machine.state is WAITING
    assert isinstance(machine.error, UnexpectedResponse)


@pytest.mark.parametrize("retry_statuses", [set[int](), {204}])
def test_204_ends_it_without_an_error(retry_statuses: set[int]) -> None:
    machine = reconnection(retry_statuses=retry_statuses)
    machine.receive_response(204, STREAM)
    assert (machine.state, machine.error) == (CLOSED, None)


def test_refusal_whose_body_is_lost_is_still_that_refusal() -> None:
    for status, state in ((404, CLOSED), (503, WAITING)):
        machine = reconnection()
        machine.receive_response(status, PAGE)
        machine.lose_connection(CUT)
        assert machine.state is state
        error = machine.error
        assert isinstance(error, UnexpectedResponse)
        assert (error.status, error.body) == (status, b"")


# What a stream means


def test_events_come_with_the_bytes_that_complete_them() -> None:
    machine = machine_in("open")
    expected = ServerSentEvent("message", "x", "7")
    assert machine.receive_data(EVENT + EVENT[:-1]) == [expected]
    assert machine.receive_data(EVENT[-1:]) == [expected]


@pytest.mark.parametrize("end", ["end", "lose"])
@pytest.mark.parametrize(
    "partial",
    [
        *(b"data: par", b"data: partial\n", b"event: x\n", b"id: 8\n", b"id: 8", b": pi"),
        *(b"\xef", b"\xef\xbb", b"data: x\r", "data: é".encode()[:-1]),
    ],
)
def test_partial_event_is_never_joined_to_the_bytes_of_another_connection(
    partial: bytes, end: str
) -> None:
    for before in (b"", EVENT):
        machine = machine_in("open", last_event_id="7")
        machine.receive_data(before + partial)
        INPUTS[end](machine)
        assert machine.headers["last-event-id"] == machine.last_event_id == "7"
        open_again(machine)
        assert machine.receive_data(b"\ndata: y\n\n") == [ServerSentEvent("message", "y", "7")]


def test_events_before_one_that_is_too_large_are_returned_and_the_error_is_final() -> None:
    machine = machine_in("open")
    events = machine.receive_data(EVENT + EVENT + b"data: " + b"x" * LIMIT + EVENT)
    assert [event.data for event in events] == ["x", "x"]
    assert machine.state is CLOSED
    assert isinstance(machine.error, EventTooLarge)
    # They have been delivered: the error does not take them along.
    assert machine.error.events == []


def test_what_ends_an_attempt_is_the_reason_of_the_wait() -> None:
    machine = machine_in("open")
    machine.lose_connection(CUT)
    assert machine.error is CUT
    open_again(machine)
    machine.receive_end()
    assert isinstance(machine.error, ConnectionError)
    assert "ended" in str(machine.error)
    open_again(machine)
    assert machine.error is None


# Which headers the next request carries


def test_request_asks_for_an_event_stream_that_no_cache_has() -> None:
    assert reconnection().headers == {"accept": "text/event-stream", "cache-control": "no-store"}


def test_headers_of_the_caller_come_before_the_defaults_in_any_case() -> None:
    machine = reconnection(headers={"ACCEPT": "*/*", "Authorization": "Bearer secret"})
    assert machine.headers == {
        "accept": "*/*",
        "authorization": "Bearer secret",
        "cache-control": "no-store",
    }


def test_headers_are_a_copy() -> None:
    headers = {"x": "1"}
    machine = reconnection(headers=headers)
    headers["x"] = "2"
    assert machine.headers["x"] == "1"


@pytest.mark.parametrize(
    ("stream", "sent"),
    [
        (b"", "0"),
        (b"data: no id\n\n", "0"),
        (b"id: 7\ndata: x\n\ndata: y\n\n", "7"),
        (b"id: 7\n\n", "7"),
        (b"id: 7\ndata: not dispatched\n", "0"),
        (b"id: 7\n\nid: \0\n\n", "7"),
        (b"id: 7\n\nid\n\n", None),
        (b"id:\n\n", None),
        ("id: é漢🎉\n\n".encode(), "é漢🎉"),
        (b"id: \xff\n\n", "\ufffd"),
        # White space around a value is lost on the way in any case.
        (b"id:   a b \t\n\n", "a b"),
        (b"id:  \t \n\n", None),
        ("id: \u00a0\u2003\n\n".encode(), "\u00a0\u2003"),
        # No header field can have these. Without the field the server at least answers.
        (b"id: a\vb\n\n", None),
        (b"id: a\fb\n\n", None),
        (b"id: \x01\n\n", None),
        (b"id: \x1f\n\n", None),
        (b"id: \x7f\n\n", None),
        # A control character in Unicode, but two good bytes in UTF-8.
        ("id: \x85\n\n".encode(), "\x85"),
        (b"id: " + b"9" * 90 + b"\n\n", "9" * 90),
    ],
)
def test_last_event_id_is_sent_where_there_is_one_that_a_header_can_have(
    stream: bytes, sent: str | None
) -> None:
    machine = machine_in("open", last_event_id="0")
    assert machine.headers["last-event-id"] == "0"
    machine.receive_data(stream)
    machine.receive_end()
    # A reply without IDs does not change it, nor do attempts that fail.
    for _ in range(2):
        assert machine.headers.get("last-event-id") == sent
        open_again(machine)
        machine.receive_data(b"data: no id\n\n")
        machine.lose_connection(CUT)
    assert machine.last_event_id == reference.interpret(stream, last_event_id="0").last_event_id


# How long to wait


def waits(machine: Source, number: int, before: bytes | None = None) -> list[float]:
    """Lose so many connections: after these bytes of a stream, or without a stream."""
    found: list[float] = []
    for _ in range(number):
        if machine.state is WAITING:
            machine.end_wait()
        if before is not None:
            machine.receive_response(200, STREAM)
            machine.receive_data(before)
        machine.lose_connection(CUT)
        found.append(machine.wait)
    return found


@pytest.mark.parametrize(
    ("random", "expected"),
    [
        (0.0, [3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0]),
        (0.5, [4.5, 7.5, 13.5, 25.5, 31.5, 31.5, 31.5]),
        (1.0, [6.0, 12.0, 24.0, 48.0, 60.0, 60.0, 60.0]),
    ],
)
def test_failures_in_a_row_double_what_is_added_at_random(
    random: float, expected: list[float]
) -> None:
    assert waits(reconnection(random=lambda: random), 7) == expected


def test_reconnection_time_of_zero_does_not_hammer_a_server_that_is_down() -> None:
    machine = reconnection(reconnection_time=0, random=lambda: 1.0)
    assert waits(machine, 8) == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


@pytest.mark.parametrize(
    "before",
    [
        *(b"data: x\n\n", b": ping\n", b"data:", b"data\n", b"\xef\xbb\xbf:", b"x\r:", b"\n\nid\r"),
        *(b"retry:soon", b"x: y\nevent: x", b"x" * 60 + b"\n:"),
    ],
)
def test_anything_of_an_event_stream_ends_the_failures_in_a_row(before: bytes) -> None:
    machine = reconnection(random=lambda: 1.0)
    assert waits(machine, 3) == [6.0, 12.0, 24.0]
    assert waits(machine, 2, before) == [3.0, 3.0]
    assert waits(machine, 2) == [6.0, 12.0]


@pytest.mark.parametrize(
    "before",
    [
        *(
            b"",
            b"d",
            b"data",
            b"x: data: y\n\n",
            b"\n\n",
            b"\xef\xbb\xbf",
            b"datax: y\n",
            b"Data: x\n",
        ),
        b'{"error": {"message": "overloaded"}}\n',
        b'\n{\n  "data": 1\n}\n',
    ],
)
def test_body_with_nothing_of_an_event_stream_is_a_failure_in_a_row(before: bytes) -> None:
    machine = reconnection(random=lambda: 1.0)
    assert waits(machine, 2, before) == [6.0, 12.0]


@pytest.mark.parametrize("byte", [b"\n", b"x"])
def test_search_for_an_event_stream_keeps_little_of_a_body(byte: bytes) -> None:
    machine = machine_in("open", max_event_size=None)
    for _ in range(200):
        machine.receive_data(byte)
    assert len(machine.policy._body_end) < 20
    machine.receive_data(b"\n: ping")
    machine.receive_end()
    assert machine.wait == 3.0


@given(data=st.data())
def test_what_a_body_brought_does_not_depend_on_how_it_was_cut(data: st.DataObject) -> None:
    body = data.draw(
        st.sampled_from([b"x\r\ndata: x\n", b"\xef\xbb\xbf:", b"x: data:\n", b"da\nta:"])
    )
    outcomes = []
    for chunks in ([body], data.draw(chunks_of(body))):
        machine = machine_in("open", random=lambda: 1.0)
        for chunk in chunks:
            machine.receive_data(chunk)
        machine.receive_end()
        outcomes.append(machine.wait)
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(("before", "wait"), [(b"retry: 0\n\n", 0.5), (b"retry: 0\ndata\n\n", 0)])
def test_stream_of_no_event_cannot_have_the_client_hammer_its_server(
    before: bytes, wait: float
) -> None:
    assert waits(reconnection(random=lambda: 1.0), 3, before) == [wait] * 3


def test_reconnection_time_of_the_stream_is_in_force_until_it_sets_another() -> None:
    machine = reconnection()
    assert machine.reconnection_time == 3.0
    assert waits(machine, 1, b"retry: 1500\n\n") == [1.5]
    assert waits(machine, 1, b"data: x\n\n") == [1.5]
    assert waits(machine, 1, b"retry: soon\n\n") == [1.5]
    assert machine.reconnection_time == 1.5
    # The standard sets it with the line, whether its event is completed or not.
    assert waits(machine, 1, b"retry: 0\n") == [0.0]
    assert waits(machine, 1, b"retry: " + b"9" * 80 + b"\n") == [60.0]


@pytest.mark.parametrize("reconnection_time", [3.0, 100.0, 1e300])
def test_wait_is_capped_whoever_asks_for_more(reconnection_time: float) -> None:
    machine = reconnection(reconnection_time=reconnection_time, max_backoff=2.0)
    assert waits(machine, 3) == [2.0] * 3
    assert waits(machine, 1, b": ping\n") == [2.0]
    assert waits(reconnection(max_backoff=0), 3) == [0.0] * 3


def test_backoff_does_not_overflow() -> None:
    machine = reconnection(max_backoff=1e308, random=lambda: 1.0)
    for wait in waits(machine, 3000):
        assert 3.0 <= wait <= 1e308


def test_failures_in_a_row_and_attempts_without_an_event_are_counted_apart() -> None:
    machine = reconnection(max_attempts=4, random=lambda: 1.0)
    assert waits(machine, 1) == [6.0]
    assert waits(machine, 1, b": ping\n") == [3.0]
    assert waits(machine, 1) == [6.0]
    machine.end_wait()
    machine.lose_connection(CUT)
    assert (machine.state, machine.error) == (CLOSED, CUT)


@pytest.mark.parametrize("max_attempts", [1, 2, 5])
@pytest.mark.parametrize("before", [None, b"", b": ping\n\n", b"id: 9\n\ndata: x\n"])
def test_attempts_without_an_event_are_limited_and_the_last_error_is_raised(
    max_attempts: int, before: bytes | None
) -> None:
    machine = reconnection(max_attempts=max_attempts)
    waits(machine, max_attempts - 1, before)
    # An event starts the count anew.
    if max_attempts > 1:
        waits(machine, max_attempts - 1, EVENT)
        waits(machine, max_attempts - 1, before)
        machine.end_wait()
    last = ConnectionError("the last")
    machine.lose_connection(last)
    assert (machine.state, machine.error) == (CLOSED, last)


def test_refusals_to_retry_are_limited_too() -> None:
    machine = machine_in("told to come back", max_attempts=1)
    machine.receive_refusal(b"busy")
    assert machine.state is CLOSED
    assert isinstance(machine.error, UnexpectedResponse)


def wait_after(retry_after: str | None, **options: Any) -> float:
    machine = reconnection(**options)
    machine.receive_response(503, {} if retry_after is None else {"retry-after": retry_after})
    machine.receive_refusal(b"")
    assert machine.state is WAITING
    return machine.wait


@pytest.mark.parametrize(
    ("retry_after", "expected"),
    [
        *((None, 3.0), ("", 3.0), ("0", 3.0), ("2", 3.0), ("30", 30.0), (" 30\t", 30.0)),
        *(("59", 59.0), ("61", 60.0), ("9" * 5000, 60.0), ("0" * 5000 + "7", 7.0)),
        *(
            ("-30", 3.0),
            ("+30", 3.0),
            ("30.5", 30.5),
            ("3.4", 3.4),
            ("1.4", 3.0),
            ("30s", 3.0),
            ("1e1", 3.0),
            ("inf", 3.0),
        ),
        *(("٣٠", 3.0), ("²", 3.0), ("soon", 3.0), ("30, 30", 3.0)),
        # The three formats of HTTP.
        ("Sun, 22 Nov 2026 12:00:40 GMT", 40.0),
        ("Sunday, 22-Nov-26 12:00:40 GMT", 40.0),
        ("Sun Nov 22 12:00:40 2026", 40.0),
        # In the past, far away, or nowhere.
        ("Sun, 22 Nov 2026 11:59:00 GMT", 3.0),
        ("Sun, 22 Nov 1026 11:59:00 GMT", 3.0),
        ("Wed, 22 Nov 2999 12:00:00 GMT", 60.0),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 60.0),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 3.0),
        ("Sun, 31 Feb 2026 12:00:40 GMT", 3.0),
        ("Sun, 22 Nov 99999999999999999999 12:00:40 GMT", 3.0),
        ("Sun, 22 Nov 2026 12:00:40 +99999999999999999999", 3.0),
    ],
)
def test_retry_after_is_the_least_wait_in_seconds_or_as_a_date(
    retry_after: str | None, expected: float
) -> None:
    assert wait_after(retry_after) == expected
    # A stream that can set the reconnection time to nothing cannot do so with the cap.
    assert wait_after(retry_after, max_backoff=0) == 0


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone cannot be set")
def test_retry_after_without_a_time_zone_is_in_utc_wherever_the_client_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "LINT-14")
        time.tzset()
        try:
            assert wait_after("Sun Nov 22 12:00:40 2026") == 40.0
        finally:
            patch.undo()
            time.tzset()


def test_retry_after_counts_for_a_status_to_retry_and_for_that_wait_alone() -> None:
    machine = reconnection()
    machine.receive_response(503, {"retry-after": "30"})
    machine.receive_refusal(b"")
    assert machine.wait == 30
    assert waits(machine, 1, EVENT) == [3.0]


# Words of dates, good and bad, so that what they make is nearly a date.
dates = st.lists(
    st.sampled_from(
        [
            *("Sun,", "Sunday,", "Nov", "22-Nov-26", "2026", "22", "31", "0", "0001", "9999"),
            *("12:00:40", "24:60:61", "12.00.40", "99999999999:0:0", ":", "-", ",", "AM", "GMT"),
            *("EST", "+0000", "-0000", "+2359", "-9999", "9" * 20, "+" + "9" * 20, "9" * 5000),
        ]
    ),
    max_size=8,
).map(" ".join)


@given(
    retry_after=st.text() | dates | st.integers().map(str) | st.datetimes().map(format_datetime),
    reconnection_time=st.floats(0, 100),
    max_backoff=st.floats(0, 100),
    random=st.floats(0, 1),
    now=st.floats(-1e12, 1e12),
)
@example("Sun, 22 Nov 99999999999999999999 12:00:40 GMT", 3.0, 60.0, 0.5, 0.0)
def test_no_retry_after_raises_or_makes_a_wait_out_of_bounds(
    retry_after: str, reconnection_time: float, max_backoff: float, random: float, now: float
) -> None:
    wait = wait_after(
        retry_after,
        reconnection_time=reconnection_time,
        max_backoff=max_backoff,
        random=lambda: random,
        now=lambda: now,
    )
    assert min(reconnection_time, max_backoff) <= wait <= max_backoff


# Arguments


@pytest.mark.parametrize("name", ["reconnection_time", "max_backoff"])
@pytest.mark.parametrize("seconds", [-1, -0.001, math.inf, math.nan])
def test_times_must_be_finite_and_not_negative(name: str, seconds: float) -> None:
    with pytest.raises(
        ValueError, match=f"{name} must be finite, non-negative seconds, got {seconds}"
    ):
        reconnection(**{name: seconds})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"headers": {"x": "1", "X": "2"}}, "each name once"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": -1}, "max_attempts"),
        ({"max_event_size": 0}, "max_event_size"),
        ({"last_event_id": "a\nb"}, "last_event_id"),
        ({"last_event_id": "\0"}, "last_event_id"),
        ({"headers": {"LAST-Event-ID": "7"}}, "give last_event_id"),
    ],
)
def test_arguments_that_mean_nothing_are_a_value_error(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        reconnection(**options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reconnection_time": "3"}, "reconnection_time must be seconds, got '3'"),
        ({"max_backoff": None}, "max_backoff must be seconds, got None"),
        ({"max_backoff": True}, "max_backoff must be seconds, got True"),
        ({"max_attempts": True}, "max_attempts must be an int or None, got True"),
        ({"max_attempts": "3"}, "max_attempts must be an int or None, got '3'"),
        ({"retry_statuses": 503}, "retry_statuses must be a collection of ints, got 503"),
        ({"retry_statuses": "503"}, "retry_statuses must be a collection of ints, got '503'"),
    ],
)
def test_argument_of_the_wrong_type_is_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=f"^{words}$"):
        reconnection(**options)


# Time


def test_idle_timeout_counts_any_byte_and_the_wait_is_the_reconnection_time() -> None:
    machine = reconnection(limits=Limits(idle_timeout=10))
    run = Simulation(machine)
    run.wait_for(9, response())
    for chunk in (b":", b"\n", EVENT):
        run.wait_for(9, data(chunk))
    run.wait_for(10 + 3 + 10, None)
    assert run.log == [(9, OPEN), (36 + 10, WAITING), (49, CONNECTING), (59, WAITING)]
    assert str(machine.error) == "nothing arrived within 10 seconds"


def test_refusal_is_read_for_a_second_whatever_the_idle_timeout() -> None:
    machine = reconnection(limits=Limits(idle_timeout=0.5))
    run = Simulation(machine)
    run.wait_for(0.25, response(404))
    run.wait_for(10, None)
    assert run.log == [(0.25, REFUSED), (1.25, CLOSED)]


def test_retry_after_is_waited_for_up_to_the_longest_backoff() -> None:
    run = Simulation(reconnection())
    for seconds, wait in (("30", 30), ("100", 60)):
        run.log.clear()
        start = run.now - run.start
        run.wait_for(1, response(503, retry_after=seconds))
        run.wait_for(0, end_of_body)
        run.wait_for(wait, None)
        assert run.log[-1] == (start + 1 + wait, CONNECTING)


# Any sequence

PIECES = [
    *(b"\n", b"\n\n", b"data: x", b"data: x\n", b"id: 7\n", b"id\n", b"id: \x01\n", b": ping\n"),
    *(b"id: 8\ndata: y\n\n", b"id: 9\n\n", b"id: half\ndata: ha", b"\xef\xbb\xbf", b"\xef"),
    *(b"retry: 0\n", b"retry: 2500\n", b"retry: 99999999\n", b"x" * 60, b"data: x\n\n" * 3),
]

durations = st.sampled_from([0.0, 0.5, 3.0, 60.0]) | st.floats(0, 1000)


def is_stream(body: bytes) -> bool:
    """Whether a line of `body` is a comment or a field of an event stream."""
    lines = re.split(b"\r\n|\r|\n", body.removeprefix(b"\xef\xbb\xbf"))
    names = {line.partition(b":")[0] for line in lines[:-1]}
    if b":" in lines[-1]:
        names.add(lines[-1].partition(b":")[0])
    comment = any(line.startswith(b":") for line in lines)
    return comment or not names.isdisjoint({b"data", b"event", b"id", b"retry"})


class Following(RuleBasedStateMachine):
    """A server that does anything, in any order, and a model of what must come of it."""

    @initialize(
        last_event_id=st.sampled_from(["", "0", " é ", "\x7f"]),
        reconnection_time=durations,
        max_backoff=durations,
        max_attempts=st.none() | st.integers(1, 4),
        max_event_size=st.sampled_from([None, LIMIT]),
    )
    def start(
        self,
        last_event_id: str,
        reconnection_time: float,
        max_backoff: float,
        max_attempts: int | None,
        max_event_size: int | None,
    ) -> None:
        self.random = 0.0
        self.machine = reconnection(
            headers={"X-Mine": "yes"},
            last_event_id=last_event_id,
            reconnection_time=reconnection_time,
            max_backoff=max_backoff,
            max_attempts=max_attempts,
            max_event_size=max_event_size,
            random=lambda: self.random,
        )
        self.state = CONNECTING
        self.error: Exception | None = None
        self.id = last_event_id
        self.reconnection_time = reconnection_time
        self.max_backoff = max_backoff
        self.max_attempts = max_attempts
        self.max_event_size = max_event_size
        self.status = 0
        self.retry_after = 0.0
        self.without_event = self.without_stream = 0
        self.connect()

    def connect(self) -> None:
        """What begins with a connection."""
        self.stream = b""
        self.id_before = self.id
        self.delivered: list[ServerSentEvent] = []

    def retried(self, at_least: float = 0.0) -> None:
        """Check what follows an attempt that may be followed by another."""
        self.without_event = 0 if self.delivered else self.without_event + 1
        self.without_stream = 0 if is_stream(self.stream) else self.without_stream + 1
        if self.without_event == self.max_attempts:
            self.state = CLOSED
            return
        self.state = WAITING
        least = max(self.reconnection_time, at_least)
        most = least
        if not self.delivered:
            doubled = max(self.reconnection_time, 0.5) * 2**self.without_stream
            most = max(least, doubled)
        assert min(least, self.max_backoff) <= self.machine.wait <= min(most, self.max_backoff)

    @rule(
        status=st.sampled_from([200, 200, 200, 204, 404, 503]),
        content_type=st.sampled_from(["text/event-stream", "Text/Event-Stream;x", "text/html"]),
        retry_after=st.none() | st.integers(0, 100),
        date=st.booleans(),
    )
    @precondition(lambda self: self.state is CONNECTING)
    def respond(self, status: int, content_type: str, retry_after: int | None, date: bool) -> None:
        headers = {"content-type": content_type}
        if retry_after is not None:
            at = format_datetime(NOW + timedelta(seconds=retry_after), usegmt=True)
            headers["retry-after"] = at if date else str(retry_after)
        self.status, self.retry_after = status, float(retry_after or 0)
        self.machine.receive_response(status, headers)
        if status == 200 and content_type != "text/html":
            self.state = OPEN
        else:
            self.state = CLOSED if status == 204 else REFUSED

    @rule(body=st.binary(max_size=3), lost=st.booleans(), random=st.floats(0, 1))
    @precondition(lambda self: self.state is REFUSED)
    def refuse(self, body: bytes, lost: bool, random: float) -> None:
        self.random = random
        if lost:
            self.machine.lose_connection(CUT)
        else:
            self.machine.receive_refusal(body)
        if self.status == 503:
            self.retried(self.retry_after)
        else:
            self.state = CLOSED
        error = self.machine.error
        assert isinstance(error, UnexpectedResponse)
        assert (error.status, error.body) == (self.status, b"" if lost else body)
        self.error = error if self.state is CLOSED else None

    @rule(data=st.sampled_from(PIECES) | streams)
    @precondition(lambda self: self.state is OPEN)
    def send(self, data: bytes) -> None:
        self.stream += data
        self.delivered += self.machine.receive_data(data)
        outcome = reference.interpret(
            self.stream,
            last_event_id=self.id_before,
            max_event_size=self.max_event_size,
            at_eof=False,
        )
        assert self.delivered == outcome.items
        self.id = outcome.last_event_id
        if outcome.reconnection_time is not None:
            self.reconnection_time = outcome.reconnection_time / 1000
        if outcome.too_large:
            self.state, self.error = CLOSED, self.machine.error
            assert isinstance(self.error, EventTooLarge)

    @rule(clean=st.booleans(), random=st.sampled_from([0.0, 1.0]) | st.floats(0, 1))
    @precondition(lambda self: self.state in (CONNECTING, OPEN))
    def drop(self, clean: bool, random: float) -> None:
        self.random = random
        cut = ConnectionError("cut")
        if clean and self.state is OPEN:
            self.machine.receive_end()
        else:
            self.machine.lose_connection(cut)
        self.retried()
        error = self.machine.error
        assert isinstance(error, ConnectionError)
        assert (error is cut) != ("the server ended" in str(error))
        self.error = error if self.state is CLOSED else None

    @rule()
    @precondition(lambda self: self.state is WAITING)
    def end_wait(self) -> None:
        self.machine.end_wait()
        self.state = CONNECTING
        self.connect()

    # Seldom, for the sake of what comes before it.
    @rule(error=st.none() | st.just(FAILED), chance=st.integers(0, 9))
    def close(self, error: Exception | None, chance: int) -> None:
        if chance > 0:
            return
        if error is None:
            self.machine.close()
        else:
            self.machine.fail(error)
        if self.state is not CLOSED:
            self.state, self.error = CLOSED, error

    @rule(data=st.data())
    def do_what_is_not_its_turn(self, data: st.DataObject) -> None:
        way = next(way for way, (state, _) in WAYS.items() if state is self.state)
        if self.state is CLOSED:
            assert not INPUTS[data.draw(st.sampled_from(sorted(INPUTS)))](self.machine)
            return
        name = data.draw(st.sampled_from(sorted(INPUTS.keys() - TABLE[way].keys())))
        with pytest.raises(LocalProtocolError, match=self.state.name):
            INPUTS[name](self.machine)

    @invariant()
    def is_as_the_model_says(self) -> None:
        machine = self.machine
        assert machine.state is self.state
        if self.state is not WAITING:
            assert machine.error is self.error
        assert machine.last_event_id == self.id
        assert machine.reconnection_time == self.reconnection_time
        assert machine.headers == self.expected_headers()

    def expected_headers(self) -> Mapping[str, str]:
        fields = {"accept": "text/event-stream", "cache-control": "no-store", "x-mine": "yes"}
        value = self.id.strip(" \t")
        if value and all(c == "\t" or " " <= c != "\x7f" for c in value):
            fields["last-event-id"] = value
        return fields


TestFollowing = Following.TestCase
TestFollowing.settings = settings(stateful_step_count=25)
