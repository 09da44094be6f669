"""`whichlandmark demo` on a small synthetic world: the promised files, and numbers that agree."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from whichlandmark.cli import demo


@pytest.mark.slow
def test_the_demo_writes_every_promised_file_with_matching_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"landmarks": 8, "unknown_landmarks": 3, "photos": 140, "queries": 24, "size": 96,
             "unknown_queries": 8, "nonlandmark_queries": 12, "distractors": 20}  # fmt: skip
    monkeypatch.setattr(demo, "WORLD_SETTINGS", small)
    settings = {"backbone": "test_resnet", "options": {}, "epochs": 2, "size": 96, "crop": 64,
                "dim": 32, "landmarks_per_batch": 6, "workers": 0}  # fmt: skip
    monkeypatch.setattr(demo, "TRAIN_SETTINGS", {**demo.TRAIN_SETTINGS, **settings})
    said: list[str] = []
    demo.run_demo(
        tmp_path / "demo", seed=0, say=said.append, progress=lambda name: lambda *numbers: None
    )
    at = tmp_path / "demo"
    for name in ("clean.csv", "clean.cleaning.csv", "embedder/embedder.json", "report.html",
                 "recognizer.wl/gallery.sqlite", "predictions.csv", "submission.csv"):  # fmt: skip
        assert (at / name).stat().st_size > 0, name
    scores = json.loads((at / "scores.json").read_text())
    assert set(scores) == {
        "gap_random", "gap_histogram", "gap_trained", "gap_seed_penalty", "gap_both_penalties",
        "gap_learned", "top1_trained", "seconds",
    }  # fmt: skip
    assert all(0 <= value <= 1 for name, value in scores.items() if name != "seconds")
    with open(at / "predictions.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 24 + 8 + 12
    text = "\n".join(said)
    for word in (
        "draw ",
        "clean ",
        "baseline",
        "train ",
        "index ",
        "evaluate",
        "recognize",
        "gap_",
    ):
        assert word in text
    before = (at / "embedder" / "model.safetensors").read_bytes()
    demo.run_demo(at, seed=0, say=said.append, progress=lambda name: lambda *numbers: None)
    assert (at / "embedder" / "model.safetensors").read_bytes() == before
