from __future__ import annotations

import copy
import dataclasses
import gc
import inspect
import json
import pickle
import sys
import weakref
from typing import Any, ClassVar, cast, get_type_hints

import pytest

from sseparse import Block, Comment, ServerSentEvent, SSEDecoder, UnknownField, _events
from tests.support.classes import in_python

EVENT = ServerSentEvent("chat", "hello", "1", 5)
ITEMS: list[Any] = [EVENT, Comment("ping"), UnknownField("error", "x", "error: x")]


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
    assert comment != UnknownField("a", "", "a")


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


class TestFace:
    """The compiled classes have the face of the dataclasses, to the last detail."""

    ARGUMENTS: ClassVar[dict[str, tuple[Any, ...]]] = {
        "ServerSentEvent": ("chat", "hello", "1", 5),
        "Block": ("chat", None, "", None),
        "Comment": ("ping",),
        "UnknownField": ("error", "x", "error: x"),
    }

    @pytest.fixture(params=["served", "python"])
    def how(self, request: pytest.FixtureRequest) -> str:
        return cast("str", request.param)

    @pytest.fixture(params=[ServerSentEvent, Block, Comment, UnknownField])
    def item_class(
        self, request: pytest.FixtureRequest, how: str, monkeypatch: pytest.MonkeyPatch
    ) -> Any:
        served: Any = request.param
        cls = in_python(served) if how == "python" else served
        # Pickles find a class by its name.
        monkeypatch.setattr(_events, served.__name__, cls)
        return cls

    @pytest.fixture
    def arguments(self, item_class: Any) -> tuple[Any, ...]:
        return self.ARGUMENTS[item_class.__name__]

    @pytest.fixture
    def item(self, item_class: Any, arguments: tuple[Any, ...]) -> Any:
        return item_class(*arguments)

    def test_class(self, item_class: Any) -> None:
        name = item_class.__name__
        assert item_class.__qualname__ == name
        assert item_class.__module__ == "sseparse._events"
        assert item_class.__mro__ == (item_class, object)
        assert item_class.__match_args__ == item_class.__slots__
        assert set(get_type_hints(item_class)) == set(item_class.__slots__)
        assert list(inspect.signature(item_class).parameters) == list(item_class.__slots__)
        assert inspect.getdoc(item_class)
        assert [field.name for field in dataclasses.fields(item_class)] == [*item_class.__slots__]
        assert not hasattr(item_class(*self.ARGUMENTS[name]), "__dict__")

    def test_construction(self, item_class: Any, item: Any, arguments: tuple[Any, ...]) -> None:
        keywords = dict(zip(item_class.__slots__, arguments, strict=True))
        assert item_class(**keywords) == item
        assert [getattr(item, name) for name in keywords] == [*arguments]
        with pytest.raises(TypeError, match="unexpected keyword argument 'x'"):
            item_class(x=1)
        with pytest.raises(TypeError, match="positional argument"):
            item_class(*arguments, 1)

    def test_value(self, item_class: Any, item: Any, arguments: tuple[Any, ...]) -> None:
        assert item == item_class(*arguments)
        assert hash(item) == hash(item_class(*arguments)) == hash(arguments)
        assert item != item_class(*arguments[:-1], "other")
        assert item != arguments
        fields = zip(item_class.__slots__, arguments, strict=True)
        assert repr(item) == f"{item_class.__name__}({', '.join(f'{n}={v!r}' for n, v in fields)})"

    def test_dataclass(self, item_class: Any, item: Any, arguments: tuple[Any, ...]) -> None:
        assert dataclasses.asdict(item) == dict(zip(item_class.__slots__, arguments, strict=True))
        assert dataclasses.astuple(item) == arguments
        changed = dataclasses.replace(item, **{item_class.__slots__[0]: "new"})
        assert changed == item_class("new", *arguments[1:])
        assert type(changed) is item_class

    def test_copies(self, item: Any) -> None:
        for other in [
            copy.copy(item),
            copy.deepcopy(item),
            *(pickle.loads(pickle.dumps(item, n)) for n in range(pickle.HIGHEST_PROTOCOL + 1)),
        ]:
            assert other == item
            assert type(other) is type(item)

    def test_frozen(self, item_class: Any, item: Any) -> None:
        for name in item_class.__slots__:
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(item, name, "x")
            with pytest.raises(dataclasses.FrozenInstanceError):
                delattr(item, name)
        with pytest.raises((AttributeError, TypeError)):
            item.another = "x"
        if sys.implementation.name == "cpython":
            with pytest.raises(TypeError):
                weakref.ref(item)

    def test_subclasses(self, item_class: Any, item: Any, arguments: tuple[Any, ...]) -> None:
        class Named(item_class):  # type: ignore[misc]
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments)

            def class_name(self) -> str:
                return str(item_class.__name__)

        named = Named(*arguments)
        assert named.class_name() == item_class.__name__
        assert named != item
        assert weakref.ref(named)() is named
        assert repr(named).startswith("TestFace.test_subclasses.<locals>.Named(")

        @dataclasses.dataclass(frozen=True)
        class Longer(item_class):  # type: ignore[misc]
            note: str = ""

        longer = Longer(*arguments, note="n")
        assert longer.note == "n"
        assert dataclasses.astuple(longer) == (*arguments, "n")
        del named, longer
        gc.collect()

    def test_match(self, item_class: Any, item: Any, arguments: tuple[Any, ...]) -> None:
        match item:
            case item_class(first):
                assert first == arguments[0]
            case _:
                raise AssertionError(item)

    def test_generic_items_are_not_tracked(self, item: Any, how: str) -> None:
        if how == "served" and in_python(ServerSentEvent) is not ServerSentEvent:
            assert not gc.is_tracked(item)


def test_many_items_outlive_their_decoder(decoder_class: type[SSEDecoder[Any]]) -> None:
    # More than are kept for later, in two orders.
    for step in (1, -1):
        items = decoder_class(comments=True).feed(b": c\ndata: x\n\n" * 3000)
        while items:
            assert items.pop(0 if step == 1 and len(items) % 2 else -1) in (
                Comment("c"),
                ServerSentEvent(data="x"),
            )
