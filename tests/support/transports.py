"""The transports over HTTP that the fault matrix runs on: a new one is an entry in LIBRARIES."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest

from sseparse.transports import Transport
from sseparse.transports.aiohttp import AiohttpTransport
from sseparse.transports.httpx2 import HTTPX2Transport
from sseparse.transports.sync_httpx2 import SyncHTTPX2Transport
from tests.support.threads import Threaded


@dataclass(frozen=True)
class Library:
    """An HTTP library, and the transport over it.

    make: the transport's class; it takes a client, or else `proxy` and `trust_env`.
    argument: the name of the client among its arguments.
    client: makes a client, an async context manager, of `headers`, `auth`, which is a
        user and a password, and `timeout`, in seconds.
    is_closed: whether a client is closed.
    own: the class of the clients that the transport makes for itself, or None.
    loops: those on which it runs.
    reads_ahead: whether it takes from the socket what nobody has asked for yet.
    """

    make: Callable[..., Transport]
    argument: str
    client: Callable[..., Any]
    is_closed: Callable[[Any], bool]
    own: type[Any] | None
    loops: tuple[str, ...] = ("asyncio", "trio")
    reads_ahead: bool = False


def _aiohttp_session(
    headers: dict[str, str] | None = None,
    auth: tuple[str, str] | None = None,
    timeout: float | None = None,
) -> aiohttp.ClientSession:
    fields = headers or {}
    if auth is not None:
        fields = fields | {"authorization": aiohttp.encode_basic_auth(*auth)}
    return aiohttp.ClientSession(headers=fields, timeout=aiohttp.ClientTimeout(total=timeout))


@asynccontextmanager
async def _sync_client(**options: Any) -> AsyncIterator[httpx2.Client]:
    with httpx2.Client(trust_env=False, **options) as client:
        yield client


LIBRARIES = {
    "httpx2": Library(
        HTTPX2Transport,
        "client",
        lambda **options: httpx2.AsyncClient(trust_env=False, **options),
        lambda client: client.is_closed,
        httpx2.AsyncClient,
    ),
    "httpx": Library(
        HTTPX2Transport,
        "client",
        lambda **options: httpx.AsyncClient(trust_env=False, **options),
        lambda client: client.is_closed,
        None,
    ),
    "aiohttp": Library(
        AiohttpTransport,
        "session",
        _aiohttp_session,
        lambda session: session.closed,
        aiohttp.ClientSession,
        loops=("asyncio",),
        reads_ahead=True,
    ),
    # That for threads, driven by a loop.
    "sync-httpx2": Library(
        lambda *args, **options: Threaded(SyncHTTPX2Transport(*args, **options)),
        "client",
        _sync_client,
        lambda client: client.is_closed,
        httpx2.Client,
        loops=("asyncio",),
    ),
}

# Parametrizes `anyio_backend` and `library`.
HTTP_TRANSPORTS = [
    pytest.param(
        loop,
        library,
        id=f"{name}-{loop}",
        # httpx leaves this one suspended where a request is cut.
        marks=pytest.mark.filterwarnings("ignore:Async generator 'httpx._content:ResourceWarning"),
    )
    for name, library in LIBRARIES.items()
    for loop in library.loops
]


def record_own_clients(library: Library, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list of the clients that the transport makes for itself from now on."""
    clients: list[Any] = []
    if library.own is not None:
        make = library.own.__init__

        def record(self: Any, *args: Any, **options: Any) -> None:
            make(self, *args, **options)
            clients.append(self)

        monkeypatch.setattr(library.own, "__init__", record)
    return clients
