"""Thin backends for LLM chat services: a prompt goes in, text comes out."""

from ._contract import (
    Attachment,
    Backend,
    BackendError,
    Delta,
    Finish,
    FinishKind,
    Messages,
    Reasoning,
    Reply,
    Text,
    ToolCall,
    ToolCallPiece,
    Usage,
)
from ._exchange import ReplyTimeout
from ._registry import get_backend
from ._stream import ReplyStream, stream
from .anthropic import Anthropic
from .cohere import Cohere
from .darkai import DarkAI
from .gemini import Gemini
from .gemini_interactions import GeminiInteractions
from .ollama import Ollama
from .openai import OpenAI
from .openai_responses import OpenAIResponses

__all__ = [
    "Anthropic",
    "Attachment",
    "Backend",
    "BackendError",
    "Cohere",
    "DarkAI",
    "Delta",
    "Finish",
    "FinishKind",
    "Gemini",
    "GeminiInteractions",
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
    "ToolCallPiece",
    "Usage",
    "get_backend",
    "stream",
]
