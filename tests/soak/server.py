"""The hostile server. Each response ends as chance has it."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
import socket
import struct
import sys
from collections.abc import Iterator

_LAST_EVENT_ID = re.compile(rb"\r\nlast-event-id: (\d+)", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_BUSY = b"HTTP/1.1 503 Busy\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n"
_FATES = ("end", "cut", "reset", "stall", "busy")


def event(number: int) -> bytes:
    """Return the event with this ID, the same each time."""
    return f"id: {number}\ndata: {data_of(number)}\n\n".encode()


def data_of(number: int) -> str:
    """Return the data of an event, of any size from 0 to some hundred characters."""
    return f"{number}é漢🎉" * (number * 7 % 40)


def reply_text(prompt: str) -> str:
    """Return the text of the reply to a prompt, the same each time."""
    return f"re: {prompt} 🎉" * (1 + len(prompt) * 7 % 6)


def _reply(prompt: str) -> Iterator[bytes]:
    text = reply_text(prompt)
    for start in range(0, len(text), 50):
        delta = {"choices": [{"delta": {"content": text[start : start + 50]}}]}
        yield f"data: {json.dumps(delta)}\n\n".encode()
    yield b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while await _respond(reader, writer):
            pass
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def _respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Answer a request, and return whether the connection goes on."""
    request = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(request)
    body = await reader.readexactly(int(length[1])) if length else b""
    fate = random.choice(_FATES)
    if fate == "busy":
        writer.write(_BUSY)
        await writer.drain()
        return True
    last = _LAST_EVENT_ID.search(request)
    if request.startswith(b"GET "):
        first = int(last[1]) + 1 if last else 0
        items = [event(number) for number in range(first, first + random.randrange(1, 12))]
        # Part of the next event: it must come whole after the reconnection.
        rest = event(first + len(items))
    else:
        items = [*_reply(json.loads(body)["messages"][-1]["content"])]
        if fate != "end":
            items = items[: random.randrange(len(items))]
        rest = b'data: {"choices": [{"delta": {"con'
    writer.write(_HEAD)
    for item in items:
        await _send(writer, item)
    if fate == "end":
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True
    await _send(writer, rest[: random.randrange(len(rest) - 2)])
    if fate == "reset":
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif fate == "stall":
        await reader.read()
    return False


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Send bytes in chunks of any size, at a gentle pace."""
    while data:
        size = random.choice((1, 3, len(data), len(data)))
        writer.write(b"%x\r\n%s\r\n" % (len(data[:size]), data[:size]))
        data = data[size:]
    await writer.drain()
    await asyncio.sleep(random.expovariate(1 / pace))


async def serve() -> None:
    """Print the URL, and serve until the process ends."""
    logging.disable()  # each cut is logged
    server = await asyncio.start_server(_answer, "127.0.0.1", 0, backlog=4096)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    async with server:
        await server.serve_forever()


# Seconds between two events, on average.
pace = float(sys.argv[1]) if __name__ == "__main__" else 2.0

if __name__ == "__main__":
    asyncio.run(serve())
