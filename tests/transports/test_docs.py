"""The example in the documentation of the transports runs as it stands."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import anyio
import pytest

from sseparse import transports

pytestmark = pytest.mark.anyio


async def test_transport_of_the_example_plays_a_recording(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    documentation = transports.__doc__ or ""
    names: dict[str, Any] = {}
    exec(textwrap.dedent(documentation[documentation.index("    import") :]), names)
    recording = tmp_path / "recording"
    await anyio.Path(recording).write_bytes(b"data: from a file\n\n")
    await names["main"](recording)
    assert capsys.readouterr().out == "from a file\n"
    with pytest.raises(ConnectionError, match="no such"):
        await names["Player"](tmp_path / "no such").send(None)
