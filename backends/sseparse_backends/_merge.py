"""Objects that a service sends in pieces, put together without losing a field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias, TypeGuard

# A JSON object of a service.
Object: TypeAlias = dict[str, Any]


def is_object(value: Any) -> TypeGuard[Object]:
    """Return whether a JSON value is an object."""
    return isinstance(value, dict)


def is_list(value: Any) -> TypeGuard[list[Any]]:
    """Return whether a JSON value is a list."""
    return isinstance(value, list)


# Labels: a new value replaces the one before.
_LABELS = frozenset("id type role name format model index status object created".split())


class _Pieces(list[str]):
    """A text in pieces: joining two strings for each piece would take quadratic time."""


def merge(target: Object, piece: Mapping[str, Any]) -> None:
    """Merge a piece of an object into what came before.

    Texts are joined, objects are merged. Elements of lists are merged by their index, or else
    where one text follows another. Text beside a list becomes a part of the list. Labels, numbers
    and booleans replace the value before. Null and empty values are ignored; so is a value of
    another type after an object or a list.
    """
    for name, value in piece.items():
        before = target.get(name)
        if before is None:
            target[name] = _start(name, value)
        elif not value and not isinstance(value, int):
            continue
        elif isinstance(before, _Pieces) and isinstance(value, str | int | float):
            before.append(value if isinstance(value, str) else json.dumps(value))
        elif is_object(before) and is_object(value):
            merge(before, value)
        elif is_list(value) or (is_list(before) and isinstance(value, str)):
            if isinstance(before, _Pieces) or not is_list(before):
                before = target[name] = _start(name, _parts(joined(before)))
            for element in _parts(value):
                _add(before, element)
        elif not isinstance(before, list | dict):
            if isinstance(value, str) and name not in _LABELS and not isinstance(before, bool):
                # A number is text where text follows.
                target[name] = _Pieces([json.dumps(before), value])
            else:
                target[name] = _start(name, value)


def _parts(value: Any) -> list[Any]:
    """Return a list as it is, and a text as a list of one part."""
    if is_list(value):
        return value
    return [{"type": "text", "text": value}] if isinstance(value, str) and value else []


def joined(value: Any) -> Any:
    """Return a copy of what was merged, its texts as str."""
    if isinstance(value, _Pieces):
        return "".join(value)
    if is_object(value):
        return {name: joined(item) for name, item in value.items()}
    if is_list(value):
        return [joined(item) for item in value]
    return value


def _start(name: str, value: Any) -> Any:
    if isinstance(value, str) and name not in _LABELS:
        return _Pieces([value])
    if is_object(value):
        target: Object = {}
        merge(target, value)
        return target
    if is_list(value):
        return [_start("", element) for element in value]
    return value


def _add(elements: list[Any], element: Any) -> None:
    """Add an element of a list, or merge it into the element that it continues."""
    if is_object(element):
        # Without an index only the last one is continued.
        for before in reversed(elements[-(_LOOK_BACK if "index" in element else 1) :]):
            if is_object(before) and _continues(before, element):
                merge(before, element)
                return
    elements.append(_start("", element))


def _continues(before: Object, piece: Object) -> bool:
    if "index" in piece:
        return all(before.get(name) in (None, piece.get(name)) for name in ("index", "type", "id"))
    # A text continues the text before it.
    is_text = piece.keys() <= _TEXT and before.keys() <= _TEXT
    return is_text and all(before.get(name) == piece.get(name) for name in ("type", "thought"))


# Limit for elements that grow at the same time: searching all of them takes quadratic time.
_LOOK_BACK = 64
_TEXT = frozenset(["type", "text", "thinking", "thought"])
