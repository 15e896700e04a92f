"""The transport for threads over httpx2: TLS, and ending blocking calls."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
import pytest
from anyio.from_thread import start_blocking_portal

from sseparse.transports import Request, _sync_httptools, sync_httpx2
from sseparse.transports.sync_httpx2 import SyncHTTPX2Transport
from tests.support.servers import (
    CHUNKED,
    LAST_CHUNK,
    OK,
    Server,
    answer,
    chunk,
    open_sockets,
    serve,
    until_client_leaves,
)
from tests.transports.test_httptools import client_tls, over_tls


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = open_sockets()
    yield
    end = time.monotonic() + 60
    while open_sockets() != before:  # the server's own are closed in its thread
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture
def start() -> Iterator[Callable[[Any], Server]]:
    with start_blocking_portal() as portal:
        stack = []

        def start(handler: Any) -> Server:
            context = portal.wrap_async_context_manager(serve(handler))
            stack.append(context)
            return context.__enter__()

        yield start
        for context in stack:
            context.__exit__(None, None, None)


def secure(server: Server) -> Request:
    return Request("GET", server.url.replace("http:", "https:"), connect_timeout=60)


def test_body_over_tls_is_read(
    start: Callable[[Any], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_httpx2, "ssl_context", lambda _: client_tls())
    response = SyncHTTPX2Transport().prepare(secure(start(over_tls(answer(OK + b"Hi")))))
    response.start(None)
    assert response.receive() + response.receive() == b"Hi"
    response.close()


def test_certificate_that_does_not_verify_is_a_connection_error(
    start: Callable[[Any], Server],
) -> None:
    response = SyncHTTPX2Transport().prepare(secure(start(over_tls(answer(OK)))))
    with pytest.raises(ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        response.start(None)
    response.close()


def test_handshake_that_takes_too_long_is_a_timeout(start: Callable[[Any], Server]) -> None:
    async def silent(connection: Any, _: Server) -> None:
        await until_client_leaves(connection)

    response = SyncHTTPX2Transport().prepare(secure(start(silent)))
    with pytest.raises(TimeoutError, match=r"no connection within 0\.1 seconds"):
        response.start(0.1)
    response.close()


@pytest.mark.parametrize("callers", [False, True], ids=["own client", "callers client"])
def test_abort_ends_a_handshake(start: Callable[[Any], Server], callers: bool) -> None:
    greeted = threading.Event()

    async def silent(connection: Any, _: Server) -> None:
        await connection.receive()
        greeted.set()
        await anyio.lowlevel.checkpoint()
        await until_client_leaves(connection)

    with httpx2.Client(trust_env=False) as client:
        transport = SyncHTTPX2Transport(client if callers else None)
        response = transport.prepare(secure(start(silent)))

        def abort() -> None:
            assert greeted.wait(60)
            # It may not read yet, but it has no more to write.
            time.sleep(0.05)
            response.abort()

        aborting = threading.Thread(target=abort)
        aborting.start()
        with pytest.raises(ConnectionError):
            response.start(None)
        aborting.join()
        response.close()


def test_aborted_response_does_not_start(start: Callable[[Any], Server]) -> None:
    response = SyncHTTPX2Transport().prepare(Request("GET", start(answer(OK)).url))
    response.abort()
    with pytest.raises(ConnectionError):
        response.start(None)
    response.close()


def test_connection_to_a_socks_proxy_that_fails_is_closed(start: Callable[[Any], Server]) -> None:
    async def refuse(connection: Any, _: Server) -> None:
        await connection.receive()
        await connection.send(b"\x05\xff")  # no acceptable method
        await until_client_leaves(connection)

    proxy = f"socks5://127.0.0.1:{start(refuse).port}"
    response = SyncHTTPX2Transport(proxy=proxy).prepare(Request("GET", "http://127.0.0.1/"))
    with pytest.raises(ConnectionError, match="cannot connect through the proxy socks5:"):
        response.start(None)
    response.close()


@pytest.mark.parametrize("callers", [False, True], ids=["own client", "callers client"])
def test_time_limit_of_the_head_is_not_one_of_the_body(
    start: Callable[[Any], Server], callers: bool
) -> None:
    with httpx2.Client(trust_env=False) as client:
        transport = SyncHTTPX2Transport(client if callers else None)
        server = start(answer(CHUNKED, chunk(b"Hi"), LAST_CHUNK))
        response = transport.prepare(Request("GET", server.url))
        response.start(60)
        assert response._response is not None
        # httpcore looks at it once the body is read, and only where it reads the body itself.
        assert response._response.request.extensions["timeout"]["read"] is None
        assert response.receive() == b"Hi"
        used = response._response.extensions["network_stream"].get_extra_info("socket")
        assert callers or used.gettimeout() is None
        response.close()


def test_timeout_of_the_system_is_not_that_of_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: Any) -> None:
        raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")

    monkeypatch.setattr(_sync_httptools, "connect", connect)
    response = SyncHTTPX2Transport().prepare(Request("GET", "http://127.0.0.1/"))
    with pytest.raises(ConnectionError, match="Connection timed out"):
        response.start(None)
    response.close()
