"""Two turns with a tool, over HTTP, against a server that refuses what the services refuse."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest
from anyio.abc import SocketStream

from sseparse_backends import ToolCall, get_backend, stream
from tests.support.servers import CLOSING, Server, head, read_request, serve

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_is_left")]


def expect(condition: Any, words: str) -> None:
    """The service answers with 400 otherwise."""
    assert condition, words


def events(*data: Any) -> bytes:
    return b"".join(b"data: %s\n\n" % json.dumps(item).encode() for item in data)


# What each service checks in the second request; its documentation is named.


def check_openai(body: Mapping[str, Any]) -> None:
    """platform.openai.com/docs/guides/function-calling: each call is answered after it."""
    _, reply, *results = body["messages"]
    calls = [call["id"] for call in reply["tool_calls"]]
    expect(reply["role"] == "assistant", "role")
    expect([result["tool_call_id"] for result in results] == calls, "tool_call_ids")
    expect(all(isinstance(result["content"], str) for result in results), "content")
    details = reply["reasoning_details"]
    expect(details == [{"index": 0, "type": "reasoning.encrypted", "data": "b3Bx"}], "reasoning")


def check_responses(body: Mapping[str, Any]) -> None:
    """developers.openai.com/api/docs/guides/reasoning: reasoning goes back beside its call."""
    _, reasoning, call, result = body["input"]
    expect(reasoning == {"id": "rs", "type": "reasoning", "encrypted_content": "b3Bx"}, "reasoning")
    expect(call["type"] == "function_call", "call")
    expect(result["type"] == "function_call_output", "result")
    expect(result["call_id"] == call["call_id"], "call_id")


def check_anthropic(body: Mapping[str, Any]) -> None:
    """platform.claude.com/docs/en/build-with-claude/extended-thinking: thinking, unmodified."""
    user, reply, results = body["messages"]
    expect((user["role"], reply["role"], results["role"]) == ("user", "assistant", "user"), "roles")
    thinking, *calls = reply["content"]
    signed = {"type": "thinking", "thinking": "Hm", "signature": "c2ln"}
    expect(thinking == signed, "thinking")
    ids = [call["id"] for call in calls]
    expect(all(isinstance(call["input"], dict) for call in calls), "input")
    expect([result["tool_use_id"] for result in results["content"]] == ids, "tool_use_ids")


def check_gemini(body: Mapping[str, Any]) -> None:
    """ai.google.dev/gemini-api/docs/thought-signatures: the first call of a step has one."""
    user, reply, results = body["contents"]
    expect((user["role"], reply["role"], results["role"]) == ("user", "model", "user"), "roles")
    calls = [part for part in reply["parts"] if "functionCall" in part]
    expect(calls[0].get("thoughtSignature") == "c2ln", "thoughtSignature")
    names = [part["functionCall"]["name"] for part in calls]
    answers = [part["functionResponse"]["name"] for part in results["parts"]]
    expect(answers == names, "as many responses as calls")
    responses = [part["functionResponse"]["response"] for part in results["parts"]]
    expect(all(isinstance(response, dict) for response in responses), "response")


def check_interactions(body: Mapping[str, Any]) -> None:
    """ai.google.dev/gemini-api/docs/interactions: steps, exactly as they were received."""
    _, thought, call, result = body["input"]
    expect(thought["type"] == "thought" and thought["signature"] == "c2ln", "signature")
    expect(call["type"] == "function_call", "call")
    expect(result["type"] == "function_result" and result["call_id"] == call["id"], "result")


def check_ollama(body: Mapping[str, Any]) -> None:
    """docs.ollama.com/capabilities/tool-calling: thinking, calls, and results with tool_name."""
    _, reply, *results = body["messages"]
    expect(reply["thinking"] == "Hm", "thinking")
    names = [call["function"]["name"] for call in reply["tool_calls"]]
    arguments = [call["function"]["arguments"] for call in reply["tool_calls"]]
    expect(all(isinstance(each, dict) for each in arguments), "arguments")
    expect([result["tool_name"] for result in results] == names, "tool_names")


def check_cohere(body: Mapping[str, Any]) -> None:
    """docs.cohere.com/docs/tool-use-overview: plan and calls, then a result for each call."""
    _, reply, *results = body["messages"]
    expect(reply["tool_plan"] == "Hm", "tool_plan")
    calls = [call["id"] for call in reply["tool_calls"]]
    expect([result["tool_call_id"] for result in results] == calls, "tool_call_ids")


class Case(NamedTuple):
    first: bytes
    second: bytes
    check: Callable[[Mapping[str, Any]], None]
    content_type: str = "text/event-stream"


def call_of(name: str) -> dict[str, Any]:
    return {"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}}


def openai(delta: Any, reason: str) -> bytes:
    return events({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})


def responses(*items: Any) -> bytes:
    done = [
        {"type": "response.output_item.done", "output_index": index, "item": item}
        for index, item in enumerate(items)
    ]
    ended = {"type": "response.completed", "response": {"status": "completed", "output": []}}
    return events(*done, ended)


def anthropic(reason: str, *blocks: Any) -> bytes:
    started = [
        {"type": "content_block_start", "index": index, "content_block": block}
        for index, block in enumerate(blocks)
    ]
    message = {"id": "m", "role": "assistant", "content": [], "model": "m"}
    return events(
        {"type": "message_start", "message": message},
        *started,
        {"type": "message_delta", "delta": {"stop_reason": reason}},
        {"type": "message_stop"},
    )


def gemini(*parts: Any) -> bytes:
    return events(
        {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]}
    )


def interaction(status: str, *steps: Any) -> bytes:
    started = [
        {"event_type": "step.start", "index": index, "step": step}
        for index, step in enumerate(steps)
    ]
    ended = {"event_type": "interaction.completed", "interaction": {"status": status}}
    return events(*started, ended)


def cohere(*messages: tuple[str, Any], reason: str) -> bytes:
    pieces = [{"type": name, "index": 0, "delta": {"message": part}} for name, part in messages]
    return events(*pieces, {"type": "message-end", "delta": {"finish_reason": reason}})


OLLAMA_CALLS: list[Any] = [{"function": {"name": name, "arguments": {}}} for name in ("f", "g")]
STOPPED = {"done": True, "done_reason": "stop"}

CASES = {
    "openai": Case(
        openai(
            {
                "reasoning_details": [{"index": 0, "type": "reasoning.encrypted", "data": "b3Bx"}],
                "tool_calls": [{"index": i, **call_of(name)} for i, name in enumerate("fg")],
            },
            "tool_calls",
        ),
        openai({"content": "Sunny"}, "stop"),
        check_openai,
    ),
    "openai-responses": Case(
        responses(
            {"id": "rs", "type": "reasoning", "encrypted_content": "b3Bx"},
            {"type": "function_call", "call_id": "f", "name": "f", "arguments": "{}"},
        ),
        responses(
            {
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "Sunny"}],
            }
        ),
        check_responses,
    ),
    "anthropic": Case(
        anthropic(
            "tool_use",
            {"type": "thinking", "thinking": "Hm", "signature": "c2ln"},
            *({"type": "tool_use", "id": name, "name": name, "input": {}} for name in "fg"),
        ),
        anthropic("end_turn", {"type": "text", "text": "Sunny"}),
        check_anthropic,
    ),
    "gemini": Case(
        gemini(
            {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "c2ln"},
            {"functionCall": {"name": "g", "args": {"n": 1}}},
        ),
        gemini({"text": "Sunny"}),
        check_gemini,
    ),
    "gemini-interactions": Case(
        interaction(
            "requires_action",
            {"type": "thought", "signature": "c2ln"},
            {"type": "function_call", "id": "f", "name": "f", "arguments": {}},
        ),
        interaction(
            "completed", {"type": "model_output", "content": [{"type": "text", "text": "Sunny"}]}
        ),
        check_interactions,
    ),
    "ollama": Case(
        json.dumps({"message": {"thinking": "Hm", "tool_calls": OLLAMA_CALLS}, **STOPPED}).encode(),
        json.dumps({"message": {"content": "Sunny"}, **STOPPED}).encode(),
        check_ollama,
        "application/x-ndjson",
    ),
    "cohere": Case(
        cohere(
            ("tool-plan-delta", {"tool_plan": "Hm"}),
            ("tool-call-start", {"tool_calls": call_of("f")}),
            reason="TOOL_CALL",
        ),
        cohere(("content-delta", {"content": {"text": "Sunny"}}), reason="COMPLETE"),
        check_cohere,
    ),
}


def run(call: ToolCall) -> Any:
    return {"name": call.name, "sky": "clear"}


@pytest.mark.parametrize("name", CASES)
async def test_reply_and_results_are_what_the_service_wants_back(
    name: str, anyio_backend: str
) -> None:
    case = CASES[name]

    async def handle(connection: SocketStream, server: Server) -> None:
        server.requests.append(await read_request(connection))
        body = case.first
        if len(server.requests) == 2:
            case.check(json.loads(server.requests[-1].partition(b"\r\n\r\n")[2]))
            body = case.second
        await connection.send(head(200, CLOSING, content_type=case.content_type) + body)

    messages: list[dict[str, Any]] = [{"role": "user", "content": "How is the weather?"}]
    async with serve(handle) as server:
        service: Any = get_backend(name, base_url=server.url, api_key="k")
        texts: list[str] = []
        for _ in range(2):
            async with stream(service, messages, model="m") as reply:
                texts.append(await reply.text())
            messages += reply.messages
            messages += [service.tool_result(call, run(call)) for call in reply.tool_calls]
    assert texts == ["", "Sunny"]
    assert reply.finish_kind == "stop"
    assert reply.status == 200
    assert reply.headers["content-type"] == case.content_type
