"""Calls of tools, which services send in pieces."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import product

from ._contract import ToolCall

# What tells where a JSON object ends.
_MARK = re.compile(r'\\.?|["{}]', re.DOTALL)


@dataclass
class _Call:
    index: int | None
    id: str
    name: str
    arguments: list[str] = field(default_factory=list[str])
    # Whether the arguments so far have a whole object in them, and else where in one they end.
    ended: bool = False
    depth: int = 0
    in_string: bool = False
    escaping: bool = False

    def append(self, arguments: str) -> None:
        self.arguments.append(arguments)
        # A character that an escape of the piece before takes is passed over.
        marks = _MARK.findall(arguments, int(self.escaping))
        self.escaping = marks[-1:] == ["\\"]
        for mark in marks:
            if mark == '"':
                self.in_string = not self.in_string
            elif mark in "{}" and not self.in_string:
                self.depth += 1 if mark == "{" else -1
                self.ended = self.ended or self.depth == 0

    def restart(self) -> None:
        self.arguments.clear()
        self.ended, self.depth, self.in_string, self.escaping = False, 0, False, False


class ToolCalls:
    """Puts the calls of a reply together from their pieces."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        # The last call of all, of each index, of each ID, and of both.
        self._last: dict[tuple[int | None, str | None], _Call] = {}

    def add(
        self,
        index: int | None,
        id: str | None,
        name: str | None,
        arguments: str | None,
        *,
        whole: bool = False,
    ) -> None:
        """Take a piece: of the call of this index, or else of this ID, or else of the last one.

        Some servers give all calls the same index, or none, or the first piece another one. So
        another ID begins another call, and without an ID a name does, where it is another one or
        the arguments begin anew; an ID without a name goes on with its call, whatever the index.

        whole: the arguments, if any, are all of them, and not the next piece.
        """
        call = self._find(index, id or None, name, arguments)
        if call is None:
            call = _Call(index, id or "", name or "")
            self._calls.append(call)
        call.index = index if call.index is None else call.index
        call.id = call.id or id or ""
        call.name = call.name or name or ""
        if whole and arguments:
            call.restart()
        if arguments:
            call.append(arguments)
        for key in product({None, index, call.index}, {None, call.id}):
            self._last[key] = call

    def _find(
        self, index: int | None, id: str | None, name: str | None, arguments: str | None
    ) -> _Call | None:
        last = self._last.get((None, None))
        # A first piece without an index belongs to what comes with one.
        adoptable = last if last is not None and last.index is None else None
        if id is not None:
            call = self._last.get((index, id))
            if call is None and not name:
                call = self._last.get((None, id))
            if call is None and index is not None:
                call = self._last.get((index, "")) or adoptable
                if call is not None and name and call.name not in ("", name):
                    return None
            return call if call is None or call.id in ("", id) else None
        call = self._last.get((index, None)) or adoptable
        if call is None or not name or not call.name:
            return call
        begins_anew = call.ended and (arguments or "").lstrip().startswith("{")
        return None if index is None or name != call.name or begins_anew else call

    def take(self) -> list[ToolCall]:
        """Return the calls, in the order in which they began."""
        calls, self._calls, self._last = self._calls, [], {}
        return [
            # Some services write nothing for a tool that takes nothing.
            ToolCall(index, call.id, call.name, "".join(call.arguments) or "{}")
            for index, call in enumerate(calls)
        ]
