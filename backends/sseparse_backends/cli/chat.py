"""The command `chat`: a reply, or a conversation on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from sseparse import ProtocolError
from sseparse.cli import Incomplete, WrongUsage, async_backend, run
from sseparse_backends import ReplyStream
from sseparse_backends._registry import installed_backends

from ._arguments import ServiceOptions, service_options
from ._printing import JSONPrinter, Printer, TextPrinter
from ._prompt import argument_text, read_prompt
from ._reply import print_demo_reply, print_reply, unfinished

_COMPLETION = """\b
Completion, also of backends and models, for
  bash: eval "$(_SSEPARSE_COMPLETE=bash_source sseparse)" in ~/.bashrc
  zsh:  eval "$(_SSEPARSE_COMPLETE=zsh_source sseparse)" in ~/.zshrc
  fish: _SSEPARSE_COMPLETE=fish_source sseparse | source
        in ~/.config/fish/completions/sseparse.fish
"""


@click.command(epilog=_COMPLETION)
@click.argument("words", metavar="[PROMPT]...", nargs=-1)
@click.option(
    "-f",
    "--file",
    "paths",
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Add a text below the prompt, or attach an image, a PDF, or what else the service takes. "
    "Repeatable.",
)
@click.option("-s", "--system", metavar="TEXT", help="System prompt: how the model should reply.")
@service_options
@click.option(
    "--json", "as_json", is_flag=True, help="Print text, reasoning, tool calls and so on as JSON."
)
@click.option("--markdown", is_flag=True, help="Render Markdown, if the output is a terminal.")
@click.option("--usage", is_flag=True, help="Print tokens and times to standard error.")
@click.option("--demo", is_flag=True, help="Start a demo server in place of the service.")
@async_backend
@click.option(
    "--retries",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Further attempts if the service is unreachable or busy.",
)
@click.pass_context
def chat(
    ctx: click.Context,
    /,
    words: Sequence[str],
    paths: Sequence[Path],
    system: str | None,
    service: ServiceOptions,
    retries: int,
    as_json: bool,
    markdown: bool,
    usage: bool,
    demo: bool,
    async_backend: str,
) -> None:
    """Send PROMPT to a chat service and print the reply as it arrives.

    Standard input goes below the prompt if it is a pipe or a file: `git diff | sseparse chat
    explain`. It is read to its end, so a script whose input is for other commands adds
    `</dev/null`. "-" reads it whatever it is. Without a prompt, on a terminal, `chat` is a
    conversation.

    `sseparse backends` lists the backends, and the environment variable of each one's key. The
    model's reasoning and its tool calls go to standard error.

    Exit status: 3 if the reply was not finished, because of a limit of tokens, for example; for the
    others, see `sseparse --help`.
    """
    chosen = ctx.get_parameter_source("backend")
    has_address = "base_url" in service.backend_arguments
    if as_json and markdown:
        raise WrongUsage("--json must be used without --markdown")
    if demo:
        if chosen is ParameterSource.COMMANDLINE or has_address:
            raise WrongUsage("--demo must be used without --backend and --base-url")
        service = replace(service, backend="darkai")
    backend = service.connect()
    arguments = {"retries": retries, **service.arguments}
    print_ = partial(print_demo_reply, service.connect) if demo else partial(print_reply, backend)

    def ask(messages: Sequence[Mapping[str, Any]]) -> ReplyStream:
        printer = _printer(as_json, markdown)
        try:
            return run(partial(print_, messages, arguments, printer, usage), async_backend)
        except (ProtocolError, OSError) as error:
            if chosen is ParameterSource.DEFAULT and not demo and not has_address:
                others = ", ".join(n for n in installed_backends() if n != service.backend)
                error.add_note(f"try --demo, or --backend with one of the others: {others}")
            raise

    first = [{"role": "system", "content": argument_text("--system", system)}] if system else []
    prompt = read_prompt(words, paths)
    stdin: Any = sys.stdin  # None if it is closed
    is_terminal = stdin is not None and stdin.isatty() and sys.stdout.isatty()
    if prompt.text or (prompt.files and not is_terminal):
        reply = ask([*first, prompt.message(backend)])
        if ending := unfinished(reply):
            raise Incomplete(ending)
    elif not is_terminal or as_json:
        why = "with --json" if as_json else "without a terminal"
        raise WrongUsage(f"PROMPT must be given, as arguments or on standard input, {why}")
    else:
        # Imported late: 0.2 s.
        from ._conversation import converse

        converse(backend, first, prompt, ask)


def _printer(as_json: bool, markdown: bool) -> Printer:
    if as_json:
        return JSONPrinter()
    if not markdown or not sys.stdout.isatty():
        return TextPrinter()
    # Imported late: 0.1 s.
    from ._markdown import MarkdownPrinter

    return MarkdownPrinter()
