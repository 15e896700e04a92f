"""The command `chat`: where its prompt comes from, and what it prints besides the text."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sseparse.cli import main
from sseparse_backends import Attachment, DarkAI, _registry
from sseparse_backends.cli import _prompt
from sseparse_backends.cli._prompt import Prompt, read_prompt
from tests.support.ollama import base_url, ollama, reply, sent, talk
from tests.support.servers import CHATTER, Serve, head, until_client_leaves

PNG = b"\x89PNG\r\n\x1a\n\x00"


@pytest.fixture(params=["asyncio", "trio"])
def loop(request: pytest.FixtureRequest) -> list[str]:
    return ["--async-backend", str(request.param)]


def run(*arguments: str, stdin: bytes | None = None, **environment: str) -> Result:
    return CliRunner().invoke(main, ["chat", *arguments], input=stdin, env=environment)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    for name in ("OLLAMA_API_KEY", "OPENAI_API_KEY", "SSEPARSE_BACKEND"):
        monkeypatch.delenv(name, raising=False)


HI = reply("Hi")


Redirect = Callable[[bytes], None]


@pytest.fixture
def redirect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Redirect]:
    """Make a file with these bytes the standard input."""
    with ExitStack() as stack:

        def redirect(data: bytes) -> None:
            path = tmp_path / "input"
            path.write_bytes(data)
            monkeypatch.setattr(sys, "stdin", stack.enter_context(path.open()))

        yield redirect


class TestPrompt:
    def test_words_are_joined(self, served: Serve) -> None:
        server = served([HI])
        assert run(*talk(server), "Good", "morning").stdout == "Hi\n"
        assert sent(server) == [{"role": "user", "content": "Good morning"}]

    def test_a_dash_reads_standard_input(self, served: Serve) -> None:
        server = served([HI])
        run(*talk(server), "-", stdin=b"Hello\n")
        run(*talk(server), "Explain", "-", "briefly", stdin="é\n".encode())
        assert sent(server, 0) == [{"role": "user", "content": "Hello"}]
        assert sent(server, 1) == [{"role": "user", "content": "Explain briefly\n\né"}]

    @pytest.mark.parametrize(
        ("words", "data", "text"),
        [
            (["explain"], b"a diff\n", "explain\n\na diff"),
            (["explain"], b"", "explain"),
            (["explain"], b"\r\n", "explain"),
            ([], b"\xef\xbb\xbfHello\r\n", "Hello"),
            ([], b"  indented\n\nmore", "  indented\n\nmore"),
            ([], b"", ""),
        ],
    )
    def test_a_file_or_pipe_as_standard_input_goes_below_the_words(
        self, redirect: Redirect, words: list[str], data: bytes, text: str
    ) -> None:
        redirect(data)
        assert read_prompt(words, []) == Prompt(text, [])

    def test_an_image_may_come_on_standard_input(self, redirect: Redirect) -> None:
        redirect(PNG)
        attachment = Attachment(PNG, "image/png", "standard input")
        assert read_prompt(["What is it?"], []) == Prompt("What is it?", [attachment])

    def test_a_file_that_never_ends_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_prompt, "_MAX_FILE", 10)
        with pytest.raises(ValueError, match="--file /dev/zero must be at most 10 bytes"):
            read_prompt([], [Path("/dev/zero")])

    def test_a_device_is_not_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with Path("/dev/zero").open() as endless:
            monkeypatch.setattr(sys, "stdin", endless)
            assert read_prompt(["Hello"], []) == Prompt("Hello", [])

    def test_standard_input_may_be_closed_unless_it_is_asked_for(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys, "stdin", None)
        assert read_prompt(["Hello"], []) == Prompt("Hello", [])
        for words, status, error in [
            (["-"], 1, "standard input is closed"),
            ([], 2, "PROMPT must be given"),
        ]:
            with pytest.raises(SystemExit) as ended:
                main(["chat", "--demo", *words])
            assert ended.value.code == status
            assert error in capsys.readouterr().err

    def test_a_prompt_is_required_unless_there_is_a_terminal(self) -> None:
        result = run("--demo", "--json")
        assert result.exit_code == 2
        assert result.stderr == (
            "Error: PROMPT must be given, as arguments or on standard input, with --json\n"
        )

    def test_a_system_prompt_is_the_first_message(self, served: Serve) -> None:
        server = served([HI])
        run(*talk(server), "--system", "Be brief.", "Hello")
        system = {"role": "system", "content": "Be brief."}
        assert sent(server) == [system, {"role": "user", "content": "Hello"}]

    def test_text_of_another_encoding_is_refused_with_its_place(
        self, redirect: Redirect, tmp_path: Path
    ) -> None:
        remedy = "convert text with `iconv -t UTF-8`"
        redirect(b"caf\xe9")
        with pytest.raises(ValueError, match="standard input must be UTF-8 text, got byte 0xe9"):
            read_prompt([], [])
        redirect(b"")
        latin = tmp_path / "latin.txt"
        latin.write_bytes(b"caf\xe9")
        with pytest.raises(ValueError, match=f"latin.txt must be .* at offset 3; {remedy}"):
            read_prompt([], [latin])
        with pytest.raises(ValueError, match="PROMPT must be UTF-8 text, got byte 0xff at offset"):
            read_prompt([os.fsdecode(b"\xff")], [])


class TestFiles:
    def test_a_text_goes_below_the_prompt_with_its_name(
        self, served: Serve, tmp_path: Path
    ) -> None:
        one, two = tmp_path / "one.txt", tmp_path / "two.py"
        one.write_text("first\n")
        two.write_text("second\n")
        server = served([HI])
        run(*talk(server), "Compare", "-f", str(one), "--file", str(two))
        text = f"Compare\n\n{one}:\nfirst\n\n\n{two}:\nsecond\n"
        assert sent(server) == [{"role": "user", "content": text}]

    def test_a_file_needs_no_prompt(self, served: Serve, tmp_path: Path) -> None:
        path = tmp_path / "question"
        path.write_text("Why?")
        server = served([HI])
        assert run(*talk(server), "-f", str(path)).exit_code == 0
        assert sent(server) == [{"role": "user", "content": f"{path}:\nWhy?"}]

    @pytest.mark.parametrize(
        ("name", "data", "media_type"),
        [
            ("a", PNG, "image/png"),
            ("b.png", b"\xff\xd8\xff\xe0", "image/jpeg"),
            ("c", b"GIF89a", "image/gif"),
            ("d", b"RIFF\x10\x00\x00\x00WEBPVP8 ", "image/webp"),
            ("e.txt", b"%PDF-1.7", "application/pdf"),
            ("f.mp3", b"ID3\xff", "audio/mpeg"),
        ],
    )
    def test_other_files_are_attached_by_their_content_or_else_their_name(
        self, tmp_path: Path, name: str, data: bytes, media_type: str
    ) -> None:
        path = tmp_path / name
        path.write_bytes(data)
        assert read_prompt([], [path]).files == [Attachment(data, media_type, name)]

    def test_an_image_is_sent_in_the_shape_of_the_service(
        self, served: Serve, tmp_path: Path
    ) -> None:
        path = tmp_path / "cat.png"
        path.write_bytes(PNG)
        server = served([HI])
        run(*talk(server), "What is it?", "-f", str(path))
        image = Attachment(PNG, "image/png").base64
        assert sent(server) == [{"role": "user", "content": "What is it?", "images": [image]}]

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--demo"], "attachments must be text for darkai, got a.pdf (application/pdf)"),
            (["--backend", "ollama"], "attachments must be images, got 'a.pdf' (application/pdf)"),
        ],
    )
    def test_a_file_that_the_service_does_not_take_is_named(
        self, tmp_path: Path, arguments: list[str], words: str
    ) -> None:
        path = tmp_path / "a.pdf"
        path.write_bytes(b"%PDF-1.7")
        result = run(*arguments, "Sum it up", "-f", str(path))
        assert result.stderr == f"Error: {words}\n"
        assert result.exit_code == 2

    def test_a_backend_without_user_messages_gets_plain_ones(self) -> None:
        assert Prompt("Hi", ["a:\nb"]).message(CHATTER) == {
            "role": "user",
            "content": "Hi\n\na:\nb",
        }

    def test_a_folder_or_a_missing_file_is_named(self, tmp_path: Path) -> None:
        for path, words in [(tmp_path, "is a directory"), (tmp_path / "none", "does not exist")]:
            result = run("--demo", "Hello", "-f", str(path))
            assert f"'{path}' {words}" in result.stderr
            assert result.exit_code == 2


class TestOutput:
    def test_json_is_a_line_for_each_delta(self, served: Serve) -> None:
        call = {"function": {"name": "weather", "arguments": {"city": "Rome"}}}
        server = served(
            [
                ollama(
                    {"message": {"thinking": "Hm"}},
                    {"message": {"content": "Hi\x9b"}},
                    {"message": {"tool_calls": [call]}},
                    {"done": True, "done_reason": "stop", "eval_count": 3},
                )
            ]
        )
        result = run(*talk(server), "--json", "Hello")
        arguments = '{"city": "Rome"}'
        called = {"index": 0, "id": "", "name": "weather", "arguments": arguments}
        usage = dict.fromkeys(["input_tokens", "cached_tokens", "reasoning_tokens"], 0)
        assert [json.loads(line) for line in result.stdout.splitlines()] == [
            {"type": "reasoning", "text": "Hm"},
            {"type": "text", "text": "Hi\x9b"},
            {"type": "tool_call_piece", **called},
            {"type": "usage", **usage, "output_tokens": 3},
            {"type": "tool_call", **called, "kind": "function"},
            {"type": "finish", "reason": "stop", "kind": "tool_calls"},
        ]
        assert "\x9b" not in result.stdout
        assert (result.stderr, result.exit_code) == ("", 0)

    def test_tool_calls_are_shown_on_standard_error(self, served: Serve) -> None:
        call = {"function": {"name": "weather", "arguments": {"city": "Rome\x1b"}}}
        server = served(
            [
                ollama(
                    {"message": {"content": "Let me"}},
                    {"message": {"content": " see"}},
                    {"message": {"thinking": "Hm"}},
                    {"message": {"tool_calls": [call]}},
                    {"done": True, "done_reason": "stop"},
                )
            ]
        )
        result = run(*talk(server), "Hello")
        assert result.stdout == "Let me see\n"
        assert result.stderr == 'Hm\n* tool call: weather {"city": "Rome\\u001b"}\n'
        assert result.exit_code == 0

    @pytest.mark.parametrize(
        ("reason", "words"),
        [
            ("length", "the reply was cut at a limit of tokens (finish reason: length)"),
            ("\x1b[1m", "the reply ended for an unknown reason (finish reason: \ufffd[1m)"),
        ],
    )
    def test_a_reply_that_is_not_finished_fails_after_its_text(
        self, served: Serve, loop: list[str], reason: str, words: str
    ) -> None:
        result = run(*talk(served([reply("Hi", reason)])), "Hello", *loop)
        assert (result.stdout, result.stderr) == ("Hi\n", f"Error: {words}\n")
        assert result.exit_code == 3

    def test_markdown_is_plain_text_in_a_file(self, served: Serve) -> None:
        server = served([reply("*Hi*")])
        assert run(*talk(server), "--markdown", "Hello").stdout == "*Hi*\n"

    def test_json_and_markdown_exclude_each_other(self) -> None:
        result = run("--demo", "--json", "--markdown", "Hello")
        assert result.stderr == "Error: --json must be used without --markdown\n"
        assert result.exit_code == 2


class TestService:
    def test_the_backend_comes_from_the_environment(self, served: Serve) -> None:
        server = served([HI])
        result = run("--base-url", base_url(server), "Hello", SSEPARSE_BACKEND="ollama")
        assert (result.stdout, result.stderr) == ("Hi\n", "")

    def test_a_demo_needs_no_backend_of_the_environment(self) -> None:
        result = run("--demo", "Hello", SSEPARSE_BACKEND="nobody")
        assert result.stdout.startswith("You asked llama-3-70b: “Hello”")

    def test_the_key_may_be_an_argument(self, served: Serve) -> None:
        server = served([HI])
        run(*talk(server), "--api-key", "s3cret", "Hello")
        assert b"authorization: Bearer s3cret\r\n" in server.requests[0]

    def test_an_option_may_say_how_often_it_is_tried_again(self, served: Serve) -> None:
        server = served([head(503, "content-length: 0")])
        result = run(*talk(server), "--option", "retries=1", "Hello")
        assert (result.exit_code, len(server.requests)) == (1, 2)

    def test_a_key_that_the_backend_does_not_take_is_not_shown(self) -> None:
        result = run("--demo", "--api-key", "s3cret", "Hello")
        assert result.stderr == "Error: --api-key must be left out: darkai takes none\n"
        assert "s3cret" not in result.stderr
        assert result.exit_code == 2

    @pytest.mark.parametrize("option", ["--first-timeout", "--idle-timeout"])
    def test_a_reply_without_content_times_out(self, served: Serve, option: str) -> None:
        start = head(200, content_type="application/x-ndjson")
        server = served([start, until_client_leaves])
        result = run(*talk(server), option, "0.01", "Hello")
        assert "no content arrived within 0.01 seconds" in result.stderr
        assert result.exit_code == 124

    def test_the_failure_of_a_backend_that_nobody_chose_names_the_others(
        self, served: Serve, loop: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server = served([head(503, "connection: close", content_type="text/plain") + b"down"])
        monkeypatch.setattr(DarkAI, "api_endpoint", server.url)
        remedy = "; try --demo, or --backend with one of the others: anthropic, cohere, gemini, "
        result = run("Hello", *loop)
        assert remedy in result.stderr
        assert result.stderr.count("\n") == result.exit_code == 1
        for arguments in (["--backend", "darkai"], ["--base-url", server.url]):
            result = run("Hello", *loop, *arguments)
            assert "down" in result.stderr
            assert "--demo" not in result.stderr


class TestCompletion:
    @pytest.mark.parametrize(
        ("words", "completed"),
        [
            ("chat --backend o", ["ollama", "openai", "openai-responses"]),
            ("chat --model l", ["llama-3-70b"]),
            ("chat --backend darkai --model gpt", ["gpt-4o", "gpt-3.5-turbo"]),
            ("chat --backend ollama --model l", []),
            ("chat --backend nobody --model l", []),
        ],
    )
    def test_backends_and_their_models_are_completed(
        self, words: str, completed: list[str]
    ) -> None:
        count = len(words.split())
        environment = {
            "_SSEPARSE_COMPLETE": "bash_complete",
            "COMP_WORDS": f"sseparse {words}",
            "COMP_CWORD": str(count),
        }
        result = CliRunner().invoke(main, prog_name="sseparse", env=environment)
        assert result.stdout.split() == [f"plain,{word}" for word in completed]

    def test_the_help_says_how_to_set_it_up(self) -> None:
        assert 'eval "$(_SSEPARSE_COMPLETE=bash_source sseparse)"' in run("--help").stdout


class TestBackends:
    def test_each_has_the_variable_of_its_key(self) -> None:
        result = CliRunner().invoke(main, ["backends", "--json"])
        rows = {row["name"]: row for row in map(json.loads, result.stdout.splitlines())}
        assert rows["openai"]["key"] == "OPENAI_API_KEY"
        assert rows["openai"]["models"] == []
        assert rows["darkai"] == {
            "name": "darkai",
            "default_model": "llama-3-70b",
            "models": ["gpt-4o", "gpt-3.5-turbo", "llama-3-70b"],
            "key": None,
        }

    def test_one_that_cannot_be_used_has_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        entries = EntryPoints([EntryPoint("broken", "no_such_module:X", "sseparse.backends")])
        monkeypatch.setattr(_registry, "entry_points", entries.select)
        row = json.loads(CliRunner().invoke(main, ["backends", "--json"]).stdout)
        assert row["name"] == "broken"
        assert "cannot be loaded" in row["error"]

    @pytest.mark.parametrize("columns", [40, 60, 79, 80, 100])
    def test_no_name_is_cut_or_broken_on_a_narrow_terminal(self, columns: int) -> None:
        result = CliRunner().invoke(main, ["backends"], env={"COLUMNS": str(columns)})
        assert all(len(line) <= columns for line in result.stdout.splitlines())
        for text in ("gemini-interactions", "claude-haiku-5-5", "ANTHROPIC_API_KEY"):
            assert text in result.stdout
        assert ("default model: claude-haiku-5-5" in result.stdout) is (columns < 80)

    def test_an_error_is_shown_on_a_narrow_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        entries = EntryPoints([EntryPoint("broken", "no_such_module:X", "sseparse.backends")])
        monkeypatch.setattr(_registry, "entry_points", entries.select)
        result = CliRunner().invoke(main, ["backends"], env={"COLUMNS": "40"})
        words = " ".join(result.stdout.split())
        assert words.startswith("broken error: backend 'broken' cannot be loaded")
