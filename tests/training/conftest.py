"""Fixtures of the training tests."""

from __future__ import annotations

import pytest

from whichlandmark.features.embedders.torch_embedder import TorchEmbedder


@pytest.fixture
def not_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the ONNX export, which takes seconds; `test_training_improves_retrieval` checks it."""
    monkeypatch.setattr(TorchEmbedder, "export", lambda self, folder: None)
