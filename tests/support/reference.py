"""The text of the HTML Standard as code: the oracle of the decoder's tests.

It sees the whole stream at once, and is as literal as can be. The words in quotation marks are the
standard's: 9.2.5 "Parsing an event stream", 9.2.6 "Interpreting an event stream", and the Encoding
Standard's "UTF-8 decode". Additions of sseparse are marked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sseparse import Block, Comment, ServerSentEvent, UnknownField

BOM = b"\xef\xbb\xbf"


@dataclass
class Outcome:
    """All that a decoder shows after a stream."""

    items: list[ServerSentEvent | Block | Comment | UnknownField]
    too_large: bool
    last_event_id: str
    reconnection_time: int | None
    incomplete: bool


def interpret(
    stream: bytes,
    *,
    last_event_id: str = "",
    max_event_size: int | None = None,
    blocks: bool = False,
    comments: bool = False,
    unknown_fields: bool = False,
    dispatch_at_eof: bool = False,
    at_eof: bool = True,
) -> Outcome:
    """Interpret `stream`: all of it, or, if not `at_eof`, its first bytes."""
    stream, too_large = within_limit(stream, max_event_size)
    items: list[ServerSentEvent | Block | Comment | UnknownField] = []
    reconnection_time: int | None = None
    # "When a stream is parsed, a data buffer, an event type buffer, and a last event ID buffer
    # must be associated with it."
    data_buffer = ""
    event_type_buffer = ""
    last_event_id_buffer = last_event_id
    # An addition to the standard: the reconnection time, if this block set it.
    retry: int | None = None
    # Another addition: the fields that this block itself has, for Block.
    block: dict[str, Any] = {}

    *lines, unfinished = re.split("\r\n|\n|\r", utf8_decode(stream))
    # "Once the end of the file is reached, any pending data must be discarded", unless:
    if dispatch_at_eof and at_eof and not too_large:
        lines += [unfinished, ""]
        unfinished = ""

    for line in lines:
        if line == "":  # "If the line is empty (a blank line)": "dispatch the event"
            last_event_id = last_event_id_buffer
            if blocks and block:
                items.append(Block(**block))
            elif data_buffer != "" and not blocks:
                # "If the data buffer's last character is a U+000A LINE FEED (LF) character, then
                # remove the last character from the data buffer."
                data_buffer = data_buffer.removesuffix("\n")
                event_type = event_type_buffer if event_type_buffer != "" else "message"
                items.append(ServerSentEvent(event_type, data_buffer, last_event_id, retry))
            data_buffer = ""
            event_type_buffer = ""
            retry = None
            block = {}
            continue
        if line[0] == ":":  # "Ignore the line."
            if comments:
                items.append(Comment(without_a_leading_space(line[1:])))
            continue
        if ":" in line:
            field, value = line.split(":", 1)
            value = without_a_leading_space(value)
        else:
            field, value = line, ""
        # "process the field"
        if field == "event":
            event_type_buffer = value
            block["event"] = value
        elif field == "data":
            data_buffer += value
            data_buffer += "\n"
            block["data"] = data_buffer.removesuffix("\n")
        elif field == "id":
            if "\0" not in value:
                last_event_id_buffer = value
                block["id"] = value
        elif field == "retry":
            if value != "" and all(character in "0123456789" for character in value):
                reconnection_time = retry = base_ten(value)
                block["retry"] = retry
        elif unknown_fields:  # "The field is ignored."
            items.append(UnknownField(field, value, line))

    pending = unfinished + data_buffer + event_type_buffer
    incomplete = pending != "" or last_event_id_buffer != last_event_id
    if blocks:
        incomplete = unfinished != "" or block != {}
    return Outcome(items, too_large, last_event_id, reconnection_time, incomplete)


def utf8_decode(stream: bytes) -> str:
    """Return the stream as text: "UTF-8 decode" strips one leading byte order mark."""
    return stream.removeprefix(BOM).decode("utf-8", "replace")


def without_a_leading_space(value: str) -> str:
    """Return the value: "If value starts with a U+0020 SPACE character, remove it"."""
    return value[1:] if value[:1] == " " else value


def base_ten(digits: str) -> int:
    """Return the number, at most 2**63 - 1: a bound that the standard does not set."""
    number = 0
    for digit in digits:
        number = min(10 * number + "0123456789".index(digit), 2**63 - 1)
    return number


def within_limit(stream: bytes, limit: int | None) -> tuple[bytes, bool]:
    """Cut the stream before the byte that exceeds the limit; return whether there is one.

    An addition to the standard. The size of an event is the bytes of its lines since the last
    blank one, the unfinished line included, line ends and finished comments excluded. A leading
    byte order mark, even an unfinished one, does not count.
    """
    if limit is None or BOM.startswith(stream):
        return stream, False
    size = 0
    line = b""
    for position in range(len(BOM) if stream.startswith(BOM) else 0, len(stream)):
        byte = stream[position : position + 1]
        if byte == b"\n" and stream[position - 1 : position] == b"\r":
            continue  # the second half of a line end
        if byte in (b"\r", b"\n"):
            if line == b"":
                size = 0
            elif not line.startswith(b":"):
                size += len(line)
            line = b""
        else:
            line += byte
            if size + len(line) > limit:
                return stream[:position], True
    return stream, False
