"""complete: each prompt has one outcome, on asyncio and on trio, whatever fails."""

from __future__ import annotations

import errno
import json
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sseparse import IncompleteStream, LocalProtocolError, UnexpectedResponse
from sseparse.transports import CertificateError
from sseparse.transports.memory import MemoryResponse
from sseparse_backends import (
    BackendError,
    Finish,
    Ollama,
    OpenAI,
    ReplyTimeout,
    ToolCall,
    Usage,
    _exchange,
)
from sseparse_backends.batch import Outcome, Outcomes, Prompt, ResultLog, complete, complete_part
from tests.support.cancellation import cancelling_at_each_await
from tests.support.servers import CHATTER, Chatter, http_proxy, serve
from tests.support.services import (
    LINES,
    Answers,
    Service,
    answering,
    busy,
    complete_reply,
    cut,
    lines,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_is_left", "no_wait")]


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_exchange, "_FIRST_WAIT", 0.0)


def ask(service: Service, prompts: Any, **options: Any) -> Outcomes:
    return complete(CHATTER, prompts, transport=service, **options)


async def all_of(outcomes: Outcomes) -> list[Outcome]:
    """The outcomes, in the order of their IDs."""
    async with outcomes:
        found = [outcome async for outcome in outcomes]
    return sorted(found, key=lambda outcome: str(outcome.id))


async def one(*answers: MemoryResponse | Exception, **options: Any) -> tuple[Outcome, Service]:
    """The outcome of a prompt that is answered so."""
    service = Service(lambda _: answers)
    (outcome,) = await all_of(ask(service, ["Hello"], **options))
    return outcome, service


# Prompts


async def test_a_prompt_is_text_or_messages_or_a_mapping_with_options() -> None:
    service = Service()
    messages = [{"role": "user", "content": "Hi"}]
    prompts = [
        "Hello",
        messages,
        {"prompt": "Bye"},
        {"id": "x", "messages": messages, "model": "large", "volume": 11},
        {"id": 70, "messages": "Hum"},
    ]
    found = await all_of(ask(service, prompts, volume=5, model="small"))
    assert [outcome.id for outcome in found] == [0, 1, 2, 70, "x"]
    sent = sorted((json.loads(request.body) for request in service.requests), key=json.dumps)
    assert sent == [
        {"messages": "Bye", "model": "small", "volume": 5},
        {"messages": "Hello", "model": "small", "volume": 5},
        {"messages": "Hum", "model": "small", "volume": 5},
        {"messages": messages, "model": "large", "volume": 11},
        {"messages": messages, "model": "small", "volume": 5},
    ]


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ({"id": None, "prompt": "Hello"}, "id must be a str or an int, got None"),
        ({"id": True, "prompt": "Hello"}, "id must be a str or an int, got True"),
        ({"prompt": 7}, "`prompt` must be a str, got int"),
        ({}, "a prompt must have either `prompt` or `messages`, got neither"),
        ({"role": "user"}, "a prompt must have either `prompt` or `messages`, got role"),
        (
            {"prompt": "a", "messages": []},
            "a prompt must have either `prompt` or `messages`, got prompt, messages",
        ),
        ({"prompt": "a", "colour": "red"}, "unexpected keyword argument 'colour'"),
        ({"prompt": "a", "retries": 3}, "retries is not an option of a prompt, but of all"),
        ({"prompt": "a", "transport": 3}, "transport is not an option of a prompt, but of all"),
    ],
)
async def test_a_wrong_prompt_fails_alone_and_nothing_is_sent_for_it(
    prompt: Any, words: str
) -> None:
    service = Service()
    first, second = await all_of(ask(service, [prompt, "Hello"]))
    assert words in str(first.error)
    assert (first.id, first.attempts) == (0, 0)
    assert second.error is None
    assert len(service.sent) == 1


async def test_prompts_may_come_asynchronously_and_their_generator_is_closed() -> None:
    closed = False

    async def prompts() -> AsyncIterator[str]:
        nonlocal closed
        try:
            for number in range(100):
                yield str(number)
        finally:
            closed = True

    assert len(await all_of(ask(Service(), prompts()))) == 100
    assert closed
    closed = False
    async with ask(Service(), prompts(), concurrency=3) as outcomes:
        await anext(outcomes)
    assert closed


