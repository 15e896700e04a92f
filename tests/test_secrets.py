"""What is secret is shown nowhere: neither a part of a URL, nor a key that somebody repeats."""

from __future__ import annotations

import json
from collections import namedtuple
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import pytest

from sseparse import UnexpectedResponse
from sseparse._secrets import mask, shown

KEY = "sk-AbCd/EfGh+IjKl/MnOp=="


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
    assert shown(url) == expected


def masked(error: BaseException, url: str = "http://h/", **headers: str) -> BaseException:
    mask(error, url, headers or {"authorization": f"Bearer {KEY}"})
    return error


@pytest.mark.parametrize(
    "written",
    [
        *(KEY, f"Bearer {KEY}", f'{{"key": "{KEY}"}}'),
        *(KEY.replace("/", "\\/"), KEY.replace("+", "\\u002B"), KEY.replace("=", "\\u003d")),
        *(quote(KEY), quote(KEY, safe=""), quote(KEY, safe="").replace("%2F", "%2f")),
        # Cut, by a limit or by the network.
        *(KEY[:-1], KEY[: len(KEY) // 2], f"{KEY[:-1]}..."),
    ],
)
def test_key_is_taken_out_however_it_is_written(written: str) -> None:
    for value in (f"no {written}", f"no {written}".encode()):
        (found,) = masked(ValueError(value)).args
        text = found if isinstance(found, str) else found.decode()
        assert KEY[6:12] not in text
        assert "[secret]" in text


@pytest.mark.parametrize(
    "words", [KEY[:7], "sk-", "Bearer token required", "a key like sk-A", "authorization"]
)
def test_other_words_stay(words: str) -> None:
    error = masked(UnexpectedResponse(401, {"x": words}, words.encode()))
    assert error.args == (401, {"x": words}, words.encode())


@pytest.mark.parametrize("after", ['"}', "\\n", '\\"}', "…", ", unknown", "无效", "/v1"])
def test_what_follows_a_key_stays(after: str) -> None:
    error = masked(ValueError(f'{{"no {KEY}{after}', f'{{"no {KEY}{after}'.encode()))
    assert error.args == (f'{{"no [secret]{after}', f'{{"no [secret]{after}'.encode())


@pytest.mark.parametrize(
    "key",
    [
        "0b1c2d3e-aaaa-bbbb-cccc-1234567890ab:5f4dcc3b5aa765d61d8327deb882cf99",
        "abcdefgh;sig!@#secret&x$y,(z)[*]^|{2}?é漢\\",
        "x" * 8 + "\\" * 50,
        "a" * 5000,
    ],
    ids=lambda key: key[:10],
)
def test_key_may_have_any_characters(key: str) -> None:
    for part in (key, key[: 2 * len(key) // 3]):
        error = masked(ValueError(f"no {part} .", f"no {part} .".encode()), x_key=f"Key {key}")
        assert error.args == ("no [secret] .", b"no [secret] .")


@pytest.mark.parametrize(
    "hostile",
    ["\\" * 100_000, ("x" * 8 + "\\" * 24) * 3000, "x" * 100_000],
    ids=lambda text: text[:9],
)
def test_hostile_text_is_searched_in_linear_time(hostile: str) -> None:
    masked(ValueError(hostile, hostile.encode()), x_key="x" * 8 + "\\" * 50)


def test_key_that_is_the_beginning_of_another_hides_none_of_it() -> None:
    error = masked(ValueError("12345678-abc 12345678"), a_key="12345678", b_key="12345678-abc")
    assert error.args == ("[secret] [secret]",)


def test_word_of_less_than_8_characters_is_no_secret() -> None:
    assert masked(ValueError("no key"), authorization="Bearer no", cookie="key").args == ("no key",)


def test_every_word_of_every_credential_is_a_secret() -> None:
    headers = {"x-api-key": "key-12345", "cookie": "a=cookie-1; b=cookie-2", "accept": "text/html"}
    error = masked(ValueError("key-12345 a=cookie-1; b=cookie-2 text/html"), **headers)
    assert error.args == ("[secret] [secret] [secret] text/html",)


@pytest.mark.parametrize(
    ("user", "words"),
    [
        # printf user:pass%word | base64
        ("user:pass%25word", "Basic dXNlcjpwYXNzJXdvcmQ= nor pass%word"),
        ("token-123", "Basic dG9rZW4tMTIzOg== nor token-123"),
    ],
)
def test_user_information_is_a_secret_as_it_is_sent(user: str, words: str) -> None:
    error = masked(ValueError(f"no {words}"), f"http://{user}@h/")
    assert error.args == ("no Basic [secret] nor [secret]",)


Pair = namedtuple("Pair", "one two")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([KEY, 7], ["[secret]", 7]),
        ((KEY, None), ("[secret]", None)),
        ({KEY: {"x": [KEY]}}, {"[secret]": {"x": ["[secret]"]}}),
        (MappingProxyType({"x": KEY}), {"x": "[secret]"}),
        (Pair(1, KEY), Pair(1, "[secret]")),
    ],
)
def test_key_is_taken_out_of_what_holds_it(value: Any, expected: Any) -> None:
    (found,) = masked(ValueError(value)).args
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize("value", [[7], {"x": []}, MappingProxyType({}), Pair(1, "two"), object()])
def test_what_has_no_key_stays_the_same(value: Any) -> None:
    error = masked(ValueError(value))
    assert error.args[0] is value


def test_attributes_have_no_key() -> None:
    error = masked(UnexpectedResponse(401, {"www-authenticate": KEY}, json.dumps(KEY).encode()))
    assert isinstance(error, UnexpectedResponse)
    assert error.headers == {"www-authenticate": "[secret]"}
    assert error.body == b'"[secret]"'


def test_causes_have_no_key() -> None:
    group = ExceptionGroup("", [ValueError(KEY)])
    # What it was made of gives some libraries' error its words.
    part = RuntimeError(KEY)
    cause, error = KeyError(part), OSError(KEY)
    error.__cause__, cause.__cause__ = cause, group
    # A chain that leads back to itself.
    group.__cause__ = error
    masked(error)
    assert error.args == part.args == group.exceptions[0].args == ("[secret]",)


def test_exception_that_the_caller_handles_stays_as_it_is() -> None:
    own, error = KeyError(KEY), ValueError(KEY)
    error.__context__ = own
    masked(error)
    assert own.args == (KEY,)


@pytest.mark.parametrize("url", ["http://[", "http://h\N{FULLWIDTH SOLIDUS}/", "", "h"])
def test_what_is_no_url_hides_nothing(url: str) -> None:
    assert masked(ValueError(KEY), url).args == ("[secret]",)


def test_header_field_of_the_wrong_type_hides_nothing() -> None:
    headers: Any = {"authorization": f"Bearer {KEY}", "x-key": 5, "cookie": None}
    headers["a-key"] = "\ud800" * 9
    assert masked(ValueError(KEY), **headers).args == ("[secret]",)


def test_value_is_looked_into_as_deep_as_it_can_be_shown() -> None:
    value: Any = KEY
    for _ in range(10_000):
        value = [value]
    assert KEY not in str(masked(ValueError(value)))
