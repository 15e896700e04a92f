"""The command replay: a recording is served as it was, or cut."""

from __future__ import annotations

import math
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from anyio.abc import SocketStream
from click.testing import CliRunner

from sseparse._recording import Recorder, Recording, read_recording
from sseparse.cli import main
from sseparse.cli.replay import _answer, rest_after
from sseparse.sync import EventSource
from sseparse.transports import Request
from sseparse.transports.httpx2 import HTTPX2Transport
from sseparse.transports.memory import MemoryResponse, MemoryTransport
from tests.support.commands import start
from tests.support.servers import Server, receive_all, serve

EVENTS = b"id: 1\ndata: 1\n\nid: 2\ndata: 2\n\n"


def record(
    path: Path, failure: str | None = None, stopped: bool = False, status: int = 200
) -> Path:
    with path.open("w") as file:
        recorder = Recorder(file)
        recorder.head(status, {"content-type": "text/event-stream"})
        recorder.chunk(0.5, EVENTS[:15])
        recorder.chunk(0.5, EVENTS[15:])
        if not stopped:
            recorder.end(1.0, failure)
    return path


@contextmanager
def replaying(*arguments: str) -> Iterator[str]:
    with start("replay", "--speed", "max", *arguments) as process:
        assert process.stdout is not None
        yield process.stdout.readline().decode().strip()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, b"\n")


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_recording_is_served_to_each_client(tmp_path: Path, loop: str) -> None:
    path = record(tmp_path / "recording")
    with replaying(str(path), "--async-backend", loop) as url:
        for _ in range(2):
            response = httpx2.get(url, trust_env=False)
            assert response.content == EVENTS
            assert response.headers["content-type"] == "text/event-stream"


@pytest.mark.slow
def test_recording_with_an_unknown_status_and_a_stop_is_served(tmp_path: Path) -> None:
    path = record(tmp_path / "recording", stopped=True, status=599)
    with replaying(str(path)) as url, httpx2.stream("GET", url, trust_env=False) as response:
        assert response.status_code == 599
        received = b""
        for data in response.iter_bytes():
            received += data
            if received == EVENTS:
                break


@pytest.mark.slow
def test_connection_is_cut_where_it_shall_be(tmp_path: Path) -> None:
    path = record(tmp_path / "recording")
    with replaying(str(path), "--cut-after", "20") as url:
        source = EventSource(url, reconnection_time=0, max_backoff=0)
        with source:
            assert [next(source).data for _ in range(2)] == ["1", "2"]
    with replaying(str(path), "--cut-after", "20", "--no-resume") as url:
        source = EventSource(url, reconnection_time=0, max_backoff=0)
        with source:
            # Each attempt brings the first event, and half of the second.
            assert [next(source).data for _ in range(3)] == ["1", "1", "1"]


@pytest.mark.parametrize(
    ("chunks", "last_event_id", "rest"),
    [
        ([(1.0, EVENTS)], "1", [(0.0, EVENTS[15:])]),
        ([(1.0, EVENTS)], "2", [(0.0, b"")]),
        ([(1.0, EVENTS)], "3", [(1.0, EVENTS)]),
        ([(1.0, EVENTS), (3.0, EVENTS)], "1", [(0.0, EVENTS[15:])]),  # the last with this ID
        ([(1.0, EVENTS[:4]), (2.0, EVENTS[4:])], "1", [(0.0, EVENTS[15:])]),
        (
            [(1.0, EVENTS[:14]), (2.0, EVENTS[14:20]), (4.5, EVENTS[20:])],
            "1",
            [(0.0, EVENTS[15:20]), (2.5, EVENTS[20:])],
        ),
        (
            [(1.0, EVENTS.replace(b"\n", b"\r\n"))],
            "1",
            [(0.0, EVENTS[15:].replace(b"\n", b"\r\n"))],
        ),
    ],
)
def test_recording_goes_on_after_the_last_event_id(
    chunks: list[tuple[float, bytes]], last_event_id: str, rest: list[tuple[float, bytes]]
) -> None:
    recording = Recording(chunks=tuple(chunks), end=10.0)
    resumed = rest_after(recording, last_event_id)
    assert [*resumed.chunks] == rest
    assert resumed.end is not None
    assert resumed.end - rest[-1][0] == 10.0 - chunks[-1][0]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "status"), [("GET", 204), ("GET", 304), ("HEAD", 200)])
def test_response_without_a_body_is_served_as_one(tmp_path: Path, method: str, status: int) -> None:
    path = record(tmp_path / "recording", status=status)
    with replaying(str(path)) as url:
        response = httpx2.request(method, url, trust_env=False)
        assert (response.status_code, response.content) == (status, b"")
        assert "transfer-encoding" not in response.headers


