"""The file of `listen --save-id`."""

from __future__ import annotations

import os
from pathlib import Path
from secrets import token_hex


class SavedID:
    """A last event ID in a file, kept for the next run.

    path: the file, which need not exist yet. A link is followed.

    The file is replaced atomically: even after a crash it holds the old ID or the new one.

    Raises ValueError for a path that cannot hold an ID, or holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.value: str = ""
        self._path = Path(os.path.realpath(path))
        # Replacing a device or a pipe would destroy it.
        if self._path.exists() and not self._path.is_file():
            raise ValueError(f"--save-id must be a regular file, got {path}")
        if not os.access(self._path.parent, os.W_OK):
            raise ValueError(f"--save-id must be in a writable folder, got {path}")
        if self._path.exists():
            try:
                self.value = self._path.read_bytes().rstrip(b"\r\n").decode()
            except UnicodeDecodeError as error:
                raise ValueError(f"--save-id must hold UTF-8, got {path}: {error}") from error
            if not {"\r", "\n", "\0"}.isdisjoint(self.value):
                raise ValueError(f"--save-id must hold an event ID, which is one line, got {path}")

    def save(self, event_id: str) -> None:
        """Write `event_id` to the file, unless it is there."""
        if event_id == self.value:
            return
        temporary = self._path.with_name(f".sseparse-{token_hex(8)}")
        try:
            temporary.write_text(f"{event_id}\n", "utf-8", newline="\n")
            if self._path.exists():
                temporary.chmod(self._path.stat().st_mode)
            temporary.replace(self._path)
        finally:
            temporary.unlink(missing_ok=True)
        self.value = event_id
