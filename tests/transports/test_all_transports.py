"""The rules that hold for each transport over HTTP, through real sockets: the fault matrix.

A transport that passes is fit for the drivers. A new one is an entry in LIBRARIES of
tests/support/transports.py.
"""

from __future__ import annotations

import base64
import zlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream

from sseparse import UnexpectedResponse
from sseparse.client import EventSource
from sseparse.transports import CertificateError, Request, Response, Transport
from sseparse.transports._content import UnsupportedEncoding
from sseparse_backends import DarkAI, stream
from tests.support.encodings import ENCODINGS, Encode
from tests.support.servers import (
    BODY,
    CHUNKED,
    CLOSING,
    LAST_CHUNK,
    OK,
    TEXTS,
    Handler,
    Server,
    Step,
    answer,
    chunk,
    head,
    http_proxy,
    open_sockets,
    read_request,
    receive_all,
    reset,
    serve,
    until_client_leaves,
)
from tests.support.transports import HTTP_TRANSPORTS, Library
from tests.transports.test_httptools import over_tls

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.usefixtures("nothing_is_left"),
    pytest.mark.parametrize(("anyio_backend", "library"), HTTP_TRANSPORTS),
]

# Some words: an error that says nothing helps nobody.
WORDS = r"\w+ \w+"

EMPTY = "content-length: 0"

# More than the buffers of two sockets hold.
LARGE = bytes(32 * 1024 * 1024)


def request(server: Server, method: str = "POST", **fields: Any) -> Request:
    return Request(method, server.url, **fields)


async def fetch(transport: Transport, server: Server) -> bytes:
    return await receive_all(await transport.send(request(server)))


async def receive_into(received: list[bytes], response: Response) -> None:
    while data := await response.receive():
        received.append(data)


class Gate:
    """A step of a server, which waits for `open`."""

    def __init__(self) -> None:
        self._open = anyio.Event()

    def open(self) -> None:
        self._open.set()

    async def __call__(self, _: SocketStream) -> None:
        await self._open.wait()


# Requests and responses


async def test_request_goes_out_as_it_is(transport: Transport) -> None:
    async with serve(answer(OK)) as server:
        headers = {"accept": "text/event-stream", "user-agent": "me", "X-Name": "Ünï 漢"}
        sent = Request("PUT", server.url + "?a=b%20c&d=é", headers, b"\0body\xff")
        await receive_all(await transport.send(sent))
    start, _, body = server.requests[0].partition(b"\r\n\r\n")
    line, *fields = start.split(b"\r\n")
    assert (line, body) == (b"PUT /chat?a=b%20c&d=%C3%A9 HTTP/1.1", b"\0body\xff")
    assert b"accept: text/event-stream" in fields
    assert b"user-agent: me" in fields
    assert "X-Name: Ünï 漢".encode() in fields
    assert b"content-length: 6" in [field.lower() for field in fields]
    assert b"content-type" not in start.lower()


async def test_empty_body_of_a_get_is_none(transport: Transport) -> None:
    async with serve(answer(OK)) as server:
        await receive_all(await transport.send(request(server, "GET")))
    assert b"content-length" not in server.requests[0].lower()
    assert b"transfer-encoding" not in server.requests[0].lower()


async def test_large_body_goes_out_without_a_warning(transport: Transport) -> None:
    async with serve(answer(OK)) as server:
        await receive_all(await transport.send(request(server, body=LARGE)))
    assert server.requests[0].endswith(b"\r\n\r\n" + LARGE)


async def test_response_has_status_and_headers_with_lower_case_names(transport: Transport) -> None:
    fields = "X-One: 1", "X-Many: a", "x-many: b", "X-Name: Ünï", CLOSING
    async with serve(answer(head(418, *fields, content_type="Text/Event-Stream"))) as server:
        response = await transport.send(request(server))
        await response.aclose()
    assert response.status == 418
    assert dict(response.headers) == {
        "content-type": "Text/Event-Stream",
        "x-one": "1",
        "x-many": "a, b",
        "x-name": "Ünï",
        "connection": "close",
    }


async def test_header_in_no_utf_8_is_text_all_the_same(transport: Transport) -> None:
    async with serve(answer(b"HTTP/1.1 204 OK\r\nx-name: caf\xe9\r\n\r\n")) as server:
        response = await transport.send(request(server))
        await response.aclose()
    assert response.headers["x-name"] == "café"


