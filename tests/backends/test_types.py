"""The types of the backends: a type checker finds a wrong option and a wrong reply."""

from __future__ import annotations

from pathlib import Path

import pytest
from mypy import api

ROOT = Path(__file__).parents[2]

SNIPPET = """\
from collections.abc import Iterable
from typing import Any
from sseparse import NDJSONDecoder, SSEDecoder
from sseparse.transports import Request
from sseparse_backends import Backend, DarkAI, Delta, Gemini, Messages, Ollama, OpenAI, Reply, Text

OpenAI().request("Hi", temperature=3, stop=["!"])
OpenAI().request("Hi", temprature=3)  # Unexpected keyword argument "temprature"
OpenAI().request("Hi", temperature="3")  # "temperature" to "request" of "OpenAI" has incompatible
Gemini().request("Hi", topk=3)  # Unexpected keyword argument "topk"
Ollama().request("Hi", num_ctx=1024, think=True)
DarkAI().request("Hi", temperature=3)  # Unexpected keyword argument "temperature"
OpenAI().request(5)  # incompatible type "int"
OpenAI(include_usage="False")  # incompatible type "str"


class Plain:
    decoder: NDJSONDecoder[str]
    def interpret(self, event: str, /) -> Iterable[Delta]: return [Text(event)]


class Lines(Reply[str]):
    def __init__(self) -> None: self.decoder = NDJSONDecoder()
    def interpret(self, event: str, /) -> Iterable[Delta]: return [Text(event)]


class Parrot:
    name = default_model = "parrot"
    models = ("parrot",)
    def request(self, messages: Messages, *, model: str | None = None, volume: int = 1) -> Request:
        return Request("POST", "http://127.0.0.1/")
    def reply(self, content_type: str) -> Lines: return Lines()


lines: Reply[str] = Lines()
parrot: Backend = Parrot()
numbers: Reply[int] = Lines()  # Incompatible types in assignment
plain: Reply[Any] = Plain()  # Incompatible types in assignment
backend: Backend = OpenAI  # Incompatible types in assignment
"""


def test_type_checker_finds_wrong_options_and_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    # Not from a file: mypy would cache it, and runs at the same time share the cache.
    monkeypatch.setenv("MYPYPATH", "backends")
    options = ["--strict", "--no-error-summary", "--hide-error-context", "--config-file="]
    output, errors, _ = api.run([*options, "-c", SNIPPET])
    assert errors == ""
    messages = [line for line in output.splitlines() if ": error: " in line]
    wrong = [
        (f"<string>:{number}: error: ", line.partition("  # ")[2])
        for number, line in enumerate(SNIPPET.splitlines(), 1)
        if "  # " in line
    ]
    assert len(messages) == len(wrong), output
    for message, (place, words) in zip(messages, wrong, strict=True):
        assert place in message
        assert words in message
