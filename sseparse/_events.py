"""The items of an event stream: one immutable class for each meaning."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One dispatched event, as a browser's EventSource would deliver it.

    event: the event type, "message" by default.
    data: the data lines, joined by LF.
    id: the last event ID in force, which an earlier event may have set.
    retry: the reconnection time in milliseconds if this block set it, else None.

    HTML Standard, 9.2.6 "Interpreting an event stream", "dispatch the event".
    """

    event: str = "message"
    data: str = ""
    id: str = ""
    retry: int | None = None

    def json(self, loads: Callable[[str], Any] = json.loads) -> Any:
        """Return `data` parsed as JSON.

        loads: the parser; its errors are raised unchanged.
        """
        return loads(self.data)


class MutableServerSentEvent:
    """An event under construction: fill the fields, then set `__class__` to ServerSentEvent.

    The `__init__` of a frozen dataclass takes four times as long, most of the cost of an event.
    Python allows the change of class because the slots are the same.
    """

    __slots__ = ("data", "event", "id", "retry")

    event: str
    data: str
    id: str
    retry: int | None


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment line.

    text: the rest of the line, after the colon and one optional space.
    """

    text: str


@dataclass(frozen=True, slots=True)
class UnknownField:
    """A field that the standard does not define, such as `error: {...}`.

    name, value: the line before and after the first colon, without one optional space.
    """

    name: str
    value: str
