"""The prompt of `chat`, from arguments, standard input and files."""

from __future__ import annotations

import mimetypes
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import click

from sseparse_backends import Attachment, Backend

# Bytes of a file: no service takes more, and /dev/zero never ends.
_MAX_FILE = 512 * 1024 * 1024

# The formats that all services with images take, and the start of their files.
_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"%PDF-": "application/pdf",
}


@dataclass(frozen=True)
class Prompt:
    """A prompt and the files that go with it.

    text: words and standard input; empty if there are none.
    files: the content of each file.
    """

    text: str
    files: Sequence[str | Attachment] = ()

    def message(self, backend: Backend) -> Mapping[str, Any]:
        """Return the user's message in the backend's shape: texts of files are below the prompt.

        Raises ValueError for an attachment that the backend does not take.
        """
        texts = [self.text, *(file for file in self.files if isinstance(file, str))]
        attachments = [file for file in self.files if isinstance(file, Attachment)]
        text = "\n\n".join(filter(None, texts))
        # Optional, as tool_result is.
        user_message = getattr(backend, "user_message", None)
        if user_message is not None:
            return cast("Mapping[str, Any]", user_message(text, *attachments))
        if attachments:
            name, media_type = attachments[0].name, attachments[0].media_type
            rule = f"attachments must be text for {backend.name}"
            raise ValueError(f"{rule}, got {name} ({media_type})")
        return {"role": "user", "content": text}


def read_prompt(words: Sequence[str], paths: Sequence[Path]) -> Prompt:
    """Return the prompt that arguments, standard input and files make.

    words: the words of the prompt; "-" reads standard input, whatever it is.

    Raises ValueError for text that is not UTF-8, and OSError.
    """
    text = " ".join(argument_text("PROMPT", word) for word in words if word != "-")
    files: list[str | Attachment] = []
    if "-" in words or _is_redirected():
        content = _content(_standard_input(), "standard input", "standard input")
        if isinstance(content, Attachment):
            files.append(content)
        else:
            text = "\n\n".join(filter(None, [text, content.strip("\r\n")]))
    for path in paths:
        name = click.format_filename(path)
        with path.open("rb") as file:
            content = _content(file, f"--file {name}", click.format_filename(path.name))
        files.append(content if isinstance(content, Attachment) else f"{name}:\n{content}")
    return Prompt(text, files)


def argument_text(name: str, argument: str) -> str:
    """Return the text of an argument, whatever the locale's encoding.

    Raises ValueError, naming the argument, for text that is not UTF-8.
    """
    return _decode(os.fsencode(argument), name)


def _is_redirected() -> bool:
    """Return whether standard input is a pipe or a file: a terminal or /dev/null is not read."""
    stdin: Any = sys.stdin  # None if it is closed
    try:
        mode = os.fstat(stdin.fileno()).st_mode if stdin is not None else stat.S_IFCHR
    except OSError:  # not backed by the system
        return False
    return not stat.S_ISCHR(mode)


def _standard_input() -> BinaryIO:
    if cast("Any", sys.stdin) is None:
        raise click.ClickException("standard input is closed")
    return sys.stdin.buffer


def _content(file: BinaryIO, argument: str, name: str) -> str | Attachment:
    """Return the content of a file: a text, or an attachment by its signature or its name."""
    data = file.read(_MAX_FILE + 1)
    if len(data) > _MAX_FILE:
        raise ValueError(f"{argument} must be at most {_MAX_FILE} bytes")
    for signature, media_type in _SIGNATURES.items():
        if data.startswith(signature):
            return Attachment(data, media_type, name)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return Attachment(data, "image/webp", name)
    try:
        return _decode(data, argument)
    except ValueError:
        guessed, _ = mimetypes.guess_type(name)
        if guessed is None or guessed.startswith("text/"):
            raise
        return Attachment(data, guessed, name)


def _decode(data: bytes, argument: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        got = f"byte 0x{data[error.start]:02x} at offset {error.start}"
        remedy = "convert text with `iconv -t UTF-8`"
        raise ValueError(f"{argument} must be UTF-8 text, got {got}; {remedy}") from None
