"""Batches on a cluster of Dask. Workers and drivers die; each prompt has one outcome in the end.

SSEPARSE_CLUSTER_KILLS sets the number of deaths of each kind, SSEPARSE_SEED their moments. For
figures:

    SSEPARSE_CLUSTER_KILLS=30 pytest --log-cli-level INFO tests/backends/test_dask.py
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from sseparse import LineRange, NDJSONDecoder, UnexpectedResponse, decode, line_ranges
from sseparse_backends.batch import merge
from sseparse_backends.dask import complete
from tests.support.cluster import (
    CONCURRENCY,
    KILLS,
    MOST,
    CountingService,
    counting_service,
    expected,
    texts,
)
from tests.support.services import refusal

WORKERS = 2

_logger = logging.getLogger(__name__)

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import dask
        import distributed

        untyped: Any = distributed

        # A part may lose its worker again and again. LocalCluster gives a worker up that is lost
        # 15 s after an earlier loss, by default.
        settings = {
            "distributed.scheduler.allowed-failures": 1000,
            "distributed.deploy.lost-worker-timeout": "1 hour",
        }
        with (
            dask.config.set(settings),
            untyped.LocalCluster(
                n_workers=WORKERS, threads_per_worker=1, dashboard_address=None
            ) as local,
        ):
            yield local


@pytest.fixture
def client(cluster: Any) -> Iterator[Any]:
    import distributed

    untyped: Any = distributed
    with untyped.Client(cluster) as client:
        yield client


@pytest.fixture
def service() -> Iterator[CountingService]:
    with counting_service() as service:
        yield service


def test_each_prompt_is_requested_once_and_never_again(
    client: Any, service: CountingService, tmp_path: Path
) -> None:
    folder, output = tmp_path / "logs", tmp_path / "replies.jsonl"
    prompts = [str(number) for number in range(50)]
    options: dict[str, Any] = {"part_size": 7, "concurrency": CONCURRENCY}
    assert complete(client, service.backend, prompts[:30], folder, **options) == 30
    assert complete(client, service.backend, iter(prompts), folder, **options) == 20
    assert merge(folder, output) == 0
    assert texts(output) == expected(50)
    assert set(service.requests.values()) == {1}


def test_the_client_need_not_be_the_default_one(
    cluster: Any, service: CountingService, tmp_path: Path
) -> None:
    import distributed

    kind: Any = distributed.Client
    with kind(cluster, set_as_default=False) as client:
        assert complete(client, service.backend, ["a"], tmp_path / "logs") == 1


def test_wrong_key_ends_it_and_the_next_call_does_all(
    client: Any, service: CountingService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [str(number) for number in range(200)]
    with monkeypatch.context() as patched:
        patched.setattr("tests.support.cluster.ollama_reply", lambda _: refusal(401))
        with pytest.raises(UnexpectedResponse, match="401"):
            complete(client, service.backend, prompts, tmp_path / "logs", part_size=10)
    assert service.requests.total() < 200
    assert complete(client, service.backend, prompts, tmp_path / "logs") == 200


def test_wrong_arguments_are_errors(client: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="part_size must be at least 1, got 0"):
        complete(client, "openai", [], tmp_path, part_size=0)
    with pytest.raises(TypeError, match="part_size must be an int, got '5'"):
        complete(client, "openai", [], tmp_path, part_size=untyped("5"))
    with pytest.raises(TypeError, match="prompts must be an iterable of prompts, got str"):
        complete(client, "openai", "Hello", tmp_path)
    with pytest.raises(TypeError, match="client must be a Client that is not asynchronous, got 7"):
        complete(untyped(7), "openai", [], tmp_path)
    with pytest.raises(TypeError, match="multiple values for keyword argument 'on_outcome'"):
        complete(client, "openai", ["a"], tmp_path, on_outcome=print)
    with pytest.raises(ValueError, match="name must be one of the installed backends"):
        complete(client, "nobody", ["a"], tmp_path)


def untyped(value: Any) -> Any:
    return value


def test_missing_package_is_named() -> None:
    code = "import sys; sys.modules['distributed'] = None; import sseparse_backends.dask"
    result = subprocess.run(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stderr.endswith("needs another package: pip install 'sseparse[dask]'\n")


def test_later_driver_ends_the_earlier_one_and_does_the_rest(
    cluster: Any, service: CountingService, tmp_path: Path
) -> None:
    number = 400
    options: dict[str, Any] = {"part_size": 20, "concurrency": CONCURRENCY}
    begun = threading.Event()
    service.left, service.kill = 60, begun.set

    def drive() -> int:
        import distributed

        kind: Any = distributed.Client
        with kind(cluster) as client:
            prompts = [str(position) for position in range(number)]
            return complete(client, service.backend, prompts, tmp_path / "logs", **options)

    with ThreadPoolExecutor() as threads:
        earlier = threads.submit(drive)
        assert begun.wait(60)
        later = threads.submit(drive)
        with pytest.raises(RuntimeError, match="or another one has begun"):
            earlier.result()
        assert 0 < later.result() < number
    assert merge(tmp_path / "logs", tmp_path / "replies.jsonl") == 0
    assert texts(tmp_path / "replies.jsonl") == expected(number)
    assert service.requests.total() - number <= CONCURRENCY * WORKERS


def test_workers_are_killed(
    cluster: Any, client: Any, service: CountingService, tmp_path: Path
) -> None:
    moments = random.Random(os.environ.get("SSEPARSE_SEED", "0"))
    killed = 0

    def kill() -> None:
        nonlocal killed
        # Those that are not starting.
        running = [nanny for nanny in cluster.workers.values() if nanny.status.name == "running"]
        if not running:
            service.left = 1
            return
        os.kill(moments.choice(running).pid, signal.SIGKILL)
        killed += 1
        if killed < KILLS:
            service.left = moments.randint(1, MOST)

    service.left, service.kill = moments.randint(1, MOST), kill
    number = MOST * KILLS + 100
    prompts = [str(number) for number in range(number)]
    options: dict[str, Any] = {"part_size": 20, "concurrency": CONCURRENCY}
    assert complete(client, service.backend, prompts, tmp_path / "logs", **options) == number
    assert merge(tmp_path / "logs", tmp_path / "replies.jsonl") == 0
    assert texts(tmp_path / "replies.jsonl") == expected(number)
    further = service.requests.total() - number
    _logger.info("%d workers killed, %d prompts, %d requests more", killed, number, further)
    assert killed == KILLS
    # Those that were in flight, or whose line was being written.
    assert further <= killed * CONCURRENCY


DRIVER = """
import json, sys
from distributed import Client
from sseparse_backends import Ollama
from sseparse_backends.dask import complete

