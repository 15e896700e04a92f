"""llmock, a server that speaks as the chat services do and fails where a test tells it to.

Run as a program, this module is that server: it writes its port, and ends when its input does.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from importlib.util import find_spec
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any, Literal, TypeAlias

import anyio
import pytest

# A tool that the model calls: its name and the arguments.
Call: TypeAlias = tuple[str, Mapping[str, Any]]

# What can happen to a stream: lost, ended early as if it were complete, silent for some time, or
# with an event whose JSON is cut in half.
Fault: TypeAlias = Literal["disconnect", "truncate", "stall", "malformed"]

# What the base_url of each service's backend ends with.
Service: TypeAlias = Literal["openai", "anthropic", "gemini", "cohere"]
PATHS: dict[Service, str] = {
    "openai": "/v1",
    "anthropic": "/anthropic",
    "gemini": "/gemini/v1beta",
    "cohere": "/cohere",
}


@dataclass(frozen=True)
class LLMock:
    """A server that runs; what a test tells it is for the next request, once, in this order."""

    port: int

    def url(self, service: Service) -> str:
        return f"http://127.0.0.1:{self.port}{PATHS[service]}"

    def reply(self, text: str, *calls: Call) -> None:
        """Say `text`, a word in each event, then call tools."""
        tools = [{"name": name, "arguments": arguments} for name, arguments in calls]
        self._next("reply", text=text, tool_calls=tools)

    def fail(
        self, status: int, *, retry_after: float | None = None, message: str | None = None
    ) -> None:
        """Refuse; with 429, 503, 504 and 529, Retry-After is a second where nothing is said."""
        self._next("fail", status=status, retry_after=retry_after, message=message)

    def interrupt(self, fault: Fault, *, after: int, seconds: float = 30) -> None:
        """Let this happen after so many events; nothing does if the stream has no more."""
        self._next("stream_fault", kind=fault, after_chunks=after, stall_seconds=seconds)

    async def requests(self) -> list[dict[str, Any]]:
        """Return what it was asked, and how that ended: body, status, fault, completed, ..."""
        # It answers when all replies have ended, at most 2 seconds later, and for that the
        # client's side must run on.
        answer = await anyio.to_thread.run_sync(self._ask, "GET", "/requests")
        requests: list[dict[str, Any]] = answer["requests"]
        return requests

    def reset(self) -> None:
        """Forget what it was told and asked."""
        self._ask("POST", "/reset")

    def _next(self, behavior: str, /, **fields: Any) -> None:
        self._ask("POST", "/scenario", {"behaviors": [{"type": behavior, **fields}]})

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request(method, f"/_llmock{path}", json.dumps(body))
            response = connection.getresponse()
            answer = json.load(response)
        assert response.status < 300, answer
        return answer


@pytest.fixture(scope="session")
def llmock_server() -> Iterator[LLMock]:
    """Run it as a process: its sockets, warnings and garbage are none of the tests'."""
    if find_spec("llmock") is None:
        pytest.skip("llmock is not installed")
    command = [sys.executable, "-m", __name__]
    folder = Path(__file__).parents[2]
    with Popen(command, stdin=PIPE, stdout=PIPE, cwd=folder, text=True) as process:
        assert process.stdout is not None
        yield LLMock(int(process.stdout.readline()))


# The plugin that llmock has for pytest calls its fixtures the same. These take their place.
@pytest.fixture
def llmock(llmock_server: LLMock) -> LLMock:
    llmock_server.reset()
    return llmock_server


def main() -> None:
    """Serve until the input ends."""
    from llmock.testing import LLMockServer

    server = LLMockServer().start()
    sys.stdout.write(f"{server.port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    # Its own way to stop waits for replies that are delayed.
    os._exit(0)


if __name__ == "__main__":
    main()
