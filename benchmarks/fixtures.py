"""Named streams, modelled on real ones, each with its events.

The expected events are written beside the bytes. They never come from a parser.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

from sseparse import ServerSentEvent

# The bytes of one write of a server, and the event in them or None.
Write = tuple[bytes, ServerSentEvent | None]

TEXT = "Why did the parser stop ? It saw a blank line , and had nothing more to say ."
WORLD_TEXT = "Warum hörte der Parser auf ? 因为 他 看到 一个 空行 。 Παράξενο — 🎉 👩‍💻 !"


@dataclass(frozen=True)
class Fixture:
    """A stream, its events, and ways to cut it into chunks.

    writes: the writes of its server.
    expected: the events, the values of NDJSON, or the lines.
    chunkings: "event" (one chunk per write), a chunk size in bytes such as "1024", or "whole".
    """

    name: str
    writes: Sequence[bytes]
    expected: Sequence[Any]
    chunkings: Sequence[str]

    @property
    def count(self) -> int:
        """The number of events; of writes, if there are no events."""
        return len(self.expected) or len(self.writes)

    @property
    def texts(self) -> list[str]:
        """The data of each event; the lines, if the stream has lines."""
        return [line if isinstance(line, str) else line.data for line in self.expected]

    def chunks(self, chunking: str) -> list[bytes]:
        """Return the stream, cut by one of its `chunkings`."""
        if chunking == "event":
            return list(self.writes)
        body = b"".join(self.writes)
        size = len(body) if chunking == "whole" else int(chunking)
        return [body[start : start + size] for start in range(0, len(body), size)]


def _fixture(
    stream: Callable[[], Iterator[Write]], chunkings: Sequence[str] = ("event", "1024", "65536")
) -> Fixture:
    writes, events = zip(*stream(), strict=True)
    expected = tuple(event for event in events if event is not None)
    return Fixture(stream.__name__.replace("_", "-"), writes, expected, chunkings)


def _write(data: str, event: str = "") -> Write:
    if not event:
        return f"data: {data}\n\n".encode(), ServerSentEvent(data=data)
    return f"event: {event}\ndata: {data}\n\n".encode(), ServerSentEvent(event, data)


def _tokens(count: int, text: str = TEXT) -> Iterator[str]:
    return (f" {word}" for word in islice(cycle(text.split()), count))


def reply_text(tokens: int) -> str:
    """Return the text of a reply of so many tokens: the same for each service."""
    return "".join(_tokens(tokens))


def openai(tokens: int = 996) -> Iterator[Write]:
    """Chat completion chunks: no types, one line of about 250 bytes per token."""
    head = (
        '{"id":"chatcmpl-B7xKq2mVdT5nYw0RzJc9LfUe3HsGa","object":"chat.completion.chunk",'
        '"created":1740000000,"model":"gpt-4o-2024-08-06","service_tier":"default",'
        '"system_fingerprint":"fp_0123456789"'
    )

    def chunk(delta: str, finish_reason: str = "null") -> Write:
        return _write(
            f'{head},"choices":[{{"index":0,"delta":{delta},"logprobs":null,'
            f'"finish_reason":{finish_reason}}}],"usage":null}}'
        )

    yield chunk('{"role":"assistant","content":"","refusal":null}')
    for token in _tokens(tokens):
        yield chunk(f'{{"content":"{token}"}}')
    yield chunk("{}", '"stop"')
    usage = f'{{"prompt_tokens":12,"completion_tokens":{tokens},"total_tokens":{12 + tokens}}}'
    yield _write(f'{head},"choices":[],"usage":{usage}}}')
    yield _write("[DONE]")


def darkai(tokens: int = 2999) -> Iterator[Write]:
    """Small events of about 60 bytes: the cost per event dominates."""
    for token in _tokens(tokens):
        yield _write(f'{{"event":"text-chunk","data":{{"text":"{token}"}}}}')
    yield _write('{"event":"stream-end"}')


def anthropic(tokens: int = 1494) -> Iterator[Write]:
    """Messages: events with types; some data is padded with spaces."""
    yield _write(
        '{"type":"message_start","message":{"id":"msg_01ABcdEFghIJklMNopQRstUV","type":"message",'
        '"role":"assistant","model":"claude-sonnet-4-5","content":[],"stop_reason":null,'
        '"usage":{"input_tokens":14,"output_tokens":1}}}',
        "message_start",
    )
    yield _write(
        '{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}   }',
        "content_block_start",
    )
    yield _write('{"type": "ping"}', "ping")
    for i, token in enumerate(_tokens(tokens)):
        yield _write(
            '{"type":"content_block_delta","index":0,'
            f'"delta":{{"type":"text_delta","text":"{token}"}}{" " * (i % 16)}}}',
            "content_block_delta",
        )
    yield _write('{"type":"content_block_stop","index":0  }', "content_block_stop")
    yield _write(
        '{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
        f'"usage":{{"output_tokens":{tokens}}}}}',
        "message_delta",
    )
    yield _write('{"type":"message_stop"     }', "message_stop")


def gemini(tokens: int = 1000) -> Iterator[Write]:
    """Gemini with `alt=sse`: CRLF line ends, about 330 bytes per token, usage in each event."""
    for number, token in enumerate(_tokens(tokens), start=1):
        finish = '"finishReason":"STOP",' if number == tokens else ""
        write, event = _write(
            f'{{"candidates":[{{"content":{{"parts":[{{"text":"{token}"}}],"role":"model"}},'
            f'{finish}"index":0}}],"usageMetadata":{{"promptTokenCount":12,'
            f'"candidatesTokenCount":{number},"totalTokenCount":{12 + number},'
            '"promptTokensDetails":[{"modality":"TEXT","tokenCount":12}]},'
            '"modelVersion":"gemini-2.5-flash","responseId":"aBcDeFgHiJkLmNoPqRsTuV"}'
        )
        yield write.replace(b"\n", b"\r\n"), event


def identified() -> Iterator[Write]:
    """A resumable feed of changes: an ID, a type and 1 KiB of data per event."""
    for number in range(1, 501):
        head, tail = f'{{"title":"Page {number}","comment":"', '"}'
        data = head + "".join(islice(cycle(TEXT), 1024 - len(head + tail))) + tail
        event = ServerSentEvent("change", data, id=f"1740000000-{number}")
        yield f"id: {event.id}\nevent: change\ndata: {data}\n\n".encode(), event


def heartbeat() -> Iterator[Write]:
    """A slow model behind OpenRouter: nine comments, each with a blank line, per event."""
    for token in _tokens(500):
        for _ in range(9):
            yield b": OPENROUTER PROCESSING\n\n", None
        yield _write(
            '{"id":"gen-1740000000-aBcDeFgHiJkLmNoPqRsT","model":"openai/gpt-4o-mini",'
            '"object":"chat.completion.chunk","created":1740000000,"choices":[{"index":0,'
            f'"delta":{{"role":"assistant","content":"{token}"}},"finish_reason":null}}]}}'
        )


def crlf() -> Iterator[Write]:
    """The stream anthropic, with CRLF line ends."""
    for write, event in anthropic():
        yield write.replace(b"\n", b"\r\n"), event


def cr() -> Iterator[Write]:
    """The stream anthropic, with CR line ends."""
    for write, event in anthropic():
        yield write.replace(b"\n", b"\r"), event


def multibyte() -> Iterator[Write]:
    """Small events, mostly not ASCII: one to four bytes per character."""
    for token in _tokens(3000, WORLD_TEXT):
        yield _write(f'{{"event":"text-chunk","data":{{"text":"{token}"}}}}')


def large_multiline() -> Iterator[Write]:
    """The state of a job as indented JSON: an ID, a type and 600 data lines per event."""
    for step in range(1, 31):
        lines = ["{", f'  "step": {step},', '  "tasks": [']
        lines += [f'    {{"name": "task-{task}", "done": {step * task}}},' for task in range(595)]
        lines += ["  ]", "}"]
        fields = "".join(f"data: {line}\n" for line in lines)
        event = ServerSentEvent("snapshot", "\n".join(lines), id=str(step))
        yield f"id: {step}\nevent: snapshot\n{fields}\n".encode(), event


def drip() -> Iterator[Write]:
    """One line of 256 KiB in tiny chunks: quadratic for a parser that copies its buffer."""
    head, tail = '{"type":"image","b64_json":"', '"}'
    length = 256 * 1024 - len("data: " + head + tail)
    yield _write(head + "".join(islice(cycle("iVBORw0KGgoAAAANSUhEUg"), length)) + tail)


def invalid_lines() -> Iterator[Write]:
    """A broken proxy: four invalid lines before the data of each event."""
    for number, token in enumerate(_tokens(2000)):
        write, event = _write(f'{{"text":"{token}"}}')
        noise = f"error: upstream {number}\nDATA: no\nretry: soon\nx-request: 0123456789abcdef\n"
        yield noise.encode() + write, event


def idle() -> Iterator[Write]:
    """Only comments, no events. Its times are per comment."""
    for _ in range(5000):
        yield b": ping - 2025-01-01 00:00:00+00:00\n\n", None


DARKAI = _fixture(darkai)
FIXTURES = (
    _fixture(openai),
    DARKAI,
    _fixture(anthropic),
    _fixture(identified),
    _fixture(heartbeat),
    _fixture(crlf),
    _fixture(cr),
    _fixture(multibyte),
    _fixture(large_multiline),
    _fixture(drip, chunkings=("4",)),
    _fixture(invalid_lines),
    _fixture(idle),
)


def _ndjson(fixture: Fixture) -> Fixture:
    """Return the payloads of `fixture` as NDJSON, one per line."""
    payloads = [event.data for event in fixture.expected if event.data != "[DONE]"]
    writes = [f"{payload}\n".encode() for payload in payloads]
    values = [json.loads(payload) for payload in payloads]
    return Fixture(f"{fixture.name}.ndjson", writes, values, ("event", "1024", "65536", "whole"))


NDJSON_FIXTURES = tuple(_ndjson(fixture) for fixture in FIXTURES[:3])


def _watch() -> Fixture:
    """Return the watch of Kubernetes pods: a JSON object of about 1 KiB per line."""
    lines = []
    for number in range(1, 1001):
        name = f"web-6d4b75cb6d-{number % 50:05}"
        metadata = {
            "name": name,
            "namespace": "production",
            "uid": f"9f2c4b1e-3a57-4d0c-8e61-{number:012}",
            "resourceVersion": str(184467 + number),
            "creationTimestamp": "2025-01-01T00:00:00Z",
            "labels": {"app": "web", "pod-template-hash": "6d4b75cb6d"},
            "annotations": {"note": TEXT, "owner": WORLD_TEXT},
        }
        image = "registry.example/web@sha256:" + "0123456789abcdef" * 4
        container = {
            "name": "web",
            "image": image,
            "ports": [{"containerPort": 8080, "protocol": "TCP"}],
            "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}},
        }
        status = {
            "phase": "Running",
            "conditions": [{"type": kind, "status": "True"} for kind in ("Ready", "PodScheduled")],
            "podIP": f"10.0.0.{number % 256}",
            "startTime": "2025-01-01T00:00:00Z",
        }
        pod = {"kind": "Pod", "apiVersion": "v1", "metadata": metadata}
        pod |= {"spec": {"containers": [container]}, "status": status}
        event = {"type": "MODIFIED", "object": pod}
        lines.append(json.dumps(event, separators=(",", ":"), ensure_ascii=False))
    writes = [f"{line}\n".encode() for line in lines]
    return Fixture("watch", writes, lines, ("event", "65536"))


WATCH = _watch()
