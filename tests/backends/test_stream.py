"""The driver, on asyncio and on trio: text to the letter, and nothing left open, however it ends.

The logic is tested over a MemoryTransport, the network over real sockets.
"""

from __future__ import annotations

import asyncio
import gc
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import anyio
import httpx2
import pytest
from anyio.abc import SocketStream

from sseparse import (
    EventTooLarge,
    IncompleteStream,
    InvalidJSON,
    LocalProtocolError,
    UnexpectedResponse,
)
from sseparse.transports import Request, Transport
from sseparse.transports.httpx2 import HTTPX2Transport
from sseparse.transports.memory import MemoryResponse, MemoryTransport, ScriptedBody
from sseparse_backends import (
    Backend,
    BackendError,
    DarkAI,
    Finish,
    ReplyStream,
    ReplyTimeout,
    Text,
    Usage,
    stream,
)
from tests.support.cancellation import cancelling_at_each_await
from tests.support.clocks import virtual_time
from tests.support.servers import (
    BODY,
    CHATTER,
    CHUNKED,
    LAST_CHUNK,
    TEXTS,
    Server,
    answer,
    chunk,
    collect,
    event,
    head,
    http_proxy,
    open_sockets,
    read_request,
    reset,
    serve,
    socks5_proxy,
    until_client_leaves,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("quick_collection")]

STALL = math.inf
FIRST = event("text-chunk", text="first")
LINES = {"content-type": "application/x-ndjson"}


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    """Let what is unclosed warn while its loop runs: the warnings are errors."""
    yield
    gc.collect()
    await anyio.lowlevel.checkpoint()


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    """A client for many requests: to make one takes longer than to send with it."""
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(limits=limits, trust_env=False) as client:
        yield HTTPX2Transport(client)


def memory(*script: Any, **options: Any) -> MemoryTransport:
    return MemoryTransport(MemoryResponse(script, **options))


def ask(transport: Transport | None, server: Server | None = None, **options: Any) -> ReplyStream:
    backend = DarkAI(api_endpoint=server.url) if server else DarkAI()
    return stream(backend, "Hello", transport=transport, **options)


# Iteration


async def test_text_comes_as_it_arrives() -> None:
    going_on = anyio.Event()

    async def wait(_: SocketStream) -> None:
        await going_on.wait()

    async with (
        serve(answer(head() + FIRST, wait, BODY)) as server,
        ask(None, server) as reply,
    ):
        with anyio.fail_after(5):
            assert await anext(reply) == "first"
        going_on.set()
        assert [text async for text in reply] == TEXTS


async def test_request_is_the_backends() -> None:
    transport = memory(BODY)
    async with stream(DarkAI(), "Hello", model="gpt-4o", transport=transport) as reply:
        assert reply.model == "gpt-4o"
    assert transport.requests == [DarkAI().request("Hello", model="gpt-4o")]


async def test_options_are_the_backends() -> None:
    transport = memory(b'{"done": null}\n', headers=LINES)
    async with stream(CHATTER, "Hello", transport=transport, volume=11):
        pass
    assert transport.requests == [CHATTER.request("Hello", volume=11)]


async def test_wrong_arguments_raise_at_once_and_open_nothing() -> None:
    transport = memory(BODY)
    with pytest.raises(ValueError, match="no model"):
        ask(transport, model="gpt-9")
    with pytest.raises(TypeError, match="no option volume"):
        ask(transport, volume=11)
    with pytest.raises(ValueError, match="either a transport or a proxy"):
        ask(transport, proxy="http://127.0.0.1:1")
    with pytest.raises(ValueError, match="ftp"):
        ask(None, proxy="ftp://127.0.0.1:1")
    assert transport.requests == []


async def test_nothing_is_sent_before_it_is_opened() -> None:
    transport = memory(BODY)
    reply = ask(transport)
    await anyio.lowlevel.checkpoint()
    assert transport.requests == []
    assert await reply.text() == "".join(TEXTS)
    assert len(transport.requests) == 1


async def test_without_async_with_the_end_of_the_iteration_closes_it() -> None:
    transport = memory(BODY, STALL)
    assert [text async for text in ask(transport)] == TEXTS
    assert transport.open == 0


async def test_body_after_the_finish_is_not_awaited() -> None:
    transport = memory(BODY, STALL)
    with anyio.fail_after(5):
        assert await collect(ask(transport)) == (TEXTS, None)
    assert transport.open == 0


async def test_finished_iteration_stays_finished() -> None:
    async with ask(memory(BODY)) as reply:
        assert [text async for text in reply] == TEXTS
        assert [text async for text in reply] == []
    async with reply:
        assert [text async for text in reply] == []
    assert await reply.text() == "".join(TEXTS)


async def test_text_is_the_whole_of_it_with_what_has_been_iterated_over() -> None:
    async with ask(memory(BODY)) as reply:
        assert await anext(reply) == TEXTS[0]
        assert await reply.text() == await reply.text() == "".join(TEXTS)


