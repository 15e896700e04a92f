"""Google's Gemini.

The end of the body ends a reply that has a `finishReason`. Where `alt=sse` was lost, by a proxy
for example, the reply is an array of the same objects.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar, TypedDict, Unpack
from urllib.parse import quote

from sseparse.transports import Request

from ._contract import (
    Attachment,
    BackendError,
    Delta,
    FinishKind,
    Messages,
    Reasoning,
    Reply,
    Text,
    ToolCall,
    ToolCallPiece,
    Usage,
)
from ._json_reply import JSONReply
from ._json_service import Service, conversation, expect_call, nested, user_turn
from ._merge import Object, is_list, is_object

_ROLES = {"assistant": "model", "developer": "system"}


class GenerationConfig(TypedDict, total=False):
    """Fields of the request's `generationConfig`."""

    frequencyPenalty: float
    imageConfig: Mapping[str, Any]
    logprobs: int
    maxOutputTokens: int
    mediaResolution: str
    presencePenalty: float
    responseJsonSchema: Mapping[str, Any]
    responseLogprobs: bool
    responseMimeType: str
    responseModalities: Sequence[str]
    responseSchema: Mapping[str, Any]
    seed: int
    speechConfig: Mapping[str, Any]
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
    first of several candidates is read. Old models send a finishReason with each piece: such a
    reply looks complete when it is cut between two pieces.
    """

    name = "gemini"
    key_variable: ClassVar[str] = "GEMINI_API_KEY"
    # An alias of the current Flash model: ai.google.dev/gemini-api/docs/changelog, January 2026.
    default_model = "gemini-flash-latest"
    options: ClassVar[frozenset[str]] = frozenset(GeminiOptions.__annotations__)

    base_url: str = field(default="https://generativelanguage.googleapis.com/v1beta", repr=False)

    def request(
        self, messages: Messages, *, model: str | None = None, **options: Unpack[GeminiOptions]
    ) -> Request:
        """See Backend.request.

        A message has a content, or Gemini's own parts. Messages of the system become the
        systemInstruction, wherever they stand. Messages of tool_result in a row become one.
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
        _expect_answers(contents)
        body: dict[str, Any] = {"contents": _join_results(contents)}
        if system:
            body["systemInstruction"] = {"parts": system}
        fields = nested(options, "generationConfig", GenerationConfig)
        headers = self.key_field("x-goog-api-key")
        # A tuned model has a path of its own, such as "tunedModels/mine".
        path = quote(model if "/" in model else f"models/{model}")
        return self.post(f"/{path}:streamGenerateContent", headers, body, fields, alt="sse")

    def reply(self, content_type: str) -> Reply[Any]:
        """See Backend.reply."""
        return _Reply(self.decoder(content_type), self.max_event_size)

    def user_message(self, text: str, *attachments: Attachment) -> dict[str, Any]:
        """Return a message of the user.

        attachments: images, PDFs, audio and video.
        """
        return user_turn(text, map(_attachment_part, attachments))

    def tool_result(self, call: ToolCall, output: Any) -> dict[str, Any]:
        """Return the message that answers `call`.

        output: an object, which is the response as it is, a list of parts with inlineData or
            fileData, or any other JSON value, which becomes the response's "output".
        """
        answer: dict[str, Any] = {"name": call.name}
        if call.id:
            answer["id"] = call.id
        # ai.google.dev/api/caching, FunctionResponse.
        match output:
            case Mapping():
                answer["response"] = output
            case [{"inlineData": _} | {"fileData": _}, *_]:
                answer |= {"response": {}, "parts": output}
            case _:
                answer["response"] = {"output": output}
        return {"role": "user", "parts": [{"functionResponse": answer}]}


# ai.google.dev/api/caching, Blob.
def _attachment_part(attachment: Attachment) -> Object:
    return {"inlineData": {"mimeType": attachment.media_type, "data": attachment.base64}}


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
            raise _foreign(message)


def _part(part: Any) -> Any:
    match part:
        case {"type": "text", "text": text}:
            return {"text": text}
        case {"type": _}:  # Gemini's own parts have no type
            raise _foreign(part)
        case _:
            return part


def _foreign(message: Any) -> ValueError:
    rule = "messages must have the shape of Gemini's: each only a role and a content, or its parts"
    return ValueError(f"{rule}, got {message!r:.100}")


def _expect_answers(contents: Sequence[Mapping[str, Any]]) -> None:
    """Raise ValueError for a functionResponse before the call of its ID, or else its name."""
    calls: set[Any] = set()
    for content in contents:
        for part in content["parts"]:
            match part:
                case {"functionCall": {**call}} | {"function_call": {**call}}:
                    calls |= {str(call.get("id")), str(call.get("name"))}
                case {"functionResponse": {**answer}}:
                    expect_call(str(answer.get("id") or answer.get("name")), calls)
                case _:
                    pass