address, url, number, folder, options = json.loads(sys.argv[1])
with Client(address) as client:
    prompts = [str(number) for number in range(number)]
    complete(client, Ollama(base_url=url), prompts, folder, **options)
"""


def test_drivers_are_killed(cluster: Any, service: CountingService, tmp_path: Path) -> None:
    moments = random.Random(os.environ.get("SSEPARSE_SEED", "0"))
    # So many, and so slow, that parts are in progress when the next driver begins.
    number = 3 * MOST * KILLS + 100
    service.seconds = 0.2
    options: dict[str, Any] = {"part_size": 100, "concurrency": CONCURRENCY}
    folder = str(tmp_path / "logs")
    url = f"http://127.0.0.1:{service.port}"
    arguments = json.dumps([cluster.scheduler_address, url, number, folder, options])
    earlier: set[Path] = set()
    for _ in range(KILLS):
        with subprocess.Popen([sys.executable, "-c", DRIVER, arguments]) as driver:
            # The parts of the driver before send requests, too.
            while (begun := {*Path(folder).glob("*.run")}) <= earlier:
                assert driver.poll() is None
                sleep(0.01)
            earlier |= begun
            service.kill = driver.kill
            service.left = moments.randint(1, MOST)
        assert driver.returncode == -9
    service.seconds = 0.01
    subprocess.run([sys.executable, "-c", DRIVER, arguments], check=True)
    assert merge(folder, tmp_path / "replies.jsonl") == 0
    assert texts(tmp_path / "replies.jsonl") == expected(number)
    further = service.requests.total() - number
    _logger.info("%d drivers killed, %d prompts, %d requests more", KILLS, number, further)
    # Those in flight when the next run begins.
    assert further <= KILLS * CONCURRENCY * WORKERS


def test_ctrl_c_leaves_nothing_running(
    cluster: Any, client: Any, service: CountingService, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"part_size": 1000, "concurrency": CONCURRENCY}
    url = f"http://127.0.0.1:{service.port}"
    arguments = json.dumps([cluster.scheduler_address, url, 2000, str(tmp_path / "logs"), options])
    command = [sys.executable, "-c", DRIVER, arguments]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as driver:
        service.seconds = 120.0  # no reply comes
        service.kill = lambda: driver.send_signal(signal.SIGINT)
        service.left = CONCURRENCY * WORKERS
    # It waits until the workers are free again.
    assert client.submit(int, 7, pure=False).result(timeout=60) == 7
    assert service.requests.total() == CONCURRENCY * WORKERS


def count(part: LineRange) -> int:
    return sum(1 for _ in decode(part, NDJSONDecoder()))


def test_example_of_line_ranges(client: Any, tmp_path: Path) -> None:
    import dask.bag

    bag: Any = dask.bag
    (tmp_path / "events.jsonl").write_bytes(b'{"a": 1}\n' * 1000)
    parts = bag.from_sequence(line_ranges(tmp_path / "events.jsonl", 16), partition_size=1)
    assert parts.npartitions == 16
    assert parts.map(count).sum().compute() == 1000
