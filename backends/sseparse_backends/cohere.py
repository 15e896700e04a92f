"""Cohere's chat, version 2.

A reply is a message of contents, a plan and calls of tools, each in pieces, and `message-end`.
The `[DONE]` after it says nothing more, and is not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from sseparse import ServerSentEvent, SSEDecoder, UnknownField

from ._contract import BackendError, Delta, Finish, Messages, Reasoning, Request, Text, Usage
from ._json_events import Message, by_type, read, tokens
from ._json_service import Service, conversation
from ._tool_calls import ToolCalls


@dataclass(frozen=True, kw_only=True)
class Cohere(Service):
    """A service that speaks the protocol of Cohere's chat, version 2.

    base_url: up to the version, as in "https://api.cohere.com".

    For the other arguments see Service. What the model plans to do with its tools is reasoning.
    """

    name = "cohere"
    key_variable: ClassVar[str] = "CO_API_KEY"
    default_model = "command-a-03-2025"
    models = ()
    options: ClassVar[frozenset[str]] = frozenset(
        """citation_options documents frequency_penalty k logprobs max_tokens p presence_penalty
        priority response_format safety_mode seed stop_sequences strict_tools temperature thinking
        tool_choice tools""".split()
    )

    base_url: str = "https://api.cohere.com"

    def request(self, messages: Messages, *, model: str | None = None, **options: Any) -> Request:
        """Return the request; see Backend.request. Options are fields of Cohere's request."""
        headers = {
            "accept": "text/event-stream",
            **self.key_field("authorization", "Bearer "),
        }
        body = {
            "model": model or self.default_model,
            "messages": conversation(messages),
            "stream": True,
        }
        return self.post("/v2/chat", headers, body, options)

    def reply(self, content_type: str) -> CohereReply:
        """Return a new reply; see Backend.reply. A body must be text/event-stream."""
        return CohereReply(self.event_stream(content_type))


class _Content(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    id: str | None = None
    function: _Function | None = None


class _Message(msgspec.Struct):
    # An object in what comes, and an empty list in the message that is only begun.
    content: _Content | list[Any] | None = None
    tool_calls: _ToolCall | list[Any] | None = None
    tool_plan: str | None = None


class _Tokens(msgspec.Struct):
    # Whole numbers, which may be written as 7.0.
    input_tokens: float | None = None
    output_tokens: float | None = None


class _Usage(msgspec.Struct):
    tokens: _Tokens | None = None
    billed_units: _Tokens | None = None


class _Delta(msgspec.Struct):
    message: _Message | None = None
    finish_reason: str | None = None
    error: Any = None
    usage: _Usage | None = None


class _Event(Message):
    index: int | None = None
    delta: _Delta | None = None


_TYPES = (
    "content-start",
    "content-delta",
    "tool-plan-delta",
    "tool-call-start",
    "tool-call-delta",
    "message-end",
)
_decode = by_type(dict.fromkeys(_TYPES, _Event))


class CohereReply:
    """One answer in flight."""

    def __init__(self, decoder: SSEDecoder[ServerSentEvent | UnknownField]) -> None:
        self.decoder = decoder
        self._tool_calls = ToolCalls()

    def interpret(self, event: ServerSentEvent | UnknownField, /) -> Iterator[Delta | None]:
        """Return what `event` adds to the reply; see Reply.interpret."""
        match read(event, _decode, _TYPES):
            case _Event(type="message-end", delta=delta):
                yield from self._finish(delta or _Delta())
            case _Event(index=index, delta=_Delta(message=_Message() as message)):
                yield from self._interpret_message(index, message)
            case _:
                pass

    def _interpret_message(self, index: int | None, message: _Message) -> Iterator[Delta | None]:
        if message.tool_plan:
            yield Reasoning(message.tool_plan)
        if isinstance(message.content, _Content):
            if message.content.thinking:
                yield Reasoning(message.content.thinking)
            if message.content.text:
                yield Text(message.content.text)
        if isinstance(message.tool_calls, _ToolCall):
            call, function = message.tool_calls, message.tool_calls.function or _Function()
            self._tool_calls.add(index, call.id, function.name, function.arguments)
            yield None

    def _finish(self, delta: _Delta) -> Iterator[Delta]:
        usage = delta.usage or _Usage()
        if counts := usage.tokens or usage.billed_units:
            yield Usage(tokens(counts.input_tokens), tokens(counts.output_tokens))
        # Both say that the service could not complete the reply.
        if delta.error or delta.finish_reason in ("ERROR", "TIMEOUT"):
            raise BackendError(delta.error or delta.finish_reason)
        yield from self._tool_calls.take()
        yield Finish(delta.finish_reason)
