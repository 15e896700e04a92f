"""Recorded replies of real services, if the folder with them exists."""

from __future__ import annotations

import csv
import json
from typing import Any, NamedTuple

import pytest

from sseparse_backends import BackendError, get_backend
from sseparse_backends.testing import check, receive
from tests.support.recorded import RECORDED


class Service(NamedTuple):
    backend: str
    content_type: str
    error: bytes


EVENTS = "text/event-stream"

# Per format of the manifest: backend, media type, and an error as the service reports it.
SERVICES = {
    "anthropic": Service(
        "anthropic",
        EVENTS,
        b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error"}}\n\n',
    ),
    "cohere-v2": Service(
        "cohere",
        EVENTS,
        b'data: {"type": "message-end", "delta": {"finish_reason": "ERROR"}}\n\n',
    ),
    "gemini": Service("gemini", EVENTS, b'data: {"error": {"code": 503}}\r\n\r\n'),
    "ollama-chat": Service("ollama", "application/x-ndjson", b'{"error": "overloaded"}\n'),
    "openai-chat": Service("openai", EVENTS, b'data: {"error": {"code": 503}}\n\n'),
    "openai-responses": Service(
        "openai-responses", EVENTS, b'event: error\ndata: {"type": "error", "code": "busy"}\n\n'
    ),
}

# Streams that end with a reported error.
FAILED = {"gpustack-2.sse", "groq-4.sse"}

# An old model sends a finish reason with each piece: a cut between two looks complete.
ALWAYS_FINISHED = "gemini-js-4.sse"


def replies() -> list[Any]:
    try:
        manifest = (RECORDED / "MANIFEST.tsv").read_text(encoding="utf-8")
    except FileNotFoundError:
        absent = pytest.mark.skip(reason="there are no recorded streams")
        return [pytest.param({}, marks=absent, id="none")]
    rows = csv.DictReader(manifest.split("\n"), dialect=csv.excel_tab, quoting=csv.QUOTE_NONE)
    return [
        pytest.param(row, id=row["file"])
        for row in rows
        # Gemini without alt=sse sends a JSON array, not an event stream.
        if row["payload_format"] in SERVICES and not row["file"].endswith(".json")
    ]


@pytest.mark.parametrize("row", replies())
def test_reply_has_its_text_however_it_is_cut(row: dict[str, str]) -> None:
    service = SERVICES[row["payload_format"]]
    body = (RECORDED / row["file"]).read_bytes()
    backend = get_backend(service.backend)
    text = json.loads(row["expected_text_json"])
    content_type = row["content_type"] or service.content_type
    if row["file"] == ALWAYS_FINISHED:
        for position in range(len(body)):
            chunks = [body[:position], body[position:]]
            assert receive(backend, chunks, content_type=content_type).text == text
        return
    # This many cuts take a quarter of a second.
    cuts = min(1000, 5_000_000 // len(body))
    check(
        backend,
        body,
        text=text,
        content_type=content_type,
        error=service.error,
        raises=BackendError if row["file"] in FAILED else None,
        every=len(body) // cuts + 1,
    )
