"""The example that evaluates a data set laid out as Google Landmarks v2, on a tiny one."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

from PIL import Image as Pillow

import whichlandmark
from tests.support.gldv2_layout import Gldv2Set, Item, hex_id, write_gldv2
from tests.support.photos import picture
from whichlandmark.data.table import read_photos

EXAMPLE = Path(whichlandmark.__file__).parents[2] / "examples" / "evaluate_gldv2.py"
NAMES = {"7": "Café de Paris", "12": "Old Bridge", "203": "清水寺"}


def photo(hue: int, seed: int) -> bytes:
    """A JPEG whose coarse pattern belongs to its hue, so that `sift` separates the hues."""
    pattern = picture(0, hue, (10, 12)).repeat(16, axis=0).repeat(16, axis=1)
    pattern = pattern // 2 + picture(hue, seed, pattern.shape[:2]) // 2
    file = io.BytesIO()
    Pillow.fromarray(pattern).save(file, "jpeg", quality=92)
    return file.getvalue()


def item(part: str, number: int, landmark: str, hue: int, usage: str = "") -> Item:
    return Item(hex_id(f"{part}{number}"), landmark, photo(hue, 100 * len(part) + number), usage)


def tiny_set() -> Gldv2Set:
    """24 train photos of 3 landmarks; 8 test photos, 2 of them without a landmark."""
    labels = list(NAMES)
    train = [item("train", i, labels[i % 3], i % 3) for i in range(24)]
    usage = ["Public", "Private"]
    test = [item("test", i, labels[i % 3], i % 3, usage[i % 2]) for i in range(6)]
    test += [item("none", i, "", 40 + i, usage[i % 2]) for i in range(2)]
    return Gldv2Set(train, [], test, dict(NAMES))


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLE), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_data_set_like_gldv2_is_evaluated(tmp_path: Path) -> None:
    write_gldv2(tmp_path / "gldv2", tiny_set())
    streets = tmp_path / "streets"
    streets.mkdir()
    for i in range(6):
        (streets / f"{i}.jpg").write_bytes(photo(60 + i, i))
    out = tmp_path / "out"
    done = run(tmp_path / "gldv2", out, "--distractors", streets)
    assert done.returncode == 0, done.stderr
    assert len(read_photos(out / "tables" / "train.csv")) == 24
    scores = json.loads((out / "predictions.scores.json").read_text())
    assert (scores["queries"], scores["known"], scores["no_landmark"]) == (8, 6, 2)
    assert "8 queries, 6 of them show a landmark of the gallery" in done.stdout
    gap = scores["gap_all_landmarks"]
    assert f"GAP, as the challenge counts it: {gap:.4f}" in done.stdout
    assert 0.5 < gap <= 1  # the patterns are recognized; guesses by chance would be near 1 / 3
    assert set(scores["gap_by_usage"]) == {"Public", "Private"}
    assert all(f"of {usage}: " in done.stdout for usage in scores["gap_by_usage"])
    rows = (out / "submission.csv").read_text().splitlines()
    assert (rows[0], len(rows)) == ("id,landmarks", 9)


def test_a_verb_that_fails_ends_the_example_with_its_exit_code(tmp_path: Path) -> None:
    done = run(tmp_path / "nowhere", tmp_path / "out")
    assert done.returncode == 4
    assert "nowhere" in done.stderr
    assert done.stdout == ""