async def test_bytes_come_as_they_arrive_and_the_end_stays(transport: Transport) -> None:
    gate = Gate()
    steps = CHUNKED, chunk(b"first"), gate, chunk(b"second"), LAST_CHUNK
    async with serve(answer(*steps)) as server:
        response = await transport.send(request(server))
        with anyio.fail_after(60):
            assert await response.receive() == b"first"
        gate.open()
        assert [await response.receive() for _ in range(3)] == [b"second", b"", b""]
        await response.aclose()


@pytest.mark.parametrize(
    ("method", "start"),
    [
        ("GET", head(204, CLOSING)),
        ("GET", head(304, CLOSING)),
        ("GET", head(204, CLOSING, "content-encoding: gzip")),
        ("GET", head(304, CLOSING, "content-encoding: unknown")),
        ("HEAD", head(200, CLOSING, "content-encoding: gzip", "content-length: 100")),
        ("GET", head(200, CLOSING, "content-encoding: gzip", EMPTY)),
        ("GET", head(200, CLOSING, "content-encoding: unknown", EMPTY)),
    ],
)
async def test_response_without_a_body_ends_at_once(
    transport: Transport, method: str, start: bytes
) -> None:
    async with serve(answer(start, until_client_leaves)) as server:
        response = await transport.send(request(server, method))
        with anyio.fail_after(60):
            assert [await response.receive() for _ in range(2)] == [b"", b""]
        await response.aclose()


# Content encodings


@pytest.mark.parametrize(("name", "encode"), ENCODINGS.values(), ids=ENCODINGS)
async def test_encoding_is_undone_as_it_arrives(
    transport: Transport, name: str, encode: Encode
) -> None:
    gates = Gate(), Gate()
    first, second, third = encode([b"first", b"second", b"third"])
    start = head(200, CLOSING, f"content-encoding: {name}")
    async with serve(answer(start, first, gates[0], second, gates[1], third)) as server:
        response = await transport.send(request(server))
        for text, gate in zip([b"first", b"second"], gates, strict=True):
            with anyio.fail_after(60):
                assert await response.receive() == text
            gate.open()
        assert await receive_all(response) == b"third"


async def test_request_accepts_the_encodings_that_can_be_undone(transport: Transport) -> None:
    async with serve(answer(OK)) as server:
        await fetch(transport, server)
    # httpx itself knows fewer.
    assert b"\r\naccept-encoding: gzip, deflate, br" in server.requests[0].lower()


@pytest.mark.parametrize("asked", ["identity", "compress"])
async def test_accept_encoding_of_the_request_stands_and_any_encoding_is_undone(
    transport: Transport, asked: str
) -> None:
    _, encode = ENCODINGS["gzip"]
    start = head(200, CLOSING, "content-encoding: gzip")
    async with serve(answer(start, *encode([b"text"]))) as server:
        sent = request(server, headers={"Accept-Encoding": asked})
        assert await receive_all(await transport.send(sent)) == b"text"
    assert server.requests[0].lower().count(b"accept-encoding") == 1
    assert b"\r\nAccept-Encoding: " + asked.encode() + b"\r\n" in server.requests[0]


async def test_accept_encoding_of_a_callers_client_stands_if_all_of_it_can_be_undone(
    library: Library,
) -> None:
    for asked, sent in (("identity", b"identity"), ("compress", b"gzip, deflate, br, zstd")):
        async with (
            serve(answer(OK)) as server,
            library.client(headers={"accept-encoding": asked}) as client,
        ):
            await fetch(library.make(client), server)
        fields = server.requests[0].lower().split(b"\r\n")
        assert b"accept-encoding: " + sent in fields


@pytest.mark.parametrize("status", [200, 404])
async def test_encoding_that_cannot_be_undone_is_an_unexpected_response_that_names_it(
    transport: Transport, status: int
) -> None:
    start = head(status, CLOSING, "content-encoding: compress")
    async with serve(answer(start + b"?", until_client_leaves)) as server:
        response = await transport.send(request(server))
        with pytest.raises(UnsupportedEncoding, match="'compress'") as caught:
            await response.receive()
        with pytest.raises(ConnectionError, match="reading it has failed"):
            await response.receive()
        await response.aclose()
        await server.until_open(0)
    assert caught.value.status == status
    assert caught.value.headers == response.headers
    assert caught.value.url == server.url
    prefix = "" if status == 200 else "HTTP 404: "
    words = f"{prefix}cannot decode content-encoding 'compress' from {server.url}: install brotli"
    assert str(caught.value).startswith(words)


