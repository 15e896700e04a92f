"""The example in the documentation of the transports runs as it stands."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import anyio
import pytest
import requests

from sseparse import transports
from sseparse.sync import EventSource
from tests.support.servers import Serve, head, until_client_leaves


@pytest.mark.anyio
async def test_transport_of_the_example_plays_a_recording(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    documentation = transports.__doc__ or ""
    names: dict[str, Any] = {}
    example = documentation[documentation.index("    import anyio") :]
    exec(textwrap.dedent(example[: example.index("For threads")]), names)
    recording = tmp_path / "recording"
    await anyio.Path(recording).write_bytes(b"data: from a file\n\n")
    await names["main"](recording)
    assert capsys.readouterr().out == "from a file\n"
    with pytest.raises(ConnectionError, match="no such"):
        await names["Player"](tmp_path / "no such").send(None)


def test_transport_of_the_example_for_threads_sends_with_requests(served: Serve) -> None:
    documentation = transports.__doc__ or ""
    start = documentation.index("    import requests")
    names: dict[str, Any] = {}
    exec(textwrap.dedent(documentation[start:]), names)
    target = served([head() + b"data: Hello\n\n"])
    server = served([head(307, f"location: {target.url}", "content-length: 0")])
    assert names["first"](server.url).data == "Hello"
    with requests.Session() as session:
        transport = names["RequestsTransport"](session)
        source = EventSource(server.url, transport=transport, headers={"x-api-key": "secret"})
        assert next(source).data == "Hello"
        source.close()
    assert b"secret" in server.requests[1]
    assert b"secret" not in target.requests[1]
    with pytest.raises(ConnectionError, match=r"^ConnectionError$"), requests.Session() as session:
        next(
            EventSource(
                "http://127.0.0.1:1/", max_attempts=1, transport=names["RequestsTransport"](session)
            )
        )


def test_limits_hold_over_the_transport_of_the_example(served: Serve) -> None:
    documentation = transports.__doc__ or ""
    names: dict[str, Any] = {}
    exec(textwrap.dedent(documentation[documentation.index("    import requests") :]), names)
    for steps in ([until_client_leaves], [head() + b"data: Hello\n\n", until_client_leaves]):
        with requests.Session() as session:
            source = EventSource(
                served(steps).url,
                max_attempts=1,
                idle_timeout=0.2,
                transport=names["RequestsTransport"](session),
            )
            received: list[str] = []
            with pytest.raises(TimeoutError, match="nothing arrived"):  # noqa: PT012
                for item in source:
                    received.append(item.data)
                    source._attempts._policy._max_attempts = 0  # type: ignore[attr-defined]
            assert received == ["Hello"] * (len(steps) - 1)
