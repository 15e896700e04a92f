"""The command inspect: each finding by a stream that has it, and none in one that is fine."""

from __future__ import annotations

import io
import itertools
import json
import os
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import anyio
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from sseparse._recording import read_recording
from sseparse.cli import main
from sseparse.cli.inspect._findings import Finding, Head, find, no_head
from sseparse.cli.inspect._reading import read_file, read_url
from sseparse.cli.inspect._report import _plot
from sseparse.cli.inspect._stream import Stream, Timeline
from sseparse.transports import Request
from sseparse.transports.memory import MemoryResponse, MemoryTransport, SyncScriptedBody
from tests.client.test_real_servers import until_listening
from tests.support.commands import start
from tests.support.servers import CHUNKED, LAST_CHUNK, Serve, chunk, head, until_client_leaves

FINE = {"content-type": "text/event-stream", "cache-control": "no-store"}
EVENT = b"data: 1\n\n"


def stream_of(
    *arrivals: tuple[float, bytes], end: float | None = 100.0, failure: str | None = None
) -> Stream:
    stream = Stream(max_event_size=100_000)
    for seconds, data in arrivals:
        stream.feed(seconds, data)
    if end is not None:
        stream.end(end, failure)
    return stream


def codes(found: Sequence[Finding]) -> list[str]:
    return [finding.code for finding in found]


# The stream


@pytest.mark.parametrize(
    "body",
    [
        EVENT,
        b"\xef\xbb\xbf" + EVENT,
        b": ping\n\nid: 1\nretry: 10\nevent: x\ndata: {}\n\n",
        b"data\r\ndata: x\r\n\r\n",
        b'data: {"a": 1}\n\ndata: [DONE]\n\n',
        b"data: [1,\ndata: 2]\n\n",
        b"data: [link](x)\n\ndata: x\ndata: y\n\n",
        b"event: end\n\ndata: x\n\n",
    ],
)
def test_stream_that_is_fine_has_no_finding(body: bytes) -> None:
    assert find(Head(200, FINE), stream_of((0.1, body))) == []
    assert find(None, stream_of((0.1, body))) == []
    assert find(None, stream_of(*((0.1, body[at : at + 1]) for at in range(len(body))))) == []


@pytest.mark.parametrize(
    ("body", "code", "line", "offset", "words"),
    [
        (EVENT + b"data: 2\n", "no-blank-line", 3, 9, "last event is lost"),
        (EVENT + b"data: 2", "no-blank-line", 3, 9, "last event is lost"),
        (b"data: \xff\n\n", "utf-8", 1, 0, "byte 0xff"),
        (EVENT + b"\xef\xbb\xbfdata: 1\n\n", "bom", 3, 9, "byte order mark"),
        (b"data : 1\n\n" + EVENT, "spaced-field", 1, 0, "'data ' is no field"),
        (b" data: 1\n\n" + EVENT, "spaced-field", 1, 0, "' data' is no field"),
        (b"x: 1\n" + EVENT, "unknown-field", 1, 0, "unknown field 'x'"),
        (b"id: a\0b\n" + EVENT, "id-nul", 1, 0, "NUL"),
        (b"retry: 3s\n" + EVENT, "retry", 1, 0, "'3s'"),
        (b"data: 1\r\rdata: 2\n\n", "cr", 1, 0, "(2 times)"),
        (b"data: 1\r\r", "cr", 1, 0, "CR alone"),
        (b'id: 1\ndata: {"a":\n\ndata: 1}\n\n', "cut-json", 2, 6, "cut over events"),
        (b'data: {"a":\n\ndata: [1,\n\ndata: 2]}\n\n', "cut-json", 1, 0, "cut over events"),
        (b'data: {"a":\n\ndata: {"a": 1}\n\n', "invalid-json", 1, 0, """'{"a":'"""),
        (b'data: {"a":\n\ndata: x\n\n', "invalid-json", 1, 0, """'{"a":'"""),
        (EVENT + b'data: {"a": 1}\ndata: {}\ndata: [DONE]\n\n', "joined-json", 3, 9, "several"),
        (b"data: {x}\n\n", "invalid-json", 1, 0, "'{x}'"),
        (b"data: {x}\n\n" + EVENT, "invalid-json", 1, 0, "'{x}'"),
        (b"data: " + b"x" * 70_000 + b"\n\n", "large", 1, 0, "70000 bytes"),
        (b"data: " + b"x" * 200_000 + b"\n\n" + EVENT, "too-large", 1, 0, "larger than 100000"),
    ],
)
def test_oddity_is_found_with_its_line_and_offset_whatever_the_chunks(
    body: bytes, code: str, line: int, offset: int, words: str
) -> None:
    for size in (1, 7, len(body)) if len(body) < 1000 else (4096, len(body)):
        pieces = [(0.1, body[at : at + size]) for at in range(0, len(body), size)]
        found = find(None, stream_of(*pieces))
        assert codes(found) == [code]
        assert (found[0].line, found[0].offset) == (line, offset)
        assert words in found[0].message


