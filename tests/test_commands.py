"""The commands `chat` and `backends`."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from importlib.metadata import EntryPoint, EntryPoints

import pytest
from click.testing import CliRunner, Result

from sseparse.__main__ import main
from sseparse_backends import _commands, _registry
from sseparse_backends.demo import DemoApp, DemoServer
from tests.test_main import start


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture(params=["asyncio", "trio"])
def loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(DemoApp(pause=0), monkeypatch)


def serve(app: DemoApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have --demo start a server of this application."""
    monkeypatch.setattr(_commands, "DemoServer", partial(DemoServer, app))


class TestChat:
    @pytest.mark.usefixtures("quick")
    def test_the_reply_is_printed_and_its_last_line_ended(self, loop: str) -> None:
        result = run("chat", "--demo", "Hello", "--model", "gpt-4o", "--async-backend", loop)
        assert result.stdout.startswith("You asked gpt-4o: “Hello”")
        assert result.stdout.endswith(".\n")
        assert result.exit_code == 0

    def test_the_text_is_printed_as_it_arrives(self, loop: str) -> None:
        with start("chat", "--demo", "Hello", "--async-backend", loop) as process:
            assert process.stdout is not None
            assert process.stdout.read(3) == b"You"
            assert process.poll() is None
            process.communicate(timeout=30)
        assert process.returncode == 0

    def test_ctrl_c_ends_it_without_a_traceback(self, loop: str) -> None:
        with start("chat", "--demo", "word " * 1000, "--async-backend", loop) as process:
            assert process.stdout is not None
            process.stdout.read(3)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
        assert process.returncode == 130
        assert errors.strip() == b""

    def test_a_closed_pipe_ends_it_without_a_traceback(self, loop: str) -> None:
        with start("chat", "--demo", "word " * 1000, "--async-backend", loop) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.read(3)
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(timeout=30) == 1

    @pytest.mark.usefixtures("quick")
    @pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
    def test_a_terminal_is_not_steered_by_the_reply(self, monkeypatch: pytest.MonkeyPatch) -> None:
        parent, child = os.openpty()
        with os.fdopen(parent, "rb", buffering=0) as screen, os.fdopen(child, "w") as terminal:
            monkeypatch.setattr(sys, "stdout", terminal)
            main(["chat", "--demo", "\x1b[31m\x9bred"], standalone_mode=False)
            shown = ""
            while not shown.endswith("\r\n"):
                shown += screen.read(4096).decode()
        assert "\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}red" in shown
        assert shown.endswith(".\r\n")

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--demo", "--model", "gpt-9"], "llama-3-70b, llama-3.1-70b"),
            (["--backend", "nobody"], "installed are darkai"),
            (["--demo", "--backend", "nobody"], "--demo stands in for darkai alone"),
            (["--demo", "--proxy", "gopher://here"], "gopher"),
            (["--demo", "--proxy", "http://127.0.0.1:1"], "127.0.0.1"),
            (["--demo", "--timeout", "0.001"], "not finished within 0.001 seconds"),
        ],
    )
    def test_what_goes_wrong_is_one_line_on_stderr(
        self, loop: str, arguments: list[str], words: str
    ) -> None:
        result = run("chat", "Hello", "--async-backend", loop, *arguments)
        assert words in result.stderr
        assert result.stderr.startswith("Error: ")
        assert result.stderr.count("\n") == 1
        assert result.stdout == ""
        assert result.exit_code == 1

    def test_a_reply_that_is_cut_fails_with_its_last_line_ended(
        self, loop: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        serve(DemoApp(drop_after=2), monkeypatch)
        result = run("chat", "--demo", "Hello", "--async-backend", loop)
        assert result.stdout == "You asked\n"
        assert "ended before it was finished" in result.stderr
        assert result.exit_code == 1

    def test_a_reply_that_is_cut_before_its_text_prints_nothing(
        self, loop: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        serve(DemoApp(drop_after=0), monkeypatch)
        result = run("chat", "--demo", "Hello", "--async-backend", loop)
        assert result.stdout == ""
        assert result.exit_code == 1

    def test_a_time_limit_must_be_positive(self) -> None:
        assert run("chat", "--demo", "Hello", "--timeout", "0").exit_code == 2


def test_a_backend_that_cannot_be_loaded_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = EntryPoints([EntryPoint("broken", "no_such_module:X", "sseparse.backends")])
    monkeypatch.setattr(_registry, "entry_points", entries.select)
    words = "the backend 'broken' cannot be loaded"
    assert words in " ".join(run("backends").stdout.replace("│", "").split())
    result = run("chat", "Hello", "--backend", "broken")
    assert words in result.stderr
    assert result.exit_code == 1


def test_the_installed_backends_are_listed() -> None:
    result = run("backends")
    assert "darkai" in result.stdout
    assert "llama-3-70b" in result.stdout
    assert result.exit_code == 0
