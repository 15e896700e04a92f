"""Which decoder reads which media type."""

from __future__ import annotations

from typing import Any

from ._fastest import SSEDecoder
from ._json_lines import JSONSeqDecoder, NDJSONDecoder

_DECODERS: dict[str, type[SSEDecoder[Any] | NDJSONDecoder[Any] | JSONSeqDecoder[Any]]] = {
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
    """Return the media type of a Content-Type field, in lower case, without its parameters."""
    return (content_type or "").partition(";")[0].strip(" \t").lower()


def decoder_for(
    content_type: str | None,
) -> SSEDecoder[Any] | NDJSONDecoder[Any] | JSONSeqDecoder[Any]:
    """Return a new decoder, with its default options, for the value of a Content-Type field.

    Only the essence counts: parameters, such as a charset, and case do not matter. A structured
    suffix `+json-seq` is JSON text sequences too (RFC 8091). None is a field that is not there.

    Raises ValueError, naming the known media types, for one that is no stream of items.
    """
    media_type = essence(content_type)
    if media_type.endswith("+json-seq"):
        return JSONSeqDecoder()
    try:
        return _DECODERS[media_type]()
    except KeyError:
        known = ", ".join(_DECODERS)
        raise ValueError(f"no decoder for {content_type!r}; there are some for {known}") from None
