"""What is told: tables for the terminal and for Markdown, a chart, the README's section.

Everything is made from the results, which are what `results.json` has.
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import rich.table
from rich.console import Console
from rich.markup import escape

from sseparse import SSEDecoder
from sseparse._sse import SSEDecoder as InPython

from . import drivers, end_to_end, parsing
from .peers import COMPILED, OWN, PYTHON, NodeParser
from .rules import RULES
from .runs import TOO_SLOW, Run

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
RESULTS = Path(__file__).with_name("results")
COMMAND = "uv run python -m benchmarks"
CHART = "benchmarks/results/chart.svg"
REPORT = "benchmarks/results/report.md"
MARKERS = ("<!-- performance -->", "<!-- /performance -->")

Results = dict[str, Any]
# A run as results.json has it: section, case, who, ns, spread, turns, mistake.
Row = dict[str, Any]


@dataclass
class Table:
    """A table: `headers` and `rows` are text, and so are the `notes` below it."""

    title: str
    headers: Sequence[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """Return it as Markdown."""
        if not self.rows:
            return "\n".join(self.notes) + "\n"
        lines = [self.headers, ["---", *["---:"] * (len(self.headers) - 1)], *self.rows]
        text = "".join(f"| {' | '.join(map(_inline, line))} |\n" for line in lines)
        return text + "".join(f"\n{_inline(note)}\n" for note in self.notes)

    def show(self, console: Console) -> None:
        """Print it."""
        if self.rows:
            table = rich.table.Table(title=self.title, title_justify="left")
            table.add_column(self.headers[0], overflow="fold")
            for header in self.headers[1:]:
                table.add_column(header, justify="right")
            for row in self.rows:
                table.add_row(*map(escape, row))
            console.print(table)
        for note in self.notes:
            console.print(note, markup=False, highlight=False)


def _inline(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


# From the runs to the results


def collect(
    runs: Iterable[Run],
    versions: Mapping[str, str],
    missing: Mapping[str, str],
    scale: Mapping[str, Any],
    conformance: Mapping[str, Any],
) -> Results:
    """Return what results.json has."""
    return {
        "about": {
            "date": datetime.now(UTC).date().isoformat(),
            "commit": _commit(),
            "command": COMMAND,
            "python": f"{platform.python_implementation()} {platform.python_version()}, "
            f"{platform.python_compiler()}",
            "system": f"{platform.system()} {platform.machine()}",
            "decoder": COMPILED if SSEDecoder is not InPython else PYTHON,
            "processor": f"{_processor()}, {os.cpu_count()} cores",
        },
        "versions": dict(versions),
        "missing": dict(missing),
        "runs": [
            {
                "section": run.section,
                "case": run.case,
                "who": run.who,
                **(
                    {"mistake": run.mistake}
                    if run.mistake
                    else {
                        "ns": round(run.ns, 1),
                        "spread": round(run.spread, 4),
                        "turns": len(run.times),
                    }
                ),
            }
            for run in runs
        ],
        "scale": dict(scale),
        "conformance": dict(conformance),
    }


def _commit() -> str:
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
    # On Linux platform.processor() is mostly empty, or no more than the architecture.
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


# From the results to tables


def _rows(results: Results, section: str) -> list[Row]:
    return [row for row in results["runs"] if row["section"] == section]


def _times(results: Results, section: str = parsing.SECTION) -> dict[str, dict[str, float]]:
    """Return the times of those that are right: case -> who -> nanoseconds."""
    times: dict[str, dict[str, float]] = {}
    for row in _rows(results, section):
        if "ns" in row:
            times.setdefault(row["case"], {})[row["who"]] = row["ns"]
    return times


def _ours(results: Results) -> str:
    """Return which of this library's two parsers the others are compared with."""
    return COMPILED if COMPILED in results["versions"] else PYTHON


def _ratios(times: Mapping[str, Mapping[str, float]], who: str, base: str) -> dict[str, float]:
    """Return how many times as long as `base` `who` takes: case -> ratio."""
    return {
        case: of_case[who] / of_case[base]
        for case, of_case in times.items()
        if who in of_case and base in of_case
    }