async def test_prompts_may_come_through_a_stream() -> None:
    send, receive = anyio.create_memory_object_stream[str](10)
    with send, receive:
        async with ask(Service(), receive) as outcomes:
            await send.send("Hello")
            assert (await anext(outcomes)).text == "re: Hello"
            await send.send("Bye")
            assert (await anext(outcomes)).text == "re: Bye"
            send.close()
            assert [outcome async for outcome in outcomes] == []


async def test_prompts_are_read_one_by_one_as_outcomes_are_taken() -> None:
    read = 0

    def prompts() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield f"prompt {read}"

    async with ask(Service(), prompts(), concurrency=4) as outcomes:
        for taken in range(5):
            await anext(outcomes)
            # This one's place is free at the next step.
            assert read <= taken + 4
            await anyio.wait_all_tasks_blocked()
            assert read == taken + 4
            assert outcomes.ready == 3


async def test_an_error_of_the_prompts_comes_after_the_outcomes_before_it() -> None:
    def prompts() -> Iterator[str]:
        yield "Hello"
        yield "Bye"
        raise ZeroDivisionError

    service = Service()
    async with ask(service, prompts()) as outcomes:
        found = [await anext(outcomes), await anext(outcomes)]
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await anext(outcomes)
    assert sorted(outcome.text for outcome in found) == ["re: Bye", "re: Hello"]


# Outcomes


