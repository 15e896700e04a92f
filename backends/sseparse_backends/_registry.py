"""The installed backends. A package offers one through an entry point:

[project.entry-points."sseparse.backends"]
darkai = "sseparse_backends.darkai:DarkAI"
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from ._contract import Backend


def installed_backends() -> list[str]:
    """Return the names of the installed backends, sorted, without loading them."""
    return sorted(entry_points(group="sseparse.backends").names)


def get_backend(name: str, **options: Any) -> Backend:
    """Return the backend of this name, constructed with `options`.

    Raises ValueError for a name that no installed backend, or more than one, has; ImportError
    for a backend that cannot be loaded; TypeError and ValueError for wrong options.
    """
    # An installed package may be on the path twice.
    entries = {entry.value: entry for entry in entry_points(group="sseparse.backends", name=name)}
    if not entries:
        known = ", ".join(installed_backends())
        raise ValueError(f"name must be one of the installed backends ({known}), got {name!r}")
    if len(entries) > 1:
        raise ValueError(f"name {name!r} is ambiguous: {', '.join(sorted(entries))}")
    (entry,) = entries.values()
    try:
        backend_class = entry.load()
    except Exception as error:  # a module may raise anything
        raise ImportError(f"backend {name!r} cannot be loaded: {error!r}") from error
    backend: Backend = backend_class(**options)
    return backend
