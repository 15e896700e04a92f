"""The command `listen`: an EventSource on the command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import click

from sseparse import ServerSentEvent
from sseparse.client import EventSource
from sseparse.transports.httpx2 import HTTPX2Transport

from ._failure import TimedOut
from ._request import RequestOptions, full_url, request_options
from ._saved_id import SavedID
from ._terminal import SECONDS, async_backend, note, print_json, run, safe_for

_COUNT = click.IntRange(min=1)


@click.command()
@click.argument("url")
@request_options
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

    URL may leave out http://, and the host, if it is localhost, as for httpie:

    \b
      sseparse listen https://example.org/events
      sseparse listen example.org/events
      sseparse listen :8000/events
      sseparse listen :8000/chat -H Content-Type:application/json -d @prompt.json

    When the connection is lost, connect again and resume. Standard error gets a line that begins
    with "*" whenever the state of the connection changes.

    Exit status: 0 after --max-events, or when the server ends the stream for good (HTTP 204);
    for the others, see `sseparse --help`.
    """
    run(partial(_listen, **arguments), async_backend)


async def _listen(
    *,
    url: str,
    request: RequestOptions,
    last_event_id: str | None,
    save_id: Path | None,
    as_json: bool,
    max_events: int | None,
    timeout: float | None,  # noqa: ASYNC109 -- the option's name
    retry_statuses: Sequence[int],
    quiet: bool,
    **limits: Any,
) -> None:
    saved = None if save_id is None else SavedID(save_id)
    if last_event_id is None:
        last_event_id = saved.value if saved else ""
    status = _Status(quiet)
    source = EventSource(
        full_url(url),
        method=request.method,
        headers=request.headers,
        body=request.body,
        transport=HTTPX2Transport(tls=request.tls),
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
        raise TimedOut(f"timed out after {timeout:g} second{'' if timeout == 1 else 's'}")
    status.show("closed")


class _Status:
    """Prints the state of the connection on standard error."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._open = False

    def show(self, text: str) -> None:
        if not self._quiet:
            note(text)

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
