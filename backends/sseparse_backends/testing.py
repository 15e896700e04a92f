"""The test kit for backends: it checks that a backend keeps its contract.

    def test_parrot() -> None:
        check(Parrot(), BODY, text="Pretty Polly", error=b'data: {"error": "no seed"}\\n\\n')

`check` takes a body as the service sends it, written by hand or recorded, and raises
AssertionError for a broken promise, from the backend's own error if there is one. It needs no
key, no event loop and no network.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product, zip_longest
from types import SimpleNamespace
from typing import Any

from sseparse import Comment, IncompleteStream, UnknownField
from sseparse.client import Attempts, Limits, State
from sseparse.transports import Request

from ._contract import Backend, BackendError, Delta, Finish, Reasoning, Reply, Text, ToolCall, Usage
from ._exchange import Exchange

__all__ = ["Outcome", "check", "receive"]

_EVENT_STREAM = "text/event-stream"

_REQUEST = Request("POST", "http://127.0.0.1/", connect_timeout=None)


@dataclass(frozen=True)
class Outcome:
    """The deltas of a body, the error that ended it, if any, and the reply's messages."""

    deltas: tuple[Delta, ...]
    error: Exception | None
    messages: tuple[Mapping[str, Any], ...] = ()

    @property
    def text(self) -> str:
        """The text of the reply."""
        return "".join(delta.text for delta in self.deltas if isinstance(delta, Text))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The complete tool calls."""
        return tuple(delta for delta in self.deltas if isinstance(delta, ToolCall))

    @property
    def usage(self) -> Usage | None:
        """The last usage that the service reported."""
        return next((item for item in reversed(self.deltas) if isinstance(item, Usage)), None)

    @property
    def finish(self) -> Finish | None:
        """The Finish of a complete reply."""
        return next((item for item in self.deltas if isinstance(item, Finish)), None)


def receive(
    backend: Backend, chunks: Iterable[bytes], *, content_type: str = _EVENT_STREAM
) -> Outcome:
    """Return the outcome of a body that arrives in these chunks and then ends without an error.

    Raises AssertionError if `backend` refuses the content_type.
    """
    exchange, attempts = _streaming(backend, content_type)
    deltas: list[Delta] = []
    for chunk in chunks:
        deltas += attempts.receive_data(chunk)
    deltas += attempts.receive_end()
    messages = exchange.reply.messages if exchange.reply is not None else ()
    return Outcome(tuple(deltas), attempts.error, tuple(messages))


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
    """Check that `backend` keeps the contract for a body, and return the body's outcome.

    body: one reply of the service, from its first byte to its last.
    text: text of the reply.
    content_type: Content-Type of the body.
    error: an error as the service reports it inside a stream: a whole event or line.
    raises: class of the error that ends an incomplete body, such as BackendError.
    every: distance of the cuts in bytes, default 1. The time grows with the number of cuts times
        the length of the body: cutting 20 kB at each byte takes some seconds.

    Checked rules:

    - `reply` ignores the media type's case and parameters, and refuses an HTML page.
    - `request` accepts a str and a list of messages, and raises TypeError for an unknown option.
    - The text is `text`, and Finish is the last delta. Tool calls are numbered in their order
      and come right before it; their pieces come before them.
    - The messages are objects of JSON.
    - Replies share no state.
    - Deltas, error and messages do not depend on how the body is cut into chunks.
    - A body that ends early, at any byte, gives the deltas so far and no tool call, and raises
      IncompleteStream, unless the reply was already complete, or the service reports an error.
    - `error` between any two events raises BackendError, after the text so far.

    Raises AssertionError for a broken rule, and ValueError for `every` below 1.
    """
    if every < 1:
        raise ValueError(f"every must be at least 1, got {every}")
    _expect_replies(backend, content_type)
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
            outcome = received(start, error)
            _expect_error(outcome, received(start), how)
            _expect_same(received(start + error), outcome, f"{how} in one chunk", "in two")
    return whole


def _streaming(backend: Backend, content_type: str) -> tuple[Exchange, Attempts[Any]]:
    # Not the backend's own request, which may need a key.
    keyless: Any = SimpleNamespace(default_model="", request=_request, reply=backend.reply)
    exchange = Exchange(keyless, "")
    attempts = Attempts(exchange, Limits())
    attempts.receive_response(200, {"content-type": content_type})
    _expect(attempts.state is State.OPEN, f"reply({content_type!r}) raises ValueError")
    return exchange, attempts


def _request(*_: Any, **__: Any) -> Request:
    return _REQUEST


def _ends_of_events(backend: Backend, body: bytes, content_type: str, every: int) -> Iterator[int]:
    """Yield the ends of the reply's events, at least `every` bytes apart."""
    yield 0
    last = 0
    decoder = backend.reply(content_type).decoder
    _, attempts = _streaming(backend, content_type)
    for end in range(1, len(body) + 1):
        attempts.receive_data(body[end - 1 : end])
        if attempts.state is State.CLOSED:
            return
        items = decoder.feed(body[end - 1 : end])
        if end - last >= every and any(not isinstance(i, Comment | UnknownField) for i in items):
            yield end
            last = end


def _expect(condition: bool, message: str, cause: Exception | None = None) -> None:
    # Not an assert statement: python -O leaves those out.
    if not condition:
        raise AssertionError(message) from cause