def _fastest_peer(of_case: Mapping[str, float]) -> str | None:
    """Return the fastest parser in Python that is not of this library."""
    peers = [who for who in of_case if who not in (*OWN, NodeParser.name)]
    return min(peers, key=of_case.__getitem__, default=None)


def _parsers(results: Results) -> Table:
    times = _times(results)
    ours = _ours(results)
    rows = []
    for who, version in results["versions"].items():
        failed = sum(
            row["who"] == who and "mistake" in row for row in _rows(results, parsing.SECTION)
        )
        ratios = sorted(_ratios(times, who, ours).values())
        mean, least, most = (
            (f"{ratio:.2f}" for ratio in (geometric_mean(ratios), ratios[0], ratios[-1]))
            if ratios
            else ("", "", "")
        )
        if ratios or failed:
            rows.append([who, version, mean, least, most, str(len(ratios)), str(failed or "")])
    headers = ["parser", "version", "geometric mean", "least", "most", "cases", "failed"]
    note = (
        f"Ratios of the time per event to that of {ours}: CPU time, but {NodeParser.name}'s as it "
        "passes. Failed: cases that the parser gets wrong, or does not get done, and has no time "
        "for."
    )
    return Table("From bytes to events: all cases", headers, rows, [note] if rows else [])


def _missing(results: Results) -> list[str]:
    return [f"Not here: {who} ({why})." for who, why in results["missing"].items()]


def _comparisons(results: Results) -> Table:
    """The two parsers of this library against those that matter: how many times as fast."""
    times = _times(results)
    for of_case in times.values():
        if fastest := _fastest_peer(of_case):
            of_case["the fastest Python peer of each case"] = of_case[fastest]
    rows = []
    for own in OWN:
        for other in ("httpx2", "the fastest Python peer of each case", NodeParser.name):
            if ratios := _ratios(times, other, own):
                worst = min(ratios, key=ratios.__getitem__)
                mean = f"{geometric_mean(ratios.values()):.2f}"
                rows.append([f"{own}, against {other}", mean, f"{ratios[worst]:.2f} in {worst}"])
    return Table("How many times as fast", ["who", "geometric mean", "at least"], rows)


def _wins_of_others(results: Results) -> list[str]:
    """Return a sentence for each case in which another parser is faster."""
    ours = _ours(results)
    spread = {
        (row["case"], row["who"]): row["ns"] * row["spread"]
        for row in _rows(results, parsing.SECTION)
        if "ns" in row
    }
    won = []
    for case, of_case in _times(results).items():
        rivals = {who: ns for who, ns in of_case.items() if who not in OWN}
        if ours in of_case and rivals:
            best = min(rivals, key=rivals.__getitem__)
            lead = of_case[ours] - rivals[best]
            if lead > 0:
                unsure = lead < spread[case, ours] + spread[case, best]
                won.append(
                    f"{case}: {best}, {rivals[best]:,.0f} ns to {of_case[ours]:,.0f}"
                    f"{' (within the spread)' if unsure else ''}"
                )
    return won


def _grid(
    results: Results, section: str, title: str, cases: Mapping[str, str], headers: str = ""
) -> Table:
    """Return a table of who by case, of the cases given with their headings."""
    cells: dict[str, dict[str, Row]] = {}
    for row in _rows(results, section):
        if row["case"] in cases:
            cells.setdefault(row["who"], {})[row["case"]] = row
    rows = [
        [who, *(_cell(of_case[case]) if case in of_case else "" for case in cases)]
        for who, of_case in cells.items()
    ]
    return Table(title, [headers or "parser", *cases.values()], rows)


def _cell(row: Row) -> str:
    if "ns" in row:
        return f"{row['ns']:,.0f} ±{row['spread']:.0%}"
    return TOO_SLOW if row["mistake"].startswith(TOO_SLOW) else "wrong"


