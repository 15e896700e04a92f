"""The READMEs: every example runs, and prints the output that follows it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
READMES = [ROOT / "README.md", ROOT / "backends" / "README.md"]

# A block of Python, and the block of text with its output, if one follows.
EXAMPLE = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", re.DOTALL)
EXAMPLES = [
    pytest.param(*match.groups(), id=f"{path.parent.name}-{number}")
    for path in READMES
    for number, match in enumerate(EXAMPLE.finditer(path.read_text("utf-8")), start=1)
]


@pytest.mark.slow
@pytest.mark.parametrize(("code", "output"), EXAMPLES)
def test_an_example_runs_as_it_stands_and_prints_its_output(code: str, output: str | None) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-X", "utf8", "-c", code],
        capture_output=True,
        check=False,
        encoding="utf-8",
    )
    assert result.stderr == ""
    assert result.returncode == 0
    if output is not None:
        assert result.stdout == output


def test_every_block_of_python_is_an_example() -> None:
    blocks = sum(path.read_text("utf-8").count("```python") for path in READMES)
    assert len(EXAMPLES) == blocks > 0


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.parent.name)
def test_every_relative_link_leads_to_a_file(path: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", path.read_text("utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []
