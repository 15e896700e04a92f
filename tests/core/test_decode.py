from __future__ import annotations

import asyncio
import gc
import http.client
import io
import os
import socket
import socketserver
import threading
import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    aclosing,
    asynccontextmanager,
    contextmanager,
)
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import anyio.abc
import httpx
import httpx2
import pytest
import requests
import trio
import urllib3

from sseparse import (
    EventTooLarge,
    InvalidJSON,
    LocalProtocolError,
    NDJSONDecoder,
    ServerSentEvent,
    SSEDecoder,
    adecode,
    decode,
)

# One line is longer than the line limits of asyncio's and aiohttp's readers. PIECES cut characters
# and line ends.
EVENTS = [
    ServerSentEvent(data="é漢🎉\n\u2028"),
    ServerSentEvent(data="x" * 200_000),
    ServerSentEvent("end", "", "1"),
]
STREAM = (
    "data: é漢🎉\r\ndata: \u2028\r\n\r\ndata: ".encode()
    + b"x" * 200_000
    + b"\n\nid: 1\nevent: end\ndata\n\ndata: cut"
)
PIECES = [STREAM[:7], b"", STREAM[7:18], STREAM[18:150_000], STREAM[150_000:]]


EVENT_STREAM = {"Content-Type": "text/event-stream"}


