"""What is secret in a request, and how not to show it."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from operator import is_
from typing import Any, cast
from urllib.parse import unquote_to_bytes, urlsplit

_CREDENTIAL = re.compile("auth|cookie|key|secret|token", re.IGNORECASE)

# What is shorter stands for a key where none is needed, and is a word like any other.
_LEAST_SECRET = 8
# How deep what a service says is looked into. What is deeper is left out.
_DEPTH = 50


def shown(url: str) -> str:
    """Return `url` without what may be secret in it: user information, query and fragment."""
    try:
        address = urlsplit(url)
        # What is no number there may be the beginning of a password with a "/" in it, of which an
        # "@" further on is the end.
        _ = address.port
    except ValueError:
        return "a malformed URL"
    if not address.netloc:
        return "a malformed URL"
    if "@" in url.partition("//")[2][len(address.netloc) :]:
        return f"{address.scheme}://{address.hostname}"
    return f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"


def credentials(fields: Iterable[str]) -> list[str]:
    """Return the names of those header fields that are for one origin and nobody else."""
    return [name for name in fields if _CREDENTIAL.search(name)]


def mask(error: BaseException, url: str, headers: Mapping[str, str]) -> None:
    """Take out of `error`, and of its causes, what its sender may have repeated of credentials.

    url: that of the request, whose user information is sent as a header field, too.
    headers: the header fields of the request.
    """
    # What is no text or no URL is an error of its own, which this must not hide.
    words = {word for name in credentials(headers) for word in str(headers[name]).split()}
    with suppress(ValueError):
        user = unquote_to_bytes(urlsplit(url).netloc.rpartition("@")[0])
        name, _, password = user.partition(b":")
        basic = b64encode(name + b":" + password)
        words |= {basic.decode(), (password or name).decode(errors="replace")}
    # The longest first, of which others may be a part.
    longest = sorted((word for word in words if len(word) >= _LEAST_SECRET), key=len, reverse=True)
    secrets = list(map(_Secret, longest))
    for one in _with_causes(error) if secrets else ():
        one.args = _masked(one.args, secrets)
        vars(one).update(_masked(vars(one), secrets))


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    # Those that it was raised from or made of, and not what was handled meanwhile, which may be
    # the caller's own.
    found = {id(error)}
    errors = [error]
    for one in errors:
        yield one
        group = cast("Any", one).exceptions if isinstance(one, BaseExceptionGroup) else ()
        for cause in (one.__cause__, *one.args, *group):
            if isinstance(cause, BaseException) and id(cause) not in found:
                found.add(id(cause))
                errors.append(cause)


class _Secret:
    """A secret, as it is or in JSON or a URL, or the beginning of one that was cut."""

    def __init__(self, word: str) -> None:
        half = max(_LEAST_SECRET, len(word) // 2)
        written = [_written(character) for character in word]
        # The rest, or as much as looks like it.
        any_of_it = "|".join(sorted(set(written)))
        pattern = f"{''.join(written[:half])}(?:{''.join(written[half:])}|(?:{any_of_it})*)"
        self._text = re.compile(pattern)
        self._bytes = re.compile(pattern.encode(errors="surrogatepass"))

    def mask(self, value: Any) -> Any:
        if isinstance(value, bytes):
            return self._bytes.sub(b"[secret]", value)
        return self._text.sub("[secret]", value)


def _written(character: str) -> str:
    literal = re.escape(character)
    # Nobody escapes these, and without alternatives a secret is found some 50 times as fast. A
    # backslash that may be two is found in exponential time.
    if character.isascii() and (character.isalnum() or character in "-_.~\\"):
        return literal
    code = ord(character)
    return rf"(?:\\?{literal}|(?i:\\u{code:04x}|%{code:02x}))"


def _masked(value: Any, secrets: list[_Secret], depth: int = _DEPTH) -> Any:
    """Return `value` without the secrets: itself, where there are none in it."""
    if isinstance(value, str | bytes):
        for secret in secrets:
            value = secret.mask(value)
        return value
    if not isinstance(value, Mapping | list | tuple):
        return value
    if depth == 0:
        return "[too deep]"
    holder = cast("Any", value)
    parts = [*(chain.from_iterable(holder.items()) if isinstance(value, Mapping) else holder)]
    masked = [_masked(part, secrets, depth - 1) for part in parts]
    if all(map(is_, parts, masked)):
        return holder
    if isinstance(value, Mapping):
        return dict(zip(masked[::2], masked[1::2], strict=True))
    return masked if isinstance(value, list) else getattr(holder, "_make", tuple)(masked)
