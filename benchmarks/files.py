"""Reading a large file of JSON lines: `python -m benchmarks.files SUBJECT FILE` reads one.

Each reader has a process of its own, and sums a number and the length of a text over all lines: the
sums are compared. pyarrow and DuckDB are in C++, and read columns, of which DuckDB parses only the
two that it is asked for; the others make a Python object of each line.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from sseparse import LineRange, NDJSONDecoder, decode, line_ranges

Sums = tuple[int, int]

SIZE = 2_000_000_000
QUICK_SIZE = 2_000_000
# Ranges of the file that the processes of a pool share.
_RANGES = 16


def write(path: Path, size: int) -> int:
    """Write a file of at least so many bytes, and return the number of its lines."""
    # Like lines of `sseparse batch`, with texts of 0 to 600 characters, some not ASCII.
    block = [
        {
            "id": f"prompt-{number}",
            "text": f"The answer to {number} is é{number} " * (number % 20),
            "usage": {"input_tokens": 12, "output_tokens": number},
            "finish": "stop",
            "seconds": number / 7,
        }
        for number in range(1000)
    ]
    data = b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in block)
    times = size // len(data) + 1
    with path.open("wb") as file:
        for _ in range(times):
            file.write(data)
    return times * len(block)


def _sum(values: Any) -> Sums:
    tokens = characters = 0
    for value in values:
        tokens += value["usage"]["output_tokens"]
        characters += len(value["text"])
    return tokens, characters


def _plain(path: str) -> Sums:
    with open(path, "rb") as file:  # noqa: PTH123 - as people write it
        return _sum(json.loads(line) for line in file)


def _read_range(part: LineRange, fast: bool) -> Sums:
    if not fast:
        return _sum(decode(part, NDJSONDecoder()))
    import msgspec

    return _sum(decode(part, NDJSONDecoder(loads=msgspec.json.decode)))


def _ranges(path: str, processes: int, fast: bool) -> Sums:
    read = partial(_read_range, fast=fast)
    if processes == 1:
        return read(line_ranges(path, 1)[0])
    with ProcessPoolExecutor(processes) as pool:
        sums = [*pool.map(read, line_ranges(path, _RANGES))]
    return sum(tokens for tokens, _ in sums), sum(characters for _, characters in sums)


def _pandas(path: str) -> Sums:
    import pandas as pd

    tokens = characters = 0
    for chunk in pd.read_json(path, lines=True, chunksize=50_000):
        tokens += sum(usage["output_tokens"] for usage in chunk["usage"])
        characters += int(chunk["text"].str.len().sum())
    return tokens, characters


def _pyarrow(path: str, threads: bool) -> Sums:
    import pyarrow.compute as pc
    from pyarrow import json as arrow_json

    table = arrow_json.read_json(path, arrow_json.ReadOptions(use_threads=threads))
    tokens = pc.sum(pc.struct_field(table["usage"], "output_tokens")).as_py()
    return tokens, pc.sum(pc.utf8_length(table["text"])).as_py()


def _duckdb(path: str, threads: int) -> Sums:
    import duckdb

    connection = duckdb.connect(config={"threads": threads})
    query = "SELECT sum(usage.output_tokens), sum(length(text)) FROM read_ndjson(?)"
    row: Any = connection.execute(query, [path]).fetchone()
    return int(row[0]), int(row[1])


# Each reader, and the package that it needs.
READERS: dict[str, tuple[Callable[[str], Sums], str]] = {
    "a loop with json.loads": (_plain, ""),
    "sseparse, 1 process": (partial(_ranges, processes=1, fast=False), ""),
    "sseparse, 2 processes": (partial(_ranges, processes=2, fast=False), ""),
    "sseparse with msgspec, 1 process": (partial(_ranges, processes=1, fast=True), "msgspec"),
    "sseparse with msgspec, 2 processes": (partial(_ranges, processes=2, fast=True), "msgspec"),
    "pandas": (_pandas, "pandas"),
    "pyarrow, 1 thread": (partial(_pyarrow, threads=False), "pyarrow"),
    "pyarrow, 2 threads": (partial(_pyarrow, threads=True), "pyarrow"),
    "DuckDB, 1 thread": (partial(_duckdb, threads=1), "duckdb"),
    "DuckDB, 2 threads": (partial(_duckdb, threads=2), "duckdb"),
}


def installed() -> dict[str, str]:
    """Return the versions of the packages that are here."""
    versions: dict[str, str] = {}
    for package in {package for _, package in READERS.values() if package}:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def measure_files(size: int, report: Callable[[str], object]) -> dict[str, dict[str, Any]]:
    """Return the cost of each reader for a file of so many bytes, or its mistake.

    report: called with the name of each reader before it starts.
    """
    outcomes: dict[str, dict[str, Any]] = {}
    packages = installed()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lines.jsonl"
        lines = write(path, size)
        expected: list[int] | None = None
        for name, (_, package) in READERS.items():
            if package and package not in packages:
                continue
            report(name)
            command = [sys.executable, "-m", "benchmarks.files", name, str(path)]
            outcome = json.loads(subprocess.check_output(command, cwd=Path(__file__).parents[1]))
            expected = expected or outcome["sums"]
            outcomes[name] = {
                "lines": lines,
                "size": path.stat().st_size,
                "lines_per_second": lines / outcome["seconds"],
                "peak_memory": outcome["peak_memory"],
                "mistake": "" if outcome["sums"] == expected else f"the sums are {outcome['sums']}",
            }
    return outcomes


def main(name: str, path: str) -> None:
    """Read a file and print the outcome."""
    start = perf_counter()
    sums = READERS[name][0](path)
    seconds = perf_counter() - start
    print(json.dumps({"sums": sums, "seconds": seconds, "peak_memory": _peak_memory()}))


def _peak_memory() -> int:
    """Return the peak of resident memory, in bytes, of this process or one that it started."""
    peaks = [resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]
    try:
        # On Linux, ru_maxrss includes the program that the process ran before.
        [line] = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        peaks.append(int(line))
    except OSError:
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return max(peaks) * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
