"""The errors that the transports over HTTP libraries raise alike."""

from __future__ import annotations

from ssl import SSLCertVerificationError
from typing import TYPE_CHECKING, cast

from sseparse._display import one_line, redacted_url

if TYPE_CHECKING:
    from . import Request


class CertificateError(ConnectionError):
    """The server's certificate does not verify: no further attempt is made."""


def connection_error(url: str, error: BaseException, proxy: str = "") -> ConnectionError:
    """Return the ConnectionError to raise for `error`, an error of a library about `url`.

    proxy: the words of `proxy_failure`, where connecting has failed there.
    """
    cause = _cause(error)
    kind = CertificateError if isinstance(cause, SSLCertVerificationError) else ConnectionError
    return kind(f"{proxy or redacted_url(url)}: {one_line(str(cause) or type(cause).__name__)}")


def proxy_failure(proxy: str, reached: bool) -> str:
    """Return the start of an error's message about the URL of a proxy.

    reached: whether a connection to the proxy was made.
    """
    return f"cannot connect {'through' if reached else 'to'} the proxy {redacted_url(proxy)}"


def _cause(error: BaseException) -> BaseException:
    """Return the system's error that caused `error`, or else the first one with a message."""
    # httpx2's message for a reset is empty, anyio's for a refusal says only that all attempts
    # failed: a cause has the system's words.
    first: BaseException | None = None
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BaseExceptionGroup):
            cause = cast("BaseExceptionGroup[BaseException]", cause).exceptions[0]
            continue
        if isinstance(cause, OSError) and cause.errno is not None:
            return cause
        if first is None and str(cause):
            first = cause
        cause = cause.__cause__ or cause.__context__
    return first or error


def connect_timeout_error(request: Request, proxy: str = "") -> TimeoutError:
    """Return the TimeoutError to raise where connecting takes longer than `request` allows.

    proxy: the words of `proxy_failure`, where connecting has failed there.
    """
    return TimeoutError(
        f"{proxy or redacted_url(request.url)}: "
        f"no connection within {request.connect_timeout:g} seconds"
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
