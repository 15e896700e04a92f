"""Gemini: the exact request, and the deltas of each event."""

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
    Usage,
)
from sseparse_backends.gemini import Gemini
from sseparse_backends.testing import check, receive

# mypy checks it against the protocol.
GEMINI: Backend = Gemini(api_key="k")

OVERLOADED = {"code": 503, "message": "a } too many", "details": [{"links": []}, {"x": "{"}]}


@pytest.fixture(autouse=True)
def _no_key_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)


def part(text: str, **more: Any) -> dict[str, Any]:
    return {"text": text, **more}


def chunk(*parts: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "modelVersion": "gemini-2.5-flash", **more}


def usage(prompt: int, **counts: float) -> dict[str, Any]:
    return {"usageMetadata": {"promptTokenCount": prompt, **counts}}


def body(*chunks: Any) -> bytes:
    return b"".join(b"data: %s\r\n\r\n" % json.dumps(item).encode() for item in chunks)


def bare(value: Any, indent: int | None) -> bytes:
    return json.dumps(value, indent=indent).encode() + b"\n"


def deltas(data: bytes, text: str) -> list[Delta]:
    return list(check(GEMINI, data, text=text, error=body({"error": OVERLOADED})).deltas)


def test_text_comes_in_parts_and_the_end_of_the_body_finishes_it() -> None:
    data = body(
        chunk(part("Grü"), part("ße, "), **usage(5)),
        chunk(part(""), part("“you”\n"), finish="STOP", **usage(5, candidatesTokenCount=7)),
    )
    assert deltas(data, "Grüße, “you”\n") == [
        *(Text("Grü"), Text("ße, "), Usage(5, 0)),
        *(Text("“you”\n"), Usage(5, 7), Finish("STOP")),
    ]


@pytest.mark.parametrize(
    "form", [b"data:%s\n\n", b"data: %s   \r\n\r\n", b"data: %s\nevent: message\n\n: ping\n\n"]
)
def test_events_may_be_written_in_other_ways(form: bytes) -> None:
    data = b"".join(
        form % json.dumps(item).encode()
        for item in (chunk(part("H")), chunk(part("i"), finish="STOP"))
    )
    assert deltas(data, "Hi") == [Text("H"), Text("i"), Finish("STOP")]


@pytest.mark.parametrize(
    "error", [b'error: {"code": 503}\n\n', b'event: error\ndata: {"code": 503}\n\n']
)
def test_error_may_be_a_field_or_an_event(error: bytes) -> None:
    outcome = check(GEMINI, body(chunk(part("Hi"))) + error, text="Hi", raises=BackendError)
    assert isinstance(outcome.error, BackendError)
    assert outcome.error.payload == {"code": 503}


def test_what_comes_after_the_finish_reason_still_counts() -> None:
    data = body(chunk(part("Hi"), finish="STOP"), usage(3, candidatesTokenCount=1))
    assert deltas(data, "Hi") == [Text("Hi"), Usage(3, 1), Finish("STOP")]


def test_thoughts_are_reasoning_and_count_as_output() -> None:
    data = body(
        chunk(part("Hm.", thought=True), part("Hi", thought=False)),
        chunk(finish="STOP", **usage(3, candidatesTokenCount=1.0, thoughtsTokenCount=20)),
    )
    assert deltas(data, "Hi") == [Reasoning("Hm."), Text("Hi"), Usage(3, 21), Finish("STOP")]


def test_calls_of_functions_are_numbered_over_the_whole_reply() -> None:
    data = body(
        chunk({"functionCall": {"name": "now"}, "thoughtSignature": "c2lnbmVk"}),
        chunk({"functionCall": {"id": "a", "name": "at", "args": {"city": "Köln", "n": [1]}}}),
        chunk(finish="STOP"),
    )
    first, second, finish = deltas(data, "")
    assert first == ToolCall(0, "", "now", "{}")
    assert isinstance(second, ToolCall)
    assert (second.index, second.id, second.name) == (1, "a", "at")
    assert json.loads(second.arguments) == {"city": "Köln", "n": [1]}
    assert finish == Finish("STOP")


