"""The report: its tables, its files, and the comparison with earlier results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.peers import PYTHON
from benchmarks.results import ROOT, Results, collect, read
from benchmarks.runs import Run


@pytest.fixture
def results() -> Results:
    def run(section: str, case: str, subject: str, ns: float, mistake: str = "") -> Run:
        times = [] if mistake else [ns]
        return Run(section, case, subject, str, float, times=times, mistake=mistake)

    cases = ("darkai/event", "darkai/65536", "idle/event", "idle/65536")
    scale = {"replies": 10, "events_per_second": 1e4, "bytes_per_reply": 2048, "bytes_per_task": 0}
    broken = {"2: a BOM": "nothing", "2: a second BOM": "nothing", "9: id": "(event='<b>', …)"}
    return collect(
        [
            *(run("parsing", case, PYTHON, 1000) for case in cases),
            *(run("parsing", case, "peer", 250) for case in cases),
            run("parsing", "darkai/event", "other", 0, "event 1 is nothing"),
            run("NDJSON", "darkai.ndjson/whole", "NDJSONDecoder, json", 300),
            run("NDJSON", "darkai.ndjson/whole", "by hand, json", 200),
            run("adopters", "peer/event", "its own parser", 900),
            run("adopters", "peer/event", "sseparse", 300),
            run("adopters", "peer/65536", "its own parser", 800),
            run("adopters", "peer/65536", "sseparse", 100),
            run("adopters", "other/event", "its own parser", 0, "event 1 is nothing"),
            run("drivers", "darkai/65536", "adecode, from an async generator", 400),
            run("steps", "darkai/event, asyncio", "by hand: receive, feed, interpret", 1000),
            run("steps", "darkai/event, asyncio", "stream", 2500),
            run("steps", "darkai/event, trio", "by hand: receive, feed, interpret", 1000),
            run("steps", "darkai/event, trio", "stream", 3000),
            run("steps", "darkai/event, trio", "EventSource", 4000),
            run("end to end", "OpenAI/paced", "sseparse: stream on httpx2", 90_000),
            run("end to end", "OpenAI/paced", "sseparse: stream on aiohttp", 60_000),
            run("end to end", "OpenAI/paced", "sseparse: stream on aiohttp (uvloop)", 50_000),
            run("end to end", "OpenAI/paced", "httpx2: EventSource, json.loads", 135_000),
            run("end to end", "OpenAI/first text", "sseparse: stream on aiohttp", 900_000),
            run("end to end", "Gemini/bulk", "google-genai", 0, "the text has 1 characters"),
        ],
        versions={PYTHON: "0.1.0", "peer": "2.0", "other": "1", "openai": "3.57.0"},
        missing={"sseparse": "not compiled"},
        adopters={
            "peer": {
                "changed": [
                    {"rule": "9: id", "input": "b'id'", "theirs": "nothing", "ours": "(id='')"},
                    {"rule": "9: NUL", "input": "b'0'", "theirs": "a", "ours": "b"},
                ],
                "kept": ["11: an id alone sets the ID", "11: but it is no event"],
            }
        },
        files={
            "a loop": {
                "lines": 2000,
                "size": 3_000_000,
                "lines_per_second": 150_000.4,
                "peak_memory": 20_000_000,
                "mistake": "",
            },
            "pandas": {"lines": 2000, "size": 3_000_000, "mistake": "the sums are [1, 2]"}
            | {"lines_per_second": 1.0, "peak_memory": 1},
        },
        scale={"trio, memory": {**scale, "slowest_to_median": 1.25}},
        rules={PYTHON: {"cases": 9, "broken": {}}, "peer": {"cases": 9, "broken": broken}},
    )


def words(text: str) -> str:
    """Undo the alignment of tables and the wrapping of lines."""
    return " ".join(text.split())


# Tables


@pytest.mark.parametrize(
    "line",
    [
        f"| {PYTHON} | 0.1.0 | 1.00 | 1.00 | 1.00 | 4 | | 0 |",
        "| peer | 2.0 | 0.25 | 0.25 | 0.25 | 4 | | 2 |",
        "| other | 1 | | | | 0 | 1 | not tested |",
        "Not installed: sseparse (not compiled).",
        f"| {PYTHON}, against the fastest other Python parser of each case | 0.25 | 0.25 in darkai",
        f"| darkai/event | {PYTHON} | 1,000 | peer | 250 | no |",
        f"| parser | one chunk per event | 65536-byte chunks | | --- | ---: | ---: | | {PYTHON} ",
        "| other | wrong | |",
        "other gets darkai/event wrong: event 1 is nothing",
        "| decoder, loads | one chunk | | --- | ---: | | NDJSONDecoder, json | 300 ±0% |",
        "| peer 2.0 | one chunk per event | 900 ±0% | 300 ±0% | 3.00 |",
        "| peer 2.0 | 65536-byte chunks | 800 ±0% | 100 ±0% | 8.00 |",
        "| other 1 | one chunk per event | wrong | | |",
        "its own parser gets other/event wrong: event 1 is nothing",
        "| id | peer (2) | b'id' | nothing | (id='') |",
        "Kept by the adapters of peer: 11: an id alone sets the ID; 11: but it is no event.",
        "| adecode, from an async generator | | 400 ±0% |",
        "| darkai/event, asyncio | 1,000 ±0% | 2,500 ±0% | 2.50 | | | |",
        "| darkai/event, trio | 1,000 ±0% | 3,000 ±0% | 3.00 | | 4,000 ±0% | |",
        "| sseparse: stream on httpx2 | 90,000 ±0% | | | |",
        "| sseparse: stream on aiohttp | 60,000 ±0% | | | 900,000 ±0% |",
        "google-genai gets Gemini/bulk wrong: the text has 1 characters",
        "Versions: openai 3.57.0.",
        "| a loop | 150,000 | 20 |",
        "| pandas | wrong | |",
        "stream on httpx2, beside httpx2: EventSource, json.loads | OpenAI/paced | 1.50 | 1 |",
        "| trio, memory | 10 | 10,000 | 2.0 | | 1.25 |",
        "| peer | 9 | 3 | one byte order mark is stripped (2); id (1) |",
    ],
)
def test_tables_have_everything(results: Results, line: str) -> None:
    assert line in words("\n".join(table.markdown() for table in report.tables(results)))


def test_comparison_with_earlier_results_has_every_run_in_both(results: Results) -> None:
    earlier = json.loads(json.dumps(results))
    for row in earlier["runs"]:
        if row["subject"] == PYTHON and row["case"] == "darkai/event":
            row["ns"] = 500.0
    earlier["runs"] = [row for row in earlier["runs"] if row["subject"] != "stream"]
    rows = {row[0]: row[1:] for row in report.against(results, earlier, "old.json").rows}
    mean, least, most = "1.19", "1.00 in darkai/65536", "2.00 in darkai/event"
    assert rows[f"parsing: {PYTHON}"] == ["4", mean, least, most]
    assert rows["parsing: peer"][1] == "1.00"
    assert "steps: EventSource" in rows
    assert not {"steps: stream", "parsing: other"} & rows.keys()


def test_comparison_without_a_case_in_common_says_so(results: Results) -> None:
    [note] = report.against(results, {"runs": []}, "old.json").notes
    assert note == "old.json has none of these cases."


# Files


def test_publishing_writes_the_files_and_only_the_block_of_the_readme(
    results: Results, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib", reason="the chart is drawn with it")
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- performance -->\nold\n<!-- /performance -->\nafter\n", "utf-8")
    folder = tmp_path / "results"
    report.publish(results, readme, folder)
    first = readme.read_text("utf-8")
    report.publish(results, readme, folder)
    assert readme.read_text("utf-8") == first
    assert first.startswith("before\n<!-- performance -->\n![")
    assert first.endswith("\n<!-- /performance -->\nafter\n")
    assert read(folder / "results.json") == results
    for name in ("chart.svg", "clients.svg"):
        assert "</svg>" in (folder / name).read_text("utf-8")
    text = words((folder / "report.md").read_text("utf-8"))
    assert results["about"]["processor"] in text
    assert results["about"]["python"] in text
    assert "- peer, 9: id: (event='&lt;b>', …)" in text
    assert "## How times are measured - Each run is checked first." in text
    assert str(ROOT) not in text


def test_block_of_the_readme_is_the_charts_and_a_few_sentences(results: Results) -> None:
    block = words(report.readme_block(results))
    assert "shorter is faster](benchmarks/results/chart.svg) ![" in block
    assert "shorter is cheaper](benchmarks/results/clients.svg)" in block
    assert f"{PYTHON} is ? as fast as httpx2's and 0.2 times as fast as the fastest" in block
    assert "another parser is faster in 4 of the 4 cases." in block
    clients = (
        "stream on aiohttp 60 µs, stream on httpx2 90 µs, httpx2: EventSource, json.loads 135 µs."
    )
    assert f"if one arrives every 250 µs: {clients}" in block
    assert block.endswith("parse so many times as fast: peer 4.9.")
    results["runs"] = [row for row in results["runs"] if row["section"] != "adopters"]
    assert words(report.readme_block(results)).endswith(clients)


def test_readme_without_the_markers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("no block\n", "utf-8")
    with pytest.raises(SystemExit, match=r"README\.md has no block between <!-- performance -->"):
        report.readme_parts(tmp_path / "README.md")


def test_readme_of_the_project_has_the_markers() -> None:
    assert all(report.readme_parts())


def test_uncommitted_changes_are_not_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "find_spec", lambda _: True)
    monkeypatch.setattr(report, "commit", lambda: "1234567-dirty")
    with pytest.raises(SystemExit, match="commit all changes first"):
        report.check_publishable()


def test_chart_needs_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "find_spec", lambda _: None)
    with pytest.raises(SystemExit, match="matplotlib is missing"):
        report.check_publishable()
