"""Rules of the event-stream format that each parser breaks, by the test cases of this project.

A case counts if a parser without options can show it in its events. Rule 10 is shown by an event
after the `retry` field, for parsers whose events report the reconnection time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sseparse import ServerSentEvent

from .peers import Peer
from .runs import show_all

RULES = {
    "1": "invalid UTF-8 becomes U+FFFD",
    "2": "one byte order mark is stripped",
    "3": "only CR, LF and CRLF end lines",
    "4": "a cut character hides no line end",
    "5": "comments, the first colon, one space",
    "6": "names are compared literally",
    "7": "event",
    "8": "data",
    "9": "id",
    "10": "retry",
    "11": "dispatch at a blank line",
    "13": "no dispatch at the end",
}


def cases(*, with_retry: bool) -> Iterator[tuple[str, bytes, list[ServerSentEvent]]]:
    """Yield the cases that a parser can show, as name, stream and events.

    with_retry: whether the parser's events report the reconnection time.
    """
    from tests.support.rules import CASES  # imported late: it needs the tests' dependencies

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


def mistake(peer: Peer, stream: bytes, expected: list[ServerSentEvent]) -> tuple[str, str] | None:
    """Return how a parser gets a stream wrong, or None.

    The stream is parsed as a whole, then byte by byte. The result is the cut, "" for the whole, and
    the parser's events.
    """
    for cut, chunks in (
        ("", [stream]),
        (", byte by byte", [stream[i : i + 1] for i in range(len(stream))]),
    ):
        try:
            events = [peer.read(event) for event in peer.parse(chunks)]
        except Exception as error:
            return cut, f"raised {type(error).__name__}"
        if events != expected:
            return cut, show_all(events)
    return None


def broken_rules(peer: Peer) -> dict[str, Any]:
    """Return the number of cases, and the parser's wrong events by case."""
    count = 0
    broken = {}
    for rule, stream, expected in cases(with_retry=peer.has_retry):
        count += 1
        if wrong := mistake(peer, stream, expected):
            cut, events = wrong
            broken[rule + cut] = events
    return {"cases": count, "broken": broken}
