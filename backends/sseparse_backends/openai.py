"""OpenAI's chat completions, and the many servers that speak the same protocol.

The last piece has a `finish_reason`. Then may come the usage, in a chunk without choices, and
`[DONE]`. Perplexity, Writer and Cerebras leave that out: the end of the body ends the reply.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Unpack
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
from ._json_service import (
    OpenAIFields,
    Service,
    conversation,
    expect_answers,
    result_text,
    unsupported,
    user_turn,
)
from ._merge import Object, joined, merge
from ._tool_calls import ToolCalls


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

    base_url: address up to and including the version, such as "http://127.0.0.1:8000/v1"; for
        Amazon Bedrock, "https://bedrock-runtime.REGION.amazonaws.com/openai/v1", with a Bedrock
        API key as api_key
        (docs.aws.amazon.com/bedrock/latest/userguide/inference-chat-completions.html).
    include_usage: ask for the usage at the end of the reply. Some servers, such as Mistral's,
        refuse that.
    api_version: for Azure, such as "2024-10-21". The model is then a deployment's name, and
        base_url is "https://NAME.openai.azure.com".

    Service documents the other arguments. Only the first of several choices is read. A refusal
    is returned as text. Log probabilities and web citations come with `events()`.
    """

    name = "openai"
    key_variable: ClassVar[str] = "OPENAI_API_KEY"
    # The successor of gpt-5-mini: developers.openai.com/api/docs/deprecations
    default_model = "gpt-6.1-terra"
    options: ClassVar[frozenset[str]] = frozenset(OpenAIOptions.__annotations__)

    base_url: str = field(default="https://api.openai.com/v1", repr=False)
    include_usage: bool = True
    api_version: str | None = None

    def request(
        self, messages: Messages, *, model: str | None = None, **options: Unpack[OpenAIOptions]
    ) -> Request:
        """See Backend.request."""
        model = model or self.default_model
        turns = conversation(messages, "OpenAI", _FOREIGN)
        expect_answers(turns)
        body: dict[str, Any] = {"model": model, "messages": turns, "stream": True}
        if self.include_usage:
            body["stream_options"] = {"include_usage": True}
        if self.api_version is None:
            headers = self.key_field("authorization", "Bearer ")
            return self.post("/chat/completions", headers, body, options)
        headers = self.key_field("api-key")
        path = f"/openai/deployments/{quote(model, safe='')}/chat/completions"
        return self.post(path, headers, body, options, **{"api-version": self.api_version})

    def reply(self, content_type: str) -> Reply[Any]:
        """See Backend.reply."""
        return _Reply(self.decoder(content_type), self.max_event_size)

    def user_message(self, text: str, *attachments: Attachment) -> dict[str, Any]:
        """Return a message of the user.

        attachments: images and PDFs.

        Raises ValueError for another attachment.
        """
        return user_turn(text, map(_attachment_part, attachments))

    def tool_result(self, call: ToolCall, output: Any) -> dict[str, Any]:
        """Return the message that answers `call`.

        output: text, a list of content parts, or any other JSON value, which is sent as JSON.
        """
        match output:
            case [{"type": _}, *_]:
                content = output
            case _:
                content = result_text(output)
        if not call.id:  # the older function_call
            return {"role": "function", "name": call.name, "content": content}
        return {"role": "tool", "tool_call_id": call.id, "content": content}


# developers.openai.com/api/docs/guides/file-inputs and .../images-vision.
def _attachment_part(attachment: Attachment) -> Object:
    match attachment.media_type.split("/"):
        case ["image", _]:
            return {"type": "image_url", "image_url": {"url": attachment.data_url}}
        case ["application", "pdf"]:
            file = {"filename": attachment.name, "file_data": attachment.data_url}
            return {"type": "file", "file": file}
        case _:
            raise unsupported(attachment, "images and PDFs")


# Of messages of other services.
_FOREIGN = frozenset(
    "parts tool_use tool_result tool_name tool_plan function_call_output function_result "
    "model_output".split()
)


_KINDS: Mapping[str, FinishKind] = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "model_length": "length",  # Mistral
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "filter",
}


# The fields of most deltas.
_PLAIN = frozenset(["role", "content", "reasoning", "reasoning_content"])


