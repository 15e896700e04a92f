"""The options of a service that `chat` and `batch` have in common."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import click

from sseparse import UnexpectedResponse
from sseparse.cli import SECONDS
from sseparse.transports import CertificateError
from sseparse_backends import Backend, get_backend
from sseparse_backends._registry import installed_backends


@contextmanager
def naming_option(backend: Backend) -> Generator[None, None, None]:
    """Turn the TypeError of a request into a ValueError that names --option."""
    try:
        yield
    except TypeError as error:
        raise ValueError(f"--option is not valid for {backend.name}: {error}") from error


def complete_backend(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of installed backends that begin with `incomplete`."""
    return [name for name in installed_backends() if name.startswith(incomplete)]


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the known models of the chosen backend that begin with `incomplete`."""
    try:
        models = get_backend(ctx.params["backend"]).models
    except (ImportError, TypeError, ValueError):  # a message would end up in the command line
        return []
    return [model for model in models if model.startswith(incomplete)]


_OPTIONS: tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...] = (
    click.option(
        "--backend",
        default="darkai",
        envvar="SSEPARSE_BACKEND",
        show_default=True,
        show_envvar=True,
        shell_complete=complete_backend,
        help="Name of the backend; see `sseparse backends`.",
    ),
    click.option("--model", shell_complete=complete_model, help="Model; by default the backend's."),
    click.option(
        "--base-url", metavar="URL", help="Address of the service, if not its public one."
    ),
    click.option(
        "--api-key",
        metavar="KEY",
        help="Key of the service; by default the backend's environment variable, which is safer: "
        "other users of this machine can see arguments.",
    ),
    click.option(
        "--option",
        "options",
        multiple=True,
        metavar="NAME=VALUE",
        help="Option of the request, or argument of `stream`; VALUE is JSON or text. Repeatable.",
    ),
    click.option(
        "--backend-option",
        "backend_options",
        multiple=True,
        metavar="NAME=VALUE",
        help="Argument of the backend; VALUE is JSON or text. Repeatable.",
    ),
    click.option(
        "--proxy", metavar="URL", help="Proxy: an http:, https:, socks5: or socks5h: URL."
    ),
    click.option(
        "--timeout",
        type=SECONDS,
        default=600.0,
        show_default=True,
        metavar="SECONDS",
        help="Time limit for a whole reply.",
    ),
    click.option(
        "--first-timeout",
        type=SECONDS,
        metavar="SECONDS",
        help="Time limit for the first content of a reply.  [default: --idle-timeout]",
    ),
    click.option(
        "--idle-timeout",
        type=SECONDS,
        metavar="SECONDS",
        help="Time limit between two pieces of content.",
    ),
)


@dataclass(frozen=True)
class ServiceOptions:
    """A backend and the arguments of a request, from the options.

    backend: name.
    backend_arguments: keyword arguments of the backend.
    arguments: keyword arguments of `stream`.
    """

    backend: str
    backend_arguments: Mapping[str, Any]
    arguments: Mapping[str, Any]

    def connect(self, **more: Any) -> Backend:
        """Return the backend.

        more: further arguments of it.

        Raises ValueError and ImportError.
        """
        known = installed_backends()
        if self.backend not in known:
            raise ValueError(
                f"--backend, or SSEPARSE_BACKEND, must be one of {', '.join(known)}, "
                f"got {self.backend!r}"
            )
        try:
            return get_backend(self.backend, **self.backend_arguments, **more)
        except TypeError as error:
            words = f"--backend-option is not valid for {self.backend}: {error}"
            if "api_key" in self.backend_arguments and "'api_key'" in str(error):
                words = f"--api-key must be left out: {self.backend} takes none"
            raise ValueError(words) from error


def service_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command, which gets them as `service`, a ServiceOptions."""

    @functools.wraps(command)
    def with_service(
        *,
        backend: str,
        base_url: str | None,
        api_key: str | None,
        options: Sequence[str],
        backend_options: Sequence[str],
        **others: Any,
    ) -> Any:
        named = {"base_url": base_url, "api_key": api_key}
        service = ServiceOptions(
            backend,
            {name: value for name, value in named.items() if value is not None}
            | _parsed(backend_options),
            {name: others.pop(name) for name in _REQUEST} | _parsed(options),
        )
        try:
            return command(service=service, **others)
        except CertificateError as error:
            error.add_note("SSL_CERT_FILE=FILE trusts the authorities in FILE (PEM)")
            raise
        except UnexpectedResponse as error:
            _name_key(error, service)
            raise

    decorated: Callable[..., Any] = with_service
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


_KEY_REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


def _name_key(error: UnexpectedResponse, service: ServiceOptions) -> None:
    """Add to an error where the key comes from, if it may be wrong."""
    if error.status in _KEY_REFUSED:
        variable = getattr(service.connect(), "key_variable", None)
        if variable is not None:
            error.add_note(f"the key is that of --api-key, or of the variable {variable}")


# The arguments of `stream` that have an option of their own.
_REQUEST = ("model", "proxy", "timeout", "first_timeout", "idle_timeout")


def _parsed(options: Iterable[str]) -> dict[str, Any]:
    """Return the values of NAME=VALUE arguments: JSON, or else text.

    Raises ValueError.
    """
    return dict(map(_parsed_option, options))


def _parsed_option(option: str) -> tuple[str, Any]:
    name, equals, value = option.partition("=")
    if not name or not equals:
        # Not shown: it may be a secret.
        raise ValueError("--option and --backend-option must be NAME=VALUE")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value
