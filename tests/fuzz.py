"""A coverage-guided fuzzer: the compiled decoders must do what those in Python do.

    uv run --with atheris python tests/fuzz.py -max_total_time=60

The input chooses the decoder, its options and the cuts, and is the stream or a choice of TOKENS.
Both classes get the same, and must come to the same outcome and the same state. Halfway, each
decoder is replaced by its own copy, or by one of the other class with its state.
"""

from __future__ import annotations

import sys
from typing import Any

import atheris

with atheris.instrument_imports(include=["sseparse"]):
    from sseparse import EventTooLarge, LineDecoder, SSEDecoder

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


def outcome(
    cls: Any, other: Any, slots: list[str], options: dict[str, Any], chunks: list[bytes]
) -> Any:
    decoder = cls(**options)
    items: list[Any] = []
    error = None
    try:
        for number, chunk in enumerate(chunks):
            items += decoder.feed(chunk)
            if number == len(chunks) // 2:
                before = decoder
                decoder = (other if len(chunks) % 2 else cls)()
                decoder.__setstate__(before.__getstate__())
        items += decoder.close()
    except EventTooLarge as too_large:
        items += too_large.events
        error = str(too_large)
    state = dict(zip(slots, decoder.__getstate__(), strict=True))
    if state["_over"]:
        # They do not matter any more, and one class has not looked at the last bytes.
        for name in ("_after_cr", "_tail", "_plain") if error else ("_after_cr",):
            state.pop(name, None)
    properties = ("last_event_id", "reconnection_time", "incomplete")
    return items, error, state, [getattr(decoder, name, None) for name in properties]


def test_one_input(data: bytes) -> None:
    choice, limit, *sizes = data[:8].ljust(8, b"\0")
    bits = [bool(choice & 1 << bit) for bit in range(7)]
    cls: Any
    options: dict[str, Any]
    if bits[6]:
        cls = LineDecoder
        options = {"_text": bits[0], "max_line_size": LIMITS[limit % len(LIMITS)]}
    else:
        cls = SSEDecoder
        options = {
            "comments": bits[0],
            "unknown_fields": bits[1],
            "dispatch_at_eof": bits[2],
            "last_event_id": "known" if bits[3] else "",
            "blocks": bits[5],
            "max_event_size": LIMITS[limit % len(LIMITS)],
        }
    stream = data[8:]
    if bits[4]:
        stream = b"".join(TOKENS[byte % len(TOKENS)] for byte in stream)
    chunks: list[bytes] = []
    while stream:
        # One chunk in six is empty.
        size = (sizes[len(chunks) % 6] or 1) if len(chunks) % 6 else 0
        chunks.append(stream[:size])
        stream = stream[size:]
    other = cls.__wrapped__
    compiled = outcome(cls, other, other.__slots__, options, chunks)
    python = outcome(other, cls, other.__slots__, options, chunks)
    assert compiled == python, f"\n{options}\n{chunks}\n{compiled}\n{python}"


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
