"""The command `listen`: an EventSource on the command line."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any

import anyio
import click

from sseparse._display import one_line, redacted_url
from sseparse._events import ServerSentEvent
from sseparse.client import EventSource
from sseparse.transports import Request, Response, Transport
from sseparse.transports._errors import TOKEN, is_http

from ._terminal import async_backend, print_json, run, safe_for, styled

_SECONDS = click.FloatRange(min=0, min_open=True)
_COUNT = click.IntRange(min=1)


@click.command()
@click.argument("url")
@click.option("-H", "--header", "headers", multiple=True, metavar="K:V", help="Repeatable.")
@click.option("-X", "--method", help="By default GET, or POST with --data.")
@click.option("-d", "--data", metavar="TEXT", help="The body; its Content-Type is a --header.")
@click.option("--last-event-id", metavar="ID", help="Resume after this event.")
@click.option(
    "--save-id",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Keep the last event ID in FILE after each event, and resume after it at the start, "
    "unless --last-event-id is given.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what `sseparse decode` prints.")
@click.option("--max-events", type=_COUNT, metavar="N", help="Close after so many events.")
@click.option("--timeout", type=_SECONDS, metavar="SECONDS", help="For all of it.")
@click.option(
    "--idle-timeout",
    type=_SECONDS,
    metavar="SECONDS",
    help="Without a byte, pings included, after which to connect again.",
)
@click.option(
    "--max-attempts",
    type=_COUNT,
    metavar="N",
    help="Fail after so many in a row without an event. By default, never.",
)
@click.option(
    "--retry-status",
    "retry_statuses",
    type=click.IntRange(100, 599),
    multiple=True,
    metavar="N",
    help="An HTTP status that is a passing failure, such as 503. Repeatable.",
)
@click.option("-q", "--quiet", is_flag=True, help="Tell nothing but errors on standard error.")
@async_backend
def listen(async_backend: str, **arguments: Any) -> None:
    """Follow the event stream at URL and print each event as it arrives.

    It connects again whenever the connection is lost, and resumes. What happens to the connection
    is told on standard error, a terminal or not, in lines that begin with "*".

    The exit status is 0 after --max-events or when the server says that there is no more (204),
    124 when --timeout is over, 130 after Ctrl-C, 2 for an unknown option or one out of its range,
    and 1 for all other errors, such as a refusal or a closed pipe.
    """
    run(partial(_listen, **arguments), async_backend)


async def _listen(
    *,
    url: str,
    headers: Iterable[str],
    method: str | None,
    data: str | None,
    last_event_id: str | None,
    save_id: Path | None,
    as_json: bool,
    max_events: int | None,
    timeout: float | None,  # noqa: ASYNC109 -- the option's name
    retry_statuses: Iterable[int],
    quiet: bool,
    **limits: Any,
) -> None:
    _check(url, method, timeout)
    fields = _header_fields(headers)
    saved = None if save_id is None else SavedID(save_id)
    if last_event_id is None:
        last_event_id = saved.value if saved else ""
    # Imported late: it takes longer than all the rest, and other commands have no use for it.
    from sseparse.transports.httpx2 import HTTPX2Transport

    status = _Status(quiet)
    source = EventSource(
        url,
        method=method or ("GET" if data is None else "POST"),
        headers=fields,
        body=os.fsencode(data or ""),
        transport=_TellingTransport(HTTPX2Transport(), status),
        last_event_id=last_event_id,
        retry_statuses=frozenset(retry_statuses),
        on_open=status.opened,
        on_error=status.lost,
        **limits,
    )
    show = print_json if as_json else print_event
    with anyio.move_on_after(timeout) as scope:
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
        raise _TimeIsOver(f"the {timeout:g} seconds are over")
    status.tell("closed")


class _TimeIsOver(click.ClickException):
    exit_code = 124  # that of timeout(1)


def _check(url: str, method: str | None, timeout: float | None) -> None:
    """Refuse what the transport would refuse only once a connection has been told of."""
    if not url.isprintable() or " " in url or not is_http(url):
        raise ValueError(f"not an http: or https: URL: {redacted_url(url)!r}")
    if method is not None and not TOKEN.fullmatch(method):
        raise ValueError(f"not a method: {method!r}")
    if timeout is not None and math.isnan(timeout):
        raise ValueError("the timeout is not a number")


def _header_fields(headers: Iterable[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for header in headers:
        name, colon, value = header.partition(":")
        value = value.strip(" \t")
        if not colon or not TOKEN.fullmatch(name) or not value.isprintable():
            raise ValueError("a header is a name, a colon and a value")
        if name.lower() in fields:
            raise ValueError(f"a header is given once, with all of its values: {name}")
        fields[name.lower()] = value
    return fields


class _TellingTransport:
    """A transport that tells when a connection is asked of it."""

    def __init__(self, transport: Transport, status: _Status) -> None:
        self._transport = transport
        self._status = status

    async def send(self, request: Request) -> Response:
        self._status.tell("connecting")
        return await self._transport.send(request)


class _Status:
    """Tells on standard error what happens to the connection."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._open = False

    def tell(self, text: str) -> None:
        if not self._quiet:
            click.echo(styled(f"* {one_line(text)}", sys.stderr, dim=True), err=True, color=True)

    def opened(self) -> None:
        self._open = True
        self.tell("open")

    def lost(self, error: Exception, wait: float) -> None:
        what = "lost" if self._open else "not open"
        self._open = False
        self.tell(f"{what}: {str(error) or type(error).__name__}; trying again in {wait:.1f} s")


def print_event(event: ServerSentEvent) -> None:
    """Print `event` for people: its type and ID, and its data, indented, below."""
    head = styled(safe_for(event.event, sys.stdout), sys.stdout, bold=True, fg="cyan")
    if event.id:
        head += " " + styled(f"(id {safe_for(event.id, sys.stdout)})", sys.stdout, dim=True)
    data = safe_for(event.data, sys.stdout).replace("\n", "\n  ")
    click.echo(f"{head}\n  {data}", color=True)


class SavedID:
    """A last event ID in a file, for the next run to resume after.

    `value` is what is in the file, "" when there is none. The file is only ever replaced as a
    whole: a reader, and who looks after this process was killed, sees the old ID or the new one.

    Raises ValueError or OSError for a path where no ID can be read or written.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._path = path.resolve()  # a link stays one
        except RuntimeError as error:  # CPython 3.11 and 3.12: links in a circle
            raise ValueError(f"not a file: {path}: {error}") from error
        # A device or a pipe is not to be replaced.
        if self._path.exists() and not self._path.is_file():
            raise ValueError(f"not a file: {path}")
        if not os.access(self._path.parent, os.W_OK):
            raise ValueError(f"not a folder to write to: {path.parent}")
        self.value = ""
        if self._path.exists():
            content = self._path.read_bytes().rstrip(b"\r\n")
            try:
                self.value = content.decode()
            except UnicodeDecodeError as error:
                raise ValueError(f"not an event ID in UTF-8: {path}: {error}") from error
            if not {"\r", "\n", "\0"}.isdisjoint(self.value):
                raise ValueError(f"not an event ID, which is a single line: {path}")

    def save(self, event_id: str) -> None:
        """Have `event_id` in the file."""
        if event_id == self.value:
            return
        temporary = self._path.with_name(f".sseparse-{token_hex(8)}")
        try:
            temporary.write_text(f"{event_id}\n", "utf-8", newline="\n")
            if self._path.exists():
                temporary.chmod(self._path.stat().st_mode)
            temporary.replace(self._path)
        finally:
            temporary.unlink(missing_ok=True)
        self.value = event_id
