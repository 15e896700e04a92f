"""Batches with Ray Data. Actors and drivers die; each prompt has one outcome in the end.

Ray has 600 MB. The tests' own command:

    uv run --group test --extra ray pytest -m real_servers tests/backends/test_ray.py

SSEPARSE_CLUSTER_KILLS sets the number of deaths of each kind, SSEPARSE_SEED their moments.
"""

from __future__ import annotations

import json
import logging
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sseparse import LineRange, NDJSONDecoder, decode, line_ranges
from sseparse_backends.batch import Outcome, ResultLog, merge
from tests.support.cluster import (
    CONCURRENCY,
    KILLS,
    MOST,
    CountingService,
    counting_service,
    expected,
    texts,
)

# Otherwise Ray starts each actor with `uv run`, in a copy of the repository.
os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"

ray: Any = pytest.importorskip("ray")
pytest.importorskip("ray.data")

from sseparse_backends.ray import Complete  # noqa: E402

ACTORS = 2

_logger = logging.getLogger(__name__)

pytestmark = [pytest.mark.real_servers, pytest.mark.filterwarnings("default")]


@pytest.fixture
def service() -> Iterator[CountingService]:
    with counting_service() as service:
        yield service


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def complete(service: CountingService, folder: Path, number: int, **options: Any) -> list[Any]:
    rows = ray.data.from_items([{"id": n, "prompt": str(n)} for n in range(number)])
    arguments = {
        "backend": service.backend,
        "folder": str(folder),
        "concurrency": CONCURRENCY,
        **options,
    }
    replies = rows.repartition(number // 20 + 1).map_batches(
        Complete, fn_constructor_kwargs=arguments, batch_size=20, concurrency=ACTORS
    )
    taken: list[Any] = replies.take_all()
    return taken


def test_rows_have_the_outcomes_and_no_prompt_is_requested_again(
    service: CountingService, tmp_path: Path
) -> None:
    folder = tmp_path / "logs"
    for _ in range(2):
        rows = complete(service, folder, 50)
        assert {row["id"]: row["text"] for row in rows} == expected(50)
        assert {row["error"] for row in rows} == {None}
        assert {row["finish"] for row in rows} == {"stop"}
        assert json.loads(rows[0]["messages"])[0]["role"] == "assistant"
    assert set(service.requests.values()) == {1}
    assert merge(folder, tmp_path / "replies.jsonl") == 0
    assert texts(tmp_path / "replies.jsonl") == expected(50)


def test_failed_rows_have_their_error_and_can_be_tried_again(
    service: CountingService, tmp_path: Path
) -> None:
    (tmp_path / "logs").mkdir()
    with ResultLog(tmp_path / "logs" / "earlier.jsonl") as log:
        log.append(Outcome(0, "re", error=ConnectionError("lost")))
    rows = {row["id"]: row for row in complete(service, tmp_path / "logs", 5)}
    assert (rows[0]["text"], rows[0]["error"]) == ("re", "lost")
    rows = {row["id"]: row for row in complete(service, tmp_path / "logs", 5, retry_failed=True)}
    assert (rows[0]["text"], rows[0]["error"]) == ("re: 0", None)


def test_columns_have_other_names_and_prompts_are_messages(
    service: CountingService, tmp_path: Path
) -> None:
    messages = [{"role": "user", "content": "Hello"}]
    rows = ray.data.from_items([{"key": "a", "messages": messages}])
    arguments = {"backend": service.backend, "folder": str(tmp_path / "logs")}
    names = {"id": "key", "prompt": "messages"}
    replies = rows.map_batches(
        Complete, fn_constructor_kwargs={**arguments, **names}, concurrency=1
    )
    assert [(row["id"], row["text"]) for row in replies.take_all()] == [("a", "re: Hello")]


DRIVER = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
import ray
from sseparse_backends import Ollama
from tests.backends.test_ray import complete

url, number, folder = json.loads(sys.argv[1])
ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
print("begun", flush=True)
complete(SimpleNamespace(backend=Ollama(base_url=url)), Path(folder), number)
"""


def test_drivers_are_killed(service: CountingService, tmp_path: Path) -> None:
    moments = random.Random(os.environ.get("SSEPARSE_SEED", "0"))
    number = MOST * KILLS + 100
    folder = tmp_path / "logs"
    arguments = json.dumps([f"http://127.0.0.1:{service.port}", number, str(folder)])
    command = [sys.executable, "-c", DRIVER, arguments]
    service.seconds = 1.0  # replies are in flight when the actors end
    for _ in range(KILLS):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as driver:
            # Not a request of the actors before.
            assert driver.stdout is not None
            assert driver.stdout.readline() == b"begun\n"
            service.kill = driver.kill
            service.left = moments.randint(1, MOST)
        assert driver.returncode == -9
    service.seconds = 0.01
    subprocess.run(command, check=True)
    assert merge(folder, tmp_path / "replies.jsonl") == 0
    assert texts(tmp_path / "replies.jsonl") == expected(number)
    further = service.requests.total() - number
    _logger.info("%d drivers killed, %d prompts, %d requests more", KILLS, number, further)
    # Those in flight, and what actors ask for until they have noticed.
    assert further <= KILLS * ACTORS * 20


def test_actors_are_killed(service: CountingService, tmp_path: Path) -> None:
    moments = random.Random(os.environ.get("SSEPARSE_SEED", "0"))
    killed = 0

    def kill() -> None:
        nonlocal killed
        pids = actor_pids()
        if pids:
            os.kill(moments.choice(pids), 9)
            killed += 1
        if killed < KILLS:
            service.left = moments.randint(1, MOST)

    service.left, service.kill = moments.randint(1, MOST), kill
    number = MOST * KILLS + 100
    rows = complete(service, tmp_path / "logs", number)
    assert {row["id"]: row["text"] for row in rows} == expected(number)
    assert merge(tmp_path / "logs", tmp_path / "replies.jsonl") == 0
    assert texts(tmp_path / "replies.jsonl") == expected(number)
    further = service.requests.total() - number
    _logger.info("%d actors killed, %d prompts, %d requests more", killed, number, further)
    assert killed == KILLS
    assert further <= killed * CONCURRENCY


def actor_pids() -> list[int]:
    """The processes of the actors, which Ray names after the class."""
    pids: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            name = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if name.startswith(b"ray::") and b"Complete" in name:
            pids.append(int(process.name))
    return pids


def count(part: LineRange) -> int:
    return sum(1 for _ in decode(part, NDJSONDecoder()))


def test_example_of_line_ranges(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"a": 1}\n' * 1000)
    parts = ray.data.from_items([{"part": part} for part in line_ranges(path, 16)])
    assert parts.count() == 16
    assert parts.map(lambda row: {"count": count(row["part"])}).sum("count") == 1000
