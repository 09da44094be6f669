"""The synthetic world: byte-identical files on every machine, tables, planted errors."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support import ROOT
from whichlandmark.core.errors import DataError, ImageError
from whichlandmark.core.images import read_image
from whichlandmark.data.synthetic.plan import DrawnWorld, Shot, distractor_shots, training_shots
from whichlandmark.data.synthetic.world import draw_photo, draw_world, photo_bytes
from whichlandmark.data.table import read_photos

SMALL = DrawnWorld(
    landmarks=6, unknown_landmarks=2, photos=40, queries=6, unknown_queries=4,
    nonlandmark_queries=4, distractors=5, size=96, mislabelled=0.1, duplicate=0.05,
    near_duplicate=0.05, indoor=0.05, corrupt=0.075,
)  # fmt: skip
GOLDEN = Path(__file__).parent / "synthetic_golden.json"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawn")
    draw_world(root, SMALL, workers=1)
    return root


def truth_of(root: Path) -> list[dict[str, str]]:
    with open(root / "truth.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def mixed_shots() -> list[Shot]:
    """About thirty photos of the default world: all families, rooms, duplicates, distractors."""
    world = DrawnWorld()
    training = training_shots(world)
    first = {shot.number: shot for shot in training if shot.number >= 0 and not shot.damage}
    planted = [s for s in training if s.kind in ("indoor", "near_duplicate")][::15]
    shots = [first[n] for n in range(15)] + planted[:5] + distractor_shots(world)[:10]
    assert len(shots) >= 29
    return shots


def digests() -> dict[str, list[str]]:
    """For each of `mixed_shots`: SHA-256 of its file, and of its decoded pixels."""
    found = {}
    for shot in mixed_shots():
        data = photo_bytes(DrawnWorld(), shot)
        pixels = read_image(data)
        found[shot.id] = [hashlib.sha256(x).hexdigest() for x in (data, pixels.tobytes())]
    return found


def vector_units() -> list[str]:
    """Vector instructions in use: numpy's by name, OpenCV's with a star before the name."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    mine = [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]
    theirs = cv2.getCPUFeaturesLine().split()  # "*AVX2" is in use, "*AVX2?" is switched off
    return mine + [u for u in theirs if u.startswith("*") and not u.endswith("?")]


# --- the same bytes everywhere


def test_files_and_pixels_match_the_golden_hashes() -> None:
    """Files and decoded pixels equal the committed ones on every machine."""
    assert digests() == json.loads(GOLDEN.read_text())


def test_same_bytes_without_vector_instructions() -> None:
    """A process without AVX in numpy, OpenCV and the JPEG encoder draws equal bytes."""
    environment = os.environ | {
        "NPY_DISABLE_CPU_FEATURES": " ".join(u for u in vector_units() if not u.startswith("*")),
        "OPENCV_CPU_DISABLE": "SSE4.1,SSE4.2,AVX,FP16,AVX2,AVX512-SKX",
        "JSIMD_FORCENONE": "1",
        "OPENBLAS_CORETYPE": "Prescott",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    }
    script = (
        "import json; from tests.data.test_synthetic_world import digests, vector_units; "
        "print(json.dumps([vector_units(), digests()]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    units, found = json.loads(run.stdout)
    assert units == []  # not empty if a library renamed its environment variable
    assert found == json.loads(GOLDEN.read_text())


def test_the_number_of_processes_and_resuming_change_no_byte(drawn: Path, tmp_path: Path) -> None:
    many = DrawnWorld(**{**vars(SMALL), "distractors": 60, "size": 64})
    one, two = tmp_path / "one", tmp_path / "two"
    draw_world(one, many, workers=1)
    draw_world(two, many, workers=2)
    files = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(two) for p in two.rglob("*") if p.is_file())
    assert all((one / f).read_bytes() == (two / f).read_bytes() for f in files)

    lost = [f for f in files if f.suffix == ".jpg"][::7]
    for file in lost:
        (two / file).unlink()
    calls: list[tuple[int, int]] = []
    draw_world(two, many, workers=1, progress=lambda done, total: calls.append((done, total)))
    assert all((one / f).read_bytes() == (two / f).read_bytes() for f in lost)
    photos = sum(f.suffix == ".jpg" for f in files)
    assert calls[-1] == (photos, photos)
    assert calls[0][0] > photos - len(lost)  # existing photos were not drawn again


def test_photos_do_not_depend_on_each_other_or_on_the_size_of_the_world() -> None:
    shot = training_shots(SMALL)[3]
    wider = DrawnWorld(**{**vars(SMALL), "landmarks": 9, "photos": 90, "queries": 1})
    alone = draw_photo(SMALL, shot)
    draw_photo(SMALL, distractor_shots(SMALL)[0])
    assert np.array_equal(alone, draw_photo(wider, shot))
    assert not np.array_equal(alone, draw_photo(DrawnWorld(**{**vars(SMALL), "seed": 1}), shot))


