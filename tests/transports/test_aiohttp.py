"""The transport over aiohttp, through real sockets, on asyncio."""

from __future__ import annotations

import base64
import ssl
import zlib
from collections.abc import Callable
from typing import Any

import aiohttp
import anyio
import httpx2
import pytest
import trustme
from anyio.abc import SocketStream
from anyio.streams.tls import TLSStream

from sseparse.client import EventSource
from sseparse.transports import Request, Response, Transport
from sseparse.transports.aiohttp import AiohttpTransport
from sseparse.transports.httpx2 import HTTPX2Transport
from sseparse_backends import DarkAI, stream
from tests.support.servers import (
    BODY,
    CHUNKED,
    LAST_CHUNK,
    TEXTS,
    Handler,
    Server,
    answer,
    chunk,
    head,
    http_proxy,
    open_sockets,
    read_request,
    reset,
    serve,
    until_client_leaves,
)

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.usefixtures("quick_collection", "nothing_is_left"),
]

# Some words: an error that says nothing helps nobody.
WORDS = r"\w+ \w+"

CLOSING = "connection: close"
OK = head(200, CLOSING, content_type="text/plain")

# More than what the buffers of two sockets hold.
LARGE = bytes(32 * 1024 * 1024)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def own_sessions(monkeypatch: pytest.MonkeyPatch) -> list[aiohttp.ClientSession]:
    """The sessions that the transport makes for itself."""
    sessions: list[aiohttp.ClientSession] = []
    make = aiohttp.ClientSession

    def noted(**options: Any) -> aiohttp.ClientSession:
        sessions.append(make(**options))
        return sessions[-1]

    monkeypatch.setattr(aiohttp, "ClientSession", noted)
    return sessions


def request(server: Server, **fields: Any) -> Request:
    return Request("POST", server.url, **fields)


def moved(status: int, *fields: str) -> bytes:
    return head(status, *fields, "content-length: 0", CLOSING)


async def receive_all(response: Response) -> bytes:
    body = b""
    while data := await response.receive():
        body += data
    await response.aclose()
    return body


async def fetch(transport: Transport, server: Server) -> bytes:
    return await receive_all(await transport.send(request(server)))


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_without_asyncio_sending_is_a_runtime_error_that_says_so() -> None:
    with pytest.raises(RuntimeError, match="aiohttp runs on asyncio alone"):
        await AiohttpTransport().send(Request("GET", "http://127.0.0.1/"))


# Requests and responses


async def test_request_goes_out_as_it_is() -> None:
    async with serve(answer(OK)) as server:
        headers = {"accept": "text/event-stream", "user-agent": "me", "X-Name": "Ünï 漢"}
        sent = Request("PUT", server.url + "?a=b", headers, b"\0body\xff")
        await receive_all(await AiohttpTransport().send(sent))
    start, _, body = server.requests[0].partition(b"\r\n\r\n")
    line, *fields = start.split(b"\r\n")
    assert (line, body) == (b"PUT /chat?a=b HTTP/1.1", b"\0body\xff")
    assert b"accept: text/event-stream" in fields
    assert b"user-agent: me" in fields
    assert "X-Name: Ünï 漢".encode() in fields
    assert b"content-length: 6" in [field.lower() for field in fields]
    assert b"content-type" not in start.lower()


async def test_empty_body_of_a_get_is_none() -> None:
    async with serve(answer(OK)) as server:
        await receive_all(await AiohttpTransport().send(Request("GET", server.url)))
    assert b"content-length" not in server.requests[0].lower()
    assert b"transfer-encoding" not in server.requests[0].lower()


async def test_large_body_goes_out_without_a_warning() -> None:
    async with serve(answer(OK)) as server:
        await receive_all(await AiohttpTransport().send(request(server, body=LARGE)))
    assert server.requests[0].endswith(b"\r\n\r\n" + LARGE)


