"""OpenAI's Responses API, and the servers that speak the same protocol.

The output is a list of items: messages, reasoning, tool calls. Text and arguments come in pieces,
then again as a whole in the item. The last event, such as `response.completed`, repeats all items.
Proxies leave out any of the three.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Unpack

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
    expect_call,
    result_text,
    user_turn,
)
from ._merge import Object
from ._tool_calls import last_object


class OpenAIResponsesOptions(OpenAIFields, total=False):
    """Fields of the request, beside those that OpenAIResponses' arguments set."""

    access_programs: Mapping[str, Any]
    background: bool
    background_options: Mapping[str, Any]
    context_management: Sequence[Mapping[str, Any]]
    conversation: str | Mapping[str, Any]
    image: Mapping[str, Any]
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
        for Azure, "https://NAME.openai.azure.com/openai/v1"; for Amazon Bedrock,
        "https://bedrock-runtime.REGION.amazonaws.com/openai/v1". Models that only Mantle serves
        are at "https://bedrock-mantle.REGION.api.aws/v1", some of them at its "/openai/v1"
        (docs.aws.amazon.com/bedrock/latest/userguide/inference-responses-api.html).
    api_key: the key. For Bedrock it is a Bedrock API key, which AWS's own tools take from
        AWS_BEARER_TOKEN_BEDROCK, and the model is Bedrock's ID, such as "openai.gpt-5.5".

    Service documents the other arguments. Messages may be the API's items. Continue with the
    whole conversation:

        messages += reply.messages
        messages += [service.tool_result(call, run(call)) for call in reply.tool_calls]

    Or, where the service stores replies, continue with `previous_response_id=reply.id` and only
    the results or the next message.

    Calls that the service runs itself are no ToolCall. The name of a tool without one is its kind.
    A blank line separates the texts of several messages, such as a commentary and the final
    answer. A refusal is returned as text.
    """

    name = "openai-responses"
    key_variable: ClassVar[str] = "OPENAI_API_KEY"
    # The successor of gpt-5-mini: developers.openai.com/api/docs/deprecations
    default_model = "gpt-6.1-terra"
    options: ClassVar[frozenset[str]] = frozenset(OpenAIResponsesOptions.__annotations__)

    base_url: str = field(default="https://api.openai.com/v1", repr=False)

    def request(
        self,
        messages: Messages,
        *,
        model: str | None = None,
        **options: Unpack[OpenAIResponsesOptions],
    ) -> Request:
        """See Backend.request.

        A result gets the `caller` of its call, which a program's calls need
        (developers.openai.com/api/docs/guides/tools-programmatic-tool-calling).
        """
        items = conversation(messages, "the Responses API", _FOREIGN)
        fields = {**options, **self.extra_body}
        if not (fields.get("previous_response_id") or fields.get("conversation")):
            items = _with_callers(items)
        body = {"model": model or self.default_model, "input": items, "stream": True}
        return self.post("/responses", self.key_field("authorization", "Bearer "), body, options)

    def reply(self, content_type: str) -> Reply[Any]:
        """See Backend.reply."""
        return _Reply(self.decoder(content_type), self.max_event_size)

    def user_message(self, text: str, *attachments: Attachment) -> dict[str, Any]:
        """Return a message of the user.

        attachments: images and documents.
        """
        return user_turn(text, map(_attachment_part, attachments), "input_text")

    def tool_result(self, call: ToolCall, output: Any) -> dict[str, Any]:
        """Return the item that answers `call`.

        output: by the kind of the call. Of any kind it may be the item itself, such as
            {"type": "computer_call_output", "acknowledged_safety_checks": ...}, without the ID.

        - function, custom: text, a list of input_text, input_image and input_file, or any other
          JSON value, which is sent as JSON.
        - local_shell: text, or a JSON value.
        - shell: text, or an object or a list of them with stdout, stderr and outcome.
        - apply_patch: text, or an object with status, "completed" or "failed", and output.
        - computer: URL of a screenshot, or a computer_screenshot.
        - tool_search: the list of tools.
        - mcp_approval: a boolean, or an object with approve and reason.

        Raises ValueError for an output that the kind excludes.
        """
        result_type = _RESULTS.get(call.kind, f"{call.kind}_call_output")
        fields: Mapping[str, Any]
        match output:
            case {"type": str(of_item)} if of_item == result_type:
                fields = output
            case _:
                fields = _result(call, output)
        id_field = "approval_request_id" if call.kind == "mcp_approval" else "call_id"
        return {"type": result_type, **fields, id_field: call.id}


# developers.openai.com/api/docs/guides/file-inputs and .../images-vision.
def _attachment_part(attachment: Attachment) -> Object:
    if attachment.media_type.startswith("image/"):
        return {"type": "input_image", "image_url": attachment.data_url}
    return {
        "type": "input_file",
        "filename": attachment.name,
        "file_data": attachment.data_url,
    }


# Of messages of other services.
_FOREIGN = frozenset(
    "parts tool_use tool_result tool_calls tool_call_id tool_name tool_plan function_result "
    "model_output".split()
)

# Types of results that are not named after the kind of call.
_RESULTS = {
    "custom": "custom_tool_call_output",
    "tool_search": "tool_search_output",
    "mcp_approval": "mcp_approval_response",
}


_OUTPUTS = {
    "computer": "a URL or a computer_screenshot",
    "tool_search": "a list of tools",
    "mcp_approval": "a boolean, or an object with approve",
}


def _result(call: ToolCall, output: Any) -> Mapping[str, Any]:
    """Return the fields of a result, as the guide of each tool has them.

    developers.openai.com/api/docs/guides/: function-calling, tools-local-shell, tools-shell,
    tools-apply-patch, tools-computer-use, tools-tool-search, tools-connectors-mcp.
    """
    match call.kind, output:
        case "function" | "custom", [*parts] if parts and all(map(_is_part, parts)):
            return {"output": output}
        case "function" | "custom" | "local_shell", _:
            return {"output": result_text(output)}
        case "shell", _:
            return _shell_result(call, output)
        case "apply_patch", {"status": _}:
            return output  # type: ignore[no-any-return]
        case "apply_patch", _:
            return {"status": "completed", "output": result_text(output)}
        case "computer", str(url):
            return {"output": {"type": "computer_screenshot", "image_url": url}}
        case "computer", {"type": "computer_screenshot"}:
            return {"output": output}
        case "tool_search", [*_]:
            return {"execution": "client", "status": "completed", "tools": output}
        case "mcp_approval", bool():
            return {"approve": output}
        case "mcp_approval", {"approve": bool()}:
            return output  # type: ignore[no-any-return]
        case ("computer" | "tool_search" | "mcp_approval") as kind, _:
            raise ValueError(f"output must be {_OUTPUTS[kind]}, got {output!r:.100}")
        case _:
            return {"output": output}


def _is_part(part: Any) -> bool:
    match part:
        case {"type": "input_text" | "input_image" | "input_file"}:
            return True
        case _:
            return False


def _shell_result(call: ToolCall, output: Any) -> Mapping[str, Any]:
    match output:
        case {"stdout": _}:
            chunks = [output]
        case [{"stdout": _}, *_]:
            chunks = output
        case _:
            chunks = [{"stdout": result_text(output)}]
    ended = {"stderr": "", "outcome": {"type": "exit", "exit_code": 0}}
    fields: dict[str, Any] = {"output": [{**ended, **chunk} for chunk in chunks]}
    # The service wants the call's limit back.
    match json.loads(call.arguments or "{}"):
        case {"max_output_length": int(limit)}:
            return {"max_output_length": limit, **fields}
        case _:
            return fields


def _with_callers(items: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return `items`, each result with the `caller` of its call.

    Raises ValueError for a result before its call.
    """
    if any(item.get("type") == "item_reference" for item in items):
        return [*items]  # the service has the call
    callers: dict[str, Any] = {}
    complete: list[Mapping[str, Any]] = []
    for item in items:
        match item:
            case {"type": "mcp_approval_request", "id": id}:
                callers[str(id)] = None
            case {"type": "mcp_approval_response", "approval_request_id": id}:
                expect_call(str(id), callers)
            # A search that the service ran has no ID.
            case {"type": str(type), "call_id": id} if type.endswith("_output") and id is not None:
                expect_call(str(id), callers)
                caller = callers[str(id)]
                complete.append(item if caller is None else {"caller": caller, **item})
                continue
            case {"call_id": id}:
                callers[str(id)] = item.get("caller")
            case _:
                pass
        complete.append(item)
    return complete


