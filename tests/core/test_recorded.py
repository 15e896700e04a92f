"""Recorded bodies of real services, compared with the values that another reader found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sseparse import Comment, NDJSONDecoder, ServerSentEvent, SSEDecoder, UnknownField
from tests.support.recorded import RECORDED

CHUNK_SIZES = [1, 7, 1000, 10**9]


def bodies(suffix: str) -> list[Any]:
    paths = sorted(RECORDED.glob(f"*{suffix}"))
    absent = pytest.mark.skip(reason="there are no recorded streams")
    return [pytest.param(path, id=path.name) for path in paths] or [
        pytest.param(RECORDED, marks=absent, id="none")
    ]


def read(path: Path) -> tuple[bytes, dict[str, Any]]:
    expected = RECORDED / "expected" / f"{path.name}.json"
    return path.read_bytes(), json.loads(expected.read_bytes())


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


@pytest.mark.parametrize("size", CHUNK_SIZES, ids="chunks of {}".format)
@pytest.mark.parametrize("path", bodies(".sse"))
def test_event_stream(decoder_class: type[SSEDecoder[Any]], path: Path, size: int) -> None:
    body, expected = read(path)
    decoder = decoder_class(comments=True, unknown_fields=True)
    items = [item for chunk in cut(body, size) for item in decoder.feed(chunk)] + decoder.close()

    events = [item for item in items if isinstance(item, ServerSentEvent)]
    assert [[event.event, event.data, event.id] for event in events] == expected["events"]
    assert [item.text for item in items if isinstance(item, Comment)] == [
        text.removeprefix(" ") for text in expected["comments"]
    ]
    assert [item.name for item in items if isinstance(item, UnknownField)] == (
        expected["unknown_fields"]
    )
    assert [event.retry for event in events if event.retry is not None] == expected["retry"]
    assert decoder.incomplete == bool(
        expected["unterminated_tail"] or expected["pending_event_at_eof"]
    )


@pytest.mark.parametrize("size", CHUNK_SIZES, ids="chunks of {}".format)
@pytest.mark.parametrize("path", bodies(".ndjson"))
def test_json_lines(path: Path, size: int) -> None:
    body, expected = read(path)
    decoder = NDJSONDecoder(loads=values_of_line)
    lines = [line for chunk in cut(body, size) for line in decoder.feed(chunk)] + decoder.close()
    assert [value for line in lines for value in line] == expected["values"]


def values_of_line(text: str) -> list[Any]:
    """Return the values of a line: some old services put no line end between them."""
    values: list[Any] = []
    while text := text.lstrip():
        value, end = json.JSONDecoder().raw_decode(text)
        values.append(value)
        text = text[end:]
    return values
