"""Ollama: models on one's own machine, or in its cloud.

A reply is a stream of JSON objects, one a line. Each has a piece of the text in `message`; the
last of them says that it is `done`, why, and what it took.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import msgspec

from sseparse import NDJSONDecoder, decoder_for

from ._contract import Delta, Finish, Messages, Reasoning, Request, Text, ToolCall, Usage
from ._json_events import Message, lenient, object_text, raise_error, tokens
from ._json_service import Service, conversation

_PARAMETERS = frozenset(
    """frequency_penalty main_gpu min_p num_batch num_ctx num_gpu num_keep num_predict num_thread
    presence_penalty repeat_last_n repeat_penalty seed stop temperature top_k top_p typical_p
    use_mmap""".split()
)


@dataclass(frozen=True, kw_only=True)
class Ollama(Service):
    """An Ollama server.

    base_url: where it is: "https://ollama.com" for the cloud, which takes a key.

    For the other arguments see Service.
    """

    name = "ollama"
    key_variable: ClassVar[str] = "OLLAMA_API_KEY"
    needs_key: ClassVar[bool] = False
    default_model = "llama3.2"
    models = ()
    options: ClassVar[frozenset[str]] = _PARAMETERS.union(
        {"format", "keep_alive", "options", "shift", "think", "tools", "truncate"}
    )

    # Not localhost, which may be ::1 first, where Ollama does not listen.
    base_url: str = "http://127.0.0.1:11434"

    def request(self, messages: Messages, *, model: str | None = None, **options: Any) -> Request:
        """Return the request; see Backend.request.

        Messages are sent as they are; the content of Ollama's own is text, with `images` beside
        it. Options are fields of Ollama's request and of its `options`, where the parameters of
        the model are.
        """
        # Where it is not expected, Ollama ignores a parameter without a word.
        parameters = {name: options.pop(name) for name in list(options) if name in _PARAMETERS}
        if parameters:
            options["options"] = {**(options.get("options") or {}), **parameters}
        body = {
            "model": model or self.default_model,
            "messages": conversation(messages),
            "stream": True,
        }
        headers = {
            "accept": "application/x-ndjson",
            **self.key_field("authorization", "Bearer "),
        }
        return self.post("/api/chat", headers, body, options)

    def reply(self, content_type: str) -> OllamaReply:
        """Return a new reply; see Backend.reply. A body must be application/x-ndjson."""
        if not isinstance(decoder_for(content_type), NDJSONDecoder):
            raise ValueError(f"Ollama replies with application/x-ndjson, not {content_type!r}")
        return OllamaReply(NDJSONDecoder(loads=_decode, max_line_size=self.max_event_size))


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


class _Line(Message):
    message: _Message | None = None
    done: bool | None = None
    done_reason: str | None = None
    prompt_eval_count: float | None = None
    eval_count: float | None = None


_decode = partial(lenient, msgspec.json.Decoder(_Line).decode)


class OllamaReply:
    """One answer in flight."""

    def __init__(self, decoder: NDJSONDecoder[_Line]) -> None:
        self.decoder = decoder
        self._tool_calls = 0

    def interpret(self, line: _Line, /) -> Iterator[Delta]:
        """Return what `line` adds to the reply; see Reply.interpret."""
        raise_error(line)
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
            # A count of zero is left out.
            yield Usage(tokens(line.prompt_eval_count), tokens(line.eval_count))
            yield Finish(line.done_reason)
