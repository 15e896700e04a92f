"""DarkAI: an LLM chat service that streams its text as server-sent events.

A reply is a stream of JSON objects in the data of events: `{"event": "text-chunk", "data":
{"text": ...}}` for each piece of text, and `{"event": "stream-end"}` when it is complete. The
whole text comes again in a `final-response`, which counts if no text-chunk came.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import InitVar, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from sseparse import InvalidJSON, ServerSentEvent, SSEDecoder, decoder_for
from sseparse.transports._errors import is_http

from ._contract import BackendError, Delta, Finish, Messages, Request, Text
from ._json_events import lenient
from ._json_service import below, conversation

if TYPE_CHECKING:
    from ._stream import ReplyStream

_logger = logging.getLogger("sseparse")


@dataclass(frozen=True)
class DarkAI:
    """The DarkAI service.

    strict: raise InvalidJSON for an event that is not the JSON it should be. The service does
        send damaged events, so otherwise they are skipped, with a warning on the logger
        "sseparse".
    api_endpoint: the URL to post to.
    base_url: another way to say so: what comes before "/chat" in it.
    max_event_size: the largest event, in bytes, or None for no limit; see SSEDecoder, also for
        what it raises.

    Raises ValueError for what is no URL, and TypeError for a strict that is no bool.
    """

    name = "darkai"
    url = "https://darkai.foundation/chat"
    supports_stream = True
    default_model = "llama-3-70b"
    models = ("gpt-4o", "gpt-3.5-turbo", "llama-3-70b")
    model_aliases: ClassVar[Mapping[str, str]] = {"llama-3.1-70b": "llama-3-70b"}

    strict: bool = False
    api_endpoint: str = url
    max_event_size: int | None = 64 * 1024 * 1024
    base_url: InitVar[str | None] = None

    def __post_init__(self, base_url: str | None) -> None:
        strict: Any = self.strict
        if not isinstance(strict, bool):
            raise TypeError(f"strict cannot be a {type(strict).__name__}")
        if base_url is not None:
            object.__setattr__(self, "api_endpoint", below(base_url, "/chat"))
        elif not is_http(self.api_endpoint):
            raise ValueError("api_endpoint is not an http: or https: URL")
        # Wrong limits are refused here, not with the first reply.
        SSEDecoder(max_event_size=self.max_event_size)

    def request(self, messages: Messages, *, model: str | None = None, **options: Any) -> Request:
        """Return the request; see Backend.request. DarkAI has no further options."""
        if options:
            raise TypeError(f"DarkAI has no option {', '.join(options)}")
        model = self.model_aliases.get(model, model) if model else self.default_model
        if model not in self.models:
            known = ", ".join([*self.models, *self.model_aliases])
            raise ValueError(f"DarkAI has no model {model!r}; it has {known}")
        headers = {
            "accept": "text/event-stream",
            "content-type": "application/json",
            "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        }
        body = msgspec.json.encode({"query": _prompt(messages), "model": model})
        return Request("POST", self.api_endpoint, headers, body)

    def reply(self, content_type: str) -> DarkAIReply:
        """Return a new reply; see Backend.reply. A body must be text/event-stream."""
        if not isinstance(decoder_for(content_type), SSEDecoder):
            raise ValueError(f"DarkAI replies with text/event-stream, not {content_type!r}")
        return DarkAIReply(SSEDecoder(max_event_size=self.max_event_size), self.strict)

    @classmethod
    def create_async_generator(
        cls, model: str, messages: Messages, proxy: str | None = None, **_: Any
    ) -> ReplyStream:
        """Iterate over the text of a reply: the older interface of providers.

        Further arguments are ignored, as they were there. It is `stream(DarkAI(), ...)`, and
        like that it is best used with `async with`, or `contextlib.aclosing`.
        """
        # The one place where a backend reaches for the driver: this face has always run.
        from ._stream import stream

        return stream(cls(), messages, model=model, proxy=proxy)


class _Message(msgspec.Struct):
    """The data of one event."""

    event: str = ""
    data: msgspec.Raw = msgspec.Raw(b"{}")


class _Content(msgspec.Struct):
    """What a text-chunk or a final-response carries."""

    text: str = ""
    message: str = ""


_decode_message = msgspec.json.Decoder(_Message).decode
_decode_content = msgspec.json.Decoder(_Content).decode


def _decode(data: str) -> tuple[str, Any]:
    """Return what an event is, and the content or the error that it carries."""
    message = _decode_message(data)
    match message.event:
        case "text-chunk" | "final-response":
            return message.event, _decode_content(message.data)
        case "error":
            return message.event, msgspec.json.decode(message.data)
        case _:
            return message.event, None


class DarkAIReply:
    """One answer in flight."""

    def __init__(self, decoder: SSEDecoder[ServerSentEvent], strict: bool) -> None:
        self.decoder = decoder
        self._strict = strict
        self._any_text = False

    def interpret(self, event: ServerSentEvent, /) -> Iterator[Delta]:
        """Return what `event` adds to the reply; see Reply.interpret."""
        try:
            kind, carried = lenient(_decode, event.data)
        except (msgspec.MsgspecError, RecursionError) as cause:
            error = InvalidJSON(f"invalid JSON in an event: {cause}", event.data.encode())
            if self._strict:
                raise error from cause
            _logger.warning("skipped %s", error)
            return
        match kind:
            case "text-chunk" if carried.text:
                self._any_text = True
                yield Text(carried.text)
            case "final-response" if carried.message and not self._any_text:
                yield Text(carried.message)
            case "stream-end":
                yield Finish()
            case "error":
                raise BackendError(carried)
            case _:
                pass


def _prompt(messages: Messages) -> str:
    """Return the one text that DarkAI takes: a single message, or a transcript to go on with."""
    turns = conversation(messages)
    for turn in turns:
        if not isinstance(turn.get("content"), str):
            raise ValueError(f"DarkAI takes messages with a str as their content: {turn!r:.100}")
    if len(turns) == 1:
        return str(turns[0]["content"])
    lines = [f"{turn['role'].capitalize()}: {turn['content']}" for turn in turns]
    return "\n".join([*lines, "Assistant:"])
