"""`evaluate --protocol`: a complete run on drawn data that are laid out as published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.test_commands import json_of, run
from tests.support.photos import picture, write_photo
from tests.support.revisited_layout import ground_truth, write_revisited
from whichlandmark.core.images import stored_image
from whichlandmark.features.embedders.load import (
    PretrainedOptions,
    load_embedder,
    make_embedder,
)
from whichlandmark.features.embedders.own import checked_rows


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("data")
    write_revisited(at)
    write_revisited(at / "json", "rparis6k", as_json=True)
    for number in range(5):
        write_photo(at / "more" / f"{number}.jpg", picture(100 + number, 50 + number))
    return at


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """lite0 with few pixels, so that it is quick."""
    folder = tmp_path_factory.mktemp("embedder") / "e"
    make_embedder("lite0", PretrainedOptions(size=64), folder)
    return folder


def slow_figures(root: Path, embedder: Path, more: Path) -> dict[tuple[str, bool], float]:
    """mAP by setting, without and with distractors: one photo after the other, by the rules."""
    network, truth = load_embedder(embedder), ground_truth()

    def vector(path: Path, box: Any = None) -> np.ndarray:
        image = stored_image(path.read_bytes())
        if box is not None:
            left, top, right, bottom = map(round, box)
            image = image[top:bottom, left:right]
        return np.asarray(checked_rows(network, [image])[0], dtype=np.float64)

    database = [vector(root / "jpg" / f"{name}.jpg") for name in truth["imlist"]]
    others = [vector(path) for path in sorted(more.glob("*.jpg"))]
    figures: dict[tuple[str, bool], float] = {}
    for setting, right_kinds, junk_kinds in (
        ("easy", ["easy"], ["junk", "hard"]), ("medium", ["easy", "hard"], ["junk"]),
        ("hard", ["hard"], ["junk", "easy"]),
    ):  # fmt: skip
        for extended in (False, True):
            values = []
            for name, record in zip(truth["qimlist"], truth["gnd"], strict=True):
                query = vector(root / "jpg" / f"{name}.jpg", record["bbx"])
                right = {int(row) for kind in right_kinds for row in record[kind]}
                junk = {int(row) for kind in junk_kinds for row in record[kind]}
                if not right:
                    continue
                photos = database + (others if extended else [])
                order = sorted(range(len(photos)), key=lambda i: -float(photos[i] @ query))
                ap, found, rank, old = 0.0, 0, 0, 1.0
                for row in order:
                    if row in junk:
                        continue
                    rank += 1
                    found += row in right
                    ap += (old + found / rank) / 2 / len(right) if row in right else 0
                    old = found / rank
                values.append(ap)
            figures[setting, extended] = float(np.mean(values))
    return figures


def test_a_complete_run(
    data: Path, embedder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "roxford5k.json"
    code, text, err = run(
        capfd, "evaluate", data / "roxford5k", "--protocol", "roxford5k", "--embedder", embedder,
        "--distractors", data / "more", "-o", out, "--table", tmp_path / "results.md",
    )  # fmt: skip
    assert code == 0, err
    facts = json.loads(out.read_text())
    expected = slow_figures(data / "roxford5k", embedder, data / "more")
    found = {
        (row["setting"], row["distractors"] == 5): row["value"]
        for row in facts["rows"] if row["measure"] == "mAP"
    }  # fmt: skip
    assert found == pytest.approx(expected)
    assert {row["measure"] for row in facts["rows"]} == {"mAP", "mP@1", "mP@5", "mP@10"}
    assert (facts["protocol"], facts["queries"], facts["database"]) == ("roxford5k", 3, 28)
    assert facts["measured_by"].startswith("whichlandmark ")
    assert (facts["licence"], facts["image_size"]) == ("Apache-2.0", "long side 64 px")
    assert (facts["distractors"], facts["dim"], facts["name"]) == (5, 1280, "lite0")
    assert set(facts["seconds"]) == {"embedding", "distractors", "ranking"}
    assert set(facts["average_precision"]["easy"]) == {"query_0", "query_1"}
    assert facts["left_out"] == {"easy": 1, "medium": 0, "hard": 0}
    mean = np.mean([*facts["average_precision"]["hard"].values()])
    assert mean == pytest.approx(expected["hard", False])
    assert "roxford5k: 3 queries, 28 photos\n" in text
    assert f"{100 * expected['medium', False]:.2f}" in text
    assert "with 5 distractors" in text
    assert "left out: 1 query of easy" in text
    assert "rule: queries are cropped to their boxes before they are resized" in text
    assert "cannot be compared with others" in text
    assert "ROxf M" in (tmp_path / "results.md").read_text()


def test_paris_from_json(data: Path, embedder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = json_of(
        capfd, "evaluate", data / "json", "--protocol", "rparis6k", "--embedder", embedder
    )
    assert [row["setting"] for row in found["rows"][::4]] == ["easy", "medium", "hard"]
    assert all(0 <= row["interval"][0] <= row["value"] <= row["interval"][1] <= 1
               for row in found["rows"])  # fmt: skip
    assert found["distractors"] == 0
    assert found["with_distractors"] == {}


def test_a_crop_changes_the_answer(data: Path, embedder: Path) -> None:
    """The drawn queries are black around their boxes."""
    network = load_embedder(embedder)
    image = stored_image((data / "roxford5k" / "jpg" / "query_0.jpg").read_bytes())
    whole, part = checked_rows(network, [image, image[5:55, 10:70]])
    assert float(whole @ part) < 0.95


def test_photos_that_fail_end_with_code_3(
    tmp_path: Path, embedder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = write_revisited(tmp_path)
    (root / "jpg" / "other_000001.jpg").write_bytes(b"no photo")
    code, text, err = run(
        capfd, "evaluate", root, "--protocol", "roxford5k", "--embedder", embedder
    )
    assert code == 3
    assert "other_000001.jpg: its content: text" in err
    (root / "jpg" / "other_000001.jpg").unlink()
    code, text, err = run(
        capfd, "evaluate", root, "--protocol", "roxford5k", "--embedder", embedder
    )
    assert code == 3
    assert "missing: 1 of the photos of the ground truth, such as other_000001" in text


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["{d}"], 2, "no recognizer given; expected -r FOLDER"),
        (["{d}", "--protocol", "oxford5k"], 2, "did you mean roxford5k?"),
        (["{d}", "--protocol", "rparis6k"], 4, "is it --protocol roxford5k?"),
        (["{d}/gone", "--protocol", "roxford5k"], 4, "no such folder"),
        (["{d}", "--protocol", "roxford5k", "--embedder", "{d}"], 4, "no embedder in this folder"),
        (["{d}", "-r", "x.wl", "--ground-truth", "{d}/g.pkl"], 2, "expected --protocol NAME"),
        (["{d}", "--protocol", "roxford5k", "--ground-truth", "{d}/gone.pkl"], 4, "no such file"),
        (["{d}", "--protocol", "roxford5k", "-o", "{d}/gnd_roxford5k.pkl"], 2, "is not a file of"),
        (["{d}", "--protocol", "roxford5k", "-r", "x.wl"], 2, "has no use for it"),
    ],
)  # fmt: skip
def test_bad_options(
    data: Path, arguments: list[str], code: int, said: str, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delenv("WHICHLANDMARK_RECOGNIZER", raising=False)
    given = [argument.replace("{d}", str(data / "roxford5k")) for argument in arguments]
    ended, out, err = run(capfd, "evaluate", *given)
    assert ended == code, err
    assert said in err
    assert out == ""
    assert "Traceback" not in err
