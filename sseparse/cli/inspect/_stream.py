"""Statistics of an event stream and of its arrival, in bounded memory."""

from __future__ import annotations

import json
import math
import re
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from sseparse import Block, Comment, EventTooLarge, InvalidJSON, PartialJSON, SSEDecoder

_BOM = b"\xef\xbb\xbf"
_FIELDS = ("data", "event", "id", "retry")
_PIECES = re.compile(rb"[^\r\n]+|\r\n|\r|\n")
_SPACED_FIELD = re.compile(r"\s*(data|event|id|retry)\s*")

# Gaps kept for the median, and IDs kept.
_KEPT = 10_000
# The most intervals of time that the plot is made of.
_MAX_BINS = 512
# Event types counted, and characters kept of a name.
_MAX_TYPES = 1000
_MAX_NAME = 200
# Characters read of a JSON text that is cut over events.
_MAX_CUT = 1024 * 1024
# Bytes kept of the body's start.
_MAX_START = 4096
# The least size in bytes of a large event: readers over asyncio's streams fail at such a line.
LARGE_EVENT = 65536
# The share of the limit from which an event is close to it.
_NEAR_LIMIT = 0.8


@dataclass
class Place:
    """Where something was found first, and how often.

    line: from 1. offset: of the line's first byte in the stream. text: the fault.
    """

    line: int
    offset: int
    text: str = ""
    count: int = 1


@dataclass
class Kind:
    """The events of one type: their number, and the bytes of their data."""

    count: int = 0
    size: int = 0
    largest: int = 0


class Times:
    """The seconds at which something came, and those between."""

    def __init__(self) -> None:
        self.first: float | None = None
        self.last: float | None = None
        self.longest_gap = 0.0
        self._gaps: deque[float] = deque(maxlen=_KEPT)

    def add(self, seconds: float) -> None:
        """Take a time, not before the last one."""
        if self.last is None:
            self.first = seconds
        else:
            self._gaps.append(seconds - self.last)
            self.longest_gap = max(self.longest_gap, seconds - self.last)
        self.last = seconds

    @property
    def typical_gap(self) -> float | None:
        """The median of the seconds between, or None before the second time."""
        return median(self._gaps) if self._gaps else None


