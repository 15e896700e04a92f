"""The protocol of a decoder, and the decoder for a media type."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias, TypeVar

from ._input import expect_type
from ._json_lines import JSONSeqDecoder, NDJSONDecoder
from ._sse import SSEDecoder

Item = TypeVar("Item")


class Decoder(Protocol[Item]):
    """Turns bytes, in chunks of any size, into items."""

    def feed(self, data: bytes | bytearray | memoryview, /) -> list[Item]:
        """Return the items that `data` completes, in order.

        Raises RemoteProtocolError, with the items before the error as its `events`.
        """
        ...

    def close(self) -> list[Item]:
        """Return the items that the end of the stream completes.

        Raises RemoteProtocolError.
        """
        ...


AnyDecoder: TypeAlias = SSEDecoder[Any] | NDJSONDecoder[Any] | JSONSeqDecoder[Any]

_DECODERS: dict[str, type[AnyDecoder]] = {
    "text/event-stream": SSEDecoder,
    "application/x-ndjson": NDJSONDecoder,
    "application/ndjson": NDJSONDecoder,
    "application/jsonl": NDJSONDecoder,
    "application/x-jsonlines": NDJSONDecoder,
    "application/x-jsonl": NDJSONDecoder,
    "application/stream+json": NDJSONDecoder,
    "application/json-seq": JSONSeqDecoder,
}


def essence(content_type: str | None) -> str:
    """Return the media type of a Content-Type field in lower case, without parameters."""
    # A field that is sent twice arrives joined by a comma, and the last one counts.
    return (content_type or "").rpartition(",")[2].partition(";")[0].strip(" \t").lower()


def decoder_for(content_type: str | None) -> AnyDecoder:
    """Return a new decoder, with default options, for the value of a Content-Type field.

    content_type: the media type; case and parameters, such as a charset, are ignored. The
        structured suffix `+json-seq` means JSON text sequences (RFC 8091). None: no such field.

    Raises ValueError, naming the known media types, for any other; TypeError for another type.
    """
    if content_type is not None:
        expect_type("content_type", content_type, str, "a str or None")
    media_type = essence(content_type)
    if media_type.endswith("+json-seq"):
        return JSONSeqDecoder()
    if media_type not in _DECODERS:
        known = ", ".join(_DECODERS)
        raise ValueError(f"content_type must have a media type of {known}, got {content_type!r}")
    return _DECODERS[media_type]()
