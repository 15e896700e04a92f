"""The command `backends`: a table of the installed backends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from sseparse.cli import one_line, print_json
from sseparse_backends._registry import get_backend, installed_backends

_TITLES = ("name", "default model", "models", "key")
# Of the table, in columns.
_MIN_WIDTH = 80


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print each backend as a line of JSON.")
def backends(as_json: bool) -> None:
    """List the installed backends.

    "models" are the known ones, or "any" if the service decides; "key" is the environment variable
    with the API key. A backend that cannot be used has an error instead.
    """
    rows = [_describe(name) for name in installed_backends()]
    if as_json:
        for row in rows:
            print_json(row)
    else:
        _print_rows(rows)


def _describe(name: str) -> Mapping[str, Any]:
    try:
        backend = get_backend(name)
        return {
            "name": name,
            "default_model": backend.default_model,
            "models": [*backend.models],
            "key": getattr(backend, "key_variable", None),
        }
    except Exception as error:  # another package's backend must not hide the rest
        return {"name": name, "error": str(error) or repr(error)}


def _print_rows(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print a table, or a list where the terminal is too narrow for one."""
    console = Console(highlight=False)
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for title in _TITLES:
        table.add_column(title, overflow="fold")  # a narrow terminal cuts nothing off
    for row in rows:
        cells = [row["name"], row.get("error")]
        if cells[1] is None:
            models = ", ".join(map(str, row["models"])) or "any"
            cells = [row["name"], row["default_model"], models, row["key"] or "none"]
        cells = [escape(one_line(str(cell))) for cell in cells]
        table.add_row(*cells)
        if console.width < _MIN_WIDTH:
            console.print(cells[0], style="bold")
            for title, cell in zip(_TITLES[1:], cells[1:], strict=False):
                label = title if "error" not in row else "error"
                console.print(Padding(f"{label}: {cell}", (0, 0, 0, 2)))
    if console.width >= _MIN_WIDTH:
        console.print(table)
