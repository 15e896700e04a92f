"""Which backends are installed. A package offers one through an entry point:

[project.entry-points."sseparse.backends"]
darkai = "sseparse_backends.darkai:DarkAI"
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ._contract import Backend


def installed_backends() -> dict[str, EntryPoint]:
    """Return the installed backends by name, in the order of their names, none loaded yet."""
    return {entry.name: entry for entry in sorted(entry_points(group="sseparse.backends"))}


def get_backend(name: str, **options: Any) -> Backend:
    """Return the backend of this name, made with `options`.

    Raises ValueError, naming the installed ones, for a name that none has, and ImportError for
    one that cannot be loaded.
    """
    known = installed_backends()
    if name not in known:
        raise ValueError(f"no backend is called {name!r}; installed are {', '.join(known)}")
    try:
        backend_class = known[name].load()
    except (ImportError, AttributeError) as error:
        raise ImportError(f"the backend {name!r} cannot be loaded: {error}") from error
    backend: Backend = backend_class(**options)
    return backend
