"""Cohere's chat, version 2.

Content, plan and tool calls come in pieces, then `message-end`. `[DONE]` after it is not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypedDict, Unpack

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
    Usage,
)
from ._json_reply import JSONReply
from ._json_service import (
    Service,
    conversation,
    expect_answers,
    result_text,
    unsupported,
    user_turn,
)
from ._merge import Object, joined, merge
from ._tool_calls import ToolCalls


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
    default_model = "command-a-03-2025"  # docs.cohere.com/docs/models
    options: ClassVar[frozenset[str]] = frozenset(CohereOptions.__annotations__)

    base_url: str = field(default="https://api.cohere.com", repr=False)

    def request(
        self, messages: Messages, *, model: str | None = None, **options: Unpack[CohereOptions]
    ) -> Request:
        """See Backend.request."""
        model = model or self.default_model
        turns = conversation(messages, "Cohere", _FOREIGN)
        expect_answers(turns)
        body = {"model": model, "messages": turns, "stream": True}
        return self.post("/v2/chat", self.key_field("authorization", "Bearer "), body, options)

    def reply(self, content_type: str) -> Reply[Any]:
        """See Backend.reply."""
        return _Reply(self.decoder(content_type), self.max_event_size)

    def user_message(self, text: str, *attachments: Attachment) -> dict[str, Any]:
        """Return a message of the user.

        attachments: images.

        Raises ValueError for another attachment.
        """
        return user_turn(text, map(_attachment_part, attachments))

    def tool_result(self, call: ToolCall, output: Any) -> dict[str, Any]:
        """Return the message that answers `call`.

        output: text, a list of the service's documents, or any other JSON value, sent as JSON.
        """
        match output:
            case [{"type": _}, *_]:
                content = output
            case _:
                content = result_text(output)
        return {"role": "tool", "tool_call_id": call.id, "content": content}


# docs.cohere.com/docs/image-inputs.
def _attachment_part(attachment: Attachment) -> Object:
    if not attachment.media_type.startswith("image/"):
        raise unsupported(attachment, "images")
    return {"type": "image_url", "image_url": {"url": attachment.data_url}}


# Of messages of other services.
_FOREIGN = frozenset(
    "parts tool_use tool_result tool_name function_call_output function_result model_output".split()
)

# docs.cohere.com/v2/reference/chat-stream, finish_reason. ERROR and TIMEOUT are errors.
_KINDS: Mapping[str, FinishKind] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
}


class _Reply(JSONReply):
    kinds = _KINDS
    event_types = frozenset(
        "message-start content-start content-delta content-end tool-plan-delta tool-call-start "
        "tool-call-delta tool-call-end citation-start citation-end message-end".split()
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._message: Object = {}
        # The parts of the content, by the index of their events.
        self._parts: dict[int | None, Object] = {}
        self._citations: list[Any] = []
        self._calls = ToolCalls()

    @property
    def messages(self) -> list[Object]:
        """See Reply.messages. Calls are in it once the reply is complete."""
        message = joined(self._message)
        if parts := [joined(part) for part in self._parts.values()]:
            message["content"] = parts
        if self.tool_calls:
            message["tool_calls"] = self._calls.items(self.tool_calls)
        if self._citations:
            message["citations"] = [*self._citations]
        return [{"role": "assistant", **message}] if message else []

    def interpret_object(self, data: Object) -> Iterator[Delta | None]:
        self.id = self.id or self.label(data, "id") or None
        match data.get("type"):
            case _ if self.is_object or ("type" not in data and "message" in data):
                yield from self._interpret_whole(data)
            case "message-end":
                yield from self._finish(self.details(data, "delta"))
            case str(name) if name in self.event_types:
                message = self.content(self.content(data, "delta"), "message")
                yield from self._interpret_message(self.index(data), message)
            case _:
                pass

    def _interpret_message(self, index: int | None, message: Object) -> Iterator[Delta | None]:
        if plan := self.text(message, "tool_plan"):
            merge(self._message, {"tool_plan": plan})
            yield Reasoning(plan)
        # Objects in the deltas, lists in `message-start` and in a reply that is no stream.
        for position, part in enumerate(self.contents(message, "content")):
            if thought := self.text(part, "thinking"):
                yield Reasoning(thought)
            if text := self.text(part, "text"):
                yield Text(text)
            place = position if index is None else index
            merge(self._parts.setdefault(place, {}), part)
        for position, piece in enumerate(self.contents(message, "tool_calls")):
            function = self.content(piece, "function")
            name, arguments = self.label(function, "name"), self.arguments(function, "arguments")
            place = position if index is None else index
            yield self._calls.add(place, self.label(piece, "id"), name, arguments, item=piece)
        if citations := self.contents(message, "citations"):
            self._citations += citations
            yield None

    def _interpret_whole(self, reply: Object) -> Iterator[Delta | None]:
        if not isinstance(reply.get("message"), dict):
            raise BackendError(reply)
        message = self.content(reply, "message")
        yield from self._interpret_message(None, message)
        yield from self._finish(reply)

    def _finish(self, delta: Object) -> Iterator[Delta]:
        usage = self.details(delta, "usage")
        counts = self.details(usage, "tokens") or self.details(usage, "billed_units")
        sent, received = self.count(counts, "input_tokens"), self.count(counts, "output_tokens")
        if sent is not None or received is not None:
            yield Usage(sent or 0, received or 0, self.count(usage, "cached_tokens") or 0)
        reason = self.label(delta, "finish_reason")
        # The service's reasons for a reply that it could not complete.
        if delta.get("error") or reason in ("ERROR", "TIMEOUT"):
            raise BackendError(delta.get("error") or reason)
        yield from self.finish(self._calls.take(), reason)
