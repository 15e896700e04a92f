"""A table of IDs whose memory does not grow with their number."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import TypeAlias

ID: TypeAlias = str | int


class IDTable:
    """Unique IDs, each with the number of its line. 1 and "1" are different IDs.

    It is a temporary database, of which SQLite keeps 2 MB in memory and the rest on disk. Any
    thread may use it, one at a time.
    """

    def __init__(self) -> None:
        # An empty name: https://sqlite.org/inmemorydb.html, "Temporary Databases".
        # Ray 2.60 constructs an actor in one thread and calls it in another.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._execute = self._database.execute
        self._execute("PRAGMA journal_mode = OFF")
        self._execute("CREATE TABLE ids (id BLOB PRIMARY KEY, line INTEGER) WITHOUT ROWID")
        self._execute("BEGIN")
        self._count = 0

    def add(self, id: ID, line: int) -> int | None:
        """Add `id`, or return the line number of the one that is here. Raises OSError."""
        try:
            row = _key(id), line
            added = self._execute("INSERT OR IGNORE INTO ids VALUES (?, ?)", row).rowcount
        except sqlite3.OperationalError as error:
            raise OSError(f"the temporary table of IDs, on the disk: {error}") from error
        self._count += added
        return None if added else self.line(id)

    def line(self, id: ID) -> int | None:
        """Return the line number of `id`, or None if it is not here."""
        row = self._execute("SELECT line FROM ids WHERE id = ?", (_key(id),)).fetchone()
        return None if row is None else row[0]

    def __contains__(self, id: ID) -> bool:
        return self.line(id) is not None

    def __iter__(self) -> Iterator[ID]:
        for (key,) in self._execute("SELECT id FROM ids"):
            yield json.loads(key)

    def __len__(self) -> int:
        return self._count

    def close(self) -> None:
        """Delete the table."""
        self._database.close()


def _key(id: ID) -> bytes:
    return json.dumps(id).encode()
