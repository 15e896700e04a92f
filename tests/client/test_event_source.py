"""The client that reconnects, on asyncio, on trio and in threads: each event once.

The logic is tested over a MemoryTransport, the network over real sockets.
"""

from __future__ import annotations

import gc
import itertools
import logging
import math
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import anyio
import httpx2
import pytest
from anyio.abc import SocketStream

from sseparse import EventTooLarge, LocalProtocolError, UnexpectedResponse, sync
from sseparse.client import EventSource, ReadyState
from sseparse.transports import Request, Transport
from sseparse.transports.httpx2 import HTTPX2Transport
from sseparse.transports.memory import MemoryResponse, MemoryTransport
from sseparse.transports.sync_httpx2 import SyncHTTPX2Transport
from tests.support.servers import (
    CHUNKED,
    LAST_CHUNK,
    Server,
    answer,
    chunk,
    head,
    read_request,
    reset,
    serve,
    until_client_leaves,
)
from tests.support.threads import AsyncFace, awaits_only

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_is_left")]

STALL = math.inf
CUT = ConnectionError("cut")
URL = "http://127.0.0.1/events"

# The answer that ends an iteration: most tests need an end.
ENOUGH = MemoryResponse(status=204, headers={})
NO_CONTENT = b"HTTP/1.1 204 Enough\r\nconnection: close\r\n\r\n"
CLOSING = "connection: close"


def event(number: int) -> bytes:
    return b"id: %03d\ndata: %d\n\n" % (number, number)


def body(*script: bytes | float | Exception, **options: Any) -> MemoryResponse:
    return MemoryResponse(script, **options)


def follow(transport: Transport | None, url: str = URL, **options: Any) -> EventSource:
    """Follow it without a wait: the waits are the business of Reconnection and its tests."""
    waits = {"reconnection_time": 0, "max_backoff": 0}
    return EventSource(url, transport=transport, **waits | options)


async def collect(source: EventSource) -> tuple[list[str], Exception | None]:
    """Return the items, and the error that ends them."""
    data: list[str] = []
    try:
        async with source:
            async for received in source:
                data.append(received.data)  # noqa: PERF401 - what comes before an error is kept
    except Exception as error:
        return data, error
    return data, None


def ids_sent(transport: MemoryTransport) -> list[str | None]:
    return [request.headers.get("last-event-id") for request in transport.requests]


def id_sent(request: bytes) -> bytes | None:
    """The Last-Event-ID of a request as its bytes are."""
    fields = dict(line.split(b": ", 1) for line in request.split(b"\r\n")[1:-2])
    return fields.get(b"last-event-id")


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(60):
        while not condition():  # noqa: ASYNC110 - what it waits for has no event
            await anyio.sleep(0.001)


@pytest.fixture(scope="session")
def anyio_backend(face: str) -> str:
    return "asyncio" if face == "threads" else face


