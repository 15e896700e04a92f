"""The event-source client, on asyncio and trio.

Driver, Attempts and Policy are for a client of your own that retries by other rules, as the replies
of `sseparse_backends` do.
"""

from ._attempts import Attempts, Limits, Policy, State, Verdict
from ._driver import BURST, Driver, transport_or_default
from ._event_source import EventSource, ReadyState

__all__ = [
    "BURST",
    "Attempts",
    "Driver",
    "EventSource",
    "Limits",
    "Policy",
    "ReadyState",
    "State",
    "Verdict",
    "transport_or_default",
]
