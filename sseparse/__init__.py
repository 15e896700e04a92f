"""Streaming-protocol parsing: bytes in any pieces in, typed events out.

It does no I/O, but for line_ranges, which looks into a file.
"""

from ._decode import AsyncItems, adecode, decode
from ._decoders import Decoder, decoder_for
from ._encode import encode_comment, encode_event, encode_json_line
from ._errors import (
    EventTooLarge,
    IncompleteStream,
    InvalidJSON,
    LocalProtocolError,
    ProtocolError,
    RemoteProtocolError,
    UnexpectedResponse,
)
from ._events import Block, Comment, ServerSentEvent, UnknownField
from ._json_lines import JSONSeqDecoder, NDJSONDecoder
from ._json_values import JSONValuesDecoder
from ._line_ranges import LineRange, line_ranges
from ._lines import LineDecoder
from ._partial_json import PartialJSON
from ._sse import SSEDecoder

__version__ = "0.1.0"

__all__ = [
    "AsyncItems",
    "Block",
    "Comment",
    "Decoder",
    "EventTooLarge",
    "IncompleteStream",
    "InvalidJSON",
    "JSONSeqDecoder",
    "JSONValuesDecoder",
    "LineDecoder",
    "LineRange",
    "LocalProtocolError",
    "NDJSONDecoder",
    "PartialJSON",
    "ProtocolError",
    "RemoteProtocolError",
    "SSEDecoder",
    "ServerSentEvent",
    "UnexpectedResponse",
    "UnknownField",
    "adecode",
    "decode",
    "decoder_for",
    "encode_comment",
    "encode_event",
    "encode_json_line",
    "line_ranges",
]