async def test_deltas_are_typed_and_usage_and_reason_are_kept() -> None:
    lines = [b'{"usage": [3, 0]}\n{"text": "Hi"}\n', b'{"usage": [3, 1]}\n{"done": "stop"}\n']
    transport = memory(*lines, headers=LINES)
    async with stream(CHATTER, "Hello", model="large", transport=transport) as reply:
        assert (reply.model, reply.usage, reply.finish_reason) == ("large", None, None)
        deltas = [delta async for delta in reply.deltas()]
        assert (reply.usage, reply.finish_reason) == (Usage(3, 1), "stop")
    assert deltas == [Usage(3, 0), Text("Hi"), Usage(3, 1), Finish("stop")]


async def test_iteration_over_text_passes_other_deltas_by() -> None:
    transport = memory(b'{"usage": [3, 0]}\n{"text": "Hi"}\n{"done": "stop"}\n', headers=LINES)
    async with stream(CHATTER, "Hello", transport=transport) as reply:
        assert [text async for text in reply] == ["Hi"]


async def test_two_tasks_share_a_reply_without_loss_or_error() -> None:
    texts: list[str] = []

    async def eat(reply: ReplyStream) -> None:
        async for text in reply:
            texts.append(text)
            await anyio.lowlevel.checkpoint()

    transport = memory(FIRST, BODY)
    async with ask(transport) as reply, anyio.create_task_group() as tasks:
        tasks.start_soon(eat, reply)
        tasks.start_soon(eat, reply)
    assert texts == ["first", *TEXTS]


# Any cut


async def test_split_at_every_byte_changes_nothing(transport: Transport) -> None:
    positions = iter(range(1, len(BODY)))

    async def split(connection: SocketStream) -> None:
        at = next(positions)
        await connection.send(chunk(BODY[:at]) + chunk(BODY[at:]) + LAST_CHUNK)

    async with serve(answer(CHUNKED, split)) as server:
        for _ in range(1, len(BODY)):
            assert await collect(ask(transport, server)) == (TEXTS, None)
        assert next(positions, None) is None
        await server.until_open(0)


def _closing(body: bytes) -> list[bytes]:
    return [head(200, "connection: close"), body]


def _between_chunks(body: bytes) -> list[bytes]:
    return [CHUNKED, chunk(body)]


def _inside_a_chunk(body: bytes) -> list[bytes]:
    return [CHUNKED, b"%x\r\n%s" % (len(BODY) + 1, body)]


def _of_a_length(body: bytes) -> list[bytes]:
    return [head(200, f"content-length: {len(BODY) + 1}"), body]


@pytest.mark.parametrize("framing", [_closing, _between_chunks, _inside_a_chunk, _of_a_length])
async def test_cut_after_every_byte_is_incomplete_until_the_stream_end_is_complete(
    transport: Transport, framing: Callable[[bytes], list[bytes]]
) -> None:
    positions = iter(range(len(BODY) + 1))

    async def cut(connection: SocketStream) -> None:
        for piece in framing(BODY[: next(positions)]):
            await connection.send(piece)

    async with serve(answer(cut)) as server:
        for position in range(len(BODY) + 1):
            texts, error = await collect(ask(transport, server))
            assert texts == TEXTS[: BODY[:position].count(b"\n\n")]
            if position == len(BODY):
                assert error is None
                continue
            assert isinstance(error, IncompleteStream)
            assert error.text == "".join(texts)
            if framing is _closing:
                assert error.__cause__ is None
            else:
                assert isinstance(error.__cause__, ConnectionError)
        await server.until_open(0)


async def test_reset_after_every_byte_is_incomplete_with_the_failure_as_cause(
    transport: Transport,
) -> None:
    # A reset may overtake the data: it waits until the client has all the text there is.
    position = 0
    arrived = anyio.Event()

    async def reset_at(connection: SocketStream) -> None:
        await connection.send(CHUNKED + chunk(BODY[:position]))
        await arrived.wait()
        await reset(connection)

    async with serve(answer(reset_at)) as server:
        for position in range(len(BODY)):
            arrived = anyio.Event()
            async with ask(transport, server) as reply:
                expected = TEXTS[: BODY[:position].count(b"\n\n")]
                assert [await anext(reply) for _ in expected] == expected
                arrived.set()
                with pytest.raises(IncompleteStream) as caught:
                    await anext(reply)
            assert caught.value.text == "".join(expected)
            assert isinstance(caught.value.__cause__, ConnectionError)
        await server.until_open(0)


async def test_reset_after_the_stream_end_is_no_error(transport: Transport) -> None:
    async with (
        serve(answer(CHUNKED, chunk(BODY), reset)) as server,
        ask(transport, server) as reply,
    ):
        assert await reply.text() == "".join(TEXTS)


# Errors


@pytest.mark.parametrize(
    ("bad", "error_class"),
    [
        (event("error", code="overloaded"), BackendError),
        (b"data: {\n\n", InvalidJSON),
        (b"data: " + b"x" * 200, EventTooLarge),
        (ConnectionError("cut"), IncompleteStream),
        (b"", IncompleteStream),
    ],
)
async def test_error_comes_after_the_text_before_it_and_again_at_each_further_step(
    bad: bytes | Exception, error_class: type[Exception]
) -> None:
    transport = memory(*[FIRST + bad] if isinstance(bad, bytes) else [FIRST, bad])
    backend = DarkAI(strict=True, max_event_size=100)
    async with stream(backend, "Hello", transport=transport) as reply:
        assert await anext(reply) == "first"
        with pytest.raises(error_class) as caught:
            await anext(reply)
        assert transport.open == 0
        for again in (reply.__anext__, reply.deltas().__anext__, reply.text, reply.__aenter__):
            with pytest.raises(error_class) as caught_again:
                await again()
            assert caught_again.value is caught.value


