"""Google's Interactions API, which Google recommends in place of Gemini's generateContent.

A reply is a series of steps: thoughts, calls of tools, their results, and the model's output. Each
step comes in a `step.start`, any number of `step.delta`, and a `step.stop`; `interaction.completed`
ends the reply. See ai.google.dev/gemini-api/docs/streaming.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypedDict, Unpack

from sseparse import ServerSentEvent, UnknownField
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
from ._json_service import Service, conversation, expect_call, nested, result_text, user_turn
from ._merge import Object, is_list
from ._tool_calls import last_object


class InteractionConfig(TypedDict, total=False):
    """Fields of the request's `generation_config`."""

    max_output_tokens: int
    seed: int
    speech_config: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    stop_sequences: Sequence[str]
    thinking_level: str
    thinking_summaries: str
    tool_choice: str | Mapping[str, Any]
    transcription_config: Mapping[str, Any]
    video_config: Mapping[str, Any]


class InteractionOptions(InteractionConfig, total=False):
    """Fields of the request, beside those that GeminiInteractions' arguments set."""

    agent: str
    agent_config: Mapping[str, Any]
    background: bool
    environment: str | Mapping[str, Any]
    generation_config: Mapping[str, Any]
    labels: Mapping[str, str]
    previous_interaction_id: str
    response_format: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    safety_settings: Sequence[Mapping[str, Any]]
    service_tier: str
    store: bool
    system_instruction: str
    tools: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class GeminiInteractions(Service):
    """Google's Interactions API.

    Service documents the arguments; the variable GOOGLE_API_KEY is not read.
    """

    name = "gemini-interactions"
    key_variable: ClassVar[str] = "GEMINI_API_KEY"
    # An alias of the current Flash model: ai.google.dev/gemini-api/docs/changelog, January 2026.
    default_model = "gemini-flash-latest"
    options: ClassVar[frozenset[str]] = frozenset(InteractionOptions.__annotations__)

    base_url: str = field(default="https://generativelanguage.googleapis.com/v1beta", repr=False)

    def request(
        self, messages: Messages, *, model: str | None = None, **options: Unpack[InteractionOptions]
    ) -> Request:
        """See Backend.request.

        A message is a step of the API, or has a role and a content. Messages of the system become
        the system_instruction, wherever they stand. After a previous_interaction_id come only the
        steps that the service does not have. An agent replaces the default model.
        """
        system: list[str] = []
        steps: list[Mapping[str, Any]] = []
        for message in conversation(messages, "the Interactions API", _FOREIGN):
            match message:
                case {"role": "system" | "developer", "content": content, **rest} if not rest:
                    system.append(_system_text(content))
                case _:
                    steps.append(_step(message))
        if not steps:
            raise ValueError("messages must include more than system messages")
        if not options.get("previous_interaction_id"):
            _expect_answers(steps)
        body: dict[str, Any] = {"input": steps, "stream": True}
        if model or not options.get("agent"):
            body["model"] = model or self.default_model
        if system:
            body["system_instruction"] = "\n\n".join(system)
        fields = nested(options, "generation_config", InteractionConfig)
        return self.post("/interactions", self.key_field("x-goog-api-key"), body, fields)

    def reply(self, content_type: str) -> Reply[Any]:
        """See Backend.reply."""
        return _Reply(self.decoder(content_type), self.max_event_size)

    def user_message(self, text: str, *attachments: Attachment) -> dict[str, Any]:
        """Return a message of the user.

        attachments: images, PDFs, audio and video.
        """
        return user_turn(text, map(_attachment_part, attachments))

    def tool_result(self, call: ToolCall, output: Any) -> dict[str, Any]:
        """Return the step that answers `call`.

        output: text, a list of texts and images in the API's shape, or any other JSON value, which
            is sent as JSON.
        """
        match output:
            case [{"type": "text" | "image"}, *_]:
                content = output
            case _:
                content = [{"type": "text", "text": result_text(output)}]
        answer = {"type": "function_result", "call_id": call.id, "name": call.name}
        return {**answer, "result": content}


# ai.google.dev/api/interactions-api, Content.
def _attachment_part(attachment: Attachment) -> Object:
    kind = attachment.media_type.partition("/")[0]
    return {
        "type": kind if kind in _CONTENT else "document",
        "mime_type": attachment.media_type,
        "data": attachment.base64,
    }


# Of messages of other services.
_FOREIGN = frozenset(
    "parts tool_calls tool_call_id tool_use tool_result function_call_output message reasoning "
    "thinking redacted_thinking image_url input_text output_text".split()
)
_STEPS = {"user": "user_input", "assistant": "model_output", "model": "model_output"}


