"""The report: words first, figures second; or an object of JSON."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import click

from sseparse._display import one_line
from sseparse.cli._terminal import safe_for

from ._findings import Finding, Head
from ._stream import Stream

_BARS = "▁▂▃▄▅▆▇█"
# The width of the first column.
_NAME = 11
# The header fields that decide how a stream arrives.
_SHOWN = (
    "content-type",
    "cache-control",
    "x-accel-buffering",
    "content-encoding",
    "transfer-encoding",
    "content-length",
    "server",
    "via",
)
# Event types shown, and characters of a name or an ID.
_MAX_TYPES = 8
_MAX_NAME = 60
# The plot is unreadable below this width.
_MIN_WIDTH = 30
_ASCII_BARS = ".:-=+*#@"


def print_report(
    source: str,
    head: Head | None,
    stream: Stream,
    findings: Sequence[Finding],
    resumption: str | None,
) -> None:
    """Print the findings and the figures, for people."""
    width = max(min(shutil.get_terminal_size().columns, 100), _MIN_WIDTH)
    _say(one_line(source), bold=True)
    _say("")
    for finding in findings:
        word, colour = ("broken", "red") if finding.is_broken else ("advice", "yellow")
        place = "" if finding.line is None else f"line {finding.line}, byte {finding.offset}: "
        _paragraph(word, place + finding.message, width, fg=colour)
        _paragraph("", f"-> {finding.remedy}", width)
    if not findings:
        _paragraph("fine", "nothing is wrong with this stream", width, fg="green")
    _say("")
    if head is None and not stream.size:
        return
    for name, words in _figures(source, head, stream, resumption):
        _paragraph(name, words, width, dim=True)
    end = stream.byte_times.last
    if stream.is_live and end:
        label = f"{end:.1f} s"
        plot = _plot(stream.arrivals.columns(width - _NAME - 2, end))
        _say(f"{'arrivals':<{_NAME}}{plot}")
        _say(f"{'':<{_NAME}}0 s{label:>{width - _NAME - 5}}")


def as_json(
    source: str,
    head: Head | None,
    stream: Stream,
    findings: Sequence[Finding],
    resumption: str | None,
) -> dict[str, Any]:
    """Return the report for programs; sizes are bytes, times seconds."""
    return {
        "source": source,
        "broken": any(finding.is_broken for finding in findings),
        "findings": [finding._asdict() for finding in findings],
        "head": None
        if head is None
        else {
            "status": head.status,
            "http_version": head.http_version,
            "url": head.url,
            **{name.replace("-", "_"): head.headers.get(name) for name in _SHOWN},
        },
        "times": {
            "head": None if head is None else head.seconds,
            "first_byte": stream.byte_times.first,
            "first_event": stream.event_times.first,
            "last_event": stream.event_times.last,
            "last_byte": stream.byte_times.last,
            "typical_gap": stream.event_times.typical_gap,
            "longest_gap": stream.event_times.longest_gap,
            "typical_comment_gap": stream.comment_times.typical_gap,
            "longest_silence": stream.byte_times.longest_gap,
        }
        if stream.is_live
        else None,
        "complete": stream.is_complete,
        "size": stream.size,
        "number_of_events": stream.number_of_events,
        "events": {name: asdict(kind) for name, kind in stream.events.items()},
        "json_events": stream.json_events,
        "comments": stream.comments,
        "events_with_id": stream.with_id,
        "last_event_id": stream.last_event_id,
        "reconnection_time": stream.reconnection_time,
        "resumption": resumption,
    }


def _figures(
    source: str, head: Head | None, stream: Stream, resumption: str | None
) -> Iterator[tuple[str, str]]:
    if head is not None:
        fields = [f"{name}: {head.headers[name]}" for name in _SHOWN if name in head.headers]
        yield "head", ", ".join(filter(None, [head.http_version, str(head.status), *fields]))
        if head.url not in ("", source):
            yield "redirected", f"to {head.url}"
    if stream.is_live:
        yield "times", _times(head, stream)
    elif not stream.is_complete and stream.failure is None:
        yield "end", "reading stopped before the end"
    number = stream.number_of_events
    json = f", {stream.json_events} of them JSON" if stream.json_events else ""
    yield "events", f"{number} in {stream.size} bytes{json}"
    kinds = sorted(stream.events.items(), key=lambda item: -item[1].count)
    for name, kind in kinds[:_MAX_TYPES]:
        average = kind.size // kind.count
        yield (
            "",
            f"{kind.count} {_short(name)}: {average} bytes on average, largest {kind.largest}",
        )
    if more := kinds[_MAX_TYPES:]:
        yield "", f"{sum(kind.count for _, kind in more)} of {len(more)} more types"
    if stream.is_live and (gap := stream.event_times.typical_gap) is not None:
        words = f"typical {gap:.2f} s, longest {stream.event_times.longest_gap:.2f} s"
        yield "gaps", f"{words}; longest silence {stream.byte_times.longest_gap:.2f} s"
    comments = str(stream.comments) if stream.comments else "none, no keep-alive"
    if stream.is_live and (gap := stream.comment_times.typical_gap) is not None:
        comments += f", one every {gap:.2f} s"
    yield "comments", comments
    ids = "no event has an ID: a client cannot resume"
    if stream.with_id:
        ids = f"{stream.with_id} of {number} events have one, the last is "
        ids += repr(_short(stream.last_event_id))
    yield "IDs", ids
    if stream.reconnection_time is not None:
        yield "retry", f"reconnection time {stream.reconnection_time} ms"
    if resumption is not None:
        yield "reconnect", resumption


def _times(head: Head | None, stream: Stream) -> str:
    times = [
        ("head", None if head is None else head.seconds),
        ("first byte", stream.byte_times.first),
        ("first event", stream.event_times.first),
        ("last byte", stream.byte_times.last),
    ]
    words = [f"{name} after {seconds:.2f} s" for name, seconds in times if seconds is not None]
    if stream.is_complete:
        words.append("then the end")
    elif stream.failure is None:
        words.append("then reading stopped")
    return ", ".join(words)


def _short(name: str) -> str:
    return name if len(name) <= _MAX_NAME else name[:_MAX_NAME] + "…"


def _plot(counts: Sequence[int]) -> str:
    """Return a bar for each count, in proportion to the largest."""
    bars = _BARS
    try:
        bars.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        bars = _ASCII_BARS
    largest = max(counts)
    return "".join(" " if not n else bars[(n * len(bars) - 1) // largest] for n in counts)


def _paragraph(name: str, words: str, width: int, **style: Any) -> None:
    lines = textwrap.wrap(one_line(words), max(width - _NAME, 20), break_on_hyphens=False) or [""]
    _say(safe_for(f"{name:<{_NAME}}", sys.stdout, **style) + safe_for(lines[0], sys.stdout))
    for line in lines[1:]:
        _say(" " * _NAME + safe_for(line, sys.stdout))


def _say(text: str, **style: Any) -> None:
    click.echo(safe_for(text, sys.stdout, **style) if style else text, color=True)
