"""Thoroughness of the backends' tests: each byte and value, or in a quick run some of them."""

from __future__ import annotations

from functools import partial

from hypothesis import settings

from sseparse_backends import testing

IS_QUICK = settings.get_current_profile_name() in ("brief", "quick")

# Events are of all sizes, so that all of their places are cut.
check = partial(testing.check, every=5 if IS_QUICK else 1)
