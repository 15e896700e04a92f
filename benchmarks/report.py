"""The report: tables for the terminal and for Markdown, and the README's block."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from operator import itemgetter
from pathlib import Path
from statistics import geometric_mean
from textwrap import fill
from typing import Any

import rich.table
from rich.console import Console
from rich.markup import escape

from . import adopters, chart, drivers, end_to_end, parsing, runs
from .clients import CLIENTS
from .peers import COMPILED, OWN, PYTHON, NodeParser
from .results import (
    ROOT,
    Results,
    Row,
    base_parser,
    commit,
    python_peers,
    ratios,
    rows_of,
    times_of,
)
from .rules import RULES
from .runs import TOO_SLOW

README = ROOT / "README.md"
FOLDER = Path(__file__).with_name("results")
CHARTS = "benchmarks/results"
MARKERS = ("<!-- performance -->", "<!-- /performance -->")

DRIVERS = "decode and adecode: nanoseconds per event"
END_TO_END = "Whole clients over HTTP: nanoseconds of CPU time per event"
ADAPTERS = (
    "Each adapter is a recipe in benchmarks/adopters.py. The results of both parsers are compared "
    "before they are timed. kubernetes has lines in place of events. anthropic's own parser also "
    "keeps the lines of each event."
)
_BY_HAND = "aiohttp: lines by hand, json.loads"
# Case, client, other client, and the factor by which the client should be cheaper: "" for a client
# that is not of sseparse.
GOALS = [
    *(
        (f"OpenAI/{case}", client, other, wanted)
        for case in ("paced", "100 streams")
        for client, other, wanted in (
            ("sseparse: stream on aiohttp", "openai", "5"),
            (_BY_HAND, "openai", ""),
            ("sseparse: stream on aiohttp (uvloop)", "openai", "5"),
            (f"{_BY_HAND} (uvloop)", "openai", ""),
            ("sseparse: stream on httpx2", "httpx2: EventSource, json.loads", "1"),
            ("sseparse: stream on its own httpx2 client", "httpx2: EventSource, json.loads", "1"),
            (
                "sseparse: sync.stream on its own httpx2 client (threads)",
                "httpx2: EventSource, json.loads (threads)",
                "1",
            ),
        )
    ),
    ("OpenAI/bulk", "sseparse: stream on aiohttp", _BY_HAND, "1"),
]
FASTEST = "the fastest other Python parser of each case"


@dataclass
class Table:
    """A table of text, with notes below it."""

    title: str
    headers: Sequence[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """Return the table as Markdown, without its title."""
        notes = [f"{_inline(note)}\n" for note in self.notes]
        if not self.rows:
            return "\n".join(notes)
        lines = [self.headers, ["---", *["---:"] * (len(self.headers) - 1)], *self.rows]
        table = "".join(f"| {' | '.join(map(_inline, line))} |\n" for line in lines)
        return "\n".join([table, *notes])

    def show(self, console: Console) -> None:
        """Print the table."""
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


# Tables


def tables(results: Results) -> list[Table]:
    """Return all tables of the report."""
    darkai = {f"darkai/{chunking}": _heading(chunking) for chunking in drivers.CHUNKINGS}
    return [
        _parsers(results),
        _comparisons(results),
        _faster_parsers(results),
        *_fixtures(results, parsing.SECTION, "event", "parser"),
        *_fixtures(results, parsing.NDJSON_SECTION, "value", "decoder, loads"),
        _adopters(results),
        _changed_cases(results),
        _grid(results, drivers.SECTION, DRIVERS, "driver", darkai),
        _steps(results),
        *_clients(results),
        _goals(results),
        _files(results),
        _scale(results),
        _rules(results),
    ]


def _parsers(results: Results) -> Table:
    base = base_parser(results)
    times = times_of(results, parsing.SECTION)
    rows = []
    for parser, version in results["versions"].items():
        wrong = [row for row in rows_of(results, parsing.SECTION) if "mistake" in row]
        failed = sum(row["subject"] == parser for row in wrong)
        values = sorted(ratios(times, parser, base).values())
        figures = (geometric_mean(values), values[0], values[-1]) if values else ()
        texts = [f"{figure:.2f}" for figure in figures] or [""] * 3
        outcome = results["rules"].get(parser)
        broken = str(len(_broken_rules(outcome))) if outcome else "not tested"
        if values or failed:
            rows.append([parser, version, *texts, str(len(values)), str(failed or ""), broken])
    note = (
        f"Time per event as a multiple of {base}'s: CPU time, except elapsed time for "
        f"{NodeParser.name}, a JavaScript parser on Node. Failed: cases with wrong events, or "
        f"given up as too slow. Rules broken: of {len(RULES)} rules of the event-stream format."
    )
    missing = [f"Not installed: {name} ({why})." for name, why in results["missing"].items()]
    headers = ["parser", "version", "geometric mean", "least", "most", "cases", "failed"]
    headers.append("rules broken")
    return Table("Parsers: time per event", headers, rows, [note, *missing] if rows else [])


def _speed(results: Results, own: str, other: str) -> dict[str, float]:
    """Return how many times as fast as `other` `own` is, by case."""
    times = times_of(results, parsing.SECTION)
    for ns in times.values():
        if peers := python_peers(ns):
            ns[FASTEST] = min(peers.values())
    return ratios(times, other, own)


def _comparisons(results: Results) -> Table:
    rows = []
    for own in OWN:
        for other in ("httpx2", FASTEST, NodeParser.name):
            if speed := _speed(results, own, other):
                worst = min(speed, key=speed.__getitem__)
                mean = f"{geometric_mean(speed.values()):.2f}"
                rows.append([f"{own}, against {other}", mean, f"{speed[worst]:.2f} in {worst}"])
    return Table("Times as fast", ["parsers", "geometric mean", "least"], rows)


def _faster_parsers(results: Results) -> Table:
    rows = []
    if COMPILED in results["versions"]:
        rows += _faster(
            results, COMPILED, lambda ns: {name: ns[name] for name in ns if name not in OWN}
        )
    rows += _faster(results, PYTHON, python_peers)
    headers = ["case", "parser", "ns", "faster parser", "ns", "within the spread"]
    note = f"{PYTHON} is compared with other Python parsers only."
    title = "Cases in which another parser is faster"
    return Table(title, headers, rows, [note] if rows else [])


def _faster(
    results: Results, own: str, rivals_of: Callable[[Mapping[str, float]], dict[str, float]]
) -> list[list[str]]:
    """Return a row for each case in which one of the rivals is faster than `own`."""
    rows = {(row["case"], row["subject"]): row for row in rows_of(results, parsing.SECTION)}
    faster = []
    for case, ns in times_of(results, parsing.SECTION).items():
        rivals = rivals_of(ns)
        best = min(rivals, key=rivals.__getitem__, default=own)
        if own in ns and ns[best] < ns[own]:
            margin = sum(ns[name] * rows[case, name]["spread"] for name in (own, best))
            unsure = "yes" if ns[own] - ns[best] < margin else "no"
            faster.append([case, own, f"{ns[own]:,.0f}", best, f"{ns[best]:,.0f}", unsure])
    return faster


def _grid(
    results: Results, section: str, title: str, corner: str, cases: Mapping[str, str]
) -> Table:
    """Return a table with a row for each subject and a column for each case.

    corner: the heading of the subjects.
    cases: the headings of the cases.
    """
    rows = [row for row in rows_of(results, section) if row["case"] in cases]
    cells = {(row["subject"], row["case"]): _cell(row) for row in rows}
    subjects = dict.fromkeys(row["subject"] for row in rows)
    texts = [[name, *(cells.get((name, case), "") for case in cases)] for name in subjects]
    return Table(title, [corner, *cases.values()], texts, _mistakes(rows))


def _cell(row: Row) -> str:
    if "ns" in row:
        return f"{row['ns']:,.0f} ±{row['spread']:.0%}"
    return TOO_SLOW if row["mistake"].startswith(TOO_SLOW) else "wrong"


def _mistakes(rows: Sequence[Row]) -> list[str]:
    return [
        f"{row['subject']} gets {row['case']} wrong: {row['mistake']}"
        for row in rows
        if "mistake" in row
    ]


def _fixtures(results: Results, section: str, unit: str, corner: str) -> Iterator[Table]:
    by_fixture: dict[str, dict[str, str]] = {}
    for row in rows_of(results, section):
        fixture, chunking = row["case"].split("/")
        by_fixture.setdefault(fixture, {})[row["case"]] = _heading(chunking)
    for fixture, cases in by_fixture.items():
        title = f"{fixture}: nanoseconds per {'comment' if fixture == 'idle' else unit}"
        yield _grid(results, section, title, corner, cases)


def _heading(chunking: str) -> str:
    names = {"event": "one chunk per event", "whole": "one chunk"}
    return names.get(chunking, f"{chunking}-byte chunks")


def _steps(results: Results) -> Table:
    """Return the table of stream and EventSource, each beside code written by hand."""
    rows = rows_of(results, drivers.STEPS_SECTION)
    cells = {(row["case"], row["subject"]): _cell(row) for row in rows}
    times = times_of(results, drivers.STEPS_SECTION)
    headers = ["chunks, loop"]
    texts = {case: [case] for case, _ in cells}
    for driver, by_hand in drivers.BY_HAND.items():
        headers += [by_hand, driver, f"{driver} / by hand"]
        quotients = ratios(times, driver, by_hand)
        for case, line in texts.items():
            line += [cells.get((case, subject), "") for subject in (by_hand, driver)]
            line.append(f"{quotients[case]:.2f}" if case in quotients else "")
    title = "Cost of a step, over MemoryTransport: nanoseconds per event"
    return Table(title, headers, list(texts.values()), _mistakes(rows))


def _adopters(results: Results) -> Table:
    """Return the table of packages, each with its own parser and with sseparse."""
    rows = rows_of(results, adopters.SECTION)
    cells = {(row["case"], row["subject"]): _cell(row) for row in rows}
    speed = _adopted_speed(results)
    texts = []
    for case in dict.fromkeys(row["case"] for row in rows):
        package, _, chunking = case.partition("/")
        ns = [cells.get((case, subject), "") for subject in (adopters.THEIRS, adopters.OURS)]
        factor = f"{speed[case]:.2f}" if case in speed else ""
        version = results["versions"].get(package, "")
        texts.append([f"{package} {version}", _heading(chunking), *ns, factor])
    headers = ["package", "chunks", adopters.THEIRS, adopters.OURS, "times as fast"]
    title = "Adopters: nanoseconds per event, from chunks to the package's own events"
    return Table(title, headers, texts, [*_mistakes(rows), ADAPTERS] if rows else [])


def _adopted_speed(results: Results) -> dict[str, float]:
    """Return how many times as fast packages are with sseparse, by case."""
    times = times_of(results, adopters.SECTION)
    return ratios(times, adopters.THEIRS, adopters.OURS)


def _changed_cases(results: Results) -> Table:
    """Return the rules that the packages' parsers break, with a case of each."""
    firsts: dict[tuple[str, ...], list[str]] = {}
    kept: dict[str, list[str]] = {}
    for package, outcome in results["adopters"].items():
        if outcome["kept"]:
            kept.setdefault("; ".join(outcome["kept"]), []).append(package)
        by_rule: dict[str, list[dict[str, str]]] = {}
        for case in outcome["changed"]:
            by_rule.setdefault(case["rule"].partition(":")[0], []).append(case)
        for number, cases in by_rule.items():
            first = number, *(cases[0][name] for name in ("input", "theirs", "ours"))
            firsts.setdefault(first, []).append(f"{package} ({len(cases)})")
    rules = list(RULES)
    rows = [
        [RULES[number], ", ".join(packages), *case]
        for (number, *case), packages in sorted(
            firsts.items(), key=lambda item: rules.index(item[0][0])
        )
    ]
    notes = [f"Kept by the adapters of {', '.join(names)}: {rule}." for rule, names in kept.items()]
    headers = ["rule", "broken by (cases)", "a case", adopters.THEIRS, adopters.OURS]
    return Table("Adopters: rules of the event-stream format", headers, rows, notes)


