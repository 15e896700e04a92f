"""Ollama's protocol, for tests of the command line: the smallest of the backends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.support.servers import Server, head

START = head(200, "connection: close", content_type="application/x-ndjson")


def line(item: Mapping[str, object]) -> bytes:
    return json.dumps(item).encode() + b"\n"


def ollama(*items: Mapping[str, object]) -> bytes:
    """A response with these lines."""
    return START + b"".join(map(line, items))


def reply(text: str, reason: str = "stop") -> bytes:
    """A response with this text."""
    return ollama({"message": {"content": text}}, {"done": True, "done_reason": reason})


def base_url(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}"


def talk(server: Server) -> list[str]:
    """The arguments that choose the server."""
    return ["--backend", "ollama", "--base-url", base_url(server)]


def sent(server: Server, request: int = -1) -> list[Any]:
    """The messages of a request."""
    messages: list[Any] = json.loads(server.requests[request].partition(b"\r\n\r\n")[2])["messages"]
    return messages
