"""A thread that aborts a response at its deadline."""

from __future__ import annotations

import math
from collections.abc import Callable
from threading import TIMEOUT_MAX, Condition, Thread, current_thread
from time import monotonic


class Watchdog:
    """Calls `abort` once, at the deadline.

    Its thread starts with the first deadline that is finite, and ends with `stop`.
    """

    def __init__(self, abort: Callable[[], None]) -> None:
        # Whether it has called `abort`.
        self.expired: bool = False
        self._abort = abort
        self._deadline = math.inf
        # The time at which the thread looks at the deadline next.
        self._next_look = math.inf
        self._stopped = False
        self._changed = Condition()
        self._thread: Thread | None = None

    def set(self, deadline: float) -> None:
        """Set the deadline, a time of time.monotonic(), or inf for none."""
        with self._changed:
            self._deadline = deadline
            if deadline < self._next_look:
                self._changed.notify()
                if self._thread is None:
                    thread = Thread(target=self._run, name="sseparse: deadline", daemon=True)
                    thread.start()
                    self._thread = thread

    def stop(self) -> None:
        """End the thread."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        # A driver may be collected as garbage in any thread.
        if self._thread is not None and self._thread is not current_thread():
            self._thread.join()

    def _run(self) -> None:
        with self._changed:
            while not self._stopped:
                left = self._deadline - monotonic()
                if left <= 0:
                    self.expired = True
                    self._next_look = -math.inf
                    self._abort()
                    return
                self._next_look = self._deadline
                self._changed.wait(min(left, TIMEOUT_MAX))