@pytest.fixture(autouse=True)
def source_of_the_face(face: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if face == "threads":
        monkeypatch.setitem(globals(), "EventSource", threaded_source)
        monkeypatch.setitem(globals(), "HTTPX2Transport", SyncHTTPX2Transport)


def threaded_source(*arguments: Any, **options: Any) -> Any:
    return AsyncFace(sync.EventSource(*arguments, **options))


@pytest.fixture
async def transport(face: str) -> AsyncIterator[Any]:
    """A client for many requests: to make one takes longer than to send with it."""
    options: Any = {"verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "trust_env": False}
    if face == "threads":
        with httpx2.Client(**options) as client:
            yield SyncHTTPX2Transport(client)
    else:
        async with httpx2.AsyncClient(**options) as async_client:
            yield HTTPX2Transport(async_client)


# Iteration


async def test_events_come_from_one_connection_after_another_until_204() -> None:
    transport = MemoryTransport(body(event(1), event(2)), body(event(3)), ENOUGH)
    async with follow(transport) as source:
        received = [received async for received in source]
        assert [received async for received in source] == []
    assert [(item.data, item.id) for item in received] == [("1", "001"), ("2", "002"), ("3", "003")]
    assert ids_sent(transport) == [None, "002", "003"]
    assert transport.open == 0


async def test_event_comes_as_it_arrives() -> None:
    going_on = anyio.Event()

    async def wait(_: SocketStream) -> None:
        await going_on.wait()

    async with (
        serve(answer(head() + event(1), wait, event(2))) as server,
        follow(None, server.url) as source,
    ):
        with anyio.fail_after(60):
            assert (await anext(source)).data == "1"
        going_on.set()
        assert (await anext(source)).data == "2"


async def test_nothing_is_sent_before_the_first_step() -> None:
    transport = MemoryTransport(body(event(1), STALL))
    async with follow(transport) as source:
        await anyio.lowlevel.checkpoint()
        assert transport.requests == []
        await anext(source)
    assert len(transport.requests) == 1


async def test_without_async_with_an_ended_iteration_is_closed() -> None:
    transport = MemoryTransport(body(event(1)), ENOUGH)
    assert [received.data async for received in follow(transport)] == ["1"]
    assert transport.open == 0


async def test_request_is_the_same_on_each_attempt_but_for_the_id() -> None:
    headers = {"Authorization": "Bearer secret", "Accept": "*/*"}
    options: dict[str, Any] = {
        "method": "POST",
        "headers": headers,
        "body": b"query",
        "last_event_id": "0",
    }
    transport = MemoryTransport(body(event(1)), CUT, body(event(2)), ENOUGH)
    await collect(follow(transport, **options))
    fields = {"authorization": "Bearer secret", "accept": "*/*", "cache-control": "no-store"}
    assert transport.requests == [
        Request("POST", URL, fields | {"last-event-id": last}, b"query")
        for last in ("0", "001", "001", "002")
    ]


async def test_request_over_a_socket_has_what_the_standard_wants(transport: Transport) -> None:
    async def handle(connection: SocketStream, server: Server) -> None:
        server.requests.append(await read_request(connection))
        first = len(server.requests) == 1
        await connection.send(head() + "id: é漢\ndata: x\n\n".encode() if first else NO_CONTENT)

    async with serve(handle) as server:
        source = follow(transport, server.url, method="POST", body=b"query")
        assert await collect(source) == (["x"], None)
    for request in server.requests:
        assert request.startswith(b"POST /chat HTTP/1.1\r\n")
        assert request.endswith(b"\r\n\r\nquery")
        assert request.count(b"\r\naccept: text/event-stream\r\n") == 1
        assert request.count(b"\r\ncache-control: no-store\r\n") == 1
    assert [id_sent(request) for request in server.requests] == [None, "é漢".encode()]


async def test_partial_event_is_discarded_and_never_joined() -> None:
    partials = [b"data: par", b"data: par\n", b"id: 9\n", b"event: x\n", b"data: x\r", b"\xef\xbb"]
    responses = itertools.chain.from_iterable(
        (body(partial), body(event(1) + partial, CUT), body(b"\ndata: y\n\n" + partial))
        for partial in partials
    )
    transport = MemoryTransport(*responses, ENOUGH)
    assert await collect(follow(transport)) == (["1", "y"] * len(partials), None)
    assert set(ids_sent(transport)) == {None, "001"}


async def test_emptied_id_is_no_longer_sent_and_a_reply_without_ids_changes_nothing() -> None:
    transport = MemoryTransport(
        *(body(b"id: 7\n\n"), body(b"data: x\n\n"), CUT, body(), body(b"id\n\n"), body(), ENOUGH)
    )
    assert await collect(follow(transport, last_event_id="0")) == (["x"], None)
    assert ids_sent(transport) == ["0", "7", "7", "7", "7", None, None]


# The last event ID and the state


async def test_last_event_id_is_that_of_what_was_handed_out() -> None:
    # In one chunk: what has arrived but was not handed out must come again in another run.
    script = b"id: 1\ndata: a\n\ndata: b\n\nid: 2\ndata: c\n\nid: 3\n\n"
    async with follow(MemoryTransport(body(script, STALL)), last_event_id="0") as source:
        seen = [source.last_event_id]
        for _ in range(3):
            await anext(source)
            seen.append(source.last_event_id)
    # The block that only sets the ID counts once nothing before it is left.
    assert seen == ["0", "1", "1", "3"]
    assert source.last_event_id == "3"


@awaits_only
async def test_last_event_id_is_set_by_a_block_without_data() -> None:
    opened = anyio.Event()
    transport = MemoryTransport(body(b"id: 1\n\n", 0.0, b"id: 2\n", STALL))
    async with anyio.create_task_group() as tasks:
        source = follow(transport, on_open=opened.set)
        tasks.start_soon(collect, source)
        await opened.wait()
        await until(lambda: source.last_event_id == "1")
        await source.aclose()
    assert source.last_event_id == "1"


async def test_closing_does_not_hand_out_an_id() -> None:
    async with follow(MemoryTransport(body(event(1) + event(2) + event(3), STALL))) as source:
        await anext(source)
    assert source.last_event_id == "001"
    assert [item async for item in source] == []
    assert source.last_event_id == "001"


@awaits_only
async def test_another_run_resumes_without_loss_where_one_was_cancelled() -> None:
    source = follow(MemoryTransport(body(event(1) + event(2), STALL)))
    received = []
    with anyio.CancelScope() as scope:
        async for item in source:
            scope.cancel()
            # What has arrived is handed out all the same, and only the wait is cancelled.
            received.append((item.data, source.last_event_id))
    assert scope.cancelled_caught
    assert received == [("1", "001"), ("2", "002")]
    assert source.last_event_id == "002"
    with pytest.raises(LocalProtocolError, match="closed by"):
        await anext(source)


@awaits_only
async def test_burst_of_events_is_whole_and_lets_a_cancellation_through() -> None:
    transport = MemoryTransport(body(event(1) * 1000, STALL))
    received = 0
    with anyio.CancelScope() as scope:
        async for _ in follow(transport):
            scope.cancel()
            received += 1
    assert scope.cancelled_caught
    assert received < 100
    assert transport.open == 0
    data, _ = await collect(follow(MemoryTransport(body(event(1) * 1000), ENOUGH)))
    assert data == ["1"] * 1000


async def test_ready_state_follows_the_connection() -> None:
    states: list[ReadyState] = []

    def note(*_: object) -> None:
        states.append(source.ready_state)

    transport = MemoryTransport(body(event(1)), CUT, body(event(2)), ENOUGH)
    source = follow(transport, on_open=note, on_error=note)
    assert source.ready_state is ReadyState.CONNECTING
    assert "CONNECTING" in repr(source)
    async for _ in source:
        note()
    connecting, opened, closed = ReadyState
    assert states == [
        *(opened, opened, connecting),
        connecting,
        *(opened, opened, connecting),
    ]
    assert source.ready_state is closed
    assert [*map(int, ReadyState)] == [0, 1, 2]


async def test_reconnection_time_is_that_of_the_stream_once_it_sets_one() -> None:
    source = follow(MemoryTransport(body(b"retry: 1500\ndata: x\n\n", STALL)), max_backoff=1)
    async with source:
        assert source.reconnection_time == 0
        await anext(source)
        assert source.reconnection_time == 1.5


# Callbacks and the log


SECRET_URL = "http://me:secret@127.0.0.1:{port}/chat?token=secret#secret"


async def test_neither_repr_nor_log_shows_what_may_be_secret(
    transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {"authorization": "Bearer secret"}
    for steps in ([], [head(200, "content-length: 9")], [head(503), b"no"]):
        async with serve(answer(*steps)) as server:
            url = SECRET_URL.format(port=server.port)
            told: list[float] = []
            source = follow(
                *(transport, url),
                body=b"secret",
                headers=headers,
                max_attempts=2,
                retry_statuses={503},
                on_error=lambda _, wait, told=told: told.append(wait),
            )
            shown = f"http://127.0.0.1:{server.port}/chat"
            assert repr(source) == f"<EventSource {shown} CONNECTING>"
            with caplog.at_level(logging.INFO, "sseparse"):
                await collect(source)
            assert repr(source) == f"<EventSource {shown} CLOSED>"
            assert told == [0]
    messages = [record.getMessage() for record in caplog.records if record.name == "sseparse"]
    assert len(messages) == 3
    assert "secret" not in "".join(messages)


# Refusals and errors


@pytest.mark.parametrize(
    ("status", "content_type"),
    [(404, "application/json"), (503, "text/event-stream"), (200, "text/html")],
)
async def test_refusal_is_final_with_the_words_of_the_server(
    status: int, content_type: str
) -> None:
    said = head(status, "x-request-id: 7", content_type=content_type) + b"go away"
    async with serve(answer(said)) as server:
        data, error = await collect(follow(None, server.url))
        assert data == []
        assert isinstance(error, UnexpectedResponse)
        assert (error.status, error.body) == (status, b"go away")
        assert error.url == server.url
        start = "not an event stream (text/html)" if status == 200 else f"HTTP {status} ("
        assert str(error).startswith(start)
        assert error.headers["x-request-id"] == "7"
        assert error.headers["content-type"] == content_type
        await server.until_open(0)
        assert server.connections == 1


async def test_status_to_retry_is_retried_and_the_last_one_raised() -> None:
    busy = body(b"busy", status=503, headers={})
    transport = MemoryTransport(busy, busy, body(event(1)), busy, busy, busy)
    source = follow(transport, retry_statuses={503}, max_attempts=3)
    data, error = await collect(source)
    assert data == ["1"]
    assert isinstance(error, UnexpectedResponse)
    assert (len(transport.requests), transport.open) == (6, 0)


async def test_waits_are_random_and_a_retry_after_that_has_passed_adds_nothing() -> None:
    waits: list[float] = []
    passed = body(status=503, headers={"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"})
    source = follow(
        MemoryTransport(*[passed] * 5, ENOUGH),
        retry_statuses={503},
        max_backoff=0.01,
        on_error=lambda _, wait: waits.append(wait),
    )
    assert await collect(source) == ([], None)
    assert len({*waits}) == 5
    assert all(0 <= wait < 0.01 for wait in waits)


async def test_events_before_one_that_is_too_large_come_first_and_nothing_is_retried() -> None:
    transport = MemoryTransport(body(event(1) + event(2) + b"data: " + b"x" * 200, STALL))
    async with follow(transport, max_event_size=100) as source:
        assert (await anext(source)).data == "1"
        assert transport.open == 0
        assert (await anext(source)).data == "2"
        with pytest.raises(EventTooLarge):
            await anext(source)
    assert source.last_event_id == "002"
    assert len(transport.requests) == 1


@pytest.mark.parametrize("headers", [{"a b": "c"}, {"a": "b\r\nc: d"}, {"a": " b"}, {"": "b"}])
async def test_header_field_that_cannot_be_sent_is_a_value_error(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="header field"):
        EventSource(URL, headers=headers)


@pytest.mark.parametrize(
    "url",
    [
        *("", "/chat", "//127.0.0.1/", "127.0.0.1", "127.0.0.1:80", "ftp://127.0.0.1/", "http:"),
        *("http://", "http:///x", "http://:80/", "http://[::1", "file:///etc/passwd", "data:,x"),
        *("http://127.0.0.1:x/", "http://127.0.0.1:65536/", "http://127.0.0.1:0/"),
    ],
)
async def test_url_without_scheme_or_host_is_a_value_error_at_once(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|[Pp]ort"):
        EventSource(url)


@pytest.mark.parametrize(
    "options",
    [
        *({"idle_timeout": value} for value in (0, -1.0, math.nan)),
        *({"connect_timeout": value} for value in (0, -1.0, math.nan)),
        *({"reconnection_time": value} for value in (-1, math.inf, math.nan)),
        *({"max_backoff": value} for value in (-1, math.inf, math.nan)),
        *({"max_attempts": 0}, {"max_event_size": 0}, {"last_event_id": "a\nb"}),
        {"headers": {"Last-Event-ID": "7"}},
    ],
)
async def test_arguments_that_mean_nothing_are_a_value_error(options: dict[str, Any]) -> None:
    (name, _), *_ = options.items()
    words = "last_event_id" if name == "headers" else "time|max_|last_event_id"
    with pytest.raises(ValueError, match=words):
        EventSource(URL, **options)


# Closing and cancellation


async def test_aclose_from_another_task_is_an_end_without_an_error() -> None:
    source = follow(MemoryTransport(body(event(1), STALL)))
    received: list[str] = []

    async def iterate() -> None:
        async for item in source:
            received.append(item.data)  # noqa: PERF401 - it does not end by itself

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(iterate)
            await anyio.wait_all_tasks_blocked()
            await source.aclose()
    for _ in range(2):
        with pytest.raises(StopAsyncIteration):
            await anext(source)
    assert received == ["1"]


async def test_idle_timeout_is_a_lost_connection() -> None:
    errors: list[Exception] = []
    # On a busy machine the answer may take longer, and come in another attempt.
    transport = MemoryTransport(body(STALL), ENOUGH)
    source = follow(transport, idle_timeout=0.01, on_error=lambda error, _: errors.append(error))
    assert await collect(source) == ([], None)
    assert {str(error) for error in errors} == {"nothing arrived within 0.01 seconds"}


async def test_connect_timeout_is_that_of_the_request() -> None:
    for options, seconds in (
        ({}, 30),
        ({"connect_timeout": 5}, 5),
        ({"connect_timeout": None}, None),
    ):
        transport = MemoryTransport(ENOUGH)
        await collect(follow(transport, **options))
        assert transport.requests[0].connect_timeout == seconds


async def test_closed_source_opens_nothing() -> None:
    transport = MemoryTransport(body(event(1)))
    source = follow(transport)
    await source.aclose()
    async with source:
        assert [item async for item in source] == []
    assert transport.requests == []


async def test_no_event_is_delivered_after_close_even_if_it_has_arrived() -> None:
    transport = MemoryTransport(body(event(1) + event(2), STALL))
    source = follow(transport)
    async for item in source:
        assert item.data == "1"
        await source.aclose()
    assert transport.open == 0


# Hostile IDs


@pytest.mark.parametrize(
    ("last_event_id", "sent"),
    [
        *((b"a b", b"a b"), (b"  a\t", b"a"), (b" \t ", None), (b"a\tb", b"a\tb")),
        *((b"\x01", None), (b"a\x7f", None), (b"a\vb", None), (b"\f", None), (b"\x1b[2J", None)),
        *(
            ("é漢🎉\u2028\x85".encode(),) * 2,
            ("\u00a0".encode(),) * 2,
            (b"\xff", "\ufffd".encode()),
        ),
        *((b"x: y\\r\\nz", b"x: y\\r\\nz"), (b"9" * 60_000, b"9" * 60_000)),
    ],
)
async def test_no_id_breaks_the_request_that_resumes(
    transport: Transport, last_event_id: bytes, sent: bytes | None
) -> None:
    async def handle(connection: SocketStream, server: Server) -> None:
        server.requests.append(await read_request(connection))
        first = len(server.requests) == 1
        reply = head() + b"id:" + b" " + last_event_id + b"\ndata: x\n\n"
        await connection.send(reply if first else NO_CONTENT)

    async with serve(handle) as server:
        with anyio.fail_after(60):
            assert await collect(follow(transport, server.url)) == (["x"], None)
    assert [id_sent(request) for request in server.requests] == [None, sent]


async def test_id_too_long_for_the_server_is_a_refusal_and_no_loop(transport: Transport) -> None:
    async def handle(connection: SocketStream, server: Server) -> None:
        server.requests.append(await connection.receive())
        if len(server.requests) == 1:
            await connection.send(head() + b"id: " + b"9" * 2**20 + b"\ndata: x\n\n")
        else:
            await connection.send(head(431, "content-length: 0"))
            await until_client_leaves(connection)

    async with serve(handle) as server:
        with anyio.fail_after(60):
            data, error = await collect(follow(transport, server.url))
    assert data == ["x"]
    assert isinstance(error, UnexpectedResponse)
    assert (error.status, len(server.requests)) == (431, 2)


# Faults of the network


# What a reply of three events is made of: its start, what is around each event, its end.
FRAMINGS: dict[str, tuple[bytes, Callable[[bytes], bytes], bytes]] = {
    "until closed": (head(200, CLOSING), bytes, b""),
    "chunked": (head(200, CLOSING, "transfer-encoding: chunked"), chunk, LAST_CHUNK),
    "of a length": (head(200, CLOSING, f"content-length: {3 * len(event(100))}"), bytes, b""),
}


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("end", ["FIN", "RST"])
async def test_cut_after_every_byte_of_a_reply_gives_each_event_exactly_once(
    transport: Transport, framing: str, end: str
) -> None:
    start, frame, last = FRAMINGS[framing]
    # From 100 on, all events have the same length.
    framed = frame(event(100))
    whole = len(start) + 3 * len(framed) + len(last)
    before_end = len(start) + framed.index(event(100)) + len(event(100))
    ends = [before_end + number * len(framed) for number in range(3)]
    sent = 100
    resumed: list[tuple[int, int]] = []
    arrived: list[int] = []
    errors: list[Exception] = []
    running = len(anyio.get_running_tasks())

    async def cut(connection: SocketStream, _: Server) -> None:
        """Cut the first connection after no byte, the second after one, ..."""
        nonlocal sent
        position = len(resumed)
        resumed.append((int(id_sent(await read_request(connection)) or 0), sent))
        if position > whole:
            await connection.send(NO_CONTENT)
            return
        events = [event(number) for number in range(sent + 1, sent + 4)]
        reply = start + b"".join(map(frame, events)) + last
        await connection.send(reply[:position])
        sent += sum(at <= position for at in ends)
        if end == "RST":
            # It may overtake what was sent before.
            await until(lambda: 100 + len(arrived) == sent)
            await reset(connection)

    async with serve(cut) as server:
        source = follow(
            *(transport, server.url),
            last_event_id="100",
            on_error=lambda error, _: errors.append(error),
        )
        with anyio.fail_after(60):
            async for item in source:
                arrived.append(int(item.data))  # noqa: PERF401 - the server looks at it meanwhile
        await server.until_open(0)
    assert len(anyio.get_running_tasks()) == running
    assert arrived == list(range(101, sent + 1))
    assert len(arrived) == sum(whole + 1 - at for at in ends)
    assert [last_id for last_id, _ in resumed] == [expected for _, expected in resumed]
    assert len(errors) == whole + 1 == server.connections - 1
    assert {type(error) for error in errors} == {ConnectionError}


async def _pause(_: SocketStream) -> None:
    await anyio.sleep(0.02)


NOWHERE = "http://127.0.0.1:1/"


def redirect(location: str, *fields: str) -> bytes:
    return head(307, f"location: {location}", "content-length: 0", CLOSING, *fields)


# What the server does instead of a good reply, how many events come of it, and what it is to the
# client: a failure, or a timeout.
FAULTS: dict[str, tuple[Sequence[Any], int, type[Exception]]] = {
    "leaves at once": ([], 0, ConnectionError),
    "resets at once": ([reset], 0, ConnectionError),
    "no HTTP": ([b"nonsense\r\n\r\n"], 0, ConnectionError),
    "no status": ([b"HTTP/1.1 OK\r\n\r\n"], 0, ConnectionError),
    "no header": ([b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n"], 0, ConnectionError),
    "length is no number": ([head(200, "content-length: x")], 0, ConnectionError),
    "two lengths": ([head(200, "content-length: 1", "content-length: 2")], 0, ConnectionError),
    "endless head": ([b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 30_000], 0, ConnectionError),
    "no chunk": ([CHUNKED, chunk(event(1)), b"nonsense\r\n"], 1, ConnectionError),
    "longer than its chunk": ([CHUNKED, b"1\r\n" + event(1)], 0, ConnectionError),
    "shorter than its length": ([head(200, "content-length: 99"), event(1)], 1, ConnectionError),
    "resets within an event": (
        [CHUNKED, chunk(event(1) + b"id: 9\ndata: "), _pause, reset],
        1,
        ConnectionError,
    ),
    "redirect that is cut": ([redirect("/")[:-1]], 0, ConnectionError),
    "redirect that is reset": ([redirect("/")[:-1], _pause, reset], 0, ConnectionError),
    "redirect to nobody": ([redirect(NOWHERE)], 0, ConnectionError),
    "redirect to no URL": ([redirect("http://[")], 0, ConnectionError),
    "redirect to no HTTP": ([redirect("ftp://127.0.0.1/")], 0, ConnectionError),
    "stalls at once": ([until_client_leaves], 0, TimeoutError),
    "stalls in the head": ([head()[:-1], until_client_leaves], 0, TimeoutError),
    "stalls in a redirect": ([redirect("/")[:-1], until_client_leaves], 0, TimeoutError),
    "stalls before the body": ([CHUNKED, until_client_leaves], 0, TimeoutError),
    "stalls after an event": ([CHUNKED, chunk(event(1)), until_client_leaves], 1, TimeoutError),
    "stalls within an event": (
        [head() + event(1) + b"id: 9\ndata: ", until_client_leaves],
        1,
        TimeoutError,
    ),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_fault_is_a_retry_that_loses_and_doubles_nothing(
    transport: Transport, name: str
) -> None:
    steps, complete, error_class = FAULTS[name]
    errors: list[Exception] = []

    async def handle(connection: SocketStream, server: Server) -> None:
        if not server.requests:
            await answer(*steps)(connection, server)
        elif len(server.requests) == 1:
            await answer(head(200, CLOSING) + event(complete + 1))(connection, server)
        else:
            await answer(NO_CONTENT)(connection, server)

    async def expire() -> None:
        """Let the idle timeout be over once the client waits for a server that stalls."""
        arrived = "001" if complete else ""
        await until(lambda: len(server.requests) == 1 and source.last_event_id == arrived)
        await anyio.wait_all_tasks_blocked()
        driver: Any = source._driver
        if isinstance(driver, sync.Driver):
            watchdog = driver._watchdog
            # The thread may only now be about to wait, and set its own deadline.
            while not watchdog.expired:
                watchdog.set(-math.inf)
                await anyio.sleep(0.01)
        else:
            driver._scope.deadline = -math.inf

    async with serve(handle) as server, anyio.create_task_group() as tasks:
        source = follow(
            *(transport, server.url),
            idle_timeout=600,
            on_error=lambda error, _: errors.append(error),
        )
        if error_class is TimeoutError:
            tasks.start_soon(expire)
        with anyio.fail_after(60):
            data, error = await collect(source)
        await server.until_open(0)
    assert (data, error) == ([str(1 + n) for n in range(complete + 1)], None)
    assert [type(error) for error in errors] == [error_class, ConnectionError]
    asked = [id_sent(request) for request in server.requests]
    assert asked == [None, b"001" if complete else None, b"%03d" % (complete + 1)]


@pytest.mark.parametrize(
    "after", [(), (_pause, reset), (until_client_leaves,)], ids=["cut", "reset", "stalled"]
)
async def test_redirect_is_followed_whatever_becomes_of_its_body(
    transport: Transport, after: tuple[Any, ...]
) -> None:
    async def handle(connection: SocketStream, server: Server) -> None:
        if not server.requests:
            moved = head(307, "location: /", "content-length: 9")
            await answer(moved, *after)(connection, server)
        elif len(server.requests) == 1:
            await answer(head(200, CLOSING) + event(1))(connection, server)
        else:
            await answer(NO_CONTENT)(connection, server)

    async with serve(handle) as server:
        with anyio.fail_after(60):
            assert await collect(follow(transport, server.url)) == (["1"], None)
        await server.until_open(0)


@pytest.mark.parametrize("location", [NOWHERE, "/", "ftp://127.0.0.1/", "http://["])
async def test_redirect_to_nowhere_is_an_error_and_no_hang(
    transport: Transport, location: str
) -> None:
    async with serve(answer(redirect(location))) as server:
        with anyio.fail_after(60):
            data, error = await collect(follow(transport, server.url, max_attempts=1))
        await server.until_open(0)
    assert data == []
    assert type(error) is ConnectionError


async def test_server_that_is_not_there_is_tried_until_the_attempts_are_used_up() -> None:
    async with serve(answer()) as server:
        pass
    waits: list[float] = []
    source = follow(
        None,
        server.url,
        max_attempts=3,
        on_error=lambda _, wait: waits.append(wait),
    )
    data, error = await collect(source)
    assert (data, waits) == ([], [0, 0])
    # As it is, and no group of it.
    assert type(error) is ConnectionError
    assert server.url in str(error)


@awaits_only
async def test_server_that_comes_back_is_found(transport: Transport) -> None:
    async with serve(answer()) as server:
        pass
    failed = anyio.Event()
    received: list[str] = []
    source = follow(
        *(transport, server.url),
        reconnection_time=0.01,
        max_backoff=0.02,
        on_error=lambda *_: failed.set(),
    )

    async with anyio.create_task_group() as tasks:

        async def iterate() -> None:
            received.append((await anext(source)).data)
            await source.aclose()
            tasks.cancel_scope.cancel()

        async def greet(connection: SocketStream) -> None:
            async with connection:
                await answer(head() + event(1))(connection, server)

        tasks.start_soon(iterate)
        with anyio.fail_after(60):
            await failed.wait()
            async with await anyio.create_tcp_listener(
                local_host="127.0.0.1", local_port=server.port
            ) as listener:
                await listener.serve(greet)
    assert received == ["1"]


# Endurance


@awaits_only
async def test_ten_thousand_reconnects_hold_memory_flat() -> None:
    transport = MemoryTransport(body(event(1) + b"id: 2\ndata: never comp", b"leted\n"))
    count = 0

    def blocks() -> int:
        gc.collect()
        return sys.getallocatedblocks()

    async with follow(transport, idle_timeout=60) as source:
        async for item in source:
            assert item.id == "001"
            assert transport.open == 1
            # They would be what grows.
            transport.requests.clear()
            count += 1
            if count == 1000:
                before = blocks()
            elif count == 10_000:
                break
        after = blocks()
    assert transport.open == 0
    # Fewer than one block for each hundred connections.
    assert after - before < 100
