"""A coverage-guided fuzzer: the compiled SSEDecoder must do what the one in Python does.

    uv run --with atheris python tests/fuzz.py -max_total_time=60

The input chooses the options and the cuts, and is the stream. Both decoders get the same, and
must come to the same outcome and the same state; halfway, each is replaced by its own copy, or
by the other class going on from its state.
"""

from __future__ import annotations

import sys
from typing import Any

import atheris

with atheris.instrument_imports(include=["sseparse"]):
    from sseparse import EventTooLarge, _speedups, _sse

LIMITS = (None, 1, 2, 3, 7, 20, 100, 1000)


def outcome(cls: type[Any], other: type[Any], options: dict[str, Any], chunks: list[bytes]) -> Any:
    decoder = cls(**options)
    items: list[Any] = []
    try:
        for number, chunk in enumerate(chunks):
            items += decoder.feed(chunk)
            if number == len(chunks) // 2:
                state = decoder.__getstate__()
                decoder = (other if len(chunks) % 2 else cls)()
                decoder.__setstate__(state)
        items += decoder.close()
    except EventTooLarge as error:
        items += [*error.events, str(error)]
    state = decoder.__getstate__()
    # How the data lines are kept, and what an ended stream would have gone on with.
    state["_data"] = "\n".join([*state.pop("_data_blocks"), *state["_data"], ""])
    if state["_over"]:
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
