"""The command `decode`: a decoder on the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, BinaryIO

import click

import sseparse

from ._terminal import print_json

_DECODERS: dict[str, Callable[[int], sseparse.Decoder[Any]]] = {
    "sse": lambda limit: sseparse.SSEDecoder(max_event_size=limit),
    "ndjson": lambda limit: sseparse.NDJSONDecoder(max_line_size=limit),
    "json-seq": lambda limit: sseparse.JSONSeqDecoder(max_text_size=limit),
}


@click.command()
@click.argument("file", type=click.File("rb"), default="-")
@click.option(
    "--format",
    type=click.Choice(sorted(_DECODERS)),
    default="sse",
    show_default=True,
    help="The format of the stream.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=64 * 1024 * 1024,
    show_default=True,
    metavar="BYTES",
    help="Fail on an event, a line or a JSON text larger than this.",
)
def decode(file: BinaryIO, format: str, limit: int) -> None:
    """Print each item of FILE, or of standard input, as a line of JSON, as it arrives.

    An event becomes an object with "event", "data", "id" and "retry".
    """
    decoder = _DECODERS[format](limit)
    for item in sseparse.decode(file, decoder):
        print_json(item)
    if getattr(decoder, "incomplete", False):
        raise click.ClickException("the stream ended inside an event")
    if skipped := getattr(decoder, "skipped", 0):
        raise click.ClickException(f"skipped invalid JSON texts: {skipped}")