@pytest.mark.parametrize(
    ("stream", "code", "is_broken"),
    [
        (stream_of((0.1, b": ping\n\n")), "no-event", True),
        (stream_of((0.1, b": ping\n\n"), end=None), "no-event", False),
        (stream_of((0.1, EVENT), failure="reset"), "cut", True),
        (stream_of((4.0, EVENT * 5)), "burst", True),
        (stream_of((4.0, EVENT * 5), (4.1, EVENT)), "burst", True),
        (stream_of(*((n * 2.0, EVENT * 20) for n in range(5))), "bursts", False),
        (stream_of((0.1, EVENT), (40.0, EVENT)), "silence", False),
        (stream_of(end=None), "silent", True),
    ],
)
def test_time_tells_of_buffers_silence_and_cuts(stream: Stream, code: str, is_broken: bool) -> None:
    found = find(Head(200, FINE), stream)
    assert [(finding.code, finding.is_broken) for finding in found] == [(code, is_broken)]


@pytest.mark.parametrize(
    ("arrivals"),
    [
        [(4.0, EVENT)],
        [(0.1, EVENT * 5)],
        [(4.0, EVENT), (5.0, EVENT), (6.0, EVENT)],
        [(n / 10, EVENT) for n in range(100)],
    ],
)
def test_stream_that_flows_is_not_taken_for_a_burst(arrivals: list[tuple[float, bytes]]) -> None:
    assert find(Head(200, FINE), stream_of(*arrivals)) == []


# The head


@pytest.mark.parametrize(
    ("status", "fields", "body", "code", "words"),
    [
        (503, FINE, b"busy", "status", "the status is 503, not 200: busy"),
        (204, {}, b"", "status", "tells a client to stop"),
        (
            200,
            {"content-type": "text/html"},
            b"<title>Sign in</title>",
            "media-type",
            "(text/html), an HTML page: Sign in",
        ),
        (200, {"content-type": "application/x-ndjson"}, b"{}", "media-type", "x-ndjson"),
        (200, {"content-type": "image/png"}, b"", "media-type", "(image/png)"),
        (200, {"cache-control": "no-cache"}, EVENT, "media-type", "(no media type)"),
        (503, {}, b"<title>Busy</title><p>x", "status", "the status is 503, not 200: Busy"),
        (401, {}, b"", "status", "the status is 401, not 200"),
        (404, {}, b"", "status", "the status is 404, not 200"),
        (
            200,
            {"content-type": "application/json"},
            b'{"error": "no stream"}',
            "media-type",
            '(application/json): {"error": "no stream"}',
        ),
        (200, FINE, b"<title>Sign in</title>\n", "foreign", "an HTML page: Sign in"),
        (200, FINE, b'{"error": "x"}\n', "foreign", "JSON"),
        (200, FINE, b"Hello\nWorld", "foreign", "no line has a field"),
        (200, FINE, b"", "no-event", "the body is empty"),
        (
            200,
            FINE | {"content-type": "text/event-stream; charset=latin-1"},
            EVENT,
            "charset",
            "always UTF-8",
        ),
        (200, FINE | {"content-type": "text/event-stream;charset=UTF-8"}, EVENT, None, ""),
        (200, {"content-type": "text/event-stream"}, EVENT, "caching", "nothing forbids"),
        (200, FINE | {"content-encoding": "gzip"}, EVENT, "encoding", "compressed (gzip)"),
        (200, FINE | {"content-length": "9"}, EVENT, "length", "Content-Length"),
    ],
)
def test_head_is_judged(
    status: int, fields: dict[str, str], body: bytes, code: str | None, words: str
) -> None:
    found = find(Head(status, fields), stream_of((0.1, body)))
    assert codes(found) == ([] if code is None else [code])
    assert words in "".join(finding.message for finding in found)


