"""The errors that end a command with an exit status of their own; `sseparse --help` has the table.

Each prints its message as one line on standard error, as click.ClickException does with status 1.
"""

from __future__ import annotations

import errno
import re

import click

import sseparse
from sseparse._display import one_line

# Errors that a command reports in a line; others are bugs.
EXPECTED_ERRORS = (sseparse.ProtocolError, OSError, ValueError, ImportError)
INTERRUPTED = 130  # as shells report Ctrl-C


class WrongUsage(click.ClickException):
    """An argument is wrong. Unlike click.UsageError, it prints one line alone."""

    exit_code = 2


class Incomplete(click.ClickException):
    """The reply was not finished."""

    exit_code = 3


class TimedOut(click.ClickException):
    """A time limit was reached."""

    exit_code = 124  # as timeout(1)


def failure_of(error: Exception, command: click.Command | None = None) -> click.ClickException:
    """Return the line and the exit status for one of EXPECTED_ERRORS.

    command: the one that failed.
    """
    message = "; ".join([str(error) or type(error).__name__, *getattr(error, "__notes__", ())])
    failure = click.ClickException
    if isinstance(error, sseparse.IncompleteStream):
        failure = Incomplete
        message += f": {error.__cause__}" if error.__cause__ is not None else ""
    elif isinstance(error, TimeoutError):
        failure = TimedOut
    elif isinstance(error, OSError) and error.errno == errno.ENOSPC:
        message = f"cannot write all of the output: {error}"
    elif not isinstance(error, (sseparse.ProtocolError, OSError, ImportError)):
        failure = WrongUsage  # a ValueError names an argument
        message = with_option(message, command)
    return failure(one_line(message))


def with_option(message: str, command: click.Command | None) -> str:
    """Return a message about arguments of the library with the options' names in their place.

    An option has the name of the argument that it is for. A name that may be a word counts only
    at the start.
    """
    for parameter in () if command is None else command.params:
        if isinstance(parameter, click.Option):
            name = parameter.name
            pattern = rf"\b{name}\b" if "_" in name else rf"\A{name}\b"
            message = re.sub(pattern, max(parameter.opts, key=len), message)
    return message


def wrong_usage(error: click.UsageError) -> WrongUsage:
    """Return the line for an error of click's, which prints four."""
    command = "" if error.ctx is None else f"; see `{error.ctx.command_path} --help`"
    return WrongUsage(one_line(error.format_message().rstrip(".")) + command)
