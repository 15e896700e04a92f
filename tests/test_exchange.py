"""An exchange: what each input does in each state, and that only the bytes decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sseparse import (
    EventTooLarge,
    IncompleteStream,
    InvalidJSON,
    LocalProtocolError,
    UnexpectedResponse,
)
from sseparse_backends import BackendError, DarkAI, Delta, Finish, Reasoning, Text, Usage
from sseparse_backends._exchange import TRANSITIONS, Exchange, State

from .servers import BODY, CHATTER, TEXTS, event
from .strategies import chunks_of

SENT, STREAMING, REFUSED, FINISHED, FAILED = State

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
    "cut": lambda exchange: exchange.receive_end(ConnectionError("cut")),
    "fail": lambda exchange: exchange.fail(RuntimeError("failed")),
}

# What each input leads to, where it is allowed; everywhere else it is a LocalProtocolError.
TABLE = {
    SENT: {
        "stream": STREAMING,
        "refusal": REFUSED,
        "page": REFUSED,
        "nameless": REFUSED,
        "end": FAILED,
        "cut": FAILED,
        "fail": FAILED,
    },
    STREAMING: {
        "nothing": STREAMING,
        "text": STREAMING,
        "finish": FINISHED,
        "error": FAILED,
        "end": FAILED,
        "cut": FAILED,
        "fail": FAILED,
    },
    REFUSED: {
        "nothing": REFUSED,
        "text": REFUSED,
        "finish": REFUSED,
        "error": REFUSED,
        "end": FAILED,
        "cut": FAILED,
        "fail": FAILED,
    },
    FINISHED: {},
    FAILED: {},
}

# The inputs that bring a new exchange into each state.
WAYS = {
    SENT: [],
    STREAMING: ["stream"],
    REFUSED: ["refusal"],
    FINISHED: ["stream", "finish"],
    FAILED: ["stream", "cut"],
}


def exchange_in(state: State) -> Exchange:
    exchange = Exchange(DarkAI(), "Hello")
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
    assert exchange.receive_end(ConnectionError("cut")) == []
    assert isinstance(exchange.error, IncompleteStream)


@pytest.mark.parametrize("cause", [None, ConnectionError("cut")])
def test_end_before_finish_is_incomplete_with_the_text_and_the_cause(
    cause: Exception | None,
) -> None:
    exchange = streaming()
    exchange.receive_data(TEXT + END[:-1])
    assert exchange.receive_end(cause) == []
    assert isinstance(exchange.error, IncompleteStream)
    assert exchange.error.text == "more"
    assert exchange.error.__cause__ is cause


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


@pytest.mark.parametrize("end", [None, ConnectionError("cut")])
@pytest.mark.parametrize(("status", "headers"), [(503, STREAM), (200, PAGE), (200, {})])
def test_refusal_has_status_headers_and_body(
    status: int, headers: dict[str, str], end: Exception | None
) -> None:
    exchange = Exchange(DarkAI(), "Hello")
    exchange.receive_response(status, headers)
    exchange.receive_data(b"come back ")
    exchange.receive_data(b"later")
    exchange.receive_end(end)
    error = exchange.error
    assert isinstance(error, UnexpectedResponse)
    assert (error.status, error.headers, error.body) == (status, headers, b"come back later")
    assert "come back later" in str(error)


@pytest.mark.parametrize("size", [1, 1000, 65535, 65536, 65537, 200_000])
def test_refused_body_is_read_up_to_64_kib(size: int) -> None:
    exchange = exchange_in(REFUSED)
    sent = 0
    while not exchange.done:
        assert sent < 65536
        assert exchange.receive_data(b"x" * size) == []
        sent += size
    assert isinstance(exchange.error, UnexpectedResponse)
    assert exchange.error.body == b"x" * 65536


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
        deltas += exchange.receive_end(ConnectionError("cut") if cut else None)
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
