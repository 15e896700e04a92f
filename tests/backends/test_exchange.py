"""The policy of a reply, in the machine: what each input means, and that only the bytes decide."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sseparse_backends as backends
from sseparse import (
    EventTooLarge,
    IncompleteStream,
    InvalidJSON,
    LocalProtocolError,
    NDJSONDecoder,
    RemoteProtocolError,
    UnexpectedResponse,
)
from sseparse.client import Limits, State
from sseparse.transports import Request
from sseparse_backends import (
    Backend,
    BackendError,
    DarkAI,
    Delta,
    Finish,
    Messages,
    OpenAI,
    Reasoning,
    ReplyTimeout,
    Text,
    Usage,
)
from sseparse_backends._exchange import Exchange
from tests.support.servers import BODY, CHATTER, TEXTS, event
from tests.support.simulation import Machine, Simulation, data, response
from tests.support.simulation import end as end_of_body
from tests.support.strategies import chunks_of

CONNECTING, REFUSED, OPEN, WAITING, CLOSED = State

STREAM = {"content-type": "text/event-stream"}
PAGE = {"content-type": "text/html; charset=utf-8"}
TEXT = event("text-chunk", text="more")
END = event("stream-end")
ERROR = event("error", code="overloaded")
CUT = ConnectionError("cut")


class Reply(Machine[Delta]):
    """The attempts at a reply, with their policy as `exchange`."""

    def __init__(self, backend: Backend, **options: Any) -> None:
        limits = options.pop("limits", Limits())
        self.exchange = Exchange(backend, "Hello", **options)
        super().__init__(self.exchange, limits)

    @property
    def text(self) -> str:
        return self.exchange.text

    @property
    def finished(self) -> bool:
        return self.state is CLOSED and self.error is None


def streaming(**options: Any) -> Reply:
    machine = Reply(DarkAI(**options))
    machine.receive_response(200, STREAM)
    return machine


def chatting() -> Reply:
    machine = Reply(CHATTER)
    machine.receive_response(200, {"content-type": "application/x-ndjson"})
    return machine


Input: TypeAlias = Callable[[Reply], object]

# What each input leads to, with a retry left and without one.
MEANINGS: dict[str, tuple[list[Input], State, State]] = {
    "stream": ([], OPEN, OPEN),
    "text": ([lambda machine: machine.receive_data(TEXT)], OPEN, OPEN),
    "finish": ([lambda machine: machine.receive_data(END)], CLOSED, CLOSED),
    "error": ([lambda machine: machine.receive_data(ERROR)], CLOSED, CLOSED),
    "end": ([lambda machine: machine.receive_end()], CLOSED, CLOSED),
    "cut": ([lambda machine: machine.lose_connection(CUT)], WAITING, CLOSED),
    "text, then cut": (
        [lambda machine: machine.receive_data(TEXT), lambda machine: machine.lose_connection(CUT)],
        *(CLOSED, CLOSED),
    ),
}


@pytest.mark.parametrize("name", MEANINGS)
@pytest.mark.parametrize("retries", [0, 1])
def test_meaning_of_what_comes_of_a_stream(name: str, retries: int) -> None:
    inputs, with_retry, without = MEANINGS[name]
    machine = Reply(DarkAI(), retries=retries)
    machine.receive_response(200, STREAM)
    for take in inputs:
        take(machine)
    assert machine.state is (with_retry if retries else without)
    assert machine.finished == (name == "finish")


@pytest.mark.parametrize("retries", [0, 1])
def test_connection_that_cannot_be_made_is_tried_again(retries: int) -> None:
    machine = Reply(DarkAI(), retries=retries)
    machine.lose_connection(CUT)
    assert machine.state is (WAITING if retries else CLOSED)
    assert (machine.error) is CUT


@pytest.mark.parametrize("retries", [0, 1])
def test_connect_timeout_is_a_reply_timeout_with_its_cause(retries: int) -> None:
    machine = Reply(DarkAI(), retries=retries, connect_timeout=5)
    assert machine.request.connect_timeout == 5
    cause = TimeoutError("no connection")
    machine.lose_connection(cause)
    error = machine.error
    assert isinstance(error, ReplyTimeout)
    assert (error.which, error.limit, error.text, error.__cause__) == ("connect", 5, "", cause)


@pytest.mark.parametrize("which", ["total", "first", "idle"])
def test_time_limit_is_final_with_the_text_so_far(which: Any) -> None:
    machine = streaming()
    machine.receive_data(TEXT)
    verdict = machine.exchange.time_out(which, 7)
    assert verdict.wait is None
    assert isinstance(verdict.error, ReplyTimeout)
    assert (verdict.error.which, verdict.error.limit, verdict.error.text) == (which, 7, "more")


def test_closing_before_the_finish_is_an_error() -> None:
    machine = streaming()
    machine.close()
    assert isinstance(machine.error, LocalProtocolError)


def test_exchange_asks_the_backend_for_its_request() -> None:
    exchange = Exchange(CHATTER, "Hello", model="large", options={"volume": 11})
    assert exchange.request() == CHATTER.request("Hello", model="large", volume=11)
    assert exchange.model == "large"
    assert Exchange(CHATTER, "Hello").model == "small"


def test_what_the_backend_refuses_to_send_raises_at_once() -> None:
    with pytest.raises(ValueError, match="got 'gpt-9'"):
        Exchange(DarkAI(), "Hello", model="gpt-9")


def test_deltas_come_with_the_bytes_that_complete_them() -> None:
    machine = streaming()
    assert machine.receive_data(TEXT + TEXT[:-1]) == [Text("more")]
    assert machine.receive_data(TEXT[-1:]) == [Text("more")]
    assert machine.text == "moremore"


def test_usage_and_finish_reason_are_kept() -> None:
    machine = chatting()
    assert (machine.exchange.usage, machine.exchange.finish) == (None, None)
    assert machine.receive_data(b'{"usage": [3, 0]}\n') == [Usage(3, 0)]
    assert machine.receive_data(b'{"usage": [3, 9]}\n') == [Usage(3, 9)]
    assert machine.receive_data(b'{"done": "length"}\n') == [Finish("length")]
    assert (machine.exchange.usage, machine.exchange.finish) == (Usage(3, 9), Finish("length"))


def test_deltas_that_are_no_text_pass_through_it() -> None:
    machine = chatting()
    assert machine.receive_data(b'{"reasoning": "Hm"}\n') == [Reasoning("Hm")]
    assert (machine.text, machine.state) == ("", OPEN)


def test_content_is_progress_and_usage_is_none() -> None:
    machine = chatting()
    assert machine.receive_data(b'{"usage": [3, 0]}\n') == [Usage(3, 0)]
    assert machine.exchange.progress == 0
    assert machine.receive_data(b'{"piece": 1}\n{"reasoning": "Hm"}\n') == [Reasoning("Hm")]
    assert machine.exchange.progress == 2


def test_piece_of_something_is_content_but_nothing_that_keeps_from_a_retry() -> None:
    machine = Reply(CHATTER, retries=1)
    machine.receive_response(200, {"content-type": "application/x-ndjson"})
    assert machine.receive_data(b'{"piece": 1}\n') == []
    assert machine.exchange.progress == 1
    machine.lose_connection(ConnectionError("cut"))
    machine.end_wait()
    assert machine.exchange.progress == 0


def test_last_event_may_come_with_the_end_of_the_body() -> None:
    machine = chatting()
    assert machine.receive_data(b'{"done": null}') == []
    assert machine.receive_end() == [Finish(None)]
    assert machine.state is CLOSED


def test_network_cut_does_not_complete_the_last_event() -> None:
    machine = chatting()
    assert machine.receive_data(b'{"done": null}') == []
    machine.lose_connection(ConnectionError("cut"))
    assert isinstance(machine.error, IncompleteStream)


def end(machine: Reply, cause: Exception | None) -> list[Delta]:
    """End the body, by a failure of the network if there is a cause."""
    if cause is None:
        return machine.receive_end()
    machine.lose_connection(cause)
    return []


@pytest.mark.parametrize("cause", [None, ConnectionError("cut")])
@pytest.mark.parametrize("rest", [b"", END[:-4], b"event: x\n", b": comment"])
def test_end_before_finish_is_incomplete_with_the_text_and_the_cause(
    cause: Exception | None, rest: bytes
) -> None:
    machine = streaming()
    machine.receive_data(TEXT + rest)
    assert end(machine, cause) == []
    assert isinstance(machine.error, IncompleteStream)
    assert machine.error.text == "more"
    assert machine.error.__cause__ is cause


@pytest.mark.parametrize("cut", [1, 2])
def test_last_event_without_its_blank_line_counts_where_the_body_ends_well(cut: int) -> None:
    machine = streaming()
    assert machine.receive_data(TEXT + END[:-cut]) == [Text("more")]
    assert machine.receive_end() == [Finish()]
    assert machine.finished
    machine = streaming()
    machine.receive_data(TEXT + END[:-cut])
    machine.lose_connection(CUT)
    assert isinstance(machine.error, IncompleteStream)


def test_data_that_the_end_has_cut_is_incomplete() -> None:
    machine = Reply(DarkAI(strict=True))
    machine.receive_response(200, STREAM)
    machine.receive_data(TEXT + END[:-4])
    assert machine.receive_end() == []
    assert isinstance(machine.error, IncompleteStream)
    assert isinstance(machine.error.__cause__, InvalidJSON)


@pytest.mark.parametrize("headers", [{}, {"content-type": ""}])
def test_missing_content_type_is_what_the_request_asked_for(headers: dict[str, str]) -> None:
    machine = Reply(DarkAI())
    machine.receive_response(200, headers)
    assert machine.receive_data(TEXT) == [Text("more")]
    machine = Reply(CHATTER)  # it asks for nothing, and so for an event stream
    machine.receive_response(200, headers)
    assert machine.state is REFUSED


def test_content_type_of_the_caller_overrules_the_servers() -> None:
    machine = Reply(DarkAI(), content_type="text/event-stream")
    machine.receive_response(200, {"content-type": "text/plain"})
    assert machine.receive_data(TEXT) == [Text("more")]
    with pytest.raises(TypeError, match="content_type must be a str or None, got 5"):
        Reply(DarkAI(), content_type=5)


def test_events_come_before_their_deltas_if_they_are_wanted() -> None:
    machine = chatting()
    machine.exchange.with_events = True
    line = {"text": "a"}
    assert machine.receive_data(b'{"text": "a"}\n{"usage": [3, 9]}\n') == [
        *(line, Text("a")),
        *({"usage": [3, 9]}, Usage(3, 9)),
    ]


def test_reply_whose_events_were_handed_out_is_not_tried_again() -> None:
    machine = Reply(OpenAI(base_url="http://127.0.0.1"), retries=1)
    machine.exchange.with_events = True
    machine.receive_response(200, STREAM)
    assert len(machine.receive_data(b'data: {"id": "a"}\n\n')) == 1
    machine.lose_connection(CUT)
    assert machine.state is CLOSED


@pytest.mark.parametrize("depth", [900, 100_000])
def test_event_that_is_nested_too_deeply_is_an_error_of_the_protocol(depth: int) -> None:
    machine = Reply(OpenAI(base_url="http://127.0.0.1"))
    machine.receive_response(200, STREAM)
    nested = b"[" * depth + b"]" * depth
    machine.receive_data(b'data: {"choices": [{"delta": {"x": ' + nested + b"}}]}\n\n")
    # CPython 3.12 and later bear more levels than 3.11.
    assert isinstance(machine.error, RemoteProtocolError) or (
        machine.error is None and depth < 1000
    )


def test_last_item_that_the_end_has_cut_is_incomplete() -> None:
    machine = chatting()
    assert machine.receive_data(b'{"text": "a"}\n{"do') == [Text("a")]
    assert machine.receive_end() == []
    assert isinstance(machine.error, IncompleteStream)
    assert machine.error.text == "a"
    assert isinstance(machine.error.__cause__, InvalidJSON)


@pytest.mark.parametrize(
    "after",
    [TEXT, END, ERROR, b"data: {\n\n", b"data: " + b"x" * 200 + b"\n\n"],
    ids=["text", "finish", "error", "damaged", "too large"],
)
def test_what_follows_finish_in_the_same_chunk_is_ignored(after: bytes) -> None:
    machine = streaming(strict=True, max_event_size=100)
    assert machine.receive_data(TEXT + END + after) == [Text("more"), Finish()]
    assert (machine.state, machine.text, machine.error) == (CLOSED, "more", None)


@pytest.mark.parametrize(
    ("bad", "error_class"),
    [
        (ERROR, BackendError),
        (b"data: {\n\n", InvalidJSON),
        (b"data: " + b"x" * 200, EventTooLarge),
    ],
)
def test_deltas_before_an_error_are_kept(bad: bytes, error_class: type[Exception]) -> None:
    machine = streaming(strict=True, max_event_size=100)
    assert machine.receive_data(TEXT + TEXT + bad + TEXT) == [Text("more")] * 2
    assert isinstance(machine.error, error_class)
    assert (machine.state, machine.text) == (CLOSED, "moremore")


def test_first_of_two_errors_in_a_chunk_counts() -> None:
    machine = streaming(max_event_size=100)
    machine.receive_data(TEXT + ERROR + b"data: " + b"x" * 200)
    assert isinstance(machine.error, BackendError)


def test_error_takes_its_events_along_only_once() -> None:
    machine = streaming(max_event_size=100)
    machine.receive_data(TEXT + b"data: " + b"x" * 200)
    assert isinstance(machine.error, EventTooLarge)
    assert machine.error.events == []


def test_error_that_a_backend_does_not_expect_comes_after_the_deltas_before_it() -> None:
    machine = chatting()
    assert machine.receive_data(b'{"text": "a"}\n{"surprise": 1}\n') == [Text("a")]
    assert isinstance(machine.error, KeyError)
    assert machine.state is CLOSED


@pytest.mark.parametrize("cause", [None, ConnectionError("cut")])
@pytest.mark.parametrize(("status", "headers"), [(503, STREAM), (200, PAGE)])
def test_refusal_has_status_headers_and_body(
    status: int, headers: dict[str, str], cause: Exception | None
) -> None:
    machine = Reply(DarkAI())
    machine.receive_response(status, headers)
    machine.receive_data(b"come back ")
    machine.receive_data(b"later")
    end(machine, cause)
    error = machine.error
    assert isinstance(error, UnexpectedResponse)
    assert (error.status, error.headers, error.body) == (status, headers, b"come back later")
    assert "come back later" in str(error)


def test_error_of_the_service_has_the_text_so_far() -> None:
    machine = streaming()
    machine.receive_data(TEXT + TEXT + ERROR)
    assert isinstance(machine.error, BackendError)
    assert machine.error.text == "moremore"
    assert machine.error.payload == {"code": "overloaded"}


# Time limits

HEAD = response(content_type="application/x-ndjson")
CONTENT, USAGE, PIECE = (
    data(line) for line in (b'{"text": "a"}\n', b'{"usage": [3, 1]}\n', b'{"piece": 1}\n')
)

# Limits, what happens after how many seconds, and the limit that is over, after how many.
TIMES: dict[str, tuple[dict[str, float], list[tuple[float, Any]], str, float]] = {
    "total, no response": ({"timeout": 10}, [], "total", 10),
    "total, in spite of content": (
        {"timeout": 10, "idle_timeout": 9},
        [(1, HEAD), *[(2, CONTENT)] * 9],
        *("total", 10),
    ),
    "first, no response": ({"first_timeout": 10, "timeout": 600}, [], "first", 10),
    "first, usage is no content": (
        {"first_timeout": 10},
        [(3, HEAD), (3, USAGE), (3, data(b"\n"))],
        *("first", 10),
    ),
    "first, by default the idle timeout": ({"idle_timeout": 10}, [(3, HEAD)], "first", 10),
    "idle, after the last content": (
        {"first_timeout": 60, "idle_timeout": 10},
        [(30, HEAD), (9, CONTENT), (9, PIECE), (9, CONTENT), (3, USAGE)],
        *("idle", 30 + 9 + 9 + 9 + 10),
    ),
    "idle, longer than the first": (
        {"first_timeout": 5, "idle_timeout": 60},
        [(3, HEAD), (1, CONTENT), (30, CONTENT)],
        *("idle", 34 + 60),
    ),
}


@pytest.mark.parametrize("name", TIMES)
def test_time_limit_of_a_reply(name: str) -> None:
    limits, script, which, seconds = TIMES[name]
    machine = Reply(CHATTER, limits=Limits(**limits))
    run = Simulation(machine)
    for after, what in [*script, (1000, None)]:
        run.wait_for(after, what)
    assert isinstance(machine.error, ReplyTimeout)
    assert (machine.error.which, machine.error.limit) == (which, limits.get(f"{which}_timeout", 10))
    assert run.log[-1] == (seconds, CLOSED)


def test_wait_for_another_attempt_follows_retry_after_and_ends_exactly() -> None:
    machine = Reply(CHATTER, limits=Limits(timeout=60, first_timeout=10), retries=2)
    run = Simulation(machine)
    run.wait_for(1, response(429, retry_after="20"))
    run.wait_for(0, end_of_body)
    run.wait_for(20 + 9, response(503, retry_after="40"))
    run.wait_for(0.5, None)
    # The body of the second refusal never ends; its wait would end after the timeout.
    run.wait_for(100, None)
    states = [(1, REFUSED), (1, WAITING), (21, CONNECTING), (30, REFUSED), (31, CLOSED)]
    assert run.log == states
    assert isinstance(machine.error, UnexpectedResponse)
    assert (machine.error.status, machine.error.retry_after) == (503, 40)


# A reply that may be complete at the end of its body


class Closing:
    """A backend whose service ends by closing once it has said a reason: a line is "reason:..."."""

    name = "closing"
    default_model = "small"
    models = ("small",)

    def request(self, messages: Messages, *, model: str | None = None, **_: Any) -> Request:
        return Request("POST", "http://127.0.0.1/")

    def reply(self, content_type: str) -> ClosingReply:
        return ClosingReply()


class ClosingReply(backends.Reply[str]):
    def __init__(self) -> None:
        self.decoder = NDJSONDecoder(loads=str)
        self._reason: str | None = None

    def interpret(self, line: str, /) -> Iterable[Delta]:
        if line.startswith("reason:"):
            self._reason = line.removeprefix("reason:")
            return []
        return [Text(line)]

    def end(self) -> Iterable[Delta]:
        if self._reason == "":
            raise BackendError("no reason")
        return [] if self._reason is None else [Usage(1, 2), Finish(self._reason)]


def closing(*lines: bytes) -> tuple[Reply, list[Delta]]:
    machine = Reply(Closing())
    machine.receive_response(200, {"content-type": "application/x-ndjson"})
    return machine, [delta for line in lines for delta in machine.receive_data(line)]


def test_reply_can_be_complete_at_the_end_of_the_body() -> None:
    machine, deltas = closing(b"a\n", b"reason:stop\n", b"b")
    assert (deltas, machine.state) == ([Text("a")], OPEN)
    assert machine.receive_end() == [Text("b"), Usage(1, 2), Finish("stop")]
    assert (machine.state, machine.text, machine.exchange.usage) == (CLOSED, "ab", Usage(1, 2))


def test_end_of_the_body_completes_nothing_that_is_not_complete() -> None:
    machine, _ = closing(b"a\n")
    assert machine.receive_end() == []
    assert isinstance(machine.error, IncompleteStream)


def test_lost_connection_is_no_end_that_completes_a_reply() -> None:
    machine, _ = closing(b"reason:stop\n")
    machine.lose_connection(ConnectionError("cut"))
    assert isinstance(machine.error, IncompleteStream)


def test_end_inside_an_item_is_no_end_that_completes_a_reply() -> None:
    machine, _ = closing(b"reason:stop\n", "é".encode()[:1])
    assert machine.receive_end() == []
    assert isinstance(machine.error, IncompleteStream)
    assert isinstance(machine.error.__cause__, InvalidJSON)


def test_error_that_the_end_of_the_body_brings_out_is_kept() -> None:
    machine, _ = closing(b"a\n", b"reason:\n")
    assert machine.receive_end() == []
    assert isinstance(machine.error, BackendError)
    assert machine.error.text == "a"


# Retries


def refused(status: int, retries: int = 1, **headers: str) -> Reply:
    machine = Reply(DarkAI(), retries=retries)
    headers.setdefault("content_type", "text/plain")
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    machine.receive_response(status, fields)
    machine.receive_data(b"no")
    machine.receive_end()
    return machine


@pytest.mark.parametrize("status", [200, 204, 301, 400, 401, 403, 404, 408, 409, 422, 428, 430])
def test_status_that_will_not_change_is_not_tried_again(status: int) -> None:
    machine = refused(status)
    assert machine.state is CLOSED
    assert isinstance(machine.error, UnexpectedResponse)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 529, 599])
def test_status_that_may_pass_is_tried_again(status: int) -> None:
    machine = refused(status)
    assert machine.state is WAITING
    assert isinstance(machine.error, UnexpectedResponse)
    assert machine.error.status == status
    machine.end_wait()
    machine.receive_response(200, STREAM)
    assert machine.receive_data(TEXT + END) == [Text("more"), Finish()]
    assert machine.state is CLOSED


def test_failure_after_the_last_retry_is_the_error() -> None:
    machine = Reply(DarkAI(), retries=2)
    errors = [ConnectionError(str(number)) for number in range(3)]
    for error in errors[:2]:
        machine.lose_connection(error)
        assert machine.error is error
        machine.end_wait()
    machine.lose_connection(errors[2])
    assert (machine.state, machine.error) == (CLOSED, errors[2])


def test_refused_body_of_one_attempt_is_not_that_of_the_next() -> None:
    machine = refused(503)
    machine.end_wait()
    machine.receive_response(500, {})
    machine.receive_data(b"never")
    machine.receive_end()
    assert isinstance(machine.error, UnexpectedResponse)
    assert (machine.error.status, machine.error.body) == (500, b"never")


def test_nothing_is_tried_again_once_anything_of_the_reply_has_come() -> None:
    machine = Reply(DarkAI(), retries=1)
    machine.receive_response(200, STREAM)
    machine.receive_data(b": ping\n\n" + TEXT)
    machine.lose_connection(ConnectionError("cut"))
    assert isinstance(machine.error, IncompleteStream)


def test_stream_lost_before_anything_of_the_reply_has_come_is_tried_again() -> None:
    machine = Reply(DarkAI(), retries=1)
    machine.receive_response(200, STREAM)
    machine.receive_data(b": ping\n\n" + TEXT[:-1])
    cause = ConnectionError("cut")
    machine.lose_connection(cause)
    assert isinstance(machine.error, IncompleteStream)
    assert machine.error.__cause__ is cause
    machine.end_wait()
    machine.receive_response(200, STREAM)
    # Nothing of the first body is left in the decoder.
    assert machine.receive_data(b"\n" + TEXT) == [Text("more")]


@pytest.mark.parametrize("bad", [ERROR, b"data: {\n\n", b"data: " + b"x" * 200, b""])
def test_what_the_service_says_wrong_is_not_tried_again(bad: bytes) -> None:
    machine = Reply(DarkAI(strict=True, max_event_size=100), retries=1)
    machine.receive_response(200, STREAM)
    machine.receive_data(bad)
    if machine.state is OPEN:
        machine.receive_end()
    assert machine.state is CLOSED


def test_waits_are_random_and_doubled_up_to_eight_seconds() -> None:
    waits: list[list[float]] = [[] for _ in range(7)]
    for _ in range(50):
        machine = Reply(DarkAI(), retries=7)
        for number in range(7):
            machine.lose_connection(ConnectionError())
            waits[number].append(machine.wait)
            machine.end_wait()
    for number, longest in enumerate([0.5, 1, 2, 4, 8, 8, 8]):
        assert longest / 2 <= min(waits[number]) < max(waits[number]) <= longest


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [("20", 20, 20), ("0", 0.25, 0.5), ("soon", 0.25, 0.5), ("9" * 400, math.inf, math.inf)],
)
def test_retry_after_makes_the_wait_longer(value: str, least: float, most: float) -> None:
    assert least <= refused(429, retry_after=value).wait <= most


def test_retry_after_may_be_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert 95 < refused(503, retry_after=date).wait <= 100


def test_retries_are_a_number() -> None:
    for wrong in (True, 1.5, "1"):
        with pytest.raises(TypeError, match=f"retries must be an int, got {wrong!r}"):
            Exchange(DarkAI(), "Hello", retries=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="retries must be at least 0, got -1"):
        Exchange(DarkAI(), "Hello", retries=-1)


# Bodies of DarkAI, good and bad, in events that each mean something.
bodies = st.lists(
    st.sampled_from(
        [
            *(event("text-chunk", text=text) for text in TEXTS),
            *(event("text-chunk", text=""), event("final-response", message="whole")),
            *(TEXT.replace(b"\n", b"\r\n"), TEXT.replace(b"\n", b"\r"), TEXT[:-1], TEXT[:-2]),
            *(b": ping\n\n", b"data: {\n\n", b"data: []\n\n", b"\n", b"\xff", b"id: 1\n\n"),
            *(END, ERROR, event("thinking", text="hm"), b"data: " + b"x" * 120 + b"\n\n"),
        ]
    ),
    max_size=8,
).map(b"".join)


def outcome(
    chunks: list[bytes], strict: bool, cut: bool
) -> tuple[list[Delta], str, State, type[Exception] | None, object]:
    machine = streaming(strict=strict, max_event_size=100)
    deltas: list[Delta] = []
    for piece in chunks:
        deltas += machine.receive_data(piece)
    if machine.state is OPEN:
        deltas += end(machine, ConnectionError("cut") if cut else None)
    error = machine.error
    return (
        deltas,
        machine.text,
        machine.state,
        type(error) if error else None,
        error and error.args,
    )


@given(data=st.data(), body=bodies | st.just(BODY), strict=st.booleans(), cut=st.booleans())
def test_outcome_depends_on_the_bytes_not_on_how_they_were_cut(
    data: st.DataObject, body: bytes, strict: bool, cut: bool
) -> None:
    chunks = data.draw(chunks_of(body))
    assert outcome(chunks, strict, cut) == outcome([body], strict, cut)
