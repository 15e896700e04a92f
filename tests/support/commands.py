"""The command line as a process."""

from __future__ import annotations

import signal
import subprocess
import sys


def start(*arguments: str) -> subprocess.Popen[bytes]:
    """Start the command line as a process of its own, with pipes, heeding Ctrl-C."""
    return subprocess.Popen(
        [sys.executable, "-m", "sseparse", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
