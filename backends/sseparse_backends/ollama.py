"""Ollama: models on your own machine, or in its cloud.

A reply is a stream of JSON objects, one a line. Each has a piece of the text in `message`; the
last one has `done`, the reason and the usage.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, TypedDict, Unpack

import msgspec

from sseparse import NDJSONDecoder
from sseparse.transports import Request

from ._contract import BackendError, Delta, Finish, Messages, Reasoning, Text, ToolCall, Usage
from ._json_events import EventData, as_count, decode_leniently, object_text
from ._json_service import Service, conversation, expect_content_type


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
    default_model = "llama3.2"
    options: ClassVar[frozenset[str]] = frozenset(OllamaOptions.__annotations__)

    # Not localhost: that may resolve to ::1 first, where Ollama does not listen.
    base_url: str = field(default="http://127.0.0.1:11434", repr=False)

    def request(
        self, messages: Messages, *, model: str | None = None, **options: Unpack[OllamaOptions]
    ) -> Request:
        """See Backend.request."""
        fields: dict[str, Any] = {**options}
        # Ollama silently ignores a parameter outside of `options`.
        names = [name for name in fields if name in OllamaParameters.__annotations__]
        if parameters := {name: fields.pop(name) for name in names}:
            fields["options"] = {**(options.get("options") or {}), **parameters}
        model = model or self.default_model
        body = {"model": model, "messages": conversation(messages), "stream": True}
        headers = {"accept": "application/x-ndjson", **self.key_field("authorization", "Bearer ")}
        return self.post("/api/chat", headers, body, fields)

    def reply(self, content_type: str) -> _Reply:
        """See Backend.reply."""
        expect_content_type(self, content_type, "application/x-ndjson")
        return _Reply(NDJSONDecoder(loads=_decode, max_line_size=self.max_event_size))


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw()


class _ToolCall(msgspec.Struct):
    id: str | None = None
    function: _Function | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Line(EventData):
    message: _Message | None = None
    done: bool | None = None
    done_reason: str | None = None
    prompt_eval_count: float | None = None
    eval_count: float | None = None


_decode = partial(decode_leniently, msgspec.json.Decoder(_Line).decode)


class _Reply:
    def __init__(self, decoder: NDJSONDecoder[_Line]) -> None:
        self.decoder = decoder
        self._tool_calls = 0

    def interpret(self, line: _Line, /) -> Iterator[Delta]:
        if line.error is not None:
            raise BackendError(line.error)
        message = line.message or _Message()
        if message.thinking:
            yield Reasoning(message.thinking)
        if message.content:
            yield Text(message.content)
        for call in message.tool_calls or ():
            function = call.function or _Function()
            arguments = object_text(function.arguments)
            yield ToolCall(self._tool_calls, call.id or "", function.name or "", arguments)
            self._tool_calls += 1
        if line.done:
            # Ollama leaves out a count of zero.
            yield Usage(as_count(line.prompt_eval_count), as_count(line.eval_count))
            yield Finish(line.done_reason)

    def end(self) -> Iterable[Delta]:
        return ()  # `"done": true` ends a reply
