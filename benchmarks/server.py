"""A server that streams the fixture darkai, in a process of its own: `python -m benchmarks.server`.

It prints its port, and serves until its standard input ends. A POST to /paced gets each event
after a pause, so that a client reads them one by one; any other the whole reply in one write.
"""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import sleep

from .fixtures import FIXTURES

PAUSE = 0.0005
COUNT = 1000

# The last of them ends the reply.
FIXTURE = next(fixture for fixture in FIXTURES if fixture.name == "darkai")
WRITES = FIXTURE.writes[-COUNT:]
# Each is a chunk of the chunked coding; an empty one is the last.
PARTS = [b"%x\r\n%b\r\n" % (len(write), write) for write in (*WRITES, b"")]
TEXT = "".join(event.json()["data"]["text"] for event in FIXTURE.expected[-COUNT:-1])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        if self.path == "/paced":
            for part in PARTS:
                sleep(PAUSE)
                self.wfile.write(part)
        else:
            self.wfile.write(b"".join(PARTS))

    def handle(self) -> None:
        with suppress(ConnectionError):  # who has read the last event may close
            super().handle()

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    """Serve on a free port of this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        print(server.server_port, flush=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdin.read()
        server.shutdown()


if __name__ == "__main__":
    main()
