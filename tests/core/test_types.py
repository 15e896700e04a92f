"""A type checker accepts every source that the drivers read, and refuses others."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy")

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

SOURCES = """\
import asyncio, http.client, io, socket, sys, urllib.request
from collections.abc import AsyncIterator, Iterator
from typing import Any
import aiohttp, anyio, anyio.abc, anyio.streams.memory, httpx, httpx2, requests, trio
import sseparse
from sseparse import *
from sseparse.transports import Response

httpx2_response: httpx2.Response
httpx_response: httpx.Response
http_response: http.client.HTTPResponse
requests_response: requests.Response
aiohttp_response: aiohttp.ClientResponse
generator: Iterator[bytes]
async_generator: AsyncIterator[bytes]
stream_reader: asyncio.StreamReader
anyio_file: anyio.AsyncFile[bytes]
anyio_stream: anyio.abc.SocketStream
anyio_memory_stream: anyio.streams.memory.MemoryObjectReceiveStream[bytes]
trio_stream: trio.SocketStream
trio_channel: trio.MemoryReceiveChannel[bytes]
transport_response: Response
anything: Any
"""

ACCEPTED = [
    "decode(httpx2_response)",
    "decode(httpx_response)",
    "decode(requests_response)",
    "value: int = next(decode(httpx2_response))",
    "value: int = next(decode(http_response))",
    "values: AsyncItems[int] = adecode(transport_response)",
    "event: ServerSentEvent = next(decode(httpx2_response, SSEDecoder()))",
    "block: Block = next(decode(b'', SSEDecoder(blocks=True)))",
    "line: bytes = next(decode(b'', LineDecoder()))",
    "value: int = next(decode(b'', NDJSONDecoder(loads=len, encoding_errors=None)))",
    "value: int = next(decode(b'', NDJSONDecoder(loads=bytes.__len__, encoding_errors=None)))",
    "item: int | InvalidJSON = next(decode(b'', NDJSONDecoder(loads=int, errors='return')))",
    "value: int = next(decode(b'', JSONValuesDecoder(loads=int)))",
    "decode(urllib.request.urlopen('http://localhost'))",
    "decode(open('file', 'rb'))",
    "decode(open('file', 'rb', buffering=0))",
    "decode(sys.stdin.buffer)",
    "decode(socket.socket().makefile('rb'))",
    "decode(io.BytesIO())",
    "decode(b'')",
    "decode(bytearray())",
    "decode(memoryview(b''))",
    "decode([b''])",
    "decode([bytearray()])",
    "decode(generator)",
    "decode(anything)",
    "event: ServerSentEvent = next(decode(b''))",
    "value: int = next(decode(b'', NDJSONDecoder(loads=int)))",
    "item: ServerSentEvent | Comment | UnknownField = next(decode(b'', SSEDecoder(comments=True)))",
    "adecode(httpx2_response)",
    "adecode(httpx_response)",
    "adecode(aiohttp_response)",
    "adecode(aiohttp_response.content)",
    "adecode(stream_reader)",
    "adecode(anyio_file)",
    "adecode(anyio_stream)",
    "adecode(anyio_memory_stream)",
    "adecode(trio_stream)",
    "adecode(trio_channel)",
    "adecode(transport_response)",
    "adecode(async_generator)",
    "adecode(anything)",
    "items: AsyncItems[ServerSentEvent] = adecode(async_generator)",
    "values: AsyncItems[int] = adecode(async_generator, NDJSONDecoder(loads=int))",
]

REFUSED = [
    "decode(42)",
    "decode(None)",
    "decode('text')",
    "decode(['text'])",
    "decode([1])",
    "decode(io.StringIO())",
    "decode(open('file'))",
    "decode(async_generator)",
    "decode(stream_reader)",
    "decode(aiohttp_response)",
    "decode(trio_stream)",
    "decode(b'', SSEDecoder)",
    "adecode(42)",
    "adecode(None)",
    "adecode('nonsense')",
    "adecode(b'')",
    "adecode([b''])",
    "adecode(io.BytesIO())",
    "adecode(generator)",
    "adecode(async_generator, NDJSONDecoder)",
    "number: int = next(decode(b''))",
    "encode_event(5)",
    "encode_event(id=5)",
    "encode_event(retry='5')",
    "SSEDecoder(max_event_size='5')",
    "NDJSONDecoder(loads=None)",
    "NDJSONDecoder(loads=int, errors='ignore')",
    "SSEDecoder(block=True)",
    "UnknownField('a', 'b')",
    "LineDecoder().feed('text')",
    "PartialJSON(allow='strings')",
    "event: ServerSentEvent = next(decode(b'', SSEDecoder(blocks=True)))",
    "decoder_for(5)",
]


@pytest.fixture(scope="module")
def errors() -> dict[str, str]:
    """Return the errors of mypy, by snippet."""
    lines = [*SOURCES.splitlines(), *ACCEPTED, *REFUSED]
    functions = [f"def f{n}() -> None: {line}" for n, line in enumerate([*ACCEPTED, *REFUSED])]
    # Not from a file: mypy would cache it, and runs at the same time share the cache.
    program = "\n".join([*SOURCES.splitlines(), *functions, ""])
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--no-error-summary",
            "--config-file=",
            "-c",
            program,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stderr == ""
    found = re.findall(r"<string>:(\d+): error: (.*)", result.stdout)
    return {lines[int(number) - 1]: message for number, message in found}


@pytest.mark.parametrize("snippet", ACCEPTED)
def test_type_checker_accepts(errors: dict[str, str], snippet: str) -> None:
    assert snippet not in errors, errors[snippet]


@pytest.mark.parametrize("snippet", REFUSED)
def test_type_checker_refuses(errors: dict[str, str], snippet: str) -> None:
    assert snippet in errors


def test_nothing_else_is_wrong_with_the_snippets(errors: dict[str, str]) -> None:
    assert errors.keys() <= {*ACCEPTED, *REFUSED}
