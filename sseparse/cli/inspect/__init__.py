"""The command `inspect`: faults of an event stream, with their remedies.

`_reading` feeds the bytes and their times to `_stream`, which gathers statistics. `_findings` are
functions over these, `_resumption` connects again, and `_report` puts all into words.
"""

from ._command import inspect

__all__ = ["inspect"]