async def test_response_has_status_and_headers_with_lower_case_names() -> None:
    fields = "X-One: 1", "X-Many: a", "x-many: b", "X-Name: Ünï", CLOSING
    async with serve(answer(head(418, *fields, content_type="Text/Event-Stream"))) as server:
        response = await AiohttpTransport().send(request(server))
        await response.aclose()
    assert response.status == 418
    assert dict(response.headers) == {
        "content-type": "Text/Event-Stream",
        "x-one": "1",
        "x-many": "a, b",
        "x-name": "Ünï",
        "connection": "close",
    }


async def test_header_in_no_utf_8_is_text_all_the_same() -> None:
    async with serve(answer(b"HTTP/1.1 204 OK\r\nx-name: caf\xe9\r\n\r\n")) as server:
        response = await AiohttpTransport().send(request(server))
        await response.aclose()
    assert response.headers["x-name"] == "caf\N{REPLACEMENT CHARACTER}"


async def test_bytes_come_as_they_arrive_and_the_end_stays() -> None:
    going_on = anyio.Event()

    async def wait(_: SocketStream) -> None:
        await going_on.wait()

    async with serve(
        answer(CHUNKED, chunk(b"first"), wait, chunk(b"second"), LAST_CHUNK)
    ) as server:
        response = await AiohttpTransport().send(request(server))
        with anyio.fail_after(5):
            assert await response.receive() == b"first"
        going_on.set()
        assert [await response.receive() for _ in range(3)] == [b"second", b"", b""]
        await response.aclose()


@pytest.mark.parametrize("status", [204, 304])
async def test_response_without_a_body_ends_at_once(status: int) -> None:
    async with serve(answer(head(status, CLOSING), until_client_leaves)) as server:
        response = await AiohttpTransport().send(request(server))
        with anyio.fail_after(5):
            assert [await response.receive() for _ in range(2)] == [b"", b""]
        await response.aclose()


@pytest.mark.parametrize(("encoding", "wbits"), [("gzip", 31), ("deflate", 15)])
async def test_compression_is_undone_as_it_arrives(encoding: str, wbits: int) -> None:
    going_on = anyio.Event()
    packer = zlib.compressobj(wbits=wbits)
    first = packer.compress(b"first") + packer.flush(zlib.Z_SYNC_FLUSH)
    second = packer.compress(b"second") + packer.flush()

    async def wait(_: SocketStream) -> None:
        await going_on.wait()

    start = head(200, CLOSING, f"content-encoding: {encoding}")
    async with serve(answer(start + first, wait, second)) as server:
        response = await AiohttpTransport().send(request(server))
        with anyio.fail_after(5):
            assert await response.receive() == b"first"
        going_on.set()
        assert await receive_all(response) == b"second"
    assert encoding.encode() in server.requests[0]


# Redirects


async def test_redirect_that_is_not_followed_is_a_response_to_the_session_too() -> None:
    seen: list[int] = []

    async def look(request: aiohttp.ClientRequest, send: Any) -> aiohttp.ClientResponse:
        response: aiohttp.ClientResponse = await send(request)
        seen.append(response.status)
        return response

    away = moved(303, "location: /there", "set-cookie: a=b")
    jar = aiohttp.CookieJar(unsafe=True)
    async with (
        serve(answer(away)) as server,
        aiohttp.ClientSession(middlewares=[look], cookie_jar=jar) as session,
    ):
        assert await fetch(AiohttpTransport(session), server) == b""
        await server.until_open(0)
    assert seen == [303]
    assert [cookie.value for cookie in jar] == ["b"]


