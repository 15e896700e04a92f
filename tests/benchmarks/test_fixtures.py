"""The benchmark's streams: their events, and their chunks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from benchmarks import fixtures
from benchmarks.fixtures import FIXTURES, NDJSON_FIXTURES, WATCH, Fixture, Write, reply_text
from sseparse import LineDecoder, NDJSONDecoder, ServerSentEvent, SSEDecoder
from sseparse_backends import Anthropic, Backend, DarkAI, Finish, Gemini, OpenAI, Text

# The number of events of each stream, and some of the events by position.
OPENAI = (
    '{"id":"chatcmpl-B7xKq2mVdT5nYw0RzJc9LfUe3HsGa","object":"chat.completion.chunk",'
    '"created":1740000000,"model":"gpt-4o-2024-08-06","service_tier":"default",'
    '"system_fingerprint":"fp_0123456789","choices":[{"index":0,"delta":%s,"logprobs":null,'
    '"finish_reason":null}],"usage":null}'
)
OPENROUTER = (
    '{"id":"gen-1740000000-aBcDeFgHiJkLmNoPqRsT","model":"openai/gpt-4o-mini",'
    '"object":"chat.completion.chunk","created":1740000000,"choices":[{"index":0,'
    '"delta":{"role":"assistant","content":"%s"},"finish_reason":null}]}'
)
DARKAI = '{"event":"text-chunk","data":{"text":"%s"}}'
DELTA = '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%s"}%s}'
MESSAGES = {
    1: ServerSentEvent(
        "content_block_start",
        '{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}   }',
    ),
    2: ServerSentEvent("ping", '{"type": "ping"}'),
    3: ServerSentEvent("content_block_delta", DELTA % (" Why", "")),
    4: ServerSentEvent("content_block_delta", DELTA % (" did", " ")),
    5: ServerSentEvent("content_block_delta", DELTA % (" the", "  ")),
    -1: ServerSentEvent("message_stop", '{"type":"message_stop"     }'),
}
EVENTS: dict[str, tuple[int, dict[int, ServerSentEvent]]] = {
    "openai": (
        1000,
        {
            0: ServerSentEvent(data=OPENAI % '{"role":"assistant","content":"","refusal":null}'),
            1: ServerSentEvent(data=OPENAI % '{"content":" Why"}'),
            2: ServerSentEvent(data=OPENAI % '{"content":" did"}'),
            -1: ServerSentEvent(data="[DONE]"),
        },
    ),
    "darkai": (
        3000,
        {
            0: ServerSentEvent(data=DARKAI % " Why"),
            1: ServerSentEvent(data=DARKAI % " did"),
            -1: ServerSentEvent(data='{"event":"stream-end"}'),
        },
    ),
    "anthropic": (1500, MESSAGES),
    "identified": (500, {}),
    "heartbeat": (
        500,
        {
            0: ServerSentEvent(data=OPENROUTER % " Why"),
            1: ServerSentEvent(data=OPENROUTER % " did"),
            -1: ServerSentEvent(data=OPENROUTER % " ?"),
        },
    ),
    "crlf": (1500, MESSAGES),
    "cr": (1500, MESSAGES),
    "multibyte": (
        3000,
        {
            0: ServerSentEvent(data=DARKAI % " Warum"),
            1: ServerSentEvent(data=DARKAI % " hörte"),
            6: ServerSentEvent(data=DARKAI % " 因为"),
            14: ServerSentEvent(data=DARKAI % " 🎉"),
            15: ServerSentEvent(data=DARKAI % " 👩\u200d💻"),
        },
    ),
    "large-multiline": (30, {}),
    "drip": (1, {}),
    "invalid-lines": (
        2000,
        {0: ServerSentEvent(data='{"text":" Why"}'), 1: ServerSentEvent(data='{"text":" did"}')},
    ),
    "idle": (0, {}),
}

CUT_FIXTURES = [
    pytest.param(fixture, chunking, id=f"{fixture.name}-{chunking}")
    for fixture in (*FIXTURES, *NDJSON_FIXTURES, WATCH)
    for chunking in fixture.chunkings
]


def named(name: str) -> Fixture:
    return next(fixture for fixture in FIXTURES if fixture.name == name)


def body(name: str) -> bytes:
    return b"".join(named(name).writes)


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture.name)
def test_expected_events_are_the_ones_written_down_here(fixture: Fixture) -> None:
    count, events = EVENTS[fixture.name]
    assert len(fixture.expected) == count
    assert {i: fixture.expected[i] for i in events} == events


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture.name)
def test_decoder_yields_the_expected_events(fixture: Fixture) -> None:
    for chunking in fixture.chunkings:
        decoder = SSEDecoder()
        events = [event for chunk in fixture.chunks(chunking) for event in decoder.feed(chunk)]
        assert events + decoder.close() == list(fixture.expected)
        assert not decoder.incomplete


@pytest.mark.parametrize(("fixture", "chunking"), CUT_FIXTURES)
def test_chunks_are_the_whole_stream_cut_as_named(fixture: Fixture, chunking: str) -> None:
    chunks = fixture.chunks(chunking)
    assert b"".join(chunks) == b"".join(fixture.writes)
    if chunking == "event":
        assert all(chunk[-1:] in b"\r\n" for chunk in chunks)
        assert len(chunks) >= len(fixture.expected)
    elif chunking == "whole":
        assert len(chunks) == 1
    else:
        assert {len(chunk) for chunk in chunks[:-1]} == {int(chunking)}


def test_openai_and_darkai_have_plain_data_lines() -> None:
    assert named("openai").writes[-1] == b"data: [DONE]\n\n"
    assert named("darkai").writes[-1] == b'data: {"event":"stream-end"}\n\n'


def test_anthropic_has_types() -> None:
    assert named("anthropic").writes[2] == b'event: ping\ndata: {"type": "ping"}\n\n'


def test_identified_has_an_id_a_type_and_1_kib_of_data() -> None:
    fixture = named("identified")
    assert fixture.writes[1].startswith(b'id: 1740000000-2\nevent: change\ndata: {"title":"Page 2"')
    event = fixture.expected[1]
    assert (event.event, event.id, len(event.data)) == ("change", "1740000000-2", 1024)
    assert event.json()["comment"].startswith("Why did the parser stop")


def test_heartbeat_has_nine_comments_to_an_event() -> None:
    assert body("heartbeat").startswith(b": OPENROUTER PROCESSING\n\n" * 9 + b'data: {"id":"gen-')


@pytest.mark.parametrize(("name", "end"), [("crlf", b"\r\n"), ("cr", b"\r")])
def test_line_ends_are_of_one_kind(name: str, end: bytes) -> None:
    assert body(name).replace(end, b"\n") == body("anthropic")
    assert named(name).writes[2] == end.join([b"event: ping", b'data: {"type": "ping"}', b"", b""])


def test_multibyte_has_characters_of_every_length_and_cuts_inside_of_them() -> None:
    text = body("multibyte").decode()
    assert {len(character.encode()) for character in text} == {1, 2, 3, 4}
    assert any(chunk[0] & 0xC0 == 0x80 for chunk in named("multibyte").chunks("1024"))


def test_large_multiline_has_600_lines_an_event() -> None:
    fixture = named("large-multiline")
    lines = fixture.expected[1].data.split("\n")
    assert len(lines) == 600
    assert lines[:4] == ["{", '  "step": 2,', '  "tasks": [', '    {"name": "task-0", "done": 0},']
    assert lines[-3:] == ['    {"name": "task-594", "done": 1188},', "  ]", "}"]
    assert (fixture.expected[1].event, fixture.expected[1].id) == ("snapshot", "2")
    start = b'id: 2\nevent: snapshot\ndata: {\ndata:   "step": 2,\ndata:   "tasks": [\n'
    assert fixture.writes[1].startswith(start)


def test_drip_is_one_line_of_256_kib_in_four_byte_chunks() -> None:
    line = body("drip").removesuffix(b"\n\n")
    assert len(line) == 256 * 1024
    assert line.startswith(b'data: {"type":"image","b64_json":"iVBORw0KGgo')
    assert line.count(b"\n") == 0
    assert named("drip").chunkings == ("4",)
    assert named("drip").expected[0].data.encode() == line.removeprefix(b"data: ")


def test_invalid_lines_are_none_that_mean_something() -> None:
    assert named("invalid-lines").writes[1] == (
        b"error: upstream 1\nDATA: no\nretry: soon\nx-request: 0123456789abcdef\n"
        b'data: {"text":" did"}\n\n'
    )


def test_idle_has_comments_alone_and_counts_them() -> None:
    assert body("idle") == b": ping - 2025-01-01 00:00:00+00:00\n\n" * 5000
    assert named("idle").count == 5000


@pytest.mark.parametrize("fixture", NDJSON_FIXTURES, ids=lambda fixture: fixture.name)
def test_ndjson_has_the_payloads_of_the_events(fixture: Fixture) -> None:
    events = named(fixture.name.removesuffix(".ndjson")).expected
    payloads = [event.data for event in events if event.data != "[DONE]"]
    assert b"".join(fixture.writes).decode().splitlines() == payloads
    assert [json.dumps(value) for value in fixture.expected] == [
        json.dumps(json.loads(payload)) for payload in payloads
    ]
    decoder = NDJSONDecoder()
    values = [value for chunk in fixture.chunks("1024") for value in decoder.feed(chunk)]
    assert values + decoder.close() == fixture.expected


def test_watch_has_a_pod_of_1_kib_on_each_line() -> None:
    decoder = LineDecoder()
    lines = [line for chunk in WATCH.chunks("65536") for line in decoder.feed(chunk)]
    assert [line.decode() for line in lines] == WATCH.texts == list(WATCH.expected)
    assert len(lines) == 1000
    assert all(900 < len(line) < 1100 for line in lines)
    event = json.loads(lines[1])
    assert (event["type"], event["object"]["kind"]) == ("MODIFIED", "Pod")
    assert event["object"]["metadata"]["name"] == "web-6d4b75cb6d-00002"


@pytest.mark.parametrize("tokens", [1, 40])
@pytest.mark.parametrize(
    ("backend", "stream"),
    [
        (OpenAI(api_key="none"), fixtures.openai),
        (Anthropic(api_key="none"), fixtures.anthropic),
        (Gemini(api_key="none"), fixtures.gemini),
        (DarkAI(), fixtures.darkai),
    ],
    ids=lambda argument: getattr(argument, "__name__", ""),
)
def test_reply_has_the_same_text_from_each_service(
    backend: Backend, stream: Callable[[int], Iterator[Write]], tokens: int
) -> None:
    writes, events = zip(*stream(tokens), strict=True)
    assert SSEDecoder().feed(b"".join(writes)) == [*events]
    reply = backend.reply("text/event-stream")
    deltas = [delta for event in events for delta in reply.interpret(event)] + [*reply.end()]
    assert "".join(delta.text for delta in deltas if isinstance(delta, Text)) == reply_text(tokens)
    assert isinstance(deltas[-1], Finish)
