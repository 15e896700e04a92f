"""A coverage-guided fuzzer: any cut gives one outcome, and compiled code does what Python's does.

    uv run --group test --with atheris python tests/fuzz.py -max_total_time=60

The input chooses the decoder, its options and the cuts, and is the stream or a choice of TOKENS.
SSEDecoder and LineDecoder exist twice: both classes get the same chunks, and must come to the same
outcome and the same state. Halfway, each decoder is replaced by its own copy, or by one of the
other class with its state. Then the compiled one gets the stream cut in two, at each byte, and must
come to that outcome each time. The decoders of JSON get the stream in one chunk, and in many.

Each time that the number of inputs has doubled, it is printed with the number of streams decoded.
"""

from __future__ import annotations

import copy
import logging
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import atheris

with atheris.instrument_imports(include=["sseparse"]):
    from sseparse import (
        EventTooLarge,
        InvalidJSON,
        JSONSeqDecoder,
        JSONValuesDecoder,
        LineDecoder,
        NDJSONDecoder,
        PartialJSON,
        SSEDecoder,
    )

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
JSON_TOKENS = [
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b'"',
        b'"a"',
        b'"k":',
        b"\\",
        b'\\"',
        b"\\u00e9",
        b"\\ud83d",
    ),
    *(
        b"1",
        b"-",
        b"0",
        b".5",
        b"e9",
        b"true",
        b"null",
        b"nul",
        b"NaN",
        b" ",
        b"\t",
        b"\n",
        b"\r\n",
    ),
    *(b"\x1e", b"\x1e1\n", b'{"a":[1]}\n', b"\0", b"\xef\xbb\xbf", b"\xff", b"\xf0\x9f\x8e"),
    *(text.encode() for text in TEXTS),
]


def feed_all(
    decoder: Any, chunks: list[bytes], replaced: Callable[[Any], Any]
) -> tuple[Any, list[Any], str | None]:
    """Return the decoder after all chunks, its items and its error.

    replaced: returns the decoder that goes on halfway.
    """
    items: list[Any] = []
    try:
        for number, chunk in enumerate(chunks):
            items += decoder.feed(chunk)
            if number == len(chunks) // 2:
                decoder = replaced(decoder)
        items += decoder.close()
    except (EventTooLarge, InvalidJSON) as failure:
        return decoder, items + failure.events, repr(failure)
    return decoder, items, None


def outcome(
    cls: Any, other: Any, slots: list[str], options: dict[str, Any], chunks: list[bytes]
) -> Any:
    def with_its_state(before: Any) -> Any:
        decoder = (other if len(chunks) % 2 else cls)()
        decoder.__setstate__(before.__getstate__())
        return decoder

    decoder, items, error = feed_all(cls(**options), chunks, with_its_state)
    state = dict(zip(slots, decoder.__getstate__(), strict=True))
    if state["_over"]:
        # They do not matter any more, and one class has not looked at the last bytes.
        for name in ("_after_cr", "_tail", "_plain") if error else ("_after_cr",):
            state.pop(name, None)
    properties = ("last_event_id", "reconnection_time", "incomplete")
    return items, error, state, [getattr(decoder, name, None) for name in properties]


def expect_same_for_all_cuts(
    cls: Any, options: dict[str, Any], stream: bytes, expected: list[Any], error: str | None
) -> None:
    """Raise AssertionError if a cut in two changes the items or the error."""
    for at in range(len(stream) + 1):
        decoder = cls(**options)
        items: list[Any] = []
        try:
            items = decoder.feed(stream[:at])
            items += decoder.feed(stream[at:])
            items += decoder.close()
            failure = None
        except EventTooLarge as raised:
            items += raised.events
            failure = repr(raised)
        assert items == expected, f"\n{options}\n{stream!r} at {at}\n{items}\n{expected}"
        assert failure == error, f"\n{options}\n{stream!r} at {at}\n{failure}\n{error}"
    counts["streams"] += len(stream) + 1


def json_outcome(decoder: Any, chunks: list[bytes]) -> Any:
    decoder, items, error = feed_all(decoder, chunks, copy.copy)
    # By repr: NaN is not equal to itself, and 1 is equal to 1.0.
    return repr(items), error, decoder.skipped


def partial_outcome(chunks: list[bytes], options: dict[str, Any]) -> Any:
    json = PartialJSON(**options)
    try:
        for chunk in chunks:
            json.feed(chunk)
            repr(json.value)
    except InvalidJSON as failure:
        return repr(json.value), repr(failure)
    return repr(json.value), json.complete


def cut(stream: bytes, sizes: list[int]) -> list[bytes]:
    chunks: list[bytes] = []
    while stream:
        # One chunk in six is empty.
        place = len(chunks) % (len(sizes) + 1)
        size = sizes[place - 1] or 1 if place else 0
        chunks.append(stream[:size])
        stream = stream[size:]
    return chunks


def test_json(bits: list[bool], limit: int | None, more: int, chunks: list[bytes]) -> None:
    whole = [b"".join(chunks)]
    counts["streams"] += 2
    decoders: list[Callable[[], Any]] = [
        lambda: NDJSONDecoder(
            max_line_size=limit,
            errors="raise" if bits[2] else "return",
            blank_lines="skip" if more & 1 else "error",
            encoding_errors=("strict", "replace", None, "strict")[more >> 1 & 3],
        ),
        lambda: JSONSeqDecoder(max_text_size=limit, errors="skip" if bits[2] else "return"),
        lambda: JSONValuesDecoder(max_value_size=limit, unwrap_array=bits[2]),
    ]
    choice = bits[0] + 2 * bits[1]
    if choice < len(decoders):
        expected = json_outcome(decoders[choice](), whole)
        received = json_outcome(decoders[choice](), chunks)
    else:
        options = {"allow": ("strings", "numbers", "literals", "keys")} if bits[2] else {}
        expected, received = partial_outcome(whole, options), partial_outcome(chunks, options)
    assert received == expected, f"\n{choice} {limit}\n{chunks}\n{received}\n{expected}"


def test_one_input(data: bytes) -> None:
    counts["inputs"] += 1
    if counts["inputs"] & (counts["inputs"] - 1) == 0:
        sys.stderr.write(f"{dict(counts)}\n")
    choice, limit, more, *sizes = data[:8].ljust(8, b"\0")
    bits = [bool(choice & 1 << bit) for bit in range(8)]
    stream = data[8:]
    if bits[4]:
        tokens = JSON_TOKENS if bits[7] else TOKENS
        stream = b"".join(tokens[byte % len(tokens)] for byte in stream)
    chunks = cut(stream, sizes)
    if bits[7]:
        test_json(bits, LIMITS[limit % len(LIMITS)], more, chunks)
        return
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
    other = cls.__wrapped__
    compiled = outcome(cls, other, other.__slots__, options, chunks)
    python = outcome(other, cls, other.__slots__, options, chunks)
    assert compiled == python, f"\n{options}\n{chunks}\n{compiled}\n{python}"
    counts["streams"] += 2
    expect_same_for_all_cuts(cls, options, stream, *compiled[:2])


counts: Counter[str] = Counter()

if __name__ == "__main__":
    logging.disable()  # a skipped text is logged
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
