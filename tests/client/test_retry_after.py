"""How long a refusal asks to wait."""

from __future__ import annotations

import pytest

from sseparse.client._retry_after import retry_after

GOOGLE = b'{"error": {"details": [{"@type": "x/google.rpc.RetryInfo", "retryDelay": "%s"}]}}'


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({}, b"", None),
        ({"retry-after": "soon"}, b"", None),
        ({"retry-after": "7"}, b"", 7),
        ({"retry-after": " 1.4"}, b"", 1.4),
        ({"retry-after": "1.4.1"}, b"", None),
        ({"retry-after": "٣"}, b"", None),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:09 GMT"}, b"", 9),
        ({"retry-after": "1", "retry-after-ms": "250"}, b"", 0.25),
        ({"retry-after-ms": "-1"}, b"", None),
        ({}, GOOGLE % b"47s", 47),
        ({}, GOOGLE % b"47.5s", 47.5),
        ({}, GOOGLE % b"soon", None),
        ({}, GOOGLE % (b"9" * 5000 + b"s"), None),
        ({"retry-after": "7"}, GOOGLE % b"47s", 7),
    ],
)
def test_wait_is_in_a_header_field_or_in_the_body(
    headers: dict[str, str], body: bytes, seconds: float | None
) -> None:
    assert retry_after(headers, body, 0.0) == seconds
