"""The folder of recorded bodies of real services, which are not part of the repository."""

import os
from pathlib import Path

RECORDED = Path(__file__).parents[2] / os.environ.get("SSEPARSE_RECORDED", "../shared/recorded")
