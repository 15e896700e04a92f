"""The bodies that HTTPX2Transport reads past h11, on asyncio and on trio."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import anyio
import httpcore2
import httpx2
import pytest
import trustme
from anyio.abc import ByteStream, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSStream

from sseparse.transports import Request
from sseparse.transports._httptools import HTTPToolsTransport, _Stream
from sseparse.transports.httpx2 import HTTPX2Transport
from tests.support.cancellation import cancelling_at_each_await
from tests.support.servers import (
    CHUNKED,
    CLOSING,
    LAST_CHUNK,
    OK,
    Handler,
    Server,
    answer,
    chunk,
    head,
    http_proxy,
    join,
    read_request,
    receive_all,
    reset,
    serve,
    socks5_proxy,
    until_client_leaves,
)

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.usefixtures("quick_collection", "nothing_is_left"),
]

LENGTH = "content-length: 5"
KEPT = head(200, "transfer-encoding: chunked")
CA = trustme.CA()


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    """A client whose connections can be used again."""
    transport = HTTPToolsTransport(client_tls(), None)
    async with httpx2.AsyncClient(transport=transport) as client:
        yield client


def client_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    CA.configure_trust(context)
    return context


def over_tls(handle: Handler) -> Handler:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    CA.issue_cert("127.0.0.1").configure_cert(context)

    async def handle_tls(connection: SocketStream, server: Server) -> None:
        with suppress(ssl.SSLError):
            stream: Any = await TLSStream.wrap(
                connection, server_side=True, ssl_context=context, standard_compatible=False
            )
            await handle(stream, server)

    return handle_tls


async def until_client_leaves_after_hello(connection: SocketStream, server: Server) -> None:
    server.requests.append(await connection.receive())
    await until_client_leaves(connection)


async def connect_proxy(client: SocketStream, server: Server) -> None:
    """A proxy for CONNECT: what `serve` takes."""
    line = await BufferedByteReceiveStream(client).receive_until(b"\r\n\r\n", 65536)
    server.requests.append(line)
    host, port = line.split()[1].decode().split(":")
    await client.send(b"HTTP/1.1 200 Connected\r\n\r\n")
    await join(client, host, int(port))


async def fetch(server: Server, method: str = "POST", **options: Any) -> bytes:
    transport = HTTPX2Transport(trust_env=False, **options)
    return await receive_all(await transport.send(Request(method, server.url)))


def by(size: int, data: bytes) -> list[Callable[[SocketStream], Any]]:
    """Steps that send `data` in pieces, each in a packet of its own."""

    def send(piece: bytes) -> Callable[[SocketStream], Any]:
        async def step(connection: SocketStream) -> None:
            await connection.send(piece)
            for _ in range(3):
                await anyio.lowlevel.checkpoint()

        return step

    return [send(data[start : start + size]) for start in range(0, len(data), size)]


BODIES = {
    "chunked": CHUNKED + chunk(b"Hi\n\n") + chunk(b"you\r\n\r\n") + LAST_CHUNK,
    "chunked, trailers": CHUNKED + chunk(b"Hi\n\nyou\r\n\r\n") + b"0\r\nx-a: b\r\n\r\n",
    "chunked, extensions": CHUNKED + b"4;a=b\r\nHi\n\n\r\n" + chunk(b"you\r\n\r\n") + LAST_CHUNK,
    "length": head(200, "content-length: 11", CLOSING) + b"Hi\n\nyou\r\n\r\n",
    "until the end": OK + b"Hi\n\nyou\r\n\r\n",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\nHi\n\nyou\r\n\r\n",
    "lines without CR": OK.replace(b"\r\n", b"\n") + b"Hi\n\nyou\r\n\r\n",
    "chunked and length": head(200, "transfer-encoding: chunked", LENGTH, CLOSING)
    + chunk(b"Hi\n\nyou\r\n\r\n")
    + LAST_CHUNK,
    "1xx before": b"HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 103 Hints\r\nlink: a\r\n\r\n"
    + CHUNKED
    + chunk(b"Hi\n\nyou\r\n\r\n")
    + LAST_CHUNK,
}


@pytest.mark.parametrize("size", [1, 2, 7, 100_000])
@pytest.mark.parametrize("data", BODIES.values(), ids=list(BODIES))
async def test_every_framing_is_read_however_it_is_cut(data: bytes, size: int) -> None:
    async with serve(answer(*by(size, data))) as server:
        assert await fetch(server) == b"Hi\n\nyou\r\n\r\n"


@pytest.mark.parametrize(
    ("method", "data"),
    [
        ("HEAD", head(200, LENGTH)),
        ("HEAD", KEPT),
        ("GET", head(204)),
        ("GET", head(304, LENGTH)),
        ("GET", head(304, "transfer-encoding: chunked")),
    ],
)
async def test_response_without_a_body_ends_with_its_head(method: str, data: bytes) -> None:
    async with serve(answer(data, until_client_leaves)) as server:
        with anyio.fail_after(60):
            assert await fetch(server, method) == b""
        await server.until_open(0)


@pytest.mark.parametrize("ending", [(), (reset,)], ids=["FIN", "RST"])
async def test_chunked_body_that_is_cut_anywhere_is_a_connection_error(ending: Any) -> None:
    body = chunk(b"Hi") + chunk(b"you") + b"0\r\na: b\r\n\r\n"
    for end in range(len(body)):
        arrived = anyio.Event()

        async def wait(_: SocketStream, arrived: anyio.Event = arrived) -> None:
            await arrived.wait()

        async with serve(answer(CHUNKED, body[:end], wait, *ending)) as server:
            response = await HTTPX2Transport(trust_env=False).send(Request("GET", server.url))
            arrived.set()
            with pytest.raises(ConnectionError, match=r"http://127.*: .") as caught:
                await receive_all(response)
            assert isinstance(caught.value.__cause__, httpx2.RequestError)
            await response.aclose()
            await server.until_open(0)


@pytest.mark.parametrize(
    "wrong",
    [
        b"nonsense\r\n",
        b"-1\r\n",
        b"\r\n",
        b"0x5\r\nhello\r\n",
        b"2\r\nabc\r\n",
        b"f" * 17 + b"\r\n",
    ],
)
async def test_wrong_chunk_is_a_connection_error_after_what_came_before(wrong: bytes) -> None:
    async with serve(answer(CHUNKED + chunk(b"first") + wrong, until_client_leaves)) as server:
        response = await HTTPX2Transport(trust_env=False).send(Request("GET", server.url))
        with anyio.fail_after(60):
            assert (await response.receive()).startswith(b"first")
            with pytest.raises(ConnectionError, match=r"http://127.*: ."):
                await response.receive()
        await response.aclose()
        await server.until_open(0)


@pytest.mark.parametrize("ending", [(), (reset,)], ids=["FIN", "RST"])
async def test_body_until_the_end_ends_with_fin_alone(ending: Any) -> None:
    arrived = anyio.Event()

    async def wait(_: SocketStream) -> None:
        await arrived.wait()

    async with serve(answer(OK, b"first", wait, *ending)) as server:
        response = await HTTPX2Transport(trust_env=False).send(Request("GET", server.url))
        assert await response.receive() == b"first"
        arrived.set()
        if ending:
            with pytest.raises(ConnectionError):
                await response.receive()
        else:
            assert await response.receive() == b""
        await response.aclose()


@pytest.mark.parametrize(
    "data",
    [KEPT + chunk(b"hello") + LAST_CHUNK, head(200, LENGTH) + b"hello"],
    ids=["chunked", "length"],
)
async def test_connection_is_used_again_after_a_whole_body(
    client: httpx2.AsyncClient, data: bytes
) -> None:
    async def converse(connection: SocketStream, server: Server) -> None:
        while True:
            server.requests.append(await read_request(connection))
            await connection.send(data)

    async with serve(converse) as server:
        for _ in range(3):
            assert (await client.get(server.url)).content == b"hello"
        assert (server.connections, len(server.requests)) == (1, 3)


@pytest.mark.parametrize("more", [b"x", b"HTTP/1.1 200 OK\r\n\r\n", b"\0"])
async def test_connection_with_more_than_a_body_is_not_used_again(
    client: httpx2.AsyncClient, more: bytes
) -> None:
    data = KEPT + chunk(b"hello") + LAST_CHUNK + more
    async with serve(answer(data, until_client_leaves)) as server:
        for number in range(2):
            assert (await client.get(server.url)).content == b"hello"
            await server.until_open(0)
            assert server.connections == number + 1


async def test_connection_is_closed_with_a_response_that_has_not_ended(
    client: httpx2.AsyncClient,
) -> None:
    async with serve(answer(KEPT + chunk(b"first"), until_client_leaves)) as server:
        response = await HTTPX2Transport(client).send(Request("GET", server.url))
        assert await response.receive() == b"first"
        await response.aclose()
        await server.until_open(0)


@pytest.mark.parametrize("ending", [(), (reset,)], ids=["FIN", "RST"])
async def test_idle_connection_that_has_ended_is_not_used_again(
    client: httpx2.AsyncClient, ending: Any
) -> None:
    async with serve(answer(KEPT + chunk(b"hello") + LAST_CHUNK, *ending)) as server:
        for number in range(2):
            assert (await client.get(server.url)).content == b"hello"
            await server.until_open(0)
            for _ in range(5):
                await anyio.lowlevel.checkpoint()
            assert server.connections == number + 1


async def test_request_that_cannot_be_sent_whole_may_have_a_response() -> None:
    class Broken(ByteStream):
        async def send(self, item: bytes) -> None:
            raise anyio.BrokenResourceError

        async def receive(self, max_bytes: int = 65536) -> bytes:
            return BODIES["length"]

        async def send_eof(self) -> None: ...

        async def aclose(self) -> None: ...

    stream = _Stream(Broken())
    # The error that httpcore2 takes for a reason to read on.
    with pytest.raises(httpcore2.WriteError):
        await stream.write(b"body")
    assert await stream.read() == head(200, "content-length: 11", CLOSING)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_request_that_is_cancelled_at_any_await_leaves_nothing_open(tls: bool) -> None:
    handle = answer(*by(40, BODIES["chunked"]))
    async with serve(over_tls(handle) if tls else handle) as server:
        url = server.url.replace("http:", "https:") if tls else server.url

        async def run() -> None:
            transport = HTTPToolsTransport(client_tls(), None)
            async with httpx2.AsyncClient(transport=transport) as client:
                response = await HTTPX2Transport(client).send(Request("GET", url))
                try:
                    while await response.receive():
                        pass
                finally:
                    await response.aclose()

        async def check() -> None:
            await server.until_open(0)

        assert await cancelling_at_each_await(run, check) > 5


async def test_handshake_that_is_cancelled_closes_the_connection() -> None:
    async with serve(until_client_leaves_after_hello) as server:
        url = server.url.replace("http:", "https:")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(HTTPX2Transport(trust_env=False).send, Request("GET", url))
            await server.until_open(1)
            with anyio.fail_after(60):
                while not server.requests:
                    await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        await server.until_open(0)


async def test_handshake_that_takes_longer_than_it_may_is_a_timeout_error() -> None:
    async with serve(until_client_leaves_after_hello) as server:
        url = server.url.replace("http:", "https:")
        request = Request("GET", url, connect_timeout=0.01)
        with anyio.fail_after(60), pytest.raises(TimeoutError, match=r"within 0\.01 seconds"):
            await HTTPX2Transport(trust_env=False).send(request)
        await server.until_open(0)


async def test_unknown_certificate_is_a_connection_error() -> None:
    async with serve(over_tls(answer(OK))) as server:
        url = server.url.replace("http:", "https:")
        with pytest.raises(ConnectionError, match="certificate") as caught:
            await HTTPX2Transport(trust_env=False).send(Request("GET", url))
        assert isinstance(caught.value.__cause__, httpx2.ConnectError)
        await server.until_open(0)


async def test_body_over_tls_is_read(client: httpx2.AsyncClient) -> None:
    async with serve(over_tls(answer(CHUNKED, chunk(b"hello"), LAST_CHUNK))) as server:
        assert (await client.get(server.url.replace("http:", "https:"))).content == b"hello"


# Proxies


async def test_proxies_lead_to_the_server() -> None:
    proxies = {"http": http_proxy, "socks5": socks5_proxy}
    for scheme, handle in proxies.items():
        async with serve(answer(BODIES["chunked"])) as server, serve(handle) as proxy:
            url = f"{scheme}://127.0.0.1:{proxy.port}"
            assert await fetch(server, proxy=url) == b"Hi\n\nyou\r\n\r\n"
            assert proxy.connections == 1


async def test_proxy_for_https_makes_a_tunnel() -> None:
    async with (
        serve(over_tls(answer(CHUNKED, chunk(b"hello"), LAST_CHUNK))) as server,
        serve(connect_proxy) as proxy,
    ):
        through = f"http://me:secret@127.0.0.1:{proxy.port}"
        transport = HTTPToolsTransport(client_tls(), through)
        async with httpx2.AsyncClient(transport=transport) as client:
            assert (await client.get(server.url.replace("http:", "https:"))).content == b"hello"
    assert b"CONNECT 127.0.0.1" in proxy.requests[0]
    assert b"Basic " in proxy.requests[0]


async def test_reply_of_a_socks_proxy_is_not_taken_for_a_head() -> None:
    async def handle(client: SocketStream, server: Server) -> None:
        await client.receive()
        await client.send(b"\5\0")
        await client.receive()
        # Bound to 10.10.10.10, port 2570: all of them line feeds.
        await client.send(b"\5\0\0\1" + b"\n" * 6)
        await answer(CHUNKED, chunk(b"hello"), LAST_CHUNK)(client, server)

    async with serve(handle) as proxy:
        assert await fetch(proxy, proxy=f"socks5://127.0.0.1:{proxy.port}") == b"hello"


@pytest.mark.parametrize(
    ("name", "value", "used"),
    [
        ("HTTP_PROXY", "http://127.0.0.1:{}", True),
        ("HTTP_PROXY", "127.0.0.1:{}", True),
        ("ALL_PROXY", "http://127.0.0.1:{}", True),
        ("HTTPS_PROXY", "http://127.0.0.1:{}", False),
        ("FTP_PROXY", "http://127.0.0.1:{}", False),
    ],
)
@pytest.mark.parametrize("exempt", ["", "127.0.0.1", "127.0.0.1:{}", "*", "elsewhere"])
async def test_environment_names_the_proxy_and_the_hosts_without_one(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, used: bool, exempt: str
) -> None:
    for scheme in ("http", "https", "all", "no", "ftp"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme}_proxy".upper(), raising=False)
    async with serve(answer(OK + b"hello")) as server, serve(http_proxy) as proxy:
        monkeypatch.setenv(name, value.format(proxy.port))
        monkeypatch.setenv("NO_PROXY", exempt.format(server.port))
        response = await HTTPX2Transport().send(Request("GET", server.url))
        assert await receive_all(response) == b"hello"
        assert proxy.connections == (used and exempt in ("", "elsewhere"))
