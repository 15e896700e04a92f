"""One odd field kills no reply: each field of each backend, with each JSON type in its place."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from sseparse import IncompleteStream, InvalidJSON
from sseparse_backends import BackendError, get_backend
from sseparse_backends.testing import Outcome, receive
from tests.support.cuts import IS_QUICK

ODD: list[Any] = [7, True, None, "odd", [7], {"odd": 7}]
if not IS_QUICK:
    ODD += [0.5, False, "", [], [None], {}]


class Example(NamedTuple):
    """A reply with the text "Hi you", by a service that says much beside it.

    content: the fields that hold content, or lead to it.
    ends: the fields without which the reply has no end, or is another one.
    """

    backend: str
    events: list[Any]
    content: str
    ends: str
    whole: bool = False


CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}

EXAMPLES = [
    Example(
        "openai",
        [
            {
                "id": "c",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": "m",
                "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hi"}}],
            },
            {
                "choices": [
                    {
                        "index": 0,
                        "delta": {
                            "content": " you",
                            "refusal": None,
                            "reasoning": "Hm",
                            "reasoning_details": [{"index": 0, "type": "t", "text": "Hm"}],
                            "tool_calls": [{"index": 0, **CALL}],
                            "annotations": [{"type": "u"}],
                            "audio": {"id": "a"},
                            "images": [],
                        },
                        "logprobs": {"content": []},
                        "finish_reason": None,
                    }
                ]
            },
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
            {
                "choices": [],
                "usage": {
                    "prompt_tokens": 1,
                    "completion_tokens": 2,
                    "total_tokens": 3,
                    "prompt_tokens_details": {"cached_tokens": 1},
                    "completion_tokens_details": {"reasoning_tokens": 1},
                },
                "x_groq": {"id": "r", "usage": {"prompt_tokens": 1}},
            },
        ],
        "choices delta content reasoning refusal tool_calls function name arguments",
        "finish_reason choices delta object error",
    ),
    Example(
        "openai",
        [
            {
                "id": "c",
                "object": "chat.completion",
                "model": "m",
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": "Hi you", "tool_calls": [CALL]},
                        "finish_reason": "tool_calls",
                    }
                ],
                "usage": {"prompt_tokens": 1, "completion_tokens": 2},
            }
        ],
        "choices message content tool_calls function name arguments",
        "finish_reason choices object",
        whole=True,
    ),
    Example(
        "openai-responses",
        [
            {
                "type": "response.created",
                "response": {"id": "r", "model": "m", "status": "in_progress", "output": []},
            },
            {
                "type": "response.output_item.added",
                "output_index": 0,
                "item": {"id": "i", "type": "message", "status": "in_progress", "content": []},
            },
            {
                "type": "response.output_text.delta",
                "item_id": "i",
                "output_index": 0,
                "content_index": 0,
                "delta": "Hi",
                "logprobs": [],
            },
            {
                "type": "response.output_text.delta",
                "item_id": "i",
                "output_index": 0,
                "content_index": 0,
                "delta": " you",
            },
            {
                "type": "response.output_item.done",
                "output_index": 0,
                "item": {
                    "id": "i",
                    "type": "message",
                    "status": "completed",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "Hi you", "annotations": []}],
                },
            },
            {
                "type": "response.output_item.added",
                "output_index": 1,
                "item": {"id": "j", "type": "function_call", "call_id": "a", "name": "f"},
            },
            {
                "type": "response.function_call_arguments.delta",
                "output_index": 1,
                "item_id": "j",
                "delta": "{}",
            },
            {
                "type": "response.output_item.done",
                "output_index": 1,
                "item": {
                    "id": "j",
                    "type": "function_call",
                    "call_id": "a",
                    "name": "f",
                    "arguments": "{}",
                },
            },
            {
                "type": "response.completed",
                "response": {
                    "id": "r",
                    "status": "completed",
                    "output": [],
                    "error": None,
                    "incomplete_details": None,
                    "usage": {
                        "input_tokens": 1,
                        "output_tokens": 2,
                        "input_tokens_details": {"cached_tokens": 1},
                        "output_tokens_details": {"reasoning_tokens": 1},
                    },
                },
            },
        ],
        "delta item content text name arguments response output",
        "type status response error",
    ),
    Example(
        "anthropic",
        [
            {
                "type": "message_start",
                "message": {
                    "id": "m",
                    "type": "message",
                    "role": "assistant",
                    "model": "m",
                    "content": [],
                    "stop_reason": None,
                    "usage": {"input_tokens": 1, "cache_read_input_tokens": 1, "output_tokens": 1},
                },
            },
            {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking"}},
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "thinking_delta", "thinking": "Hm"},
            },
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "signature_delta", "signature": "s"},
            },
            {"type": "content_block_stop", "index": 0},
            {
                "type": "content_block_start",
                "index": 1,
                "content_block": {"type": "text", "text": "Hi"},
            },
            {
                "type": "content_block_delta",
                "index": 1,
                "delta": {"type": "text_delta", "text": " you"},
            },
            {
                "type": "content_block_delta",
                "index": 1,
                "delta": {"type": "citations_delta", "citation": {"type": "c"}},
            },
            {"type": "content_block_stop", "index": 1},
            {
                "type": "content_block_start",
                "index": 2,
                "content_block": {"type": "tool_use", "id": "a", "name": "f", "input": {}},
            },
            {
                "type": "content_block_delta",
                "index": 2,
                "delta": {"type": "input_json_delta", "partial_json": "{}"},
            },
            {"type": "content_block_stop", "index": 2},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "tool_use", "stop_sequence": None},
                "usage": {"output_tokens": 2},
            },
            {"type": "message_stop"},
        ],
        "content_block delta type text thinking name partial_json input content",
        "type",
    ),
    Example(
        "gemini",
        [
            {
                "candidates": [
                    {
                        "content": {
                            "role": "model",
                            "parts": [
                                {"text": "Hm", "thought": True, "thoughtSignature": "s"},
                                {"text": "Hi"},
                                {"functionCall": {"id": "a", "name": "f", "args": {}}},
                            ],
                        },
                        "index": 0,
                        "safetyRatings": [],
                    }
                ],
                "promptFeedback": {"safetyRatings": []},
                "responseId": "r",
                "modelVersion": "m",
            },
            {
                "candidates": [
                    {"content": {"parts": [{"text": " you"}]}, "finishReason": "STOP", "index": 0}
                ],
                "usageMetadata": {
                    "promptTokenCount": 1,
                    "candidatesTokenCount": 2,
                    "thoughtsTokenCount": 1,
                    "cachedContentTokenCount": 1,
                    "toolUsePromptTokenCount": 1,
                },
            },
        ],
        "candidates content parts text functionCall name args thought",
        "finishReason candidates promptFeedback index",
    ),
    Example(
        "gemini-interactions",
        [
            {
                "interaction": {"id": "v1", "status": "in_progress", "model": "m"},
                "event_type": "interaction.created",
            },
            {
                "interaction_id": "v1",
                "status": "in_progress",
                "event_type": "interaction.status_update",
            },
            {"index": 0, "step": {"type": "thought"}, "event_type": "step.start"},
            {
                "index": 0,
                "delta": {"type": "thought_summary", "content": {"type": "text", "text": "Hm"}},
                "event_type": "step.delta",
            },
            {
                "index": 0,
                "delta": {"type": "thought_signature", "signature": "s"},
                "event_type": "step.delta",
            },
            {"index": 0, "event_type": "step.stop"},
            {
                "index": 1,
                "step": {"type": "google_search_call", "id": "g"},
                "event_type": "step.start",
            },
            {
                "index": 1,
                "delta": {"type": "google_search_call", "arguments": {}},
                "event_type": "step.delta",
            },
            {"index": 1, "event_type": "step.stop"},
            {
                "index": 2,
                "step": {"type": "google_search_result", "call_id": "g"},
                "event_type": "step.start",
            },
            {
                "index": 2,
                "delta": {"type": "google_search_result", "result": [{}]},
                "event_type": "step.delta",
            },
            {"index": 2, "event_type": "step.stop"},
            {
                "index": 3,
                "step": {
                    "type": "function_call",
                    "id": "a",
                    "name": "f",
                    "arguments": {},
                    "signature": "s",
                },
                "event_type": "step.start",
            },
            {
                "index": 3,
                "delta": {"type": "arguments_delta", "arguments": "{}"},
                "event_type": "step.delta",
            },
            {"index": 3, "event_type": "step.stop"},
            {
                "index": 4,
                "step": {
                    "type": "model_output",
                    "content": [{"type": "text", "text": "Hi", "annotations": []}],
                },
                "event_type": "step.start",
            },
            {"index": 4, "delta": {"type": "text", "text": " you"}, "event_type": "step.delta"},
            {
                "index": 4,
                "delta": {
                    "type": "text_annotation_delta",
                    "annotations": [{"type": "url_citation"}],
                },
                "event_type": "step.delta",
            },
            {
                "index": 4,
                "delta": {"type": "image", "data": "d", "mime_type": "m"},
                "event_type": "step.delta",
            },
            {"index": 4, "event_type": "step.stop"},
            {
                "interaction": {
                    "id": "v1",
                    "status": "requires_action",
                    "model": "m",
                    "usage": {"total_input_tokens": 1},
                },
                "event_type": "interaction.completed",
            },
        ],
        "step delta type event_type text content summary name arguments",
        "event_type type status",
    ),
    Example(
        "ollama",
        [
            {
                "model": "m",
                "created_at": "now",
                "done": False,
                "message": {"role": "assistant", "content": "Hi", "thinking": "Hm"},
            },
            {
                "message": {"content": " you", "tool_calls": [CALL], "images": None},
                "done": False,
                "error": None,
            },
            {
                "message": {"content": ""},
                "done": True,
                "done_reason": "stop",
                "prompt_eval_count": 1,
                "eval_count": 2,
            },
        ],
        "message content thinking tool_calls function name arguments",
        "done error",
    ),
    Example(
        "cohere",
        [
            {
                "id": "r",
                "type": "message-start",
                "delta": {"message": {"role": "assistant", "content": [], "tool_plan": ""}},
            },
            {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "Hm"}}},
            {
                "type": "content-start",
                "index": 0,
                "delta": {"message": {"content": {"type": "text", "text": "Hi"}}},
            },
            {
                "type": "content-delta",
                "index": 0,
                "delta": {"message": {"content": {"text": " you"}}},
            },
            {
                "type": "citation-start",
                "index": 0,
                "delta": {"message": {"citations": {"start": 0, "sources": []}}},
            },
            {
                "type": "tool-call-start",
                "index": 0,
                "delta": {"message": {"tool_calls": CALL}},
            },
            {
                "type": "message-end",
                "delta": {
                    "finish_reason": "TOOL_CALL",
                    "error": None,
                    "usage": {
                        "billed_units": {"input_tokens": 1, "output_tokens": 2},
                        "tokens": {"input_tokens": 1, "output_tokens": 2},
                    },
                },
            },
        ],
        "delta message content text thinking tool_plan tool_calls function name arguments "
        "citations",
        "type error",
    ),
    Example(
        "darkai",
        [
            {"event": "text-chunk", "data": {"text": "Hi", "index": 0}},
            {"event": "text-chunk", "data": {"text": " you"}},
            {"event": "stream-end", "data": {}},
        ],
        "data text",
        "event",
    ),
]


def places(value: Any, *path: str | int) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of each value within a value."""
    if path:
        yield path
    pairs: Any = ()
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)
    for name, item in pairs:
        yield from places(item, *path, name)


