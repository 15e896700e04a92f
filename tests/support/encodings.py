"""Content encodings, as servers make them: the body in pieces, each of them flushed."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Encodes texts to pieces of which each decodes to its text as soon as it has arrived; what ends the
# encoding is in the last.
Encode: TypeAlias = Callable[[Sequence[bytes]], list[bytes]]


def _zlib(wbits: int) -> Encode:
    def encode(texts: Sequence[bytes]) -> list[bytes]:
        packer = zlib.compressobj(wbits=wbits)
        pieces = [packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH) for text in texts]
        return [*pieces[:-1], pieces[-1] + packer.flush()]

    return encode


def _brotli(texts: Sequence[bytes]) -> list[bytes]:
    packer: Any = brotli.Compressor()
    pieces = [packer.process(text) + packer.flush() for text in texts]
    return [*pieces[:-1], pieces[-1] + packer.finish()]


def _zstd(texts: Sequence[bytes]) -> list[bytes]:
    packer = zstd.ZstdCompressor()
    pieces = [packer.compress(text, packer.FLUSH_BLOCK) for text in texts]
    return [*pieces[:-1], pieces[-1] + packer.flush()]


def _members(encode: Encode) -> Encode:
    return lambda texts: [encode([text])[0] for text in texts]


def _padded(encode: Encode) -> Encode:
    return lambda texts: [piece + bytes(7) for piece in encode(texts)]


def _in_a_row(*codings: Encode) -> Encode:
    def encode(texts: Sequence[bytes]) -> list[bytes]:
        pieces = list(texts)
        for coding in codings:
            pieces = coding(pieces)
        return pieces

    return encode


_GZIP, _DEFLATE, _RAW = _zlib(31), _zlib(15), _zlib(-15)

# What each is called in the header field, and how it is made.
ENCODINGS: dict[str, tuple[str, Encode]] = {
    "identity": ("identity", list),
    "empty": ("", list),
    "gzip": ("gzip", _GZIP),
    "x-gzip": ("X-GZip", _GZIP),
    "gzip members": ("gzip", _members(_GZIP)),
    "gzip padded": ("gzip", _padded(_members(_GZIP))),
    "deflate": ("deflate", _DEFLATE),
    "raw deflate": ("deflate", _RAW),
    "br": ("br", _brotli),
    "zstd": ("zstd", _zstd),
    "zstd frames": ("zstd", _members(_zstd)),
    "gzip, br": ("gzip, identity, br", _in_a_row(_GZIP, _brotli)),
    "zstd frames, gzip members": ("zstd,gzip", _in_a_row(_members(_zstd), _members(_GZIP))),
}
