"""The command line in a terminal of its own: a pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

# How long the other side may take, in seconds: a busy machine fails no test.
_PATIENCE = 120

_CONTROL_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[=>78])")


class Terminal:
    """A process in a terminal; `output` is all that it has printed."""

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.process = process
        self.output = b""
        self._descriptor = descriptor
        self._seen = 0

    @property
    def text(self) -> str:
        """The output without control sequences."""
        return _CONTROL_SEQUENCE.sub("", self.output.decode())

    def send(self, keys: str) -> None:
        os.write(self._descriptor, keys.encode(errors="surrogateescape"))

    def expect(self, text: str) -> str:
        """Wait until `text` is printed, and return the output between the last one and it."""
        deadline = time.monotonic() + _PATIENCE
        while (end := self.text.find(text, self._seen)) == -1:
            assert self._receive(deadline), f"{text!r} is not in {self.text[self._seen :]!r}"
        before = self.text[self._seen : end]
        self._seen = end + len(text)
        return before

    def wait(self) -> int:
        """Read until the process ends, and return its exit status."""
        deadline = time.monotonic() + _PATIENCE
        while self._receive(deadline):
            pass
        return self.process.wait(timeout=_PATIENCE)

    def hang_up(self) -> None:
        """Take the terminal away."""
        os.close(self._descriptor)
        self._descriptor = -1

    def _receive(self, deadline: float) -> bool:
        """Receive more output; False at its end."""
        ready, _, _ = select.select([self._descriptor], [], [], deadline - time.monotonic())
        assert ready, f"nothing more was printed after {self.text!r}"
        try:
            data = os.read(self._descriptor, 65536)
        except OSError:  # EIO: no process has the terminal open
            return False
        self.output += data
        return bool(data)


@contextmanager
def terminal(
    *arguments: str,
    columns: int = 80,
    rows: int = 24,
    environment: Mapping[str, str] | None = None,
    stdout: int | None = None,
) -> Iterator[Terminal]:
    """Run the command line in a terminal of this size; kill it at the end.

    environment: variables beside those of this process.
    stdout: a descriptor in place of the terminal.
    """
    # A terminal would answer the question for the cursor's position.
    variables = {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", **(environment or {})}
    parent, child = os.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "sseparse", *arguments],
        stdin=child,
        stdout=child if stdout is None else stdout,
        stderr=child,
        env={**os.environ, **variables},
        start_new_session=True,
        # Ctrl-C interrupts the process only if this is its session's terminal.
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(child)
    running = Terminal(process, parent)
    try:
        yield running
    finally:
        process.kill()
        process.wait()
        if running._descriptor != -1:
            os.close(running._descriptor)
