from ._sse import SSEDecoder as SSEDecoder
