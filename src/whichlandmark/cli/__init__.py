"""The command line: each verb parses, calls one function and prints. Heavy imports stay inside."""

from __future__ import annotations

from .. import console
from . import comparing, examining, gallery, importing, recognizing, serving, tables, training
from .app import app

__all__ = ["app", "comparing", "examining", "gallery", "importing", "main", "recognizing",
           "serving", "tables", "training"]  # fmt: skip


def main() -> None:
    """Run the command line and exit with the documented code."""
    console.exit_with(app)
