"""Anthropic's messages, and the servers that speak the same protocol.

A reply is a message of blocks: text, thinking, tool calls. Each block starts and grows by deltas
(platform.claude.com/docs/en/build-with-claude/streaming).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypedDict, Unpack, cast
from urllib.parse import quote, urlsplit

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
    result_text,
    unsupported,
    user_turn,
)
from ._merge import Object, joined, merge


class AnthropicOptions(TypedDict, total=False):
    """Fields of the request, beside those that Anthropic's arguments set."""

    cache_control: Mapping[str, Any]
    container: str | Mapping[str, Any]
    diagnostics: Mapping[str, Any]
    inference_geo: str
    max_tokens: int
    metadata: Mapping[str, Any]
    output_config: Mapping[str, Any]
    service_tier: str
    speed: str
    stop_sequences: Sequence[str]
    temperature: float
    thinking: Mapping[str, Any]
    tool_choice: Mapping[str, Any]
    tools: Sequence[Mapping[str, Any]]
    top_k: int
    top_p: float


@dataclass(frozen=True, kw_only=True)
class Anthropic(Service):
    """A service that speaks the protocol of Anthropic's messages.

    base_url: address up to the version, such as "https://api.deepseek.com/anthropic".

        - For Azure: "https://NAME.services.ai.azure.com/anthropic"
          (platform.claude.com/docs/en/build-with-claude/claude-in-microsoft-foundry).
        - For Amazon Bedrock: "https://bedrock-mantle.REGION.api.aws/anthropic"
          (docs.aws.amazon.com/bedrock/latest/userguide/inference-messages-api.html).
        - For Vertex AI, an address that ends in "/publishers/anthropic", such as
          "https://aiplatform.googleapis.com/v1/projects/ID/locations/global/publishers/anthropic"
          (platform.claude.com/docs/en/build-with-claude/claude-models-on-google-cloud).

    api_key: for Azure, the resource's key; for Bedrock, a Bedrock API key; for Vertex AI, an
        access token, as `gcloud auth print-access-token` prints it.
    api_version: version of the API. The default one refuses temperature, top_k and top_p.
        "2023-06-01", on Vertex AI "vertex-2023-10-16", takes them for models before Claude 4.7,
        and is the one for those models on Bedrock.

    Service documents the other arguments. Messages of the roles system and developer become the
    system prompt, wherever they stand. The service requires max_tokens, by default 8192; thinking
    counts. A call of the computer or browser toolset has the toolset's name as its kind. Tools
    that the service runs itself are no ToolCall.
    """

    name = "anthropic"
    key_variable: ClassVar[str] = "ANTHROPIC_API_KEY"
    default_model = "claude-haiku-5-5"  # platform.claude.com/docs/en/models/overview
    options: ClassVar[frozenset[str]] = frozenset(AnthropicOptions.__annotations__)

    base_url: str = field(default="https://api.anthropic.com", repr=False)
    api_version: str = "2026-10-21"  # platform.claude.com/docs/en/api/versioning

    def request(
        self, messages: Messages, *, model: str | None = None, **options: Unpack[AnthropicOptions]
    ) -> Request:
        """See Backend.request.

        Results of tools, and the user's message after them, are sent as one message.
        """
        model = model or self.default_model
        system: list[Any] = []
        turns: list[Mapping[str, Any]] = []
        for message in conversation(messages, "Anthropic", _FOREIGN):
            match message:
                case {"role": "system" | "developer", "content": str(text)}:
                    if text:  # the service refuses an empty block
                        system.append({"type": "text", "text": text})
                case {"role": "system" | "developer", "content": [*blocks]}:
                    system += blocks
                case _:
                    turns.append(message)
        if not turns:
            raise ValueError("messages must include more than system messages")
        joined_turns = _with_joined_results(turns)
        body: dict[str, Any] = {"messages": joined_turns, "max_tokens": 8192, "stream": True}
        if system:
            body["system"] = system
        if urlsplit(self.base_url).path.rstrip("/").endswith("/publishers/anthropic"):
            body["anthropic_version"] = self.api_version
            path = f"/models/{quote(model, safe='@')}:streamRawPredict"
            return self.post(path, self.key_field("authorization", "Bearer "), body, options)
        body["model"] = model
        headers = {"anthropic-version": self.api_version, **self.key_field("x-api-key")}
        return self.post("/v1/messages", headers, body, options)

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

        output: text, a list of content blocks, or any other JSON value, which is sent as JSON. It
            may be the tool_result itself, such as {"type": "tool_result", "is_error": True,
            "content": "timed out"}, without the ID.
        """
        fields: Mapping[str, Any]
        match output:
            case {"type": "tool_result"}:
                fields = output
            case [*blocks] if blocks and all(_type(block) in _RESULT_BLOCKS for block in blocks):
                fields = {"content": blocks}
            case _:
                # The service refuses an empty text (zed's pull request 27130).
                text = result_text(output)
                fields = {"content": text if text.strip() else []}
        result = {"type": "tool_result", **fields, "tool_use_id": call.id}
        if call.kind != "function":
            result["toolset_name"] = call.kind
        return {"role": "user", "content": [result]}


# platform.claude.com/docs/en/build-with-claude/vision and .../pdf-support.
def _attachment_part(attachment: Attachment) -> Object:
    source = {"type": "base64", "media_type": attachment.media_type, "data": attachment.base64}
    match attachment.media_type.split("/"):
        case ["image", _]:
            return {"type": "image", "source": source}
        case ["application", "pdf"]:
            return {"type": "document", "source": source, "title": attachment.name}
        case _:
            raise unsupported(attachment, "images and PDFs")


# Of messages of other services.
_FOREIGN = frozenset(
    "parts tool_calls tool_call_id tool_name function_call function_call_output input_text "
    "output_text image_url function_result model_output tool_plan reasoning".split()
)
# Types of a result's content blocks.
_RESULT_BLOCKS = frozenset("text image document search_result tool_reference browser_state".split())


def _type(block: Any) -> Any:
    match block:
        case {"type": type}:
            return type
        case _:
            return None


def _blocks(message: Mapping[str, Any]) -> list[Any]:
    match message.get("content"):
        case str(text) if text:
            return [{"type": "text", "text": text}]
        case [*blocks]:
            return blocks
        case _:
            return []


def _with_joined_results(messages: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return `messages`, with the results of one turn and the user's next message in one.

    The service wants all results in the message after the calls, before any text
    (platform.claude.com/docs/en/agents-and-tools/tool-use/parallel-tool-use).

    Raises ValueError for a result before its call.
    """
    calls: set[str] = set()
    turns: list[Mapping[str, Any]] = []
    # The content of the last message, if it has nothing but results.
    results: list[Any] | None = None
    for message in messages:
        blocks = _blocks(message)
        for block in blocks:
            match block:
                case {"type": "tool_use", "id": call_id}:
                    calls.add(str(call_id))
                case {"type": "tool_result", "tool_use_id": call_id}:
                    expect_call(str(call_id), calls)
                case _:
                    pass
        is_user = message.get("role") == "user"
        if results is not None and is_user and blocks:
            results += blocks
        else:
            results = []
            turns.append(message)
        if not (is_user and blocks and all(_type(block) == "tool_result" for block in blocks)):
            results = None
        elif not results:
            results += blocks
            turns[-1] = {**message, "content": results}
    return turns


