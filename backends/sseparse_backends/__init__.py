"""LLM chat services as thin backends over sseparse: a prompt goes in, text comes out."""

from ._contract import (
    Backend,
    BackendError,
    Delta,
    Finish,
    Messages,
    Reasoning,
    Reply,
    Text,
    ToolCall,
    Usage,
)
from ._registry import get_backend
from ._stream import ReplyStream, ReplyTimeout, stream
from .darkai import DarkAI

__all__ = [
    "Backend",
    "BackendError",
    "DarkAI",
    "Delta",
    "Finish",
    "Messages",
    "Reasoning",
    "Reply",
    "ReplyStream",
    "ReplyTimeout",
    "Text",
    "ToolCall",
    "Usage",
    "get_backend",
    "stream",
]
