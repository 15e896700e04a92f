"""A coverage-guided fuzzer: the compiled SSEDecoder must do what the one in Python does.

    uv run --with atheris python tests/fuzz.py -max_total_time=60

The input chooses the options and the cuts, and is the stream or a choice of TOKENS. Both
decoders get the same, and must come to the same outcome and the same state. Halfway, each is
replaced by its own copy, or by one of the other class with its state.
"""

from __future__ import annotations

import sys
from typing import Any

import atheris

with atheris.instrument_imports(include=["sseparse"]):
    from sseparse import EventTooLarge, _speedups, _sse

LIMITS = (None, 1, 2, 3, 7, 20, 100, 1000)

# A fuzzer that does not see into the compiled part would hardly find these.
TEXTS = [
    "\x7f",
    "é",
    "\xff",
    "\u0100",
    "漢",
    "\uffff",
    "\U00010000",
    "🎉",
    "\U00100000",
    "\U0010ffff",
]
TOKENS = [
    *(b"data: ", b"data:", b"data", b"event: ", b"id: ", b"retry: ", b": ", b":", b"x", b" ", b"7"),
    *(b"\n", b"\r", b"\r\n", b"\n\n", b"\0", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xf0\x9f\x8e"),
    *(b"\xff", b"x" * 8, b"x" * 50, b"data: x\n\n"),
    *(text.encode() for text in TEXTS),
]


def outcome(cls: type[Any], other: type[Any], options: dict[str, Any], chunks: list[bytes]) -> Any:
    decoder = cls(**options)
    items: list[Any] = []
    try:
        for number, chunk in enumerate(chunks):
            items += decoder.feed(chunk)
            if number == len(chunks) // 2:
                before = decoder
                decoder = (other if len(chunks) % 2 else cls)()
                decoder.__setstate__(before.__getstate__())
        items += decoder.close()
    except EventTooLarge as error:
        items += [*error.events, str(error)]
    state = dict(zip(_sse.SSEDecoder.__slots__, decoder.__getstate__(), strict=True))
    if state["_over"]:
        # It does not matter any more, and one class has not looked at the last byte.
        del state["_after_cr"]
    return items, state, decoder.last_event_id, decoder.reconnection_time, decoder.incomplete


def test_one_input(data: bytes) -> None:
    choice, limit, *sizes = data[:8].ljust(8, b"\0")
    options = {
        "comments": bool(choice & 1),
        "unknown_fields": bool(choice & 2),
        "dispatch_at_eof": bool(choice & 4),
        "last_event_id": "known" if choice & 8 else "",
        "max_event_size": LIMITS[limit % len(LIMITS)],
    }
    stream = data[8:]
    if choice & 16:
        stream = b"".join(TOKENS[byte % len(TOKENS)] for byte in stream)
    chunks: list[bytes] = []
    while stream:
        # One chunk in six is empty.
        size = (sizes[len(chunks) % 6] or 1) if len(chunks) % 6 else 0
        chunks.append(stream[:size])
        stream = stream[size:]
    compiled = outcome(_speedups.SSEDecoder, _sse.SSEDecoder, options, chunks)
    python = outcome(_sse.SSEDecoder, _speedups.SSEDecoder, options, chunks)
    assert compiled == python, f"\n{options}\n{chunks}\n{compiled}\n{python}"


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
