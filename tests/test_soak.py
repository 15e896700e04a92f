"""The soak runs, for two seconds."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_nothing_is_lost_doubled_or_left() -> None:
    options = "--seconds 2 --streams 10 --replies 10 --pace 0.01 --every 0.5".split()
    subjects = ["asyncio-shared", "trio-httpx2", "threads-httpx2"]
    command = [sys.executable, "-m", "tests.soak", *options, *subjects]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    for subject in subjects:
        assert f'"subject": "{subject}", "seconds": ' in result.stdout
    # Two seconds are too short for that.
    assert result.stdout.count("too few lines to judge the growth of blocks") == len(subjects)
