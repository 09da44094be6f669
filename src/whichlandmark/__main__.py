"""`python -m whichlandmark`: the command line where the script is not on the PATH."""

from __future__ import annotations

from .cli import main

main()
