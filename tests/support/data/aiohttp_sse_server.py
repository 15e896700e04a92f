"""A server of aiohttp-sse with a topic for each path: POST publishes, GET follows.

It writes its port to the output, and ends when its input does.
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp_sse import EventSourceResponse, sse_response


@dataclass
class Topic:
    events: list[tuple[str, str]] = field(default_factory=list)
    grown: asyncio.Condition = field(default_factory=asyncio.Condition)


topics: defaultdict[str, Topic] = defaultdict(Topic)


async def publish(request: web.Request) -> web.Response:
    topic = topics[request.path]
    topic.events.append((request.headers["x-eventsource-event"], await request.text()))
    async with topic.grown:
        topic.grown.notify_all()
    return web.Response()


async def follow(request: web.Request) -> EventSourceResponse:
    topic = topics[request.path]
    async with sse_response(request, ping_interval=0.05) as response:
        number = int((response.last_event_id or "№0")[1:])
        while True:
            async with topic.grown:
                while number == len(topic.events):
                    await topic.grown.wait()
            kind, data = topic.events[number]
            number += 1
            await response.send(data, event=kind, id=f"№{number}")


async def main() -> None:
    app = web.Application()
    app.add_routes([web.get("/{topic}", follow), web.post("/{topic}", publish)])
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