def _join_results(contents: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return `contents` with those of functionResponses in a row as one.

    The service refuses a turn with fewer responses than the turn before has calls.
    """
    joined: list[Mapping[str, Any]] = []
    last: Any = None  # the role of the last content, if it has only responses
    for content in contents:
        role = content.get("role") if all(map(_is_result, content["parts"])) else None
        if role is not None and role == last:
            joined[-1]["parts"].extend(content["parts"])
        else:
            joined.append(content if role is None else {**content, "parts": [*content["parts"]]})
        last = role
    return joined


def _is_result(part: Any) -> bool:
    return isinstance(part, Mapping) and "functionResponse" in part


# ai.google.dev/api/generate-content, FinishReason. The numbers are those of the same enumeration:
# Vertex AI sends them to a client that asks for `enum-encoding=int` (LangChain).
_KINDS: Mapping[str, FinishKind] = {
    **dict.fromkeys(["STOP", "1"], "stop"),
    **dict.fromkeys(["MAX_TOKENS", "2"], "length"),
    **dict.fromkeys(["SAFETY", "3", "RECITATION", "4"], "filter"),
    **dict.fromkeys(["BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR"], "filter"),
    **dict.fromkeys(["IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"], "filter"),
}
# The service itself calls the reply's calls invalid.
_INVALID_CALLS = frozenset(
    "MALFORMED_FUNCTION_CALL UNEXPECTED_TOOL_CALL TOO_MANY_TOOL_CALLS MALFORMED_RESPONSE "
    "MISSING_THOUGHT_SIGNATURE".split()
)

_REPLY = frozenset(["candidates", "promptFeedback", "usageMetadata"])
_TEXT = frozenset(["text", "thought"])
_PARTIAL = frozenset(["partialArgs", "willContinue"])


@dataclass
class _Call:
    number: int
    id: str
    name: str
    # The part of the message, and its functionCall: the fields of all the pieces.
    part: Object = field(default_factory=dict[str, Any])
    function: Object = field(default_factory=dict[str, Any])
    # The values of streamed arguments by their paths; several are pieces of a text.
    values: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])
    arguments: str = ""

    @property
    def is_open(self) -> bool:
        """Whether more of the call must come."""
        return not self.arguments


class _Reply(JSONReply):
    kinds = _KINDS
    _finish_reason = ""
    # The index of the candidate that came first.
    _first: int | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Of the message; a text is a list of its pieces.
        self._parts: list[Object | _Call] = []
        self._calls: list[_Call] = []

    @property
    def messages(self) -> list[Object]:
        """See Reply.messages. Calls are in it once the reply is complete."""
        parts: list[Object] = []
        for part in self._parts:
            if isinstance(part, _Call):
                if self.tool_calls:
                    parts.append({**part.part, "functionCall": part.function})
            elif isinstance(part.get("text"), list):
                parts.append({**part, "text": "".join(part["text"])})
            else:
                parts.append({**part})
        return [{"role": "model", "parts": parts}] if parts else []

    # Finish a reply that has a finishReason and no unfinished error.
    def end(self) -> Iterator[Delta]:
        reason = self._finish_reason
        is_cut = self.kind_of(reason) in ("length", "filter")
        calls = [] if reason in _INVALID_CALLS or is_cut else self._calls
        if not reason or self.is_broken or any(call.is_open for call in calls):
            return
        whole = [ToolCall(call.number, call.id, call.name, call.arguments) for call in calls]
        yield from self.finish(whole, reason)

    def interpret_object(self, chunk: Object) -> Iterator[Delta | None]:
        if self.is_object and not chunk.keys() & _REPLY:
            raise BackendError(chunk)
        self.id = self.id or self.label(chunk, "responseId") or None
        self.served_model = self.served_model or self.label(chunk, "modelVersion") or None
        feedback = self.details(chunk, "promptFeedback")
        if feedback.get("blockReason"):
            raise BackendError(feedback)
        for candidate in self.contents(chunk, "candidates"):
            index = self.index(candidate) or 0
            if self._first is None:
                self._first = index
            if index == self._first:
                content = self.content(candidate, "content")
                for part in self.contents(content, "parts"):
                    yield from self._interpret_part(part)
                if candidate.get("finishReason"):
                    reason = self.label(candidate, "finishReason")
                    self._finish_reason = reason or self._finish_reason
        if usage := self._usage(self.details(chunk, "usageMetadata")):
            yield usage

    def _interpret_part(self, part: Object) -> Iterator[Delta | None]:
        function = self.content(part, "functionCall")
        if text := self.text(part, "text"):
            yield Reasoning(text) if part.get("thought") else Text(text)
        if part.get("text") is not None:
            part["text"] = text  # which a number becomes
        if isinstance(part.get("functionCall"), dict):
            yield from self._interpret_call(part, function)
        elif part.keys() <= _TEXT:
            self._keep_text(part, text)
        elif any(part.values()):
            # Parts with signatures stay apart: ai.google.dev/gemini-api/docs/thought-signatures.
            self._parts.append(part)
            if not text:
                yield None

    def _keep_text(self, part: Object, text: str) -> None:
        """Add a part that is text alone to the message, or to the last part."""
        match self._parts[-1:]:
            case [{"text": texts, **rest}] if is_list(texts) and rest.get("thought") == part.get(
                "thought"
            ):
                texts.append(text)
            case _ if text:
                self._parts.append({**part, "text": [text]})
            case _:
                pass

    def _interpret_call(self, part: Object, function: Object) -> Iterator[ToolCallPiece | None]:
        call_id, name = self.label(function, "id"), self.label(function, "name")
        call = self._calls[-1] if self._calls else None
        if call and call.is_open and call_id in ("", call.id) and name in ("", call.name):
            call_id = name = ""
        elif function:
            call = _Call(len(self._calls), call_id, name)
            self._calls.append(call)
            self._parts.append(call)
        else:
            return
        call.part |= part
        call.function |= {key: item for key, item in function.items() if key not in _PARTIAL}
        for value in self.contents(function, "partialArgs"):
            call.values.setdefault(self.text(value, "jsonPath"), []).append(self._value(value))
        if function.get("willContinue") is not True:
            self._close(call)
        if call_id or name or call.arguments:
            yield ToolCallPiece(call.number, call_id, name, call.arguments)
        else:
            yield None

    def _value(self, partial: Object) -> Any:
        """Return the value of a PartialArg: a whole one, or a piece of a text."""
        if partial.get("stringValue") is not None:
            return self.text(partial, "stringValue")
        for name in ("numberValue", "boolValue"):
            if partial.get(name) is not None:
                return partial[name]
        if "nullValue" not in partial:
            self._refuse("partialArgs must have a value")
        return None

    def _close(self, call: _Call) -> None:
        """Put the arguments of a call together."""
        if call.values:
            tree = call.function["args"] = self.content(call.function, "args")
            try:
                for path, values in call.values.items():
                    is_text = all(isinstance(value, str) for value in values)
                    _place(tree, path, "".join(values) if is_text else values[-1])
                call.arguments = json.dumps(tree, ensure_ascii=False)
            except (ValueError, RecursionError) as cause:
                self._refuse(f"partialArgs must make up an object: {cause}", cause)
        elif call.function.get("args"):
            call.arguments = self.arguments(call.function, "args")
            if isinstance(call.function["args"], str):
                call.function["args"] = self.value_of(call.arguments)
        else:
            call.arguments = "{}"

    def _usage(self, usage: Object) -> Usage | None:
        prompt = self.count(usage, "promptTokenCount")
        tools = self.count(usage, "toolUsePromptTokenCount")
        candidates = self.count(usage, "candidatesTokenCount")
        thoughts = self.count(usage, "thoughtsTokenCount")
        if all(count is None for count in (prompt, tools, candidates, thoughts)):
            return None
        cached = self.count(usage, "cachedContentTokenCount") or 0
        received = (candidates or 0) + (thoughts or 0)
        return Usage((prompt or 0) + (tools or 0), received, cached, thoughts or 0)


# A member or an element of a JSON path, RFC 9535, without escapes.
_SEGMENT = re.compile(r"""\.([^.\[\]]+)|\['([^'\\]*)'\]|\["([^"\\]*)"\]|\[(\d{1,9})\]""")


def _place(tree: Object, path: str, value: Any) -> None:
    """Set the value at a JSON path, and make the objects and lists on the way.

    Raises ValueError for a path that does not fit.
    """
    keys: list[Any] = []
    end = 1
    while match := _SEGMENT.match(path, end):
        *names, index = match.groups()
        keys.append(next(filter(None, names), "") if index is None else int(index))
        end = match.end()
    misfit = ValueError(f"{path[:100]!r}")
    if not keys or path[:1] != "$" or end != len(path):
        raise misfit
    node: Any = tree
    for key, following in pairwise([*keys, None]):
        if is_object(node) and isinstance(key, str):
            node.setdefault(key, None)
        elif is_list(node) and isinstance(key, int) and key <= len(node):
            node.extend([None] * (key + 1 - len(node)))
        else:
            raise misfit
        place: Any = node
        if following is None:
            place[key] = value
        elif place[key] is None:
            place[key] = [] if isinstance(following, int) else {}
        node = place[key]
