"""Ranges of a file that begin at lines, for reading it in parallel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

# Bytes of a read: in search of the end of a line, and of a range.
_SCAN_SIZE = 8192
_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class LineRange:
    """A range of a file that holds whole lines: an iterable of its bytes, in chunks.

    path: the file.
    start, end: offsets in bytes; the byte at `end` is not in it.

    It can be pickled, for another process. `decode(line_range, NDJSONDecoder())` reads it. An error
    there counts lines and offsets from the start of the range. A file that has shrunk since is an
    EOFError.
    """

    path: str
    start: int
    end: int

    def __iter__(self) -> Iterator[bytes]:
        with open(self.path, "rb") as file:  # noqa: PTH123 - a str
            file.seek(self.start)
            left = self.end - self.start
            while left > 0:
                data = file.read(min(left, _CHUNK))
                if not data:
                    raise EOFError(
                        f"{self.path} has shrunk: {left} bytes up to {self.end} are gone"
                    )
                left -= len(data)
                yield data


def line_ranges(path: str | os.PathLike[str], n: int) -> list[LineRange]:
    """Cut a file into ranges of about the same size that begin at lines.

    path: a regular file with lines that end in LF or CRLF.
    n: the number of ranges, at most. Fewer are returned where lines are long, none for an empty
        file.

    The ranges cover the file without a gap. Only the bytes around the cuts are read: about 8 KiB
    for each, and more where a line is longer. To read the file in parallel:

        from concurrent.futures import ProcessPoolExecutor
        from sseparse import NDJSONDecoder, decode, line_ranges

        def count(part):
            return sum(1 for _ in decode(part, NDJSONDecoder()))

        if __name__ == "__main__":
            with ProcessPoolExecutor() as pool:
                print(sum(pool.map(count, line_ranges("events.jsonl", 16))))

    With Dask:

        parts = dask.bag.from_sequence(line_ranges("events.jsonl", 16), partition_size=1)
        print(parts.map(count).sum().compute())

    With Ray Data:

        parts = ray.data.from_items([{"part": part} for part in line_ranges("events.jsonl", 16)])
        print(parts.map(lambda row: {"count": count(row["part"])}).sum("count"))

    On several machines, the path must be of a shared folder.

    Raises TypeError and ValueError for a wrong argument, and OSError.
    """
    if isinstance(n, bool) or not isinstance(n, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"n must be an int, got {n!r}")
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n!r}")
    file_path = Path(path).absolute()  # for a process in another folder
    if file_path.exists() and not file_path.is_file():
        raise ValueError(f"path must be of a regular file, got {path}")
    with file_path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        starts = [0]
        for number in range(1, n):
            cut = number * size // n
            # A line that reaches beyond several cuts is looked at once.
            if cut > starts[-1]:
                starts.append(_next_line(file, cut))
    edges = [*(start for start in starts if start < size), size]
    return [LineRange(str(file_path), start, end) for start, end in pairwise(edges)]


def _next_line(file: BinaryIO, offset: int) -> int:
    """Return the offset of the first line that begins at `offset` or later, or of the end."""
    offset = file.seek(offset - 1)
    while data := file.read(_SCAN_SIZE):
        at = data.find(b"\n")
        if at >= 0:
            return offset + at + 1
        offset += len(data)
    return offset
