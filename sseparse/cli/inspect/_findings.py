"""The findings: each is a function over the head and the body of a response."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sseparse import decoder_for
from sseparse._display import page_words

from ._stream import LARGE_EVENT, Stream

# Seconds: events that come later, and all together, were held back somewhere.
_HELD_BACK = 1.0
# Seconds of silence after which proxies close a connection; half of it is advised against.
_PROXY_TIMEOUT = 60

# The remedy where something holds back what was sent.
UNBUFFER = (
    "flush after each event; in nginx `proxy_buffering off;`, or send the header field "
    "X-Accel-Buffering: no; switch compression off"
)
_NO_PAGE = "check the URL, a login and proxies: a page came in place of the stream"


@dataclass(frozen=True)
class Head:
    """The head of a response.

    seconds: time from the request to the head; None if unknown.
    http_version: such as HTTP/1.1; empty if unknown.
    url: address after redirects; empty if unknown.
    """

    status: int
    headers: Mapping[str, str]
    seconds: float | None = None
    http_version: str = ""
    url: str = ""


class Finding(NamedTuple):
    """A breach or an oddity of a stream.

    code: name for programs.
    is_broken: whether clients lose something for certain.
    message: the fault, in words.
    remedy: what to change.
    line: number of the first line that has it, from 1; None outside of the body.
    offset: of that line's first byte in the body.
    """

    code: str
    is_broken: bool
    message: str
    remedy: str
    line: int | None = None
    offset: int | None = None


def no_head(url: str, seconds: float) -> Finding:
    """Return the finding about a server that sent no head within so many seconds."""
    tls = ", or the server does not speak TLS" if url.startswith("https:") else ""
    return Finding(
        "no-head",
        True,
        f"no head of a response within {seconds:.1f} s: something buffers, or the server sends its "
        f"head with the first event{tls}",
        f"send the head and a comment at once; {UNBUFFER}",
    )


def find(head: Head | None, stream: Stream) -> list[Finding]:
    """Return the findings about a stream.

    head: None for a file.
    """
    findings: list[Finding] = []
    if head is not None:
        findings += [finding for check in _CHECKS_OF_HEAD for finding in check(head, stream)]
        is_refused = any(finding.is_broken for finding in findings)
        if head.status != 200 or (is_refused and not stream.number_of_events):
            return findings  # the body is no event stream
    if stream.is_foreign:
        return [*findings, _foreign(stream)]
    if head is not None:
        findings += [finding for check in _CHECKS_WITH_HEAD for finding in check(head, stream)]
    checks = (*_CHECKS_OF_TIMES, *_CHECKS_OF_STREAM) if stream.is_live else _CHECKS_OF_STREAM
    return findings + [finding for check in checks for finding in check(stream)]


# The head


def _status(head: Head, stream: Stream) -> Iterator[Finding]:
    if head.status != 200:
        rest = "; it tells a client to stop" if head.status == 204 else ""
        remedy = "answer 200: EventSource connects for no other status"
        if head.status in (401, 403):
            remedy = "send credentials, with -u or -H"
        elif head.status == 404:
            remedy = "check the URL"
        yield Finding(
            "status",
            head.status != 204,
            f"the status is {head.status}, not 200{rest}{_words(stream)}",
            remedy,
        )


def _words(stream: Stream) -> str:
    """Return the first words of the body, of a refusal."""
    words = stream.start.decode(errors="replace")
    words = (page_words(words) if _is_page(stream) else words)[:200].strip()
    return f": {words}" if words else ""


def _is_page(stream: Stream) -> bool:
    return stream.start.lstrip()[:1] == b"<"


def _media_type(head: Head, stream: Stream) -> Iterator[Finding]:
    value = head.headers.get("content-type", "")
    media_type, _, parameters = value.partition(";")
    media_type = media_type.strip().lower()
    if head.status != 200:
        return
    if media_type != "text/event-stream":
        body, remedy = "", "send content-type: text/event-stream"
        if _is_page(stream):
            body, remedy = f", an HTML page{_words(stream)}", _NO_PAGE
        elif media_type == "application/json":
            body, remedy = _words(stream), "check the request: it got a JSON text, not a stream"
        elif media_type and _is_known(media_type):
            remedy += f"; for {media_type}, use another decoder than that of events"
        yield Finding(
            "media-type",
            True,
            f"not an event stream ({media_type or 'no media type'}){body}",
            remedy,
        )
    elif "charset" in parameters.lower() and "utf-8" not in parameters.lower():
        yield Finding(
            "charset",
            False,
            f"the media type is {value}, but event streams are always UTF-8",
            "leave the charset out",
        )


def _is_known(media_type: str) -> bool:
    try:
        decoder_for(media_type)
    except ValueError:
        return False
    return True


def _caching(head: Head, stream: Stream) -> Iterator[Finding]:
    value = head.headers.get("cache-control", "").lower()
    if "no-cache" not in value and "no-store" not in value:
        yield Finding(
            "caching",
            False,
            "nothing forbids caches to keep the stream",
            "send cache-control: no-store",
        )


def _encoding(head: Head, stream: Stream) -> Iterator[Finding]:
    value = head.headers.get("content-encoding", "")
    if value:
        yield Finding(
            "encoding",
            False,
            f"the stream is compressed ({value}); compressors hold events back",
            "switch compression off for text/event-stream, or flush it after each event",
        )


def _length(head: Head, stream: Stream) -> Iterator[Finding]:
    if "content-length" in head.headers:
        yield Finding(
            "length",
            False,
            "the response has a Content-Length: it was complete before it was sent",
            "write events to the response as they occur, not into a buffer",
        )


def _old_http(head: Head, stream: Stream) -> Iterator[Finding]:
    if head.http_version == "HTTP/1.0":
        yield Finding(
            "http-1.0",
            False,
            "HTTP/1.0: a cut stream looks like a complete one",
            "in nginx `proxy_http_version 1.1;`",
        )


# Time


def _burst(stream: Stream) -> Iterator[Finding]:
    first, last = stream.event_times.first, stream.event_times.last
    gap = stream.event_times.typical_gap
    if first is None or last is None or gap is None:
        return
    number = stream.number_of_events
    # Two events may be all that a server has to say at first.
    if number >= 3 and first >= _HELD_BACK and last - first <= first / 10:
        # In a stream that goes on, these may be the events that a server begins with.
        words = "something buffers" if stream.is_complete else "something may buffer"
        yield Finding(
            "burst",
            stream.is_complete,
            f"all {number} events arrived in one burst after {first:.1f} s: {words}",
            UNBUFFER,
        )
    elif (
        2 <= stream.bursts <= number / 4
        and stream.byte_times.longest_gap >= _HELD_BACK
        and gap < 0.01
    ):
        yield Finding(
            "bursts",
            False,
            f"{number} events arrived in {stream.bursts} bursts: something may buffer",
            UNBUFFER,
        )


def _nothing_came(stream: Stream) -> Iterator[Finding]:
    if not stream.size and not stream.is_complete and stream.failure is None:
        yield Finding(
            "silent",
            True,
            "no byte of the body came: something buffers, or nothing was sent",
            f"send a comment at once; {UNBUFFER}",
        )


def _silence(stream: Stream) -> Iterator[Finding]:
    silence = stream.byte_times.longest_gap
    if silence > _PROXY_TIMEOUT / 2:
        yield Finding(
            "silence",
            False,
            f"no byte came for {silence:.0f} s: proxies close a connection after "
            f"{_PROXY_TIMEOUT} s",
            "send a comment, such as `:`, every 15 seconds",
        )


# The stream


def _foreign(stream: Stream) -> Finding:
    """Return the finding about a body without any line of an event stream."""
    kind, remedy = "no line has a field", "write `data: ` before each line of an event's text"
    if _is_page(stream):
        kind, remedy = f"an HTML page{_words(stream)}", _NO_PAGE
    elif stream.start.lstrip()[:1] in (b"{", b"["):
        kind, remedy = "JSON", f"{remedy}; `sseparse decode --format ndjson` reads lines of JSON"
    return Finding("foreign", True, f"not an event stream: {kind}", remedy)


def _no_event(stream: Stream) -> Iterator[Finding]:
    if stream.number_of_events or "too-large" in stream.places:
        return
    if stream.is_complete or stream.failure is not None:
        if stream.size:
            words = "the stream has no event"
            yield Finding("no-event", True, words, "end each event with a blank line")
        elif stream.failure is None:
            yield Finding("no-event", True, "the body is empty", "check what writes it")
    elif stream.size:
        yield Finding("no-event", False, "no event came yet", "wait longer: --seconds")


def _cut(stream: Stream) -> Iterator[Finding]:
    if stream.is_undecodable:
        remedy = "send no Content-Encoding: compressors hold events back"
        yield Finding("undecodable", True, f"{stream.failure}", remedy)
    elif stream.failure is not None:
        yield Finding(
            "cut",
            True,
            f"the body was cut or damaged: {stream.failure}",
            "end the body properly; behind a proxy, send a comment every 15 seconds, and raise the "
            "proxy's read timeout",
        )


def _place(
    code: str, is_broken: bool, message: str, remedy: str
) -> Callable[[Stream], Iterator[Finding]]:
    """Return the check for a breach that `stream` has noted at a place."""

    def check(stream: Stream) -> Iterator[Finding]:
        place = stream.places.get(code)
        if place is not None:
            words = message.format(place.text)
            if place.count > 1:
                words += f" ({place.count} times)"
            yield Finding(code, is_broken, words, remedy, place.line, place.offset)

    return check


_CHECKS_OF_HEAD: tuple[Callable[[Head, Stream], Iterator[Finding]], ...] = (_status, _media_type)

_CHECKS_WITH_HEAD: tuple[Callable[[Head, Stream], Iterator[Finding]], ...] = (
    _caching,
    _encoding,
    _length,
    _old_http,
)

_CHECKS_OF_TIMES: tuple[Callable[[Stream], Iterator[Finding]], ...] = (
    _burst,
    _nothing_came,
    _silence,
)

_CHECKS_OF_STREAM: tuple[Callable[[Stream], Iterator[Finding]], ...] = (
    _cut,
    _no_event,
    _place(
        "no-blank-line",
        True,
        "the last event is lost: no blank line ends it",
        "write a blank line after each event, the last one too",
    ),
    _place("utf-8", True, "invalid UTF-8: {}", "encode the stream as UTF-8"),
    _place(
        "bom",
        True,
        "a byte order mark in the middle spoils its line",
        "join the parts without their byte order marks",
    ),
    _place(
        "spaced-field",
        True,
        "{!r} is no field: no space may stand around its name",
        "write the colon right after the name",
    ),
    _place("unknown-field", False, "unknown field {!r}, which clients ignore", "leave it out"),
    _place("id-nul", False, "an id with NUL, which clients ignore", "send IDs without NUL"),
    _place(
        "retry",
        False,
        "the retry {!r}, which clients ignore: it must be digits",
        "send milliseconds in digits",
    ),
    _place(
        "cr",
        False,
        "a line ends in CR alone, which some clients do not know",
        "end lines with LF",
    ),
    _place(
        "cut-json",
        True,
        "a JSON text is cut over events",
        "send each text in one event; split it only at its line ends, each with `data:`",
    ),
    _place(
        "joined-json",
        True,
        "an event has several JSON texts, one on each line",
        "end each event with a blank line",
    ),
    _place("invalid-json", False, "data looks like JSON but is invalid: {!r}", "check the data"),
    _place(
        "large",
        False,
        f"an event of {{}}: some readers stop at {LARGE_EVENT} bytes in a line",
        "send smaller events, or set the limits of the readers",
    ),
    _place(
        "near-limit",
        False,
        "an event is close to the limit: {}",
        "send smaller events, or use --limit",
    ),
    _place("too-large", True, "an event is larger than {}", "send smaller events, or use --limit"),
)
