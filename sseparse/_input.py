"""What every decoder does with the bytes that it is fed."""

from __future__ import annotations

from typing import cast

_BOM = b"\xef\xbb\xbf"


def as_bytes(data: object) -> bytes:
    """Return `data` as bytes of its own; raise TypeError for what is not bytes-like.

    The caller may go on to change a bytearray, so nothing may refer to it later.
    """
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(cast("memoryview", data))
    if isinstance(data, str):
        raise TypeError(
            "a decoder takes bytes, not str: feed it the raw body of the response, "
            "a file opened in binary mode, or text.encode()"
        )
    raise TypeError(f"a decoder takes bytes, bytearray or memoryview, not {type(data).__name__}")


def without_bom(head: bytearray, data: bytes) -> bytes | None:
    """Return the start of a stream, `head` and `data`, without the byte order mark, if it has one.

    None means that it is too short to tell: then all of it is in `head`, else nothing is.
    """
    start = bytes(head) + data
    head.clear()
    if len(start) < len(_BOM) and _BOM.startswith(start):
        head += start
        return None
    return start.removeprefix(_BOM)