def _fixtures(results: Results) -> Iterator[Table]:
    by_fixture: dict[str, dict[str, str]] = {}
    for row in _rows(results, parsing.SECTION):
        fixture, chunking = row["case"].split("/")
        heading = "a chunk per event" if chunking == "event" else f"{chunking}-byte chunks"
        by_fixture.setdefault(fixture, {})[row["case"]] = heading
    for fixture, cases in by_fixture.items():
        title = f"{fixture}: nanoseconds per {'comment' if fixture == 'idle' else 'event'}"
        table = _grid(results, parsing.SECTION, title, cases)
        table.notes = _mistakes(results, parsing.SECTION, cases)
        yield table


def _mistakes(results: Results, section: str, cases: Iterable[str]) -> list[str]:
    return [
        f"{row['who']} gets {row['case']} wrong: {row['mistake']}"
        for row in _rows(results, section)
        if "mistake" in row and row["case"] in cases
    ]


def _section(results: Results, section: str, title: str, found: str = "") -> Table:
    """Return the table of a section, of the cases that `found` is found in."""
    cases = list(dict.fromkeys(row["case"] for row in _rows(results, section)))
    cases = [case for case in cases if found in case]
    if section == parsing.NDJSON_SECTION:  # many cases, few ways
        whos = list(dict.fromkeys(row["who"] for row in _rows(results, section)))
        cells = {(row["case"], row["who"]): _cell(row) for row in _rows(results, section)}
        rows = [[case, *(cells.get((case, who), "") for who in whos)] for case in cases]
        table = Table(title, ["stream/chunks, loads", *whos], rows)
    else:
        table = _grid(results, section, title, dict(zip(cases, cases, strict=True)), "who")
    table.notes = _mistakes(results, section, cases)
    return table


def _scale(results: Results) -> Table:
    rows = [
        [
            loop,
            f"{told['replies']:,.0f}",
            f"{told['events_per_second']:,.0f}",
            f"{told['bytes_per_reply'] / 1024:.1f}" if told["bytes_per_reply"] else "",
            f"{told['slowest_to_median']:.2f}",
        ]
        for loop, told in results["scale"].items()
    ]
    headers = [
        "loop",
        "replies in flight",
        "events a second",
        "KiB of memory for each",
        "slowest reply to the median one",
    ]
    return Table("Scale: replies in flight in one process", headers, rows)


def _broken_rules(told: Mapping[str, Any]) -> dict[str, int]:
    """Return the numbers of the rules that a parser breaks, and in how many cases."""
    numbers = [rule.partition(":")[0] for rule in told["broken"]]
    return {number: numbers.count(number) for number in RULES if number in numbers}


def _conformance(results: Results) -> Table:
    rows = []
    for who, told in results["conformance"].items():
        broken = _broken_rules(told)
        words = "; ".join(f"{RULES[number]} ({count})" for number, count in broken.items())
        rows.append([who, str(told["cases"]), str(sum(broken.values())), words])
    headers = ["parser", "cases", "broken", "rules broken (in so many cases)"]
    return Table("Conformance, by the cases of tests/test_sse.py", headers, rows)


def _broken(results: Results) -> list[str]:
    return [
        f"{who}, {rule}: {got}"
        for who, told in results["conformance"].items()
        for rule, got in told["broken"].items()
    ]


def tables(results: Results) -> list[Table]:
    """Return all that there is to tell, as tables."""
    titles = {
        parsing.NDJSON_SECTION: "NDJSON: nanoseconds per value",
        drivers.SECTION: "Drivers, in memory: nanoseconds per event",
        end_to_end.SECTION: "End to end over HTTP on one machine: nanoseconds of CPU per event",
    }
    summary = _parsers(results)
    won = _wins_of_others(results)
    if summary.rows:
        summary.notes += _missing(results)
        summary.notes += ["Others win: " + "; ".join(won) + "." if won else "No other wins a case."]
    return [
        summary,
        _comparisons(results),
        *_fixtures(results),
        *(_section(results, section, title) for section, title in titles.items()),
        _scale(results),
        _conformance(results),
        Table("On", [], [], [_machine(results)]),
    ]