async def test_twenty_redirects_are_followed() -> None:
    async def count_down(connection: SocketStream, server: Server) -> None:
        server.requests.append(await read_request(connection))
        await connection.send(moved(307, "location: /chat") if len(server.requests) < 21 else OK)

    async with serve(count_down) as server:
        assert await fetch(AiohttpTransport(), server) == b""
    assert len(server.requests) == 21


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("fields", [(), ("location:",)], ids=["none", "empty"])
async def test_redirect_without_a_location_is_a_connection_error(
    status: int, fields: tuple[str, ...], own_sessions: list[aiohttp.ClientSession]
) -> None:
    steps = head(status, *fields, "content-length: 100"), until_client_leaves
    async with serve(answer(*steps)) as server:
        with pytest.raises(ConnectionError, match=rf"http://127.*: .*{status}"):
            await AiohttpTransport().send(Request("GET", server.url))
        await server.until_open(0)
    assert [session.closed for session in own_sessions] == [True]


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/", "http://h:port/", "http://"])
async def test_redirect_to_no_url_is_a_connection_error_with_its_cause(location: str) -> None:
    async with serve(answer(moved(307, f"location: {location}"))) as server:
        with pytest.raises(ConnectionError, match=server.url) as caught:
            await AiohttpTransport().send(request(server))
        assert isinstance(caught.value.__cause__, aiohttp.ClientError)


async def test_redirect_that_is_cut_after_its_head_is_followed() -> None:
    async with serve(answer(OK + b"there")) as there:
        away = head(307, f"location: {there.url}", "content-length: 100")
        async with serve(answer(away, b"<html>", reset)) as here:
            assert await fetch(AiohttpTransport(), here) == b"there"


async def test_redirect_to_a_server_that_hangs_up_is_a_connection_error() -> None:
    async with (
        serve(answer()) as there,
        serve(answer(moved(307, f"location: {there.url}"))) as here,
    ):
        with pytest.raises(ConnectionError, match=here.url) as caught:
            await AiohttpTransport().send(request(here))
        assert isinstance(caught.value.__cause__, aiohttp.ServerDisconnectedError)
        assert there.connections == 1


async def test_redirect_of_a_body_that_nobody_reads_leaves_no_connection() -> None:
    sent = anyio.Event()

    async with serve(answer(OK)) as there:

        async def redirect(connection: SocketStream, _: Server) -> None:
            await connection.receive()
            await connection.send(moved(307, f"location: {there.url}"))
            await sent.wait()
            await until_client_leaves(connection)

        async with serve(redirect) as here:
            before = open_sockets()
            response = await AiohttpTransport().send(request(here, body=LARGE))
            assert await receive_all(response) == b""
            await there.until_open(0)
            assert open_sockets() == before + here.open
            sent.set()
            await here.until_open(0)
    assert there.requests[0].endswith(b"\r\n\r\n" + LARGE)


# Errors


async def test_refused_connection_is_a_connection_error_with_its_cause(
    own_sessions: list[aiohttp.ClientSession],
) -> None:
    async with serve(answer()) as server:
        pass
    with pytest.raises(ConnectionError) as caught:
        await AiohttpTransport().send(request(server))
    assert isinstance(caught.value.__cause__, aiohttp.ClientConnectorError)
    assert str(caught.value).startswith(f"{server.url}: ")
    assert [session.closed for session in own_sessions] == [True]


LOOP = moved(307, "location: /chat")


async def test_redirects_without_end_are_a_connection_error(
    own_sessions: list[aiohttp.ClientSession],
) -> None:
    async with serve(answer(LOOP)) as server:
        with pytest.raises(ConnectionError, match="more than 20 redirects"):
            await AiohttpTransport().send(request(server))
        assert len(server.requests) == 21
        await server.until_open(0)
    assert [session.closed for session in own_sessions] == [True]


