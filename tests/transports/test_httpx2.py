"""The transport over httpx2: its peculiarities."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from typing import Any, cast

import anyio
import httpx
import httpx2
import pytest
from anyio.abc import SocketStream

from sseparse.transports import Request
from sseparse.transports._httpx2 import ssl_context
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
    read_request,
    receive_all,
    serve,
    until_client_leaves,
)

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.usefixtures("nothing_is_left"),
]

REQUEST = Request("GET", "http://127.0.0.1/")


@pytest.mark.parametrize("library", [httpx2, httpx])
async def test_client_for_threads_is_a_type_error(library: Any) -> None:
    with (
        library.Client() as client,
        pytest.raises(TypeError, match=r"^client must be an httpx2.AsyncClient, got Client$"),
    ):
        HTTPX2Transport(client)


async def test_whatever_fails_below_is_a_connection_error_with_its_cause() -> None:
    error = ZeroDivisionError()

    def fail(_: httpx2.Request) -> httpx2.Response:
        raise error

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(fail)) as client:
        with pytest.raises(ConnectionError, match="ZeroDivisionError") as caught:
            await HTTPX2Transport(client).send(REQUEST)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("library", [httpx2, httpx])
@pytest.mark.parametrize("limit", [None, 5])
async def test_connect_timeout_of_the_request_is_the_only_timeout(
    library: Any, limit: float | None
) -> None:
    seen: list[object] = []

    def note(sent: Any) -> Any:
        seen.append(sent.extensions["timeout"])
        return library.Response(200)

    mock = library.MockTransport(note)
    async with library.AsyncClient(transport=mock, timeout=0.001) as client:
        request = Request("GET", "http://127.0.0.1/", connect_timeout=limit)
        await HTTPX2Transport(client).send(request)
    assert seen == [{"connect": limit, "read": None, "write": None, "pool": None}]


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
        response = await HTTPX2Transport(client).send(REQUEST)
        assert await response.receive() == b"more"
        with anyio.fail_after(60):
            await response.aclose()
        assert body.ended


async def test_own_client_is_closed_even_where_closing_the_response_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(_: httpx2.Response) -> None:
        raise OSError("no")

    async with serve(answer(OK)) as server:
        response = await HTTPX2Transport().send(Request("GET", server.url))
        with monkeypatch.context() as patch:
            patch.setattr(httpx2.Response, "aclose", fail)
            with pytest.raises(OSError, match="no"):
                await response.aclose()
        await server.until_open(0)
        await response.aclose()


@pytest.mark.parametrize("library", [httpx2, httpx])
async def test_redirect_is_followed_whatever_the_client_says(library: Any) -> None:
    away = head(307, "location: /there", "content-length: 0", CLOSING)
    for options in ({"follow_redirects": False}, {"follow_redirects": True, "max_redirects": 0}):
        replies = iter([answer(away), answer(OK + b"there")])
        async with (
            serve(lambda *connection, replies=replies: next(replies)(*connection)) as server,
            library.AsyncClient(trust_env=False, **options) as client,
        ):
            response = await HTTPX2Transport(client).send(Request("GET", server.url))
            assert await receive_all(response) == b"there"


async def test_closing_a_body_of_which_more_has_arrived_leaves_nothing() -> None:
    start = CHUNKED + b"".join(chunk(b"x") for _ in range(100))
    async with (
        serve(answer(start, until_client_leaves)) as server,
        httpx2.AsyncClient(trust_env=False) as client,
    ):
        response = await HTTPX2Transport(client).send(Request("GET", server.url))
        assert await response.receive() == b"x"
        await response.aclose()
        await server.until_open(0)


async def test_an_open_transport_has_one_client_without_a_limit_of_connections() -> None:
    everybody = anyio.Event()

    async def wait(_: SocketStream) -> None:
        if server.open == 120:
            everybody.set()
        await everybody.wait()

    async def ask() -> None:
        response = await transport.send(Request("GET", server.url))
        assert await receive_all(response) == b""

    with anyio.fail_after(60):
        async with (
            serve(answer(wait, head(200, "content-length: 0", CLOSING))) as server,
            HTTPX2Transport(trust_env=False) as transport,
        ):
            assert transport.keeps_connections
            async with anyio.create_task_group() as tasks:
                for _ in range(120):
                    tasks.start_soon(ask)


async def test_an_open_transport_uses_a_connection_again_and_closes_it_at_the_end() -> None:
    async def answer_all(connection: SocketStream, _: Server) -> None:
        while True:
            await read_request(connection)
            await connection.send(head(200, "transfer-encoding: chunked") + LAST_CHUNK)

    async with serve(answer_all) as server:
        async with HTTPX2Transport(trust_env=False) as transport:
            for _ in range(3):
                response = await transport.send(Request("GET", server.url))
                assert await receive_all(response) == b""
            assert (server.connections, server.open) == (1, 1)
        await server.until_open(0)
        with pytest.raises(RuntimeError, match="closed"):
            await transport.send(Request("GET", server.url))


async def test_many_requests_in_flight_share_a_few_clients() -> None:
    number = 100
    async with (
        serve(answer(OK, until_client_leaves)) as server,
        HTTPX2Transport(trust_env=False) as transport,
    ):
        responses = [await transport.send(Request("GET", server.url)) for _ in range(number)]
        assert server.open == number
        assert transport._shared is not None
        assert [shared.in_flight for shared in transport._shared] == [32, 32, 32, 4]
        for response in responses:
            await response.aclose()
            await response.aclose()
        assert [shared.in_flight for shared in transport._shared] == [0] * 4
        await server.until_open(0)
        with pytest.raises(ConnectionError):
            await transport.send(Request("GET", "http://127.0.0.1:1/"))
        assert [shared.in_flight for shared in transport._shared] == [0] * 4


async def test_a_transport_is_opened_once_and_never_with_a_client() -> None:
    async with httpx2.AsyncClient() as client:
        with pytest.raises(RuntimeError, match="no client, and must be opened once"):
            await HTTPX2Transport(client).__aenter__()
    async with HTTPX2Transport() as transport:
        with pytest.raises(RuntimeError, match="opened once"):
            await transport.__aenter__()


async def test_client_and_tls_together_are_a_value_error() -> None:
    async with httpx2.AsyncClient() as client:
        with pytest.raises(ValueError, match=r"^tls must be None with a client, which has its own"):
            HTTPX2Transport(client, tls=ssl.create_default_context())
    with pytest.raises(TypeError, match=r"^tls must be an ssl\.SSLContext, got bool"):
        HTTPX2Transport(tls=cast("Any", True))


async def test_certificates_of_the_environment_that_cannot_be_used_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    ssl_context.cache_clear()
    with pytest.raises(ValueError, match="SSL_CERT_FILE and SSL_CERT_DIR must name certificates"):
        ssl_context(True)
    ssl_context.cache_clear()
