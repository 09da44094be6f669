"""The documents: README's Python runs, commands parse, links and settings exist."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

import whichlandmark
from tests.support.photos import picture, write_photo
from whichlandmark.cli import app
from whichlandmark.core.json_options import from_json
from whichlandmark.features.embedders.load import PretrainedOptions, load_onnx, make_embedder
from whichlandmark.training.config import TrainConfig

ROOT = Path(whichlandmark.__file__).parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """Fenced blocks of one language ("" = none named)."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.M | re.S)
    return [text for named, text in fences if named == language]


@pytest.mark.slow
@pytest.mark.usefixtures("two_folds")
def test_the_readme_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Word for word, on small pictures; only the settings of the training are made small."""
    for code in range(4):
        for i in range(8):
            write_photo(tmp_path / "paris" / f"place {code}" / f"{i}.jpg", picture(code, i))
    for i in range(6):
        write_photo(tmp_path / "streets" / f"{i}.jpg", picture(50 + i, i))
    write_photo(tmp_path / "holiday.jpg", picture(1, 99))
    monkeypatch.chdir(tmp_path)
    small = {"backbone": "test_resnet", "size": 64, "crop": 64, "dim": 16, "workers": 0,
             "landmarks_per_batch": 4, "photos_per_landmark": 2}  # fmt: skip
    monkeypatch.setattr(
        whichlandmark, "TrainConfig", lambda epochs: TrainConfig(**small, epochs=epochs)
    )
    (example,) = blocks(ROOT / "README.md", "python")
    found: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), found)
    assert isinstance(found["prediction"], whichlandmark.Prediction)
    opened = whichlandmark.load("paris.wl/")
    again, first = opened("holiday.jpg"), found["prediction"]  # by ONNX Runtime and by torch
    assert (again.decision, again.guess) == (first.decision, first.guess)
    assert again.score == pytest.approx(first.score, abs=1e-3)


@pytest.mark.slow
def test_the_example_of_an_own_embedder_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Word for word; what it has built answers."""
    for code in range(4):
        for i in range(4):
            write_photo(tmp_path / "paris" / f"place {code}" / f"{i}.jpg", picture(code, i))
    monkeypatch.chdir(tmp_path)
    (example,) = [b for b in blocks(ROOT / "docs" / "python.md", "python") if "class Mine" in b]
    found: dict[str, Any] = {}
    exec(compile(example, "python.md", "exec"), found)
    assert found["opened"](picture(2, 99)).guess == "place 2"


@pytest.mark.slow
def test_the_recipe_for_torch_modules_makes_a_usable_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Word for word, with a small random network in the place of MegaLoc."""
    import torch

    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 7, stride=2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(), torch.nn.Linear(8, 16),
    )  # fmt: skip
    monkeypatch.setattr(torch.hub, "load", lambda *name: net)
    monkeypatch.chdir(tmp_path)
    (recipe,) = blocks(ROOT / "docs" / "embedders.md", "python")
    exec(compile(recipe, "embedders.md", "exec"), {"torch": torch})
    summary = make_embedder("onnx:mine.onnx", PretrainedOptions(), tmp_path / "e")
    assert (summary["dimensions"], summary["fit"]) == (16, "keep")
    opened = load_onnx(tmp_path / "e")
    pixels = opened.preprocessing(picture(1, 0))
    with torch.inference_mode():
        expected = net(torch.from_numpy(pixels)[None]).numpy()
    expected /= np.linalg.norm(expected)
    assert np.abs(opened([picture(1, 0)]) - expected).max() < 1e-5


def test_every_command_in_the_documents_parses() -> None:
    """Each `whichlandmark …` line: the verb and its flags exist."""
    root = typer.main.get_command(app)
    lines = [
        line
        for page in PAGES
        for block in blocks(page, "")
        for line in block.splitlines()
        if line.startswith("whichlandmark ") and "(planned)" not in line
    ]
    assert len(lines) >= 15
    for line in lines:
        words = line.split("#")[0].replace("[", "").replace("]", "").split()[1:]
        command = root
        while words and hasattr(command, "commands"):
            assert words[0] in command.commands, line
            command = command.commands[words.pop(0)]
        flags = {flag for option in command.params for flag in option.opts}
        for word in words:
            if word.startswith("-"):
                assert word in flags, line


def test_json_settings_in_the_documents_are_valid() -> None:
    settings = blocks(ROOT / "docs" / "training.md", "json")
    assert settings
    for block in settings:
        assert from_json(TrainConfig, json.loads(block)).backbone == "resnet101"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_point_to_existing_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
