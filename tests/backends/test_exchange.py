"""An exchange: what each input does in each state, and that only the bytes decide."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sseparse import (
    EventTooLarge,
    IncompleteStream,
    InvalidJSON,
    LocalProtocolError,
    NDJSONDecoder,
    UnexpectedResponse,
)
from sseparse.transports import Request
from sseparse_backends import (
    BackendError,
    DarkAI,
    Delta,
    Finish,
    Messages,
    Reasoning,
    Text,
    Usage,
)
from sseparse_backends._exchange import TRANSITIONS, Exchange, State
from tests.support.servers import BODY, CHATTER, TEXTS, event
from tests.support.strategies import chunks_of

SENT, STREAMING, REFUSED, WAITING, FINISHED, FAILED = State

STREAM = {"content-type": "text/event-stream"}
PAGE = {"content-type": "text/html; charset=utf-8"}
TEXT = event("text-chunk", text="more")
END = event("stream-end")
ERROR = event("error", code="overloaded")

Input: TypeAlias = Callable[[Exchange], object]

INPUTS: dict[str, Input] = {
    "stream": lambda exchange: exchange.receive_response(200, STREAM),
    "refusal": lambda exchange: exchange.receive_response(503, STREAM),
    "page": lambda exchange: exchange.receive_response(200, PAGE),
    "nameless": lambda exchange: exchange.receive_response(200, {}),
    "nothing": lambda exchange: exchange.receive_data(b""),
    "text": lambda exchange: exchange.receive_data(TEXT),
    "finish": lambda exchange: exchange.receive_data(END),
    "error": lambda exchange: exchange.receive_data(ERROR),
    "end": lambda exchange: exchange.receive_end(),
    "cut": lambda exchange: exchange.lose_connection(ConnectionError("cut")),
    "waited": lambda exchange: exchange.end_wait(),
    "fail": lambda exchange: exchange.fail(RuntimeError("failed")),
}

# What each input leads to, where it is allowed; everywhere else it is a LocalProtocolError.
TABLE = {
    SENT: {
        "stream": STREAMING,
        "refusal": REFUSED,
        "page": REFUSED,
        "nameless": REFUSED,
        "cut": WAITING,
        "fail": FAILED,
    },
    STREAMING: {
        "nothing": STREAMING,
        "text": STREAMING,
        "finish": FINISHED,
        "error": FAILED,
        "end": FAILED,
        "cut": WAITING,
        "fail": FAILED,
    },
    REFUSED: {
        "nothing": REFUSED,
        "text": REFUSED,
        "finish": REFUSED,
        "error": REFUSED,
        "end": WAITING,
        "cut": WAITING,
        "fail": FAILED,
    },
    WAITING: {"waited": SENT, "fail": FAILED},
    FINISHED: {},
    FAILED: {},
}

# The inputs that bring a new exchange into each state.
WAYS = {
    SENT: [],
    STREAMING: ["stream"],
    REFUSED: ["refusal"],
    WAITING: ["cut"],
    FINISHED: ["stream", "finish"],
    FAILED: ["stream", "error"],
}


def exchange_in(state: State, retries: int = 1) -> Exchange:
    exchange = Exchange(DarkAI(), "Hello", retries=retries)
    for name in WAYS[state]:
        INPUTS[name](exchange)
    assert exchange.state is state
    return exchange


def streaming(**options: Any) -> Exchange:
    exchange = Exchange(DarkAI(**options), "Hello")
    exchange.receive_response(200, STREAM)
    return exchange


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("state", State)
def test_each_input_in_each_state(state: State, name: str) -> None:
    exchange = exchange_in(state)
    error = exchange.error
    if name in TABLE[state]:
        INPUTS[name](exchange)
        assert exchange.state is TABLE[state][name]
        assert (exchange.error is not None) == (exchange.state is FAILED)
    else:
        with pytest.raises(LocalProtocolError, match=state.name):
            INPUTS[name](exchange)
        assert (exchange.state, exchange.error) == (state, error)


@pytest.mark.parametrize("name", ["end", "cut"])
@pytest.mark.parametrize("state", [SENT, STREAMING, REFUSED])
def test_without_a_retry_left_it_fails_where_it_would_wait(state: State, name: str) -> None:
    if name in TABLE[state]:
        exchange = exchange_in(state, retries=0)
        INPUTS[name](exchange)
        assert exchange.state is FAILED


def test_transitions_are_those_of_the_table() -> None:
    reachable = {state: {*row.values()} - {state} for state, row in TABLE.items()}
    assert reachable == dict(TRANSITIONS)


@pytest.mark.parametrize("state", State)
def test_done_is_where_no_transition_leads_on(state: State) -> None:
    assert exchange_in(state).done == (state in (FINISHED, FAILED))


def test_exchange_asks_the_backend_for_its_request() -> None:
    exchange = Exchange(CHATTER, "Hello", model="large", volume=11)
    assert exchange.request == CHATTER.request("Hello", model="large", volume=11)
    assert exchange.model == "large"
    assert Exchange(CHATTER, "Hello").model == "small"


def test_what_the_backend_refuses_to_send_raises_at_once() -> None:
    with pytest.raises(ValueError, match="no model 'gpt-9'"):
        Exchange(DarkAI(), "Hello", model="gpt-9")


def test_deltas_come_with_the_bytes_that_complete_them() -> None:
    exchange = streaming()
    assert exchange.receive_data(TEXT + TEXT[:-1]) == [Text("more")]
    assert exchange.receive_data(TEXT[-1:]) == [Text("more")]
    assert exchange.text == "moremore"


def test_usage_and_finish_reason_are_kept() -> None:
    exchange = Exchange(CHATTER, "Hello")
    exchange.receive_response(200, {"content-type": "application/x-ndjson"})
    assert (exchange.usage, exchange.finish_reason) == (None, None)
    assert exchange.receive_data(b'{"usage": [3, 0]}\n') == [Usage(3, 0)]
    assert exchange.receive_data(b'{"usage": [3, 9]}\n') == [Usage(3, 9)]
    assert exchange.receive_data(b'{"done": "length"}\n') == [Finish("length")]
    assert (exchange.usage, exchange.finish_reason) == (Usage(3, 9), "length")


def test_deltas_that_are_no_text_pass_through_it() -> None:
    exchange = Exchange(CHATTER, "Hello")
    exchange.receive_response(200, {"content-type": "application/x-ndjson"})
    assert exchange.receive_data(b'{"reasoning": "Hm"}\n') == [Reasoning("Hm")]
    assert (exchange.text, exchange.state) == ("", STREAMING)


def test_content_is_counted_and_usage_is_none() -> None:
    exchange = Exchange(CHATTER, "Hello")
    exchange.receive_response(200, {"content-type": "application/x-ndjson"})
    assert exchange.receive_data(b'{"usage": [3, 0]}\n') == [Usage(3, 0)]
    assert (exchange.content, exchange.begun) == (0, True)
    assert exchange.receive_data(b'{"piece": 1}\n{"reasoning": "Hm"}\n') == [Reasoning("Hm")]
    assert exchange.content == 2


def test_piece_of_something_is_content_but_nothing_that_keeps_from_a_retry() -> None:
    exchange = Exchange(CHATTER, "Hello", retries=1)
    exchange.receive_response(200, {"content-type": "application/x-ndjson"})
    assert exchange.receive_data(b'{"piece": 1}\n') == []
    assert (exchange.content, exchange.begun) == (1, False)
    exchange.lose_connection(ConnectionError("cut"))
    exchange.end_wait()
    assert exchange.content == 0


def test_last_event_may_come_with_the_end_of_the_body() -> None:
    exchange = Exchange(CHATTER, "Hello")
    exchange.receive_response(200, {"content-type": "application/x-ndjson"})
    assert exchange.receive_data(b'{"done": null}') == []
    assert exchange.receive_end() == [Finish(None)]
    assert exchange.state is FINISHED


def test_network_cut_does_not_complete_the_last_event() -> None:
    exchange = Exchange(CHATTER, "Hello")
    exchange.receive_response(200, {"content-type": "application/x-ndjson"})
    assert exchange.receive_data(b'{"done": null}') == []
    exchange.lose_connection(ConnectionError("cut"))
    assert isinstance(exchange.error, IncompleteStream)


def end(exchange: Exchange, cause: Exception | None) -> list[Delta]:
    """End the body, by a failure of the network if there is a cause."""
    if cause is None:
        return exchange.receive_end()
    exchange.lose_connection(cause)
    return []


@pytest.mark.parametrize("cause", [None, ConnectionError("cut")])
def test_end_before_finish_is_incomplete_with_the_text_and_the_cause(
    cause: Exception | None,
) -> None:
    exchange = streaming()
    exchange.receive_data(TEXT + END[:-1])
    assert end(exchange, cause) == []
    assert isinstance(exchange.error, IncompleteStream)
    assert exchange.error.text == "more"
    assert exchange.error.__cause__ is cause


def test_last_item_that_the_end_has_cut_is_incomplete() -> None:
    exchange = Exchange(CHATTER, "Hello")
    exchange.receive_response(200, {"content-type": "application/x-ndjson"})
    assert exchange.receive_data(b'{"text": "a"}\n{"do') == [Text("a")]
    assert exchange.receive_end() == []
    assert isinstance(exchange.error, IncompleteStream)
    assert exchange.error.text == "a"
    assert isinstance(exchange.error.__cause__, InvalidJSON)


@pytest.mark.parametrize(
    "after",
    [TEXT, END, ERROR, b"data: {\n\n", b"data: " + b"x" * 200 + b"\n\n"],
    ids=["text", "finish", "error", "damaged", "too large"],
)
def test_what_follows_finish_in_the_same_chunk_is_ignored(after: bytes) -> None:
    exchange = streaming(strict=True, max_event_size=100)
    assert exchange.receive_data(TEXT + END + after) == [Text("more"), Finish()]
    assert (exchange.state, exchange.text, exchange.error) == (FINISHED, "more", None)


@pytest.mark.parametrize(
    ("bad", "error_class"),
    [
        (ERROR, BackendError),
        (b"data: {\n\n", InvalidJSON),
        (b"data: " + b"x" * 200, EventTooLarge),
    ],
)
def test_deltas_before_an_error_are_kept(bad: bytes, error_class: type[Exception]) -> None:
    exchange = streaming(strict=True, max_event_size=100)
    assert exchange.receive_data(TEXT + TEXT + bad + TEXT) == [Text("more")] * 2
    assert isinstance(exchange.error, error_class)
    assert (exchange.state, exchange.text) == (FAILED, "moremore")


def test_first_of_two_errors_in_a_chunk_counts() -> None:
    exchange = streaming(max_event_size=100)
    exchange.receive_data(TEXT + ERROR + b"data: " + b"x" * 200)
    assert isinstance(exchange.error, BackendError)


def test_error_takes_its_events_along_only_once() -> None:
    exchange = streaming(max_event_size=100)
    exchange.receive_data(TEXT + b"data: " + b"x" * 200)
    assert isinstance(exchange.error, EventTooLarge)
    assert exchange.error.events == []


def test_error_that_a_backend_does_not_expect_comes_after_the_deltas_before_it() -> None:
    exchange = Exchange(CHATTER, "Hello")
    exchange.receive_response(200, {"content-type": "application/x-ndjson"})
    assert exchange.receive_data(b'{"text": "a"}\n{"surprise": 1}\n') == [Text("a")]
    assert isinstance(exchange.error, KeyError)
    assert exchange.state is FAILED


@pytest.mark.parametrize("cause", [None, ConnectionError("cut")])
@pytest.mark.parametrize(("status", "headers"), [(503, STREAM), (200, PAGE), (200, {})])
def test_refusal_has_status_headers_and_body(
    status: int, headers: dict[str, str], cause: Exception | None
) -> None:
    exchange = Exchange(DarkAI(), "Hello")
    exchange.receive_response(status, headers)
    exchange.receive_data(b"come back ")
    exchange.receive_data(b"later")
    end(exchange, cause)
    error = exchange.error
    assert isinstance(error, UnexpectedResponse)
    assert (error.status, error.headers, error.body) == (status, headers, b"come back later")
    assert "come back later" in str(error)


@pytest.mark.parametrize("size", [1, 1000, 65535, 65536, 65537, 200_000])
def test_refused_body_is_read_up_to_64_kib(size: int) -> None:
    exchange = exchange_in(REFUSED, retries=0)
    sent = 0
    while not exchange.done:
        assert sent < 65536
        assert exchange.receive_data(b"x" * size) == []
        sent += size
    assert isinstance(exchange.error, UnexpectedResponse)
    assert exchange.error.body == b"x" * 65536


def test_error_of_the_service_has_the_text_so_far() -> None:
    exchange = streaming()
    exchange.receive_data(TEXT + TEXT + ERROR)
    assert isinstance(exchange.error, BackendError)
    assert exchange.error.text == "moremore"
    assert exchange.error.payload == {"code": "overloaded"}


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


class ClosingReply:
    def __init__(self) -> None:
        self.decoder: NDJSONDecoder[str] = NDJSONDecoder(loads=str)
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


def closing(*lines: bytes) -> tuple[Exchange, list[Delta]]:
    exchange = Exchange(Closing(), "Hello")
    exchange.receive_response(200, {"content-type": "application/x-ndjson"})
    return exchange, [delta for line in lines for delta in exchange.receive_data(line)]


def test_reply_can_be_complete_at_the_end_of_the_body() -> None:
    exchange, deltas = closing(b"a\n", b"reason:stop\n", b"b")
    assert (deltas, exchange.state) == ([Text("a")], STREAMING)
    assert exchange.receive_end() == [Text("b"), Usage(1, 2), Finish("stop")]
    assert (exchange.state, exchange.text, exchange.usage) == (FINISHED, "ab", Usage(1, 2))


def test_end_of_the_body_completes_nothing_that_is_not_complete() -> None:
    exchange, _ = closing(b"a\n")
    assert exchange.receive_end() == []
    assert isinstance(exchange.error, IncompleteStream)


def test_lost_connection_is_no_end_that_completes_a_reply() -> None:
    exchange, _ = closing(b"reason:stop\n")
    exchange.lose_connection(ConnectionError("cut"))
    assert isinstance(exchange.error, IncompleteStream)


def test_error_that_the_end_of_the_body_brings_out_is_kept() -> None:
    exchange, _ = closing(b"a\n", b"reason:\n")
    assert exchange.receive_end() == []
    assert isinstance(exchange.error, BackendError)
    assert exchange.error.text == "a"


# Retries


def refused(status: int, retries: int = 1, **headers: str) -> Exchange:
    exchange = Exchange(DarkAI(), "Hello", retries=retries)
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    exchange.receive_response(status, fields)
    exchange.receive_data(b"no")
    exchange.receive_end()
    return exchange


@pytest.mark.parametrize("status", [200, 204, 301, 400, 401, 403, 404, 408, 409, 422, 428, 430])
def test_status_that_will_not_change_is_not_tried_again(status: int) -> None:
    exchange = refused(status)
    assert exchange.state is FAILED
    assert isinstance(exchange.error, UnexpectedResponse)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 529, 599])
def test_status_that_may_pass_is_tried_again(status: int) -> None:
    exchange = refused(status)
    assert (exchange.state, exchange.error) == (WAITING, None)
    assert isinstance(exchange.reason, UnexpectedResponse)
    assert exchange.reason.status == status
    exchange.end_wait()
    exchange.receive_response(200, STREAM)
    assert exchange.receive_data(TEXT + END) == [Text("more"), Finish()]
    assert exchange.state is FINISHED


def test_failure_after_the_last_retry_is_the_error() -> None:
    exchange = Exchange(DarkAI(), "Hello", retries=2)
    errors = [ConnectionError(str(number)) for number in range(3)]
    for error in errors[:2]:
        exchange.lose_connection(error)
        assert exchange.reason is error
        exchange.end_wait()
    exchange.lose_connection(errors[2])
    assert (exchange.state, exchange.error) == (FAILED, errors[2])


def test_refused_body_of_one_attempt_is_not_that_of_the_next() -> None:
    exchange = refused(503)
    exchange.end_wait()
    exchange.receive_response(500, {})
    exchange.receive_data(b"never")
    exchange.receive_end()
    assert isinstance(exchange.error, UnexpectedResponse)
    assert (exchange.error.status, exchange.error.body) == (500, b"never")


def test_nothing_is_tried_again_once_anything_of_the_reply_has_come() -> None:
    exchange = Exchange(DarkAI(), "Hello", retries=1)
    exchange.receive_response(200, STREAM)
    assert not exchange.begun
    exchange.receive_data(b": ping\n\n" + TEXT)
    assert exchange.begun
    exchange.lose_connection(ConnectionError("cut"))
    assert isinstance(exchange.error, IncompleteStream)


def test_stream_lost_before_anything_of_the_reply_has_come_is_tried_again() -> None:
    exchange = Exchange(DarkAI(), "Hello", retries=1)
    exchange.receive_response(200, STREAM)
    exchange.receive_data(b": ping\n\n" + TEXT[:-1])
    cause = ConnectionError("cut")
    exchange.lose_connection(cause)
    assert isinstance(exchange.reason, IncompleteStream)
    assert exchange.reason.__cause__ is cause
    exchange.end_wait()
    exchange.receive_response(200, STREAM)
    # Nothing of the first body is left in the decoder.
    assert exchange.receive_data(b"\n" + TEXT) == [Text("more")]


@pytest.mark.parametrize("bad", [ERROR, b"data: {\n\n", b"data: " + b"x" * 200, b""])
def test_what_the_service_says_wrong_is_not_tried_again(bad: bytes) -> None:
    exchange = Exchange(DarkAI(strict=True, max_event_size=100), "Hello", retries=1)
    exchange.receive_response(200, STREAM)
    exchange.receive_data(bad)
    if not exchange.done:
        exchange.receive_end()
    assert exchange.state is FAILED


def test_waits_are_random_and_doubled_up_to_eight_seconds() -> None:
    waits: list[list[float]] = [[] for _ in range(7)]
    for _ in range(50):
        exchange = Exchange(DarkAI(), "Hello", retries=7)
        for number in range(7):
            exchange.lose_connection(ConnectionError())
            waits[number].append(exchange.wait)
            exchange.end_wait()
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
    with pytest.raises(ValueError, match="retries must be 0 or more: -1"):
        Exchange(DarkAI(), "Hello", retries=-1)


def _fail(error: Exception, _: str) -> Iterable[Delta]:
    raise error


class Keyed(Closing):
    """A backend with keys, and with an error for each event."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def reply(self, content_type: str) -> ClosingReply:
        if self._error is None:
            raise ValueError(content_type)
        reply = ClosingReply()
        reply.interpret = partial(_fail, self._error)  # type: ignore[method-assign]
        return reply

    def request(self, messages: Messages, *, model: str | None = None, **_: Any) -> Request:
        fields = {"Authorization": "Bearer secret-1", "x-api-key": "secret-2", "cookie": "k"}
        return Request("POST", "http://127.0.0.1/", fields)


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
    exchange = streaming(strict=strict, max_event_size=100)
    deltas: list[Delta] = []
    for piece in chunks:
        if not exchange.done:
            deltas += exchange.receive_data(piece)
    if not exchange.done:
        deltas += end(exchange, ConnectionError("cut") if cut else None)
    error = exchange.error
    return (
        deltas,
        exchange.text,
        exchange.state,
        type(error) if error else None,
        error and error.args,
    )


@given(data=st.data(), body=bodies | st.just(BODY), strict=st.booleans(), cut=st.booleans())
def test_outcome_depends_on_the_bytes_not_on_how_they_were_cut(
    data: st.DataObject, body: bytes, strict: bool, cut: bool
) -> None:
    chunks = data.draw(chunks_of(body))
    assert outcome(chunks, strict, cut) == outcome([body], strict, cut)