async def test_failure_to_connect_is_a_connection_error() -> None:
    async with serve(answer()) as server:
        pass
    texts, error = await collect(ask(None, server))
    assert texts == []
    assert isinstance(error, ConnectionError)
    assert server.url in str(error)


@pytest.mark.parametrize("error", [ConnectionError("refused"), ValueError("bad URL")])
async def test_failure_to_send_is_raised_as_it_is(error: Exception) -> None:
    assert await collect(ask(MemoryTransport(error))) == ([], error)
    reply = ask(MemoryTransport(error))
    for _ in range(2):
        with pytest.raises(type(error)) as caught:
            await reply.text()
        assert caught.value is error


async def test_unforeseen_error_passes_closes_the_connection_and_stays() -> None:
    transport = memory(FIRST, ZeroDivisionError())
    reply = ask(transport)
    assert await anext(reply) == "first"
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await anext(reply)
        assert transport.open == 0


async def test_bug_in_a_backend_passes_and_closes_the_connection() -> None:
    transport = memory(b'{"surprise": 1}\n', headers=LINES)
    reply = stream(CHATTER, "Hello", transport=transport)
    with pytest.raises(KeyError, match="error"):
        await anext(reply)
    assert transport.open == 0


async def test_exception_of_the_consumer_passes_as_it_is_and_closes_the_connection() -> None:
    error = RuntimeError("the consumer's")
    async with serve(answer(head() + FIRST, until_client_leaves)) as server:

        async def consume() -> None:
            async with ask(None, server) as reply:
                async for _ in reply:
                    raise error

        with pytest.raises(RuntimeError) as caught:
            await consume()
        assert caught.value is error
        await server.until_open(0)


# Refusals


@pytest.mark.parametrize(
    ("status", "content_type", "said"),
    [
        (503, "application/json", '{"error": "overloaded"}'),
        (429, "text/event-stream", 'data: {"error": "slow down"}'),
        (200, "text/html; charset=utf-8", "<h1>Sign in</h1>"),
        (200, "application/x-ndjson", "{}"),
    ],
)
async def test_refusal_is_raised_on_entering_with_the_words_of_the_service(
    status: int, content_type: str, said: str
) -> None:
    refusal = head(status, "x-request-id: 7", content_type=content_type) + said.encode()
    async with serve(answer(refusal)) as server:
        with pytest.raises(UnexpectedResponse) as caught:
            async with ask(None, server):
                pytest.fail("it was refused")
        error = caught.value
        assert (error.status, error.body.decode()) == (status, said)
        assert isinstance(error.__cause__, ValueError) == (status == 200)
        assert error.headers["content-type"] == content_type
        assert error.headers["x-request-id"] == "7"
        assert said in str(error)
        await server.until_open(0)


async def test_endless_refusal_is_read_up_to_64_kib() -> None:
    async def pour(connection: SocketStream) -> None:
        while True:
            await connection.send(b"no " * 1000)

    async with serve(answer(head(500), pour)) as server:
        with anyio.fail_after(5):
            _, error = await collect(ask(None, server))
        assert isinstance(error, UnexpectedResponse)
        assert error.body == (b"no " * 65536)[:65536]
        await server.until_open(0)


@pytest.mark.parametrize("limit", [None, 0.5])
async def test_refusal_that_never_ends_is_read_for_a_second_at_most(limit: float | None) -> None:
    async with serve(answer(head(500) + b"go away", until_client_leaves)) as server:
        with anyio.fail_after(5):
            _, error = await collect(ask(None, server, timeout=limit))
        assert isinstance(error, UnexpectedResponse)
        assert error.body == b"go away"
        await server.until_open(0)


async def test_refusal_whose_body_is_cut_is_still_a_refusal() -> None:
    async with serve(answer(head(500, "content-length: 100") + b"go away")) as server:
        _, error = await collect(ask(None, server))
        assert isinstance(error, UnexpectedResponse)
        assert error.body == b"go away"


# Closing


async def test_leaving_early_closes_the_connection() -> None:
    async with serve(answer(head() + FIRST, until_client_leaves)) as server:
        async with ask(None, server) as reply:
            async for _ in reply:
                break
            assert server.open == 1
        await server.until_open(0)
        for _ in range(2):
            with pytest.raises(LocalProtocolError, match="closed before the reply was finished"):
                await anext(reply)


async def test_leaving_before_the_first_step_closes_the_connection() -> None:
    async with serve(answer(head(), until_client_leaves)) as server:
        async with ask(None, server):
            assert server.open == 1
        await server.until_open(0)


