"""A server that streams replies of several services: `python -m benchmarks.server`.

It prints its port and serves until its standard input ends. The model of a request, made by
`reply_model`, names the pace and the length of the reply.
"""

from __future__ import annotations

import asyncio
import re
import select
import selectors
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import chain
from pathlib import Path

from .fixtures import Write, anthropic, darkai, gemini, openai

# The fixture of each service, by a part of the path of its requests.
FIXTURES: dict[bytes, Callable[[int], Iterator[Write]]] = {
    b"/chat/completions": openai,
    b"/messages": anthropic,
    b":streamGenerateContent": gemini,
    b"/darkai": darkai,
}
# A request that is not answered: each waiting reply sends its next event.
NEXT = b"POST /next HTTP/1.1\r\ncontent-length: 0\r\n\r\n"

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_MODEL = re.compile(rb"(bulk|paced|waiting)-(\d+)us-(\d+)-tokens")

# A dict, to remove one of thousands fast.
_waiting: dict[_Connection, None] = {}


def reply_model(pace: str, tokens: int, pause: int = 0) -> str:
    """Return a model that makes the server reply with so many tokens.

    pace: "bulk" (all events in one write), "paced" (one event in a write, each after a pause) or
        "waiting" (one event in a write, each after a NEXT).
    pause: microseconds.
    """
    return f"{pace}-{pause}us-{tokens}-tokens"


class _Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._request = b""

    def connection_lost(self, exc: Exception | None) -> None:
        _waiting.pop(self, None)

    def data_received(self, data: bytes) -> None:
        self._request += data
        head, end, body = self._request.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not end or length is None or len(body) < int(length[1]):
            return
        path = head.split(b" ", 2)[1]
        model = _MODEL.search(self._request)
        self._request = b""
        if model is None:
            for connection in _waiting:
                connection._write_next()
            return
        service = next(part for part in FIXTURES if part in path)
        self._reply(service, model[1], int(model[2]) / 1e6, int(model[3]))

    def _reply(self, service: bytes, pace: bytes, pause: float, tokens: int) -> None:
        if pace == b"bulk":
            self._transport.write(_whole(service, tokens))
            return
        self._transport.write(_HEAD)
        self._chunks = iter(_chunks(service, tokens))
        if pace == b"waiting":
            _waiting[self] = None
        else:
            self._pacing = asyncio.create_task(self._write_paced(pause))

    def _write_next(self) -> None:
        self._transport.write(next(self._chunks, b""))

    async def _write_paced(self, pause: float) -> None:
        for chunk in self._chunks:
            # Not by a schedule: a server that catches up would send several events at once.
            await asyncio.sleep(pause)
            if self._transport.is_closing():
                return
            self._transport.write(chunk)


@cache
def _chunks(service: bytes, tokens: int) -> list[bytes]:
    """Return a chunk of the chunked transfer coding for each event. The last one ends the body."""
    writes = [write for write, _ in FIXTURES[service](tokens)]
    chunks = [b"%x\r\n%b\r\n" % (len(write), write) for write in writes]
    return [*chunks[:-1], chunks[-1] + b"0\r\n\r\n"]


@cache
def _whole(service: bytes, tokens: int) -> bytes:
    return b"".join(chain([_HEAD], _chunks(service, tokens)))


class _FineSelector(selectors.DefaultSelector):
    """A selector with timeouts in microseconds: epoll rounds them up to milliseconds."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout and hasattr(self, "fileno"):
            select.select([self], [], [], timeout)
            timeout = 0
        return super().select(timeout)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def raise_file_limit() -> None:
    """Allow as many open sockets as Linux does."""
    if sys.platform == "linux":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextmanager
def serving() -> Generator[int, None, None]:
    """Run the server in a process of its own and yield its port."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.server"],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.stdin.close()


def main() -> None:
    """Serve on a free port of this machine until standard input ends."""
    raise_file_limit()
    loop = asyncio.SelectorEventLoop(_FineSelector())
    threading.Thread(target=loop.run_until_complete, args=(_serve(),), daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
