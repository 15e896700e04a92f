"""Foreign text is shown on one line, without secrets, and cannot steer a terminal."""

from __future__ import annotations

import time

import pytest

from sseparse._display import one_line, page_words, redacted_location, redacted_url, terminal_safe


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


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("<!doctype html><title>\n 502 Bad\tGateway </title><h1>502</h1>nginx", "502 Bad Gateway"),
        ("<html><HEAD><Title lang=en>Sign in &amp; up&#33;</Title>", "Sign in & up!"),
        ("<title></title><p class='a'>Not <b>here</b>", "Not here"),
        ("<h1>No</h1>\n<p>1 < 2 &lt;3</p><br/>end", "No 1 < 2 <3 end"),
        ("<script>'<title>x</title>'</script><style>a{}</style >You &amp me", "You & me"),
        ("<!-- <title>x</title> --><p>b", "b"),
        ("a<!--b", "a"),
        ("a<script>b", "a"),
        ("a<title", "a"),
        ("no markup", "no markup"),
        ("", ""),
    ],
)
def test_words_of_a_page_are_its_title_or_its_text(page: str, words: str) -> None:
    assert page_words(page) == words


@pytest.mark.parametrize(
    "piece",
    [
        *("<", "</", "<a", "<!--", "<!-- -", "<title", "<title>", "<title> ", "<script"),
        *("<script>", "<style></styl", "</script", "&", "&#9", "&#x", '<a b="', " \n"),
        f"&#{'9' * 5000};",
    ],
)
@pytest.mark.parametrize("start", ["", "<title>", "<!--", "<script>"])
def test_hostile_page_takes_no_more_time(start: str, piece: str) -> None:
    page = start + piece * (2**18 // len(piece))
    before = time.process_time()
    page_words(page)
    # Linear: 20 ms. Quadratic: 8 s.
    assert time.process_time() - before < 2
