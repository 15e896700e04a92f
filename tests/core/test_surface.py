from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

import sseparse

PUBLIC = {
    # decoders
    "SSEDecoder",
    "LineDecoder",
    "NDJSONDecoder",
    "JSONSeqDecoder",
    "JSONValuesDecoder",
    "PartialJSON",
    "Decoder",
    "decoder_for",
    # items
    "ServerSentEvent",
    "Block",
    "Comment",
    "UnknownField",
    # drivers
    "decode",
    "adecode",
    "AsyncItems",
    # files
    "LineRange",
    "line_ranges",
    # encoders
    "encode_event",
    "encode_comment",
    "encode_json_line",
    # errors
    "ProtocolError",
    "LocalProtocolError",
    "RemoteProtocolError",
    "EventTooLarge",
    "InvalidJSON",
    "IncompleteStream",
    "UnexpectedResponse",
}

# Prints the modules that the import loads.
IMPORT = "import sys; before = set(sys.modules); import sseparse; print(*set(sys.modules) - before)"


def test_public_names_are_exactly_these() -> None:
    assert sorted(sseparse.__all__) == sorted(PUBLIC)
    found = {
        name
        for name, value in vars(sseparse).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert found == PUBLIC


def test_public_names_are_documented() -> None:
    assert [name for name in PUBLIC if not getattr(sseparse, name).__doc__] == []


@pytest.mark.slow
def test_import_loads_no_third_party_module_and_no_io() -> None:
    command = [sys.executable, "-I", "-c", IMPORT]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert "sseparse._sse" in loaded
    tops = {name.partition(".")[0] for name in loaded}
    # traceback imports it since 3.15. It is written by CPython's build, and missing in that list.
    known = sys.stdlib_module_names | {"_missing_stdlib_info"}
    assert tops - known == {"sseparse"}
    assert tops.isdisjoint({"asyncio", "socket", "ssl", "selectors", "http", "urllib"})
    assert not {"sseparse.client", "sseparse.transports", "sseparse.__main__"} & set(loaded)
