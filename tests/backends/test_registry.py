"""The registry finds backends by name, through entry points of installed packages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sseparse_backends import DarkAI, get_backend
from sseparse_backends._registry import installed_backends
from tests.support.servers import Chatter, Serve, head

ROOT = Path(__file__).parents[2]
SCRIPTS = "Scripts" if sys.platform == "win32" else "bin"


OWN = [
    *("anthropic", "cohere", "darkai", "gemini", "gemini-interactions"),
    *("ollama", "openai", "openai-responses"),
]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Install a package with these backends."""

    def install(entries: str) -> None:
        info = tmp_path / "chatter-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: chatter\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[sseparse.backends]\n{entries}")
        monkeypatch.syspath_prepend(tmp_path)

    return install


@pytest.fixture
def chatter_package(install: Callable[[str], None]) -> None:
    """Install two backends; one cannot be loaded."""
    install("chatter = tests.support.servers:Chatter\nbroken = no_such_module:X\n")


def test_backend_is_made_by_name() -> None:
    assert get_backend("darkai") == DarkAI()


@pytest.mark.parametrize("name", OWN)
def test_name_in_the_registry_is_the_name_of_the_backend(name: str) -> None:
    backend = get_backend(name)
    assert backend.name == name
    assert backend.default_model


def test_backend_is_made_with_its_options() -> None:
    assert get_backend("darkai", strict=True) == DarkAI(strict=True)


def test_option_that_the_backend_does_not_have_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="volume"):
        get_backend("darkai", volume=11)


def test_option_of_the_wrong_type_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"^base_url must be str, got int$"):
        get_backend("openai", base_url=5)


@pytest.mark.usefixtures("chatter_package")
def test_unknown_name_is_told_the_known_ones() -> None:
    known = ", ".join(sorted([*OWN, "broken", "chatter"]))
    with pytest.raises(ValueError, match="name must be one of the installed backends") as caught:
        get_backend("dark")
    words = f"name must be one of the installed backends ({known}), got 'dark'"
    assert str(caught.value) == words


@pytest.mark.parametrize("name", [DarkAI, DarkAI(), None, 5])
def test_anything_but_a_name_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match=r"^name must be one of .*, got .*"):
        get_backend(name)


def test_two_backends_of_one_name_are_told_apart_by_nobody(
    install: Callable[[str], None],
) -> None:
    install("darkai = tests.support.servers:Chatter\n")
    words = "name 'darkai' is ambiguous: sseparse_backends.darkai:DarkAI, tests.support"
    with pytest.raises(ValueError, match=words):
        get_backend("darkai")
    assert installed_backends().count("darkai") == 1


@pytest.mark.usefixtures("chatter_package")
def test_backend_of_another_package_is_found() -> None:
    assert isinstance(get_backend("chatter"), Chatter)


@pytest.mark.usefixtures("chatter_package")
def test_backend_that_cannot_be_loaded_does_not_hide_the_others() -> None:
    assert list(installed_backends()) == sorted([*OWN, "broken", "chatter"])
    with pytest.raises(ImportError, match="backend 'broken' cannot be loaded"):
        get_backend("broken")


PARROT = """
from sseparse import NDJSONDecoder
from sseparse.transports import Request
from sseparse_backends import Finish, Text

class Parrot:
    name = "parrot"
    default_model = "grey"
    models = ["grey", "green"]

    def __init__(self, base_url):
        self.base_url = base_url

    def request(self, messages, *, model=None, **options):
        return Request("POST", self.base_url, {}, (model or "grey").encode())

    def reply(self, content_type):
        return ParrotReply()

class ParrotReply:
    def __init__(self):
        self.decoder = NDJSONDecoder()

    def interpret(self, word):
        return [Finish()] if word is None else [Text(word)]

    def end(self):
        return ()
"""
PYPROJECT = """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "sseparse-parrot"
version = "1.0"
dependencies = ["sseparse[cli]"]

[project.entry-points."sseparse.backends"]
parrot = "parrot:Parrot"
"""


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A new environment with this project and another package's backend."""
    project, package, environment = (tmp_path / name for name in ("project", "parrot", "env"))
    project.mkdir()
    # A copy: building writes into the source tree.
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, project)
    for name in ("sseparse", "backends"):
        leave_out = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
        shutil.copytree(ROOT / name, project / name, ignore=leave_out)
    package.mkdir()
    (package / "parrot.py").write_text(PARROT)
    (package / "pyproject.toml").write_text(PYPROJECT)
    make: list[str | Path]
    install: list[str | Path]
    if shutil.which("uv"):
        make = ["uv", "venv", "--quiet", "--python", sys.executable, environment]
        install = ["uv", "pip", "install", "--quiet", "--python", environment]
    else:
        make = [sys.executable, "-m", "venv", environment]
        install = [environment / SCRIPTS / "python", "-m", "pip", "install", "--quiet"]
    # Without a C compiler the installation is faster.
    variables = {**os.environ, "CC": "false"}
    for command in (make, [*install, f"{project}[cli]", package]):
        subprocess.run(command, check=True, env=variables, timeout=300)
    return environment


@pytest.mark.slow
def test_backend_of_another_package_is_found_in_a_clean_environment(
    environment: Path, served: Serve
) -> None:
    def sseparse(*arguments: str) -> str:
        command = [str(environment / SCRIPTS / "sseparse"), *arguments]
        variables = {**os.environ, "NO_PROXY": "*", "PYTHONPATH": "", "COLUMNS": "200"}
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, env=variables, timeout=300
        )
        return str(done.stdout)

    lines = sseparse("backends", "--json").splitlines()
    assert [json.loads(line)["name"] for line in lines] == [*OWN, "parrot"]
    reply = head(200, "connection: close", content_type="application/x-ndjson")
    server = served([reply + b'"Pretty "\n"Polly"\nnull\n'])
    said = sseparse("chat", "--backend", "parrot", "--base-url", server.url, "Who is pretty?")
    assert said == "Pretty Polly\n"
    assert server.requests[0].endswith(b"\r\n\r\ngrey")
