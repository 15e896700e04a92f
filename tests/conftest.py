from __future__ import annotations

import gc
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest
from hypothesis import HealthCheck, settings

from sseparse import SSEDecoder
from tests.support.classes import in_python

# The decoders' tests run where no HTTP library and no msgspec can be installed.
if TYPE_CHECKING:
    from tests.support.servers import Serve

# No deadlines: a busy machine fails no test. HYPOTHESIS_PROFILE chooses the number of examples.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("brief", patient, max_examples=10)
settings.register_profile("quick", patient, max_examples=40)
settings.register_profile("ci", patient, max_examples=100)
settings.register_profile("deep", patient, max_examples=100_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

# Every implementation of SSEDecoder: each test of the decoder runs on all of them.
DECODER_CLASSES: dict[str, type[SSEDecoder[Any]]] = {"python": in_python(SSEDecoder)}
if in_python(SSEDecoder) is not SSEDecoder:
    DECODER_CLASSES["compiled"] = SSEDecoder


@pytest.fixture(scope="session", params=DECODER_CLASSES.values(), ids=list(DECODER_CLASSES))
def decoder_class(request: pytest.FixtureRequest) -> type[SSEDecoder[Any]]:
    return cast("type[SSEDecoder[Any]]", request.param)


@pytest.fixture(scope="session", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return cast("str", request.param)


@pytest.fixture(scope="session", params=["asyncio", "trio", "threads"])
def face(request: pytest.FixtureRequest) -> str:
    """The loop for an async face, or "threads" for the one without a loop."""
    return cast("str", request.param)


@pytest.fixture(scope="module", autouse=True)
def quick_collection() -> None:
    """Exempt all that is older than a module's tests from garbage collection.

    `nothing_is_left` collects twice for each test: 0.5 s each time otherwise, 5 ms with this.
    """
    gc.collect()
    if sys.implementation.name == "cpython":
        gc.freeze()


@pytest.fixture
async def nothing_is_left() -> AsyncIterator[None]:
    """No socket is left open, and what is unclosed warns: the warnings are errors."""
    from tests.support.servers import open_sockets

    before = open_sockets()
    yield
    assert open_sockets() == before
    await anyio.lowlevel.checkpoint()


@pytest.fixture
def full_backlog() -> Iterator[int]:
    """The port of a listener that takes no more connections: one to it stays half made."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        waiting = [socket.socket() for _ in range(4)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
        for client in waiting:
            client.close()


@pytest.fixture
def served() -> Iterator[Serve]:
    from tests.support.servers import serving

    with serving() as start:
        yield start
