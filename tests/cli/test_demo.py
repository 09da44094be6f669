"""`whichlandmark demo` on a small synthetic world: the promised files, and numbers that agree."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from whichlandmark.cli import demo

SMALL_WORLD = {"landmarks": 8, "unknown_landmarks": 3, "photos": 140, "queries": 24, "size": 96,
               "unknown_queries": 8, "nonlandmark_queries": 12, "distractors": 20}  # fmt: skip

BASELINES: dict[str, float] = {}  # their scores, the same in every run of this world

SMALL = {"size": 96, "crop": 64, "dim": 32, "landmarks_per_batch": 6, "workers": 0, "epochs": 1}

KEYS = {"gap_random", "gap_histogram", "gap_sift", "gap_frozen", "gap_finetuned",
        "gap_seed_penalty", "gap_both_penalties", "top1_frozen", "top1_finetuned",
        "seconds"}  # fmt: skip


@pytest.fixture
def small_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small world, and settings that train on it in seconds; baselines are measured once."""
    monkeypatch.setattr(demo, "WORLD_SETTINGS", SMALL_WORLD)
    monkeypatch.setattr(demo, "FROZEN_SIZE", 96)
    monkeypatch.setattr(demo, "FINETUNE_SETTINGS", {**demo.FINETUNE_SETTINGS, **SMALL})
    scratch = {"backbone": "test_resnet", "options": {}, **SMALL}
    monkeypatch.setattr(demo, "SCRATCH_SETTINGS", {**demo.SCRATCH_SETTINGS, **scratch})
    measure = demo._baselines

    def measured(*given: Any) -> dict[str, float]:
        if not BASELINES:
            BASELINES.update(measure(*given))
        return dict(BASELINES)

    monkeypatch.setattr(demo, "_baselines", measured)


def run_demo(at: Path, *, from_scratch: bool = False) -> str:
    said: list[str] = []
    demo.run_demo(
        at,
        seed=0,
        from_scratch=from_scratch,
        say=said.append,
        progress=lambda name: lambda *numbers: None,
    )
    return "\n".join(said)


@pytest.mark.slow
@pytest.mark.usefixtures("small_demo", "one_thread", "two_folds")
def test_the_demo_writes_every_promised_file_with_matching_numbers(tmp_path: Path) -> None:
    at = tmp_path / "demo"
    BASELINES.clear()
    text = run_demo(at)
    for name in ("clean.csv", "clean.cleaning.csv", "lite0/embedder.json", "report.html",
                 "embedder/embedder.json", "frozen.wl/gallery.sqlite", "frozen.csv",
                 "recognizer.wl/gallery.sqlite", "predictions.csv", "submission.csv"):  # fmt: skip
        assert (at / name).stat().st_size > 0, name
    scores = json.loads((at / "scores.json").read_text())
    assert set(scores) == KEYS
    assert all(0 <= value <= 1 for name, value in scores.items() if name != "seconds")
    for name in ("predictions.csv", "frozen.csv"):
        with open(at / name, newline="") as file:
            assert len(list(csv.DictReader(file))) == 24 + 8 + 12
    for word in ("draw ", "clean ", "baseline", "train ", "index ", "evaluate", "recognize",
                 "gap_", "training added"):  # fmt: skip
        assert word in text
    before = (at / "embedder" / "model.safetensors").read_bytes()
    run_demo(at)
    assert (at / "embedder" / "model.safetensors").read_bytes() == before


@pytest.mark.slow
@pytest.mark.usefixtures("small_demo", "one_thread", "two_folds", "not_exported")
def test_the_demo_can_train_from_random_weights(tmp_path: Path) -> None:
    text = run_demo(tmp_path / "demo", from_scratch=True)
    assert "train    test_resnet from random weights, 1 epochs" in text
    scores = json.loads((tmp_path / "demo" / "scores.json").read_text())
    renamed = {"gap_finetuned": "gap_trained", "top1_finetuned": "top1_trained"}
    assert set(scores) == {renamed.get(name, name) for name in KEYS}
