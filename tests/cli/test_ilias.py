"""`evaluate --protocol ilias` from photos, vectors and similarities, against a slow version."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.test_commands import json_of, run
from tests.support.ilias_layout import authors_ap, write_ilias

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ilias(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="module")
def made(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vectors of queries, database and distractors, written by two commands."""
    at = tmp_path_factory.mktemp("made")
    from whichlandmark.core.files import write_json
    from whichlandmark.data.ilias import read_distractor_tars, read_ilias
    from whichlandmark.features.descriptors.embed_photos import embed_photos
    from whichlandmark.features.embedders.histogram import HistogramEmbedder

    found = read_ilias(root, "ilias")
    extra = read_distractor_tars(root / "yfcc100m")
    assert extra is not None
    for name, photos in (("q", found.queries), ("d", found.database), ("x", extra)):
        embed_photos(at / f"{name}.npy", HistogramEmbedder(), photos)
    write_json(at / "lists.json", {"ids": found.database.ids.tolist()})
    return at


def vectors(path: Path) -> tuple[list[str], Any]:
    return path.with_suffix(".ids.txt").read_text().splitlines(), np.load(path)


def expected(made: Path, wanted: set[str] | None = None, distractors: bool = True) -> list[float]:
    """AP of each query with scikit-learn, from the vectors as they were written."""
    queries, asked = vectors(made / "q.npy")
    ids, rows = vectors(made / "d.npy")
    positives = list(ids)
    if distractors:
        more, others = vectors(made / "x.npy")
        kept = [i for i, each in enumerate(more) if not wanted or each.split("/")[-1] in wanted]
        ids, rows = ids + [more[i] for i in kept], np.concatenate([rows, others[kept]])
    similar = np.round(asked.astype(np.float64) @ rows.T.astype(np.float64), 6)
    return [
        authors_ap(query.split("/")[0], ids, scores, positives, 1000)
        for query, scores in zip(queries, similar, strict=True)
    ]


def given(made: Path) -> list[object]:
    return ["--query-descriptors", made / "q.npy", "--database-descriptors", made / "d.npy"]


