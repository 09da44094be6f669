"""Vectors of others in the protocols of revisited Oxford and Google Landmarks, without photos."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from tests.cli.test_commands import json_of, run
from tests.data.test_gldv2_protocols import INDEX, TEST, TRUTH
from tests.data.test_gldv2_protocols import write as write_retrieval
from tests.support.revisited_layout import ground_truth, write_revisited
from whichlandmark.features.embedders.load import PretrainedOptions, make_embedder

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Revisited Oxford, drawn, and the folder of a quick embedder."""
    at = tmp_path_factory.mktemp("made")
    write_revisited(at)
    make_embedder("lite0", PretrainedOptions(size=64), at / "e")
    return at


def test_exported_vectors_give_the_same_figures_without_photos(
    made: Path, tmp_path: Path, capfd: Capture
) -> None:
    with_photos = json_of(
        capfd, "evaluate", made / "roxford5k", "--protocol", "roxford5k", "--embedder", made / "e",
        "--export-descriptors", tmp_path / "v.safetensors",
    )  # fmt: skip
    shutil.copy(made / "roxford5k" / "gnd_roxford5k.pkl", tmp_path)
    again = json_of(
        capfd, "evaluate", tmp_path, "--protocol", "roxford5k",
        "--query-descriptors", tmp_path / "v.queries.safetensors",
        "--database-descriptors", tmp_path / "v.database.safetensors",
    )  # fmt: skip
    assert [row["value"] for row in again["rows"]] == pytest.approx(
        [row["value"] for row in with_photos["rows"]], abs=1e-6
    )
    assert again["embedder"] == with_photos["embedder"]
    assert (again["licence"], again["name"]) == ("Apache-2.0", "lite0")
    assert again["missing"] == []


def test_matrices_as_revisitop_publishes_them(made: Path, tmp_path: Path, capfd: Capture) -> None:
    truth = ground_truth()
    random = np.random.default_rng(3)
    X = random.normal(size=(len(truth["imlist"]), 8))
    Q = random.normal(size=(len(truth["qimlist"]), 8))
    scipy.io.savemat(tmp_path / "gem.mat", {"X": X.T, "Q": Q.T})
    shutil.copy(made / "roxford5k" / "gnd_roxford5k.pkl", tmp_path)
    result = json_of(
        capfd, "evaluate", tmp_path, "--protocol", "roxford5k",
        "--query-descriptors", tmp_path / "gem.mat", "--database-descriptors", tmp_path / "gem.mat",
    )  # fmt: skip
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (Q, X)]
    similar = unit[0] @ unit[1].T
    hard = []
    for record, scores in zip(truth["gnd"], similar, strict=True):
        junk = {*record["junk"].tolist(), *record["easy"].tolist()}
        ranking = [row for row in np.argsort(-scores) if row not in junk]
        hard.append(_trapezoids(ranking, {*record["hard"].tolist()}))
    found = {(row["setting"], row["measure"]): row["value"] for row in result["rows"]}
    assert found["hard", "mAP"] == pytest.approx(np.mean(hard))
    notes = " ".join(result["notes"])
    assert "8 × 28 numbers are read as 28 vectors in columns" in notes
    assert "no ids; vectors are taken in the order of the database" in notes
    assert "did not have length 1" in notes


def _trapezoids(ranking: list[Any], right: set[int]) -> float:
    ap, found = 0.0, 0
    for rank, row in enumerate(ranking):
        if row in right:
            before = 1.0 if rank == 0 else found / rank
            found += 1
            ap += (before + found / (rank + 1)) / 2 / len(right)
    return ap


def test_google_landmarks_from_vectors_by_id(tmp_path: Path, capfd: Capture) -> None:
    root = write_retrieval(tmp_path / "gldv2")
    for folder in ("index", "test"):
        shutil.rmtree(root / folder, ignore_errors=True)
    random = np.random.default_rng(4)
    rows = random.normal(size=(len(INDEX), 6)).astype(np.float32)
    queries = np.array([
        rows[TRUTH[n][0][0]] if n in TRUTH else rows[0] for n in range(len(TEST))
    ])  # fmt: skip
    for name, ids, vectors in (("q", TEST, queries), ("d", INDEX[::-1], rows[::-1])):
        np.save(tmp_path / f"{name}.npy", vectors)
        (tmp_path / f"{name}.ids.txt").write_text(
            "".join(f"{each[0]}/{each[1]}/{each[2]}/{each}.jpg\n" for each in ids)
        )
    options = ["--query-descriptors", tmp_path / "q.npy", "--database-descriptors",
               tmp_path / "d.npy"]  # fmt: skip
    result = json_of(capfd, "evaluate", root, "--protocol", "gldv2-retrieval", *options)
    first = [row for row in result["rows"] if row["measure"] == "P@1"]
    assert first
    assert all(row["value"] == 1 for row in first)
    for path in root.rglob("index*.csv"):
        path.unlink()
    code, _, err = run(capfd, "evaluate", root, "--protocol", "gldv2-retrieval", *options)
    assert code == 4
    assert "it says whose vectors are given" in err
