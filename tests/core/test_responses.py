"""decode and adecode, without a decoder, go by the head of an HTTP response."""

from __future__ import annotations

import gzip
import socketserver
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests
import urllib3

from sseparse import (
    NDJSONDecoder,
    ServerSentEvent,
    SSEDecoder,
    UnexpectedResponse,
    adecode,
    decode,
)
from sseparse.transports import Request
from sseparse.transports.aiohttp import AiohttpTransport
from sseparse.transports.httpx2 import HTTPX2Transport

EVENTS = [ServerSentEvent(data="a"), ServerSentEvent(data="b")]
BODY = b"data: a\n\ndata: b\n\n"


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        # Set once the client has the first event.
        self.first_has_come = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/missing":
                self.respond(404, "text/html", b"<h1>no such page</h1>")
            case "/page":
                self.respond(200, "text/html; charset=utf-8", b"<p>Welcome</p>")
            case "/untyped":
                self.respond(200, None, BODY)
            case "/json-lines":
                self.respond(200, "application/x-ndjson", b'{"a": 1}\n2\n')
            case "/compress":
                self.respond(200, "text/event-stream", BODY, "gzip, compress")
            case "/twice":
                self.respond(200, "text/event-stream, text/event-stream", BODY)
            case "/cut":
                self.respond(200, "application/x-ndjson", b"1\n2\n", size=100)
                self.close_connection = True
            case "/empty":
                self.respond(200, "application/json", b"")
            case "/gzip":
                self.respond(200, "text/event-stream", gzip.compress(BODY), "gzip")
            case "/br" | "/zstd":
                self.respond(200, "text/event-stream", BODY, self.path[1:])
            case "/in-two-pieces":
                self.respond(400, "application/json", b'{"error": ', size=16)
                self.server.first_has_come.wait(0.2)
                self.wfile.write(b'"no"}\n')
            case "/endless":
                self.respond(503, "text/plain", b"x", size=None)
                self.server.first_has_come.wait()
            case "/slow" | "/slow-gzip":
                encode = gzip.compress if self.path == "/slow-gzip" else bytes
                encoding = "gzip" if self.path == "/slow-gzip" else None
                first, second = (encode(BODY[:9]), encode(BODY[9:]))
                self.respond(200, "Text/Event-Stream;charset=utf-8", first, encoding, size=None)
                self.server.first_has_come.wait()
                with suppress(OSError):  # the client may have left
                    self.wfile.write(second)
            case _:
                self.respond(200, "text/event-stream", BODY)

    def respond(
        self,
        status: int,
        content_type: str | None,
        body: bytes,
        encoding: str | None = None,
        *,
        size: int | None = -1,
    ) -> None:
        self.send_response(status)
        if content_type is not None:
            self.send_header("Content-Type", content_type)
        if encoding is not None:
            self.send_header("Content-Encoding", encoding)
        if size is None:  # the body ends with the connection
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(body) if size < 0 else size))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.first_has_come.set()
        server.shutdown()
        thread.join()


@contextmanager
def httpx2_response(url: str) -> Iterator[Any]:
    with httpx2.Client(trust_env=False) as client, client.stream("GET", url) as response:
        yield response


@contextmanager
def httpx_response(url: str) -> Iterator[Any]:
    with httpx.Client(trust_env=False) as client, client.stream("GET", url) as response:
        yield response


@contextmanager
def requests_response(url: str, **options: Any) -> Iterator[Any]:
    with requests.Session() as session:
        session.trust_env = False
        with session.get(url, **{"stream": True} | options) as response:
            yield response


@contextmanager
def requests_raw(url: str) -> Iterator[Any]:
    with requests_response(url) as response:
        yield response.raw


@contextmanager
def urllib3_response(url: str) -> Iterator[Any]:
    with urllib3.PoolManager() as pool:
        response = pool.request("GET", url, preload_content=False)
        yield response
        response.close()


@contextmanager
def urllib_response(url: str) -> Iterator[Any]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url) as response:
            yield response
    except urllib.error.HTTPError as error:
        with error:
            yield error


Opener = Callable[[str], AbstractContextManager[Any]]

DECODING: dict[str, Opener] = {
    "httpx2": httpx2_response,
    "httpx": httpx_response,
    "requests": requests_response,
    "urllib3": urllib3_response,
}
RAW: dict[str, Opener] = {"requests' raw": requests_raw, "urllib": urllib_response}

