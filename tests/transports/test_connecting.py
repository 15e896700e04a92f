"""Connecting from a thread: the addresses of a host race, and nothing is left open."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from errno import EAFNOSUPPORT, ECONNREFUSED
from typing import Any

import pytest

from sseparse.transports import _connecting
from sseparse.transports._connecting import connect
from tests.support.servers import open_sockets

IPV4 = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
NO_FAMILY = (socket.AF_PPPOX, socket.SOCK_STREAM, 6, "")


@pytest.fixture(autouse=True)
def no_socket_is_left() -> Iterator[None]:
    before = open_sockets()
    yield
    assert open_sockets() == before


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def refusing() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


Resolve = Callable[..., None]


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Make a name mean these addresses."""

    def resolve(*addresses: Any) -> None:
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: list(addresses))

    return resolve


def never() -> bool:
    return False


def test_address_that_answers_is_connected(listener: int) -> None:
    with connect("127.0.0.1", listener, 60, never) as connected:
        assert connected.getpeername() == ("127.0.0.1", listener)
        assert connected.gettimeout() is None
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_address_that_refuses_is_followed_by_the_next(
    resolve: Resolve, listener: int, refusing: int
) -> None:
    resolve((*NO_FAMILY, ()), (*IPV4, ("127.0.0.1", refusing)), (*IPV4, ("127.0.0.1", listener)))
    with connect("somewhere", 80, None, never) as connected:
        assert connected.getpeername() == ("127.0.0.1", listener)


def test_address_that_is_silent_does_not_hold_up_the_next(
    resolve: Resolve, listener: int, full_backlog: int
) -> None:
    resolve((*IPV4, ("127.0.0.1", full_backlog)), (*IPV4, ("127.0.0.1", listener)))
    with connect("somewhere", 80, 60, never) as connected:
        assert connected.getpeername() == ("127.0.0.1", listener)


@pytest.mark.parametrize("first", [ECONNREFUSED, EAFNOSUPPORT])
def test_error_is_that_of_the_first_address(resolve: Resolve, refusing: int, first: int) -> None:
    refused, none = (*IPV4, ("127.0.0.1", refusing)), (*NO_FAMILY, ())
    resolve(*((refused, none) if first == ECONNREFUSED else (none, refused)))
    with pytest.raises(OSError, match=r"\[Errno") as caught:
        connect("somewhere", 80, 60, never)
    assert caught.value.errno == first


def test_address_that_cannot_be_reached_fails_at_once(resolve: Resolve) -> None:
    resolve((*IPV4, ("255.255.255.255", 80)))
    with pytest.raises(OSError, match=r"\[Errno"):
        connect("somewhere", 80, 60, never)


def test_families_take_turns() -> None:
    addresses: list[Any] = [(6, 1), (6, 2), (6, 3), (4, 1)]
    alternating: list[Any] = _connecting._alternating(addresses)
    assert alternating == [(6, 1), (4, 1), (6, 2), (6, 3)]


def test_timeout_holds_for_all_addresses_together(resolve: Resolve, full_backlog: int) -> None:
    resolve(*[(*IPV4, ("127.0.0.1", full_backlog))] * 10)
    with pytest.raises(TimeoutError):
        connect("somewhere", 80, 0.6, never)


def test_name_that_is_unknown_is_an_error() -> None:
    with pytest.raises(OSError, match="Errno"):
        connect("no-such-host.invalid", 80, 60, never)


@pytest.mark.parametrize("aborted", [False, True])
def test_resolver_that_hangs_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch, aborted: bool
) -> None:
    released = threading.Event()

    def hang(*_: Any, **__: Any) -> list[Any]:
        assert released.wait(60)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    start = time.monotonic()
    expected = ConnectionAbortedError if aborted else TimeoutError
    with pytest.raises(expected):
        connect("somewhere", 80, 0.1, lambda: aborted)
    assert time.monotonic() - start < 60
    released.set()
