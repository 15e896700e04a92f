"""Output to a full disk, a closed pipe or a lost terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import CHUNKED, Serve, chunk, until_client_leaves

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals"),
]

EVENT = "data: é 漢\n\n".encode()


FULL = b"Error: cannot write all of the output: [Errno 28] No space left on device"


@pytest.fixture(params=["decode", "listen"])
def command(request: pytest.FixtureRequest, served: Serve, tmp_path: Path) -> list[str]:
    """A command that prints an event, and ends after it."""
    if request.param == "listen":
        server = served([CHUNKED + chunk(EVENT), until_client_leaves])
        return ["listen", server.url, "--max-events", "1"]
    path = tmp_path / "stream"
    path.write_bytes(EVENT)
    return ["decode", str(path)]


def run(
    *arguments: str,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
    **environment: str,
) -> tuple[int, bytes]:
    """Run the command line, and return its status and what it wrote to a pipe on stderr."""
    result = subprocess.run(
        [sys.executable, "-m", "sseparse", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env={**os.environ, "NO_PROXY": "*", **environment},
        start_new_session=True,
        timeout=120,
        check=False,
    )
    return result.returncode, result.stderr


def last_line(errors: bytes) -> bytes:
    """Return the last line, which stands after nothing but the states of a connection."""
    *states, last = errors.splitlines()
    assert all(line.startswith(b"* ") for line in states)
    return last


@pytest.fixture
def full_disk() -> Iterator[int]:
    if not Path("/dev/full").exists():
        pytest.skip("there is no full device")
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def closed_pipe() -> Iterator[int]:
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.fixture
def lost_terminal() -> Iterator[int]:
    parent, child = os.openpty()
    os.close(parent)
    yield child
    os.close(child)


def test_full_disk_is_one_line(command: list[str], full_disk: int) -> None:
    status, errors = run(*command, stdout=full_disk)
    assert (
        last_line(errors)
        == b"Error: cannot write all of the output: [Errno 28] No space left on device"
    )
    assert status == 1


@pytest.mark.parametrize("arguments", [["-h"], ["--version"], ["decode", "-h"]])
def test_help_on_a_full_disk_is_one_line(arguments: list[str], full_disk: int) -> None:
    status, errors = run(*arguments, stdout=full_disk)
    assert errors == FULL + b"\n"
    assert status == 1


def test_lost_terminal_is_one_line(command: list[str], lost_terminal: int) -> None:
    status, errors = run(*command, stdout=lost_terminal)
    assert last_line(errors) == b"Error: [Errno 5] Input/output error"
    assert status == 1


def test_closed_pipe_is_no_error(command: list[str], closed_pipe: int) -> None:
    status, errors = run(*command, stdout=closed_pipe)
    assert b"Error" not in errors
    assert status == 1


@pytest.mark.parametrize("place", ["full_disk", "closed_pipe", "lost_terminal"])
def test_status_lines_without_a_place_cost_no_event(
    request: pytest.FixtureRequest, command: list[str], place: str
) -> None:
    reader, writer = os.pipe()
    status, _ = run(*command, stdout=writer, stderr=request.getfixturevalue(place))
    os.close(writer)
    with open(reader, "rb") as output:  # noqa: PTH123 - a descriptor
        assert output.read() != b""
    assert status == 0


def test_hang_up_ends_it(served: Serve) -> None:
    server = served([CHUNKED + chunk(EVENT), until_client_leaves])
    parent, child = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "sseparse", "listen", server.url],
        stdin=child,
        stdout=child,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(child), os.O_RDWR)),
    ) as process:
        os.close(child)
        shown = b""
        while "漢".encode() not in shown:
            shown += os.read(parent, 1024)
        os.close(parent)
        _, errors = process.communicate(timeout=120)
    assert all(line.startswith(b"* ") for line in errors.splitlines())
    assert process.returncode == -signal.SIGHUP


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_terminal_without_utf_8_gets_what_it_can_show(command: list[str], encoding: str) -> None:
    parent, child = os.openpty()
    status, errors = run(*command, stdout=child, LC_ALL="C", PYTHONIOENCODING=encoding)
    os.close(child)
    with os.fdopen(parent, "rb", buffering=0) as screen:
        assert len(screen.read(4096).splitlines()) == (1 if command[0] == "decode" else 2)
    assert b"Error" not in errors
    assert status == 0
