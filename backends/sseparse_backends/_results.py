"""The outcomes of prompts, and the file that keeps them: appended, locked, resumable."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from sseparse import encode_json_line

from ._contract import Finish, ToolCall, Usage
from ._files import replacing, sync_names
from ._ids import ID, IDTable

if sys.platform == "win32":  # pragma: no cover
    from msvcrt import LK_NBLCK, locking

    def _lock(file: BinaryIO) -> None:
        try:
            locking(file.fileno(), LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError from error
else:
    from fcntl import LOCK_EX, LOCK_NB, flock

    def _lock(file: BinaryIO) -> None:
        flock(file, LOCK_EX | LOCK_NB)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The complete reply to a prompt, or the error in its place.

    id: the prompt's.
    text: the text of the reply; with an error, the text that came in the last attempt.
    messages: the reply in the service's own shape, to append to the conversation.
    tool_calls: the calls that the caller has to answer.
    usage: the tokens used in the last attempt, or None if the service has counted none.
    finish: why the reply ended.
    attempts: the requests that were sent.
    first_seconds: from the last request to the first content of its reply, or None without content.
    seconds: from the first request to the end, retries and the waits before them included.
    error: why there is no complete reply. Then there are no messages, tool_calls and finish.
    """

    id: ID
    text: str = ""
    messages: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    tool_calls: list[ToolCall] = field(default_factory=list[ToolCall])
    usage: Usage | None = None
    finish: Finish | None = None
    attempts: int = 0
    first_seconds: float | None = None
    seconds: float = 0.0
    error: Exception | None = None

    def record(self) -> dict[str, Any]:
        """Return the outcome as JSON, its error as an object with "type" and "message"."""
        error = self.error
        return {
            "id": self.id,
            "text": self.text,
            "messages": self.messages,
            "tool_calls": [asdict(call) for call in self.tool_calls],
            "usage": None if self.usage is None else asdict(self.usage),
            "finish": None if self.finish is None else asdict(self.finish),
            "attempts": self.attempts,
            "first_seconds": self.first_seconds,
            "seconds": self.seconds,
            "error": error and {"type": type(error).__name__, "message": str(error)},
        }


# Start of a log line.
_START = b'{"id": '


