"""A folder of logs, which processes on many machines share, and its outcomes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

from ._files import replacing
from ._ids import ID, IDTable
from ._results import ResultLog, read_records

# The file with the ID and a digest of the first prompt that the folder was used for.
_FIRST = "first-prompt"

# A position in the logs is the number of a log, times this, plus an offset.
_MAX_LOG = 2**40


class ResultFolder:
    """The outcomes in a folder of logs, by ID. No process writes to the log of another.

    path: the folder. It is made if it is missing.
    prefix: of the names of the logs to read. Default: all.
    retry_failed: leave out the errors, so that their prompts are missing.

    A line that a crash has torn, or that is being written, does not count.

    Raises OSError, and ValueError for a URL and for a file `*.jsonl` that is not a log.
    """

    def __init__(
        self, path: str | os.PathLike[str], prefix: str = "", *, retry_failed: bool = False
    ) -> None:
        self.path: Path = folder_path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self.ids: IDTable = IDTable()
        self._prefix = prefix
        # The first prompt: its ID and digest.
        self._first: list[ID] | None = None
        with suppress(FileNotFoundError):
            self._first = json.loads((self.path / _FIRST).read_bytes())
        # Each log, and how much of it has been read.
        self._logs: dict[Path, int] = {}
        try:
            self._read(errors=False)
            if not retry_failed:
                # After the others: an outcome that is no error counts, wherever it is.
                self._logs = dict.fromkeys(self._logs, 0)
                self._read(errors=True)
        except BaseException:
            self.close()
            raise

    def expect_same(self, prompt: Mapping[str, Any]) -> None:
        """Raise ValueError if the folder was used for another prompt with this ID.

        Only the first prompt of a folder is remembered.
        """
        if self._first is not None and self._first[0] != prompt["id"]:
            return
        text = json.dumps(prompt, sort_keys=True, default=repr)
        mark: list[ID] = [prompt["id"], sha256(text.encode()).hexdigest()]
        if self._first is None:
            with replacing(self.path / _FIRST) as file:
                file.write(json.dumps(mark).encode())
            self._first = mark
        elif self._first != mark:
            raise ValueError(
                f"folder must be of the same prompts, got {self.path}, which had another prompt "
                f"with the ID {mark[0]!r}: use a new folder"
            )

    def refresh(self) -> None:
        """Read the lines that other processes have written since."""
        self._read(errors=True)

    def _read(self, *, errors: bool) -> None:
        for log in sorted(self.path.glob(f"{self._prefix}*.jsonl")):
            self._logs.setdefault(log, 0)
        for number, log in enumerate(self._logs):
            for line, record in read_records(log, self._logs[log]):
                if errors or record["error"] is None:
                    self.ids.add(record["id"], number * _MAX_LOG + self._logs[log])
                self._logs[log] += len(line)

    def record(self, id: ID) -> dict[str, Any]:
        """Return the outcome of `id`, as in Outcome.record. Raises KeyError."""
        position = self.ids.line(id)
        if position is None:
            raise KeyError(id)
        number, offset = divmod(position, _MAX_LOG)
        with [*self._logs][number].open("rb") as file:
            file.seek(offset)
            record: dict[str, Any] = json.loads(file.readline())
            return record

    def new_log(self) -> ResultLog:
        """Return a log with a name that no other process has."""
        return ResultLog(self.path / f"{self._prefix}{uuid4().hex}.jsonl", lock=False)

    def close(self) -> None:
        """Delete the table of IDs."""
        self.ids.close()

    def __enter__(self) -> ResultFolder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def folder_path(folder: str | os.PathLike[str]) -> Path:
    """Return the path of a folder of logs. Raises ValueError for a URL."""
    if "://" in os.fspath(folder):
        raise ValueError(f"folder must be on a file system that can append, got {folder}")
    return Path(folder)


def merge(folder: str | os.PathLike[str], output: str | os.PathLike[str]) -> int:
    """Write the outcomes of a folder to a file, one for each ID, and return the number of errors.

    folder: of logs, as the faces for clusters write them.
    output: a file of JSON lines, as `sseparse batch` writes it; a link is followed. If it exists,
        it must be one too, without IDs that the folder has not. It is replaced atomically.

    Of several outcomes of an ID, the first that is no error is taken, or else the first.

    Raises, with the output as it was, OSError; BlockingIOError for an output that a batch writes;
    and ValueError for a folder without logs, a file `*.jsonl` in it that is not a log, and an
    output of something else.
    """
    target = Path(os.path.realpath(output))
    if target.resolve().parent == Path(folder).resolve():
        raise ValueError(f"output must be outside of the folder of logs, got {output}")
    logs = sorted(Path(folder).glob("*.jsonl"))
    if not logs:
        raise ValueError(f"folder must be a folder of logs, got {folder}")
    failed = 0
    with closing(IDTable()) as written, replacing(target) as file:
        for errors_too in (False, True):
            for log in logs:
                for line, record in read_records(log):
                    if record["error"] is not None and not errors_too:
                        continue
                    if written.add(record["id"], 0) is None:
                        file.write(line)
                        failed += record["error"] is not None
        if target.exists():
            _expect_outcomes_of(written, target)
    return failed


def _expect_outcomes_of(ids: IDTable, output: Path) -> None:
    """Raise ValueError if `output` has anything but outcomes of `ids`."""
    # A batch that writes it has locked that file, which is not made here.
    has_lock = output.with_name(f"{output.name}.lock").exists()
    try:
        with ResultLog(output, lock=has_lock) as log:
            for identity in log.ids:
                if identity not in ids:
                    raise ValueError(f"it has an outcome of {identity!r}, the folder has none")
    except ValueError as error:
        raise ValueError(
            f"output must be a new file, or outcomes of the folder, got {output}: {error}"
        ) from error
