"""The parts of an event source that do not wait."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import Generic, TypeVar

from sseparse._display import redacted_url
from sseparse._events import ServerSentEvent
from sseparse.transports import Request

from ._attempts import Attempts, Limits
from ._base_driver import BaseDriver
from ._reconnection import Reconnection

TransportT = TypeVar("TransportT")
DriverT = TypeVar("DriverT", bound=BaseDriver[ServerSentEvent])


class ReadyState(enum.IntEnum):
    """The state of an EventSource, numbered as in the standard."""

    CONNECTING = 0
    OPEN = 1
    CLOSED = 2


class BaseEventSource(ABC, Generic[TransportT, DriverT]):
    """Base class of the event sources, which document the arguments."""

    def __init__(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        transport: TransportT | None = None,
        last_event_id: str = "",
        reconnection_time: float = 3.0,
        max_backoff: float = 60.0,
        max_attempts: int | None = None,
        idle_timeout: float | None = None,
        connect_timeout: float | None = 30.0,
        retry_statuses: Collection[int] = frozenset(),
        max_event_size: int | None = 64 * 1024 * 1024,
        on_open: Callable[[], object] | None = None,
        on_error: Callable[[Exception, float], object] | None = None,
    ) -> None:
        self._reconnection = Reconnection(
            Request(method, url, {} if headers is None else headers, body, connect_timeout),
            last_event_id=last_event_id,
            reconnection_time=reconnection_time,
            max_backoff=max_backoff,
            max_attempts=max_attempts,
            retry_statuses=retry_statuses,
            max_event_size=max_event_size,
        )
        self.url = url
        self._attempts = Attempts(self._reconnection, Limits(idle_timeout=idle_timeout))
        self._driver: DriverT = self._new_driver(transport, on_open, on_error)
        self._first_event_id = last_event_id

    @property
    def ready_state(self) -> ReadyState:
        """CONNECTING, which includes a wait, OPEN or CLOSED."""
        return ReadyState.__members__.get(self._attempts.state.name, ReadyState.CONNECTING)

    @property
    def last_event_id(self) -> str:
        """The last event ID in force at the event handed out last, for another run.

        The ID of a block without data counts once all events before it are handed out.
        """
        if not self._driver.is_behind:
            return self._reconnection.last_event_id
        event = self._driver.last
        return self._first_event_id if event is None else event.id

    @property
    def reconnection_time(self) -> float:
        """The reconnection time in force, in seconds."""
        return self._reconnection.reconnection_time

    def __repr__(self) -> str:
        return f"<EventSource {redacted_url(self.url)} {self.ready_state.name}>"

    @abstractmethod
    def _new_driver(
        self,
        transport: TransportT | None,
        on_open: Callable[[], object] | None,
        on_error: Callable[[Exception, float], object] | None,
    ) -> DriverT: ...
