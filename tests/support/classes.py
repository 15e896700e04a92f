"""The classes that exist twice, compiled and in Python."""

from __future__ import annotations

from typing import TypeVar

Class = TypeVar("Class")


def in_python(cls: Class) -> Class:
    """Return the class in Python for one that may be compiled."""
    wrapped: Class = getattr(cls, "__wrapped__", cls)
    return wrapped
