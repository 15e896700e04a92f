"""OpenAI's chat completions, and the many servers that speak the same protocol.

The last piece has a `finish_reason`. Then may come the usage, in a chunk without choices, and
`[DONE]`. Perplexity, Writer and Cerebras leave that out: the end of the body ends the reply.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Unpack
from urllib.parse import quote

import msgspec

from sseparse import ServerSentEvent, SSEDecoder, UnknownField
from sseparse.transports import Request

from ._contract import BackendError, Delta, Finish, Messages, Reasoning, Text, Usage
from ._json_events import EventData, as_count, parse_event
from ._json_service import OpenAIFields, Service, conversation
from ._tool_calls import CallPiece, FunctionPiece, ToolCalls


class OpenAIOptions(OpenAIFields, total=False):
    """Fields of the request, beside those that OpenAI's arguments set."""

    frequency_penalty: float
    logit_bias: Mapping[str, float]
    logprobs: bool
    max_completion_tokens: int
    max_tokens: int
    prediction: Mapping[str, Any]
    presence_penalty: float
    reasoning_effort: str
    response_format: Mapping[str, Any]
    seed: int
    stop: str | Sequence[str]
    verbosity: str
    web_search_options: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class OpenAI(Service):
    """A service that speaks the protocol of OpenAI's chat completions.

    base_url: address up to and including the version, such as "http://127.0.0.1:8000/v1".
    include_usage: ask for the usage at the end of the reply. Some servers, such as Mistral's,
        refuse that.
    api_version: for Azure, such as "2024-10-21". The model is then a deployment's name, and
        base_url is "https://NAME.openai.azure.com".

    Service documents the other arguments. Only the first of several choices is read. A refusal
    is returned as text.
    """

    name = "openai"
    key_variable: ClassVar[str] = "OPENAI_API_KEY"
    default_model = "gpt-5-mini"
    options: ClassVar[frozenset[str]] = frozenset(OpenAIOptions.__annotations__)

    base_url: str = field(default="https://api.openai.com/v1", repr=False)
    include_usage: bool = True
    api_version: str | None = None

    def request(
        self, messages: Messages, *, model: str | None = None, **options: Unpack[OpenAIOptions]
    ) -> Request:
        """See Backend.request."""
        model = model or self.default_model
        body: dict[str, Any] = {"model": model, "messages": conversation(messages), "stream": True}
        if self.include_usage:
            body["stream_options"] = {"include_usage": True}
        if self.api_version is None:
            headers = self.key_field("authorization", "Bearer ")
            return self.post("/chat/completions", headers, body, options)
        headers = self.key_field("api-key")
        path = f"/openai/deployments/{quote(model, safe='')}/chat/completions"
        return self.post(path, headers, body, options, **{"api-version": self.api_version})

    def reply(self, content_type: str) -> _Reply:
        """See Backend.reply."""
        return _Reply(self.event_stream(content_type))


class _Part(msgspec.Struct):
    """A part of the content: Mistral's reasoning models send a list of them."""

    text: str | None = None
    thinking: list[_Part] | None = None


class _Delta(msgspec.Struct):
    content: str | list[_Part] | None = None
    refusal: str | None = None
    # The same under two names: the first is DeepSeek's, the second OpenRouter's.
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[CallPiece] | None = None


class _Choice(msgspec.Struct):
    index: int | None = None
    delta: _Delta | None = None
    finish_reason: str | None = None
    error: Any = None


class _Usage(msgspec.Struct):
    prompt_tokens: float | None = None
    completion_tokens: float | None = None


class _XGroq(msgspec.Struct):
    usage: _Usage | None = None
    error: Any = None


class _Chunk(EventData):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    # Groq's place for the usage, and for the error that ends a reply early.
    x_groq: _XGroq | None = None


_decode = msgspec.json.Decoder(_Chunk).decode


class _Reply:
    def __init__(self, decoder: SSEDecoder[ServerSentEvent | UnknownField]) -> None:
        self.decoder = decoder
        self._tool_calls = ToolCalls()
        self._finish_reason: str | None = None

    def interpret(self, event: ServerSentEvent | UnknownField, /) -> Iterator[Delta | None]:
        chunk = parse_event(event, _decode)
        if chunk is None:
            if isinstance(event, ServerSentEvent) and event.data.strip() == "[DONE]":
                yield from self._finish()
            return
        for choice in chunk.choices or ():
            if not choice.index:
                yield from self._interpret_choice(choice)
        groq = chunk.x_groq or _XGroq()
        if (usage := chunk.usage or groq.usage) is not None:
            yield Usage(as_count(usage.prompt_tokens), as_count(usage.completion_tokens))
        if groq.error is not None:
            raise BackendError(groq.error)

    # Finish a reply without `[DONE]` that has a finish reason.
    def end(self) -> Iterator[Delta]:
        if self._finish_reason is not None:
            yield from self._finish()

    def _interpret_choice(self, choice: _Choice) -> Iterator[Delta | None]:
        delta = choice.delta or _Delta()
        if reasoning := delta.reasoning_content or delta.reasoning:
            yield Reasoning(reasoning)
        content = delta.content or []
        for part in [_Part(content)] if isinstance(content, str) else content:
            if thought := "".join(thought.text or "" for thought in part.thinking or ()):
                yield Reasoning(thought)
            if part.text:
                yield Text(part.text)
        if delta.refusal:
            yield Text(delta.refusal)
        for call in delta.tool_calls or ():
            function = call.function or FunctionPiece()
            self._tool_calls.add(call.index, call.id, function.name, function.arguments)
            yield None
        if choice.error is not None or choice.finish_reason == "error":
            raise BackendError(choice.error or choice.finish_reason)
        self._finish_reason = choice.finish_reason or self._finish_reason

    def _finish(self) -> Iterator[Delta]:
        yield from self._tool_calls.take()
        yield Finish(self._finish_reason)
