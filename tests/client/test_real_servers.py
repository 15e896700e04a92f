"""EventSource against servers that others wrote, on asyncio and on trio.

Each server has a topic for each path: POST publishes an event, whose type is in a header, as
nchan has it, and GET follows. The client's way to the server can be cut.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from sys import executable
from typing import TypeAlias

import aiohttp
import anyio
import httpx2
import pytest
import sniffio
import trustme
from anyio.abc import SocketStream
from hypercorn.config import Config, Sockets
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.peers import MissingPeer, node_and_npm
from sseparse import ServerSentEvent
from sseparse.client import EventSource
from sseparse.transports import CertificateError, Transport
from sseparse.transports.httpx2 import HTTPX2Transport
from tests.support.servers import Server, join, serve

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.usefixtures("nothing_is_left"),
]

DATA = Path(__file__).parents[1] / "support" / "data"

# The type and the data of what is published.
Sent: TypeAlias = tuple[str, str]

EVENTS: list[Sent] = [
    ("message", "one line"),
    ("greeting", "several lines:\n\n  Grüße, 漢字 🎉\n: no comment"),
    ("message", '{"last": true}'),
]


# Servers


@dataclass(frozen=True)
class RealServer:
    """A server that runs."""

    port: int
    scheme: str = "http"
    # Its events have the IDs №1, №2 and so on; if not, whatever it likes.
    numbers: bool = True
    # It sends data as JSON.
    json: bool = False
    # The versions of HTTP in which it was asked for events, where it tells.
    versions: set[str] | None = None


class Topic:
    """An ASGI application that follows a list of events with sse-starlette."""

    def __init__(self) -> None:
        self.versions: set[str] = set()
        self._events: list[Sent] = []
        self._grown = anyio.Event()
        self.app = Starlette(
            routes=[
                Route("/{topic}", self._follow, methods=["GET"]),
                Route("/{topic}", self._publish, methods=["POST"]),
            ]
        )

    async def _publish(self, request: Request) -> Response:
        kind, data = request.headers["x-eventsource-event"], await request.body()
        self._events.append((kind, data.decode()))
        self._grown.set()
        self._grown = anyio.Event()
        return Response()

    async def _follow(self, request: Request) -> EventSourceResponse:
        self.versions.add(request.scope["http_version"])
        # Starlette takes the bytes of a header for Latin-1.
        last_event_id = request.headers.get("last-event-id", "").encode("latin-1").decode()
        events = self._events_after(int(last_event_id[1:] or 0))
        return EventSourceResponse(events, ping=0.05)

    async def _events_after(self, number: int) -> AsyncIterator[dict[str, str]]:
        while True:
            for kind, data in self._events[number:]:
                number += 1
                yield {"event": kind, "data": data, "id": f"№{number}"}
            if number == len(self._events):
                await self._grown.wait()


class SocketConfig(Config):
    """Have hypercorn listen on a socket that is there already, and say nothing."""

    errorlog = None
    graceful_timeout = 1.0

    def __init__(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        self._listener = listener

    def create_sockets(self) -> Sockets:
        secure = [self._listener] if self.ssl_enabled else []
        return Sockets(secure, [] if secure else [self._listener], [])


@asynccontextmanager
async def sse_starlette(certificate: Path | None = None) -> AsyncIterator[RealServer]:
    """Run sse-starlette under hypercorn on the loop in use, with TLS where it has a certificate."""
    topic, stop = Topic(), anyio.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = SocketConfig(listener)
        if certificate is not None:
            config.certfile = config.keyfile = str(certificate)
        library = sniffio.current_async_library()
        run = import_module(f"hypercorn.{library}").serve
        if library == "trio":
            # hypercorn would keep idle connections open until the grace is over.
            config.graceful_timeout = 0.0
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(run, topic.app, config, shutdown_trigger=stop.wait))
            scheme = "https" if certificate else "http"
            yield RealServer(listener.getsockname()[1], scheme, versions=topic.versions)
            stop.set()


@contextmanager
def program(*command: str | Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a program that ends when its input does, and so with this process at the latest."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=folder, text=True) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def first_number(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


@pytest.fixture(scope="module")
def aiohttp_sse() -> Iterator[RealServer]:
    with program(executable, "aiohttp_sse_server.py", folder=DATA) as process:
        yield RealServer(first_number(process))


@pytest.fixture(scope="module")
def better_sse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    try:
        node, npm = node_and_npm()
    except MissingPeer as missing:
        pytest.skip(str(missing))
    folder = tmp_path_factory.mktemp("node") / "better-sse"
    shutil.copytree(DATA / "better-sse", folder)
    install = [*npm, "install", "--no-package-lock", "--no-audit", "--no-fund"]
    install += ["--ignore-scripts", "--prefer-offline", "--fetch-retries=0"]
    subprocess.run(install, cwd=folder, check=False, capture_output=True)
    if not (folder / "node_modules" / "better-sse").exists():
        pytest.skip("npm has not installed better-sse")
    with program(node, "server.js", folder=folder) as process:
        # Text with several lines, written as it is, would break its event.
        yield RealServer(first_number(process), json=True)


@pytest.fixture(scope="module")
def nchan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    # Debian does not have /usr/sbin on everybody's path. The module is where the program is.
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    nginx = Path(shutil.which("nginx", path=path) or "/usr/sbin/nginx")
    module = nginx.parents[1] / "lib/nginx/modules/ngx_nchan_module.so"
    if not module.exists():
        pytest.skip("there is no nginx with the module nchan (Debian's libnginx-mod-nchan)")
    folder = tmp_path_factory.mktemp("nchan")
    with socket.socket() as keeper:
        # It never listens, so that all connections are nginx's.
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        keeper.bind(("127.0.0.1", 0))
        port = keeper.getsockname()[1]
        config = (DATA / "nchan.conf").read_text("utf-8")
        config = config.replace("PORT", str(port)).replace("MODULE", str(module))
        (folder / "nginx.conf").write_text(config, "utf-8")
        # Its workers give up the rights of root, with which they could not enter the folder.
        options = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")
        shell = '"$0" -p . -c nginx.conf -g "$1" & cat; kill $!; wait $!'
        with program("sh", "-c", shell, nginx, options, folder=folder):
            until_listening(port)
            keeper.close()
            yield RealServer(port, numbers=False)


def until_listening(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "it does not listen"
            time.sleep(0.01)
        else:
            return


@cache
def authority() -> trustme.CA:
    return trustme.CA()


@cache
def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    authority().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)
    return path


# Clients


@asynccontextmanager
async def httpx2_transport(
    context: ssl.SSLContext, *, http2: bool = False
) -> AsyncIterator[Transport]:
    async with httpx2.AsyncClient(http2=http2, verify=context, trust_env=False) as client:
        yield HTTPX2Transport(client)


@asynccontextmanager
async def aiohttp_transport(context: ssl.SSLContext) -> AsyncIterator[Transport]:
    from sseparse.transports.aiohttp import AiohttpTransport

    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield AiohttpTransport(session)


TRANSPORTS: dict[str, Callable[[ssl.SSLContext], AbstractAsyncContextManager[Transport]]] = {
    "httpx2": httpx2_transport,
    "httpx2 over HTTP/2": partial(httpx2_transport, http2=True),
    "aiohttp": aiohttp_transport,
}


class Line:
    """A way to the server: what `serve` takes."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connections: list[anyio.CancelScope] = []
        self._answer = anyio.Event()

    async def __call__(self, client: SocketStream, server: Server) -> None:
        with anyio.CancelScope() as scope:
            self._connections.append(scope)
            await join(client, "127.0.0.1", self._port, on_answer=self._note_answer)

    def _note_answer(self) -> None:
        self._answer.set()
        self._answer = anyio.Event()

    async def until_answer(self) -> None:
        """Wait until the server sends something."""
        await self._answer.wait()

    def cut(self) -> None:
        while self._connections:
            self._connections.pop().cancel()