async def test_an_outcome_has_all_of_a_reply() -> None:
    def event(delta: object, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return b"data: %s\n\n" % json.dumps({"choices": [choice]}).encode()

    call = {"index": 0, "id": "c1", "function": {"name": "add", "arguments": "{}"}}
    body = event({"content": "Hi"}) + event({"tool_calls": [call]}, "tool_calls")
    service = Service(lambda _: [MemoryResponse([body])])
    prompts = [{"id": "a", "messages": [{"role": "user", "content": "Hello"}]}]
    (outcome,) = await all_of(complete(OpenAI(api_key="k"), prompts, transport=service))
    assert outcome.id == "a"
    assert outcome.text == "Hi"
    assert outcome.messages[0]["tool_calls"][0]["id"] == "c1"
    assert outcome.tool_calls == [ToolCall(0, "c1", "add", "{}")]
    assert outcome.finish == Finish("tool_calls", "tool_calls")
    assert outcome.usage is None
    assert outcome.attempts == 1
    assert outcome.first_seconds is not None
    assert 0 <= outcome.first_seconds <= outcome.seconds
    assert outcome.error is None


async def test_outcomes_come_in_the_order_in_which_they_finish() -> None:
    gate = anyio.Event()
    async with ask(Service(gates={"slow": gate}), ["slow", "quick"]) as outcomes:
        assert (await anext(outcomes)).id == 1
        gate.set()
        assert [outcome.id async for outcome in outcomes] == [0]


async def test_usage_is_no_content_for_the_time_to_the_first() -> None:
    silent = MemoryResponse([lines({"usage": [1, 1]}, {"done": "stop"})], 200, LINES)
    outcome, _ = await one(silent)
    assert outcome.first_seconds is None
    assert (outcome.text, outcome.usage, outcome.finish) == ("", Usage(1, 1), Finish("stop"))


# Failures and further attempts

FAILURES: dict[str, tuple[MemoryResponse | Exception, type[Exception], str, bool]] = {
    "refused": (ConnectionError("refused"), ConnectionError, "", True),
    "connect timeout": (TimeoutError("slow"), ReplyTimeout, "", True),
    "429": (busy(429), UnexpectedResponse, "", True),
    "503": (busy(503), UnexpectedResponse, "", True),
    "500": (busy(500), UnexpectedResponse, "", True),
    "401": (busy(401), UnexpectedResponse, "", False),
    "a certificate": (CertificateError("self-signed"), CertificateError, "", False),
    "a page": (busy(200), UnexpectedResponse, "", False),
    "cut": (cut("so far"), IncompleteStream, "so far", True),
    "an error inside": (
        MemoryResponse([lines({"text": "so far"}, {"error": "overloaded"})], 200, LINES),
        BackendError,
        "so far",
        True,
    ),
    "no JSON": (MemoryResponse([b"{\n"], 200, LINES), Exception, "", False),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_a_failure_is_an_outcome_after_the_attempts_that_may_help(name: str) -> None:
    answer, error_class, text, temporary = FAILURES[name]
    service = Service(lambda prompt: [answer if prompt == "bad" else complete_reply("good")])
    found = await all_of(ask(service, ["good", "bad", "good"], retries=3))
    assert [outcome.text for outcome in found] == ["good", text, "good"]
    assert isinstance(found[1].error, error_class)
    assert found[1].attempts == (4 if temporary else 1)
    assert (found[1].messages, found[1].tool_calls, found[1].finish) == ([], [], None)


@pytest.mark.parametrize("name", FAILURES)
async def test_an_attempt_begins_anew(name: str) -> None:
    answer, _, _, temporary = FAILURES[name]
    outcome, _ = await one(answer, answer, complete_reply("whole"))
    if temporary:
        assert (outcome.text, outcome.error, outcome.attempts) == ("whole", None, 3)
    else:
        assert outcome.attempts == 1


STALLED = MemoryResponse([lines({"text": "so far"}), math.inf], 200, LINES)


async def test_a_reply_that_stalls_is_tried_again() -> None:
    outcome, _ = await one(STALLED, complete_reply("whole"), idle_timeout=0.01)
    assert (outcome.text, outcome.attempts) == ("whole", 2)


async def test_a_reply_that_takes_too_long_in_all_is_not() -> None:
    outcome, _ = await one(STALLED, complete_reply("whole"), timeout=1)
    assert isinstance(outcome.error, ReplyTimeout)
    assert (outcome.text, outcome.attempts) == ("so far", 1)


async def test_the_time_of_an_outcome_includes_its_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_exchange, "_FIRST_WAIT", 0.04)
    outcome, _ = await one(busy(), complete_reply("whole"))
    assert outcome.seconds >= 0.02
    assert outcome.first_seconds is not None
    assert outcome.first_seconds < outcome.seconds


async def test_whatever_a_backend_raises_is_an_outcome() -> None:
    class Broken(Chatter):
        def request(self, messages: Any, **options: Any) -> Any:
            if messages == "a":
                raise ZeroDivisionError
            return super().request(messages, **options)

    found = await all_of(complete(Broken(), ["a", "b"], transport=Service()))
    assert {outcome.id: repr(outcome.error) for outcome in found} == {
        0: "ZeroDivisionError()",
        1: "None",
    }


class WithMessages(Chatter):
    """A backend whose replies have the messages that a function returns."""

    def __init__(self, messages: Callable[[], Any]) -> None:
        self._messages = messages

    def reply(self, content_type: str) -> Any:
        reply = super().reply(content_type)
        messages = self._messages

        class ReplyWithMessages(type(reply)):  # type: ignore[misc]
            @property
            def messages(self) -> Any:
                return messages()

        reply.__class__ = ReplyWithMessages
        return reply


async def test_an_error_in_the_messages_of_a_reply_is_its_outcome() -> None:
    found = await all_of(complete(WithMessages(lambda: 1 / 0), ["a", "b"], transport=Service()))
    assert [type(outcome.error) for outcome in found] == [ZeroDivisionError] * 2
    assert [outcome.text for outcome in found] == ["re: a", "re: b"]


# Concurrency


async def test_so_many_requests_are_in_flight_and_not_more() -> None:
    gate = anyio.Event()
    service = Service(gates={"Hello": gate})
    async with ask(service, ["Hello"] * 50, concurrency=7) as outcomes:
        await anyio.wait_all_tasks_blocked()
        assert len(service.sent) == 7
        gate.set()
        assert len([outcome async for outcome in outcomes]) == 50
    assert service.most <= 7


@pytest.mark.parametrize(("status", "least", "expected"), [(429, 1, 4), (503, 6, 6), (500, 1, 8)])
async def test_a_busy_service_gets_half_as_many_requests_at_a_time(
    status: int, least: int, expected: int
) -> None:
    gates = {"busy": anyio.Event(), "free": anyio.Event()}
    service = Service(
        lambda prompt: [busy(status) if prompt == "busy" else complete_reply("")], gates
    )
    prompts = ["busy"] * 8 + ["free"] * 50
    errors: list[Exception | None] = []

    async def take_all() -> None:
        async for outcome in outcomes:
            errors.append(outcome.error)  # noqa: PERF401 - looked at on the way

    options: Any = {"concurrency": 8, "min_concurrency": least, "retries": 0}
    async with ask(service, prompts, **options) as outcomes, anyio.create_task_group() as tasks:
        tasks.start_soon(take_all)
        await anyio.wait_all_tasks_blocked()
        assert len(service.sent) == 8
        gates["busy"].set()
        await anyio.wait_all_tasks_blocked()
        assert len(errors) == 8
        assert len(service.sent) == 8 + expected
        gates["free"].set()
    assert errors[8:] == [None] * 50


async def test_retry_after_holds_everybody_back() -> None:
    gate = anyio.Event()
    refused = [busy(retry_after_ms="60"), complete_reply("")]
    service = Service(
        lambda prompt: refused if prompt == "0" else [complete_reply("")], {"1": gate, "2": gate}
    )
    prompts = map(str, range(20))
    async with ask(service, prompts, concurrency=3) as outcomes, anyio.create_task_group() as tasks:

        async def take_all() -> None:
            assert [outcome.error async for outcome in outcomes] == [None] * 20

        tasks.start_soon(take_all)
        while len(service.sent) < 3:
            await anyio.lowlevel.checkpoint()
        gate.set()
    first, *later = [time for _, time in service.sent]
    assert min(later[2:]) >= first + 0.06


async def test_a_longer_retry_after_moves_the_end_of_the_hold() -> None:
    waits = {"0": "30", "1": "60"}
    service = Service(lambda prompt: [busy(retry_after_ms=waits[prompt]), complete_reply("")])
    await all_of(ask(service, ["0", "1"]))
    times = [time for _, time in service.sent]
    assert min(times[2:]) >= max(times[:2]) + 0.06


async def test_a_retry_after_beyond_max_wait_is_the_end_of_its_prompt() -> None:
    outcome, service = await one(busy(retry_after="9"), complete_reply(""), max_wait=8.9)
    assert isinstance(outcome.error, UnexpectedResponse)
    assert len(service.sent) == 1


async def test_a_retry_after_beyond_max_wait_holds_the_others_back_for_max_wait() -> None:
    service = Service(
        lambda prompt: [busy(retry_after="9") if prompt == "0" else complete_reply("")]
    )
    found = await all_of(ask(service, ["0", "1"], concurrency=1, max_wait=0.06))
    assert [type(outcome.error) for outcome in found] == [UnexpectedResponse, type(None)]
    refused, later = [time for _, time in service.sent]
    assert later >= refused + 0.06


# Opening and closing


async def test_a_step_outside_of_async_with_is_an_error() -> None:
    outcomes = ask(Service(), ["Hello"])
    with pytest.raises(LocalProtocolError, match="must be opened with `async with`"):
        async for _ in outcomes:
            pass
    await outcomes.aclose()


async def test_outcomes_are_opened_once() -> None:
    outcomes = ask(Service(), ["Hello"])
    async with outcomes:
        with pytest.raises(LocalProtocolError, match="must be opened once"):
            await outcomes.__aenter__()
    with pytest.raises(LocalProtocolError, match="closed before the last"):
        await anext(outcomes)


async def test_the_end_stays_the_end() -> None:
    async with ask(Service(), ["Hello"]) as outcomes:
        assert len([outcome async for outcome in outcomes]) == 1
        assert [outcome async for outcome in outcomes] == []
    assert [outcome async for outcome in outcomes] == []


@pytest.mark.parametrize("answer", [STALLED, complete_reply("whole")])
async def test_leaving_early_closes_all(answer: MemoryResponse) -> None:
    service = Service(lambda _: [answer])
    outcomes = ask(service, map(str, range(100)))

    async def leave() -> None:
        async with outcomes:
            await anyio.wait_all_tasks_blocked()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await leave()
    assert service.open == 0
    with pytest.raises(LocalProtocolError):
        await anext(outcomes)


async def test_several_tasks_may_share_the_outcomes() -> None:
    found: list[Outcome] = []

    async def take() -> None:
        async for outcome in outcomes:
            found.append(outcome)  # noqa: PERF401 - of all tasks

    async with (
        ask(Service(), map(str, range(200)), concurrency=3) as outcomes,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(5):
            tasks.start_soon(take)
    assert sorted(outcome.id for outcome in found if isinstance(outcome.id, int)) == [*range(200)]


async def test_closing_from_another_task_ends_the_iteration() -> None:
    service = Service(lambda _: [STALLED])
    async with ask(service, ["Hello"]) as outcomes, anyio.create_task_group() as tasks:

        async def close() -> None:
            await anyio.wait_all_tasks_blocked()
            assert service.open == 1
            await outcomes.aclose()
            assert service.open == 0

        tasks.start_soon(close)
        with pytest.raises(LocalProtocolError, match="closed before the last"):
            await anext(outcomes)


async def test_cancelled_at_any_await_nothing_stays_open() -> None:
    def answer(prompt: str) -> Answers:
        return [busy(retry_after="0"), cut("so far"), complete_reply(prompt)]

    services: list[Service] = []

    async def run() -> None:
        services.append(Service(answer))
        async with ask(services[-1], ["a", "b", "c"], concurrency=2) as outcomes:
            async for _ in outcomes:
                pass

    async def check() -> None:
        assert services[-1].open == 0

    assert await cancelling_at_each_await(run, check) > 3


async def test_replies_are_cancelled_at_any_await() -> None:
    """The caller's own awaits are few; here a time of its own, in steps of the loop, passes."""

    async def run(rounds: int) -> bool:
        service = Service(lambda prompt: [busy(), cut("so far"), complete_reply(prompt)])
        async with ask(service, map(str, range(4)), concurrency=2) as outcomes:
            for _ in range(rounds):
                await anyio.lowlevel.checkpoint()
            over = outcomes.ready == 2
        assert service.open == 0
        return over

    rounds = 0
    while not await run(rounds):
        rounds += 1
    assert rounds > 10


# The shared connections


async def test_replies_share_the_connections_of_one_client() -> None:
    async with serve(answering()) as server:
        backend = Ollama(base_url=f"http://127.0.0.1:{server.port}")
        found = await all_of(complete(backend, map(str, range(200)), concurrency=20))
        await server.until_open(0)
    assert [outcome.text for outcome in found] == sorted(map(str, range(200)))
    assert 1 <= server.connections <= 20


async def test_requests_go_through_the_proxy() -> None:
    async with serve(answering()) as server, serve(http_proxy) as proxy:
        backend = Ollama(base_url=f"http://127.0.0.1:{server.port}")
        options: Any = {"proxy": f"http://127.0.0.1:{proxy.port}"}
        (outcome,) = await all_of(complete(backend, ["Hello"], **options))
        assert outcome.text == "Hello"
        assert len(proxy.requests) == 1


async def test_a_wrong_proxy_in_the_environment_is_raised_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "ftp://127.0.0.1")
    outcomes = complete(CHATTER, ["Hello"])
    with pytest.raises(ValueError, match="HTTP_PROXY and the like"):
        await outcomes.__aenter__()


# A part of the prompts, and its log


async def test_a_part_goes_on_after_what_is_in_its_log(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "b"}]
    prompts: list[Prompt] = ["a", messages, {"id": "c", "prompt": "c"}]
    service = Service(lambda prompt: [busy(400) if prompt == "c" else complete_reply("whole")])
    seen: list[Outcome] = []
    for _ in range(2):
        with ResultLog(tmp_path / "log") as log:
            await complete_part(CHATTER, prompts, log, on_outcome=seen.append, transport=service)
            assert ([*log.ids], log.failed) == (["c", 0, 1], 1)
    assert {outcome.id for outcome in seen} == {0, 1, "c"}
    assert len(seen) == len(service.sent) == 3
    with ResultLog(tmp_path / "log") as log:
        log.drop_failed()
        await complete_part(CHATTER, prompts, log, transport=Service())
        assert (len(log.ids), log.failed) == (3, 0)


