"""Servers that others wrote, as processes on loopback; and each service's tools and limits."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from subprocess import DEVNULL, STDOUT, Popen, TimeoutExpired
from time import monotonic, sleep
from typing import Any

_PARAMETERS = {"type": "object", "properties": {"place": {"type": "string"}}}
_FUNCTION = {"name": "weather", "description": "The weather there", "parameters": _PARAMETERS}

# The option `tools` with the tool `weather`, by the name of the backend.
TOOLS: Mapping[str, list[Any]] = {
    "anthropic": [
        {"name": "weather", "description": "The weather there", "input_schema": _PARAMETERS}
    ],
    "gemini": [{"functionDeclarations": [_FUNCTION]}],
    "openai": [{"type": "function", "function": _FUNCTION}],
    "openai-responses": [{"type": "function", **_FUNCTION}],
}

# The option that limits the tokens of the reply.
LIMITS: Mapping[str, str] = {
    "anthropic": "max_tokens",
    "gemini": "maxOutputTokens",
    "openai": "max_tokens",
    "openai-responses": "max_output_tokens",
}


@contextmanager
def run_server(
    command: Sequence[str], *, folder: Path, ready: str, seconds: float = 180, **environment: str
) -> Iterator[str]:
    """Run a server and yield its address, such as "http://127.0.0.1:4711".

    command: its arguments; {port} in one becomes a free port.
    folder: its working directory, which gets its output as server.log.
    ready: path that is answered with 200 once it serves, which may take so many seconds.
    environment: variables beside those of this process.

    Raises RuntimeError, with the end of the output, if it does not serve.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    log = folder / "server.log"
    arguments = [argument.replace("{port}", str(port)) for argument in command]
    variables = {**os.environ, "NO_PROXY": "*", **environment}
    with (
        log.open("wb") as output,
        Popen(
            arguments, cwd=folder, env=variables, stdin=DEVNULL, stdout=output, stderr=STDOUT
        ) as process,
    ):
        try:
            deadline = monotonic() + seconds
            while not _serves(port, ready):
                if process.poll() is not None or monotonic() > deadline:
                    end = log.read_text(errors="replace")[-3000:]
                    raise RuntimeError(f"the server does not serve:\n{end}")
                sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(20)
            except TimeoutExpired:
                process.kill()


def _serves(port: int, path: str) -> bool:
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
