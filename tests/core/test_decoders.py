from __future__ import annotations

import pytest

from sseparse import JSONSeqDecoder, NDJSONDecoder, SSEDecoder, decoder_for

DECODERS: dict[str, type] = {
    "text/event-stream": SSEDecoder,
    "application/x-ndjson": NDJSONDecoder,
    "application/ndjson": NDJSONDecoder,
    "application/jsonl": NDJSONDecoder,
    "application/x-jsonlines": NDJSONDecoder,
    "application/x-jsonl": NDJSONDecoder,
    "application/stream+json": NDJSONDecoder,
    "application/json-seq": JSONSeqDecoder,
    "application/geo+json-seq": JSONSeqDecoder,
}


@pytest.mark.parametrize(
    "written",
    ["{}", "{};", "{}; charset=utf-8", "{};charset=latin-1; a=b", " {} ", "{} ;a=b"],
    ids=repr,
)
@pytest.mark.parametrize(("essence", "decoder_class"), DECODERS.items())
def test_essence_alone_decides(essence: str, decoder_class: type, written: str) -> None:
    for cased in (essence, essence.upper(), essence.title()):
        assert type(decoder_for(written.format(cased))) is decoder_class


def test_each_decoder_is_a_new_one() -> None:
    assert decoder_for("text/event-stream") is not decoder_for("text/event-stream")


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        ";",
        "application/json",
        "text/html; a=text/event-stream",
        "text/event-streams",
        "text/event-stream, text/html",
        "x-text/event-stream",
        "event-stream",
        None,
    ],
)
def test_other_media_types_are_refused_and_the_known_ones_named(content_type: str | None) -> None:
    with pytest.raises(ValueError, match="content_type must have a media type of ") as caught:
        decoder_for(content_type)
    assert repr(content_type) in str(caught.value)
    assert all(essence in str(caught.value) for essence in list(DECODERS)[:-1])


def test_content_type_must_be_text() -> None:
    with pytest.raises(TypeError, match=r"^content_type must be a str or None, got int$"):
        decoder_for(5)  # type: ignore[arg-type]
