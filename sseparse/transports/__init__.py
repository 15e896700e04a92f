"""Transports: how requests are sent. Each is a file of its own, imported from there.

`httpx2.HTTPX2Transport` is the default, `aiohttp.AiohttpTransport` runs on asyncio alone, and
`memory.MemoryTransport` answers from a script. For threads, there are `sync_httpx2`, and
`memory.MemoryTransport` again.

A transport of your own has a method `send`, which returns a response with `status`, `headers`,
`receive` and `aclose`; it inherits and registers nothing. If it closes each connection with the
response, it says so by `keeps_connections = False`. This one plays a stream that was
recorded with `curl -N`:

    import anyio
    from sseparse.client import EventSource

    class Player:
        def __init__(self, path):
            self.path = path

        async def send(self, request):
            try:
                return Recording(await anyio.open_file(self.path, "rb"))
            except OSError as error:
                raise ConnectionError(f"{self.path}: {error}") from error

    class Recording:
        status = 200
        headers = {"content-type": "text/event-stream"}

        def __init__(self, file):
            self.file = file

        async def receive(self):
            return await self.file.read(65536)  # at the end of the file: b""

        async def aclose(self):
            await self.file.aclose()

    async def main(path):
        async with EventSource("https://example.org/", transport=Player(path)) as events:
            print((await anext(events)).data)

For threads, a transport has a method `prepare`; see SyncTransport. This one sends with requests
2.32 and urllib3 2.3 or later. A close from another thread ends its wait for the body, but not for
the head, which requests cannot interrupt:

    import requests
    from sseparse.sync import EventSource

    class RequestsTransport:
        def __init__(self, session):
            self.session = session

        def prepare(self, request):
            return RequestsResponse(self.session, request)

    class RequestsResponse:
        def __init__(self, session, request):
            self.session = session
            self.request = request
            self.response = None
            self.aborted = False

        def start(self, timeout):
            following = self.request
            while following is not None:
                self.close()
                self.response = self.send(following, timeout)
                self.status = self.response.status_code
                fields = self.response.headers.items()
                self.headers = {name.lower(): value for name, value in fields}
                # requests itself would send keys to other origins.
                following = following.redirected(self.status, self.headers)

        def send(self, request, timeout):
            try:
                return self.session.request(
                    request.method,
                    request.url,
                    headers={**request.headers, "accept-encoding": "identity"},
                    data=request.body,
                    # For the head, and for each read of the body. Of these, `abort` comes first.
                    timeout=(request.connect_timeout, timeout and timeout + 1),
                    stream=True,
                    allow_redirects=False,
                )
            except requests.ConnectTimeout as error:
                raise TimeoutError("no connection was made in time") from error
            except requests.RequestException as error:
                # Its message shows the query of the URL, which may be secret.
                raise ConnectionError(type(error).__name__) from error

        def receive(self):
            try:
                data = self.response.raw.read1(65536)
            except Exception as error:
                raise ConnectionError(str(error)) from error
            if self.aborted and not data:
                raise ConnectionError("closed while reading")
            return data

        def abort(self):
            self.aborted = True
            if self.response is not None:
                self.response.raw.shutdown()

        def close(self):
            if self.response is not None:
                self.response.close()

    def first(url):
        with requests.Session() as session:
            with EventSource(url, transport=RequestsTransport(session)) as events:
                return next(events)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ._default import sync_transport_or_default, transport_or_default
from ._errors import CertificateError
from ._request import Request

__all__ = [
    "CertificateError",
    "Request",
    "Response",
    "SyncResponse",
    "SyncTransport",
    "Transport",
    "sync_transport_or_default",
    "transport_or_default",
]


class Response(Protocol):
    """A response whose head has arrived, and whose body comes in chunks."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The header fields, with lower-case names; repeated ones joined by commas."""
        ...

    async def receive(self) -> bytes:
        """Return the next bytes of the body as they arrive, content encodings undone.

        Empty bytes are the end of a complete body. After an error or a cancellation the response
        can only be closed.

        Raises ConnectionError for a body that is cut or damaged, and UnexpectedResponse for one
        whose content encoding cannot be undone.
        """
        ...

    async def aclose(self) -> None:
        """Close the response at once, in whatever state, with the connection that only it uses."""
        ...


class Transport(Protocol):
    """Sends requests."""

    async def send(self, request: Request) -> Response:
        """Send `request`, follow redirects and return the response once its head has arrived.

        `request.redirected(status, headers)` says what to send after a redirect. An exception or
        a cancellation leaves nothing open.

        Raises ConnectionError without a response, and TimeoutError where connecting takes longer
        than the request's connect_timeout; both name the proxy where connecting has failed there.
        An error of the library becomes a ConnectionError, with the library's as its `__cause__`;
        a CertificateError where a certificate does not verify.
        """
        ...


class SyncResponse(Protocol):
    """A response for a thread: prepared, then started, then read, and closed in any state.

    One thread uses it; `abort` alone is called from any other.
    """

    @property
    def status(self) -> int:
        """The HTTP status, once it is started."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The header fields, with lower-case names; repeated ones joined by commas."""
        ...

    def start(self, timeout: float | None) -> None:
        """Send the request, follow redirects and return once the head has arrived.

        timeout: positive seconds after which `abort` will be called, or None. A library that
            cannot be interrupted while it connects may take it as its own timeout.

        Raises as Transport.send does.
        """
        ...

    def receive(self) -> bytes:
        """Return the next bytes of the body; see Response.receive."""
        ...

    def abort(self) -> None:
        """End `start` or `receive`, in another thread, at once, and any later call of them.

        They may raise, or `receive` may return empty bytes.
        """
        ...

    def close(self) -> None:
        """Close the response, with the connection that only it uses."""
        ...


class SyncTransport(Protocol):
    """Sends requests from threads."""

    def prepare(self, request: Request) -> SyncResponse:
        """Return the response to `request`, which its `start` will send, without any I/O."""
        ...
