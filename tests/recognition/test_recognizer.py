"""Photo in, answer out: build, save, load, decide, and calibrate without leaks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.photos import photos_of, picture
from whichlandmark.core import parallel
from whichlandmark.core.errors import DataError, GalleryError, ImageError, OptionError
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.gallery.sqlite.store import SqliteGallery
from whichlandmark.recognition.answer import GalleryFacts
from whichlandmark.recognition.fitting import leave_one_out, whitening
from whichlandmark.recognition.fitting.fit import fit_and_score
from whichlandmark.recognition.fitting.leave_one_out import KNOWN, UNKNOWN
from whichlandmark.recognition.folder.fill import fill_gallery, photos_and_distractors
from whichlandmark.recognition.folder.load import assemble, build, load
from whichlandmark.recognition.folder.settings import read_settings, reusable_fit
from whichlandmark.recognition.recognizer import Recognizer
from whichlandmark.recognition.rules import Rules
from whichlandmark.recognition.spatial_verification import MATCHING_SIDE


@pytest.fixture
def recognizer(colour_world: Path) -> Recognizer:
    distractors = photos_of(colour_world / "bank", landmarks=False)
    return build(HistogramEmbedder(), photos_of(colour_world / "gallery"), distractors=distractors)


def test_answers_a_landmark_with_its_evidence(recognizer: Recognizer) -> None:
    answer = recognizer(picture(2, 99))
    assert (answer.landmark, answer.guess, answer.decision) == ("place 2", "place 2", "landmark")
    assert answer.confidence > 0.5
    assert [match.landmark for match in answer.matches[:3]] == ["place 2"] * 3
    assert 0 < answer.matches[0].similarity <= 1.001


def test_no_landmark_still_has_a_guess(recognizer: Recognizer) -> None:
    answer = recognizer(picture(777, 1))
    assert answer.landmark is None
    assert answer.decision != "landmark"
    assert answer.guess is not None
    assert answer.confidence < 0.5


def test_paths_bytes_and_arrays_give_the_same_answer(
    recognizer: Recognizer, colour_world: Path
) -> None:
    path = colour_world / "queries" / "1-0.jpg"
    assert recognizer(path) == recognizer(path.read_bytes()) == recognizer(str(path))
    with pytest.raises(ImageError, match=r"gone\.jpg"):
        recognizer(colour_world / "gone.jpg")


def test_a_loaded_recognizer_answers_the_same(recognizer: Recognizer, tmp_path: Path) -> None:
    recognizer.save(tmp_path / "r.wl")
    opened = load(tmp_path / "r.wl", embedder=HistogramEmbedder())
    assert opened(picture(1, 70)) == recognizer(picture(1, 70))
    assert opened.rules == recognizer.rules
    with pytest.raises(OptionError, match="holds a gallery already"):
        recognizer.save(tmp_path / "r.wl")


def test_rules_can_be_changed_without_embedding(recognizer: Recognizer) -> None:
    other = recognizer.with_rules(Rules().with_score("cosine"))
    assert other(picture(1, 70)).score == pytest.approx(
        other(picture(1, 70)).matches[0].similarity, abs=1e-6
    )
    assert other.fitted.calibration != recognizer.fitted.calibration


def test_another_embedder_is_refused(recognizer: Recognizer) -> None:
    with pytest.raises(GalleryError, match="made by embedder 'histogram-6'"):
        assemble(HistogramEmbedder(4), recognizer.gallery)


def test_damaged_settings_are_refused(recognizer: Recognizer, tmp_path: Path) -> None:
    recognizer.save(tmp_path / "r.wl")
    path = tmp_path / "r.wl" / "recognizer.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "rules": {"scor": "cosine"}}))
    with pytest.raises(GalleryError, match="did you mean 'score'"):
        read_settings(tmp_path / "r.wl")
    path.write_text("{}")
    with pytest.raises(GalleryError, match=r"recognizer\.json: damaged"):
        read_settings(tmp_path / "r.wl")
    path.write_text("not json")
    with pytest.raises(DataError, match="not readable as JSON"):
        read_settings(tmp_path / "r.wl")


def test_indexing_again_embeds_nothing_and_updates_labels(colour_world: Path) -> None:
    photos = photos_of(colour_world / "gallery")
    calls: list[int] = []

    class Counting(HistogramEmbedder):
        def __call__(self, images):  # type: ignore[no-untyped-def]
            calls.append(len(images))
            return super().__call__(images)

    embedder = Counting()
    with SqliteGallery.create(None, embedder.id, embedder.dim) as gallery:
        fill_gallery(embedder, photos, gallery)
        assert sum(calls) == 24
        photos.landmarks[:6] = "renamed"
        fill_gallery(embedder, photos, gallery)
        assert sum(calls) == 24
        assert set(gallery.table().landmarks[:6]) == {"renamed"}
        Path(photos.paths[0]).write_bytes(Path(photos.paths[7]).read_bytes() + b"\0")
        fill_gallery(embedder, photos, gallery)
        assert sum(calls) == 25


def test_bad_photos_are_listed_and_the_rest_is_indexed(colour_world: Path) -> None:
    (colour_world / "gallery" / "place 1" / "2.jpg").write_bytes(b"broken")
    photos, embedder = photos_of(colour_world / "gallery"), HistogramEmbedder()
    with SqliteGallery.create(None, embedder.id, embedder.dim) as gallery:
        failures = fill_gallery(embedder, photos, gallery)
        assert [f.id for f in failures] == ["gallery/place 1/2.jpg"]
        assert gallery.count() == 23
        before = gallery.generation
        assert fill_gallery(embedder, photos, gallery) == failures  # tried again, nothing changed
        assert gallery.generation == before
    photos.paths[:] = "/nowhere.jpg"
    with pytest.raises(DataError, match="no photo could be indexed"):
        build(embedder, photos)


def test_photos_without_a_landmark_become_distractors(colour_world: Path) -> None:
    distractors = photos_of(colour_world / "bank", landmarks=False)
    with pytest.raises(OptionError, match="10 of the 10 photos"):
        photos_and_distractors(distractors, None)
    photos = photos_of(colour_world / "gallery")
    both = photos_and_distractors(photos, photos)  # of equal ids, so the second get longer ones
    assert len(set(both.ids)) == len(both) == 48


def test_no_gallery_photo_is_its_own_answer_when_fitting(recognizer: Recognizer) -> None:
    """With shuffled labels, answers would be right only if a photo were its own neighbour."""
    np.random.default_rng(0).shuffle(recognizer.index.codes)
    blocks = leave_one_out.hold_out_queries(recognizer.index, Rules().with_score("cosine"))
    known = [b for b in blocks if b.kind == KNOWN]
    right = np.concatenate([b.found.codes[:, 0] == b.truth for b in known])
    assert len(right) == 24
    assert right.mean() < 0.6
    assert all((b.truth == -1).all() for b in blocks if b.kind != KNOWN)
    for block in (b for b in blocks if b.kind == UNKNOWN):
        seen = block.found.codes
        assert not (seen == block.groups[:, None])[seen >= 0].any()
    _, outcome = fit_and_score(recognizer.index, Rules().with_score("cosine"))
    assert outcome.top1() == pytest.approx(right.mean())


def test_the_known_share_changes_the_confidence(recognizer: Recognizer) -> None:
    image = picture(777, 1)
    rare = recognizer.with_rules(Rules(known_share=0.02, score="cosine"))(image).confidence
    common = recognizer.with_rules(Rules(known_share=0.9, unknown_share=0.05, score="cosine"))(
        image
    ).confidence
    assert rare < common


def test_changing_decision_rules_keeps_what_was_fitted(recognizer: Recognizer) -> None:
    """A change of any other rule needs a new fit."""
    rules, fitted = recognizer.rules, recognizer.fitted
    spoken = {
        "answer_above": 0.9,
        "doubt_above": 0.1,
        "false_answers": 0.2,
        "location_km": 3.0,
        "recall": 0.9,
    }
    assert reusable_fit(rules, replace(rules, **spoken), fitted) is fitted  # type: ignore[arg-type]
    other: dict[str, object] = {
        "score": "cosine", "whitening": "pca", "whitening_dim": 9, "whitening_shrinkage": 0.9,
        "expansion": 1, "augmentation": 1, "superglobal": True, "gallery_bank": 3,
        "query_bank": 3, "votes": 2, "verify": 1, "sure_above": 0.8, "sure_below": 0.1,
        "known_share": 0.4, "unknown_share": 0.1,
    }  # fmt: skip
    assert {*spoken, *other} == set(vars(rules))  # a new rule has to be added to one of both
    for name, value in other.items():
        assert reusable_fit(rules, replace(rules, **{name: value}), fitted) is None  # type: ignore[arg-type]


def test_the_second_guess_is_another_landmark(recognizer: Recognizer) -> None:
    for hue in (0, 3, 777):
        answer = recognizer(picture(hue, 60))
        assert answer.second is not None
        assert answer.second != answer.guess


def test_evidence_adds_fields_and_changes_no_number(recognizer: Recognizer) -> None:
    plain, explained = recognizer(picture(2, 99)), recognizer(picture(2, 99), evidence=True)
    for name in ("landmark", "guess", "second", "score", "confidence", "decision"):
        assert getattr(plain, name) == getattr(explained, name), name
    assert any(match.inliers is not None for match in explained.matches)
    assert plain.landmarks[0].landmark == explained.landmarks[0].landmark == "place 2"


def test_vectors_alone_are_answered_without_spatial_verification(recognizer: Recognizer) -> None:
    vectors = recognizer.embedder([picture(code, 88) for code in range(4)])
    answers = recognizer.predict(vectors, matches=2)
    assert [answer.guess for answer in answers] == [f"place {code}" for code in range(4)]
    for answer in answers:
        assert len(answer.matches) == 2
        assert all(match.inliers is None for match in answer.matches)
        assert all(seen.box is None for seen in answer.landmarks)
    assert recognizer.predict(vectors[:0]) == []


def test_the_location_counts_only_when_the_rules_use_it(recognizer: Recognizer) -> None:
    vectors = recognizer.embedder([picture(777, 1)])
    where = np.full((4, 2), np.nan)
    first = recognizer.predict(vectors)[0]
    where[recognizer.index.names == first.guess] = (48.0, 2.0)
    assert recognizer.decider.locations is not None
    recognizer.decider.locations.coordinates[:] = where
    far = [(-33.0, 151.0)]
    assert recognizer.predict(vectors, locations=far) == [first]
    located = assemble(recognizer.embedder, recognizer.gallery,
                     replace(recognizer.rules, location_km=1.0), recognizer.fitted)  # fmt: skip
    assert located.decider.locations is not None
    located.decider.locations.coordinates[:] = where
    assert located.predict(vectors) == [first]
    assert located.predict(vectors, locations=[None]) == [first]
    moved = located.predict(vectors, locations=far)[0]
    assert moved.score < first.score


def test_queries_are_decoded_as_the_gallery_was(colour_world: Path) -> None:
    gallery = photos_of(colour_world / "gallery")
    distractors = photos_of(colour_world / "bank", False)
    for verify, side in ((6, MATCHING_SIDE), (0, HistogramEmbedder().short_side)):
        rules = Rules(verify=verify)
        built = build(HistogramEmbedder(), gallery, distractors=distractors, rules=rules)
        assert built.short_side == side


def test_answers_use_the_landmark_records_that_the_recognizer_has_read(
    recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    monkeypatch.setattr(SqliteGallery, "landmarks", lambda gallery: reads.append("read"))
    facts = GalleryFacts.of(recognizer)
    assert facts.records is recognizer.records
    assert (facts.generation, reads) == (recognizer.gallery.generation, [])


def test_fits_and_answers_do_not_depend_on_the_number_of_threads(
    colour_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every query compared by its local features, in the fit and in the answers."""
    gallery, queries = photos_of(colour_world / "gallery"), photos_of(colour_world / "queries")
    bank = photos_of(colour_world / "bank", landmarks=False)
    found = []
    for threads in (1, 2, 8):
        for home in (parallel, whitening):
            monkeypatch.setattr(home, "cpu_count", lambda n=threads: n)
        rules = Rules(verify=6, answer_above=1.0, doubt_above=0.0)
        made = build(HistogramEmbedder(), gallery, distractors=bank, rules=rules)
        read = [made.read(path) for path in queries.paths]
        answers = made.answer(made.embed(read), evidence=True)
        found.append((
            repr(made.fitted), answers.scores.tobytes(), answers.confidence.tobytes(),
            answers.codes.tobytes(), answers.inliers.tobytes(),
            [{rank: match.query_points.tobytes() for rank, match in one.items()}
             for one in answers.verified],
        ))  # fmt: skip
    assert any(found[0][-1])
    assert found[0] == found[1] == found[2]
