"""Tool calls that a service sends in pieces."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import msgspec

from ._contract import ToolCall


class FunctionPiece(msgspec.Struct):
    """A piece of a function's name and arguments."""

    name: str | None = None
    arguments: str | None = None


class CallPiece(msgspec.Struct):
    """A piece of a tool call, as OpenAI and Cohere send it."""

    index: int | None = None
    id: str | None = None
    function: FunctionPiece | None = None


@dataclass
class _Call:
    index: int | None
    id: str
    name: str
    arguments: list[str] = field(default_factory=list[str])


class ToolCalls:
    """Joins the pieces of a reply's tool calls."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        # The latest call of each index, of each ID, of each pair, and of all.
        self._latest: dict[tuple[int | None, str | None], _Call] = {}

    def add(
        self,
        index: int | None,
        id: str | None,
        name: str | None,
        arguments: str | None,
        *,
        whole: bool = False,
    ) -> None:
        """Add a piece to the call of its index, else of its ID, else to the latest one.

        Ollama gave all calls index 0 (its issue 15457), and before that none (its issue 7881). So
        a new ID starts a call, and without IDs a new name does. A piece with an ID and no name
        continues the call of that ID, whatever its index.

        whole: the arguments, unless empty, replace the pieces so far.
        """
        call = self._find(index, id or None, name)
        if call is None:
            call = _Call(index, id or "", name or "")
            self._calls.append(call)
        call.index = index if call.index is None else call.index
        call.id = call.id or id or ""
        call.name = call.name or name or ""
        if arguments and whole:
            call.arguments.clear()
        if arguments:
            call.arguments.append(arguments)
        for key in product({None, index, call.index}, {None, call.id}):
            self._latest[key] = call

    def _find(self, index: int | None, id: str | None, name: str | None) -> _Call | None:
        latest = self._latest.get((None, None))
        # A first piece without an index belongs to the next piece that has one.
        adoptable = latest if latest is not None and latest.index is None else None
        if id is not None:
            call = self._latest.get((index, id))
            if call is None and not name:
                call = self._latest.get((None, id))
            if call is None and index is not None:
                call = self._latest.get((index, "")) or adoptable
                if call is not None and name and call.name not in ("", name):
                    return None
            return call if call is None or call.id in ("", id) else None
        call = self._latest.get((index, None)) or adoptable
        if call is None or not name or not call.name:
            return call
        return call if index is not None and name == call.name else None

    def take(self) -> list[ToolCall]:
        """Return the calls in the order of their first pieces, and forget them."""
        calls, self._calls, self._latest = self._calls, [], {}
        return [
            # Cohere sends no arguments for a tool without parameters.
            ToolCall(index, call.id, call.name, "".join(call.arguments) or "{}")
            for index, call in enumerate(calls)
        ]
