"""The command `decode`: print the items of a stream as lines of JSON."""

from __future__ import annotations

import json
import math
import os
import stat
import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, BinaryIO

import click

import sseparse

from ._terminal import open_input, print_json

# Files of at least this size, in bytes, have a progress bar.
_LARGE = 4 * 1024 * 1024
_FOR_JSON = "for JSON, see --format in `sseparse decode --help`"


@click.command()
@click.argument(
    "path",
    metavar="[FILE]",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    default="-",
)
@click.option(
    "--format",
    type=click.Choice(["sse", "ndjson", "json-seq", "json-values"]),
    default="sse",
    show_default=True,
    help="The format of the stream: events, lines of JSON, JSON text sequences (RFC 7464), or "
    "JSON values one after another.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=64 * 1024 * 1024,
    show_default=True,
    metavar="BYTES",
    help="Fail on an event, a line or a JSON text larger than this.",
)
@click.option(
    "--skip-invalid",
    is_flag=True,
    help="Skip invalid JSON with a warning. Only with --format ndjson or json-seq.",
)
@click.option(
    "--unwrap-array",
    is_flag=True,
    help="Print the elements of arrays, as they arrive. Only with --format json-values.",
)
def decode(path: str, format: str, limit: int, skip_invalid: bool, unwrap_array: bool) -> None:
    """Print each item of FILE, or of standard input, as a line of JSON, as it arrives.

    An event becomes an object with "event", "data", "id" and "retry".
    """
    if skip_invalid and format not in ("ndjson", "json-seq"):
        raise click.UsageError("--skip-invalid must be used with --format ndjson or json-seq")
    if unwrap_array and format != "json-values":
        raise click.UsageError("--unwrap-array must be used with --format json-values")
    with _opened(path) as file:
        if format == "sse":
            _print_events(file, limit)
        else:
            _print_values(file, _decoder(format, limit, skip_invalid, unwrap_array))


def _decoder(
    format: str, limit: int, skip_invalid: bool, unwrap_array: bool
) -> sseparse.Decoder[Any]:
    loads = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse_constant).decode
    if format == "json-values":
        return sseparse.JSONValuesDecoder(
            loads=loads, max_value_size=limit, unwrap_array=unwrap_array
        )
    errors: Any = "skip" if skip_invalid else "raise"
    if format == "json-seq":
        return sseparse.JSONSeqDecoder(loads=loads, max_text_size=limit, errors=errors)
    return sseparse.NDJSONDecoder(loads=loads, max_line_size=limit, errors=errors)


def _print_values(file: BinaryIO, decoder: sseparse.Decoder[Any]) -> None:
    for value in sseparse.decode(file, decoder):
        print_json(value)
    if skipped := getattr(decoder, "skipped", 0):
        click.echo(f"skipped invalid JSON texts: {skipped}", err=True)


def _print_events(file: BinaryIO, limit: int) -> None:
    decoder = sseparse.SSEDecoder(
        max_event_size=limit, blocks=True, comments=True, unknown_fields=True
    )
    kinds: set[type] = set()
    last_event_id = ""
    for item in sseparse.decode(file, decoder):
        kinds.add(type(item))
        if isinstance(item, sseparse.Block):
            last_event_id = last_event_id if item.id is None else item.id
            if item.data is not None:
                event = item.event or "message"
                print_json(sseparse.ServerSentEvent(event, item.data, last_event_id, item.retry))
    if kinds == {sseparse.UnknownField}:
        raise click.ClickException(f"found no line of an event stream: {_FOR_JSON}")
    if decoder.incomplete:
        remedy = "" if kinds else f"; {_FOR_JSON}"
        raise click.ClickException(f"the stream ended inside an event{remedy}")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits} is too large for a number")
    return number


@contextmanager
def _opened(path: str) -> Generator[BinaryIO]:
    """Open a file, or standard input for "-"; a large one has a progress bar on a terminal."""
    with open_input(path) as file:
        size = _size(file)
        if size < _LARGE or sys.stdout.isatty() or not sys.stderr.isatty() or not find_spec("rich"):
            yield file
            return
        # Imported late: it takes 50 ms, and may be missing.
        from rich.console import Console
        from rich.progress import wrap_file

        console = Console(stderr=True)
        with wrap_file(file, size, description="", console=console, transient=True) as wrapped:
            yield wrapped


def _size(file: BinaryIO) -> int:
    """Return the size of a regular file in bytes, else 0."""
    try:
        status = os.fstat(file.fileno())
    except OSError:  # not backed by the system
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
