from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from typing import Any

import pytest

from sseparse import Comment, ServerSentEvent, SSEDecoder, UnknownField

EVENT = ServerSentEvent("chat", "hello", "1", 5)
ITEMS: list[Any] = [EVENT, Comment("ping"), UnknownField("error", "x")]


def decoded(decoder_class: type[SSEDecoder[Any]]) -> list[Any]:
    decoder = decoder_class(comments=True, unknown_fields=True)
    return decoder.feed(b"event: chat\ndata: hello\nid: 1\nretry: 5\n\n: ping\nerror: x\n")


def test_event_has_the_defaults_of_the_standard() -> None:
    assert ServerSentEvent() == ServerSentEvent(event="message", data="", id="", retry=None)


def test_decoded_items_are_those_that_a_caller_makes(
    decoder_class: type[SSEDecoder[Any]],
) -> None:
    items = decoded(decoder_class)
    assert items == ITEMS
    assert [type(item) for item in items] == [type(item) for item in ITEMS]
    assert list(map(hash, items)) == list(map(hash, ITEMS))
    assert list(map(repr, items)) == list(map(repr, ITEMS))


def test_repr_is_the_expression_that_makes_the_item() -> None:
    assert [eval(repr(item)) for item in ITEMS] == ITEMS


@pytest.mark.parametrize(
    "other",
    [
        ServerSentEvent("Chat", "hello", "1", 5),
        ServerSentEvent("chat", "hello\n", "1", 5),
        ServerSentEvent("chat", "hello", "2", 5),
        ServerSentEvent("chat", "hello", "1"),
        ("chat", "hello", "1", 5),
        None,
    ],
    ids=repr,
)
def test_events_are_equal_by_all_their_fields(other: object) -> None:
    assert other != EVENT


def test_items_of_another_meaning_are_not_equal() -> None:
    comment: object = Comment("a")
    assert comment != UnknownField("a", "")


def test_items_are_immutable(decoder_class: type[SSEDecoder[Any]]) -> None:
    for item in ITEMS + decoded(decoder_class):
        for field in dataclasses.fields(item):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(item, field.name, "x")
        with pytest.raises((AttributeError, TypeError)):
            item.another = "x"
    assert decoded(decoder_class) == ITEMS


def test_items_are_copied_and_pickled(decoder_class: type[SSEDecoder[Any]]) -> None:
    items = decoded(decoder_class)
    assert copy.copy(items[0]) == copy.deepcopy(items[0]) == EVENT
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(items, protocol)) == ITEMS
    assert dataclasses.replace(items[0], data="bye") == ServerSentEvent("chat", "bye", "1", 5)


def test_items_match(decoder_class: type[SSEDecoder[Any]]) -> None:
    seen: list[object] = []
    for item in decoded(decoder_class):
        match item:
            case ServerSentEvent("chat", data, id=id):
                seen += [data, id]
            case Comment(text):
                seen.append(text)
            case UnknownField(name, value):
                seen += [name, value]
    assert seen == ["hello", "1", "ping", "error", "x"]


def test_json_parses_the_data() -> None:
    assert ServerSentEvent(data='{"a": [1]}').json() == {"a": [1]}


def test_json_takes_another_parser_and_passes_its_errors_on() -> None:
    assert ServerSentEvent(data="17").json(loads=int) == 17
    with pytest.raises(json.JSONDecodeError):
        ServerSentEvent(data="[DONE]").json()
