"""The options of a request, as `listen` and `inspect` take them."""

from __future__ import annotations

import base64
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from anyio.from_thread import start_blocking_portal
from click.testing import CliRunner, Result

from sseparse.cli import _request, main
from sseparse.cli._request import full_url
from tests.support.servers import Serve, Server, answer, head, serve
from tests.transports.test_httptools import CA, over_tls

EVENT = head(200, "connection: close") + b"data: 1\n\n"


def listen(*arguments: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(main, ["listen", "--max-events", "1", *arguments], input=stdin)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.org/x", "https://example.org/x"),
        ("example.org", "http://example.org"),
        ("example.org:8000/x?y=http", "http://example.org:8000/x?y=http"),
        (":8000/x", "http://localhost:8000/x"),
        (":8000", "http://localhost:8000"),
        (":/x", "http://localhost/x"),
        (":", "http://localhost"),
        (":?x", "http://localhost?x"),
        ("[::1]:8000/x", "http://[::1]:8000/x"),
        ("://example.org/x", "http://example.org/x"),
        ("example.org/?x=http://y/", "http://example.org/?x=http://y/"),
        ("HTTP://example.org", "HTTP://example.org"),
        # HTTPie makes other hosts of these; here they are invalid.
        (":x", "http://:x"),
        ("::1", "http://::1"),
    ],
)
def test_url_may_be_short(url: str, expected: str) -> None:
    assert full_url(url) == expected


def test_short_url_is_followed(served: Serve) -> None:
    server = served([EVENT])
    assert listen(f"127.0.0.1:{server.port}/x").exit_code == 0
    assert server.requests[0].startswith(b"GET /x HTTP/1.1\r\n")


def test_body_may_be_text_a_file_or_standard_input(served: Serve, tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(b"\xff\n")
    for data, stdin, expected in (
        ("{}", b"", b"{}"),
        (f"@{path}", b"", b"\xff\n"),
        ("@-", b"in", b"in"),
    ):
        server = served([EVENT])
        assert listen(server.url, "-d", data, stdin=stdin).exit_code == 0
        assert server.requests[0].startswith(b"POST ")
        assert server.requests[0].endswith(b"\r\n\r\n" + expected)


def credentials(server: Server) -> bytes:
    (line,) = (
        line
        for line in server.requests[0].split(b"\r\n")
        if line.lower().startswith(b"authorization: ")
    )
    return base64.b64decode(line.rpartition(b" ")[2])


def test_user_and_password_are_sent(served: Serve) -> None:
    server = served([EVENT])
    assert listen(server.url, "-u", "me:se:cret").exit_code == 0
    assert credentials(server) == b"me:se:cret"


ASK = [sys.executable, "-m", "sseparse", "listen", "--quiet", "--max-events", "1", "-u", "me"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize("typed", [b"secret\n", b"\x04"], ids=["password", "end"])
def test_password_is_asked_for_on_the_terminal_though_input_is_a_pipe(
    served: Serve, typed: bytes
) -> None:
    server = served([EVENT])
    parent, child = os.openpty()
    with (
        os.fdopen(parent, "r+b", buffering=0) as terminal,
        subprocess.Popen(
            [*ASK, server.url, "-d", "@-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            # The first terminal that a session opens is its own.
            preexec_fn=lambda: os.close(os.open(os.ttyname(child), os.O_RDWR)),
        ) as process,
    ):
        shown = b""
        while not shown.endswith(b"Password for me: "):
            shown += terminal.read(1024)
        terminal.write(typed)
        _, errors = process.communicate(b"text", timeout=120)
        os.close(child)
    if typed == b"\x04":
        assert errors.startswith(b"Error: --user must be USER:PASSWORD")
        assert process.returncode == 2
    else:
        assert errors == b""
        assert credentials(server) == b"me:secret"
        assert server.requests[0].endswith(b"\r\n\r\ntext")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there are no sessions")
def test_password_without_a_terminal_is_wrong_usage() -> None:
    result = subprocess.run(
        [*ASK, ":1"], input=b"secret\n", capture_output=True, start_new_session=True, check=False
    )
    assert result.stderr == (
        b"Error: --user must be USER:PASSWORD where no terminal can ask for it\n"
    )
    assert result.returncode == 2


def test_body_of_a_closed_standard_input_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SystemExit, match="1"):
        main(["listen", ":1", "-d", "@-"])
    assert capsys.readouterr().err == "Error: standard input is closed\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-u", "a:b", "-H", "Authorization: x"], "--user must be used without a header field"),
        (["-d", "@/no/such/file"], "--data must be text or the @name of a file"),
        (["-d", "@/"], "--data must be text or the @name of a file"),
        (["-H", "x"], "--header must be a name, a colon and a value"),
        (["-H", "x: 1", "-H", "x: 2"], "--header must be given once for each name"),
        (["-k", "--cacert", __file__], "--insecure must be used without --cacert"),
        (["--cacert", __file__], "--cacert must be a file of certificates in PEM"),
    ],
)
def test_wrong_option_is_one_line_before_any_connection(
    served: Serve, arguments: list[str], words: str
) -> None:
    server = served([EVENT])
    result = listen(server.url, *arguments)
    assert words in result.stderr
    assert (result.stderr.count("\n"), result.exit_code) == (1, 2)
    assert server.requests == []


# Certificates


@pytest.fixture
def secure() -> Iterator[str]:
    """The URL of a server whose certificate an own authority has issued."""
    with start_blocking_portal() as portal:
        context = portal.wrap_async_context_manager(serve(over_tls(answer(EVENT))))
        with context as server:
            yield server.url.replace("http:", "https:")


@pytest.mark.parametrize("command", ["listen", "inspect"])
def test_certificate_that_does_not_verify_ends_it_at_once_with_the_remedy(
    secure: str, command: str
) -> None:
    result = CliRunner().invoke(main, [command, secure])
    assert "certificate verify failed" in result.stderr
    assert result.stderr.endswith("--cacert FILE trusts its authority, -k any certificate\n")
    assert result.exit_code == 1


@pytest.mark.parametrize("command", ["listen --max-events 1", "inspect"])
def test_certificate_is_accepted_on_demand(secure: str, command: str, tmp_path: Path) -> None:
    path = tmp_path / "authority.pem"
    CA.cert_pem.write_to_path(str(path))
    for option in (["-k"], ["--cacert", str(path)]):
        result = CliRunner().invoke(main, [*command.split(), secure, *option])
        assert (result.stderr.count("Error"), result.exit_code) == (0, 0)


def test_other_authorities_are_not_trusted_with_cacert(secure: str, tmp_path: Path) -> None:
    path = tmp_path / "authority.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    assert "certificate verify failed" in listen(secure, "--cacert", str(path)).stderr


def test_default_settings_of_tls_are_the_transports_own() -> None:
    assert _request._tls(insecure=False, cacert=None) is None
    insecure = _request._tls(insecure=True, cacert=None)
    assert insecure is not None
    assert insecure.verify_mode is ssl.CERT_NONE