@pytest.mark.parametrize("entered", [True, False])
async def test_aclose_from_another_task_breaks_an_iteration_at_once(entered: bool) -> None:
    async with serve(answer(head() + FIRST, until_client_leaves)) as server:
        reply = ask(None, server)
        arrived = anyio.Event()
        texts: list[str] = []

        async def iterate() -> None:
            if entered:
                await reply.__aenter__()
            texts.append(await anext(reply))
            arrived.set()
            with pytest.raises(LocalProtocolError, match="closed before the reply was finished"):
                await anext(reply)

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(iterate)
                await arrived.wait()
                await anyio.wait_all_tasks_blocked()
                await reply.aclose()
        assert texts == ["first"]
        await server.until_open(0)


async def test_aclose_from_another_task_breaks_the_sending_too() -> None:
    async with serve(answer(until_client_leaves)) as server:
        reply = ask(None, server)

        async def iterate() -> None:
            with pytest.raises(LocalProtocolError, match="closed before the reply was finished"):
                await anext(reply)

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(iterate)
                await server.until_open(1)
                await reply.aclose()
        await server.until_open(0)


async def test_aclose_while_it_is_being_entered_is_an_error_there() -> None:
    async with serve(answer(until_client_leaves)) as server:
        reply = ask(None, server)

        async def enter() -> None:
            with pytest.raises(LocalProtocolError, match="closed"):
                await reply.__aenter__()

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(enter)
                await server.until_open(1)
                await reply.aclose()
        await server.until_open(0)


async def test_closed_stream_cannot_be_entered() -> None:
    transport = memory(BODY)
    reply = ask(transport)
    await reply.aclose()
    with pytest.raises(LocalProtocolError, match="closed"):
        async with reply:
            pytest.fail("it was closed")
    assert transport.requests == []


async def test_closed_stream_yields_nothing_more_even_if_it_has_arrived() -> None:
    async with ask(memory(BODY)) as reply:
        assert await anext(reply) == TEXTS[0]
    for further in (reply, reply.deltas()):
        with pytest.raises(LocalProtocolError, match="closed before the reply was finished"):
            await anext(further)


async def test_text_of_a_stream_closed_early_is_a_local_protocol_error() -> None:
    async with ask(memory(FIRST, STALL)) as reply:
        assert await anext(reply) == "first"
    with pytest.raises(LocalProtocolError, match="closed before the reply was finished"):
        await reply.text()


async def test_closing_again_does_nothing() -> None:
    transport = memory(FIRST, STALL)
    async with ask(transport) as reply:
        await reply.aclose()
        await reply.aclose()
        assert transport.open == 0


@virtual_time
async def test_closing_that_hangs_is_given_up_after_a_second() -> None:
    class Clinging(MemoryTransport):
        async def send(self, request: Request) -> Any:
            response = await super().send(request)
            response.aclose = anyio.sleep_forever  # type: ignore[method-assign]
            return response

    start = anyio.current_time()
    async with ask(Clinging(MemoryResponse([FIRST, STALL]))) as reply:
        assert await anext(reply) == "first"
    assert anyio.current_time() - start == pytest.approx(1)


async def test_unclosed_stream_warns() -> None:
    reply = ask(memory(FIRST, STALL))
    assert await anext(reply) == "first"
    with pytest.warns(ResourceWarning, match="unclosed .*ReplyStream"):
        del reply


# Cancellation


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ([FIRST, 0.0, BODY[:-1], BODY[-1:]], 200),
        ([FIRST, ConnectionError("cut")], 200),
        ([FIRST, BODY, STALL], 200),
        ([FIRST, 0.0, BODY], 500),
    ],
    ids=["good", "cut", "finished", "refused"],
)
async def test_cancellation_at_any_await_closes_the_response(
    script: list[bytes | float | Exception], status: int
) -> None:
    transport = memory(*script, status=status)

    async def run() -> None:
        await collect(ask(transport))

    async def check() -> None:
        assert transport.open == 0

    assert await cancelling_at_each_await(run, check) > 3
    assert len(transport.requests) > 3


@pytest.mark.parametrize("entered", [True, False])
async def test_cancellation_at_any_await_closes_the_socket(
    transport: Transport, entered: bool
) -> None:
    async with serve(answer(CHUNKED, chunk(FIRST), chunk(BODY), until_client_leaves)) as server:

        async def run() -> None:
            reply = ask(transport, server)
            if entered:
                assert await collect(reply) == (["first", *TEXTS], None)
            else:
                assert [text async for text in reply] == ["first", *TEXTS]

        async def check() -> None:
            await server.until_open(0)

        before = open_sockets()
        assert await cancelling_at_each_await(run, check) > 3
        assert open_sockets() == before
        # The client is as good as new.
        assert await collect(ask(transport, server)) == (["first", *TEXTS], None)


async def test_cancellation_at_any_await_closes_a_client_of_its_own() -> None:
    async with serve(answer(head() + FIRST + BODY, until_client_leaves)) as server:

        async def run() -> None:
            assert await ask(None, server).text() == "first" + "".join(TEXTS)

        async def check() -> None:
            await server.until_open(0)

        before = open_sockets()
        assert await cancelling_at_each_await(run, check) > 3
        assert open_sockets() == before


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_timeout_of_asyncio_ends_a_step_and_closes_the_connection() -> None:
    async with serve(answer(head() + FIRST, until_client_leaves)) as server:
        reply = ask(None, server)
        assert await anext(reply) == "first"
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.01):
                await anext(reply)
        assert type(caught.value) is TimeoutError
        await server.until_open(0)
        with pytest.raises(LocalProtocolError, match="closed before the reply was finished"):
            await anext(reply)


