"""The base class of services: address, key, request, media type, messages."""

from __future__ import annotations

import copy
import json
import math
import pickle
import re
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

import pytest

from sseparse import SSEDecoder, UnknownField
from sseparse.transports import Request
from sseparse_backends import (
    Anthropic,
    Cohere,
    Gemini,
    Messages,
    Ollama,
    OpenAI,
    OpenAIResponses,
    get_backend,
)
from sseparse_backends._json_service import Service, conversation

HOME = "https://api.example/v1"


@dataclass(frozen=True, kw_only=True)
class Example(Service):
    """A minimal service."""

    key_variable: ClassVar[str] = "EXAMPLE_API_KEY"
    options: ClassVar[frozenset[str]] = frozenset({"seed", "stop"})

    base_url: str = field(default=HOME, repr=False)

    def request(self, messages: Messages = "Hi", **options: Any) -> Request:
        headers = self.key_field("authorization", "Bearer ")
        return self.post("/chat", headers, {"messages": conversation(messages)}, options)


class Keyless(Example):
    needs_key = False


@pytest.fixture(autouse=True)
def _no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EXAMPLE_API_KEY", raising=False)


def sent(service: Service, **options: Any) -> dict[str, Any]:
    """The JSON that a service posts."""
    body: dict[str, Any] = json.loads(service.post("/chat", {}, {"model": "m"}, options).body)
    return body


# The base_url.


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        (HOME, "https://api.example/v1/chat"),
        ("https://api.example/v1/", "https://api.example/v1/chat"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/chat"),
        ("http://[::1]:8000/", "http://[::1]:8000/chat"),
        ("HTTPS://API.example", "https://API.example/chat"),
        ("https://api.example/v1?tenant=7", "https://api.example/v1/chat?tenant=7"),
    ],
)
def test_path_is_below_the_base_url(base_url: str, url: str) -> None:
    assert Example(api_key="k", base_url=base_url).request().url == url


def test_query_is_added_to_that_of_the_base_url() -> None:
    service = Example(base_url="https://api.example?tenant=7")
    request = service.post("/chat", {}, {}, {}, **{"api-version": "2024-10-21 ü"})
    assert request.url == "https://api.example/chat?tenant=7&api-version=2024-10-21+%C3%BC"


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "api.example/v1",
        "localhost:8000",
        "ftp://user:secret@api.example/?key=secret",
        "user:secret@api.example",
        "https://",
        "https:///v1?key=secret",
        "https://user:secret@",
        "http://[::1/v1?key=secret",
        "https://user:secret@api.example\N{FULLWIDTH SOLIDUS}/",
        "https://api.example:secret",
        "https://api.example:0",
        "https://api.example:65536",
    ],
)
def test_what_is_no_http_url_is_refused_and_not_shown(base_url: str) -> None:
    with pytest.raises(ValueError, match=r"^base_url must be an http: or https: URL") as caught:
        Example(base_url=base_url)
    assert "secret" not in str(caught.value)


def test_wrong_limit_is_refused_when_it_is_given() -> None:
    with pytest.raises(ValueError, match="max_event_size must be at least 1"):
        Example(max_event_size=0)


# The key.


def test_key_is_the_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXAMPLE_API_KEY", "environment")
    assert Example(api_key="argument").key_field("x") == {"x": "argument"}


def test_key_is_that_of_the_environment_when_the_service_was_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EXAMPLE_API_KEY", "environment")
    service = Example()
    monkeypatch.delenv("EXAMPLE_API_KEY")
    assert service.key_field("x") == {"x": "environment"}


@pytest.mark.parametrize("api_key", [None, ""])
def test_public_address_needs_a_key(api_key: str | None) -> None:
    with pytest.raises(ValueError, match=r"give it as api_key, or .* variable EXAMPLE_API_KEY$"):
        Example(api_key=api_key).key_field("x")


def test_empty_key_in_the_environment_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXAMPLE_API_KEY", "")
    with pytest.raises(ValueError, match="needs an API key"):
        Example().key_field("x")


@pytest.mark.parametrize("api_key", [None, ""])
@pytest.mark.parametrize("service_class", [Example, Keyless])
def test_other_address_does_without_a_key(
    service_class: type[Example], api_key: str | None
) -> None:
    assert service_class(base_url="http://127.0.0.1:8000", api_key=api_key).key_field("x") == {}


def test_service_that_needs_none_does_without_a_key_anywhere() -> None:
    assert Keyless().key_field("x") == {}
    assert Keyless(api_key="k").key_field("x") == {"x": "k"}


# A service is a value: it can be compared, copied and shown.