class Server(socketserver.ThreadingTCPServer):
    """HTTP on a free port of the loopback interface."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.disconnected = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        if self.path == "/endless":
            try:
                while True:
                    self.send_chunk(b"data: a\n\n")
            except OSError:
                self.server.disconnected.set()
        else:
            for piece in filter(None, PIECES):
                self.send_chunk(piece)
            if self.path != "/cut":
                self.send_chunk(b"")

    def send_chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@contextmanager
def connected(data: bytes = STREAM) -> Iterator[socket.socket]:
    """Yield a socket whose other end sends `data` and closes."""

    def send() -> None:
        with sender:
            sender.sendall(data)

    sender, receiver = socket.socketpair()
    thread = threading.Thread(target=send)
    thread.start()
    with receiver:
        yield receiver
    thread.join()


# decode: the sources


@contextmanager
def httpx2_response(url: str) -> Iterator[Any]:
    with httpx2.Client(trust_env=False) as client, client.stream("GET", url) as response:
        yield response


@contextmanager
def httpx_response(url: str) -> Iterator[Any]:
    with httpx.Client(trust_env=False) as client, client.stream("GET", url) as response:
        yield response


@contextmanager
def httpx2_mock_response(url: str) -> Iterator[Any]:
    transport = httpx2.MockTransport(
        lambda _: httpx2.Response(200, headers=EVENT_STREAM, content=iter(PIECES))
    )
    with httpx2.Client(transport=transport) as client, client.stream("GET", url) as response:
        yield response


@contextmanager
def requests_response(url: str) -> Iterator[Any]:
    with requests.Session() as session:
        session.trust_env = False
        with session.get(url, stream=True) as response:
            yield response


@contextmanager
def urllib_response(url: str) -> Iterator[Any]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url) as response:
        yield response


@contextmanager
def socket_file(url: str) -> Iterator[Any]:
    with connected() as receiver, receiver.makefile("rb") as file:
        yield file


@contextmanager
def pipe(url: str) -> Iterator[Any]:
    def send() -> None:
        with os.fdopen(write_end, "wb") as file:
            file.write(STREAM)

    read_end, write_end = os.pipe()
    thread = threading.Thread(target=send)
    thread.start()
    with os.fdopen(read_end, "rb") as file:
        yield file
    thread.join()


SOURCES: dict[str, Callable[[str], AbstractContextManager[Any]]] = {
    "httpx2 response": httpx2_response,
    "httpx response": httpx_response,
    "httpx2 mock response": httpx2_mock_response,
    "requests response": requests_response,
    "urllib response": urllib_response,
    "file of a socket": socket_file,
    "pipe": pipe,
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_decode_reads(source: Callable[[str], AbstractContextManager[Any]], server: Server) -> None:
    with source(server.url) as opened:
        assert list(decode(opened)) == EVENTS


@pytest.mark.parametrize("buffering", [-1, 0], ids=["buffered", "unbuffered"])
def test_decode_reads_a_binary_file(tmp_path: Path, buffering: int) -> None:
    path = tmp_path / "stream"
    path.write_bytes(STREAM)
    with path.open("rb", buffering=buffering) as file:
        assert list(decode(file)) == EVENTS
        assert not file.closed


@pytest.mark.parametrize(
    "source",
    [
        STREAM,
        bytearray(STREAM),
        memoryview(STREAM),
        PIECES,
        tuple(PIECES),
        iter(PIECES),
        (piece for piece in PIECES),
        [bytearray(STREAM)],
        [memoryview(STREAM)],
        io.BytesIO(STREAM),
    ],
    ids=lambda source: type(source).__name__,
)
def test_decode_reads_whatever_yields_bytes(source: Any) -> None:
    assert list(decode(source)) == EVENTS


def test_decode_delivers_an_item_when_it_arrives() -> None:
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as reader, os.fdopen(write_end, "wb", buffering=0) as writer:
        events = decode(reader)
        for text in ("a", "b"):
            writer.write(f"data: {text}\n\n".encode())
            assert next(events).data == text
        writer.close()
        assert list(events) == []


def test_decode_drives_the_decoder_that_it_is_given() -> None:
    decoder = SSEDecoder(dispatch_at_eof=True)
    assert list(decode([b"id: 1\ndata: a"], decoder)) == [ServerSentEvent(data="a", id="1")]
    assert decoder.last_event_id == "1"
    assert list(decode([b"1\n", b"2"], NDJSONDecoder())) == [1, 2]


def test_decode_tells_by_the_decoder_that_the_stream_was_cut() -> None:
    decoder = SSEDecoder()
    assert list(decode([b"data: a\n\ndata: b"], decoder)) == [ServerSentEvent(data="a")]
    assert decoder.incomplete


@pytest.mark.parametrize("source", [STREAM.decode(), [STREAM.decode()], io.StringIO("data: a")])
def test_decode_refuses_text(source: Any) -> None:
    with pytest.raises(TypeError, match=r"must be bytes, .* got str"):
        list(decode(source))


async def generated(*chunks: bytes) -> AsyncGenerator[bytes, None]:
    for chunk in chunks:
        yield chunk


class AsyncFile:
    async def read(self, size: int) -> Any:
        return "data: a\n\n"


@pytest.mark.parametrize(
    "source",
    [generated(), AsyncFile(), "text", 7, None],
    ids=lambda source: getattr(source, "__name__", type(source).__name__),
)
def test_decode_refuses_at_once_what_it_cannot_read(source: Any) -> None:
    message = f"^source must be bytes, .* got {type(source).__name__}: adecode"
    with pytest.raises(TypeError, match=message):
        decode(source)


@pytest.mark.parametrize("source", [io.BytesIO, asyncio.StreamReader])
def test_class_in_place_of_a_source_is_refused_at_once(source: Any) -> None:
    message = f"^source must be an instance, got the class {source.__name__}"
    with pytest.raises(TypeError, match=message):
        decode(source)
    with pytest.raises(TypeError, match=message):
        adecode(source)


@pytest.mark.parametrize("buffering", [0, -1])
def test_pipe_in_non_blocking_mode_is_refused_at_once(buffering: int) -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", buffering) as source, os.fdopen(writer, "wb", 0) as sink:
        os.set_blocking(reader, False)
        with pytest.raises(ValueError, match="source must be in blocking mode"):
            decode(source)
        os.set_blocking(reader, True)
        events = decode(source)
        sink.write(b"data: a\n\n")
        assert next(events) == ServerSentEvent(data="a")


@pytest.mark.parametrize(
    ("decoder", "message"),
    [
        (SSEDecoder, "decoder must be an instance, got the class SSEDecoder"),
        ("sse", "decoder must have feed and close, got str"),
    ],
)
def test_drivers_refuse_at_once_what_is_no_decoder(decoder: Any, message: str) -> None:
    for drive in (decode, adecode):
        with pytest.raises(TypeError, match=f"^{message}$"):
            drive(Body(), decoder)


@pytest.mark.parametrize("chunks", [[b"1\n2\nx\n3\n"], [b"1\n", b"2\n", b"x"]], ids=repr)
def test_decode_delivers_the_items_before_an_error(chunks: list[bytes]) -> None:
    values = decode(chunks, NDJSONDecoder())
    assert [next(values), next(values)] == [1, 2]
    with pytest.raises(InvalidJSON) as caught:
        next(values)
    assert caught.value.events == []


def test_decode_passes_an_error_of_the_source_on_after_the_items() -> None:
    def broken() -> Iterator[bytes]:
        yield b"data: a\n\n"
        raise ConnectionResetError

    events = decode(broken())
    assert next(events).data == "a"
    with pytest.raises(ConnectionResetError):
        next(events)


class Body:
    """A response with the methods of httpx2 that the drivers call."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = chunks
        self.closed = False

    def iter_bytes(self) -> Iterator[bytes]:
        try:
            yield from self.chunks
        finally:
            self.closed = True

    async def aiter_bytes(self) -> AsyncIterator[bytes]:
        try:
            for chunk in self.chunks:
                yield chunk
            await anyio.sleep_forever()
        finally:
            self.closed = True