async def test_damaged_encoding_is_a_connection_error_with_its_cause_after_what_came(
    transport: Transport,
) -> None:
    _, encode = ENCODINGS["gzip members"]
    start = head(200, CLOSING, "content-encoding: gzip")
    async with serve(answer(start + encode([b"text"])[0] + b"?!", until_client_leaves)) as server:
        response = await transport.send(request(server))
        assert await response.receive() == b"text"
        for _ in range(2):
            with pytest.raises(ConnectionError, match=WORDS) as caught:
                await response.receive()
            assert str(caught.value).startswith(f"{server.url}: ")
        await response.aclose()
        await server.until_open(0)


async def test_body_that_ends_inside_an_encoding_is_a_connection_error(
    transport: Transport,
) -> None:
    _, encode = ENCODINGS["gzip"]
    start = head(200, CLOSING, "content-encoding: gzip")
    async with serve(answer(start + encode([b"text", b""])[0])) as server:
        response = await transport.send(request(server))
        assert await response.receive() == b"text"
        for _ in range(2):
            with pytest.raises(ConnectionError, match=r"ends inside gzip data|has failed"):
                await response.receive()
        await response.aclose()


# Redirects


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


@pytest.mark.parametrize("status", [307, 308])
async def test_redirect_without_a_location_is_the_response(
    transport: Transport, status: int
) -> None:
    async with serve(answer(head(status, "content-length: 5", CLOSING) + b"moved")) as here:
        response = await transport.send(request(here))
        assert (response.status, await receive_all(response)) == (status, b"moved")


@pytest.mark.parametrize("status", [301, 302, 303])
@pytest.mark.parametrize("fields", [("location: /there",), ()])
async def test_redirect_that_would_lose_the_body_is_the_response(
    transport: Transport, status: int, fields: tuple[str, ...]
) -> None:
    steps = head(status, *fields, "content-length: 5", CLOSING) + b"moved"
    async with serve(answer(steps)) as here:
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


@pytest.mark.parametrize("number", [20, 21])
async def test_up_to_twenty_redirects_are_followed(
    transport: Transport, own_clients: list[Any], library: Library, number: int
) -> None:
    async def count_down(connection: SocketStream, server: Server) -> None:
        server.requests.append(await read_request(connection))
        away = head(307, "location: /chat", EMPTY, CLOSING)
        await connection.send(away if len(server.requests) <= number else OK)

    async with serve(count_down) as server:
        if number > 20:
            with pytest.raises(ConnectionError, match=f"^{server.url}: more than 20 redirects$"):
                await transport.send(request(server))
        else:
            assert await fetch(transport, server) == b""
        assert len(server.requests) == 21
        await server.until_open(0)
    assert all(map(library.is_closed, own_clients))


@pytest.mark.parametrize(
    "location",
    ["ftp://127.0.0.1/", "http://h:port/", "http://", "http://\u200bh/"],
    ids=["ftp", "port", "no host", "no host by IDNA"],
)
async def test_redirect_that_leads_nowhere_is_a_connection_error(
    transport: Transport, own_clients: list[Any], library: Library, location: str
) -> None:
    steps = head(307, f"location: {location}", "content-length: 100"), until_client_leaves
    async with serve(answer(*steps)) as server:
        with pytest.raises(ConnectionError, match=rf"^{server.url}: (redirect|Invalid URL)"):
            await transport.send(request(server))
        await server.until_open(0)
    assert all(map(library.is_closed, own_clients))


async def test_redirect_whose_body_never_ends_is_followed(transport: Transport) -> None:
    async def converse(connection: SocketStream, server: Server) -> None:
        server.requests.append(await read_request(connection))
        if len(server.requests) > 1:
            await connection.send(OK + b"there")
            return
        await connection.send(head(307, "location: /there", "transfer-encoding: chunked"))
        while True:
            await connection.send(chunk(b"x" * 65536))

    async with serve(converse) as server:
        with anyio.fail_after(60):
            assert await fetch(transport, server) == b"there"
        await server.until_open(0)


