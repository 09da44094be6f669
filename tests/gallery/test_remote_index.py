"""Remote index: the same results as with an index in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from whichlandmark.core.errors import OptionError
from whichlandmark.core.types import Vectors
from whichlandmark.gallery.index import GalleryIndex, remote
from whichlandmark.gallery.index.remote import remote_index, sample_index
from whichlandmark.gallery.records import GalleryRow
from whichlandmark.gallery.sqlite.store import SqliteGallery
from whichlandmark.recognition.decision import Decider
from whichlandmark.recognition.fitting.fit import fit
from whichlandmark.recognition.query import Queries
from whichlandmark.recognition.rules import Rules, require_server_rules

PLAIN = Rules(whitening="none", verify=0)


def unit(rng: np.random.Generator, centres: Vectors, spread: float) -> Vectors:
    noisy = centres + spread * rng.standard_normal(centres.shape).astype(np.float32)
    return (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def gallery() -> SqliteGallery:
    """40 landmarks of 6 photos and 60 distractors, mixed; some rows are removed."""
    rng = np.random.default_rng(0)
    centres = unit(rng, rng.standard_normal((40, 16)).astype(np.float32), 0.0)
    labels = [*np.repeat(np.arange(40), 6).tolist(), *[-1] * 60]
    vectors = np.concatenate([
        unit(rng, np.repeat(centres, 6, axis=0), 0.1),
        unit(rng, rng.standard_normal((60, 16)).astype(np.float32), 0.0),
    ])  # fmt: skip
    order = rng.permutation(len(labels))
    made = SqliteGallery.create(None, "e", 16)
    made.put([
        GalleryRow(f"p{at}", f"/{at}.jpg", f"L{labels[at]:02d}" if labels[at] >= 0 else "",
                   "h", "s", vectors[at])
        for at in order
    ])  # fmt: skip
    made.remove([f"p{at}" for at in range(0, 300, 29)])
    return made


def queries(count: int = 50) -> Vectors:
    rng = np.random.default_rng(1)
    return unit(rng, rng.standard_normal((count, 16)).astype(np.float32), 0.0)


def test_remote_arrays_equal_those_of_the_gallery(gallery: SqliteGallery) -> None:
    index, _ = remote_index(gallery)
    here = GalleryIndex.of(gallery.table())
    assert index.names.tolist() == here.names.tolist()
    for name in (
        "codes",
        "ids",
        "paths",
        "vectors",
        "distractor_ids",
        "distractor_vectors",
        "distractor_paths",
    ):
        mine, other = getattr(index, name), getattr(here, name)
        assert np.array_equal(np.asarray(mine[:]), other[:]), name
        assert mine.shape == other.shape
        assert mine.dtype == other.dtype
    some = np.array([[3, 3, 0], [7, 1, 5]])
    assert np.array_equal(index.vectors[some], here.vectors[some])
    assert index.ids[some].tolist() == here.ids[some].tolist()
    assert index.ids[4] == here.ids[4]
    assert np.array_equal(index.vectors[2:5], here.vectors[2:5])


def test_remote_and_local_answers_are_the_same(gallery: SqliteGallery) -> None:
    here = GalleryIndex.of(gallery.table())
    fitted = fit(here, PLAIN)
    index, prepared = remote_index(gallery)
    mine = Decider(index, PLAIN, fitted, None, prepared).answer(Queries(queries()))
    other = Decider(here, PLAIN, fitted).answer(Queries(queries()))
    assert mine.codes.tolist() == other.codes.tolist()
    assert np.allclose(mine.scores, other.scores, atol=1e-5)
    assert np.array_equal(mine.found.neighbours.rows, other.found.neighbours.rows)


def test_rows_added_after_loading_are_ignored(gallery: SqliteGallery) -> None:
    index, prepared = remote_index(gallery)
    near = index.vectors[:1].astype(np.float32)
    gallery.put([GalleryRow("new", "/new.jpg", "L00", "h", "s", near[0])])
    assert prepared.candidate_source is not None
    found = prepared.candidate_source.candidates(near, 5)
    assert found[0].max() < len(index.codes)
    assert (found == -1).sum() == 1  # the photo added later, which the index ignores


def test_small_galleries_are_fitted_on_all_photos_and_large_ones_on_a_sample_of_landmarks(
    gallery: SqliteGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, _ = remote_index(gallery)
    whole = sample_index(index)
    assert np.array_equal(whole.vectors, index.vectors[:])
    assert whole.ids.tolist() == index.ids[:].tolist()
    assert len(whole.distractor_vectors) == len(index.distractor_vectors)
    monkeypatch.setattr(remote, "MAX_SAMPLED_PHOTOS", 50)
    part = sample_index(index)
    assert 30 < len(part.codes) <= 50
    assert len(part.distractor_vectors) == 25
    for name in part.names:  # each landmark with all of its photos
        mine = part.ids[part.names[part.codes] == name].tolist()
        assert mine == index.ids[:][index.names[index.codes] == name].tolist()


def test_rules_that_need_whitened_vectors_are_refused() -> None:
    require_server_rules(PLAIN)
    for rules in (
        Rules(), replace(PLAIN, augmentation=3), replace(PLAIN, superglobal=True),
        replace(PLAIN, score="class_centre"), replace(PLAIN, score="both_penalties"),
    ):  # fmt: skip
        with pytest.raises(OptionError, match="search"):
            require_server_rules(rules)


def test_an_empty_gallery_can_be_searched_remotely(tmp_path: Path) -> None:
    index, prepared = remote_index(SqliteGallery.create(None, "e", 16))
    assert len(index.names) == len(index.vectors) == len(index.distractor_vectors) == 0
    assert prepared.candidate_source is not None
    assert (prepared.candidate_source.candidates(queries(2), 3) == -1).all()