# Blocks with text, and their deltas, which are named after the field.
_TEXTS: Mapping[str, type[Text] | type[Reasoning]] = {"text": Text, "thinking": Reasoning}

_INPUTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")

# platform.claude.com/docs/en/build-with-claude/handling-stop-reasons; and "compaction", of
# BetaStopReason in Anthropic's SDK, with the option pause_after_compaction.
_KINDS: Mapping[str, FinishKind] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "filter",
    "pause_turn": "pause",
    "compaction": "pause",
}


class _Block:
    """A block of the reply.

    type: its type; that of a call ends in "tool_use".
    merged: its fields, with those of its deltas.
    input: of a call, the JSON of its input at the start.
    number: of a call that the caller has to answer, its number.
    """

    def __init__(self, type: str, start: Object) -> None:
        self.type = type
        self.merged: Object = {}
        self.input = ""
        self.number: int | None = None
        merge(self.merged, start)

    @property
    def is_call(self) -> bool:
        return self.type.endswith("tool_use")

    @property
    def streamed(self) -> str:
        """The input of a call, as far as it came in pieces."""
        return str(joined(self.merged.get("partial_json", "")))

    @property
    def arguments(self) -> str:
        """The input of a call as JSON, or "": `{}` at the start is a placeholder."""
        return self.streamed or (self.input if self.input != "{}" else "")

    def add(self, delta: Object) -> None:
        fields = {name: value for name, value in delta.items() if name != "type"}
        if (citation := fields.pop("citation", None)) is not None:
            fields["citations"] = [citation]
        merge(self.merged, fields)

    def fields(self) -> Object:
        """Return the block as a message has it."""
        fields: Object = joined(self.merged)
        fields.pop("partial_json", None)
        if self.is_call:
            fields["input"] = _as_object(self.arguments or "{}")
        return fields


