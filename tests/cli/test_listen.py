"""The command `listen`, as a process against a server on loopback, and its parts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketStream
from click.testing import CliRunner, Result

from sseparse import ServerSentEvent
from sseparse.cli import _terminal, main
from sseparse.cli._saved_id import SavedID
from sseparse.cli.listen import _Status, print_event
from tests.support.commands import start
from tests.support.servers import CHUNKED, LAST_CHUNK, Serve, chunk, head, reset
from tests.support.servers import until_client_leaves as stall

# Its events come in a chunk each; the wait before connecting again is as short as it can be.
GREETING = CHUNKED + chunk(b"retry: 0\nid: 1\nevent: greeting\ndata: Hello\ndata: world\n\n")
SECOND = CHUNKED + chunk(b"retry: 0\nid: 2\ndata: again\n\n")
NO_MORE = head(204)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture(params=["asyncio", "trio"])
def loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["listen", *arguments])


def listen(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own."""
    command = [sys.executable, "-m", "sseparse", "listen", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def fields(request: bytes) -> dict[str, str]:
    lines = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


class TestStream:
    @pytest.mark.slow
    def test_each_event_is_printed_and_what_happens_to_the_connection_is_told(
        self, served: Serve, loop: str
    ) -> None:
        server = served([GREETING, reset], [SECOND, LAST_CHUNK], [NO_MORE])
        result = listen(server.url, "--async-backend", loop)
        assert result.stdout == "greeting (id 1)\n  Hello\n  world\nmessage (id 2)\n  again\n"
        connecting, opened, lost, *rest = result.stderr.splitlines()
        assert [connecting, opened] == ["* connecting", "* open"]
        assert lost.startswith("* lost: ")
        assert lost.endswith("; connecting again in 0.0 s")
        assert rest == [
            "* open",
            "* lost: the server ended the stream; connecting again in 0.0 s",
            "* closed",
        ]
        assert result.returncode == 0
        resumed = [fields(request).get("last-event-id") for request in server.requests]
        assert resumed == [None, "1", "2"]

    def test_json_is_what_decode_prints(self, served: Serve) -> None:
        server = served([GREETING, LAST_CHUNK], [NO_MORE])
        stream = b"retry: 0\nid: 1\nevent: greeting\ndata: Hello\ndata: world\n\n"
        decoded = CliRunner().invoke(main, ["decode"], input=stream)
        assert run(server.url, "--json").stdout == decoded.stdout
        assert json.loads(decoded.stdout)["data"] == "Hello\nworld"

    @pytest.mark.slow
    def test_an_event_is_printed_as_it_arrives(self, served: Serve, loop: str) -> None:
        server = served([GREETING, stall])
        with start("listen", server.url, "--async-backend", loop) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"greeting (id 1)\n"
            assert process.poll() is None
            process.kill()

    def test_quiet_tells_nothing(self, served: Serve) -> None:
        result = run(served([GREETING, reset], [NO_MORE]).url, "--quiet")
        assert result.stderr == ""
        assert result.exit_code == 0

    def test_it_closes_after_so_many_events(self, served: Serve, loop: str) -> None:
        server = served([GREETING, chunk(b"data: 2\n\ndata: 3\n\n"), stall])
        result = run(server.url, "--max-events", "2", "--async-backend", loop)
        assert result.stdout == "greeting (id 1)\n  Hello\n  world\nmessage (id 1)\n  2\n"
        assert result.stderr.endswith("* closed\n")
        assert result.exit_code == 0

    def test_when_its_time_is_over_it_has_a_status_of_its_own(
        self, served: Serve, loop: str
    ) -> None:
        server = served([GREETING, stall])
        result = run(server.url, "--timeout", "0.1", "--quiet", "--async-backend", loop)
        assert result.stderr == "Error: timed out after 0.1 seconds\n"
        assert result.exit_code == 124

    def test_silence_is_a_lost_connection(self, served: Serve) -> None:
        server = served([GREETING, stall], [NO_MORE])
        result = run(server.url, "--idle-timeout", "0.3")
        assert ": nothing arrived within 0.3 seconds; connecting again in " in result.stderr
        assert result.exit_code == 0

    def test_a_refusal_is_one_line(self, served: Serve) -> None:
        server = served([head(404, "content-length: 7", content_type="text/plain"), b"no\x1b[31m"])
        result = run(server.url, "--quiet")
        assert result.stderr == (
            f"Error: HTTP 404 (text/plain) from {server.url}: no\N{REPLACEMENT CHARACTER}[31m\n"
        )
        assert result.exit_code == 1

    def test_a_refusal_can_be_a_passing_failure(self, served: Serve) -> None:
        refusal = [head(503, "content-length: 4", "retry-after: 0", content_type="text/plain")]
        server = served([GREETING, LAST_CHUNK], [*refusal, b"busy"], [NO_MORE])
        result = run(server.url, "--retry-status", "503", "--retry-status", "429")
        refused = f"* not open: HTTP 503 (text/plain) from {server.url}: busy; connecting again in "
        assert refused in result.stderr
        assert result.exit_code == 0

    def test_attempts_can_be_used_up(self, served: Serve) -> None:
        server = served([CHUNKED + chunk(b"retry: 0\n\n"), LAST_CHUNK])
        result = run(server.url, "--max-attempts", "2")
        assert result.stderr.endswith("Error: the server ended the stream\n")
        assert result.exit_code == 1
        assert len(server.requests) == 2

    def test_a_connection_that_cannot_be_made_is_told_without_secrets(self, served: Serve) -> None:
        server = served([GREETING, LAST_CHUNK], [reset], [NO_MORE])
        result = run(server.url.replace("127", "user:secret@127") + "?secret")
        assert f"* not open: {server.url}: " in result.stderr
        assert "secret" not in result.stderr

    @pytest.mark.slow
    def test_ctrl_c_ends_it_without_a_traceback(self, served: Serve, loop: str) -> None:
        server = served([GREETING, stall])
        with start("listen", server.url, "--quiet", "--async-backend", loop) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=120)
        assert process.returncode == 130
        assert errors.strip() == b""

    @pytest.mark.slow
    def test_a_closed_pipe_ends_it_without_a_traceback(self, served: Serve, loop: str) -> None:
        async def go_on(connection: SocketStream) -> None:
            while True:
                await connection.send(chunk(b"data: more\n\n"))
                await anyio.sleep(0.01)

        server = served([GREETING, go_on])
        with start("listen", server.url, "--quiet", "--async-backend", loop) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(timeout=120) == 1


