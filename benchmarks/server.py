"""A server that streams the fixture darkai: `python -m benchmarks.server`.

It prints its port and serves until its standard input ends. A POST to /paced gets one event per
write, each after a pause, so that clients read them one by one. Other paths get a single write.
"""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import sleep

from .fixtures import DARKAI

PAUSE = 0.0005
COUNT = 1000

# The last event ends the reply.
WRITES = DARKAI.writes[-COUNT:]
# Chunks of the chunked transfer coding, ended by an empty one.
PARTS = [b"%x\r\n%b\r\n" % (len(write), write) for write in (*WRITES, b"")]
TEXT = "".join(event.json()["data"]["text"] for event in DARKAI.expected[-COUNT:-1])


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
        with suppress(ConnectionError):  # a client may close after the last event
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
