"""The machine: what each input does in each state, and when a time limit is over."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from sseparse import LocalProtocolError, UnexpectedResponse
from sseparse.client import Attempts, Limits, Policy, State
from sseparse.client._attempts import MAX_REFUSED_BODY
from sseparse.transports import CertificateError, Request
from tests.support.policies import AGAIN, CLOSING, CUT, Scripted
from tests.support.simulation import Simulation, data, end, lose, response

CONNECTING, REFUSED, OPEN, WAITING, CLOSED = State


def attempts(policy: Policy[bytes] | None = None, limits: Limits | None = None) -> Attempts[bytes]:
    return Attempts(policy or Scripted(), limits or Limits(), wall_clock=lambda: 0.0)


# States


INPUTS: dict[str, Callable[[Attempts[bytes]], object]] = {
    "stream": response(200),
    "no content": response(204),
    "refusal": response(404),
    "nothing": data(b""),
    "chunk": data(b"a"),
    "again": data(b"again"),
    "done": data(b"done"),
    "bad": data(b"bad"),
    "much": data(b"x" * MAX_REFUSED_BODY),
    "end": end,
    "lose": lose(CUT),
    "distrust": lose(CertificateError("self-signed")),
    "deadline": lambda machine: machine.handle_deadline(0.0),
    "close": lambda machine: machine.close(),
    "fail": lambda machine: machine.fail(CUT),
}

ANY = {"close": CLOSED, "fail": CLOSED}

# The state that each input leads to. An input that is left out is a LocalProtocolError.
TABLE: dict[State, dict[str, State]] = {
    CONNECTING: {
        "stream": OPEN,
        "no content": CLOSED,
        "refusal": REFUSED,
        "lose": WAITING,
        "distrust": CLOSED,
        "deadline": WAITING,
        **ANY,
    },
    OPEN: {
        "nothing": OPEN,
        "chunk": OPEN,
        "again": WAITING,
        "done": CLOSED,
        "bad": CLOSED,
        "much": OPEN,
        "end": WAITING,
        "lose": WAITING,
        "distrust": CLOSED,
        "deadline": WAITING,
        **ANY,
    },
    REFUSED: {
        "nothing": REFUSED,
        "chunk": REFUSED,
        "again": REFUSED,
        "done": REFUSED,
        "bad": REFUSED,
        "much": CLOSED,
        "end": CLOSED,
        "lose": CLOSED,
        "distrust": CLOSED,
        "deadline": CLOSED,
        **ANY,
    },
    WAITING: {"deadline": CONNECTING, **ANY},
    # Late inputs are ignored: they were on their way.
    CLOSED: dict.fromkeys(INPUTS, CLOSED),
}

WAYS = {
    CONNECTING: [],
    OPEN: ["stream"],
    REFUSED: ["refusal"],
    WAITING: ["lose"],
    CLOSED: ["no content"],
}


def machine_in(state: State) -> Attempts[bytes]:
    machine = attempts()
    for name in WAYS[state]:
        INPUTS[name](machine)
    assert machine.state is state
    return machine


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("state", State)
def test_each_input_in_each_state(state: State, name: str) -> None:
    machine = machine_in(state)
    if name in TABLE[state]:
        INPUTS[name](machine)
        assert machine.state is TABLE[state][name]
    else:
        with pytest.raises(LocalProtocolError, match=state.name):
            INPUTS[name](machine)
        assert machine.state is state
    if machine.state not in (WAITING, CLOSED) or state is CLOSED:
        assert machine.error is None


@pytest.mark.parametrize("state", [CONNECTING, WAITING])
def test_response_that_a_policy_leads_to_another_state_is_refused(state: State) -> None:
    class Wrong(Scripted):
        def accept(self, status: int, headers: Mapping[str, str]) -> Any:
            return state

    with pytest.raises(LocalProtocolError, match=f"no transition from CONNECTING to {state.name}"):
        attempts(Wrong()).receive_response(200, {})


def test_closed_machine_keeps_its_first_error_and_delivers_nothing() -> None:
    machine = machine_in(OPEN)
    machine.fail(CUT)
    machine.close(discarded=True)
    machine.fail(AGAIN)
    assert machine.receive_data(b"a") == machine.receive_end() == []
    assert machine.error is CUT


@pytest.mark.parametrize(("discarded", "error"), [(False, None), (True, CLOSING)])
def test_good_end_of_which_something_was_dropped_is_none(
    discarded: bool, error: Exception | None
) -> None:
    machine = machine_in(CLOSED)
    machine.close(discarded=discarded)
    assert machine.error is error


def test_closing_before_the_end_is_what_the_policy_says() -> None:
    machine = machine_in(OPEN)
    machine.close()
    assert machine.error is CLOSING


def test_items_come_with_the_verdict_that_follows_them() -> None:
    machine = machine_in(OPEN)
    assert machine.receive_data(b"again") == [b"again"]
    assert (machine.state, machine.error, machine.wait) == (WAITING, AGAIN, 5.0)
    machine = machine_in(OPEN)
    assert machine.receive_end() == [b"end"]


# Refusals


@pytest.mark.parametrize("finish", [end, lose(CUT)])
def test_refusal_has_status_headers_and_body(finish: Callable[[Any], Any]) -> None:
    machine = attempts()
    machine.receive_response(404, {"x": "y"})
    assert machine.receive_data(b"go ") == machine.receive_data(b"away") == []
    finish(machine)
    error = machine.error
    assert isinstance(error, UnexpectedResponse)
    assert (error.status, error.headers, error.body) == (404, {"x": "y"}, b"go away")
    assert error.url == machine.request.url


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "an event stream"),
        ("*/*", "an event stream"),
        ("text/event-stream", "an event stream"),
        ("application/json, text/event-stream", "an event stream"),
        ("application/x-ndjson", "a JSON stream"),
    ],
)
def test_refusal_names_the_kind_that_the_request_asks_for(
    accept: str | None, expected: str
) -> None:
    policy = Scripted()
    request = Request("GET", "http://h/", {} if accept is None else {"accept": accept})
    policy.request = lambda: request  # type: ignore[method-assign]
    machine = attempts(policy)
    machine.receive_response(202, {"content-type": "text/html"})
    end(machine)
    assert str(machine.error) == (
        f"not {expected} (HTTP 202, text/html) from http://h/: empty body"
    )


@pytest.mark.parametrize("size", [1, 1000, 65535, 65536, 65537, 200_000])
def test_refused_body_is_read_up_to_64_kib(size: int) -> None:
    machine = machine_in(REFUSED)
    sent = 0
    while machine.state is not CLOSED:
        assert sent < 65536
        machine.receive_data(b"x" * size)
        sent += size
    assert isinstance(machine.error, UnexpectedResponse)
    assert machine.error.body == b"x" * 65536


def test_refused_body_of_one_attempt_is_not_that_of_the_next() -> None:
    run = Simulation(attempts())
    for status, body in ((503, b"busy"), (404, b"never")):
        run.wait_for(0, response(status))
        run.wait_for(0, data(body))
        run.wait_for(0, end)
        run.wait_for(5)
    assert isinstance(run.attempts.error, UnexpectedResponse)
    assert run.attempts.error.body == b"never"


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        *(({"retry_after": "20"}, 20), ({"retry_after": "1.5"}, 1.5), ({}, None)),
        ({"retry_after": "Thu, 01 Jan 1970 00:00:09 GMT"}, 9),
    ],
)
def test_refusal_carries_the_wait_that_the_server_asks_for(
    fields: dict[str, str], seconds: float | None
) -> None:
    machine = attempts()
    response(404, **fields)(machine)
    machine.receive_end()
    assert isinstance(machine.error, UnexpectedResponse)
    assert machine.error.retry_after == seconds


# Time


def test_without_limits_nothing_is_due() -> None:
    machine = attempts()
    machine.begin_step(0)
    assert machine.next_deadline() == math.inf
    machine.receive_response(200, {})
    assert not machine.needs_clock
    assert machine.next_deadline() == math.inf


# Limits, what happens after how many seconds, and where that leads: each state with its time.
TIMES: dict[str, tuple[dict[str, float], list[tuple[float, Any]], list[tuple[float, State]]]] = {
    "total, nothing comes": ({"timeout": 10}, [(25, None)], [(10, CLOSED)]),
    "total, in spite of progress": (
        {"timeout": 10},
        [(1, response()), *[(3, data(b"a"))] * 9],
        [(1, OPEN), (10, CLOSED)],
    ),
    "total, over several attempts": (
        {"timeout": 16},
        [(9, lose(CUT)), (25, None)],
        [(9, WAITING), (14, CONNECTING), (16, CLOSED)],
    ),
    "total, a wait beyond it is not begun": (
        {"timeout": 10},
        [(5, lose(CUT)), (25, None)],
        [(5, CLOSED)],
    ),
    "total, in a refusal": ({"timeout": 2.5}, [(2, response(404)), (9, end)],
                            [(2, REFUSED), (2.5, CLOSED)]),
    "first, no response": (
        {"first_timeout": 10},
        [(25, None)],
        [(10, WAITING), (15, CONNECTING), (25, WAITING)],
    ),
    "first, from the request to the first progress": (
        {"first_timeout": 10},
        [(3, response()), (3, data(b".")), (3, data(b".")), (9, data(b"a"))],
        [(3, OPEN), (10, WAITING), (15, CONNECTING)],
    ),
    "first, then no limit": (
        {"first_timeout": 10},
        [(3, response()), (6, data(b"a")), (900, data(b"a"))],
        [(3, OPEN)],
    ),
    "first, anew in each attempt": (
        {"first_timeout": 10},
        [(8, lose(CUT)), (5 + 8, response()), (1, data(b"a"))],
        [(8, WAITING), (13, CONNECTING), (21, OPEN)],
    ),
    "idle, instead of first": ({"idle_timeout": 10}, [(11, None)], [(10, WAITING)]),
    "idle, from the last progress": (
        {"first_timeout": 99, "idle_timeout": 10},
        [(30, response()), (30, data(b"a")), (9, data(b"a")), (9, data(b".")), (9, data(b"a"))],
        [(30, OPEN), (79, WAITING), (84, CONNECTING)],
    ),
    "idle, the shorter of two limits": (
        {"timeout": 12, "idle_timeout": 10},
        [(5, response()), (4, data(b"a")), (9, data(b"a"))],
        [(5, OPEN), (12, CLOSED)],
    ),
    "refusal, its body for a second": (
        {"idle_timeout": 0.5, "timeout": 60},
        [(0.25, response(404)), (0.5, data(b"a")), (0.4, data(b"b")), (9, end)],
        [(0.25, REFUSED), (1.25, CLOSED)],
    ),
    "refusal, another second in the next attempt": (
        {},
        [(1, response(503)), (0.9, end), (5 + 1, response(404)), (9, end)],
        [(1, REFUSED), (1.9, WAITING), (6.9, CONNECTING), (7.9, REFUSED), (8.9, CLOSED)],
    ),
    "wait, exactly": ({}, [(1, lose(CUT)), (9, None)], [(1, WAITING), (6, CONNECTING)]),
    "wait, idle does not count": (
        {"idle_timeout": 2},
        [(1, lose(CUT)), (5 + 1, response())],
        [(1, WAITING), (6, CONNECTING), (7, OPEN)],
    ),
    "wait, Retry-After": (
        {"timeout": 60},
        [(1, response(503, retry_after="20")), (0, end), (21, response())],
        [(1, REFUSED), (1, WAITING), (21, CONNECTING), (22, OPEN)],
    ),
    "wait, Retry-After beyond the total": (
        {"timeout": 20},
        [(1, response(503, retry_after="20")), (0, end)],
        [(1, REFUSED), (1, CLOSED)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TIMES)
def test_time_limit(name: str) -> None:
    limits, script, expected = TIMES[name]
    run = Simulation(attempts(limits=Limits(**limits)))
    for seconds, what in script:
        run.wait_for(seconds, what)
    assert [state for _, state in run.log] == [state for _, state in expected]
    assert [time for time, _ in run.log] == pytest.approx([time for time, _ in expected])


def test_policy_is_told_which_limit_is_over() -> None:
    policy = Scripted()
    run = Simulation(attempts(policy, Limits(60, 10, 7)))
    run.wait_for(15)
    run.wait_for(1, response())
    run.wait_for(1, data(b"a"))
    run.wait_for(100)
    assert policy.timeouts[:2] == [("first", 10), ("idle", 7)]
    assert policy.timeouts[-1] == ("total", 60)
    assert run.attempts.state is CLOSED


def test_time_between_two_steps_counts_for_the_total_alone() -> None:
    run = Simulation(attempts(limits=Limits(timeout=60, idle_timeout=10)))
    run.wait_for(5, response())
    run.rest(20)
    run.wait_for(4, data(b"."))
    run.rest(20)
    run.wait_for(2)
    assert run.log == [(5, OPEN), (5 + 20 + 4 + 20 + 1, WAITING)]
    run.rest(9)
    run.wait_for(9)
    assert run.log[-1] == (60, CLOSED)


# Limits


@pytest.mark.parametrize("name", ["timeout", "first_timeout", "idle_timeout"])
@pytest.mark.parametrize("seconds", [0, -1.0, math.nan])
def test_time_limit_must_be_positive(name: str, seconds: float) -> None:
    with pytest.raises(
        ValueError, match=f"^{name} must be positive seconds or None, got {seconds}"
    ):
        Limits(**{name: seconds})


@pytest.mark.parametrize("name", ["timeout", "first_timeout", "idle_timeout"])
@pytest.mark.parametrize("wrong", ["5", True])
def test_time_limit_must_be_a_number(name: str, wrong: Any) -> None:
    with pytest.raises(TypeError, match=f"^{name} must be seconds or None, got {wrong!r}$"):
        Limits(**{name: wrong})
