"""The benchmark's streams hold what they claim, and no time is given for what is wrong."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from rich.progress import Progress

from benchmarks import __main__ as command
from benchmarks import drivers, end_to_end, parsing, report, runs, scale
from benchmarks.fixtures import FIXTURES, NDJSON_FIXTURES, Fixture
from benchmarks.peers import OWN, PYTHON, MissingPeer, NodeParser, Peer, find_peers
from benchmarks.rules import RULES, cases, conformance
from benchmarks.runs import Effort, Run, first_difference, measure
from sseparse import NDJSONDecoder, ServerSentEvent, SSEDecoder
from tests.support.rules import CASES

ONCE = Effort(rounds=1, seconds=0, patience=10)
PEERS, MISSING = find_peers()
HERE = next(peer for peer in PEERS if peer.name == PYTHON)

# How many events a stream has, its first ones, and its last one.
OPENAI = (
    '{"id":"chatcmpl-B7xKq2mVdT5nYw0RzJc9LfUe3HsGa","object":"chat.completion.chunk",'
    '"created":1740000000,"model":"gpt-4o-2024-08-06","service_tier":"default",'
    '"system_fingerprint":"fp_0123456789","choices":[{"index":0,"delta":%s,"logprobs":null,'
    '"finish_reason":null}],"usage":null}'
)
OPENROUTER = (
    '{"id":"gen-1740000000-aBcDeFgHiJkLmNoPqRsT","model":"openai/gpt-4o-mini",'
    '"object":"chat.completion.chunk","created":1740000000,"choices":[{"index":0,'
    '"delta":{"role":"assistant","content":"%s"},"finish_reason":null}]}'
)
DARKAI = '{"event":"text-chunk","data":{"text":"%s"}}'
DELTA = '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%s"}%s}'
MESSAGES = {
    1: ServerSentEvent(
        "content_block_start",
        '{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}   }',
    ),
    2: ServerSentEvent("ping", '{"type": "ping"}'),
    3: ServerSentEvent("content_block_delta", DELTA % (" Why", "")),
    4: ServerSentEvent("content_block_delta", DELTA % (" did", " ")),
    5: ServerSentEvent("content_block_delta", DELTA % (" the", "  ")),
    -1: ServerSentEvent("message_stop", '{"type":"message_stop"     }'),
}
HELD: dict[str, tuple[int, dict[int, ServerSentEvent]]] = {
    "openai": (
        1000,
        {
            0: ServerSentEvent(data=OPENAI % '{"role":"assistant","content":"","refusal":null}'),
            1: ServerSentEvent(data=OPENAI % '{"content":" Why"}'),
            2: ServerSentEvent(data=OPENAI % '{"content":" did"}'),
            -1: ServerSentEvent(data="[DONE]"),
        },
    ),
    "darkai": (
        3000,
        {
            0: ServerSentEvent(data=DARKAI % " Why"),
            1: ServerSentEvent(data=DARKAI % " did"),
            -1: ServerSentEvent(data='{"event":"stream-end"}'),
        },
    ),
    "anthropic": (1500, MESSAGES),
    "identified": (500, {}),
    "heartbeat": (
        500,
        {
            0: ServerSentEvent(data=OPENROUTER % " Why"),
            1: ServerSentEvent(data=OPENROUTER % " did"),
            -1: ServerSentEvent(data=OPENROUTER % " ?"),
        },
    ),
    "crlf": (1500, MESSAGES),
    "cr": (1500, MESSAGES),
    "multibyte": (
        3000,
        {
            0: ServerSentEvent(data=DARKAI % " Warum"),
            1: ServerSentEvent(data=DARKAI % " hörte"),
            6: ServerSentEvent(data=DARKAI % " 因为"),
            14: ServerSentEvent(data=DARKAI % " 🎉"),
            15: ServerSentEvent(data=DARKAI % " 👩\u200d💻"),
        },
    ),
    "large-multiline": (30, {}),
    "drip": (1, {}),
    "invalid-lines": (
        2000,
        {0: ServerSentEvent(data='{"text":" Why"}'), 1: ServerSentEvent(data='{"text":" did"}')},
    ),
    "idle": (0, {}),
}

CUT_FIXTURES = [
    pytest.param(fixture, chunking, id=f"{fixture.name}-{chunking}")
    for fixture in (*FIXTURES, *NDJSON_FIXTURES)
    for chunking in fixture.chunkings
]


def named(name: str) -> Fixture:
    return next(fixture for fixture in FIXTURES if fixture.name == name)


def body(name: str) -> bytes:
    return b"".join(named(name).writes)


# The streams


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture.name)
def test_expected_events_are_the_ones_written_down_here(fixture: Fixture) -> None:
    count, events = HELD[fixture.name]
    assert len(fixture.expected) == count
    assert {i: fixture.expected[i] for i in events} == events


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture.name)
def test_decoder_yields_the_expected_events(fixture: Fixture) -> None:
    for chunking in fixture.chunkings:
        decoder = SSEDecoder()
        events = [event for chunk in fixture.chunks(chunking) for event in decoder.feed(chunk)]
        assert events + decoder.close() == list(fixture.expected)
        assert not decoder.incomplete


@pytest.mark.parametrize(("fixture", "chunking"), CUT_FIXTURES)
def test_chunks_are_the_whole_stream_cut_as_named(fixture: Fixture, chunking: str) -> None:
    chunks = fixture.chunks(chunking)
    assert b"".join(chunks) == b"".join(fixture.writes)
    if chunking == "event":
        assert all(chunk[-1:] in b"\r\n" for chunk in chunks)
        assert len(chunks) >= len(fixture.expected)
    elif chunking == "whole":
        assert len(chunks) == 1
    else:
        assert {len(chunk) for chunk in chunks[:-1]} == {int(chunking)}


def test_openai_and_darkai_have_plain_data_lines() -> None:
    assert named("openai").writes[-1] == b"data: [DONE]\n\n"
    assert named("darkai").writes[-1] == b'data: {"event":"stream-end"}\n\n'


def test_anthropic_has_types() -> None:
    assert named("anthropic").writes[2] == b'event: ping\ndata: {"type": "ping"}\n\n'


def test_identified_has_an_id_a_type_and_1_kib_of_data() -> None:
    fixture = named("identified")
    assert fixture.writes[1].startswith(b'id: 1740000000-2\nevent: change\ndata: {"title":"Page 2"')
    event = fixture.expected[1]
    assert (event.event, event.id, len(event.data)) == ("change", "1740000000-2", 1024)
    assert event.json()["comment"].startswith("Why did the parser stop")


def test_heartbeat_has_nine_comments_to_an_event() -> None:
    assert body("heartbeat").startswith(b": OPENROUTER PROCESSING\n\n" * 9 + b'data: {"id":"gen-')


@pytest.mark.parametrize(("name", "end"), [("crlf", b"\r\n"), ("cr", b"\r")])
def test_line_ends_are_of_one_kind(name: str, end: bytes) -> None:
    assert body(name).replace(end, b"\n") == body("anthropic")
    assert named(name).writes[2] == end.join([b"event: ping", b'data: {"type": "ping"}', b"", b""])


def test_multibyte_has_characters_of_every_length_and_cuts_inside_of_them() -> None:
    text = body("multibyte").decode()
    assert {len(character.encode()) for character in text} == {1, 2, 3, 4}
    assert any(chunk[0] & 0xC0 == 0x80 for chunk in named("multibyte").chunks("1024"))


def test_large_multiline_has_600_lines_an_event() -> None:
    fixture = named("large-multiline")
    lines = fixture.expected[1].data.split("\n")
    assert len(lines) == 600
    assert lines[:4] == ["{", '  "step": 2,', '  "tasks": [', '    {"name": "task-0", "done": 0},']
    assert lines[-3:] == ['    {"name": "task-594", "done": 1188},', "  ]", "}"]
    assert (fixture.expected[1].event, fixture.expected[1].id) == ("snapshot", "2")
    start = b'id: 2\nevent: snapshot\ndata: {\ndata:   "step": 2,\ndata:   "tasks": [\n'
    assert fixture.writes[1].startswith(start)


def test_drip_is_one_line_of_256_kib_in_four_byte_chunks() -> None:
    line = body("drip").removesuffix(b"\n\n")
    assert len(line) == 256 * 1024
    assert line.startswith(b'data: {"type":"image","b64_json":"iVBORw0KGgo')
    assert line.count(b"\n") == 0
    assert named("drip").chunkings == ("4",)
    assert named("drip").expected[0].data.encode() == line.removeprefix(b"data: ")


def test_invalid_lines_are_none_that_mean_something() -> None:
    assert named("invalid-lines").writes[1] == (
        b"error: upstream 1\nDATA: no\nretry: soon\nx-request: 0123456789abcdef\n"
        b'data: {"text":" did"}\n\n'
    )


def test_idle_has_comments_alone_and_counts_them() -> None:
    assert body("idle") == b": ping - 2025-01-01 00:00:00+00:00\n\n" * 5000
    assert named("idle").count == 5000


@pytest.mark.parametrize("fixture", NDJSON_FIXTURES, ids=lambda fixture: fixture.name)
def test_ndjson_has_the_payloads_of_the_events(fixture: Fixture) -> None:
    events = named(fixture.name.removesuffix(".ndjson")).expected
    payloads = [event.data for event in events if event.data != "[DONE]"]
    assert b"".join(fixture.writes).decode().splitlines() == payloads
    assert [json.dumps(value) for value in fixture.expected] == [
        json.dumps(json.loads(payload)) for payload in payloads
    ]
    decoder = NDJSONDecoder()
    values = [value for chunk in fixture.chunks("1024") for value in decoder.feed(chunk)]
    assert values + decoder.close() == fixture.expected


# The peers


def test_peers_are_here_or_missing() -> None:
    assert PYTHON in [peer.name for peer in PEERS]
    assert len(PEERS) + len(MISSING) == 12
    assert all(peer.version for peer in PEERS)
    assert all(MISSING.values())


# What each of them gets wrong. Whoever corrects it will be told here.
WRONG = {
    "aiohttp-sse-client2": {"cr", "large-multiline"},
    "requests-sse": {"large-multiline"},
}


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_peer_gets_right_what_is_not_known_to_be_wrong(peer: Peer) -> None:
    fixtures = [fixture for fixture in FIXTURES if fixture.name != "drip" or peer.name in OWN]
    runs = [parsing.parser_run(peer, fixture, fixture.chunkings[-1]) for fixture in fixtures]
    wrong = {run.case.partition("/")[0]: run.check() for run in runs}
    assert {name for name, mistake in wrong.items() if mistake} == WRONG.get(peer.name, set())


def _node() -> NodeParser:
    try:
        return NodeParser(install=False)
    except MissingPeer as error:
        pytest.skip(str(error))


def test_node_parses_and_times() -> None:
    node = _node()
    try:
        number, events = node.load(named("anthropic").chunks("1024"))
        assert events == list(named("anthropic").expected)
        assert node.time(number, 0) > 0
        number, events = node.load(named("multibyte").chunks("event"))
        assert events == list(named("multibyte").expected)
        assert node.time(number, 0.01) > 0
    finally:
        node.close()


def test_node_without_a_node_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(MissingPeer, match="there is no node"):
        NodeParser(install=False)


# The runs


def measured(*runs: Run, effort: Effort = ONCE) -> list[Run]:
    with Progress(disable=True) as progress:
        return measure(runs, effort, progress, "test")


def peer_run(parse: Callable[[Sequence[bytes]], list[Any]]) -> Run:
    return parsing.parser_run(
        Peer("other", "1", parse, HERE.read, has_retry=True), named("darkai"), "65536"
    )


def _raises(chunks: Sequence[bytes]) -> list[Any]:
    raise RuntimeError("no such parser")


def _strips(chunks: Sequence[bytes]) -> list[Any]:
    events = HERE.parse(chunks)
    events[-1] = ServerSentEvent(data=events[-1].data[:-1])
    return events


def _doubles_the_last(chunks: Sequence[bytes]) -> list[Any]:
    events = HERE.parse(chunks)
    return [*events, events[-1]]


def _finds_nothing(chunks: Sequence[bytes]) -> list[Any]:
    return []


FIRST = """(event='message', data='{"event":"text-chunk","data":{"text":" Why"}}', id='')"""
LAST = """(event='message', data='{"event":"stream-end"}', id='')"""
LAST_STRIPPED = """(event='message', data='{"event":"stream-end"', id='')"""


@pytest.mark.parametrize(
    ("parse", "mistake"),
    [
        (_raises, "raised RuntimeError('no such parser')"),
        (_strips, f"event 3000 is {LAST_STRIPPED}, expected {LAST}"),
        (_doubles_the_last, f"event 3001 is {LAST}, expected nothing"),
        (_finds_nothing, f"event 1 is nothing, expected {FIRST}"),
    ],
)
def test_wrong_peer_has_no_time_and_is_shown_with_what_it_got(
    parse: Callable[[Sequence[bytes]], list[Any]], mistake: str, tmp_path: Path
) -> None:
    [run] = measured(peer_run(parse))
    assert (run.mistake, run.times) == (mistake, [])
    results = report.collect([run], {"other": "1"}, {}, {}, {})
    tables = report.tables(results)
    assert ["other", "wrong"] in [row for table in tables for row in table.rows]
    assert f"other gets darkai/65536 wrong: {mistake}" in [
        note for table in tables for note in table.notes
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="it has no timer that interrupts")
def test_slow_run_is_given_up_and_has_no_time() -> None:
    def check() -> str:
        sleep(60)
        return ""

    run = Run("section", "case", "who", check, lambda: 1.0)
    measured(run, effort=Effort(1, 0, patience=0.05))
    assert (run.mistake, run.times) == ("too slow: not done after 0.05 s", [])


def test_slow_run_has_fewer_turns_and_each_has_a_warm_up() -> None:
    def slowly() -> str:
        sleep(0.03)
        return ""

    def slow() -> float:
        turns.append(slowly() or "slow")
        return 5.0

    def fast() -> float:
        turns.append("fast")
        return 1.0

    turns: list[str] = []
    effort = Effort(rounds=6, seconds=0.2, patience=10)
    slow_run, fast_run = measured(
        Run("section", "case", "slow", slowly, slow),
        Run("section", "case", "fast", lambda: "", fast),
        effort=effort,
    )
    assert slow_run.times == [5.0] * 3
    # One turn more tells how long a turn takes.
    assert turns.count("slow") == 2 * (1 + 3)
    assert fast_run.times == [1.0] * 6
    assert turns.count("fast") > 100
    assert (slow_run.ns, slow_run.spread) == (5.0, 0.0)


def test_pass_that_takes_long_is_a_turn_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[float] = []

    def once() -> float:
        sleep(0.01)
        passes.append(1.0)
        return 1.0

    monkeypatch.setattr(runs, "LONG_PASS_SECONDS", 0.005)
    [run] = measured(Run("section", "case", "who", lambda: "", once))
    assert len(passes) == 1 + len(run.times)


@pytest.mark.parametrize(
    ("times", "spread"),
    [
        ([8.0, 10.0, 11.0], 2 / 10),
        ([100.0, *range(1, 40)], 6 / 20.5),
    ],
    ids=["of a few times it is all of them", "the ranks 14 and 27 of 40"],
)
def test_spread_is_that_of_the_confidence_interval_of_the_median(
    times: list[float], spread: float
) -> None:
    run = Run("section", "case", "who", lambda: "", lambda: 1.0, times=times)
    assert run.spread == pytest.approx(spread, abs=0.03)


def test_garbage_collection_is_as_before_after_a_run() -> None:
    def once() -> float:
        assert not gc.isenabled()
        return 1.0

    [run] = measured(Run("section", "case", "who", lambda: "", once))
    assert run.times
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_no_difference_is_found_between_equals() -> None:
    assert first_difference([None, {"a": 1}], [None, {"a": 1}]) == ""
    assert first_difference([None], [None, 2]) == "event 2 is nothing, expected 2"


# The sections


def test_ndjson_runs_are_right() -> None:
    found = [run for run in parsing.ndjson_runs() if run.case.startswith("openai")]
    assert [run.mistake for run in measured(*found)] == [""] * 10
    assert {run.who for run in found if "whole" in run.case} == {
        "NDJSONDecoder",
        "split, loads",
        "decode, split, loads",
    }
    assert {run.who for run in found if "1024" in run.case} == {"NDJSONDecoder"}


def test_driver_runs_are_right_on_both_loops() -> None:
    found = [run for run in drivers.driver_runs() if run.case == "darkai/65536"]
    assert [run.mistake for run in measured(*found)] == [""] * 7
    assert [run.who for run in found][-2:] == ["text: stream", "text: stream, on trio"]


def test_every_client_gets_the_text_over_http() -> None:
    with end_to_end.serving() as url:
        found = [run for run in end_to_end.end_to_end_runs(url) if run.case == "at once"]
        measured(*found)
    assert [run.mistake for run in found] == [""] * len(end_to_end.clients())
    assert all(run.times for run in found)


@pytest.mark.parametrize("loop", scale.LOOPS)
def test_scale_tells_of_every_reply(loop: str) -> None:
    told = scale.measure_scale(loop, 20, repeats=1)
    assert told["replies"] == 20
    assert told["events_per_second"] > 0
    assert told["slowest_to_median"] >= 1


@pytest.mark.parametrize("peer", [peer for peer in PEERS if peer.name in OWN], ids=str)
def test_own_parsers_break_no_rule(peer: Peer) -> None:
    told = conformance(peer)
    assert told["broken"] == {}
    assert told["cases"] > 100


def test_conformance_knows_the_rules_of_the_cases() -> None:
    numbers = {case.rule.partition(":")[0] for case in CASES if ": " in case.rule}
    # 12 is about the option for the last event ID.
    assert numbers - RULES.keys() == {"12"}
    streams = {rule: stream for rule, stream, _ in cases(with_retry=True)}
    assert streams["10: retry '7' is 7"] == b"retry: 7\ndata\n\n"
    assert "10: retry '7' is 7" not in [rule for rule, _, _ in cases(with_retry=False)]


def test_broken_rule_is_told_with_what_was_got_and_how_it_was_cut() -> None:
    def parse(chunks: Sequence[bytes]) -> list[Any]:
        if b"data: a\xffb\n\n" in chunks:
            raise UnicodeError
        return HERE.parse([chunk + b"\n" if chunk == b"x" else chunk for chunk in chunks])

    told = conformance(Peer("other", "1", parse, HERE.read, has_retry=True))
    assert told["broken"]["1: invalid UTF-8 becomes U+FFFD"] == "raised UnicodeError"


# The report


@pytest.fixture
def results() -> report.Results:
    def run(section: str, case: str, who: str, ns: float, mistake: str = "") -> Run:
        times = [] if mistake else [ns]
        return Run(section, case, who, lambda: "", lambda: ns, times=times, mistake=mistake)

    cases = ("darkai/event", "darkai/65536", "idle/event", "idle/65536")
    runs = [
        *(run("parsing", case, PYTHON, 1000) for case in cases),
        *(run("parsing", case, "peer", 250) for case in cases),
        run("parsing", "darkai/event", "other", 0, "event 1 is nothing"),
        run("NDJSON", "darkai.ndjson/whole, json", "NDJSONDecoder", 300),
        run("NDJSON", "darkai.ndjson/whole, json", "split, then loads", 200),
        run("drivers", "darkai/65536", "text: stream", 2500),
        run("drivers", "darkai/65536", "text: stream, on trio", 3000),
    ]
    told = {"replies": 10, "events_per_second": 1e4, "bytes_per_reply": 2048}
    broken = {"2: a BOM": "nothing", "2: a second BOM": "nothing", "9: id": "(event='<b>', …)"}
    return report.collect(
        runs,
        {PYTHON: "0.1.0", "peer": "2.0", "other": "1"},
        {"sseparse": "not compiled"},
        {"trio": {**told, "slowest_to_median": 1.25}},
        {PYTHON: {"cases": 9, "broken": {}}, "peer": {"cases": 9, "broken": broken}},
    )


def words(text: str) -> str:
    """Undo the alignment of tables and the wrapping of lines."""
    return " ".join(text.split())


def test_markdown_tells_everything(results: report.Results) -> None:
    text = words("\n".join(table.markdown() for table in report.tables(results)))
    assert f"| {PYTHON} | 0.1.0 | 1.00 | 1.00 | 1.00 | 4 | |" in text
    assert "| peer | 2.0 | 0.25 | 0.25 | 0.25 | 4 | |" in text
    assert "Not here: sseparse (not compiled)." in text
    assert "darkai/event: peer, 250 ns to 1,000;" in text
    assert f"| {PYTHON}, against the fastest Python peer of each case | 0.25 | 0.25 in " in text
    assert (
        f"| parser | a chunk per event | 65536-byte chunks | | --- | ---: | ---: | | {PYTHON} "
        in text
    )
    assert "| darkai.ndjson/whole, json | 300 ±0% | 200 ±0% |" in text
    assert "| text: stream, on trio | 3,000 ±0% |" in text
    assert "| trio | 10 | 10,000 | 2.0 | 1.25 |" in text
    assert "| peer | 9 | 3 | one byte order mark is stripped (2); id (1) |" in text
    assert "| other | wrong | |" in text


def test_publishing_writes_the_files_and_the_section_of_the_readme_alone(
    results: report.Results, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib", reason="the chart is drawn with it")
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- performance -->\nold\n<!-- /performance -->\nafter\n", "utf-8")
    report.publish(results, readme, tmp_path / "results")
    first = readme.read_text("utf-8")
    report.publish(results, readme, tmp_path / "results")
    assert readme.read_text("utf-8") == first
    assert first.startswith("before\n<!-- performance -->\n![")
    assert first.endswith("\n<!-- /performance -->\nafter\n")
    assert json.loads((tmp_path / "results" / "results.json").read_text("utf-8")) == results
    assert "# What it costs" in (tmp_path / "results" / "report.md").read_text("utf-8")
    assert "</svg>" in (tmp_path / "results" / "chart.svg").read_text("utf-8")


def test_section_of_the_readme_tells_machine_versions_command_and_who_wins(
    results: report.Results,
) -> None:
    section = report.readme_section(results)
    assert "](benchmarks/results/chart.svg)" in section
    assert f"Another parser is faster than {PYTHON} in 4 of 4 cases: darkai/event: peer" in section
    assert "| peer | 2.0 | 0.25 | 0.25 | 0.25 | 4 |  | 2 |" in section
    assert "| other | 1 |  |  |  | 0 | 1 | not tested |" in section
    assert results["about"]["processor"] in section
    assert results["about"]["python"] in section
    assert "`uv run python -m benchmarks`" in section
    assert str(Path(__file__).parents[2]) not in section


def test_readme_without_the_markers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("no section\n", "utf-8")
    with pytest.raises(SystemExit, match=r"README\.md has no section between <!-- performance -->"):
        report.readme_parts(tmp_path / "README.md")


def test_full_run_that_could_not_draw_is_refused_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "run", None)
    monkeypatch.setattr(report, "find_spec", lambda _: None)
    with pytest.raises(SystemExit, match="matplotlib is missing"):
        command.main(["--here"])


def test_comparison_with_earlier_results_has_everyone_in_both(results: report.Results) -> None:
    earlier = json.loads(json.dumps(results))
    for row in earlier["runs"]:
        if row["who"] == PYTHON and row["case"] == "darkai/event":
            row["ns"] = 500.0
    earlier["runs"] = [row for row in earlier["runs"] if row["who"] != "text: stream"]
    rows = {row[0]: row[1:] for row in report.against(results, earlier, "old.json").rows}
    mean, least, most = "1.19", "1.00 in darkai/65536", "2.00 in darkai/event"
    assert rows[f"parsing: {PYTHON}"] == ["4", mean, least, most]
    assert rows["parsing: peer"][1] == "1.00"
    assert "drivers: text: stream, on trio" in rows
    assert not {"drivers: text: stream", "parsing: other"} & rows.keys()


# The command


@pytest.fixture
def no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: NodeParser) -> None:
        raise MissingPeer("there is no node")

    monkeypatch.setattr(NodeParser, "__init__", missing)


def main(*arguments: str) -> int:
    return command.main(["--here", "--quick", *arguments])


@pytest.mark.usefixtures("no_node")
def test_quick_run_prints_the_selected_cases_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "publish", None)
    monkeypatch.setattr(command, "find_peers", lambda: ([HERE], {"other": "no module"}))
    assert main("--only", "darkai/65*") == 0
    output = words(capsys.readouterr().out)
    assert "darkai: nanoseconds per event" in output
    assert "Not here: other (no module)." in output
    assert "Not here: eventsource-parser (there is no node)." in output
    assert "Drivers, in memory" in output
    assert "openai" not in output
    assert "Conformance" not in output


@pytest.mark.usefixtures("no_node")
def test_status_is_1_when_sseparse_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Peer(PYTHON, "1", _strips, HERE.read, has_retry=True)
    monkeypatch.setattr(command, "find_peers", lambda: ([wrong], {}))
    assert main("--only", "parsing/darkai/65536") == 1
    assert main("--only", "conformance") == 1


def test_conformance_alone_needs_no_node(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("--only", "conformance") == 0
    output = words(capsys.readouterr().out)
    assert "Conformance, by the cases of tests/test_sse.py" in output
    assert "eventsource-parser" not in output


def test_comparison_is_printed_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"section": "NDJSON", "case": "darkai.ndjson/whole, json", "ns": 1.0}
    earlier = tmp_path / "old.json"
    earlier.write_text(json.dumps({"runs": [{**row, "who": "NDJSONDecoder"}]}), "utf-8")
    assert main("--only", "NDJSON/darkai.ndjson/whole, json", "--against", str(earlier)) == 0
    assert "Times as long as in old.json" in words(capsys.readouterr().out)


def test_full_run_publishes(monkeypatch: pytest.MonkeyPatch, results: report.Results) -> None:
    published: list[report.Results] = []
    monkeypatch.setattr(command, "run", lambda *_, **__: results)
    monkeypatch.setattr(report, "check_publishable", lambda: None)
    monkeypatch.setattr(report, "publish", published.append)
    assert command.main(["--here", "--python", sys.executable]) == 0
    assert published == [results]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert results["about"]["command"] == f"uv run python -m benchmarks --python {version}"


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
    assert Path.cwd() == Path(__file__).parents[2]


@pytest.mark.usefixtures("no_node")
def test_without_uv_it_says_what_to_install_and_runs_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert command.main(["--quick", "--only", "NDJSON/openai.ndjson/whole*"]) == 0
    assert "pip install -e . --group dev --group bench" in capsys.readouterr().err


def test_runs_as_a_module() -> None:
    arguments = ["--here", "--quick", "--only", "NDJSON/openai.ndjson/whole*"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "openai.ndjson/whole" in done.stdout


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{}", '{"runs": {"a": 1}}', '{"runs": [{}]}']
    + [
        '{"runs": [{"section": "parsing", "case": "a/1", "who": "b", "ns": ' + ns + "}]}"
        for ns in ("0", "-1", "NaN", "Infinity", '"1"', "null")
    ],
)
def test_earlier_results_that_are_none_are_refused_before_the_run(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier = tmp_path / "old.json"
    earlier.write_text(text, "utf-8")
    with pytest.raises(SystemExit) as exited:
        main("--against", str(earlier))
    assert exited.value.code == 2
    assert "old.json: " in words(capsys.readouterr().err)


def test_earlier_results_without_a_case_in_common_are_told(results: report.Results) -> None:
    [note] = report.against(results, {"runs": []}, "old.json").notes
    assert note == "old.json has none of these cases: there is nothing to compare."


def test_results_that_were_written_are_read(results: report.Results, tmp_path: Path) -> None:
    written = tmp_path / "results.json"
    written.write_text(json.dumps(results), "utf-8")
    assert report.read(written) == results


def test_what_is_not_committed_is_not_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "find_spec", lambda _: True)
    monkeypatch.setattr(report, "_commit", lambda: "1234567-dirty")
    with pytest.raises(SystemExit, match="commit what was changed first"):
        report.check_publishable()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--here", "--only", "nosuch"], "--only 'nosuch' is found in no section/case"),
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
