"""The command `batch`: many prompts of a file, and their outcomes in another."""

from __future__ import annotations

import re
from contextlib import closing
from functools import partial
from pathlib import Path

import click
from rich.console import Console

from sseparse.cli import SECONDS, async_backend, run
from sseparse.transports import transport_or_default
from sseparse_backends._prompts import ask
from sseparse_backends.batch import ResultLog, complete_part

from ._arguments import ServiceOptions, naming_option, service_options
from ._progress import BatchProgress
from ._prompt import argument_text
from ._prompt_file import PromptFile

_COUNT = click.IntRange(min=1)


@click.command()
@click.argument("prompts", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="REPLIES",
    help="File of the outcomes, one a line of JSON. If it exists, the batch goes on.",
)
@click.option("--column", metavar="NAME", help="PROMPTS is a CSV file with prompts in this column.")
@click.option("-s", "--system", metavar="TEXT", help="System prompt of all prompts without one.")
@service_options
@click.option(
    "--concurrency",
    type=_COUNT,
    default=16,
    show_default=True,
    metavar="N",
    help="Requests in flight, at most. A service that is busy halves it.",
)
@click.option(
    "--retries",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    metavar="N",
    help="Further attempts for a prompt if the service is busy or the reply is cut.",
)
@click.option("--retry-failed", is_flag=True, help="Try the prompts again that have failed.")
@click.option("--skip-invalid", is_flag=True, help="Leave out lines without a valid prompt.")
@click.option(
    "--max-wait",
    type=SECONDS,
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="Longest Retry-After to heed.",
)
@async_backend
def batch(
    prompts: Path,
    output: Path,
    column: str | None,
    system: str | None,
    service: ServiceOptions,
    retry_failed: bool,
    skip_invalid: bool,
    concurrency: int,
    retries: int,
    max_wait: float,
    async_backend: str,
) -> None:
    """Complete each prompt of the file PROMPTS.

    A line of PROMPTS is a JSON object with "prompt" or "messages". Optional are an "id", by default
    the number of the line, and options of the request, such as "model". With --column, a line is a
    row of a CSV file; the column "id", if there is one, has the IDs.

    A line of REPLIES is a JSON object with the "id", "text", "messages", "tool_calls", "usage",
    "finish", "attempts", "first_seconds" and "seconds" of a reply, and its "error" or null.

    Run the same command again to go on after a crash, a kill or Ctrl-C. Each prompt gets one line.
    Replies that were in flight, at most --concurrency, are requested once more; after a power cut,
    so may be the last 100 lines. A second run at the same time is refused: the file REPLIES.lock
    is the lock, and stays. Outcomes in REPLIES stay too, even if the text of their prompts, the
    model or an option has changed since: the id identifies a prompt.

    A reply that ended at a limit of tokens, for example, counts as complete; its "finish" says so.
    A wrong key (status 401), or a certificate that does not verify, ends the batch. PROMPTS must
    not change meanwhile, but lines may be added at its end.

    Exit status: 1 if a prompt has failed; for the others, see `sseparse --help`.
    """
    if system is not None:
        system = argument_text("--system", system)
    if column is None and prompts.suffix == ".csv":
        raise ValueError("--column must be given for a CSV file")
    if not prompts.is_file():
        raise ValueError(
            f"PROMPTS must be a regular file, since it is read twice, got {prompts}: save the "
            "output of a pipe first"
        )
    backend = service.connect()
    arguments = service.arguments
    transport = transport_or_default(None, arguments["proxy"])
    check = partial(ask, backend, transport=transport, options={**arguments, "proxy": None})
    with naming_option(backend):
        check("Hello")
    with (
        closing(
            PromptFile(prompts, column, check, system=system, skip_invalid=skip_invalid)
        ) as prompt_file,
        _opened(output) as log,
    ):
        if prompt_file.skipped:
            words = f"lines without a valid prompt: {prompt_file.skipped}"
            click.echo("\n  ".join([words, *prompt_file.reasons]), err=True)
        _expect_same_prompts(log, prompt_file, prompts)
        if retry_failed:
            log.drop_failed()
        progress = BatchProgress(Console(stderr=True), len(prompt_file.ids), len(log.ids))
        work = partial(
            complete_part,
            backend,
            prompt_file,
            log,
            on_outcome=progress.add,
            concurrency=concurrency,
            retries=retries,
            max_wait=max_wait,
            **arguments,
        )
        try:
            with progress:
                run(work, async_backend)
        except KeyboardInterrupt:
            click.echo("run the same command again to go on", err=True)
            raise
        _expect_success(prompt_file, prompts, log)


def _opened(output: Path) -> ResultLog:
    try:
        return ResultLog(output)
    except BlockingIOError:
        raise
    except (OSError, ValueError) as error:
        raise ValueError(f"--output must be a file of outcomes, or a new one: {error}") from error


def _expect_success(prompts: PromptFile, path: Path, log: ResultLog) -> None:
    """Raise click.ClickException if prompts have changed during the run, or have failed."""
    if prompts.has_changed():
        raise click.ClickException(
            f"{path} has changed during the run: prompts may be missing, or have replies to their "
            "old text"
        )
    if log.failed:
        raise click.ClickException(
            f"failed prompts: {log.failed}; {log.path.name} has their errors, --retry-failed tries "
            "them again"
        )


def _expect_same_prompts(log: ResultLog, prompts: PromptFile, path: Path) -> None:
    """Raise ValueError if a log has outcomes of other prompts; else remember these."""
    for identity in log.ids:
        if identity not in prompts.ids:
            raise ValueError(
                f"--output must be of the same prompts, got an outcome of {identity!r}, which is "
                f"not in {path}"
            )
    if log.fingerprint:
        _expect_same_start(log, prompts, path)
    elif log.ids and prompts.is_numbered:
        click.echo(
            f"cannot tell whether {path} is as in the last run: no {log.path}.lock", err=True
        )
    log.fingerprint = prompts.fingerprint


def _expect_same_start(log: ResultLog, prompts: PromptFile, path: Path) -> None:
    """Raise ValueError if numbered prompts that have outcomes have changed since the last run."""
    parsed = re.fullmatch(rb"(\d+) [0-9a-f]{64}", log.fingerprint)
    if parsed is None:
        raise ValueError(
            f"{log.path}.lock must be of an earlier run, got another file, or a damaged one: if "
            f"{path} is as in that run, delete it"
        )
    size = int(parsed[1])
    if log.ids and prompts.is_numbered and prompts.fingerprint_of(size) != log.fingerprint:
        raise ValueError(
            f"PROMPTS must be as in the last run, with lines added only at the end, because some "
            f"have no `id`: the first {size} bytes of {path} have changed; undo that, or use a new "
            "--output"
        )