class ResultLog:
    """A file of outcomes, one a line of JSON, for one process at a time.

    path: the file, which need not exist yet. A link is followed.
    lock: keep other processes out. Without it, the caller keeps them away. Default: true.

    A killed process loses at most the line that it is writing: the torn line is cut off when the
    next one is appended. A power cut loses at most the lines since `sync`. The lock is on the file
    `path` + ".lock", which stays there.

    Raises BlockingIOError if the log is open elsewhere, in this process or another; OSError; and
    ValueError, without a change to the file, unless it holds lines of a log with unique IDs.
    """

    def __init__(self, path: str | os.PathLike[str], *, lock: bool = True) -> None:
        self.path: Path = Path(os.path.realpath(path))
        # Lines that may not be on the disk yet.
        self.unsynced: int = 0
        if self.path.exists() and not self.path.is_file():
            raise ValueError(f"the log must be a regular file, got {path}")
        if not self.path.parent.is_dir():
            raise ValueError(f"the folder of the log must exist, got {path}")
        with ExitStack() as stack:
            if lock:
                # Not a lock on the log itself: on Windows, nobody else could read it then.
                self._beside(".lock").touch()
                self._lock_file = stack.enter_context(self._beside(".lock").open("r+b"))
                try:
                    _lock(self._lock_file)
                except BlockingIOError as error:
                    raise BlockingIOError(f"{path} is open elsewhere, for another run") from error
            self._open()
            stack.callback(self._close)
            sync_names(self.path.parent)
            self._read()
            self._stack = stack.pop_all()

    def append(self, outcome: Outcome) -> None:
        """Write `outcome` to the file.

        Raises ValueError for an ID that is in the log and for a closed log, and OSError, for a
        full disk for example. Whatever it raises, the file ends with a whole line.
        """
        self._expect_open()
        line = encode_json_line(outcome.record())
        if (other := self.ids.line(outcome.id)) is not None:
            raise ValueError(f"id must be new to the log, got {outcome.id!r}, as on line {other}")
        if self._file.tell() > self._end:
            self._file.truncate(self._end)
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[self._file.write(rest) :]
        except BaseException as failure:
            self._file.truncate(self._end)
            if isinstance(failure, OSError):
                failure.filename = str(self.path)
            raise
        self._add(line, outcome.id, outcome.error is not None)
        self.unsynced += 1

    @property
    def fingerprint(self) -> bytes:
        """Fingerprint of the prompts, kept in the file of the lock. Only with a lock."""
        self._lock_file.seek(0)
        return self._lock_file.read()

    @fingerprint.setter
    def fingerprint(self, fingerprint: bytes) -> None:
        if fingerprint == self.fingerprint:
            return
        # Not truncated first: the next run refuses half of one, but accepts an empty file.
        self._lock_file.seek(0)
        self._lock_file.write(fingerprint)
        self._lock_file.truncate()
        self._lock_file.flush()
        os.fsync(self._lock_file.fileno())

    def sync(self) -> None:
        """Return once all lines are on the disk.

        Raises ValueError for a closed log, and OSError, also if the file is no longer at `path`.
        """
        self._expect_open()
        os.fsync(self._file.fileno())
        self.unsynced = 0
        try:
            is_there = os.path.samestat(os.fstat(self._file.fileno()), self.path.stat())
        except FileNotFoundError:
            is_there = False
        if not is_there:
            raise OSError(f"{self.path} was removed or replaced while outcomes were written to it")

    def drop_failed(self) -> None:
        """Remove the errors, so that their prompts are missing. The file is replaced atomically."""
        if not self.failed:
            return
        try:
            with replacing(self.path) as file:
                for line, record in read_records(self.path):
                    if record["error"] is None:
                        file.write(line)
                self._close()  # Windows replaces no open file
        finally:
            if self._file.closed:
                self._open()
                self._read()

    def close(self) -> None:
        """Sync, close the file and release the lock."""
        with self._stack:
            if not self._file.closed:
                self.sync()

    def __enter__(self) -> ResultLog:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _expect_open(self) -> None:
        if self._file.closed:
            raise ValueError(f"the log must be open, got {self.path}, which was closed")

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    def _open(self) -> None:
        self._file = self.path.open("ab", buffering=0)
        # The IDs of the outcomes in the log, and how many of them are errors.
        self.ids: IDTable = IDTable()
        self.failed: int = 0
        # Where the next line begins.
        self._end = 0

    def _close(self) -> None:
        self._file.close()
        self.ids.close()

    def _read(self) -> None:
        for line, record in read_records(self.path):
            if (other := self.ids.line(record["id"])) is not None:
                raise ValueError(
                    f"the IDs of the log must be unique, got {record['id']!r} on the lines "
                    f"{other} and {len(self.ids) + 1} of {self.path}"
                )
            self._add(line, record["id"], record["error"] is not None)

    def _add(self, line: bytes, id: ID, failed: bool) -> None:
        """Count a line that is in the file."""
        # First, so that no error makes `append` cut it off.
        self._end += len(line)
        self.ids.add(id, len(self.ids) + 1)
        self.failed += failed


def read_records(path: Path, offset: int = 0) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Yield the whole lines of a log from an offset in bytes on, with the record of each.

    Raises OSError, and ValueError for a line that is not of a log.
    """
    with path.open("rb") as file:
        file.seek(offset)
        for number, line in enumerate(file, 1):
            try:
                record = _parse(line)
            except ValueError as error:
                after = f" after byte {offset}" if offset else ""
                raise ValueError(
                    f"the log must hold outcomes of a batch alone, got line {number}{after} of "
                    f"{path}: {error}"
                ) from error
            if record is None:
                return  # another process may be writing the rest
            yield line, record


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return the record of a whole line, or None for the start of one, torn by a crash.

    Raises ValueError for neither.
    """
    torn = not line.endswith(b"\n")
    if torn:
        # After a power cut, some file systems have NULs for bytes that were not written.
        line = line.rstrip(b"\0")
    if line[: len(_START)] != _START[: len(line)]:
        raise ValueError(f"it begins with {line[:20]!r}")
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        if torn:
            return None
        raise ValueError("it is not JSON") from None
    if not {"id", "error"} <= record.keys():
        raise ValueError(f"its fields are {', '.join(record)}")
    if type(record["id"]) not in (str, int):
        raise ValueError("its id is neither a str nor an int")
    return None if torn else record