@virtual_time
async def test_cancelled_stream_yields_nothing_more_and_has_no_text() -> None:
    reply = ask(memory(FIRST, STALL))
    assert await anext(reply) == "first"
    with anyio.move_on_after(1) as scope:
        await anext(reply)
    assert scope.cancelled_caught
    with pytest.raises(LocalProtocolError, match="closed before the reply was finished"):
        await reply.text()


# Timeouts


@virtual_time
@pytest.mark.parametrize(
    ("script", "text"),
    [([STALL], ""), ([FIRST, STALL], "first"), ([FIRST, *[1, b": ping\n\n"] * 1000], "first")],
    ids=["silence", "stall", "pings"],
)
@pytest.mark.parametrize("limit", ["timeout", "idle_timeout"])
async def test_timeout_is_raised_with_the_text_so_far(
    limit: str, script: list[bytes | float], text: str
) -> None:
    transport = memory(*script)
    start = anyio.current_time()
    texts, error = await collect(ask(transport, None, **{limit: 10}))
    assert anyio.current_time() - start == pytest.approx(10)
    assert isinstance(error, ReplyTimeout)
    assert (error.limit, error.text, "".join(texts)) == (10, text, text)
    assert error.which == ("total" if limit == "timeout" else "idle" if text else "first")
    assert transport.open == 0


@virtual_time
async def test_total_timeout_is_not_extended_by_content() -> None:
    transport = memory(*[FIRST, 1] * 1000)
    texts, error = await collect(ask(transport, timeout=9.5))
    assert isinstance(error, ReplyTimeout)
    assert (error.text, texts) == ("first" * 10, ["first"] * 10)


@virtual_time
async def test_idle_timeout_is_extended_by_content() -> None:
    # All in all it takes longer than the timeout.
    transport = memory(*[FIRST, 9] * 10, BODY)
    texts, error = await collect(ask(transport, idle_timeout=10))
    assert (len(texts), error) == (10 + len(TEXTS), None)


@virtual_time
@pytest.mark.parametrize("limit", ["first_timeout", "idle_timeout"])
@pytest.mark.parametrize("line", [b'{"usage": [3, 1]}\n', b"\n"], ids=["usage", "blank"])
async def test_what_is_no_content_extends_no_timeout(limit: str, line: bytes) -> None:
    transport = memory(*[line, 1] * 100, headers=LINES)
    reply = stream(CHATTER, "Hello", transport=transport, **{limit: 10})  # type: ignore[arg-type]
    start = anyio.current_time()
    with pytest.raises(ReplyTimeout) as caught:
        await reply.text()
    assert caught.value.which == "first"
    assert anyio.current_time() - start == pytest.approx(10)


@virtual_time
async def test_piece_of_a_tool_call_is_content_that_extends_the_idle_timeout() -> None:
    script: list[bytes | float] = [b'{"piece": 1}\n', 9]
    transport = memory(*script * 5, b'{"done": "stop"}\n', headers=LINES)
    async with stream(CHATTER, "Hello", transport=transport, idle_timeout=10) as reply:
        assert [delta async for delta in reply.deltas()] == [Finish("stop")]


@virtual_time
async def test_idle_timeout_does_not_count_the_time_of_a_slow_consumer() -> None:
    async with ask(memory(FIRST, BODY), idle_timeout=10) as reply:
        texts: list[str] = []
        async for text in reply:
            texts.append(text)
            await anyio.sleep(12)
    assert texts == ["first", *TEXTS]


@pytest.mark.parametrize("limit", ["timeout", "idle_timeout"])
@pytest.mark.parametrize("entered", [True, False])
async def test_server_that_never_answers_is_a_timeout(limit: str, entered: bool) -> None:
    async with serve(answer(until_client_leaves)) as server:
        reply = ask(None, server, **{limit: 0.1})
        with anyio.fail_after(5), pytest.raises(ReplyTimeout) as caught:
            await (reply.__aenter__() if entered else reply.text())
        assert caught.value.text == ""
        await server.until_open(0)


@virtual_time
async def test_timeout_is_600_seconds_by_default_and_none_is_no_limit() -> None:
    class Clocked(MemoryTransport):
        async def send(self, request: Request) -> Any:
            deadlines.append(anyio.current_effective_deadline())
            return await super().send(request)

    deadlines: list[float] = []
    start = anyio.current_time()
    for options in ({}, {"timeout": 600}, {"timeout": None}):
        await ask(Clocked(MemoryResponse([BODY])), **options).text()
    assert deadlines == [pytest.approx(start + 600)] * 2 + [math.inf]


@virtual_time
async def test_first_timeout_is_for_the_first_content_alone() -> None:
    script: list[bytes | float] = [10, FIRST, 10, FIRST, STALL]
    texts, error = await collect(ask(memory(*script), first_timeout=9, idle_timeout=60))
    assert (texts, isinstance(error, ReplyTimeout) and error.which) == ([], "first")
    texts, error = await collect(ask(memory(*script), first_timeout=60, idle_timeout=9))
    assert (texts, isinstance(error, ReplyTimeout) and error.which) == (["first"], "idle")
    reply = ask(memory(*script), first_timeout=15)
    assert [await anext(reply), await anext(reply)] == ["first", "first"]
    await reply.aclose()


