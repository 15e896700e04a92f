"""The errors that the transports over HTTP libraries raise alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from sseparse._display import one_line, redacted_url

if TYPE_CHECKING:
    from . import Request


def connection_error(url: str, error: BaseException) -> ConnectionError:
    """Return the ConnectionError to raise for `error`, an error of a library about `url`."""
    return ConnectionError(f"{redacted_url(url)}: {one_line(_reason(error))}")


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
