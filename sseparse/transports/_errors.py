"""What the transports over HTTP libraries share."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from sseparse._display import one_line, redacted_url

if TYPE_CHECKING:
    from . import Request

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


def rewrites(method: str, status: int) -> bool:
    """Return whether a redirect may make a GET of a request that is none, and lose its body."""
    return status in (301, 302, 303) and method.upper() not in ("GET", "HEAD")


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


def connection_error(url: str, error: Exception) -> ConnectionError:
    """Return the ConnectionError that `error`, of a library, is to be raised as."""
    # Whatever it is: what a network, a proxy or a peer does wrong has many classes, of the
    # library and of those below it. The message of some is empty, and what caused them says more.
    cause: BaseException | None = error
    while cause is not None and (isinstance(cause, BaseExceptionGroup) or not str(cause)):
        if isinstance(cause, BaseExceptionGroup):
            cause = cast("BaseExceptionGroup[BaseException]", cause).exceptions[0]
        else:
            cause = cause.__cause__ or cause.__context__
    return ConnectionError(f"{redacted_url(url)}: {one_line(str(cause or type(error).__name__))}")


def connect_timeout_error(request: Request) -> TimeoutError:
    """Return the TimeoutError to raise where a connection takes longer than `request` allows."""
    limit = request.connect_timeout
    return TimeoutError(f"{redacted_url(request.url)}: no connection within {limit} seconds")


_CREDENTIAL = re.compile("auth|cookie|key|secret|token", re.IGNORECASE)


def credentials(fields: Iterable[str]) -> list[str]:
    """Return the names of those header fields that are for one origin and nobody else."""
    return [name for name in fields if _CREDENTIAL.search(name)]
