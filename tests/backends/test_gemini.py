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
    ToolCallPiece,
    Usage,
)
from sseparse_backends.gemini import Gemini
from sseparse_backends.testing import Outcome, receive
from tests.support.cuts import check

GEMINI = Gemini(api_key="k")
# mypy checks it against the protocol.
BACKEND: Backend = GEMINI

JSON = "application/json; charset=UTF-8"

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


def checked(*chunks: Any, text: str = "") -> Outcome:
    return check(GEMINI, body(*chunks), text=text, error=body({"error": OVERLOADED}))


def deltas(data: bytes, text: str) -> list[Delta]:
    return list(check(GEMINI, data, text=text, error=body({"error": OVERLOADED})).deltas)


def parts(outcome: Outcome) -> Any:
    """The parts of the one message."""
    (message,) = outcome.messages
    assert message.keys() == {"role", "parts"}
    assert message["role"] == "model"
    return message["parts"]


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


def test_done_of_a_proxy_ends_nothing() -> None:
    done = b"data: [DONE]\n\n"
    assert deltas(body(chunk(part("Hi"), finish="STOP")) + done, "Hi")[-1] == Finish("STOP")
    check(GEMINI, body(chunk(part("Hi"))) + done, text="Hi", raises=IncompleteStream)


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
    assert deltas(data, "Hi") == [
        *(Reasoning("Hm."), Text("Hi"), Usage(3, 21, 0, 20)),
        Finish("STOP"),
    ]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"promptTokenCount": 9, "cachedContentTokenCount": 4}, Usage(9, 0, 4)),
        ({"promptTokenCount": 9, "toolUsePromptTokenCount": 80}, Usage(89, 0)),
        ({"candidatesTokenCount": 2, "thoughtsTokenCount": 5}, Usage(0, 7, 0, 5)),
        ({"promptTokenCount": 0}, Usage(0, 0)),
        ({"trafficType": "ON_DEMAND"}, None),
        ({"promptTokenCount": "many", "candidatesTokenCount": [2]}, None),
        ("odd", None),
    ],
)
def test_usage_has_what_was_counted(counts: Any, expected: Usage | None) -> None:
    data = body({**chunk(part("Hi"), finish="STOP"), "usageMetadata": counts})
    assert receive(GEMINI, [data]).usage == expected


def test_calls_of_functions_are_numbered_over_the_whole_reply() -> None:
    at = {"id": "a", "name": "at", "args": {"city": "Köln", "n": [1]}}
    outcome = checked(
        chunk({"functionCall": {"name": "now"}, "thoughtSignature": "c2lnbmVk"}),
        chunk({"functionCall": at}, {"functionCall": {"name": "now", "args": None}}),
        chunk(finish="STOP"),
    )
    calls = (
        ToolCall(0, "", "now", "{}"),
        ToolCall(1, "a", "at", '{"city": "Köln", "n": [1]}'),
        ToolCall(2, "", "now", "{}"),
    )
    pieces = [ToolCallPiece(call.index, call.id, call.name, call.arguments) for call in calls]
    assert outcome.deltas == (*pieces, *calls, Finish("STOP", "tool_calls"))


def streamed(*args: dict[str, Any], name: str | None = None, more: bool = True) -> dict[str, Any]:
    """A part with a piece of a call."""
    function = {"name": name, "partialArgs": args, "willContinue": more}
    return {"functionCall": {key: value for key, value in function.items() if value}}


def arg(path: str, more: bool = False, **value: Any) -> dict[str, Any]:
    return {"jsonPath": path, **value, **({"willContinue": True} if more else {})}