@virtual_time
async def test_first_timeout_goes_on_from_the_opening_to_the_first_content() -> None:
    class Slow(MemoryTransport):
        async def send(self, request: Request) -> Any:
            await anyio.sleep(6)
            return await super().send(request)

    pings: list[bytes | float] = [b": ping\n\n", 1]
    transport = Slow(MemoryResponse([*pings * 3, STALL]))
    start = anyio.current_time()
    _, error = await collect(ask(transport, first_timeout=10))
    assert isinstance(error, ReplyTimeout)
    assert error.which == "first"
    assert anyio.current_time() - start == pytest.approx(10)


async def test_connection_that_takes_too_long_is_a_timeout(full_backlog: int) -> None:
    backend = DarkAI(api_endpoint=f"http://127.0.0.1:{full_backlog}/")
    reply = stream(backend, "Hello", connect_timeout=0.2)
    with anyio.fail_after(5), pytest.raises(ReplyTimeout) as caught:
        await reply.text()
    assert (caught.value.limit, caught.value.which) == (0.2, "connect")
    assert isinstance(caught.value.__cause__, TimeoutError)


@pytest.mark.parametrize("limit", [None, math.inf, 5])
async def test_connect_timeout_is_given_to_the_transport(limit: float | None) -> None:
    transport = memory(BODY)
    await ask(transport, connect_timeout=limit).text()
    assert transport.requests[0].connect_timeout == (5 if limit == 5 else None)


async def test_connect_timeout_is_not_for_the_response() -> None:
    async def hesitate(_: SocketStream) -> None:
        await anyio.sleep(0.2)

    async with serve(answer(hesitate, head() + BODY)) as server:
        assert await collect(ask(None, server, connect_timeout=0.1)) == (TEXTS, None)


# Retries


def slow_down(after: str = "0") -> MemoryResponse:
    return MemoryResponse([b"slow down"], 429, {"retry-after": after})


@pytest.mark.parametrize("retries", [1.5, "1", None])
async def test_retries_are_a_whole_number(retries: Any) -> None:
    with pytest.raises(TypeError):
        ask(memory(BODY), retries=retries)


async def test_nothing_is_tried_again_by_default() -> None:
    transport = MemoryTransport(slow_down(), MemoryResponse([BODY]))
    _, error = await collect(ask(transport))
    assert isinstance(error, UnexpectedResponse)
    assert len(transport.requests) == 1


@virtual_time
@pytest.mark.parametrize(
    "failure",
    [
        ConnectionError("refused"),
        TimeoutError("no connection"),
        slow_down(),
        MemoryResponse([b"down"], 503, {}),
        MemoryResponse([b": ping\n\n", ConnectionError("cut")]),
        MemoryResponse([ConnectionError("cut")], 500),
    ],
    ids=["connect", "connect timeout", "429", "503", "cut", "cut refusal"],
)
async def test_failure_before_the_first_content_is_tried_again(
    failure: MemoryResponse | Exception,
) -> None:
    transport = MemoryTransport(failure, failure, MemoryResponse([BODY]))
    assert await collect(ask(transport, retries=2)) == (TEXTS, None)
    assert transport.requests == [DarkAI().request("Hello")] * 3
    assert transport.open == 0


@virtual_time
async def test_last_failure_is_raised_when_no_retry_is_left() -> None:
    errors = [ConnectionError(str(number)) for number in range(3)]
    transport = MemoryTransport(*errors)
    assert await collect(ask(transport, retries=1)) == ([], errors[1])


@virtual_time
async def test_retries_start_without_async_with_too() -> None:
    transport = MemoryTransport(slow_down(), MemoryResponse([BODY]))
    assert await ask(transport, retries=1).text() == "".join(TEXTS)


@virtual_time
async def test_connection_is_closed_before_the_wait() -> None:
    class Watched(MemoryTransport):
        async def send(self, request: Request) -> Any:
            assert self.open == 0
            return await super().send(request)

    transport = Watched(slow_down(), slow_down(), MemoryResponse([BODY]))
    assert await collect(ask(transport, retries=2)) == (TEXTS, None)


@virtual_time
async def test_retry_after_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    transport = MemoryTransport(slow_down("20"), MemoryResponse([BODY]))
    start = anyio.current_time()
    with caplog.at_level("INFO", "sseparse"):
        assert await collect(ask(transport, retries=1)) == (TEXTS, None)
    assert anyio.current_time() - start == pytest.approx(20)
    assert "trying again in 20.0 seconds: HTTP 429" in caplog.text


@virtual_time
async def test_wait_beyond_the_timeout_is_not_begun() -> None:
    transport = MemoryTransport(slow_down("60"), MemoryResponse([BODY]))
    start = anyio.current_time()
    _, error = await collect(ask(transport, retries=1, timeout=30))
    assert anyio.current_time() == start
    assert isinstance(error, UnexpectedResponse)
    assert error.retry_after == 60
    assert transport.open == 0


