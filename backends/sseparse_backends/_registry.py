"""Which backends are installed. A package offers one through an entry point:

[project.entry-points."sseparse.backends"]
darkai = "sseparse_backends.darkai:DarkAI"
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from ._contract import Backend


def installed_backends() -> list[str]:
    """Return the names of the installed backends, in their order, none loaded yet."""
    return sorted(entry_points(group="sseparse.backends").names)


def get_backend(name: str, **options: Any) -> Backend:
    """Return the backend of this name, made with `options`.

    Raises ValueError, naming the installed ones, for a name that none has, or more than one, and
    ImportError for one that cannot be loaded.
    """
    # An entry point may be there twice, where a package is.
    found = {entry.value: entry for entry in entry_points(group="sseparse.backends", name=name)}
    if not found:
        known = ", ".join(installed_backends())
        raise ValueError(f"no backend is called {name!r}; installed are {known}")
    if len(found) > 1:
        raise ValueError(f"more than one backend is called {name!r}: {', '.join(sorted(found))}")
    (entry,) = found.values()
    try:
        backend_class = entry.load()
    except Exception as error:  # whatever a module of others raises
        raise ImportError(f"the backend {name!r} cannot be loaded: {error!r}") from error
    backend: Backend = backend_class(**options)
    return backend
