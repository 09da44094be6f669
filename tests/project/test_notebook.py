"""The notebook and the short example in examples/ run; the notebook is stored without outputs."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

import whichlandmark as wl
from tests.support.photos import picture, write_photo
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


@pytest.mark.usefixtures("two_folds")
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


def test_the_example_that_counts_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(load, "load_embedder", lambda *a, **k: HistogramEmbedder())
    for code in range(3):
        for i in range(4):
            write_photo(tmp_path / "paris" / f"place {code}" / f"{i}.jpg", picture(code, i))
    wl.build(HistogramEmbedder(), wl.read_folder(tmp_path / "paris")).save(tmp_path / "r.wl")
    (tmp_path / "paris" / "torn.jpg").write_bytes(b"\xff\xd8\xff torn")
    example = runpy.run_path(str(NOTEBOOK.with_name("recognize_folder.py")))
    example["main"](str(tmp_path / "r.wl"), str(tmp_path / "paris"))
    out, err = capsys.readouterr()
    assert "     1 failed" in out.splitlines()
    assert sum(int(line.split()[0]) for line in out.splitlines()) == 13
    assert "torn.jpg" in err