@pytest.mark.parametrize("error", [busy(401), CertificateError("self-signed")])
async def test_an_error_that_every_prompt_has_ends_a_part_and_is_not_in_the_log(
    tmp_path: Path, error: MemoryResponse | Exception
) -> None:
    for number in (1, 100):
        with ResultLog(tmp_path / "log") as log:
            service = Service(lambda _: [error])
            with pytest.raises((UnexpectedResponse, CertificateError)):
                await complete_part(CHATTER, map(str, range(number)), log, transport=service)
            assert len(log.ids) == 0
            assert len(service.sent) <= 20


async def test_an_error_that_one_prompt_has_is_its_outcome(tmp_path: Path) -> None:
    service = Service(lambda prompt: [busy(401) if prompt == "3" else complete_reply("whole")])
    with ResultLog(tmp_path / "log") as log:
        prompts = [*map(str, range(40))]
        await complete_part(CHATTER, prompts, log, transport=service, concurrency=1)
        assert (len(log.ids), log.failed) == (40, 1)


async def test_replies_that_are_here_are_in_the_log_whatever_ends_a_part(tmp_path: Path) -> None:
    gate = anyio.Event()
    service = Service(
        lambda prompt: [busy(401)] if prompt in "01" else [complete_reply("whole")],
        dict.fromkeys(map(str, range(8)), gate),
    )
    with ResultLog(tmp_path / "log") as log:
        async with anyio.create_task_group() as tasks:

            async def run_part() -> None:
                with suppress(UnexpectedResponse):  # unless a reply came between the two
                    await complete_part(CHATTER, map(str, range(8)), log, transport=service)

            tasks.start_soon(run_part)
            while len(service.sent) < 8:
                await anyio.lowlevel.checkpoint()
            gate.set()
        assert {*log.ids} >= {2, 3, 4, 5, 6, 7}