@pytest.mark.parametrize(
    "steps",
    [
        (),
        (reset,),
        (b"nonsense\r\n\r\n", until_client_leaves),
        (b"HTTP/1.1 200 OK\r\n",),
        (b"HTTP/1.1 200 OK\r\n", reset),
        (head(200, "x: " + "x" * 10_000), until_client_leaves),
        (head(200, "content-encoding: br"), until_client_leaves),
    ],
    ids=[
        *("end", "reset", "nonsense", "half a head", "half a head and reset", "large head"),
        "unknown compression",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_response_is_a_connection_error_with_its_cause(
    method: str, steps: tuple[Any, ...], own_sessions: list[aiohttp.ClientSession]
) -> None:
    async with serve(answer(*steps)) as server:
        with pytest.raises(ConnectionError, match=r"http://127.*: .") as caught:
            await AiohttpTransport().send(Request(method, server.url))
        assert isinstance(caught.value.__cause__, aiohttp.ClientError)
        await server.until_open(0)
    assert [session.closed for session in own_sessions] == [True]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ((CHUNKED, chunk(b"first")), ()),
        ((CHUNKED, chunk(b"first")), (reset,)),
        ((CHUNKED, chunk(b"first")), (b"nonsense\r\n",)),
        ((CHUNKED, chunk(b"first")), (b"nonsense\r\n", until_client_leaves)),
        ((head(200, "content-length: 100"), b"first"), ()),
        ((head(200, "content-length: 100"), b"first"), (reset,)),
        ((OK, b"first"), (reset,)),
        ((head(200), b"first"), (reset,)),
    ],
    ids=[
        *("no last chunk", "reset chunk", "nonsense", "nonsense that stays"),
        *("too short", "reset length", "reset", "reset without a word of closing"),
    ],
)
@pytest.mark.parametrize("late", [False, True], ids=["as it arrives", "late"])
async def test_cut_body_is_a_connection_error_with_its_cause_after_all_that_came(
    start: tuple[Any, ...], end: tuple[Any, ...], late: bool
) -> None:
    going_on = anyio.Event()

    async def wait(_: SocketStream) -> None:
        await going_on.wait()

    async with serve(answer(*start, wait, *end)) as server:
        response = await AiohttpTransport().send(request(server))
        if late:
            going_on.set()
            await server.until_open(0)
            await anyio.sleep(0.01)
        with anyio.fail_after(5):
            assert await response.receive() == b"first"
        going_on.set()
        for _ in range(2):
            with anyio.fail_after(5), pytest.raises(ConnectionError, match=WORDS) as caught:
                await response.receive()
            assert isinstance(caught.value.__cause__, aiohttp.ClientError)
            assert str(caught.value).startswith(f"{server.url}: ")
            assert ("framing" in str(caught.value)) is (b"nonsense\r\n" in end)
        await response.aclose()


@pytest.mark.parametrize(
    "steps",
    [
        (head(200, "content-length: 10"), b"first", b"econd", reset),
        (CHUNKED, chunk(b"first"), chunk(b"econd") + LAST_CHUNK, reset),
        (OK, b"first", b"econd"),
    ],
    ids=["length, then reset", "last chunk, then reset", "end of the connection"],
)
@pytest.mark.parametrize("late", [False, True], ids=["as it arrives", "late"])
async def test_complete_body_ends_well_whatever_the_connection_does(
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


async def test_damaged_gzip_is_a_connection_error() -> None:
    start = head(200, CLOSING, "content-encoding: gzip")
    async with serve(answer(start + b"no gzip", until_client_leaves)) as server:
        response = await AiohttpTransport().send(request(server))
        with pytest.raises(ConnectionError) as caught:
            await response.receive()
        assert isinstance(caught.value.__cause__, aiohttp.ClientPayloadError)
        await response.aclose()
        await server.until_open(0)


@pytest.mark.parametrize(
    "proxy",
    [
        *("", "127.0.0.1:80", "ftp://127.0.0.1", "socks5://127.0.0.1", "http://h:port"),
        "http://127.0.0.1:99999",
    ],
)
async def test_proxy_that_is_none_is_a_value_error(proxy: str) -> None:
    with pytest.raises(ValueError, match="not the URL of a proxy"):
        AiohttpTransport(proxy=proxy)


async def test_session_and_proxy_together_are_a_value_error() -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ValueError, match="either a session or a proxy"):
            AiohttpTransport(session, proxy="http://127.0.0.1:80")


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


