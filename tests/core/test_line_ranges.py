"""Ranges of a file: whole lines, without a gap, whatever the file and their number."""

from __future__ import annotations

import io
import multiprocessing
import pickle
import textwrap
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sseparse import InvalidJSON, LineDecoder, LineRange, NDJSONDecoder, decode, line_ranges
from sseparse import _line_ranges as module

CONTENT = st.lists(st.sampled_from([b"", b"a", b"bcd", b"x" * 50, b"\r"])).map(b"\n".join)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranges") / "lines"


@given(content=CONTENT, n=st.integers(1, 20))
def test_ranges_hold_the_lines_of_the_file_in_order(path: Path, content: bytes, n: int) -> None:
    path.write_bytes(content)
    ranges = line_ranges(path, n)
    lines = [line for part in ranges for line in decode(part, LineDecoder())]
    assert lines == list(decode(io.BytesIO(content), LineDecoder()))
    assert b"".join(data for part in ranges for data in part) == content
    assert len(ranges) <= n
    for part in ranges:
        assert part.start < part.end
        assert part.start == 0 or content[part.start - 1 : part.start] == b"\n"


@given(n=st.integers(1, 50))
def test_ranges_of_short_lines_have_about_the_same_size(path: Path, n: int) -> None:
    path.write_bytes(b"0123456\n" * 1000)
    ranges = line_ranges(path, n)
    assert len(ranges) == n
    assert all(abs(part.end - part.start - 8000 / n) < 16 for part in ranges)


def test_few_bytes_are_looked_at(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"0123456\n" * 1_000_000)
    looked_at = 0

    def opened(*arguments: Any) -> Any:
        file = open(*arguments)  # noqa: PTH123, SIM115 - it stands in for open
        read = file.read

        class Counting:
            def __enter__(self) -> Any:
                return self

            def __exit__(self, *_: object) -> None:
                file.close()

            seek = file.seek

            def read(self, size: int) -> bytes:
                nonlocal looked_at
                data: bytes = read(size)
                looked_at += len(data)
                return data

        return Counting()

    monkeypatch.setattr(module, "open", opened, raising=False)
    assert len(line_ranges(path, 10)) == 10
    assert looked_at <= 9 * 8192
    # A line that is longer than several ranges is read once.
    path.write_bytes(b"x" * 1_000_000 + b"\ny\n")
    looked_at = 0
    assert len(line_ranges(path, 100)) == 2
    assert looked_at <= 1_000_002 + 2 * 8192


def test_file_that_has_shrunk_is_an_error_after_what_is_there(path: Path) -> None:
    path.write_bytes(b"1\n2\n")
    (part,) = line_ranges(path, 1)
    path.write_bytes(b"1\n")
    found: list[bytes] = []
    with pytest.raises(EOFError, match=r"lines has shrunk: 2 bytes up to 4 are gone$"):
        found.extend(iter(part))
    assert found == [b"1\n"]


def test_range_can_be_pickled_and_positions_are_its_own(path: Path) -> None:
    path.write_bytes(b'{"n": 1}\n' * 10 + b"{\n")
    part = pickle.loads(pickle.dumps(line_ranges(str(path), 2)[-1]))
    assert isinstance(part, LineRange)
    with pytest.raises(InvalidJSON) as caught:
        list(decode(part, NDJSONDecoder()))
    assert caught.value.offset is not None
    assert part.start + caught.value.offset == 90


@pytest.mark.parametrize("wrong", [0, -1])
def test_number_must_be_positive(path: Path, wrong: int) -> None:
    with pytest.raises(ValueError, match=f"^n must be at least 1, got {wrong}$"):
        line_ranges(path, wrong)


@pytest.mark.parametrize("wrong", [1.5, "2", True, None])
def test_number_must_be_an_int(path: Path, wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"^n must be an int, got "):
        line_ranges(path, wrong)


def test_file_must_exist_and_be_a_regular_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        line_ranges(tmp_path / "none", 2)
    with pytest.raises(ValueError, match=r"^path must be of a regular file, got "):
        line_ranges(tmp_path, 2)


def test_range_can_be_read_in_another_folder(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(b"1\n")
    monkeypatch.chdir(path.parent)
    (part,) = line_ranges(path.name, 1)
    monkeypatch.chdir(tmp_path)
    assert list(part) == [b"1\n"]


@pytest.mark.slow
def test_example_of_the_documentation_counts_in_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documentation = line_ranges.__doc__ or ""
    start, end = (
        documentation.index("        def count"),
        documentation.index("        if __name__"),
    )
    (tmp_path / "counting.py").write_text(
        "from sseparse import NDJSONDecoder, decode, line_ranges\n"
        + textwrap.dedent(documentation[start:end])
    )
    (tmp_path / "events.jsonl").write_bytes(b'{"n": 1}\n' * 1000)
    monkeypatch.syspath_prepend(tmp_path)
    counting: Any = __import__("counting")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn) as pool:
        counts = pool.map(counting.count, line_ranges(tmp_path / "events.jsonl", 4))
        assert sum(counts) == 1000
