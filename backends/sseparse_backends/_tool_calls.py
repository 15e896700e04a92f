"""Tool calls that a service sends in pieces."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product

from sseparse import RemoteProtocolError

from ._contract import ToolCall, ToolCallPiece
from ._merge import Object, joined, merge


@dataclass
class _Call:
    number: int
    index: int | None
    id: str
    kind: str
    name: str = ""
    arguments: list[str] = field(default_factory=list[str])
    # The merged fields of its pieces.
    item: Object = field(default_factory=dict[str, object])


class ToolCalls:
    """Joins the pieces of a reply's tool calls."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        # The latest call of each index, of each ID, of each pair, and of all.
        self._latest: dict[tuple[int | None, str | None], _Call] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def add(
        self,
        index: int | None,
        id: str,
        name: str = "",
        arguments: str = "",
        *,
        kind: str = "function",
        item: Object | None = None,
    ) -> ToolCallPiece:
        """Add a piece to the call that it continues, and return it.

        item: the piece as the service sent it, for `items`.
        """
        call = self._find(index, id, name)
        if call is None:
            call = _Call(len(self._calls), index, id, kind)
            self._calls.append(call)
        call.index = index if call.index is None else call.index
        call.id = call.id or id
        if name != call.name and not (call.name and call.arguments):
            call.name += name
            if len(call.name) > _MAX_NAME:
                raise RemoteProtocolError(f"a tool's name must have at most {_MAX_NAME} characters")
        if arguments:
            call.arguments.append(arguments)
        merge(call.item, item or {})
        for key in product({None, index, call.index}, {None, id or call.id, call.id}):
            self._latest[key] = call
        return ToolCallPiece(call.number, id, name, arguments)

    def _find(self, index: int | None, id: str, name: str) -> _Call | None:
        """Return the call that a piece continues, or None if it begins one.

        - The call of its index and ID goes on.
        - Without a name it goes on with the call of its ID, of its index, or else the latest one;
          some servers make a new ID for each piece (vLLM).
        - With a name and another ID it begins a call, even at a known index: Ollama gave all calls
          index 0 (its issue 15457).
        - With a name and without an ID it goes on with the call of its index if it repeats the
          name, or if that has no arguments yet: then it is the next part of the name.
        - Without an index a name begins a call (Ollama's issue 7881).
        """
        latest = self._latest.get((None, None))
        # A first piece without an index belongs to the next piece that has one.
        adoptable = latest if latest is not None and latest.index is None else None
        if id:
            call = self._latest.get((index, id)) or (None if name else self._latest.get((None, id)))
            if call is not None:
                return call
        call = self._latest.get((index, None)) or adoptable
        if call is None or not name:
            return call
        if id and call.id:
            return None
        if not call.name:
            return call
        if index is None:
            return None
        return call if name == call.name or not call.arguments else None

    def take(self) -> list[ToolCall]:
        """Return the calls in the order of their first pieces, empty arguments as they are."""
        return [
            ToolCall(call.number, call.id, call.name, _arguments(call), call.kind)
            for call in self._calls
        ]

    def items(self, calls: Iterable[ToolCall]) -> list[Object]:
        """Return `calls` as a message has them, with all the fields that their pieces had."""
        items: list[Object] = []
        for call in calls:
            item = joined(self._calls[call.index].item)
            item.pop("index", None)
            where = "input" if call.kind == "custom" else "arguments"
            fields = {"name": call.name, where: call.arguments}
            function = item.get(call.kind)
            item |= {"id": call.id, "type": call.kind}
            item[call.kind] = {**(function if isinstance(function, dict) else {}), **fields}
            items.append(item)
        return items


def _arguments(call: _Call) -> str:
    text = "".join(call.arguments)
    return text if call.kind == "custom" else last_object(text)


def last_object(text: str) -> str:
    """Return the last of several JSON objects that is not empty; any other text as it is.

    OpenAI-compatible servers send `{}` before or after the arguments, or all of them twice.
    """
    last, start, end = "", 0, 0
    try:
        while end < len(text):
            start = end
            value, end = _raw_decode(text, start)
            if not isinstance(value, dict):
                return text
            if value or not last:
                last = text[start:end]
            end = _SPACE.match(text, end).end()  # type: ignore[union-attr]
    except (ValueError, RecursionError):
        return text
    return last


# In characters. Services allow 64 to 128.
_MAX_NAME = 1000
_raw_decode = json.JSONDecoder(strict=False).raw_decode
_SPACE = re.compile(r"[ \t\r\n]*")