async def test_redirect_that_is_cut_after_its_head_is_followed(transport: Transport) -> None:
    async with serve(answer(OK + b"there")) as there:
        away = head(307, f"location: {there.url}", "content-length: 100")
        async with serve(answer(away, b"<html>", reset)) as here:
            assert await fetch(transport, here) == b"there"


async def test_redirect_to_a_server_that_hangs_up_is_a_connection_error(
    transport: Transport,
) -> None:
    async with serve(answer()) as there:
        away = head(307, f"location: {there.url}", EMPTY, CLOSING)
        async with serve(answer(away)) as here:
            with pytest.raises(ConnectionError, match=f"^{there.url}: .*{WORDS}"):
                await transport.send(request(here))
        assert there.connections == 1


@pytest.mark.parametrize("callers", [False, True], ids=["of the request", "of the client"])
@pytest.mark.parametrize("other", [False, True], ids=["same origin", "other origin"])
async def test_credentials_stay_with_their_origin(
    library: Library, callers: bool, other: bool
) -> None:
    fields = {"X-API-Key": "secret", "x-goog-api-key": "secret", "accept": "text/plain"}
    async with serve(answer(OK)) as elsewhere:

        async def converse(connection: SocketStream, server: Server) -> None:
            server.requests.append(await read_request(connection))
            url = elsewhere.url if other else server.url
            away = head(307, f"location: {url}", CLOSING)
            await connection.send(OK if len(server.requests) > 1 else away)

        async with (
            serve(converse) as server,
            library.client(headers=fields if callers else {}, auth=("me", "word")) as client,
        ):
            sent = request(server, headers={} if callers else fields)
            await receive_all(await library.make(client).send(sent))
            requests = [*server.requests, *elsewhere.requests]
    assert [b"authorization: basic" in sent.lower() for sent in requests] == [True, not other]
    assert [sent.count(b"secret") for sent in requests] == [2, 0 if other else 2]
    assert all(b"accept: text/plain" in sent.lower() for sent in requests)


# No response


async def test_refused_connection_is_a_connection_error_with_its_cause(
    transport: Transport, own_clients: list[Any], library: Library
) -> None:
    async with serve(answer()) as server:
        pass
    with pytest.raises(ConnectionError, match=f"^{server.url}: .*{WORDS}") as caught:
        await transport.send(request(server))
    assert caught.value.__cause__ is not None
    assert all(map(library.is_closed, own_clients))