def test_decode_closes_what_it_made_to_read_the_source() -> None:
    body = Body(b"data: a\n\ndata: b\n\n")
    events = decode(body)
    assert next(events).data == "a"
    assert not body.closed
    events.close()
    assert body.closed


def test_decode_leaves_a_generator_to_the_caller() -> None:
    source = (chunk for chunk in [b"data: a\n\n", b"data: b\n\n"])
    events = decode(source)
    next(events)
    events.close()
    assert next(source) == b"data: b\n\n"


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (httpx2_response, httpx2.RemoteProtocolError),
        (httpx_response, httpx.RemoteProtocolError),
        (requests_response, urllib3.exceptions.ProtocolError),
        (urllib_response, http.client.IncompleteRead),
    ],
)
def test_cut_body_does_not_look_finished(
    source: Callable[[str], AbstractContextManager[Any]], error: type[Exception], server: Server
) -> None:
    with source(f"{server.url}/cut") as response:
        events = decode(response)
        assert [next(events) for _ in EVENTS] == EVENTS
        with pytest.raises(error):
            next(events)


# adecode: the sources


@asynccontextmanager
async def httpx2_async_response(url: str) -> AsyncIterator[Any]:
    async with httpx2.AsyncClient(trust_env=False) as client, client.stream("GET", url) as response:
        yield response


@asynccontextmanager
async def httpx_async_response(url: str) -> AsyncIterator[Any]:
    async with httpx.AsyncClient(trust_env=False) as client, client.stream("GET", url) as response:
        yield response


@asynccontextmanager
async def httpx2_async_mock_response(url: str) -> AsyncIterator[Any]:
    def respond(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers=EVENT_STREAM, content=generated(*PIECES))

    transport = httpx2.MockTransport(respond)
    async with (
        httpx2.AsyncClient(transport=transport) as client,
        client.stream("GET", url) as response,
    ):
        yield response


@asynccontextmanager
async def anyio_socket_stream(url: str) -> AsyncIterator[Any]:
    with connected() as receiver:
        async with await anyio.abc.SocketStream.from_socket(receiver.dup()) as stream:
            yield stream


@asynccontextmanager
async def anyio_memory_stream(url: str) -> AsyncIterator[Any]:
    sender, receiver = anyio.create_memory_object_stream[bytes](len(PIECES))
    with receiver:
        with sender:
            for piece in PIECES:
                sender.send_nowait(piece)
        yield receiver


@asynccontextmanager
async def anyio_file(url: str) -> AsyncIterator[Any]:
    async with anyio.NamedTemporaryFile("w+b") as file:
        await file.write(STREAM)
        await file.seek(0)
        yield file


