"""Google's Gemini.

The end of the body ends a reply that has a `finishReason`. An error in the middle of a stream may
be bare JSON: its lines stand in the stream without `data:`. Where `alt=sse` was lost, by a proxy
for example, the reply is an array of the same objects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypedDict, Unpack
from urllib.parse import quote

import msgspec

from sseparse import Decoder, EventTooLarge, JSONValuesDecoder, ServerSentEvent, UnknownField
from sseparse.transports import Request

from ._contract import BackendError, Delta, Finish, Messages, Reasoning, Text, ToolCall, Usage
from ._json_events import EventData, as_count, object_text, parse_event
from ._json_service import Service, conversation

_ROLES = {"assistant": "model", "developer": "system"}


class GenerationConfig(TypedDict, total=False):
    """Fields of the request's `generationConfig`."""

    frequencyPenalty: float
    maxOutputTokens: int
    mediaResolution: str
    presencePenalty: float
    responseJsonSchema: Mapping[str, Any]
    responseMimeType: str
    responseSchema: Mapping[str, Any]
    seed: int
    stopSequences: Sequence[str]
    temperature: float
    thinkingConfig: Mapping[str, Any]
    topK: int
    topP: float


class GeminiOptions(GenerationConfig, total=False):
    """Fields of the request, beside those that Gemini's arguments set."""

    cachedContent: str
    generationConfig: Mapping[str, Any]
    labels: Mapping[str, str]
    safetySettings: Sequence[Mapping[str, Any]]
    toolConfig: Mapping[str, Any]
    tools: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Gemini(Service):
    """Google's Gemini API, or Vertex AI.

    base_url: address up to "/models/"; for Vertex AI, for example,
        "https://aiplatform.googleapis.com/v1/publishers/google".

    Service documents the other arguments; the variable GOOGLE_API_KEY is not read. Only the
    first of several candidates is read. Function calls are read whole, so that
    streamFunctionCallArguments must stay off. Old models send a finishReason with each piece:
    such a reply looks complete when it is cut between two pieces. Gemini 3 requires a function
    call's thoughtSignature with its result. No delta has it: send Google's placeholder
    "skip_thought_signature_validator".
    """

    name = "gemini"
    key_variable: ClassVar[str] = "GEMINI_API_KEY"
    default_model = "gemini-flash-latest"
    options: ClassVar[frozenset[str]] = frozenset(GeminiOptions.__annotations__)

    base_url: str = field(default="https://generativelanguage.googleapis.com/v1beta", repr=False)

    def request(
        self, messages: Messages, *, model: str | None = None, **options: Unpack[GeminiOptions]
    ) -> Request:
        """See Backend.request.

        A message has a content, or Gemini's own parts. Messages of the system become the
        systemInstruction, wherever they stand.
        """
        model = model or self.default_model
        system: list[Any] = []
        contents: list[Mapping[str, Any]] = []
        for content in map(_content, conversation(messages)):
            if content.get("role") == "system":
                system += content["parts"]
            else:
                contents.append(content)
        if not contents:
            raise ValueError("messages must include more than system messages")
        body: dict[str, Any] = {"contents": contents}
        if system:
            body["systemInstruction"] = {"parts": system}
        fields: dict[str, Any] = {**options}
        names = [name for name in fields if name in GenerationConfig.__annotations__]
        if config := {name: fields.pop(name) for name in names}:
            fields["generationConfig"] = {**(options.get("generationConfig") or {}), **config}
        headers = self.key_field("x-goog-api-key")
        # A tuned model has a path of its own, such as "tunedModels/mine".
        path = quote(model if "/" in model else f"models/{model}")
        return self.post(f"/{path}:streamGenerateContent", headers, body, fields, alt="sse")

    def reply(self, content_type: str) -> _Reply:
        """See Backend.reply."""
        limit = self.max_event_size
        if content_type.partition(";")[0].strip().lower() == "application/json":
            return _Reply(
                JSONValuesDecoder(loads=_as_event, max_value_size=limit, unwrap_array=True), limit
            )
        return _Reply(self.event_stream(content_type), limit)


def _content(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a message in Gemini's format, with parts."""
    match message:
        case {"parts": [*_]}:
            return message
        case {"role": str(role), "content": str(text), **rest} if not rest:
            return {"role": _ROLES.get(role, role), "parts": [{"text": text}]}
        case {"role": str(role), "content": [*parts], **rest} if not rest:
            return {"role": _ROLES.get(role, role), "parts": [*map(_part, parts)]}
        case _:
            raise ValueError(
                "messages must each have only a role and a content, or Gemini's own parts, "
                f"got {message!r:.100}"
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


class _Chunk(EventData, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: dict[str, Any] | None = None
    usage_metadata: _Usage | None = None


_decode = msgspec.json.Decoder(_Chunk).decode


def _as_event(text: str) -> ServerSentEvent:
    return ServerSentEvent(data=text)


# A JSON string, even an unfinished one: no hostile line is scanned twice.
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?')
# The end of a string, and the start of a value on the next line.
_LOST_COLON = re.compile(r'"[ \t]*\n(?=[ \t]*[^\s,:\]}])')


class _Reply:
    def __init__(self, decoder: Decoder[Any], max_event_size: int | None) -> None:
        self.decoder = decoder
        self._tool_calls = 0
        self._finish_reason: str | None = None
        # Bare JSON: its lines so far, their size, and its open braces. The decoder does not limit
        # them: they are not part of an event.
        self._lines: list[str] = []
        self._size = 0
        self._depth = 0
        self._max_event_size = max_event_size

    def interpret(self, event: ServerSentEvent | UnknownField, /) -> Iterator[Delta]:
        if isinstance(event, UnknownField):
            event = self._join(event)
        chunk = parse_event(event, _decode)
        if chunk is None:
            return
        if chunk.prompt_feedback and chunk.prompt_feedback.get("blockReason"):
            raise BackendError(chunk.prompt_feedback)
        for candidate in chunk.candidates or ():
            if not candidate.index:
                yield from self._interpret_candidate(candidate)
        if (usage := chunk.usage_metadata) is not None:
            yield Usage(
                as_count(usage.prompt_token_count),
                as_count(usage.candidates_token_count) + as_count(usage.thoughts_token_count),
            )

    # Finish a reply that has a finishReason and no unfinished error.
    def end(self) -> Iterator[Delta]:
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
        """Return `field`, or bare JSON as an event once its last line has come."""
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
        # A field's name at the end of a line lost its colon: `name` and `name:` are the same field.
        data = _LOST_COLON.sub('":\n', "\n".join(self._lines))
        # The error may be the element of an array.
        data = data.strip("[], \t\n")
        self._lines, self._size, self._depth = [], 0, 0
        return ServerSentEvent(data=data)
