"""Request: one HTTP request, valid once it exists, and what a redirect makes of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from sseparse._display import one_line, redacted_url
from sseparse._input import expect_timeout, expect_type

# RFC 9110, 5.6.2 "Tokens" and 5.5 "Field Values".
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\0-\x08\n-\x1f\x7f\ud800-\udfff]")
# White space, control characters and half surrogate pairs: no URL has them.
_NOT_IN_URL = re.compile(r"[\0- \x7f\ud800-\udfff]")
# A URL's characters besides letters and digits, and those of an escape (RFC 3986, 2).
_AUTHORITY = re.compile(r"(?:[a-zA-Z][a-zA-Z0-9+.-]*:)?//[^/?#]*")
_URL_CHARACTERS = "%:/?#[]@!$&'()*+,;=-._~"

_REDIRECTS = (301, 302, 303, 307, 308)
_CREDENTIAL = re.compile("auth|cookie|key|secret|token", re.IGNORECASE)


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """One HTTP request.

    method: a token, such as "GET".
    url: http: or https:, with a host.
    headers: the header fields, each name once, whatever its case.
    body: the whole body, in bytes.
    connect_timeout: seconds for making a connection, or None for no limit. It is not sent:
        requests that differ in it alone are equal.

    The repr shows neither header fields nor the query, which may be secret.

    Raises TypeError and ValueError, naming the argument, for anything that HTTP cannot carry.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    connect_timeout: float | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        expect_type("method", self.method, str, "a str")
        expect_type("headers", self.headers, Mapping, "a mapping of str to str")
        expect_type("body", self.body, bytes, "bytes")
        if not _TOKEN.fullmatch(self.method):
            raise ValueError(f"method must be an HTTP token, got {self.method!r}")
        expect_url("url", self.url)
        fields = dict(self.headers)
        for name, value in fields.items():
            _expect_field(name, value)
        if len({name.lower() for name in fields}) < len(fields):
            raise ValueError(f"headers must have each name once, in any case, got {list(fields)}")
        object.__setattr__(self, "headers", fields)
        expect_timeout("connect_timeout", self.connect_timeout)
        if self.connect_timeout == math.inf:
            object.__setattr__(self, "connect_timeout", None)

    def __repr__(self) -> str:
        return f"<Request {self.method} {redacted_url(self.url)} of {len(self.body)} bytes>"

    def redirected(self, status: int, headers: Mapping[str, str]) -> Request | None:
        """Return the request that follows a redirect, or None for a response to hand on.

        status, headers: of the response; the names in lower case.

        Followed are 301, 302, 303, 307 and 308 with a Location, with the same method and body. A
        301, 302 or 303 to a request other than GET and HEAD is handed on: following would drop the
        body. Header fields that may be credentials (auth, cookie, key, secret, token in their
        name) stay with their origin.

        Raises ConnectionError for a redirect to an invalid URL.

        RFC 9110, 15.4 "Redirection 3xx"; Fetch Standard, 4.4 "HTTP-redirect fetch".
        """
        if status not in _REDIRECTS:
            return None
        if status in (301, 302, 303) and self.method.upper() not in ("GET", "HEAD"):
            return None
        location = headers.get("location", "").strip(" \t")
        if not location:
            return None
        try:
            # Servers send spaces and characters beyond ASCII too; a host keeps the latter.
            url = urljoin(self.url, _quoted(location))
            kept = self.headers
            if not same_origin(url, self.url):
                kept = {name: kept[name] for name in kept if not is_credential(name)}
            return replace(self, url=url, headers=kept)
        except ValueError:
            raise ConnectionError(
                f"{redacted_url(self.url)}: redirect (HTTP {status}) to an invalid URL: "
                f"{one_line(redacted_url(location))}"
            ) from None


def is_credential(name: str) -> bool:
    """Return whether a header field of this name is for one origin alone."""
    return _CREDENTIAL.search(name) is not None


def same_origin(url: str, other: str) -> bool:
    """Return whether the URLs have the same origin (RFC 6454, 5)."""
    return _origin(urlsplit(url)) == _origin(urlsplit(other))


def expect_url(name: str, url: str, schemes: Sequence[str] = ("http", "https")) -> None:
    """Raise TypeError or ValueError unless `url`, the argument `name`, is a URL with a host."""
    expect_type(name, url, str, "a str")
    if not _is_url(url, schemes):
        *others, last = schemes
        rule = f"an {':, '.join(others)}: or {last}: URL with a host"
        if _NOT_IN_URL.search(url):
            rule += ", without white space and control characters"
        raise ValueError(f"{name} must be {rule}, got {redacted_url(url)}")


def _is_url(url: str, schemes: Sequence[str]) -> bool:
    if _NOT_IN_URL.search(url):
        return False
    try:
        address = urlsplit(url)
        # Only the attributes check the port; IDNA checks the length of each label.
        return (
            address.scheme in schemes
            and bool((address.hostname or "").encode("idna"))
            and address.port != 0
            # Some parsers end the host there, and others do not.
            and "\\" not in address.netloc
        )
    except ValueError:
        return False


def _expect_field(name: str, value: str) -> None:
    expect_type("a header field's name", name, str, "a str")
    expect_type(f"header field {name!r}", value, str, "a str")
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"a header field's name must be an HTTP token, got {name!r}")
    # The value is not shown: it may be a secret, with the line end of the file it was read from.
    if value != value.strip(" \t") or _CONTROL.search(value):
        raise ValueError(
            f"header field {name!r} must have no control characters, and no white space around it"
        )


def _quoted(location: str) -> str:
    authority = _AUTHORITY.match(location)
    end = authority.end() if authority else 0
    if location[:end].endswith("//"):
        raise ValueError("no host")
    return location[:end] + quote(location[end:], safe=_URL_CHARACTERS)


def _origin(address: SplitResult) -> tuple[str, str | None, int | None]:
    """Return the origin of a URL (RFC 6454, 4)."""
    port = address.port or {"http": 80, "https": 443}.get(address.scheme)
    return address.scheme, address.hostname, port
