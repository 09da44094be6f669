"""Rules chosen on leave-one-out queries; training photos in the gallery are left out."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.photos import photos_of, picture, write_photo
from tests.support.random_galleries import random_index
from whichlandmark.core.errors import DataError
from whichlandmark.core.types import Photos
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.gallery.index import GalleryIndex
from whichlandmark.gallery.leak_check import LeakCheck
from whichlandmark.gallery.sqlite.store import SqliteGallery
from whichlandmark.recognition.fitting import fit
from whichlandmark.recognition.fitting.fit import HeldOutScores
from whichlandmark.recognition.fitting.leave_one_out import KNOWN, NON_LANDMARK, UNKNOWN
from whichlandmark.recognition.fitting.whitening import LabelledVectors
from whichlandmark.recognition.folder import tune
from whichlandmark.recognition.folder.load import build
from whichlandmark.recognition.folder.settings import read_settings
from whichlandmark.recognition.folder.tune import (
    AVERAGINGS,
    MIN_GAIN,
    WHITENINGS,
    TunedRow,
    compare_rules,
    embed_training_photos,
    promises,
)
from whichlandmark.recognition.recognizer import Recognizer
from whichlandmark.recognition.rules import FORMULAS, Rules
from whichlandmark.recognition.spatial_verification import SpatialVerifier

START = Rules(verify=0)
FIRST_ROUND = len(WHITENINGS) * (len(FORMULAS) + 1)


@pytest.fixture(scope="module")
def index() -> GalleryIndex:
    return random_index([5] * 7, 110, dim=14, spread=1.1, seed=31)


def compared(
    index: GalleryIndex, start: Rules = START, extra: LabelledVectors | None = None
) -> list[TunedRow]:
    with SqliteGallery.create(None, "e", 14) as gallery:
        return compare_rules(index, start, extra, SpatialVerifier(gallery), lambda *numbers: None)


def check_of(recognizer: Recognizer) -> LeakCheck:
    table = recognizer.gallery.table(vectors=False)
    return LeakCheck(table.ids, table.hashes, recognizer.gallery.fingerprints)


def quiet(name: str):  # type: ignore[no-untyped-def]
    return lambda *numbers: None


@pytest.mark.slow
def test_rows_are_sorted_by_gap_and_equal_a_fresh_fit(index: GalleryIndex) -> None:
    rows = compared(index)
    gaps = [row.gap for row in rows]
    assert gaps == sorted(gaps, reverse=True)
    assert len({row.name for row in rows}) == len(rows) == FIRST_ROUND + len(AVERAGINGS)
    for row in (rows[0], rows[len(rows) // 2], rows[-1]):
        outcome = fit.fit_and_score(index, row.rules)[1]
        assert row.gap == pytest.approx(outcome.gap(), abs=1e-12)
        assert row.top1 == outcome.top1()
        assert row.answered == outcome.answered(0.01)
    assert compared(index) == rows  # deterministic


@pytest.mark.slow
def test_all_formulas_are_tried_with_all_whitenings(index: GalleryIndex) -> None:
    rows = compared(index, replace(START, known_share=0.6, false_answers=0.1, votes=4))
    tried = {(r.rules.whitening, r.rules.whitening_dim, r.rules.whitening_shrinkage, r.rules.score)
             for r in rows}  # fmt: skip
    assert len(tried) == FIRST_ROUND
    assert {r.rules.score for r in rows} == {*FORMULAS, "learned"}
    for row in rows:  # rules that are not compared stay as given
        assert (row.rules.known_share, row.rules.false_answers, row.rules.votes) == (0.6, 0.1, 4)


def planted(monkeypatch: pytest.MonkeyPatch, gaps: dict[str, float]) -> None:
    """Rows with given GAPs by a part of their name; 0.5 for the others."""

    def row(index, rules, name, extra, geometry, known):  # type: ignore[no-untyped-def]
        gap = next((gap for part, gap in gaps.items() if name.endswith(part)), 0.5)
        return TunedRow(rules, name, gap, 0.5, 0.5)

    monkeypatch.setattr(tune, "_row", row)


@pytest.mark.parametrize(("gain", "mixes"), [(MIN_GAIN * 0.9, False), (MIN_GAIN * 1.1, True)])
def test_vector_mixing_is_chosen_only_when_it_gains_more_than_noise(
    index: GalleryIndex, monkeypatch: pytest.MonkeyPatch, gain: float, mixes: bool
) -> None:
    best = "pca 128/0, learned"
    planted(monkeypatch, {best: 0.7, f"{best}, expansion": 0.7 + gain})
    rows = compared(index, replace(START, verify=6))
    chosen = max(rows, key=tune._penalized_gap)
    assert rows[0].rules.expansion == 3  # the table is still ordered by GAP
    assert (chosen.rules.expansion > 0) == mixes
    (geometry,) = [row for row in rows if row.name.endswith("geometry")]
    assert geometry.rules.verify == 6
    assert (geometry.rules.expansion > 0) == mixes
    assert geometry.rules.whitening_dim == 128
    assert all(row.rules.verify == 0 for row in rows if row is not geometry)


def test_vector_mixing_is_tried_on_the_best_learned_rules_only(
    index: GalleryIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(monkeypatch, {"none, cosine": 0.9, "learned 256/0.5, learned": 0.6})
    averaged = [r.rules for r in compared(index)
             if r.rules.expansion or r.rules.augmentation or r.rules.superglobal]  # fmt: skip
    assert len(averaged) == len(AVERAGINGS)
    assert {(r.score, r.whitening, r.whitening_shrinkage) for r in averaged} == {
        ("learned", "learned", 0.5)
    }


def test_progress_reaches_its_end(index: GalleryIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(monkeypatch, {})
    reported: list[tuple[int, int]] = []
    with SqliteGallery.create(None, "e", 14) as gallery:
        compare_rules(index, replace(START, verify=6), None, SpatialVerifier(gallery),
                      lambda done, total: reported.append((done, total)))  # fmt: skip
    total = FIRST_ROUND + len(AVERAGINGS) + 1
    assert reported == [(done, total) for done in range(1, total + 1)]


def test_a_gallery_too_small_for_leave_one_out_is_refused() -> None:
    for sizes in ([], [1, 1, 1]):
        with pytest.raises(DataError, match="it needs landmarks of two photos"):
            compared(random_index(sizes, 3 if sizes else 0, dim=14))


def test_the_stated_error_rates_match_a_hand_computation() -> None:
    rng = np.random.default_rng(0)
    kind = np.repeat([KNOWN, UNKNOWN, NON_LANDMARK], [50, 40, 99])
    scores = rng.normal(size=189) + np.where(kind == KNOWN, 3, 0)
    right = kind == KNOWN
    outcome = HeldOutScores(scores, right, np.ones(189), kind, kind)
    one, five = promises(outcome)
    for sentence, rate, allowed in ((one, "1%", 1), (five, "5%", 5)):
        limit = sorted(scores[kind == NON_LANDMARK], reverse=True)[allowed - 1]
        answered, wrong = ((scores[kind == k] > limit).mean() for k in (KNOWN, UNKNOWN))
        assert sentence == (
            f"at {rate} false answers on non-landmarks, {answered:.1%} of landmarks are answered "
            f"rightly, and {wrong:.1%} of unknown landmarks wrongly"
        )
    fewer = HeldOutScores(scores[:-1], right[:-1], np.ones(188), kind[:-1], kind[:-1])
    assert "too few distractors (98) to promise it" in promises(fewer)[0]
    assert "too few" not in promises(fewer)[1]


@pytest.fixture
def recognizer(colour_world: Path, tmp_path: Path) -> Recognizer:
    made = build(HistogramEmbedder(3), photos_of(colour_world / "gallery"),
                 distractors=photos_of(colour_world / "bank", landmarks=False),
                 rules=Rules(verify=0))  # fmt: skip
    made.save(tmp_path / "r.wl")
    return made


def training(folder: Path, colour_world: Path) -> Path:
    """Four new photos; a gallery and a distractor file under other names; a broken one."""
    for code in (0, 9):
        for i in range(2):
            write_photo(folder / f"place {code}" / f"new{i}.jpg", picture(code, 80 + i))
    shutil.copy(colour_world / "gallery" / "place 1" / "3.jpg", folder / "place 0" / "copy.jpg")
    shutil.copy(colour_world / "bank" / "4.jpg", folder / "place 9" / "scene.jpg")
    (folder / "place 0" / "broken.jpg").write_bytes(b"nothing")
    return folder


def test_training_photos_that_the_gallery_holds_are_left_out(
    recognizer: Recognizer, colour_world: Path, tmp_path: Path
) -> None:
    photos = photos_of(training(tmp_path / "more", colour_world))
    made, failures, leaks = embed_training_photos(recognizer.embedder, photos, check_of(recognizer))
    assert sorted(made.landmarks) == ["place 0"] * 2 + ["place 9"] * 2
    assert len(made.vectors) == 4
    assert [f.id for f in failures] == ["more/place 0/broken.jpg"]
    assert sorted((leak.id, leak.kind) for leak in leaks) == [
        ("more/place 0/copy.jpg", "content"), ("more/place 9/scene.jpg", "content"),
    ]  # fmt: skip
    new_rows = [i for i, path in enumerate(photos.paths) if "new" in path]
    for vector, row in zip(made.vectors, new_rows, strict=True):
        image = np.asarray(recognizer.read(photos.paths[row]).image)
        assert float(vector @ recognizer.embedder([image])[0]) > 0.99
    photos.ids[new_rows[0]] = recognizer.index.ids[0]
    again, _, leaks = embed_training_photos(recognizer.embedder, photos, check_of(recognizer))
    assert len(again.landmarks) == 3
    assert [leak.id for leak in leaks if leak.kind == "id"] == [recognizer.index.ids[0]]


def test_the_same_picture_in_another_file_is_left_out(tmp_path: Path) -> None:
    """By fingerprint, where galleries store them; noise has none, so pictures of large shapes."""
    rng = np.random.default_rng(0)
    for i in range(4):
        blocks = np.kron(rng.integers(0, 256, (6, 8, 3)), np.ones((40, 40, 1))).astype(np.uint8)
        write_photo(tmp_path / "g" / f"place {i % 2}" / f"{i}.jpg", blocks)
        if i == 1:
            write_photo(tmp_path / "t" / "place 1" / "again.jpg", blocks[::2, ::2])
            write_photo(tmp_path / "t" / "place 1" / "other.jpg", blocks[::-1].copy())
    made = build(HistogramEmbedder(3), photos_of(tmp_path / "g"), rules=Rules(verify=1))
    found, _, leaks = embed_training_photos(
        made.embedder, photos_of(tmp_path / "t"), check_of(made)
    )
    assert [(leak.id, leak.kind, leak.photo) for leak in leaks] == [
        ("t/place 1/again.jpg", "look", "g/place 1/1.jpg")
    ]
    assert len(found.landmarks) == 1


def test_training_photos_with_several_landmarks_are_left_out(
    recognizer: Recognizer, colour_world: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = [str(path) for path in sorted((colour_world / "queries").glob("[0-3]-*.jpg"))]
    names = ["place 0|place 1", *["place 2"] * (len(paths) - 1)]
    photos = Photos.of_columns([f"t{i}" for i in range(len(paths))], paths, names)
    found, failures, _ = embed_training_photos(recognizer.embedder, photos, check_of(recognizer))
    assert (len(paths), len(found.landmarks), failures) == (12, 11, [])
    assert "left out 1 photo of several landmarks (t0)" in caplog.text


def test_tune_stores_the_chosen_rules(
    recognizer: Recognizer, colour_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "WHITENINGS", WHITENINGS[::3])
    read: list[object] = []
    whole_table = SqliteGallery.table

    def counted(gallery: SqliteGallery, **options: object) -> object:
        read.append(options)
        return whole_table(gallery, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(SqliteGallery, "table", counted)
    given: list[LabelledVectors | None] = []
    plain = fit.fit_and_score

    def spy(index, rules, extra, **more):  # type: ignore[no-untyped-def]
        given.append(extra)
        return plain(index, rules, extra, **more)

    monkeypatch.setattr(fit, "fit_and_score", spy)
    folder = tmp_path / "r.wl"
    photos = photos_of(training(tmp_path / "more", colour_world))
    embedder = HistogramEmbedder(3)
    tuned = tune.tune(folder, photos, false_answers=0.1, embedder=embedder, progress=quiet)
    assert read == [{}]  # the whole table, once
    assert (tuned.photos, len(tuned.failures), len(tuned.leaks)) == (4, 1, 2)
    (extra,) = given
    assert extra is not None
    assert len(extra.landmarks) == 4
    stored, fitted, generation = read_settings(folder)
    assert stored == tuned.chosen.rules
    assert stored.false_answers == 0.1
    assert fitted is not None
    assert generation == recognizer.gallery.generation
    assert tuned.chosen in tuned.rows
    assert tune._penalized_gap(tuned.chosen) == max(map(tune._penalized_gap, tuned.rows))
    before = {path.name: path.read_bytes() for path in folder.glob("[rw]*.*")}
    again = tune.tune(folder, photos, false_answers=0.1, embedder=embedder, progress=quiet)
    assert tuned.chosen.answered is None  # ten distractors are too few
    assert replace(again.chosen, answered=0.0) == replace(tuned.chosen, answered=0.0)
    assert {path.name: path.read_bytes() for path in folder.glob("[rw]*.*")} == before