@pytest.mark.parametrize(
    "steps",
    [
        (),
        (reset,),
        (b"nonsense\r\n\r\n", until_client_leaves),
        (b"HTTP/1.1 200 OK\r\n",),
        (b"HTTP/1.1 200 OK\r\n", reset),
        (head(200, "x: " + "x" * 200_000), until_client_leaves),
    ],
    ids=["end", "reset", "nonsense", "half a head", "half a head and reset", "large head"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_response_is_a_connection_error_with_its_cause(
    transport: Transport,
    own_clients: list[Any],
    library: Library,
    method: str,
    steps: tuple[Step, ...],
) -> None:
    async with serve(answer(*steps)) as server:
        with pytest.raises(ConnectionError, match=f"^{server.url}: .") as caught:
            await transport.send(request(server, method))
        assert caught.value.__cause__ is not None
        await server.until_open(0)
    assert all(map(library.is_closed, own_clients))


async def test_connection_that_takes_longer_than_it_may_is_a_timeout_error(
    transport: Transport, full_backlog: int
) -> None:
    url = f"http://127.0.0.1:{full_backlog}/?secret"
    words = rf"^http://127\.0\.0\.1:{full_backlog}/: no connection within 0\.1 seconds$"
    with anyio.fail_after(60), pytest.raises(TimeoutError, match=words) as caught:
        await transport.send(Request("GET", url, connect_timeout=0.1))
    assert caught.value.__cause__ is not None


async def test_client_that_is_closed_is_no_failure_of_the_network(library: Library) -> None:
    async with library.client() as client:
        pass
    with pytest.raises(RuntimeError, match="is closed"):
        await library.make(client).send(Request("GET", "http://127.0.0.1/"))


# Bodies that are cut


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ((CHUNKED, chunk(b"first")), ()),
        ((CHUNKED, chunk(b"first")), (reset,)),
        ((CHUNKED, chunk(b"first")), (b"nonsense\r\n",)),
        ((CHUNKED, chunk(b"first")), (b"nonsense\r\n", until_client_leaves)),
        ((CHUNKED, b"64\r\nfirst"), ()),
        ((head(200, "content-length: 100"), b"first"), ()),
        ((head(200, "content-length: 100"), b"first"), (reset,)),
        ((OK, b"first"), (reset,)),
        ((head(200), b"first"), (reset,)),
    ],
    ids=[
        *("no last chunk", "reset after a chunk", "nonsense", "nonsense that stays"),
        *("half a chunk", "too short", "reset in a length"),
        *("reset", "reset without a word of closing"),
    ],
)
@pytest.mark.parametrize("late", [False, True], ids=["as it arrives", "late"])
async def test_cut_body_is_a_connection_error_with_its_cause_after_all_that_came(
    transport: Transport,
    library: Library,
    start: tuple[Step, ...],
    end: tuple[Step, ...],
    late: bool,
) -> None:
    gate = Gate()
    async with serve(answer(*start, gate, *end)) as server:
        response = await transport.send(request(server))
        if late:
            gate.open()
            if until_client_leaves not in end or library.reads_ahead:
                await server.until_open(0)
            await anyio.sleep(0.01)
        received: list[bytes] = []
        if not late:
            with anyio.fail_after(60):
                received.append(await response.receive())
        gate.open()
        with anyio.fail_after(60), pytest.raises(ConnectionError, match=WORDS) as caught:
            await receive_into(received, response)
        # The system drops what nobody has taken from a socket when the peer resets it.
        assert received == [b"first"] or (late and reset in end and received == [])
        assert caught.value.__cause__ is not None
        assert str(caught.value).startswith(f"{server.url}: ")
        with pytest.raises(ConnectionError, match="reading it has failed"):
            await response.receive()
        await response.aclose()
        await server.until_open(0)


@pytest.mark.parametrize(
    "steps",
    [
        (head(200, "content-length: 10"), b"first", b"econd", until_client_leaves),
        (CHUNKED, chunk(b"first"), chunk(b"econd") + LAST_CHUNK, until_client_leaves),
        (OK, b"first", b"econd"),
    ],
    ids=["length", "last chunk", "end of the connection"],
)
@pytest.mark.parametrize("late", [False, True], ids=["as it arrives", "late"])
async def test_complete_body_ends_well(
    transport: Transport, steps: tuple[Any, ...], late: bool
) -> None:
    gate = Gate()
    start, first, *end = steps
    async with serve(answer(start, first, gate, *end)) as server:
        response = await transport.send(request(server))
        body = b"" if late else await response.receive()
        gate.open()
        if late:
            await anyio.sleep(0.01)
        while data := await response.receive():
            body += data
        assert body == b"firstecond"
        assert await receive_all(response) == b""


# Closing


async def test_own_client_is_closed_with_the_response(
    transport: Transport, own_clients: list[Any], library: Library
) -> None:
    async with serve(answer(OK + b"first", until_client_leaves)) as server:
        response = await transport.send(request(server))
        assert await response.receive() == b"first"
        assert not any(map(library.is_closed, own_clients))
        await response.aclose()
        assert all(map(library.is_closed, own_clients))
        assert len(own_clients) == (library.own is not None)
        await server.until_open(0)
        await response.aclose()


async def test_reading_after_the_closing_is_a_connection_error(transport: Transport) -> None:
    async with serve(answer(head(200, "content-length: 2", CLOSING), b"Hi")) as server:
        response = await transport.send(request(server))
        assert await receive_all(response) == b"Hi"
        for _ in range(2):
            with pytest.raises(ConnectionError, match="the response is closed"):
                await response.receive()


async def test_closing_ends_a_receive_of_another_task(transport: Transport) -> None:
    async with serve(answer(OK, until_client_leaves)) as server:
        response = await transport.send(request(server))

        async def receive() -> None:
            with pytest.raises(ConnectionError, match=WORDS):
                await response.receive()

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(receive)
                await anyio.wait_all_tasks_blocked()
                await response.aclose()


