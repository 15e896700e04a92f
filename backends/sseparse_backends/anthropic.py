"""Anthropic's messages, and the servers that speak the same protocol.

A reply is a message of blocks: text, thinking, tool calls. Each block starts and grows by deltas.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypedDict, Unpack

import msgspec

from sseparse import ServerSentEvent, SSEDecoder, UnknownField
from sseparse.transports import Request

from ._contract import Delta, Finish, Messages, Reasoning, Text, ToolCall, Usage
from ._json_events import EventData, TokenCounts, as_count, by_type, object_text, parse_event
from ._json_service import Service, conversation


class AnthropicOptions(TypedDict, total=False):
    """Fields of the request, beside those that Anthropic's arguments set."""

    cache_control: Mapping[str, Any]
    container: str | Mapping[str, Any]
    diagnostics: Mapping[str, Any]
    inference_geo: str
    max_tokens: int
    metadata: Mapping[str, Any]
    output_config: Mapping[str, Any]
    service_tier: str
    speed: str
    stop_sequences: Sequence[str]
    temperature: float
    thinking: Mapping[str, Any]
    tool_choice: Mapping[str, Any]
    tools: Sequence[Mapping[str, Any]]
    top_k: int
    top_p: float


@dataclass(frozen=True, kw_only=True)
class Anthropic(Service):
    """A service that speaks the protocol of Anthropic's messages.

    base_url: address up to the version, such as "https://api.deepseek.com/anthropic".

    Service documents the other arguments. Messages of the roles system and developer become the
    system prompt, wherever they stand. The service requires max_tokens, by default 8192. Tools
    that the service runs itself are no ToolCall. Usage counts input tokens without the cached
    ones, as the service does.
    """

    name = "anthropic"
    key_variable: ClassVar[str] = "ANTHROPIC_API_KEY"
    default_model = "claude-haiku-5-5"
    options: ClassVar[frozenset[str]] = frozenset(AnthropicOptions.__annotations__)

    base_url: str = field(default="https://api.anthropic.com", repr=False)

    def request(
        self, messages: Messages, *, model: str | None = None, **options: Unpack[AnthropicOptions]
    ) -> Request:
        """See Backend.request."""
        model = model or self.default_model
        body: dict[str, Any] = {"model": model, "messages": [], "max_tokens": 8192, "stream": True}
        system: list[Any] = []
        for message in conversation(messages):
            match message:
                case {"role": "system" | "developer", "content": str(text)}:
                    if text:  # the service refuses an empty block
                        system.append({"type": "text", "text": text})
                case {"role": "system" | "developer", "content": [*blocks]}:
                    system += blocks
                case _:
                    body["messages"].append(message)
        if not body["messages"]:
            raise ValueError("messages must include more than system messages")
        if system:
            body["system"] = system
        headers = {"anthropic-version": "2023-06-01", **self.key_field("x-api-key")}
        return self.post("/v1/messages", headers, body, options)

    def reply(self, content_type: str) -> _Reply:
        """See Backend.reply."""
        return _Reply(self.event_stream(content_type))


class _Start(msgspec.Struct):
    usage: TokenCounts | None = None


class _Part(msgspec.Struct):
    """The start of a block, or a delta of a block or of the message."""

    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw()
    partial_json: str | None = None
    stop_reason: str | None = None


class _Event(EventData):
    index: int | None = None
    message: _Start | None = None
    content_block: _Part | None = None
    delta: _Part | None = None
    usage: TokenCounts | None = None


_TYPES = "message_start content_block_start content_block_delta message_delta message_stop".split()
_decode = by_type(dict.fromkeys(_TYPES, _Event))


class _Reply:
    def __init__(self, decoder: SSEDecoder[ServerSentEvent | UnknownField]) -> None:
        self.decoder = decoder
        self._usage = Usage()
        self._stop_reason: str | None = None
        # Each tool call with the pieces of its input, and the pieces by the block's index.
        # ToolCalls does not fit: the type of the block decides whose tool it is.
        self._calls: list[tuple[_Part, list[str]]] = []
        self._pieces: dict[int | None, list[str]] = {}

    def interpret(self, event: ServerSentEvent | UnknownField, /) -> Iterator[Delta | None]:
        match parse_event(event, _decode, _TYPES):
            case _Event(type="message_start", message=_Start(usage=TokenCounts() as usage)):
                yield self._count(usage)
            case _Event(type="content_block_start", index=index, content_block=_Part() as block):
                # A new block replaces the one of the same index, or of none.
                self._pieces.pop(index, None)
                if block.type == "tool_use":
                    self._pieces[index] = pieces = list[str]()
                    self._calls.append((block, pieces))
                yield from _interpret_part(block)
            case _Event(type="content_block_delta", index=index, delta=_Part() as delta):
                if delta.partial_json and index in self._pieces:
                    self._pieces[index].append(delta.partial_json)
                yield from _interpret_part(delta)
            case _Event(type="message_delta", delta=delta, usage=usage):
                if delta is not None:
                    self._stop_reason = delta.stop_reason or self._stop_reason
                if usage is not None:
                    yield self._count(usage)
            case _Event(type="message_stop"):
                yield from self._finish()
            case _:
                pass

    def end(self) -> Iterable[Delta]:
        return ()  # `message_stop` ends a reply

    def _count(self, usage: TokenCounts) -> Usage:
        # Counts are totals. The last event may leave some out, or repeat them as zero.
        self._usage = Usage(
            as_count(usage.input_tokens) or self._usage.input_tokens,
            as_count(usage.output_tokens) or self._usage.output_tokens,
        )
        return self._usage

    def _finish(self) -> Iterator[Delta]:
        for index, (block, pieces) in enumerate(self._calls):
            # An input that does not come in pieces is in the start of its block.
            arguments = "".join(pieces) or object_text(block.input)
            yield ToolCall(index, block.id or "", block.name or "", arguments)
        yield Finish(self._stop_reason)


def _interpret_part(part: _Part) -> Iterator[Delta | None]:
    match part:
        case _Part(type="text" | "text_delta", text=str(text)) if text:
            yield Text(text)
        case _Part(type="thinking" | "thinking_delta", thinking=str(thought)) if thought:
            yield Reasoning(thought)
        case _:
            yield None
