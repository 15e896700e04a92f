"""Recorded replies of real services, if the folder with them exists."""

from __future__ import annotations

import csv
import json
from collections.abc import Container, Iterator
from typing import Any, NamedTuple

import pytest

from sseparse import Decoder, ServerSentEvent
from sseparse_backends import BackendError, get_backend
from sseparse_backends.testing import check, receive
from tests.support.cuts import IS_QUICK
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
    # These cuts take a tenth of a second; those of a quick run a quarter of that.
    cuts = min(400, 2_000_000 // len(body)) // (4 if IS_QUICK else 1)
    check(
        backend,
        body,
        text=text,
        content_type=content_type,
        error=service.error,
        raises=BackendError if row["file"] in FAILED else None,
        every=len(body) // cuts + 1,
    )


# Containers that only say where a piece belongs.
PLACES = set(
    "candidates choices content content_block content_index delta index item item_id message "
    "output output_index part response summary_index".split()
)

# Fields of a stream, with all that is in them, that the messages need not have, and why.
LOST = {
    "anthropic": {
        # of the reply, not of its message: id, served_model, usage, Finish
        *("id", "model", "usage", "stop_reason", "stop_sequence", "stop_details"),
        *("type", "partial_json"),  # of events, and pieces of `input`
    },
    "cohere-v2": {
        *("id", "type", "finish_reason", "usage"),
        "logprobs",  # events() has them
    },
    "gemini": {
        *("finishReason", "usageMetadata", "modelVersion", "responseId"),
        # about the text, not of it: events() has them
        *("safetyRatings", "avgLogprobs", "promptFeedback", "createTime"),
    },
    "ollama-chat": {
        *("model", "created_at", "done", "done_reason"),
        *("total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration"),
        *("eval_count", "eval_duration"),
    },
    "openai-chat": {
        *("id", "object", "created", "model", "usage", "finish_reason", "native_finish_reason"),
        *("error", "stop_reason", "x_groq", "service_tier", "system_fingerprint", "provider"),
        # about the text, not of it: events() has them
        *("logprobs", "token_id", "seed", "p", "obfuscation", "citations", "search_results"),
        *("prompt_filter_results", "content_filter_results", "content_filter_offsets"),
        *("time_info", "text"),  # Together repeats the text beside the delta
    },
    "openai-responses": {"type", "sequence_number", "delta", "obfuscation", "logprobs", "response"},
}


def leaves(value: Any, lost: Container[str], name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value that is no container, with the name of its field, but the lost ones."""
    match value:
        case dict():
            for key, item in value.items():
                if key not in lost:
                    yield from leaves(item, lost, key)
        case list():
            for item in value:
                yield from leaves(item, lost, name)
        case _ if value not in (None, "") and name not in PLACES:
            yield name, value
        case _:
            pass


def values(decoder: Decoder[Any], body: bytes) -> Iterator[Any]:
    """Yield the JSON of each event."""
    for event in [*decoder.feed(body), *decoder.close()]:
        match event:
            case ServerSentEvent(data=data) if data.startswith("{"):
                value = json.loads(data)
            case value:
                pass
        # An item that is announced comes again when it is done, with final values.
        if isinstance(value, dict) and value.get("type") != "response.output_item.added":
            yield value


@pytest.mark.parametrize("row", replies())
def test_messages_lose_no_field(row: dict[str, str]) -> None:
    service = SERVICES[row["payload_format"]]
    body = (RECORDED / row["file"]).read_bytes()
    backend = get_backend(service.backend)
    content_type = row["content_type"] or service.content_type
    messages = list(receive(backend, [body], content_type=content_type).messages)
    kept = set(leaves(messages, ()))
    texts = " ".join(value for _, value in kept if isinstance(value, str))
    said = list(values(backend.reply(content_type).decoder, body))
    missing = set(leaves(said, LOST[row["payload_format"]])) - kept
    # A text came in pieces; the last event of a response encrypts reasoning anew.
    lost = {(name, value) for name, value in missing if str(value) not in texts}
    assert {name for name, _ in lost} <= {name for name, _ in kept} & {"encrypted_content", "id"}
