"""Threads with decoders of their own, and threads that share them.

    python tests/threads.py --seconds 60

It needs sseparse alone, so that a CPython without the GIL or under ThreadSanitizer can run it. A
decoder of one thread must return the same items as without other threads. Chunks for a shared
decoder are mixed up: it may raise a ProtocolError, and nothing else.
"""

from __future__ import annotations

import argparse
import copy
import pickle
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from sseparse import (
    JSONSeqDecoder,
    JSONValuesDecoder,
    LineDecoder,
    NDJSONDecoder,
    PartialJSON,
    ProtocolError,
    SSEDecoder,
)

EVENTS = (
    "\ufeff: comment\nevent: a\nid: 1\nretry: 5\ndata: é漢🎉\ndata\n\n"
    "other: field\r\rdata: x\r\n\r\nid\n: comment\ndata: y\n\ndata: cut"
).encode() * 3
VALUES = b'{"a": [1, 2.5, null], "b": "\xc3\xa9"}\n[]\n"x"\n' * 5
SEQUENCE = b"".join(b"\x1e" + line for line in VALUES.splitlines(keepends=True))

DECODERS: dict[str, tuple[Callable[[], Any], bytes]] = {
    "events": (lambda: SSEDecoder(max_event_size=200), EVENTS),
    "all items": (lambda: SSEDecoder(comments=True, unknown_fields=True), EVENTS),
    "blocks": (lambda: SSEDecoder(blocks=True, comments=True, unknown_fields=True), EVENTS),
    "lines": (lambda: LineDecoder(max_line_size=200), EVENTS),
    "NDJSON": (NDJSONDecoder, VALUES),
    "JSON sequence": (JSONSeqDecoder, SEQUENCE),
    "JSON values": (JSONValuesDecoder, VALUES),
}
# Decoders with a compiled class, which threads may share.
COMPILED = ("events", "all items", "blocks", "lines")


def items_of(make: Callable[[], Any], stream: bytes, size: int) -> list[str]:
    """Return the items that a new decoder makes of chunks of this size."""
    decoder = make()
    items: list[Any] = []
    for start in range(0, len(stream), size):
        items += decoder.feed(stream[start : start + size])
    return [repr(item) for item in items + decoder.close()]


def partial_value(size: int) -> str:
    """Return the value that a new PartialJSON makes of chunks of this size."""
    partial = PartialJSON()
    stream = VALUES.split(b"\n")[0]
    for start in range(0, len(stream), size):
        partial.feed(stream[start : start + size])
        _ = partial.value
    return repr(partial.value)


def use_own(number: int, counts: Counter[str]) -> None:
    """Decode with decoders of this thread."""
    size = 1 + number % 50
    for name, (make, stream) in DECODERS.items():
        assert items_of(make, stream, size) == EXPECTED[name], name
    assert partial_value(size) == PARTIAL
    counts["own"] += 1


class Shared:
    """Decoders and items that all threads use at once."""

    def __init__(self) -> None:
        self._decoders = {name: DECODERS[name][0]() for name in COMPILED}
        self._items = SSEDecoder(comments=True, unknown_fields=True).feed(EVENTS)

    def use(self, number: int, counts: Counter[str]) -> None:
        """Feed, copy, pickle, close and reset the decoders, and use the items."""
        for name, decoder in self._decoders.items():
            stream = DECODERS[name][1]
            start = number * 7 % len(stream)
            try:
                for item in decoder.feed(stream[start : start + 1 + number % 90]):
                    repr(item)
                if number % 5 == 0:
                    copy.copy(decoder).feed(b"\n\n")
                if number % 7 == 0:
                    pickle.loads(pickle.dumps(decoder))
                if number % 11 == 0:
                    decoder.close()
                if number % 13 == 0 and isinstance(decoder, SSEDecoder):
                    decoder.reset()
            except ProtocolError:
                counts["refused"] += 1
                self._decoders[name] = DECODERS[name][0]()
            for attribute in ("last_event_id", "reconnection_time", "incomplete"):
                getattr(decoder, attribute, None)
        for item in self._items:
            assert item == copy.copy(item)
            hash(item)
            assert pickle.loads(pickle.dumps(item)) == item
        counts["shared"] += 1


EXPECTED = {name: items_of(make, stream, len(stream)) for name, (make, stream) in DECODERS.items()}
PARTIAL = partial_value(1000)


def main() -> None:
    """Run until the time is over, or exit with status 1 at the first mistake."""
    parser = argparse.ArgumentParser(prog="python tests/threads.py", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=8)
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    failures: list[BaseException] = []
    shared = Shared()
    end = time.monotonic() + options.seconds

    def run(seed: int) -> None:
        own: Counter[str] = Counter()
        number = seed
        try:
            while time.monotonic() < end and not failures:
                number += options.threads
                shared.use(number, own)
                use_own(number, own)
        except BaseException as failure:
            failures.append(failure)
            raise
        with lock:
            counts.update(own)

    lock = threading.Lock()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(options.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    has_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    compiled = hasattr(SSEDecoder, "__wrapped__")
    print(f"GIL: {has_gil}, compiled: {compiled}, rounds: {dict(counts)}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
