"""The group of all commands: `sseparse`, or `python -m sseparse`.

Other packages add commands through entry points of the group "sseparse.commands". `chat` and
`backends` do so too, so no other command imports a backend.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, redirect_stderr
from importlib.metadata import EntryPoint, entry_points
from io import TextIOWrapper
from pathlib import Path
from typing import Any, cast

import click

import sseparse

from ._failure import EXPECTED_ERRORS, INTERRUPTED, failure_of, wrong_usage

_GROUP = "sseparse.commands"
# The commands of this package. Each is loaded when it is called: `decode` needs click alone.
_OWN = {
    name: EntryPoint(name, f"sseparse.cli.{name}:{name}", _GROUP)
    for name in ("decode", "inspect", "listen", "replay")
}


class CommandLine(click.Group):
    """The group of all commands; prints their errors as one line."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Parse the arguments and run a command; see click.Command.main."""
        if cast("Any", sys.stderr) is not None:
            return super().main(*arguments, **options)
        with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):  # it is closed
            return super().main(*arguments, **options)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted({*super().list_commands(ctx), *_entries()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command, of this package or of another one."""
        entry = _entries().get(cmd_name)
        if entry is None:
            return super().get_command(ctx, cmd_name)
        try:
            command: click.Command = entry.load()
        except (ImportError, AttributeError) as error:
            return _unloadable(cmd_name, error)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments before the command; see click.Command.parse_args."""
        if not args:
            return super().parse_args(ctx, args)  # which shows the help
        with _one_line_errors(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and print an expected error as one line on standard error."""
        try:
            with _one_line_errors(ctx):
                return super().invoke(ctx)
        except BaseException as error:
            # An event loop may have put it in a group.
            if BaseExceptionGroup("", [error]).subgroup(KeyboardInterrupt) is None:
                raise
            click.echo(err=True)
            ctx.exit(INTERRUPTED)


@contextmanager
def _one_line_errors(ctx: click.Context) -> Generator[None]:
    """Raise an expected error as one that click prints on one line."""
    try:
        yield
    except click.UsageError as error:
        raise wrong_usage(error) from error
    except BrokenPipeError:
        raise  # click ends the process with status 1
    except EXPECTED_ERRORS as error:
        name = ctx.invoked_subcommand
        group = cast("click.Group", ctx.command)
        command = None if name is None else group.get_command(ctx, name)
        raise failure_of(error, command) from error


def _entries() -> dict[str, EntryPoint]:
    """Return the commands by their names; no other package replaces one of this package."""
    return {entry.name: entry for entry in entry_points(group=_GROUP)} | _OWN


def _unloadable(name: str, error: Exception) -> click.Command:
    """Return a command that only fails, so that the other commands stay usable."""

    def fail() -> None:
        raise click.ClickException(f"{message}: pip install 'sseparse[cli]'")

    message = f"{name} cannot be loaded ({error})"
    return click.Command(
        name,
        callback=fail,
        help=message,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )


@click.group(cls=CommandLine, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(sseparse.__version__)
def main() -> None:
    """Decode and follow event streams, and chat with services that use them.

    \b
    Exit status of all commands:
      0    success
      1    failed; standard error says why
      2    wrong usage
      3    the reply was not finished
      124  timed out
      130  interrupted by Ctrl-C
    """
    if cast("Any", sys.stdout) is None:
        raise click.ClickException("standard output is closed")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
