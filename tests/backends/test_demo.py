"""The demo server: it speaks DarkAI, misbehaves on request, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import anyio
import httpx2
import pytest

from sseparse import IncompleteStream, SSEDecoder, UnexpectedResponse
from sseparse.transports import Transport
from sseparse.transports.httpx2 import HTTPX2Transport
from sseparse_backends import DarkAI, ReplyStream, ReplyTimeout, stream
from sseparse_backends.demo import DemoApp, DemoServer

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.usefixtures("nothing_is_left"),
]

ANSWER = (
    "You asked llama-3-70b: “Why?” This answer comes from sseparse's own demo server, which speaks "
    "DarkAI's protocol on your machine. It has no model behind it, but it streams as a real "
    "service does: token by token, each one an event."
)
TOKENS = [f" {word}" for word in ANSWER.split()]
TOKENS[0] = "You"


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    async with httpx2.AsyncClient(trust_env=False) as client:
        yield HTTPX2Transport(client)


def ask(server: DemoServer, transport: Transport, **options: Any) -> ReplyStream:
    backend = DarkAI(api_endpoint=server.url)
    return stream(backend, "Why?", transport=transport, **options)


async def post(server: DemoServer, body: bytes) -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False) as client:
        return await client.post(server.url, content=body)


def query(**changes: Any) -> bytes:
    return json.dumps({"query": "Why?", "model": "gpt-4o"} | changes).encode()


async def test_answer_comes_token_by_token(transport: Transport) -> None:
    async with DemoServer(DemoApp(pause=0)) as server, ask(server, transport) as reply:
        assert [text async for text in reply] == TOKENS


@pytest.mark.parametrize("model", [*DarkAI.models, *DarkAI.model_aliases])
async def test_answer_says_which_model_was_asked(model: str, transport: Transport) -> None:
    asked = DarkAI.model_aliases.get(model, model)
    async with (
        DemoServer(DemoApp(pause=0)) as server,
        ask(server, transport, model=model) as reply,
    ):
        assert (await reply.text()).startswith(f"You asked {asked}: ")


async def test_query_comes_back_to_the_letter(transport: Transport) -> None:
    async with DemoServer(DemoApp(pause=0)) as server:
        backend = DarkAI(api_endpoint=server.url)
        async with stream(backend, "  a\n\n漢🎉 ", transport=transport) as reply:
            assert "“  a\n\n漢🎉 ”" in await reply.text()


@pytest.mark.parametrize(
    "options",
    [
        *({"line_end": line_end} for line_end in ("\n", "\r\n", "\r")),
        *({"chunk_size": size, "line_end": "\r\n"} for size in (1, 2, 3, 7, 1000)),
        {"pings": 3},
        {"damaged": True},
        {"stall_after": 10_000},
        {"drop_after": 10_000},
    ],
    ids=str,
)
async def test_odd_but_whole_answer_is_the_same_text(
    options: dict[str, Any], transport: Transport
) -> None:
    async with (
        DemoServer(DemoApp(pause=0, **options)) as server,
        ask(server, transport) as reply,
    ):
        assert [text async for text in reply] == TOKENS


async def test_options_show_in_the_bytes() -> None:
    app = DemoApp(pause=0, pings=2, damaged=True, line_end="\r\n", stream_end=False)
    async with DemoServer(app) as server:
        response = await post(server, query(query="a b", model="gpt-4o"))
    assert response.headers["content-type"] == "text/event-stream"
    assert response.content.startswith(
        b": ping\r\n: ping\r\n"
        b'data: {"event": "text-chunk", "data": {"te\r\n\r\n'
        b'data: {"event":"text-chunk","data":{"text":"You"}}\r\n\r\n'
    )
    assert b"\n" not in response.content.replace(b"\r\n", b"")
    last = json.loads(SSEDecoder().feed(response.content)[-1].data)
    assert last["event"] == "final-response"
    assert last["data"]["message"].startswith("You asked gpt-4o: “a b” This")


@pytest.mark.parametrize("size", [1, 7])
async def test_chunk_size_is_that_of_what_is_sent(size: int) -> None:
    sent: list[bytes] = []

    # ASGI allows an empty message after the body.
    request: dict[str, Any] = {"type": "http.request", "body": query()}
    messages = iter([request, {"type": "http.request"}])

    async def receive() -> dict[str, Any]:
        for message in messages:
            return message
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        await anyio.lowlevel.checkpoint()
        sent.append(message.get("body", b""))

    await DemoApp(pause=0, chunk_size=size)({"type": "http"}, receive, send)
    assert max(map(len, sent)) == size
    assert b"".join(sent).endswith(b'data: {"event":"stream-end","data":{}}\n\n')


async def test_pause_is_before_each_token(transport: Transport) -> None:
    async with DemoServer(DemoApp(pause=3600)) as server:
        with anyio.fail_after(60):
            async with ask(server, transport) as reply:
                with anyio.move_on_after(0.1) as scope:
                    await anext(reply)
    assert scope.cancelled_caught


async def test_without_text_chunks_the_final_response_has_the_text(transport: Transport) -> None:
    async with (
        DemoServer(DemoApp(pause=0, text_chunks=False)) as server,
        ask(server, transport) as reply,
    ):
        assert [text async for text in reply] == [ANSWER]


async def test_missing_stream_end_is_incomplete(transport: Transport) -> None:
    async with (
        DemoServer(DemoApp(pause=0, stream_end=False)) as server,
        ask(server, transport) as reply,
    ):
        with pytest.raises(IncompleteStream) as caught:
            await reply.text()
    assert caught.value.text == ANSWER
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("after", [0, 1, 5])
async def test_dropped_connection_is_incomplete(after: int, transport: Transport) -> None:
    async with (
        DemoServer(DemoApp(pause=0, drop_after=after)) as server,
        ask(server, transport) as reply,
    ):
        assert [await anext(reply) for _ in range(after)] == TOKENS[:after]
        with pytest.raises(IncompleteStream) as caught:
            await anext(reply)
    assert isinstance(caught.value.__cause__, ConnectionError)


@pytest.mark.parametrize("limit", ["timeout", "idle_timeout"])
async def test_stall_with_pings_is_a_timeout(limit: str, transport: Transport) -> None:
    async with (
        DemoServer(DemoApp(pause=0.01, stall_after=3)) as server,
        ask(server, transport, **{limit: 0.2}) as reply,
    ):
        with anyio.fail_after(60), pytest.raises(ReplyTimeout) as caught:
            await reply.text()
    # On a busy machine not all of them come in time.
    assert "".join(TOKENS[:3]).startswith(caught.value.text)


@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
async def test_status_is_a_refusal_with_words(status: int, transport: Transport) -> None:
    async with DemoServer(DemoApp(status=status)) as server:
        with pytest.raises(UnexpectedResponse, match="was told to refuse") as caught:
            await ask(server, transport).text()
    assert caught.value.status == status
    assert json.loads(caught.value.body)["error"]["code"] == "demo"


async def test_html_page_is_a_refusal(transport: Transport) -> None:
    async with DemoServer(DemoApp(html=True)) as server:
        with pytest.raises(
            UnexpectedResponse, match=r"not an event stream \(text/html\) from http"
        ) as caught:
            await ask(server, transport).text()
    assert caught.value.status == 200
    assert caught.value.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"\xff", b"{}", b'{"query": "Hi"}', query(query=None), query(model=7)),
        *(b'{"x":' + b"[" * 100_000, query() + b"x" * 200_000),
    ],
    ids=lambda body: repr(body[:20]),
)
async def test_bad_request_is_a_400_in_json(body: bytes) -> None:
    async with DemoServer() as server:
        response = await post(server, body)
    assert (response.status_code, response.headers["content-type"]) == (400, "application/json")
    assert response.json()["error"]["message"].startswith("invalid request: ")


async def test_unknown_model_is_a_404_in_json() -> None:
    async with DemoServer() as server:
        response = await post(server, query(model="gpt-9"))
    assert (response.status_code, response.headers["content-type"]) == (404, "application/json")
    assert response.json() == {"error": {"message": "unknown model 'gpt-9'"}}


async def test_request_may_come_in_pieces() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for byte in query():
            yield bytes([byte])

    async with (
        DemoServer(DemoApp(pause=0)) as server,
        httpx2.AsyncClient(trust_env=False) as client,
    ):
        response = await client.post(server.url, content=pieces())
    assert response.status_code == 200


class Watched:
    """An application that reports the end of its last request."""

    def __init__(self, app: DemoApp) -> None:
        self.app = app
        self.ended = anyio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self.app(scope, receive, send)
        finally:
            if scope["type"] == "http":
                self.ended.set()


async def test_client_that_goes_away_ends_the_application(transport: Transport) -> None:
    app = Watched(DemoApp(pause=0.01, stall_after=1))
    async with DemoServer(app) as server:
        async with ask(server, transport) as reply:
            assert await anext(reply) == "You"
            assert not app.ended.is_set()
        with anyio.fail_after(60):
            await app.ended.wait()


async def test_server_stops_at_once_though_a_reply_is_in_progress(transport: Transport) -> None:
    app = Watched(DemoApp(pause=0.01, stall_after=1))
    async with AsyncExitStack() as client_side:
        with anyio.fail_after(60):
            async with DemoServer(app) as server:
                reply = await client_side.enter_async_context(ask(server, transport))
                assert await anext(reply) == "You"
        assert app.ended.is_set()
        with anyio.fail_after(60), pytest.raises(IncompleteStream):
            await reply.text()


@pytest.mark.parametrize(
    "begun",
    [b"", b"POST /ch", b"POST /chat HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{"],
    ids=["nothing", "half a head", "half a body"],
)
async def test_server_stops_at_once_though_a_request_is_in_progress(begun: bytes) -> None:
    async with AsyncExitStack() as client_side:
        with anyio.fail_after(60):
            async with DemoServer() as server:
                port = int(server.url.removeprefix("http://127.0.0.1:").removesuffix("/chat"))
                client = await anyio.connect_tcp("127.0.0.1", port)
                await client_side.enter_async_context(client)
                await client.send(begun)
                await anyio.wait_all_tasks_blocked()


async def test_server_stops_at_once_though_an_idle_client_stays_connected() -> None:
    async with AsyncExitStack() as client_side:
        client = await client_side.enter_async_context(httpx2.AsyncClient(trust_env=False))
        with anyio.fail_after(60):
            async with DemoServer(DemoApp(status=500)) as server:
                assert (await client.post(server.url)).status_code == 500
        with pytest.raises(httpx2.ConnectError):
            await client.post(server.url)


async def test_server_can_stop_before_it_has_begun() -> None:
    with anyio.fail_after(60):
        async with DemoServer():
            pass


async def test_server_listens_as_soon_as_it_is_entered_and_no_longer_than_it_lasts() -> None:
    async with DemoServer() as server:
        port = int(server.url.removeprefix("http://127.0.0.1:").removesuffix("/chat"))
        await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
    with pytest.raises(OSError, match=r"(?i)refused|attempts"):
        await anyio.connect_tcp("127.0.0.1", port)


async def test_two_servers_have_two_ports(transport: Transport) -> None:
    async with (
        DemoServer(DemoApp(status=500)) as broken,
        DemoServer(DemoApp(pause=0)) as server,
    ):
        assert broken.url != server.url
        assert await ask(server, transport).text() == ANSWER
        with pytest.raises(UnexpectedResponse):
            await ask(broken, transport).text()


@pytest.mark.parametrize("error", [RuntimeError("the body's"), KeyboardInterrupt(), SystemExit(3)])
async def test_exception_of_the_body_passes_unchanged(error: BaseException) -> None:
    caught: BaseException | None = None
    try:
        with anyio.fail_after(60):
            async with DemoServer():
                raise error
    except BaseException as exc:
        caught = exc
    assert caught is error


async def test_cancellation_from_outside_ends_the_body_and_the_server(transport: Transport) -> None:
    app = Watched(DemoApp(pause=0.01, stall_after=1))
    with anyio.fail_after(60):
        with anyio.CancelScope() as scope:
            async with DemoServer(app) as server, ask(server, transport) as reply:
                assert await anext(reply) == "You"
                scope.cancel()
                await anext(reply)
        assert scope.cancelled_caught
        assert app.ended.is_set()


async def test_exception_of_the_body_passes_unchanged_in_a_cancelled_scope_too() -> None:
    error = RuntimeError("the body's")
    caught: BaseException | None = None
    with anyio.fail_after(60), anyio.CancelScope() as scope:
        try:
            async with DemoServer():
                scope.cancel()
                raise error
        except BaseException as exc:
            caught = exc
    assert caught is error


async def test_application_that_does_not_start_is_an_error_and_leaves_nothing() -> None:
    async def fail(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no"})

    with anyio.fail_after(60), pytest.raises(ExceptionGroup):
        async with DemoServer(fail):
            await anyio.sleep_forever()


async def test_cancellation_while_the_server_stops_is_no_obstacle() -> None:
    with anyio.fail_after(60), anyio.CancelScope() as scope:
        async with DemoServer():
            await anyio.lowlevel.checkpoint()
            scope.cancel()
    assert scope.cancel_called


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("cancelled", [True, False])
async def test_no_task_of_asyncio_is_left(cancelled: bool, transport: Transport) -> None:
    before = asyncio.all_tasks()
    with anyio.fail_after(60), anyio.CancelScope() as scope:
        async with (
            DemoServer(DemoApp(pause=0.01, stall_after=1)) as server,
            ask(server, transport) as reply,
        ):
            assert await anext(reply) == "You"
            if cancelled:
                scope.cancel()
                await anyio.sleep_forever()
    assert asyncio.all_tasks() == before
