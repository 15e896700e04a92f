"""The registry: backends are found by name, through the entry points of installed packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from sseparse_backends import DarkAI, get_backend
from sseparse_backends._registry import installed_backends

from .servers import Chatter


@pytest.fixture
def chatter_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package with two backends, one of which cannot be loaded."""
    info = tmp_path / "chatter-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: chatter\nVersion: 1.0\n")
    entries = "[sseparse.backends]\nchatter = tests.servers:Chatter\nbroken = no_such_module:X\n"
    (info / "entry_points.txt").write_text(entries)
    monkeypatch.syspath_prepend(tmp_path)


def test_backend_is_made_by_name() -> None:
    assert get_backend("darkai") == DarkAI()


def test_backend_is_made_with_its_options() -> None:
    assert get_backend("darkai", strict=True) == DarkAI(strict=True)


def test_option_that_the_backend_does_not_have_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="volume"):
        get_backend("darkai", volume=11)


@pytest.mark.usefixtures("chatter_package")
def test_unknown_name_is_told_the_known_ones() -> None:
    message = "no backend is called 'dark'; installed are broken, chatter, darkai"
    with pytest.raises(ValueError, match=message):
        get_backend("dark")


@pytest.mark.usefixtures("chatter_package")
def test_backend_of_another_package_is_found() -> None:
    assert isinstance(get_backend("chatter"), Chatter)


@pytest.mark.usefixtures("chatter_package")
def test_backend_that_cannot_be_loaded_does_not_hide_the_others() -> None:
    assert list(installed_backends()) == ["broken", "chatter", "darkai"]
    with pytest.raises(ImportError, match="the backend 'broken' cannot be loaded"):
        get_backend("broken")
