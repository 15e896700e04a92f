"""Services that many prompts are sent to: in memory, and over a socket."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import anyio
from anyio.abc import SocketStream

from sseparse.transports import Request, Response
from sseparse.transports.memory import MemoryResponse, MemoryTransport
from tests.support.servers import LAST_CHUNK, Handler, Server, chunk, head, read_request

LINES = {"content-type": "application/x-ndjson"}
# Responses to a prompt: one for each attempt, the last again and again.
Answers: TypeAlias = Sequence[MemoryResponse | Exception]


def lines(*items: Mapping[str, Any]) -> bytes:
    return b"".join(json.dumps(item).encode() + b"\n" for item in items)


def complete_reply(text: str) -> MemoryResponse:
    return MemoryResponse([lines({"text": text}, {"usage": [3, 1]}, {"done": "stop"})], 200, LINES)


def busy(status: int = 429, **fields: str) -> MemoryResponse:
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    return MemoryResponse([b"busy"], status, {"content-type": "text/plain", **headers})


def cut(text: str) -> MemoryResponse:
    return MemoryResponse([lines({"text": text}), ConnectionError("cut")], 200, LINES)


class Service:
    """A transport that answers CHATTER's requests.

    answer: returns the answers to a prompt. Default: a complete reply, "re: " and the prompt.
    gates: events that the requests for a prompt wait for, by prompt.

    `sent` has the prompt of each request with the time; `open` counts the responses that are not
    closed, `most` is the greatest number of requests in flight.
    """

    def __init__(
        self,
        answer: Callable[[str], Answers] | None = None,
        gates: Mapping[str, anyio.Event] | None = None,
    ) -> None:
        self._gates = gates or {}
        self.sent: list[tuple[Any, float]] = []
        self.most = 0
        self.requests: list[Request] = []
        self._answer = answer or (lambda prompt: [complete_reply(f"re: {prompt}")])
        self._transports: dict[str, MemoryTransport] = {}

    @property
    def open(self) -> int:
        return sum(transport.open for transport in self._transports.values())

    async def send(self, request: Request) -> Response:
        prompt = json.loads(request.body)["messages"]
        key = prompt if isinstance(prompt, str) else json.dumps(prompt)
        if key not in self._transports:
            self._transports[key] = MemoryTransport(*self._answer(prompt))
        self.requests.append(request)
        self.sent.append((prompt, anyio.current_time()))
        if (gate := self._gates.get(key)) is not None:
            await gate.wait()
        response = await self._transports[key].send(request)
        self.most = max(self.most, self.open)
        return response


def ollama_reply(text: str) -> bytes:
    """A response of Ollama's."""
    body = lines(
        {"message": {"content": text}, "done": False},
        {"message": {}, "done": True, "prompt_eval_count": 3, "eval_count": 1},
    )
    fields = head(200, "transfer-encoding: chunked", content_type="application/x-ndjson")
    return fields + chunk(body) + LAST_CHUNK


def refusal(status: int, *fields: str) -> bytes:
    return head(status, "content-length: 4", *fields, content_type="text/plain") + b"busy"


def prompt_of(request: bytes) -> str:
    """The prompt of a request to Ollama."""
    return str(json.loads(request.partition(b"\r\n\r\n")[2])["messages"][-1]["content"])


def answering(answer: Callable[[str], bytes] = ollama_reply) -> Handler:
    """Answer all requests of a connection, as Ollama does: a handler for `serve`."""

    async def handle(connection: SocketStream, server: Server) -> None:
        while True:
            request = await read_request(connection)
            server.requests.append(request)
            await connection.send(answer(prompt_of(request)))

    return handle