def _step(message: Mapping[str, Any]) -> Mapping[str, Any]:
    match message:
        case {"type": str()}:
            return message
        case {"role": str(role), "content": str(text), **rest} if role in _STEPS and not rest:
            return {"type": _STEPS[role], "content": [{"type": "text", "text": text}]}
        case {"role": str(role), "content": [*parts], **rest} if role in _STEPS and not rest:
            return {"type": _STEPS[role], "content": parts}
        case _:
            raise _misshapen(message)


def _system_text(content: Any) -> str:
    parts = content if is_list(content) else [{"type": "text", "text": content}]
    texts: list[str] = []
    for part in parts:
        match part:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case _:
                raise _misshapen(content)
    return "\n\n".join(texts)


def _misshapen(message: Any) -> ValueError:
    rule = "messages must have the shape of the Interactions API's: steps, or a role and a content"
    return ValueError(f"{rule}, got {message!r:.100}")


def _expect_answers(steps: Sequence[Mapping[str, Any]]) -> None:
    """Raise ValueError for a function_result before its call."""
    calls: set[Any] = set()
    for step in steps:
        match step:
            case {"type": "function_call", "id": call_id}:
                calls.add(str(call_id))
            case {"type": "function_result", "call_id": call_id}:
                expect_call(str(call_id), calls)
            case _:
                pass


# ai.google.dev/api/interactions-api, Interaction.status.
_KINDS: Mapping[str, FinishKind] = {
    "completed": "stop",
    "requires_action": "tool_calls",
    "incomplete": "length",
    "budget_exceeded": "length",
}
_CONTENT = frozenset(["text", "image", "audio", "video", "document"])
_PARTS = ("content", "summary")
_TEXT = frozenset(["type", "text"])


@dataclass
class _Step:
    type: str
    id: str
    # The fields of all its pieces, without those below.
    fields: Object
    # Its content and its summary, with a list of pieces as the text of each part.
    parts: dict[str, list[Object]]
    # The last part of its content that is a text.
    text: Object | None = None
    # The pieces of its arguments, and the number of a function_call.
    arguments: list[str] = field(default_factory=list[str])
    call: int | None = None

    def message(self) -> Object:
        """Return the step as the API has it."""
        fields = {**self.fields}
        for name, parts in self.parts.items():
            if parts:
                fields[name] = [
                    {**part, "text": "".join(part["text"])} if "text" in part else part
                    for part in parts
                ]
        if self.call is not None or self.arguments:
            fields["arguments"] = _parse(last_object("".join(self.arguments)))
        return fields


