"""The backends against `transformers serve` with a tiny model that is made on the spot.

    uv run --group test --with 'transformers[serving]' --with torch pytest -m real_servers \
        tests/backends/test_local_models.py

These tests need no network and take about a minute. Last run with transformers 5.24.0 and torch
2.13.0.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from subprocess import run
from typing import Any

import pytest

from sseparse import UnexpectedResponse
from sseparse_backends import (
    Backend,
    BackendError,
    Finish,
    Reasoning,
    ReplyStream,
    ToolCall,
    Usage,
    get_backend,
    stream,
)
from tests.support.real_servers import LIMITS, TOOLS, run_server
from tests.support.servers import collect
from tests.support.tiny_model import PLACES, RESULTS, TEXT

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.real_servers,
    pytest.mark.skipif(
        find_spec("transformers") is None or find_spec("torch") is None,
        reason="transformers[serving] and torch are not installed",
    ),
    pytest.mark.usefixtures("nothing_is_left"),
]

each_backend = pytest.mark.parametrize("name", ["openai", "openai-responses"])

# Whether a stream is asked for. Without, the server answers with one JSON object.
each_form = pytest.mark.parametrize("is_stream", [True, False], ids=["stream", "object"])


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("transformers")
    repository = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.support.tiny_model", str(folder / "tiny")]
    run(command, cwd=repository, check=True)
    with run_server(
        [
            *(sys.executable, "-m", "transformers.cli.transformers", "serve", "tiny"),
            *("--host", "127.0.0.1", "--port", "{port}", "--device", "cpu"),
        ],
        folder=folder,
        ready="/health",
        HF_HOME=str(folder),
        HF_HUB_OFFLINE="1",
        OMP_NUM_THREADS="1",
    ) as url:
        yield url


def service(name: str, server: str, **arguments: Any) -> Backend:
    return get_backend(name, base_url=f"{server}/v1", **arguments)


def ask(backend: Backend, messages: Any, **options: Any) -> ReplyStream:
    return stream(backend, messages, model="tiny", timeout=60, **options)


@each_form
@each_backend
async def test_reply_is_its_text_then_usage_then_the_reason(
    name: str, is_stream: bool, server: str
) -> None:
    backend = service(name, server, extra_body={"stream": is_stream})
    async with ask(backend, "Hello") as reply:
        texts = [text async for text in reply]
    assert "".join(texts) == reply.text_so_far == TEXT
    assert (len(texts) > 1) == is_stream
    assert reply.finish_kind == "stop"
    # A token is a byte; the last one ends the reply.
    assert isinstance(reply.usage, Usage)
    assert reply.usage.output_tokens == len(TEXT.encode()) + 1
    assert reply.served_model == "tiny"
    assert reply.id
    assert reply.status == 200


@each_form
@each_backend
async def test_second_turn_goes_on_with_the_first(name: str, is_stream: bool, server: str) -> None:
    backend = service(name, server, extra_body={"stream": is_stream})
    messages: list[Any] = [{"role": "user", "content": "Hello"}]
    async with ask(backend, messages) as reply:
        await reply.text()
    messages += reply.messages
    messages += [{"role": "user", "content": "Again"}]
    async with ask(backend, messages) as reply:
        # The model has learnt this reply to exactly these messages.
        assert await reply.text() == "2"


@each_form
@each_backend
@pytest.mark.parametrize(
    ("prompt", "before", "places"),
    [("Weather", [("reasoning", "Hm")], PLACES), ("Look", [("text", "Hm")], PLACES[:1])],
    ids=["reasoning", "text"],
)
async def test_calls_and_their_results_are_two_turns(
    name: str,
    is_stream: bool,
    prompt: str,
    before: list[tuple[str, str]],
    places: list[str],
    server: str,
) -> None:
    backend: Any = service(name, server, extra_body={"stream": is_stream})
    messages: list[Any] = [{"role": "user", "content": prompt}]
    async with ask(backend, messages, tools=TOOLS[name]) as reply:
        deltas = [delta async for delta in reply.deltas()]
    reasoning = "".join(delta.text for delta in deltas if isinstance(delta, Reasoning))
    said = [("reasoning", reasoning), ("text", reply.text_so_far)]
    assert [(kind, text) for kind, text in said if text] == before
    calls = [delta for delta in deltas if isinstance(delta, ToolCall)]
    assert reply.tool_calls == calls
    assert [(call.index, call.name, call.kind) for call in calls] == [
        (index, "weather", "function") for index in range(len(places))
    ]
    assert [json.loads(call.arguments) for call in calls] == [{"place": place} for place in places]
    assert len({call.id for call in calls} - {""}) == len(places)
    assert isinstance(deltas[-1], Finish)
    assert deltas[-1].kind == "tool_calls"

    messages += reply.messages
    messages += [
        backend.tool_result(call, result) for call, result in zip(calls, RESULTS, strict=False)
    ]
    async with ask(backend, messages, tools=TOOLS[name]) as reply:
        assert await reply.text() == ", ".join(RESULTS[: len(places)])
    assert reply.finish_kind == "stop"


@each_form
@each_backend
async def test_limit_ends_the_reply(name: str, is_stream: bool, server: str) -> None:
    backend = service(name, server, extra_body={"stream": is_stream})
    async with ask(backend, "Hello", **{LIMITS[name]: 6}) as reply:
        assert await reply.text() == TEXT[:6]
    # Responses of the server are always "completed".
    assert reply.finish_kind == ("length" if name == "openai" else "stop")


@each_backend
async def test_call_that_the_limit_cuts_is_none(name: str, server: str) -> None:
    backend = service(name, server)
    options = {"tools": TOOLS[name], LIMITS[name]: 40}
    async with ask(backend, "Weather", **options) as reply:
        assert await reply.text() == ""
    assert reply.tool_calls == []
    assert "weather" not in json.dumps(reply.messages)


@each_backend
async def test_leaving_early_ends_the_generation(name: str, server: str) -> None:
    backend = service(name, server)
    # The song would take over a minute, and the server makes one reply at a time.
    async with ask(backend, "Sing", **{LIMITS[name]: 15000}) as reply:
        assert await anext(reply) == "l"
    async with ask(backend, "Hello") as reply:
        assert await reply.text() == TEXT


@each_backend
async def test_error_in_the_stream_has_the_words_of_the_server(name: str, server: str) -> None:
    texts, error = await collect(ask(service(name, server), "Hello", **{LIMITS[name]: -1}))
    assert texts == []
    assert isinstance(error, BackendError)
    assert "`max_new_tokens` must be greater than 0" in str(error)


@each_backend
async def test_refusal_has_the_words_of_the_server(name: str, server: str) -> None:
    backend = service(name, server, extra_body={"nonsense": 1})
    texts, error = await collect(ask(backend, "Hello"))
    assert texts == []
    assert isinstance(error, UnexpectedResponse)
    assert error.status == 422
    assert "Unexpected fields in the request: {'nonsense'}" in str(error)
