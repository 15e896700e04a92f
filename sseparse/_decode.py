"""The drivers: decode and adecode feed a decoder from any source of bytes.

Neither closes its source, which stays the caller's. They close the iterators that they make from
it, such as that of `response.aiter_bytes()`.
"""

from __future__ import annotations

import io
import os
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from inspect import iscoroutinefunction
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, cast, overload

from ._decoders import Decoder
from ._errors import IncompleteStream, LocalProtocolError, RemoteProtocolError
from ._events import ServerSentEvent
from ._responses import HTTP_CODINGS, default_decoder, expect_decoded, head_of

T = TypeVar("T")

_CHUNK = 65536
_URLLIB3_CODINGS = HTTP_CODINGS | {"x-gzip"}

Bytes: TypeAlias = bytes | bytearray | memoryview


class _IterBytes(Protocol):  # a response of httpx2 or httpx
    def iter_bytes(self) -> Iterable[Bytes]: ...


class _IterContent(Protocol):  # a response of requests
    raw: Any

    def iter_content(self, chunk_size: int | None, /) -> Iterable[Bytes]: ...


class _HTTPResponse(Protocol):  # a response of urllib
    status: int
    headers: Any

    def read(self, size: int, /) -> Bytes: ...


class _Read(Protocol):  # a binary file
    def read(self, size: int, /) -> Bytes: ...


class _AiterBytes(Protocol):  # a response of httpx2 or httpx
    def aiter_bytes(self) -> AsyncIterable[Bytes]: ...


class _IterAny(Protocol):  # the content of an aiohttp response
    def iter_any(self) -> AsyncIterable[Bytes]: ...


class _Content(Protocol):  # a response of aiohttp
    @property
    def content(self) -> _IterAny: ...


class _AsyncRead(Protocol):  # an asyncio.StreamReader, an asynchronous file
    def read(self, size: int, /) -> Awaitable[Bytes]: ...


class _TransportResponse(Protocol):
    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Any: ...
    def receive(self) -> Awaitable[Bytes]: ...


class _Receive(Protocol):  # a stream of anyio
    def receive(self) -> Awaitable[Bytes]: ...


class _ReceiveSome(Protocol):  # a stream of trio
    def receive_some(self) -> Awaitable[Bytes]: ...


Response: TypeAlias = _IterBytes | _IterContent | _HTTPResponse
Source: TypeAlias = Bytes | Response | _Read | Iterable[Bytes]
AsyncResponse: TypeAlias = _AiterBytes | _Content | _TransportResponse
AsyncSource: TypeAlias = (
    AsyncResponse | _IterAny | _AsyncRead | _Receive | _ReceiveSome | AsyncIterable[Bytes]
)


@overload
def decode(source: Response, decoder: None = None) -> Generator[Any, None, None]: ...
@overload
def decode(source: Source, decoder: None = None) -> Generator[ServerSentEvent, None, None]: ...
@overload
def decode(source: Source, decoder: Decoder[T]) -> Generator[T, None, None]: ...


def decode(source: Source, decoder: Decoder[Any] | None = None) -> Generator[Any, None, None]:
    """Yield the items that `decoder` finds in `source`, as they arrive.

    source: an iterable of bytes, bytes, a response of requests, or an object with a method
        `iter_bytes` (a response of httpx2 or httpx), `read1` or `read` (a binary file, a response
        of urllib).
    decoder: decodes the bytes as they are. Default: for an HTTP response `decoder_for` its media
        type, else an SSEDecoder. After the last item, the `incomplete` of an SSEDecoder says
        whether the stream was cut inside an event.

    Raises TypeError, naming the argument, for any other source or decoder, and ValueError for a
    response whose content encoding nobody undoes. When iterated, it raises UnexpectedResponse
    for a response without a success or a known media type, if it has no decoder; the errors of
    the decoder, after the items before the error; the errors of the source, of a response of
    requests those of urllib3.
    """
    chunks = _chunks(source)
    return _items(_checked_decoder(decoder, source), chunks, source)


def _items(
    decoder: Decoder[Any], chunks: Iterator[Any], source: object
) -> Generator[Any, None, None]:
    try:
        for chunk in chunks:
            yield from decoder.feed(chunk)
        yield from decoder.close()
    except RemoteProtocolError as error:
        events, error.events = error.events, []
        yield from events
        raise
    finally:
        if isinstance(chunks, Generator) and chunks is not source:
            chunks.close()


