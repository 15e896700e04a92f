"""Foreign text made fit to show: on one line, without secrets, harmless to a terminal."""

from __future__ import annotations

import re

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# Control characters except TAB and LF.
_CONTROL = dict.fromkeys([*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0)], _REPLACEMENT)

# Linear in time, whatever the page: a match that goes on to the end is the last one.
_UNSEEN = re.compile(
    r"<!--.*?(?:-->|\Z)|<(script|style)\b.*?(?:</\1\b[^<>]*>?|\Z)", re.DOTALL | re.IGNORECASE
)
_TITLE = re.compile(r"<title\b[^<>]*>([^<]*)", re.IGNORECASE)
_TAG = re.compile(r"<[a-z/!?][^<>]*>?", re.IGNORECASE)
# html.unescape raises ValueError for a number of more than 4300 digits.
_MAX_WORDS = 2000


def one_line(text: str) -> str:
    """Return `text` on one line, unprintable characters replaced by U+FFFD."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else _REPLACEMENT for c in line)


def terminal_safe(text: str) -> str:
    """Return `text` with its control characters, except LF and TAB, replaced by U+FFFD."""
    return text.translate(_CONTROL)


def page_words(page: str) -> str:
    """Return the title of an HTML page, or else the start of its text, on one line."""
    # Imported late: it loads the names of all entities.
    from html import unescape

    page = _UNSEEN.sub(" ", page)
    title = _TITLE.search(page)
    words = title[1].split() if title else []
    words = words or _TAG.sub(" ", page).split()
    return " ".join(unescape(" ".join(words)[:_MAX_WORDS]).split())


def redacted_url(url: str) -> str:
    """Return `url` without user information, query and fragment, which may be secret."""
    # Imported late: `import sseparse` parses no URLs.
    from urllib.parse import urlsplit

    try:
        address = urlsplit(url)
        # The start of a password that contains "/" is parsed as the port.
        _ = address.port
    except ValueError:
        return "a malformed URL"
    if not address.netloc:
        return "a malformed URL"
    if "@" in url.partition("//")[2][len(address.netloc) :]:
        return f"{address.scheme}://{address.hostname}"
    return f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"


def redacted_location(location: str) -> str:
    """Return the value of a Location field without user information, query and fragment."""
    path = re.split("[?#]", location)[0]
    is_url = re.match(r"(?:[a-zA-Z][a-zA-Z0-9+.-]*:)?//", path)
    return redacted_url(location) if is_url else path