async def test_cancelled_at_any_time_replies_that_have_arrived_are_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived: list[Outcome] = []
    complete_one = Outcomes._outcome

    async def note_outcome(self: Outcomes, position: int, prompt: Prompt) -> Outcome:
        outcome = await complete_one(self, position, prompt)
        arrived.append(outcome)
        return outcome

    monkeypatch.setattr(Outcomes, "_outcome", note_outcome)
    for rounds in range(80):
        arrived.clear()
        with ResultLog(tmp_path / f"{rounds}") as log:
            async with anyio.create_task_group() as tasks:
                part = partial(complete_part, CHATTER, map(str, range(8)), log, transport=Service())
                tasks.start_soon(part)
                for _ in range(rounds):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            assert {*log.ids} == {outcome.id for outcome in arrived}


async def test_log_of_a_part_must_be_one_that_is_open(tmp_path: Path) -> None:
    log: Any = "replies.jsonl"
    with pytest.raises(TypeError, match=r"^log must be a ResultLog, got 'replies.jsonl'$"):
        await complete_part(CHATTER, ["Hello"], log, transport=Service())
    log = ResultLog(tmp_path / "log")
    log.close()
    with pytest.raises(ValueError, match=r"^the log must be open, got "):
        await complete_part(CHATTER, ["Hello"], log, transport=Service())


