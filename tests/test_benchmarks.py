"""The benchmark's streams hold the events they claim, and no time is given for wrong ones."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from benchmarks import __main__ as benchmark
from benchmarks.fixtures import FIXTURES, Fixture
from benchmarks.peers import PEERS, Peer
from sseparse import ServerSentEvent, SSEDecoder

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
DELTA = '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%s"}%s}'
SNAPSHOT_2 = """\
{
  "step": 2,
  "tasks": [
    {"name": "task-0", "done": 0},
    {"name": "task-1", "done": 2},
    {"name": "task-2", "done": 4},
    {"name": "task-3", "done": 6},
    {"name": "task-4", "done": 8},
    {"name": "task-5", "done": 10},
    {"name": "task-6", "done": 12},
    {"name": "task-7", "done": 14},
    {"name": "task-8", "done": 16},
    {"name": "task-9", "done": 18},
    {"name": "task-10", "done": 20},
    {"name": "task-11", "done": 22},
    {"name": "task-12", "done": 24},
    {"name": "task-13", "done": 26},
    {"name": "task-14", "done": 28},
    {"name": "task-15", "done": 30},
    {"name": "task-16", "done": 32},
    {"name": "task-17", "done": 34},
    {"name": "task-18", "done": 36},
  ]
}"""
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
            0: ServerSentEvent(data='{"event":"text-chunk","data":{"text":" Why"}}'),
            1: ServerSentEvent(data='{"event":"text-chunk","data":{"text":" did"}}'),
            -1: ServerSentEvent(data='{"event":"stream-end"}'),
        },
    ),
    "anthropic": (
        1500,
        {
            1: ServerSentEvent(
                "content_block_start",
                '{"type":"content_block_start","index":0,'
                '"content_block":{"type":"text","text":""}   }',
            ),
            2: ServerSentEvent("ping", '{"type": "ping"}'),
            3: ServerSentEvent("content_block_delta", DELTA % (" Why", "")),
            4: ServerSentEvent("content_block_delta", DELTA % (" did", " ")),
            5: ServerSentEvent("content_block_delta", DELTA % (" the", "  ")),
            -1: ServerSentEvent("message_stop", '{"type":"message_stop"     }'),
        },
    ),
    "multiline": (300, {1: ServerSentEvent("snapshot", SNAPSHOT_2, "2")}),
    "heartbeat": (
        500,
        {
            0: ServerSentEvent(data=OPENROUTER % " Why"),
            1: ServerSentEvent(data=OPENROUTER % " did"),
            -1: ServerSentEvent(data=OPENROUTER % " ?"),
        },
    ),
    "drip": (1, {}),
}

CASES = [
    pytest.param(fixture, chunking, id=f"{fixture.name}-{chunking}")
    for fixture in FIXTURES
    for chunking in fixture.chunkings
]


def named(name: str) -> Fixture:
    return next(fixture for fixture in FIXTURES if fixture.name == name)


def words(text: str) -> str:
    """Undo the wrapping of lines."""
    return " ".join(text.split())


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture.name)
def test_expected_events_are_the_ones_written_down_here(fixture: Fixture) -> None:
    count, events = HELD[fixture.name]
    assert len(fixture.expected) == count
    assert {i: fixture.expected[i] for i in events} == events


def test_first_bytes_are_those_of_the_services() -> None:
    heartbeat = b"".join(named("heartbeat").writes)
    assert heartbeat.startswith(b": OPENROUTER PROCESSING\n\n" * 9 + b'data: {"id":"gen-')
    multiline = b"".join(named("multiline").writes)
    assert multiline.startswith(b'id: 1\nevent: snapshot\ndata: {\ndata:   "step": 1,\ndata:   ')
    assert named("anthropic").writes[2] == b'event: ping\ndata: {"type": "ping"}\n\n'
    assert named("darkai").writes[-1] == b'data: {"event":"stream-end"}\n\n'


def test_drip_is_one_line_of_256_kib_in_four_byte_chunks() -> None:
    drip = named("drip")
    line = b"".join(drip.writes).removesuffix(b"\n\n")
    assert len(line) == 256 * 1024
    assert line.startswith(b'data: {"type":"image","b64_json":"iVBORw0KGgo')
    assert line.count(b"\n") == 0
    assert {len(chunk) for chunk in drip.chunks("4")[:-1]} == {4}
    assert drip.expected[0].data.encode() == line.removeprefix(b"data: ")


@pytest.mark.parametrize(("fixture", "chunking"), CASES)
def test_chunks_are_the_whole_stream_cut_as_named(fixture: Fixture, chunking: str) -> None:
    chunks = fixture.chunks(chunking)
    assert b"".join(chunks) == b"".join(fixture.writes)
    if chunking == "event":
        assert all(chunk.endswith(b"\n\n") for chunk in chunks)
        assert len(chunks) >= len(fixture.expected)
    else:
        assert {len(chunk) for chunk in chunks[:-1]} == {int(chunking)}


@pytest.mark.parametrize(("fixture", "chunking"), CASES)
def test_decoder_yields_the_expected_events(fixture: Fixture, chunking: str) -> None:
    decoder = SSEDecoder()
    events = [event for chunk in fixture.chunks(chunking) for event in decoder.feed(chunk)]
    assert events + decoder.close() == list(fixture.expected)
    assert not decoder.incomplete


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
@pytest.mark.parametrize(("fixture", "chunking"), CASES)
def test_peer_gets_the_fixture_right(peer: Peer, fixture: Fixture, chunking: str) -> None:
    run = benchmark.Run(peer, fixture, chunking)
    run.check()
    assert run.mistake == ""


def _raises(chunks: Sequence[bytes]) -> list[ServerSentEvent]:
    raise RuntimeError("no such parser")


def _strips(chunks: Sequence[bytes]) -> list[ServerSentEvent]:
    events = PEERS[0].parse(chunks)
    events[-1] = ServerSentEvent(data=events[-1].data[:-1])
    return events


def _doubles_the_last(chunks: Sequence[bytes]) -> list[ServerSentEvent]:
    events = PEERS[0].parse(chunks)
    return [*events, events[-1]]


def _finds_nothing(chunks: Sequence[bytes]) -> list[ServerSentEvent]:
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
def test_wrong_peer_is_shown_with_what_it_got_and_has_no_time(
    parse: Callable[[Sequence[bytes]], list[ServerSentEvent]],
    mistake: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wrong = Peer("pytest", parse, PEERS[0].read)
    monkeypatch.setattr(benchmark, "PEERS", (PEERS[0], wrong))
    assert benchmark.main(["--rounds", "1", "--only", "darkai/65536"]) == 0
    output = capsys.readouterr().out
    row = next(line for line in output.splitlines() if "pytest" in line)
    assert row.replace("│", " ").split() == ["pytest", "wrong"]
    assert f"pytest gets darkai/65536 wrong: {mistake}" in words(output)


def test_status_is_1_when_sseparse_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark, "PEERS", (PEERS[0]._replace(parse=_strips), PEERS[1]))
    assert benchmark.main(["--rounds", "1", "--only", "darkai/65536"]) == 1
    rows = [line.replace("│", " ").split() for line in capsys.readouterr().out.splitlines()]
    assert ["darkai/65536", "sseparse", "wrong"] in rows
    assert len(next(row for row in rows if row[:1] == ["httpx2"])) == 3  # no ratio


def test_quick_run_as_a_module_prints_the_report() -> None:
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", "darkai/65*"]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "darkai/65536" in done.stdout
    assert "darkai/1024" not in done.stdout
    assert "geometric mean of the ratios" in done.stdout
    assert all(done.stdout.count(peer.name) >= 2 for peer in PEERS)


def test_garbage_collection_is_as_before_after_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["--rounds", "2", "--only", "multiline/event"]) == 0
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--only", "nosuch"], "--only 'nosuch' is found in none of: openai/event, openai/1024"),
        (["--rounds", "0"], "argument --rounds: must be a number of at least 1: '0'"),
        (["--rounds", "few"], "argument --rounds: must be a number of at least 1: 'few'"),
        (["--rounds", "3", "--quick"], "--quick: not allowed with argument --rounds"),
        (["--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_wrong_arguments_are_named(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        benchmark.main(argv)
    assert exited.value.code == 2
    assert message in words(capsys.readouterr().err)


def test_help_names_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        benchmark.main(["-h"])
    assert exited.value.code == 0
    output = capsys.readouterr().out
    assert all(option in output for option in ("--quick", "--rounds", "--only PATTERN"))
