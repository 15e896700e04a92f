"""DarkAI: an LLM chat service that streams its text as server-sent events.

Each piece of text is an event `{"event": "text-chunk", "data": {"text": ...}}`. A `final-response`
repeats the whole text; it counts if no text-chunk came. `{"event": "stream-end"}` ends the reply.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from sseparse import InvalidJSON, SSEDecoder
from sseparse.transports import Request

from ._contract import BackendError, Delta, Finish, Messages, Reply, Text
from ._json_reply import JSONReply
from ._json_service import check_types, check_url, conversation, expect_content_type, join_url
from ._merge import Object

if TYPE_CHECKING:
    from ._stream import ReplyStream

_logger = logging.getLogger("sseparse")


@dataclass(frozen=True, init=False)
class DarkAI:
    """The DarkAI service.

    strict: raise InvalidJSON for a damaged event, by default the class's: False. It is skipped with
        a warning on the logger "sseparse" then, since the service does send damaged events.
    api_endpoint: URL to post to, by default the class's.
    max_event_size: largest event in bytes, or None for no limit; see SSEDecoder.
    base_url: the part of api_endpoint before "/chat", in place of api_endpoint.

    Code for the older interface of providers overrides the class attributes, in a subclass or on
    the class; instances and `create_async_generator` use them.

    Raises TypeError and ValueError, naming the argument.
    """

    name = "darkai"
    url = "https://darkai.foundation/chat"
    supports_stream = True
    default_model = "llama-3-70b"
    # Not ClassVar, which pyright does not accept for a property of a protocol.
    models: Sequence[str] = field(
        default=("gpt-4o", "gpt-3.5-turbo", "llama-3-70b"), init=False, repr=False, compare=False
    )
    model_aliases: ClassVar[Mapping[str, str]] = {"llama-3.1-70b": "llama-3-70b"}

    strict: bool = False
    # Its user information or query may be secret.
    api_endpoint: str = field(default=url, repr=False)
    max_event_size: int | None = 64 * 1024 * 1024

    # By hand: a generated one would fix the defaults, whatever a subclass says.
    def __init__(
        self,
        strict: bool | None = None,
        api_endpoint: str | None = None,
        max_event_size: int | None = max_event_size,
        base_url: str | None = None,
    ) -> None:
        if base_url is not None:
            check_url("base_url", base_url)
            api_endpoint = join_url(base_url, "/chat")
        elif api_endpoint is None:
            api_endpoint = type(self).api_endpoint
        if strict is None:
            strict = type(self).strict
        check_url("api_endpoint", api_endpoint)
        vars(self).update(strict=strict, api_endpoint=api_endpoint, max_event_size=max_event_size)
        check_types(self)
        SSEDecoder(max_event_size=max_event_size)  # raises ValueError

    def request(self, messages: Messages, *, model: str | None = None) -> Request:
        """See Backend.request. DarkAI has no options."""
        model = self.model_aliases.get(model, model) if model else self.default_model
        if model not in self.models:
            known = ", ".join([*self.models, *self.model_aliases])
            raise ValueError(f"model must be one of {known}, got {model!r}")
        headers = {
            "accept": "text/event-stream",
            "content-type": "application/json",
            "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        }
        body = msgspec.json.encode({"query": _prompt(messages), "model": model})
        return Request("POST", self.api_endpoint, headers, body)

    def reply(self, content_type: str) -> Reply[Any]:
        """See Backend.reply."""
        expect_content_type(self, content_type, "text/event-stream")
        limit = self.max_event_size
        decoder = SSEDecoder(max_event_size=limit, unknown_fields=True, dispatch_at_eof=True)
        return _Reply(decoder, limit, self.strict)

    @classmethod
    def create_async_generator(
        cls, model: str, messages: Messages, proxy: str | None = None, **_: Any
    ) -> ReplyStream:
        """Return the reply of `cls()`: the older interface of providers.

        Further arguments are ignored, as in that interface. Iterate inside `async with` or
        `contextlib.aclosing`.
        """
        # Imported late: the only way from a backend to the driver.
        from ._stream import stream

        return stream(cls(), messages, model=model, proxy=proxy)


class _Reply(JSONReply):
    def __init__(self, decoder: SSEDecoder[Any], max_size: int | None, strict: bool) -> None:
        super().__init__(decoder, max_size)
        self._strict = strict
        self._text = StringIO()

    @property
    def messages(self) -> list[dict[str, Any]]:
        """See Reply.messages."""
        text = self._text.getvalue()
        return [{"role": "assistant", "content": text}] if text else []

    def interpret(self, event: Any, /) -> Iterator[Delta | None]:
        try:
            yield from super().interpret(event)
        except InvalidJSON as error:
            if self._strict:
                raise
            _logger.warning("skipped %s", error)

    def interpret_object(self, event: Object) -> Iterator[Delta]:
        match event.get("event"):
            case "text-chunk":
                if text := self.text(self.content(event, "data"), "text"):
                    self._text.write(text)
                    yield Text(text)
            case "final-response":
                text = self.text(self.content(event, "data"), "message")
                if text and not self._text.tell():
                    self._text.write(text)
                    yield Text(text)
            case "stream-end":
                yield Finish()
            case "error":
                raise BackendError(event.get("data", {}))
            case _:
                pass


def _prompt(messages: Messages) -> str:
    """Return DarkAI's single text: one message verbatim, or a transcript of several."""
    turns = conversation(messages)
    for turn in turns:
        if not isinstance(turn.get("role"), str) or not isinstance(turn.get("content"), str):
            raise ValueError(f"messages must each have a role and a text, got {turn!r:.100}")
    if len(turns) == 1:
        return str(turns[0]["content"])
    lines = [f"{turn['role'].capitalize()}: {turn['content']}" for turn in turns]
    return "\n".join([*lines, "Assistant:"])
