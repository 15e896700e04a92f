"""Many prompts on a cluster of Ray, with Ray Data (extra `ray`)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec

from ._contract import Backend
from ._parts import resolve_backend
from ._prompts import identified
from ._result_folder import ResultFolder, merge
from ._results import ResultLog
from .batch import complete_part

__all__ = ["Complete", "merge"]


class Complete:
    """Complete the prompts of a batch of rows whose outcomes are not in the folder: an actor.

        import ray
        from sseparse_backends.ray import Complete

        rows = ray.data.read_json("prompts.jsonl", lines=True)
        replies = rows.map_batches(
            Complete,
            fn_constructor_kwargs={"backend": "openai", "folder": "/shared/run-1"},
            batch_size=1000,
            concurrency=4,  # actors
        )
        replies.write_json("/shared/replies")

    backend, folder, retry_failed, options: as for sseparse_backends.dask.complete, but for the
        folder, which must be an absolute path. Each actor has up to `concurrency` of the options
        in flight.
    id, prompt: the columns with the ID, a str or an int, and with the prompt, a str or messages.
        IDs must be unique: of two rows with one ID in different batches, the second gets the reply
        to the first.

    The rows that it returns have the columns "id", "text", "messages" (JSON), "finish", "error" and
    "seconds". Run the pipeline again to go on after a crash: rows whose outcomes are in the folder
    are not requested again. `merge` writes each outcome once, whatever Ray has repeated.

    A call raises ValueError for an ID that repeats in the batch and for a folder of other prompts,
    and the errors of complete_part.
    """

    def __init__(
        self,
        backend: Backend | str,
        folder: str | os.PathLike[str],
        *,
        id: str = "id",
        prompt: str = "prompt",
        retry_failed: bool = False,
        **options: Any,
    ) -> None:
        if not Path(folder).is_absolute():
            raise ValueError(
                f"folder must be an absolute path, since each actor is in a folder of its own, "
                f"got {folder}"
            )
        self._backend = backend
        self._log: ResultLog | None = None
        self._folder = ResultFolder(folder, retry_failed=retry_failed)
        self._id = id
        self._prompt = prompt
        self._options = options

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Return the outcomes of a batch of rows, in their order."""
        rows = zip(_values(batch[self._id]), _values(batch[self._prompt]), strict=True)
        prompts = [
            *identified(
                {"id": identity, "prompt" if isinstance(prompt, str) else "messages": prompt}
                for identity, prompt in rows
            )
        ]
        for prompt in prompts:
            self._folder.expect_same(prompt)
        # An actor that has died may have done some of them.
        self._folder.refresh()
        left = [prompt for prompt in prompts if prompt["id"] not in self._folder.ids]
        if left:
            self._log = self._log or self._folder.new_log()
            backend = resolve_backend(self._backend)
            anyio.run(partial(complete_part, backend, left, self._log, **self._options))
        self._folder.refresh()
        records = [self._folder.record(prompt["id"]) for prompt in prompts]
        return {
            "id": [record["id"] for record in records],
            "text": [record["text"] for record in records],
            "messages": [json.dumps(record["messages"]) for record in records],
            "finish": [record["finish"] and record["finish"]["kind"] for record in records],
            "error": [record["error"] and record["error"]["message"] for record in records],
            "seconds": [record["seconds"] for record in records],
        }


def _values(column: Any) -> list[Any]:
    """Return a NumPy column as a list of Python values. Arrow has made arrays of lists in it."""
    values: list[Any] = msgspec.to_builtins([*column], enc_hook=lambda value: value.tolist())
    return values
