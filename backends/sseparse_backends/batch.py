"""Many prompts: complete them in one process, as fast as the service allows."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import closing, nullcontext
from dataclasses import replace
from http import HTTPStatus
from typing import Any, cast

from anyio import lowlevel, to_thread

from sseparse import UnexpectedResponse
from sseparse.client import Limits
from sseparse.transports import CertificateError, Transport, transport_or_default

from ._concurrency import Concurrency
from ._contract import Backend
from ._outcomes import Outcomes
from ._prompts import Prompt, ask, expect_count, expect_prompts, identified
from ._result_folder import merge
from ._results import Outcome, ResultLog

__all__ = ["Outcome", "Outcomes", "Prompt", "ResultLog", "complete", "complete_part", "merge"]

# Lines of a log between two syncs, at most.
_BURST = 100
# Prompts between two checkpoints.
_STRIDE = 100


def complete(
    backend: Backend,
    prompts: Iterable[Prompt] | AsyncIterable[Prompt],
    *,
    concurrency: int = 16,
    min_concurrency: int = 1,
    retries: int = 5,
    max_wait: float = 600.0,
    transport: Transport | None = None,
    proxy: str | None = None,
    model: str | None = None,
    timeout: float | None = 600.0,
    connect_timeout: float | None = 30.0,
    first_timeout: float | None = None,
    idle_timeout: float | None = None,
    content_type: str | None = None,
    **options: Any,
) -> Outcomes:
    """Return the outcomes of `prompts`, in the order in which they finish.

        async with complete(backend, prompts) as outcomes:
            async for outcome in outcomes:
                print(outcome.id, outcome.text or outcome.error)

    prompts: each is a str, the messages of a conversation, or a mapping. A mapping has "prompt" (a
        str) or "messages"; an "id" (a str or an int; default: the position in `prompts`, from 0);
        and options, which come before those of this call. IDs are not compared. Prompts are read
        one by one, each when its request can be sent soon.
    concurrency: limit of requests in flight, and their number at the start. Also bounds memory:
        at most this many outcomes are in progress or waiting for the caller.
    min_concurrency: requests in flight at least, however busy the service is. Default: 1.
    retries: further attempts for a prompt if the connection fails, if the status is 429 or 5xx, if
        the service reports an error inside the reply, or if the reply is cut or stalls (by
        connect_timeout, first_timeout or idle_timeout). Each is a new request: an outcome never
        has text of two. The wait before it is that of `stream`. Default: 5.
    max_wait: longest Retry-After to heed, in seconds. No request is sent before its end. After a
        longer one the prompt fails without another attempt, and the others wait for max_wait.
        Default: 600.
    transport: sends the requests. Default: an HTTPX2Transport, whose connections they share.
    timeout: seconds for each attempt. Default: 600.
    proxy, model, connect_timeout, first_timeout, idle_timeout, content_type, options: as for
        `stream`.

    429, 503 and 529 halve the requests in flight, once for all that were sent before; so do too
    many open files. Each round of complete replies, as many as the limit, raises the limit by 1.

    A failed or invalid prompt ends only itself: its outcome has the error.

    Raises TypeError and ValueError, naming the argument, before anything is sent. An option that
    the backend does not have is an error, and so is a missing key.
    """
    for name, count, least in (
        ("concurrency", concurrency, 1),
        ("min_concurrency", min_concurrency, 1),
        ("retries", retries, 0),
    ):
        expect_count(name, count, least)
    if min_concurrency > concurrency:
        raise ValueError(
            f"min_concurrency must be at most concurrency, got {min_concurrency} and {concurrency}"
        )
    if isinstance(max_wait, bool) or not isinstance(cast("Any", max_wait), int | float):
        raise TypeError(f"max_wait must be seconds, got {max_wait!r}")
    if not max_wait >= 0:
        raise ValueError(f"max_wait must be non-negative seconds, got {max_wait!r}")
    expect_prompts(prompts, AsyncIterable)
    Limits(timeout, first_timeout, idle_timeout)
    chosen = transport_or_default(transport, proxy)
    all_options = {
        "model": model,
        "timeout": timeout,
        "connect_timeout": connect_timeout,
        "first_timeout": first_timeout,
        "idle_timeout": idle_timeout,
        "content_type": content_type,
        **options,
    }
    # Raises an error that each prompt would have.
    ask(backend, "Hello", chosen, all_options)
    # While the default transport is open, requests share its connections.
    connections: Any = chosen if transport is None else nullcontext()
    return Outcomes(
        backend,
        prompts,
        concurrency=Concurrency(concurrency, min_concurrency),
        retries=retries,
        max_wait=max_wait,
        transport=chosen,
        connections=connections,
        options=all_options,
    )


async def complete_part(
    backend: Backend,
    prompts: Iterable[Prompt],
    log: ResultLog,
    *,
    on_outcome: Callable[[Outcome], object] | None = None,
    **options: Any,
) -> None:
    """Complete the prompts whose IDs are not in `log`, and append their outcomes to it.

    prompts: as for `complete`. Without IDs of their own, their positions must stay the same. An ID
        that repeats is a ValueError.
    log: the ResultLog of earlier calls. Its prompts are skipped, failed ones too: call
        `log.drop_failed()` to try those again.
    on_outcome: called with each outcome, once it is in the log.
    options: as for `complete`.

    A killed process loses at most `concurrency` paid replies. The log is synced before each wait,
    and after 100 lines. Whatever ends the call, replies that have arrived are in the log.

    Raises what `complete`, `ResultLog.append`, `prompts` and `on_outcome` raise; and a 401 or
    CertificateError, which is not logged, if another one comes before a reply, or no prompt has a
    reply.
    """
    expect_prompts(prompts)
    if not isinstance(log, ResultLog):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"log must be a ResultLog, got {log!r}")
    log.sync()  # raises an error of a closed one
    # A 401 or CertificateError, held back until a reply shows that it is this prompt's alone.
    suspect: Outcome | None = None
    has_reply = len(log.ids) > log.failed

    def append(outcome: Outcome) -> Outcome:
        try:
            log.append(outcome)
        except (TypeError, ValueError, RecursionError) as error:  # its messages are not JSON
            outcome = replace(outcome, messages=[], tool_calls=[], finish=None, error=error)
            log.append(outcome)
        return outcome

    def add(outcome: Outcome) -> None:
        outcome = append(outcome)
        if on_outcome is not None:
            on_outcome(outcome)

    def judge(outcome: Outcome) -> None:
        """Add an outcome, unless it is suspect. Raises the error of a second one that is."""
        nonlocal suspect, has_reply
        has_reply |= outcome.error is None
        if outcome.error is not None and _may_fail_all(outcome.error):
            if suspect is not None:
                raise outcome.error
            suspect = outcome
            return
        add(outcome)
        if suspect is not None and outcome.error is None:
            add(suspect)
            suspect = None

    async with complete(backend, _missing(prompts, log), **options) as outcomes:
        try:
            async for outcome in outcomes:
                judge(outcome)
                if not outcomes.ready or log.unsynced >= _BURST:
                    await to_thread.run_sync(log.sync)
        finally:
            # Replies that have arrived are paid for. on_outcome is not called, since its error may
            # be why the call ends.
            for outcome in await outcomes.stop():
                if outcome.error is None:
                    append(outcome)
    if suspect is not None and suspect.error is not None:
        if not has_reply:
            raise suspect.error
        add(suspect)


def _may_fail_all(error: Exception) -> bool:
    wrong_key = isinstance(error, UnexpectedResponse) and error.status == HTTPStatus.UNAUTHORIZED
    return wrong_key or isinstance(error, CertificateError)


async def _missing(prompts: Iterable[Prompt], log: ResultLog) -> AsyncIterator[Prompt]:
    with closing(identified(prompts)) as all_prompts:
        for number, prompt in enumerate(all_prompts):
            # Otherwise replies in flight would wait while many prompts are skipped.
            if number % _STRIDE == 0:
                await lowlevel.checkpoint()
            if prompt["id"] not in log.ids:
                yield prompt
