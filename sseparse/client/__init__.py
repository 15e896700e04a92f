"""The event-source client, on asyncio and trio.

Use Driver, Attempts and Policy to write a client with other retry rules, as `sseparse_backends`
does, and `sseparse.transports.transport_or_default` for the transport that it is given.
"""

from ._attempts import Attempts, LimitName, Limits, Policy, ResponseState, State, Verdict
from ._base_driver import BaseDriver
from ._base_event_source import BaseEventSource, ReadyState
from ._driver import Driver
from ._event_source import EventSource

__all__ = [
    "Attempts",
    "BaseDriver",
    "BaseEventSource",
    "Driver",
    "EventSource",
    "LimitName",
    "Limits",
    "Policy",
    "ReadyState",
    "ResponseState",
    "State",
    "Verdict",
]
