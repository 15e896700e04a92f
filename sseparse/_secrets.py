"""What is secret in a request, and how not to show it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, cast
from urllib.parse import urlsplit

_CREDENTIAL = re.compile("auth|cookie|key|secret|token", re.IGNORECASE)

# What is shorter stands for a key where none is needed, and is a word like any other.
_LEAST_SECRET = 8
# How deep what a service says is looked into. What is deeper is left out.
_DEPTH = 50


def shown(url: str) -> str:
    """Return `url` without what may be secret in it: user information, query and fragment."""
    try:
        address = urlsplit(url)
    except ValueError:
        return "a malformed URL"
    return f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"


def credentials(fields: Iterable[str]) -> list[str]:
    """Return the names of those header fields that are for one origin and nobody else."""
    return [name for name in fields if _CREDENTIAL.search(name)]


def mask(error: Exception, headers: Mapping[str, str]) -> None:
    """Take out of `error` what its sender may have repeated of a request's credentials.

    headers: the header fields of the request.
    """
    values = [headers[name] for name in credentials(headers)]
    # The whole, such as a scheme and a key, and the last of its words.
    words = {text for value in values for text in (value, value.rpartition(" ")[2])}
    # The longest first, of which others may be a part.
    secrets = sorted((word for word in words if len(word) >= _LEAST_SECRET), key=len, reverse=True)
    if secrets:
        error.args = _masked(error.args, secrets)
        vars(error).update(_masked(vars(error), secrets))


def _masked(value: Any, secrets: list[str], depth: int = _DEPTH) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, "[secret]")
        return value
    if isinstance(value, bytes):
        for secret in secrets:
            value = value.replace(secret.encode(errors="replace"), b"[secret]")
        return value
    if not isinstance(value, dict | list | tuple):
        return value
    if depth == 0:
        return "[too deep]"
    if isinstance(value, dict):
        return {
            _masked(key, secrets, depth - 1): _masked(item, secrets, depth - 1)
            for key, item in cast("Any", value).items()
        }
    items = cast("Any", value)
    return type(items)(_masked(item, secrets, depth - 1) for item in items)
