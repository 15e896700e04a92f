"""The errors that the transports over HTTP libraries raise alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from sseparse._display import one_line, redacted_url

if TYPE_CHECKING:
    from . import Request


def connection_error(url: str, error: BaseException, proxy: str = "") -> ConnectionError:
    """Return the ConnectionError to raise for `error`, an error of a library about `url`.

    proxy: the words of `proxy_failure`, where connecting has failed there.
    """
    return ConnectionError(f"{proxy or redacted_url(url)}: {one_line(_reason(error))}")


def proxy_failure(proxy: str, reached: bool) -> str:
    """Return the start of an error's message about the URL of a proxy.

    reached: whether a connection to the proxy was made.
    """
    return f"cannot connect {'through' if reached else 'to'} the proxy {redacted_url(proxy)}"


def _reason(error: BaseException) -> str:
    """Return the message of the system's error that caused `error`, or else the first one."""
    # httpx2's message for a reset is empty, anyio's for a refusal says only that all attempts
    # failed: a cause has the system's words.
    message = ""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BaseExceptionGroup):
            cause = cast("BaseExceptionGroup[BaseException]", cause).exceptions[0]
            continue
        if isinstance(cause, OSError) and cause.errno is not None:
            return str(cause)
        message = message or str(cause)
        cause = cause.__cause__ or cause.__context__
    return message or type(error).__name__


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
