"""The notebook in examples/ is stored without outputs, and its code runs from top to bottom."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import whichlandmark as wl
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.recognition.folder import load

NOTEBOOK = Path(wl.__file__).parents[2] / "examples" / "first_steps.ipynb"


def cells() -> list[dict[str, Any]]:
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def test_it_is_a_notebook_without_outputs() -> None:
    book = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in book["cells"]}) == len(book["cells"]) > 10
    for cell in book["cells"]:
        assert cell["cell_type"] in ("markdown", "code")
        assert isinstance(cell["source"], list)
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)


@pytest.mark.parametrize("embedder", ["histogram", pytest.param("lite0", marks=pytest.mark.slow)])
def test_its_cells_run(embedder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its own embedder, and with a quick one, whose whitening takes no seconds."""
    if embedder == "histogram":
        monkeypatch.setattr(load, "default_embedder", HistogramEmbedder)
        monkeypatch.setattr(load, "load_embedder", lambda *a, **k: HistogramEmbedder())
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for cell in cells():
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    assert len(names["photos"]) == 24
    assert (names["prediction"].decision, names["prediction"].guess) == (
        "landmark", names["test"][0].landmark,
    )  # fmt: skip
    first, second, third, failed = names["answers"]
    assert (first.guess, first.decision) == (names["prediction"].guess, "landmark")
    assert second.guess == third.guess == names["test"][1].landmark
    assert (failed.decision, failed.error) == ("failed", "nowhere.jpg: no such file")
    assert names["scores"].top1 == 1
    assert "4 landmarks" in repr(wl.load("paris.wl"))
