"""The drivers: decode and adecode feed a decoder from any source of bytes.

Neither closes its source, which stays the caller's. The iterator that they make to read it,
such as that of `response.aiter_bytes()`, they do close.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from typing import Any, Generic, TypeVar, cast, overload

from ._decoders import Decoder, SSEDecoder
from ._errors import LocalProtocolError, RemoteProtocolError
from ._events import ServerSentEvent

T = TypeVar("T")

_CHUNK = 65536


@overload
def decode(source: Any, decoder: None = None) -> Generator[ServerSentEvent, None, None]: ...
@overload
def decode(source: Any, decoder: Decoder[T]) -> Generator[T, None, None]: ...


def decode(source: Any, decoder: Decoder[Any] | None = None) -> Generator[Any, None, None]:
    """Yield the items that `decoder` finds in `source`, as they arrive.

    source: an iterable of bytes, or an object with a method `iter_bytes` (a response of httpx2
        or httpx), `read1` or `read` (a binary file, a response of urllib); or bytes.
    decoder: an SSEDecoder with its default options, if it is left out. Whether the stream was
        cut inside of an event, its `incomplete` tells afterwards.

    Raises what the decoder raises, once the items before the error are delivered, and what the
    source raises; TypeError for an asynchronous source.
    """
    if decoder is None:
        decoder = SSEDecoder()
    chunks = _chunks(source)
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


def _chunks(source: Any) -> Iterator[Any]:
    if isinstance(source, bytes | bytearray | memoryview):
        return iter((cast("Any", source),))
    if hasattr(source, "iter_bytes"):
        chunks: Iterator[Any] = source.iter_bytes()
        return chunks
    # read1 returns what is there; read waits until it has all that was asked for.
    read = getattr(source, "read1", None) or getattr(source, "read", None)
    if read is not None:
        return iter(lambda: read(_CHUNK), b"")
    try:
        return iter(source)
    except TypeError:
        raise TypeError(
            f"decode() takes an iterable of bytes, not {type(source).__name__}: "
            "adecode() takes an asynchronous one"
        ) from None


@overload
def adecode(source: Any, decoder: None = None) -> AsyncItems[ServerSentEvent]: ...
@overload
def adecode(source: Any, decoder: Decoder[T]) -> AsyncItems[T]: ...


def adecode(source: Any, decoder: Decoder[Any] | None = None) -> AsyncItems[Any]:
    """Iterate asynchronously over the items that `decoder` finds in `source`, as they arrive.

    source: an asynchronous iterable of bytes, such as a stream of anyio or trio, or an object
        with a method `aiter_bytes` (a response of httpx2 or httpx), `iter_any` (the content of
        an aiohttp response; the response will do), `read1` or `read` (an asyncio.StreamReader,
        an asynchronous file), `receive` or `receive_some` (a response of a transport), which
        end with an empty chunk.
    decoder, errors: as for `decode`; TypeError for a source that is not asynchronous.

    To leave early, use `contextlib.aclosing`: it closes what was made to read the source. After
    an error each further step raises it again; after a cancellation, one over a generator, such
    as that of a response, raises a LocalProtocolError.
    Items that have arrived are handed out without a checkpoint.
    """
    return AsyncItems(source, SSEDecoder() if decoder is None else decoder)


class AsyncItems(Generic[T]):
    """The iterator that `adecode` returns. It starts no task and opens nothing of its own."""

    def __init__(self, source: Any, decoder: Decoder[T]) -> None:
        self._source = source
        self._chunks = _async_chunks(source)
        self._decoder = decoder
        self._items: Iterator[T] = iter(())
        # What went wrong: raised by each further step.
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
            # A cancellation: a stream can be read on, but what is left of a generator looks like
            # an end.
            if isinstance(self._chunks, AsyncGenerator):
                self._error = LocalProtocolError(f"the iteration was ended before by {error!r}")
            raise

    async def aclose(self) -> None:
        """End the iteration, and close what was made to read the source, but not the source.

        Raises LocalProtocolError while another task waits for an item: cancel that.
        """
        if self._busy:
            raise LocalProtocolError("another task is waiting for the next item")
        self._over = True
        self._items = iter(())
        chunks: AsyncIterator[Any] | AsyncGenerator[Any, None] = self._chunks
        if isinstance(chunks, AsyncGenerator) and chunks is not self._source:
            await chunks.aclose()


def _async_chunks(source: Any) -> AsyncIterator[Any]:
    if hasattr(source, "aiter_bytes"):
        chunks: AsyncIterator[Any] = source.aiter_bytes()
        return chunks
    # Before `read`, because the readers of aiohttp have that too, and its responses have one
    # that returns the whole body.
    for reader in (source, getattr(source, "content", None)):
        iter_any = getattr(reader, "iter_any", None)
        if iter_any is not None:
            return aiter(iter_any())
    # Before iteration, which is by line for readers and files, and fails on long lines.
    for name in ("read1", "read"):
        read = getattr(source, name, None)
        if read is not None:
            return _Reads(read, _CHUNK)
    # Before `receive`, because the streams of anyio and trio know their end: a memory stream
    # may well carry an empty chunk.
    if hasattr(source, "__aiter__"):
        return aiter(source)
    for name in ("receive", "receive_some"):
        receive = getattr(source, name, None)
        if receive is not None:
            return _Reads(receive)
    raise TypeError(
        f"adecode() takes an asynchronous iterable of bytes, not {type(source).__name__}: "
        "decode() takes one that is not"
    )


class _Reads(AsyncIterator[Any]):
    """The chunks that an asynchronous method returns, up to an empty one."""

    def __init__(self, read: Callable[..., Any], *arguments: int) -> None:
        self._read = read
        self._arguments = arguments

    async def __anext__(self) -> Any:
        chunk = self._read(*self._arguments)
        if not hasattr(chunk, "__await__"):
            raise TypeError("adecode() takes an asynchronous source: decode() takes this one")
        chunk = await chunk
        if len(chunk) == 0:
            raise StopAsyncIteration
        return chunk