@pytest.mark.slow
def test_recorded_failure_cuts_the_connection(tmp_path: Path) -> None:
    path = record(tmp_path / "recording", failure="reset")
    with replaying(str(path)) as url, pytest.raises(httpx2.RemoteProtocolError):
        httpx2.get(url, trust_env=False)


@pytest.mark.parametrize("speed", ["0", "-1", "x", "nan"])
def test_speed_is_positive_or_max(tmp_path: Path, speed: str) -> None:
    path = record(tmp_path / "recording")
    assert CliRunner().invoke(main, ["replay", str(path), "--speed", speed]).exit_code == 2


def test_file_that_is_no_recording_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("data: x\n\n")
    result = CliRunner().invoke(main, ["replay", str(path)])
    assert "must be a recording" in result.stderr
    assert result.exit_code == 2


async def play(connection: SocketStream, server: Server, *, path: Path, **options: Any) -> None:
    """Answer a connection as the command does: what `serve` takes."""
    speed = options.get("speed", math.inf)
    await _answer(read_recording(path), speed, options.get("cut_after"), False, connection)


@pytest.mark.anyio
@pytest.mark.parametrize("cut_after", [0, 1, 15, 16, 29])
async def test_body_is_cut_after_so_many_bytes(tmp_path: Path, cut_after: int) -> None:
    path = record(tmp_path / "recording")
    received = b""
    async with serve(partial(play, path=path, cut_after=cut_after)) as server:
        response = await HTTPX2Transport().send(Request("GET", server.url))
        try:
            while data := await response.receive():
                received += data
        except ConnectionError:
            assert received == EVENTS[:cut_after]
        else:
            pytest.fail("the body looks complete")
        finally:
            await response.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("cut_after", [len(EVENTS), 1000])
async def test_body_that_is_shorter_is_whole(tmp_path: Path, cut_after: int) -> None:
    path = record(tmp_path / "recording")
    async with serve(partial(play, path=path, cut_after=cut_after)) as server:
        response = await HTTPX2Transport().send(Request("GET", server.url))
        assert await receive_all(response) == EVENTS
        await response.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("failure", [None, "reset"])
async def test_recording_is_played_at_its_pace(tmp_path: Path, failure: str | None) -> None:
    path = record(tmp_path / "recording", failure)
    async with serve(partial(play, path=path, speed=10)) as server:
        start = anyio.current_time()
        response = await HTTPX2Transport().send(Request("GET", server.url))
        assert await response.receive()
        # Recorded after 0.5 s, and ended after 1 s.
        assert anyio.current_time() - start >= 0.05
        try:
            await receive_all(response)
        except ConnectionError:
            assert failure is not None
        else:
            assert failure is None
        assert anyio.current_time() - start >= 0.1
        await response.aclose()


def test_port_that_is_taken_is_named(tmp_path: Path) -> None:
    path = record(tmp_path / "recording")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        result = CliRunner().invoke(main, ["replay", str(path), "--port", port])
    assert result.stderr.startswith(f"Error: --port must be free, got {port}: ")
    assert result.exit_code == 2


@pytest.mark.anyio
async def test_request_has_a_large_body_and_its_client_leaves(tmp_path: Path) -> None:
    path = record(tmp_path / "recording", stopped=True)
    async with serve(partial(play, path=path)) as server:
        request = Request("POST", server.url, body=bytes(20_000_000))
        response = await HTTPX2Transport().send(request)
        assert (await response.receive()).startswith(EVENTS[:15])
        await response.aclose()
        await server.until_open(0)


# In tests


def test_recording_is_a_response_of_the_transport_for_tests(tmp_path: Path) -> None:
    path = record(tmp_path / "recording")
    response = MemoryResponse.from_recording(path)
    assert response.script == [0.5, EVENTS[:15], EVENTS[15:], 0.5]
    assert MemoryResponse.from_recording(path, speed=2).script[0] == 0.25
    assert MemoryResponse.from_recording(path, speed=math.inf).script == [EVENTS[:15], EVENTS[15:]]
    assert (response.status, response.headers) == (200, {"content-type": "text/event-stream"})


def test_cut_and_stopped_recordings_end_as_they_did(tmp_path: Path) -> None:
    cut = MemoryResponse.from_recording(record(tmp_path / "cut", failure="reset"), math.inf)
    assert isinstance(cut.script[-1], ConnectionError)
    stopped = MemoryResponse.from_recording(record(tmp_path / "stopped", stopped=True), math.inf)
    assert stopped.script[-1] == math.inf
    with EventSource("http://127.0.0.1/", transport=MemoryTransport(stopped)) as source:
        assert [next(source).data for _ in range(2)] == ["1", "2"]


@pytest.mark.parametrize("speed", [0, -1, math.nan])
def test_speed_must_be_positive(tmp_path: Path, speed: float) -> None:
    with pytest.raises(ValueError, match=r"^speed must be positive, got"):
        MemoryResponse.from_recording(record(tmp_path / "recording"), speed)
