from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from sseparse.transports import Transport
from tests.support.transports import Library, record_own_clients


@pytest.fixture
def own_clients(library: Library, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The clients that the transport makes for itself."""
    return record_own_clients(library, monkeypatch)


@pytest.fixture
async def transport(library: Library, nothing_is_left: None) -> AsyncIterator[Transport]:
    """A transport without a client of the caller's, where it can do without."""
    if library.own is not None:
        yield library.make()
    else:
        async with library.client() as client:
            yield library.make(client)
