"""URLs are shown without secrets."""

from __future__ import annotations

import pytest

from sseparse._display import redacted_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://h:80/x", "https://h:80/x"),
        ("https://user:secret@h:80/x?secret#secret", "https://h:80/x"),
        ("https://[::1]:80/x", "https://[::1]:80/x"),
        # Not escaped, these end the host, and what follows looks like a path.
        ("https://user:secret/secret@h/x", "a malformed URL"),
        ("https://user:1/secret@h/x", "https://user"),
        ("https://user:1#secret@h/x", "https://user"),
        ("https://h/@x", "https://h"),
        ("https://[::1/secret", "a malformed URL"),
        ("user:secret@h", "a malformed URL"),
        ("secret", "a malformed URL"),
    ],
)
def test_url_is_shown_without_its_secrets(url: str, expected: str) -> None:
    assert redacted_url(url) == expected
