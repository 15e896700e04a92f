"""A soak: hundreds of event streams and replies for an hour, cut, reset, stalled and cancelled.

    uv run --group test python -m tests.soak --seconds 3600

Each transport and loop has a process of its own, and each talks to one hostile server. A stream
must deliver each event exactly once, in order, whatever ends its connections and whoever closes
it. A reply must have its whole text, or an error and the start of it. Memory must stay flat, and
nothing may be left in the end: no socket, no task, no thread.
"""
