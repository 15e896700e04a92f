"""What holds for each transport over HTTP alike."""

from __future__ import annotations

import pytest
from anyio.abc import SocketStream

from sseparse.transports import Request, Transport
from sseparse.transports.aiohttp import AiohttpTransport
from sseparse.transports.httpx2 import HTTPX2Transport
from tests.support.servers import (
    CLOSING,
    OK,
    Server,
    answer,
    head,
    read_request,
    receive_all,
    serve,
)

EMPTY = "content-length: 0"

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.usefixtures("nothing_is_left"),
    pytest.mark.parametrize(
        ("anyio_backend", "transport"),
        [
            ("asyncio", HTTPX2Transport()),
            ("trio", HTTPX2Transport()),
            ("asyncio", AiohttpTransport()),
        ],
        ids=["httpx2-asyncio", "httpx2-trio", "aiohttp"],
    ),
]


@pytest.mark.parametrize(
    ("status", "method", "body"),
    [
        *((307, "POST", b"body"), (308, "POST", b"body"), (307, "GET", b"")),
        *((301, "GET", b""), (302, "GET", b""), (303, "GET", b"")),
    ],
)
async def test_redirects_are_followed(
    transport: Transport, status: int, method: str, body: bytes
) -> None:
    async with serve(answer(OK + b"there")) as there:
        away = head(status, f"location: {there.url}/there", EMPTY, CLOSING)
        async with serve(answer(away)) as here:
            response = await transport.send(Request(method, here.url, {}, body))
            assert (response.status, await receive_all(response)) == (200, b"there")
    assert there.requests[0].startswith(f"{method} /chat/there ".encode())
    assert there.requests[0].endswith(b"\r\n\r\n" + body)


@pytest.mark.parametrize("status", [301, 302, 303])
@pytest.mark.parametrize("fields", [("location: /there",), ()])
async def test_redirect_that_would_lose_the_body_is_the_response(
    transport: Transport, status: int, fields: tuple[str, ...]
) -> None:
    async with serve(
        answer(head(status, *fields, "content-length: 5", CLOSING) + b"moved")
    ) as here:
        response = await transport.send(Request("POST", here.url, {}, b"body"))
        assert (response.status, await receive_all(response)) == (status, b"moved")
        await here.until_open(0)
    assert len(here.requests) == 1


async def test_method_in_lower_case_is_the_same(transport: Transport) -> None:
    steps = head(301, "location: /there", EMPTY, CLOSING), OK + b"there"

    async def converse(connection: SocketStream, server: Server) -> None:
        server.requests.append(await read_request(connection))
        await connection.send(steps[len(server.requests) - 1])

    async with serve(converse) as server:
        response = await transport.send(Request("get", server.url))
        assert (response.status, await receive_all(response)) == (200, b"there")
