"""Ollama: the exact request, and the deltas of each line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sseparse import EventTooLarge, IncompleteStream, InvalidJSON
from sseparse_backends import (
    Backend,
    BackendError,
    Delta,
    Finish,
    Reasoning,
    Text,
    ToolCall,
    ToolCallPiece,
    Usage,
)
from sseparse_backends.ollama import Ollama
from sseparse_backends.testing import Outcome, receive
from tests.support.cuts import check

OLLAMA = Ollama()
# mypy checks it against the protocol.
BACKEND: Backend = OLLAMA

NDJSON = "application/x-ndjson"


@pytest.fixture(autouse=True)
def _no_key_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OLLAMA_API_KEY", raising=False)


def body(*lines: Any) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def said(content: str, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content, **more}
    return {"model": "llama3.2", "created_at": "now", "message": message, "done": False}


def done(content: str = "", **more: Any) -> dict[str, Any]:
    return {**said(content), "done": True, **more}


def checked(data: bytes, text: str, raises: type[Exception] | None = None) -> Outcome:
    error = b'{"error": "gone"}\n'
    return check(OLLAMA, data, text=text, content_type=NDJSON, error=error, raises=raises)


def deltas(data: bytes, text: str) -> list[Delta]:
    """The deltas of a complete reply, without pieces of calls."""
    return [d for d in checked(data, text).deltas if not isinstance(d, ToolCallPiece)]


@pytest.mark.parametrize("end", [b"\n", b"", b"\r\n", b"\n\n"])
def test_text_comes_in_lines_of_which_the_last_need_not_end(end: bytes) -> None:
    data = body(
        said("Grü"),
        said("ße,\n"),
        done("you", done_reason="stop", prompt_eval_count=17, eval_count=50, total_duration=9),
    )
    assert deltas(data.rstrip() + end, "Grüße,\nyou") == [
        *(Text("Grü"), Text("ße,\n"), Text("you")),
        *(Usage(17, 50), Finish("stop")),
    ]


def test_thinking_is_reasoning_and_comes_before_the_text_of_its_line() -> None:
    data = body(said("", thinking="Hm"), said("Hi", thinking="."), done(done_reason="length"))
    assert deltas(data, "Hi") == [
        *(Reasoning("Hm"), Reasoning("."), Text("Hi"), Finish("length", "length")),
    ]


def test_calls_of_tools_are_numbered_over_the_whole_reply() -> None:
    at = {"index": 0, "name": "at", "arguments": {"city": "Köln", "n": [1]}}
    data = body(
        said("", tool_calls=[{"function": {"name": "now"}}]),
        said("", tool_calls=[{"id": "call_a", "function": at}, {"function": None}]),
        done(done_reason="stop"),
    )
    first, second, finish = deltas(data, "")
    assert finish == Finish("stop", "tool_calls")
    assert first == ToolCall(0, "", "now", "{}")
    assert isinstance(second, ToolCall)
    assert (second.index, second.id, second.name) == (1, "call_a", "at")
    assert json.loads(second.arguments) == {"city": "Köln", "n": [1]}


def test_old_server_has_no_reason() -> None:
    assert deltas(body(said("Hi"), {"done": True, "eval_count": 1.0}), "Hi") == [
        *(Text("Hi"), Usage(0, 1), Finish(None)),
    ]


def test_what_is_not_known_or_null_adds_nothing() -> None:
    data = body(
        {"new": [1], "message": None, "error": None},
        {"message": {"content": None, "thinking": None, "tool_calls": None, "images": []}},
        done(done_reason="stop"),
    )
    assert deltas(data, "") == [Finish("stop")]


def test_body_that_is_not_done_is_incomplete() -> None:
    checked(body(said("H"), said("i")), "Hi", raises=IncompleteStream)


def test_line_that_was_cut_is_incomplete() -> None:
    data = body(said("Hi"), done(done_reason="stop"))[:-2]
    assert checked(data, "Hi", raises=IncompleteStream).finish is None


@pytest.mark.parametrize("payload", ["out of memory", {"code": 500}, ""])
def test_error_is_a_line(payload: Any) -> None:
    data = body(said("Hi"), {"error": payload})
    outcome = checked(data, "Hi", raises=BackendError)
    assert isinstance(outcome.error, BackendError)
    assert outcome.error.payload == payload
    assert outcome.error.text == "Hi"


@pytest.mark.parametrize("damaged", [b"{", b"7", b'"Hi"', b'{"message": "Hi"}'])
def test_damaged_line_is_invalid_json(damaged: bytes) -> None:
    outcome = checked(body(said("Hi")) + damaged + b"\n" + body(done()), "Hi", raises=InvalidJSON)
    assert isinstance(outcome.error, InvalidJSON)
    assert outcome.error.line == damaged
    # The JSON of the others is whole.
    assert outcome.error.line_number == (2 if damaged == b"{" else None)


@pytest.mark.parametrize("content_type", [NDJSON, "application/x-ndjson; charset=utf-8"])
def test_reply_is_ndjson_under_any_of_its_names(content_type: str) -> None:
    for name in (content_type, content_type.replace("x-ndjson", "jsonl")):
        assert receive(OLLAMA, [body(done("Hi"))], content_type=name).text == "Hi"


@pytest.mark.parametrize("content_type", ["text/event-stream", "text/html", ""])
def test_other_media_type_is_a_value_error(content_type: str) -> None:
    with pytest.raises(ValueError, match=repr(content_type)):
        OLLAMA.reply(content_type)


@pytest.mark.parametrize("empty", [b"null", b"[]", b'{"message": []}', b'{"message": {}}'])
def test_line_without_content_is_ignored(empty: bytes) -> None:
    data = body(said("Hi")) + empty + b"\n" + body(done(done_reason="stop"))
    assert checked(data, "Hi").finish == Finish("stop")


def test_reason_ends_a_reply_without_done() -> None:
    last = {"message": {"content": "!"}, "done_reason": "stop", "eval_count": 2}
    assert deltas(body(said("Hi"), last), "Hi!")[-2:] == [Usage(0, 2), Finish("stop")]


def test_message_has_all_that_the_service_said() -> None:
    calls = [{"function": {"name": "now", "arguments": {"zone": 1}}}, {"function": {"name": "at"}}]
    data = body(
        said("", thinking="H"),
        said("", thinking="m", signature="c2ln"),
        said("Hi", tool_calls=calls[:1]),
        said("!", tool_calls=calls[1:]),
        done(done_reason="stop"),
    )
    (message,) = checked(data, "Hi!").messages
    assert message == {
        "role": "assistant",
        "content": "Hi!",
        "thinking": "Hm",
        "signature": "c2ln",
        "tool_calls": calls,
    }
    results = [OLLAMA.tool_result(call, 12) for call in checked(data, "Hi!").tool_calls]
    assert results[0] == {"role": "tool", "tool_name": "now", "content": "12"}
    messages = [{"role": "user", "content": "What?"}, message, *results]
    assert sent(messages)["messages"] == messages
    with pytest.raises(ValueError, match="got a result for 'now'"):
        sent(results)


def test_reply_at_the_limit_has_no_call() -> None:
    data = body(said("Hi", tool_calls=[{"function": {"name": "now"}}]), done(done_reason="length"))
    outcome = checked(data, "Hi")
    assert (outcome.tool_calls, outcome.finish) == ((), Finish("length", "length"))
    assert outcome.messages == ({"role": "assistant", "content": "Hi"},)


def test_one_object_in_place_of_a_stream_is_understood() -> None:
    whole = json.dumps(done("Hi", done_reason="stop", eval_count=2), indent=2).encode()
    outcome = check(OLLAMA, whole, text="Hi", content_type="application/json")
    assert outcome.deltas == (Text("Hi"), Usage(0, 2), Finish("stop"))
    outcome = receive(OLLAMA, [b'{"detail": "no"}'], content_type="application/json")
    assert isinstance(outcome.error, BackendError)
    assert outcome.error.payload == {"detail": "no"}


def test_max_event_size_is_that_of_a_line() -> None:
    data = body(done("Hi"))
    for limit, error in ((len(data) - 1, type(None)), (len(data) - 2, EventTooLarge)):
        backend = Ollama(max_event_size=limit)
        assert type(receive(backend, [data], content_type=NDJSON).error) is error


def sent(messages: Any, **options: Any) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(OLLAMA.request(messages, **options).body)
    return data


def test_request_is_exactly_this() -> None:
    request = Ollama().request("Hi")
    assert (request.method, request.url) == ("POST", "http://127.0.0.1:11434/api/chat")
    assert request.headers == {"content-type": "application/json", "accept": NDJSON}
    assert request.body == (
        b'{"model":"llama3.2","messages":[{"role":"user","content":"Hi"}],"stream":true}'
    )


def test_key_is_for_the_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", "secret")
    backend = Ollama(base_url="https://ollama.com")
    request = backend.request("Hi", model="gpt-oss:120b")
    assert request.url == "https://ollama.com/api/chat"
    assert request.headers["authorization"] == "Bearer secret"
    assert "secret" not in repr(backend) + repr(request)
    assert Ollama(api_key="other").request("Hi").headers["authorization"] == "Bearer other"


def test_messages_are_sent_as_they_are() -> None:
    messages = (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What?", "images": ["AA=="]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "now", "arguments": {}}}]},
        {"role": "tool", "tool_name": "now", "content": "12"},
    )
    assert sent(messages, model="mine") == {
        "model": "mine",
        "messages": list(messages),
        "stream": True,
    }


def test_parameters_of_the_model_go_into_options() -> None:
    body = sent(
        "Hi", think=True, top_k=3, options={"mirostat": 1, "temperature": 1}, temperature=0.5
    )
    assert body["think"] is True
    assert body["options"] == {"mirostat": 1, "temperature": 0.5, "top_k": 3}
    assert not body.keys() & {"temperature", "top_k"}


def test_arguments_as_text_go_back_as_an_object() -> None:
    call = {"function": {"name": "at", "arguments": '{"n": 1}'}}
    data = body(said("", tool_calls=[call]), done(done_reason="stop"))
    outcome = checked(data, "")
    assert outcome.tool_calls == (ToolCall(0, "", "at", '{"n": 1}'),)
    assert outcome.messages[0]["tool_calls"] == [
        {"function": {"name": "at", "arguments": {"n": 1}}}
    ]
    damaged = {"function": {"name": "at", "arguments": "{"}}
    data = body(said("", tool_calls=[damaged]), done(done_reason="stop"))
    checked(data, "", raises=InvalidJSON)


def test_calls_of_a_message_may_have_any_shape() -> None:
    messages = [{"role": "assistant", "tool_calls": ["odd", {"function": {"name": "now"}}]}]
    messages += [{"role": "tool", "tool_name": "now", "content": "12"}]
    assert sent(messages)["messages"] == messages


def test_null_between_the_lines_is_ignored() -> None:
    assert receive(OLLAMA, [b"[null]\n" + body(done("Hi"))], content_type=NDJSON).text == "Hi"
