"""The transport over httpx2, through real sockets, on asyncio and on trio."""

from __future__ import annotations

import base64
import zlib
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import httpx2
import pytest
from anyio.abc import SocketStream

from sseparse.transports import Request, Transport
from sseparse.transports.httpx2 import HTTPX2Transport
from tests.support.servers import (
    CHUNKED,
    CLOSING,
    LAST_CHUNK,
    OK,
    Server,
    answer,
    chunk,
    head,
    http_proxy,
    read_request,
    receive_all,
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


@pytest.fixture
def own_clients(monkeypatch: pytest.MonkeyPatch) -> list[httpx2.AsyncClient]:
    """The clients that the transport makes for itself."""
    clients: list[httpx2.AsyncClient] = []

    class Noted(httpx2.AsyncClient):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            clients.append(self)

    monkeypatch.setattr(httpx2, "AsyncClient", Noted)
    return clients


def request(server: Server, **fields: Any) -> Request:
    return Request("POST", server.url, **fields)


async def fetch(transport: Transport, server: Server) -> bytes:
    return await receive_all(await transport.send(request(server)))


# Requests and responses


async def test_request_goes_out_as_it_is() -> None:
    async with serve(answer(OK)) as server:
        headers = {"accept": "text/event-stream", "user-agent": "me", "X-Name": "Ünï 漢"}
        sent = Request("PUT", server.url + "?a=b", headers, b"\0body\xff")
        await receive_all(await HTTPX2Transport().send(sent))
    start, _, body = server.requests[0].partition(b"\r\n\r\n")
    line, *fields = start.split(b"\r\n")
    assert (line, body) == (b"PUT /chat?a=b HTTP/1.1", b"\0body\xff")
    assert b"accept: text/event-stream" in fields
    assert b"user-agent: me" in fields
    assert "X-Name: Ünï 漢".encode() in fields
    assert b"content-length: 6" in [field.lower() for field in fields]


async def test_empty_body_of_a_get_is_none() -> None:
    async with serve(answer(OK)) as server:
        await receive_all(await HTTPX2Transport().send(Request("GET", server.url)))
    assert b"content-length" not in server.requests[0].lower()
    assert b"transfer-encoding" not in server.requests[0].lower()


async def test_response_has_status_and_headers_with_lower_case_names() -> None:
    fields = "X-One: 1", "X-Many: a", "x-many: b", CLOSING
    async with serve(answer(head(418, *fields, content_type="Text/Event-Stream"))) as server:
        response = await HTTPX2Transport().send(request(server))
        await response.aclose()
    assert response.status == 418
    assert dict(response.headers) == {
        "content-type": "Text/Event-Stream",
        "x-one": "1",
        "x-many": "a, b",
        "connection": "close",
    }


async def test_bytes_come_as_they_arrive_and_the_end_stays() -> None:
    going_on = anyio.Event()

    async def wait(_: SocketStream) -> None:
        await going_on.wait()

    async with serve(
        answer(CHUNKED, chunk(b"first"), wait, chunk(b"second"), LAST_CHUNK)
    ) as server:
        response = await HTTPX2Transport().send(request(server))
        with anyio.fail_after(5):
            assert await response.receive() == b"first"
        going_on.set()
        assert [await response.receive() for _ in range(3)] == [b"second", b"", b""]
        await response.aclose()


async def test_gzip_is_undone_as_it_arrives() -> None:
    going_on = anyio.Event()
    packer = zlib.compressobj(wbits=31)
    first = packer.compress(b"first") + packer.flush(zlib.Z_SYNC_FLUSH)
    second = packer.compress(b"second") + packer.flush()

    async def wait(_: SocketStream) -> None:
        await going_on.wait()

    start = head(200, CLOSING, "content-encoding: gzip")
    async with serve(answer(start + first, wait, second)) as server:
        response = await HTTPX2Transport().send(request(server))
        with anyio.fail_after(5):
            assert await response.receive() == b"first"
        going_on.set()
        assert await receive_all(response) == b"second"


# Errors


async def test_refused_connection_is_a_connection_error_with_its_cause() -> None:
    async with serve(answer()) as server:
        pass
    with pytest.raises(ConnectionError) as caught:
        await HTTPX2Transport().send(request(server))
    assert isinstance(caught.value.__cause__, httpx2.ConnectError)
    assert str(caught.value).startswith(f"{server.url}: ")


LOOP = head(307, "location: /chat", "content-length: 0", CLOSING)


async def test_redirect_whose_body_never_ends_is_followed() -> None:
    async def handle(connection: SocketStream, server: Server) -> None:
        server.requests.append(await read_request(connection))
        if len(server.requests) > 1:
            await connection.send(OK + b"there")
            return
        await connection.send(head(307, "location: /there", "transfer-encoding: chunked"))
        while True:
            await connection.send(chunk(b"x" * 65536))

    async with serve(handle) as server:
        with anyio.fail_after(5):
            response = await HTTPX2Transport().send(request(server))
        assert await response.receive() == b"there"
        await response.aclose()
        await server.until_open(0)


@pytest.mark.parametrize(("other", "kept"), [(False, True), (True, False)])
async def test_credentials_stay_with_their_origin(other: bool, kept: bool) -> None:
    async with serve(answer(OK)) as elsewhere:

        async def handle(connection: SocketStream, server: Server) -> None:
            server.requests.append(await read_request(connection))
            url = elsewhere.url if other else server.url
            found = OK if len(server.requests) > 1 else head(307, f"location: {url}", CLOSING)
            await connection.send(found)

        async with (
            serve(handle) as server,
            httpx2.AsyncClient(auth=("user", "word"), trust_env=False) as client,
        ):
            fields = {"X-API-Key": "secret", "x-goog-api-key": "secret", "accept": "text/plain"}
            response = await HTTPX2Transport(client).send(request(server, headers=fields))
            await response.aclose()
            requests = [*server.requests, *elsewhere.requests]
    assert [b"authorization: basic" in sent.lower() for sent in requests] == [True, kept]
    assert [sent.count(b"secret") for sent in requests] == [2, 2 if kept else 0]
    assert all(b"accept: text/plain" in sent for sent in requests)


@pytest.mark.parametrize(
    "steps",
    [(), (reset,), (b"nonsense\r\n\r\n",), (b"HTTP/1.1 200 OK\r\n",)],
    ids=["end", "reset", "nonsense", "half a head"],
)
async def test_no_response_is_a_connection_error_with_its_cause(
    steps: tuple[Any, ...], own_clients: list[httpx2.AsyncClient]
) -> None:
    async with serve(answer(*steps)) as server:
        with pytest.raises(ConnectionError, match=r"http://127.*: .") as caught:
            await HTTPX2Transport().send(request(server))
        assert isinstance(caught.value.__cause__, httpx2.RequestError)
        await server.until_open(0)
    assert [client.is_closed for client in own_clients] == [True]


@pytest.mark.parametrize("library", [httpx2, httpx])
async def test_connection_that_takes_longer_than_it_may_is_a_timeout_error(
    library: Any, full_backlog: int
) -> None:
    url = f"http://127.0.0.1:{full_backlog}/"
    async with library.AsyncClient(trust_env=False) as client:
        with (
            anyio.fail_after(5),
            pytest.raises(TimeoutError, match=r"within 0\.1 seconds") as caught,
        ):
            await HTTPX2Transport(client).send(Request("GET", url, connect_timeout=0.1))
    assert isinstance(caught.value.__cause__, library.ConnectTimeout)


async def test_redirects_without_end_are_a_connection_error(
    own_clients: list[httpx2.AsyncClient],
) -> None:
    async with serve(answer(LOOP)) as server:
        with pytest.raises(ConnectionError, match="more than 20 redirects"):
            await HTTPX2Transport().send(request(server))
        assert len(server.requests) == 21
        await server.until_open(0)
    assert [client.is_closed for client in own_clients] == [True]


@pytest.mark.parametrize(
    "steps",
    [
        (CHUNKED, chunk(b"first")),
        (head(200, "content-length: 100"), b"first"),
        (CHUNKED, chunk(b"first"), b"nonsense\r\n"),
    ],
    ids=["no last chunk", "too short", "nonsense"],
)
async def test_cut_body_is_a_connection_error_with_its_cause(steps: tuple[Any, ...]) -> None:
    async with serve(answer(*steps)) as server:
        response = await HTTPX2Transport().send(request(server))
        assert await response.receive() == b"first"
        with pytest.raises(ConnectionError, match=r"http://127.*: .") as caught:
            await response.receive()
        assert isinstance(caught.value.__cause__, httpx2.RequestError)
        await response.aclose()


async def test_reset_body_is_a_connection_error_with_the_kind_of_it_where_no_words_are() -> None:
    arrived = anyio.Event()

    async def wait(_: SocketStream) -> None:
        await arrived.wait()

    async with serve(answer(OK, b"first", wait, reset)) as server:
        response = await HTTPX2Transport().send(request(server))
        assert await response.receive() == b"first"
        arrived.set()
        with pytest.raises(ConnectionError, match=r"http://127.*: .") as caught:
            await response.receive()
        assert isinstance(caught.value.__cause__, httpx2.ReadError)
        await response.aclose()


# httpx2 leaves a generator suspended here, which trio warns about; its socket is closed.
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
async def test_damaged_gzip_is_a_connection_error() -> None:
    start = head(200, CLOSING, "content-encoding: gzip")
    async with serve(answer(start + b"no gzip", until_client_leaves)) as server:
        response = await HTTPX2Transport().send(request(server))
        with pytest.raises(ConnectionError) as caught:
            await response.receive()
        assert isinstance(caught.value.__cause__, httpx2.DecodingError)
        await response.aclose()
        await server.until_open(0)


@pytest.mark.parametrize(
    "proxy", ["", "127.0.0.1:80", "ftp://127.0.0.1", "socks4://127.0.0.1", "http://h:port"]
)
async def test_proxy_that_is_none_is_a_value_error(proxy: str) -> None:
    with pytest.raises(ValueError, match=WORDS):
        HTTPX2Transport(proxy=proxy)


async def test_client_and_proxy_together_are_a_value_error() -> None:
    async with httpx2.AsyncClient() as client:
        with pytest.raises(ValueError, match="either a client or a proxy"):
            HTTPX2Transport(client, proxy="http://127.0.0.1:80")


async def test_whatever_fails_below_is_a_connection_error() -> None:
    error = ZeroDivisionError()

    def fail(_: httpx2.Request) -> httpx2.Response:
        raise error

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(fail)) as client:
        with pytest.raises(ConnectionError, match="ZeroDivisionError") as caught:
            await HTTPX2Transport(client).send(Request("GET", "http://127.0.0.1/"))
    assert caught.value.__cause__ is error


