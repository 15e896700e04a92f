"""The errors that the transports over HTTP libraries raise alike."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sseparse._display import one_line, redacted_url

from ._request import is_credential

if TYPE_CHECKING:
    from . import Request


def connection_error(url: str, error: BaseException) -> ConnectionError:
    """Return the ConnectionError to raise for `error`, an error of a library about `url`."""
    # The message of some is empty, such as httpx2's for a reset: its cause has one.
    cause: BaseException | None = error
    while cause is not None and not str(cause):
        cause = cause.__cause__ or cause.__context__
    return ConnectionError(f"{redacted_url(url)}: {one_line(str(cause or type(error).__name__))}")


def connect_timeout_error(request: Request) -> TimeoutError:
    """Return the TimeoutError to raise where connecting takes longer than `request` allows."""
    return TimeoutError(
        f"{redacted_url(request.url)}: no connection within {request.connect_timeout:g} seconds"
    )


def invalid_url_error(request: Request, url: str) -> Exception:
    """Return the error for the URL of `request`, which a library refuses.

    url: the caller's; where a redirect from there led to `request`, it is a ConnectionError.
    """
    if request.url == url:
        return ValueError(f"url must be valid for the HTTP library, got {redacted_url(url)!r}")
    return ConnectionError(
        f"{redacted_url(url)}: redirect to an invalid URL: {one_line(redacted_url(request.url))}"
    )


# Below: used only by files of other rooms, which are losing these imports; to be deleted.

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def is_http(url: object) -> bool:
    """Return whether `url` is one that HTTP could be spoken with: http: or https:, to a host."""
    if not isinstance(url, str):
        return False
    try:
        address = urlsplit(url)
        # The port is looked at only here, and may be no number.
        return address.scheme in ("http", "https") and bool(address.hostname) and address.port != 0
    except ValueError:
        return False


def header(name: str, value: str) -> tuple[bytes, bytes]:
    """Return a header field as the bytes to send; raises ValueError, TypeError for what is none."""
    given: tuple[Any, Any] = (name, value)
    if not all(isinstance(part, str) for part in given):
        raise TypeError(f"a header field is a name and a value, both of them a str: {name!r}")
    # As bytes, because a value may hold any character, in UTF-8, but for control characters.
    if not TOKEN.fullmatch(name):
        raise ValueError(f"not the name of a header field: {name!r}")
    if value != value.strip(" \t") or re.search(r"[\0-\x08\n-\x1f\x7f]", value):
        # It may well be a secret, with the line end of the file that it was read from.
        raise ValueError(f"not the value of a header field: {name}")
    return name.encode(), value.encode()


def credentials(fields: Iterable[str]) -> list[str]:
    """Return the names of those header fields that are for one origin and nobody else."""
    return [name for name in fields if is_credential(name)]
