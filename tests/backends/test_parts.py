"""Batches in parts: a folder of logs, of which each process writes its own."""

from __future__ import annotations

import asyncio
import gc
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import anyio
import pytest

from sseparse import LocalProtocolError, UnexpectedResponse
from sseparse_backends._parts import begin_run, end_run, parts, run_part
from sseparse_backends._result_folder import ResultFolder
from sseparse_backends.batch import Outcome, Prompt, ResultLog, complete, merge
from sseparse_backends.ray import Complete
from tests.support.cluster import CountingService, counting_service, texts
from tests.support.servers import CHATTER
from tests.support.services import Service, refusal

ERROR = ConnectionError("lost")


def write(path: Path, *outcomes: Outcome) -> None:
    with ResultLog(path) as log:
        for outcome in outcomes:
            log.append(outcome)


def records(path: Path) -> list[tuple[int | str, str, bool]]:
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    return [(row["id"], row["text"], row["error"] is not None) for row in rows]


# Merging


def test_of_several_outcomes_the_first_without_an_error_is_taken(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    write(logs / "a.jsonl", Outcome(1, error=ERROR), Outcome(2, "a"), Outcome(3, error=ERROR))
    write(logs / "b.jsonl", Outcome(1, "b"), Outcome(2, "b"), Outcome("2", "b"))
    write(logs / "c.jsonl", Outcome(3, "c", error=ERROR), Outcome(1, "c"))
    output = tmp_path / "replies.jsonl"
    assert merge(logs, output) == 1
    expected = [(1, "b", False), (2, "a", False), (3, "", True), ("2", "b", False)]
    assert sorted(records(output), key=repr) == sorted(expected, key=repr)
    # It is a log itself, and can be replaced.
    ResultLog(output).close()
    assert merge(str(logs), str(output)) == 1


def test_torn_line_is_left_out_and_another_file_is_refused(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    write(logs / "a.jsonl", Outcome(1, "a"), Outcome(2, "b"))
    (logs / "a.jsonl").write_bytes((logs / "a.jsonl").read_bytes()[:-5])
    output = tmp_path / "replies.jsonl"
    assert merge(logs, output) == 0
    assert texts(output) == {1: "a"}
    (logs / "b.jsonl").write_bytes(b'{"no": "log"}\n')
    with pytest.raises(ValueError, match=r"^the log must hold .* got line 1 of .*b\.jsonl"):
        merge(logs, output)
    assert texts(output) == {1: "a"}
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["replies.jsonl"]


def test_folder_and_output_must_be_apart_and_the_folder_exist(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^output must be outside of the folder of logs, got"):
        merge(tmp_path, tmp_path / "replies.jsonl")
    (tmp_path / "empty").mkdir()
    write(tmp_path / "replies.jsonl", Outcome(1, "a"))
    for folder in ("nothing", "empty"):
        with pytest.raises(ValueError, match=f"^folder must be a folder of logs, got .*{folder}"):
            merge(tmp_path / folder, tmp_path / "replies.jsonl")
    assert texts(tmp_path / "replies.jsonl") == {1: "a"}


OTHER = b'{"id": 99, "text": "other run", "error": null}\n'


@pytest.mark.parametrize(
    "text",
    [
        b'{"id": 1, "prompt": "a"}\n',
        b"notes\n",
        b"PK\3\4" * 99,
        b'{"id": 1, "error": null}\nnotes\n',
        OTHER,
    ],
)
def test_output_that_is_something_else_stays_as_it_is(tmp_path: Path, text: bytes) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    write(logs / "a.jsonl", Outcome(1, "a"))
    output = tmp_path / "prompts.jsonl"
    output.write_bytes(text)
    for target in (output, tmp_path / "logs" / "..", Path(os.devnull)):
        with pytest.raises(ValueError, match=r"^output must be a new file, or outcomes of the f"):
            merge(logs, target)
    assert output.read_bytes() == text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs", "prompts.jsonl"]


def test_output_that_a_batch_writes_stays_as_it_is(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    write(logs / "a.jsonl", Outcome(1, "a"))
    with ResultLog(tmp_path / "replies.jsonl") as log:
        with pytest.raises(BlockingIOError):
            merge(logs, log.path)
        log.append(Outcome(1, "b"))
    assert texts(tmp_path / "replies.jsonl") == {1: "b"}
    assert merge(logs, tmp_path / "replies.jsonl") == 0
    assert texts(tmp_path / "replies.jsonl") == {1: "a"}


# The folder


def test_folder_follows_what_others_write(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", Outcome(1, error=ERROR), Outcome(2, "a"))
    with ResultFolder(tmp_path) as folder, ResultFolder(tmp_path, retry_failed=True) as again:
        assert [*folder.ids] == [1, 2]
        assert [*again.ids] == [2]
        with folder.new_log() as log:
            log.append(Outcome(1, "b"))
            log.append(Outcome(3, "c"))
        write(tmp_path / "a.jsonl", Outcome(4, "d"))
        for one in (folder, again):
            one.refresh()
            assert sorted(one.ids) == [1, 2, 3, 4]
            assert [one.record(number)["text"] for number in (2, 3, 4)] == ["a", "c", "d"]
        assert again.record(1)["text"] == "b"
        assert folder.record(1)["error"]["message"] == "lost"
        with pytest.raises(KeyError):
            folder.record(5)
    with ResultFolder(tmp_path) as folder:
        assert folder.record(1)["text"] == "b"  # wherever it is, it is no error
    with ResultFolder(tmp_path, "other") as folder:
        assert [*folder.ids] == []


def test_line_that_is_being_written_is_read_later(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", Outcome(1, "a"), Outcome(2, "b"))
    whole = (tmp_path / "a.jsonl").read_bytes()
    (tmp_path / "a.jsonl").write_bytes(whole[:-5])
    with ResultFolder(tmp_path) as folder:
        assert [*folder.ids] == [1]
        (tmp_path / "a.jsonl").write_bytes(whole)
        folder.refresh()
        assert folder.record(2)["text"] == "b"
        with (tmp_path / "a.jsonl").open("ab") as file:
            file.write(b"x\n")
        with pytest.raises(ValueError, match=rf"got line 1 after byte {len(whole)} of .*a\.jsonl"):
            folder.refresh()


def identified(prompts: list[Prompt], folder: ResultFolder, size: int = 2) -> list[Any]:
    return [*parts(prompts, size, folder)]


def test_parts_have_the_prompts_that_are_missing_each_with_its_id(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", Outcome(1), Outcome("own"))
    prompts: list[Prompt] = [
        "a",
        "b",
        {"prompt": "c", "id": "own"},
        {"prompt": "d"},
        [{"role": "user"}],
    ]
    with ResultFolder(tmp_path) as folder:
        assert identified(prompts, folder) == [
            [{"messages": "a", "id": 0}, {"prompt": "d", "id": 3}],
            [{"messages": [{"role": "user"}], "id": 4}],
        ]
        with pytest.raises(ValueError, match="got 0 at the positions 0 and 1"):
            identified(["a", {"prompt": "b", "id": 0}], folder)


def test_folder_must_be_on_a_file_system() -> None:
    with pytest.raises(ValueError, match=r"^folder must be on a file system .* got s3://bucket"):
        ResultFolder("s3://bucket/run")
    with pytest.raises(ValueError, match=r"^folder must be an absolute path, .* got logs$"):
        Complete("ollama", "logs")


def test_folder_of_other_prompts_is_refused(tmp_path: Path) -> None:
    message = r"^folder must be of the same prompts, got .*with the ID 0: use a new folder$"
    with ResultFolder(tmp_path) as folder:
        identified(["a", "b"], folder)
    with ResultFolder(tmp_path) as folder:
        with pytest.raises(ValueError, match=message):
            identified(["x", "b"], folder)
        # More prompts, and other IDs, are not other prompts.
        assert len(identified(["a", "b", "c"], folder, 9)[0]) == 3
        assert len(identified([{"id": "own", "prompt": "x"}], folder)[0]) == 1
    names = [path.name for path in tmp_path.iterdir()]
    assert names == ["first-prompt"]


# A part


def run(
    service: CountingService, folder: Path, run_name: str, *prompts: str, concurrency: int = 1
) -> int:
    mappings = [{"id": prompt, "prompt": prompt} for prompt in prompts]
    options = {"concurrency": concurrency}
    return run_part(service.backend, mappings, str(folder), run_name, 7, options)


def test_another_attempt_at_a_part_goes_on_and_no_file_is_locked(tmp_path: Path) -> None:
    with counting_service() as service:
        name = begin_run(tmp_path)
        assert run(service, tmp_path, name, "a", "b") == 2
        assert run(service, tmp_path, name, "a", "b", "c") == 3
        assert run(service, tmp_path, name, "a", "b", "c") == 3
    assert service.requests == {"a": 1, "b": 1, "c": 1}
    assert {path.suffix for path in tmp_path.iterdir()} == {".jsonl", ".run"}
    assert merge(tmp_path, tmp_path.parent / "replies.jsonl") == 0
    assert texts(tmp_path.parent / "replies.jsonl") == {"a": "re: a", "b": "re: b", "c": "re: c"}


def test_part_ends_with_its_next_outcome_once_another_run_has_begun(tmp_path: Path) -> None:
    with counting_service() as service:
        name = begin_run(tmp_path)
        service.left, service.kill = 3, partial(begin_run, tmp_path)
        with pytest.raises(RuntimeError, match="or another one has begun"):
            run(service, tmp_path, name, *map(str, range(100)))
        assert 3 <= service.requests.total() <= 4
        with pytest.raises(RuntimeError, match="or another one has begun"):
            run(service, tmp_path, name, "a")
    with ResultFolder(tmp_path) as folder:
        assert len(folder.ids) == 3  # the last one is not lost


def test_replies_that_are_here_are_kept_when_another_run_has_begun(tmp_path: Path) -> None:
    run_name = begin_run(tmp_path)
    sync = ResultLog.sync
    runs = [run_name]

    def sync_while_others_arrive(log: ResultLog) -> None:
        # In a thread, beside the loop.
        if len(log.ids) > 0 and len(runs) == 1:
            sleep(0.3)
            runs.append(begin_run(tmp_path))
        sync(log)

    prompts = [*map(str, range(32))]
    with counting_service() as service, pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResultLog, "sync", sync_while_others_arrive)
        with suppress(RuntimeError):  # unless all were in the log before
            run(service, tmp_path, run_name, *prompts, concurrency=32)
        with ResultFolder(tmp_path) as folder:
            assert len(folder.ids) == sum(service.requests.values())


def test_part_that_waits_for_a_reply_ends_within_a_second(tmp_path: Path) -> None:
    with counting_service() as service:
        service.seconds = 60.0
        name = begin_run(tmp_path)
        service.left, service.kill = 1, partial(end_run, tmp_path, name)
        began = monotonic()
        with pytest.raises(RuntimeError, match="has ended"):
            run(service, tmp_path, name, "a")
        assert monotonic() - began < 20
        assert service.requests.total() == 1


def test_run_that_ends_late_ends_no_other(tmp_path: Path) -> None:
    earlier = begin_run(tmp_path)
    name = begin_run(tmp_path)
    end_run(tmp_path, earlier)
    with counting_service() as service:
        assert run(service, tmp_path, name, "a") == 1


def test_part_raises_what_ends_all_prompts_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.cluster.ollama_reply", lambda _: refusal(401))
    with counting_service() as service, pytest.raises(UnexpectedResponse, match="401"):
        run(service, tmp_path, begin_run(tmp_path), "a")


# The actor of Ray, which needs no Ray


class Column:
    """As numpy's arrays: no list, and its own list has Python's values."""

    def __init__(self, values: list[Any]) -> None:
        self._values = values

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def tolist(self) -> list[Any]:
        return self._values


def test_actor_is_made_in_one_thread_and_called_in_another(tmp_path: Path) -> None:
    # As Arrow has them: lists are arrays, also inside.
    messages = Column([{"role": "user", "content": "b", "images": Column(["aGk="])}])
    batch = {"key": Column([1, "own"]), "prompt": Column(["a", messages])}
    with counting_service() as service, ThreadPoolExecutor(1) as thread:
        actor = Complete(service.backend, tmp_path, id="key")
        for _ in range(2):
            rows = thread.submit(actor, batch).result()
            assert rows["id"] == [1, "own"]
            assert rows["text"] == ["re: a", "re: b"]
            assert json.loads(rows["messages"][0])[0]["role"] == "assistant"
            assert (rows["finish"], rows["error"]) == (["stop"] * 2, [None] * 2)
        other = {"key": [1], "prompt": ["x"]}
        with pytest.raises(ValueError, match="folder must be of the same prompts"):
            thread.submit(actor, other).result()
        assert actor._log is not None
        actor._log.close()
        actor._folder.close()
    assert service.requests == {"a": 1, "b": 1}


def test_folder_with_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"no": "log"}\n')
    with pytest.raises(ValueError, match=r"^the log must hold .* got line 1 of .*a\.jsonl"):
        ResultFolder(tmp_path)


# Outside of a loop


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_outcomes_may_be_made_before_the_loop_begins(loop: str) -> None:
    outcomes = complete(CHATTER, ["Hello"], transport=Service())

    async def take_all() -> list[str]:
        async with outcomes:
            return [outcome.text async for outcome in outcomes]

    assert anyio.run(take_all, backend=loop) == ["re: Hello"]


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_loop_that_cancels_all_tasks_at_once_is_not_held_up() -> None:
    async def be_cancelled() -> None:
        async with complete(CHATTER, ["Hello"], transport=Service()) as outcomes:
            for task in asyncio.all_tasks():
                task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.sleep(0)
        with pytest.raises(LocalProtocolError):
            await anext(outcomes)

    asyncio.run(be_cancelled())
    gc.collect()  # while the warning is ignored
