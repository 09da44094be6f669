"""Fixtures of the training tests."""

from __future__ import annotations

import pytest

from whichlandmark.net.embedder import NetEmbedder


@pytest.fixture
def not_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing ONNX takes seconds; `test_training_improves_retrieval` checks it."""
    monkeypatch.setattr(NetEmbedder, "export", lambda self, folder: None)
