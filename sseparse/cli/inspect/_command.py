"""The command."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import BinaryIO, TextIO

import click
import httpcore2
import httpx2

from sseparse._display import redacted_url
from sseparse._recording import Recorder, is_recording
from sseparse.cli._request import RequestOptions, full_url, request_options
from sseparse.cli._terminal import SECONDS, open_input, print_json
from sseparse.transports import Request
from sseparse.transports.sync_httpx2 import SyncHTTPX2Transport

from ._findings import Finding, Head, find, no_head
from ._reading import read_file, read_saved, read_url
from ._report import as_json, print_report
from ._resumption import resume
from ._stream import Stream


@click.command()
@click.argument("source", metavar="URL|FILE|-")
@request_options
@click.option(
    "--seconds",
    type=SECONDS,
    default=30.0,
    show_default=True,
    help="Stop reading after this time.",
)
@click.option(
    "--reconnect",
    is_flag=True,
    help="Connect again as after a loss of the last event, and compare.",
)
@click.option(
    "--save", type=click.Path(path_type=Path), metavar="FILE", help="Record the bytes, with times."
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=64 * 1024 * 1024,
    show_default=True,
    metavar="BYTES",
    help="Report an event that is larger, or close to it.",
)
@click.option("--json", "json", is_flag=True, help="Print the report as JSON.")
def inspect(
    source: str,
    request: RequestOptions,
    seconds: float,
    reconnect: bool,
    save: Path | None,
    limit: int,
    json: bool,
) -> None:
    """Report the faults of an event stream: at a URL, in FILE, or on standard input.

    FILE is a stream, or a recording of --save.

    It reads to the end, for --seconds, or until Ctrl-C. The report has faults, risks and a remedy
    for each; then come times, sizes and counts.

    Exit status: 0 where nothing is broken, and 1 where something is; see `sseparse --help` for the
    others.

    \b
    curl -sN https://example.org/events | sseparse inspect -
    """
    is_url = "://" in source or not (
        source == "-" or source.startswith(("/", ".", "~")) or Path(source).exists()
    )
    if reconnect and not is_url:
        raise ValueError("--reconnect must be used with a URL")
    is_saved = not is_url and Path(source).is_file() and is_recording(source)
    if save is not None and is_saved:
        raise ValueError(f"--save must be used with a stream, got the recording {source}")
    sent: Request | None = None
    name = source
    if is_url:
        fields = {"accept": "text/event-stream", **request.headers}
        # Half of the time: a failure to connect must come before the end of the time for the head.
        limit_to_connect = min(30.0, seconds / 2)
        url = full_url(source)
        sent = Request(request.method, url, fields, request.body, limit_to_connect)
        source = redacted_url(sent.url)
    elif save is not None and save.exists() and source != "-" and save.samefile(source):
        raise ValueError(f"--save must be another file than the source, got {save}")
    stream = Stream(max_event_size=limit)
    head: Head | None = None
    resumption: str | None = None
    findings: list[Finding] = []
    start = monotonic()
    with ExitStack() as stack:
        recorder = None
        if save is not None:
            recorder = Recorder(stack.enter_context(_created(save)))
        if sent is not None:
            transport = SyncHTTPX2Transport(tls=request.tls)
            try:
                head = read_url(sent, transport, stream, seconds, recorder)
            except ConnectionError as error:
                if isinstance(
                    error.__cause__, httpx2.RemoteProtocolError | httpcore2.RemoteProtocolError
                ):
                    error.add_note("does the server speak HTTP there? An https: one does not")
                elif "://" not in name and ":" not in name:
                    error.add_note(f"there is no file {name} either")
                raise
            elapsed = monotonic() - start
            findings = [no_head(sent.url, elapsed)] if head is None else find(head, stream)
            if reconnect and head is not None:
                resumption, lost = resume(sent, transport, stream, seconds)
                findings += lost
        else:
            if is_saved:
                head = read_saved(source, stream)
            else:
                with _opened(source) as file:
                    read_file(file, stream, seconds, recorder)
            findings = find(head, stream)
    if save is not None and save.is_file() and is_url and head is None:
        save.unlink()  # it has nothing
    findings.sort(key=lambda finding: not finding.is_broken)
    if json:
        print_json(as_json(source, head, stream, findings, resumption))
    else:
        print_report(source, head, stream, findings, resumption)
    if any(finding.is_broken for finding in findings):
        click.get_current_context().exit(1)


def _created(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise ValueError(f"--save must be a file that can be written: {error}") from error


def _opened(source: str) -> BinaryIO:
    try:
        return open_input(source)
    except OSError as error:
        raise ValueError(f"FILE must be readable: {error}") from error
