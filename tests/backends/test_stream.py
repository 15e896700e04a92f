"""A reply, on asyncio, on trio and in threads: text to the letter, and nothing is left open.

The logic is tested over a MemoryTransport, the network over real sockets.
"""

from __future__ import annotations

import gc
import json
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
from sseparse.transports import Transport
from sseparse.transports.httpx2 import HTTPX2Transport
from sseparse.transports.memory import MemoryResponse, MemoryTransport
from sseparse.transports.sync_httpx2 import SyncHTTPX2Transport
from sseparse_backends import (
    Backend,
    BackendError,
    DarkAI,
    Finish,
    OpenAI,
    ReplyStream,
    ReplyTimeout,
    Text,
    ToolCall,
    Usage,
    _exchange,
    stream,
    sync,
)
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
    read_request,
    reset,
    serve,
    socks5_proxy,
    until_client_leaves,
)
from tests.support.threads import AsyncFace

pytestmark = pytest.mark.anyio

STALL = math.inf
FIRST = event("text-chunk", text="first")
LINES = {"content-type": "application/x-ndjson"}


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    """Let what is unclosed warn while its loop runs: the warnings are errors."""
    yield
    gc.collect()
    await anyio.lowlevel.checkpoint()


@pytest.fixture(scope="session")
def anyio_backend(face: str) -> str:
    return "asyncio" if face == "threads" else face