decoding = pytest.mark.parametrize("opener", DECODING.values(), ids=DECODING)
raw = pytest.mark.parametrize("opener", RAW.values(), ids=RAW)
all_responses = pytest.mark.parametrize("opener", (DECODING | RAW).values(), ids=DECODING | RAW)


@all_responses
def test_media_type_chooses_the_decoder(opener: Opener, server: Server) -> None:
    with opener(server.url("/")) as response:
        assert list(decode(response)) == EVENTS
    with opener(server.url("/json-lines")) as response:
        assert list(decode(response)) == [{"a": 1}, 2]


@all_responses
@pytest.mark.parametrize(
    ("path", "start", "words"),
    [
        ("/missing", "HTTP 404 (text/html)", "no such page"),
        ("/page", "not a stream (text/html)", "Welcome"),
        ("/untyped", "not a stream (no content type)", "data: a data: b"),
        ("/empty", "not a stream (application/json)", "empty body"),
    ],
)
def test_response_that_is_no_stream_is_an_error(
    opener: Opener, server: Server, path: str, start: str, words: str
) -> None:
    with opener(server.url(path + "?secret")) as response:
        events = decode(response)
        with pytest.raises(UnexpectedResponse) as caught:
            next(events)
    # urllib3 knows only the path.
    url = "" if opener in (urllib3_response, requests_raw) else server.url(path)
    assert caught.value.url == url
    assert str(caught.value) == f"{start}{f' from {url}' if url else ''}: {words}"
    assert caught.value.headers.keys() >= {"content-length", "date"}
    notes = getattr(caught.value, "__notes__", [])
    assert len(notes) == (caught.value.status == 200)


@all_responses
def test_decoder_takes_the_bytes_as_they_are(opener: Opener, server: Server) -> None:
    with opener(server.url("/untyped")) as response:
        assert list(decode(response, SSEDecoder())) == EVENTS
    with opener(server.url("/json-lines")) as response:
        assert list(decode(response, NDJSONDecoder())) == [{"a": 1}, 2]


@all_responses
def test_last_media_type_counts(opener: Opener, server: Server) -> None:
    with opener(server.url("/twice")) as response:
        assert list(decode(response)) == EVENTS


@all_responses
def test_body_that_is_cut_does_not_look_finished(opener: Opener, server: Server) -> None:
    with opener(server.url("/cut")) as response:
        values = decode(response)
        assert [next(values), next(values)] == [1, 2]
        with pytest.raises(Exception, match=r"(?i)incomplete|peer closed|ended before"):
            next(values)


@all_responses
def test_body_of_a_refusal_need_not_end(opener: Opener, server: Server) -> None:
    with opener(server.url("/endless")) as response:
        with pytest.raises(UnexpectedResponse, match=r"^HTTP 503 \(text/plain\).*: x$"):
            next(decode(response))
        server.first_has_come.set()


@all_responses
def test_event_is_handed_out_before_the_rest_of_the_body_is_sent(
    opener: Opener, server: Server
) -> None:
    with opener(server.url("/slow")) as response:
        events = decode(response)
        assert next(events) == EVENTS[0]
        server.first_has_come.set()
        assert list(events) == EVENTS[1:]


@decoding
def test_content_encoding_is_undone_as_the_bytes_arrive(opener: Opener, server: Server) -> None:
    with opener(server.url("/gzip")) as response:
        assert list(decode(response)) == EVENTS
    with opener(server.url("/slow-gzip")) as response:
        events = decode(response)
        assert next(events) == EVENTS[0]
        server.first_has_come.set()
        # httpx and httpx2 stop after the first member of a gzip body.
        if opener not in (httpx_response, httpx2_response):
            assert list(events) == EVENTS[1:]


@raw
def test_content_encoding_that_nobody_undoes_is_refused_at_once(
    opener: Opener, server: Server
) -> None:
    with opener(server.url("/gzip")) as response:
        for decoder in (None, SSEDecoder()):
            with pytest.raises(ValueError, match="source must be without a content encoding, got"):
                decode(response, decoder)


@all_responses
def test_unknown_content_encoding_is_refused_at_once(opener: Opener, server: Server) -> None:
    message = r"content encoding, got gzip, compress: request it"
    with opener(server.url("/compress")) as response, pytest.raises(ValueError, match=message):
        decode(response)


