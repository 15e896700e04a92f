"""The parts of a reply's stream that do not wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ._contract import Delta, FinishKind, ToolCall, Usage
from ._exchange import Exchange


class BaseReplyStream:
    """Base class of both ReplyStreams."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    @property
    def model(self) -> str:
        """The model that was asked."""
        return self._exchange.model

    @property
    def served_model(self) -> str | None:
        """The model that replies, as the service names it, or None before it has come."""
        reply = self._exchange.reply
        return None if reply is None else reply.served_model

    @property
    def id(self) -> str | None:
        """The service's ID of the reply, or None before it has come."""
        reply = self._exchange.reply
        return None if reply is None else reply.id

    @property
    def status(self) -> int | None:
        """The status of the latest response, or None before it has come."""
        return self._exchange.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The header fields of the latest response, names in lower case."""
        return self._exchange.headers

    @property
    def usage(self) -> Usage | None:
        """The tokens used, or None if the service has counted none."""
        return self._exchange.usage

    @property
    def finish_reason(self) -> str | None:
        """The service's reason for the end of the reply, or None."""
        finish = self._exchange.finish
        return None if finish is None else finish.reason

    @property
    def finish_kind(self) -> FinishKind | None:
        """Why the reply ended, in one word for all services, or None before it has ended."""
        finish = self._exchange.finish
        return None if finish is None else finish.kind

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The calls that the caller has to answer, once the reply is complete. A new list."""
        return [*self._exchange.tool_calls]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The reply in the service's own shape, to append to the conversation. A new list.

        Go on with the result of each call:

            messages += reply.messages
            messages += [backend.tool_result(call, run(call)) for call in reply.tool_calls]
        """
        reply = self._exchange.reply
        return [] if reply is None else reply.messages

    @property
    def text_so_far(self) -> str:
        """The text that has arrived, put together anew each time."""
        return self._exchange.text

    def _event_filter(self) -> Callable[[Any], bool]:
        """Return which items of the driver are events, from now on."""
        self._exchange.with_events = True
        return lambda item: not is_delta(item)


def is_delta(item: Any) -> bool:
    """Return whether an item of the driver is a delta, and not an event."""
    return isinstance(item, Delta)
