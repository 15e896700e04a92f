"""OpenAI's chat completions, and the many servers that speak the same protocol.

A reply is a stream of JSON objects, "chunks", in the data of events. Each has a piece of the text
in `choices[0].delta`; the last of them a `finish_reason`; then the usage may come, with no choice
at all, and `[DONE]`, which some servers leave out, so that the end of the body has to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import quote

import msgspec

from sseparse import ServerSentEvent, SSEDecoder, UnknownField

from ._contract import BackendError, Delta, Finish, Messages, Reasoning, Request, Text, Usage
from ._json_events import Message, read, tokens
from ._json_service import Service, conversation
from ._tool_calls import ToolCalls


@dataclass(frozen=True, kw_only=True)
class OpenAI(Service):
    """A service that speaks the protocol of OpenAI's chat completions.

    base_url: up to and with the version, as in "http://127.0.0.1:8000/v1".
    include_usage: ask for the usage at the end of the reply. Some servers, such as Mistral's,
        refuse a request that does.
    api_version: for Azure, such as "2024-10-21": the model is the name of a deployment then, and
        the base_url is "https://NAME.openai.azure.com".

    For the other arguments see Service. Only the first of several choices is read. What a model
    says to refuse is text.
    """

    name = "openai"
    key_variable: ClassVar[str] = "OPENAI_API_KEY"
    default_model = "gpt-5-mini"
    models = ()
    options: ClassVar[frozenset[str]] = frozenset(
        """frequency_penalty logit_bias logprobs max_completion_tokens max_tokens metadata
        parallel_tool_calls prediction presence_penalty prompt_cache_key reasoning_effort
        response_format safety_identifier seed service_tier stop store temperature tool_choice
        tools top_logprobs top_p user verbosity web_search_options""".split()
    )

    kinds: ClassVar[Mapping[str, Any]] = {
        **Service.kinds,
        "include_usage": bool,
        "api_version": str | None,
    }

    base_url: str = "https://api.openai.com/v1"
    include_usage: bool = True
    api_version: str | None = None

    def request(self, messages: Messages, *, model: str | None = None, **options: Any) -> Request:
        """Return the request; see Backend.request. Options are fields of OpenAI's request."""
        model = model or self.default_model
        headers = {"accept": "text/event-stream"}
        body: dict[str, Any] = {
            "model": model,
            "messages": conversation(messages),
            "stream": True,
        }
        if self.include_usage:
            body["stream_options"] = {"include_usage": True}
        if self.api_version is None:
            headers |= self.key_field("authorization", "Bearer ")
            return self.post("/chat/completions", headers, body, options)
        headers |= self.key_field("api-key")
        path = f"/openai/deployments/{quote(model, safe='')}/chat/completions"
        return self.post(path, headers, body, options, **{"api-version": self.api_version})

    def reply(self, content_type: str) -> OpenAIReply:
        """Return a new reply; see Backend.reply. A body must be text/event-stream."""
        return OpenAIReply(self.event_stream(content_type))


class _Part(msgspec.Struct):
    """A part of a text that comes in parts, as Mistral's models that reason have it."""

    text: str | None = None
    thinking: list[_Part] | None = None


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | list[_Part] | None = None
    refusal: str | None = None
    # Two names for the same.
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_ToolCall] | None = None


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


class _Chunk(Message):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    # Where Groq has the usage, or why it stopped early.
    x_groq: _XGroq | None = None


_decode = msgspec.json.Decoder(_Chunk).decode


class OpenAIReply:
    """One answer in flight."""

    def __init__(self, decoder: SSEDecoder[ServerSentEvent | UnknownField]) -> None:
        self.decoder = decoder
        self._tool_calls = ToolCalls()
        self._finish_reason: str | None = None

    def interpret(self, event: ServerSentEvent | UnknownField, /) -> Iterator[Delta | None]:
        """Return what `event` adds to the reply; see Reply.interpret."""
        chunk = read(event, _decode)
        if chunk is None:
            if isinstance(event, ServerSentEvent) and event.data.strip() == "[DONE]":
                yield from self._finish()
            return
        for choice in chunk.choices or ():
            if not choice.index:
                yield from self._interpret_choice(choice)
        groq = chunk.x_groq or _XGroq()
        if (usage := chunk.usage or groq.usage) is not None:
            yield Usage(tokens(usage.prompt_tokens), tokens(usage.completion_tokens))
        if groq.error is not None:
            raise BackendError(groq.error)

    def end(self) -> Iterator[Delta]:
        """Finish a reply whose `[DONE]` was left out, if it has said why it ends."""
        if self._finish_reason is not None:
            yield from self._finish()

    def _interpret_choice(self, choice: _Choice) -> Iterator[Delta | None]:
        delta = choice.delta or _Delta()
        if reasoning := delta.reasoning_content or delta.reasoning:
            yield Reasoning(reasoning)
        if isinstance(delta.content, str):
            if delta.content:
                yield Text(delta.content)
        else:
            for part in delta.content or ():
                if thought := "".join(thought.text or "" for thought in part.thinking or ()):
                    yield Reasoning(thought)
                if part.text:
                    yield Text(part.text)
        if delta.refusal:
            yield Text(delta.refusal)
        for call in delta.tool_calls or ():
            function = call.function or _Function()
            self._tool_calls.add(call.index, call.id, function.name, function.arguments)
            yield None
        if choice.error is not None or choice.finish_reason == "error":
            raise BackendError(choice.error or choice.finish_reason)
        self._finish_reason = choice.finish_reason or self._finish_reason

    def _finish(self) -> Iterator[Delta]:
        yield from self._tool_calls.take()
        yield Finish(self._finish_reason)
