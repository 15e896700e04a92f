"""Replace files atomically and durably."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4


@contextmanager
def replacing(path: Path) -> Generator[BinaryIO, None, None]:
    """Yield a file that takes the place of `path` at the end of the block, and is on the disk then.

    After an error in the block, `path` is as before. An existing file keeps its mode. A killed
    process may leave the new file, `path` + ".<hex>.new".
    """
    temporary = path.with_name(f"{path.name}.{uuid4().hex}.new")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_names(path.parent)


def sync_names(folder: Path) -> None:
    """Return once the names in a folder are on the disk, where the system can tell."""
    # Windows opens no folder, and some file systems sync none.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
