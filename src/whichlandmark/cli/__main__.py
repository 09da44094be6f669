"""`python -m whichlandmark.cli`: the command line where the script is not on the PATH."""

from __future__ import annotations

from . import main

main()