class TestRequest:
    def test_it_asks_with_get_and_without_a_body(self, served: Serve) -> None:
        server = served([NO_MORE])
        assert run(server.url).exit_code == 0
        [request] = server.requests
        assert request.startswith(b"GET /chat HTTP/1.1\r\n")
        assert request.endswith(b"\r\n\r\n")

    def test_with_a_body_it_posts(self, served: Serve) -> None:
        server = served([NO_MORE])
        run(server.url, "--data", '{"q": "é"}', "--header", "Content-Type: application/json")
        [request] = server.requests
        assert request.startswith(b"POST ")
        assert request.endswith('\r\n\r\n{"q": "é"}'.encode())
        assert fields(request)["content-type"] == "application/json"

    def test_the_method_and_headers_can_be_chosen(self, served: Serve) -> None:
        server = served([NO_MORE])
        run(server.url, "-X", "PUT", "-d", "x", "-H", "X-A: 1:2", "-H", "accept:*/*", "-H", "X-B:")
        [request] = server.requests
        assert request.startswith(b"PUT ")
        sent = fields(request)
        assert (sent["x-a"], sent["accept"], sent["x-b"]) == ("1:2", "*/*", "")

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (
                ["ftp://u:word@here/?word"],
                "url must be an http: or https: URL with a host, got ftp:",
            ),
            (["http://u:word/@here/"], "url must be "),
            (["http://he\nre/"], "url must be "),
            (["http://here/", "-H", "Accept"], "--header must be a name, a colon and a value"),
            (["http://here/", "-H", "X: a\r\nY: word"], "header field 'X' must "),
            (["http://here/", "-H", "X: 1", "-H", "X: 2"], "--header must be given once for each"),
            (["http://here/", "-X", "GET /"], "method must be an HTTP token, got 'GET /'"),
            (["http://here/", "--last-event-id", "a\nb"], "--last-event-id must "),
        ],
    )
    def test_bad_arguments_are_one_line_before_any_connection(
        self, arguments: list[str], words: str
    ) -> None:
        result = run(*arguments)
        assert words in result.stderr
        assert "word" not in result.stderr
        assert result.stderr.startswith("Error: ")
        assert result.stderr.count("\n") == 1
        assert result.exit_code == 2

    @pytest.mark.parametrize(
        "arguments",
        [
            *([], ["http://here/", "--max-events", "0"], ["http://here/", "--retry-status", "7"]),
            *(["http://here/", "--timeout", "nan"], ["http://here/", "--idle-timeout", "nan"]),
        ],
    )
    def test_an_option_that_is_none_is_refused(self, arguments: list[str]) -> None:
        assert run(*arguments).exit_code == 2