def _clients(results: Results) -> Iterator[Table]:
    """Yield a table of the clients of each service."""
    for service, clients in CLIENTS.items():
        cases = {f"{service}/{case}": heading for case, heading in end_to_end.HEADINGS.items()}
        table = _grid(results, end_to_end.SECTION, f"{service}: {END_TO_END}", "client", cases)
        packages = dict.fromkeys(client.package for client in clients.values())
        versions = [
            f"{name} {results['versions'][name]}"
            for name in packages
            if name in results["versions"]
        ]
        if table.rows and versions:
            table.notes.append(f"Versions: {', '.join(versions)}.")
        yield table


def _goals(results: Results) -> Table:
    """Return how many times as cheap clients of sseparse are, beside the wanted factor."""
    times = times_of(results, end_to_end.SECTION)
    rows = [
        [
            f"{client}, beside {other}",
            case,
            f"{times[case][other] / times[case][client]:.2f}",
            wanted,
        ]
        for case, client, other, wanted in GOALS
        if {client, other} <= times.get(case, {}).keys()
    ]
    headers = ["client of OpenAI's protocol", "case", "times as cheap", "wanted"]
    note = (
        "Where each event comes alone, the wake-up and the read of the socket cost more than "
        "parsing: a loop by hand on aiohttp costs about the least that a client on it can."
    )
    return Table("Whole clients: goals", headers, rows, [note] if rows else [])


