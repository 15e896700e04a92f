"""Google's Gemini.

A reply is a stream of JSON objects in the data of events. Each has parts of the content in
`candidates[0]`, and the usage so far; the last of them, or the last but a few, a `finishReason`.
The end of the body is the end of the reply.

An error in the middle of a stream may be JSON in no data field at all: the lines of the stream are
the lines of the JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import quote

import msgspec

from sseparse import EventTooLarge, ServerSentEvent, SSEDecoder, UnknownField

from ._contract import (
    BackendError,
    Delta,
    Finish,
    Messages,
    Reasoning,
    Request,
    Text,
    ToolCall,
    Usage,
)
from ._json_events import Message, object_text, read, tokens
from ._json_service import Service, conversation

_ROLES = {
    "assistant": "model",
    "developer": "system",
    "model": "model",
    "system": "system",
    "user": "user",
}

_GENERATION_CONFIG = frozenset(
    """frequencyPenalty maxOutputTokens mediaResolution presencePenalty responseJsonSchema
    responseMimeType responseSchema seed stopSequences temperature thinkingConfig topK
    topP""".split()
)


@dataclass(frozen=True, kw_only=True)
class Gemini(Service):
    """Google's Gemini API, or Vertex AI.

    base_url: up to what comes before "/models/": for Vertex AI, for example,
        "https://aiplatform.googleapis.com/v1/publishers/google".

    For the other arguments see Service; the variable GOOGLE_API_KEY is not looked at. Only the
    first of several candidates is read, and calls of functions only whole, so that
    streamFunctionCallArguments must stay off. Of an old model that gives a finishReason with each
    piece, a body that is cut between two of them cannot be told from a whole one. Gemini 3 wants
    the thoughtSignature of a call back with its result: as no delta has it, send
    "skip_thought_signature_validator", which Google accepts for one.
    """

    name = "gemini"
    key_variable: ClassVar[str] = "GEMINI_API_KEY"
    default_model = "gemini-flash-latest"
    models = ()
    options: ClassVar[frozenset[str]] = _GENERATION_CONFIG.union(
        {"cachedContent", "generationConfig", "labels", "safetySettings", "toolConfig", "tools"}
    )

    base_url: str = "https://generativelanguage.googleapis.com/v1beta"

    def request(self, messages: Messages, *, model: str | None = None, **options: Any) -> Request:
        """Return the request; see Backend.request.

        A message is one with content, or else with Gemini's own parts. Those of the system become
        the systemInstruction, wherever they stand. Options are fields of Gemini's request and of
        its generationConfig.
        """
        model = model or self.default_model
        system: list[Any] = []
        contents: list[Mapping[str, Any]] = []
        for content in map(_content, conversation(messages, parts=True)):
            if content["role"] == "system":
                system += content["parts"]
            else:
                contents.append(content)
        if not contents:
            raise ValueError("there is no message to send but the system's")
        body: dict[str, Any] = {"contents": contents}
        if system:
            body["systemInstruction"] = {"parts": system}
        config = {name: options.pop(name) for name in list(options) if name in _GENERATION_CONFIG}
        if config:
            options["generationConfig"] = {**(options.get("generationConfig") or {}), **config}
        headers = {"accept": "text/event-stream", **self.key_field("x-goog-api-key")}
        # A model of one's own has a path of its own.
        path = quote(model if "/" in model else f"models/{model}")
        return self.post(f"/{path}:streamGenerateContent", headers, body, options, alt="sse")

    def reply(self, content_type: str) -> GeminiReply:
        """Return a new reply; see Backend.reply. A body must be text/event-stream."""
        return GeminiReply(self.event_stream(content_type), self.max_event_size)


def _content(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a message as Gemini has it, with parts."""
    match message:
        case {"parts": [*_]}:
            return message
        case {"role": role, "content": content, **rest} if role in _ROLES and not rest:
            parts = [{"text": content}] if isinstance(content, str) else map(_part, content)
            return {"role": _ROLES[role], "parts": list(parts)}
        case _:
            raise ValueError(
                f"a message for Gemini has a role ({', '.join(_ROLES)}) and a content, or else "
                f"Gemini's own parts, not {message!r:.100}"
            )


