"""Request: its validity, and redirects."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from sseparse.transports import Request

URL = "https://example.org/a/b?c=d"


@pytest.mark.parametrize("method", ["", "GE T", "GET\r\n", "GÉT", "GET /"])
def test_method_must_be_a_token(method: str) -> None:
    with pytest.raises(ValueError, match=r"^method must be an HTTP token, got "):
        Request(method, URL)


@pytest.mark.parametrize(
    "url",
    [
        *("", "/chat", "//127.0.0.1/", "127.0.0.1", "ftp://127.0.0.1/", "http://", "http://[::1"),
        *("http:///x", "http://127.0.0.1:x/", "http://\0/", "http://\ud800/", "http://x/\ud800"),
        *("http://exa mple.org/", "http://127.0.0.1/\n", "http://127.0.0.1/\x7f", "http://x/ "),
        *("http://a..b/", f"http://{'x' * 64}/", "http://h:0/", "http://h:65536/", "http://@/"),
        *("http://h/\u00a0 ", "http://h\\@example.org/"),
    ],
)
def test_url_must_be_http_with_a_host(url: str) -> None:
    with pytest.raises(ValueError, match=r"^url must be an http: or https: URL with a host"):
        Request("GET", url)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://127.0.0.1",
            "HTTPS://EXAMPLE.org:443/",
            "http://[::1]:80/x",
            "http://exämple.org",
        ),
        *("http://example.org./", "http://h/ü?ü#ü", "http://me:secret@h/", "http://a_b/"),
    ],
)
def test_url_goes_through_as_it_is(url: str) -> None:
    assert Request("GET", url).url == url


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        *(({"a b": "c"}, "name"), ({"": "c"}, "name"), ({"a\r\nb": "c"}, "name")),
        *(({"a": "b\r\nc: d"}, "'a'"), ({"a": "b\n"}, "'a'"), ({"a": "\0"}, "'a'")),
        *(({"a": "b\x01"}, "'a'"), ({"a": "b\vc"}, "'a'"), ({"a": "\x7f"}, "'a'")),
        *(({"a": " b"}, "'a'"), ({"a": "b\t"}, "'a'"), ({"a": "\ud800"}, "'a'")),
        ({"a": "1", "A": "2"}, "each name once"),
    ],
)
def test_header_field_must_be_one_that_http_can_carry(
    headers: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Request("GET", URL, headers)


def test_value_of_a_bad_header_field_is_not_shown() -> None:
    with pytest.raises(ValueError, match="authorization") as caught:
        Request("GET", URL, {"authorization": "Bearer secret\n"})
    assert "secret" not in str(caught.value)


def test_secrets_of_a_bad_url_are_not_shown() -> None:
    with pytest.raises(ValueError, match=r"^url must be") as caught:
        Request("GET", "ftp://me:secret@h/x?secret#secret")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": None}, "^method must be a str, got NoneType$"),
        ({"url": 123}, "^url must be a str, got int$"),
        ({"url": b"http://h/"}, "^url must be a str, got bytes$"),
        ({"headers": [("a", "b")]}, "^headers must be a mapping of str to str, got list$"),
        ({"headers": {"a": 1}}, "^header field 'a' must be a str, got int$"),
        ({"headers": {1: "a"}}, "^a header field's name must be a str, got int$"),
        ({"body": "text"}, "^body must be bytes, got str$"),
        ({"connect_timeout": "5"}, "^connect_timeout must be seconds or None, got '5'$"),
    ],
)
def test_argument_of_the_wrong_type_is_named(fields: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"method": "GET", "url": URL} | fields
    with pytest.raises(TypeError, match=message):
        Request(**arguments)


@pytest.mark.parametrize("limit", [0, -1, float("nan")])
def test_connect_timeout_must_be_positive(limit: float) -> None:
    with pytest.raises(
        ValueError, match=r"^connect_timeout must be positive seconds or None, got "
    ):
        Request("GET", URL, connect_timeout=limit)


def test_requests_that_differ_in_the_connect_timeout_alone_are_equal() -> None:
    assert Request("GET", URL) == Request("GET", URL, connect_timeout=1)
    assert Request("GET", URL) != Request("POST", URL)


def test_header_fields_are_those_of_its_making() -> None:
    headers = {"X-Name": "Ünï 漢"}
    request = Request("GET", URL, headers)
    headers["x"] = "y"
    assert request.headers == {"X-Name": "Ünï 漢"}


def test_pickles_and_copies() -> None:
    request = Request("POST", URL, {"a": "b"}, b"c", 1)
    for twin in (pickle.loads(pickle.dumps(request)), copy.deepcopy(request)):
        assert twin == request
        assert twin.connect_timeout == 1


def test_repr_shows_no_header_field_and_no_query() -> None:
    request = Request("POST", "https://me:x@h/a?secret", {"authorization": "secret"}, b"secret")
    assert repr(request) == "<Request POST https://h/a of 6 bytes>"


# Redirects


@pytest.mark.parametrize("method", ["GET", "get", "HEAD", "POST", "PUT"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_keeps_method_and_body_or_is_handed_on(status: int, method: str) -> None:
    request = Request(method, URL, {"a": "b"}, b"body", 5)
    redirected = request.redirected(status, {"location": "/there"})
    if status < 307 and method in ("POST", "PUT"):
        assert redirected is None
    else:
        assert redirected == Request(method, "https://example.org/there", {"a": "b"}, b"body")
        assert redirected.connect_timeout == 5


@pytest.mark.parametrize("status", [200, 204, 300, 304, 305, 306, 400, 503])
def test_other_response_is_handed_on(status: int) -> None:
    assert Request("GET", URL).redirected(status, {"location": "/there"}) is None


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("there", "https://example.org/a/there"),
        ("?x=y", "https://example.org/a/b?x=y"),
        ("//other.org/x", "https://other.org/x"),
        ("http://other.org", "http://other.org"),
        (" /there\t", "https://example.org/there"),
        ("/a b?c d", "https://example.org/a%20b?c%20d"),
        ("?a b", "https://example.org/a/b?a%20b"),
        ("/ü%20", "https://example.org/%C3%BC%20"),
        ("https://exämple.org/ü", "https://exämple.org/%C3%BC"),
    ],
)
def test_location_is_relative_to_the_url(location: str, url: str) -> None:
    redirected = Request("GET", URL).redirected(302, {"location": location})
    assert redirected is not None
    assert redirected.url == url


def test_user_information_stays_with_its_origin() -> None:
    request = Request("GET", "https://me:secret@example.org/a")
    for location, url in (("/b", "https://me:secret@example.org/b"), ("//h/b", "https://h/b")):
        redirected = request.redirected(307, {"location": location})
        assert redirected is not None
        assert redirected.url == url


@pytest.mark.parametrize(
    ("location", "kept"),
    [
        *(("/x", True), ("https://EXAMPLE.org:443/x", True), ("//example.org/x", True)),
        *(("http://example.org/x", False), ("https://example.org:444/x", False)),
        *(("https://sub.example.org/x", False), ("//evil.org", False)),
    ],
)
def test_credentials_stay_with_their_origin(location: str, kept: bool) -> None:
    credentials = {"Authorization": "a", "x-api-key": "b", "Cookie": "c", "X-Auth-Token": "d"}
    request = Request("GET", URL, {"accept": "e", **credentials})
    redirected = request.redirected(307, {"location": location})
    assert redirected is not None
    assert redirected.headers == ({"accept": "e", **credentials} if kept else {"accept": "e"})


@pytest.mark.parametrize("headers", [{}, {"location": ""}, {"location": " "}])
def test_redirect_without_a_location_is_handed_on(headers: dict[str, str]) -> None:
    assert Request("GET", URL).redirected(307, headers) is None


@pytest.mark.parametrize(
    "location",
    [
        *("ftp://h/secret?secret", "http://", "https://", "//", "http://h:x/", "https://[::1"),
        *("http://a..b", "http://h\\@example.org/", "/\udce9"),
    ],
)
def test_redirect_to_an_invalid_url_is_a_connection_error(location: str) -> None:
    with pytest.raises(ConnectionError, match="to an invalid URL"):
        Request("GET", URL).redirected(307, {"location": location})