def test_arguments_of_a_call_may_come_in_parts() -> None:
    signed = {"thoughtSignature": "c2ln"}
    outcome = checked(
        chunk(part("I look.")),
        chunk({**streamed(name="look"), **signed}),
        chunk(streamed(arg("$.place.name", True, stringValue="Köl"))),
        chunk(streamed(arg("$.place.name", True, stringValue="n"), arg("$.days", numberValue=2))),
        chunk(streamed(arg("$.place.name", stringValue=""), arg("$.exact", boolValue=False))),
        chunk(streamed()),
        chunk(streamed(arg("$.list[0].id", stringValue="a"), arg("$.list[1]", nullValue=None))),
        chunk(streamed(arg("$.list[0].n", numberValue=0.5))),
        chunk({"functionCall": {}}),
        chunk(streamed(name="look")),
        chunk(streamed(arg("$['a b'][\"c.d\"]", stringValue="x"), more=False)),
        chunk(finish="STOP"),
        text="I look.",
    )
    first = {
        "place": {"name": "Köln"},
        "days": 2,
        "exact": False,
        "list": [{"id": "a", "n": 0.5}, None],
    }
    second = {"a b": {"c.d": "x"}}
    calls = outcome.tool_calls
    assert [json.loads(call.arguments) for call in calls] == [first, second]
    assert [(call.index, call.name) for call in calls] == [(0, "look"), (1, "look")]
    pieces = [delta for delta in outcome.deltas if isinstance(delta, ToolCallPiece)]
    assert pieces == [
        ToolCallPiece(0, name="look"),
        ToolCallPiece(0, arguments=calls[0].arguments),
        ToolCallPiece(1, name="look"),
        ToolCallPiece(1, arguments=calls[1].arguments),
    ]
    assert parts(outcome) == [
        part("I look."),
        {"functionCall": {"name": "look", "args": first}, **signed},
        {"functionCall": {"name": "look", "args": second}},
    ]


def test_call_in_parts_is_told_from_the_next_by_its_id_and_name() -> None:
    outcome = checked(
        chunk({"functionCall": {"id": "a", "name": "f", "willContinue": True}}),
        chunk(
            {"functionCall": {"id": "a", "name": "f", "partialArgs": [arg("$.n", numberValue=1)]}}
        ),
        chunk({"functionCall": {"id": "b", "name": "f", "args": {"n": 2}}}),
        chunk(finish="STOP"),
    )
    assert outcome.tool_calls == (
        ToolCall(0, "a", "f", '{"n": 1}'),
        ToolCall(1, "b", "f", '{"n": 2}'),
    )


@pytest.mark.parametrize("reason", ["STOP", "MAX_TOKENS"])
def test_call_that_never_ends_is_not_handed_out(reason: str) -> None:
    data = body(
        chunk(streamed(arg("$.a", True, stringValue="x"), name="f")),
        chunk({"functionCall": {"name": "other"}}, finish=reason),
    )
    outcome = receive(GEMINI, [data])
    assert (outcome.tool_calls, outcome.messages) == ((), ())
    if reason == "STOP":
        assert isinstance(outcome.error, IncompleteStream)
    else:
        assert outcome.finish == Finish("MAX_TOKENS", "length")


@pytest.mark.parametrize(
    "args",
    [
        [arg("a", stringValue="x")],
        [arg("$", stringValue="x")],
        [arg("$..a", stringValue="x")],
        [arg("$.a[*]", stringValue="x")],
        [arg("$[0]", stringValue="x")],
        [arg("$.a[999999999]", stringValue="x")],
        [arg("$.a[1]", stringValue="x")],
        [arg("$.a", stringValue="x"), arg("$.a.b", stringValue="x")],
        [arg("$.a[0]", stringValue="x"), arg("$.a.b", stringValue="x")],
        [arg("$" + ".a" * 100_000, stringValue="x")],
        [arg("$.a")],
        [{"jsonPath": ["$.a"], "stringValue": "x"}],
        [{"stringValue": "x"}],
        [7],
        7,
    ],
)
def test_arguments_in_parts_that_make_up_no_object_are_invalid(args: Any) -> None:
    call = {"functionCall": {"name": "f", "partialArgs": args}}
    outcome = receive(GEMINI, [body(chunk(part("Hi"), call, finish="STOP"))])
    assert outcome.text == "Hi"
    assert isinstance(outcome.error, InvalidJSON)