class _Reply(JSONReply):
    kinds = _KINDS
    event_types = frozenset(
        "interaction.created interaction.status_update interaction.completed "
        "step.start step.delta step.stop".split()
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # The type of the event being read.
        self._event_type = ""
        self._steps: list[_Step] = []
        # The latest step of each index.
        self._latest: dict[int | None, _Step] = {}
        self._calls: list[_Step] = []
        # IDs of calls that an agent's environment has answered: docs/antigravity-agent.
        self._answered: set[str] = set()

    @property
    def messages(self) -> list[Object]:
        """See Reply.messages: its steps. Calls are in it once the reply is complete."""
        handed_out = {call.index for call in self.tool_calls}
        return [
            step.message()
            for step in self._steps
            if step.call is None or step.call in handed_out or step.id in self._answered
        ]

    def interpret(self, event: ServerSentEvent | UnknownField, /) -> Iterator[Delta | None]:
        self._event_type = event.event if isinstance(event, ServerSentEvent) else ""
        yield from super().interpret(event)

    def interpret_object(self, value: Object) -> Iterator[Delta | None]:
        if self.is_object or ("event_type" not in value and "steps" in value):
            if not value.keys() & {"status", "steps"}:
                raise BackendError(value)
            yield from self._interpret_event("interaction.completed", value, value)
        else:
            kind = self.label(value, "event_type") or self._event_type
            yield from self._interpret_event(kind, value, self.details(value, "interaction"))

    def _interpret_event(
        self, kind: str, value: Object, interaction: Object
    ) -> Iterator[Delta | None]:
        self.id = self.id or self.label(interaction, "id") or None
        model = self.label(interaction, "model") or self.label(interaction, "agent")
        self.served_model = self.served_model or model or None
        if kind == "step.start":
            yield from self._start(self.content(value, "step"), self.index(value))
        elif kind == "step.delta":
            yield from self._continue(self.content(value, "delta"), self.index(value))
        elif kind == "error":
            raise BackendError(value)
        elif kind == "interaction.completed" and not self._steps:
            for step in self.contents(interaction, "steps"):
                yield from self._start(step)
        usage = self.details(interaction, "usage") or self.details(value, "usage")
        if counts := self._usage(usage):
            yield counts
        if kind == "interaction.completed":
            yield from self._finish(interaction)

    def _start(self, fields: Object, index: int | None = None) -> Iterator[Delta | None]:
        kind = self.label(fields, "type") or "model_output"
        rest = {name: item for name, item in fields.items() if name not in _PARTS}
        parts = {name: list[Object]() for name in _PARTS}
        step = _Step(kind, self.label(fields, "id"), {**rest, "type": kind}, parts)
        self._latest[index] = step
        self._steps.append(step)
        if kind == "function_call":
            step.call = len(self._calls)
            self._calls.append(step)
            # The placeholder `{}` where pieces follow.
            arguments = self.arguments(fields, "arguments") if fields.get("arguments") else ""
            step.arguments.append(arguments)
            yield ToolCallPiece(step.call, step.id, self.label(fields, "name"), arguments)
        elif kind == "function_result":
            if call_id := self.label(fields, "call_id"):
                self._answered.add(call_id)
            yield None
        for name in _PARTS:
            for part in self.contents(fields, name):
                yield self._add(step, name, part)

    def _continue(self, delta: Object, index: int | None) -> Iterator[Delta | None]:
        if not self._steps:
            yield from self._start({"type": "model_output"}, index)
        step = self._latest.get(index) or self._steps[-1]
        # A text without a type is in the page's example of an agent.
        kind = self.label(delta, "type") or "text"
        if kind in _CONTENT:
            yield self._add(step, "content", delta, joins=True)
        elif kind == "thought_summary":
            yield self._add(step, "summary", self.content(delta, "content"), joins=True)
        elif kind == "arguments_delta":
            if not step.type.endswith("_call"):
                self._refuse("the arguments must belong to a call")
            if arguments := self.arguments(delta, "arguments"):
                step.arguments.append(arguments)
                yield None if step.call is None else ToolCallPiece(step.call, arguments=arguments)
        elif kind == "text_annotation_delta":
            more = delta.get("annotations")
            if step.text is not None and is_list(more):
                before = step.text.setdefault("annotations", more)
                if before is not more and is_list(before):
                    before.extend(more)
        else:
            # thought_signature, and the calls and results of the service's own tools.
            for name, item in delta.items():
                before = step.fields.get(name)
                if name == "result" and is_list(before) and is_list(item):
                    before.extend(item)
                elif name != "type" and item not in (None, ""):
                    step.fields[name] = item
            yield None

    def _add(self, step: _Step, name: str, part: Object, *, joins: bool = False) -> Delta | None:
        """Add a part to a step, or a text to its last part, and return the delta."""
        text = self.text(part, "text")
        parts = step.parts[name]
        if joins and part.keys() <= _TEXT and parts and "text" in parts[-1]:
            parts[-1]["text"].append(text)
        elif text:
            parts.append({**part, "text": [text]})
            step.text = parts[-1]
        elif not part.keys() <= _TEXT:
            parts.append({key: item for key, item in part.items() if key != "text"})
        if not text:
            return None
        return Reasoning(text) if name == "summary" else Text(text)

    def _usage(self, usage: Object) -> Usage | None:
        prompt = self.count(usage, "total_input_tokens")
        tools = self.count(usage, "total_tool_use_tokens")
        output = self.count(usage, "total_output_tokens")
        thoughts = self.count(usage, "total_thought_tokens")
        if all(count is None for count in (prompt, tools, output, thoughts)):
            return None
        cached = self.count(usage, "total_cached_tokens") or 0
        received = (output or 0) + (thoughts or 0)
        return Usage((prompt or 0) + (tools or 0), received, cached, thoughts or 0)

    def _finish(self, interaction: Object) -> Iterator[Delta]:
        status = self.label(interaction, "status")
        if status in ("failed", "cancelled"):
            raise BackendError(interaction)
        if status in ("queued", "in_progress"):  # in the background
            return
        calls = [
            ToolCall(
                number,
                step.id,
                self.label(step.fields, "name"),
                last_object("".join(step.arguments)),
            )
            for number, step in enumerate(self._calls)
            if step.id not in self._answered
        ]
        yield from self.finish(calls, status)


def _parse(arguments: str) -> Any:
    """Return the value of JSON arguments, {} for damaged ones, which the service has answered."""
    try:
        return json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return {}