@pytest.mark.parametrize("position", [0, 3, 9])
async def test_a_single_401_is_an_outcome_wherever_it_is(tmp_path: Path, position: int) -> None:
    refused = str(position)
    service = Service(lambda prompt: [busy(401) if prompt == refused else complete_reply("")])
    for _ in range(2):  # the second time, there are replies in the log
        with ResultLog(tmp_path / "log") as log:
            await complete_part(CHATTER, map(str, range(10)), log, transport=service, concurrency=1)
            assert (len(log.ids), log.failed) == (10, 1)
            log.drop_failed()


async def test_too_many_open_files_halve_the_requests_in_flight() -> None:
    failure = ConnectionError("cannot connect")
    failure.__cause__ = OSError(errno.EMFILE, "Too many open files")
    gate = anyio.Event()
    service = Service(
        lambda prompt: [failure, complete_reply("")] if prompt == "0" else [complete_reply("")],
        {"later": gate},
    )
    options: Any = {"concurrency": 8, "retries": 1}
    async with ask(service, ["0", *["later"] * 20], **options) as outcomes:
        found: list[Outcome] = []

        async def take_all() -> None:
            found.extend([outcome async for outcome in outcomes])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take_all)
            await anyio.wait_all_tasks_blocked()
            assert service.most <= 8
            assert outcomes._concurrency.limit == 4
            gate.set()
    assert [outcome.error for outcome in found] == [None] * 21


