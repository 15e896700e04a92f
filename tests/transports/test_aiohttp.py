"""The transport over aiohttp: its peculiarities."""

from __future__ import annotations

import ssl
import zlib
from typing import Any

import aiohttp
import anyio
import pytest
import trustme
from anyio.abc import SocketStream
from anyio.streams.tls import TLSStream

from sseparse.transports import Request, Transport
from sseparse.transports.aiohttp import AiohttpTransport
from tests.support.servers import (
    CHUNKED,
    CLOSING,
    LAST_CHUNK,
    OK,
    Server,
    answer,
    chunk,
    head,
    open_sockets,
    read_request,
    receive_all,
    reset,
    serve,
    until_client_leaves,
)
from tests.support.transports import LIBRARIES, Library

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.usefixtures("nothing_is_left"),
]

# More than the buffers of two sockets hold.
LARGE = bytes(32 * 1024 * 1024)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def library() -> Library:
    return LIBRARIES["aiohttp"]


def request(server: Server, **fields: Any) -> Request:
    return Request("POST", server.url, **fields)


async def fetch(transport: Transport, server: Server) -> bytes:
    return await receive_all(await transport.send(request(server)))


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_without_asyncio_sending_is_a_runtime_error_that_says_so() -> None:
    with pytest.raises(RuntimeError, match="aiohttp runs on asyncio alone"):
        await AiohttpTransport().send(Request("GET", "http://127.0.0.1/"))


# Requests


async def test_redirect_that_is_not_followed_is_a_response_to_the_session_too() -> None:
    seen: list[int] = []

    async def look(request: aiohttp.ClientRequest, send: Any) -> aiohttp.ClientResponse:
        response: aiohttp.ClientResponse = await send(request)
        seen.append(response.status)
        return response

    away = head(303, "location: /there", "set-cookie: a=b", "content-length: 0", CLOSING)
    jar = aiohttp.CookieJar(unsafe=True)
    async with (
        serve(answer(away)) as server,
        aiohttp.ClientSession(middlewares=[look], cookie_jar=jar) as session,
    ):
        assert await fetch(AiohttpTransport(session), server) == b""
        await server.until_open(0)
    assert seen == [303]
    assert [cookie.value for cookie in jar] == ["b"]


async def test_redirect_of_a_body_that_nobody_reads_leaves_no_connection() -> None:
    going_on = anyio.Event()
    async with serve(answer(OK)) as there:

        async def redirect(connection: SocketStream, _: Server) -> None:
            await connection.receive()
            await connection.send(head(307, f"location: {there.url}", "content-length: 0", CLOSING))
            await going_on.wait()
            await until_client_leaves(connection)

        async with serve(redirect) as here:
            before = open_sockets()
            response = await AiohttpTransport().send(request(here, body=LARGE))
            assert await receive_all(response) == b""
            await there.until_open(0)
            assert open_sockets() == before + here.open
            going_on.set()
            await here.until_open(0)
    assert there.requests[0].endswith(b"\r\n\r\n" + LARGE)


async def test_what_would_spoil_a_stream_is_not_taken_from_a_callers_session() -> None:
    packed = zlib.compress(b"Hi", wbits=31)
    start = head(500, "content-encoding: gzip", f"content-length: {len(packed)}")

    async def pause(_: SocketStream) -> None:
        await anyio.sleep(0.1)

    timeout = aiohttp.ClientTimeout(total=0.05, sock_read=0.05)
    async with (
        serve(answer(pause, start, pause, packed)) as server,
        aiohttp.ClientSession(
            timeout=timeout, raise_for_status=True, auto_decompress=True
        ) as session,
    ):
        assert await fetch(AiohttpTransport(session), server) == b"Hi"


async def test_name_that_nobody_finds_is_a_timeout(
    monkeypatch: pytest.MonkeyPatch, own_clients: list[aiohttp.ClientSession]
) -> None:
    async def resolve(*_: Any, **__: Any) -> Any:
        await anyio.sleep_forever()

    monkeypatch.setattr(aiohttp.DefaultResolver, "resolve", resolve)
    asked = Request("GET", "http://nobody.example/", connect_timeout=0.1)
    with anyio.fail_after(60), pytest.raises(TimeoutError, match=r"no connection within 0\.1 s"):
        await AiohttpTransport().send(asked)
    assert [session.closed for session in own_clients] == [True]


async def test_whatever_fails_below_is_a_connection_error() -> None:
    error = ZeroDivisionError()

    async def fail(*_: object) -> None:
        raise error

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(fail)
    async with aiohttp.ClientSession(trace_configs=[trace]) as session:
        with pytest.raises(ConnectionError, match="ZeroDivisionError") as caught:
            await AiohttpTransport(session).send(Request("GET", "http://127.0.0.1/"))
    assert caught.value.__cause__ is error


# Bodies


@pytest.mark.parametrize(
    "steps",
    [
        (head(200, "content-length: 10"), b"first", b"econd", reset),
        (CHUNKED, chunk(b"first"), chunk(b"econd") + LAST_CHUNK, reset),
    ],
    ids=["length", "last chunk"],
)
@pytest.mark.parametrize("late", [False, True], ids=["as it arrives", "late"])
async def test_complete_body_ends_well_where_the_connection_is_reset(
    steps: tuple[Any, ...], late: bool
) -> None:
    going_on = anyio.Event()

    async def wait(_: SocketStream) -> None:
        await going_on.wait()

    start, first, *end = steps
    async with serve(answer(start, first, wait, *end)) as server:
        response = await AiohttpTransport().send(request(server))
        body = b"" if late else await response.receive()
        going_on.set()
        await server.until_open(0)
        await anyio.sleep(0.01)
        while data := await response.receive():
            body += data
        assert body == b"firstecond"
        assert await receive_all(response) == b""