def outcome_of(example: Example, events: list[Any]) -> Outcome:
    options: dict[str, Any] = {"strict": True} if example.backend == "darkai" else {}
    backend = get_backend(example.backend, **options)
    if example.whole:
        body, content_type = json.dumps(events[0]), "application/json"
    elif example.backend == "ollama":
        body, content_type = (
            "".join(json.dumps(event) + "\n" for event in events),
            "application/x-ndjson",
        )
    else:
        body = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
        content_type = "text/event-stream"
    return receive(backend, [body.encode()], content_type=content_type)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.backend)
def test_example_is_a_complete_reply(example: Example) -> None:
    outcome = outcome_of(example, example.events)
    assert outcome.error is None
    assert outcome.text == "Hi you"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.backend)
def test_odd_field_kills_no_reply_or_the_error_is_about_content(example: Example) -> None:
    content, ends = example.content.split(), example.ends.split()
    for path in places(example.events):
        names = [name for name in path if isinstance(name, str)]
        if not names:
            continue  # an event that is no object
        for odd in ODD:
            events = copy.deepcopy(example.events)
            parent: Any = events
            for name in path[:-1]:
                parent = parent[name]
            parent[path[-1]] = odd
            outcome = outcome_of(example, events)
            case = f"{path} = {odd!r} gives {outcome.text!r}, {outcome.error!r}"
            json.dumps(outcome.messages)
            if outcome.error is None and names[-1] not in {*content, *ends}:
                assert outcome.text == "Hi you", case
            elif isinstance(outcome.error, InvalidJSON):
                assert names[-1] in content, case
            elif outcome.error is not None:
                assert isinstance(outcome.error, IncompleteStream | BackendError), case
                assert names[-1] in ends, case