# Proxies


async def test_environment_names_the_proxy_unless_told_not_to_trust_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with serve(answer(OK + b"Hi")) as server, serve(http_proxy) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        assert await fetch(HTTPX2Transport(trust_env=False), server) == b"Hi"
        assert proxy.connections == 0
        assert await fetch(HTTPX2Transport(), server) == b"Hi"
        assert proxy.connections == 1


async def test_proxy_gets_the_credentials_of_its_url() -> None:
    async with serve(answer(OK + b"Hi")) as server, serve(http_proxy) as proxy:
        transport = HTTPX2Transport(proxy=f"http://me:secret@127.0.0.1:{proxy.port}")
        assert await fetch(transport, server) == b"Hi"
    assert b"Basic " + base64.b64encode(b"me:secret") in proxy.requests[0]


# Closing


async def test_own_client_is_closed_with_the_response(
    own_clients: list[httpx2.AsyncClient],
) -> None:
    async with serve(answer(OK + b"first", until_client_leaves)) as server:
        response = await HTTPX2Transport().send(request(server))
        assert await response.receive() == b"first"
        assert not own_clients[0].is_closed
        await response.aclose()
        assert own_clients[0].is_closed
        await server.until_open(0)
        await response.aclose()


async def test_own_client_is_closed_when_sending_is_cancelled(
    own_clients: list[httpx2.AsyncClient],
) -> None:
    async with serve(answer(until_client_leaves)) as server:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(HTTPX2Transport().send, request(server))
            await server.until_open(1)
            tasks.cancel_scope.cancel()
        assert own_clients[0].is_closed
        await server.until_open(0)


