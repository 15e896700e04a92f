"""The command `replay`: a server on loopback that plays a recording."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import anyio
import click
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from sseparse import SSEDecoder
from sseparse._recording import Recording, read_recording

from ._terminal import async_backend, run

# The largest head of a request, in bytes.
_MAX_HEAD = 65536
_LAST_EVENT_ID = re.compile(rb"\nlast-event-id:[ \t]*([^\r\n]*?)[ \t]*\r?\n", re.IGNORECASE)

# A client may leave at any time, or send no HTTP.
_CLIENT_LEFT = (
    anyio.EndOfStream,
    anyio.IncompleteRead,
    anyio.BrokenResourceError,
    anyio.DelimiterNotFound,
)


class _Speed(click.FloatRange):
    name = "speed"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if value == "max":
            return math.inf
        speed = super().convert(value, param, ctx)
        if math.isnan(speed):
            self.fail(f"{value} is not a number.", param, ctx)
        return speed


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--speed",
    type=_Speed(min=0, min_open=True),
    default=1.0,
    show_default=True,
    metavar="N|max",
    help="Play so many times as fast; max leaves the pauses out.",
)
@click.option(
    "--cut-after",
    type=click.IntRange(min=0),
    metavar="BYTES",
    help="Drop each connection after so many bytes of its body.",
)
@click.option(
    "--no-resume", is_flag=True, help="Start from the beginning whatever the Last-Event-ID."
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="By default a free one.")
@async_backend
def replay(
    file: Path,
    speed: float,
    cut_after: int | None,
    no_resume: bool,
    port: int,
    async_backend: str,
) -> None:
    """Serve the recording in FILE, of `sseparse inspect --save`, on loopback, until Ctrl-C.

    Each request gets the recorded response, in the recorded time. A request with a Last-Event-ID
    gets the events after that one. The URL is printed on standard output.
    """
    answer = partial(_answer, read_recording(file), speed, cut_after, not no_resume)
    run(partial(_serve, answer, port), async_backend)


async def _serve(answer: Callable[[SocketStream], Awaitable[None]], port: int) -> None:
    try:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    except OSError as error:
        raise ValueError(f"--port must be free, got {port}: {error}") from error
    async with listener:
        bound: int = listener.extra(SocketAttribute.local_port)  # noqa: S610 - no SQL
        click.echo(f"http://127.0.0.1:{bound}/")
        await listener.serve(answer)


async def _answer(
    recording: Recording,
    speed: float,
    cut_after: int | None,
    resumes: bool,
    connection: SocketStream,
) -> None:
    async with connection:
        with suppress(*_CLIENT_LEFT):
            buffered = BufferedByteReceiveStream(connection)
            request = await buffered.receive_until(b"\r\n\r\n", _MAX_HEAD) + b"\r\n"
            if resumes and (last_event_id := _LAST_EVENT_ID.search(request)):
                recording = rest_after(recording, last_event_id[1].decode(errors="replace"))
            if request.startswith(b"HEAD ") or recording.status in (204, 304):
                await connection.send(_head(recording, has_body=False))
                return
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_until_client_leaves, connection, tasks.cancel_scope)
                with suppress(*_CLIENT_LEFT):  # in here: a task group would wrap it
                    await _play(recording, speed, cut_after, connection)
                tasks.cancel_scope.cancel()


async def _until_client_leaves(connection: SocketStream, scope: anyio.CancelScope) -> None:
    """Read the body of the request, which is of no use, and then the end of the connection."""
    with suppress(*_CLIENT_LEFT):
        while True:
            await connection.receive()
    scope.cancel()


async def _play(
    recording: Recording, speed: float, cut_after: int | None, connection: SocketStream
) -> None:
    start = anyio.current_time()
    await connection.send(_head(recording, has_body=True))
    for seconds, data in _until(recording, cut_after):
        await anyio.sleep_until(start + seconds / speed)
        await connection.send(b"%x\r\n%s\r\n" % (len(data), data))
    if cut_after is not None and cut_after < sum(len(data) for _, data in recording.chunks):
        return
    end = math.inf if recording.end is None else start + recording.end / speed
    await anyio.sleep_until(end)
    if recording.failure is None:
        await connection.send(b"0\r\n\r\n")


def _until(recording: Recording, size: int | None) -> Iterator[tuple[float, bytes]]:
    """Yield the chunks of the first `size` bytes, each with its time."""
    left = math.inf if size is None else size
    for seconds, data in recording.chunks:
        if left > 0 and data:  # an empty chunk would end the body
            yield seconds, data[: int(min(left, len(data)))]
        left -= len(data)


def rest_after(recording: Recording, last_event_id: str) -> Recording:
    """Return the rest of a recording after the event with this ID, timed from there.

    If no event has it, the rest is all of the recording.
    """
    decoder = SSEDecoder(blocks=True)
    last: tuple[int, int] | None = None
    for number, (_, data) in enumerate(recording.chunks):
        for line_number, line in enumerate(data.splitlines(keepends=True), 1):
            if any(block.id == last_event_id for block in decoder.feed(line)):
                last = number, line_number
    if last is None:
        return recording
    number, line_number = last
    seconds, data = recording.chunks[number]
    left = b"".join(data.splitlines(keepends=True)[line_number:])
    later = ((seconds, left), *recording.chunks[number + 1 :])
    return replace(
        recording,
        chunks=tuple((time - seconds, chunk) for time, chunk in later),
        end=None if recording.end is None else recording.end - seconds,
    )


def _head(recording: Recording, *, has_body: bool) -> bytes:
    try:
        phrase = HTTPStatus(recording.status).phrase
    except ValueError:
        phrase = ""
    fields = {**recording.headers, "connection": "close"}
    if has_body:
        fields["transfer-encoding"] = "chunked"
    lines = [f"HTTP/1.1 {recording.status} {phrase}", *(f"{n}: {v}" for n, v in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
