"""The command `python -m benchmarks`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import adopters, report
from benchmarks.fixtures import DARKAI
from benchmarks.peers import PYTHON, MissingPeer, NodeParser, Peer, find_peers
from benchmarks.results import ROOT, Results
from benchmarks.runs import Effort

OWN = next(peer for peer in find_peers()[0] if peer.name == PYTHON)


@pytest.fixture(autouse=True)
def without_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a check take any time: a busy machine makes no run wrong."""
    monkeypatch.setattr(command, "PARSERS_QUICK", Effort(rounds=1, seconds=0, patience=1000))


@pytest.fixture
def without_node(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: NodeParser) -> None:
        raise MissingPeer("node is not installed")

    monkeypatch.setattr(NodeParser, "__init__", missing)


def main(*arguments: str) -> int:
    return command.main(["--here", "--quick", *arguments])


def words(text: str) -> str:
    """Undo the alignment of tables and the wrapping of lines."""
    return " ".join(text.split())


@pytest.mark.usefixtures("without_node")
def test_quick_run_prints_the_selected_cases_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "publish", None)
    monkeypatch.setattr(command, "find_peers", lambda: ([OWN], {"other": "no module"}))
    assert main("--only", "darkai/65*") == 0
    output = words(capsys.readouterr().out)
    assert "darkai: nanoseconds per event" in output
    assert "Not installed: other (no module)." in output
    assert "Not installed: eventsource-parser (node is not installed)." in output
    assert "decode and adecode" in output
    assert "Cost of a step" in output
    assert "openai" not in output
    assert "Rules of the event-stream format" not in output


@pytest.mark.usefixtures("without_node")
def test_status_is_1_when_sseparse_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(chunks: Sequence[bytes]) -> list[Any]:
        return OWN.parse(chunks)[:-1]

    wrong = Peer(PYTHON, "1", parse, OWN.read, has_retry=True)
    monkeypatch.setattr(command, "find_peers", lambda: ([wrong], {}))
    assert main("--only", "parsing/darkai/65536") == 1
    assert main("--only", "rules") == 1


def test_rules_alone_need_no_node(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("--only", "rules") == 0
    output = words(capsys.readouterr().out)
    assert "Rules of the event-stream format" in output
    assert "eventsource-parser" not in output


def test_adopters_alone_can_be_selected(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = adopters.Adopter(OWN, OWN, str, DARKAI)
    monkeypatch.setattr(command, "find_peers", lambda: ([OWN], {}))
    monkeypatch.setattr(adopters, "find_adopters", lambda _: ([package], {}))
    assert main("--only", "adopters/*/65536") == 0
    output = words(capsys.readouterr().out)
    assert "Adopters: nanoseconds per event" in output
    assert "65536-byte" in output
    assert "one chunk per event" not in output
    assert "decode and adecode" not in output


def test_comparison_is_printed_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"section": "NDJSON", "case": "darkai.ndjson/whole", "ns": 1.0}
    earlier = tmp_path / "old.json"
    earlier.write_text(json.dumps({"runs": [{**row, "subject": "by hand, json"}]}), "utf-8")
    assert main("--only", "NDJSON/darkai.ndjson/whole", "--against", str(earlier)) == 0
    output = words(capsys.readouterr().out)
    comparison = output.partition("Time as a multiple of the time in old.json")[2]
    assert "darkai.ndjson" in comparison


def test_full_run_publishes(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"section": "NDJSON", "case": "darkai.ndjson/whole", "subject": "a", "mistake": ""}
    about = dict.fromkeys(["commit", "date", "python", "system", "processor", "decoder"], "")
    results: Results = {"about": {**about, "command": "uv run --group bench python -m benchmarks"}}
    results |= {
        "runs": [row],
        "versions": {},
        "missing": {},
        "adopters": {},
        "files": {},
        "scale": {},
        "rules": {},
    }
    published: list[Results] = []
    monkeypatch.setattr(command, "run", lambda *_, **__: results)
    monkeypatch.setattr(report, "check_publishable", lambda: None)
    monkeypatch.setattr(report, "publish", published.append)
    command.main(["--here", "--python", sys.executable])
    assert published == [results]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert (
        results["about"]["command"]
        == f"uv run --group bench python -m benchmarks --python {version}"
    )


def test_full_run_that_could_not_be_published_is_refused_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command, "run", None)
    monkeypatch.setattr(report, "find_spec", lambda _: None)
    with pytest.raises(SystemExit, match="matplotlib is missing"):
        command.main(["--here"])


def test_environment_with_the_peers_is_made_by_uv(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def execute(program: str, arguments: list[str]) -> None:
        raise SystemExit(" ".join([program, *arguments]))

    earlier = tmp_path / "old.json"
    earlier.write_text('{"runs": []}', "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UV", "/bin/uv")
    monkeypatch.setattr(os, "execvp", execute)
    with pytest.raises(SystemExit) as exited:
        command.main(["--quick", "--python", "3.12", "--against", "old.json"])
    called = str(exited.value)
    assert called.startswith("/bin/uv /bin/uv run --isolated --group bench --python 3.12 python -m")
    assert f"--here --quick --python 3.12 --against old.json --against {earlier}" in called
    assert Path.cwd() == ROOT


@pytest.mark.usefixtures("without_node")
def test_without_uv_it_says_what_to_install_and_runs_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert command.main(["--quick", "--only", "NDJSON/openai.ndjson/whole"]) == 0
    assert "pip install -e . --group bench" in capsys.readouterr().err


@pytest.mark.slow
def test_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--here", "--quick", "--only", "rules"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Rules of the event-stream format" in done.stdout


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{}", '{"runs": {"a": 1}}', '{"runs": [{}]}']
    + [
        '{"runs": [{"section": "parsing", "case": "a/1", "subject": "b", "ns": ' + ns + "}]}"
        for ns in ("0", "-1", "NaN", "Infinity", '"1"', "null")
    ],
)
def test_invalid_earlier_results_are_refused_before_the_run(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier = tmp_path / "old.json"
    earlier.write_text(text, "utf-8")
    with pytest.raises(SystemExit) as exited:
        main("--against", str(earlier))
    assert exited.value.code == 2
    assert "old.json: " in words(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--here", "--only", "nosuch"], "--only 'nosuch' matches no section/case"),
        (["--against", "nosuch.json"], "--against nosuch.json: [Errno 2] No such file"),
        (["--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_wrong_arguments_are_named(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        command.main(argv)
    assert exited.value.code == 2
    assert message in words(capsys.readouterr().err)


def test_help_names_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        command.main(["-h"])
    assert exited.value.code == 0
    output = capsys.readouterr().out
    options = ("--quick", "--only PATTERN", "--against FILE", "--python VERSION", "--here")
    assert all(option in output for option in options)