def _machine(results: Results) -> str:
    about = results["about"]
    commit = f" at {about['commit']}" if about["commit"] else ""
    return (
        f"Measured{commit} on {about['date']}: {about['python']}, {about['system']}, "
        f"{about['processor']}. The drivers use {about['decoder']}."
    )


def read(path: Path) -> Results:
    """Return the results in a file.

    Raises OSError, and ValueError for a file that has none.
    """
    results = json.loads(path.read_text("utf-8"))
    match results:
        case {"runs": [*rows]} if all(map(_is_row, rows)):
            return dict(results)
        case _:
            raise ValueError("these are no results of a benchmark")


def _is_row(row: object) -> bool:
    match row:
        case {"section": str(), "case": str(), "who": str(), "mistake": str()}:
            return True
        case {"section": str(), "case": str(), "who": str(), "ns": float() | int() as ns}:
            return 0 < ns < math.inf
        case _:
            return False


def against(results: Results, earlier: Results, name: str) -> Table:
    """Return how many times as long each one takes as in earlier results.

    The others are there too: what they changed by is the machine's part.
    """
    before = {(row["section"], row["case"], row["who"]): row for row in earlier["runs"]}
    changes: dict[tuple[str, str], dict[str, float]] = {}
    for row in results["runs"]:
        old = before.get((row["section"], row["case"], row["who"]), {})
        if "ns" in row and "ns" in old:
            of_who = changes.setdefault((row["section"], row["who"]), {})
            of_who[row["case"]] = row["ns"] / old["ns"]
    rows = []
    for (section, who), of_who in changes.items():
        best, worst = min(of_who, key=of_who.__getitem__), max(of_who, key=of_who.__getitem__)
        rows.append(
            [
                f"{section}: {who}",
                str(len(of_who)),
                f"{geometric_mean(of_who.values()):.2f}",
                f"{of_who[best]:.2f} in {best}",
                f"{of_who[worst]:.2f} in {worst}",
            ]
        )
    headers = ["who", "cases", "geometric mean", "least", "most"]
    notes = [] if rows else [f"{name} has none of these cases: there is nothing to compare."]
    return Table(f"Times as long as in {name}", headers, rows, notes)


# The files