class TestSaveID:
    def test_a_rerun_resumes_where_the_run_before_ended(
        self, served: Serve, tmp_path: Path
    ) -> None:
        server = served([GREETING, stall], [SECOND, stall], [NO_MORE])
        path = tmp_path / "id"
        arguments = [server.url, "--save-id", str(path), "--max-events", "1"]
        assert "Hello" in run(*arguments).stdout
        assert path.read_text() == "1\n"
        assert "again" in run(*arguments).stdout
        assert path.read_text() == "2\n"
        assert run(*arguments).stdout == ""
        resumed = [fields(request).get("last-event-id") for request in server.requests]
        assert resumed == [None, "1", "2"]
        assert list(tmp_path.iterdir()) == [path]

    def test_an_id_on_the_command_line_wins(self, served: Serve, tmp_path: Path) -> None:
        server = served([SECOND, LAST_CHUNK], [NO_MORE])
        path = tmp_path / "id"
        path.write_text("1\n")
        run(server.url, "--save-id", str(path), "--last-event-id", "7")
        assert fields(server.requests[0])["last-event-id"] == "7"
        assert path.read_text() == "2\n"

    def test_the_id_of_an_event_that_was_not_printed_is_not_saved(
        self, served: Serve, tmp_path: Path
    ) -> None:
        both = b"id: 1\ndata: 1\n\nid: 2\ndata: 2\n\nid: 3\n\n"
        server = served([CHUNKED + chunk(both), stall])
        path = tmp_path / "id"
        run(server.url, "--save-id", str(path), "--max-events", "1")
        assert path.read_text() == "1\n"

    @pytest.mark.parametrize(
        ("content", "words"),
        [(b"\xff\n", "hold UTF-8"), (b"1\n2\n", "is one line"), (b"a\0b", "is one line")],
    )
    def test_a_file_that_holds_no_id_is_refused_before_any_connection(
        self, tmp_path: Path, content: bytes, words: str
    ) -> None:
        path = tmp_path / "id"
        path.write_bytes(content)
        result = run("http://here/", "--save-id", str(path))
        assert result.stderr.startswith("Error: --save-id must hold ")
        assert words in result.stderr
        assert str(path) in result.stderr
        assert result.exit_code == 2

    def test_a_place_for_no_file_is_refused_before_any_connection(self, tmp_path: Path) -> None:
        result = run("http://here/", "--save-id", str(tmp_path))
        assert result.stderr == f"Error: --save-id must be a regular file, got {tmp_path}\n"
        path = tmp_path / "no" / "id"
        result = run("http://here/", "--save-id", str(path))
        assert result.stderr == f"Error: --save-id must be in a writable folder, got {path}\n"

    @pytest.mark.skipif(sys.platform == "win32", reason="links need rights")
    def test_a_link_stays_one(self, tmp_path: Path) -> None:
        link = tmp_path / "link"
        link.symlink_to("file")
        SavedID(link).save("é")
        assert link.is_symlink()
        assert (tmp_path / "file").read_bytes() == "é\n".encode()

    def test_the_id_that_is_there_is_not_written_again(self, tmp_path: Path) -> None:
        path = tmp_path / "id"
        saved = SavedID(path)
        saved.save("")
        assert not path.exists()
        path.write_text("1")
        saved = SavedID(path)
        saved.save("1")
        assert (saved.value, path.read_text()) == ("1", "1")
        saved.save("")
        assert path.read_text() == "\n"
        assert SavedID(path).value == ""

    def test_what_cannot_be_written_leaves_nothing_behind(self, tmp_path: Path) -> None:
        path = tmp_path / "id"
        saved = SavedID(path)
        path.mkdir()
        with pytest.raises(OSError, match="id"):
            saved.save("1")
        assert list(tmp_path.iterdir()) == [path]
        assert saved.value == ""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
