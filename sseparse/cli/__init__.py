"""The command line, and helpers for the commands of other packages."""

from sseparse._display import one_line

from ._failure import EXPECTED_ERRORS, Incomplete, TimedOut, WrongUsage, failure_of
from ._group import main
from ._terminal import SECONDS, async_backend, note, print_json, run, safe_for

__all__ = [
    "EXPECTED_ERRORS",
    "SECONDS",
    "Incomplete",
    "TimedOut",
    "WrongUsage",
    "async_backend",
    "failure_of",
    "main",
    "note",
    "one_line",
    "print_json",
    "run",
    "safe_for",
]