def test_old_http_is_advised_against() -> None:
    found = find(Head(200, FINE, http_version="HTTP/1.0"), stream_of((0.1, EVENT)))
    assert codes(found) == ["http-1.0"]


def test_stream_with_a_wrong_media_type_is_looked_at_nevertheless() -> None:
    fields = FINE | {"content-type": "text/plain"}
    found = find(Head(200, fields), stream_of((0.1, EVENT + b"data: 2\n")))
    assert codes(found) == ["media-type", "no-blank-line"]


def test_times_of_a_file_tell_nothing() -> None:
    stream = stream_of((4.0, EVENT * 5))
    assert codes(find(None, stream)) == ["burst"]
    stream.is_live = False
    assert find(None, stream) == []


def test_memory_does_not_grow_with_types_and_ids() -> None:
    stream = Stream()
    event = b"event: %-999d\nid: %-999d\n" + EVENT
    for number in range(20_000):
        stream.feed(0.1, event % (number, number))
    assert len(stream.events) == 1001
    assert stream.events["others"].count == 19_000
    assert len(pickle.dumps((stream.events, stream._ids))) < 1_000_000


def test_json_that_never_ends_is_followed_only_so_far() -> None:
    stream = stream_of((0.1, b'data: {"a": [\n\n'), *[(0.1, b"data: 1,\n\n")] * 10, end=None)
    assert stream.places == {}
    stream = Stream()
    stream.feed(0.1, b'data: {"a": "\n\n')
    for _ in range(20):
        stream.feed(0.1, b"data: " + b"x" * 60_000 + b"\n\n")
    assert list(stream.places) == ["invalid-json"]


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(1, 100))), st.integers(1, 80))
def test_timeline_counts_everything_in_bounded_memory(
    counts: list[tuple[float, int]], columns: int
) -> None:
    timeline = Timeline()
    for seconds, count in counts:
        timeline.add(seconds, count)
    end = max((seconds for seconds, _ in counts), default=0.0)
    assert sum(timeline.columns(columns, end)) == sum(count for _, count in counts)
    assert len(timeline._bins) <= 512


def test_plot_shows_the_largest_count_in_full_and_the_least_at_all() -> None:
    assert _plot([0, 1, 1000]) in (" ▁█", " .@")


# Reading


def test_response_is_read_to_its_end_with_times() -> None:
    clock = iter(range(100)).__next__
    transport = MemoryTransport(MemoryResponse([EVENT, EVENT]))
    stream = Stream()
    request = Request("GET", "http://127.0.0.1/")
    head = read_url(request, transport, stream, 60, clock=lambda: float(clock()))
    assert head is not None
    assert (head.status, head.seconds) == (200, 1.0)
    assert (stream.byte_times.first, stream.byte_times.last) == (2.0, 3.0)
    assert stream.is_complete


def test_reading_stops_at_its_time_and_when_interrupted() -> None:
    request = Request("GET", "http://127.0.0.1/")
    stream = Stream()
    read_url(request, MemoryTransport(MemoryResponse([EVENT, 3600.0])), stream, 0.05)
    assert (stream.number_of_events, stream.is_complete, stream.failure) == (1, False, None)

    class Interrupted(Stream):
        def feed(self, seconds: float, data: bytes) -> None:
            super().feed(seconds, data)
            raise KeyboardInterrupt

    class Interrupting(MemoryTransport):
        def _answer(self, request: Request) -> MemoryResponse:
            raise KeyboardInterrupt

    stream = Interrupted()
    read_url(request, MemoryTransport(MemoryResponse([EVENT, 3600.0])), stream, 60)
    assert stream.number_of_events == 1
    assert read_url(request, Interrupting(MemoryResponse()), Stream(), 60) is None
    stream = Interrupted()
    read_file(io.BytesIO(EVENT), stream, 60)
    assert stream.number_of_events == 1


def test_failure_without_a_head_passes() -> None:
    request = Request("GET", "http://127.0.0.1/")
    with pytest.raises(ConnectionError, match="refused"):
        read_url(request, MemoryTransport(ConnectionError("refused")), Stream(), 60)