@asynccontextmanager
async def transport_response(url: str) -> AsyncIterator[Any]:
    yield Receiver(filter(None, PIECES))


class Receiver:
    """A response of a transport: `receive` returns empty bytes at the end."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces = pieces

    async def receive(self) -> bytes:
        return next(self.pieces, b"")


ASYNC_SOURCES: dict[str, Callable[[str], AbstractAsyncContextManager[Any]]] = {
    "httpx2 response": httpx2_async_response,
    "httpx response": httpx_async_response,
    "httpx2 mock response": httpx2_async_mock_response,
    "anyio socket stream": anyio_socket_stream,
    "anyio memory stream": anyio_memory_stream,
    "anyio file": anyio_file,
    "transport response": transport_response,
}


@pytest.mark.anyio
@pytest.mark.parametrize("source", ASYNC_SOURCES.values(), ids=ASYNC_SOURCES)
async def test_adecode_reads(
    source: Callable[[str], AbstractAsyncContextManager[Any]], server: Server
) -> None:
    async with source(server.url) as opened:
        assert [event async for event in adecode(opened)] == EVENTS


@asynccontextmanager
async def aiohttp_response(url: str) -> AsyncIterator[Any]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        yield response


@asynccontextmanager
async def aiohttp_content(url: str) -> AsyncIterator[Any]:
    async with aiohttp_response(url) as response:
        yield response.content


@asynccontextmanager
async def asyncio_reader(url: str) -> AsyncIterator[Any]:
    with connected() as receiver:
        reader, writer = await asyncio.open_connection(sock=receiver.dup())
        yield reader
        writer.close()
        await writer.wait_closed()


ASYNCIO_SOURCES: dict[str, Callable[[str], AbstractAsyncContextManager[Any]]] = {
    "aiohttp response": aiohttp_response,
    "aiohttp content": aiohttp_content,
    "asyncio.StreamReader": asyncio_reader,
}


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("source", ASYNCIO_SOURCES.values(), ids=ASYNCIO_SOURCES)
async def test_adecode_reads_on_asyncio(
    source: Callable[[str], AbstractAsyncContextManager[Any]], server: Server
) -> None:
    async with source(server.url) as opened:
        assert [event async for event in adecode(opened)] == EVENTS


@asynccontextmanager
async def trio_stream(url: str) -> AsyncIterator[Any]:
    with connected() as receiver:
        async with trio.SocketStream(trio.socket.from_stdlib_socket(receiver.dup())) as stream:
            yield stream


@asynccontextmanager
async def trio_channel(url: str) -> AsyncIterator[Any]:
    sender, receiver = trio.open_memory_channel[bytes](len(PIECES))
    with receiver:
        with sender:
            for piece in PIECES:
                sender.send_nowait(piece)
        yield receiver


TRIO_SOURCES: dict[str, Callable[[str], AbstractAsyncContextManager[Any]]] = {
    "trio stream": trio_stream,
    "trio channel": trio_channel,
}


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["trio"])
@pytest.mark.parametrize("source", TRIO_SOURCES.values(), ids=TRIO_SOURCES)
async def test_adecode_reads_on_trio(
    source: Callable[[str], AbstractAsyncContextManager[Any]], server: Server
) -> None:
    async with source(server.url) as opened:
        assert [event async for event in adecode(opened)] == EVENTS


@pytest.mark.anyio
async def test_adecode_reads_an_asynchronous_generator() -> None:
    assert [event async for event in adecode(generated(*PIECES))] == EVENTS


@pytest.mark.anyio
async def test_adecode_delivers_an_item_when_it_arrives() -> None:
    sender, receiver = anyio.create_memory_object_stream[bytes](1)
    with sender, receiver:
        events = adecode(receiver)
        for text in ("a", "b"):
            sender.send_nowait(f"data: {text}\n\n".encode())
            assert (await anext(events)).data == text


@pytest.mark.anyio
async def test_adecode_drives_the_decoder_that_it_is_given() -> None:
    decoder = SSEDecoder(dispatch_at_eof=True)
    events = adecode(generated(b"id: 1\ndata: a"), decoder)
    assert [event async for event in events] == [ServerSentEvent(data="a", id="1")]
    assert decoder.last_event_id == "1"
    assert [value async for value in adecode(generated(b"1\n", b"2"), NDJSONDecoder())] == [1, 2]


@pytest.mark.parametrize(
    "source",
    [STREAM, [STREAM], io.BytesIO(STREAM), "text", 7, None],
    ids=lambda source: type(source).__name__,
)
def test_adecode_refuses_at_once_what_it_cannot_read(source: Any) -> None:
    message = f"^source must be an asynchronous source .* got {type(source).__name__}: decode"
    with pytest.raises(TypeError, match=message):
        adecode(source)


@pytest.mark.anyio
async def test_adecode_refuses_a_read_that_does_not_wait() -> None:
    class Reader:
        def read(self, size: int) -> Any:
            return STREAM

    with pytest.raises(TypeError, match="source must be asynchronous"):
        await anext(adecode(Reader()))


@pytest.mark.anyio
async def test_adecode_refuses_text() -> None:
    with pytest.raises(TypeError, match=r"data must be bytes, .* got str: feed the raw body"):
        await anext(adecode(AsyncFile()))


# adecode: errors, leaving early, cancellation


@pytest.mark.anyio
@pytest.mark.parametrize("chunks", [[b"1\n2\nx\n3\n"], [b"1\n", b"2\n", b"x"]], ids=repr)
async def test_adecode_delivers_the_items_before_an_error(chunks: list[bytes]) -> None:
    async with aclosing(generated(*chunks)) as source:
        values = adecode(source, NDJSONDecoder())
        assert [await anext(values), await anext(values)] == [1, 2]
        with pytest.raises(InvalidJSON) as caught:
            await anext(values)
        assert caught.value.events == []
        with pytest.raises(InvalidJSON) as again:
            await anext(values)
        assert again.value is caught.value


@pytest.mark.anyio
async def test_adecode_closes_what_it_made_when_the_decoder_fails() -> None:
    body = Body(b"data: a\n\ndata: 0123456789\n\n")
    events = adecode(body, SSEDecoder(max_event_size=10))
    assert (await anext(events)).data == "a"
    assert not body.closed
    with pytest.raises(EventTooLarge):
        await anext(events)
    assert body.closed


@pytest.mark.anyio
async def test_error_is_not_lost_when_closing_is_cancelled() -> None:
    class SlowToClose(Body):
        async def aiter_bytes(self) -> AsyncIterator[bytes]:
            try:
                yield self.chunks[0]
            finally:
                await anyio.lowlevel.checkpoint()

    events = adecode(SlowToClose(b"data: 0123456789"), SSEDecoder(max_event_size=10))
    with anyio.CancelScope() as scope:
        scope.cancel()
        await anext(events)
    assert scope.cancelled_caught
    with pytest.raises(EventTooLarge):
        await anext(events)


@pytest.mark.anyio
async def test_adecode_passes_an_error_of_the_source_on_after_the_items() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"data: a\n\n"
        raise ConnectionResetError

    events = adecode(broken())
    assert (await anext(events)).data == "a"
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            await anext(events)


@pytest.mark.anyio
async def test_adecode_does_not_skip_a_chunk_that_is_no_bytes() -> None:
    async def mixed() -> AsyncGenerator[Any, None]:
        for chunk in (b"data: a\n\n", "text", b"data: b\n\n"):
            yield chunk

    async with aclosing(mixed()) as source:
        events = adecode(source)
        assert (await anext(events)).data == "a"
        for _ in range(2):
            with pytest.raises(TypeError, match=r"data must be bytes, .* got str"):
                await anext(events)


@pytest.mark.anyio
async def test_two_tasks_cannot_wait_for_the_next_item() -> None:
    body = Body(b"data: a\n\n")
    events = adecode(body)
    assert (await anext(events)).data == "a"
    async with anyio.create_task_group() as tasks:

        async def wait() -> None:
            await anext(events)

        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(LocalProtocolError, match="another task is waiting"):
            await anext(events)
        with pytest.raises(LocalProtocolError, match="another task is waiting"):
            await events.aclose()
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("source", "error"),
    [
        (httpx2_async_response, httpx2.RemoteProtocolError),
        (httpx_async_response, httpx.RemoteProtocolError),
    ],
)
async def test_cut_body_does_not_look_finished_to_adecode(
    source: Callable[[str], AbstractAsyncContextManager[Any]],
    error: type[Exception],
    server: Server,
) -> None:
    async with source(f"{server.url}/cut") as response:
        await raises_after_the_events(response, error)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_cut_body_of_aiohttp_does_not_look_finished(server: Server) -> None:
    async with aiohttp_response(f"{server.url}/cut") as response:
        await raises_after_the_events(response, aiohttp.ClientPayloadError)


async def raises_after_the_events(source: Any, error: type[Exception]) -> None:
    events = adecode(source)
    assert [await anext(events) for _ in EVENTS] == EVENTS
    with pytest.raises(error):
        await anext(events)


# httpx2 and httpx leave generators of their own suspended, and trio warns of each.
@pytest.mark.filterwarnings("ignore:Async generator 'http(core|x):ResourceWarning")
@pytest.mark.anyio
@pytest.mark.parametrize("source", [httpx2_async_response, httpx_async_response])
async def test_leaving_early_leaves_nothing_open(
    source: Callable[[str], AbstractAsyncContextManager[Any]], server: Server
) -> None:
    server.disconnected.clear()
    async with source(f"{server.url}/endless") as response, adecode(response) as events:
        assert (await anext(events)).data == "a"
    await leaves_nothing_open(server)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_leaving_aiohttp_early_leaves_nothing_open(server: Server) -> None:
    server.disconnected.clear()
    async with (
        aiohttp_response(f"{server.url}/endless") as response,
        adecode(response) as events,
    ):
        assert (await anext(events)).data == "a"
    await leaves_nothing_open(server)


async def leaves_nothing_open(server: Server) -> None:
    assert await anyio.to_thread.run_sync(server.disconnected.wait, 10)
    gc.collect()  # a ResourceWarning is an error


@pytest.mark.anyio
async def test_closing_ends_the_iteration_and_what_was_made_to_read_the_source() -> None:
    body = Body(b"data: a\n\ndata: b\n\n")
    async with adecode(body) as events:
        assert (await anext(events)).data == "a"
        assert not body.closed
    assert body.closed
    assert [event async for event in events] == []


@pytest.mark.anyio
async def test_closing_leaves_a_generator_to_the_caller() -> None:
    source = generated(b"data: a\n\n", b"data: b\n\n")
    async with aclosing(adecode(source)) as events:
        await anext(events)
    assert await anext(source) == b"data: b\n\n"
    assert [chunk async for chunk in source] == []


@pytest.mark.anyio
async def test_cancelled_generator_never_looks_finished() -> None:
    body = Body(b"data: a\n\n")
    events = adecode(body)
    assert (await anext(events)).data == "a"
    with anyio.CancelScope() as scope:
        scope.cancel()
        await anext(events)
    assert scope.cancelled_caught
    assert body.closed
    for _ in range(2):
        with pytest.raises(LocalProtocolError, match="an earlier step ended the iteration by"):
            await anext(events)
    await events.aclose()


@pytest.mark.anyio
async def test_cancelled_stream_can_be_read_on() -> None:
    sender, receiver = anyio.create_memory_object_stream[bytes](1)
    with receiver:
        events = adecode(receiver)
        with sender:
            sender.send_nowait(b"data: a\n\ndata")
            assert (await anext(events)).data == "a"
            with anyio.CancelScope() as scope:
                scope.cancel()
                await anext(events)
            assert scope.cancelled_caught
            sender.send_nowait(b": b\n\n")
        assert [event.data async for event in events] == ["b"]


def test_iterators_that_are_never_used_leave_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    decode(Body())
    adecode(Body())
    gc.collect()
    assert recwarn.list == []
