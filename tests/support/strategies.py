"""Strategies for the property tests: streams, cuts, options, events."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

BOM = b"\xef\xbb\xbf"

# Fragments with a meaning, with nearly a meaning, or that have broken some decoder.
_FRAGMENTS = [
    *(b"\r", b"\n", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n", b"\n\r"),
    *(b":", b" ", b": ", b":  ", b"::", b"\0", b"\t"),
    *(b"data", b"event", b"id", b"retry", b"Data", b"data2", b" data", b"error", b"dat"),
    *(b"data: ", b"data:", b"event: ", b"event:", b"id: ", b"id:", b"retry: ", b"retry:"),
    *(b"x", b"hello", b"data: a\n\n", b"id: 1\n\n", b"event: ping\r\n", b": comment\n", b":\n"),
    *(b"0", b"7", b"1500", b"+5", b"1_000", b"-1", "٣".encode(), b"9" * 19, b"9" * 30),
    *(BOM, BOM[:1], BOM[:2], BOM[1:]),
    *("é".encode(), "漢".encode(), "🎉".encode(), "🎉".encode()[:3], b"\xff", b"\xc0\x80"),
    *(b"\xed\xa0\x80", b"\xf4\x90", b"\x80"),
    *(b"\v", b"\f", b"\x1c", b"\x1e", "\x85".encode(), "\u2028".encode(), "\u2029".encode()),
]

streams: st.SearchStrategy[bytes] = st.binary(max_size=64) | st.builds(
    b"".join, st.lists(st.sampled_from(_FRAGMENTS) | st.binary(max_size=3), max_size=24)
)


def cut(stream: bytes, positions: list[int]) -> list[bytes]:
    """Cut the stream at the positions; the same position twice makes an empty chunk."""
    edges = [0, *sorted(positions), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


def chunks_of(stream: bytes) -> st.SearchStrategy[list[bytes]]:
    position = st.integers(0, len(stream))
    return st.lists(position, max_size=16).map(lambda positions: cut(stream, positions)) | st.just(
        cut(stream, list(range(len(stream))))
    )


chunked_streams: st.SearchStrategy[list[bytes]] = streams.flatmap(chunks_of)

_ids = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=8)

decoder_options: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "last_event_id": _ids,
        "max_event_size": st.none() | st.integers(1, 40),
        "blocks": st.booleans(),
        "comments": st.booleans(),
        "unknown_fields": st.booleans(),
        "dispatch_at_eof": st.booleans(),
    }
)

texts: st.SearchStrategy[str] = st.lists(
    st.sampled_from(["\r", "\n", "\r\n", " ", ":", "data: x", "\0", "\u2028", "\ufeff"])
    | st.text(st.characters(codec="utf-8"), max_size=8),
    max_size=8,
).map("".join)

# The arguments of encode_event.
events: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"data": texts},
    optional={
        "event": st.text(
            st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1, max_size=8
        ),
        "id": _ids,
        "retry": st.integers(0, 2**63 - 1),
    },
)

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(), values, max_size=4),
    max_leaves=8,
)

_JSON_FRAGMENTS = [
    *(b"\n", b"\r\n", b"\r", b"\n\n", b" ", b"\t", b"\x1e", b"\x1e\x1e", b"\x1e\n"),
    *(b"1", b"-2.5", b"true", b"null", b"nul", b'"a"', b'"', b"\\", b'"\\"', b'"]"', b'"\\\\"'),
    *(b"{}", b"[]", b"{", b"}", b"[", b"]", b",", b":", b'{"a": 1}', b"[1,\n2]", b'"a', b"\\u0041"),
    *(b'\x1e{"a": 1}\n', b"\x1e1\n", b"\x1e1", b"1\n", b"[\n", b"]\n"),
    *(BOM, BOM[:2], "é".encode(), "\u2028".encode(), "\x85".encode(), b"\xff", b"\0", b"\f"),
]

json_streams: st.SearchStrategy[bytes] = st.builds(
    b"".join, st.lists(st.sampled_from(_JSON_FRAGMENTS) | st.binary(max_size=2), max_size=16)
)

chunked_json_streams: st.SearchStrategy[list[bytes]] = json_streams.flatmap(chunks_of)