def _part(part: Any) -> Any:
    match part:
        case {"type": "text", "text": text}:
            return {"text": text}
        case _:
            return part


class _FunctionCall(msgspec.Struct):
    id: str | None = None
    name: str | None = None
    args: msgspec.Raw = msgspec.Raw()


class _Part(msgspec.Struct, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    function_call: _FunctionCall | None = None


class _Content(msgspec.Struct):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, rename="camel"):
    index: int | None = None
    content: _Content | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct, rename="camel"):
    prompt_token_count: float | None = None
    candidates_token_count: float | None = None
    thoughts_token_count: float | None = None


class _Chunk(Message, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: dict[str, Any] | None = None
    usage_metadata: _Usage | None = None


_decode = msgspec.json.Decoder(_Chunk).decode

# A JSON string, perhaps unfinished: so that no hostile line is scanned twice.
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?')
# The end of a string, and on another line the beginning of a value.
_LOST_COLON = re.compile(r'"[ \t]*\n(?=[ \t]*[^\s,:\]}])')


class GeminiReply:
    """One answer in flight."""

    def __init__(
        self,
        decoder: SSEDecoder[ServerSentEvent | UnknownField],
        max_event_size: int | None,
    ) -> None:
        self.decoder = decoder
        self._tool_calls = 0
        self._finish_reason: str | None = None
        # The lines so far of JSON in no data field, their size, and how many of its braces are
        # open. They are no event to the decoder, whose limit starts anew with each blank line.
        self._lines: list[str] = []
        self._size = 0
        self._depth = 0
        self._max_event_size = max_event_size

    def interpret(self, event: ServerSentEvent | UnknownField, /) -> Iterator[Delta]:
        """Return what `event` adds to the reply; see Reply.interpret."""
        if isinstance(event, UnknownField):
            event = self._join(event)
        chunk = read(event, _decode)
        if chunk is None:
            return
        if chunk.prompt_feedback and chunk.prompt_feedback.get("blockReason"):
            raise BackendError(chunk.prompt_feedback)
        for candidate in chunk.candidates or ():
            if not candidate.index:
                yield from self._interpret_candidate(candidate)
        if (usage := chunk.usage_metadata) is not None:
            yield Usage(
                tokens(usage.prompt_token_count),
                tokens(usage.candidates_token_count) + tokens(usage.thoughts_token_count),
            )

    def end(self) -> Iterator[Delta]:
        """Finish a reply that has said why it ends, unless an error has begun."""
        if self._finish_reason is not None and not self._lines:
            yield Finish(self._finish_reason)

    def _interpret_candidate(self, candidate: _Candidate) -> Iterator[Delta]:
        content = candidate.content or _Content()
        for part in content.parts or ():
            if part.text:
                yield Reasoning(part.text) if part.thought else Text(part.text)
            if (call := part.function_call) is not None:
                arguments = object_text(call.args)
                yield ToolCall(self._tool_calls, call.id or "", call.name or "", arguments)
                self._tool_calls += 1
        self._finish_reason = candidate.finish_reason or self._finish_reason

    def _join(self, field: UnknownField) -> ServerSentEvent | UnknownField:
        """Return the event that JSON in no data field would be, with its last line."""
        if not self._lines and not field.name.lstrip().startswith(("{", "[")):
            return field
        line = f"{field.name}:{field.value}" if field.value else field.name
        self._lines.append(line)
        self._size += len(line)
        if self._max_event_size is not None and self._size > self._max_event_size:
            raise EventTooLarge(self._max_event_size)
        outside = _STRING.sub("", line)
        self._depth += outside.count("{") - outside.count("}")
        if self._depth > 0:
            return field
        # A colon at the end of a line is lost: a field without a value looks the same without.
        data = _LOST_COLON.sub('":\n', "\n".join(self._lines))
        # One that is the element of an array is an error still.
        data = data.strip("[], \t\n")
        self._lines, self._size, self._depth = [], 0, 0
        return ServerSentEvent(data=data)