async def test_closing_in_a_cancelled_scope_closes_the_connection() -> None:
    async with serve(answer(OK + b"first", until_client_leaves)) as server:
        response = await HTTPX2Transport().send(request(server))
        with anyio.CancelScope() as scope:
            scope.cancel()
            await response.aclose()
        await server.until_open(0)


async def test_closing_after_a_cancelled_receive_closes_the_connection() -> None:
    async with serve(answer(OK, until_client_leaves)) as server:
        response = await HTTPX2Transport().send(request(server))
        with anyio.move_on_after(0.01) as scope:
            await response.receive()
        assert scope.cancelled_caught
        await response.aclose()
        await server.until_open(0)


@pytest.mark.parametrize("library", [httpx2, httpx], ids=["httpx2", "httpx"])
async def test_callers_client_is_used_and_stays_open(library: Any) -> None:
    async def keep_alive(connection: SocketStream, server: Server) -> None:
        for _ in range(2):
            server.requests.append(await read_request(connection))
            await connection.send(head(200, "content-length: 2") + b"Hi")

    async with (
        serve(keep_alive) as server,
        library.AsyncClient(headers={"x-mine": "yes"}, trust_env=False) as client,
    ):
        transport = HTTPX2Transport(client)
        assert [await fetch(transport, server) for _ in range(2)] == [b"Hi", b"Hi"]
        assert not client.is_closed
        assert server.connections == 1
        assert all(b"x-mine: yes\r\n" in sent for sent in server.requests)