def test_only_the_first_of_several_candidates_is_read() -> None:
    other = {"index": 1, "content": {"parts": [part("no")]}, "finishReason": "MAX_TOKENS"}
    first = {"index": 0, "content": {"parts": [part("yes")]}, "finishReason": "STOP"}
    data = body({"candidates": [other, first, other]})
    assert deltas(data, "yes") == [Text("yes"), Finish("STOP")]


def test_finish_reason_is_as_the_service_has_it() -> None:
    blocked = {"candidates": [{"finishReason": "SAFETY", "safetyRatings": []}]}
    assert deltas(body(chunk(part("H")), blocked), "H") == [Text("H"), Finish("SAFETY")]


def test_what_is_not_known_or_empty_adds_nothing() -> None:
    data = body(
        {"type": "new", "candidates": None, "usageMetadata": None, "promptFeedback": None},
        {"candidates": [], "promptFeedback": {"safetyRatings": []}},
        {"candidates": [{"content": None}, {"content": {}}]},
        chunk({"executableCode": {"code": "1"}}, {"text": None, "functionCall": None}),
        chunk(part("Hi"), finish="STOP"),
    )
    assert deltas(b": ping\r\n\r\n" + data, "Hi") == [Text("Hi"), Finish("STOP")]


@pytest.mark.parametrize(
    "data",
    [
        body(chunk(part("Hi"), **usage(1))),
        body(chunk(part("Hi"), finish="STOP")) + b'{\n  "error": {\n    "code": 503\n',
    ],
)
def test_body_without_a_finish_reason_or_with_half_an_error_is_incomplete(data: bytes) -> None:
    check(GEMINI, data, text="Hi", raises=IncompleteStream)


@pytest.mark.parametrize("indent", [None, 0, 2])
@pytest.mark.parametrize("finish", [None, "STOP"])
@pytest.mark.parametrize("after", [b"", b'\n{"more": 1}\n', body(chunk(part("no")))])
def test_error_may_be_json_in_no_data_field(
    indent: int | None, finish: str | None, after: bytes
) -> None:
    start = body(chunk(part("Hi"), finish=finish))
    error = bare({"error": OVERLOADED}, indent)
    data = start + error.replace(b"\n", b"\r\n") + after
    outcome = check(GEMINI, data, text="Hi", error=error, raises=BackendError)
    assert isinstance(outcome.error, BackendError)
    assert outcome.error.payload == OVERLOADED
    assert outcome.error.text == "Hi"


def test_other_lines_that_are_no_field_are_ignored() -> None:
    data = body(chunk(part("Hi"), finish="STOP")) + b"}\nping\nx: {\n"
    assert deltas(data, "Hi") == [Text("Hi"), Finish("STOP")]


@pytest.mark.parametrize(
    "error",
    [
        b'[{"error": {"code": 503}}]\n',
        b'[{\n  "error": {"code": 503}\n}]\n',
        b'[\n{"error": {"code": 503}}\n]\n',
    ],
)
def test_error_in_an_array_in_no_data_field_is_an_error(error: bytes) -> None:
    data = body(chunk(part("Hi"), finish="STOP")) + error
    outcome = check(GEMINI, data, text="Hi", error=error, raises=BackendError)
    assert isinstance(outcome.error, BackendError)
    assert outcome.error.payload == {"code": 503}


def test_colon_at_the_end_of_a_line_of_json_in_no_data_field_is_one() -> None:
    error = (
        b'{\n"error":\n {"of": ["a",\n"b"\n], "code":\n503, "in":\n\n["c",\n{"d":\n"e"\n}]}\n}\n'
    )
    data = body(chunk(part("Hi"))) + error
    outcome = check(GEMINI, data, text="Hi", error=error, raises=BackendError)
    assert isinstance(outcome.error, BackendError)
    assert outcome.error.payload == {"of": ["a", "b"], "code": 503, "in": ["c", {"d": "e"}]}


