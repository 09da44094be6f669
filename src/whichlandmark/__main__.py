"""The command line: the script `whichlandmark` and `python -m whichlandmark`."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the command line; Ctrl-C while it is still being loaded ends it in one line too."""
    try:
        from .cli import main as run
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    try:
        run()
    finally:
        gc.freeze()  # looking for garbage among all objects takes a sixth of a short command


if __name__ == "__main__":
    main()