def test_message_has_each_part_as_it_came_and_joins_plain_texts() -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
    code = {"executableCode": {"language": "PYTHON", "code": "1"}, "thoughtSignature": "Yw=="}
    result = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}, "new": [1]}
    call = {"functionCall": {"id": "a", "name": "f", "args": {"n": 1}}, "thoughtSignature": "Zg=="}
    search = {"toolCall": {"id": "s", "toolType": "GOOGLE_SEARCH", "args": {}}}
    outcome = checked(
        chunk(part("H", thought=True)),
        chunk(part("m", thought=True)),
        chunk(part("", thought=True), part("?", thought=True, thoughtSignature="YQ==")),
        chunk(part("A"), part("B")),
        chunk(part("C", thoughtSignature="Yg==")),
        chunk(code, result, image, search, part("D")),
        chunk(part(""), part("E"), call),
        chunk(part(""), {"text": None}, {}),
        chunk(part("", thoughtSignature="ZQ=="), finish="STOP"),
        text="ABCDE",
    )
    assert parts(outcome) == [
        part("Hm", thought=True),
        part("?", thought=True, thoughtSignature="YQ=="),
        part("AB"),
        part("C", thoughtSignature="Yg=="),
        *(code, result, image, search),
        part("DE"),
        call,
        part("", thoughtSignature="ZQ=="),
    ]


def test_messages_are_those_of_the_reply_so_far() -> None:
    outcome = receive(GEMINI, [body(chunk(part("Hi"), {"functionCall": {"name": "f"}}))])
    assert isinstance(outcome.error, IncompleteStream)
    assert parts(outcome) == [part("Hi")]
    assert receive(GEMINI, [b""]).messages == ()


def test_reply_has_an_id_and_a_model() -> None:
    reply = GEMINI.reply("text/event-stream")
    assert (reply.id, reply.served_model) == (None, None)
    for event in reply.decoder.feed(body(chunk(part("Hi")), chunk(part("!"), responseId="r"))):
        list(reply.interpret(event))
    assert (reply.id, reply.served_model) == ("r", "gemini-2.5-flash")


@pytest.mark.parametrize("index", [0, 1, None])
def test_only_the_candidate_that_came_first_is_read(index: int | None) -> None:
    first = {"index": index, "content": {"parts": [part("yes")]}, "finishReason": "STOP"}
    other = {"index": 2, "content": {"parts": [part("no")]}, "finishReason": "MAX_TOKENS"}
    outcome = checked({"candidates": [first, other]}, {"candidates": [other]}, text="yes")
    assert outcome.deltas == (Text("yes"), Finish("STOP"))


@pytest.mark.parametrize(
    ("reason", "kind", "calls"),
    [
        ("STOP", "tool_calls", 1),
        (1, "tool_calls", 1),
        ("NEW", "tool_calls", 1),
        ("MAX_TOKENS", "length", 0),
        (2, "length", 0),
        ("SAFETY", "filter", 0),
        (3, "filter", 0),
        ("RECITATION", "filter", 0),
        ("PROHIBITED_CONTENT", "filter", 0),
        ("IMAGE_SAFETY", "filter", 0),
        ("MALFORMED_FUNCTION_CALL", "other", 0),
        ("UNEXPECTED_TOOL_CALL", "other", 0),
    ],
)
def test_reason_says_whether_calls_are_to_be_run(reason: Any, kind: Any, calls: int) -> None:
    call = {"functionCall": {"name": "f"}}
    outcome = checked(chunk(part("Hi"), call, finish=reason), text="Hi")
    assert outcome.finish == Finish(str(reason), kind)
    assert len(outcome.tool_calls) == calls
    assert parts(outcome) == [part("Hi"), call][: 1 + calls]