async def test_sending_in_a_cancelled_scope_leaves_nothing(
    transport: Transport, own_clients: list[Any], library: Library
) -> None:
    async with serve(answer(OK)) as server:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await transport.send(request(server))
        assert scope.cancelled_caught
        await server.until_open(0)
    assert all(map(library.is_closed, own_clients))


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_cancelling_before_the_response_closes_the_connection(
    transport: Transport, own_clients: list[Any], library: Library, method: str
) -> None:
    async with serve(answer(until_client_leaves)) as server:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(transport.send, request(server, method))
            await server.until_open(1)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        assert all(map(library.is_closed, own_clients))
        await server.until_open(0)


@pytest.mark.parametrize("callers", [False, True], ids=["own client", "callers client"])
async def test_cancelling_while_the_body_goes_out_closes_the_connection_at_once(
    library: Library, transport: Transport, callers: bool
) -> None:
    gate = Gate()

    async def read_nothing(connection: SocketStream, _: Server) -> None:
        await gate(connection)
        await until_client_leaves(connection)

    async with serve(read_nothing) as server, library.client() as client:
        before = open_sockets()
        used = library.make(client) if callers else transport
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(used.send, request(server, body=LARGE))
            await server.until_open(1)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        assert open_sockets() == before + server.open
        gate.open()
        await server.until_open(0)


async def test_closing_in_a_cancelled_scope_closes_the_connection(
    transport: Transport, own_clients: list[Any], library: Library
) -> None:
    async with serve(answer(OK + b"first", until_client_leaves)) as server:
        response = await transport.send(request(server))
        with anyio.CancelScope() as scope:
            scope.cancel()
            await response.aclose()
        assert all(map(library.is_closed, own_clients))
        await server.until_open(0)


async def test_body_whose_reading_was_cancelled_does_not_end_well_afterwards(
    transport: Transport,
) -> None:
    async with serve(answer(OK, until_client_leaves)) as server:
        response = await transport.send(request(server))
        with anyio.move_on_after(0.01) as scope:
            await response.receive()
        assert scope.cancelled_caught
        for _ in range(2):
            with pytest.raises(ConnectionError, match="reading it has failed"):
                await response.receive()
        await response.aclose()
        await server.until_open(0)


# Clients of the caller's


async def test_callers_client_is_used_and_stays_open(library: Library) -> None:
    async def keep_alive(connection: SocketStream, server: Server) -> None:
        for _ in range(3):
            server.requests.append(await read_request(connection))
            await connection.send(head(200, "content-length: 2") + b"Hi")

    async with serve(keep_alive) as server, library.client(headers={"x-mine": "yes"}) as client:
        transport = library.make(client)
        assert [await fetch(transport, server) for _ in range(3)] == [b"Hi"] * 3
        assert not library.is_closed(client)
        assert server.connections == 1
        assert all(b"x-mine: yes\r\n" in sent for sent in server.requests)


async def test_early_closed_response_gives_its_connection_up_but_not_the_client(
    library: Library,
) -> None:
    steps = CHUNKED, chunk(b"first"), until_client_leaves
    async with serve(answer(*steps)) as server, library.client() as client:
        for _ in range(3):
            response = await library.make(client).send(request(server))
            assert await response.receive() == b"first"
            before = open_sockets()
            await response.aclose()
            assert open_sockets() < before
            await server.until_open(0)
        assert not library.is_closed(client)


async def test_timeouts_of_a_callers_client_are_not_used(library: Library) -> None:
    async def pause(_: SocketStream) -> None:
        await anyio.sleep(0.1)

    async with (
        serve(answer(pause, OK, pause, b"Hi")) as server,
        library.client(timeout=0.05) as client,
    ):
        assert await fetch(library.make(client), server) == b"Hi"


# Arguments


@pytest.mark.parametrize("client", ["http://127.0.0.1/", "", object(), 0])
async def test_client_of_the_wrong_type_is_a_type_error(library: Library, client: Any) -> None:
    with pytest.raises(TypeError, match=rf"^{library.argument} must be an \w+\.\w+, got \w+$"):
        library.make(client)


async def test_client_and_proxy_together_are_a_value_error(library: Library) -> None:
    async with library.client() as client:
        with pytest.raises(ValueError, match=rf"^proxy must be None with a {library.argument}"):
            library.make(client, proxy="http://127.0.0.1:80")


