"""What an event-stream decoder returns. One class for each meaning, all immutable."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One dispatched event, as a browser's EventSource would deliver it.

    `event` is the event type, `data` the data lines joined by LF, `id` the last event ID in
    force at the dispatch, which may have been set by an earlier event. `retry` is the
    reconnection time in milliseconds if this block set one, else None.

    HTML Standard, 9.2.6 "Interpreting an event stream", "dispatch the event".
    """

    event: str = "message"
    data: str = ""
    id: str = ""
    retry: int | None = None

    def json(self, loads: Callable[[str], Any] = json.loads) -> Any:
        """Return `data` parsed as JSON by `loads`; what `loads` raises is passed on."""
        return loads(self.data)


class MutableServerSentEvent:
    """An event under construction: fill the fields, then set `__class__` to ServerSentEvent.

    The `__init__` of a frozen dataclass takes four times as long, and it would be most of the
    cost of an event. Python allows the change of class because the slots are the same.
    """

    __slots__ = ("data", "event", "id", "retry")

    event: str
    data: str
    id: str
    retry: int | None


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment line: `text` is what follows the colon and one optional space."""

    text: str


@dataclass(frozen=True, slots=True)
class UnknownField:
    """A field with a name that the standard does not know, such as `error: {...}`."""

    name: str
    value: str
