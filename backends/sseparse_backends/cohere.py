"""Cohere's chat, version 2.

Content, plan and tool calls come in pieces, then `message-end`. `[DONE]` after it is not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypedDict, Unpack

import msgspec

from sseparse import ServerSentEvent, SSEDecoder, UnknownField
from sseparse.transports import Request

from ._contract import BackendError, Delta, Finish, Messages, Reasoning, Text, Usage
from ._json_events import EventData, TokenCounts, as_count, by_type, parse_event
from ._json_service import Service, conversation
from ._tool_calls import CallPiece, FunctionPiece, ToolCalls


class CohereOptions(TypedDict, total=False):
    """Fields of the request, beside those that Cohere's arguments set."""

    citation_options: Mapping[str, Any]
    documents: Sequence[str | Mapping[str, Any]]
    frequency_penalty: float
    k: int
    logprobs: bool
    max_tokens: int
    p: float
    presence_penalty: float
    priority: int
    response_format: Mapping[str, Any]
    safety_mode: str
    seed: int
    stop_sequences: Sequence[str]
    strict_tools: bool
    temperature: float
    thinking: Mapping[str, Any]
    tool_choice: str
    tools: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Cohere(Service):
    """A service that speaks the protocol of Cohere's chat, version 2.

    base_url: address up to the version, such as "https://api.cohere.com".

    Service documents the other arguments. The model's plan for its tools is Reasoning.
    """

    name = "cohere"
    key_variable: ClassVar[str] = "CO_API_KEY"
    default_model = "command-a-03-2025"
    options: ClassVar[frozenset[str]] = frozenset(CohereOptions.__annotations__)

    base_url: str = field(default="https://api.cohere.com", repr=False)

    def request(
        self, messages: Messages, *, model: str | None = None, **options: Unpack[CohereOptions]
    ) -> Request:
        """See Backend.request."""
        model = model or self.default_model
        body = {"model": model, "messages": conversation(messages), "stream": True}
        return self.post("/v2/chat", self.key_field("authorization", "Bearer "), body, options)

    def reply(self, content_type: str) -> _Reply:
        """See Backend.reply."""
        return _Reply(self.event_stream(content_type))


class _Content(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None


class _Message(msgspec.Struct):
    # Objects in the deltas, empty lists in `message-start`.
    content: _Content | list[Any] | None = None
    tool_calls: CallPiece | list[Any] | None = None
    tool_plan: str | None = None


class _Usage(msgspec.Struct):
    tokens: TokenCounts | None = None
    billed_units: TokenCounts | None = None


class _Delta(msgspec.Struct):
    message: _Message | None = None
    finish_reason: str | None = None
    error: Any = None
    usage: _Usage | None = None


class _Event(EventData):
    index: int | None = None
    delta: _Delta | None = None


_TYPES = (
    "content-start content-delta tool-plan-delta tool-call-start tool-call-delta message-end"
).split()
_decode = by_type(dict.fromkeys(_TYPES, _Event))


class _Reply:
    def __init__(self, decoder: SSEDecoder[ServerSentEvent | UnknownField]) -> None:
        self.decoder = decoder
        self._tool_calls = ToolCalls()

    def interpret(self, event: ServerSentEvent | UnknownField, /) -> Iterator[Delta | None]:
        match parse_event(event, _decode, _TYPES):
            case _Event(type="message-end", delta=delta):
                yield from self._finish(delta or _Delta())
            case _Event(index=index, delta=_Delta(message=_Message() as message)):
                yield from self._interpret_message(index, message)
            case _:
                pass

    def end(self) -> Iterable[Delta]:
        return ()  # `message-end` ends a reply

    def _interpret_message(self, index: int | None, message: _Message) -> Iterator[Delta | None]:
        if message.tool_plan:
            yield Reasoning(message.tool_plan)
        if isinstance(message.content, _Content):
            if message.content.thinking:
                yield Reasoning(message.content.thinking)
            if message.content.text:
                yield Text(message.content.text)
        if isinstance(message.tool_calls, CallPiece):
            call, function = message.tool_calls, message.tool_calls.function or FunctionPiece()
            self._tool_calls.add(index, call.id, function.name, function.arguments)
            yield None

    def _finish(self, delta: _Delta) -> Iterator[Delta]:
        usage = delta.usage or _Usage()
        if counts := usage.tokens or usage.billed_units:
            yield Usage(as_count(counts.input_tokens), as_count(counts.output_tokens))
        # The service's reasons for a reply that it could not complete.
        if delta.error or delta.finish_reason in ("ERROR", "TIMEOUT"):
            raise BackendError(delta.error or delta.finish_reason)
        yield from self._tool_calls.take()
        yield Finish(delta.finish_reason)