SECRETIVE = Example(
    base_url="https://api.example:8443/v1?key=secret#secret",
    api_key="secret",
    extra_headers={"x-secret": "secret"},
    extra_body={"secret": ["secret"]},
)


def test_repr_has_no_secret() -> None:
    assert repr(SECRETIVE) == "Example(max_event_size=67108864)"
    assert "secret" not in repr(SECRETIVE.request())


def test_secrets_are_sent_nevertheless() -> None:
    request = SECRETIVE.request()
    assert request.url.startswith("https://api.example:8443/v1/chat?key=secret")
    assert request.headers["authorization"] == "Bearer secret"
    assert request.headers["x-secret"] == "secret"
    assert json.loads(request.body)["secret"] == ["secret"]


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_copy_is_equal(copied: Any) -> None:
    other = copied(SECRETIVE)
    assert other == SECRETIVE
    assert hash(other) == hash(SECRETIVE)
    assert repr(other) == repr(SECRETIVE)
    assert other.request() == SECRETIVE.request()


@pytest.mark.parametrize(
    "different",
    [
        Example(base_url="https://other.example"),
        Example(api_key="k"),
        Example(extra_headers={"x": "y"}),
        Example(extra_body={"x": "y"}),
        Example(max_event_size=None),
        Keyless(),
    ],
)
def test_services_are_equal_if_all_of_them_is(different: Service) -> None:
    assert Example() == Example()
    assert different != Example()


def test_service_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        SECRETIVE.api_key = "k"  # type: ignore[misc]


# The request.


def test_request_is_exactly_this() -> None:
    request = Example(api_key="k").request("Grüße\n", seed=1)
    assert (request.method, request.url) == ("POST", HOME + "/chat")
    assert request.headers == {
        "content-type": "application/json",
        "authorization": "Bearer k",
        "accept": "text/event-stream",
    }
    assert request.body == ('{"messages":[{"role":"user","content":"Grüße\\n"}],"seed":1}'.encode())


@pytest.mark.parametrize("name", ["authorization", "Authorization", "AUTHORIZATION"])
def test_extra_header_wins_whatever_its_case(name: str) -> None:
    service = Example(api_key="k", extra_headers={name: "Basic x", "X-Title": "Chat"})
    assert service.request().headers == {
        "content-type": "application/json",
        "authorization": "Basic x",
        "accept": "text/event-stream",
        "x-title": "Chat",
    }


def test_extra_body_wins_over_fields_and_options() -> None:
    service = Example(extra_body={"model": "other", "seed": 2, "x": None})
    assert sent(service, seed=1, stop="!") == {
        "model": "other",
        "seed": 2,
        "stop": "!",
        "x": None,
    }


def test_option_that_it_does_not_have_is_a_type_error() -> None:
    with pytest.raises(
        TypeError, match=r"^Example has no option sead, top; its options are seed, stop; extra"
    ):
        sent(Example(), top=1, sead=1, stop=1)


def test_mapping_of_any_kind_is_an_object() -> None:
    assert sent(Example(), stop=MappingProxyType({"a": 1})) == {"model": "m", "stop": {"a": 1}}


@dataclass
class Tool:
    name: str
    weight: Any


def test_dataclass_is_an_object() -> None:
    assert sent(Example(), stop=[Tool("hammer", {1})])["stop"] == [
        {"name": "hammer", "weight": [1]}
    ]


ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)


