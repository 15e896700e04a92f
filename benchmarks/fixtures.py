"""Named event streams, modelled on real ones, each with the events that are in it.

All are ASCII, which favours the parsers that decode a whole chunk before they split it. An
expected event is written down beside its bytes and never comes from a parser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

from sseparse import ServerSentEvent

# What one write of a server has, and the event in it, or None for a comment.
Write = tuple[bytes, ServerSentEvent | None]

TEXT = "Why did the parser stop ? It saw a blank line , and had nothing more to say ."


@dataclass(frozen=True)
class Fixture:
    """A stream: what its server writes at once, the events, and how to cut it.

    chunkings: "event" for a chunk per write, or the size of a chunk in bytes, in digits.
    """

    name: str
    writes: Sequence[bytes]
    expected: Sequence[ServerSentEvent]
    chunkings: Sequence[str]

    def chunks(self, chunking: str) -> list[bytes]:
        """Return the stream cut by one of the `chunkings`."""
        if chunking == "event":
            return list(self.writes)
        size = int(chunking)
        body = b"".join(self.writes)
        return [body[start : start + size] for start in range(0, len(body), size)]


def _fixture(
    stream: Callable[[], Iterator[Write]], chunkings: Sequence[str] = ("event", "1024", "65536")
) -> Fixture:
    writes, events = zip(*stream(), strict=True)
    expected = tuple(event for event in events if event is not None)
    return Fixture(stream.__name__, writes, expected, chunkings)


def _write(data: str, event: str = "") -> Write:
    if not event:
        return f"data: {data}\n\n".encode(), ServerSentEvent(data=data)
    return f"event: {event}\ndata: {data}\n\n".encode(), ServerSentEvent(event, data)


def _tokens(count: int) -> Iterator[str]:
    return (f" {word}" for word in islice(cycle(TEXT.split()), count))


def openai() -> Iterator[Write]:
    """Chat completion chunks: no types, a line of some 250 bytes for each token."""
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
    for token in _tokens(996):
        yield chunk(f'{{"content":"{token}"}}')
    yield chunk("{}", '"stop"')
    usage = '{"prompt_tokens":12,"completion_tokens":996,"total_tokens":1008}'
    yield _write(f'{head},"choices":[],"usage":{usage}}}')
    yield _write("[DONE]")


def darkai() -> Iterator[Write]:
    """Small events, some 60 bytes each, where the cost per event shows."""
    for token in _tokens(2999):
        yield _write(f'{{"event":"text-chunk","data":{{"text":"{token}"}}}}')
    yield _write('{"event":"stream-end"}')


def anthropic() -> Iterator[Write]:
    """Messages: each event has a type, and some a padding of spaces, which belong to the data."""
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
    for i, token in enumerate(_tokens(1494)):
        yield _write(
            '{"type":"content_block_delta","index":0,'
            f'"delta":{{"type":"text_delta","text":"{token}"}}{" " * (i % 16)}}}',
            "content_block_delta",
        )
    yield _write('{"type":"content_block_stop","index":0  }', "content_block_stop")
    yield _write(
        '{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
        '"usage":{"output_tokens":1494}}',
        "message_delta",
    )
    yield _write('{"type":"message_stop"     }', "message_stop")


def multiline() -> Iterator[Write]:
    """The state of a job, as indented JSON: an ID, a type, and 24 data lines an event."""
    for step in range(1, 301):
        lines = ["{", f'  "step": {step},', '  "tasks": [']
        lines += [f'    {{"name": "task-{task}", "done": {step * task}}},' for task in range(19)]
        lines += ["  ]", "}"]
        fields = "".join(f"data: {line}\n" for line in lines)
        event = ServerSentEvent("snapshot", "\n".join(lines), id=str(step))
        yield f"id: {step}\nevent: snapshot\n{fields}\n".encode(), event


def heartbeat() -> Iterator[Write]:
    """A slow model behind OpenRouter: nine comments, each with its blank line, to an event."""
    for token in _tokens(500):
        for _ in range(9):
            yield b": OPENROUTER PROCESSING\n\n", None
        yield _write(
            '{"id":"gen-1740000000-aBcDeFgHiJkLmNoPqRsT","model":"openai/gpt-4o-mini",'
            '"object":"chat.completion.chunk","created":1740000000,"choices":[{"index":0,'
            f'"delta":{{"role":"assistant","content":"{token}"}},"finish_reason":null}}]}}'
        )


def drip() -> Iterator[Write]:
    """One line of 256 KiB in tiny chunks, where a parser that copies its buffer is quadratic."""
    head, tail = '{"type":"image","b64_json":"', '"}'
    length = 256 * 1024 - len("data: " + head + tail)
    yield _write(head + "".join(islice(cycle("iVBORw0KGgoAAAANSUhEUg"), length)) + tail)


FIXTURES = (
    _fixture(openai),
    _fixture(darkai),
    _fixture(anthropic),
    _fixture(multiline),
    _fixture(heartbeat),
    _fixture(drip, chunkings=("4",)),
)
