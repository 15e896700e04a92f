"""A batch in parts, for processes on many machines: each attempt at a part has a log of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio

from ._contract import Backend
from ._prompts import Prompt, identified
from ._registry import get_backend
from ._result_folder import ResultFolder
from ._results import Outcome
from .batch import complete_part

# Seconds between two checks that the run goes on.
_CHECK_INTERVAL = 1.0


def parts(
    prompts: Iterable[Prompt], size: int, done: ResultFolder
) -> Iterator[list[Mapping[str, Any]]]:
    """Yield the prompts that are not done, `size` at a time, each with its ID.

    Raises ValueError for an ID that repeats, and what done.expect_same raises.
    """
    missing = _missing(prompts, done)
    while part := [*islice(missing, size)]:
        yield part


def _missing(prompts: Iterable[Prompt], done: ResultFolder) -> Iterator[Mapping[str, Any]]:
    with closing(identified(prompts)) as all_prompts:
        for prompt in all_prompts:
            done.expect_same(prompt)
            if prompt["id"] not in done.ids:
                yield prompt


def begin_run(folder: Path) -> str:
    """Begin a run of a folder, and return its name. All other runs of the folder end.

    Their parts end within a second, or with their next outcome.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = uuid4().hex
    own = _marker(folder, run)
    own.touch()
    for marker in folder.glob("*.run"):
        if marker != own:
            marker.unlink(missing_ok=True)
    return run


def end_run(folder: Path, run: str) -> None:
    """End a run, and no other."""
    _marker(folder, run).unlink(missing_ok=True)


def _marker(folder: Path, run: str) -> Path:
    return folder / f"{run}.run"


def _has_ended(marker: Path) -> bool:
    # Opened, since NFS checks its cache only then: nfs(5), "Close-to-open cache consistency".
    try:
        marker.open("rb").close()
    except FileNotFoundError:
        return True
    return False


def run_part(
    backend: Backend | str,
    prompts: Sequence[Mapping[str, Any]],
    folder: str,
    run: str,
    number: int,
    options: Mapping[str, Any],
) -> int:
    """Complete the prompts of a part that no earlier attempt has completed; return its size.

    backend: a backend, or the name of one: then each process takes the key from its environment.
    run: from begin_run.
    number: of the part, the same for each attempt at it.
    options: as for `complete`.

    It blocks, and runs an event loop.

    Raises what complete_part raises, and RuntimeError once the run has ended.
    """
    marker = _marker(Path(folder), run)

    def expect_run(_: Outcome | None = None) -> None:
        if _has_ended(marker):
            raise RuntimeError(f"this run of {folder} has ended, or another one has begun")

    expect_run()
    with ResultFolder(folder, f"{run}-{number}.") as earlier:
        left = [prompt for prompt in prompts if prompt["id"] not in earlier.ids]
        if left:
            with earlier.new_log() as log:
                chosen = resolve_backend(backend)
                work = partial(complete_part, chosen, left, log, on_outcome=expect_run, **options)
                anyio.run(_run_while, expect_run, work)
    return len(prompts)


async def _run_while(check: Callable[[], None], work: Callable[[], Awaitable[None]]) -> None:
    """Run `work`, and `check` each second until then; raise the error of either, in no group."""
    error: Exception | None = None
    finished = anyio.Event()

    async def watch() -> None:
        while not finished.is_set():
            check()
            with anyio.move_on_after(_CHECK_INTERVAL):
                await finished.wait()

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await work()
            finished.set()
    except ExceptionGroup as group:
        error = group.exceptions[0]
    # Not in the block above: with the group as its context, Dask cannot pickle it.
    if error is not None:
        raise error


def resolve_backend(backend: Backend | str) -> Backend:
    """Return `backend`, looked up if it is a name."""
    return get_backend(backend) if isinstance(backend, str) else backend