# Proxies


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for scheme in ("no", "all", "http", "https"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme}_proxy".upper(), raising=False)


@pytest.mark.usefixtures("no_proxies")
async def test_environment_names_the_proxy_unless_told_not_to_trust_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serve(answer(OK + b"Hi")) as server, serve(http_proxy) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        assert await fetch(AiohttpTransport(trust_env=False), server) == b"Hi"
        assert proxy.connections == 0
        assert await fetch(AiohttpTransport(), server) == b"Hi"
        assert proxy.connections == 1


@pytest.mark.usefixtures("no_proxies")
async def test_proxy_of_the_environment_that_is_no_url_is_a_value_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FTP_PROXY", "none of its business")
    monkeypatch.setenv("HTTPS_PROXY", "http://h:port")
    with pytest.raises(ValueError, match=r"not the URL of a proxy.*https_proxy"):
        await AiohttpTransport().send(Request("GET", "http://127.0.0.1/"))


async def test_proxy_gets_the_credentials_of_its_url() -> None:
    async with serve(answer(OK + b"Hi")) as server, serve(http_proxy) as proxy:
        transport = AiohttpTransport(proxy=f"http://me:secret@127.0.0.1:{proxy.port}")
        assert await fetch(transport, server) == b"Hi"
    assert b"Basic " + base64.b64encode(b"me:secret") in proxy.requests[0]


# Closing


async def test_own_session_is_closed_with_the_response(
    own_sessions: list[aiohttp.ClientSession],
) -> None:
    async with serve(answer(OK + b"first", until_client_leaves)) as server:
        response = await AiohttpTransport().send(request(server))
        assert await response.receive() == b"first"
        assert not own_sessions[0].closed
        await response.aclose()
        assert own_sessions[0].closed
        await server.until_open(0)
        await response.aclose()


async def test_own_session_keeps_no_connection_after_a_good_end(
    own_sessions: list[aiohttp.ClientSession],
) -> None:
    steps = head(200, "content-length: 2"), b"Hi", until_client_leaves
    async with serve(answer(*steps)) as server:
        assert await fetch(AiohttpTransport(), server) == b"Hi"
        await server.until_open(0)
    assert own_sessions[0].closed


async def test_reading_after_the_closing_is_a_connection_error() -> None:
    async with serve(answer(head(200, "content-length: 2"), b"Hi")) as server:
        response = await AiohttpTransport().send(request(server))
        assert await receive_all(response) == b"Hi"
        for _ in range(2):
            with pytest.raises(ConnectionError, match="the response is closed"):
                await response.receive()


async def test_closing_ends_a_receive_of_another_task() -> None:
    async with serve(answer(OK, until_client_leaves)) as server:
        response = await AiohttpTransport().send(request(server))

        async def receive() -> None:
            with pytest.raises(ConnectionError, match=WORDS):
                await response.receive()

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(receive)
                await anyio.wait_all_tasks_blocked()
                await response.aclose()