def test_failure_at_the_end_of_the_time_is_none() -> None:
    class Late(MemoryTransport):
        def prepare(self, request: Request) -> SyncScriptedBody:
            return LateBody(self, lambda: self._answer(request))

    class LateBody(SyncScriptedBody):
        def receive(self) -> bytes:
            self._aborted.get(timeout=60)
            return b""

    stream = Stream()
    read_url(Request("GET", "http://127.0.0.1/"), Late(MemoryResponse()), stream, 0.01)
    assert (stream.is_complete, stream.failure) == (False, None)


def test_file_that_is_silent_is_left_at_its_time() -> None:
    reading, writing = os.pipe()
    os.write(writing, EVENT)
    stream = Stream()
    with open(reading, "rb") as file:  # noqa: PTH123 - a descriptor
        read_file(file, stream, 0.1)
        os.close(writing)
    assert stream.is_live
    assert (stream.number_of_events, stream.is_complete) == (1, False)


def test_regular_file_is_read_to_its_end_whatever_it_takes(tmp_path: Path) -> None:
    path = tmp_path / "stream"
    path.write_bytes(EVENT * 10)
    stream, seconds = Stream(), itertools.count(step=100)
    with path.open("rb") as file:
        read_file(file, stream, 1, clock=lambda: float(next(seconds)))
    assert (stream.number_of_events, stream.is_complete) == (10, True)


def test_report_of_a_file_says_where_reading_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = Stream.feed

    def interrupted(self: Stream, seconds: float, data: bytes) -> None:
        feed(self, seconds, data)
        raise KeyboardInterrupt

    monkeypatch.setattr(Stream, "feed", interrupted)
    path = tmp_path / "stream"
    path.write_bytes(EVENT)
    assert "reading stopped before the end" in run(str(path)).stdout


def test_file_without_end_is_left_at_its_time_and_read_no_faster_than_it_is_looked_at() -> None:
    class Endless(io.RawIOBase):
        reads = 0

        def read(self, size: int = -1) -> bytes:
            self.reads += 1
            return EVENT

    file, stream = Endless(), Stream()
    seconds = itertools.count()
    read_file(cast("BinaryIO", file), stream, 100, clock=lambda: float(next(seconds)))
    assert 0 < stream.number_of_events < 100
    assert not stream.is_complete
    assert file.reads < 200


def test_file_that_cannot_be_read_is_an_error() -> None:
    with open(os.pipe()[1], "wb") as file, pytest.raises(OSError, match="read"):  # noqa: PTH123
        read_file(file, Stream(), 60)


# The command


