"""The backends against LiteLLM's proxy: with mock replies, and in front of llmock.

    uv run --group test --with 'litellm[proxy]' pytest -m real_servers \\
        tests/backends/test_litellm.py

These tests need no network and take about a minute. Last run with LiteLLM 1.108.7.
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

import pytest

from sseparse import UnexpectedResponse
from sseparse_backends import (
    Backend,
    BackendError,
    Finish,
    ReplyStream,
    Text,
    Usage,
    get_backend,
    stream,
)
from tests.support.llmock_server import LLMock
from tests.support.llmock_server import llmock as llmock
from tests.support.llmock_server import llmock_server as llmock_server
from tests.support.real_servers import LIMITS, TOOLS, run_server
from tests.support.servers import collect

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.real_servers,
    pytest.mark.skipif(find_spec("litellm") is None, reason="litellm[proxy] is not installed"),
    pytest.mark.usefixtures("nothing_is_left"),
]

TEXT = "one two three é 漢🎉"
KEY = f"sk-{secrets.token_hex(16)}"

# LiteLLM's translators: the backend that talks to LiteLLM, and the protocol in which LiteLLM talks
# to llmock, which is the name of its model.
ROUTES = [
    ("openai", "chat"),
    ("openai-responses", "chat"),
    ("openai-responses", "responses"),
    ("gemini", "chat"),
    ("anthropic", "chat"),
    ("anthropic", "responses"),
]
each_route = pytest.mark.parametrize(("name", "model"), ROUTES, ids=[*map("-to-".join, ROUTES)])
# Whether a stream is asked for; of Gemini, the path decides that.
FORMS = [(*route, True) for route in ROUTES]
FORMS += [(*route, False) for route in ROUTES if route[0] != "gemini"]
each_form = pytest.mark.parametrize(("name", "model", "is_stream"), FORMS)
each_route_to_chat = pytest.mark.parametrize("name", [name for name, to in ROUTES if to == "chat"])

# The number of llmock's events before the first word.
HEADS = {"chat": 1, "responses": 4}


@pytest.fixture(scope="session")
def proxy(llmock_server: LLMock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("litellm")
    upstream = {"api_key": "none", "api_base": llmock_server.url("openai")}
    models: dict[str, dict[str, str]] = {
        "mock": {"model": "openai/tiny", "api_key": "none", "mock_response": TEXT},
        "refusing": {
            "model": "openai/tiny",
            "api_key": "none",
            "mock_response": "litellm.RateLimitError",
        },
        # Providers with chat completions alone, and with Responses too.
        "chat": {"model": "custom_openai/tiny", **upstream},
        "responses": {"model": "openai/tiny", **upstream},
    }
    config = {
        "model_list": [
            {"model_name": name, "litellm_params": params} for name, params in models.items()
        ],
        "router_settings": {"num_retries": 0},
    }
    # YAML includes JSON, but not its surrogate pairs.
    text = json.dumps(config, ensure_ascii=False)
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    with run_server(
        [
            *(sys.executable, "-m", "litellm.proxy.proxy_cli", "--config", "config.yaml"),
            *("--host", "127.0.0.1", "--port", "{port}"),
        ],
        folder=folder,
        ready="/health/liveliness",
        LITELLM_LOCAL_MODEL_COST_MAP="True",
        LITELLM_MASTER_KEY=KEY,
    ) as url:
        yield url


def service(name: str, proxy: str, **arguments: Any) -> Backend:
    paths = {"anthropic": "", "gemini": "/v1beta"}
    return get_backend(name, base_url=proxy + paths.get(name, "/v1"), api_key=KEY, **arguments)


def ask(backend: Backend, messages: Any, model: str, **options: Any) -> ReplyStream:
    return stream(backend, messages, model=model, timeout=60, **options)


def upstream_calls(body: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return name and arguments of each call in a request to llmock."""
    functions = [item for item in body.get("input", []) if item.get("type") == "function_call"]
    for message in body.get("messages", []):
        functions += [call["function"] for call in message.get("tool_calls", [])]
    return [(function["name"], json.loads(function["arguments"])) for function in functions]


def upstream_results(body: Mapping[str, Any]) -> list[Any]:
    """Return each tool's output in a request to llmock."""
    items = [item for item in body.get("input", []) if item.get("type") == "function_call_output"]
    messages = [message for message in body.get("messages", []) if message["role"] == "tool"]
    return [item["output"] for item in items] + [message["content"] for message in messages]


# Mock replies, which LiteLLM makes itself.


@pytest.mark.parametrize("name", ["openai", "gemini", "anthropic"])
async def test_mock_reply_is_its_text_in_two_turns(name: str, proxy: str) -> None:
    messages: list[Any] = [{"role": "user", "content": "Hello"}]
    for _ in range(2):
        async with ask(service(name, proxy), messages, "mock") as reply:
            assert await reply.text() == TEXT
        assert reply.finish_kind == "stop"
        assert isinstance(reply.usage, Usage)
        assert reply.usage.output_tokens > 0
        # LiteLLM answers Anthropic's messages with one JSON object here, whatever `stream` says.
        is_object = reply.headers["content-type"].startswith("application/json")
        assert is_object == (name == "anthropic")
        messages += reply.messages
        messages += [{"role": "user", "content": "Again"}]
    assert len(messages) == 5


