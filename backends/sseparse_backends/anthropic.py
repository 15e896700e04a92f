"""Anthropic's messages, and the servers that speak the same protocol.

A reply is a message of blocks: text, thinking, calls of tools. Each begins, grows by deltas and
stops; then come the reason why the message ends and the usage, and `message_stop`. What an event
is says the `type` in its JSON, since some servers leave out the event type.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from sseparse import ServerSentEvent, SSEDecoder, UnknownField

from ._contract import Delta, Finish, Messages, Reasoning, Request, Text, ToolCall, Usage
from ._json_events import Message, by_type, object_text, read, tokens
from ._json_service import Service, conversation


@dataclass(frozen=True, kw_only=True)
class Anthropic(Service):
    """A service that speaks the protocol of Anthropic's messages.

    base_url: up to the version, as in "https://api.deepseek.com/anthropic".

    For the other arguments see Service. Messages of the roles system and developer become the
    system prompt, wherever they are. The service demands max_tokens: they are 8192 unless that
    option says otherwise. A tool that the service itself runs is no ToolCall. The input tokens
    are those without the cached ones, which the service counts on their own.
    """

    name = "anthropic"
    key_variable: ClassVar[str] = "ANTHROPIC_API_KEY"
    default_model = "claude-haiku-5-5"
    models = ()
    options: ClassVar[frozenset[str]] = frozenset(
        """cache_control container diagnostics inference_geo max_tokens metadata output_config
        service_tier speed stop_sequences temperature thinking tool_choice tools top_k
        top_p""".split()
    )

    base_url: str = "https://api.anthropic.com"

    def request(self, messages: Messages, *, model: str | None = None, **options: Any) -> Request:
        """Return the request; see Backend.request. Options are fields of Anthropic's request."""
        headers = {
            "accept": "text/event-stream",
            "anthropic-version": "2023-06-01",
            **self.key_field("x-api-key"),
        }
        body: dict[str, Any] = {
            "model": model or self.default_model,
            "messages": [],
            "max_tokens": 8192,
            "stream": True,
        }
        system: list[Any] = []
        for message in conversation(messages):
            if message["role"] not in ("system", "developer"):
                body["messages"].append(message)
            elif isinstance(content := message.get("content") or [], str):
                system.append({"type": "text", "text": content})
            else:
                system += content
        if not body["messages"]:
            raise ValueError("there is no message to send but the system's")
        if system:
            body["system"] = system
        return self.post("/v1/messages", headers, body, options)

    def reply(self, content_type: str) -> AnthropicReply:
        """Return a new reply; see Backend.reply. A body must be text/event-stream."""
        return AnthropicReply(self.event_stream(content_type))


class _Usage(msgspec.Struct):
    input_tokens: float | None = None
    output_tokens: float | None = None


class _Start(msgspec.Struct):
    usage: _Usage | None = None


class _Part(msgspec.Struct):
    """The beginning of a block, or a delta, be it one of a block or of the message."""

    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw()
    partial_json: str | None = None
    stop_reason: str | None = None


class _Event(Message):
    index: int | None = None
    message: _Start | None = None
    content_block: _Part | None = None
    delta: _Part | None = None
    usage: _Usage | None = None


_TYPES = (
    "message_start",
    "content_block_start",
    "content_block_delta",
    "message_delta",
    "message_stop",
)
_decode = by_type(dict.fromkeys(_TYPES, _Event))


class AnthropicReply:
    """One answer in flight."""

    def __init__(self, decoder: SSEDecoder[ServerSentEvent | UnknownField]) -> None:
        self.decoder = decoder
        self._usage = Usage()
        self._stop_reason: str | None = None
        # Each call with the pieces of its input, and the pieces by the index of their block. Not as
        # ToolCalls, because a block tells first whether it is a call of the caller's tools.
        self._calls: list[tuple[_Part, list[str]]] = []
        self._pieces: dict[int | None, list[str]] = {}

    def interpret(self, event: ServerSentEvent | UnknownField, /) -> Iterator[Delta | None]:
        """Return what `event` adds to the reply; see Reply.interpret."""
        match read(event, _decode, _TYPES):
            case _Event(type="message_start", message=_Start(usage=_Usage() as usage)):
                yield self._count(usage)
            case _Event(type="content_block_start", index=index, content_block=_Part() as block):
                # Another block of the same index, or of none, takes its place.
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

    def _count(self, usage: _Usage) -> Usage:
        # The counts are totals. At the end only some may come, or zeros for those told before.
        self._usage = Usage(
            tokens(usage.input_tokens) or self._usage.input_tokens,
            tokens(usage.output_tokens) or self._usage.output_tokens,
        )
        return self._usage

    def _finish(self) -> Iterator[Delta]:
        for index, (block, pieces) in enumerate(self._calls):
            # An input that does not come in pieces is in the beginning of its block.
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