def test_from_photos_and_tars(root: Path, tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "v.npy"
    result = json_of(
        capfd, "evaluate", root, "--protocol", "ilias", "--distractors", root / "yfcc100m",
        "--export-descriptors", out, "-o", tmp_path / "r.json",
    )  # fmt: skip
    plain, extra = result["rows"]
    assert (plain["measure"], plain["queries"], extra["distractors"]) == ("mAP@1000", 4, 12)
    assert result["part"] == "3 objects of 1,000, 12 of about 100,000,000 distractors"
    queries, asked = vectors(tmp_path / "v.queries.npy")
    ids, rows = vectors(tmp_path / "v.database.npy")
    similar = asked.astype(np.float64) @ rows.T
    for query, scores in zip(queries, similar, strict=True):
        found = result["average_precision"]["all"][query]
        assert found == pytest.approx(authors_ap(query.split("/")[0], ids, scores, ids, 1000))
    assert json.loads((tmp_path / "r.json").read_text())["rows"] == result["rows"]


def test_from_vectors(root: Path, made: Path, capfd: Capture) -> None:
    result = json_of(
        capfd, "evaluate", root, "--protocol", "ilias", *given(made),
        "--distractors", made / "x.npy",
    )  # fmt: skip
    plain, extra = result["rows"]
    assert plain["value"] == pytest.approx(np.mean(expected(made, distractors=False)))
    assert extra["value"] == pytest.approx(np.mean(expected(made)))
    assert list(result["with_distractors"]["all"].values()) == pytest.approx(expected(made))


def test_mini_ilias_has_some_of_the_distractors(root: Path, made: Path, capfd: Capture) -> None:
    result = json_of(
        capfd, "evaluate", root, "--protocol", "mini-ilias", *given(made),
        "--distractors", made / "x.npy",
    )  # fmt: skip
    assert result["distractors"] == 4
    wanted = {"0a0", "0a2", "0a4", "0a6"}
    assert result["rows"][1]["value"] == pytest.approx(np.mean(expected(made, wanted)))
    assert any("8 vectors are left out" in note for note in result["notes"])


def test_the_core_set_alone_is_named(root: Path, made: Path, capfd: Capture) -> None:
    code, out, err = run(capfd, "evaluate", root, "--protocol", "ilias", *given(made))
    assert code == 0, err
    assert "ON A PART OF THE DATA (3 objects of 1,000, the core set without distractors)" in out
    assert "equally similar photos count together" in out
    assert "in the order of the database" not in out


def test_tars_of_distractors_are_embedded_into_a_file(
    root: Path, tmp_path: Path, capfd: Capture
) -> None:
    made = json_of(capfd, "embed", root / "yfcc100m", "-o", tmp_path / "x.npy")
    assert made["vectors"] == 12
    assert vectors(tmp_path / "x.npy")[0][0] == "yfcc100m-000000/0a0"


def test_similarities_out_and_in(root: Path, made: Path, tmp_path: Path, capfd: Capture) -> None:
    file = tmp_path / "similarities.json"
    first = json_of(
        capfd, "evaluate", root, "--protocol", "ilias", *given(made),
        "--distractors", made / "x.npy", "--submission", file,
    )  # fmt: skip
    scores = json.loads(file.read_text())
    assert len(scores) == 4
    assert all(len(each) == 21 for each in scores.values())
    again = json_of(capfd, "evaluate", root, "--protocol", "ilias", "--submission-in", file)
    assert again["rows"][0]["value"] == pytest.approx(first["rows"][1]["value"], abs=1e-6)
    assert json_of(
        capfd, "evaluate", root, "--protocol", "ilias", *given(made), "--submission", file
    )  # it may be written again
    assert all(len(each) == 9 for each in json.loads(file.read_text()).values())


def test_vectors_need_no_photos(root: Path, made: Path, tmp_path: Path, capfd: Capture) -> None:
    shutil.copytree(root / "image_ids", tmp_path / "image_ids")
    result = json_of(capfd, "evaluate", tmp_path, "--protocol", "ilias", *given(made))
    assert result["missing"] == []
    code, _, err = run(capfd, "evaluate", tmp_path, "--protocol", "ilias")
    assert code == 4
    assert "lists of ids but no photos" in err


WRONG = {
    "one of two": (["--query-descriptors", "q.npy"], 2, "expected both, of one embedder"),
    "an embedder too": (["--embedder", "lite0", "GIVEN"], 2, "given vectors need no embedder"),
    "photos as distractors": (
        ["GIVEN", "--distractors", "yfcc100m"], 2, "are photos, but the vectors of the queries"),
    "photos as distractors of a submission": (
        ["--distractors", "yfcc100m", "--submission", "new.json"], 2, "but --submission is given"),
    "another type": (
        ["--query-descriptors", "q.pkl", "--database-descriptors", "d.npy"], 2, "unknown type"),
    "swapped": (
        ["--query-descriptors", "d.npy", "--database-descriptors", "q.npy"], 4,
        "none of its 9 ids is a photo of the queries"),
    "export over a file": (["GIVEN", "--export-descriptors", "v.npy"], 2, "never written over"),
    "no such similarities": (["--submission-in", "none.json"], 4, "no such file"),
    "similarities and vectors": (["--submission-in", "s.json", "GIVEN"], 2, "has no use for it"),
}  # fmt: skip


@pytest.mark.parametrize("odd", WRONG)
def test_wrong_options(
    odd: str, root: Path, made: Path, tmp_path: Path, capfd: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(made)
    (tmp_path / "v.queries.npy").write_bytes(b"mine")
    options, code, message = WRONG[odd]
    replaced: list[object] = []
    for each in options:
        if each == "GIVEN":
            replaced += given(made)
        else:
            replaced.append({"yfcc100m": root / each, "v.npy": tmp_path / each}.get(each, each))
    ended, _, err = run(capfd, "evaluate", root, "--protocol", "ilias", *replaced)
    assert (ended, message in err) == (code, True), err


@pytest.mark.parametrize(
    "option", ["--query-descriptors", "--database-descriptors", "--export-descriptors"]
)
def test_they_need_a_protocol(option: str, root: Path, made: Path, capfd: Capture) -> None:
    code, _, err = run(capfd, "evaluate", root, option, made / "q.npy")
    assert code == 2
    assert "expected --protocol NAME with it" in err


def test_a_missing_vector_counts_nothing_and_too_many_are_an_error(
    root: Path, made: Path, tmp_path: Path, capfd: Capture
) -> None:
    ids, rows = vectors(made / "d.npy")
    for kept, code in ((8, 0), (5, 4)):
        name = tmp_path / f"d{kept}.npy"
        np.save(name, rows[:kept])
        name.with_suffix(".ids.txt").write_text("\n".join(ids[:kept]))
        ended, out, err = run(
            capfd, "evaluate", root, "--protocol", "ilias", "--query-descriptors", made / "q.npy",
            "--database-descriptors", name,
        )  # fmt: skip
        assert ended == code, err
        if code:
            assert "are missing or cannot be read" in err
        else:
            assert "has no vector" in out
