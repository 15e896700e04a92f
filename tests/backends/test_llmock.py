"""The backends against the server llmock on loopback: replies, faults, refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sseparse import IncompleteStream, InvalidJSON, UnexpectedResponse
from sseparse_backends import (
    Backend,
    Finish,
    ReplyStream,
    ReplyTimeout,
    ToolCall,
    Usage,
    get_backend,
    stream,
)
from tests.support.llmock_server import Fault, LLMock, Service
from tests.support.llmock_server import llmock as llmock
from tests.support.llmock_server import llmock_server as llmock_server
from tests.support.servers import collect

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.usefixtures("nothing_is_left"),
]

# Each backend with the service of llmock that it talks to.
SERVICES: dict[str, Service] = {
    "anthropic": "anthropic",
    "cohere": "cohere",
    "gemini": "gemini",
    "openai": "openai",
    "openai-responses": "openai",
}
WORDS = "one two three four"
TEXTS = ["one ", "two ", "three ", "four"]

# The number of events before the first word; after them each event is a word.
HEADS = {"anthropic": 3, "cohere": 2, "gemini": 0, "openai": 1, "openai-responses": 4}

each_backend = pytest.mark.parametrize("name", SERVICES)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


def backend(name: str, llmock: LLMock) -> Backend:
    return get_backend(name, base_url=llmock.url(SERVICES[name]), api_key="secret")


def ask(name: str, llmock: LLMock, **options: Any) -> ReplyStream:
    return stream(backend(name, llmock), "Hello", model="tiny", timeout=60, **options)


@each_backend
async def test_reply_is_its_text_then_usage_then_the_reason(name: str, llmock: LLMock) -> None:
    llmock.reply(WORDS + " é\n 漢🎉")
    async with ask(name, llmock) as reply:
        deltas = [delta async for delta in reply.deltas()]
        assert await reply.text() == WORDS + " é\n 漢🎉"
    assert isinstance(reply.usage, Usage)
    assert reply.usage.output_tokens > 0
    assert isinstance(deltas[-1], Finish)
    assert reply.finish_reason == deltas[-1].reason is not None
    (request,) = await llmock.requests()
    assert (request["status"], request["stream"], request["completed"]) == (200, True, True)
    assert request["model"] == "tiny"


@each_backend
async def test_calls_of_tools_are_whole_and_in_order(name: str, llmock: LLMock) -> None:
    first, second = {"place": "Zürich", "days": [1, 2, 3]}, {"place": "Bern"}
    llmock.reply(WORDS, ("weather", first), ("weather", second))
    async with ask(name, llmock) as reply:
        deltas = [delta async for delta in reply.deltas()]
    calls = [delta for delta in deltas if isinstance(delta, ToolCall)]
    assert [(call.index, call.name) for call in calls] == [(0, "weather"), (1, "weather")]
    assert [json.loads(call.arguments) for call in calls] == [first, second]
    if name != "gemini":  # llmock sends no IDs for it
        assert len({call.id for call in calls} - {""}) == 2


@each_backend
@pytest.mark.parametrize("words", [0, 1, 3])
@pytest.mark.parametrize("fault", ["disconnect", "truncate"])
async def test_reply_that_is_cut_is_incomplete_with_the_text_so_far(
    name: str, words: int, fault: Fault, llmock: LLMock
) -> None:
    llmock.reply(WORDS)
    llmock.interrupt(fault, after=HEADS[name] + words)
    texts, error = await collect(ask(name, llmock))
    assert texts == TEXTS[:words]
    assert isinstance(error, IncompleteStream)
    assert error.text == "".join(texts)
    assert isinstance(error.__cause__, ConnectionError) == (fault == "disconnect")


@each_backend
async def test_reply_that_stalls_is_a_timeout_with_the_text_so_far(
    name: str, llmock: LLMock
) -> None:
    llmock.reply(WORDS)
    llmock.interrupt("stall", after=HEADS[name] + 1)
    texts, error = await collect(ask(name, llmock, idle_timeout=0.2))
    # On a busy machine the first word may come too late.
    assert texts in ([], TEXTS[:1])
    assert isinstance(error, ReplyTimeout)
    assert (error.limit, error.text) == (0.2, "".join(texts))
    # The server has seen that the client left.
    (request,) = await llmock.requests()
    assert not request["completed"]


@each_backend
@pytest.mark.parametrize("words", [0, 1, 3])
async def test_damaged_event_is_invalid_json_with_what_was_sent(
    name: str, words: int, llmock: LLMock
) -> None:
    llmock.reply(WORDS)
    llmock.interrupt("malformed", after=HEADS[name] + words)
    reply = ask(name, llmock)
    texts, error = await collect(reply)
    assert texts == TEXTS[:words]
    assert isinstance(error, InvalidJSON)
    assert error.line.startswith(b'{"')
    assert reply.text_so_far == "".join(texts)


@each_backend
@pytest.mark.parametrize("status", [401, 404, 429, 500])
async def test_refusal_has_the_words_of_the_service_and_the_wait(
    name: str, status: int, llmock: LLMock
) -> None:
    llmock.fail(status, retry_after=7 if status == 429 else None, message="No, thank you.")
    texts, error = await collect(ask(name, llmock))
    assert texts == []
    assert isinstance(error, UnexpectedResponse)
    assert error.status == status
    assert "No, thank you." in str(error)
    assert error.retry_after == (7 if status == 429 else None)


@each_backend
async def test_refusal_that_may_pass_is_tried_again(name: str, llmock: LLMock) -> None:
    llmock.fail(503, retry_after=0)
    llmock.reply(WORDS)
    assert await collect(ask(name, llmock, retries=1)) == (TEXTS, None)
    assert [request["status"] for request in await llmock.requests()] == [503, 200]


@each_backend
async def test_leaving_early_closes_the_connection(name: str, llmock: LLMock) -> None:
    llmock.reply(WORDS)
    llmock.interrupt("stall", after=HEADS[name] + 2)
    async with ask(name, llmock) as reply:
        assert await anext(reply) == TEXTS[0]
    (request,) = await llmock.requests()
    assert not request["completed"]