async def test_cancelling_the_connecting_leaves_nothing(
    own_sessions: list[aiohttp.ClientSession], monkeypatch: pytest.MonkeyPatch
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
    assert own_sessions[0].closed


async def test_sending_in_a_cancelled_scope_leaves_nothing(
    own_sessions: list[aiohttp.ClientSession],
) -> None:
    async with serve(answer(OK)) as server:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await AiohttpTransport().send(request(server))
        assert scope.cancelled_caught
        await server.until_open(0)
    assert own_sessions[0].closed


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_cancelling_before_the_response_closes_the_connection(
    method: str, own_sessions: list[aiohttp.ClientSession]
) -> None:
    async with serve(answer(until_client_leaves)) as server:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(AiohttpTransport().send, Request(method, server.url))
            await server.until_open(1)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        assert own_sessions[0].closed
        await server.until_open(0)


@pytest.mark.parametrize("own", [True, False], ids=["own session", "callers session"])
async def test_cancelling_while_the_body_goes_out_closes_the_connection_at_once(own: bool) -> None:
    cancelled = anyio.Event()

    async def read_nothing(connection: SocketStream, _: Server) -> None:
        await cancelled.wait()
        await until_client_leaves(connection)

    async with serve(read_nothing) as server, aiohttp.ClientSession() as session:
        before = open_sockets()
        transport = AiohttpTransport(None if own else session)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(transport.send, request(server, body=LARGE))
            await server.until_open(1)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        assert open_sockets() == before + server.open
        cancelled.set()
        await server.until_open(0)


@pytest.mark.parametrize("stage", ["head", "body"])
async def test_leaving_early_does_not_wait_for_tls_to_end(
    stage: str, monkeypatch: pytest.MonkeyPatch
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

    async with serve(say_no_goodbye) as server:
        sent = Request("GET", server.url.replace("http:", "https:"))
        if stage == "body":
            response = await AiohttpTransport(trust_env=False).send(sent)
            assert await response.receive() == b"first"
            await response.aclose()
        else:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(AiohttpTransport(trust_env=False).send, sent)
                await asked.wait()
                tasks.cancel_scope.cancel()
        await server.until_open(0)


async def test_closing_in_a_cancelled_scope_closes_the_connection(
    own_sessions: list[aiohttp.ClientSession],
) -> None:
    async with serve(answer(OK + b"first", until_client_leaves)) as server:
        response = await AiohttpTransport().send(request(server))
        with anyio.CancelScope() as scope:
            scope.cancel()
            await response.aclose()
        assert not scope.cancelled_caught
        assert own_sessions[0].closed
        await server.until_open(0)


async def test_closing_after_a_cancelled_receive_closes_the_connection() -> None:
    async with serve(answer(OK, until_client_leaves)) as server:
        response = await AiohttpTransport().send(request(server))
        with anyio.move_on_after(0.01) as scope:
            await response.receive()
        assert scope.cancelled_caught
        await response.aclose()
        await server.until_open(0)


@pytest.mark.parametrize("start", [OK, head(204, CLOSING)], ids=["to come", "at its end"])
async def test_body_that_has_failed_does_not_end_well_afterwards(start: bytes) -> None:
    async with serve(answer(start)) as server:
        response = await AiohttpTransport().send(request(server))
        with anyio.CancelScope() as scope:
            scope.cancel()
            await response.receive()
        assert scope.cancelled_caught
        for _ in range(2):
            with pytest.raises(ConnectionError, match="has been cancelled before"):
                await response.receive()
        await response.aclose()


async def test_own_session_is_closed_even_where_the_connection_is_lost() -> None:
    async with serve(answer(CHUNKED, chunk(b"first"))) as server:
        response = await AiohttpTransport().send(request(server))
        await server.until_open(0)
        await anyio.sleep(0.01)
        await response.aclose()


# A session of the caller's


async def keep_alive(connection: SocketStream, server: Server) -> None:
    while True:
        server.requests.append(await read_request(connection))
        await connection.send(head(200, "content-length: 2") + b"Hi")


async def test_callers_session_is_used_and_stays_open() -> None:
    async with (
        serve(keep_alive) as server,
        aiohttp.ClientSession(headers={"x-mine": "yes"}) as session,
    ):
        transport = AiohttpTransport(session)
        assert [await fetch(transport, server) for _ in range(3)] == [b"Hi"] * 3
        assert not session.closed
        assert server.connections == 1
        assert all(b"x-mine: yes\r\n" in sent for sent in server.requests)


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


async def test_early_closed_response_gives_its_connection_up_but_not_the_session() -> None:
    async with (
        serve(answer(CHUNKED, chunk(b"first"), until_client_leaves)) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session,
    ):
        for _ in range(3):
            response = await AiohttpTransport(session).send(request(server))
            assert await response.receive() == b"first"
            before = open_sockets()
            await response.aclose()
            assert open_sockets() == before - 1
            await server.until_open(0)
        assert not session.closed


async def test_errors_of_a_callers_session_are_the_same() -> None:
    async with (
        serve(answer(CHUNKED, chunk(b"first"))) as server,
        aiohttp.ClientSession() as session,
    ):
        transport = AiohttpTransport(session)
        response = await transport.send(request(server))
        assert await response.receive() == b"first"
        with pytest.raises(ConnectionError) as caught:
            await response.receive()
        assert isinstance(caught.value.__cause__, aiohttp.ClientPayloadError)
        await response.aclose()
        with pytest.raises(ValueError, match="ftp://127"):
            await transport.send(Request("GET", "ftp://127.0.0.1/"))
        assert not session.closed


async def test_what_would_spoil_a_stream_is_not_taken_from_a_callers_session() -> None:
    packed = zlib.compress(b"Hi", wbits=31)
    start = head(500, "content-encoding: gzip", f"content-length: {len(packed)}")

    async def pause(_: SocketStream) -> None:
        await anyio.sleep(0.1)

    timeout = aiohttp.ClientTimeout(total=0.05, sock_read=0.05)
    async with (
        serve(answer(pause, start, pause, packed)) as server,
        aiohttp.ClientSession(
            timeout=timeout, raise_for_status=True, auto_decompress=False
        ) as session,
    ):
        assert await fetch(AiohttpTransport(session), server) == b"Hi"


# With what sends through it


async def test_event_source_reconnects_and_resumes() -> None:
    def reply(body: bytes) -> Handler:
        return answer(head(200, CLOSING), body)

    replies = [reply(b"retry: 0\nid: 1\ndata: one\n\n"), reply(b"id: 2\ndata: two\n\n")]

    async def next_reply(connection: SocketStream, server: Server) -> None:
        await replies[len(server.requests)](connection, server)

    async with serve(next_reply) as server:
        source = EventSource(
            server.url, transport=AiohttpTransport(), reconnection_time=0, max_backoff=0
        )
        async with source:
            with anyio.fail_after(5):
                assert [(await anext(source)).data for _ in range(2)] == ["one", "two"]
    assert b"last-event-id" not in server.requests[0].lower()
    assert b"last-event-id: 1\r\n" in server.requests[1].lower()


async def test_stream_of_a_backend_is_the_same_text() -> None:
    steps = CHUNKED, *(chunk(BODY[at : at + 7]) for at in range(0, len(BODY), 7)), LAST_CHUNK
    async with serve(answer(*steps)) as server:
        backend = DarkAI(api_endpoint=server.url)
        async with stream(backend, "Hello", transport=AiohttpTransport()) as reply:
            assert await reply.text() == "".join(TEXTS)


@pytest.mark.parametrize("transport", [AiohttpTransport, HTTPX2Transport])
@pytest.mark.parametrize(
    "steps",
    [
        (b"nonsense\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",),
        (head(307, "location: /events?token=secret", "content-length: 0", CLOSING),),
        (head(307, "location: ftp://me:secret@127.0.0.1/?secret", "content-length: 0", CLOSING),),
        (head(307, "location: http://me:secret@h:x/?secret", "content-length: 0", CLOSING),),
        (CHUNKED, b"nonsense\r\n"),
    ],
    ids=["no HTTP", "no field", "redirects without end", "no http URL", "no URL", "no chunk"],
)
async def test_no_error_shows_what_may_be_secret(
    transport: Callable[[], Transport], steps: tuple[Any, ...]
) -> None:
    async def ask(url: str) -> None:
        response = await transport().send(Request("GET", url, {"x-api-key": "sk-field"}))
        try:
            await response.receive()
        finally:
            await response.aclose()

    async with serve(answer(*steps)) as server:
        with pytest.raises(ConnectionError, match=r": \w+") as caught:
            await ask(f"http://me:secret@127.0.0.1:{server.port}/events?token=secret")
    assert "secret" not in str(caught.value)
    cause: BaseException | None = caught.value
    while cause is not None:
        assert "sk-field" not in f"{cause} {cause!r}"
        cause = cause.__cause__ or cause.__context__


@pytest.mark.parametrize("transport", [AiohttpTransport, HTTPX2Transport])
@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("ftp://me:secret@127.0.0.1/?secret", {}),
        ("http://me:secret@exa mple/?secret", {}),
        ("http://127.0.0.1/", {"authorization": "Bearer secret\n"}),
    ],
)
async def test_no_refusal_to_send_shows_what_may_be_secret(
    transport: Callable[[], Transport], url: str, headers: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match=WORDS) as caught:
        await transport().send(Request("GET", url, headers))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("other", "kept"), [(False, True), (True, False)])