@pytest.mark.parametrize(
    "value",
    [
        *(object(), 1j, {(1, 2): 3}, ["\ud800"], "\udfff", ENDLESS, b"x", bytearray(b"x")),
        *(range(3), [object()], type("Bytes", (bytes,), {})()),
        *(math.nan, [math.inf], {"x": -math.inf}, Tool("", math.nan), Tool("", [b"x"])),
    ],
    ids=repr,
)
def test_what_cannot_be_json_is_a_value_error(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^messages and options must be JSON values: "):
        sent(Example(), stop=value)
    with pytest.raises(ValueError, match=r"^messages and options must be JSON values: "):
        sent(Example(extra_body={"x": value}))


# The reply.


@pytest.mark.parametrize("content_type", ["text/event-stream", "Text/Event-Stream; charset=utf-8"])
def test_event_stream_has_the_limit_and_the_fields_that_may_be_errors(content_type: str) -> None:
    decoder = Example(max_event_size=20).decoder(content_type)
    assert isinstance(decoder, SSEDecoder)
    assert decoder.feed(b"error: no\n") == [UnknownField("error", "no", "error: no")]
    with pytest.raises(Exception, match="limit of 20 bytes"):
        decoder.feed(b"data: 12345678901234")


@pytest.mark.parametrize("content_type", ["", "text/html", "application/x-ndjson", "text/plain"])
def test_other_media_type_is_a_value_error(content_type: str) -> None:
    with pytest.raises(ValueError, match=repr(content_type)):
        Example().decoder(content_type)


# Conversations.

USER = {"role": "user", "content": "Hi"}


@pytest.mark.parametrize("prompt", ["Hi", " Hi\n", ""])
def test_prompt_is_the_message_of_a_user(prompt: str) -> None:
    assert conversation(prompt) == [{"role": "user", "content": prompt}]


@pytest.mark.parametrize(
    "message",
    [
        USER,
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]},
        {"role": "assistant", "content": None, "refusal": "no"},
        {"role": "assistant", "audio": {"id": "a"}},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "tool", "tool_call_id": "a", "content": ""},
        {"type": "function_call", "call_id": "a"},
        {"role": "user", "parts": [{"text": "Hi"}]},
        MappingProxyType(USER),
        {},
    ],
    ids=repr,
)
def test_messages_are_sent_as_they_are(message: Mapping[str, Any]) -> None:
    assert conversation([message]) == [message]
    assert conversation((USER, message)) == [USER, message]
    assert sent(Example(), stop=conversation([message]))["stop"] == [message]


@pytest.mark.parametrize(
    "messages",
    [
        *(None, 7, b"Hi", bytearray(b"Hi"), USER, {USER["role"]}, iter([USER]), [], ()),
        *(["Hi"], [USER, "Hi"], [("user", "Hi")], [USER, None]),
    ],
    ids=repr,
)
def test_anything_but_a_str_and_mappings_is_a_value_error(messages: Any) -> None:
    words = r"^messages must be a str or a non-empty list of mappings, got "
    with pytest.raises(ValueError, match=words) as caught:
        conversation(messages)
    assert str(caught.value).endswith(f"got {messages!r}")


def test_error_shows_the_start_of_the_messages_only() -> None:
    with pytest.raises(ValueError, match=r"got \['x") as caught:
        conversation(["x" * 10_000])  # type: ignore[list-item]
    assert len(str(caught.value)) < 200


# The services.

# Each service with the header field of its key.
SERVICES: dict[type[Service], str] = {
    Anthropic: "x-api-key",
    Cohere: "authorization",
    Gemini: "x-goog-api-key",
    Ollama: "authorization",
    OpenAI: "authorization",
    OpenAIResponses: "authorization",
}


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ({"base_url": 5}, "base_url must be str, got int"),
        ({"base_url": None}, "base_url must be str, got null"),
        ({"api_key": b"k"}, "api_key must be str | None, got bytes"),
        ({"extra_headers": 5}, "extra_headers must be Mapping[str, str], got int"),
        ({"extra_headers": [("a", "b")]}, "extra_headers must be Mapping[str, str], got array"),
        ({"extra_headers": {"x": 1}}, "extra_headers must be Mapping[str, str], got int - at "),
        ({"extra_headers": {1: "x"}}, "extra_headers must be Mapping[str, str], got int - at "),
        ({"extra_body": "{}"}, "extra_body must be Mapping[str, Any], got str"),
        ({"max_event_size": "7"}, "max_event_size must be int | None, got str"),
        ({"include_usage": "False"}, "include_usage must be bool, got str"),
        ({"api_version": 2024}, "api_version must be str | None, got int"),
    ],
    ids=repr,
)
def test_argument_of_the_wrong_type_is_a_type_error(argument: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match="^" + re.escape(words)):
        OpenAI(**argument)


def test_mapping_of_any_kind_is_an_argument() -> None:
    headers = MappingProxyType({"x": "y"})
    assert Example(extra_headers=headers, api_key="k").request().headers["x"] == "y"


@pytest.mark.parametrize("fields", [{"x y": "1"}, {"x": "secret\n"}, {"x": " secret"}])
def test_header_field_that_cannot_be_sent_is_refused_and_not_shown(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="header field") as caught:
        Example(extra_headers=fields).request()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("key", ["secret\n", "secret\x07", "\t", "secret\udc80"])
def test_key_that_cannot_be_sent_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ValueError, match=r"^api_key, or EXAMPLE_API_KEY, must have no ") as caught:
        Example(api_key=key).request()
    assert "ret" not in str(caught.value)


@pytest.mark.parametrize(
    "base_url", ["https://api.example", "https://API.Example:443/v2/", "http://api.example/v1"]
)
def test_public_address_needs_a_key_however_it_is_written(base_url: str) -> None:
    with pytest.raises(ValueError, match="needs an API key"):
        Example(base_url=base_url).request()


