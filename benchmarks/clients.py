"""Whole clients: libraries that stream the reply of a service, each as its users write it.

Each is a context manager that takes the server's URL and yields a function to ask a model. SDKs and
HTTP clients stay open between replies.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from typing import Any, NamedTuple

import httpx2

from sseparse import adecode
from sseparse.transports import SyncTransport, Transport
from sseparse.transports.httpx2 import HTTPX2Transport
from sseparse.transports.sync_httpx2 import SyncHTTPX2Transport
from sseparse_backends import Anthropic, Backend, Gemini, OpenAI, stream, sync

KEY = "none"
PROMPT = "Hello"
MESSAGES = [{"role": "user", "content": PROMPT}]

Take = Callable[[str], object]
# Asks a model and takes the pieces of its reply. A coroutine function, except in threads.
Ask = Callable[[str, Take], Any]


class Client(NamedTuple):
    """A client.

    open: takes the server's URL; returns the context manager.
    runner: "asyncio", "uvloop", "trio" or "threads".
    package: the package that has to be installed besides those of the tests, or "".
    """

    open: Callable[[str], Any]
    runner: str = "asyncio"
    package: str = ""


# sseparse


@asynccontextmanager
async def _on_httpx2() -> AsyncGenerator[Transport, None]:
    async with httpx2.AsyncClient() as client:
        yield HTTPX2Transport(client)


@asynccontextmanager
async def _on_aiohttp() -> AsyncGenerator[Transport, None]:
    import aiohttp

    from sseparse.transports.aiohttp import AiohttpTransport

    async with aiohttp.ClientSession() as session:
        yield AiohttpTransport(session)


@asynccontextmanager
async def _stream(
    transport: Callable[[], AbstractAsyncContextManager[Transport | None]],
    backend: Callable[[str], Backend],
    url: str,
) -> AsyncGenerator[Ask, None]:
    service = backend(url)
    async with transport() as opened:

        async def ask(model: str, take: Take) -> None:
            async with stream(service, PROMPT, model=model, transport=opened) as reply:
                async for text in reply:
                    take(text)

        yield ask


@contextmanager
def _sync_on_httpx2() -> Generator[SyncTransport, None, None]:
    with httpx2.Client() as client:
        yield SyncHTTPX2Transport(client)


@contextmanager
def _sync_stream(
    transport: Callable[[], AbstractContextManager[SyncTransport | None]], url: str
) -> Generator[Ask, None, None]:
    service = _openai(url)
    with transport() as opened:

        def ask(model: str, take: Take) -> None:
            with sync.stream(service, PROMPT, model=model, transport=opened) as reply:
                for text in reply:
                    take(text)

        yield ask


def _openai(url: str) -> Backend:
    return OpenAI(api_key=KEY, base_url=f"{url}/v1")


def _anthropic(url: str) -> Backend:
    return Anthropic(api_key=KEY, base_url=url)


def _gemini(url: str) -> Backend:
    return Gemini(api_key=KEY, base_url=f"{url}/v1beta")


# OpenAI's protocol by hand


def _request(model: str) -> dict[str, Any]:
    return {"model": model, "messages": MESSAGES, "stream": True}


def _text(data: str | bytes) -> str | None:
    """Return the text of an event, if any."""
    if data in ("[DONE]", b"[DONE]"):
        return None
    choices = json.loads(data)["choices"]
    text: str | None = choices[0]["delta"].get("content") if choices else None
    return text


@asynccontextmanager
async def _adecode(url: str) -> AsyncGenerator[Ask, None]:
    import aiohttp

    async with aiohttp.ClientSession() as session:

        async def ask(model: str, take: Take) -> None:
            async with session.post(f"{url}/chat/completions", json=_request(model)) as response:
                async for event in adecode(response):
                    if text := _text(event.data):
                        take(text)

        yield ask


@asynccontextmanager
async def _lines_by_hand(url: str) -> AsyncGenerator[Ask, None]:
    import aiohttp

    async with aiohttp.ClientSession() as session:

        async def ask(model: str, take: Take) -> None:
            rest = b""
            async with session.post(f"{url}/chat/completions", json=_request(model)) as response:
                async for chunk in response.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        if line.startswith(b"data: ") and (text := _text(line[6:])):
                            take(text)

        yield ask


@asynccontextmanager
async def _event_source(url: str) -> AsyncGenerator[Ask, None]:
    async with httpx2.AsyncClient() as client:

        async def ask(model: str, take: Take) -> None:
            address = f"{url}/chat/completions"
            async with client.stream("POST", address, json=_request(model)) as response:
                async for event in httpx2.EventSource(response):
                    if text := _text(event.data):
                        take(text)

        yield ask


@contextmanager
def _sync_event_source(url: str) -> Generator[Ask, None, None]:
    with httpx2.Client() as client:

        def ask(model: str, take: Take) -> None:
            address = f"{url}/chat/completions"
            with client.stream("POST", address, json=_request(model)) as response:
                for event in httpx2.EventSource(response):
                    if text := _text(event.data):
                        take(text)

        yield ask


# Libraries for OpenAI's protocol


@asynccontextmanager
async def _openai_sdk(url: str, on_aiohttp: bool = False) -> AsyncGenerator[Ask, None]:
    from openai import AsyncOpenAI, DefaultAioHttpClient

    http_client = DefaultAioHttpClient() if on_aiohttp else None
    async with AsyncOpenAI(api_key=KEY, base_url=url, http_client=http_client) as client:

        async def ask(model: str, take: Take) -> None:
            reply = await client.chat.completions.create(**_request(model))
            async for chunk in reply:
                if chunk.choices and (text := chunk.choices[0].delta.content):
                    take(text)

        yield ask


@contextmanager
def _sync_openai_sdk(url: str) -> Generator[Ask, None, None]:
    from openai import OpenAI

    with OpenAI(api_key=KEY, base_url=url) as client:

        def ask(model: str, take: Take) -> None:
            for chunk in client.chat.completions.create(**_request(model)):
                if chunk.choices and (text := chunk.choices[0].delta.content):
                    take(text)

        yield ask


@asynccontextmanager
async def _litellm(url: str) -> AsyncGenerator[Ask, None]:
    # Else it is fetched from a server.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    async def ask(model: str, take: Take) -> None:
        request = _request(f"openai/{model}")
        reply = await litellm.acompletion(**request, api_key=KEY, api_base=url)
        async for chunk in reply:
            if chunk.choices and (text := chunk.choices[0].delta.content):
                take(text)

    yield ask


@asynccontextmanager
async def _pydantic_ai(url: str) -> AsyncGenerator[Ask, None]:
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(base_url=url, api_key=KEY)
    agent = Agent()

    async def ask(model: str, take: Take) -> None:
        chat = OpenAIChatModel(model, provider=provider)
        async with agent.run_stream(PROMPT, model=chat) as reply:
            # By default it collects the text of 0.1 s.
            async for text in reply.stream_text(delta=True, debounce_by=None):
                take(text)

    yield ask


@asynccontextmanager
async def _llm(url: str) -> AsyncGenerator[Ask, None]:
    from llm.default_plugins.openai_models import AsyncChat

    async def ask(model: str, take: Take) -> None:
        async for text in AsyncChat(model, key=KEY, api_base=url).prompt(PROMPT, key=KEY):
            if text:
                take(text)

    yield ask


# Libraries of other services


@asynccontextmanager
async def _anthropic_sdk(url: str) -> AsyncGenerator[Ask, None]:
    from anthropic import AsyncAnthropic

    async with AsyncAnthropic(api_key=KEY, base_url=url) as client:

        async def ask(model: str, take: Take) -> None:
            request: Any = {"model": model, "max_tokens": 10_000, "messages": MESSAGES}
            async with client.messages.stream(**request) as reply:
                async for text in reply.text_stream:
                    take(text)

        yield ask


@asynccontextmanager
async def _google_genai(url: str) -> AsyncGenerator[Ask, None]:
    from google import genai

    async with genai.Client(api_key=KEY, http_options={"base_url": url}).aio as client:

        async def ask(model: str, take: Take) -> None:
            reply = await client.models.generate_content_stream(model=model, contents=PROMPT)
            async for chunk in reply:
                if text := chunk.text:
                    take(text)

        yield ask


def _own(backend: Callable[[str], Backend]) -> dict[str, Client]:
    """Return the clients of sseparse for a service."""
    return {
        "sseparse: stream on httpx2": Client(partial(_stream, _on_httpx2, backend)),
        "sseparse: stream on its own httpx2 client": Client(partial(_stream, nullcontext, backend)),
        "sseparse: stream on an open HTTPX2Transport": Client(
            partial(_stream, HTTPX2Transport, backend)
        ),
        "sseparse: stream on aiohttp": Client(partial(_stream, _on_aiohttp, backend)),
    }


def _on_uvloop(clients: dict[str, Client]) -> dict[str, Client]:
    return {
        f"{name} (uvloop)": client._replace(runner="uvloop", package="uvloop")
        for name, client in clients.items()
    }


def _on_trio(clients: dict[str, Client]) -> dict[str, Client]:
    return {
        f"{name} (trio)": client._replace(runner="trio")
        for name, client in clients.items()
        if "aiohttp" not in name
    }


_BY_HAND = {"aiohttp: lines by hand, json.loads": Client(_lines_by_hand)}

# The clients of each service.
CLIENTS: dict[str, dict[str, Client]] = {
    "OpenAI": {
        **_own(_openai),
        **_on_uvloop(_own(_openai)),
        **_on_trio(_own(_openai)),
        "sseparse: sync.stream on httpx2 (threads)": Client(
            partial(_sync_stream, _sync_on_httpx2), "threads"
        ),
        "sseparse: sync.stream on its own httpx2 client (threads)": Client(
            partial(_sync_stream, nullcontext), "threads"
        ),
        "sseparse: adecode on aiohttp, json.loads": Client(_adecode),
        **_BY_HAND,
        **_on_uvloop(_BY_HAND),
        "httpx2: EventSource, json.loads": Client(_event_source),
        "httpx2: EventSource, json.loads (threads)": Client(_sync_event_source, "threads"),
        "openai": Client(_openai_sdk, package="openai"),
        "openai on aiohttp": Client(partial(_openai_sdk, on_aiohttp=True), package="openai"),
        "openai (threads)": Client(_sync_openai_sdk, "threads", "openai"),
        "litellm": Client(_litellm, package="litellm"),
        "llm": Client(_llm, package="llm"),
        "pydantic-ai": Client(_pydantic_ai, package="pydantic-ai-slim"),
    },
    "Anthropic": {
        **_own(_anthropic),
        "anthropic": Client(_anthropic_sdk, package="anthropic"),
    },
    "Gemini": {
        **_own(_gemini),
        "google-genai": Client(_google_genai, package="google-genai"),
    },
}


def find_packages() -> tuple[dict[str, str], dict[str, str]]:
    """Return the versions of the clients' packages, and why some are missing."""
    clients = chain.from_iterable(by_name.values() for by_name in CLIENTS.values())
    packages = {"aiohttp", "httpx2", *(client.package for client in clients)} - {""}
    versions = {}
    missing = {}
    for package in sorted(packages):
        try:
            versions[package] = version(package)
        except PackageNotFoundError as error:
            missing[package] = str(error)
    return versions, missing