async def test_credentials_of_a_request_stay_with_their_origin(other: bool, kept: bool) -> None:
    ok = head(200, "connection: close", content_type="text/plain")
    seen: list[str] = []

    async def note(sent: aiohttp.ClientRequest, send: Any) -> aiohttp.ClientResponse:
        seen.append(sent.url.path)
        response: aiohttp.ClientResponse = await send(sent)
        return response

    async with serve(answer(ok)) as elsewhere:

        async def handle(connection: SocketStream, server: Server) -> None:
            server.requests.append(await read_request(connection))
            url = elsewhere.url if other else server.url
            first = head(307, f"location: {url}", "connection: close")
            await connection.send(ok if len(server.requests) > 1 else first)

        async with serve(handle) as server, aiohttp.ClientSession(middlewares=[note]) as session:
            fields = {"X-API-Key": "secret", "authorization": "Bearer secret", "accept": "text/x"}
            response = await AiohttpTransport(session).send(request(server, headers=fields))
            await response.aclose()
            requests = [*server.requests, *elsewhere.requests]
    assert [sent.count(b"secret") for sent in requests] == [2, 2 if kept else 0]
    assert all(b"accept: text/x" in sent.lower() for sent in requests)
    # The session's own middlewares are asked, too.
    assert seen == ["/chat", "/chat"]