@virtual_time
async def test_timeout_is_for_all_attempts_together() -> None:
    transport = MemoryTransport(
        MemoryResponse([10, ConnectionError("cut")]), MemoryResponse([STALL])
    )
    start = anyio.current_time()
    _, error = await collect(ask(transport, retries=1, timeout=16))
    assert isinstance(error, ReplyTimeout)
    assert error.which == "total"
    assert anyio.current_time() - start == pytest.approx(16)


@virtual_time
async def test_first_timeout_is_for_each_attempt() -> None:
    transport = MemoryTransport(
        MemoryResponse([8, ConnectionError("cut")]), MemoryResponse([8, BODY])
    )
    assert await collect(ask(transport, retries=1, first_timeout=10)) == (TEXTS, None)


@pytest.mark.parametrize("checkpoints", range(12))
@pytest.mark.parametrize("readers", [1, 2])
async def test_closing_ends_a_retry_at_once_whenever_it_comes(
    checkpoints: int, readers: int
) -> None:
    transport = MemoryTransport(slow_down("60"))
    reply = ask(transport, retries=1)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for _ in range(readers):
                tasks.start_soon(collect, reply)
            for _ in range(checkpoints):
                await anyio.lowlevel.checkpoint()
            await reply.aclose()
    assert transport.open == 0
    with pytest.raises(LocalProtocolError, match="closed before"):
        await reply.text()


@virtual_time
async def test_cancellation_at_any_await_of_a_retry_closes_the_response() -> None:
    transport = MemoryTransport(slow_down())

    async def run() -> None:
        nonlocal transport
        transport = MemoryTransport(slow_down(), MemoryResponse([FIRST, BODY]))
        await collect(ask(transport, retries=1))

    async def check() -> None:
        assert transport.open == 0

    assert await cancelling_at_each_await(run, check) > 5


# The connection after the end


def _endless(connection: SocketStream) -> Awaitable[object]:
    async def pour() -> None:
        while True:
            await connection.send(chunk(b": more\n" * 1000))

    return pour()


KEPT = head(200, "transfer-encoding: chunked") + chunk(BODY)


async def answer_and_stay(connection: SocketStream, server: Server) -> None:
    while True:
        await answer(KEPT, LAST_CHUNK)(connection, server)


@pytest.mark.parametrize(
    ("steps", "reused"),
    [
        ((KEPT + LAST_CHUNK,), True),
        ((KEPT, chunk(b"data: more\n\n"), LAST_CHUNK), True),
        ((KEPT, chunk(b": more\n" * 20_000), LAST_CHUNK), False),
        ((KEPT, _endless), False),
        ((KEPT, until_client_leaves), False),
        ((KEPT, b"nonsense\r\n"), False),
    ],
    ids=["at once", "more", "too much", "endless", "stalled", "broken"],
)
async def test_finished_reply_gives_its_connection_back_if_the_body_ends_soon(
    transport: Transport, steps: tuple[Any, ...], reused: bool
) -> None:
    async def converse(connection: SocketStream, server: Server) -> None:
        while True:
            await answer(*steps)(connection, server)

    async with serve(converse) as server:
        for _ in range(3):
            with anyio.fail_after(5):
                assert await collect(ask(transport, server)) == (TEXTS, None)
        assert server.connections == (1 if reused else 3)
        assert len(server.requests) == 3


async def test_failure_after_the_end_of_a_reply_is_only_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert await collect(ask(memory(BODY, ConnectionError("cut")))) == (TEXTS, None)
    assert caplog.text == ""
    assert await collect(ask(memory(BODY, ZeroDivisionError("surprise")))) == (TEXTS, None)
    assert "surprise" in caplog.text


async def test_finished_reply_that_is_left_gives_its_connection_back_too(
    transport: Transport,
) -> None:
    async with serve(answer_and_stay) as server:
        for _ in range(3):
            async with ask(transport, server) as reply:
                async for delta in reply.deltas():
                    if isinstance(delta, Finish):
                        break
        assert server.connections == 1


async def test_connection_of_a_reply_that_is_left_early_is_closed(transport: Transport) -> None:
    async with serve(answer_and_stay) as server:
        for _ in range(2):
            async with ask(transport, server) as reply:
                assert await anext(reply) == TEXTS[0]
            await server.until_open(0)
        assert server.connections == 2


@virtual_time
async def test_closing_ends_the_reading_of_what_is_left() -> None:
    reply = ask(memory(BODY, STALL))
    assert [await anext(reply) for _ in TEXTS] == TEXTS
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(collect, reply)
        await anyio.wait_all_tasks_blocked()
        start = anyio.current_time()
        await reply.aclose()
    assert anyio.current_time() == start


async def test_text_so_far_is_there_whatever_the_error() -> None:
    reply = stream(DarkAI(strict=True), "Hello", transport=memory(FIRST, b"data: {\n\n"))
    assert reply.text_so_far == ""
    _, error = await collect(reply)
    assert isinstance(error, InvalidJSON)
    assert reply.text_so_far == "first"


# Many, and through proxies