class Timeline:
    """Counts per interval of time; the intervals are widened where they become too many."""

    def __init__(self) -> None:
        self.width = 0.01
        self._bins: Counter[int] = Counter()

    def add(self, seconds: float, count: int) -> None:
        """Count something at a time."""
        while seconds / self.width >= _MAX_BINS:
            self.width *= 2
            halved: Counter[int] = Counter()
            for number, counted in self._bins.items():
                halved[number // 2] += counted
            self._bins = halved
        self._bins[int(seconds / self.width)] += count

    def columns(self, number: int, seconds: float) -> list[int]:
        """Return the counts of `number` equal intervals from 0 to `seconds`."""
        counts = [0] * number
        for at, counted in self._bins.items():
            column = int(at * self.width / seconds * number) if seconds else 0
            counts[min(column, number - 1)] += counted
        return counts


@dataclass
class Stream:
    """The body of a response, as it arrives.

    Times are seconds since the request; None: not reached.
    """

    max_event_size: int | None = 64 * 1024 * 1024
    # Whether the times are those of a server, not of a file on a disk.
    is_live: bool = True
    size: int = 0
    # Whether the body ended well; the failure that cut it.
    is_complete: bool = False
    failure: str | None = None
    # Whether the failure is about the content encoding.
    is_undecodable: bool = False
    start: bytes = b""
    events: dict[str, Kind] = field(default_factory=dict[str, Kind])
    number_of_events: int = 0
    comments: int = 0
    reconnection_time: int | None = None
    first_event_id: str = ""
    last_event_id: str = ""
    previous_event_id: str = ""
    with_id: int = 0
    bursts: int = 0
    json_events: int = 0
    byte_times: Times = field(default_factory=Times)
    event_times: Times = field(default_factory=Times)
    comment_times: Times = field(default_factory=Times)
    arrivals: Timeline = field(default_factory=Timeline)
    # Oddities by name.
    places: dict[str, Place] = field(default_factory=dict[str, Place])

    def __post_init__(self) -> None:
        self._decoder: SSEDecoder[Any] = SSEDecoder(
            blocks=True, comments=True, unknown_fields=True, max_event_size=self.max_event_size
        )
        self._lines = _Lines(self.max_event_size)
        # Whether a line has come that a server of events writes, if not always rightly.
        self._has_field = False
        self._block: tuple[int, int] | None = None
        # Where the data of the block begins.
        self._data: tuple[int, int] | None = None
        # Whether the rest of an event is skipped because it is too large.
        self._skips = False
        # The hashes of the last IDs: an ID may be large.
        self._ids: deque[int] = deque(maxlen=_KEPT)
        self._cut_json: _CutJSON | None = None

    @property
    def is_foreign(self) -> bool:
        """Whether lines have come, but none of an event stream."""
        return "unknown-field" in self.places and not self._has_field

    def has_id(self, event_id: str) -> bool:
        """Return whether one of the last events had this ID."""
        return hash(event_id) in self._ids

    def feed(self, seconds: float, data: bytes) -> None:
        """Take bytes that arrive at a time."""
        last = self.byte_times.last
        if last is None or seconds - last >= 0.1:
            self.bursts += 1
        self.byte_times.add(seconds)
        self.size += len(data)
        if len(self.start) < _MAX_START:
            self.start += data[: _MAX_START - len(self.start)]
        self.arrivals.add(seconds, len(data))
        for line in self._lines.feed(data):
            self._look_at(seconds, *line)

    def end(self, seconds: float, failure: str | None = None) -> None:
        """Take the end of the body, or the failure that cuts it."""
        self.is_complete, self.failure = failure is None, failure
        if (line := self._lines.close()) is not None:
            self._look_at(seconds, *line)
        if self._block is not None and self.is_complete:
            self._note("no-blank-line", *self._block)
        self._end_cut_json()

    def _note(self, name: str, line: int, offset: int, text: str = "") -> None:
        if name in self.places:
            self.places[name].count += 1
        else:
            self.places[name] = Place(line, offset, text)

    def _look_at(self, seconds: float, number: int, offset: int, line: bytes, end: bytes) -> None:
        if number == 1:
            line = line.removeprefix(_BOM)
        elif line.startswith(_BOM):
            self._note("bom", number, offset)
        if end == b"\r":
            self._note("cr", number, offset)
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            self._note("utf-8", number, offset, f"byte 0x{line[error.start]:02x}")
            text = line.decode(errors="replace")
        if text:
            name, colon, value = text.partition(":")
            value = value.removeprefix(" ")
            spaced = _SPACED_FIELD.fullmatch(name)
            bare_name = name.removeprefix("\ufeff")
            if name in _FIELDS:
                self._has_field = True
                self._block = self._block or (number, offset)
                if name == "data":
                    self._data = self._data or (number, offset)
            elif bare_name == "" and colon:
                self._has_field = True  # a comment
            elif spaced and colon:
                self._has_field = True
                self._note("spaced-field", number, offset, name)
            elif bare_name not in _FIELDS:
                self._note("unknown-field", number, offset, name[:80])
            if name == "id" and "\0" in value:
                self._note("id-nul", number, offset)
            if name == "retry" and not (value.isascii() and value.isdigit()):
                self._note("retry", number, offset, value[:80])
        if not self._skips:
            self._decode(seconds, line + b"\n" if end else line, self._data or (number, offset))
        if not text and end:
            self._block = self._data = None
            self._skips = False

    def _decode(self, seconds: float, data: bytes, place: tuple[int, int]) -> None:
        try:
            items = self._decoder.feed(data)
        except EventTooLarge as error:
            items = error.events
            self._note("too-large", *place, f"{error.limit} bytes")
            self._decoder.reset()
            self._skips = True
        for item in items:
            if isinstance(item, Comment):
                self.comments += 1
                self.comment_times.add(seconds)
            elif isinstance(item, Block):
                self._take(seconds, item, place)

    def _take(self, seconds: float, block: Block, place: tuple[int, int]) -> None:
        before, self.last_event_id = self.last_event_id, self._decoder.last_event_id
        if self.last_event_id != before:
            self.previous_event_id = before
        self.reconnection_time = self._decoder.reconnection_time
        if block.data is None:
            return
        if block.id:
            self.first_event_id = self.first_event_id or block.id
            self.with_id += 1
            self._ids.append(hash(block.id))
        self.number_of_events += 1
        self.event_times.add(seconds)
        name = (block.event or "message")[:_MAX_NAME]
        if name not in self.events and len(self.events) >= _MAX_TYPES:
            name = "others"
        kind = self.events.setdefault(name, Kind())
        size = len(block.data.encode())
        kind.count += 1
        kind.size += size
        kind.largest = max(kind.largest, size)
        if size >= LARGE_EVENT:
            self._note("large", *place, f"{size} bytes")
        if self.max_event_size is not None and size >= self.max_event_size * _NEAR_LIMIT:
            self._note("near-limit", *place, f"{size} of {self.max_event_size} bytes")
        self._take_json(block.data, place)

    def _take_json(self, data: str, place: tuple[int, int]) -> None:
        is_whole = data[:1] in ("{", "[") and _is_json(data)
        if (cut := self._cut_json) is not None:
            if cut.goes_on(data) and not is_whole:
                if cut.is_complete:
                    self._note("cut-json", *cut.place)
                    self._cut_json = None
                return
            self._end_cut_json()
        if is_whole:
            self.json_events += 1
        elif _has_json_lines(data):
            self._note("joined-json", *place)
        elif data[:1] in ("{", "["):
            cut = _CutJSON(place, data[:80])
            if cut.goes_on(data):
                self._cut_json = cut
            elif data[:1] == "{":  # a text in brackets is often no JSON, such as [DONE]
                self._note("invalid-json", *place, cut.start)

    def _end_cut_json(self) -> None:
        if self._cut_json is not None:
            self._note("invalid-json", *self._cut_json.place, self._cut_json.start)
            self._cut_json = None


@dataclass
class _CutJSON:
    """The start of a JSON text that the data of the next events may end.

    place: line and offset. start: its first characters.
    """

    place: tuple[int, int]
    start: str
    _size: int = 0
    _json: PartialJSON = field(default_factory=PartialJSON)

    @property
    def is_complete(self) -> bool:
        return self._json.complete

    def goes_on(self, data: str) -> bool:
        """Return whether `data` goes on with it."""
        self._size += len(data)
        if self._size > _MAX_CUT:
            return False
        try:
            self._json.feed(data)
        except InvalidJSON:
            return False
        return True


def _has_json_lines(data: str) -> bool:
    """Return whether the first two lines are an object of JSON each."""
    lines = data.split("\n", 2)[:2]
    return len(lines) == 2 and all(line[:1] == "{" and _is_json(line) for line in lines)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


class _Lines:
    """The lines of a stream with their numbers, offsets and ends, whatever the chunks."""

    def __init__(self, limit: int | None) -> None:
        # Of a line that is longer, the end is left out.
        self._limit = math.inf if limit is None else limit + 1
        self._number = 0
        self._offset = 0
        self._line = bytearray()
        self._size = 0
        self._ends_in_cr = False

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes, bytes]]:
        if self._ends_in_cr and data:
            self._ends_in_cr = False
            if data[:1] == b"\n":
                data = data[1:]
                yield self._end(b"\r\n")
            else:
                yield self._end(b"\r")
        if data[-1:] == b"\r":
            self._ends_in_cr = True
            data = data[:-1]
        for piece in _PIECES.findall(data):
            if piece[0] in b"\r\n":
                yield self._end(piece)
            else:
                self._size += len(piece)
                if len(self._line) < self._limit:
                    self._line += piece

    def close(self) -> tuple[int, int, bytes, bytes] | None:
        """Return the last line, if it has no end, or one that a LF could have followed."""
        return (
            self._end(b"\r" if self._ends_in_cr else b"")
            if self._size or self._ends_in_cr
            else None
        )

    def _end(self, end: bytes) -> tuple[int, int, bytes, bytes]:
        self._number += 1
        offset, line = self._offset, bytes(self._line)
        self._offset += self._size + len(end)
        self._line.clear()
        self._size = 0
        return self._number, offset, line, end
