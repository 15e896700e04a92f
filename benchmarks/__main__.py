"""The command `python -m benchmarks`: measures and reports.

It runs itself again in an environment with the peers, made by uv.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from . import adopters, clients, drivers, end_to_end, files, parsing, report, scale
from .peers import OWN, MissingPeer, NodeParser, find_peers
from .results import ROOT, Results, collect, read
from .rules import broken_rules
from .runs import Effort, Run, measure

PARSERS_QUICK = Effort(rounds=1, seconds=0, patience=1)
PARSERS_FULL = Effort(rounds=40, seconds=1, patience=20)
CLIENTS_QUICK = Effort(rounds=1, seconds=0, patience=0)
CLIENTS_FULL = Effort(rounds=15, seconds=60, patience=0)

WITHOUT_UV = (
    "uv is not installed: only the peers of this environment are measured. To install all peers:\n"
    "    pip install -e . --group bench"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmarks and return the exit status: 1 if a result of sseparse is wrong."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure sseparse and other libraries. A full run writes benchmarks/results/ "
        "and the performance block of the README. Other runs write nothing.",
        allow_abbrev=False,
    )
    parser.add_argument("--quick", action="store_true", help="one round, about two minutes")
    parser.add_argument(
        "--only",
        metavar="PATTERN",
        help="measure only runs whose section/case contains PATTERN, wildcards allowed. Sections: "
        "parsing, NDJSON, files, adopters, drivers, steps, end to end, scale, rules. "
        "Example: parsing/openai/1024",
    )
    parser.add_argument(
        "--against",
        metavar="FILE",
        type=Path,
        help="compare with an earlier results.json",
    )
    parser.add_argument(
        "--python", metavar="VERSION", help="the Python of the environment (default: this one)"
    )
    parser.add_argument(
        "--here",
        action="store_true",
        help="use this environment and the peers installed in it",
    )
    options = parser.parse_args(arguments)
    earlier = None
    if options.against is not None:
        try:
            earlier = read(options.against)
        except (OSError, ValueError) as error:
            parser.error(f"--against {options.against}: {error}")
    if not options.here:
        uv = os.environ.get("UV") or shutil.which("uv")
        if uv is not None:
            _run_again(uv, options.python, options.against, arguments)
        print(WITHOUT_UV, file=sys.stderr)

    publishing = not options.quick and options.only is None
    if publishing:
        report.check_publishable()  # before measuring for minutes
    results = run(options.only or "", quick=options.quick)
    if options.python:
        results["about"]["command"] += f" --python {_python_version()}"
    if not any(results[part] for part in ("runs", "files", "scale", "rules")):
        parser.error(f"--only {options.only!r} matches no section/case")
    if publishing:
        report.publish(results)
    console = Console()
    for table in report.tables(results):
        table.show(console)
    console.print(report.machine(results), markup=False, highlight=False)
    if earlier is not None:
        report.against(results, earlier, options.against.name).show(console)
    return int(_wrong(results))


def _python_version() -> str:
    return ".".join(map(str, sys.version_info[:2]))


def _run_again(uv: str, version: str | None, against: Path | None, arguments: list[str]) -> None:
    """Replace this process: a child process would survive the end of this one."""
    python = version or _python_version()
    environment = [uv, "run", "--isolated", "--group", "bench", "--python", python]
    # The command runs in another folder.
    absolute = [] if against is None else ["--against", str(against.absolute())]
    command = [*environment, "python", "-m", "benchmarks", "--here", *arguments, *absolute]
    os.chdir(ROOT)
    os.execvp(uv, command)


def run(pattern: str = "", *, quick: bool) -> Results:
    """Measure the runs that contain `pattern` and return the results."""

    def matches(name: str) -> bool:
        return fnmatchcase(name, f"*{pattern}*")

    def selected(runs: Iterable[Run]) -> list[Run]:
        return [run for run in runs if matches(f"{run.section}/{run.case}")]

    parsers = PARSERS_QUICK if quick else PARSERS_FULL
    peers, missing = find_peers()
    packages, missing_packages = adopters.find_adopters(peers)
    missing |= missing_packages
    versions = {peer.name: peer.version for peer in peers}
    versions |= {package.name: package.theirs.version for package in packages}
    runs: list[Run] = []
    adopted: dict[str, Any] = {}
    read_files: dict[str, Any] = {}
    scales: dict[str, Any] = {}
    rules: dict[str, Any] = {}
    console = Console(stderr=True)
    with ExitStack() as stack:
        node: NodeParser | None = None
        if selected(parsing.parsing_runs(peers, None)):
            try:
                node = NodeParser()
            except MissingPeer as error:
                missing[NodeParser.name] = str(error)
            else:
                stack.callback(node.close)
                versions[node.name] = node.version
        # With auto_refresh a thread would draw the bar during timed runs.
        bar = Progress(
            console=console, auto_refresh=False, transient=True, disable=not console.is_terminal
        )
        progress = stack.enter_context(bar)
        if chosen := selected(parsing.parsing_runs(peers, node)):
            runs += measure(chosen, parsers, progress, "parsing")
        if chosen := selected(parsing.ndjson_runs()):
            runs += measure(chosen, parsers, progress, "NDJSON")
        if chosen := selected(adopters.adopter_runs(packages)):
            runs += measure(chosen, parsers, progress, adopters.SECTION)
            names = {run.case.partition("/")[0] for run in chosen}
            # The others have no event stream.
            decoding = [package for package in packages if package.theirs in peers]
            adopted = {
                package.name: adopters.compare_rules(package)
                for package in decoding
                if package.name in names
            }
        for section in (drivers.driver_runs, drivers.step_runs):
            if chosen := selected(section()):
                runs += measure(chosen, parsers, progress, chosen[0].section)
        libraries, missing_libraries = clients.find_packages()
        cases = end_to_end.QUICK_CASES if quick else end_to_end.CASES
        workers = stack.enter_context(end_to_end.Workers())
        client_runs = end_to_end.end_to_end_runs(workers, cases, libraries, variants=not quick)
        if chosen := selected(client_runs):
            versions |= libraries
            missing |= missing_libraries
            effort = CLIENTS_QUICK if quick else CLIENTS_FULL
            runs += measure(chosen, effort, progress, end_to_end.SECTION)
        if matches("files"):
            versions |= files.installed()
            task = progress.add_task("files", total=len(files.READERS))

            def report_reader(_: str) -> None:
                progress.advance(task)
                progress.refresh()

            size = files.QUICK_SIZE if quick else files.SIZE
            read_files = files.measure_files(size, report_reader)
        if matches("scale"):
            replies, repeats = (scale.REPLIES // 50, 1) if quick else (scale.REPLIES, 3)
            for loop, name in progress.track(scale.SUBJECTS, description="scale"):
                scales[f"{loop}, {name}"] = scale.measure_scale(loop, name, replies, repeats)
                progress.refresh()
        if matches("rules"):
            rules = {peer.name: broken_rules(peer) for peer in peers}
    return collect(runs, versions, missing, adopted, read_files, scales, rules)


def _wrong(results: Results) -> bool:
    """Return whether a result of sseparse is wrong."""
    own_sections = (
        parsing.NDJSON_SECTION,
        adopters.SECTION,
        drivers.SECTION,
        drivers.STEPS_SECTION,
    )
    return (
        any(
            "mistake" in row
            and (row["section"] in own_sections or row["subject"].startswith("sseparse"))
            for row in results["runs"]
        )
        or any(
            outcome["mistake"]
            for reader, outcome in results["files"].items()
            if reader.startswith("sseparse")
        )
        or any(results["rules"].get(parser, {}).get("broken") for parser in OWN)
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted: nothing written")
