"""Files in a message of the user, in the shape of each service."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

from sseparse_backends import Attachment, get_backend

IMAGE = Attachment(b"\x89PNG", "image/png", "cat.png")
PDF = Attachment(b"%PDF-1.7", "application/pdf", "report.pdf")
SOUND = Attachment(b"RIFF", "audio/wav", "bark.wav")

PIXELS = b64encode(IMAGE.data).decode()
PAGES = b64encode(PDF.data).decode()
PIXELS_URL = f"data:image/png;base64,{PIXELS}"
PAGES_URL = f"data:application/pdf;base64,{PAGES}"

# The parts of an image and of a PDF, None where the service takes none, and the type of a text.
PARTS: dict[str, tuple[dict[str, Any], dict[str, Any] | None, str]] = {
    "openai": (
        {"type": "image_url", "image_url": {"url": PIXELS_URL}},
        {"type": "file", "file": {"filename": "report.pdf", "file_data": PAGES_URL}},
        "text",
    ),
    "openai-responses": (
        {"type": "input_image", "image_url": PIXELS_URL},
        {"type": "input_file", "filename": "report.pdf", "file_data": PAGES_URL},
        "input_text",
    ),
    "anthropic": (
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": PIXELS},
        },
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": PAGES},
            "title": "report.pdf",
        },
        "text",
    ),
    "gemini": (
        {"inlineData": {"mimeType": "image/png", "data": PIXELS}},
        {"inlineData": {"mimeType": "application/pdf", "data": PAGES}},
        "text",
    ),
    "gemini-interactions": (
        {"type": "image", "mime_type": "image/png", "data": PIXELS},
        {"type": "document", "mime_type": "application/pdf", "data": PAGES},
        "text",
    ),
    "cohere": ({"type": "image_url", "image_url": {"url": PIXELS_URL}}, None, "text"),
}


def service(name: str) -> Any:
    return get_backend(name, api_key="k")


@pytest.mark.parametrize("name", PARTS)
def test_attachments_come_before_the_text_in_the_shape_of_the_service(name: str) -> None:
    image, pdf, text_type = PARTS[name]
    attachments = [IMAGE] if pdf is None else [IMAGE, PDF]
    content = [image] if pdf is None else [image, pdf]
    message = service(name).user_message("Look!", *attachments)
    assert message == {"role": "user", "content": [*content, {"type": text_type, "text": "Look!"}]}
    request = service(name).request([message])
    assert PIXELS.encode() in request.body
    assert b"Look!" in request.body


@pytest.mark.parametrize("name", PARTS)
def test_an_attachment_needs_no_text(name: str) -> None:
    message = service(name).user_message("", IMAGE)
    assert message == {"role": "user", "content": [PARTS[name][0]]}
    assert PIXELS.encode() in service(name).request([message]).body


@pytest.mark.parametrize("name", [*PARTS, "ollama"])
def test_a_message_without_attachments_is_a_text(name: str) -> None:
    assert service(name).user_message("Hi") == {"role": "user", "content": "Hi"}


def test_images_stand_beside_the_content_for_ollama() -> None:
    message = service("ollama").user_message("Look!", IMAGE)
    assert message == {"role": "user", "content": "Look!", "images": [PIXELS]}
    assert json.loads(service("ollama").request([message]).body)["messages"] == [message]


def test_gemini_takes_sounds_in_the_same_shape() -> None:
    sound = b64encode(SOUND.data).decode()
    (part,) = service("gemini").user_message("", SOUND)["content"]
    assert part == {"inlineData": {"mimeType": "audio/wav", "data": sound}}
    (part,) = service("gemini-interactions").user_message("", SOUND)["content"]
    assert part == {"type": "audio", "mime_type": "audio/wav", "data": sound}


@pytest.mark.parametrize(
    ("name", "attachment", "supported"),
    [
        ("openai", SOUND, "images and PDFs"),
        ("anthropic", SOUND, "images and PDFs"),
        ("cohere", PDF, "images"),
        ("ollama", PDF, "images"),
    ],
)
def test_an_attachment_that_the_service_does_not_take_is_named(
    name: str, attachment: Attachment, supported: str
) -> None:
    with pytest.raises(ValueError, match=f"attachments must be {supported}, got ") as caught:
        service(name).user_message("Look!", attachment)
    assert str(caught.value).endswith(f"'{attachment.name}' ({attachment.media_type})")


def test_the_data_of_an_attachment_is_not_in_its_repr() -> None:
    assert repr(IMAGE) == "Attachment(media_type='image/png', name='cat.png')"
