"""The README: its examples run, and print what it says they print."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"

# A block of Python, and the block of text that may follow it: what it prints.
EXAMPLE = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", re.DOTALL)
EXAMPLES = [match.groups() for match in EXAMPLE.finditer(README.read_text("utf-8"))]


@pytest.mark.parametrize(("code", "output"), EXAMPLES)
def test_an_example_runs_as_it_stands_and_prints_what_is_said(
    code: str, output: str | None
) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-X", "utf8", "-c", code],
        capture_output=True,
        timeout=60,
        check=False,
        encoding="utf-8",
    )
    assert result.stderr == ""
    assert result.returncode == 0
    if output is not None:
        assert result.stdout == output


def test_every_block_of_python_is_an_example() -> None:
    assert len(EXAMPLES) == README.read_text("utf-8").count("```python") > 0
