"""The results of a run as one JSON object, and the figures in it."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sseparse import SSEDecoder

from .peers import COMPILED, OWN, PYTHON, NodeParser
from .runs import Run

ROOT = Path(__file__).parents[1]
COMMAND = "uv run --group bench python -m benchmarks"

Results = dict[str, Any]
# A run in the results: section, case, subject, and either ns, spread and turns, or mistake.
Row = dict[str, Any]
# Nanoseconds per event, by case and subject.
Times = dict[str, dict[str, float]]


def collect(
    runs: Iterable[Run],
    versions: Mapping[str, str],
    missing: Mapping[str, str],
    adopters: Mapping[str, Any],
    files: Mapping[str, Any],
    scale: Mapping[str, Any],
    rules: Mapping[str, Any],
) -> Results:
    """Return the results of all measurements.

    versions: the version of each installed parser and client.
    missing: the reason why one is not installed.
    adopters: the outcome of adopters.compare_rules for each package.
    files: the outcome of files.measure_files.
    scale: the outcome of scale.measure_scale for each loop and transport.
    rules: the outcome of rules.broken_rules for each parser.
    """
    return {
        "about": {
            "date": datetime.now(UTC).date().isoformat(),
            "commit": commit(),
            "command": COMMAND,
            "python": f"{platform.python_implementation()} {platform.python_version()}, "
            f"{platform.python_compiler()}",
            "system": f"{platform.system()} {platform.machine()}",
            "decoder": COMPILED if hasattr(SSEDecoder, "__wrapped__") else PYTHON,
            "processor": f"{_processor()}, {os.cpu_count()} cores",
        },
        "versions": dict(versions),
        "missing": dict(missing),
        "runs": [_row(run) for run in runs],
        "adopters": dict(adopters),
        "files": dict(files),
        "scale": dict(scale),
        "rules": dict(rules),
    }


def _row(run: Run) -> Row:
    row = {"section": run.section, "case": run.case, "subject": run.subject}
    if run.mistake:
        return {**row, "mistake": run.mistake}
    times = {"ns": round(run.ns, 1), "spread": round(run.spread, 4), "turns": len(run.times)}
    return {**row, **times}


def commit() -> str:
    """Return the commit of the working tree, ending in -dirty if it has changes; or ""."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=ROOT,
            capture_output=True,
            check=False,
            encoding="utf-8",
        )
    except OSError:
        return ""
    return described.stdout.strip()


def _processor() -> str:
    # On Linux platform.processor() is usually empty or the architecture.
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def read(path: Path) -> Results:
    """Return the results in a JSON file.

    Raises: OSError; ValueError if the file has no results.
    """
    match json.loads(path.read_text("utf-8")):
        case {"runs": [*rows]} as results if all(map(_is_row, rows)):
            return dict(results)
        case _:
            raise ValueError("not the results of a benchmark")


def _is_row(row: object) -> bool:
    match row:
        case {"section": str(), "case": str(), "subject": str(), "mistake": str()}:
            return True
        case {"section": str(), "case": str(), "subject": str(), "ns": float() | int() as ns}:
            return 0 < ns < math.inf
        case _:
            return False


def rows_of(results: Results, section: str) -> list[Row]:
    """Return the runs of a section."""
    return [row for row in results["runs"] if row["section"] == section]


def times_of(results: Results, section: str) -> Times:
    """Return the times of a section, without the runs that have a mistake."""
    times: Times = {}
    for row in rows_of(results, section):
        if "ns" in row:
            times.setdefault(row["case"], {})[row["subject"]] = row["ns"]
    return times


def ratios(times: Times, subject: str, base: str) -> dict[str, float]:
    """Return the time of `subject` divided by the time of `base`, by case."""
    return {
        case: ns[subject] / ns[base] for case, ns in times.items() if subject in ns and base in ns
    }


def base_parser(results: Results) -> str:
    """Return the parser of sseparse that all others are compared with."""
    return COMPILED if COMPILED in results["versions"] else PYTHON


def python_peers(ns: Mapping[str, float]) -> dict[str, float]:
    """Return the times of other libraries' parsers in Python."""
    return {name: ns[name] for name in ns if name not in (*OWN, NodeParser.name)}
