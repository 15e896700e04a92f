"""The prompts of a batch, their IDs and their requests."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from typing import Any, TypeAlias

from sseparse.transports import Transport

from ._contract import Backend, Messages
from ._ids import ID, IDTable
from ._stream import ReplyStream, stream

# A prompt, the messages of a conversation, or a mapping with either; see `complete`.
Prompt: TypeAlias = Messages | Mapping[str, Any]


# Arguments of `stream` that no prompt has for itself.
_OF_THE_BATCH = {"backend", "messages", "retries", "transport"}


def prompt_id(prompt: Prompt, position: int) -> ID:
    """Return the ID of `prompt`, which is `position` unless it has one.

    Raises TypeError.
    """
    if not isinstance(prompt, Mapping) or "id" not in prompt:
        return position
    own = prompt["id"]
    if isinstance(own, bool) or not isinstance(own, str | int):
        raise TypeError(f"id must be a str or an int, got {own!r}")
    return own


def identified(prompts: Iterable[Prompt]) -> Generator[Mapping[str, Any], None, None]:
    """Yield each prompt as a mapping that has its ID.

    Raises TypeError, and ValueError for an ID that repeats.
    """
    with closing(IDTable()) as seen:
        for position, prompt in enumerate(prompts):
            try:
                identity = prompt_id(prompt, position)
            except TypeError as error:
                raise TypeError(f"{error} at position {position}") from None
            if (other := seen.add(identity, position)) is not None:
                raise ValueError(
                    f"the IDs of prompts must be unique, got {identity!r} at the positions {other} "
                    f"and {position}"
                )
            mapping = prompt if isinstance(prompt, Mapping) else {"messages": prompt}
            yield {**mapping, "id": identity}


def expect_prompts(prompts: object, *more: type) -> None:
    """Raise TypeError unless `prompts` is an iterable of prompts, or one of `more`."""
    kind = type(prompts)
    if issubclass(kind, (str, bytes, bytearray, Mapping)) or not issubclass(
        kind, (Iterable, *more)
    ):
        raise TypeError(f"prompts must be an iterable of prompts, got {kind.__name__}")


def expect_count(name: str, count: object, least: int) -> None:
    """Raise TypeError or ValueError unless `count` is an int that is at least `least`."""
    if isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"{name} must be an int, got {count!r}")
    if count < least:
        raise ValueError(f"{name} must be at least {least}, got {count!r}")


def ask(
    backend: Backend, prompt: Prompt, transport: Transport | None, options: Mapping[str, Any]
) -> ReplyStream:
    """Return the reply to `prompt`, which is not tried again.

    options: arguments of `stream`, where the prompt has no others.

    Raises TypeError and ValueError for an invalid prompt or option.
    """
    if not isinstance(prompt, Mapping):
        prompt = {"messages": prompt}
    own = {name: value for name, value in prompt.items() if name != "id"}
    if ("prompt" in own) == ("messages" in own):
        raise ValueError(
            f"a prompt must have either `prompt` or `messages`, got {', '.join(own) or 'neither'}"
        )
    if "prompt" in own and not isinstance(own["prompt"], str):
        raise TypeError(f"`prompt` must be a str, got {type(own['prompt']).__name__}")
    messages = own.pop("prompt", None)
    if messages is None:
        messages = own.pop("messages")
    all_options = {**options, **own}
    if wrong := all_options.keys() & _OF_THE_BATCH:
        raise TypeError(f"{min(wrong)} is not an option of a prompt, but of all")
    return stream(backend, messages, transport=transport, retries=0, **all_options)
