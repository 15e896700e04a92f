"""Content codings, undone as the bytes arrive (RFC 9110, 8.4 "Content-Encoding").

A coding hands out all that its input so far decodes to, in pieces of bounded size, so that a
small body that decodes to gigabytes needs little memory. gzip and zstd may consist of any number
of members (RFC 1952, 2.2; RFC 8878, 3.1), such as one for each write of a server.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any, Protocol

from sseparse._display import one_line
from sseparse._errors import UnexpectedResponse

# The largest piece in bytes; brotli may make it twice as large.
PIECE = 1024 * 1024

# Each coding multiplies how much a small body may decode to.
_MAX_CODINGS = 2


class UnsupportedEncoding(UnexpectedResponse):
    """A body arrives in a content encoding that cannot be decoded.

    It is an UnexpectedResponse, not a ConnectionError, because another attempt would end alike:
    EventSource and `stream` raise it at once.
    """

    def __str__(self) -> str:
        status = "" if 200 <= self.status < 300 else f"HTTP {self.status}: "
        encoding = self.headers.get("content-encoding")
        origin = f" from {self.url}" if self.url else ""
        return one_line(
            f"{status}cannot decode content-encoding {encoding!r}{origin}: install brotli 1.2 "
            "for br, backports.zstd for zstd, or send the header field accept-encoding: identity"
        )


class ContentDecoder:
    """Decodes the body of a response with this status, these header fields and this URL."""

    def __init__(self, status: int, headers: Mapping[str, str], url: str = "") -> None:
        self._status, self._headers, self._url = status, headers, url
        names = _names(headers.get("content-encoding", ""))
        self._supported = len(names) <= _MAX_CODINGS and CODINGS.keys() >= set(names)
        # The last one was applied last.
        self._codings = [_Coding(n, *CODINGS[n]) for n in reversed(names) if self._supported]

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Return an iterator over what `data` decodes to, to be exhausted before the next call.

        Raises UnsupportedEncoding, and its iterator the errors of the decompressors.
        """
        if not self._supported:
            raise UnsupportedEncoding(self._status, self._headers, b"", url=self._url)
        pieces = iter((data,))
        for coding in self._codings:
            pieces = coding.decode(pieces)
        return pieces

    def close(self) -> None:
        """Take the end of the body; raises EOFError where the data goes on."""
        for coding in self._codings:
            coding.close()


def accepting(headers: Mapping[str, str], preferred: str = "") -> dict[str, str]:
    """Return the header fields of a request with an Accept-Encoding.

    preferred: the value that the client would send, taken if all that it names can be decoded.
    """
    if any(name.lower() == "accept-encoding" for name in headers):
        return dict(headers)
    if not preferred or not CODINGS.keys() >= set(_names(preferred)):
        preferred = ", ".join(CODINGS)
    return {"Accept-Encoding": preferred, **headers}


def _names(value: str) -> list[str]:
    """Return the codings in the value of a header field, without `identity`."""
    names = [name.partition(";")[0].strip().lower() for name in value.split(",")]
    return [name.removeprefix("x-") for name in names if name not in ("", "identity")]


class _Member(Protocol):
    """A decompressor with the interface of bz2.BZ2Decompressor, which zstd's has too."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Coding:
    """One content coding.

    start: makes the decompressor of a member, of which it gets the first bytes.
    many: whether another member may follow.
    """

    def __init__(self, name: str, start: Callable[[bytes], _Member], many: bool) -> None:
        self._name = name
        self._start = start
        self._many = many
        self._member: _Member | None = None

    def decode(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for data in chunks:
            while data:
                if self._member is None:
                    self._member = self._start(data)
                elif self._member.eof:
                    if not self._many:
                        raise ValueError(f"data after the end of {self._name} data")
                    # Padding, as after a gzip member on a tape.
                    data = data.lstrip(b"\0")  # noqa: PLW2901
                    if not data:
                        break
                    self._member = self._start(data)
                data = yield from _decompress(self._member, data)  # noqa: PLW2901

    def close(self) -> None:
        if self._member is not None and not self._member.eof:
            raise EOFError(f"the body ends inside {self._name} data")


def _decompress(member: _Member, data: bytes) -> Generator[bytes, None, bytes]:
    """Yield what `data` decodes to; return what follows the end of the member."""
    while True:
        if piece := member.decompress(data, PIECE):
            yield piece
        if member.eof:
            return member.unused_data
        if member.needs_input:
            return b""
        data = b""


class _Zlib:
    """zlib's decompressor as a _Member, for gzip and deflate."""

    def __init__(self, wbits: int) -> None:
        self._zlib = zlib.decompressobj(wbits)
        self._tail = b""
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        # Not the unconsumed_tail: after a limited piece, zlib keeps this data there too.
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        data = self._tail + data
        before = self._zlib.copy()
        try:
            piece = self._zlib.decompress(data, max_length)
            self._tail = self._zlib.unconsumed_tail
        except zlib.error:
            if len(data) < 2:
                raise
            # With the error, zlib drops what it has decoded before the damage: it lies in this
            # half or in the next.
            half = len(data) // 2
            self._zlib, self._tail = before, b""
            piece = self.decompress(data[:half], max_length)
            self._tail += data[half:]
        self.needs_input = not self._tail and len(piece) < max_length
        return piece


def _start_deflate(data: bytes) -> _Zlib:
    # RFC 9110, 8.4.1.2: servers also send it without zlib's header. No encoder begins raw data with
    # the first byte of that (RFC 1950, 2.2): a stored block has zeros there (RFC 1951, 3.2.4).
    return _Zlib(15 if data[0] & 0x8F == 0x08 else -15)


class _Brotli:
    """A decompressor of brotli or brotlicffi as a _Member."""

    unused_data = b""

    def __init__(self, decompressor: Any) -> None:
        self._brotli = decompressor
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return bool(self._brotli.is_finished())

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        piece: bytes = self._brotli.process(data, output_buffer_limit=max_length)
        # It accepts more data while output is still pending.
        self.needs_input = not piece and self._brotli.can_accept_more_data()
        return piece


def find_codings(
    import_module: Callable[[str], Any] = import_module,
) -> dict[str, tuple[Callable[[bytes], _Member], bool]]:
    """Return by name how a coding's member starts, and whether many may follow one another."""

    def first_of(*names: str) -> Any:
        for name in names:
            with suppress(ImportError):
                return import_module(name)
        return None

    codings: dict[str, tuple[Callable[[bytes], _Member], bool]] = {
        "gzip": (lambda _: _Zlib(31), True),
        "deflate": (_start_deflate, False),
    }
    brotli = first_of("brotli", "brotlicffi")
    # Before version 1.2, nothing limits the output.
    if brotli is not None and hasattr(brotli.Decompressor, "can_accept_more_data"):
        codings["br"] = lambda _: _Brotli(brotli.Decompressor()), False
    zstd = first_of("compression.zstd", "backports.zstd")
    if zstd is not None:
        codings["zstd"] = lambda _: zstd.ZstdDecompressor(), True
    return codings


CODINGS = find_codings()