@pytest.mark.parametrize("reason", [0, None, "", {}])
def test_reply_without_a_reason_is_incomplete(reason: Any) -> None:
    data = body({"candidates": [{"content": {"parts": [part("Hi")]}, "finishReason": reason}]})
    check(GEMINI, data, text="Hi", raises=IncompleteStream)


def test_last_of_several_reasons_counts() -> None:
    blocked = {"candidates": [{"finishReason": "SAFETY", "safetyRatings": []}]}
    data = body(chunk(part("H"), finish="STOP"), blocked)
    assert receive(GEMINI, [data]).deltas == (Text("H"), Finish("SAFETY", "filter"))


def test_what_is_not_known_or_empty_adds_nothing() -> None:
    data = body(
        {"type": "new", "candidates": None, "usageMetadata": None, "promptFeedback": None},
        {"candidates": [], "promptFeedback": {"safetyRatings": []}},
        {"candidates": [{"content": None}, {"content": {}}, None]},
        {"candidates": {"content": {"parts": {"text": "", "functionCall": []}}}},
        chunk({"executableCode": {"code": "1"}}, {"text": None, "functionCall": None}),
        chunk({"functionCall": {}}, {"functionCall": ""}),
        chunk(part("Hi"), finish="STOP"),
    )
    assert deltas(b": ping\r\n\r\n" + data, "Hi") == [Text("Hi"), Finish("STOP")]


def test_number_in_place_of_a_text_is_its_digits() -> None:
    outcome = checked(chunk({"text": 6}, part("!")), chunk(finish="STOP"), text="6!")
    assert parts(outcome) == [part("6!")]


@pytest.mark.parametrize(
    "odd",
    [
        {"candidates": 7},
        {"candidates": [{"content": "Hi"}]},
        {"candidates": [{"content": {"parts": "Hi"}}]},
        chunk({"text": {"a": 1}}),
        chunk({"functionCall": "f"}),
    ],
)
def test_content_that_cannot_be_read_is_invalid(odd: Any) -> None:
    data = body(chunk(part("Hi"), finish="STOP"), odd)
    check(GEMINI, data, text="Hi", raises=InvalidJSON)


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
    new = b"event: new\ndata: [3]\n\nevent: new\ndata: text\n\n"
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
@pytest.mark.parametrize("damaged", [b'{"a",}', b'{"candidates":[}', b'{"candidates":7}'])
def test_damaged_json_is_invalid_in_a_data_field_or_not(field: bytes, damaged: bytes) -> None:
    data = body(chunk(part("Hi"), finish="STOP")) + field + damaged + b"\r\n\r\n"
    outcome = check(GEMINI, data, text="Hi", raises=InvalidJSON)
    assert isinstance(outcome.error, InvalidJSON)
    assert outcome.error.line == damaged


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


def test_object_in_place_of_a_stream_is_a_whole_reply() -> None:
    call = {"functionCall": {"name": "f", "args": {"n": 1}}, "thoughtSignature": "c2ln"}
    value = chunk(part("Hi"), call, finish="STOP", responseId="r", **usage(3))
    data = json.dumps(value, indent=2).encode()
    outcome = check(GEMINI, data, text="Hi", content_type=JSON)
    assert outcome.tool_calls == (ToolCall(0, "", "f", '{"n": 1}'),)
    assert (outcome.usage, outcome.finish) == (Usage(3, 0), Finish("STOP", "tool_calls"))
    assert parts(outcome) == [part("Hi"), call]


def test_object_that_is_no_reply_is_an_error() -> None:
    outcome = receive(GEMINI, [b'{"detail": "Not Found"}'], content_type=JSON)
    assert isinstance(outcome.error, BackendError)
    assert outcome.error.payload == {"detail": "Not Found"}


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
    body = sent(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "What?"}, image]},
            {"role": "assistant", "content": "A cat."},
            {"role": "developer", "content": [{"type": "text", "text": "No jokes."}]},
            {"role": "model", "content": "Yes."},
            {"role": "user", "parts": [part("Why?")]},
            {"role": "system", "parts": [part("Go on.")]},
        ]
    )
    assert body == {
        "contents": [
            {"role": "user", "parts": [part("What?"), image]},
            {"role": "model", "parts": [part("A cat.")]},
            {"role": "model", "parts": [part("Yes.")]},
            {"role": "user", "parts": [part("Why?")]},
        ],
        "systemInstruction": {"parts": [part("Be brief."), part("No jokes."), part("Go on.")]},
    }