@pytest.fixture(autouse=True)
def stream_of_the_face(face: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if face == "threads":
        monkeypatch.setitem(globals(), "stream", threaded_stream)
        monkeypatch.setitem(globals(), "HTTPX2Transport", SyncHTTPX2Transport)


def threaded_stream(*arguments: Any, **options: Any) -> Any:
    return AsyncFace(sync.stream(*arguments, **options))


@pytest.fixture
async def transport(face: str) -> AsyncIterator[Any]:
    """A client for many requests: to make one takes longer than to send with it."""
    limits = httpx2.Limits(max_connections=None)
    if face == "threads":
        with httpx2.Client(limits=limits, trust_env=False) as client:
            yield SyncHTTPX2Transport(client)
    else:
        async with httpx2.AsyncClient(limits=limits, trust_env=False) as async_client:
            yield HTTPX2Transport(async_client)


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
        with anyio.fail_after(60):
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
    with pytest.raises(ValueError, match="model must be one of"):
        ask(transport, model="gpt-9")
    with pytest.raises(TypeError, match="volume"):
        ask(transport, volume=11)
    with pytest.raises(ValueError, match="proxy must be None where a transport is given"):
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
    with anyio.fail_after(60):
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


async def test_events_are_what_the_decoder_made() -> None:
    lines = [{"usage": [3, 0]}, {"text": "Hi"}, {"text": "!"}, {"done": "stop"}]
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    async with stream(CHATTER, "Hello", transport=memory(body, headers=LINES)) as reply:
        assert [event async for event in reply.events()] == lines
        assert (await reply.text(), reply.finish_reason) == ("Hi!", "stop")


async def test_views_share_the_reply() -> None:
    lines = [{"text": "Hi"}, {"text": "!"}, {"done": "stop"}]
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    async with stream(CHATTER, "Hello", transport=memory(body, headers=LINES)) as reply:
        events = reply.events()
        assert await anext(events) == lines[0]
        assert await anext(reply) == "Hi"
        assert await anext(reply.deltas()) == Text("!")
        assert await anext(events) == lines[2]
        assert [delta async for delta in reply.deltas()] == [Finish("stop")]


async def test_reply_tells_of_itself_as_it_comes() -> None:
    call = {"id": "a", "function": {"name": "f", "arguments": "{}"}}
    chunk = {
        "id": "c",
        "model": "tiny-2",
        "choices": [{"delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}],
    }
    body = b"data: %s\n\n" % json.dumps(chunk).encode()
    headers = {"content-type": "text/event-stream", "x-request-id": "7"}
    backend = OpenAI(base_url="http://127.0.0.1")
    transport = memory(body, headers=headers)
    reply = stream(backend, "Hello", model="tiny", transport=transport)
    assert (reply.id, reply.served_model, reply.status, reply.headers) == (None, None, None, {})
    assert (reply.messages, reply.tool_calls, reply.finish_kind) == ([], [], None)
    async with reply:
        assert (reply.status, reply.headers) == (200, headers)
        assert await reply.text() == ""
    assert (reply.id, reply.model, reply.served_model) == ("c", "tiny", "tiny-2")
    assert reply.tool_calls == [ToolCall(0, "a", "f", "{}")]
    assert (reply.finish_reason, reply.finish_kind) == ("tool_calls", "tool_calls")
    assert reply.messages[0]["tool_calls"] == [{"type": "function", **call}]
    reply.tool_calls.clear()
    assert len(reply.tool_calls) == 1


async def test_content_type_of_the_caller_overrules_the_servers() -> None:
    body = b'{"text": "Hi"}\n{"done": "stop"}\n'
    wrong = memory(body, headers={"content-type": "text/plain"})
    reply = stream(CHATTER, "Hello", transport=wrong, content_type="application/x-ndjson")
    assert await reply.text() == "Hi"


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
            # Where the body ends well, the last event need not have its blank line.
            seen = position + 2 if framing is _closing else position
            assert texts == TEXTS[: BODY[:seen].count(b"\n\n")]
            if seen >= len(BODY):
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


async def test_bug_in_a_backend_passes_and_closes_the_connection() -> None:
    transport = memory(b'{"surprise": 1}\n', headers=LINES)
    reply = stream(CHATTER, "Hello", transport=transport)
    with pytest.raises(KeyError, match="error"):
        await anext(reply)
    assert transport.open == 0


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
        assert said.replace("<h1>", "").replace("</h1>", "") in str(error)  # without its tags
        assert server.url in str(error)
        await server.until_open(0)


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


# Timeouts


async def test_connection_that_takes_too_long_is_a_timeout(full_backlog: int) -> None:
    backend = DarkAI(api_endpoint=f"http://127.0.0.1:{full_backlog}/")
    reply = stream(backend, "Hello", connect_timeout=0.2)
    with anyio.fail_after(60), pytest.raises(ReplyTimeout) as caught:
        await reply.text()
    assert (caught.value.limit, caught.value.which) == (0.2, "connect")
    assert isinstance(caught.value.__cause__, TimeoutError)


@pytest.mark.parametrize("limit", [None, math.inf, 5])
async def test_connect_timeout_is_given_to_the_transport(limit: float | None) -> None:
    transport = memory(BODY)
    await ask(transport, connect_timeout=limit).text()
    assert transport.requests[0].connect_timeout == (5 if limit == 5 else None)


# Retries


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_exchange, "_FIRST_WAIT", 0.0)


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


@pytest.mark.usefixtures("no_wait")
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


@pytest.mark.usefixtures("no_wait")
async def test_last_failure_is_raised_when_no_retry_is_left() -> None:
    errors = [ConnectionError(str(number)) for number in range(3)]
    transport = MemoryTransport(*errors)
    assert await collect(ask(transport, retries=1)) == ([], errors[1])


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
            with anyio.fail_after(60):
                assert await collect(ask(transport, server)) == (TEXTS, None)
        assert server.connections == (1 if reused else 3)
        assert len(server.requests) == 3


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


async def test_body_is_not_awaited_where_its_connection_is_thrown_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sseparse.client.Driver._DRAIN_TIME", 600)
    async with serve(answer(KEPT, until_client_leaves)) as server:
        for transport in (None, HTTPX2Transport()):
            with anyio.fail_after(60):
                assert await collect(ask(transport, server)) == (TEXTS, None)


async def test_connection_of_a_reply_that_is_left_early_is_closed(transport: Transport) -> None:
    async with serve(answer_and_stay) as server:
        for _ in range(2):
            async with ask(transport, server) as reply:
                assert await anext(reply) == TEXTS[0]
            await server.until_open(0)
        assert server.connections == 2


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
    with anyio.fail_after(60):
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


async def test_burst_of_text_is_whole() -> None:
    async with ask(memory(FIRST * 1000 + event("stream-end"))) as reply:
        assert await reply.text() == "first" * 1000


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        *(("openai", r"a str: use get_backend\('openai'\)"), (DarkAI, r"a class: use DarkAI\(\)")),
        (7, "int"),
    ],
)
async def test_backend_must_be_one(wrong: Any, words: str) -> None:
    with pytest.raises(TypeError, match=f"^backend must be a Backend, got {words}$"):
        stream(wrong, "Hello", transport=memory(BODY))


@pytest.mark.parametrize("limit", ["timeout", "connect_timeout", "first_timeout", "idle_timeout"])
async def test_time_limit_must_be_positive_seconds(limit: str) -> None:
    wrong: Any
    for wrong, error_class in ((0, ValueError), ("5", TypeError)):
        with pytest.raises(error_class, match=f"^{limit} must be .*, got {wrong!r}$"):
            ask(memory(FIRST), None, **{limit: wrong})