async def test_cut_body_of_an_empty_chunk_after_data_is_no_end() -> None:
    # A chunk extension alone wakes the reader.
    steps = CHUNKED, chunk(b"first"), b"5;a=b\r\n", b"later\r\n", LAST_CHUNK
    async with serve(answer(*steps)) as server:
        assert await fetch(AiohttpTransport(), server) == b"firstlater"


# Closing


async def test_cancelling_the_connecting_leaves_nothing(
    own_clients: list[aiohttp.ClientSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    connecting = anyio.Event()

    async def connect(*_: object, **__: object) -> None:
        connecting.set()
        await anyio.sleep_forever()

    monkeypatch.setattr("aiohappyeyeballs.start_connection", connect)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(AiohttpTransport().send, Request("GET", "http://127.0.0.1:9/"))
        await connecting.wait()
        tasks.cancel_scope.cancel()
    assert own_clients[0].closed


@pytest.mark.parametrize("own", [True, False], ids=["own session", "callers session"])
@pytest.mark.parametrize("stage", ["head", "body"])
async def test_leaving_early_does_not_wait_for_tls_to_end(
    stage: str, own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    client_side, server_side = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.configure_trust(client_side)
    authority.issue_cert("127.0.0.1").configure_cert(server_side)
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", client_side)
    asked = anyio.Event()

    async def say_no_goodbye(connection: SocketStream, _: Server) -> None:
        tls = await TLSStream.wrap(connection, server_side=True, ssl_context=server_side)
        await tls.receive()
        asked.set()
        if stage == "body":
            await tls.send(OK + b"first")
        await until_client_leaves(connection)

    connector = aiohttp.TCPConnector(ssl=client_side)
    async with (
        serve(say_no_goodbye) as server,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        transport = AiohttpTransport(None if own else session, trust_env=False)
        sent = Request("GET", server.url.replace("http:", "https:"))
        if stage == "body":
            response = await transport.send(sent)
            assert await response.receive() == b"first"
            await response.aclose()
        else:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(transport.send, sent)
                await asked.wait()
                tasks.cancel_scope.cancel()
        await server.until_open(0)


async def test_own_session_keeps_no_connection_after_a_good_end(
    own_clients: list[aiohttp.ClientSession],
) -> None:
    steps = head(200, "content-length: 2"), b"Hi", until_client_leaves
    async with serve(answer(*steps)) as server:
        assert await fetch(AiohttpTransport(), server) == b"Hi"
        await server.until_open(0)
    assert own_clients[0].closed


async def test_own_session_is_closed_even_where_the_connection_is_lost() -> None:
    async with serve(answer(CHUNKED, chunk(b"first"))) as server:
        response = await AiohttpTransport().send(request(server))
        await server.until_open(0)
        await anyio.sleep(0.01)
        await response.aclose()


async def test_connection_of_a_callers_session_keeps_no_response_and_may_be_reset_while_idle(
    caplog: pytest.LogCaptureFixture,
) -> None:
    arrived, idle = anyio.Event(), anyio.Event()

    async def reset_when_idle(connection: SocketStream, _: Server) -> None:
        for _request in range(3):
            await read_request(connection)
            await connection.send(head(200, "transfer-encoding: chunked"))
            await arrived.wait()
            await connection.send(LAST_CHUNK)
        await idle.wait()
        await reset(connection)

    async with serve(reset_when_idle) as server, aiohttp.ClientSession() as session:
        for _ in range(3):
            response = await AiohttpTransport(session).send(request(server))
            arrived.set()
            assert await receive_all(response) == b""
            arrived = anyio.Event()
        lost: Any = response._lost
        assert len(lost._callbacks) == 1
        del response, lost
        idle.set()
        await server.until_open(0)
        await anyio.sleep(0.01)
    open_sockets()
    assert server.connections == 1
    assert caplog.records == []


async def test_closing_a_response_leaves_a_connection_that_another_one_uses() -> None:
    async def keep_alive(connection: SocketStream, _: Server) -> None:
        for body in (b"Hi", b"Ho"):
            await read_request(connection)
            await connection.send(head(200, "content-length: 2") + body)

    async with serve(keep_alive) as server, aiohttp.ClientSession() as session:
        transport = AiohttpTransport(session)
        first = await transport.send(request(server))
        assert await first.receive() == b"Hi"
        second = await transport.send(request(server))
        await first.aclose()
        assert await receive_all(second) == b"Ho"
        assert server.connections == 1


async def test_refusal_of_a_proxy_does_not_show_its_password() -> None:
    steps = b"HTTP/1.1 407 Who are you?\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"

    async def refuse(connection: SocketStream, _: Server) -> None:
        await connection.receive()
        await connection.send(steps)

    async with serve(refuse) as proxy:
        transport = AiohttpTransport(proxy=f"http://me:secret@127.0.0.1:{proxy.port}")
        with pytest.raises(ConnectionError, match=r"HTTP 407: Who are you\?$") as caught:
            await transport.send(Request("GET", "https://example.org/"))
    assert "secret" not in str(caught.value)