@pytest.mark.parametrize("name", [b"", b"event: progress\n"])
def test_event_of_a_new_type_may_have_anything_in_it(name: bytes) -> None:
    new = b'event: new\ndata: {"candidates": 3, "error": 1}\n\nevent: new\ndata: text\n\n'
    data = new + name + body(chunk(part("Hi"), finish="STOP"))
    assert deltas(data, "Hi") == [Text("Hi"), Finish("STOP")]


def test_json_in_no_data_field_has_the_limit_of_an_event() -> None:
    line = b'"x": "%s"\n\n' % (b"y" * 50)
    within = check(
        Gemini(max_event_size=1000), b"{\n" + line * 15, text="", raises=IncompleteStream
    )
    assert within.deltas == ()
    outcome = check(Gemini(max_event_size=1000), b"{\n" + line * 30, text="", raises=EventTooLarge)
    assert isinstance(outcome.error, EventTooLarge)
    assert outcome.error.limit == 1000


def test_prompt_that_is_blocked_is_an_error() -> None:
    feedback = {"blockReason": "SAFETY", "safetyRatings": [{"probability": "HIGH"}]}
    data = body({"promptFeedback": feedback, **usage(9)})
    outcome = check(GEMINI, data, text="", raises=BackendError)
    assert isinstance(outcome.error, BackendError)
    assert outcome.error.payload == feedback


@pytest.mark.parametrize("field", [b"data: ", b""])
@pytest.mark.parametrize("damaged", [b"{,}", b'{"candidates":[}', b'{"candidates":7}'])
def test_damaged_json_is_invalid_in_a_data_field_or_not(field: bytes, damaged: bytes) -> None:
    data = body(chunk(part("Hi"), finish="STOP")) + field + damaged + b"\r\n\r\n"
    outcome = check(GEMINI, data, text="Hi", raises=InvalidJSON)
    assert isinstance(outcome.error, InvalidJSON)
    assert outcome.error.line == damaged


JSON = "application/json; charset=UTF-8"


@pytest.mark.parametrize("indent", [None, 2])
def test_array_that_comes_without_alt_sse_is_read_as_its_elements_come(indent: int | None) -> None:
    chunks = [chunk(part("Grü")), chunk(part("ße"), finish="STOP", **usage(5))]
    data = bare(chunks, indent)
    error = b", " + bare({"error": OVERLOADED}, indent)
    outcome = check(GEMINI, data, text="Grüße", content_type=JSON)
    assert outcome.deltas == (Text("Grü"), Text("ße"), Usage(5, 0), Finish("STOP"))
    outcome = check(
        GEMINI,
        bare(chunks[:1], indent)[:-2] + error,
        text="Grü",
        content_type=JSON,
        raises=BackendError,
    )
    assert isinstance(outcome.error, BackendError)
    assert outcome.error.payload == OVERLOADED


@pytest.mark.parametrize("form", [b"%s", b"[%s]", b"[%s\n]\n"])
def test_error_without_alt_sse_may_be_an_element_or_alone(form: bytes) -> None:
    data = form % bare({"error": OVERLOADED}, 2)
    outcome = check(GEMINI, data, text="", content_type=JSON, raises=BackendError)
    assert isinstance(outcome.error, BackendError)
    assert outcome.error.payload == OVERLOADED


@pytest.mark.parametrize("data", [b"[]", b"[", b"", bare([chunk(part("Hi"))], None)])
def test_array_without_a_finish_reason_is_incomplete(data: bytes) -> None:
    text = "Hi" if b"Hi" in data else ""
    check(GEMINI, data, text=text, content_type=JSON, raises=IncompleteStream)


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("last", [usage(5), {"error": OVERLOADED}])
def test_array_that_is_cut_anywhere_is_incomplete_even_after_the_finish_reason(
    indent: int | None, last: Any
) -> None:
    # Old models send a finishReason with each piece.
    data = bare([chunk(part("H"), finish="STOP"), chunk(part("i"), finish="STOP"), last], indent)
    end = data.rindex(b"}") + ("error" not in last)
    for size in range(end):
        outcome = receive(GEMINI, [data[:size]], content_type=JSON)
        assert isinstance(outcome.error, IncompleteStream)
        assert outcome.finish is None
        assert "Hi".startswith(outcome.text)