def _as_object(arguments: str) -> Object:
    """Return the input of a call, {} where it is damaged or no object."""
    try:
        value = loads(arguments)
    except (ValueError, RecursionError):
        return {}
    return cast("Object", value) if isinstance(value, dict) else {}


class _Reply(JSONReply):
    kinds = _KINDS
    event_types = frozenset(
        "message_start content_block_start content_block_delta message_delta message_stop".split()
    )

    _stop_reason = ""
    # The reply has not ended, or it ended at a limit or a filter.
    _is_cut = True

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._blocks: list[_Block] = []
        # The latest block of each index.
        self._by_index: dict[int | None, _Block] = {}
        # The calls by their IDs, and those that the caller has to answer.
        self._by_id: dict[str, _Block] = {}
        self._calls: list[_Block] = []
        self._counts: dict[str, int] = {}

    @property
    def messages(self) -> list[Object]:
        """See Reply.messages. Calls are in it once the reply is complete.

        Left out is what the service refuses in a message:

        - text without anything but white space (anthropic-sdk-python's issue 461, claude-code's
          issue 23369);
        - in a reply that was cut, a call without its result;
        - thinking at the end (forgecode's issue 2107).
        """
        blocks = [block.fields() for block in self._blocks]
        handed_out = {call.index for call in self.tool_calls}
        answered = {self.label(block, "tool_use_id") for block in blocks} - {""}
        content: list[Object] = []
        for block, fields in zip(self._blocks, blocks, strict=True):
            if block.type == "text":
                keeps = bool(fields["text"].strip())
            elif block.number is not None:
                keeps = block.number in handed_out
            elif block.is_call:
                keeps = not self._is_cut or fields.get("id") in answered
            else:
                keeps = True
            if keeps:
                content.append(fields)
        while content and content[-1].get("type") in ("thinking", "redacted_thinking"):
            content.pop()
        return [{"role": "assistant", "content": content}] if content else []

    def _interpret_whole(self, message: Object) -> Iterator[Delta | None]:
        if message.get("content") is None:
            raise BackendError(message)
        yield from self._begin(message)
        self._stop_reason = self.label(message, "stop_reason")
        yield from self._finish()

    def interpret_object(self, data: Object) -> Iterator[Delta | None]:
        match self.label(data, "type"):
            case kind if kind == "message" or self.is_object:
                yield from self._interpret_whole(data)
            case "message_start":
                yield from self._begin(self.details(data, "message"))
            case "content_block_start":
                if block := self.content(data, "content_block"):
                    yield from self._interpret_block(self.index(data), block)
            case "content_block_delta":
                if delta := self.content(data, "delta"):
                    yield from self._interpret_delta(self.index(data), delta)
            case "message_delta":
                reason = self.label(self.details(data, "delta"), "stop_reason")
                self._stop_reason = reason or self._stop_reason
                yield from self._count(self.details(data, "usage"))
            case "message_stop":
                yield from self._finish()
            case _:
                pass

    def _begin(self, message: Object) -> Iterator[Delta | None]:
        if not self.start(self.label(message, "id")):
            return
        self.served_model = self.label(message, "model") or None
        # A stream has blocks here where it goes on with programmatic tool calls (vercel/ai's pull
        # request 14512).
        for index, block in enumerate(self.contents(message, "content")):
            yield from self._interpret_block(index, block)
        yield from self._count(self.details(message, "usage"))

    def _interpret_block(self, index: int | None, start: Object) -> Iterator[Delta | None]:
        kind, text = self.label(start, "type"), ""
        if kind in _TEXTS:
            text = start[kind] = self.text(start, kind)
        else:
            start |= {name: self.label(start, name) for name in ("id", "name") if name in start}
        block = _Block(kind, start)
        if block.is_call:
            block.input = self.arguments(start, "input")
        elif kind == "fallback":
            served = self.label(self.details(start, "to"), "model")
            self.served_model = served or self.served_model
        if block.is_call and start.get("id"):
            first = self._by_id.setdefault(start["id"], block)
            if first is not block:  # its start came again
                self._by_index[index] = first
                return
        self._add(index, block)
        if block.type == "tool_use":
            block.number = len(self._calls)
            self._calls.append(block)
            yield ToolCallPiece(block.number, start.get("id", ""), start.get("name", ""))
        elif text:
            yield _TEXTS[block.type](text)
        elif _says_something(start):
            yield None

    def _interpret_delta(self, index: int | None, delta: Object) -> Iterator[Delta | None]:
        # Blocks come one after another: a delta of an unknown index belongs to the latest.
        latest = self._blocks[-1] if self._blocks else None
        block = self._by_index.get(index, latest)
        kind = self.label(delta, "type").removesuffix("_delta")
        if kind in _TEXTS:
            text = delta[kind] = self.text(delta, kind)
            is_guess = index not in self._by_index
            if block is None or block.is_call or (is_guess and block.type != kind):
                block = _Block(kind, {"type": kind, kind: ""})
                self._add(index, block)
            block.add(delta)
            if text:
                yield _TEXTS[kind](text)
        elif block is not None:
            if kind == "input_json":
                delta["partial_json"] = self.arguments(delta, "partial_json")
                if delta["partial_json"] and not block.is_call:
                    self._refuse("partial_json must belong to a call")
            block.add(delta)
            if kind == "input_json" and block.number is not None and delta["partial_json"]:
                yield ToolCallPiece(block.number, arguments=delta["partial_json"])
            elif _says_something(delta):
                yield None

    def _add(self, index: int | None, block: _Block) -> None:
        self._blocks.append(block)
        if index is not None:
            self._by_index[index] = block

    def _count(self, usage: Object) -> Iterator[Usage]:
        """Yield the usage so far: the counts are totals."""
        names = (*_INPUTS, "output_tokens")
        counts = {name: count for name in names if (count := self.count(usage, name)) is not None}
        if not counts:
            return
        # The last event may leave out what the first one had, or have it as zero (SGLang's pull
        # request 20830, Envoy AI Gateway's 1631).
        if not any(counts.get(name) for name in _INPUTS):
            counts = {name: count for name, count in counts.items() if name not in _INPUTS}
        details = self.details(usage, "output_tokens_details")
        if (thinking := self.count(details, "thinking_tokens")) is not None:
            counts["thinking_tokens"] = thinking
        self._counts |= counts
        yield Usage(
            sum(self._counts.get(name, 0) for name in _INPUTS),
            self._counts.get("output_tokens", 0),
            self._counts.get("cache_read_input_tokens", 0),
            self._counts.get("thinking_tokens", 0),
        )

    def _finish(self) -> Iterator[Delta]:
        calls: list[ToolCall] = []
        for number, block in enumerate(self._calls):
            start, arguments = block.fields(), block.arguments
            if arguments and not block.streamed:
                yield ToolCallPiece(number, arguments=arguments)
            kind = self.label(start, "toolset_name") or "function"
            call_id, name = start.get("id", ""), start.get("name", "")
            calls.append(ToolCall(number, call_id, name, arguments, kind))
        self._is_cut = self.kind_of(self._stop_reason) in ("length", "filter")
        yield from self.finish(calls, self._stop_reason)


def _says_something(fields: Object) -> bool:
    return any(value for name, value in fields.items() if name != "type")
