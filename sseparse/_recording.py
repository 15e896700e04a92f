"""Recordings of event streams: the bytes of a body, with their times.

A recording is a file of JSON lines; "t" is in seconds since the request:

- `{"status", "headers"}`: the head, on the first line.
- `{"t", "data"}`, or `{"t", "base64"}` where it is not UTF-8: a chunk.
- `{"t", "end"}`: the end; null if the body is complete, else the failure. Without it, recording was
  stopped.
"""

from __future__ import annotations

import base64
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO, cast

# The header fields that are recorded: none of them is secret. The body is recorded decoded.
_FIELDS = ("content-type", "cache-control", "x-accel-buffering", "retry-after", "server", "via")
_START = re.compile(rb'\{"status": [0-9]+, "headers": \{')


@dataclass(frozen=True)
class Recording:
    """A recorded response.

    status, headers: of its head.
    chunks: the bytes of its body as they arrived, each with seconds since the request.
    end: seconds until the body has ended, in whatever way, or None where recording was stopped.
    failure: cause of the cut in the body, or None.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    chunks: tuple[tuple[float, bytes], ...] = ()
    end: float | None = None
    failure: str | None = None


class Recorder:
    """Writes a recording to an open text file, line by line."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        """Record the head; header fields that may be secret are left out."""
        kept = {name: headers[name] for name in _FIELDS if name in headers}
        self._write({"status": status, "headers": kept})

    def chunk(self, seconds: float, data: bytes) -> None:
        """Record bytes of the body."""
        try:
            item = {"t": round(seconds, 6), "data": data.decode()}
        except UnicodeDecodeError:
            item = {"t": round(seconds, 6), "base64": base64.b64encode(data).decode()}
        self._write(item)

    def end(self, seconds: float, failure: str | None) -> None:
        """Record the end of the body, with None for a complete one."""
        self._write({"t": round(seconds, 6), "end": failure})

    def _write(self, item: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(item) + "\n")
        self._file.flush()


def is_recording(path: str | os.PathLike[str]) -> bool:
    """Return whether a file begins as a recording does.

    Raises OSError.
    """
    with open(path, "rb") as file:  # noqa: PTH123 - a str is a path too
        return _START.match(file.read(64)) is not None


def read_recording(path: str | os.PathLike[str]) -> Recording:
    """Return the recording in a file.

    Raises OSError, and ValueError, naming the line, for another file than a recording.
    """
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - a str is a path too
        number = 0
        try:
            head: Any = json.loads(file.readline())
            status, headers = head["status"], head["headers"]
            chunks: list[tuple[float, bytes]] = []
            end: float | None = None
            failure: str | None = None
            for number, line in enumerate(file, 1):  # noqa: B007 - for the error
                item = cast("dict[str, Any]", json.loads(line))
                seconds = float(item["t"])
                if not 0 <= seconds < math.inf:
                    raise ValueError("t must be finite, non-negative seconds")
                if "end" in item:
                    end, failure = seconds, item["end"]
                    continue
                encoded = item.get("base64")
                if encoded is None:
                    data = item["data"].encode()
                else:
                    data = base64.b64decode(encoded, validate=True)
                if not data:
                    raise ValueError("an empty chunk would be the end of a body")
                chunks.append((seconds, data))
            return Recording(int(status), dict(headers), tuple(chunks), end, failure)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{os.fspath(path)} must be a recording of `sseparse inspect --save`: "
                f"line {number + 1} is invalid: {error!r}"
            ) from error
