from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest
from hypothesis import given

from sseparse import (
    Comment,
    NDJSONDecoder,
    ServerSentEvent,
    SSEDecoder,
    encode_comment,
    encode_event,
    encode_json_line,
)
from tests.support.strategies import events, json_values, texts


def lf(text: str) -> str:
    return re.sub("\r\n|\r", "\n", text)


@given(events, events)
def test_decoding_what_was_encoded_gives_it_back(
    decoder_class: type[SSEDecoder[Any]], first: dict[str, Any], second: dict[str, Any]
) -> None:
    first_id = first.get("id", "")
    expected = [
        ServerSentEvent(**(first | {"data": lf(first["data"]), "id": first_id})),
        ServerSentEvent(**({"id": first_id} | second | {"data": lf(second["data"])})),
    ]
    decoder = decoder_class(comments=True, unknown_fields=True)
    assert decoder.feed(encode_event(**first) + encode_event(**second)) == expected
    assert not decoder.incomplete


@given(texts, texts)
def test_comments_deliver_nothing_and_are_comments_again(
    decoder_class: type[SSEDecoder[Any]], comment: str, text: str
) -> None:
    stream = encode_comment(comment) + encode_event(text)
    event = ServerSentEvent(data=lf(text))
    assert decoder_class().feed(stream) == [event]
    assert decoder_class(comments=True).feed(stream) == [
        *(Comment(line) for line in lf(comment).split("\n")),
        event,
    ]


@pytest.mark.parametrize(
    ("arguments", "encoded"),
    [
        ({}, b"data: \n\n"),
        ({"data": "a"}, b"data: a\n\n"),
        ({"data": "a\nb\r\nc\rd"}, b"data: a\ndata: b\ndata: c\ndata: d\n\n"),
        ({"data": "a\n\r"}, b"data: a\ndata: \ndata: \n\n"),
        ({"data": "a\n"}, b"data: a\ndata: \n\n"),
        ({"data": "a\u2028b\x85c\v"}, "data: a\u2028b\x85c\v\n\n".encode()),
        (
            {"data": "a", "event": "b", "id": "c", "retry": 5},
            b"event: b\nid: c\nretry: 5\ndata: a\n\n",
        ),
        ({"id": ""}, b"id: \ndata: \n\n"),
        ({"retry": 0}, b"retry: 0\ndata: \n\n"),
        ({"event": " b"}, b"event:  b\ndata: \n\n"),
    ],
    ids=repr,
)
def test_encoded_event(arguments: dict[str, Any], encoded: bytes) -> None:
    assert encode_event(**arguments) == encoded


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"event": "a\nb"}, r"event must not be empty or contain CR or LF, got 'a\\nb'"),
        ({"event": "a\rb"}, r"event must not be empty or contain CR or LF, got 'a\\rb'"),
        ({"event": "a\n"}, r"event must not be empty or contain CR or LF, got 'a\\n'"),
        ({"event": ""}, "event must not be empty or contain CR or LF, got ''"),
        ({"id": "a\nb"}, r"id must not contain CR, LF or NUL, got 'a\\nb'"),
        ({"id": "a\rb"}, r"id must not contain CR, LF or NUL, got 'a\\rb'"),
        ({"id": "a\0b"}, r"id must not contain CR, LF or NUL, got 'a\\x00b'"),
        ({"retry": -1}, r"retry must be from 0 to 2\*\*63 - 1, got -1"),
        ({"retry": 2**63}, r"retry must be from 0 to 2\*\*63 - 1, got 9223372036854775808"),
        ({"data": "\ud800"}, "surrogates not allowed"),
    ],
    ids=repr,
)
def test_injection_is_refused(arguments: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        encode_event(**arguments)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"data": 5}, "data must be a str, got int"),
        ({"data": b"x"}, "data must be a str, got bytes"),
        ({"event": 5}, "event must be a str or None, got int"),
        ({"id": 5}, "id must be a str or None, got int"),
        ({"retry": "5"}, "retry must be an int or None, got str"),
        ({"retry": True}, "retry must be an int or None, got bool"),
    ],
    ids=repr,
)
def test_argument_of_another_type_is_named(arguments: dict[str, Any], why: str) -> None:
    with pytest.raises(TypeError, match=f"^{why}$"):
        encode_event(**arguments)


def test_comment_must_be_text() -> None:
    with pytest.raises(TypeError, match=r"^text must be a str, got int$"):
        encode_comment(5)  # type: ignore[arg-type]


def test_empty_comment_is_a_heartbeat() -> None:
    assert encode_comment() == b": \n"


@given(json_values)
def test_decoding_a_json_line_gives_the_value_back(value: Any) -> None:
    line = encode_json_line(value)
    assert line.count(b"\n") == 1
    assert repr(NDJSONDecoder().feed(line)) == repr([value])


def test_json_line_of_another_library_may_be_bytes() -> None:
    text = '{"a":"\u2028é"}'
    assert encode_json_line(None, dumps=lambda value: text) == text.encode() + b"\n"
    assert encode_json_line(None, dumps=lambda value: text.encode()) == text.encode() + b"\n"


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"], ids=repr)
def test_json_over_several_lines_is_refused(end: str) -> None:
    def dumps(value: Any) -> str:
        return json.dumps(value, indent=1).replace("\n", end)

    with pytest.raises(ValueError, match="dumps must return one line, without indentation, got"):
        encode_json_line([1], dumps)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (math.nan, "value is nan"),
        ([1, {"a": (2, -math.inf)}], "value[1]['a'][1] is -inf"),
        ({"a": [], math.inf: 1}, "a key of value is inf"),
        ([[1]] * 3 + [math.nan], "value[3] is nan"),
    ],
    ids=repr,
)
def test_number_that_is_no_json_is_refused_with_its_place(value: Any, place: str) -> None:
    with pytest.raises(ValueError, match=f"^value must be JSON, but {re.escape(place)}$"):
        encode_json_line(value)


def test_value_without_json_is_refused() -> None:
    endless: list[Any] = [1.5]
    endless.append(endless)
    with pytest.raises(ValueError, match="Circular reference"):
        encode_json_line(endless)
    with pytest.raises(TypeError, match="not JSON serializable"):
        encode_json_line(object())


@pytest.mark.parametrize(
    ("dumps", "error", "message"),
    [
        (5, TypeError, "^dumps must be callable or None, got int"),
        (lambda _: 5, TypeError, "^the result of dumps must be a str or bytes, got int"),
        (lambda _: "", ValueError, "^dumps must return one line, without indentation, got b''"),
    ],
)
def test_wrong_dumps_is_an_error_that_names_it(
    dumps: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        encode_json_line({}, dumps)
