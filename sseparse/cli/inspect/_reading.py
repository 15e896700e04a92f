"""Reading a stream for a time: at a URL, in a recording, from a file or a pipe."""

from __future__ import annotations

import math
import os
import stat
import threading
from collections.abc import Callable, Iterator
from queue import Empty, Queue
from time import monotonic
from typing import BinaryIO

from sseparse import UnexpectedResponse
from sseparse._display import one_line, redacted_url
from sseparse._recording import Recorder, read_recording
from sseparse.sync import Watchdog
from sseparse.transports import Request, SyncTransport

from ._findings import Head
from ._stream import Stream

# Chunks that may wait to be examined.
_MAX_WAITING = 16


def read_url(
    request: Request,
    transport: SyncTransport,
    stream: Stream,
    seconds: float,
    recorder: Recorder | None = None,
    clock: Callable[[], float] = monotonic,
) -> Head | None:
    """Read a response into `stream` for so many seconds, or until Ctrl-C; return its head.

    The head is None if it does not come before.

    Raises ConnectionError and TimeoutError where no connection is made, or one is lost before the
    head.
    """
    start = clock()
    response = transport.prepare(request)
    watchdog = Watchdog(response.abort)
    watchdog.set(monotonic() + seconds)
    head: Head | None = None
    try:
        response.start(None if seconds == math.inf else seconds)
        version = getattr(response, "http_version", "")
        url = redacted_url(getattr(response, "url", request.url))
        head = Head(response.status, response.headers, clock() - start, version, url)
        if recorder is not None:
            recorder.head(head.status, head.headers)
        while data := response.receive():
            now = clock() - start
            stream.feed(now, data)
            if recorder is not None:
                recorder.chunk(now, data)
        if not watchdog.expired:
            stream.end(clock() - start)
    except KeyboardInterrupt:
        return head
    except (ConnectionError, TimeoutError, UnexpectedResponse) as error:
        if watchdog.expired:
            return head
        if head is None:
            raise
        stream.is_undecodable = isinstance(error, UnexpectedResponse)
        stream.end(clock() - start, one_line(str(error)))
    finally:
        watchdog.stop()
        response.close()
    if recorder is not None and (stream.is_complete or stream.failure is not None):
        recorder.end(clock() - start, stream.failure)
    return head


def read_saved(path: str, stream: Stream) -> Head:
    """Read a recording into `stream`, and return its head.

    Raises OSError, and ValueError for what is no recording.
    """
    recording = read_recording(path)
    for seconds, data in recording.chunks:
        stream.feed(seconds, data)
    if recording.end is not None:
        stream.end(recording.end, recording.failure)
    return Head(recording.status, recording.headers)


def read_file(
    file: BinaryIO,
    stream: Stream,
    seconds: float,
    recorder: Recorder | None = None,
    clock: Callable[[], float] = monotonic,
) -> None:
    """Read a file into `stream` to its end, or until Ctrl-C.

    seconds: time limit for a pipe or a terminal; a regular file has none.
    """
    start = clock()
    stream.is_live = not _is_regular(file)
    if recorder is not None:
        recorder.head(200, {"content-type": "text/event-stream"})
    try:
        for data in _chunks(file, start + seconds if stream.is_live else math.inf, clock):
            now = clock() - start
            stream.feed(now, data)
            if recorder is not None:
                recorder.chunk(now, data)
    except (KeyboardInterrupt, TimeoutError):
        return
    stream.end(clock() - start)
    if recorder is not None:
        recorder.end(clock() - start, None)


def _is_regular(file: BinaryIO) -> bool:
    """Return whether all of a file is there already."""
    try:
        return stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except OSError:  # not backed by the system
        return False


def _chunks(file: BinaryIO, end: float, clock: Callable[[], float]) -> Iterator[bytes]:
    """Yield what a file brings; raise TimeoutError at the end of the time."""
    chunks: Queue[bytes | OSError] = Queue(_MAX_WAITING)
    # Unbuffered: at exit, Python aborts where a thread still reads from a buffered standard input.
    raw = getattr(file, "raw", file)

    def read() -> None:
        try:
            while data := raw.read(65536):
                chunks.put(data)
            chunks.put(b"")
        except (OSError, ValueError) as error:  # ValueError: it was closed meanwhile
            chunks.put(OSError(str(error)))

    # A pipe may be silent: nothing interrupts a read, but a daemon ends with the process.
    threading.Thread(target=read, daemon=True).start()
    while (left := end - clock()) > 0:
        try:
            data = chunks.get(timeout=min(left, threading.TIMEOUT_MAX))
        except Empty:
            break
        if isinstance(data, OSError):
            raise data
        if not data:
            return
        yield data
    raise TimeoutError
