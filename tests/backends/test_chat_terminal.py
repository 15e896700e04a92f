"""`chat` in a real terminal: conversations, rendered Markdown, and lost or odd terminals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.commands import start
from tests.support.ollama import START, line, ollama, reply, sent, talk
from tests.support.servers import Serve, head, until_client_leaves

if sys.platform == "win32":
    pytest.skip("there are no pseudo-terminals", allow_module_level=True)

from tests.support.terminals import Terminal, terminal

pytestmark = pytest.mark.slow

HELLO = {"role": "user", "content": "Hello"}


@pytest.fixture(params=["asyncio", "trio"])
def loop(request: pytest.FixtureRequest) -> list[str]:
    return ["--async-backend", str(request.param)]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("SSEPARSE_BACKEND", raising=False)
    monkeypatch.delenv("OLLAMA_API_KEY", raising=False)


@contextmanager
def conversation(*arguments: str, status: int = 0) -> Iterator[Terminal]:
    """A conversation, which Ctrl-D ends with this status."""
    with terminal("chat", *arguments) as running:
        running.expect(">")
        yield running
        running.send("\x04")
        assert running.wait() == status


def say(running: Terminal, text: str, answer: str) -> None:
    """Send a line, and wait for the answer and the next prompt."""
    running.send(f"{text}\r")
    running.expect(f"{answer}\r\n")
    running.expect(">")


class TestConversation:
    def test_each_turn_goes_on_with_the_ones_before(self, served: Serve, loop: list[str]) -> None:
        server = served([reply("Hi!")], [reply("Bye!")])
        with conversation(*talk(server), "-s", "Be brief.", *loop) as running:
            say(running, "Hello", "Hi!")
            say(running, "  ", "")
            say(running, "Enough", "Bye!")
        system = {"role": "system", "content": "Be brief."}
        turn = [HELLO, {"role": "assistant", "content": "Hi!"}]
        assert sent(server, 0) == [system, HELLO]
        assert sent(server, 1) == [system, *turn, {"role": "user", "content": "Enough"}]

    def test_ctrl_c_ends_a_reply_and_keeps_the_conversation(
        self, served: Serve, loop: list[str]
    ) -> None:
        piece = line({"message": {"content": "Well, "}})
        stalled = [START + piece, until_client_leaves]
        server = served([reply("Hi!")], stalled, stalled, [reply("Bye!")])
        with conversation(*talk(server), *loop) as running:
            say(running, "Hello", "Hi!")
            for _ in range(2):
                running.send("Tell me a story\r")
                running.expect("Well, ")
                running.send("\x03")
                running.expect("* interrupted: this turn is not part of the conversation")
                running.expect(">")
            say(running, "Enough", "Bye!")
        assert [message["content"] for message in sent(server)] == ["Hello", "Hi!", "Enough"]

    def test_a_line_that_is_not_utf_8_is_an_error(self, served: Serve) -> None:
        server = served([reply("Hi!")])
        with conversation(*talk(server)) as running:
            running.send("h\udce9\r")
            running.expect("Error: PROMPT must be UTF-8 text, got byte 0xe9 at offset 1")
            running.expect(">")
            say(running, "Hello", "Hi!")

    def test_ctrl_c_clears_the_line(self, served: Serve) -> None:
        server = served([reply("Hi!")])
        with conversation(*talk(server)) as running:
            running.send("Good bye")
            running.expect("bye")
            running.send("\x03")
            say(running, "Hello", "Hi!")
        assert sent(server) == [HELLO]

    def test_a_line_can_be_edited_and_called_back_in_the_next_run(
        self, served: Serve, tmp_path: Path
    ) -> None:
        server = served([reply("Hi!")])
        with conversation(*talk(server)) as running:
            say(running, "ello\x01H", "Hi!")
        with conversation(*talk(server)) as running:
            say(running, "\x1b[A", "Hi!")
        assert [sent(server, 0), sent(server, 1)] == [[HELLO], [HELLO]]
        history = tmp_path / "sseparse" / "history"
        assert history.stat().st_mode & 0o777 == 0o600
        assert history.parent.stat().st_mode & 0o777 == 0o700

    def test_history_that_cannot_be_written_is_no_failure(
        self, served: Serve, tmp_path: Path
    ) -> None:
        (tmp_path / "sseparse").write_text("in the way")
        with conversation(*talk(served([reply("Hi!")]))) as running:
            assert running.text.startswith("* no history: ")
            say(running, "Hello", "Hi!")

    def test_a_turn_that_fails_is_left_out(self, served: Serve, loop: list[str]) -> None:
        busy = head(503, "content-length: 4", "connection: close", content_type="text/plain")
        call = {"function": {"name": "weather", "arguments": {}}}
        calling = ollama({"message": {"tool_calls": [call]}}, {"done": True})
        server = served([busy + b"busy"], [calling], [reply("Hi!", "length")], [reply("Bye!")])
        with conversation(*talk(server), *loop) as running:
            running.send("First\r")
            running.expect("busy")
            say(running, "", "* this turn is not part of the conversation")
            running.send("Second\r")
            running.expect("* tool call: weather {}")
            say(running, "", "answer a tool call: this turn is not part of the conversation")
            running.send("Hello\r")
            running.expect("Hi!")
            say(running, "", "* the reply was cut at a limit of tokens (finish reason: length)")
            say(running, "Enough", "Bye!")
        assert [message["content"] for message in sent(server)] == ["Hello", "Hi!", "Enough"]

    def test_files_go_with_the_first_message(self, served: Serve, tmp_path: Path) -> None:
        path = tmp_path / "notes"
        path.write_text("a note")
        busy = head(503, "content-length: 4", "connection: close", content_type="text/plain")
        server = served([busy + b"busy"], [reply("Hi!")], [reply("Bye!")])
        with conversation(*talk(server), "-f", str(path)) as running:
            say(running, "Hello", "conversation")
            say(running, "Hello", "Hi!")
            say(running, "Enough", "Bye!")
        first = f"Hello\n\n{path}:\na note"
        assert [message["content"] for message in sent(server)] == [first, "Hi!", "Enough"]

    def test_the_demo_needs_no_service(self, loop: list[str]) -> None:
        with conversation("--demo", *loop) as running:
            say(running, "Hello", "each one an event.")
            say(running, "Hello again", "each one an event.")

    def test_output_that_is_no_terminal_has_no_conversation(self, tmp_path: Path) -> None:
        with (
            (tmp_path / "output").open("wb") as output,
            terminal("chat", "--demo", stdout=output.fileno()) as running,
        ):
            assert running.wait() == 2
        words = "Error: PROMPT must be given, as arguments or on standard input, without a terminal"
        assert running.text == f"{words}\r\n"

    @pytest.mark.parametrize("talking", [True, False])
    def test_a_lost_terminal_ends_it(self, served: Serve, talking: bool) -> None:
        piece = line({"message": {"content": "Well, "}})
        with terminal("chat", *talk(served([START + piece, until_client_leaves]))) as running:
            running.expect(">")
            if talking:
                running.send("Hello\r")
                running.expect("Well, ")
            running.hang_up()
            assert running.process.wait(timeout=120) == -signal.SIGHUP


class TestReply:
    def test_markdown_is_rendered_as_it_grows(self, served: Serve, loop: list[str]) -> None:
        source = (
            "# Plan\n\nSome *text*.\n\n- one\n- two\n\n```python\n" + "print()\n" * 30 + "```\n"
        )
        pieces = [{"message": {"content": character}} for character in source]
        server = served([ollama({"message": {"thinking": "Hm"}}, *pieces, {"done": True})])
        with terminal("chat", "--markdown", "Hello", *talk(server), *loop) as running:
            assert running.wait() == 0
        assert running.text.startswith("Hm\r\n")
        running.expect("Plan")
        running.expect("Some text.")
        running.expect("• one")
        # The last block is printed whole, though the terminal has 24 lines.
        assert re.search(r"(?: print\(\) *\r\n){30} *\r\n\Z", running.text)
        assert "```" not in running.text

    def test_standard_input_is_not_read_where_it_is_a_terminal(self, served: Serve) -> None:
        server = served([reply("Hi!")])
        with terminal("chat", "Hello", *talk(server)) as running:
            assert running.wait() == 0
        assert running.text == "Hi!\r\n"
        assert sent(server) == [HELLO]

    def test_a_dash_reads_a_terminal_too(self, served: Serve) -> None:
        server = served([reply("Hi!")])
        with terminal("chat", "-", *talk(server)) as running:
            running.send("Hello\n\x04")
            assert running.wait() == 0
        assert sent(server) == [HELLO]

    def test_a_pipe_goes_below_the_prompt(self, served: Serve) -> None:
        server = served([reply("Hi!")])
        with start("chat", "Explain", *talk(server)) as process:
            output, errors = process.communicate(b"a diff\n", timeout=120)
        assert (output, errors, process.returncode) == (b"Hi!\n", b"", 0)
        assert sent(server) == [{"role": "user", "content": "Explain\n\na diff"}]

    def test_the_locale_may_know_no_utf_8(self, served: Serve) -> None:
        server = served([reply("漢 Hi!")])
        locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        with terminal("chat", "Grüße", *talk(server), environment=locale) as running:
            assert running.wait() == 0
        assert running.text.endswith(" Hi!\r\n")
        assert sent(server) == [{"role": "user", "content": "Grüße"}]

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk")
    @pytest.mark.parametrize("options", [[], ["--json"], ["--usage"]])
    def test_a_full_disk_is_one_line(self, served: Serve, options: list[str]) -> None:
        arguments = ["Hello", *talk(served([reply("Hi!")])), *options]
        with Path("/dev/full").open("wb") as full:
            result = subprocess.run(
                [sys.executable, "-m", "sseparse", "chat", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=full,
                stderr=subprocess.PIPE,
                timeout=120,
            )
        assert result.stderr.startswith(b"Error: ")
        assert result.stderr.count(b"\n") == 1
        assert result.returncode == 1

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
    def test_a_file_that_may_not_be_read_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "secret"
        path.touch(mode=0)
        with terminal("chat", "--demo", "Hello", "-f", str(path)) as running:
            assert running.wait() == 2
        assert "secret' is not readable" in running.text
