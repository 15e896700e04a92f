"""The command line: `sseparse`, or `python -m sseparse`."""

import sys

try:
    from sseparse.cli import main
except ImportError:  # pragma: no cover
    sys.exit("sseparse: the command line needs more packages: pip install 'sseparse[cli]'")

if __name__ == "__main__":
    main(prog_name="sseparse")
