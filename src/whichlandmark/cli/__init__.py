"""The command line: each verb parses its options, calls one function and prints the result.

Verbs are imported when they are asked for, and heavy libraries inside them, so that --help is
quick.
"""

from __future__ import annotations

from . import output
from .app import app

__all__ = ["app", "main", "output"]


def main() -> None:
    """Run the command line and exit with the documented code."""
    output.exit_with(app)
