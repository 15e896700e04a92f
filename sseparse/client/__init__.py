"""The event-source client, on asyncio and trio."""

from ._event_source import EventSource, ReadyState

__all__ = ["EventSource", "ReadyState"]
