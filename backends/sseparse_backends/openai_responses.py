"""OpenAI's Responses API, and the servers that speak the same protocol.

A reply is a stream of JSON objects, each with its `type`, in the data of events. Text, reasoning
and the calls of tools come in pieces; a call also comes whole when it is done. The last event,
such as `response.completed`, has the whole response once more, for servers that leave out others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar

import msgspec

from sseparse import ServerSentEvent, SSEDecoder, UnknownField

from ._contract import BackendError, Delta, Finish, Messages, Reasoning, Request, Text, Usage
from ._json_events import Message, by_type, raise_error, read, tokens
from ._json_service import Service, conversation
from ._tool_calls import ToolCalls


@dataclass(frozen=True, kw_only=True)
class OpenAIResponses(Service):
    """A service that speaks the protocol of OpenAI's Responses API.

    base_url: up to and with the version, as in "https://openrouter.ai/api/v1", or, for Azure,
        "https://NAME.openai.azure.com/openai/v1".

    For the other arguments see Service. Calls and results of tools go back as the API's own items,
    among the messages: {"type": "function_call", "call_id": ..., "name": ..., "arguments": ...}
    and {"type": "function_call_output", "call_id": ..., "output": ...}. A tool that the service
    itself runs is no ToolCall. What a model says to refuse is text.
    """

    name = "openai-responses"
    key_variable: ClassVar[str] = "OPENAI_API_KEY"
    default_model = "gpt-5-mini"
    models = ()
    options: ClassVar[frozenset[str]] = frozenset(
        """background context_management conversation include instructions max_output_tokens
        max_tool_calls metadata moderation parallel_tool_calls previous_response_id prompt
        prompt_cache_key prompt_cache_options prompt_cache_retention reasoning safety_identifier
        service_tier store stream_options temperature text tool_choice tools top_logprobs top_p
        truncation user""".split()
    )

    base_url: str = "https://api.openai.com/v1"

    def request(self, messages: Messages, *, model: str | None = None, **options: Any) -> Request:
        """Return the request; see Backend.request. Options are fields of the API's request."""
        headers = {
            "accept": "text/event-stream",
            **self.key_field("authorization", "Bearer "),
        }
        body = {
            "model": model or self.default_model,
            "input": conversation(messages, items=True),
            "stream": True,
        }
        return self.post("/responses", headers, body, options)

    def reply(self, content_type: str) -> OpenAIResponsesReply:
        """Return a new reply; see Backend.reply. A body must be text/event-stream."""
        return OpenAIResponsesReply(self.event_stream(content_type))


class _TextDelta(Message):
    delta: str | None = None


class _ReasoningDelta(Message):
    delta: str | None = None


class _Arguments(Message):
    """What a tool is called with: a piece, or else the whole, for a function or a custom tool."""

    output_index: int | None = None
    delta: str | None = None
    arguments: str | None = None
    input: str | None = None


class _Item(msgspec.Struct):
    type: str | None = None
    call_id: str | None = None
    name: str | None = None
    # In items that are neither messages nor calls these may be anything.
    arguments: Any = None
    input: Any = None
    content: Any = None


class _OutputItem(Message):
    output_index: int | None = None
    item: _Item = msgspec.field(default_factory=_Item)


class _Usage(msgspec.Struct):
    input_tokens: float | None = None
    output_tokens: float | None = None


class _IncompleteDetails(msgspec.Struct):
    reason: str | None = None


class _Response(Message):
    status: str | None = None
    output: list[_Item] | None = None
    usage: _Usage | None = None
    incomplete_details: _IncompleteDetails | None = None


class _End(Message):
    response: _Response = msgspec.field(default_factory=_Response)


_SHAPES: Mapping[str, type[Message]] = {
    "response.output_text.delta": _TextDelta,
    "response.refusal.delta": _TextDelta,
    "response.reasoning_text.delta": _ReasoningDelta,
    "response.reasoning_summary_text.delta": _ReasoningDelta,
    "response.reasoning.delta": _ReasoningDelta,  # an older name
    "response.output_item.added": _OutputItem,
    "response.output_item.done": _OutputItem,
    "response.function_call_arguments.delta": _Arguments,
    "response.function_call_arguments.done": _Arguments,
    "response.custom_tool_call_input.delta": _Arguments,
    "response.custom_tool_call_input.done": _Arguments,
    "response.completed": _End,
    "response.incomplete": _End,
    "response.failed": _End,
    "response.done": _End,  # OpenRouter's name
}

_decode = by_type(_SHAPES)


class OpenAIResponsesReply:
    """One answer in flight."""

    def __init__(self, decoder: SSEDecoder[ServerSentEvent | UnknownField]) -> None:
        self.decoder = decoder
        self._said: list[str] = []
        self._tool_calls = ToolCalls()

    def interpret(self, event: ServerSentEvent | UnknownField, /) -> Iterator[Delta | None]:
        """Return what `event` adds to the reply; see Reply.interpret."""
        match read(event, _decode, _SHAPES):
            case _TextDelta(delta=str(text)) if text:
                self._said.append(text)
                yield Text(text)
            case _ReasoningDelta(delta=str(text)) if text:
                yield Reasoning(text)
            case _Arguments(output_index=index, delta=None) as done:
                arguments = done.arguments or done.input
                self._tool_calls.add(index, None, None, arguments, whole=True)
                yield None
            case _Arguments(output_index=index, delta=delta):
                self._tool_calls.add(index, None, None, delta)
                yield None
            case _OutputItem(output_index=index, item=item):
                _add_call(self._tool_calls, index, item)
                yield None
            case _End(type=name, response=response):
                raise_error(response)
                name = name or ""
                if name == "response.failed" or response.status in ("failed", "cancelled"):
                    raise BackendError(response.status or name)
                yield from self._finish(name, response)
            case _:
                pass

    def _finish(self, name: str, response: _Response) -> Iterator[Delta]:
        # Some servers send the text or the calls only here, and others nothing here.
        tool_calls = ToolCalls()
        for index, item in enumerate(response.output or ()):
            _add_call(tool_calls, index, item)
        said = "".join(self._said)
        text = "".join(chain.from_iterable(map(_texts, response.output or ())))
        if len(text) > len(said) and text.startswith(said):
            yield Text(text[len(said) :])
        yield from tool_calls.take() or self._tool_calls.take()
        if (usage := response.usage) is not None:
            yield Usage(tokens(usage.input_tokens), tokens(usage.output_tokens))
        details = response.incomplete_details or _IncompleteDetails()
        yield Finish(details.reason or response.status or name.removeprefix("response."))


def _add_call(tool_calls: ToolCalls, index: int | None, item: _Item) -> None:
    match item:
        case (
            _Item(type="function_call", arguments=str() | None as arguments)
            | _Item(type="custom_tool_call", input=str() | None as arguments)
        ):
            tool_calls.add(index, item.call_id, item.name, arguments, whole=True)
        case _:
            pass


def _texts(item: _Item) -> Iterator[str]:
    match item:
        case _Item(type="message", content=[*parts]):
            for part in parts:
                match part:
                    case {"text": str(text)} | {"refusal": str(text)}:
                        yield text
                    case _:
                        pass
        case _:
            pass