@decoding
@pytest.mark.parametrize("coding", ["br", "zstd"])
def test_content_encoding_without_its_package_is_refused_at_once(
    opener: Opener, server: Server, coding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("brotli", "brotlicffi", "compression.zstd", "backports.zstd", "zstandard"):
        monkeypatch.delitem(sys.modules, package, raising=False)
    with opener(server.url(f"/{coding}")) as response:
        with pytest.raises(ValueError, match=f"got {coding} without a package for it: .* install"):
            decode(response)
        monkeypatch.setitem(sys.modules, "brotli", sys)
        monkeypatch.setitem(sys.modules, "zstandard", sys)
        decode(response)


@all_responses
def test_body_of_a_refusal_whose_length_is_known_is_whole(opener: Opener, server: Server) -> None:
    with opener(server.url("/in-two-pieces")) as response:
        with pytest.raises(UnexpectedResponse) as caught:
            list(decode(response))
        assert caught.value.body == b'{"error": "no"}\n'


def test_response_of_requests_that_was_read_before_is_decoded(server: Server) -> None:
    with requests_response(server.url("/gzip"), stream=False) as response:
        assert list(decode(response)) == EVENTS
        assert list(decode(response)) == EVENTS


def test_response_of_requests_with_an_old_urllib3_is_decoded(server: Server) -> None:
    class Raw:
        closed = False

    with requests_response(server.url("/gzip")) as response:
        raw, response.raw = response.raw, Raw()
        response.raw.stream = raw.stream
        assert list(decode(response)) == EVENTS


def test_empty_chunk_is_no_body_yet() -> None:
    class Response:
        status_code = 500
        headers: Any = {}  # noqa: RUF012

        def iter_bytes(self) -> list[bytes]:
            return [b"", b"broken"]

    with pytest.raises(UnexpectedResponse, match=r"^HTTP 500 \(no content type\): broken$"):
        next(decode(Response()))


def test_response_made_without_a_request_has_no_url() -> None:
    for module in (httpx, httpx2):
        response: Any = module.Response(404, content=b"no")
        with pytest.raises(UnexpectedResponse, match=r"^HTTP 404 \(no content type\): no$"):
            next(decode(response))


# adecode


@pytest.mark.anyio
async def test_adecode_goes_by_the_response_too(server: Server) -> None:
    async with httpx2.AsyncClient(trust_env=False) as client:
        async with client.stream("GET", server.url("/json-lines")) as response:
            assert [value async for value in adecode(response)] == [{"a": 1}, 2]
        # One chunk: httpx2 leaves a generator suspended where a body is not read to its end.
        response = await client.get(server.url("/missing"))
        with pytest.raises(UnexpectedResponse, match=rf" from {server.url('/missing')}: no such"):
            await anext(adecode(response))
    transport = HTTPX2Transport(trust_env=False)
    answer = await transport.send(Request("GET", server.url("/page")))
    with pytest.raises(UnexpectedResponse, match=rf" from {server.url('/page')}: Welcome"):
        await anext(adecode(answer))
    await answer.aclose()
    answer = await transport.send(Request("GET", server.url("/gzip")))
    assert [event async for event in adecode(answer)] == EVENTS
    await answer.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_adecode_goes_by_the_response_of_aiohttp_too(server: Server) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(server.url("/gzip")) as response:
            assert [event async for event in adecode(response)] == EVENTS
        async with session.get(server.url("/json-lines")) as response:
            assert [value async for value in adecode(response)] == [{"a": 1}, 2]
        async with session.get(server.url("/compress")) as response:
            with pytest.raises(ValueError, match="got gzip, compress"):
                adecode(response)
        async with session.get(server.url("/missing")) as response:
            with pytest.raises(UnexpectedResponse, match=rf"{server.url('/missing')}: no such"):
                await anext(adecode(response))
    answer = await AiohttpTransport(trust_env=False).send(Request("GET", server.url("/missing")))
    with pytest.raises(UnexpectedResponse, match="no such page"):
        await anext(adecode(answer))
    await answer.aclose()


@pytest.mark.parametrize(
    "source",
    [[b"data: a\n\n", b"data: b\n\n"], BODY],
    ids=["chunks", "bytes"],
)
def test_source_without_a_head_is_an_event_stream(source: Any) -> None:
    assert list(decode(source)) == EVENTS