class TestTerminal:
    @staticmethod
    def shown(monkeypatch: pytest.MonkeyPatch, name: str, write: Callable[[], object]) -> str:
        """Return what a terminal gets."""
        parent, child = os.openpty()
        with os.fdopen(parent, "rb", buffering=0) as screen, os.fdopen(child, "w") as terminal:
            with monkeypatch.context() as patch:
                patch.setattr(sys, name, terminal)
                write()
                terminal.write("END")
                terminal.flush()
            shown = ""
            while not shown.endswith("END"):
                shown += screen.read(4096).decode()
        return shown.removesuffix("END").replace("\r\n", "\n")

    @pytest.fixture(autouse=True)
    def colours(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("NO_COLOR", raising=False)

    def test_it_has_colours_and_is_not_steered_by_an_event(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        event = ServerSentEvent("\x1b[31m", "a\x9bb\tc\n\x07", "\x1b]0;")
        shown = self.shown(monkeypatch, "stdout", lambda: print_event(event))
        assert shown == (
            "\x1b[36m\x1b[1m\ufffd[31m\x1b[0m \x1b[2m(id \ufffd]0;)\x1b[0m\n"
            "  a\ufffdb\tc\n  \ufffd\n"
        )

    def test_no_colours_where_they_are_not_wanted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        shown = self.shown(monkeypatch, "stdout", lambda: print_event(ServerSentEvent("x", "y")))
        assert shown == "x\n  y\n"

    def test_it_is_not_steered_by_json(self, monkeypatch: pytest.MonkeyPatch) -> None:
        event = ServerSentEvent(data="\x1b\x7f\x9bé\x9f")
        shown = self.shown(monkeypatch, "stdout", lambda: _terminal.print_json(event))
        assert '"data": "\\u001b\\u007f\\u009bé\\u009f"' in shown
        assert json.loads(shown)["data"] == event.data

    def test_it_is_not_steered_by_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        status = _Status(quiet=False)
        lost = ConnectionError("\x1b[31m\nred\x9b")
        shown = self.shown(monkeypatch, "stderr", lambda: status.lost(lost, 2.25))
        assert (
            shown == "\x1b[2m* not open: \ufffd[31m red\ufffd; connecting again in 2.2 s\x1b[0m\n"
        )


def test_what_is_piped_stays_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_event(ServerSentEvent("x", "\x1b[31m\u2028red"))
    assert capsys.readouterr().out == "x\n  \x1b[31m\u2028red\n"


def test_an_error_without_words_is_told_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    _Status(quiet=False).lost(ConnectionResetError(), 0.0)
    assert "not open: ConnectionResetError; connecting" in capsys.readouterr().err


def test_a_closed_stderr_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    _Status(quiet=False).show("open")


def test_saving_keeps_the_permissions_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "id"
    path.write_text("5\n")
    path.chmod(0o600)
    SavedID(path).save("6")
    assert path.read_text() == "6\n"
    assert path.stat().st_mode & 0o777 == 0o600
