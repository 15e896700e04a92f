"""The log of outcomes: whole lines, each ID once, whatever has ended the process before."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sseparse import UnexpectedResponse
from sseparse_backends import Finish, ToolCall, Usage, _results
from sseparse_backends.batch import Outcome, ResultLog

COMPLETE = Outcome(
    "a",
    "Hi\n漢🎉",
    [{"role": "assistant", "content": "Hi\n漢🎉"}],
    [ToolCall(0, "c1", "add", "{}")],
    Usage(3, 4, 1, 2),
    Finish("end", "stop"),
    2,
    0.25,
    1.5,
)
FAILED = Outcome(7, "so far", error=UnexpectedResponse(429, {}, b"busy"), attempts=6, seconds=9.0)
# How a line begins, too: a reply cut inside a surrogate pair.
HALF = Outcome("\ud83c", "\ud83c")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "replies.jsonl"


def write(path: Path, *outcomes: Outcome) -> bytes:
    with ResultLog(path) as log:
        for outcome in outcomes:
            log.append(outcome)
    return path.read_bytes()


def test_an_outcome_is_a_line_of_json(path: Path) -> None:
    complete, failed = map(json.loads, write(path, COMPLETE, FAILED).splitlines())
    assert complete == {
        "id": "a",
        "text": "Hi\n漢🎉",
        "messages": [{"role": "assistant", "content": "Hi\n漢🎉"}],
        "tool_calls": [
            {"index": 0, "id": "c1", "name": "add", "arguments": "{}", "kind": "function"}
        ],
        "usage": {
            "input_tokens": 3,
            "output_tokens": 4,
            "cached_tokens": 1,
            "reasoning_tokens": 2,
        },
        "finish": {"reason": "end", "kind": "stop"},
        "attempts": 2,
        "first_seconds": 0.25,
        "seconds": 1.5,
        "error": None,
    }
    assert failed == {
        "id": 7,
        "text": "so far",
        "messages": [],
        "tool_calls": [],
        "usage": None,
        "finish": None,
        "attempts": 6,
        "first_seconds": None,
        "seconds": 9.0,
        "error": {
            "type": "UnexpectedResponse",
            "message": "HTTP 429 (no content type): busy",
        },
    }


def test_a_log_goes_on_where_it_ended(path: Path) -> None:
    write(path, COMPLETE, FAILED)
    with ResultLog(path) as log:
        assert [*log.ids] == ["a", 7]
        assert (len(log.ids), log.failed) == (2, 1)
        log.append(HALF)
    with ResultLog(path) as log:
        assert {*log.ids} == {"a", 7, "\ud83c"}


def test_an_id_is_written_once(path: Path) -> None:
    before = write(path, COMPLETE)
    with ResultLog(path) as log, pytest.raises(ValueError, match=r"got 'a', as on line 1$"):
        log.append(COMPLETE)
    assert path.read_bytes() == before


def test_wherever_a_line_is_torn_the_lines_before_it_are_kept(path: Path) -> None:
    first, second = write(path, COMPLETE, FAILED).splitlines(keepends=True)
    for size in range(len(second)):
        for tail in (b"", b"\0" * 9):
            path.write_bytes(first + second[:size] + tail)
            with ResultLog(path) as log:
                assert [*log.ids] == ["a"]
                # Nothing is cut off before there is something to write.
                assert path.read_bytes() == first + second[:size] + tail
                log.append(HALF)
                log.append(FAILED)
            lines = path.read_bytes().splitlines(keepends=True)
            assert [lines[0], lines[2]] == [first, second]


def test_a_log_may_begin_with_a_torn_line(path: Path) -> None:
    path.write_bytes(b'{"id": "a", "te')
    assert write(path, FAILED).count(b"\n") == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"Hello", "line 1 of .*: it begins with b'Hello'"),
        (b"\n", r"line 1 of .*: it begins with b'\\n'"),
        (b"[]\n", "line 1 of .*: it begins with"),
        (b'{"id": 1, "prompt": "Hello"}\n', "line 1 of .*: its fields are id, prompt"),
        # Whole, so that it is not cut off.
        (b'{"id": 1, "prompt": "Hello"}', "line 1 of .*: its fields are id, prompt"),
        (b'{"id": 1, "prompt": "Hel\n', "line 1 of .*: it is not JSON"),
        (b'{"id": ' + b"[" * 100_000 + b"\n", "line 1 of .*: it is not JSON"),
        (b'{"id": 1, "prompt": "Hel\n{}\n', "line 1 of .*: it is not JSON"),
        (b"OUTCOME\n\n", "line 2 of .*: it begins with"),
        (b"OUTCOME\nOUTCOME\n", "must be unique, got 'a' on the lines 1 and 2 of "),
        (b"OUTCOME\nid, text", "line 2 of .*: it begins with"),
        (b"NUMBERED\n", "line 1 of .*: its id is neither a str nor an int"),
    ],
)
def test_another_file_is_refused_and_left_as_it_is(path: Path, text: bytes, words: str) -> None:
    outcome = write(path, COMPLETE).rstrip()
    text = text.replace(b"OUTCOME", outcome)
    text = text.replace(b"NUMBERED", outcome.replace(b'"id": "a"', b'"id": 1.5'))
    path.write_bytes(text)
    with pytest.raises(ValueError, match=words):
        ResultLog(path)
    assert path.read_bytes() == text
    path.unlink()
    ResultLog(path).close()  # the lock is free


def test_a_folder_or_a_device_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, Path(os.devnull)):
        with pytest.raises(ValueError, match=r"^the log must be a regular file, got "):
            ResultLog(path)
    with pytest.raises(ValueError, match=r"^the folder of the log must exist, got .*replies"):
        ResultLog(tmp_path / "no folder" / "replies.jsonl")


def test_a_second_process_is_kept_out(path: Path) -> None:
    with ResultLog(path):
        with pytest.raises(BlockingIOError, match=r"replies\.jsonl is open elsewhere, for another"):
            ResultLog(path)
        link = path.with_name("link")
        link.symlink_to(path)
        with pytest.raises(BlockingIOError):
            ResultLog(link)
    ResultLog(path).close()


def test_a_lock_that_cannot_be_had_is_another_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(_results, "_lock", no_locks)
    with pytest.raises(OSError, match="No locks available"):
        ResultLog(path)


def test_line_that_another_process_is_writing_does_not_count(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = write(path, COMPLETE)
    with path.open("ab") as file:
        file.write(line[:30])
    parse = _results._parse

    def parse_while_it_is_written(start: bytes) -> Any:
        record = parse(start)
        if record is None:
            with path.open("ab") as file:
                file.write(line[30:])
        return record

    monkeypatch.setattr(_results, "_parse", parse_while_it_is_written)
    assert [read for read, _ in _results.read_records(path)] == [line]


def test_fingerprint_of_the_prompts_is_kept(path: Path) -> None:
    with ResultLog(path) as log:
        assert log.fingerprint == b""
        log.fingerprint = b"a longer one"
        log.fingerprint = b"a short one"
    with ResultLog(path) as log:
        assert log.fingerprint == b"a short one"


def test_log_of_another_version_may_have_other_fields(path: Path) -> None:
    path.write_bytes(b'{"id": 1, "error": null, "new": 7}\n')
    with ResultLog(path) as log:
        assert [*log.ids] == [1]


def test_failed_outcomes_are_dropped_to_be_tried_again(path: Path) -> None:
    write(path, COMPLETE, FAILED, HALF)
    path.chmod(0o600)
    with path.open("ab") as file:
        file.write(b'{"id": "torn')
    with ResultLog(path) as log:
        log.drop_failed()
        assert ({*log.ids}, log.failed) == ({"a", "\ud83c"}, 0)
        with pytest.raises(BlockingIOError):
            ResultLog(path)
        log.append(FAILED)
        assert log.failed == 1
    assert path.read_bytes() == write(path.with_name("other"), COMPLETE, HALF, FAILED)
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "other",
        "other.lock",
        "replies.jsonl",
        "replies.jsonl.lock",
    ]


def test_lines_are_counted_until_they_are_synced(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    with ResultLog(path) as log:
        synced.clear()  # that of the new name
        log.append(COMPLETE)
        log.append(FAILED)
        assert (log.unsynced, synced) == (2, [])
        log.sync()
        assert (log.unsynced, len(synced)) == (0, 1)
    assert len(synced) == 2


def test_lines_that_could_not_be_synced_count_as_not_synced(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with ResultLog(path) as log:
        log.append(COMPLETE)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            with pytest.raises(OSError, match="Input/output"):
                log.sync()
        assert log.unsynced == 1


@pytest.mark.parametrize("other", [None, b"notes\n"])
def test_file_that_is_removed_or_replaced_meanwhile_is_an_error(
    path: Path, other: bytes | None
) -> None:
    log = ResultLog(path)
    log.append(COMPLETE)
    path.unlink()
    if other is not None:
        path.write_bytes(other)
    for end in (log.sync, log.close):
        with pytest.raises(OSError, match=r"replies\.jsonl was removed or replaced while"):
            end()
    path.unlink(missing_ok=True)
    ResultLog(path).close()  # the lock is free


def test_error_of_the_table_of_ids_cuts_off_no_line(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: str, __: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with ResultLog(path) as log:
        with monkeypatch.context() as patch:
            patch.setattr(log.ids, "_execute", fail)
            patch.setattr(log.ids, "line", lambda _: None)
            with pytest.raises(OSError, match=r"the temporary table of IDs, .* disk is full"):
                log.append(COMPLETE)
        log.append(FAILED)
    assert path.read_bytes() == write(path.with_name("other"), COMPLETE, FAILED)


def test_names_of_new_and_replaced_files_are_synced(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    folder = path.parent.stat().st_ino
    with ResultLog(path) as log:
        assert synced == [folder]
        log.append(FAILED)
        synced.clear()
        log.drop_failed()
        assert synced == [path.stat().st_ino, folder]


def test_file_system_that_syncs_no_names_is_used_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", fail)
    log = ResultLog(path)
    monkeypatch.undo()
    log.close()


def test_log_without_errors_is_not_written_again(path: Path) -> None:
    write(path, COMPLETE)
    before = path.stat().st_ino
    with ResultLog(path) as log:
        log.drop_failed()
    assert path.stat().st_ino == before


def test_closed_log_takes_no_line_and_may_be_closed_again(path: Path) -> None:
    log = ResultLog(path)
    log.close()
    log.close()
    with pytest.raises(ValueError, match=r"^the log must be open, got .*, which was closed$"):
        log.append(COMPLETE)
    ResultLog(path).close()  # the lock is free


def test_failed_replacement_leaves_the_log_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = write(path, COMPLETE, FAILED)

    def fail(self: Path, target: Path) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    with ResultLog(path) as log:
        monkeypatch.setattr(Path, "replace", fail)
        with pytest.raises(PermissionError):
            log.drop_failed()
        assert (len(log.ids), log.failed) == (2, 1)
        log.append(HALF)
    assert path.read_bytes() == before + write(path.with_name("other"), HALF)
    assert not [*path.parent.glob("*.new")]


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Let no file of this process become larger, pytest's own output among them."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit for files")
def test_a_full_disk_is_an_error_and_the_lines_stay_whole(path: Path) -> None:
    # The second line does not fit any more.
    size = len(write(path, COMPLETE)) + 100
    before = path.read_bytes()
    with ResultLog(path) as log:
        for _ in range(2):
            with full_disk(size), pytest.raises(OSError, match="too large") as caught:
                log.append(FAILED)
            assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
            assert path.read_bytes() == before


class InterruptedFile:
    """Half of a line is written when Ctrl-C arrives."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, line: bytes) -> int:
        self._file.write(line[:10])
        raise KeyboardInterrupt

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_interrupted_line_is_cut_off(path: Path) -> None:
    before = write(path, COMPLETE)
    with ResultLog(path) as log:
        file = log._file
        log._file = cast("Any", InterruptedFile(file))
        with pytest.raises(KeyboardInterrupt):
            log.append(FAILED)
        log._file = file
        assert path.read_bytes() == before
        log.append(FAILED)
    assert path.read_bytes() == before + write(path.with_name("other"), FAILED)