def test_damaged_array_is_invalid_and_a_large_element_is_refused() -> None:
    start = bare([chunk(part("Hi"), finish="STOP")], None)[:-2]
    for damage in (b" 1]", b",,{}]", b",{,}]", b',{"candidates":7}]'):
        check(GEMINI, start + damage, text="Hi", content_type=JSON, raises=InvalidJSON)
    large = start + b', {"x": "' + b"y" * 1000
    check(Gemini(max_event_size=1000), large, text="Hi", content_type=JSON, raises=EventTooLarge)


@pytest.mark.parametrize("content_type", ["application/x-ndjson", "application/json-seq", ""])
def test_other_media_types_are_refused(content_type: str) -> None:
    with pytest.raises(ValueError, match=r"content_type must|Gemini replies with"):
        Gemini().reply(content_type)


def sent(messages: Any, **options: Any) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(GEMINI.request(messages, **options).body)
    return data


def test_request_is_exactly_this() -> None:
    request = Gemini(api_key="secret").request("Hi")
    path = "/v1beta/models/gemini-flash-latest:streamGenerateContent?alt=sse"
    assert request.method == "POST"
    assert request.url == f"https://generativelanguage.googleapis.com{path}"
    assert request.headers == {
        "content-type": "application/json",
        "accept": "text/event-stream",
        "x-goog-api-key": "secret",
    }
    assert request.body == b'{"contents":[{"role":"user","parts":[{"text":"Hi"}]}]}'


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-x", "models/gemini-x"),
        ("models/gemini-x", "models/gemini-x"),
        ("tunedModels/mine", "tunedModels/mine"),
        ("a b?c#d:e", "models/a%20b%3Fc%23d%3Ae"),
    ],
)
def test_model_may_have_a_path_of_its_own(model: str, path: str) -> None:
    url = Gemini(base_url="http://127.0.0.1/v1/").request("Hi", model=model).url
    assert url == f"http://127.0.0.1/v1/{path}:streamGenerateContent?alt=sse"


def test_messages_have_parts_and_geminis_roles() -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": "AA=="}}
    result = {"role": "user", "parts": [{"functionResponse": {"name": "now", "response": {}}}]}
    body = sent(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "What?"}, image]},
            {"role": "assistant", "content": "A cat."},
            {"role": "developer", "content": [{"type": "text", "text": "No jokes."}]},
            {"role": "model", "content": "Yes."},
            result,
            {"role": "system", "parts": [part("Go on.")]},
        ]
    )
    assert body == {
        "contents": [
            {"role": "user", "parts": [part("What?"), image]},
            {"role": "model", "parts": [part("A cat.")]},
            {"role": "model", "parts": [part("Yes.")]},
            result,
        ],
        "systemInstruction": {"parts": [part("Be brief."), part("No jokes."), part("Go on.")]},
    }


@pytest.mark.parametrize(
    "message",
    [
        {"role": "tool", "content": "12", "tool_call_id": "a"},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "assistant", "content": "Hi", "tool_calls": []},
        {"role": "user", "parts": "Hi"},
    ],
)
def test_message_that_gemini_cannot_have_is_a_value_error(message: Any) -> None:
    with pytest.raises(ValueError, match="messages must each have only a role"):
        sent([{"role": "user", "content": "Hi"}, message])


@pytest.mark.parametrize("messages", [[], [{"role": "system", "content": "Be brief."}]])
def test_there_must_be_a_message_to_reply_to(messages: Any) -> None:
    with pytest.raises(ValueError, match=r"^messages must (be|include) "):
        sent(messages)


def test_options_of_the_generation_config_go_there() -> None:
    body = sent(
        "Hi",
        tools=[{"googleSearch": {}}],
        topK=3,
        generationConfig={"candidateCount": 1, "temperature": 1},
        temperature=0.5,
    )
    del body["contents"]
    assert body == {
        "tools": [{"googleSearch": {}}],
        "generationConfig": {"candidateCount": 1, "temperature": 0.5, "topK": 3},
    }
