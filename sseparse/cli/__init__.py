"""The command line, and helpers for the commands of other packages."""

from sseparse._display import one_line

from ._group import main
from ._terminal import SECONDS, async_backend, run, safe_for

__all__ = ["SECONDS", "async_backend", "main", "one_line", "run", "safe_for"]
