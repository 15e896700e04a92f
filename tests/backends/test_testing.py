"""The test kit: correct backends pass, and each kind of fault has its message."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, TypeGuard

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sseparse import (
    Decoder,
    IncompleteStream,
    InvalidJSON,
    NDJSONDecoder,
    ServerSentEvent,
    SSEDecoder,
    decoder_for,
    encode_event,
)
from sseparse.transports import Request
from sseparse_backends import (
    Backend,
    BackendError,
    DarkAI,
    Delta,
    Finish,
    Messages,
    Reasoning,
    Reply,
    Text,
    ToolCall,
    Usage,
)
from sseparse_backends.testing import Outcome, check, receive
from tests.support.servers import BODY as DARKAI_BODY
from tests.support.servers import TEXTS as DARKAI_TEXTS
from tests.support.servers import event as darkai_event

NDJSON = "application/x-ndjson"


class ParrotReply(Reply[Any]):
    """A correct reply. The classes below have one fault each."""

    def __init__(self) -> None:
        self.decoder = SSEDecoder()

    def interpret(self, event: Any, /) -> Iterator[Delta]:
        match self.value(event):
            case {"word": word}:
                yield Text(word)
            case {"thought": thought}:
                yield Reasoning(thought)
            case {"call": name}:
                yield ToolCall(0, name=name)
            case {"error": error}:
                raise BackendError(error)
            case {"usage": [sent, received]}:
                yield Usage(sent, received)
            case {"done": reason}:
                yield Finish(reason)
            case _:
                raise ValueError("a parrot does not say so")

    def end(self) -> Iterable[Delta]:
        return ()

    def value(self, event: ServerSentEvent) -> Any:
        return event.json()


@dataclass(frozen=True)
class Parrot:
    new_reply: Callable[[], Reply[Any]] = ParrotReply

    name = "parrot"
    default_model = "grey"
    models = ("grey",)

    def request(self, messages: Messages, *, model: str | None = None, **options: Any) -> Request:
        if options:
            raise TypeError(f"a parrot has no option {', '.join(options)}")
        return Request("POST", "https://parrot.example/chat", {}, json.dumps(messages).encode())

    def reply(self, content_type: str) -> Reply[Any]:
        if not isinstance(decoder_for(content_type), SSEDecoder):
            raise ValueError(f"a parrot does not say {content_type}")
        return self.new_reply()


def said(*values: Any) -> bytes:
    return b"".join(encode_event(json.dumps(value, ensure_ascii=False)) for value in values)


WORDS = [{"thought": "A seed?"}, {"word": "Pretty"}, {"word": " Polly"}]
ENDING = [{"usage": [1, 2]}, {"call": "feed"}, {"done": "stop"}]
BODY = said(*WORDS, *ENDING)
ERROR = said({"error": "no seed"})
WORD = [ServerSentEvent(data='{"word": ""}')]
DELTAS = (
    *(Reasoning("A seed?"), Text("Pretty"), Text(" Polly")),
    *(Usage(1, 2), ToolCall(0, name="feed"), Finish("stop")),
)


def is_text(delta: Delta) -> TypeGuard[Text]:
    return isinstance(delta, Text)


class LinesParrot(Parrot):
    """The same parrot, in NDJSON."""

    def reply(self, content_type: str) -> Reply[Any]:
        if not isinstance(decoder_for(content_type), NDJSONDecoder):
            raise ValueError(f"a parrot does not say {content_type}")
        return LinesReply()


class LinesReply(ParrotReply):
    def __init__(self) -> None:
        self.decoder = NDJSONDecoder()

    def value(self, event: Any) -> Any:
        return event


class Silent(ParrotReply):
    """Ends a reply by closing after a finish reason."""

    reason: str | None = None

    def interpret(self, event: Any, /) -> Iterator[Delta]:
        for delta in super().interpret(event):
            if isinstance(delta, Finish):
                self.reason = delta.reason
            else:
                yield delta

    def end(self) -> Iterable[Delta]:
        if self.reason is not None:
            yield Finish(self.reason)


@pytest.mark.parametrize("new_reply", [ParrotReply, Silent])
def test_right_backend_passes(new_reply: Callable[[], Reply[Any]]) -> None:
    outcome = check(Parrot(new_reply), BODY, text="Pretty Polly", error=ERROR)
    assert outcome == Outcome(DELTAS, None)


def test_right_backend_of_json_lines_passes() -> None:
    body = BODY.replace(b"data: ", b"").replace(b"\n\n", b"\n")
    error = b'{"error": "no seed"}'
    outcome = check(LinesParrot(), body, text="Pretty Polly", content_type=NDJSON, error=error)
    assert outcome.deltas == DELTAS


def test_darkai_passes() -> None:
    error = darkai_event("error", message="no seed")
    assert check(DarkAI(), DARKAI_BODY, text="".join(DARKAI_TEXTS), error=error).finish == Finish()


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=5), max_size=4))
@settings(max_examples=20)
def test_right_backend_passes_with_any_text(words: list[str]) -> None:
    body = said(*({"word": word} for word in words), {"done": None})
    assert check(Parrot(), body, text="".join(words), error=ERROR).finish == Finish()


@pytest.mark.parametrize(
    ("body", "text", "error"),
    [
        (said({"word": "Hi"}) + ERROR, "Hi", BackendError),
        (ERROR, "", BackendError),
        (said({"word": "Hi"}, {"done": "stop"})[:-1], "Hi", IncompleteStream),
        (b"", "", IncompleteStream),
        (said({"word": "Hi"}, {"song": "La"}), "Hi", ValueError),
    ],
)
def test_body_that_is_no_complete_reply_passes_with_the_error_it_raises(
    body: bytes, text: str, error: type[Exception]
) -> None:
    outcome = check(Parrot(), body, text=text, error=ERROR, raises=error)
    assert isinstance(outcome.error, error)
    assert outcome.finish is None


def changing(change: Callable[[Delta], Iterable[Any]]) -> type[ParrotReply]:
    """A reply with other deltas."""

    class Changing(ParrotReply):
        def interpret(self, event: Any, /) -> Iterator[Any]:
            for delta in super().interpret(event):
                yield from change(delta)

    return Changing


def ending(*deltas: Delta) -> type[ParrotReply]:
    """A reply with these deltas at the end of the body."""

    class Ending(ParrotReply):
        def end(self) -> Iterable[Delta]:
            return deltas

    return Ending


def decoding(feed: Callable[[Decoder[Any], bytes], list[Any]]) -> type[ParrotReply]:
    """A reply with another decoder."""

    class Changed(SSEDecoder[ServerSentEvent]):
        def feed(self, data: Any, /) -> list[Any]:
            return feed(super(), data)  # type: ignore[arg-type]

    class Decoding(ParrotReply):
        def __init__(self) -> None:
            self.decoder = Changed()

    return Decoding


def forget_what_comes_before_an_error(decoder: Decoder[Any], data: bytes) -> list[Any]:
    events = decoder.feed(data)
    if b"error" in data:
        raise BackendError("no seed")
    return events


class Late(ParrotReply):
    """Delays each text by one event, and loses it before an error."""

    late: Iterable[Delta] = ()

    def interpret(self, event: Any, /) -> Iterator[Delta]:
        deltas = list(super().interpret(event))
        yield from self.end()
        if isinstance(deltas[0], Text):
            self.late = deltas
        else:
            yield from deltas

    def end(self) -> Iterable[Delta]:
        late, self.late = self.late, ()
        return late


class Content(Silent):
    """Looks complete after any text."""

    def interpret(self, event: Any, /) -> Iterator[Delta]:
        for delta in super().interpret(event):
            self.reason = "stop" if isinstance(delta, Text) else self.reason
            yield delta


class FinishFirst(Silent):
    def end(self) -> Iterable[Delta]:
        return [*super().end(), Usage()]


class Abrupt(ParrotReply):
    def end(self) -> Iterable[Delta]:
        raise RuntimeError("it is over")


class Deaf(ParrotReply):
    def interpret(self, event: Any, /) -> Iterator[Delta]:
        return iter(()) if "error" in event.json() else super().interpret(event)


class Cursing(ParrotReply):
    def interpret(self, event: Any, /) -> Iterator[Delta]:
        try:
            yield from super().interpret(event)
        except BackendError as error:
            raise RuntimeError("damn") from error


class Absent(ParrotReply):
    def interpret(self, event: Any, /) -> Any:
        return None


class Plain:
    decoder: Decoder[Any] = SSEDecoder()


class EarlyCall(ParrotReply):
    def interpret(self, event: Any, /) -> Iterator[Delta]:
        for delta in super().interpret(event):
            yield from [ToolCall(0, name="feed")] * isinstance(delta, Usage)
            if not isinstance(delta, ToolCall):
                yield delta


class BytesMessage(ParrotReply):
    @property
    def messages(self) -> Any:
        return [{"content": b"Pretty Polly"}]


class StrMessage(ParrotReply):
    @property
    def messages(self) -> Any:
        return ["Pretty Polly"]


class CountedMessage(ParrotReply):
    number = 0

    def interpret(self, event: Any, /) -> Iterator[Delta]:
        CountedMessage.number += 1
        return super().interpret(event)

    @property
    def messages(self) -> Any:
        return [{"content": self.number}]


class SharedDecoder(ParrotReply):
    decoder: Decoder[Any] = SSEDecoder()

    def __init__(self) -> None:
        pass


class SharedMemory(ParrotReply):
    """Omits each delta that any reply had before."""

    said: ClassVar[list[Delta]] = []

    def interpret(self, event: Any, /) -> Iterator[Delta]:
        for delta in super().interpret(event):
            if delta not in self.said:
                self.said.append(delta)
                yield delta


class SharedNotes(ParrotReply):
    """Keeps the words until the end, in a list that all replies share."""

    notes: ClassVar[list[Delta]] = []

    def interpret(self, event: Any, /) -> Iterator[Delta]:
        for delta in super().interpret(event):
            match delta:
                case Reasoning():
                    self.notes.clear()
                case Text():
                    self.notes.append(delta)
                case Finish():
                    yield from self.notes
                    self.notes.clear()
                    yield delta
                case _:
                    pass


@pytest.mark.parametrize(
    ("new_reply", "message"),
    [
        pytest.param(
            decoding(lambda decoder, data: decoder.feed(data) + decoder.feed(b"\n\n")),
            "in chunks of 1 bytes are not those in one chunk: delta 0 is IncompleteStream",
            id="takes-chunks-for-events",
        ),
        pytest.param(
            decoding(lambda decoder, data: [*decoder.feed(data), *WORD]),
            r"in chunks of 1 bytes are not those in one chunk: delta 0 is Text\(text=''\), not"
            r" Reasoning\(text='A seed\?'\)",
            id="something-with-each-chunk",
        ),
        pytest.param(
            decoding(lambda decoder, data: [] if len(data) == 41 else decoder.feed(data)),
            "the deltas cut in two after 41 bytes are not those in one chunk: delta 0 is Text",
            id="wrong-at-one-cut",
        ),
        pytest.param(
            decoding(forget_what_comes_before_an_error),
            "with an error after 30 bytes in one chunk are not those in two: delta 0 is "
            r"BackendError\('no seed', ''\), not Reasoning\(text='A seed\?'\)",
            id="loses-events-before-an-error",
        ),
        pytest.param(
            Late,
            "with an error after 56 bytes the text must be 'Pretty', as without it, but is ''",
            id="loses-text-before-an-error",
        ),
        pytest.param(
            Deaf,
            r"after 0 bytes the reply must raise BackendError, but raises IncompleteStream\(''\)",
            id="swallows-errors",
        ),
        pytest.param(
            Cursing,
            r"after 0 bytes the reply must raise BackendError, but raises RuntimeError\('damn'\)",
            id="raises-another-class",
        ),
        pytest.param(
            ending(Finish()),
            "that ends after 0 bytes must be incomplete, but looks finished with the text ''",
            id="end-finishes-always",
        ),
        pytest.param(
            Content,
            "after 56 bytes must be incomplete, but looks finished with the text 'Pretty'",
            id="end-finishes-after-some-text",
        ),
        pytest.param(
            ending(ToolCall(0, name="fe")),
            r"that ends after 0 bytes must have the start of \(.*'feed'.*, but has \(.*'fe'",
            id="end-has-a-call-that-was-cut",
        ),
        pytest.param(
            ending(Text("…")),
            "that ends after 0 bytes must have the start of 'Pretty Polly', but has '…'",
            id="end-has-other-text",
        ),
        pytest.param(
            Abrupt,
            r"after 0 bytes must raise IncompleteStream, but raises RuntimeError\('it is over'\)",
            id="end-raises-another-class",
        ),
        pytest.param(
            changing(lambda delta: [] if isinstance(delta, Finish) else [delta]),
            r"must be a complete reply, but raises IncompleteStream\('Pretty Polly'\)",
            id="never-finishes",
        ),
        pytest.param(
            changing(lambda delta: [Finish()] if isinstance(delta, Text) else [delta]),
            "the text must be 'Pretty Polly', got ''",
            id="finishes-before-the-text",
        ),
        pytest.param(
            changing(lambda delta: [delta, Usage()] if isinstance(delta, Finish) else [delta]),
            r"Finish must be the last delta, got Usage\(.*\) after it",
            id="more-after-finish",
        ),
        pytest.param(
            FinishFirst,
            r"Finish must be the last delta, got Usage\(.*\) after it",
            id="more-at-the-end",
        ),
        pytest.param(
            changing(lambda delta: [Text(delta.text.lstrip()) if is_text(delta) else delta]),
            "the text must be 'Pretty Polly', got 'PrettyPolly'",
            id="strips",
        ),
        pytest.param(
            changing(lambda delta: [delta.text if is_text(delta) else delta]),
            "ToolCallPiece, ToolCall, Usage or Finish, got 'Pretty'",
            id="str-for-text",
        ),
        pytest.param(
            Absent,
            "must be a complete reply, but raises TypeError.*'NoneType' object is not iterable",
            id="none-for-no-deltas",
        ),
        pytest.param(
            changing(lambda delta: [delta, delta] if isinstance(delta, ToolCall) else [delta]),
            r"tool calls must be numbered in their order, got \[0, 0\]",
            id="calls-of-one-number",
        ),
        pytest.param(Plain, r"reply\(\) must return a Reply, got <", id="no-reply"),
        pytest.param(
            EarlyCall, "tool calls must come right before Finish", id="call-before-the-usage"
        ),
        pytest.param(BytesMessage, "must be a list of JSON objects, got", id="bytes-message"),
        pytest.param(StrMessage, "must be a list of objects, got", id="str-message"),
        pytest.param(
            CountedMessage, "the messages of a second reply are not those", id="shared-message"
        ),
        pytest.param(SharedDecoder, "two replies share a decoder", id="shared-decoder"),
        pytest.param(
            SharedMemory,
            "the deltas of a second reply are not those of the first one",
            id="shared-memory",
        ),
        pytest.param(
            SharedNotes,
            "the deltas with another reply at the same time are not those without",
            id="shared-notes",
        ),
    ],
)
def test_wrong_reply_is_told_what_is_wrong(
    new_reply: Callable[[], Reply[Any]], message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        check(Parrot(new_reply), BODY, text="Pretty Polly", error=ERROR)


class Credulous(Parrot):
    def reply(self, content_type: str) -> Reply[Any]:
        return ParrotReply()


class Literal(Parrot):
    def reply(self, content_type: str) -> Reply[Any]:
        if content_type != "text/event-stream":
            raise ValueError(content_type)
        return ParrotReply()


class Indifferent(Parrot):
    def request(self, messages: Messages, *, model: str | None = None, **options: Any) -> Request:
        return super().request(messages)


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        (LinesParrot(), r"reply\(\) refuses 'text/event-stream'"),
        (Literal(), r"reply\(\) refuses 'TEXT/EVENT-STREAM;charset=utf-8'"),
        (Credulous(), r"reply\(\) must raise ValueError for an HTML page"),
        (Indifferent(), r"request\(\) must raise TypeError for an unknown option"),
    ],
)
def test_wrong_backend_is_told_what_is_wrong(backend: Backend, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check(backend, BODY, text="Pretty Polly")


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (lambda messages, *, model: None, "must return a Request, got None"),
        (lambda messages, *, model: {}, "must return a Request, got {}"),
        (lambda messages, *, model: b"text", "must return a Request, got b'text'"),
        (lambda messages: Request("POST", "http://127.0.0.1/"), "model=None.* raises TypeError"),
    ],
)
def test_wrong_request_is_told_what_is_wrong(request_: Any, message: str) -> None:
    backend = Parrot(ParrotReply)
    backend.__dict__["request"] = request_
    with pytest.raises(AssertionError, match=message):
        check(backend, BODY, text="Pretty Polly")


@pytest.mark.parametrize("every", [0, -1])
def test_every_so_many_bytes_are_one_at_least(every: int) -> None:
    with pytest.raises(ValueError, match=f"every must be at least 1, got {every}"):
        check(Parrot(ParrotReply), BODY, text="Pretty Polly", every=every)


def test_backend_that_asks_for_a_key_first_passes_without_one() -> None:
    class Secretive(Parrot):
        def request(self, messages: Messages, **options: Any) -> Request:
            raise ValueError("a key, please")

    assert check(Secretive(), BODY, text="Pretty Polly").deltas == DELTAS


@pytest.mark.parametrize(
    ("body", "raises", "message"),
    [
        (BODY, BackendError, "must raise BackendError, but raises None"),
        (BODY[:-1], BackendError, "must raise BackendError, but raises IncompleteStream"),
        (said(*WORDS) + ERROR, None, "must be a complete reply, but raises BackendError"),
    ],
)
def test_body_that_ends_in_another_way_is_told(
    body: bytes, raises: type[Exception] | None, message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        check(Parrot(), body, text="Pretty Polly", raises=raises)


def test_empty_body_that_looks_finished_is_told_even_of_a_reply_without_text() -> None:
    with pytest.raises(AssertionError, match="that ends after 0 bytes must be incomplete"):
        check(Parrot(ending(Finish())), ERROR, text="", raises=BackendError)


def test_error_of_the_backend_is_the_cause() -> None:
    with pytest.raises(AssertionError, match="a parrot does not say so") as caught:
        check(Parrot(), said({"song": "La"}), text="La")
    assert caught.value.__cause__ is not None
    assert str(caught.value.__cause__) == "a parrot does not say so"


def test_unfinished_event_is_not_interrupted_by_an_error() -> None:
    class Watchful(ParrotReply):
        def __init__(self) -> None:
            self.decoder = SSEDecoder(comments=True, unknown_fields=True)

        def interpret(self, event: Any, /) -> Iterator[Delta]:
            return super().interpret(event) if isinstance(event, ServerSentEvent) else iter(())

    body = BODY.replace(b"data: {", b"data: {\n:ping\nseed: 1\ndata: ")
    assert check(Parrot(Watchful), body, text="Pretty Polly", error=ERROR).deltas == DELTAS


@pytest.mark.parametrize(
    ("length", "every", "replies"),
    [(1999, 1, 2 * 1999), (3000, 1, 2 * 3000), (20_000, 1000, 2 * 20)],
)
def test_body_is_cut_at_each_byte_or_at_every_so_many(
    length: int, every: int, replies: int
) -> None:
    made = 0

    def new_reply() -> Reply[Any]:
        nonlocal made
        made += 1
        return ParrotReply()

    word = "a" * (length - len(said({"word": ""}, {"done": None})))
    check(Parrot(new_reply), said({"word": word}, {"done": None}), text=word, every=every)
    assert replies < made < replies + 20


@pytest.mark.slow
def test_it_needs_neither_assert_statements_nor_a_test_framework() -> None:
    code = """if True:
        import sys
        from sseparse_backends import DarkAI
        from sseparse_backends.testing import check
        try:
            check(DarkAI(), b"", text="Hi", raises=Exception)
        except AssertionError:
            print(sorted({"_pytest", "hypothesis", "pytest"} & set(sys.modules)))
    """
    done = subprocess.run(
        [sys.executable, "-O", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_receive_takes_chunks_until_the_reply_is_finished() -> None:
    outcome = receive(Parrot(), [BODY[:70], b"", BODY[70:], b"data: after\n\n"])
    assert outcome == Outcome(DELTAS, None)


def test_receive_has_the_deltas_before_an_error() -> None:
    outcome = receive(LinesParrot(), [b'{"word": "Hi"}\noops\n'], content_type=NDJSON)
    assert outcome.deltas == (Text("Hi"),)
    assert isinstance(outcome.error, InvalidJSON)


def test_receive_refuses_a_media_type_that_the_backend_does() -> None:
    with pytest.raises(AssertionError, match=r"reply\('text/html'\) raises ValueError"):
        receive(Parrot(), [], content_type="text/html")


@pytest.mark.parametrize(
    ("deltas", "text", "usage", "finish"),
    [
        ((), "", None, None),
        (DELTAS, "Pretty Polly", Usage(1, 2), Finish("stop")),
        ((Usage(1, 1), Text("Hi"), Usage(1, 2)), "Hi", Usage(1, 2), None),
    ],
)
def test_outcome_sums_up_the_deltas(
    deltas: tuple[Delta, ...], text: str, usage: Usage | None, finish: Finish | None
) -> None:
    outcome = Outcome(deltas, None)
    assert (outcome.text, outcome.usage, outcome.finish) == (text, usage, finish)