def run(*arguments: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(main, ["inspect", *arguments], input=stdin)


def report(*arguments: str, stdin: bytes = b"") -> dict[str, Any]:
    report: dict[str, Any] = json.loads(run("--json", *arguments, stdin=stdin).stdout)
    return report


def body_of(*chunks: bytes) -> list[Any]:
    fields = [f"{name}: {value}" for name, value in FINE.items() if name != "content-type"]
    start = head(200, *fields, "transfer-encoding: chunked", "connection: close")
    return [start, *map(chunk, chunks), LAST_CHUNK]


def test_stream_that_is_fine_says_so(served: Serve) -> None:
    server = served(body_of(b"id: 7\nretry: 10\n" + EVENT, b": ping\n\n", b"event: x\n" + EVENT))
    result = run(server.url)
    assert result.exit_code == 0
    for words in (
        "nothing is wrong with this stream",
        "HTTP/1.1, 200, content-type: text/event-stream, cache-control: no-store",
        "2 in ",
        "1 message: 1 bytes on average, largest 1",
        "1 x: 1 bytes on average, largest 1",
        "1 of 2 events have one, the last is '7'",
        "reconnection time 10 ms",
        "gaps typical",
    ):
        assert words in " ".join(result.stdout.split())
    assert b"accept: text/event-stream" in server.requests[0].lower()


def test_stream_that_is_broken_says_what_to_change_and_fails(served: Serve) -> None:
    result = run(served(body_of(b"data: 1\n")).url)
    assert result.exit_code == 1
    assert "broken     line 1, byte 0: the last event is lost" in result.stdout
    assert "-> write a blank line after each event" in result.stdout


def test_page_is_named(served: Serve) -> None:
    result = run(served([head(content_type="text/html") + b"<title>Sign in</title>"]).url)
    assert "not an event stream (text/html), an HTML page" in result.stdout
    assert result.exit_code == 1


def test_connection_that_is_lost_is_found(served: Serve) -> None:
    server = served([CHUNKED, chunk(EVENT)])
    assert report(server.url)["findings"][0]["code"] == "cut"


def test_redirect_is_named(served: Serve) -> None:
    server = served([b"HTTP/1.1 302 Found\r\nlocation: /login?secret\r\n\r\n"], body_of(EVENT))
    lines = run(server.url).stdout.splitlines()
    assert f"redirected to {server.url.replace('/chat', '/login')}" in lines


def test_types_of_events_are_counted_apart(served: Serve) -> None:
    rare = [b"event: x%d\ndata: 1\n\n" % number for number in range(10)]
    result = run(served(body_of(*rare, EVENT, b"data: 123\n\n", b":\n", b":\n")).url)
    text = " ".join(result.stdout.split())
    assert "events 12 in" in text
    assert "2 message: 2 bytes on average, largest 3" in text
    assert "3 of 3 more types" in text
    assert re.search(r"comments 2, one every 0\.\d\d s", text)


@pytest.mark.parametrize("columns", [1, 12, 20, 40, 300])
def test_terminal_may_be_narrow(
    served: Serve, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    result = run(served(body_of(EVENT)).url)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= min(max(columns, 31), 100)


def test_body_in_an_unknown_encoding_is_found(served: Serve) -> None:
    server = served([head(200, "content-encoding: rot13") + b"qngn"])
    result = run(server.url)
    assert "cannot decode content-encoding 'rot13'" in result.stdout
    assert "send no Content-Encoding" in result.stdout
    assert "empty" not in result.stdout


def test_server_that_never_answers_is_told_to_send_its_head(served: Serve) -> None:
    url = served([until_client_leaves], [until_client_leaves]).url
    result = run(url, "--seconds", "0.1", "--reconnect")
    assert "no head of a response within 0." in result.stdout
    assert "`proxy_buffering off;`" in " ".join(result.stdout.split())
    assert result.exit_code == 1
    found = report(url, "--seconds", "0.1")
    assert found["head"] is None
    assert [finding["code"] for finding in found["findings"]] == ["no-head"]


def test_server_that_is_not_there_is_an_error() -> None:
    result = run("http://127.0.0.1:1/")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "there is no file nothing.invalid either" in run("nothing.invalid").stderr


def test_connection_that_cannot_be_made_is_no_buffer(full_backlog: int) -> None:
    result = run(f"http://127.0.0.1:{full_backlog}/", "--seconds", "0.4")
    assert "no connection within 0.2 seconds" in result.stderr
    assert (result.exit_code, result.stdout) == (124, "")


def test_server_of_another_protocol_is_told(served: Serve) -> None:
    result = run(served([b"hello there\r\n\r\n"]).url)
    assert "does the server speak HTTP there? An https: one does not" in result.stderr
    https = no_head("https://here/", 1)
    assert "or the server does not speak TLS" in https.message
    assert "TLS" not in no_head("http://here/", 1).message


def test_times_without_end_are_taken(served: Serve) -> None:
    assert run(served(body_of(EVENT)).url, "--seconds", "inf").exit_code == 0
    assert run("-", "--seconds", "inf", stdin=EVENT).exit_code == 0


def test_report_for_programs(served: Serve) -> None:
    found = report(served(body_of(b'id: 1\ndata: {"a": 1}\n\n')).url)
    assert (found["broken"], found["findings"]) == (False, [])
    assert found["head"]["status"] == 200
    assert found["events"] == {"message": {"count": 1, "size": 8, "largest": 8}}
    assert (found["json_events"], found["last_event_id"]) == (1, "1")
    assert found["times"]["first_event"] >= found["times"]["head"]


def test_files_and_standard_input_are_read(tmp_path: Path) -> None:
    path = tmp_path / "stream"
    path.write_bytes(b"data : 1\n\n" + EVENT)
    for found in (report(str(path)), report("-", stdin=path.read_bytes())):
        assert [finding["code"] for finding in found["findings"]] == ["spaced-field"]
        assert found["head"] is None
    assert "arrivals" not in run(str(path)).stdout
    for unreadable in (str(tmp_path), str(tmp_path / "nothing")):
        result = run(unreadable)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)


def test_event_too_large_counts_once_and_one_close_to_the_limit_is_told() -> None:
    stream = Stream(max_event_size=100)
    large = b"data: " + b"1" * 100 + b"\nid: 3\nevent: x\n\n"
    stream.feed(0, large * 2 + b"data: " + b"1" * 85 + b"\n\n")
    stream.end(1)
    assert [(finding.code, finding.line, finding.message) for finding in find(None, stream)] == [
        ("near-limit", 9, "an event is close to the limit: 85 of 100 bytes"),
        ("too-large", 1, "an event is larger than 100 bytes (2 times)"),
    ]
    assert stream.number_of_events == 1


@pytest.mark.parametrize(
    ("second", "words", "status"),
    [
        (body_of(b"id: 2\n" + EVENT), "resumes: after '1' comes '2'", 0),
        (body_of(b"id: 1\n" + EVENT), "after '1' repeats events from '1' on", 1),
        (body_of(b"id: 0\n" + EVENT), "after '1' repeats events from '0' on", 1),
        (body_of(b"id: 3\n" + EVENT), "after '1' goes on with '3': '2' is lost", 1),
        (body_of(EVENT), "brings no event with an ID: '2' is lost", 1),
        ([head(500)], "got status 500", 1),
        ([], "a reconnection failed", 1),
        ([until_client_leaves], "a reconnection got no response", 1),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], "the server says that the stream is over", 0),
    ],
)
def test_reconnection_is_compared(
    served: Serve, second: list[Any], words: str, status: int
) -> None:
    events = b"".join(b"id: %d\n" % number + EVENT for number in range(3))
    server = served(body_of(events), second)
    result = run(server.url, "--reconnect", "--seconds", "1")
    assert words in " ".join(result.stdout.split())
    assert result.exit_code == status
    assert b"last-event-id: 1\r\n" in server.requests[1]