# --- tables


def test_each_file_is_in_exactly_one_table_row(drawn: Path) -> None:
    counts = {}
    listed = []
    for name in ("photos", "distractors", "queries"):
        table = read_photos(drawn / f"{name}.csv")
        counts[name] = len(table)
        listed += [Path(p).relative_to(drawn).as_posix() for p in table.paths]
        assert [f"{i}.jpg" for i in table.ids] == listed[-len(table) :]
    on_disk = sorted(p.relative_to(drawn).as_posix() for p in drawn.rglob("*.jpg"))
    assert sorted(listed) == on_disk
    assert counts == {"photos": 40 + 4 + 2 + 2 + 2 + 3, "distractors": 5, "queries": 14}
    assert (drawn / "photos.csv").read_text().startswith("id,path,landmark\n")


def test_some_query_landmarks_are_not_in_training(drawn: Path) -> None:
    known = set(read_photos(drawn / "photos.csv").landmarks)
    queries = read_photos(drawn / "queries.csv").landmarks
    kinds = Counter("none" if not n else "known" if n in known else "unknown" for n in queries)
    assert kinds == {"known": 6, "unknown": 4, "none": 4}
    assert len(known) == 6
    assert "" not in known
    assert set(read_photos(drawn / "distractors.csv").landmarks) == {""}


def test_the_truth_table_describes_each_planted_error(drawn: Path) -> None:
    rows = {row["id"]: row for row in truth_of(drawn)}
    label = {p.id: p.landmark for p in read_photos(drawn / "photos.csv")}
    assert list(rows) == list(label)
    for photo_id, row in rows.items():
        path = drawn / f"{photo_id}.jpg"
        if row["kind"] == "corrupt":
            with pytest.raises(ImageError):
                read_image(path)
            assert row["true_landmark"] == ""
            continue
        image = read_image(path)
        assert max(image.shape[:2]) <= SMALL.size
        assert row["true_landmark"] == {
            "mislabelled": row["true_landmark"], "indoor": "",
        }.get(row["kind"], label[photo_id])  # fmt: skip
        if row["kind"] == "mislabelled":
            assert row["true_landmark"] not in ("", label[photo_id])
        if row["kind"] == "duplicate":
            assert path.read_bytes() == (drawn / f"{row['original']}.jpg").read_bytes()
        if row["kind"] == "near_duplicate":
            _check_near_duplicate(image, read_image(drawn / f"{row['original']}.jpg"))
    kinds = Counter(row["kind"] for row in rows.values())
    assert kinds == {
        "good": 40, "mislabelled": 4, "duplicate": 2, "near_duplicate": 2, "indoor": 2,
        "corrupt": 3,
    }  # fmt: skip


def _check_near_duplicate(copy: np.ndarray, original: np.ndarray) -> None:
    """The copy is a few pixels smaller, and almost equal to some crop of the original."""
    lost = np.array(original.shape[:2]) - copy.shape[:2]
    assert (lost >= 2).all()
    assert (lost <= 8).all()
    height, width = copy.shape[:2]
    errors = [
        np.abs(original[y : y + height, x : x + width].astype(int) - copy).mean()
        for y in range(lost[0] + 1)
        for x in range(lost[1] + 1)
    ]
    assert min(errors) < 8


def test_corrupt_files_are_cut_short_text_or_empty(drawn: Path) -> None:
    bad = [drawn / f"{r['id']}.jpg" for r in truth_of(drawn) if r["kind"] == "corrupt"]
    starts = sorted(path.read_bytes()[:2] for path in bad)
    assert starts == [b"", b"<h", b"\xff\xd8"]


def test_a_folder_of_another_world_is_refused(drawn: Path) -> None:
    with pytest.raises(DataError, match="seed"):
        draw_world(drawn, DrawnWorld(**{**vars(SMALL), "seed": 5}))


# --- landmarks


def test_a_photo_shows_its_landmark() -> None:
    """Photos of two landmarks with equal random numbers differ in over 5 % of their pixels."""
    shots = [Shot(path="", key="landmark 0/photo 1", number=n) for n in (5, 20)]
    one, two = (draw_photo(DrawnWorld(size=96), shot) for shot in shots)
    height, width = min(one.shape[0], two.shape[0]), min(one.shape[1], two.shape[1])
    different = np.abs(one[:height, :width].astype(int) - two[:height, :width]).max(axis=2) > 40
    assert different.mean() > 0.05
