"""Reconnecting, to see whether a server resumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sseparse._display import one_line
from sseparse.transports import Request, SyncTransport

from ._findings import Finding
from ._reading import read_url
from ._stream import Stream


def resume(
    request: Request, transport: SyncTransport, before: Stream, seconds: float
) -> tuple[str, Sequence[Finding]]:
    """Connect again as a client that has lost the last event; return the outcome in words.

    The ID before the last one is sent, or the only one.
    """
    last, sent = before.last_event_id, before.previous_event_id or before.last_event_id
    if not sent:
        return "not tried: no event has an ID", []
    fields = {n: v for n, v in request.headers.items() if n.lower() != "last-event-id"}
    fields["last-event-id"] = sent
    after = Stream()
    try:
        head = read_url(replace(request, headers=fields), transport, after, min(seconds, 5.0))
    except (ConnectionError, TimeoutError) as error:
        return _not_resumed(f"a reconnection failed: {error}", "accept connections again")
    if head is None:
        return _not_resumed("a reconnection got no response", "answer it as the first request")
    if head.status == 204:
        return "the server says that the stream is over (204)", []
    if head.status != 200:
        return _not_resumed(
            f"a reconnection after {sent!r} got status {head.status}",
            "answer 200, or 204 if the stream is over",
        )
    first = after.first_event_id
    remedy = "send all events after the ID in the header field Last-Event-ID"
    if first and before.has_id(first) and (sent == last or first != last):
        return _not_resumed(
            f"a reconnection after {sent!r} repeats events from {first!r} on", remedy
        )
    if sent != last and first != last:
        rest = f"goes on with {first!r}" if first else "brings no event with an ID"
        return _not_resumed(f"a reconnection after {sent!r} {rest}: {last!r} is lost", remedy)
    if not first:
        return f"no event with an ID came after {sent!r}", []
    if sent == last:
        return f"after {sent!r}, the only ID, comes {first!r}; events between may be lost", []
    return f"resumes: after {sent!r} comes {first!r}", []


def _not_resumed(message: str, remedy: str) -> tuple[str, Sequence[Finding]]:
    return "does not resume", [Finding("resumption", True, one_line(message), remedy)]
