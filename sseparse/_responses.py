"""The head of an HTTP response, of any library: it chooses the decoder."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Any, NamedTuple, NoReturn, cast

from ._decoders import Decoder, decoder_for
from ._errors import UnexpectedResponse
from ._input import as_bytes
from ._sse import SSEDecoder

_MAX_BODY = 65536
# The content encodings that HTTP libraries decode.
HTTP_CODINGS = frozenset({"gzip", "deflate", "br", "zstd"})
# Two of them with another package, which they import as soon as they are imported. Without it the
# encoded bytes are handed on in silence.
_PACKAGES = {
    "br": ("brotli", "brotlicffi"),
    "zstd": ("compression.zstd", "backports.zstd", "zstandard"),
}


class Head(NamedTuple):
    """The status, the header fields, with lower-case names, and the URL of a response, or ""."""

    status: int
    headers: dict[str, str]
    url: str


def head_of(source: Any) -> Head | None:
    """Return the head of an HTTP response, or None for another source.

    source: any object. A response has `status_code` (httpx2, httpx, requests) or `status`
        (aiohttp, urllib, the transports), `headers` and, but for some, `url`.
    """
    status = getattr(source, "status_code", getattr(source, "status", None))
    headers = getattr(source, "headers", None)
    if not isinstance(status, int) or not hasattr(headers, "items"):
        return None
    fields = cast("Any", headers).items()
    try:
        url = str(getattr(source, "url", ""))
    except RuntimeError:  # httpx2: a response that was made without a request
        url = ""
    # The URL of urllib3 is only a path.
    url = url if "://" in url else ""
    return Head(status, {str(name).lower(): str(value) for name, value in fields}, url)


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
    names = {name.strip().lower() for name in value.split(",")} - {"", "identity"}
    if not names:
        return
    remedy = "request it with Accept-Encoding: identity, or "
    for name in names & {*codings} & _PACKAGES.keys():
        packages = _PACKAGES[name]
        if type(source).__module__.partition(".")[0] == "httpx" and name == "zstd":
            packages = ("zstandard",)
        if not any(package in sys.modules for package in packages):
            raise ValueError(
                f"source must be decoded, got {value} without a package for it: {remedy}"
                f"install {packages[-1] if name == 'zstd' else packages[0]}"
            )
    if names - {*codings}:
        raise ValueError(
            f"source must be without a content encoding, got {value}: {remedy}"
            "pass a response of httpx2 or requests itself"
        )


class _Refusal:
    """Raises UnexpectedResponse with the start of the body.

    Of a body without a Content-Length, which may never end, it is the first chunk.
    """

    def __init__(self, head: Head, remedy: str | None = None) -> None:
        self._head = head
        self._remedy = remedy
        self._body = bytearray()

    def feed(self, data: bytes | bytearray | memoryview, /) -> list[Any]:
        self._body += as_bytes(data)[: _MAX_BODY - len(self._body)]
        length = self._head.headers.get("content-length", "")
        is_whole = len(self._body) == _MAX_BODY or length == str(len(self._body))
        if self._body and (is_whole or not length):
            self.close()
        return []

    def close(self) -> NoReturn:
        error = UnexpectedResponse(
            self._head.status, self._head.headers, bytes(self._body), url=self._head.url
        )
        if self._remedy is not None:
            error.add_note(self._remedy)
        raise error
