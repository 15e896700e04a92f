"""A conversation on a terminal: `chat` without a prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from platformdirs import user_state_path
from prompt_toolkit import PromptSession
from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from sseparse.cli import EXPECTED_ERRORS, failure_of, note
from sseparse_backends import Backend, ReplyStream

from ._prompt import Prompt, argument_text
from ._reply import unfinished

_DROPPED = "this turn is not part of the conversation"


def converse(
    backend: Backend,
    system: Iterable[Mapping[str, Any]],
    prompt: Prompt,
    ask: Callable[[list[Mapping[str, Any]]], ReplyStream],
) -> None:
    """Read prompts and print replies until Ctrl-D. Ctrl-C ends a reply.

    system: the messages before the first prompt.
    prompt: its files go with the first prompt.
    ask: prints the reply to messages.
    """
    messages = [*system]
    # It runs an event loop of its own. Between two replies no other one runs.
    session = PromptSession[str](history=_history())
    note("Ctrl-C ends a reply, Ctrl-D the conversation")
    while (line := _read_line(session)) is not None:
        try:
            text = argument_text("PROMPT", line)
            message = replace(prompt, text=text).message(backend)
            reply = ask([*messages, message])
        except KeyboardInterrupt:
            note(f"interrupted: {_DROPPED}")
            continue
        except EXPECTED_ERRORS as error:
            failure_of(error).show()
            note(_DROPPED)
            continue
        if words := unfinished(reply):
            note(words)
        if reply.tool_calls:
            note(f"only a program can answer a tool call: {_DROPPED}")
            continue
        messages += [message, *reply.messages]
        prompt = Prompt("")


def _read_line(session: PromptSession[str]) -> str | None:
    """Return a line that is not blank, or None after Ctrl-D. Ctrl-C clears the line."""
    while True:
        try:
            line = session.prompt("> ")
        except KeyboardInterrupt:
            continue
        except EOFError:
            return None
        if line.strip():
            return line


def _history() -> History:
    """Return the history of prompts: a file in the user's folder for state, if it is writable."""
    path = user_state_path("sseparse", appauthor=False) / "history"
    try:
        # For the user alone, as a shell's history is.
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.open("ab").close()
    except OSError as error:
        note(f"no history: {error}")
        return InMemoryHistory()
    return FileHistory(path)
