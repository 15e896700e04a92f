"""Recordings: reading returns the written chunks, and names the line of an invalid one."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sseparse._recording import Recorder, Recording, read_recording

HEAD = '{"status": 200, "headers": {}}\n'


def written(recording: Recording) -> str:
    file = StringIO()
    recorder = Recorder(file)
    recorder.head(recording.status, recording.headers)
    for seconds, data in recording.chunks:
        recorder.chunk(seconds, data)
    if recording.end is not None:
        recorder.end(recording.end, recording.failure)
    return file.getvalue()


TIMES = st.integers(0, 10**6).map(lambda number: number / 1000)


@given(
    st.builds(
        Recording,
        status=st.integers(100, 599),
        headers=st.just({"content-type": "text/event-stream"}),
        chunks=st.lists(st.tuples(TIMES, st.binary(min_size=1))).map(tuple),
        end=TIMES,
        failure=st.none() | st.text(),
    )
)
def test_recording_that_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, recording: Recording
) -> None:
    path = tmp_path_factory.mktemp("recording") / "file"
    path.write_text(written(recording), "utf-8")
    assert read_recording(path) == recording
    assert read_recording(str(path)) == recording


def test_recording_that_was_stopped_has_no_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(HEAD + '{"t": 1, "data": "x"}\n')
    assert read_recording(path) == Recording(200, {}, ((1.0, b"x"),))


def test_header_fields_that_may_be_secret_are_left_out() -> None:
    fields = {"content-type": "text/event-stream", "set-cookie": "secret", "x-api-key": "secret"}
    assert "secret" not in written(Recording(headers=fields))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("data: x\n\n", 1),
        ("[]\n", 1),
        (HEAD + "x\n", 2),
        (HEAD + '{"t": 0, "data": "x"}\n{"t": 0}\n', 3),
        (HEAD + '{"data": "x"}\n', 2),
        (HEAD + '{"t": 0, "base64": "%"}\n', 2),
        (HEAD + '{"t": 0, "base64": ""}\n', 2),
        (HEAD + '{"t": 0, "data": ""}\n', 2),
        (HEAD + '{"t": -1, "data": "x"}\n', 2),
        (HEAD + '{"t": NaN, "data": "x"}\n', 2),
        (HEAD + '{"t": Infinity, "end": null}\n', 2),
        (HEAD + '{"t": "x", "data": "x"}\n', 2),
        (HEAD + "[]\n", 2),
    ],
)
def test_what_is_no_recording_is_a_value_error_with_the_line(
    tmp_path: Path, text: str, line: int
) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"file must be a recording .* line {line} is invalid: "):
        read_recording(path)