def _expect_replies(backend: Backend, content_type: str) -> None:
    media_type = content_type.partition(";")[0].strip()
    for same in (content_type, f"{media_type.upper()};charset=utf-8"):
        try:
            first, second = backend.reply(same), backend.reply(same)
        except ValueError as error:
            raise AssertionError(
                f"reply() refuses {same!r}: content_type must be the service's, and reply() must "
                "ignore its case and parameters"
            ) from error
        untyped: Any = first
        _expect(isinstance(untyped, Reply), f"reply() must return a Reply, got {first!r:.100}")
        _expect(first.decoder is not second.decoder, "two replies share a decoder")
    try:
        backend.reply("text/html; charset=utf-8")
    except ValueError:
        return
    raise AssertionError("reply() must raise ValueError for an HTML page")


def _expect_requests(backend: Backend) -> None:
    prompts: list[Any] = ["Hi", [{"role": "user", "content": "Hi"}]]
    for messages, model in product(prompts, (None, backend.default_model)):
        try:
            request: Any = backend.request(messages, model=model)
        except ValueError:  # it may need a key
            continue
        except TypeError as error:
            how = f"request({messages!r}, model={model!r}) raises {error!r}"
            raise AssertionError(how) from error
        _expect(isinstance(request, Request), f"request() must return a Request, got {request!r}")
    try:
        backend.request("Hi", no_such_option=True)
    except (TypeError, ValueError):  # ValueError: it may need a key
        return
    raise AssertionError("request() must raise TypeError for an unknown option")


def _expect_outcome(whole: Outcome, text: str, raises: type[Exception] | None) -> None:
    rule = "be a complete reply" if raises is None else f"raise {raises.__name__}"
    how = f"the body must {rule}, but raises {whole.error!r}"
    _expect(isinstance(whole.error, raises or type(None)), how, whole.error)
    untyped: Any = whole.deltas
    for delta in untyped:
        rule = "deltas must be Text, Reasoning, ToolCallPiece, ToolCall, Usage or Finish"
        how = f"{rule}, got {delta!r}"
        _expect(isinstance(delta, Delta), how)
    _expect(whole.text == text, f"the text must be {text!r}, got {whole.text!r}")
    numbers = [call.index for call in whole.tool_calls]
    how = f"tool calls must be numbered in their order, got {numbers}"
    _expect(numbers == sorted({*numbers}), how)
    calls = whole.deltas[-1 - len(numbers) : -1]
    _expect(not numbers or calls == whole.tool_calls, "tool calls must come right before Finish")
    try:
        json.dumps(whole.messages)
    except (TypeError, ValueError) as error:
        how = f"messages must be a list of JSON objects, got {whole.messages!r}"
        raise AssertionError(how) from error
    objects = all(isinstance(message, dict) for message in whole.messages)
    _expect(objects, f"messages must be a list of objects, got {whole.messages!r}")


def _expect_finish_last(reply: Reply[Any], body: bytes) -> None:
    for deltas in map(list, _steps(reply, body)):
        if any(isinstance(delta, Finish) for delta in deltas):
            how = f"Finish must be the last delta, got {deltas[-1]!r} after it"
            _expect(isinstance(deltas[-1], Finish), how)
            return


def _steps(reply: Reply[Any], body: bytes) -> Iterator[Iterable[Delta | None]]:
    """Yield the deltas of each event, and those of the end."""
    for start in range(len(body)):
        yield from map(reply.interpret, reply.decoder.feed(body[start : start + 1]))
    yield from map(reply.interpret, reply.decoder.close())
    yield reply.end()


def _expect_same(outcome: Outcome, expected: Outcome, how: str, otherwise: str) -> None:
    pairs = zip_longest((*outcome.deltas, outcome.error), (*expected.deltas, expected.error))
    for number, (one, other) in enumerate(pairs):
        # Errors are compared by their repr: exceptions have no equality.
        if one != other and repr(one) != repr(other):
            words = f"the deltas {how} are not those {otherwise}: delta {number} is {one!r}, not"
            raise AssertionError(f"{words} {other!r}") from outcome.error
    words = f"the messages {how} are not those {otherwise}: {outcome.messages!r}, not"
    _expect(outcome.messages == expected.messages, f"{words} {expected.messages!r}")


def _expect_incomplete(early: Outcome, whole: Outcome, position: int) -> None:
    how = f"a body that ends after {position} bytes"
    content, expected = _content(early), _content(whole)
    if early.error is None:
        how += f" must be incomplete, but looks finished with the text {early.text!r}"
        _expect(position > 0 and content == expected, how)
        return
    if not isinstance(early.error, IncompleteStream):
        words = f"{how} must raise IncompleteStream, but raises {early.error!r}"
        # The error may be cut itself.
        _expect(type(early.error) is type(whole.error), words, early.error)
    for some, every in zip(content, expected, strict=True):
        words = f"{how} must have the start of {every!r}, but has {some!r}"
        _expect(every[: len(some)] == some, words)


def _content(outcome: Outcome) -> tuple[str, str, tuple[ToolCall, ...]]:
    reasoning = "".join(delta.text for delta in outcome.deltas if isinstance(delta, Reasoning))
    return outcome.text, reasoning, outcome.tool_calls


def _expect_error(outcome: Outcome, before: Outcome, how: str) -> None:
    words = f"{how} the reply must raise BackendError, but raises {outcome.error!r}"
    _expect(isinstance(outcome.error, BackendError), words, outcome.error)
    words = f"{how} the text must be {before.text!r}, as without it, but is {outcome.text!r}"
    _expect(outcome.text == before.text, words)