def _files(results: Results) -> Table:
    rows: list[list[str]] = []
    lines = size = 0.0
    for reader, outcome in results["files"].items():
        lines, size = outcome["lines"], outcome["size"]
        cells = [f"{outcome['lines_per_second']:,.0f}", f"{outcome['peak_memory'] / 1e6:,.0f}"]
        rows.append([reader, *(cells if not outcome["mistake"] else ["wrong", ""])])
    title = f"Files: {lines:,.0f} lines of JSON, {size / 1e6:,.0f} MB"
    return Table(title, ["reader", "lines per second", "peak MB, of the largest process"], rows)


def _scale(results: Results) -> Table:
    rows = [
        [
            subject,
            f"{outcome['replies']:,.0f}",
            f"{outcome['events_per_second']:,.0f}",
            *(
                f"{outcome[size] / 1024:.1f}" if outcome[size] else ""
                for size in ("bytes_per_reply", "bytes_per_task")
            ),
            f"{outcome['slowest_to_median']:.2f}",
        ]
        for subject, outcome in results["scale"].items()
    ]
    headers = ["loop, transport", "replies", "events per second", "KiB per reply", "KiB per task"]
    headers.append("waits of the slowest reply / median reply")
    return Table("Scale: many replies at once in one process", headers, rows)


