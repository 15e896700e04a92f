"""The event-source client for threads: no `await`, and no event loop.

Driver drives Attempts as `sseparse.client.Driver` does, for a client with other retry rules;
Watchdog ends blocking calls at their deadlines.
"""

from ._driver import Driver
from ._event_source import EventSource
from ._watchdog import Watchdog

__all__ = ["Driver", "EventSource", "Watchdog"]