def _checked_decoder(decoder: Any, source: object) -> Decoder[Any]:
    if decoder is None:
        return default_decoder(source)
    if isinstance(decoder, type):
        raise TypeError(f"decoder must be an instance, got the class {decoder.__name__}")
    if not (hasattr(decoder, "feed") and hasattr(decoder, "close")):
        raise TypeError(f"decoder must have feed and close, got {type(decoder).__name__}")
    return cast("Decoder[Any]", decoder)


def _chunks(source: Any) -> Iterator[Any]:
    if isinstance(source, bytes | bytearray | memoryview):
        return iter((cast("Any", source),))
    if isinstance(source, type):
        raise TypeError(f"source must be an instance, got the class {source.__name__}")
    if hasattr(source, "iter_bytes"):
        expect_decoded(source, HTTP_CODINGS)
        chunks: Iterator[Any] = source.iter_bytes()
        return chunks
    if hasattr(source, "iter_content"):
        expect_decoded(source, _URLLIB3_CODINGS)
        return _requests_chunks(source)
    _expect_blocking(source)
    # urllib3's own response decodes if it is told to.
    expect_decoded(source, _URLLIB3_CODINGS if getattr(source, "decode_content", False) else ())
    # read1 returns the bytes that are there; read waits until it has all it was asked for.
    read = getattr(source, "read1", None) or getattr(source, "read", None)
    if read is not None and not iscoroutinefunction(read):
        return _whole(iter(lambda: read(_CHUNK), b""), source)
    if hasattr(source, "__iter__") and not isinstance(source, str):
        return iter(source)
    raise TypeError(
        f"source must be bytes, an iterable of bytes or a binary file, got {type(source).__name__}:"
        " adecode() takes asynchronous sources"
    )


def _expect_blocking(source: Any) -> None:
    """Raise ValueError for a file or pipe in non-blocking mode.

    Reading there what has not come yet looks like the end of the file.
    """
    file = getattr(source, "raw", source)
    if isinstance(file, io.FileIO) and not file.closed and not os.get_blocking(file.fileno()):
        raise ValueError("source must be in blocking mode: call os.set_blocking(fd, True)")


def _whole(chunks: Iterator[Any], source: Any) -> Iterator[Any]:
    yield from chunks
    # read1 of http.client accepts any end, but `length` counts what is left of the Content-Length.
    if head_of(source) is not None and getattr(source, "length", None):
        raise IncompleteStream


def _requests_chunks(response: Any) -> Iterator[Any]:
    raw = response.raw
    if raw.closed:  # the body has been read already
        return iter((response.content,))
    if not hasattr(raw, "read1"):  # urllib3 before 2.1
        chunks: Iterator[Any] = response.iter_content(1)
        return chunks
    # requests' own iteration holds bytes back until it has all that it was asked for.
    return iter(lambda: raw.read1(_CHUNK, decode_content=True), b"")


@overload
def adecode(source: AsyncResponse, decoder: None = None) -> AsyncItems[Any]: ...
@overload
def adecode(source: AsyncSource, decoder: None = None) -> AsyncItems[ServerSentEvent]: ...
@overload
def adecode(source: AsyncSource, decoder: Decoder[T]) -> AsyncItems[T]: ...


def adecode(source: AsyncSource, decoder: Decoder[Any] | None = None) -> AsyncItems[Any]:
    """Iterate asynchronously over the items that `decoder` finds in `source`, as they arrive.

    source: an asynchronous iterable of bytes, such as a stream of anyio or trio, or an object
        with a method `aiter_bytes` (a response of httpx2 or httpx), `iter_any` (the content of
        an aiohttp response, or the response itself), `read1` or `read` (an asyncio.StreamReader,
        an asynchronous file), `receive` or `receive_some` (a response of a transport). The last
        four end with an empty chunk.
    decoder: as for `decode`.

    To leave early, use `async with adecode(...) as items`. Items that have arrived are returned
    without a checkpoint.

    Raises TypeError, naming the argument, for any other source or decoder; when iterated, the
    same errors as `decode`. Each further step raises the error again.
    """
    return AsyncItems(source, _checked_decoder(decoder, source))


