"""A service for clusters: it counts requests, and calls for a death after so many."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
from anyio.abc import SocketStream
from anyio.from_thread import start_blocking_portal

from sseparse_backends import Ollama
from tests.support.servers import Server, read_request, serve
from tests.support.services import ollama_reply, prompt_of

# Deaths of each kind.
KILLS = int(os.environ.get("SSEPARSE_CLUSTER_KILLS", "1"))
CONCURRENCY = 4
# Requests up to a death, at most.
MOST = 60


class CountingService:
    """Answers "re: " and the prompt, after a while."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.port = 0
        self.seconds = 0.01
        # Called in the thread of the server once so many further requests have come.
        self.left = 0
        self.kill: Callable[[], object] = lambda: None

    @property
    def backend(self) -> Ollama:
        return Ollama(base_url=f"http://127.0.0.1:{self.port}")

    async def handle(self, connection: SocketStream, server: Server) -> None:
        while True:
            prompt = prompt_of(await read_request(connection))
            self.requests[prompt] += 1
            self.left -= 1
            if self.left == 0:
                await anyio.to_thread.run_sync(self.kill)
            await anyio.sleep(self.seconds)
            await connection.send(ollama_reply(f"re: {prompt}"))


@contextmanager
def counting_service() -> Iterator[CountingService]:
    service = CountingService()
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serve(service.handle)) as server,
    ):
        service.port = server.port
        yield service


def texts(path: Path) -> dict[str | int, str]:
    """The texts of a file of outcomes without errors, by ID; each ID is there once."""
    outcomes = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert all(outcome["error"] is None for outcome in outcomes)
    found = {outcome["id"]: outcome["text"] for outcome in outcomes}
    assert len(found) == len(outcomes)
    return found


def expected(number: int) -> dict[int, str]:
    """The texts of the replies to so many prompts, each its position."""
    return {position: f"re: {position}" for position in range(number)}