@pytest.mark.parametrize("prompts", ["Hello", {"prompt": "Hello"}, 7])
async def test_a_part_is_an_iterable_of_prompts(tmp_path: Path, prompts: Any) -> None:
    with (
        ResultLog(tmp_path / "log") as log,
        pytest.raises(TypeError, match="prompts must be an iterable of prompts, got"),
    ):
        await complete_part(CHATTER, prompts, log, transport=Service())


async def test_a_part_that_is_cancelled_loses_only_the_replies_in_flight(tmp_path: Path) -> None:
    gate = anyio.Event()
    service = Service(gates={"slow": gate})
    prompts = ["a", "slow", "b", "c"]
    with ResultLog(tmp_path / "log") as log:
        async with anyio.create_task_group() as tasks:
            part = partial(complete_part, CHATTER, prompts, log, transport=service)
            tasks.start_soon(part)
            with anyio.fail_after(60):
                while len(log.ids) < 3:
                    await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        assert [*log.ids] == [0, 2, 3]
        gate.set()
        await complete_part(CHATTER, prompts, log, transport=service)
        assert [*log.ids] == [0, 1, 2, 3]
    assert len(service.sent) == 5


async def test_all_lines_are_synced_before_a_part_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    gate = anyio.Event()
    service = Service(gates={"slow": gate})
    with ResultLog(tmp_path / "log") as log:
        real_sync = log.sync

        def sync() -> None:
            synced.append(log.unsynced)
            real_sync()

        monkeypatch.setattr(log, "sync", sync)
        async with anyio.create_task_group() as tasks:
            prompts = [*map(str, range(500)), "slow"]
            part = partial(complete_part, CHATTER, prompts, log, transport=service)
            tasks.start_soon(part)
            with anyio.fail_after(60):
                while len(log.ids) < 500 or log.unsynced:
                    await anyio.lowlevel.checkpoint()
            gate.set()
    assert sum(synced) == 501
    assert max(synced) <= 100


@pytest.mark.parametrize("concurrency", [1, 16])
async def test_an_id_that_repeats_within_a_part_is_an_error(
    tmp_path: Path, concurrency: int
) -> None:
    prompts = [{"id": "a", "prompt": "1"}, {"id": "a", "prompt": "2"}]
    with ResultLog(tmp_path / "log") as log:
        with pytest.raises(ValueError, match="got 'a' at the positions 0 and 1"):
            await complete_part(CHATTER, prompts, log, transport=Service(), concurrency=concurrency)
        assert len(log.ids) == 1


@pytest.mark.parametrize(("value", "words"), [(b"x", "bytes"), (math.nan, "must be JSON")])
async def test_a_reply_that_is_not_json_fails_its_prompt_alone(
    tmp_path: Path, value: Any, words: str
) -> None:
    backend = WithMessages(lambda: [{"content": value}])
    with ResultLog(tmp_path / "log") as log:
        await complete_part(backend, ["a", "b"], log, transport=Service())
        assert log.failed == 2
    first = json.loads((tmp_path / "log").read_bytes().splitlines()[0])
    assert (first["messages"], first["text"][:4]) == ([], "re: ")
    assert words in first["error"]["message"]


async def test_a_wrong_id_in_a_part_names_its_position(tmp_path: Path) -> None:
    prompts: list[Prompt] = ["a", {"id": None, "prompt": "b"}]
    with (
        ResultLog(tmp_path / "log") as log,
        pytest.raises(TypeError, match=r"^id must be a str or an int, got None at position 1$"),
    ):
        await complete_part(CHATTER, prompts, log, transport=Service())


