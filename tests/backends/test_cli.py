"""The commands `chat` and `backends`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from sseparse.cli import main
from sseparse.transports import CertificateError
from sseparse_backends import _registry, demo
from sseparse_backends.cli import _reply
from sseparse_backends.cli import chat as chat_module
from sseparse_backends.demo import DemoApp, DemoServer
from tests.support.commands import start
from tests.support.ollama import base_url, line, ollama
from tests.support.ollama import talk as ollama_at
from tests.support.servers import Serve, Server, head


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture(params=["asyncio", "trio"])
def loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(DemoApp(pause=0), monkeypatch)


def talk(server: Server) -> list[str]:
    return [*ollama_at(server), "Hello"]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    for name in ("OLLAMA_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def serve(app: DemoApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make --demo serve this application."""
    monkeypatch.setattr(demo, "DemoServer", partial(DemoServer, app))


class TestChat:
    @pytest.mark.usefixtures("quick")
    def test_the_reply_is_printed_and_its_last_line_ended(self, loop: str) -> None:
        result = run("chat", "--demo", "Hello", "--model", "gpt-4o", "--async-backend", loop)
        assert result.stdout.startswith("You asked gpt-4o: “Hello”")
        assert result.stdout.endswith(".\n")
        assert result.exit_code == 0

    @pytest.mark.slow
    def test_the_text_is_printed_as_it_arrives(self, loop: str) -> None:
        with start(
            "chat", "--demo", "Hello", "--async-backend", loop, stdin=subprocess.DEVNULL
        ) as process:
            assert process.stdout is not None
            assert process.stdout.read(3) == b"You"
            assert process.poll() is None
            process.communicate(timeout=120)
        assert process.returncode == 0

    @pytest.mark.slow
    def test_ctrl_c_ends_it_without_a_traceback(self, loop: str) -> None:
        with start(
            "chat", "--demo", "word " * 1000, "--async-backend", loop, stdin=subprocess.DEVNULL
        ) as process:
            assert process.stdout is not None
            process.stdout.read(3)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=120)
        assert process.returncode == 130
        assert errors.strip() == b""

    @pytest.mark.slow
    def test_a_closed_pipe_ends_it_without_a_traceback(self, loop: str) -> None:
        with start(
            "chat", "--demo", "word " * 1000, "--async-backend", loop, stdin=subprocess.DEVNULL
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.read(3)
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(timeout=120) == 1

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

    def test_any_backend_can_be_asked_at_any_address(self, loop: str, served: Serve) -> None:
        server = served([ollama({"message": {"content": "Hi"}}, {"done": True})])
        arguments = ["--backend", "ollama", "--model", "tiny", "--base-url", base_url(server)]
        result = run("chat", *arguments, "Hello", "--async-backend", loop)
        assert (result.stdout, result.stderr, result.exit_code) == ("Hi\n", "", 0)
        assert server.requests[0].startswith(b"POST /api/chat HTTP/1.1\r\n")
        assert b'"model":"tiny"' in server.requests[0]

    def test_options_of_request_and_backend_are_json_or_text(self, served: Serve) -> None:
        server = served([ollama({"message": {"content": "Hi"}}, {"done": True})])
        options = ["--option", "think=true", "--option", "keep_alive=1m"]
        backend_options = ["--backend-option", "api_key=s=cret"]
        result = run("chat", *talk(server), *options, *backend_options)
        assert (result.stdout, result.stderr, result.exit_code) == ("Hi\n", "", 0)
        assert b'"think":true,"keep_alive":"1m"' in server.requests[0]
        assert b"Bearer s=cret" in server.requests[0]

    def test_option_may_be_an_argument_of_stream(self, served: Serve) -> None:
        server = served([ollama({"message": {"content": "Hi"}}, {"done": True})])
        result = run("chat", *talk(server), "--option", "model=tiny", "--option", "idle_timeout=9")
        assert (result.stdout, result.stderr, result.exit_code) == ("Hi\n", "", 0)
        assert b'"model":"tiny"' in server.requests[0]
        assert b"idle_timeout" not in server.requests[0]

    def test_thoughts_go_to_standard_error(self, served: Serve) -> None:
        thoughts = [{"message": {"thinking": text}} for text in ("Hm", "…\x1b[31m")]
        server = served([ollama(*thoughts, {"message": {"content": "Hi"}}, {"done": True})])
        result = run("chat", *talk(server))
        assert (result.stdout, result.stderr) == ("Hi\n", "Hm…\x1b[31m\n")

    @pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
    @pytest.mark.parametrize(("no_color", "style"), [("", ("\x1b[2m", "\x1b[0m")), ("1", ("", ""))])
    def test_thoughts_are_dimmed_on_a_terminal_which_they_do_not_steer(
        self,
        served: Serve,
        monkeypatch: pytest.MonkeyPatch,
        no_color: str,
        style: tuple[str, str],
    ) -> None:
        monkeypatch.setenv("NO_COLOR", no_color)
        thought = {"message": {"thinking": "Hm\x1b[31m"}}
        server = served([ollama(thought, {"message": {"content": "Hi"}}, {"done": True})])
        arguments = [*talk(server)]
        parent, child = os.openpty()
        with os.fdopen(parent, "rb", buffering=0) as screen, os.fdopen(child, "w") as terminal:
            monkeypatch.setattr(sys, "stderr", terminal)
            main(["chat", *arguments], standalone_mode=False)
            shown = ""
            while not shown.endswith("\r\n"):
                shown += screen.read(4096).decode()
        begin, end = style
        assert shown == f"{begin}Hm\N{REPLACEMENT CHARACTER}[31m{end}\r\n"

    def test_a_reply_that_is_cut_among_its_thoughts_has_their_last_line_ended(
        self, served: Serve
    ) -> None:
        server = served([ollama({"message": {"thinking": "Hm"}})])
        result = run("chat", *talk(server))
        assert (result.stdout, result.exit_code) == ("", 3)
        assert result.stderr.startswith("Hm\nError: the stream ended before")

    def test_usage_is_tokens_and_times_on_standard_error(
        self, served: Serve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monotonic = iter([10.0, 10.25, 10.75]).__next__
        monkeypatch.setattr(_reply, "time", SimpleNamespace(monotonic=monotonic))
        usage = {"done": True, "prompt_eval_count": 7, "eval_count": 20}
        result = run(
            "chat", *talk(served([ollama({"message": {"content": "Hi"}}, usage)])), "--usage"
        )
        assert result.stdout == "Hi\n"
        told = "7 tokens in, 20 tokens out, the first after 0.25 s, 40.0 tokens a second\n"
        assert result.stderr == told

    def test_file_gets_the_text_and_nothing_else(self, served: Serve) -> None:
        pieces: list[Mapping[str, object]] = []
        for word in ("one ", "\x1b[1mtwo"):
            pieces += [{"message": {"thinking": "Hm"}}, {"message": {"content": word}}]
        pieces.append({"message": {"thinking": "Hm"}})
        result = run("chat", *talk(served([ollama(*pieces, {"done": True})])))
        assert result.stdout == "one \x1b[1mtwo\n"
        assert result.stderr == "Hm\nHm\nHm\n"

    def test_usage_tells_why_the_reply_ended(self, served: Serve) -> None:
        end = {"done": True, "done_reason": "length\x1b[1m"}
        result = run("chat", *talk(served([ollama(end)])), "--usage")
        assert ", finished: length\N{REPLACEMENT CHARACTER}[1m\n" in result.stderr

    def test_cause_of_a_cut_is_told(self, served: Serve) -> None:
        start = head(200, "content-length: 1000", content_type="application/x-ndjson")
        result = run("chat", *talk(served([start + line({"message": {"content": "Hi"}})])))
        assert result.exit_code == 3
        assert re.search(
            r"before it was finished \(characters so far: 2\): http://.*: \w+", result.stderr
        )

    def test_usage_of_a_reply_without_content_has_no_times(self, served: Serve) -> None:
        server = served([ollama({"done": True, "prompt_eval_count": 7})])
        result = run("chat", *talk(server), "--usage")
        assert (result.stdout, result.stderr) == ("", "7 tokens in, 0 tokens out\n")

    @pytest.mark.usefixtures("quick")
    def test_usage_that_the_service_does_not_report_is_none(self) -> None:
        result = run("chat", "--demo", "Hello", "--usage")
        assert re.fullmatch(r"no usage reported, the first after \d\.\d\d s\n", result.stderr)

    def test_retries_are_made_where_the_service_is_busy(self, served: Serve) -> None:
        busy = head(503, "content-length: 4", "connection: close", content_type="text/plain")
        server = served([busy + b"busy"], [ollama({"message": {"content": "Hi"}}, {"done": True})])
        result = run("chat", *talk(server), "--retries", "1")
        assert (result.stdout, result.exit_code) == ("Hi\n", 0)

    @pytest.mark.parametrize(
        ("status", "fields", "words"),
        [
            (400, [], '/api/chat: {"error": "wrong key"}\n'),
            *(
                (status, [], "; the key is that of --api-key, or of the variable OLLAMA_API_KEY\n")
                for status in (401, 403)
            ),
            (429, ["retry-after: 20"], '"wrong key"} (retry after 20 seconds)\n'),
        ],
    )
    def test_a_refusal_is_told_in_the_words_of_the_service(
        self, served: Serve, status: int, fields: list[str], words: str
    ) -> None:
        refusal = head(status, *fields, content_type="application/json") + b'{"error": "wrong key"}'
        result = run("chat", *talk(served([refusal])))
        assert result.exit_code == 1
        assert result.stderr.endswith(words)
        assert result.stderr.count("\n") == 1

    def test_a_refusal_by_a_service_without_keys_names_none(self, served: Serve) -> None:
        url = base_url(served([head(401, content_type="text/plain") + b"no"]))
        result = run("chat", "--backend", "darkai", "--base-url", url, "Hello")
        assert result.exit_code == 1
        assert result.stderr.endswith("/chat: no\n")

    @pytest.mark.parametrize(
        ("arguments", "words", "status"),
        [
            (["--backend", "openai"], "needs an API key", 2),
            (
                ["--backend", "openai", "--base-url", "here"],
                "--base-url must be an http: or https: URL",
                2,
            ),
            (["--backend", "ollama", "--option", "volume=11"], "Ollama has no option volume", 2),
            (
                ["--backend", "ollama", "--option", "messages=x"],
                "multiple values for argument 'me",
                2,
            ),
            (["--backend", "ollama", "--option", "volume=" + "[" * 100_000], "no option volume", 2),
            (["--backend", "openai", "--backend-option", "include_usage=False"], "must be bool", 2),
            (
                ["--backend", "openai", "--backend-option", 'extra_headers={"x": 1}'],
                "got int - at",
                2,
            ),
            (
                ["--backend", "ollama", "--backend-option", "volume=11"],
                "--backend-option is not valid for ollama: Ollama.__init__()",
                2,
            ),
            (["--backend", "ollama", "--option", "volume"], "must be NAME=VALUE", 2),
            (["--backend", "ollama", "--option", "=11"], "must be NAME=VALUE", 2),
            (
                ["--demo", "--base-url", "http://127.0.0.1:1"],
                "--demo must be used without --backend and",
                2,
            ),
            (["--demo", "--model", "gpt-9"], "llama-3-70b, llama-3.1-70b, got 'gpt-9'", 2),
            (
                ["--backend", "nobody"],
                "SSEPARSE_BACKEND, must be one of anthropic, ",
                2,
            ),
            (["--demo", "--backend", "nobody"], "--demo must be used without --backend and", 2),
            (["--demo", "--proxy", "gopher://here"], "gopher", 2),
            (["--demo", "--proxy", "http://127.0.0.1:1"], "127.0.0.1", 1),
            (["--demo", "--timeout", "0.001"], "not finished within 0.001 seconds", 124),
        ],
    )
    def test_what_goes_wrong_is_one_line_on_stderr(
        self, loop: str, arguments: list[str], words: str, status: int
    ) -> None:
        result = run("chat", "Hello", "--async-backend", loop, *arguments)
        assert words in result.stderr
        assert result.stderr.startswith("Error: ")
        assert result.stderr.count("\n") == 1
        assert result.stdout == ""
        assert result.exit_code == status

    def test_a_reply_that_is_cut_fails_with_its_last_line_ended(
        self, loop: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        serve(DemoApp(drop_after=2), monkeypatch)
        result = run("chat", "--demo", "Hello", "--async-backend", loop)
        assert result.stdout == "You asked\n"
        assert "ended before it was finished" in result.stderr
        assert result.exit_code == 3

    def test_a_reply_that_is_cut_before_its_text_prints_nothing(
        self, loop: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        serve(DemoApp(drop_after=0), monkeypatch)
        result = run("chat", "--demo", "Hello", "--async-backend", loop)
        assert result.stdout == ""
        assert result.exit_code == 3

    def test_a_time_limit_must_be_positive(self) -> None:
        assert run("chat", "--demo", "Hello", "--timeout", "0").exit_code == 2


def test_a_backend_that_cannot_be_loaded_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = EntryPoints([EntryPoint("broken", "no_such_module:X", "sseparse.backends")])
    monkeypatch.setattr(_registry, "entry_points", entries.select)
    words = "backend 'broken' cannot be loaded"
    assert words in " ".join(run("backends").stdout.replace("│", "").split())
    result = run("chat", "Hello", "--backend", "broken")
    assert words in result.stderr
    assert result.exit_code == 1


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise RuntimeError('boom')", "boom"),
        ("class Theirs:\n    default_model = 'x'", "no attribute 'models'"),
        ("class Theirs:\n    def __init__(self, key): pass", "argument: 'key'"),
        (
            "class Theirs:\n    models = ()\n    default_model = '[red]\\x1b[31mx'",
            "[red]\N{REPLACEMENT CHARACTER}[31mx",
        ),
    ],
)
def test_a_backend_of_others_neither_hides_the_rest_nor_steers_the_terminal(
    code: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "theirs", raising=False)
    entries = [
        EntryPoint("theirs", "theirs:Theirs", "sseparse.backends"),
        EntryPoint("ours", "sseparse_backends.darkai:DarkAI", "sseparse.backends"),
    ]
    monkeypatch.setattr(_registry, "entry_points", EntryPoints(entries).select)
    monkeypatch.setenv("COLUMNS", "200")
    result = run("backends")
    assert result.exit_code == 0
    assert "llama-3-70b" in result.stdout
    assert words in result.stdout


def test_the_installed_backends_are_listed() -> None:
    result = run("backends")
    assert "darkai" in result.stdout
    assert "llama-3-70b" in result.stdout
    assert result.exit_code == 0


SILENT_RESOLVER = """
import socket, sys, time
from sseparse.__main__ import main

look_up = socket.getaddrinfo

def silent(host, port, family=0, type=0, proto=0, flags=0):
    if flags & socket.AI_NUMERICHOST:  # it asks nobody
        return look_up(host, port, family, type, proto, flags)
    time.sleep(600)

socket.getaddrinfo = silent
main(sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
@pytest.mark.parametrize(
    "arguments", [["chat", "Hello", "--backend", "ollama", "--base-url"], ["listen"]], ids=" ".join
)
def test_time_limit_holds_where_a_name_server_is_silent(loop: str, arguments: list[str]) -> None:
    options = ["http://here:1", "--timeout", "0.2", "--async-backend", loop]
    command = [sys.executable, "-c", SILENT_RESOLVER, *arguments, *options]
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False
    )
    assert result.returncode == 124


def test_name_that_is_not_known_is_one_line() -> None:
    result = run("chat", "Hello", "--backend", "ollama", "--base-url", "http://nothing.invalid")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)


def test_certificate_that_does_not_verify_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise CertificateError("self-signed certificate")

    monkeypatch.setattr(chat_module, "run", refuse)
    result = run("chat", "Hello", "--backend", "ollama")
    assert result.stderr.startswith("Error: self-signed certificate; SSL_CERT_FILE=FILE trusts")
    assert result.exit_code == 1
