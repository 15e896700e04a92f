"""The head of an HTTP response, of any library: it chooses the decoder."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple, NoReturn, cast

from ._decoders import Decoder, decoder_for
from ._errors import UnexpectedResponse
from ._input import as_bytes
from ._sse import SSEDecoder

_MAX_BODY = 65536
# The content encodings that HTTP libraries decode, the last two with another package.
HTTP_CODINGS = frozenset({"gzip", "deflate", "br", "zstd"})


class Head(NamedTuple):
    """The status and the header fields, with lower-case names, of a response."""

    status: int
    headers: dict[str, str]


def head_of(source: Any) -> Head | None:
    """Return the head of an HTTP response, or None for another source.

    source: any object. A response has `status_code` (httpx2, httpx, requests) or `status`
        (aiohttp, urllib, the transports) and `headers`.
    """
    status = getattr(source, "status_code", getattr(source, "status", None))
    headers = getattr(source, "headers", None)
    if not isinstance(status, int) or not hasattr(headers, "items"):
        return None
    fields = cast("Any", headers).items()
    return Head(status, {str(name).lower(): str(value) for name, value in fields})


def default_decoder(source: Any) -> Decoder[Any]:
    """Return the decoder for a source: that of a response's media type, or an SSEDecoder.

    The decoder raises UnexpectedResponse if the status is not 2xx or the media type is unknown.
    """
    head = head_of(source)
    if head is None:
        return SSEDecoder()
    if not 200 <= head.status < 300:
        return _Refusal(head)
    try:
        return decoder_for(head.headers.get("content-type"))
    except ValueError:
        return _Refusal(head, "to decode it whatever its media type, pass a decoder")


def expect_decoded(source: Any, codings: Collection[str] = ()) -> None:
    """Raise ValueError for a body in a content encoding that its library does not decode.

    codings: the names of those that it decodes, such as those of HTTP_CODINGS.
    """
    head = head_of(source)
    value = "" if head is None else head.headers.get("content-encoding", "")
    names = [name.strip().lower() for name in value.split(",")]
    if not {*names} - {"", "identity", *codings}:
        return
    raise ValueError(
        f"source must be without a content encoding, got {value}: request it with "
        "Accept-Encoding: identity, or pass a response of httpx2 or requests itself"
    )


class _Refusal:
    """Raises UnexpectedResponse with the first chunk of the body, which may never end."""

    def __init__(self, head: Head, remedy: str | None = None) -> None:
        self._head = head
        self._remedy = remedy

    def feed(self, data: bytes | bytearray | memoryview, /) -> list[Any]:
        if len(data) > 0:
            self._refuse(as_bytes(data)[:_MAX_BODY])
        return []

    def close(self) -> list[Any]:
        self._refuse(b"")

    def _refuse(self, body: bytes) -> NoReturn:
        error = UnexpectedResponse(*self._head, body)
        if self._remedy is not None:
            error.add_note(self._remedy)
        raise error