def test_second_turn_answers_all_calls_in_one_content() -> None:
    reply = checked(
        chunk({"functionCall": {"name": "f"}, "thoughtSignature": "c2ln"}),
        chunk({"functionCall": {"id": "b", "name": "g"}}, finish="STOP"),
    )
    first, second = reply.tool_calls
    results = [GEMINI.tool_result(first, "Sunny"), GEMINI.tool_result(second, {"error": "no"})]
    question = {"role": "user", "parts": [part("What?")]}
    messages = [question, *reply.messages, *results, *reply.messages, *results, question]
    answers = {
        "role": "user",
        "parts": [
            {"functionResponse": {"name": "f", "response": {"output": "Sunny"}}},
            {"functionResponse": {"id": "b", "name": "g", "response": {"error": "no"}}},
        ],
    }
    turn = [*reply.messages, answers]
    assert sent(messages)["contents"] == [question, *turn, *turn, question]
    # The caller's own are as they were.
    assert all(len(result["parts"]) == 1 for result in results)


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        ("12", {"response": {"output": "12"}}),
        (12, {"response": {"output": 12}}),
        (None, {"response": {"output": None}}),
        ([1, {"a": 2}], {"response": {"output": [1, {"a": 2}]}}),
        ({"a": 2}, {"response": {"a": 2}}),
        ([{"inlineData": {"data": "AA=="}}], {"parts": [{"inlineData": {"data": "AA=="}}]}),
    ],
)
def test_result_may_be_any_value_of_json(output: Any, answer: dict[str, Any]) -> None:
    expected = {"id": "a", "name": "f", "response": {}, **answer}
    message = GEMINI.tool_result(ToolCall(0, "a", "f"), output)
    assert message == {"role": "user", "parts": [{"functionResponse": expected}]}


def test_result_that_is_not_json_is_a_value_error() -> None:
    call = {"role": "model", "parts": [{"functionCall": {"name": "f"}}]}
    with pytest.raises(ValueError, match="must be JSON values"):
        sent([call, GEMINI.tool_result(ToolCall(0, "", "f"), object())])


@pytest.mark.parametrize("call", [{"name": "f"}, {"id": "b", "name": "f"}, {}])
def test_result_of_an_unknown_call_is_a_value_error(call: dict[str, Any]) -> None:
    messages = [
        {"role": "model", "parts": [{"functionCall": call}]},
        GEMINI.tool_result(ToolCall(0, "a", "f"), 1),
    ]
    with pytest.raises(ValueError, match="got a result for 'a'"):
        sent(messages)


@pytest.mark.parametrize(
    "message",
    [
        {"role": "tool", "content": "12", "tool_call_id": "a"},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "assistant", "content": "Hi", "tool_calls": []},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
        {"type": "function_result", "call_id": "a", "result": []},
        {"role": "user", "parts": "Hi"},
    ],
)
def test_message_of_another_service_is_a_value_error(message: Any) -> None:
    with pytest.raises(ValueError, match="messages must have the shape of Gemini's"):
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


def test_arguments_as_text_go_back_as_an_object() -> None:
    call = {"functionCall": {"name": "f", "args": '{"n": 1}'}}
    outcome = receive(GEMINI, [body(chunk(call, finish="STOP"))])
    assert outcome.tool_calls == (ToolCall(0, "", "f", '{"n": 1}'),)
    assert outcome.messages[0]["parts"] == [{"functionCall": {"name": "f", "args": {"n": 1}}}]
