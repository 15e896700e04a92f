"""What the tests of the backends talk to: small servers on loopback, and a small backend."""

from __future__ import annotations

import gc
import json
import socket
import struct
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.from_thread import start_blocking_portal
from anyio.streams.buffered import BufferedByteReceiveStream

from sseparse import NDJSONDecoder
from sseparse.transports import Request, Response
from sseparse_backends import (
    Backend,
    BackendError,
    Delta,
    Finish,
    Messages,
    Reasoning,
    Reply,
    ReplyStream,
    Text,
    Usage,
)

# What a server does next: send bytes, or whatever else with the connection.
Step: TypeAlias = bytes | Callable[[SocketStream], Awaitable[object]]

# The text of the reply that most tests use; its last three characters have 2, 3 and 4 bytes.
TEXTS = ["Hi", " é", "漢🎉"]


def event(name: str, **data: str) -> bytes:
    """One event of DarkAI, as the service writes it."""
    return (
        b"data: %s\n\n"
        % json.dumps(
            {"event": name, "data": data}, ensure_ascii=False, separators=(",", ":")
        ).encode()
    )


BODY = b"".join(event("text-chunk", text=text) for text in TEXTS) + event("stream-end")


def head(status: int = 200, *fields: str, content_type: str = "text/event-stream") -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", f"content-type: {content_type}", *fields, "", ""]
    return "\r\n".join(lines).encode()


# The servers close each connection after the response: without a word about it, a client would use
# it again.
CHUNKED = head(200, "transfer-encoding: chunked", "connection: close")
LAST_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk of the chunked coding; an empty one would be the last."""
    return b"%x\r\n%s\r\n" % (len(data), data) if data else b""


# A client may leave at any time.
_CLIENT_LEFT = anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError


async def reset(connection: SocketStream) -> None:
    """End the connection with RST."""
    option = struct.pack("ii", 1, 0)
    raw = connection.extra(SocketAttribute.raw_socket)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
    await connection.aclose()


async def until_client_leaves(connection: SocketStream) -> None:
    """Wait until the client closes the connection."""
    with suppress(*_CLIENT_LEFT):
        while True:
            await connection.receive()


@dataclass
class Server:
    """A server that runs; `requests` holds the bytes of each request, `open` counts sockets."""

    port: int
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    _change: anyio.Event = field(default_factory=anyio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/chat"

    def count(self, change: int) -> None:
        self.open += change
        self.connections += change > 0
        self._change.set()
        self._change = anyio.Event()

    async def until_open(self, number: int) -> None:
        """Wait until so many connections are open: none, where a client must have closed all."""
        with anyio.fail_after(60):
            while self.open != number:
                await self._change.wait()


Handler: TypeAlias = Callable[[SocketStream, Server], Awaitable[object]]


@asynccontextmanager
async def serve(handle: Handler) -> AsyncIterator[Server]:
    """Serve each connection with `handle`; after the `async with`, nothing is left of it."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    server = Server(listener.extra(SocketAttribute.local_port))

    async def connected(connection: SocketStream) -> None:
        server.count(+1)
        try:
            async with connection:
                with suppress(*_CLIENT_LEFT):
                    await handle(connection, server)
        finally:
            server.count(-1)

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, connected)
        yield server
        tasks.cancel_scope.cancel()


async def read_request(connection: SocketStream) -> bytes:
    """Read one request, head and body."""
    stream = BufferedByteReceiveStream(connection)
    lines = await stream.receive_until(b"\r\n\r\n", 65536)
    fields = dict(line.lower().split(b": ", 1) for line in lines.split(b"\r\n")[1:])
    body = await stream.receive_exactly(int(fields.get(b"content-length", 0)))
    return lines + b"\r\n\r\n" + body


def answer(*steps: Step) -> Handler:
    """Read a request, do the steps, close the connection: what `serve` takes."""

    async def handle(connection: SocketStream, server: Server) -> None:
        server.requests.append(await read_request(connection))
        for step in steps:
            await (connection.send(step) if isinstance(step, bytes) else step(connection))

    return handle


# Starts a server, in a thread; each connection has its own list of steps, and the last list is that
# of all further connections.
Serve: TypeAlias = Callable[..., Server]


@contextmanager
def serving() -> Iterator[Serve]:
    """Run servers beside a test that has no loop: the function that starts one."""
    with start_blocking_portal() as portal, ExitStack() as stack:

        def start(*connections: list[Step]) -> Server:
            handlers = [answer(*steps) for steps in connections]

            async def handle(connection: SocketStream, server: Server) -> None:
                await handlers[min(len(server.requests), len(handlers) - 1)](connection, server)

            return stack.enter_context(portal.wrap_async_context_manager(serve(handle)))

        yield start


