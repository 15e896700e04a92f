"""The contract: public names, deltas and errors."""

from __future__ import annotations

import copy
import pickle
import re
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

import sseparse_backends
from sseparse import RemoteProtocolError
from sseparse_backends import (
    BackendError,
    Delta,
    Finish,
    Reasoning,
    Reply,
    ReplyTimeout,
    Text,
    ToolCall,
    ToolCallPiece,
    Usage,
)

DELTAS: list[tuple[Delta, str]] = [
    (Text("Hi"), "Text(text='Hi')"),
    (Reasoning("Hm"), "Reasoning(text='Hm')"),
    (ToolCallPiece(1), "ToolCallPiece(index=1, id='', name='', arguments='')"),
    (ToolCall(1), "ToolCall(index=1, id='', name='', arguments='', kind='function')"),
    (
        Usage(),
        "Usage(input_tokens=0, output_tokens=0, cached_tokens=0, reasoning_tokens=0)",
    ),
    (Finish(), "Finish(reason=None, kind='stop')"),
]


def test_public_names_are_these() -> None:
    assert sseparse_backends.__all__ == [
        "Anthropic",
        "Attachment",
        "Backend",
        "BackendError",
        "Cohere",
        "DarkAI",
        "Delta",
        "Finish",
        "FinishKind",
        "Gemini",
        "GeminiInteractions",
        "Messages",
        "Ollama",
        "OpenAI",
        "OpenAIResponses",
        "Reasoning",
        "Reply",
        "ReplyStream",
        "ReplyTimeout",
        "Text",
        "ToolCall",
        "ToolCallPiece",
        "Usage",
        "get_backend",
        "stream",
    ]
    assert all(hasattr(sseparse_backends, name) for name in sseparse_backends.__all__)


def test_no_module_imports_a_private_name_of_sseparse() -> None:
    folder = Path(sseparse_backends.__file__).parent
    imports = re.compile(r"^\s*(?:from|import) sseparse(?:\.\w+)*\._\w", re.MULTILINE)
    assert [path.name for path in folder.rglob("*.py") if imports.search(path.read_text())] == []


@pytest.mark.slow
def test_import_loads_no_http_library_and_no_server() -> None:
    loaded = "{'httpx', 'httpx2', 'aiohttp', 'hypercorn', 'trio'} & set(sys.modules)"
    code = f"import sseparse_backends, sys; print(sorted({loaded}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(("delta", "shown"), DELTAS)
def test_delta_is_a_value(delta: Delta, shown: str) -> None:
    assert repr(delta) == shown
    assert pickle.loads(pickle.dumps(delta)) == copy.copy(delta) == delta
    assert hash(copy.copy(delta)) == hash(delta)
    field = shown.partition("(")[2].partition("=")[0]
    with pytest.raises(FrozenInstanceError):
        setattr(delta, field, "other")


def test_deltas_of_different_classes_differ() -> None:
    deltas: list[Any] = [Text("a"), Reasoning("a"), Finish("a"), ToolCall(0), Usage(0, 0)]
    assert len(set(deltas)) == len(deltas)


def test_backend_error_shows_what_the_service_sent() -> None:
    error = BackendError({"code": 429})
    assert error.payload == {"code": 429}
    assert str(error) == "the service reports an error: {'code': 429}"
    words = str(BackendError({"message": "x" * 1000, "more": ["y" * 1000] * 1000}))
    assert words.startswith("the service reports an error: {'message': 'xxx")
    assert len(words) < 350
    assert isinstance(error, RemoteProtocolError)


def test_reply_timeout_is_a_timeout_error_that_tells_which_limit_and_how_far() -> None:
    error = ReplyTimeout(2.5, "idle", "Hi")
    assert (error.limit, error.which, error.text) == (2.5, "idle", "Hi")
    assert str(error) == "no further content arrived within 2.5 seconds (characters so far: 2)"
    total = "the reply was not finished within 2.5 seconds (characters so far: 0)"
    assert str(ReplyTimeout(2.5, "total")) == total
    assert str(ReplyTimeout(2.5, "first")).startswith("no content arrived within 2.5 seconds")
    assert str(ReplyTimeout(2.5, "connect")).startswith("no connection was made within 2.5 s")
    assert isinstance(error, TimeoutError)
    assert isinstance(error, RemoteProtocolError)


@pytest.mark.parametrize(
    "error", [BackendError({"code": 429}, "Hi"), ReplyTimeout(2.5, "idle", "Hi")]
)
def test_errors_survive_pickling_and_copying(error: RemoteProtocolError) -> None:
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is type(error)
        assert (twin.args, vars(twin), str(twin)) == (error.args, vars(error), str(error))


def test_arguments_of_a_reply_timeout_are_not_those_of_an_os_error() -> None:
    error = ReplyTimeout(2.5, "idle", "Hi")
    assert error.args == (2.5, "idle", "Hi")
    assert (error.errno, error.strerror, error.filename) == (None, None, None)


def test_reply_of_a_subclass_needs_only_a_decoder_and_interpret() -> None:
    reply: Reply[Any] = Reply()
    assert (reply.id, reply.served_model, reply.messages, reply.end()) == (None, None, [], ())
    with pytest.raises(NotImplementedError):
        reply.interpret(None)
