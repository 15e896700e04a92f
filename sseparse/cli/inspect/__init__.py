"""The command `inspect`: what is wrong with an event stream?

`_reading` feeds the bytes and their times to `_stream`, which gathers statistics. `_findings` are
functions over these, `_resumption` connects again, and `_report` puts all into words.
"""

from ._command import inspect

__all__ = ["inspect"]
