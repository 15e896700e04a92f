"""A stand-in for the DarkAI service, on a free port of this machine.

    async with DemoServer() as server:
        async with stream(DarkAI(api_endpoint=server.url), "Hello") as reply:
            ...

DemoApp is the service, an ASGI application; DemoServer runs it with hypercorn on the current event
loop, asyncio or trio. The application's arguments make it misbehave as real services do.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from importlib import import_module
from itertools import count
from typing import Any, Literal

import anyio
import msgspec
import sniffio
from hypercorn.config import Config, Sockets

from sseparse import encode_comment, encode_event

from .darkai import DarkAI

# Time limit for stopping the server, in seconds.
_STOP_TIMEOUT = 5.0

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[Any]]
_Send = Callable[[Any], Awaitable[None]]
# Status, media type and parts: bytes to send, b"" for a pause, or an exception that drops the
# connection.
_Response = tuple[int, bytes, Iterable[bytes | Exception]]


@dataclass(frozen=True)
class DemoApp:
    """DarkAI's protocol as an ASGI application: POST {"query": ..., "model": ...} to any path.

    pause: seconds between two tokens.
    line_end: end of each line of the stream.
    chunk_size: size of the body's pieces in bytes, or None for one piece per event.
    pings: number of comments before each token, each after a pause.
    damaged: send a damaged event before each token.
    text_chunks: send the text in chunks; otherwise only in the final-response.
    stall_after: number of tokens after which only pings follow, forever.
    drop_after: number of tokens after which the connection is dropped.
    stream_end: send the stream-end.
    status: HTTP status; any but 200 has a JSON error as its body.
    html: send an HTML page instead of a stream.
    """

    pause: float = 0.02
    line_end: Literal["\n", "\r\n", "\r"] = "\n"
    chunk_size: int | None = None
    pings: int = 0
    damaged: bool = False
    text_chunks: bool = True
    stall_after: int | None = None
    drop_after: int | None = None
    stream_end: bool = True
    status: int = 200
    html: bool = False

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        body += message.get("body", b"")
        async with anyio.create_task_group() as tasks:
            # ASGI servers do not stop an application when its client disconnects.
            tasks.start_soon(_wait_for_disconnect, receive, tasks.cancel_scope)
            await self._respond(body, send)
            tasks.cancel_scope.cancel()

    async def _respond(self, body: bytes, send: _Send) -> None:
        status, content_type, parts = self._response(body)
        headers = [(b"content-type", content_type), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for part in parts:
            if isinstance(part, Exception):
                raise part
            if not part:
                await anyio.sleep(self.pause)
            lines = part.replace(b"\n", self.line_end.encode())
            size = self.chunk_size or len(lines) or 1
            for start in range(0, len(lines), size):
                piece = lines[start : start + size]
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _response(self, body: bytes) -> _Response:
        if self.html:
            page = b"<!doctype html><title>Welcome</title><h1>Nothing to see here</h1>"
            return 200, b"text/html; charset=utf-8", [page]
        if self.status != 200:
            return _error(self.status, "The demo server was told to refuse.", code="demo")
        try:
            query = msgspec.json.decode(body, type=_Query)
        except (msgspec.MsgspecError, RecursionError) as problem:
            return _error(400, f"invalid request: {problem}")
        if query.model not in DarkAI.models:
            return _error(404, f"unknown model {query.model!r}")
        return 200, b"text/event-stream", self._parts(query)

    def _parts(self, query: _Query) -> Iterator[bytes | Exception]:
        tokens = _answer(query)
        for number, token in enumerate(tokens):
            if number == self.drop_after:
                yield ConnectionError("the demo server was told to drop the connection")
            for _ in count() if number == self.stall_after else range(self.pings):
                yield b""
                yield encode_comment("ping")
            yield b""
            if self.damaged:
                yield encode_event('{"event": "text-chunk", "data": {"te')
            if self.text_chunks:
                yield _event("text-chunk", {"text": token})
        yield _event("final-response", {"message": "".join(tokens)})
        if self.stream_end:
            yield _event("stream-end", {})


class _Query(msgspec.Struct):
    query: str
    model: str


def _answer(query: _Query) -> list[str]:
    """Return an answer as tokens: words with the space before them."""
    text = (
        f"You asked {query.model}: “{query.query}” This answer comes from sseparse's own demo "
        "server, which speaks DarkAI's protocol on your machine. It has no model behind it, but "
        "it streams as a real service does: token by token, each one an event."
    )
    return re.findall(r"\s*\S+", text)


def _event(name: str, data: dict[str, str]) -> bytes:
    return encode_event(msgspec.json.encode({"event": name, "data": data}).decode())


def _error(status: int, message: str, **fields: str) -> _Response:
    error = {"error": {"message": message, **fields}}
    return status, b"application/json", [msgspec.json.encode(error)]


async def _wait_for_disconnect(receive: _Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def _live(receive: _Receive, send: _Send) -> None:
    for phase in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{phase}.complete"})


class DemoServer:
    """Runs an ASGI application inside an `async with`; `url` is the address to post to.

    app: the application, by default DemoApp().
    """

    def __init__(self, app: Any = None) -> None:
        self.url: str = ""
        self._app: Any = DemoApp() if app is None else app

    async def __aenter__(self) -> DemoServer:
        self._stop = anyio.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        host, port = self._socket.getsockname()
        self.url = f"http://{host}:{port}/chat"
        self._serving = anyio.CancelScope(shield=True)
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._serve)
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._stop.set()
        self._tasks.cancel_scope.shield = True
        self._serving.deadline = anyio.current_time() + _STOP_TIMEOUT
        # Without the caller's exception, which the group would wrap in an ExceptionGroup.
        try:
            await self._tasks.__aexit__(None, None, None)
        finally:
            self._socket.close()

    async def _serve(self) -> None:
        library = sniffio.current_async_library()
        serve = import_module(f"hypercorn.{library}").serve
        config = _Config(self._socket)
        if library == "trio":
            # hypercorn would keep idle connections open until the grace is over.
            config.graceful_timeout = 0.0
        # Shielded: a cancellation from outside stops the server through __aexit__.
        with self._serving:
            await serve(self._run, config, shutdown_trigger=self._stop.wait)

    async def _run(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Run the application until the server stops."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        async with anyio.create_task_group() as tasks:
            # From Python 3.12 on, hypercorn waits for the application without a time limit.
            tasks.start_soon(self._end_with_server, tasks.cancel_scope)
            await self._app(scope, receive, send)
            tasks.cancel_scope.cancel()

    async def _end_with_server(self, scope: anyio.CancelScope) -> None:
        await self._stop.wait()
        scope.cancel()


class _Config(Config):
    """Listen on an existing socket, log nothing, and stop quickly."""

    errorlog = None
    graceful_timeout = 1.0

    def __init__(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        self._listener = listener

    def create_sockets(self) -> Sockets:
        return Sockets([], [self._listener], [])
