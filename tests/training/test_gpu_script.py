"""benchmarks/training_gpu.py, which measures a GPU, runs in its small mode on the CPU."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest

from whichlandmark.data.table import read_photos

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

pytestmark = pytest.mark.usefixtures("one_thread", "not_exported")


def test_the_gpu_script_measures_every_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import training_gpu

    monkeypatch.setattr(sys, "argv", ["training_gpu.py", str(tmp_path), "--tiny"])
    training_gpu.main()
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert [(row["recipe"], row["precision"]) for row in rows] == [
        ("seed", "float32"), ("seed", "bf16"), ("strong", "bf16"),
    ]  # fmt: skip
    for row in rows:
        assert row["steps"] == 6
        assert row["photos_per_second"] > 0
        assert math.isfinite(row["last_loss"])
    assert "strong bf16: " in capsys.readouterr().out


def test_a_large_world_has_training_photos_queries_and_unseen_landmarks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from large_world import LargeWorld, draw_large_world

    draw_large_world(tmp_path, LargeWorld(landmarks=4, unseen=2, scenes=3, size=64), workers=1)
    train, queries, unseen = (
        read_photos(tmp_path / f"{name}.csv") for name in ("train", "queries", "unseen")
    )
    assert (len(train), len(queries), len(unseen)) == (4 * 8, 4 * 2 + 2 * 4 + 3, 2 * 4)
    assert len(set(train.landmarks)) == 4  # of two drawing seeds, with different names
    assert not set(unseen.landmarks) & set(train.landmarks)
    assert sum(mark == "" for mark in queries.landmarks) == 3
    assert all(Path(path).exists() for path in queries.paths)