def test_failed_reading_leaves_the_log_open(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> Any:
        raise OSError(errno.EIO, "Input/output error")

    write(path, FAILED)
    with ResultLog(path) as log:
        monkeypatch.setattr(_results, "read_records", fail)
        with pytest.raises(OSError, match="Input/output"):
            log.drop_failed()
        log.append(COMPLETE)
        assert (len(log.ids), log.failed) == (2, 1)


outcomes = st.lists(
    st.builds(
        Outcome,
        id=st.integers() | st.text(st.characters(exclude_categories=())),
        text=st.text(st.characters(exclude_categories=())),
        error=st.none() | st.builds(ValueError, st.text()),
    ),
    unique_by=lambda outcome: repr(outcome.id),
    max_size=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(outcomes, st.integers(0, 1 << 40), st.booleans())
def test_whatever_is_cut_off_is_missing_and_can_be_written_again(
    path: Path, outcomes: list[Outcome], at: int, retry: bool
) -> None:
    path.unlink(missing_ok=True)
    whole = write(path, *outcomes)
    os.truncate(path, at % (len(whole) + 1))
    with ResultLog(path) as log:
        if retry:
            log.drop_failed()
        for outcome in outcomes:
            if outcome.id not in log.ids:
                log.append(outcome)
        assert len(log.ids) == len(outcomes)
    expected: Any = sorted(whole.splitlines())
    assert sorted(path.read_bytes().splitlines()) == expected
