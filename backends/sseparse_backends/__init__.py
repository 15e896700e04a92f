"""Thin backends for LLM chat services: a prompt goes in, text comes out."""

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
from ._exchange import ReplyTimeout
from ._registry import get_backend
from ._stream import ReplyStream, stream
from .anthropic import Anthropic
from .cohere import Cohere
from .darkai import DarkAI
from .gemini import Gemini
from .ollama import Ollama
from .openai import OpenAI
from .openai_responses import OpenAIResponses

__all__ = [
    "Anthropic",
    "Backend",
    "BackendError",
    "Cohere",
    "DarkAI",
    "Delta",
    "Finish",
    "Gemini",
    "Messages",
    "Ollama",
    "OpenAI",
    "OpenAIResponses",
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
