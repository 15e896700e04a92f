"""Which rules of the event stream each parser breaks, by the cases of this project's own tests.

A case counts where a parser without options can show it: by its events. Rule 10 is shown by an
event after the `retry`, if the parser's events tell the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sseparse import ServerSentEvent

from .peers import Peer
from .runs import show

RULES = {
    "1": "invalid UTF-8 becomes U+FFFD",
    "2": "one byte order mark is stripped",
    "3": "lines end at CR, LF and CRLF alone",
    "4": "a cut character eats no line end",
    "5": "comments, the first colon, one space",
    "6": "names are compared literally",
    "7": "event",
    "8": "data",
    "9": "id",
    "10": "retry",
    "11": "dispatch at a blank line",
    "13": "nothing is dispatched at the end",
}


def cases(*, with_retry: bool) -> Iterator[tuple[str, bytes, list[ServerSentEvent]]]:
    """Yield the cases that a parser can show: name, stream, events."""
    from tests.support.rules import CASES  # here, because it needs what tests need

    for case in CASES:
        if case.options or case.rule.partition(":")[0] not in RULES:
            continue
        stream, events = case.stream, case.items
        if "reconnection_time" in case.state and not events:
            if not (with_retry and stream.endswith(b"\n")):
                continue
            stream += b"data\n\n"
            events = [ServerSentEvent(retry=case.state["reconnection_time"])]
        yield case.rule, stream, events if with_retry else [replace(e, retry=None) for e in events]


def conformance(peer: Peer) -> dict[str, Any]:
    """Return how many cases there were, and those that the parser breaks, with what it got.

    Each stream comes whole, and byte by byte.
    """
    count = 0
    broken = {}
    for rule, stream, expected in cases(with_retry=peer.has_retry):
        count += 1
        for cut, chunks in (
            ("", [stream]),
            (", byte by byte", [stream[i : i + 1] for i in range(len(stream))]),
        ):
            try:
                events = [peer.read(event) for event in peer.parse(chunks)]
            except Exception as error:
                broken[rule + cut] = f"raised {type(error).__name__}"
                break
            if events != expected:
                broken[rule + cut] = ", ".join(map(show, events)) or "nothing"
                break
    return {"cases": count, "broken": broken}