class AsyncItems(Generic[T]):
    """The asynchronous iterator that `adecode` returns.

    It starts no task. As a context manager, it is closed at the end.
    """

    def __init__(self, source: AsyncSource, decoder: Decoder[T]) -> None:
        self._source = source
        self._chunks = _async_chunks(source)
        self._decoder = decoder
        self._items: Iterator[T] = iter(())
        # Raised by each further step.
        self._error: Exception | None = None
        self._over = False
        self._busy = False

    def __aiter__(self) -> AsyncItems[T]:
        return self

    async def __anext__(self) -> T:
        while True:
            for item in self._items:
                return item
            if self._error is not None:
                await self.aclose()
                raise self._error
            if self._over:
                raise StopAsyncIteration
            if self._busy:
                raise LocalProtocolError("another task is waiting for the next item")
            self._busy = True
            try:
                self._items = iter(await self._step())
            finally:
                self._busy = False

    async def _step(self) -> list[T]:
        """Return the items of the next chunk, or those before an error, which is kept."""
        try:
            try:
                chunk = await anext(self._chunks)
            except StopAsyncIteration:
                self._over = True
                return self._decoder.close()
            return self._decoder.feed(chunk)
        except RemoteProtocolError as error:
            self._error = error
            items, error.events = error.events, []
            return items
        except Exception as error:
            self._error = error
            return []
        except BaseException as error:
            # A cancelled generator is finished: going on would look like the end of the stream.
            if isinstance(self._chunks, AsyncGenerator):
                self._error = LocalProtocolError(
                    f"an earlier step ended the iteration by {type(error).__name__}"
                )
            raise

    async def aclose(self) -> None:
        """End the iteration, and close the iterator made from the source, but not the source.

        Raises LocalProtocolError while another task waits for an item: cancel that task first.
        """
        if self._busy:
            raise LocalProtocolError("another task is waiting for the next item")
        self._over = True
        self._items = iter(())
        chunks: AsyncIterator[Any] | AsyncGenerator[Any, None] = self._chunks
        if isinstance(chunks, AsyncGenerator) and chunks is not self._source:
            await chunks.aclose()

    async def __aenter__(self) -> AsyncItems[T]:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()


def _async_chunks(source: Any) -> AsyncIterator[Any]:
    if isinstance(source, type):
        raise TypeError(f"source must be an instance, got the class {source.__name__}")
    if hasattr(source, "aiter_bytes"):
        expect_decoded(source, HTTP_CODINGS)
        chunks: AsyncIterator[Any] = source.aiter_bytes()
        return chunks
    is_sync = hasattr(source, "__iter__") and not hasattr(source, "__aiter__")
    # Before `read`: aiohttp's content has that too, and its response has one for the whole body.
    # The content of a response of requests would be the whole body.
    for reader in (source, None if is_sync else getattr(source, "content", None)):
        iter_any = getattr(reader, "iter_any", None)
        if iter_any is not None:
            expect_decoded(source, HTTP_CODINGS)
            return aiter(iter_any())
    # Before iteration, which is by line for readers and files, and fails on long lines.
    for name in ("read1", "read"):
        read = getattr(source, name, None)
        if read is not None and not is_sync:
            return _Reads(read, _CHUNK)
    # Before `receive`: the streams of anyio and trio know their end, and an empty chunk of a
    # memory stream is not it.
    if hasattr(source, "__aiter__"):
        return aiter(source)
    for name in ("receive", "receive_some"):
        receive = getattr(source, name, None)
        if receive is not None:
            return _Reads(receive)
    raise TypeError(
        f"source must be an asynchronous source of bytes, got {type(source).__name__}:"
        " decode() takes others"
    )


class _Reads(AsyncIterator[Any]):
    """The chunks that an asynchronous method returns, up to an empty one."""

    def __init__(self, read: Callable[..., Any], *arguments: int) -> None:
        self._read = read
        self._arguments = arguments

    async def __anext__(self) -> Any:
        chunk = self._read(*self._arguments)
        if not hasattr(chunk, "__await__"):
            raise TypeError("source must be asynchronous: decode() takes others")
        chunk = await chunk
        if len(chunk) == 0:
            raise StopAsyncIteration
        return chunk
