"""The prompts of a file, JSON lines or CSV, checked before the first is sent."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from sseparse.cli import one_line
from sseparse_backends._ids import IDTable
from sseparse_backends._prompts import prompt_id

# A number of a line, the ID for a prompt without one, and the prompt or why it is invalid.
_Line: TypeAlias = tuple[int, int, dict[str, Any] | Exception]

_CHUNK = 1024 * 1024

# Reasons that are kept of lines left out.
_REASONS = 5

# csv takes fields of up to 128 KiB otherwise.
_MAX_FIELD = 2**31 - 1


class PromptFile:
    """The valid prompts of a file: an iterable that reads the file each time.

    path: the file. It must not change meanwhile, but lines may be added.
    column: the column of a CSV file that has the prompts, or None for JSON lines. Without an "id",
        the ID of a prompt is the number of its row, without the head, or of its line.
    check: raises TypeError or ValueError for a prompt that cannot be sent.
    system: the system prompt of all prompts without one, or None.
    skip_invalid: leave out lines without a valid prompt.

    Raises ValueError, naming the line, for an invalid prompt or an ID that repeats.
    """

    def __init__(
        self,
        path: Path,
        column: str | None,
        check: Callable[[dict[str, Any]], object],
        *,
        system: str | None = None,
        skip_invalid: bool = False,
    ) -> None:
        # The IDs of the prompts, and the number of lines left out, with the first reasons.
        self.ids: IDTable = IDTable()
        self.skipped: int = 0
        self.reasons: list[str] = []
        # Whether a prompt has the number of its line for an ID.
        self.is_numbered: bool = False
        self._path = path
        self._column = column
        self._system = system
        self._size = path.stat().st_size
        # Of the file as it is checked.
        self.fingerprint: bytes = self.fingerprint_of(self._size)
        try:
            self._check(check, skip_invalid)
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number, default, prompt in self._lines():
            if isinstance(prompt, dict):
                identity = prompt.get("id", default)
                if self.ids.line(identity) == number:
                    yield {**prompt, "id": identity}

    def fingerprint_of(self, size: int) -> bytes:
        """Return the number and the hash of the file's first `size` bytes."""
        hashed, read = sha256(), 0
        with self._path.open("rb") as file:
            while data := file.read(min(size - read, _CHUNK)):
                hashed.update(data)
                read += len(data)
        return f"{read} {hashed.hexdigest()}".encode()

    def has_changed(self) -> bool:
        """Return whether the file is another one than before, but for an addition at its end."""
        return self.fingerprint_of(self._size) != self.fingerprint

    def close(self) -> None:
        """Delete the table of IDs."""
        self.ids.close()

    def _check(self, check: Callable[[dict[str, Any]], object], skip_invalid: bool) -> None:
        for number, default, prompt in self._lines():
            try:
                if isinstance(prompt, Exception):
                    raise prompt
                identity = prompt_id(prompt, default)
                check(prompt)
                self.is_numbered |= "id" not in prompt
            except (TypeError, ValueError) as error:
                reason = f"line {number} of {self._path}: {error}"
                if not skip_invalid:
                    raise ValueError(f"{reason}; --skip-invalid leaves it out") from error
                self.skipped += 1
                if self.skipped <= _REASONS:
                    self.reasons.append(one_line(reason))
                continue
            if (other := self.ids.add(identity, number)) is not None:
                raise ValueError(
                    f"the IDs of prompts must be unique, a number where there is no `id`, got "
                    f"{identity!r} on the lines {other} and {number} of {self._path}"
                )
        if self.skipped and not self.ids:
            raise ValueError(f"PROMPTS must have a valid prompt, got none: {self.reasons[0]}")

    def _lines(self) -> Iterator[_Line]:
        column, system = self._column, self._system
        lines = _json_lines(self._path) if column is None else _rows(self._path, column)
        if system is None:
            return lines
        return (
            (number, default, _with_system(prompt, system)) for number, default, prompt in lines
        )


def _with_system(prompt: dict[str, Any] | Exception, system: str) -> dict[str, Any] | Exception:
    """Return a prompt with a system prompt, if it has none and is valid."""
    if isinstance(prompt, Exception) or ("prompt" in prompt and "messages" in prompt):
        return prompt  # `ask` refuses it
    messages = prompt.get("messages", prompt.get("prompt"))
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    try:
        checked = msgspec.convert(messages, list[dict[str, Any]])
    except msgspec.ValidationError:
        return prompt
    if any(message.get("role") == "system" for message in checked):
        return prompt
    others = {name: value for name, value in prompt.items() if name != "prompt"}
    return {**others, "messages": [{"role": "system", "content": system}, *checked]}


def _json_lines(path: Path) -> Iterator[_Line]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.isspace():
                continue
            try:
                if line.lstrip()[:1] == b"[":
                    raise TypeError("a prompt must be an object on a line, got an array")
                prompt = json.loads(line.rstrip())
                if not isinstance(prompt, dict):
                    raise TypeError(f"a prompt must be an object, got {line[:40]!r}")
                yield number, number, prompt
            except json.JSONDecodeError as error:
                yield number, number, ValueError(f"{error.msg} at column {error.colno}")
            except (TypeError, ValueError, RecursionError) as error:
                yield number, number, ValueError(str(error))


def _rows(path: Path, column: str) -> Iterator[_Line]:
    csv.field_size_limit(_MAX_FIELD)
    with path.open("rb") as file:
        lines = (line.decode("utf-8" if at else "utf-8-sig") for at, line in enumerate(file))
        reader = csv.reader(lines, strict=True)
        begins = 1
        try:
            names = next(reader, list[str]())
            if column not in names:
                known = ", ".join(map(repr, names))
                raise ValueError(
                    f"--column must be one of the columns of {path} ({known}), got {column!r}"
                )
            read = {"prompt": column, "id": "id"} if "id" in names else {"prompt": column}
            for name in read.values():
                if names.count(name) > 1:
                    raise ValueError(f"the column {name} must be once in {path}")
            number = 0
            begins = reader.line_num + 1
            for cells in reader:
                if cells:
                    number += 1
                    yield begins, number, _prompt_of_row(names, cells, read)
                begins = reader.line_num + 1
        except UnicodeDecodeError as error:
            raise ValueError(f"line {reader.line_num + 1} of {path}: {error}") from error
        except csv.Error as error:
            raise ValueError(f"the row from line {begins} of {path} on: {error}") from error


def _prompt_of_row(
    names: list[str], cells: list[str], read: dict[str, str]
) -> dict[str, Any] | Exception:
    """Return the prompt of a row, or why it has none.

    read: the column for each field of the prompt.
    """
    if len(cells) != len(names):
        return ValueError(f"a row must have {len(names)} cells, as the first has, got {len(cells)}")
    row = dict(zip(names, cells, strict=True))
    for name in read.values():
        if not row[name]:
            return ValueError(f"the column {name} must not be empty")
    return {field: row[name] for field, name in read.items()}
