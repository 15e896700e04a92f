"""`batch`, killed at random moments: each prompt has one line in the end.

SSEPARSE_KILLS sets the number of kills, SSEPARSE_SEED their moments. For figures:

    SSEPARSE_KILLS=300 pytest --log-cli-level INFO tests/backends/test_batch_kills.py
"""

from __future__ import annotations

import json
import logging
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketStream
from anyio.from_thread import start_blocking_portal

from tests.support.servers import LAST_CHUNK, Server, chunk, head, read_request, serve
from tests.support.services import lines, prompt_of

KILLS = int(os.environ.get("SSEPARSE_KILLS", "8"))
CONCURRENCY = 8
# Requests up to a kill, at most.
_MOST = 40
# So many that no run comes to its end before it is killed.
_PROMPTS = KILLS * _MOST


_logger = logging.getLogger(__name__)


class Killer:
    """A service that kills the process which talks to it, once for each call of `aim`.

    It does so while it answers one of the next requests: before its head, within its body, or
    after it, when the process writes the line.
    """

    def __init__(self, moments: random.Random) -> None:
        self.prompts: list[str] = []
        self._moments = moments
        self._process: subprocess.Popen[bytes] | None = None
        self._left = 0
        self._step = 0

    def aim(self, process: subprocess.Popen[bytes]) -> None:
        self._left = self._moments.randint(1, _MOST)
        self._step = self._moments.randint(0, 3)
        self._process = process

    async def handle(self, connection: SocketStream, server: Server) -> None:
        while True:
            prompt = prompt_of(await read_request(connection))
            self.prompts.append(prompt)
            process = None
            if self._process is not None:
                self._left -= 1
                if self._left == 0:
                    process, self._process = self._process, None
            fields = head(200, "transfer-encoding: chunked", content_type="application/x-ndjson")
            words = [{"message": {"content": f"{prompt} {word} " * 100}} for word in range(3)]
            steps = [
                fields + chunk(lines(*words[:2])),
                chunk(lines(words[2])),
                chunk(lines({"message": {}, "done": True})) + LAST_CHUNK,
            ]
            for number, step in enumerate(steps):
                if process is not None and number == self._step:
                    process.kill()
                await connection.send(step)
            if process is not None:
                await anyio.sleep(self._moments.uniform(0, 0.01))
                process.kill()


@pytest.mark.slow
def test_killed_at_any_moment_it_loses_only_the_replies_in_flight(tmp_path: Path) -> None:
    moments = random.Random(os.environ.get("SSEPARSE_SEED", "0"))
    killer = Killer(moments)
    prompts, replies = tmp_path / "prompts.jsonl", tmp_path / "replies.jsonl"
    numbers = [str(number) for number in range(_PROMPTS)]
    prompts.write_bytes(lines(*({"id": number, "prompt": number} for number in numbers)))
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serve(killer.handle)) as server,
    ):
        command = [sys.executable, "-m", "sseparse", "batch", str(prompts), "-o", str(replies)]
        command += ["--backend", "ollama", "--base-url", f"http://127.0.0.1:{server.port}"]
        command += ["--concurrency", str(CONCURRENCY)]
        environment = os.environ | {"NO_PROXY": "*"}
        for number in range(KILLS):
            loop = moments.choice(["asyncio", "trio"])
            process = subprocess.Popen(
                [*command, "--async-backend", loop], env=environment, stderr=subprocess.DEVNULL
            )
            with process:
                killer.aim(process)
            assert process.returncode == -9
            *whole, rest = replies.read_bytes().split(b"\n")
            written = [json.loads(line)["id"] for line in whole]
            assert len({*written}) == len(written)
            # Each requested prompt has its line, or was in flight when a process was killed.
            assert len(killer.prompts) - len(written) <= (number + 1) * CONCURRENCY
            # A kill within a write is rare: this is what it leaves.
            if whole and not rest:
                line = moments.choice(whole)
                with replies.open("ab") as file:
                    file.write(line[: moments.randint(0, len(line))])
        assert subprocess.run(command, env=environment, check=False).returncode == 0
    found = [json.loads(line) for line in replies.read_bytes().splitlines()]
    assert sorted(outcome["id"] for outcome in found) == sorted(numbers)
    for outcome in found:
        assert outcome["error"] is None
        words = "".join(f"{outcome['id']} {word} " * 100 for word in range(3))
        assert outcome["text"] == words
    requests = Counter(killer.prompts)
    again = len(killer.prompts) - len(numbers)
    _logger.info(
        "kills: %d, prompts: %d, requests beyond them: %d of at most %d, for one prompt at most %d",
        *(KILLS, len(numbers), again, KILLS * CONCURRENCY, max(requests.values())),
    )
    assert 0 <= again <= KILLS * CONCURRENCY