@pytest.mark.parametrize(
    "proxy",
    [
        *("", "127.0.0.1:80", "ftp://127.0.0.1", "socks4://127.0.0.1", "http://h:port"),
        *("http://127.0.0.1:99999", "ftp://me:secret@127.0.0.1/"),
    ],
)
async def test_proxy_must_be_a_url(library: Library, proxy: str) -> None:
    with pytest.raises(ValueError, match=r"^proxy must be an http:.* URL with a host") as caught:
        library.make(proxy=proxy)
    assert "secret" not in str(caught.value)


async def test_proxy_must_be_a_str(library: Library) -> None:
    with pytest.raises(TypeError, match=r"^proxy must be a str, got int$"):
        library.make(proxy=80)


async def test_url_that_only_the_library_refuses_is_a_value_error(transport: Transport) -> None:
    with pytest.raises(ValueError, match=r"^url must be ") as caught:
        await transport.send(Request("GET", "http://\u200bh/?secret"))
    assert "secret" not in str(caught.value)


# Proxies


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for scheme in ("no", "all", "http", "https"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme}_proxy".upper(), raising=False)


@pytest.mark.usefixtures("no_proxies")
async def test_environment_names_the_proxy_unless_told_not_to_trust_it(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(answer(OK + b"Hi")) as server, serve(http_proxy) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        assert await fetch(library.make(trust_env=False), server) == b"Hi"
        assert proxy.connections == 0
        assert await fetch(library.make(), server) == b"Hi"
        assert proxy.connections == 1


@pytest.mark.usefixtures("no_proxies")
async def test_proxy_of_the_environment_that_is_no_url_is_a_value_error(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTP_PROXY", "none of its business")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@h:port")
    with pytest.raises(ValueError, match=r"(?i)http.*_proxy.* must be") as caught:
        await library.make().send(Request("GET", "http://127.0.0.1/"))
    assert "secret" not in str(caught.value)


async def test_proxy_gets_the_credentials_of_its_url(library: Library) -> None:
    async with serve(answer(OK + b"Hi")) as server, serve(http_proxy) as proxy:
        transport = library.make(proxy=f"http://me:secret@127.0.0.1:{proxy.port}")
        assert await fetch(transport, server) == b"Hi"
    assert b"Basic " + base64.b64encode(b"me:secret") in proxy.requests[0]


# Secrets


@pytest.mark.parametrize(
    "steps",
    [
        (b"nonsense\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",),
        (head(307, "location: /events?token=secret", EMPTY, CLOSING),),
        (head(307, "location: ftp://me:secret@127.0.0.1/?secret", EMPTY, CLOSING),),
        (head(307, "location: http://me:secret@h:x/?secret", EMPTY, CLOSING),),
        (head(307, f"location: /{'x' * 100}?secret", CLOSING),),
        (CHUNKED, b"nonsense\r\n"),
        (head(200, CLOSING, "content-encoding: gzip"), b"nonsense"),
        (reset,),
    ],
    ids=[
        *("no HTTP", "no field", "redirects without end", "no http URL", "no URL", "long URL"),
        *("no chunk", "no gzip", "reset"),
    ],
)
@pytest.mark.parametrize("body", [b"", LARGE], ids=["no body", "large body"])
async def test_no_error_shows_what_may_be_secret(
    transport: Transport, steps: tuple[Step, ...], body: bytes
) -> None:
    async def ask(url: str) -> None:
        response = await transport.send(Request("POST", url, {"x-api-key": "secret"}, body))
        try:
            await response.receive()
        finally:
            await response.aclose()

    async def converse(connection: SocketStream, _: Server) -> None:
        # A large body is still going out when the answer comes.
        await connection.receive()
        for step in steps:
            await (connection.send(step) if isinstance(step, bytes) else step(connection))

    async with serve(converse) as server:
        with pytest.raises(ConnectionError, match=rf": .*{WORDS}") as caught:
            await ask(f"http://me:secret@127.0.0.1:{server.port}/events?token=secret")
    assert "secret" not in str(caught.value)


# With a driver


async def test_stream_of_a_backend_is_the_same_text(transport: Transport) -> None:
    steps = CHUNKED, *(chunk(BODY[at : at + 7]) for at in range(0, len(BODY), 7)), LAST_CHUNK
    async with serve(answer(*steps)) as server:
        backend = DarkAI(api_endpoint=server.url)
        async with stream(backend, "Hello", transport=transport) as reply:
            assert await reply.text() == "".join(TEXTS)


async def test_event_source_reconnects_and_resumes(transport: Transport) -> None:
    def reply(body: bytes) -> Handler:
        return answer(head(200, CLOSING), body)

    replies = [reply(b"retry: 0\nid: 1\ndata: one\n\n"), reply(b"id: 2\ndata: two\n\n")]

    async def next_reply(connection: SocketStream, server: Server) -> None:
        await replies[len(server.requests)](connection, server)

    async with serve(next_reply) as server:
        source = EventSource(server.url, transport=transport, reconnection_time=0, max_backoff=0)
        async with source:
            with anyio.fail_after(60):
                assert [(await anext(source)).data for _ in range(2)] == ["one", "two"]
    assert b"last-event-id" not in server.requests[0].lower()
    assert b"last-event-id: 1\r\n" in server.requests[1].lower()


async def test_certificate_that_does_not_verify_is_final(transport: Transport) -> None:
    async with serve(over_tls(answer(OK))) as server:
        url = server.url.replace("http:", "https:")
        async with EventSource(url, transport=transport) as source:
            with pytest.raises(CertificateError, match=f"^{url}: .*certificate"):
                await anext(source)
        reply = stream(DarkAI(api_endpoint=url), "Hello", transport=transport, retries=5)
        with pytest.raises(CertificateError):
            async with reply:
                pass
        assert server.connections == 2


async def test_last_of_two_content_types_counts(transport: Transport) -> None:
    stream_last = head(200, "content-type: text/event-stream", CLOSING, content_type="text/html")
    async with (
        serve(answer(stream_last + b"data: a\n\n")) as server,
        EventSource(server.url, transport=transport) as source,
    ):
        assert (await anext(source)).data == "a"
    page_last = head(200, "content-type: text/html; charset=utf-8", CLOSING)
    async with serve(answer(page_last + b"<title>Sign in</title>data: a\n\n")) as server:
        async with EventSource(server.url, transport=transport) as source:
            with pytest.raises(UnexpectedResponse) as caught:
                await anext(source)
        assert str(caught.value) == f"not an event stream (text/html) from {server.url}: Sign in"


async def test_event_source_needs_a_content_type(transport: Transport) -> None:
    async with (
        serve(answer(b"HTTP/1.1 200 OK\r\n\r\ndata: a\n\n")) as server,
        EventSource(server.url, transport=transport) as source,
    ):
        with pytest.raises(
            UnexpectedResponse, match=r"not an event stream \(no content type\) from"
        ):
            await anext(source)


@pytest.mark.parametrize("unit", ["seconds", "date"])
async def test_retry_after_is_the_wait(transport: Transport, unit: str) -> None:
    def stop(_: Exception, wait: float) -> None:
        waits.append(wait)
        raise ZeroDivisionError

    waits: list[float] = []
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=500), usegmt=True)
    field = "retry-after: 1.4" if unit == "seconds" else f"retry-after: {date}"
    async with serve(answer(head(503, field, CLOSING))) as server:
        source = EventSource(
            server.url,
            transport=transport,
            retry_statuses={503},
            reconnection_time=0,
            max_backoff=1000,
            on_error=stop,
        )
        async with source:
            with pytest.raises(ZeroDivisionError):
                await anext(source)
    expected = 1.4 if unit == "seconds" else pytest.approx(500, abs=60)
    assert waits == [expected]


async def test_pieces_of_one_chunk_let_a_cancellation_through(transport: Transport) -> None:
    packed = zlib.compress(bytes(4 * 2**20), wbits=31)
    start = head(200, CLOSING, "content-encoding: gzip")
    async with serve(answer(start + packed)) as server:
        response = await transport.send(request(server))
        size = len(await response.receive())
        size += len(await response.receive())
        assert size < 4 * 2**20
        with anyio.CancelScope() as scope:
            scope.cancel()
            while await response.receive():
                pass
        assert scope.cancelled_caught
        await response.aclose()
        await server.until_open(0)
