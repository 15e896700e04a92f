"""The command line: `sseparse`, or `python -m sseparse`."""

import sys

try:
    from sseparse.cli import main
except ModuleNotFoundError as _error:  # pragma: no cover
    if _error.name != "click":
        raise
    sys.exit("sseparse: the command line needs more packages: pip install 'sseparse[cli]'")

except KeyboardInterrupt:  # pragma: no cover
    sys.exit(130)

if __name__ == "__main__":
    main(prog_name="sseparse")
