"""OpenAI's Responses API, and the servers that speak the same protocol.

Text, reasoning and tool calls come in pieces; a tool call comes again as a whole when it is done.
The last event, such as `response.completed`, repeats the whole response.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Unpack

import msgspec

from sseparse import ServerSentEvent, SSEDecoder, UnknownField
from sseparse.transports import Request

from ._contract import BackendError, Delta, Finish, Messages, Reasoning, Text, Usage
from ._json_events import EventData, TokenCounts, as_count, by_type, parse_event
from ._json_service import OpenAIFields, Service, conversation
from ._tool_calls import ToolCalls


class OpenAIResponsesOptions(OpenAIFields, total=False):
    """Fields of the request, beside those that OpenAIResponses' arguments set."""

    background: bool
    context_management: Sequence[Mapping[str, Any]]
    conversation: str | Mapping[str, Any]
    include: Sequence[str]
    instructions: str
    max_output_tokens: int
    max_tool_calls: int
    moderation: Mapping[str, Any]
    previous_response_id: str
    prompt: Mapping[str, Any]
    prompt_cache_options: Mapping[str, Any]
    prompt_cache_retention: str
    reasoning: Mapping[str, Any]
    stream_options: Mapping[str, Any]
    text: Mapping[str, Any]
    truncation: str


@dataclass(frozen=True, kw_only=True)
class OpenAIResponses(Service):
    """A service that speaks the protocol of OpenAI's Responses API.

    base_url: address up to and including the version, such as "https://openrouter.ai/api/v1";
        for Azure, "https://NAME.openai.azure.com/openai/v1".

    Service documents the other arguments. Messages may be the API's items, too. A tool call goes
    back as {"type": "function_call", "call_id": ..., "name": ..., "arguments": ...}, its result
    as {"type": "function_call_output", "call_id": ..., "output": ...}. Tools that the service
    runs itself are no ToolCall. A refusal is returned as text.
    """

    name = "openai-responses"
    key_variable: ClassVar[str] = "OPENAI_API_KEY"
    default_model = "gpt-5-mini"
    options: ClassVar[frozenset[str]] = frozenset(OpenAIResponsesOptions.__annotations__)

    base_url: str = field(default="https://api.openai.com/v1", repr=False)

    def request(
        self,
        messages: Messages,
        *,
        model: str | None = None,
        **options: Unpack[OpenAIResponsesOptions],
    ) -> Request:
        """See Backend.request."""
        model = model or self.default_model
        body = {"model": model, "input": conversation(messages), "stream": True}
        return self.post("/responses", self.key_field("authorization", "Bearer "), body, options)

    def reply(self, content_type: str) -> _Reply:
        """See Backend.reply."""
        return _Reply(self.event_stream(content_type))


class _TextDelta(EventData):
    delta: str | None = None


class _ReasoningDelta(EventData):
    delta: str | None = None


class _Arguments(EventData):
    """Arguments of a function, or input of a custom tool: a piece in `delta`, or the whole."""

    output_index: int | None = None
    delta: str | None = None
    arguments: str | None = None
    input: str | None = None


class _Item(msgspec.Struct):
    type: str | None = None
    call_id: str | None = None
    name: str | None = None
    # Of any type in items that are neither messages nor tool calls.
    arguments: Any = None
    input: Any = None
    content: Any = None


class _OutputItem(EventData):
    output_index: int | None = None
    item: _Item = msgspec.field(default_factory=_Item)


class _IncompleteDetails(msgspec.Struct):
    reason: str | None = None


class _Response(EventData):
    status: str | None = None
    output: list[_Item] | None = None
    usage: TokenCounts | None = None
    incomplete_details: _IncompleteDetails | None = None


class _End(EventData):
    response: _Response = msgspec.field(default_factory=_Response)


_SHAPES: Mapping[str, type[EventData]] = {
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


class _Reply:
    def __init__(self, decoder: SSEDecoder[ServerSentEvent | UnknownField]) -> None:
        self.decoder = decoder
        self._texts: list[str] = []
        self._tool_calls = ToolCalls()

    def interpret(self, event: ServerSentEvent | UnknownField, /) -> Iterator[Delta | None]:
        match parse_event(event, _decode, _SHAPES):
            case _TextDelta(delta=str(text)) if text:
                self._texts.append(text)
                yield Text(text)
            case _ReasoningDelta(delta=str(text)) if text:
                yield Reasoning(text)
            case _Arguments(output_index=index, delta=delta) as event_data:
                arguments = delta or event_data.arguments or event_data.input
                self._tool_calls.add(index, None, None, arguments, whole=delta is None)
                yield None
            case _OutputItem(output_index=index, item=item):
                _add_call(self._tool_calls, index, item)
                yield None
            case _End(type=name, response=response):
                if response.error is not None:
                    raise BackendError(response.error)
                name = name or ""
                if name == "response.failed" or response.status in ("failed", "cancelled"):
                    raise BackendError(response.status or name)
                yield from self._finish(name, response)
            case _:
                pass

    def end(self) -> Iterable[Delta]:
        return ()  # the last event ends a reply

    def _finish(self, name: str, response: _Response) -> Iterator[Delta]:
        # Proxies send text and tool calls only here (codex-lb, pull request 504), or nothing here
        # (agentgateway, pull request 3326).
        text, tool_calls = "", ToolCalls()
        for index, item in enumerate(response.output or ()):
            _add_call(tool_calls, index, item)
            text += "".join(_texts(item))
        sent_text = "".join(self._texts)
        if text != sent_text and text.startswith(sent_text):
            yield Text(text.removeprefix(sent_text))
        yield from tool_calls.take() or self._tool_calls.take()
        if (usage := response.usage) is not None:
            yield Usage(as_count(usage.input_tokens), as_count(usage.output_tokens))
        details = response.incomplete_details or _IncompleteDetails()
        yield Finish(details.reason or response.status or name.removeprefix("response."))


def _add_call(tool_calls: ToolCalls, index: int | None, item: _Item) -> None:
    arguments = item.input if item.type == "custom_tool_call" else item.arguments
    is_call = item.type in ("function_call", "custom_tool_call")
    if is_call and (arguments is None or isinstance(arguments, str)):
        tool_calls.add(index, item.call_id, item.name, arguments, whole=True)


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
