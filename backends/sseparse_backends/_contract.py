"""What a backend is: a request goes out, events become deltas. No I/O, so no loop to test it.

A Backend is a service, immutable, shared by any number of replies. A Reply is one answer in
flight, with its own decoder; it may remember what came before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from reprlib import Repr
from typing import Any, Protocol, TypeAlias, runtime_checkable

from sseparse import Decoder, RemoteProtocolError
from sseparse.transports import Request

__all__ = [
    "Backend",
    "BackendError",
    "Decoder",
    "Delta",
    "EndingReply",
    "Finish",
    "Messages",
    "Reasoning",
    "Reply",
    "Request",
    "Text",
    "ToolCall",
    "Usage",
]


@dataclass(frozen=True, slots=True)
class Text:
    """The next piece of the reply's text."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """The next piece of what the model thinks before it replies."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool, whole.

    `index` numbers the calls of a reply, from 0. `id` is what the result of the call is to be
    sent back with, empty where the service has none. `arguments` is what the model wrote: JSON,
    if it did well.
    """

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens used so far, as the service counts them."""

    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Finish:
    """The service says that the reply is complete, and perhaps the reason why it ends."""

    reason: str | None = None


Delta: TypeAlias = Text | Reasoning | ToolCall | Usage | Finish

# A prompt, or the messages of a conversation, each with "role" and "content".
Messages: TypeAlias = str | Sequence[Mapping[str, Any]]


class BackendError(RemoteProtocolError):
    """The service sent an error inside the stream.

    `payload` is the error as it sent it. `text` is the text that had arrived, which the backend
    leaves to the exchange. The message shows the start of the payload.
    """

    SHOWN = 300

    def __init__(self, payload: Any, text: str = "") -> None:
        super().__init__(payload, text)
        self.payload = payload
        self.text = text

    def __str__(self) -> str:
        shown = _repr(self.payload)
        if len(shown) > self.SHOWN:
            shown = shown[: self.SHOWN] + "…"
        return f"the service reports an error: {shown}"


def _repr(payload: Any) -> str:
    """Return the repr of a payload, without what is too long or too deep to be read."""
    limited = Repr()
    limited.maxstring = limited.maxother = BackendError.SHOWN
    limited.maxdict = limited.maxlist = 20
    return limited.repr(payload)


class Reply(Protocol):
    """One answer in flight."""

    @property
    def decoder(self) -> Decoder[Any]:
        """The decoder that turns the body into events."""
        ...

    def interpret(self, event: Any, /) -> Iterable[Delta | None]:
        """Return what `event` adds to the reply, if anything.

        None is content that is nothing by itself yet, such as a piece of a tool call: who waits
        for content has not waited in vain. Finish ends the reply; what comes after is not read.
        Raises RemoteProtocolError, of which BackendError is one.
        """
        ...


@runtime_checkable
class EndingReply(Reply, Protocol):
    """A Reply that the end of the body may complete, where the service need not say so itself."""

    def end(self) -> Iterable[Delta]:
        """Return what the end of the body adds to the reply, Finish if it is complete then.

        It is asked where the body ended well, and not where the network failed.
        """
        ...


class Backend(Protocol):
    """A service, as a value: it does no I/O and does not change."""

    @property
    def name(self) -> str:
        """The name that the registry knows it by."""
        ...

    @property
    def default_model(self) -> str:
        """The model that answers if none is asked for."""
        ...

    @property
    def models(self) -> Sequence[str]:
        """The models known to answer."""
        ...

    def request(self, messages: Messages, /, *args: Any, **options: Any) -> Request:
        """Return the request that puts `messages` to a model.

        It is called with `model`, by keyword, which is None for the default_model, and with the
        options that the caller has given: a backend names its own.

        Raises ValueError for messages or a model that the service would refuse, and TypeError
        for an option that it does not have.
        """
        ...

    def reply(self, content_type: str) -> Reply:
        """Return a new reply for a body of this Content-Type.

        Raises ValueError for a media type that this service's replies do not have.
        """
        ...
