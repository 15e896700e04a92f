"""The transport without a network does what every transport must, and what its script says."""

from __future__ import annotations

import math
from typing import Any

import anyio
import pytest

from sseparse.transports import Request, Response, Transport
from sseparse.transports.memory import MemoryResponse, MemoryTransport

pytestmark = pytest.mark.anyio

REQUEST = Request("POST", "http://127.0.0.1/", {"accept": "*/*"}, b"body")


async def test_it_is_a_transport_and_its_responses_are_responses() -> None:
    transport: Transport = MemoryTransport(MemoryResponse())
    response: Response = await transport.send(REQUEST)  # mypy holds both to the protocols
    assert (response.status, response.headers) == (200, {"content-type": "text/event-stream"})


async def test_response_has_the_status_and_headers_that_it_was_given() -> None:
    transport = MemoryTransport(MemoryResponse(status=404, headers={"x": "y"}))
    response = await transport.send(REQUEST)
    assert (response.status, response.headers) == (404, {"x": "y"})


async def test_chunks_come_in_order_and_the_end_stays() -> None:
    response = await MemoryTransport(MemoryResponse([b"a", b"bc"])).send(REQUEST)
    assert [await response.receive() for _ in range(4)] == [b"a", b"bc", b"", b""]


async def test_exception_in_the_script_is_raised_in_its_place() -> None:
    error = ConnectionError("cut")
    response = await MemoryTransport(MemoryResponse([b"a", error, b"b"])).send(REQUEST)
    assert await response.receive() == b"a"
    with pytest.raises(ConnectionError) as caught:
        await response.receive()
    assert caught.value is error


async def test_pause_delays_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(anyio, "sleep", sleep)
    response = await MemoryTransport(MemoryResponse([b"a", 3600, b"b"])).send(REQUEST)
    assert (await response.receive(), pauses) == (b"a", [])
    assert (await response.receive(), pauses) == (b"b", [3600])


async def test_infinite_pause_is_a_stall() -> None:
    response = await MemoryTransport(MemoryResponse([math.inf, b"a"])).send(REQUEST)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(response.receive)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert tasks.cancel_scope.cancelled_caught


async def test_requests_are_kept_and_the_last_response_answers_all_further_ones() -> None:
    transport = MemoryTransport(MemoryResponse(status=1), MemoryResponse(status=2))
    requests = [Request("GET", f"http://127.0.0.1/{number}") for number in range(3)]
    assert [(await transport.send(request)).status for request in requests] == [1, 2, 2]
    assert transport.requests == requests


async def test_each_request_gets_the_script_from_its_beginning() -> None:
    transport = MemoryTransport(MemoryResponse([b"a"]))
    assert [await (await transport.send(REQUEST)).receive() for _ in range(2)] == [b"a", b"a"]


async def test_exception_is_raised_instead_of_a_response() -> None:
    error = ConnectionError("refused")
    transport = MemoryTransport(error, MemoryResponse())
    with pytest.raises(ConnectionError) as caught:
        await transport.send(REQUEST)
    assert caught.value is error
    assert (transport.requests, transport.open) == ([REQUEST], 0)
    assert (await transport.send(REQUEST)).status == 200


async def test_open_counts_the_responses_that_are_not_closed() -> None:
    transport = MemoryTransport(MemoryResponse())
    first, second = await transport.send(REQUEST), await transport.send(REQUEST)
    assert transport.open == 2
    await first.aclose()
    await first.aclose()
    assert transport.open == 1
    await second.aclose()
    assert transport.open == 0


async def test_closed_response_cannot_be_read() -> None:
    response = await MemoryTransport(MemoryResponse([b"a"])).send(REQUEST)
    await response.aclose()
    with pytest.raises(ConnectionError, match="closed"):
        await response.receive()


async def test_every_method_is_a_checkpoint() -> None:
    transport = MemoryTransport(MemoryResponse([b"a"]))
    response = await transport.send(REQUEST)
    for method in (lambda: transport.send(REQUEST), response.receive, response.aclose):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await method()
        assert scope.cancelled_caught
    # What was cancelled has sent nothing, and has closed nonetheless.
    assert (transport.requests, transport.open) == ([REQUEST], 0)


def test_without_a_response_there_is_nothing_to_answer() -> None:
    with pytest.raises(ValueError, match=r"^responses must be one or more, got none$"):
        MemoryTransport()


@pytest.mark.parametrize("response", [None, b"data: x", [MemoryResponse()], MemoryResponse])
def test_response_of_the_wrong_type_is_a_type_error(response: Any) -> None:
    words = r"^a response must be a MemoryResponse or exception, got \w+$"
    with pytest.raises(TypeError, match=words):
        MemoryTransport(MemoryResponse(), response)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"script": b"data: x"}, "^script must be a sequence of steps, got bytes$"),
        ({"script": 5}, "^script must be a sequence of steps, got int$"),
        ({"script": ["x"]}, "^a step of script must be bytes, seconds or an exception, got str$"),
        ({"script": [b"x", None]}, "^a step of script must be .*, got NoneType$"),
        ({"status": "200"}, "^status must be an int, got str$"),
        ({"headers": [("a", "b")]}, "^headers must be a mapping of str to str, got list$"),
    ],
)
def test_argument_of_the_wrong_type_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        MemoryResponse(**fields)


# For threads


def test_script_is_played_to_a_thread_too() -> None:
    transport = MemoryTransport(MemoryResponse([b"a", 0.001, b"b", ConnectionError("cut")]))
    response = transport.prepare(REQUEST)
    assert transport.requests == []
    with pytest.raises(ConnectionError, match="closed"):
        response.receive()
    response.start(None)
    assert (response.status, response.headers) == (200, {"content-type": "text/event-stream"})
    assert [response.receive(), response.receive()] == [b"a", b"b"]
    with pytest.raises(ConnectionError, match="cut"):
        response.receive()
    assert response.receive() == b""
    assert (transport.requests, transport.open) == ([REQUEST], 1)
    for _ in range(2):
        response.close()
        assert transport.open == 0


def test_abort_ends_a_pause() -> None:
    response = MemoryTransport(MemoryResponse([math.inf])).prepare(REQUEST)
    response.start(None)
    response.abort()
    with pytest.raises(ConnectionError, match="aborted"):
        response.receive()
    response.close()
