"""The contract of a backend: it makes requests and turns events into deltas, without I/O."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from reprlib import Repr
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar

from sseparse import Decoder, RemoteProtocolError
from sseparse.transports import Request

Event = TypeVar("Event")


@dataclass(frozen=True, slots=True)
class Text:
    """The next piece of the reply's text."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """The next piece of the model's reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallPiece:
    """The next piece of a tool call, as it arrives. Run only a ToolCall.

    index: number of the call within the reply, from 0.
    id, name, arguments: the piece of each; empty if it has none.
    """

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A complete call that the caller has to answer, in a reply that is complete.

    Calls come right before Finish. A reply that ended at a limit or a filter has none.

    index: number of the call within the reply, from 0.
    id: the service's ID of the call, which its result refers to; empty if there is none.
    name: name of the tool.
    arguments: JSON text as the model wrote it; for the kind "custom" any text.
    kind: "function", or the service's word for another kind of item, such as "custom".
    """

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""
    kind: str = "function"


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens used so far, as the service counts them.

    input_tokens: the whole prompt, cached tokens included.
    output_tokens: the whole reply, reasoning included.
    cached_tokens: those of input_tokens that were read from a cache.
    reasoning_tokens: those of output_tokens that were spent on reasoning.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0


# Why a reply ended: "pause" asks to send the conversation again, to go on with the turn.
FinishKind: TypeAlias = Literal["stop", "length", "tool_calls", "filter", "pause", "other"]


@dataclass(frozen=True, slots=True)
class Finish:
    """The service says that the reply is complete.

    reason: the service's word for why it ended, or None if it gives none.
    kind: the same in one word for all services. It is "tool_calls" wherever calls wait for
        an answer, and "other" for an unknown reason.
    """

    reason: str | None = None
    kind: FinishKind = "stop"


Delta: TypeAlias = Text | Reasoning | ToolCallPiece | ToolCall | Usage | Finish

# A prompt, or the messages of a conversation in the service's own format.
Messages: TypeAlias = str | Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file for a backend's `user_message`.

    data: content of the file.
    media_type: its media type, such as "image/png" or "application/pdf".
    name: its name, which some services show the model.
    """

    data: bytes = field(repr=False)
    media_type: str
    name: str = "file"

    @property
    def base64(self) -> str:
        """The data in Base64."""
        return b64encode(self.data).decode()

    @property
    def data_url(self) -> str:
        """The data as a `data:` URL."""
        return f"data:{self.media_type};base64,{self.base64}"


class BackendError(RemoteProtocolError):
    """The service reported an error inside the stream.

    payload: the error as the service sent it. The message shows its start.
    text: the reply's text before the error. The driver of the reply sets it.
    """

    def __init__(self, payload: Any, text: str = "") -> None:
        super().__init__(payload, text)
        self.payload = payload
        self.text = text

    def __str__(self) -> str:
        return f"the service reports an error: {_limited.repr(self.payload):.300}"


# Cuts a payload in length and depth.
_limited = Repr()
_limited.maxstring = _limited.maxother = 300
_limited.maxdict = _limited.maxlist = 20


class Reply(Generic[Event]):
    """One answer in flight: its decoder, and the meaning of each event. It may keep state.

    A subclass must have `decoder` and `interpret`.

    decoder: turns the body into events; this reply's own.
    id: the service's ID of the reply, or None before it has come.
    served_model: the model that replies, as the service names it, or None before it has come.
    """

    decoder: Decoder[Event]
    id: str | None = None
    served_model: str | None = None

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The reply so far in the service's shape, to append to the conversation. A new list."""
        return []

    def interpret(self, event: Event, /) -> Iterable[Delta | None]:
        """Return the deltas of `event`.

        None: content arrived but is incomplete. It only resets the idle timeout.
        Finish ends the reply; later deltas are not read.

        Raises BackendError for an error that the service reports, and RemoteProtocolError.
        """
        raise NotImplementedError

    def end(self) -> Iterable[Delta]:
        """Return the deltas that the end of the body completes, () for none.

        Without a Finish, here or before, the reply is incomplete. It is not called when the
        network fails or the body ends inside an item.
        """
        return ()


class Backend(Protocol):
    """A service, as an immutable value that any number of replies share."""

    @property
    def name(self) -> str:
        """The name in the registry."""
        ...

    @property
    def default_model(self) -> str:
        """The model that is used unless the caller names one."""
        ...

    @property
    def models(self) -> Sequence[str]:
        """The known models; empty if the service decides."""
        ...

    # With `*args: Any` type checkers accept every signature (typing specification, "Meaning of
    # ... in Callable"); with `**options: Any` alone, mypy refuses a request that lists its options.
    def request(self, messages: Messages, /, *args: Any, **options: Any) -> Request:
        """Return the request that sends `messages` to a model.

        model: always passed by keyword; None means default_model.
        options: the caller's options. A backend lists its own as keyword arguments.

        Raises ValueError or TypeError for messages, models and option values that the service
        would refuse, and TypeError for an unknown option.
        """
        ...

    def reply(self, content_type: str) -> Reply[Any]:
        """Return a new reply for a body of this Content-Type.

        A missing Content-Type is replaced by the request's Accept field, or text/event-stream.

        Raises ValueError for a media type that the service does not reply with.
        """
        ...