def _broken_rules(outcome: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of broken cases of each broken rule."""
    numbers = [rule.partition(":")[0] for rule in outcome["broken"]]
    return {number: numbers.count(number) for number in RULES if number in numbers}


def _rules(results: Results) -> Table:
    rows = []
    for parser, outcome in results["rules"].items():
        broken = _broken_rules(outcome)
        texts = "; ".join(f"{RULES[number]} ({count})" for number, count in broken.items())
        rows.append([parser, str(outcome["cases"]), str(sum(broken.values())), texts])
    headers = ["parser", "cases", "broken cases", "broken rules (cases of each)"]
    return Table("Rules of the event-stream format, by this project's test cases", headers, rows)


def machine(results: Results) -> str:
    """Return the machine, the versions, the date and the commit, as a sentence."""
    about = results["about"]
    at_commit = f" at {about['commit']}" if about["commit"] else ""
    return (
        f"Measured{at_commit} on {about['date']}: {about['python']}, {about['system']}, "
        f"{about['processor']}. The drivers use {about['decoder']}."
    )


def against(results: Results, earlier: Results, name: str) -> Table:
    """Return the times as multiples of those in earlier results.

    Other libraries are included: their times change with the machine alone.
    """
    before = {(row["section"], row["case"], row["subject"]): row for row in earlier["runs"]}
    changes: dict[tuple[str, str], dict[str, float]] = {}
    for row in results["runs"]:
        old = before.get((row["section"], row["case"], row["subject"]), {})
        if "ns" in row and "ns" in old:
            by_case = changes.setdefault((row["section"], row["subject"]), {})
            by_case[row["case"]] = row["ns"] / old["ns"]
    rows = []
    for (section, subject), by_case in changes.items():
        mean = f"{geometric_mean(by_case.values()):.2f}"
        ends = (pick(by_case, key=by_case.__getitem__) for pick in (min, max))
        texts = [f"{by_case[case]:.2f} in {case}" for case in ends]
        rows.append([f"{section}: {subject}", str(len(by_case)), mean, *texts])
    headers = ["run", "cases", "geometric mean", "least", "most"]
    notes = [] if rows else [f"{name} has none of these cases."]
    return Table(f"Time as a multiple of the time in {name}", headers, rows, notes)


# Files


def publish(results: Results, readme: Path = README, folder: Path = FOLDER) -> None:
    """Write results.json, report.md, the charts and the README's block."""
    folder.mkdir(exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    (folder / "report.md").write_text(_report(results), "utf-8")
    chart.draw_parsers(results, folder / "chart.svg")
    chart.draw_clients(results, folder / "clients.svg")
    before, after = readme_parts(readme)
    readme.write_text(f"{before}\n{readme_block(results)}{after}", "utf-8")


def check_publishable() -> None:
    """Exit with a message if `publish` would fail or could not name the commit."""
    for path in (README, *FOLDER.glob("*"), *([] if FOLDER.exists() else [FOLDER.parent])):
        if not os.access(path, os.W_OK):
            raise SystemExit(f"{path.relative_to(ROOT)} is not writable")
    if find_spec("matplotlib") is None:
        raise SystemExit("matplotlib is missing: a full run draws the chart with it")
    if commit().endswith("-dirty"):
        raise SystemExit("commit all changes first: the report names the commit")
    readme_parts()


def readme_parts(readme: Path = README) -> tuple[str, str]:
    """Return the README before and after its block, each with its marker."""
    text = readme.read_text("utf-8")
    before, start, rest = text.partition(MARKERS[0])
    _, end, after = rest.partition(MARKERS[1])
    if not (start and end):
        raise SystemExit(f"{readme.name} has no block between {' and '.join(MARKERS)}")
    return before + start, end + after


def _report(results: Results) -> str:
    written = f"Written by `{results['about']['command']}`. {machine(results)}\n"
    parts = ["# Benchmark report\n", written]
    for table in tables(results):
        if text := table.markdown():
            parts += [f"## {table.title}\n", text]
    broken = [
        f"- {_inline(f'{parser}, {rule}: {got}')}\n"
        for parser, outcome in results["rules"].items()
        for rule, got in outcome["broken"].items()
    ]
    parts += ["## Broken cases, each with the parser's events\n", "".join(broken)]
    title, _, method = str(runs.__doc__).partition(".\n\n")
    return "\n".join([*parts, f"## {title}\n", method])


def readme_block(results: Results) -> str:
    """Return the README's block: the chart and a few sentences."""
    base, count = base_parser(results), len(times_of(results, parsing.SECTION))
    factors = {
        other: f"{geometric_mean(speed.values()):.1f} times"
        for other in ("httpx2", FASTEST, NodeParser.name)
        if (speed := _speed(results, base, other))
    }
    paced = times_of(results, end_to_end.SECTION).get("OpenAI/paced", {})
    clients = ", ".join(
        f"{subject.removeprefix('sseparse: ')} {ns / 1000:.0f} µs"
        for subject, ns in sorted(paced.items(), key=itemgetter(1))
        if not subject.endswith(")")
    )
    faster = [row for row in _faster_parsers(results).rows if row[1] == base]
    sentences = (
        f"The parser of {base} is {factors.get('httpx2', '?')} as fast as httpx2's and "
        f"{factors.get(FASTEST, '?')} as fast as {FASTEST} (geometric means of {count} cases). "
        f"{NodeParser.name}, a JavaScript parser on Node, takes {factors.get(NodeParser.name, '?')}"
        f" as long; another parser is faster in {len(faster)} of the {count} cases. "
        "Whole clients on asyncio take this CPU time per event, if one arrives every 250 µs: "
        f"{clients}."
    )
    by_package: dict[str, list[float]] = {}
    for case, factor in _adopted_speed(results).items():
        by_package.setdefault(case.partition("/")[0], []).append(factor)
    if by_package:
        means = (f"{name} {geometric_mean(ns):.1f}" for name, ns in by_package.items())
        sentences += (
            " Packages that put it in place of their own parser, with an adapter of a dozen lines "
            f"(`benchmarks/adopters.py`), parse so many times as fast: {', '.join(means)}."
        )
    charts = {
        "chart.svg": f"Time per event of each parser as a multiple of {base}'s: shorter is faster",
        "clients.svg": "CPU time per event of each client of OpenAI's protocol: shorter is cheaper",
    }
    images = "\n".join(f"![{text}]({CHARTS}/{name})" for name, text in charts.items())
    return f"{images}\n\n{fill(sentences, 100, break_on_hyphens=False)}\n"