@dataclass
class Follower:
    """A client that follows a topic of its own, over a line."""

    source: EventSource
    server: RealServer
    errors: list[Exception]
    line: Line
    _topic: str
    _listener: Server
    _numbers: Iterator[int] = field(default_factory=partial(count, 1))

    @property
    def connections(self) -> int:
        return self._listener.connections

    async def publish(self, sent: Sent) -> None:
        kind, data = sent
        url = f"{self.server.scheme}://127.0.0.1:{self.server.port}{self._topic}"
        async with httpx2.AsyncClient(verify=trusting(), trust_env=False) as client:
            headers = {"x-eventsource-event": kind, "content-type": "text/plain"}
            response = await client.post(url, content=data.encode(), headers=headers)
        response.raise_for_status()

    async def receive(self, *expected: Sent) -> None:
        """Receive these events and no others, each with an ID that is in force then."""
        for kind, data in expected:
            event = await anext(self.source)
            identifier = f"№{next(self._numbers)}" if self.server.numbers else event.id
            text = json.dumps(data, ensure_ascii=False) if self.server.json else data
            assert event == ServerSentEvent(kind, text, identifier)
            assert self.source.last_event_id == event.id != ""

    async def cut(self) -> None:
        """Cut all connections; new ones can be made at once."""
        self.line.cut()
        await self._listener.until_open(0)


