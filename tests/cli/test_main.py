"""The command line: the group of commands, and `decode`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from io import StringIO
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import sseparse
from sseparse.cli import _group, main
from tests.support.commands import start

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    def run(*arguments: str, stdin: bytes = b"") -> Result:
        return CliRunner().invoke(main, arguments, input=stdin)

    return run


class TestDecode:
    def test_each_event_is_one_line_of_json(self, run: Run) -> None:
        result = run("decode", stdin=b"id: 1\nevent: x\nretry: 7\ndata: a\ndata: b\n\ndata: c\n\n")
        assert [json.loads(line) for line in result.stdout.splitlines()] == [
            {"event": "x", "data": "a\nb", "id": "1", "retry": 7},
            {"event": "message", "data": "c", "id": "1", "retry": None},
        ]
        assert result.exit_code == 0

    @pytest.mark.parametrize(
        ("format", "stream"),
        [("ndjson", b'{"a":1}\n2\n'), ("json-seq", b'\x1e{"a":1}\n\x1e2\n')],
    )
    def test_other_formats_print_their_values(self, run: Run, format: str, stream: bytes) -> None:
        result = run("decode", "--format", format, stdin=stream)
        assert result.stdout == '{"a": 1}\n2\n'
        assert result.exit_code == 0

    def test_a_file_is_read_by_name(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "stream"
        path.write_bytes(b"data: 1\n\n")
        assert '"data": "1"' in run("decode", str(path)).stdout

    def test_text_stays_text_and_a_lone_surrogate_becomes_its_escape(self, run: Run) -> None:
        result = run("decode", "--format", "ndjson", stdin=b'["\xc3\xa9", "\\ud800"]\n')
        assert result.stdout_bytes == b'["\xc3\xa9", "\\ud800"]\n'

    def test_a_stream_cut_inside_an_event_fails_after_its_events(self, run: Run) -> None:
        result = run("decode", stdin=b"data: 1\n\ndata: 2")
        assert '"data": "1"' in result.stdout
        assert result.stderr == "Error: the stream ended inside an event\n"
        assert result.exit_code == 1

    def test_a_bad_line_is_one_line_on_stderr_after_the_good_ones(self, run: Run) -> None:
        result = run("decode", "--format", "ndjson", stdin=b"1\n{\n2\n")
        assert result.stdout == "1\n"
        assert result.stderr.startswith("Error: line 2, offset 2: invalid JSON")
        assert result.stderr.count("\n") == 1
        assert result.exit_code == 1

    @pytest.mark.parametrize(
        ("format", "stream"),
        [("json-seq", b'\x1e{"a":1}\n\x1e{"b":\x1e2\n'), ("ndjson", b'{"a":1}\n{"b":\n2\n')],
    )
    def test_invalid_json_fails_or_is_skipped(self, run: Run, format: str, stream: bytes) -> None:
        result = run("decode", "--format", format, stdin=stream)
        assert result.stdout == '{"a": 1}\n'
        assert "invalid" in result.stderr or "cut" in result.stderr
        assert result.exit_code == 1
        result = run("decode", "--format", format, "--skip-invalid", stdin=stream)
        assert result.stdout == '{"a": 1}\n2\n'
        assert result.stderr.endswith("skipped invalid JSON texts: 1\n")
        assert result.exit_code == 0

    @pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e400", "[1.5, -1e999]"])
    @pytest.mark.parametrize("format", ["ndjson", "json-seq", "json-values"])
    def test_a_number_that_is_no_json_is_refused(self, run: Run, format: str, number: str) -> None:
        start = "\x1e" if format == "json-seq" else ""
        stream = f"{start}1\n{start}{number}\n".encode()
        result = run("decode", "--format", format, stdin=stream)
        assert result.stdout == "1\n"
        assert re.search(
            r"offset \d: invalid JSON: (-?Infinity|NaN) is not JSON", result.stderr
        ) or (
            re.search(r"offset \d: invalid JSON: -?1e\d+ is too large for a number", result.stderr)
        )
        assert result.exit_code == 1

    def test_json_values_may_have_any_form(self, run: Run) -> None:
        stream = b'{"a":1}{\n  "b": 2\n} [3,\n4] 5'
        result = run("decode", "--format", "json-values", stdin=stream)
        assert result.stdout == '{"a": 1}\n{"b": 2}\n[3, 4]\n5\n'
        result = run("decode", "--format", "json-values", "--unwrap-array", stdin=stream)
        assert result.stdout == '{"a": 1}\n{"b": 2}\n3\n4\n5\n'

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--skip-invalid"],
            ["--skip-invalid", "--format", "json-values"],
            ["--unwrap-array"],
            ["--unwrap-array", "--format", "ndjson"],
        ],
    )
    def test_an_option_of_another_format_is_refused(self, run: Run, arguments: list[str]) -> None:
        result = run("decode", *arguments)
        assert f"{arguments[0]} must be used with --format" in result.stderr
        assert result.exit_code == 2

    @pytest.mark.parametrize("stream", [b"<p>Welcome</p>\n", b'{"a": 1}\n', b'{"a": 1}'])
    def test_a_file_that_is_no_event_stream_gets_a_hint(self, run: Run, stream: bytes) -> None:
        result = run("decode", stdin=stream)
        assert "for JSON, see --format in `sseparse decode --help`" in result.stderr
        assert result.exit_code == 1

    @pytest.mark.parametrize(
        "stream",
        [b"", b": ping\n", b"id: 1\n\nx\n", b"retry: 1\n\nx\n", b"data\n\nx\n", b"event: a\n\nx\n"],
    )
    def test_an_event_stream_gets_no_hint(self, run: Run, stream: bytes) -> None:
        result = run("decode", stdin=stream)
        assert result.stderr == ""
        assert result.exit_code == 0

    def test_a_large_file_needs_no_package_for_its_progress(
        self,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        capfdbinary: pytest.CaptureFixture[bytes],
    ) -> None:
        path = tmp_path / "stream"
        path.write_bytes(b"data: " + b"x" * 5_000_000 + b"\n\n")
        monkeypatch.setattr("sseparse.cli.decode.find_spec", lambda name: None)
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        main(["decode", str(path)], standalone_mode=False)
        assert len(capfdbinary.readouterr().out) > 5_000_000

    @pytest.mark.slow
    @pytest.mark.parametrize("size", [1_000_000, 8_000_000])
    def test_a_large_file_has_progress_on_a_terminal(self, tmp_path: Path, size: int) -> None:
        path = tmp_path / "stream"
        path.write_bytes(b"data: " + b"x" * size + b"\n\n")
        parent, child = os.openpty()
        with start("decode", str(path), stderr=child) as process:
            os.close(child)
            assert process.stdout is not None
            assert len(process.stdout.read()) > size
        shown = b""
        with contextlib.suppress(OSError), os.fdopen(parent, "rb") as terminal:  # EIO is its end
            while data := terminal.read1(65536):
                shown += data
        assert (b"MB" in shown) == (size > 4_000_000)
        assert process.returncode == 0

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("arguments", "closed", "error"),
        [
            (["decode"], 0, b"Error: standard input is closed"),
            (["decode"], 1, b"Error: standard output is closed"),
            (["decode"], 2, b""),
            (["backends"], 1, b"Error: standard output is closed"),
            (["listen", "http://127.0.0.1:1/"], 1, b"Error: standard output is closed"),
            (["--no-such-option"], 2, b""),
        ],
    )
    def test_a_closed_standard_stream_is_no_traceback(
        self, arguments: list[str], closed: int, error: bytes
    ) -> None:
        with start(*arguments, closed=closed) as process:
            _, errors = process.communicate(b"data: 1", timeout=120)
        assert errors.strip() == error
        assert process.returncode == (2 if arguments[0].startswith("-") else 1)

    def test_a_closed_stderr_is_no_failure(
        self,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        capfdbinary: pytest.CaptureFixture[bytes],
    ) -> None:
        path = tmp_path / "stream"
        path.write_bytes(b"data: 1\n\n")
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", None)
            main(["decode", str(path)], standalone_mode=False)
        assert b'"data": "1"' in capfdbinary.readouterr().out

    def test_the_limit_can_be_changed(self, run: Run) -> None:
        assert run("decode", "--limit", "7", stdin=b"data: 1\n\n").exit_code == 0
        assert "limit of 6 bytes" in run("decode", "--limit", "6", stdin=b"data: 1\n\n").stderr

    def test_a_missing_file_is_named(self, run: Run) -> None:
        result = run("decode", "no-such-file")
        assert "no-such-file" in result.stderr
        assert result.exit_code == 2

    @pytest.mark.slow
    def test_an_item_is_printed_as_it_arrives(self) -> None:
        with start("decode") as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"data: 1\n\ndata: 2")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["data"] == "1"
            process.stdin.close()
            assert process.wait(timeout=120) == 1

    @pytest.mark.slow
    def test_ctrl_c_ends_it_without_a_traceback(self) -> None:
        with start("decode") as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"data: 1\n\n")
            process.stdin.flush()
            process.stdout.readline()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=120)
        assert process.returncode == 130
        assert errors.strip() == b""

    @pytest.mark.slow
    def test_a_closed_pipe_ends_it_without_a_traceback(self) -> None:
        with start("decode") as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"data: 1\n\n")
            process.stdin.flush()
            process.stdout.readline()
            process.stdout.close()
            process.stdin.write(b"data: 2\n\n" * 2)
            process.stdin.close()
            assert process.stderr is not None
            assert process.stderr.read() == b""
            assert process.wait(timeout=120) == 1


class TestGroup:
    def test_output_may_be_no_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        output = StringIO()
        monkeypatch.setattr(sys, "stdout", output)
        main(["backends"], standalone_mode=False)
        assert "darkai" in output.getvalue()

    @pytest.mark.parametrize("arguments", [["-h"], ["--help"], ["decode", "-h"], ["chat", "-h"]])
    def test_help_is_everywhere(self, run: Run, arguments: list[str]) -> None:
        result = run(*arguments)
        assert result.stdout.startswith("Usage:")
        assert result.exit_code == 0

    def test_commands_of_other_packages_are_listed(self, run: Run) -> None:
        listed = run("-h").stdout
        assert all(f"\n  {name} " in listed for name in ("backends", "chat", "decode"))

    def test_the_version_is_told(self, run: Run) -> None:
        assert sseparse.__version__ in run("--version").stdout

    def test_an_unknown_command_is_refused(self, run: Run) -> None:
        result = run("decoed")
        assert "No such command 'decoed'" in result.stderr
        assert result.exit_code == 2

    def test_a_command_whose_packages_are_missing_says_what_to_install(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        entry = EntryPoint("sing", "no_such_package:sing", "sseparse.commands")
        monkeypatch.setattr(_group, "entry_points", EntryPoints([entry]).select)
        result = run("sing", "loudly")
        assert "pip install 'sseparse[cli]'" in result.stderr
        assert result.exit_code == 1
        assert "sing cannot be loaded" in run("-h").stdout

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (KeyboardInterrupt(), 130),
            (BaseExceptionGroup("", [ExceptionGroup("", [OSError()]), KeyboardInterrupt()]), 130),
            (sseparse.IncompleteStream("abc"), 3),
            (TimeoutError("no connection within 1 seconds"), 124),
            (ValueError("max_attempts must be at least 1 or None, got 0"), 2),
            (sseparse.EventTooLarge(7), 1),
            (ConnectionError("refused"), 1),
        ],
    )
    def test_what_ends_a_command_is_its_exit_status(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int
    ) -> None:
        def fail() -> None:
            raise error

        monkeypatch.setitem(main.commands, "fail", click.command("fail")(fail))
        assert run("fail").exit_code == status

    def test_a_cut_stream_is_told_with_the_failure_that_cut_it(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail() -> None:
            raise sseparse.IncompleteStream("abc") from ConnectionError("reset by the server")

        monkeypatch.setitem(main.commands, "fail", click.command("fail")(fail))
        assert run("fail").stderr.endswith(": reset by the server\n")

    def test_a_bug_stays_a_traceback(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail() -> None:
            raise RuntimeError("a bug")

        monkeypatch.setitem(main.commands, "fail", click.command("fail")(fail))
        assert isinstance(run("fail").exception, RuntimeError)

    @pytest.mark.slow
    def test_the_installed_script_is_the_same_program(self) -> None:
        script = Path(sys.executable).with_name("sseparse")
        result = subprocess.run([script, "--version"], capture_output=True, check=True)
        module = [sys.executable, "-m", "sseparse", "--version"]
        assert result.stdout == subprocess.run(module, capture_output=True, check=True).stdout

    @pytest.mark.slow
    def test_no_backend_is_imported_before_its_command_runs(self) -> None:
        code = "import sys, sseparse.__main__; print('sseparse_backends' in sys.modules)"
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True, env=os.environ
        )
        assert result.stdout.strip() == b"False"


@pytest.mark.parametrize("arguments", [["--bad"], ["nosuch"], ["decode", "--bad"], ["listen"]])
def test_wrong_usage_is_one_line_that_names_the_help(run: Run, arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.stderr.endswith(" --help`\n")
    assert (result.stderr.count("\n"), result.exit_code) == (1, 2)


def test_help_is_shown_without_arguments(run: Run) -> None:
    assert "Commands:" in run().output


# Stands in for an environment without any package but click.
CLICK_ALONE = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("anyio", "httptools", "httpx2", "msgspec", "rich", "trio"):
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Absent())
from sseparse.__main__ import main
main(prog_name="sseparse")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["decode"], 0, '{"event": "message", "data": "1", "id": "", "retry": null}'),
        (["-h"], 0, "listen cannot be loaded (No module named 'anyio')"),
        (["listen", "example.org"], 1, "pip install 'sseparse[cli]'"),
        (["inspect", "-"], 1, "pip install 'sseparse[cli]'"),
        (["chat", "Hello"], 1, "pip install 'sseparse[cli]'"),
    ],
)
def test_decode_needs_click_alone_and_other_commands_name_their_extra(
    arguments: list[str], status: int, words: str
) -> None:
    command = [sys.executable, "-c", CLICK_ALONE, *arguments]
    result = subprocess.run(command, input=b"data: 1\n\n", capture_output=True, check=False)
    assert words in (result.stdout + result.stderr).decode()
    assert b"Traceback" not in result.stderr
    assert result.returncode == status


def test_event_loop_that_is_not_installed_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sseparse.cli._loop.find_spec", lambda name: None)
    result = run("listen", ":1/", "--async-backend", "trio")
    assert result.stderr.endswith("--async-backend trio needs another package: pip install trio\n")
    assert (result.stderr.count("\n"), result.exit_code) == (1, 1)
