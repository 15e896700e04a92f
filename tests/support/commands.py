"""The command line as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys


def start(
    *arguments: str,
    stdin: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
    closed: int | None = None,
) -> subprocess.Popen[bytes]:
    """Start the command line as a process of its own, with pipes, heeding Ctrl-C.

    stdin, stderr: a descriptor in place of a pipe, or subprocess.DEVNULL.
    closed: the number of a standard stream to close.
    """

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if closed is not None:
            os.close(closed)

    return subprocess.Popen(
        [sys.executable, "-m", "sseparse", *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=stderr,
        preexec_fn=prepare,
    )