@pytest.mark.parametrize(
    ("second", "words", "status"),
    [
        (body_of(b"id: 2\n" + EVENT), "after '1', the only ID, comes '2'", 0),
        (body_of(b"id: 1\n" + EVENT), "repeats events from '1' on", 1),
        (body_of(EVENT), "no event with an ID came after '1'", 0),
    ],
)
def test_reconnection_after_the_only_id_is_compared(
    served: Serve, second: list[Any], words: str, status: int
) -> None:
    result = run(served(body_of(b"id: 1\n" + EVENT), second).url, "--reconnect")
    assert words in " ".join(result.stdout.split())
    assert result.exit_code == status


def test_stream_without_ids_cannot_resume(served: Serve) -> None:
    assert "not tried: no event has an ID" in run(served(body_of(EVENT)).url, "--reconnect").stdout


def test_reconnecting_needs_a_url(tmp_path: Path) -> None:
    path = tmp_path / "stream"
    path.write_bytes(EVENT)
    result = run(str(path), "--reconnect")
    assert (result.stderr, result.exit_code) == (
        "Error: --reconnect must be used with a URL\n",
        2,
    )


def test_file_is_not_saved_over_itself_nor_over_another_for_a_url_that_is_none(
    tmp_path: Path,
) -> None:
    path = tmp_path / "stream"
    path.write_bytes(EVENT)
    for source in (str(path), "ftp://here/"):
        result = run(source, "--save", str(path))
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert path.read_bytes() == EVENT


@pytest.mark.parametrize("cut", [False, True])
def test_recording_is_saved(served: Serve, tmp_path: Path, cut: bool) -> None:
    steps = [CHUNKED, chunk(EVENT)] if cut else body_of(EVENT, b"data: \xff\n\n")
    path = tmp_path / "recording"
    live = report(served(steps).url, "--save", str(path))
    recording = read_recording(path)
    assert b"".join(data for _, data in recording.chunks).startswith(EVENT)
    assert (recording.failure is None) is not cut
    saved = report(str(path))
    for name in ("findings", "events", "size", "complete", "last_event_id"):
        assert saved[name] == live[name]
    assert saved["times"]["first_event"] == pytest.approx(live["times"]["first_event"], abs=1e-5)
    assert saved["times"]["head"] is None
    assert run(str(path), "--save", str(tmp_path / "copy")).exit_code == 2
    again = tmp_path / "again"
    run("-", "--save", str(again), stdin=EVENT)
    assert [data for _, data in read_recording(again).chunks] == [EVENT]


