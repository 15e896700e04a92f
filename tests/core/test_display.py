"""Foreign text is shown on one line, without secrets, and cannot steer a terminal."""

from __future__ import annotations

import pytest

from sseparse._display import one_line, redacted_location, redacted_url, terminal_safe


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://h:80/x", "https://h:80/x"),
        ("https://user:secret@h:80/x?secret#secret", "https://h:80/x"),
        ("https://[::1]:80/x", "https://[::1]:80/x"),
        # Unescaped, "/" and "#" end the host, and the rest looks like a path or fragment.
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


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("https://user:secret@h:80/x?secret#secret", "https://h:80/x"),
        ("//user:secret@h/x?secret", "://h/x"),
        ("/x?next=https://secret", "/x"),
        ("x#secret", "x"),
        ("?secret", ""),
    ],
)
def test_location_is_shown_without_its_secrets(location: str, expected: str) -> None:
    assert redacted_location(location) == expected


def test_unprintable_characters_are_replaced() -> None:
    text = "a\r\n\tb\x1b[1m\x85\u202e é"
    assert one_line(text) == "a b\ufffd[1m \ufffd é"
    assert terminal_safe(text) == "a\ufffd\n\tb\ufffd[1m\ufffd\u202e é"
