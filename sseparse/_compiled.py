"""The compiled part: for a class in Python, the class in C that serves in its place."""

from __future__ import annotations

import copyreg
import os
import warnings
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

Class = TypeVar("Class")

_make: Any = None
if not TYPE_CHECKING and os.environ.get("SSEPARSE_PURE_PYTHON", "0") in ("", "0"):
    try:
        from ._speedups import make as _make
    except ModuleNotFoundError:  # it was not built
        pass
    except ImportError as error:
        warnings.warn(
            f"sseparse is slow: its compiled part cannot be used: {error}",
            RuntimeWarning,
            stacklevel=2,
        )


class Stateful:
    """A decoder in Python. Its state is a tuple: the compiled class can go on from it.

    _state: the slots of the class.
    """

    __slots__ = ()
    _state: ClassVar[tuple[str, ...]]

    def __getstate__(self) -> tuple[object, ...]:
        values = (getattr(self, name) for name in self._state)
        return tuple(bytes(value) if isinstance(value, bytearray) else value for value in values)

    def __setstate__(self, state: tuple[object, ...]) -> None:
        for name, value in zip(self._state, state, strict=True):
            setattr(self, name, bytearray(value) if isinstance(value, bytes) else value)

    # The one of object makes pickles of protocol 0 and 1 that the compiled class cannot load.
    def __reduce__(self) -> tuple[Any, ...]:
        return copyreg.__newobj__, (type(self),), self.__getstate__()  # type: ignore[attr-defined]


def compiled(cls: Class) -> Class:
    """Return the compiled class for `cls`, or `cls` if there is none.

    cls: a decoder, or the dataclass of an item; kept as `__wrapped__`.
    """
    if _make is None:
        return cls
    python: Any = cls
    make = _make_item if hasattr(cls, "__dataclass_fields__") else _make_decoder
    try:
        made = make(python)
    except ImportError as error:
        warnings.warn(
            f"{python.__name__} is slow: the compiled one cannot be used: {error}",
            RuntimeWarning,
            stacklevel=2,
        )
        return cls
    made.__wrapped__ = cls
    return cast("Class", made)


def _make_item(cls: Any) -> Any:
    """Return the compiled class: it holds the fields, and takes all else from the dataclass."""
    made = _make(cls.__name__, object, " ".join(cls.__slots__))
    for name, value in cls.__dict__.items():
        if not isinstance(value, MemberDescriptorType):
            setattr(made, name, value)
    return made


def _make_decoder(cls: Any) -> Any:
    """Return the compiled class, with the docstrings of the class in Python."""
    public = {name: value for name, value in cls.__dict__.items() if name[0] != "_"}
    # `help` and `inspect` take the docstring of a method from a base.
    documented = type(cls.__name__, (), public | {"__slots__": ()})
    made = _make(cls.__name__, documented, " ".join(cls.__slots__))
    made.__doc__ = cls.__doc__
    # pickle looks the class up by its qualified name.
    cls.__qualname__ += ".__wrapped__"
    return made
