"""Content encodings are undone as the bytes arrive; the outcome depends on the bytes alone."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Iterable, Mapping
from importlib import import_module
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sseparse.transports._content import (
    PIECE,
    ContentDecoder,
    UnsupportedEncoding,
    accepting,
    find_codings,
)
from tests.support.encodings import ENCODINGS, Encode
from tests.support.strategies import chunks_of

TEXTS = [b"first " * 20, b"second", bytes(range(256)) * 3]

every_encoding = pytest.mark.parametrize(("name", "encode"), ENCODINGS.values(), ids=ENCODINGS)
every_compression = pytest.mark.parametrize(
    ("name", "encode"), list(ENCODINGS.values())[2:], ids=list(ENCODINGS)[2:]
)
# zlib can return the text that it decoded before damage.
EXACT = ["gzip members", "gzip padded", "deflate", "raw deflate"]


def decoder(encoding: str) -> ContentDecoder:
    return ContentDecoder(200, {"content-encoding": encoding})


def decode(encoding: str, chunks: Iterable[bytes]) -> tuple[bytes, str | None]:
    """Return the decoded body, and the words of the error that follows."""
    content = decoder(encoding)
    decoded = bytearray()
    try:
        for chunk in filter(None, chunks):
            for piece in content.feed(chunk):
                assert piece
                decoded += piece
        content.close()
    except Exception as error:
        return bytes(decoded), str(error)
    return bytes(decoded), None


@every_encoding
def test_each_piece_is_decoded_once_it_has_arrived(name: str, encode: Encode) -> None:
    content = decoder(name)
    assert [b"".join(content.feed(piece)) for piece in encode(TEXTS)] == TEXTS
    content.close()


@given(name=st.sampled_from(list(ENCODINGS)), data=st.data())
def test_outcome_does_not_depend_on_the_cuts(name: str, data: Any) -> None:
    encoding, encode = ENCODINGS[name]
    texts = data.draw(st.lists(st.binary(max_size=50), min_size=1, max_size=4))
    body = b"".join(encode(texts))
    assert decode(encoding, data.draw(chunks_of(body))) == (b"".join(texts), None)


@every_compression
def test_body_that_is_cut_inside_is_an_error_after_all_that_came(name: str, encode: Encode) -> None:
    pieces = encode(TEXTS)
    body = b"".join(pieces[:-1])
    for end in range(len(body) + 1, len(body) + len(pieces[-1].rstrip(b"\0"))):
        cut_body = b"".join(pieces)[:end]
        decoded, error = decode(name, [cut_body])
        assert decoded.startswith(b"".join(TEXTS[:-1]))
        assert b"".join(TEXTS).startswith(decoded)
        assert error is not None
        assert "the body ends inside" in error


@every_encoding
def test_empty_body_is_whole(name: str, encode: Encode) -> None:
    assert decode(name, []) == (b"", None)


@given(name=st.sampled_from(EXACT), data=st.data())
def test_outcome_of_damage_does_not_depend_on_the_cuts(name: str, data: Any) -> None:
    encoding, encode = ENCODINGS[name]
    texts = data.draw(st.lists(st.binary(max_size=50), min_size=1, max_size=4))
    body = bytearray(b"".join(encode(texts)))
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    byte_by_byte = decode(encoding, [bytes([byte]) for byte in body])
    assert decode(encoding, data.draw(chunks_of(bytes(body)))) == byte_by_byte


@every_compression
def test_damage_is_an_error_after_all_that_earlier_chunks_brought(
    name: str, encode: Encode
) -> None:
    *pieces, _ = encode(TEXTS)
    decoded, error = decode(name, [*pieces, b"\xff" * 100])
    assert decoded.startswith(b"".join(TEXTS[:-1]))
    assert error


@pytest.mark.parametrize("name", ["gzip", "deflate", "raw deflate", "br", "zstd"])
def test_data_after_the_end_is_an_error(name: str) -> None:
    encoding, encode = ENCODINGS[name]
    body = encode(TEXTS)
    for chunks in ([*body, b"more"], [*body, b"m", b"ore"]):
        decoded, error = decode(encoding, chunks)
        assert decoded == b"".join(TEXTS)
        assert error


def test_damage_in_the_checksum_comes_after_the_text() -> None:
    body = zlib.compress(b"text", wbits=31)[:-8] + bytes(8)
    assert decode("gzip", [body])[0] == b"text"


@pytest.mark.parametrize("name", ["gzip", "deflate", "raw deflate", "br", "zstd", "gzip, br"])
def test_small_body_that_decodes_to_much_needs_little_memory(name: str) -> None:
    size = 64 * PIECE
    encoding, encode = ENCODINGS[name]
    body = b"".join(encode([bytes(size)]))
    tracemalloc.start()
    try:
        content = decoder(encoding)
        pieces = [len(piece) for piece in content.feed(body)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(pieces) == size
    assert max(pieces) <= 2 * PIECE
    assert peak < 10 * PIECE


@pytest.mark.parametrize("name", ["gzip members", "zstd frames"])
def test_member_of_several_pieces_is_decoded_once(name: str) -> None:
    encoding, encode = ENCODINGS[name]
    text = bytes(PIECE + 5)
    pieces = decoder(encoding).feed(b"".join(encode([text, text])))
    assert b"".join(islice(pieces, 10)) == text * 2


# Encodings that can be decoded


@pytest.mark.parametrize("encoding", ["compress", "gzip, compress", "gzip\x1b[2J", "gzip," * 6])
def test_encoding_that_cannot_be_decoded_is_an_error_of_the_first_byte(encoding: str) -> None:
    content = ContentDecoder(404, {"content-encoding": encoding})
    content.close()
    with pytest.raises(UnsupportedEncoding, match=r"accept-encoding: identity") as caught:
        content.feed(b"x")
    assert caught.value.status == 404
    assert caught.value.body == b""
    assert str(caught.value).startswith("HTTP 404: cannot decode content-encoding 'gzip") is (
        encoding.startswith("gzip")
    )
    assert str(caught.value).isprintable()


def test_codings_are_those_whose_packages_are_installed() -> None:
    def only(*names: str) -> Any:
        def import_one(name: str) -> Any:
            if name not in names:
                raise ImportError(name)
            # Before 1.2, brotli's output has no limit.
            old = SimpleNamespace(Decompressor=object)
            return old if name == "brotlicffi" else import_module(name)

        return list(find_codings(import_one))

    assert only() == ["gzip", "deflate"]
    assert only("brotli") == ["gzip", "deflate", "br"]
    assert only("brotlicffi") == ["gzip", "deflate"]
    assert only("brotlicffi", "backports.zstd") == ["gzip", "deflate", "zstd"]


@pytest.mark.parametrize(
    ("headers", "preferred", "sent"),
    [
        ({}, "", "gzip, deflate, br, zstd"),
        ({}, "gzip, compress", "gzip, deflate, br, zstd"),
        ({}, "*", "gzip, deflate, br, zstd"),
        ({}, "identity", "identity"),
        ({}, "gzip;q=0.5, identity;q=0", "gzip;q=0.5, identity;q=0"),
        ({"Accept-ENCODING": "compress"}, "gzip", "compress"),
    ],
)
def test_accept_encoding_names_only_what_can_be_decoded(
    headers: Mapping[str, str], preferred: str, sent: str
) -> None:
    fields = accepting({"accept": "text/plain", **headers}, preferred)
    assert {name.lower(): value for name, value in fields.items()} == {
        "accept": "text/plain",
        "accept-encoding": sent,
    }