@pytest.mark.parametrize("library", [httpx2, httpx], ids=["httpx2", "httpx"])
async def test_early_closed_response_gives_its_connection_up_but_not_the_client(
    library: Any,
) -> None:
    async with (
        serve(answer(CHUNKED, chunk(b"first"), until_client_leaves)) as server,
        library.AsyncClient(trust_env=False) as client,
    ):
        for _ in range(3):
            response = await HTTPX2Transport(client).send(request(server))
            assert await response.receive() == b"first"
            await response.aclose()
            await server.until_open(0)
        assert not client.is_closed


@pytest.mark.parametrize("library", [httpx2, httpx], ids=["httpx2", "httpx"])
async def test_errors_of_a_callers_client_are_the_same(library: Any) -> None:
    async with (
        serve(answer(CHUNKED, chunk(b"first"))) as server,
        library.AsyncClient(trust_env=False) as client,
    ):
        transport = HTTPX2Transport(client)
        response = await transport.send(request(server))
        assert await response.receive() == b"first"
        with pytest.raises(ConnectionError) as caught:
            await response.receive()
        assert isinstance(caught.value.__cause__, library.RemoteProtocolError)
        await response.aclose()
        with pytest.raises(ValueError, match="ftp://127"):
            await transport.send(Request("GET", "ftp://127.0.0.1/"))


async def test_timeouts_of_a_callers_client_are_not_used() -> None:
    seen: list[object] = []

    def note(sent: httpx2.Request) -> httpx2.Response:
        seen.append(sent.extensions["timeout"])
        return httpx2.Response(200)

    mock = httpx2.MockTransport(note)
    async with httpx2.AsyncClient(transport=mock, timeout=0.001) as client:
        await HTTPX2Transport(client).send(Request("GET", "http://127.0.0.1/"))
    assert seen == [{"connect": None, "read": None, "write": None, "pool": None}]


class Endless(httpx2.AsyncByteStream):
    """A body that never ends; `ended` tells whether its iterator did."""

    def __init__(self) -> None:
        self.ended = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"more"
        finally:
            self.ended = True


@pytest.mark.parametrize(
    "extensions",
    [{}, {"http_version": b"HTTP/2", "network_stream": object()}],
    ids=["no socket", "one connection for many responses"],
)
async def test_body_that_closing_a_socket_does_not_end_is_not_read_on(
    extensions: dict[str, Any],
) -> None:
    body = Endless()

    def respond(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, stream=body, extensions=extensions)

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(respond)) as client:
        response = await HTTPX2Transport(client).send(Request("GET", "http://127.0.0.1/"))
        assert await response.receive() == b"more"
        with anyio.fail_after(5):
            await response.aclose()
        assert body.ended


async def test_proxy_of_the_environment_that_is_no_url_is_a_value_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://h:port")
    with pytest.raises(ValueError, match="a proxy in the environment is no URL"):
        await HTTPX2Transport().send(Request("GET", "http://127.0.0.1/"))


async def test_body_that_has_failed_does_not_end_well_afterwards() -> None:
    async with serve(answer(OK)) as server:
        response = await HTTPX2Transport().send(request(server))
        with anyio.CancelScope() as scope:
            scope.cancel()
            await response.receive()
        assert scope.cancelled_caught
        for _ in range(2):
            with pytest.raises(ConnectionError, match="has failed before"):
                await response.receive()
        await response.aclose()


async def test_own_client_is_closed_even_where_closing_the_response_fails(
    own_clients: list[httpx2.AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: httpx2.Response) -> None:
        raise OSError("no")

    async with serve(answer(OK)) as server:
        response = await HTTPX2Transport().send(request(server))
        with monkeypatch.context() as patch:
            patch.setattr(httpx2.Response, "aclose", fail)
            with pytest.raises(OSError, match="no"):
                await response.aclose()
        assert [client.is_closed for client in own_clients] == [True]
        await response.aclose()
