"""The command `listen`: an EventSource on the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import click

from sseparse import ServerSentEvent
from sseparse._display import one_line
from sseparse.client import EventSource

from ._saved_id import SavedID
from ._terminal import SECONDS, async_backend, print_json, run, safe_for

_COUNT = click.IntRange(min=1)


@click.command()
@click.argument("url")
@click.option(
    "-H",
    "--header",
    "headers",
    multiple=True,
    metavar="NAME:VALUE",
    help="A header field of the request. Repeatable.",
)
@click.option("-X", "--method", help="The HTTP method.  [default: GET, or POST with --data]")
@click.option("-d", "--data", metavar="TEXT", help="The request body. Set Content-Type with -H.")
@click.option("--last-event-id", metavar="ID", help="Resume after this event.")
@click.option(
    "--save-id",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Save the last event ID in FILE after each event, and resume after it on the next run. "
    "--last-event-id overrides the saved ID.",
)
@click.option("--json", "as_json", is_flag=True, help="Print events as `sseparse decode` does.")
@click.option("--max-events", type=_COUNT, metavar="N", help="Stop after N events.")
@click.option("--timeout", type=SECONDS, metavar="SECONDS", help="Stop after this time.")
@click.option(
    "--idle-timeout",
    type=SECONDS,
    metavar="SECONDS",
    help="Reconnect when no byte, not even a ping, arrives for this time.",
)
@click.option(
    "--max-attempts",
    type=_COUNT,
    metavar="N",
    help="Fail after N attempts in a row without an event.  [default: retry forever]",
)
@click.option(
    "--retry-status",
    "retry_statuses",
    type=click.IntRange(100, 599),
    multiple=True,
    metavar="N",
    help="Retry after this HTTP status, such as 503. Repeatable.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print only errors on standard error.")
@async_backend
def listen(async_backend: str, **arguments: Any) -> None:
    """Follow the event stream at URL and print each event as it arrives.

    When the connection is lost, connect again and resume. Standard error gets a line that begins
    with "*" whenever the state of the connection changes.

    Exit status: 0 after --max-events, or when the server ends the stream for good (HTTP 204);
    124 after --timeout; 130 after Ctrl-C; 2 for an unknown option or an option out of range; 1 for
    all other errors, such as a refusal or a closed pipe.
    """
    run(partial(_listen, **arguments), async_backend)


async def _listen(
    *,
    url: str,
    headers: Sequence[str],
    method: str | None,
    data: str | None,
    last_event_id: str | None,
    save_id: Path | None,
    as_json: bool,
    max_events: int | None,
    timeout: float | None,  # noqa: ASYNC109 -- the option's name
    retry_statuses: Sequence[int],
    quiet: bool,
    **limits: Any,
) -> None:
    fields = dict(map(_header_field, headers))
    if len(fields) < len(headers):
        raise ValueError("--header must be given once for each name")
    saved = None if save_id is None else SavedID(save_id)
    if last_event_id is None:
        last_event_id = saved.value if saved else ""
    status = _Status(quiet)
    source = EventSource(
        url,
        method=method or ("GET" if data is None else "POST"),
        headers=fields,
        body=os.fsencode(data or ""),
        last_event_id=last_event_id,
        retry_statuses=frozenset(retry_statuses),
        on_open=status.opened,
        on_error=status.lost,
        **limits,
    )
    show = print_json if as_json else print_event
    with anyio.move_on_after(timeout) as scope:
        status.show("connecting")
        async with source:
            printed = 0
            async for event in source:
                show(event)
                if saved is not None:
                    saved.save(source.last_event_id)
                printed += 1
                if printed == max_events:
                    break
    if scope.cancelled_caught:
        raise _TimedOut(f"timed out after {timeout:g} second{'' if timeout == 1 else 's'}")
    status.show("closed")


class _TimedOut(click.ClickException):
    exit_code = 124  # that of timeout(1)


def _header_field(option: str) -> tuple[str, str]:
    name, colon, value = option.partition(":")
    if not colon:
        # The option is not shown: it may be a secret.
        raise ValueError("--header must be a name, a colon and a value")
    return name, value.strip(" \t")


class _Status:
    """Prints the state of the connection on standard error."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._open = False

    def show(self, text: str) -> None:
        if not self._quiet:
            click.echo(safe_for(f"* {one_line(text)}", sys.stderr, dim=True), err=True, color=True)

    def opened(self) -> None:
        self._open = True
        self.show("open")

    def lost(self, error: Exception, wait: float) -> None:
        before = "lost" if self._open else "not open"
        self._open = False
        self.show(
            f"{before}: {str(error) or type(error).__name__}; connecting again in {wait:.1f} s"
        )


def print_event(event: ServerSentEvent) -> None:
    """Print an event for people: type and ID, then the data, indented."""
    head = safe_for(event.event, sys.stdout, bold=True, fg="cyan")
    if event.id:
        head += " " + safe_for(f"(id {event.id})", sys.stdout, dim=True)
    data = safe_for(event.data, sys.stdout).replace("\n", "\n  ")
    click.echo(f"{head}\n  {data}", color=True)
