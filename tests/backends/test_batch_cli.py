"""The command `batch`."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from click.testing import CliRunner, Result

from sseparse.cli import main
from sseparse_backends import _exchange
from sseparse_backends.batch import Outcome, ResultLog
from tests.support.commands import start
from tests.support.servers import LAST_CHUNK, Server, chunk, head, serve
from tests.support.services import answering, lines, ollama_reply, prompt_of, refusal

# The service answers "re: " and the prompt, unless a test chooses otherwise.
Answer = Callable[[str], bytes]


class OllamaService:
    """A service on loopback; `answer` may be replaced."""

    def __init__(self) -> None:
        self.answer: Answer = lambda prompt: ollama_reply(f"re: {prompt}")
        self.server: Server

    @property
    def prompts(self) -> list[str]:
        """The prompts of the requests so far, sorted."""
        return sorted(map(prompt_of, self.server.requests))


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[OllamaService]:
    monkeypatch.setattr(_exchange, "_FIRST_WAIT", 0.0)
    monkeypatch.delenv("OLLAMA_API_KEY", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    service = OllamaService()
    with start_blocking_portal() as portal:
        handle = answering(lambda prompt: service.answer(prompt))
        with portal.wrap_async_context_manager(serve(handle)) as service.server:
            yield service


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, an empty one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def arguments(service: OllamaService, *options: str) -> list[str]:
    url = f"http://127.0.0.1:{service.server.port}"
    return ["batch", "--backend", "ollama", "--base-url", url, "-o", "replies.jsonl", *options]


def run(service: OllamaService, *options: str) -> Result:
    return CliRunner().invoke(main, arguments(service, *options))


def write(name: str, *lines: Any) -> str:
    Path(name).write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")
    return name


def replies() -> dict[Any, dict[str, Any]]:
    """The lines of the output, by ID; each ID is there once."""
    lines = [json.loads(line) for line in Path("replies.jsonl").read_bytes().splitlines()]
    found = {line["id"]: line for line in lines}
    assert len(found) == len(lines)
    return found


def texts() -> dict[Any, str]:
    return {key: line["text"] for key, line in replies().items()}


pytestmark = pytest.mark.usefixtures("folder")


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_each_line_becomes_a_line(service: OllamaService, loop: str) -> None:
    prompts = write(
        "p.jsonl",
        {"id": "a", "prompt": "Hello"},
        {"messages": [{"role": "user", "content": "Hi"}], "model": "large"},
        {"id": 7, "prompt": "Bye", "options": {"seed": 1}},
    )
    result = run(service, prompts, "--model", "small", "--async-backend", loop)
    assert result.exit_code == 0
    assert texts() == {"a": "re: Hello", 2: "re: Hi", 7: "re: Bye"}
    assert replies()["a"]["usage"]["input_tokens"] == 3
    bodies = [json.loads(r.partition(b"\r\n\r\n")[2]) for r in service.server.requests]
    assert sorted(body["model"] for body in bodies) == ["large", "small", "small"]
    assert [body["options"] for body in bodies if "options" in body] == [{"seed": 1}]


def test_options_and_the_key_reach_the_service(service: OllamaService) -> None:
    options = ["--option", "think=true", "--api-key", "sesame", "--option", "format=json"]
    assert run(service, write("p.jsonl", {"prompt": "Hello"}), *options).exit_code == 0
    (request,) = service.server.requests
    assert b"authorization: Bearer sesame\r\n" in request
    body = json.loads(request.partition(b"\r\n\r\n")[2])
    assert (body["think"], body["format"]) == (True, "json")


def test_a_csv_file_has_prompts_in_a_column(service: OllamaService) -> None:
    long = "x" * 200_000
    Path("p.csv").write_text(f'\ufeffq,other\n"Hello,\nyou",1\n{long},2\n', "utf-8")
    assert run(service, "p.csv", "--column", "q").exit_code == 0
    assert texts() == {1: "re: Hello,\nyou", 2: f"re: {long}"}


def test_a_byte_order_mark_inside_of_a_csv_file_is_text(service: OllamaService) -> None:
    Path("p.csv").write_text('\ufeffq\n"a\n\ufeffb"\n', "utf-8")
    assert run(service, "p.csv", "--column", "q").exit_code == 0
    assert texts() == {1: "re: a\n\ufeffb"}


def test_a_csv_file_may_have_ids(service: OllamaService) -> None:
    Path("p.csv").write_text("id,q\nx,Hello\ny,Bye\n", "utf-8")
    assert run(service, "p.csv", "--column", "q").exit_code == 0
    assert texts() == {"x": "re: Hello", "y": "re: Bye"}


def test_a_run_goes_on_where_one_has_ended(service: OllamaService) -> None:
    prompts = [{"id": number, "prompt": str(number)} for number in range(20)]
    write("p.jsonl", *prompts[:5])
    assert run(service, "p.jsonl").exit_code == 0
    before = Path("replies.jsonl").read_bytes()
    write("p.jsonl", *prompts)
    with Path("replies.jsonl").open("ab") as file:
        file.write(b'{"id": 5, "text": "to')
    result = run(service, "p.jsonl")
    assert (result.exit_code, "\ndone in earlier runs: 5\n" in result.stderr) == (0, True)
    assert texts() == {number: f"re: {number}" for number in range(20)}
    assert Path("replies.jsonl").read_bytes().startswith(before)
    assert service.prompts == sorted(map(str, range(20)))


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_a_failed_prompt_is_a_line_and_status_1_until_it_is_tried_again(
    service: OllamaService, loop: str
) -> None:
    options = ["--async-backend", loop]
    write("p.jsonl", {"prompt": "good"}, {"prompt": "bad"})
    service.answer = lambda prompt: refusal(400) if prompt == "bad" else ollama_reply(prompt)
    for _ in range(2):
        result = run(service, "p.jsonl", *options)
        assert result.exit_code == 1
        assert result.stderr.endswith("--retry-failed tries them again\n")
        assert "Error: failed prompts: 1; replies.jsonl has their errors, " in result.stderr
        assert replies()[2]["error"]["type"] == "UnexpectedResponse"
    assert service.prompts == ["bad", "good"]
    service.answer = ollama_reply
    assert run(service, "p.jsonl", "--retry-failed", *options).exit_code == 0
    assert texts() == {1: "good", 2: "bad"}
    assert service.prompts == ["bad", "bad", "good"]


def test_retries_are_counted(service: OllamaService) -> None:
    service.answer = lambda _: refusal(503, "retry-after: 0")
    assert run(service, write("p.jsonl", {"prompt": "a"}), "--retries", "2").exit_code == 1
    assert replies()[1]["attempts"] == len(service.server.requests) == 3


def test_the_summary_has_the_first_error_of_each_kind(service: OllamaService) -> None:
    fields = head(200, "transfer-encoding: chunked", content_type="application/x-ndjson")
    error = fields + chunk(lines({"error": "no such model"})) + LAST_CHUNK
    service.answer = lambda prompt: error if prompt == "bad" else refusal(404)
    prompts = write("p.jsonl", *[{"prompt": "bad"}] * 3, {"prompt": "wrong"})
    result = run(service, prompts, "--retries", "0")
    assert result.exit_code == 1
    _, words, first, second, *_ = result.stderr.splitlines()
    assert words == "errors, with the first of each kind:"
    assert first.startswith("  3 BackendError: ")
    assert "no such model" in first
    assert second.startswith("  1 UnexpectedResponse 404: ")


def test_the_summary_has_counts_rates_and_a_plot(service: OllamaService) -> None:
    service.answer = lambda prompt: refusal(400) if prompt == "bad" else ollama_reply(prompt)
    prompts = [{"prompt": "good"}] * 9 + [{"prompt": "bad"}]
    result = run(service, write("p.jsonl", *prompts))
    assert re.match(
        r"complete: 9, failed: 1, time: 0:00:\d\d\n"
        r"errors, with the first of each kind:\n"
        r"  1 UnexpectedResponse 400: .* 400.*: busy\n"
        r"tokens: 27 in, 9 out\n"
        r"\d+ tokens/s, first token \S+ s \(median\)\n"
        r"seconds for a reply:\n"
        r"(?:up to +\S+ s  [█#]* ?\d*\n)+",
        result.stderr,
    )
    assert result.stdout == ""


# Bad input


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2 of p.jsonl: Expecting property name enclosed in double quotes at column 2"),
        ("[" * 100_000, "line 2 of p.jsonl: "),
        ("7", "line 2 of p.jsonl: a prompt must be an object, got b'7\\n'"),
        ("[", "line 2 of p.jsonl: a prompt must be an object on a line, got an array"),
        ("\udcff", "line 2 of p.jsonl: "),
        ("{}", "line 2 of p.jsonl: a prompt must have either `prompt` or `messages`, got neither"),
        ('{"prompt": 7}', "line 2 of p.jsonl: `prompt` must be a str, got int"),
        ('{"id": null, "prompt": "a"}', "line 2 of p.jsonl: id must be a str or an int, got None"),
        ('{"prompt": "a", "retries": 1}', "retries is not an option of a prompt, but of all"),
    ],
)
def test_a_bad_line_is_named_before_the_first_request(
    service: OllamaService, line: str, words: str
) -> None:
    text = f'{{"prompt": "Hello"}}\n{line}\n\n{{"id": "x", "prompt": "Bye"}}\n'
    Path("p.jsonl").write_bytes(text.encode(errors="surrogateescape"))
    result = run(service, "p.jsonl")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: line 2 of p.jsonl: ")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert service.server.requests == []
    assert not Path("replies.jsonl").exists()
    assert result.stderr.endswith("; --skip-invalid leaves it out\n")
    result = run(service, "p.jsonl", "--skip-invalid")
    assert result.exit_code == 0
    assert result.stderr.startswith("lines without a valid prompt: 1\n  line 2 of p.jsonl: ")
    assert texts() == {1: "re: Hello", "x": "re: Bye"}


def test_some_reasons_are_given_for_lines_left_out(service: OllamaService) -> None:
    result = run(service, write("p.jsonl", *range(12), {"prompt": "Hello"}), "--skip-invalid")
    assert result.exit_code == 0
    first, *reasons = result.stderr.splitlines()[:6]
    assert first == "lines without a valid prompt: 12"
    assert [reason[:20] for reason in reasons] == [f"  line {n} of p.jsonl:" for n in range(1, 6)]
    assert texts() == {13: "re: Hello"}


def test_one_line_must_have_a_valid_prompt(service: OllamaService) -> None:
    result = run(service, write("p.jsonl", *range(12)), "--skip-invalid")
    assert result.exit_code == 2
    words = "Error: PROMPTS must have a valid prompt, got none: line 1 of p.jsonl: a prompt must be"
    assert result.stderr.startswith(words)
    assert not Path("replies.jsonl").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such files")
def test_prompts_of_a_pipe_are_refused(service: OllamaService) -> None:
    os.mkfifo("pipe")
    result = run(service, "pipe")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: PROMPTS must be a regular file, since it is read twice")


def test_ids_that_repeat_are_named_with_both_lines(service: OllamaService) -> None:
    lines = [{"id": "a", "prompt": "1"}, {"id": "b", "prompt": "2"}, {"id": "a", "prompt": "3"}]
    for options in ([], ["--skip-invalid"]):
        result = run(service, write("p.jsonl", *lines), *options)
        assert result.exit_code == 2
        assert "got 'a' on the lines 1 and 3 of p.jsonl" in result.stderr
    assert service.server.requests == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"id,q\na,b\n", "--column must be one of the columns of p.csv ('id', 'q'), got 'c'"),
        (b"", "--column must be one of the columns of p.csv (), got 'c'"),
        (b"c\nHello\n\xff\n", "line 3 of p.csv: 'utf-8' codec"),
        (b"id,c\nx\n", "line 2 of p.csv: a row must have 2 cells, as the first has, got 1"),
        (b"id,c\nx,a,b\n", "line 2 of p.csv: a row must have 2 cells, as the first has, got 3"),
        (b'c,d\n"a\nb",c\n\n,d\n', "line 5 of p.csv: the column c must not be empty"),
        (b"id,c\n,d\n", "line 2 of p.csv: the column id must not be empty"),
        (b"id,c,c\n1,2,3\n", "the column c must be once in p.csv"),
        (b"id,c,id\n1,2,3\n", "the column id must be once in p.csv"),
        (b"c\na\rb\n", "the row from line 2 of p.csv on: new-line character"),
        (b'c,d\na,b\n"c,d\ne,f\n', "the row from line 3 of p.csv on: unexpected end of data"),
        (b'c\n"a"b\n', "the row from line 2 of p.csv on: ',' expected after '\"'"),
    ],
)
def test_a_csv_file_that_cannot_be_read_is_an_error(
    service: OllamaService, text: bytes, words: str
) -> None:
    Path("p.csv").write_bytes(text)
    result = run(service, "p.csv", "--column", "c")
    assert (result.exit_code, words in result.stderr) == (2, True)


def test_a_csv_file_needs_a_column(service: OllamaService) -> None:
    Path("p.csv").write_text("q\nHello\n")
    result = run(service, "p.csv")
    assert (result.exit_code, result.stderr) == (
        2,
        "Error: --column must be given for a CSV file\n",
    )


def test_another_output_is_refused_and_left_as_it_is(service: OllamaService) -> None:
    prompts = write("p.jsonl", {"id": "a", "prompt": "Hello"})
    with ResultLog("other.jsonl") as log:
        log.append(Outcome("b", error=ValueError()))
    torn = Path("other.jsonl").read_bytes() + b'{"id": "to'
    for text, words in (
        (b"notes\n", "the log must hold outcomes of a batch alone"),
        (torn, "--output must be of the same prompts, got an outcome of 'b'"),
    ):
        Path("replies.jsonl").write_bytes(text)
        result = run(service, prompts, "--retry-failed")
        assert (result.exit_code, words in result.stderr) == (2, True)
        assert Path("replies.jsonl").read_bytes() == text
    assert service.server.requests == []


def test_a_second_run_on_the_same_output_is_refused(service: OllamaService) -> None:
    with ResultLog("replies.jsonl"):
        result = run(service, write("p.jsonl", {"prompt": "Hello"}))
    assert result.exit_code == 1
    assert result.stderr == "Error: replies.jsonl is open elsewhere, for another run\n"
    assert service.server.requests == []


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit for files")
def test_a_full_disk_ends_the_run_and_the_next_one_goes_on(service: OllamaService) -> None:
    import resource

    prompts = write("p.jsonl", *[{"prompt": str(number)} for number in range(50)])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        result = run(service, prompts)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert result.exit_code == 1
    error = f"Error: [Errno 27] File too large: '{Path('replies.jsonl').resolve()}'\n"
    assert result.stderr.endswith(error)
    assert 0 < len(texts()) < 50
    assert Path("replies.jsonl").read_bytes().endswith(b"}\n")
    assert run(service, prompts).exit_code == 0
    assert texts() == {number + 1: f"re: {number}" for number in range(50)}


def test_wrong_arguments_are_usage_errors(service: OllamaService) -> None:
    prompts = write("p.jsonl", {"prompt": "Hello"})
    for options, words in (
        (["--backend", "none"], "--backend, or SSEPARSE_BACKEND, must be one of"),
        (["--backend-option", "nose=1"], "--backend-option is not valid for ollama: "),
        (["--option", "temperature"], "must be NAME=VALUE"),
        (["--option", "retries=1"], "retries is not an option of a prompt, but of all"),
        (["--proxy", "ftp://127.0.0.1"], "--proxy must be"),
    ):
        result = run(service, prompts, *options)
        assert (result.exit_code, words in result.stderr) == (2, True)


# As a process


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize("columns", [30, 80])
def test_progress_is_shown_on_a_terminal(
    service: OllamaService, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    prompts = write("p.jsonl", *[{"prompt": "Hello"}] * 20)
    parent, child = os.openpty()
    with os.fdopen(parent, "rb", buffering=0) as screen:
        with start(*arguments(service, prompts), stderr=child) as process:
            os.close(child)
            shown = b""
            while piece := _read(screen):
                shown += piece
        assert process.returncode == 0
    assert b"20/20" in shown
    assert columns == 30 or b"tokens/s, first token " in shown
    assert "█".encode() in shown


def _read(screen: Any) -> bytes:
    try:
        return bytes(screen.read(4096))
    except OSError:  # Linux's end of a pseudo-terminal
        return b""


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_ctrl_c_ends_it_and_the_next_run_goes_on(service: OllamaService, loop: str) -> None:
    prompts = write("p.jsonl", *[{"prompt": str(number)} for number in range(200)])
    options = ["--concurrency", "2", "--async-backend", loop]
    with start(*arguments(service, prompts, *options)) as process:

        def interrupt(prompt: str) -> bytes:
            if len(service.server.requests) == 20:
                process.send_signal(signal.SIGINT)
            return ollama_reply(f"re: {prompt}")

        service.answer = interrupt
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert errors.startswith(b"complete: ")
    assert errors.endswith(b"run the same command again to go on\n\n")
    assert 18 <= len(texts()) < 200
    assert run(service, prompts).exit_code == 0
    assert texts() == {number + 1: f"re: {number}" for number in range(200)}
    assert len(service.server.requests) <= 202


def test_a_wrong_key_ends_it_and_the_next_run_does_all(service: OllamaService) -> None:
    answer = service.answer
    service.answer = lambda _: refusal(401)
    prompts = write("prompts.jsonl", *({"prompt": str(number)} for number in range(100)))
    result = run(service, prompts)
    assert (result.exit_code, "401" in result.stderr) == (1, True)
    assert result.stderr.startswith("complete: 0, failed: 0, time: ")
    key = "; the key is that of --api-key, or of the variable OLLAMA_API_KEY\n"
    assert result.stderr.endswith(key)
    assert replies() == {}
    assert len(service.prompts) <= 16
    service.answer = answer
    assert run(service, prompts).exit_code == 0
    assert len(texts()) == 100


def test_a_system_prompt_is_for_all_prompts_without_one(service: OllamaService) -> None:
    own = {"role": "system", "content": "its own"}
    hello = {"role": "user", "content": "b"}
    prompts = write(
        "prompts.jsonl", {"prompt": "a"}, {"messages": [hello]}, {"messages": [own, hello]}
    )
    assert run(service, prompts, "--system", "kurz").exit_code == 0
    bodies = [json.loads(request.partition(b"\r\n\r\n")[2]) for request in service.server.requests]
    systems = sorted(body["messages"][0]["content"] for body in bodies)
    assert systems == ["its own", "kurz", "kurz"]
    assert sorted(body["messages"][1]["content"] for body in bodies) == ["a", "b", "b"]
    Path("replies.jsonl").unlink()
    write("prompts.jsonl", {"messages": "Hum"})
    run(service, prompts, "--system", "kurz")
    last = json.loads(service.server.requests[-1].partition(b"\r\n\r\n")[2])
    assert [message["content"] for message in last["messages"]] == ["kurz", "Hum"]
    write("prompts.jsonl", {"prompt": "a", "messages": [hello]})
    assert "either `prompt` or `messages`" in run(service, prompts, "--system", "kurz").stderr
    write("prompts.jsonl", {"prompt": 3})
    result = run(service, prompts, "--system", "kurz")
    assert (result.exit_code, "`prompt` must be a str" in result.stderr) == (2, True)
    write("prompts.jsonl", 3)
    assert run(service, prompts, "--system", "kurz").exit_code == 2


def test_prompts_without_ids_may_only_be_added_at_the_end(service: OllamaService) -> None:
    prompts = write("prompts.jsonl", *({"prompt": str(number)} for number in range(3)))
    assert run(service, prompts).exit_code == 0
    write("prompts.jsonl", {"prompt": "new"}, *({"prompt": str(number)} for number in range(3)))
    before = Path("replies.jsonl").read_bytes()
    result = run(service, prompts)
    assert result.exit_code == 2
    assert "PROMPTS must be as in the last run, with lines added only at the end" in result.stderr
    assert Path("replies.jsonl").read_bytes() == before
    write("prompts.jsonl", {"prompt": "0"})
    assert run(service, prompts).exit_code == 2
    # A run that was refused changes nothing for the next one.
    write("prompts.jsonl", *({"prompt": str(number)} for number in range(4)))
    assert run(service, prompts).exit_code == 0
    assert service.prompts == ["0", "1", "2", "3"]
    assert run(service, prompts).exit_code == 0


def test_damaged_fingerprint_is_refused(service: OllamaService) -> None:
    prompts = write("prompts.jsonl", {"prompt": "0"})
    assert run(service, prompts).exit_code == 0
    Path("replies.jsonl.lock").write_bytes(b"\0" * 70)
    result = run(service, prompts)
    assert result.exit_code == 2
    assert "replies.jsonl.lock must be of an earlier run, got another file" in result.stderr
    assert result.stderr.endswith("if prompts.jsonl is as in that run, delete it\n")


def test_file_of_somebody_is_no_lock(service: OllamaService) -> None:
    prompts = write("replies.jsonl.lock", {"prompt": "0"})
    before = Path(prompts).read_bytes()
    for path in (prompts, write("prompts.jsonl", {"prompt": "0"})):
        result = run(service, path)
        assert (result.exit_code, "must be of an earlier run" in result.stderr) == (2, True)
        assert Path(prompts).read_bytes() == before
    assert service.server.requests == []


def test_lost_lock_is_told(service: OllamaService) -> None:
    prompts = write("prompts.jsonl", {"prompt": "0"})
    assert run(service, prompts).exit_code == 0
    Path("replies.jsonl.lock").unlink()
    result = run(service, prompts)
    assert result.exit_code == 0
    words = "cannot tell whether prompts.jsonl is as in the last run: no "
    assert result.stderr.startswith(words)


@pytest.mark.parametrize("change", ["shorter", "other", "longer"])
def test_prompts_that_change_during_the_run_are_told(service: OllamaService, change: str) -> None:
    prompts = write("prompts.jsonl", *({"prompt": str(number)} for number in range(2000)))
    before = Path(prompts).read_bytes()
    after = {"shorter": before[:40], "other": before.replace(b"0", b"1"), "longer": before + before}

    def answer(prompt: str) -> bytes:
        Path(prompts).write_bytes(after[change])
        return ollama_reply(prompt)

    service.answer = answer
    result = run(service, prompts, "--concurrency", "1")
    has_changed = "Error: prompts.jsonl has changed during the run: " in result.stderr
    expected = (0, False) if change == "longer" else (1, True)
    assert (result.exit_code, has_changed) == expected


def test_replies_that_are_removed_during_the_run_are_an_error(service: OllamaService) -> None:
    def answer(prompt: str) -> bytes:
        Path("replies.jsonl").unlink(missing_ok=True)
        return ollama_reply(prompt)

    service.answer = answer
    result = run(service, write("prompts.jsonl", {"prompt": "0"}))
    assert (result.exit_code, "replies.jsonl was removed or replaced" in result.stderr) == (1, True)


@pytest.mark.parametrize("more", [[], ["--skip-invalid"]])
def test_wrong_option_is_no_fault_of_the_prompts(service: OllamaService, more: list[str]) -> None:
    prompts = write("prompts.jsonl", {"prompt": "0"})
    result = run(service, prompts, "--option", "temprature=3", *more)
    assert result.exit_code == 2
    assert "--option is not valid for ollama: Ollama has no option temprature" in result.stderr


def test_prompts_with_ids_may_be_in_any_order(service: OllamaService) -> None:
    prompts = write("prompts.jsonl", {"id": "a", "prompt": "0"}, {"id": "b", "prompt": "1"})
    assert run(service, prompts).exit_code == 0
    write(
        "prompts.jsonl",
        {"id": "c", "prompt": "2"},
        {"id": "b", "prompt": "1"},
        {"id": "a", "prompt": "0"},
    )
    assert run(service, prompts).exit_code == 0
    assert service.prompts == ["0", "1", "2"]


def test_output_that_cannot_be_written_is_named(service: OllamaService, folder: Path) -> None:
    prompts = write("prompts.jsonl", {"prompt": "a"})
    for output in ("nowhere/replies", "/dev/null"):
        result = run(service, prompts, "-o", output)
        assert result.stderr.startswith("Error: --output must be a file of outcomes, or a new one")
        assert result.exit_code == 2


def test_a_refused_key_of_one_prompt_is_its_own(service: OllamaService) -> None:
    answer = service.answer
    service.answer = lambda prompt: refusal(401) if prompt == "3" else answer(prompt)
    prompts = write("prompts.jsonl", *({"prompt": str(number)} for number in range(40)))
    result = run(service, prompts, "--concurrency", "2")
    assert (result.exit_code, "failed prompts: 1" in result.stderr) == (1, True)
    assert len(replies()) == 40


def test_replies_that_ended_at_a_limit_are_counted(service: OllamaService) -> None:
    body = lines(
        {"message": {"content": "Well"}}, {"message": {}, "done": True, "done_reason": "length"}
    )
    fields = head(200, "transfer-encoding: chunked", content_type="application/x-ndjson")
    service.answer = lambda _: fields + chunk(body) + LAST_CHUNK
    result = run(service, write("prompts.jsonl", {"prompt": "a"}))
    assert "complete: 1, failed: 0" in result.stderr
    assert "ended by a limit, a filter or a pause: 1\n" in result.stderr
    assert result.exit_code == 0
    assert replies()[1]["finish"] == {"reason": "length", "kind": "length"}
