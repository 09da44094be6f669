"""The command line: each verb parses, calls one function and prints. Heavy imports stay inside."""

from __future__ import annotations

from .. import console
from . import comparing, gallery, importing, recognizing, tables, training
from .app import app

__all__ = ["app", "comparing", "gallery", "importing", "main", "recognizing", "tables", "training"]


def main() -> None:
    """Run the command line and exit with the documented code."""
    console.exit_with(app)
