"""Ollama: models on your own machine, or in its cloud.

A reply is a stream of JSON objects, one a line. Each has a piece of the text in `message`; the
last one has `done`, the reason and the usage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypedDict, Unpack

from sseparse import JSONValuesDecoder, NDJSONDecoder
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
from ._json_reply import JSONReply, loads
from ._json_service import (
    Service,
    conversation,
    expect_call,
    expect_content_type,
    is_json,
    nested,
    result_text,
    unsupported,
)
from ._merge import Object, joined, merge


class OllamaParameters(TypedDict, total=False):
    """Parameters of the model: fields of the request's `options`."""

    frequency_penalty: float
    main_gpu: int
    min_p: float
    num_batch: int
    num_ctx: int
    num_gpu: int
    num_keep: int
    num_predict: int
    num_thread: int
    presence_penalty: float
    repeat_last_n: int
    repeat_penalty: float
    seed: int
    stop: str | Sequence[str]
    temperature: float
    top_k: int
    top_p: float
    typical_p: float
    use_mmap: bool


class OllamaOptions(OllamaParameters, total=False):
    """Fields of the request, beside those that Ollama's arguments set."""

    format: str | Mapping[str, Any]
    keep_alive: str | float
    options: Mapping[str, Any]
    shift: bool
    think: bool | str
    tools: Sequence[Mapping[str, Any]]
    truncate: bool


@dataclass(frozen=True, kw_only=True)
class Ollama(Service):
    """An Ollama server.

    base_url: its address. "https://ollama.com" is the cloud, which requires a key.

    Service documents the other arguments. A message's content is text, with `images` beside it.
    """

    name = "ollama"
    key_variable: ClassVar[str] = "OLLAMA_API_KEY"
    needs_key: ClassVar[bool] = False
    default_model = "llama3.2"  # ollama.com/library/llama3.2
    options: ClassVar[frozenset[str]] = frozenset(OllamaOptions.__annotations__)

    # Not localhost: that may resolve to ::1 first, where Ollama does not listen.
    base_url: str = field(default="http://127.0.0.1:11434", repr=False)

    def request(
        self, messages: Messages, *, model: str | None = None, **options: Unpack[OllamaOptions]
    ) -> Request:
        """See Backend.request."""
        # Ollama silently ignores a parameter outside of `options`.
        fields = nested(options, "options", OllamaParameters)
        model = model or self.default_model
        turns = conversation(messages, "Ollama", _FOREIGN)
        _expect_answers(turns)
        body = {"model": model, "messages": turns, "stream": True}
        headers = {"accept": "application/x-ndjson", **self.key_field("authorization", "Bearer ")}
        return self.post("/api/chat", headers, body, fields)

    def reply(self, content_type: str) -> Reply[Any]:
        """See Backend.reply."""
        limit = self.max_event_size
        # Without `stream` the reply is one object, of the same shape.
        if is_json(content_type):
            return _Reply(JSONValuesDecoder(loads=loads, max_value_size=limit))
        expect_content_type(self, content_type, "application/x-ndjson")
        return _Reply(NDJSONDecoder(loads=loads, max_line_size=limit))

    def user_message(self, text: str, *attachments: Attachment) -> dict[str, Any]:
        """Return a message of the user.

        attachments: images.

        Raises ValueError for another attachment.
        """
        message: dict[str, Any] = {"role": "user", "content": text}
        if attachments:
            message["images"] = [*map(_image, attachments)]
        return message

    def tool_result(self, call: ToolCall, output: Any) -> dict[str, Any]:
        """Return the message that answers `call`.

        output: text, or any other JSON value, which is sent as JSON.
        """
        message = {"role": "tool", "tool_name": call.name, "content": result_text(output)}
        return {**message, "tool_call_id": call.id} if call.id else message


# docs.ollama.com/api/chat, images.
def _image(attachment: Attachment) -> str:
    if not attachment.media_type.startswith("image/"):
        raise unsupported(attachment, "images")
    return attachment.base64


# Of messages of other services.
_FOREIGN = frozenset(
    "parts tool_use tool_result tool_plan function_call_output function_result model_output".split()
)


def _expect_answers(messages: Sequence[Mapping[str, Any]]) -> None:
    """Raise ValueError for a tool result before a call of its tool, or of its ID."""
    names: set[str] = set()
    for message in messages:
        match message:
            case {"role": "tool", "tool_name": name} | {"role": "tool", "tool_call_id": name}:
                expect_call(str(name), names)
            case {"tool_calls": [*calls]}:
                for call in calls:
                    match call:
                        case {"function": {"name": name}, **others}:
                            names |= {str(name), str(others.get("id"))}
                        case _:
                            pass
            case _:
                pass


class _Reply(JSONReply):
    # docs.ollama.com/api/chat, done_reason.
    kinds: Mapping[str, FinishKind] = {"stop": "stop", "length": "length"}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._message: Object = {}
        self._calls: list[tuple[ToolCall, Object]] = []

    @property
    def messages(self) -> list[Object]:
        """See Reply.messages. Calls are in it once the reply is complete."""
        message = joined(self._message)
        if self.tool_calls:
            message["tool_calls"] = [self._calls[call.index][1] for call in self.tool_calls]
        return [{"role": "assistant", "content": "", **message}] if message else []

    def interpret_object(self, line: Object) -> Iterator[Delta]:
        self.served_model = self.served_model or self.label(line, "model") or None
        if self.is_object and not isinstance(line.get("message"), dict):
            raise BackendError(line)
        message = {**self.content(line, "message")}
        if thought := self.text(message, "thinking"):
            yield Reasoning(thought)
        if text := self.text(message, "content"):
            message["content"] = text  # which a number becomes
            yield Text(text)
        for item in self.contents(message, "tool_calls"):
            function = self.content(item, "function")
            call = ToolCall(
                len(self._calls),
                self.label(item, "id"),
                self.label(function, "name"),
                self.arguments(function, "arguments"),
            )
            kept = item
            if isinstance(function.get("arguments"), str) and call.arguments:
                function = {**function, "arguments": self.value_of(call.arguments)}
                kept = {**item, "function": function}
            self._calls.append((call, kept))
            yield ToolCallPiece(call.index, call.id, call.name, call.arguments)
        message.pop("tool_calls", None)
        merge(self._message, message)
        reason = self.label(line, "done_reason")
        # Some servers send the reason without `done`.
        if line.get("done") or reason:
            sent, received = self.count(line, "prompt_eval_count"), self.count(line, "eval_count")
            if sent is not None or received is not None:
                yield Usage(sent or 0, received or 0)
            yield from self.finish([call for call, _ in self._calls], reason)