@pytest.fixture(params=SERVICES, ids=lambda service: service.__name__)
def service_class(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv(request.param.key_variable, raising=False)
    return request.param


def test_key_of_a_service_is_the_given_one_or_that_of_the_environment(
    service_class: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(service: Any) -> str:
        value: str = service.request("Hi").headers[SERVICES[service_class]]
        return value.removeprefix("Bearer ")

    monkeypatch.setenv(service_class.key_variable, "sk-environment")
    assert key(service_class()) == "sk-environment"
    assert key(service_class(api_key="sk-given")) == "sk-given"


@pytest.mark.parametrize("api_key", [None, ""])
def test_service_needs_a_key_at_home_only(service_class: Any, api_key: str | None) -> None:
    elsewhere = service_class(api_key=api_key, base_url="http://127.0.0.1:1").request("Hi")
    assert SERVICES[service_class] not in elsewhere.headers
    if service_class is Ollama:
        assert "authorization" not in service_class(api_key=api_key).request("Hi").headers
        return
    words = f"give it as api_key, or set the environment variable {service_class.key_variable}"
    for base_url in (service_class.base_url, service_class.base_url + "/"):
        with pytest.raises(ValueError, match=words):
            service_class(api_key=api_key, base_url=base_url).request("Hi")


def test_key_may_be_a_header_field(service_class: Any) -> None:
    field = SERVICES[service_class].title()
    request = service_class(extra_headers={field: "sk-other"}).request("Hi")
    assert request.headers[field.lower()] == "sk-other"


def test_no_secret_of_a_service_is_shown(service_class: Any) -> None:
    service = service_class(api_key="sk-1", extra_headers={"x-a": "sk-2"}, extra_body={"a": "sk-3"})
    request = service.request("Hi")
    assert b"sk-3" in request.body
    assert "sk-" not in f"{service!r} {service} {request!r} {request} {request.url}"


def test_extra_headers_and_body_of_a_service_win(service_class: Any) -> None:
    fields = {"Accept": "*/*", "X-Title": "x"}
    service = service_class(api_key="k", extra_headers=fields, extra_body={"new": 1, "tools": []})
    request = service.request("Hi", tools=[{}])
    assert (request.headers["accept"], request.headers["x-title"]) == ("*/*", "x")
    assert json.loads(request.body).items() >= {"new": 1, "tools": []}.items()


def test_option_that_a_service_does_not_have_is_a_type_error(service_class: Any) -> None:
    with pytest.raises(
        TypeError, match=r"has no option volume; its options are .*; extra_body sends"
    ):
        service_class(api_key="k").request("Hi", volume=11)


@pytest.mark.parametrize("messages", [[], None, 7, b"Hi", USER, ["Hi"]], ids=repr)
def test_service_refuses_wrong_messages(service_class: Any, messages: Any) -> None:
    with pytest.raises(ValueError, match=r"^messages must be a str or a non-empty list of map"):
        service_class(api_key="k").request(messages)


def test_user_information_in_the_base_url_beside_a_key_is_refused() -> None:
    address = "http://me:secret@127.0.0.1/"
    with pytest.raises(ValueError, match=r"^base_url must have no user information") as caught:
        Example(base_url=address, api_key="key").request("Hi")
    assert "secret" not in str(caught.value)
    assert Example(base_url=address, api_key="").request("Hi").url.startswith(address)


FOREIGN: dict[str, dict[str, Any]] = {
    "gemini": {"role": "user", "parts": [{"text": "Hi"}]},
    "gemini-interactions": {"type": "function_result", "call_id": "f", "result": "x"},
    "openai-responses": {"type": "function_call_output", "call_id": "f", "output": "x"},
    "anthropic": {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "f"}]},
    "openai": {"role": "tool", "tool_call_id": "f", "content": "x"},
    "ollama": {"role": "tool", "tool_name": "f", "content": "x"},
}


@pytest.mark.parametrize("message", FOREIGN)
@pytest.mark.parametrize(
    "name",
    [
        "anthropic",
        "cohere",
        "gemini",
        "gemini-interactions",
        "ollama",
        "openai",
        "openai-responses",
    ],
)
def test_message_of_another_service_or_for_no_call_is_refused(name: str, message: str) -> None:
    if name == message == "gemini":
        return
    service = get_backend(name, base_url="http://127.0.0.1", api_key="k")
    with pytest.raises(ValueError, match=r"^messages must "):
        service.request([{"role": "user", "content": "Hi"}, FOREIGN[message]])
