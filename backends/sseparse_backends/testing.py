"""For the tests of a backend: whether it keeps what the contract promises.

    def test_parrot() -> None:
        check(Parrot(), BODY, text="Pretty Polly", error=b'data: {"error": "no seed"}\\n\\n')

`check` takes a body as the service sends it, written by hand or recorded, and raises
AssertionError for a promise that is broken, from the backend's own error if there is one. It
needs no key, no loop and no network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product, zip_longest
from typing import Any

from sseparse import Comment, IncompleteStream, UnknownField
from sseparse.client import Attempts, Limits, State
from sseparse.transports import Request

from ._contract import (
    Backend,
    BackendError,
    Delta,
    EndingReply,
    Finish,
    Messages,
    Reasoning,
    Reply,
    Text,
    ToolCall,
    Usage,
)
from ._exchange import Exchange

__all__ = ["Outcome", "check", "receive"]

_EVENT_STREAM = "text/event-stream"


@dataclass(frozen=True)
class Outcome:
    """What became of a body: the deltas of the reply, and the error that it ended with, if any."""

    deltas: tuple[Delta, ...]
    error: Exception | None

    @property
    def text(self) -> str:
        """The text of the reply."""
        return "".join(delta.text for delta in self.deltas if isinstance(delta, Text))

    @property
    def usage(self) -> Usage | None:
        """The last usage that the service has told."""
        return next((item for item in reversed(self.deltas) if isinstance(item, Usage)), None)

    @property
    def finish(self) -> Finish | None:
        """The end of a complete reply."""
        return next((item for item in self.deltas if isinstance(item, Finish)), None)


def receive(
    backend: Backend, chunks: Iterable[bytes], *, content_type: str = _EVENT_STREAM
) -> Outcome:
    """Return what `backend` makes of a body that arrives in these chunks, and ends well then.

    Raises AssertionError if it refuses the content_type.
    """
    attempts = _streaming(backend, content_type)
    deltas: list[Delta] = []
    for chunk in chunks:
        deltas += attempts.receive_data(chunk)
    deltas += attempts.receive_end()
    return Outcome(tuple(deltas), attempts.error)


def check(
    backend: Backend,
    body: bytes,
    *,
    text: str,
    content_type: str = _EVENT_STREAM,
    error: bytes | None = None,
    raises: type[Exception] | None = None,
    every: int = 1,
) -> Outcome:
    """Check that `backend` keeps the contract for a body, and return what the body becomes.

    body: one reply of the service, from its first byte to its last.
    text: the text of the reply.
    content_type: the Content-Type of the body.
    error: how the service reports an error inside a stream: a whole event, or line.
    raises: what the body ends with, if it is not a complete reply: BackendError, for example.
    every: cut the body at every so many bytes only. The time grows with the number of cuts times
        the length: each byte of 20 kB takes some seconds.

    It holds that

    - the media type counts, whatever its case and parameters, and an HTML page is refused;
    - a prompt and a list of messages make a Request; an option that the service does not have is a
      TypeError;
    - the text is `text`, calls of tools are numbered, and Finish is the last of all deltas;
    - replies share nothing;
    - the deltas, and the error, do not depend on how the body is cut into chunks;
    - of a body that ends early, at any byte, the deltas are what had arrived, no call of a tool
      is cut, and it raises IncompleteStream, unless all was there and the service had said so;
    - `error`, between any two events of the reply, raises BackendError, with the text so far.

    Raises AssertionError where it does not, and ValueError for an `every` below 1.
    """
    if every < 1:
        raise ValueError(f"every must be at least 1: {every}")
    _expect_media_types(backend, content_type)
    _expect_requests(backend)

    def received(*chunks: bytes) -> Outcome:
        return receive(backend, chunks, content_type=content_type)

    whole = received(body)
    _expect_outcome(whole, text, raises)
    if whole.finish is not None:
        _expect_finish_last(backend.reply(content_type), body)
    _expect_same(received(body), whole, "of a second reply", "of the first one")
    for size in (1, 2, 3, 7, 100, 1000):
        chunks = [body[start : start + size] for start in range(0, len(body), size)]
        _expect_same(received(*chunks), whole, f"in chunks of {size} bytes", "in one chunk")

    def interrupted() -> Iterator[bytes]:
        yield body[: len(body) // 2]
        received(body)
        yield body[len(body) // 2 :]

    disturbed = receive(backend, interrupted(), content_type=content_type)
    _expect_same(disturbed, whole, "with another reply at the same time", "without")

    for position in range(0, len(body), every):
        start, rest = body[:position], body[position:]
        how = f"cut in two after {position} bytes"
        _expect_same(received(start, b"", rest), whole, how, "in one chunk")
        _expect_incomplete(received(start), whole, position)
    if error is not None:
        for position in _ends_of_events(backend, body, content_type, every):
            start, how = body[:position], f"with an error after {position} bytes"
            found = received(start, error)
            _expect_error(found, received(start), how)
            _expect_same(received(start + error), found, f"{how} in one chunk", "in two")
    return whole


class _Asked:
    """The backend after it has been asked: to ask it may take a key, and does not matter here."""

    def __init__(self, backend: Backend) -> None:
        self.name = backend.name
        self.default_model = backend.default_model
        self.models = backend.models
        self.reply = backend.reply

    def request(self, messages: Messages, *, model: str | None = None, **options: Any) -> Request:
        return Request("POST", "http://127.0.0.1/")


def _streaming(backend: Backend, content_type: str) -> Attempts[Delta]:
    attempts = Attempts(Exchange(_Asked(backend), ""), Limits())
    attempts.receive_response(200, {"content-type": content_type})
    _expect(attempts.state is State.OPEN, f"reply({content_type!r}) raises ValueError")
    return attempts


def _ends_of_events(backend: Backend, body: bytes, content_type: str, every: int) -> Iterator[int]:
    """Yield where no event is in progress while the reply lasts, `every` bytes apart or more."""
    yield 0
    last = 0
    decoder = backend.reply(content_type).decoder
    attempts = _streaming(backend, content_type)
    for end in range(1, len(body) + 1):
        attempts.receive_data(body[end - 1 : end])
        if attempts.state is State.CLOSED:
            return
        items = decoder.feed(body[end - 1 : end])
        if end - last >= every and any(not isinstance(i, Comment | UnknownField) for i in items):
            yield end
            last = end


def _expect(condition: bool, message: str, cause: Exception | None = None) -> None:
    # No assert statement, which python -O leaves out.
    if not condition:
        raise AssertionError(message) from cause


def _expect_media_types(backend: Backend, content_type: str) -> None:
    media_type = content_type.partition(";")[0].strip()
    for same in (content_type, f"{media_type.upper()};charset=utf-8"):
        try:
            first, second = backend.reply(same), backend.reply(same)
        except ValueError as error:
            raise AssertionError(
                f"reply() refuses {same!r}: give the content_type that the service sends, of which "
                "nothing counts but the media type, in any case"
            ) from error
        _expect(first.decoder is not second.decoder, "two replies share a decoder")
    try:
        backend.reply("text/html; charset=utf-8")
    except ValueError:
        return
    raise AssertionError("reply() takes an HTML page: it should raise ValueError")


def _expect_requests(backend: Backend) -> None:
    prompts: list[Messages] = ["Hi", [{"role": "user", "content": "Hi"}]]
    for messages, model in product(prompts, (None, backend.default_model)):
        try:
            request: Any = backend.request(messages, model=model)
        except ValueError:  # where it asks for a key first
            continue
        except TypeError as error:
            raise AssertionError(f"request({messages!r}, model={model!r}) raises it") from error
        body: Any = getattr(request, "body", None)
        _expect(
            isinstance(request, Request) and isinstance(body, bytes),
            f"request() returns {request!r}, which is no Request with bytes for a body",
        )
    try:
        backend.request("Hi", no_such_option=True)
    except (TypeError, ValueError):  # the latter where it asks for a key first
        return
    raise AssertionError("request() takes no_such_option=True: it should raise TypeError")


def _expect_outcome(whole: Outcome, text: str, raises: type[Exception] | None) -> None:
    if raises is None:
        how = f"the body should be a complete reply, and raises {whole.error!r}"
        _expect(whole.error is None, how, whole.error)
    else:
        how = f"the body should raise {raises.__name__}, and raises {whole.error!r}"
        _expect(isinstance(whole.error, raises), how, whole.error)
    for delta in whole.deltas:
        _expect(_is_delta(delta), f"{delta!r} is no delta")
    _expect(whole.text == text, f"the text is {whole.text!r}, and should be {text!r}")
    numbers = [delta.index for delta in whole.deltas if isinstance(delta, ToolCall)]
    _expect(
        numbers == list(range(len(numbers))),
        f"the calls of tools have the numbers {numbers}, which should go from 0",
    )


def _is_delta(found: object) -> bool:
    # No annotation keeps a backend from returning something else.
    return isinstance(found, Delta)


def _expect_finish_last(reply: Reply, body: bytes) -> None:
    for deltas in map(list, _steps(reply, body)):
        if any(isinstance(delta, Finish) for delta in deltas):
            last = deltas[-1]
            _expect(isinstance(last, Finish), f"{last!r} is lost: nothing is read after Finish")
            return


def _steps(reply: Reply, body: bytes) -> Iterator[Iterable[Delta | None]]:
    """Yield what each event adds to the reply, and what the end does."""
    for start in range(len(body)):
        yield from map(reply.interpret, reply.decoder.feed(body[start : start + 1]))
    yield from map(reply.interpret, reply.decoder.close())
    if isinstance(reply, EndingReply):
        yield reply.end()


def _expect_same(found: Outcome, expected: Outcome, how: str, otherwise: str) -> None:
    pairs = zip_longest((*found.deltas, found.error), (*expected.deltas, expected.error))
    for number, (one, other) in enumerate(pairs):
        # Errors are the same if they look so.
        if one != other and repr(one) != repr(other):
            raise AssertionError(
                f"the deltas {how} are not those {otherwise}: delta {number} is {one!r}, not "
                f"{other!r}"
            ) from found.error


def _expect_incomplete(early: Outcome, whole: Outcome, position: int) -> None:
    how = f"a body that ends after {position} bytes"
    found, expected = _content(early), _content(whole)
    if early.error is None:
        _expect(
            position > 0 and found == expected,
            f"{how} looks finished with the text {early.text!r}, and is not",
        )
        return
    _expect(
        isinstance(early.error, IncompleteStream) or repr(early.error) == repr(whole.error),
        f"{how} raises {early.error!r}, not IncompleteStream",
        early.error,
    )
    for some, every in zip(found, expected, strict=True):
        _expect(
            every[: len(some)] == some, f"{how} has {some!r}, with which {every!r} does not begin"
        )


def _content(outcome: Outcome) -> tuple[str, str, tuple[ToolCall, ...]]:
    reasoning = "".join(delta.text for delta in outcome.deltas if isinstance(delta, Reasoning))
    calls = tuple(delta for delta in outcome.deltas if isinstance(delta, ToolCall))
    return outcome.text, reasoning, calls


def _expect_error(found: Outcome, before: Outcome, how: str) -> None:
    _expect(
        isinstance(found.error, BackendError),
        f"{how} the reply raises {found.error!r}, not BackendError",
        found.error,
    )
    _expect(
        found.text == before.text,
        f"{how} the text is {found.text!r}, and without the error {before.text!r}",
    )
