"""A failure at a proxy names the proxy: how each transport comes to it, and how it fails there."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeAlias

import aiohttp
import anyio
import httpx
import httpx2
import pytest
from anyio.abc import SocketStream

from sseparse.transports import CertificateError, Request, Transport
from sseparse.transports.aiohttp import AiohttpTransport
from sseparse.transports.httpx2 import HTTPX2Transport
from tests.support.servers import (
    OK,
    Handler,
    Server,
    answer,
    read_request,
    receive_all,
    reset,
    serve,
    socks5_proxy,
    until_client_leaves,
)
from tests.transports.test_httptools import client_tls, connect_proxy, over_tls

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.usefixtures("nothing_is_left", "no_proxies"),
    pytest.mark.filterwarnings("ignore:An HTTPS request is being sent through:RuntimeWarning"),
]

Open: TypeAlias = Callable[[str], Any]


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for scheme in ("no", "all", "http", "https"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme}_proxy".upper(), raising=False)


def by_argument(make: Callable[..., Transport]) -> Open:
    @asynccontextmanager
    async def transport(proxy: str) -> AsyncIterator[Transport]:
        yield make(proxy=proxy)

    return transport


def by_environment(make: Callable[..., Transport]) -> Open:
    @asynccontextmanager
    async def transport(proxy: str) -> AsyncIterator[Transport]:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("HTTP_PROXY", "HTTPS_PROXY"):
                patch.setenv(name, proxy)
            yield make()

    return transport


def by_client(make: Callable[..., Transport], client: Callable[..., Any]) -> Open:
    @asynccontextmanager
    async def transport(proxy: str) -> AsyncIterator[Transport]:
        async with client(proxy=proxy, trust_env=False) as opened:
            yield make(opened)

    return transport


ON_HTTPX = {
    "httpx2, argument": by_argument(HTTPX2Transport),
    "httpx2, environment": by_environment(HTTPX2Transport),
    "httpx2, client": by_client(HTTPX2Transport, httpx2.AsyncClient),
    "httpx, client": by_client(HTTPX2Transport, httpx.AsyncClient),
}
ON_AIOHTTP = {
    "aiohttp, argument": by_argument(AiohttpTransport),
    "aiohttp, environment": by_environment(AiohttpTransport),
    "aiohttp, session": by_client(AiohttpTransport, aiohttp.ClientSession),
}


def ways(*names: str) -> pytest.MarkDecorator:
    """Parametrize `anyio_backend` and `through`."""
    cases = [
        pytest.param(loop, through, id=f"{name}-{loop}")
        for ways, loops in ((ON_HTTPX, ("asyncio", "trio")), (ON_AIOHTTP, ("asyncio",)))
        for name, through in ways.items()
        for loop in loops
        if name in names
    ]
    return pytest.mark.parametrize(("anyio_backend", "through"), cases)


ALL = *ON_HTTPX, *ON_AIOHTTP
schemes = pytest.mark.parametrize("scheme", ["http", "https"])
TARGET = "target.example"
REFUSED = r"\[Errno \d+\] .*"


async def failure(
    through: Open,
    proxy: str,
    scheme: str = "https",
    *,
    target: str = TARGET,
    limit: float | None = None,
) -> Exception:
    """Return the error of a request through a proxy."""
    async with through(proxy.replace("//", "//me:secret@")) as transport:
        request = Request("GET", f"{scheme}://{target}/events?secret", connect_timeout=limit)
        with anyio.fail_after(60), pytest.raises((ConnectionError, TimeoutError)) as caught:
            await transport.send(request)
    assert "secret" not in str(caught.value)
    return caught.value


@contextmanager
def closed_port() -> Iterator[int]:
    """A port of loopback that is bound, but does not listen."""
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        yield unheard.getsockname()[1]


@ways(*ALL)
@schemes
async def test_refused_connection(through: Open, scheme: str) -> None:
    with closed_port() as port:
        proxy = f"http://127.0.0.1:{port}"
        error = await failure(through, proxy, scheme)
    assert re.fullmatch(rf"cannot connect to the proxy {proxy}: {REFUSED}", str(error))
    assert isinstance(error, ConnectionError)
    assert error.__cause__ is not None


@ways(*ALL)
async def test_unknown_name(through: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    look_up = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
        if host in ("nobody.example", b"nobody.example"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    error = await failure(through, "http://nobody.example:8080")
    assert re.fullmatch(
        r"cannot connect to the proxy http://nobody.example:8080: .*Name or service not known.*",
        str(error),
    )


@ways(*ALL)
async def test_connection_that_takes_too_long(through: Open, full_backlog: int) -> None:
    proxy = f"http://127.0.0.1:{full_backlog}"
    error = await failure(through, proxy, limit=0.1)
    assert isinstance(error, TimeoutError)
    assert re.fullmatch(
        rf"cannot connect (to|through) the proxy {proxy}: no connection within 0\.1 seconds",
        str(error),
    )


# From the environment, aiohttp takes no proxy over TLS.
@ways(*(name for name in ALL if name != "aiohttp, environment"))
@schemes
async def test_tls_of_the_proxy(through: Open, scheme: str) -> None:
    async def no_tls(client: SocketStream, _: Server) -> None:
        await client.receive()
        await client.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serve(no_tls) as server:
        proxy = f"https://127.0.0.1:{server.port}"
        error = await failure(through, proxy, scheme)
        await server.until_open(0)
    assert str(error).startswith(f"cannot connect to the proxy {proxy}: [SSL")


@ways(*ALL)
@pytest.mark.parametrize(
    ("status", "reason"), [(407, "Proxy Authentication Required"), (502, "Bad Gateway")]
)
async def test_answer_to_connect(through: Open, status: int, reason: str) -> None:
    refusal = f"HTTP/1.1 {status} {reason}\r\ncontent-length: 0\r\n\r\n".encode()
    async with serve(answer(refusal, until_client_leaves)) as server:
        proxy = f"http://127.0.0.1:{server.port}"
        error = await failure(through, proxy)
        await server.until_open(0)
    assert re.fullmatch(
        rf"cannot connect through the proxy {proxy}: (HTTP )?{status}:? {reason}", str(error)
    )
    assert server.requests[0].startswith(f"CONNECT {TARGET}:443 ".encode())


@ways(*ALL)
@pytest.mark.parametrize("step", [reset, b""], ids=["reset", "end"])
async def test_no_answer_to_connect(through: Open, step: Any) -> None:
    async with serve(answer(step)) as server:
        proxy = f"http://127.0.0.1:{server.port}"
        error = await failure(through, proxy)
    assert str(error).startswith(f"cannot connect through the proxy {proxy}: ")


@ways(*(name for name in ALL if name != "aiohttp, session"))
async def test_answer_to_connect_that_takes_too_long(through: Open) -> None:
    async with serve(answer(until_client_leaves)) as server:
        proxy = f"http://127.0.0.1:{server.port}"
        error = await failure(through, proxy, limit=0.1)
        await server.until_open(0)
    assert isinstance(error, TimeoutError)
    assert str(error) == (
        f"cannot connect through the proxy {proxy}: no connection within 0.1 seconds"
    )


# SOCKS


@ways("httpx2, argument", "httpx2, client", "httpx, client", "httpx2, environment")
@schemes
async def test_refused_connection_to_a_socks_proxy(through: Open, scheme: str) -> None:
    with closed_port() as port:
        proxy = f"socks5://127.0.0.1:{port}"
        error = await failure(through, proxy, scheme)
    assert re.fullmatch(rf"cannot connect to the proxy {proxy}: {REFUSED}", str(error))


def socks_proxy(*answers: bytes) -> Handler:
    async def handle(client: SocketStream, _: Server) -> None:
        for data in answers:
            await client.receive()
            await client.send(data)
        await until_client_leaves(client)

    return handle


@ways("httpx2, argument", "httpx2, client", "httpx, client", "httpx2, environment")
@schemes
@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ((b"\x05\xff",), "NO ACCEPTABLE METHODS"),
        ((b"\x05\x02", b"\x01\x01"), "Invalid username/password"),
        ((b"\x05\x02", b"\x01\x00", b"\x05\x05\x00\x01" + bytes(6)), "Connection refused"),
        ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), ""),
    ],
    ids=["no method", "wrong password", "refused", "no SOCKS"],
)
async def test_refusal_of_a_socks_proxy(
    through: Open, scheme: str, answers: tuple[bytes, ...], words: str
) -> None:
    async with serve(socks_proxy(*answers)) as server:
        proxy = f"socks5://127.0.0.1:{server.port}"
        error = await failure(through, proxy, scheme)
        await server.until_open(0)
    assert str(error).startswith(f"cannot connect through the proxy {proxy}: ")
    assert words in str(error)


# httpcore before httpcore2 has no time limit there.
@ways("httpx2, argument", "httpx2, client", "httpx2, environment")
async def test_socks_proxy_that_never_answers(through: Open) -> None:
    async with serve(socks_proxy()) as server:
        proxy = f"socks5://127.0.0.1:{server.port}"
        error = await failure(through, proxy, limit=0.1)
        await server.until_open(0)
    assert isinstance(error, TimeoutError)
    assert str(error).startswith(f"cannot connect through the proxy {proxy}: no connection within")


# Beyond the proxy


@ways(*ALL)
async def test_tls_of_the_target_is_no_failure_of_the_proxy(through: Open) -> None:
    async with serve(over_tls(answer(OK))) as server, serve(connect_proxy) as proxy:
        target = f"127.0.0.1:{server.port}"
        error = await failure(through, f"http://127.0.0.1:{proxy.port}", target=target)
    assert str(error).startswith(f"https://{target}/events: [SSL: CERTIFICATE_VERIFY_FAILED]")
    assert isinstance(error, CertificateError)


@ways(*ALL)
async def test_proxy_that_has_the_request_is_taken_for_the_target(through: Open) -> None:
    async with serve(answer()) as server:
        error = await failure(through, f"http://127.0.0.1:{server.port}", "http")
    assert str(error).startswith(f"http://{TARGET}/events: ")


@pytest.mark.parametrize("library", [httpx2, httpx])
@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_connect_timeout_is_over_with_the_connection(library: Any, scheme: str) -> None:
    async def later(client: Any, server: Server) -> None:
        await read_request(client)
        await anyio.sleep(1.2)
        await client.send(OK + b"Hi")

    proxies = {"http": connect_proxy, "socks5": socks5_proxy}
    async with serve(over_tls(later)) as server, serve(proxies[scheme]) as proxy:
        url = f"{scheme}://127.0.0.1:{proxy.port}"
        async with library.AsyncClient(proxy=url, trust_env=False, verify=client_tls()) as client:
            request = Request("GET", f"https://127.0.0.1:{server.port}/", connect_timeout=1)
            response = await HTTPX2Transport(client).send(request)
            assert await receive_all(response) == b"Hi"
        assert proxy.connections == 1