async def test_replies_go_on_while_prompts_are_skipped(tmp_path: Path) -> None:
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    with ResultLog(tmp_path / "log") as log:
        for number in range(1000):
            log.append(Outcome(number))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take_turns)
            await complete_part(CHATTER, ["Hello"] * 1000, log, transport=Service())
            tasks.cancel_scope.cancel()
    assert turns >= 10


# Arguments


@pytest.mark.parametrize(
    ("options", "error_class", "words"),
    [
        ({"concurrency": 0}, ValueError, "concurrency must be at least 1, got 0"),
        ({"concurrency": 1.5}, TypeError, "concurrency must be an int, got 1.5"),
        ({"concurrency": True}, TypeError, "concurrency must be an int, got True"),
        ({"min_concurrency": 0}, ValueError, "min_concurrency must be at least 1, got 0"),
        (
            {"concurrency": 3, "min_concurrency": 4},
            ValueError,
            "min_concurrency must be at most concurrency, got 4 and 3",
        ),
        ({"retries": -1}, ValueError, "retries must be at least 0, got -1"),
        ({"max_wait": "1"}, TypeError, "max_wait must be seconds, got '1'"),
        ({"max_wait": -1}, ValueError, "max_wait must be non-negative seconds, got -1"),
        ({"max_wait": math.nan}, ValueError, "max_wait must be non-negative seconds, got nan"),
        ({"idle_timeout": 0}, ValueError, "idle_timeout must be positive seconds"),
        ({"proxy": "http://127.0.0.1"}, ValueError, "proxy must be None where a transport"),
    ],
)
async def test_arguments_are_checked_at_once(
    options: Any, error_class: type[Exception], words: str
) -> None:
    with pytest.raises(error_class, match=f"^{words}"):
        ask(Service(), ["Hello"], **options)


@pytest.mark.parametrize("prompts", ["Hello", b"Hello", {"prompt": "Hello"}, 7])
async def test_one_prompt_alone_is_no_iterable_of_prompts(prompts: Any) -> None:
    kind = type(prompts).__name__
    with pytest.raises(TypeError, match=f"^prompts must be an iterable of prompts, got {kind}$"):
        ask(Service(), prompts)


async def test_backend_is_checked_at_once() -> None:
    with pytest.raises(TypeError, match="backend must be a Backend"):
        complete("openai", ["Hello"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("backend", "options", "error_class", "words"),
    [
        (OpenAI(api_key="x"), {"temprature": 3}, TypeError, "OpenAI has no option temprature"),
        (OpenAI(api_key="x"), {"stop": object()}, ValueError, "not a JSON type"),
        (OpenAI(), {}, ValueError, "OpenAI needs an API key"),
    ],
)
async def test_an_error_that_every_prompt_would_have_is_raised_at_once(
    backend: Any,
    options: Any,
    error_class: type[Exception],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(error_class, match=words):
        complete(backend, ["Hello"], **options)


# Property


answers = st.lists(
    st.sampled_from([answer for answer, *_ in FAILURES.values()] + [complete_reply("whole")]),
    min_size=1,
    max_size=4,
)


@given(st.lists(answers, max_size=12), st.integers(1, 5), st.integers(0, 3), st.booleans())
async def test_each_prompt_has_one_outcome_whatever_fails(
    scripts: list[list[MemoryResponse | Exception]], concurrency: int, retries: int, slow: bool
) -> None:
    service = Service(lambda prompt: scripts[int(prompt)])
    numbers = range(len(scripts))
    found: list[Outcome] = []
    async with ask(
        service, map(str, numbers), concurrency=concurrency, retries=retries
    ) as outcomes:
        async for outcome in outcomes:
            found.append(outcome)
            if slow:
                for _ in range(10):
                    await anyio.lowlevel.checkpoint()
    assert sorted(outcome.id for outcome in found if isinstance(outcome.id, int)) == [*numbers]
    assert service.open == 0
    assert service.most <= concurrency
    sent = Counter(prompt for prompt, _ in service.sent)
    for outcome in found:
        assert outcome.attempts == sent[str(outcome.id)] <= retries + 1
        assert (outcome.error is None) == (outcome.text == "whole")