def publish(results: Results, readme: Path = README, folder: Path = RESULTS) -> None:
    """Write results.json, report.md and chart.svg, and the README's section."""
    folder.mkdir(exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    (folder / "report.md").write_text(_report(results), "utf-8")
    _draw(results, folder / "chart.svg")
    before, after = readme_parts(readme)
    readme.write_text(f"{before}\n{readme_section(results)}{after}", "utf-8")


def check_publishable() -> None:
    """Exit with a message if `publish` could not do its work, or not say what was measured."""
    for path in (README, *RESULTS.glob("*"), *([] if RESULTS.exists() else [RESULTS.parent])):
        if not os.access(path, os.W_OK):
            raise SystemExit(f"{path.relative_to(ROOT)} cannot be written")
    if find_spec("matplotlib") is None:
        raise SystemExit("matplotlib is missing, which draws the chart of a full run")
    if _commit().endswith("-dirty"):
        raise SystemExit("commit what was changed first: the report names the commit")
    readme_parts()


def readme_parts(readme: Path = README) -> tuple[str, str]:
    """Return what is before and after the section, each with its marker."""
    text = readme.read_text("utf-8")
    before, start, rest = text.partition(MARKERS[0])
    _, end, after = rest.partition(MARKERS[1])
    if not (start and end):
        raise SystemExit(f"{readme.name} has no section between {' and '.join(MARKERS)}")
    return before + start, end + after


def _report(results: Results) -> str:
    parts = ["# What it costs\n", f"`{results['about']['command']}` wrote this page.\n"]
    for table in tables(results):
        parts += [f"## {table.title}\n", table.markdown()]
    broken = _broken(results)
    parts += ["## Each broken case, and what the parser got\n"]
    parts += ["".join(f"- {_inline(line)}\n" for line in broken)]
    return "\n".join(parts)


def readme_section(results: Results) -> str:
    """Return what is between the markers: the chart, the summary, and what others win."""
    ours, count = _ours(results), len(_times(results))
    won = _wins_of_others(results)
    parts = [
        f"![Time per event of each parser, as a multiple of that of {ours}]({CHART})\n",
        "How many times as fast, from bytes to events that are freed, in one interleaved run:\n",
        _comparisons(results).markdown(),
        f"Another parser is faster than {ours} in {len(won)} of {count} cases: {'; '.join(won)}.\n"
        if won
        else f"No other parser is faster than {ours} in any of the {count} cases.\n",
    ]
    if ours == COMPILED:
        parts.append(_lost_by_python(results))
    parts.append(_summary_with_rules(results).markdown())
    for section, title, found in (
        (end_to_end.SECTION, "A whole client of DarkAI over HTTP, nanoseconds per event", ""),
        (drivers.SECTION, "Drivers in memory, nanoseconds per event", ""),
        (parsing.NDJSON_SECTION, "NDJSON, a whole body, nanoseconds per value", "whole"),
    ):
        parts += [f"{title}:\n", _section(results, section, title, found).markdown()]
    parts += [
        "Replies in flight at once in one process, over the transport in memory:\n",
        _scale(results).markdown(),
        "All times are of repeated passes, and so with warm caches.\n",
        f"{_machine(results)} `{results['about']['command']}` does it again.\n",
        f"[The report]({REPORT}) has every case and every broken rule.\n",
    ]
    return "\n".join(part for part in parts if part)


def _summary_with_rules(results: Results) -> Table:
    table = _parsers(results)
    table.headers = [*table.headers, "rules broken"]
    for row in table.rows:
        told = results["conformance"].get(row[0])
        row.append(str(len(_broken_rules(told))) if told else "not tested")
    rules = f"Rules broken: of the {len(RULES)} that the test cases of this project cover."
    table.notes = [f"{' '.join(table.notes)} {rules}", *_missing(results)]
    return table


def _lost_by_python(results: Results) -> str:
    """Return in which cases the parser in Python is slower than another one in Python."""
    of_cases = {case: times for case, times in _times(results).items() if PYTHON in times}
    lost: dict[str, list[str]] = {}
    for case, of_case in of_cases.items():
        fastest = _fastest_peer(of_case)
        if fastest is not None and of_case[fastest] < of_case[PYTHON]:
            lost.setdefault(fastest, []).append(case)
    if not lost:
        return f"Nor is another one in Python faster than {PYTHON}.\n"
    winners = "; ".join(f"{who} in {', '.join(cases)}" for who, cases in lost.items())
    return f"Of those in Python, another is faster than {PYTHON}: {winners}.\n"


def _draw(results: Results, path: Path) -> None:
    """Draw each parser's ratios: a bar to the geometric mean, a dot for each case."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    times, ours = _times(results), _ours(results)
    ratios = {who: list(_ratios(times, who, ours).values()) for who in results["versions"]}
    means = {who: geometric_mean(values) for who, values in ratios.items() if values}
    ranked = sorted(means, key=means.__getitem__, reverse=True)
    with mpl.rc_context({"svg.hashsalt": "sseparse", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(8, 0.6 + 0.34 * len(ranked)), layout="constrained")
        axes = figure.subplots()
        for height, who in enumerate(ranked):
            color = "#1f6f8b" if who in OWN else "#9aa5ad"
            axes.barh(height, means[who] - 1, left=1, height=0.6, color=color, alpha=0.55)
            dots = [height] * len(ratios[who])
            axes.scatter(ratios[who], dots, s=7, color=color, edgecolors="none", zorder=3)
            axes.annotate(
                f"{means[who]:.1f}",
                (max(ratios[who]), height),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
            )
        axes.set_xscale("log")
        everything = [ratio for values in ratios.values() for ratio in values] or [1]
        axes.set_xlim(min(everything) * 0.7, max(everything) * 2)
        axes.axvline(1, color="#1f6f8b", linewidth=0.8)
        axes.set_yticks(range(len(ranked)), ranked)
        axes.set_xlabel(
            f"time per event, as a multiple of {ours}'s: geometric mean, and a dot for each case"
        )
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, metadata={"Date": None})
