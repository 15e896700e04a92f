"""llmock: a server that speaks the chat services' protocols, with faults that a test configures.

Run as a program, this module starts the server: it prints its port and ends with its input.
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

# A tool call of the model: name and arguments.
Call: TypeAlias = tuple[str, Mapping[str, Any]]

# Faults of a stream: connection lost, clean end too early, silence, an event with half its JSON.
Fault: TypeAlias = Literal["disconnect", "truncate", "stall", "malformed"]

# The path of each service's base_url.
Service: TypeAlias = Literal["openai", "anthropic", "gemini", "cohere"]
PATHS: dict[Service, str] = {
    "openai": "/v1",
    "anthropic": "/anthropic",
    "gemini": "/gemini/v1beta",
    "cohere": "/cohere",
}


@dataclass(frozen=True)
class LLMock:
    """A running server. Each configured behaviour applies once, to the next request."""

    port: int

    def url(self, service: Service) -> str:
        return f"http://127.0.0.1:{self.port}{PATHS[service]}"

    def reply(self, text: str, *calls: Call) -> None:
        """Reply with `text`, one word per event, then with tool calls."""
        tools = [{"name": name, "arguments": arguments} for name, arguments in calls]
        self._next("reply", text=text, tool_calls=tools)

    def fail(
        self, status: int, *, retry_after: float | None = None, message: str | None = None
    ) -> None:
        """Refuse. Default of retry_after: one second with 429, 503, 504 and 529."""
        self._next("fail", status=status, retry_after=retry_after, message=message)

    def interrupt(self, fault: Fault, *, after: int, seconds: float = 30) -> None:
        """Cause a fault after this number of events."""
        self._next("stream_fault", kind=fault, after_chunks=after, stall_seconds=seconds)

    async def requests(self) -> list[dict[str, Any]]:
        """Return the requests and their outcomes: body, status, fault, completed, ..."""
        # In a thread: llmock answers once all replies have ended, for which the client must run.
        answer = await anyio.to_thread.run_sync(self._ask, "GET", "/requests")
        requests: list[dict[str, Any]] = answer["requests"]
        return requests

    def reset(self) -> None:
        """Forget behaviours and requests."""
        self._ask("POST", "/reset")

    def _next(self, behavior: str, /, **fields: Any) -> None:
        self._ask("POST", "/scenario", {"behaviors": [{"type": behavior, **fields}]})

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request(method, f"/_llmock{path}", json.dumps(body))
            response = connection.getresponse()
            answer = json.load(response)
        assert response.status < 300, answer
        return answer


@pytest.fixture(scope="session")
def llmock_server() -> Iterator[LLMock]:
    """Run llmock in a process, so that tests do not see its sockets and warnings."""
    if find_spec("llmock") is None:
        pytest.skip("llmock is not installed")
    command = [sys.executable, "-m", __name__]
    folder = Path(__file__).parents[2]
    with Popen(command, stdin=PIPE, stdout=PIPE, cwd=folder, text=True) as process:
        assert process.stdout is not None
        yield LLMock(int(process.stdout.readline()))


# llmock's own pytest plugin has fixtures of the same names, which these replace.
@pytest.fixture
def llmock(llmock_server: LLMock) -> LLMock:
    llmock_server.reset()
    return llmock_server


def main() -> None:
    """Serve until standard input ends."""
    from llmock.testing import LLMockServer

    server = LLMockServer().start()
    sys.stdout.write(f"{server.port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    # A regular stop waits for delayed replies.
    os._exit(0)


if __name__ == "__main__":
    main()