def test_recording_that_was_stopped_or_damaged_is_read(tmp_path: Path) -> None:
    path = tmp_path / "recording"
    head = '{"status": 200, "headers": {"content-type": "text/event-stream"}}\n'
    path.write_text(head + '{"t": 0.5, "data": ": ping\\n"}\n')
    assert [finding["code"] for finding in report(str(path))["findings"]] == ["caching", "no-event"]
    path.write_text(head + "x\n")
    result = run(str(path))
    assert "line 2 is invalid" in result.stderr
    assert result.exit_code == 2


def test_recording_that_cannot_be_saved_is_an_error(served: Serve, tmp_path: Path) -> None:
    result = run(served(body_of(EVENT)).url, "--save", str(tmp_path))
    assert result.stderr.startswith("Error: --save must be a file that can be written: ")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)


def test_no_recording_is_left_where_no_head_came(served: Serve, tmp_path: Path) -> None:
    path = tmp_path / "recording"
    url = served([until_client_leaves]).url
    run(url, "--seconds", "0.1", "--save", str(path))
    assert not path.exists()
    path.symlink_to("/dev/null")
    run(url, "--seconds", "0.1", "--save", str(path))
    assert path.is_symlink()  # only a file of its own is deleted


def test_control_characters_do_not_reach_a_terminal() -> None:
    result = CliRunner().invoke(main, ["inspect", "-"], input=b"\x1b[31mx: 1\n" + EVENT, color=True)
    assert "\x1b[31mx" not in result.stdout


@pytest.mark.slow
def test_ctrl_c_reports_what_has_come(served: Serve) -> None:
    server = served([*body_of(EVENT)[:-1], until_client_leaves])
    with start("inspect", server.url) as process:
        deadline = threading.Event()
        while server.requests == [] and not deadline.wait(0.01):
            pass
        deadline.wait(0.5)
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert b"1 in 9 bytes" in process.stdout.read()
    assert process.returncode in (0, 1)


@pytest.mark.slow
def test_silent_standard_input_is_left_at_its_time() -> None:
    with start("inspect", "-", "--seconds", "0.3") as process:
        assert process.stderr is not None
        assert process.stdout is not None
        assert process.wait(timeout=60) == 1  # while standard input is still open
        assert process.stderr.read() == b""
        assert b"no byte of the body came" in process.stdout.read()


@pytest.mark.slow
def test_terminal_without_utf_8_gets_ascii(tmp_path: Path, served: Serve) -> None:
    url = served(body_of(EVENT, EVENT)).url
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "sseparse", "inspect", url]
    result = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert result.returncode == 0
    assert result.stdout.isascii()


NGINX = """
pid nginx.pid;
error_log error.log;
events {}
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    gzip on;
    gzip_types text/event-stream;
    gzip_min_length 0;
    gzip_proxied any;
    server {
        listen 127.0.0.1:PORT;
        location / { proxy_http_version 1.1; proxy_pass http://127.0.0.1:UPSTREAM; }
        location /off/ {
            proxy_http_version 1.1;
            proxy_pass http://127.0.0.1:UPSTREAM;
            proxy_buffering off;
        }
    }
}
"""


@pytest.mark.slow
def test_nginx_that_buffers_is_found_and_the_remedy_helps(served: Serve, tmp_path: Path) -> None:
    nginx = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
    if nginx is None:
        pytest.skip("there is no nginx")

    async def pause(_: object) -> None:
        await anyio.sleep(0.7)

    first, *_ = body_of()
    upstream = served([first, chunk(EVENT), pause, chunk(EVENT), pause, chunk(EVENT), LAST_CHUNK])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    config = NGINX.replace("PORT", str(port)).replace("UPSTREAM", str(upstream.port))
    (tmp_path / "nginx.conf").write_text(config)
    options = "daemon off; master_process off;" + (" user root;" if os.geteuid() == 0 else "")
    command = [nginx, "-p", ".", "-c", "nginx.conf", "-g", options]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        try:
            until_listening(port)
            buffered = run(f":{port}/", "-H", "accept-encoding: gzip")
            unbuffered = run(f":{port}/off/", "-H", "accept-encoding: gzip")
        finally:
            process.terminate()
    assert re.search(r"all 3 events arrived in one burst after [1-9]", buffered.stdout)
    assert "in nginx `proxy_buffering off;`" in buffered.stdout
    assert "the stream is compressed (gzip)" in buffered.stdout
    assert buffered.exit_code == 1
    assert "burst" not in unbuffered.stdout
    assert unbuffered.exit_code == 0
