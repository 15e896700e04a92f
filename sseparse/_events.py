"""The items of an event stream: one immutable class for each meaning."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ._compiled import compiled


@compiled
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


@compiled
@dataclass(frozen=True, slots=True)
class Block:
    """The fields of one block, at least one; None for a field that the block lacks.

    event: the event type, "" included.
    data: the data lines, joined by LF.
    id: the event ID, "" included. None if it contains NUL.
    retry: the reconnection time in milliseconds. None if it is not a number.
    """

    event: str | None = None
    data: str | None = None
    id: str | None = None
    retry: int | None = None


@compiled
@dataclass(frozen=True, slots=True)
class Comment:
    """A comment line.

    text: the rest of the line, after the colon and one optional space.
    """

    text: str


@compiled
@dataclass(frozen=True, slots=True)
class UnknownField:
    """A field that the standard does not define, such as `error: {...}`.

    name, value: the line before and after the first colon, without one optional space.
    line: the whole line.
    """

    name: str
    value: str
    line: str


class _EventDraft:
    """An event under construction: its class can be changed, because the slots are the same."""

    __slots__ = ("data", "event", "id", "retry")


def _new_event(event: str, data: str, id: str, retry: int | None) -> Any:
    draft: Any = _EventDraft()
    draft.event = event
    draft.data = data
    draft.id = id
    draft.retry = retry
    draft.__class__ = ServerSentEvent
    return draft


# The `__init__` of a frozen dataclass takes three times as long, most of the cost of an event.
new_event = ServerSentEvent if hasattr(ServerSentEvent, "__wrapped__") else _new_event
