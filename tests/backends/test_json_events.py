"""JSON in events, and errors in that JSON."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from sseparse import InvalidJSON, ServerSentEvent, UnknownField
from sseparse_backends import BackendError
from sseparse_backends._json_events import EventData, parse_event


class Chunk(EventData):
    text: str | None = None


decode = msgspec.json.Decoder(Chunk).decode


@pytest.mark.parametrize(
    ("event", "chunk"),
    [
        (ServerSentEvent(data='{"text": "Hi"}'), Chunk(text="Hi")),
        (ServerSentEvent("delta", '{"type": "delta", "text": "Hi"}  '), Chunk("delta", text="Hi")),
        (ServerSentEvent(data='{"error": null, "other": [{}]}'), Chunk()),
    ],
)
def test_event_is_its_json(event: ServerSentEvent, chunk: Chunk) -> None:
    assert parse_event(event, decode) == chunk


@pytest.mark.parametrize(
    "event",
    [
        ServerSentEvent(data=""),
        ServerSentEvent(data=" \n"),
        ServerSentEvent("ping", "ping"),
        ServerSentEvent("ping", ""),
        ServerSentEvent("ping", "[1]"),
        UnknownField("seed", "1", "seed: 1"),
        UnknownField("Error", "1", "Error: 1"),
    ],
)
def test_event_without_json_that_counts_is_none(event: ServerSentEvent | UnknownField) -> None:
    assert parse_event(event, decode) is None


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        (ServerSentEvent(data='{"error": {"code": 429}}'), {"code": 429}),
        (ServerSentEvent(data='{"text": "Hi", "error": "overloaded"}'), "overloaded"),
        (ServerSentEvent("delta", '{"error": ""}'), ""),
        (ServerSentEvent(data='{"type": "error", "code": 1}'), {"type": "error", "code": 1}),
        (ServerSentEvent(data='{"object": "error", "code": 1}'), {"object": "error", "code": 1}),
        (ServerSentEvent("error", '{"type": "error", "error": {"code": 429}}'), {"code": 429}),
        (ServerSentEvent("error", '{"error": null, "code": 429}'), {"error": None, "code": 429}),
        (ServerSentEvent("error", '{"code": 429}'), {"code": 429}),
        (ServerSentEvent("error", "[1]"), [1]),
        (ServerSentEvent("error", "overloaded"), "overloaded"),
        (ServerSentEvent("error", ""), ""),
        (ServerSentEvent("error", "[" * 100_000), "[" * 100_000),
        (UnknownField("error", '{"detail": "x", "error": {"code": 429}}', ""), {"code": 429}),
        (UnknownField("error", "overloaded", "error: overloaded"), "overloaded"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_error_is_a_backend_error_with_its_payload(
    event: ServerSentEvent | UnknownField, payload: Any
) -> None:
    with pytest.raises(BackendError) as caught:
        parse_event(event, decode, {"delta"})
    assert caught.value.payload == payload


@pytest.mark.parametrize(
    "event",
    [
        ServerSentEvent(data="ping"),
        ServerSentEvent(data="[1]"),
        ServerSentEvent(data='{"text": "Hi"'),
        ServerSentEvent(data='{"text": 7}'),
        ServerSentEvent(data='{"text": ' + "[" * 100_000),
        ServerSentEvent("delta", ' {"text": 7}'),
    ],
    ids=lambda event: repr(event)[:60],
)
def test_data_that_is_not_what_it_should_be_is_invalid_json(event: ServerSentEvent) -> None:
    with pytest.raises(InvalidJSON, match=r"^invalid JSON in an event: ") as caught:
        parse_event(event, decode, {"delta"})
    assert caught.value.line == event.data.encode()[:256]
    assert caught.value.data == event.data.encode()
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    "data",
    [
        "text",
        "[1]",
        "[1",
        "{starting} up",
        '{"text": 7, "error": false}',
        '{"text": 7}',
        '{"type": 5, "text": []}',
        '{"text": 7, "error": 1}',
    ],
)
def test_event_of_a_type_that_is_not_known_may_have_anything_in_it(data: str) -> None:
    assert parse_event(ServerSentEvent("progress", data), decode) is None


@pytest.mark.parametrize(
    "data",
    [
        '{"error": "overloaded"}',
        '{"type": "progress", "error": "overloaded"}',
        '{"type": "error", "code": 1}',
    ],
)
def test_error_is_one_whatever_the_type_of_its_event(data: str) -> None:
    with pytest.raises(BackendError):
        parse_event(ServerSentEvent("progress", data), decode)


@pytest.mark.parametrize("data", ['{"text": "Hi"', ' { "text": \\', '{"a":' * 100_000], ids=len)
def test_damaged_object_is_invalid_json_whatever_the_type_of_its_event(data: str) -> None:
    with pytest.raises(InvalidJSON):
        parse_event(ServerSentEvent("progress", data), decode)


@pytest.mark.parametrize("error", [None, False, ""])
def test_event_of_a_type_that_is_not_known_counts_if_it_can_be_read(error: Any) -> None:
    event = ServerSentEvent("progress", json.dumps({"text": "Hi", "error": error}))
    assert parse_event(event, decode) == Chunk(text="Hi", error=error)


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (r"\ud83d", "\N{REPLACEMENT CHARACTER}"),
        (r"\uDE00!", "\N{REPLACEMENT CHARACTER}!"),
        (r"\ud83d\ud83d\ude00\n", "\N{REPLACEMENT CHARACTER}😀\n"),
        (r"\ude00\ud83d", "\N{REPLACEMENT CHARACTER}" * 2),
        (r"\\ud83d \ud83d", "\\ud83d \N{REPLACEMENT CHARACTER}"),
        (r"\\\ud83d \"", '\\\N{REPLACEMENT CHARACTER} "'),
    ],
)
def test_half_a_surrogate_pair_is_a_replacement_character(escaped: str, text: str) -> None:
    assert parse_event(ServerSentEvent(data=f'{{"text": "{escaped}"}}'), decode) == Chunk(text=text)


@pytest.mark.parametrize(
    "data",
    [
        r'{"text": "\ud8"."}',
        r'{"text": "\ud83d\u12"}',
        r'{"text": "\uDxyz"}',
        r'{"text": "\UD83D"}',
    ],
)
def test_what_is_no_escape_at_all_is_damage(data: str) -> None:
    with pytest.raises(InvalidJSON):
        parse_event(ServerSentEvent(data=data), decode)
