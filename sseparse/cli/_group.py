"""The group of all commands: `sseparse`, or `python -m sseparse`.

Other packages add commands through entry points of the group "sseparse.commands". `chat` and
`backends` do so too, so no other command imports a backend.
"""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stderr
from importlib.metadata import entry_points
from io import TextIOWrapper
from pathlib import Path
from typing import Any, cast

import click

import sseparse
from sseparse._display import one_line

from .decode import decode
from .listen import listen


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
        return sorted({*super().list_commands(ctx), *entry_points(group="sseparse.commands").names})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command of this package, or load one of another package."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        for entry in entry_points(group="sseparse.commands", name=cmd_name):
            try:
                command: click.Command = entry.load()
            except (ImportError, AttributeError) as error:
                return _unloadable(cmd_name, error)
            return command
        return None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and print an expected error as one line on standard error."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # click ends the process with status 1
        except (sseparse.ProtocolError, OSError, ValueError, ImportError) as error:
            message = str(error) or type(error).__name__
            if isinstance(error, sseparse.IncompleteStream) and error.__cause__ is not None:
                message += f": {error.__cause__}"
            raise click.ClickException(one_line(message)) from error
        except BaseException as error:
            # An event loop may have put it in a group.
            if BaseExceptionGroup("", [error]).subgroup(KeyboardInterrupt) is None:
                raise
            click.echo(err=True)
            ctx.exit(130)  # the status that shells report for Ctrl-C


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
    """Decode and follow event streams, and chat with services that use them."""
    if cast("Any", sys.stdout) is None:
        raise click.ClickException("standard output is closed")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


main.add_command(decode)
main.add_command(listen)