async def collect(reply: ReplyStream) -> tuple[list[str], Exception | None]:
    """What comes, and the error that ends it."""
    texts: list[str] = []
    try:
        async with reply:
            async for text in reply:
                texts.append(text)  # noqa: PERF401 - what comes before an error is kept
    except Exception as error:
        return texts, error
    return texts, None


async def join(
    client: SocketStream,
    host: str,
    port: int,
    *,
    first: bytes = b"",
    on_answer: Callable[[], object] | None = None,
) -> None:
    """Connect a proxy's client with a server until one of them closes.

    first: bytes for the server, sent before those of the client.
    on_answer: called whenever the client was sent bytes of the server.
    """
    async with await anyio.connect_tcp(host, port) as upstream, anyio.create_task_group() as tasks:

        async def pump(
            source: SocketStream, sink: SocketStream, on_sent: Callable[[], object] | None
        ) -> None:
            with suppress(*_CLIENT_LEFT):
                while True:
                    await sink.send(await source.receive())
                    if on_sent is not None:
                        on_sent()
            tasks.cancel_scope.cancel()

        await upstream.send(first)
        tasks.start_soon(pump, client, upstream, None)
        tasks.start_soon(pump, upstream, client, on_answer)


async def http_proxy(client: SocketStream, server: Server) -> None:
    """An HTTP proxy that forwards requests: what `serve` takes."""
    request = await read_request(client)
    server.requests.append(request)
    method, target, rest = request.split(b" ", 2)
    url = urlsplit(target.decode())
    first = b"%s %s %s" % (method, url.path.encode(), rest)
    await join(client, str(url.hostname), int(url.port or 80), first=first)


async def socks5_proxy(client: SocketStream, server: Server) -> None:
    """A SOCKS proxy, version 5 (RFC 1928), without authentication: what `serve` takes."""
    stream = BufferedByteReceiveStream(client)
    _, methods = await stream.receive_exactly(2)
    await stream.receive_exactly(methods)
    await client.send(b"\x05\x00")
    *_, kind = await stream.receive_exactly(4)
    if kind == 1:
        host = socket.inet_ntoa(await stream.receive_exactly(4))
    else:
        host = (await stream.receive_exactly((await stream.receive_exactly(1))[0])).decode()
    (port,) = struct.unpack(">H", await stream.receive_exactly(2))
    server.requests.append(f"{host}:{port}".encode())
    await client.send(b"\x05\x00\x00\x01" + bytes(6))
    await join(client, host, port)


def open_sockets() -> int:
    """How many sockets this process has open. What nothing refers to is collected first."""
    gc.collect()
    sockets = [item for item in gc.get_objects() if isinstance(item, socket.socket)]
    return sum(item.fileno() != -1 for item in sockets)


class Chatter:
    """A backend as a user would write it, without a base class: NDJSON, with usage and a reason.

    Its lines are {"text": ...}, {"reasoning": ...}, {"piece": ...}, which is a part of something,
    {"usage": [input, output]}, {"error": ...} and {"done": reason}.
    """

    name = "chatter"
    default_model = "small"
    models: Sequence[str] = ("small", "large")

    def request(self, messages: Messages, *, model: str | None = None, volume: int = 1) -> Request:
        body = {"messages": messages, "model": model or self.default_model, "volume": volume}
        return Request("POST", "http://127.0.0.1/chatter", {}, json.dumps(body).encode())

    def reply(self, content_type: str) -> ChatterReply:
        if content_type != "application/x-ndjson":
            raise ValueError(content_type)
        return ChatterReply()


class ChatterReply(Reply[Any]):
    def __init__(self) -> None:
        self.decoder = NDJSONDecoder()

    def interpret(self, event: Mapping[str, Any], /) -> Iterable[Delta | None]:
        match event:
            case {"text": text}:
                return [Text(text)]
            case {"reasoning": text}:
                return [Reasoning(text)]
            case {"piece": _}:
                return [None]
            case {"usage": [sent, received]}:
                return [Usage(sent, received)]
            case {"done": reason}:
                return [Finish(reason)]
            case _:
                raise BackendError(event["error"])


# mypy holds it to the protocol.
CHATTER: Backend = Chatter()


CLOSING = "connection: close"
OK = head(200, CLOSING, content_type="text/plain")


async def receive_all(response: Response) -> bytes:
    body = b""
    while data := await response.receive():
        body += data
    await response.aclose()
    return body