async def test_mock_reply_as_responses_is_an_error_of_litellm(proxy: str) -> None:
    # Its log: AttributeError: 'ResponsesAPIResponse' object has no attribute '__aiter__'.
    texts, error = await collect(ask(service("openai-responses", proxy), "Hello", "mock"))
    assert texts == []
    assert isinstance(error, UnexpectedResponse)
    assert error.status == 500
    assert "Error processing stream start" in str(error)


@pytest.mark.parametrize("name", ["openai", "gemini", "anthropic"])
async def test_refusal_has_the_words_of_litellm(name: str, proxy: str) -> None:
    texts, error = await collect(ask(service(name, proxy), "Hello", "refusing"))
    assert texts == []
    assert isinstance(error, UnexpectedResponse)
    assert error.status == 429
    assert "mock rate limit error" in str(error)


# Replies of llmock, which LiteLLM translates.


@each_route
async def test_reply_is_its_text_then_usage_then_the_reason(
    name: str, model: str, proxy: str, llmock: LLMock
) -> None:
    llmock.reply(TEXT)
    async with ask(service(name, proxy), "Hello", model) as reply:
        deltas = [delta async for delta in reply.deltas()]
    texts = [delta.text for delta in deltas if isinstance(delta, Text)]
    assert texts == ["one ", "two ", "three ", "é ", "漢🎉"]
    assert isinstance(deltas[-1], Finish)
    assert reply.finish_kind == "stop"
    assert isinstance(reply.usage, Usage)
    assert reply.usage.output_tokens > 0
    # LiteLLM sends neither in Gemini's protocol.
    assert (reply.id is None) == (reply.served_model is None) == (name == "gemini")
    assert reply.headers["content-type"].startswith("text/event-stream")


@each_form
async def test_calls_and_their_results_are_two_turns(
    name: str, model: str, is_stream: bool, proxy: str, llmock: LLMock
) -> None:
    backend: Any = service(name, proxy, extra_body={} if is_stream else {"stream": False})
    arguments = [{"place": "Bern"}, {"place": "Zürich"}]
    llmock.reply("Hm", *(("weather", each) for each in arguments))
    messages: list[Any] = [{"role": "user", "content": "Weather?"}]
    async with ask(backend, messages, model, tools=TOOLS[name]) as reply:
        assert await reply.text() == "Hm"
    assert reply.headers["content-type"].startswith("text/event-stream") == is_stream
    assert reply.finish_kind == "tool_calls"
    assert [(call.index, call.name, call.kind) for call in reply.tool_calls] == [
        (0, "weather", "function"),
        (1, "weather", "function"),
    ]
    assert [json.loads(call.arguments) for call in reply.tool_calls] == arguments

    messages += reply.messages
    messages += [
        backend.tool_result(call, output)
        for call, output in zip(reply.tool_calls, ["sunny", {"sky": "grey"}], strict=True)
    ]
    llmock.reply("Sunny, grey")
    async with ask(backend, messages, model, tools=TOOLS[name]) as reply:
        assert await reply.text() == "Sunny, grey"
    assert reply.finish_kind == "stop"
    # The second request, as LiteLLM translated it.
    *_, request = await llmock.requests()
    assert upstream_calls(request["body"]) == [("weather", each) for each in arguments]
    first, second = upstream_results(request["body"])
    assert first == ('{"output": "sunny"}' if name == "gemini" else "sunny")
    assert json.loads(second) == {"sky": "grey"}


@each_route
async def test_limit_ends_the_reply_and_hands_out_no_call(
    name: str, model: str, proxy: str, llmock: LLMock
) -> None:
    call = {"name": "weather", "arguments": {"place": "Bern"}}
    llmock._next("reply", text="one two", tool_calls=[call], finish_reason="length")
    options = {"tools": TOOLS[name], LIMITS[name]: 20}
    async with ask(service(name, proxy), "Hello", model, **options) as reply:
        assert await reply.text() == "one two"
    assert reply.finish_kind == "length"
    assert reply.tool_calls == []
    assert "weather" not in json.dumps(reply.messages)
    (request,) = await llmock.requests()
    assert 20 in request["body"].values()


@each_route
async def test_leaving_early_is_seen_by_the_server_behind(
    name: str, model: str, proxy: str, llmock: LLMock
) -> None:
    llmock.reply(TEXT)
    llmock.interrupt("stall", after=HEADS[model] + 2)
    backend = service(name, proxy)
    async with ask(backend, "Hello", model) as reply:
        assert await anext(reply) == "one "
    llmock.reply(TEXT)
    async with ask(backend, "Hello", model) as reply:
        assert await reply.text() == TEXT
    requests = await llmock.requests()
    assert [request["completed"] for request in requests] == [False, True]


@each_route_to_chat
async def test_damage_behind_litellm_is_an_error_with_the_text_so_far(
    name: str, proxy: str, llmock: LLMock
) -> None:
    llmock.reply(TEXT)
    llmock.interrupt("malformed", after=HEADS["chat"] + 2)
    texts, error = await collect(ask(service(name, proxy), "Hello", "chat"))
    assert isinstance(error, BackendError)
    assert "Unterminated string" in str(error)
    assert texts == ["one ", "two "]
    assert error.text == "one two "
