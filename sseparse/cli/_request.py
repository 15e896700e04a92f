"""The options of a request that `listen` and `inspect` have in common, as curl and httpie do."""

from __future__ import annotations

import base64
import functools
import getpass
import os
import re
import ssl
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from sseparse.transports import CertificateError

from ._terminal import open_input

_OPTIONS: tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...] = (
    click.option(
        "-H",
        "--header",
        "headers",
        multiple=True,
        metavar="NAME:VALUE",
        help="A header field of the request. Repeatable.",
    ),
    click.option("-X", "--method", help="The HTTP method.  [default: GET, or POST with --data]"),
    click.option(
        "-d",
        "--data",
        metavar="TEXT|@FILE",
        help="The request body; @FILE reads it from a file, @- from standard input. Set "
        "Content-Type with -H.",
    ),
    click.option(
        "-u",
        "--user",
        metavar="USER:PASSWORD",
        help="Basic authentication; without a password, it is asked for.",
    ),
    click.option("-k", "--insecure", is_flag=True, help="Accept any certificate."),
    click.option(
        "--cacert",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Trust the certificate authorities in FILE (PEM) alone.",
    ),
)

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_LOCAL = re.compile(r":(\d*)(?=[/?#]|\Z)")


@dataclass(frozen=True)
class RequestOptions:
    """A request, as the options say; None for `tls` is the transport's own."""

    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    tls: ssl.SSLContext | None = None


def request_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command, which gets them as `request`, a RequestOptions."""

    @functools.wraps(command)
    def with_request(
        *,
        headers: Sequence[str],
        method: str | None,
        data: str | None,
        user: str | None,
        insecure: bool,
        cacert: Path | None,
        **arguments: Any,
    ) -> Any:
        fields = dict(map(_header_field, headers))
        if len(fields) < len(headers):
            raise ValueError("--header must be given once for each name")
        if user is not None:
            if "authorization" in map(str.lower, fields):
                raise ValueError("--user must be used without a header field Authorization")
            fields["authorization"] = _basic(user)
        request = RequestOptions(
            method or ("GET" if data is None else "POST"),
            fields,
            b"" if data is None else _body(data),
            _tls(insecure, cacert),
        )
        with _remedy_for_certificates():
            return command(request=request, **arguments)

    decorated: Callable[..., Any] = with_request
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def full_url(url: str) -> str:
    """Return the URL that is meant by `host:port/path`, `:port/path` or `:/path`, as in httpie.

    The scheme is http:, the host localhost.
    """
    if _SCHEME.match(url):
        return url
    url = url.removeprefix("://")
    if local := _LOCAL.match(url):
        url = "localhost" + (url if local[1] else url[1:])
    return f"http://{url}"


def _header_field(option: str) -> tuple[str, str]:
    name, colon, value = option.partition(":")
    if not colon:
        # The option is not shown: it may be a secret.
        raise ValueError("--header must be a name, a colon and a value")
    return name, value.strip(" \t")


def _body(data: str) -> bytes:
    if not data.startswith("@"):
        return os.fsencode(data)
    try:
        with open_input(data[1:]) as file:
            return file.read()
    except OSError as error:
        raise ValueError(f"--data must be text or the @name of a file to read: {error}") from error


def _basic(user: str) -> str:
    """Return the value of Authorization (RFC 7617)."""
    name, colon, password = user.partition(":")
    if not colon:
        try:
            with warnings.catch_warnings():
                # Without a terminal, getpass warns before it reads standard input.
                warnings.simplefilter("error", getpass.GetPassWarning)
                password = getpass.getpass(f"Password for {name}: ")
        except (getpass.GetPassWarning, EOFError) as error:
            raise ValueError(
                "--user must be USER:PASSWORD where no terminal can ask for it"
            ) from error
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def _tls(insecure: bool, cacert: Path | None) -> ssl.SSLContext | None:
    if insecure and cacert is not None:
        raise ValueError("--insecure must be used without --cacert")
    if insecure:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if cacert is not None:
        try:
            return ssl.create_default_context(cafile=cacert)
        except OSError as error:  # ssl.SSLError is one
            raise ValueError(
                f"--cacert must be a file of certificates in PEM, got {cacert}: {error}"
            ) from error
    return None


@contextmanager
def _remedy_for_certificates() -> Generator[None]:
    try:
        yield
    except CertificateError as error:
        remedy = "--cacert FILE trusts its authority, -k any certificate"
        raise ConnectionError(f"{error}; {remedy}") from error