class _Growing:
    """A text that arrives in pieces, and perhaps again as a whole."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0

    def __str__(self) -> str:
        return "".join(self._pieces)

    def add(self, piece: str) -> None:
        self._pieces.append(piece)
        self._length += len(piece)

    def rest(self, whole: str) -> str:
        """Return what the whole text adds to the pieces, "" if it does not begin with them."""
        # Comparing takes no longer than reading the whole text did.
        if len(whole) <= self._length or not whole.startswith(str(self)):
            return ""
        return whole[self._length :]


class _Part(_Growing):
    """A part of a message."""

    def __init__(self) -> None:
        super().__init__()
        self.is_refusal = False
        self.annotations: list[Object] = []

    def content(self) -> Object:
        """Return the part as a message has it."""
        if self.is_refusal:
            return {"type": "refusal", "refusal": str(self)}
        return {"type": "output_text", "text": str(self), "annotations": [*self.annotations]}


class _Item:
    """An item of the output.

    index, position: its index as the service has it, and its place among the items.
    fields: the item as the service sent it whole.
    is_done: the service sent it as done, rather than announced it.
    text, parts: text of a message as it was yielded, and its parts by their index.
    has_reasoned: the text of a reasoning item was yielded.
    arguments: of a call, as they were yielded.
    number, sent_name: of a call, its number, and the ID and the name that were yielded.
    """

    def __init__(self, type: str, index: int | None, number: int) -> None:
        self.type = type
        self.index = index
        self.position: float = number if index is None else index
        self.fields: Object = {}
        self.is_done = False
        self.text = _Growing()
        self.parts: defaultdict[int, _Part] = defaultdict(_Part)
        self.has_reasoned = False
        self.arguments = _Growing()
        self.number: int | None = None
        self.sent_name: tuple[str, str] = ("", "")

    def may_be_at(self, index: int | None) -> bool:
        """Return whether what has this index may belong to the item."""
        return not self.is_done and (self.index == index or None in (self.index, index))

    def update(self, fields: Object) -> None:
        """Take the fields of an item, except that an empty one replaces no other.

        CLIProxyAPI announces the name of a call and then sends an empty one (its issue 1004),
        agentgateway sends text in pieces and then empty content (its pull request 2281).
        """
        if self.fields.get("status") == "in_progress":
            del self.fields["status"]  # the item need not have one when it is done
        for name, value in fields.items():
            if value == "{}" and str(self.arguments):
                continue  # a placeholder where arguments came in pieces
            if value not in _EMPTY or not self.fields.get(name):
                self.fields[name] = value


_EMPTY: tuple[Any, ...] = (None, "", [], {})

# Items that the caller has to answer: ResponseSteerRequiredInput in OpenAI's API reference, and
# the older local_shell_call.
_CALLS = frozenset(
    "function_call custom_tool_call computer_call shell_call apply_patch_call tool_search_call "
    "mcp_approval_request local_shell_call".split()
)
# Items that the service runs itself. Any other call is the caller's if it has a `call_id`, which
# serves to answer it.
_SERVED = frozenset(
    "web_search_call file_search_call code_interpreter_call image_generation_call mcp_call "
    "x_search_call".split()
)
# Calls whose arguments are text, which comes in pieces, and the field of it.
_TEXT_CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
_ARGUMENTS = ("arguments", "input", "operation", "actions", "action")
_COMMON = frozenset(["type", "id", "call_id", "status"])
_CALL_KINDS = {
    "function_call": "function",
    "custom_tool_call": "custom",
    "mcp_approval_request": "mcp_approval",
}

_KINDS: Mapping[str, FinishKind] = {
    "completed": "stop",
    "done": "stop",
    "max_output_tokens": "length",
    "max_tokens": "length",
    "content_filter": "filter",
}

_TEXT = frozenset(["response.output_text.delta", "response.refusal.delta"])
_WHOLE_TEXT = frozenset(
    ["response.output_text.done", "response.refusal.done", "response.content_part.done"]
)
_REASONING = frozenset(
    [
        "response.reasoning_text.delta",
        "response.reasoning_summary_text.delta",
        "response.reasoning.delta",  # an older name
    ]
)
_ARGUMENT_EVENTS = {
    "response.function_call_arguments.delta": "function_call",
    "response.function_call_arguments.done": "function_call",
    "response.custom_tool_call_input.delta": "custom_tool_call",
    "response.custom_tool_call_input.done": "custom_tool_call",
}
_ITEMS = frozenset(["response.output_item.added", "response.output_item.done"])
_ANNOTATION = "response.output_text.annotation.added"
_STARTS = frozenset(["response.created", "response.queued", "response.in_progress"])
_ENDS = frozenset(
    [
        "response.completed",
        "response.incomplete",
        "response.failed",
        "response.cancelled",
        "response.done",  # OpenRouter's name
    ]
)


class _Reply(JSONReply):
    kinds = _KINDS
    event_types = frozenset[str]().union(
        _TEXT, _WHOLE_TEXT, _REASONING, _ARGUMENT_EVENTS, _ITEMS, [_ANNOTATION], _STARTS, _ENDS
    )

    # The message that had text last.
    _speaker: _Item | None = None
    # The names of the declared tools, if xAI's X search is one of them.
    _x_search_tools: frozenset[str] | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # In the order in which they began.
        self._items: list[_Item] = []
        # The latest of each index, of each type, and of all; and that of each type and ID.
        self._latest: dict[int | str | None, _Item] = {}
        self._named: dict[tuple[str, str], _Item] = {}
        self._calls = 0

    @property
    def messages(self) -> list[Object]:
        """See Reply.messages. Calls are in it once the reply is complete.

        A reasoning item is left out unless an item follows: the service refuses it "without its
        required following item" (continuedev/continue, issue 8933).
        """
        messages: list[Object] = []
        answered = self._answered()
        handed_out = {call.index for call in self.tool_calls}
        for item in self._in_order():
            is_call = self._is_call(item, answered)
            if is_call and item.number not in handed_out:
                _drop_reasoning(messages)
            elif is_call or item.is_done or str(item.text):
                messages.append(self._message(item))
        _drop_reasoning(messages)
        return messages

    def _in_order(self) -> list[_Item]:
        return sorted(self._items, key=lambda item: item.position)

    def _message(self, item: _Item) -> Object:
        message = {"type": item.type, **item.fields}
        if not item.is_done:
            message.pop("status", None)  # it was "in_progress"
        if item.parts and not any(self._texts(item.fields)):
            message["content"] = [part.content() for _, part in sorted(item.parts.items())]
            message.setdefault("role", "assistant")
        if item.type in _TEXT_CALLS and not message.get(_TEXT_CALLS[item.type]):
            message[_TEXT_CALLS[item.type]] = self._arguments(item)
        return message

    def interpret_object(self, value: Object) -> Iterator[Delta | None]:
        name = self.label(value, "type")
        if name in _TEXT:
            if text := self.text(value, "delta"):
                item, part = self._part(value, "refusal" in name)
                part.add(text)
                yield from self._say(item, text)
        elif name in _REASONING:
            if text := self.text(value, "delta"):
                self._item(value, "reasoning").has_reasoned = True
                yield Reasoning(text)
        elif name in _ARGUMENT_EVENTS:
            yield from self._interpret_arguments(value, _ARGUMENT_EVENTS[name])
        elif name in _WHOLE_TEXT:
            yield from self._interpret_whole_text(value, self.content(value, "part") or value)
        elif name in _ITEMS:
            if fields := self.content(value, "item"):
                yield from self._interpret_item(value, fields, "done" in name)
        elif name == _ANNOTATION:
            if annotation := self.details(value, "annotation"):
                self._part(value)[1].annotations.append(annotation)
                yield None
        elif name in _STARTS:
            response = self.details(value, "response")
            reply_id = self.label(response, "id")
            if name == "response.created" and reply_id:
                self.start(reply_id)
            self._read_response(response)
        elif name in _ENDS:
            yield from self._finish(self.content(value, "response"), name)
        elif not name and value.get("object") == "response":
            yield from self._finish(value)
        elif self.is_object and not name.startswith("response."):
            if "output" not in value:
                raise BackendError(value)
            yield from self._finish(value)
        elif value.get("delta") or value.get("partial_image_b64"):
            yield None  # content that no delta has, such as code

    def _read_response(self, response: Object) -> None:
        self.id = self.id or self.label(response, "id") or None
        self.served_model = self.served_model or self.label(response, "model") or None
        tools: Any = response.get("tools")
        elements: list[Any] = [*tools] if isinstance(tools, list) else []
        declared: list[Object] = [tool for tool in elements if isinstance(tool, dict)]
        if any(tool.get("type") == "x_search" for tool in declared):
            self._x_search_tools = frozenset(self.label(tool, "name") for tool in declared)

    # Items

    def _begin(self, index: int | None, type: str) -> _Item:
        item = _Item(type, index, len(self._items))
        self._items.append(item)
        self._latest |= {index: item, None: item, type: item}
        return item

    def _item(self, value: Object, type: str) -> _Item:
        """Return the item that a piece belongs to: that of the ID, of the index, or the latest."""
        index = self.index(value, "output_index")
        if (item := self._named.get((type, self.label(value, "item_id")))) is not None:
            return item
        for item in (self._latest.get(index), self._latest.get(type)):
            if item is not None and item.type == type and item.may_be_at(index):
                return item
        return self._begin(index, type)

    def _find(self, value: Object, fields: Object, is_done: bool) -> _Item:
        """Return the item that an event has whole: that of the ID, or else of the index.

        GitHub Copilot changes the IDs other than `call_id` (litellm, pull request 30072).
        """
        index, item_type = self.index(value, "output_index"), self.label(fields, "type")
        if (item := self._named.get((item_type, self._id(fields)))) is not None:
            return item
        for item in (self._latest.get(index), self._latest.get(item_type)):
            if item is None or item.type != item_type or item.is_done:
                continue
            is_announced = is_done and item.may_be_at(index)
            if (is_announced or not item.fields) and not self._differ(item.fields, fields):
                return item
        return self._begin(index, item_type)

    def _id(self, fields: Object) -> str:
        return self.label(fields, "call_id") or self.label(fields, "id")

    def _differ(self, fields: Object, others: Object) -> bool:
        """Return whether two calls have different IDs."""
        ids = self.label(fields, "call_id"), self.label(others, "call_id")
        return all(ids) and ids[0] != ids[1]

    def _update(self, item: _Item, fields: Object, is_done: bool = True) -> None:
        if item.type == "message":
            self._texts(fields)  # raises InvalidJSON
        item.update(fields)
        item.is_done = item.is_done or is_done
        for name in filter(None, (self.label(fields, "call_id"), self.label(fields, "id"))):
            self._named[item.type, name] = item

    def _interpret_item(
        self, value: Object, fields: Object, is_done: bool
    ) -> Iterator[Delta | None]:
        item = self._find(value, fields, is_done)
        self._update(item, fields, is_done)
        yield None
        if is_done and item.type == "message":
            yield from self._say(item, item.text.rest("".join(self._texts(fields))))
        elif is_done and item.type == "reasoning":
            yield from self._reason(item, fields)
        # A later item may tell that the service ran a shell call.
        elif item.type in _TEXT_CALLS if not is_done else item.type != "shell_call":
            yield from self._call_rest(item, fields)

    # Text

    def _part(self, value: Object, is_refusal: bool = False) -> tuple[_Item, _Part]:
        item = self._item(value, "message")
        part = item.parts[self.index(value, "content_index") or 0]
        part.is_refusal = part.is_refusal or is_refusal
        return item, part

    def _say(self, item: _Item, text: str) -> Iterator[Text]:
        if text:
            if self._speaker not in (None, item):
                yield Text("\n\n")
            self._speaker = item
            item.text.add(text)
            yield Text(text)

    def _interpret_whole_text(self, value: Object, source: Object) -> Iterator[Text]:
        """Yield what the whole text of a part adds to its pieces."""
        text, refusal = self.text(source, "text"), self.text(source, "refusal")
        if (text or refusal) and source.get("type") != "reasoning_text":
            item, part = self._part(value, not text)
            rest = part.rest(text or refusal)
            part.add(rest)
            yield from self._say(item, rest)

    def _texts(self, fields: Object) -> list[str]:
        """Return the texts of a message as a whole."""
        if isinstance(fields.get("content"), str):
            return [self.text(fields, "content")]
        parts = self.contents(fields, "content")
        return [self.text(part, "text") or self.text(part, "refusal") for part in parts]

    def _whole_text(self, item: _Item) -> str:
        """Return the text of a message, and "" for any other item."""
        if item.type != "message":
            return ""
        return "".join(self._texts(item.fields)) or str(item.text)

    def _reason(self, item: _Item, fields: Object) -> Iterator[Reasoning]:
        """Yield the reasoning of an item that did not come in pieces."""
        if not item.has_reasoned:
            parts = self.contents(fields, "content") or self.contents(fields, "summary")
            if text := "\n\n".join(filter(None, [self.text(part, "text") for part in parts])):
                item.has_reasoned = True
                yield Reasoning(text)

    # Calls

    def _interpret_arguments(self, value: Object, type: str) -> Iterator[ToolCallPiece | None]:
        piece, whole = self.arguments(value, "delta"), self.arguments(value, _TEXT_CALLS[type])
        if not piece and not whole:
            return
        yield None
        item = self._latest.get(self.index(value, "output_index"))
        # It may be a call of another type.
        if item is None or item.type == type or not item.type.endswith("_call"):
            item = self._item(value, type)
        if piece and not item.is_done:
            item.fields.pop(_TEXT_CALLS[type], None)  # a placeholder, or the first piece
            yield from self._piece(item, piece)
        elif whole:
            self._update(item, {_TEXT_CALLS[type]: whole}, is_done=False)
            yield from self._call_rest(item, item.fields)

    def _call_rest(self, item: _Item, fields: Object) -> Iterator[ToolCallPiece]:
        """Yield what a call as a whole adds to its pieces."""
        yield from self._piece(item, item.arguments.rest(self._whole(item, fields)))

    def _piece(self, item: _Item, arguments: str) -> Iterator[ToolCallPiece]:
        if not self._asks(item):
            return
        if item.number is None:
            item.number = self._calls
            self._calls += 1
        item.arguments.add(arguments)
        before, item.sent_name = item.sent_name, self._call_name(item)
        pairs = zip(item.sent_name, before, strict=True)
        call_id, name = (new if new != old else "" for new, old in pairs)
        if call_id or name or arguments:
            yield ToolCallPiece(item.number, call_id, name, arguments)

    def _call_name(self, item: _Item) -> tuple[str, str]:
        """Return the ID and the name of a call. A tool without a name has that of its kind."""
        name = self.label(item.fields, "name")
        return self._id(item.fields), name if item.type in _TEXT_CALLS else name or _kind(item)

    def _whole(self, item: _Item, fields: Object) -> str:
        """Return the arguments that `fields` have: of an unknown kind, all that is its own."""
        names = [name for name in _ARGUMENTS if fields.get(name) is not None]
        if not names and item.type not in _TEXT_CALLS:
            own = {name: value for name, value in fields.items() if name not in _COMMON}
            return json.dumps(own, ensure_ascii=False)
        return next(filter(None, (self.arguments(fields, name) for name in names)), "")

    def _arguments(self, item: _Item) -> str:
        """Return the arguments of a call, as far as they have come."""
        if whole := self._whole(item, item.fields):
            return whole
        pieces = str(item.arguments)
        return (last_object(pieces) or "{}") if item.type == "function_call" else pieces

    def _asks(self, item: _Item) -> bool:
        """Return whether an item asks the caller for an answer, as far as the item tells."""
        fields = item.fields
        if item.type == "tool_search_call":
            return fields.get("execution") == "client"
        if item.type == "shell_call":
            return self.details(fields, "environment").get("type") != "container_reference"
        if item.type in _TEXT_CALLS:
            # xAI's X search calls tools that nobody declared (holon-run/holon, issue 2180).
            names = self._x_search_tools
            return names is None or self.label(fields, "name") in names
        is_other = item.type.endswith("_call") and item.type not in _SERVED
        return item.type in _CALLS or (is_other and bool(fields.get("call_id")))

    def _is_call(self, item: _Item, answered: set[str]) -> bool:
        return self._asks(item) and self._id(item.fields) not in answered

    def _answered(self) -> set[str]:
        """Return the IDs of the calls that the service ran: it sends their results, too."""
        results = [item.fields for item in self._items if item.type.endswith("_output")]
        return {self.label(fields, "call_id") for fields in results} - {""}

    # The end

    def _finish(self, response: Object, name: str = "") -> Iterator[Delta]:
        self._read_response(response)
        status = self.label(response, "status")
        if status in ("queued", "in_progress") and not name:
            return  # the object of a reply that is still being made
        if status in ("", "queued", "in_progress"):
            status = name.removeprefix("response.")
        if response.get("error") or status in ("failed", "cancelled"):
            raise BackendError(response.get("error") or status)
        yield from self._take_output(self.contents(response, "output"))
        yield from self._usage(self.details(response, "usage"))
        reason = self.label(self.details(response, "incomplete_details"), "reason") or status
        yield from self.finish(self._take_calls(self.kind_of(reason) == "stop"), reason)

    def _take_output(self, output: list[Object]) -> Iterator[Delta]:
        """Take the items of the last event, and yield what did not come before.

        codex-lb sends text and calls only here (its pull request 504), agentgateway nothing here
        (its pull request 3326), and Bifrost no calls (its pull request 2120).
        """
        before = self._in_order()
        streamed = "".join(str(item.text) for item in before)
        has_reasoned = any(item.has_reasoned for item in before)
        for item in before:
            item.position -= 0.5
        for position, (fields, match) in enumerate(self._matched(output, before)):
            item = match or self._begin(None, self.label(fields, "type"))
            item.position = position
            self._update(item, fields)
        items, answered = self._in_order(), self._answered()
        texts = [self._whole_text(item) for item in items]
        length = len(streamed) if "".join(texts).startswith(streamed) else sum(map(len, texts))
        for item, text in zip(items, texts, strict=True):
            yield from self._say(item, text[length:])
            length = max(0, length - len(text))
            if item.type == "reasoning" and not has_reasoned:
                yield from self._reason(item, item.fields)
            if self._is_call(item, answered):
                yield from self._call_rest(item, item.fields)

    def _matched(
        self, output: list[Object], before: list[_Item]
    ) -> Iterator[tuple[Object, _Item | None]]:
        """Yield each item of the last event with what came of it before.

        They belong together by their ID, or else by their place among those of their type, since
        OpenRouter and GitHub Copilot change the IDs other than `call_id`.
        """
        by_id: list[_Item | None] = []
        taken: set[_Item | None] = set()
        for fields in output:
            item = self._named.get((self.label(fields, "type"), self._id(fields)))
            by_id.append(None if item in taken else item)
            taken.add(item)
        others = defaultdict[str, deque[_Item]](deque)
        for item in before:
            if item not in taken and not item.fields.get("call_id"):
                others[item.type].append(item)
        for fields, item in zip(output, by_id, strict=True):
            rest = others[self.label(fields, "type")]
            yield fields, item or (rest.popleft() if rest else None)

    def _usage(self, usage: Object) -> Iterator[Usage]:
        sent, received = self.count(usage, "input_tokens"), self.count(usage, "output_tokens")
        if sent is not None or received is not None:
            cached = self.count(self.details(usage, "input_tokens_details"), "cached_tokens")
            details = self.details(usage, "output_tokens_details")
            reasoning = self.count(details, "reasoning_tokens")
            yield Usage(sent or 0, received or 0, cached or 0, reasoning or 0)

    def _take_calls(self, is_complete: bool) -> list[ToolCall]:
        answered = self._answered()
        calls: list[ToolCall] = []
        for item in sorted(self._items, key=lambda item: item.number or 0):
            # The last call of an incomplete reply may be cut.
            is_whole = item.fields.get("status") != "incomplete" and (is_complete or item.is_done)
            if item.number is not None and is_whole and self._is_call(item, answered):
                name, arguments = self._call_name(item), self._arguments(item)
                calls.append(ToolCall(item.number, *name, arguments, _kind(item)))
        # Pieces with a wrong index belong to no call.
        return [call for call in calls if call.id or call.name] or calls


def _kind(item: _Item) -> str:
    return _CALL_KINDS.get(item.type) or item.type.removesuffix("_call")


def _drop_reasoning(messages: list[Object]) -> None:
    """Drop the reasoning items at the end."""
    while messages and messages[-1]["type"] == "reasoning":
        messages.pop()
