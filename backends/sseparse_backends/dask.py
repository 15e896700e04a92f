"""Many prompts on a cluster of Dask (extra `dask`)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from ._contract import Backend
from ._parts import begin_run, end_run, parts, run_part
from ._prompts import Prompt, expect_count, expect_prompts
from ._result_folder import ResultFolder, folder_path, merge

try:
    from distributed import Client, as_completed
except ImportError as _error:
    raise ImportError(
        "sseparse_backends.dask needs another package: pip install 'sseparse[dask]'"
    ) from _error

__all__ = ["complete", "merge"]

# Parts that are submitted at once, for each thread of the cluster.
_AHEAD = 2


def complete(
    client: Client,
    backend: Backend | str,
    prompts: Iterable[Prompt],
    folder: str | os.PathLike[str],
    *,
    part_size: int = 100,
    retry_failed: bool = False,
    **options: Any,
) -> int:
    """Complete the prompts whose outcomes are not in the folder, and return how many were missing.

        from distributed import Client
        from sseparse_backends.dask import complete, merge

        with Client("scheduler:8786") as client:
            complete(client, "openai", prompts, "/shared/run-1")
        merge("/shared/run-1", "replies.jsonl")

    client: of the cluster, not asynchronous. Each of its threads completes one part at a time.
    backend: a backend, which is pickled with its key; or the name of one: then each worker takes
        the key from its own environment.
    prompts: as for sseparse_backends.batch.complete. Without IDs of their own, their positions must
        stay the same from run to run.
    folder: for the logs of the outcomes, shared by all workers and this process. Use one for each
        set of prompts. It must be on a file system: object stores cannot append.
    part_size: prompts in a part. A worker that dies costs those of its part that were in flight.
    retry_failed: try the prompts again whose outcomes are errors.
    options: as for sseparse_backends.batch.complete. `concurrency` is that of each part.

    Run it again to go on after a crash, whatever has died. Each prompt then has one outcome in what
    `merge` writes; those in flight are requested once more. Where an error or Ctrl-C ends this
    call, or another call begins with the same folder, the parts in progress close their requests
    within a second. Where this process is killed, they go on to their ends.

    Raises TypeError and ValueError, naming the argument; RuntimeError if another call has begun
    with the same folder; and what a part raises: the first error that every prompt would have, such
    as a wrong key, or KilledWorker of distributed.
    """
    expect_count("part_size", part_size, 1)
    expect_prompts(prompts)
    cluster: Any = client  # partly typed
    kind: Any = Client
    if not isinstance(cluster, kind) or cluster.asynchronous:
        raise TypeError(f"client must be a Client that is not asynchronous, got {client!r}")
    path = folder_path(folder).absolute()
    completed = 0
    running: Any = as_completed(loop=cluster.loop)  # type: ignore[no-untyped-call]
    # Before the logs are read: otherwise an earlier run would go on to write the same outcomes.
    run = begin_run(path)
    try:
        with ResultFolder(path, retry_failed=retry_failed) as done:
            for number, part in enumerate(parts(prompts, part_size, done)):
                while running.count() >= _AHEAD * max(sum(cluster.nthreads().values()), 1):
                    completed += next(running).result()
                arguments = (backend, part, str(path), run, number, options)
                running.add(cluster.submit(run_part, *arguments, key=f"{run}-{number}"))
            for future in running:
                completed += future.result()
    except BaseException:
        cluster.cancel([*running.futures])
        raise
    finally:
        end_run(path, run)  # Dask interrupts no thread
    return completed