# What starts a server.
Start: TypeAlias = Callable[[], AbstractAsyncContextManager[RealServer]]


@asynccontextmanager
async def follow(start: Start, transport: str) -> AsyncIterator[Follower]:
    """Follow a topic of a server; after that, the server must have lost its client."""
    topic, errors = f"/{uuid.uuid4().hex}", list[Exception]()
    with anyio.fail_after(60):
        async with start() as server, serve(line := Line(server.port)) as listener:
            async with (
                TRANSPORTS[transport](trusting()) as chosen,
                EventSource(
                    f"{server.scheme}://127.0.0.1:{listener.port}{topic}",
                    transport=chosen,
                    reconnection_time=0.05,
                    on_error=lambda error, _: errors.append(error),
                ) as source,
            ):
                yield Follower(source, server, errors, line, topic, listener)
            await listener.until_open(0)


# Tests

LOOPS = ["asyncio", "trio"]
CLIENTS = [(loop, "httpx2") for loop in LOOPS]
if find_spec("sseparse.transports.aiohttp"):
    CLIENTS.append(("asyncio", "aiohttp"))
SERVERS = ["sse_starlette", "aiohttp_sse", "better_sse", "nchan"]
CASES = [(*client, server) for server in SERVERS for client in CLIENTS]
CASES += [(loop, "httpx2 over HTTP/2", "sse_starlette_over_tls") for loop in LOOPS]
TLS_CASES = [(*client, "sse_starlette_over_tls") for client in CLIENTS]


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Start:
    """How to start a server; the programs run already then."""
    if request.param == "sse_starlette":
        return sse_starlette
    if request.param == "sse_starlette_over_tls":
        return partial(sse_starlette, request.getfixturevalue("certificate"))
    running: RealServer = request.getfixturevalue(request.param)
    return lambda: nullcontext(running)


def unfinished(loop: str, transport: str, _: str) -> list[pytest.MarkDecorator]:
    # Over HTTP/2, httpx2 leaves a generator of its own to the garbage collector, about which trio
    # warns, where a body is not read to its end.
    ignore = pytest.mark.filterwarnings("ignore:Async generator 'httpcore2:ResourceWarning")
    return [ignore] if (loop, transport) == ("trio", "httpx2 over HTTP/2") else []


def each(cases: list[tuple[str, str, str]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("anyio_backend", "transport", "server"),
        [pytest.param(*case, marks=unfinished(*case), id=", ".join(case)) for case in cases],
        indirect=["server"],
    )


@each(CASES + TLS_CASES)
async def test_each_event_arrives_as_it_is_sent(server: Start, transport: str) -> None:
    async with follow(server, transport) as follower:
        for sent in EVENTS:
            await follower.publish(sent)
            await follower.receive(sent)
        assert not follower.errors
        assert follower.connections == 1
        if follower.server.versions is not None:
            assert follower.server.versions == {"2" if "HTTP/2" in transport else "1.1"}


@each(CASES + TLS_CASES)
async def test_what_was_missed_comes_first_on_the_next_connection(
    server: Start, transport: str
) -> None:
    before, *missed = EVENTS
    async with follow(server, transport) as follower:
        await follower.publish(before)
        await follower.receive(before)
        await follower.cut()
        for sent in missed:
            await follower.publish(sent)
        await follower.receive(*missed)
        await follower.publish(before)
        await follower.receive(before)
        assert [type(error) for error in follower.errors] == [ConnectionError]
        assert follower.connections == 2


@each(CASES)
async def test_pings_are_no_events_and_no_failures(server: Start, transport: str) -> None:
    async with follow(server, transport) as follower:
        await follower.publish(EVENTS[0])
        await follower.receive(EVENTS[0])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follower.receive, EVENTS[1])
            for _ in range(2):
                await follower.line.until_answer()
            await follower.publish(EVENTS[1])
        assert not follower.errors
        assert follower.connections == 1


@pytest.mark.parametrize(("anyio_backend", "transport"), CLIENTS)
async def test_certificate_that_does_not_verify_is_final(transport: str, certificate: Path) -> None:
    errors: list[Exception] = []
    stranger = ssl.create_default_context()
    async with sse_starlette(certificate) as server, TRANSPORTS[transport](stranger) as chosen:
        source = EventSource(
            f"https://127.0.0.1:{server.port}/topic",
            transport=chosen,
            on_error=lambda error, _: errors.append(error),
        )
        async with source:
            with anyio.fail_after(60), pytest.raises(CertificateError) as caught:
                await anext(source)
    assert errors == []
    assert "certificate" in str(caught.value)