class _Reply(JSONReply):
    kinds = _KINDS
    _finish_reason = ""
    # The index of the choice that came first, and the indexes of others: another one begins with
    # its role, or beside the first. Some compatible servers count the pieces of one choice.
    _first: int | None = None
    _has_function_call = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._message: Object = {}
        self._calls = ToolCalls()
        self._others: set[int | None] = set()

    @property
    def messages(self) -> list[Object]:
        """See Reply.messages. Calls are in it once the reply is complete."""
        message = joined(self._message)
        if isinstance(audio := message.get("audio"), dict) and "id" in audio:
            message["audio"] = {"id": audio["id"]}  # the service takes back no more
        if self.tool_calls and self._has_function_call:
            call = self.tool_calls[-1]
            message["function_call"] = {"name": call.name, "arguments": call.arguments}
        elif self.tool_calls:
            message["tool_calls"] = self._calls.items(self.tool_calls)
        if not message:
            return []
        message = {name: value for name, value in message.items() if value is not None}
        # The service requires a content, which may be null beside these.
        others = message.keys() & {"tool_calls", "function_call", "refusal", "audio"}
        return [{"role": "assistant", "content": None if others else "", **message}]

    # Finish a reply without `[DONE]` that has a finish reason.
    def end(self) -> Iterator[Delta]:
        if self._finish_reason and not self.is_broken:
            yield from self.interpret_done()

    def interpret_object(self, chunk: Object) -> Iterator[Delta | None]:
        if self.id is None or self.served_model is None:
            self.id = self.id or self.label(chunk, "id") or None
            self.served_model = self.served_model or self.label(chunk, "model") or None
        choices = self.contents(chunk, "choices")
        if self.is_object and not choices:
            raise BackendError(chunk)
        for position, choice in enumerate(choices):
            delta = self.content(choice, "delta")
            if not (delta or self._message or self._calls):
                # The server ignored `stream`; others repeat the message at the end.
                delta = self.content(choice, "message")
            index = self.index(choice)
            if self._first is None:
                self._first = index
            elif index != self._first and (position or delta.get("role")):
                self._others.add(index)
            if index not in self._others:
                yield from self._interpret_delta(delta)
                error = choice.get("error")
                reason = self.label(choice, "finish_reason")
                if error or reason == "error":
                    raise BackendError(error or reason)
                self._finish_reason = reason or self._finish_reason
        if chunk.get("usage") and (usage := self._usage(self.details(chunk, "usage"))):
            yield usage
        if "x_groq" in chunk:
            # Groq's place for the usage, and for the error that ends a reply early.
            groq = self.details(chunk, "x_groq")
            if usage := self._usage(self.details(groq, "usage")):
                yield usage
            if groq.get("error"):
                raise BackendError(groq["error"])

    def _interpret_delta(self, delta: Object) -> Iterator[Delta | None]:
        # The same under two names: the first is DeepSeek's, the second OpenRouter's.
        if reasoning := self.text(delta, "reasoning_content") or self.text(delta, "reasoning"):
            yield Reasoning(reasoning)
        if isinstance(delta.get("content"), list):
            # Parts, as Mistral's reasoning models send them.
            for part in self.contents(delta, "content"):
                thinking = self.contents(part, "thinking")
                if thought := "".join(self.text(piece, "text") for piece in thinking):
                    yield Reasoning(thought)
                if text := self.text(part, "text"):
                    yield Text(text)
        elif text := self.text(delta, "content"):
            delta["content"] = text  # which a number becomes
            yield Text(text)
        if not delta.keys() <= _PLAIN:
            yield from self._interpret_others(delta)
        merge(self._message, delta)

    def _interpret_others(self, delta: Object) -> Iterator[Delta | None]:
        if refusal := self.text(delta, "refusal"):
            yield Text(refusal)
        if any(delta.get(name) for name in ("audio", "images", "reasoning_details")):
            yield None
        yield from self._interpret_calls(delta)

    def _interpret_calls(self, delta: Object) -> Iterator[ToolCallPiece]:
        for piece in self.contents(delta, "tool_calls"):
            kind = "custom" if piece.get("type") == "custom" else "function"
            function = self.content(piece, kind)
            name = self.label(function, "name")
            arguments = self.arguments(function, "input" if kind == "custom" else "arguments")
            index, call_id = self.index(piece), self.label(piece, "id")
            yield self._calls.add(index, call_id, name, arguments, kind=kind, item=piece)
        function = self.content(delta, "function_call")
        if any(function.values()) and not delta.get("tool_calls"):
            self._has_function_call = True
            name, arguments = self.label(function, "name"), self.arguments(function, "arguments")
            yield self._calls.add(0, "", name, arguments)
        delta.pop("tool_calls", None)
        delta.pop("function_call", None)

    def _usage(self, usage: Object) -> Usage | None:
        prompt = self.count(usage, "prompt_tokens")
        completion = self.count(usage, "completion_tokens")
        if prompt is None and completion is None:
            return None
        details = self.details(usage, "prompt_tokens_details")
        cached = self.count(details, "cached_tokens")
        cached = cached or self.count(usage, "prompt_cache_hit_tokens")  # DeepSeek's
        details = self.details(usage, "completion_tokens_details")
        reasoning = self.count(details, "reasoning_tokens") or 0
        prompt, completion = prompt or 0, completion or 0
        # xAI counts the reasoning beside the completion.
        if self.count(usage, "total_tokens") == prompt + completion + reasoning:
            completion += reasoning
        return Usage(prompt, completion, cached or 0, reasoning)

    def interpret_done(self) -> Iterator[Delta]:
        calls = self._calls.take()
        if not self._has_function_call:
            # Without an ID, a result could not refer to its call.
            calls = [
                replace(call, id=f"call_{call.index}") if call.name and not call.id else call
                for call in calls
            ]
        yield from self.finish(calls, self._finish_reason)