async def test_connection_that_takes_longer_than_it_may_is_a_timeout_error(
    full_backlog: int,
) -> None:
    url = f"http://127.0.0.1:{full_backlog}/"
    with anyio.fail_after(5), pytest.raises(TimeoutError, match=r"within 0\.1 seconds") as caught:
        await AiohttpTransport().send(Request("GET", url, connect_timeout=0.1))
    assert isinstance(caught.value.__cause__, aiohttp.ConnectionTimeoutError)


async def test_name_that_nobody_finds_is_a_timeout(
    monkeypatch: pytest.MonkeyPatch, own_sessions: list[aiohttp.ClientSession]
) -> None:
    async def resolve(*_: Any, **__: Any) -> Any:
        await anyio.sleep_forever()

    monkeypatch.setattr(aiohttp.DefaultResolver, "resolve", resolve)
    asked = Request("GET", "http://nobody.example/", connect_timeout=0.1)
    with anyio.fail_after(5), pytest.raises(TimeoutError, match=r"no connection within 0\.1 s"):
        await AiohttpTransport().send(asked)
    assert [session.closed for session in own_sessions] == [True]


async def test_client_that_is_closed_is_no_failure_of_the_network() -> None:
    session = aiohttp.ClientSession()
    await session.close()
    client = httpx2.AsyncClient()
    await client.aclose()
    for transport in (AiohttpTransport(session), HTTPX2Transport(client)):
        with pytest.raises(RuntimeError, match="is closed"):
            await transport.send(Request("GET", "http://127.0.0.1/"))
