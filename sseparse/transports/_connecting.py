"""Connecting from a thread: the addresses of a host race, and an abort ends it."""

from __future__ import annotations

import math
import os
import socket
from collections import deque
from collections.abc import Callable
from errno import EINPROGRESS, EWOULDBLOCK
from itertools import zip_longest
from queue import Empty, SimpleQueue
from selectors import EVENT_WRITE, DefaultSelector
from threading import Thread
from time import monotonic
from typing import Any, TypeAlias, cast

# Seconds between two attempts to connect (RFC 8305, 5 "Connection Attempts").
_STAGGER = 0.25

# Poll interval of `is_aborted`, in seconds.
_POLL = 0.05

# An item of socket.getaddrinfo.
_Address: TypeAlias = tuple[Any, Any, int, str, Any]


def connect(
    host: str, port: int, timeout: float | None, is_aborted: Callable[[], bool]
) -> socket.socket:
    """Return a socket that is connected to the first address of a host that answers.

    timeout: seconds for all of it, looking up the name included, or None for no limit.
    is_aborted: called at least 20 times a second.

    Raises TimeoutError; OSError where all addresses fail, or none is found; and
    ConnectionAbortedError.

    RFC 8305 "Happy Eyeballs Version 2".
    """
    deadline = math.inf if timeout is None else monotonic() + timeout

    def next_timeout() -> float:
        """Return the longest wait in seconds.

        Raises ConnectionAbortedError and TimeoutError.
        """
        if is_aborted():
            raise ConnectionAbortedError("closed while connecting")
        left = deadline - monotonic()
        if left <= 0:
            raise TimeoutError
        return min(left, _POLL)

    return _race(_look_up(host, port, next_timeout), next_timeout)


def _look_up(host: str, port: int, next_timeout: Callable[[], float]) -> list[_Address]:
    results: SimpleQueue[list[_Address] | Exception] = SimpleQueue()

    def look_up() -> None:
        try:
            results.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:
            results.put(error)

    # In a thread that may outlive this call, because nothing interrupts a resolver.
    Thread(target=look_up, name="sseparse: getaddrinfo", daemon=True).start()
    while True:
        try:
            result = results.get(timeout=next_timeout())
        except Empty:
            continue
        if isinstance(result, Exception):
            raise result
        return result


def _race(addresses: list[_Address], next_timeout: Callable[[], float]) -> socket.socket:
    waiting = deque(_alternating(addresses))
    failure = 0
    next_start = -math.inf
    with DefaultSelector() as selector:
        try:
            while waiting or selector.get_map():
                if waiting and (monotonic() >= next_start or not selector.get_map()):
                    next_start = monotonic() + _STAGGER
                    *kind, _, address = waiting.popleft()
                    try:
                        connecting = socket.socket(*kind)
                    except OSError as error:  # no such family here
                        failure = failure or error.errno or 0
                        continue
                    selector.register(connecting, EVENT_WRITE)
                    connecting.setblocking(False)
                    code = connecting.connect_ex(address)
                    if code not in (0, EINPROGRESS, EWOULDBLOCK):
                        selector.unregister(connecting)
                        connecting.close()
                        failure = failure or code
                        continue
                for key, _ in selector.select(next_timeout()):
                    connected = cast("socket.socket", key.fileobj)
                    code = connected.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    selector.unregister(connected)
                    if code == 0:
                        connected.setblocking(True)
                        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        return connected
                    connected.close()
                    failure = failure or code
        finally:
            for key in [*selector.get_map().values()]:
                cast("socket.socket", key.fileobj).close()
    raise OSError(failure, os.strerror(failure))


def _alternating(addresses: list[_Address]) -> list[_Address]:
    """Return the addresses with the families in turn (RFC 8305, 4 "Sorting Addresses")."""
    first = [address for address in addresses if address[0] == addresses[0][0]]
    others = [address for address in addresses if address[0] != addresses[0][0]]
    return [address for pair in zip_longest(first, others) for address in pair if address]