async def test_hundred_replies_at_once_do_not_mix(transport: Transport) -> None:
    everybody = anyio.Event()

    async def echo(connection: SocketStream, server: Server) -> None:
        number = (await read_request(connection)).rpartition(b"#")[2].partition(b'"')[0]
        if server.open == 100:
            everybody.set()
        await everybody.wait()
        text = event("text-chunk", text=number.decode())
        await connection.send(head() + text + event("stream-end"))

    async def ask_for(number: int) -> None:
        query = f"Say #{number}"
        async with stream(DarkAI(api_endpoint=server.url), query, transport=transport) as reply:
            answers[number] = await reply.text()

    answers: dict[int, str] = {}
    with anyio.fail_after(30):
        async with serve(echo) as server:
            async with anyio.create_task_group() as tasks:
                for number in range(100):
                    tasks.start_soon(ask_for, number)
            await server.until_open(0)
    assert answers == {number: str(number) for number in range(100)}


async def test_http_proxy_gets_the_whole_url_and_the_reply_streams_through_it() -> None:
    async with (
        serve(answer(head() + FIRST, until_client_leaves)) as server,
        serve(http_proxy) as proxy,
    ):
        async with ask(None, server, proxy=f"http://127.0.0.1:{proxy.port}") as reply:
            assert await anext(reply) == "first"
        await proxy.until_open(0)
        await server.until_open(0)
    assert proxy.requests[0].startswith(f"POST {server.url} HTTP/1.1\r\n".encode())
    assert proxy.requests[0].endswith(server.requests[0].partition(b" HTTP/1.1\r\n")[2])


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_socks_proxy_connects_and_the_reply_streams_through_it(scheme: str) -> None:
    async with (
        serve(answer(head() + FIRST, until_client_leaves)) as server,
        serve(socks5_proxy) as proxy,
    ):
        async with ask(None, server, proxy=f"{scheme}://127.0.0.1:{proxy.port}") as reply:
            assert await anext(reply) == "first"
        await proxy.until_open(0)
        await server.until_open(0)
    assert proxy.requests == [f"127.0.0.1:{server.port}".encode()]


async def test_proxy_that_is_not_there_is_a_connection_error() -> None:
    async with serve(http_proxy) as proxy:
        pass
    async with serve(answer(head() + BODY)) as server:
        _, error = await collect(ask(None, server, proxy=f"http://127.0.0.1:{proxy.port}"))
    assert isinstance(error, ConnectionError)
    assert server.connections == 0


async def test_aclosing_works_as_with_an_asynchronous_generator() -> None:
    transport = memory(FIRST, STALL)
    async with aclosing(ask(transport)) as reply:
        assert await anext(reply) == "first"
    assert transport.open == 0


# mypy holds them to the types.
async def _types(backend: Backend) -> None:
    async with stream(backend, "Hello") as reply:
        async for text in reply:
            text.upper()


async def test_closing_that_fails_does_not_hide_why_the_stream_is_closed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_: ScriptedBody) -> None:
        raise OSError("cannot close")

    monkeypatch.setattr(ScriptedBody, "aclose", fail)
    _, error = await collect(ask(memory(FIRST)))
    assert isinstance(error, IncompleteStream)
    assert "closing the connection failed" in caplog.text


async def test_text_that_has_arrived_is_handed_out_before_a_cancellation_is_seen() -> None:
    transport = memory(FIRST * 3, math.inf)
    reply = ask(transport)
    texts = [await anext(reply)]
    with anyio.CancelScope() as scope:
        scope.cancel()
        async for text in reply:
            texts.append(text)  # noqa: PERF401  (an extension would be lost)
    assert scope.cancelled_caught
    assert texts == ["first"] * 3
    assert transport.open == 0
    with pytest.raises(LocalProtocolError, match="closed before the reply was finished"):
        await anext(reply)


async def test_burst_of_text_cannot_keep_a_cancellation_waiting_for_long() -> None:
    reply = ask(memory(FIRST * 1000 + event("stream-end")))
    received = 0
    with anyio.CancelScope() as scope:
        async for _ in reply:
            scope.cancel()
            received += 1
    assert scope.cancelled_caught
    assert received < 100
    with pytest.raises(LocalProtocolError, match="closed before the reply was finished"):
        await anext(reply)


async def test_burst_of_text_is_whole() -> None:
    async with ask(memory(FIRST * 1000 + event("stream-end"))) as reply:
        assert await reply.text() == "first" * 1000


async def test_text_that_had_arrived_is_lost_to_a_closing() -> None:
    transport = memory(FIRST * 3 + event("stream-end"))
    reply = ask(transport)
    assert await anext(reply) == "first"
    await reply.aclose()
    # All of it had arrived, but not here.
    with pytest.raises(LocalProtocolError, match="closed before the reply was finished"):
        await anext(reply)


@pytest.mark.parametrize("limit", ["timeout", "connect_timeout", "first_timeout", "idle_timeout"])
@pytest.mark.parametrize("seconds", [0, -1.0, float("nan")])
async def test_time_limit_is_positive(limit: str, seconds: float) -> None:
    with pytest.raises(ValueError, match="a time limit is a positive number of seconds"):
        ask(memory(FIRST), None, **{limit: seconds})
