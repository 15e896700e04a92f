"""What comes from the network, as it may be shown."""

from __future__ import annotations


def one_line(text: str) -> str:
    """Return `text` as one line that steers no terminal."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
