"""The command line: the group of commands, and `decode`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
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

    def test_texts_that_were_skipped_fail_after_the_others(self, run: Run) -> None:
        result = run("decode", "--format", "json-seq", stdin=b'\x1e{"a":1}\n\x1e{"b":')
        assert result.stdout == '{"a": 1}\n'
        assert result.stderr.endswith("Error: skipped invalid JSON texts: 1\n")
        assert result.exit_code == 1

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
            (sseparse.IncompleteStream("abc"), 1),
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
