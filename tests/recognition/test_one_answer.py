"""A photo is read, decoded, embedded, searched and compared once by every command and request.

Counted for a command, a request and an evaluation as users run them.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from starlette.testclient import TestClient

from tests.cli.test_commands import run
from tests.support.served_world import copied, front, jpeg, made, taken_at
from whichlandmark.core import images
from whichlandmark.core.types import Photo, Photos
from whichlandmark.evaluation.evaluate import evaluate_in_detail
from whichlandmark.features import pipeline
from whichlandmark.features.embedders.sift import SiftEmbedder
from whichlandmark.gallery.index.mapped import IndexFileError
from whichlandmark.gallery.records import LandmarkRecord
from whichlandmark.gallery.sqlite.store import SqliteGallery
from whichlandmark.recognition import query
from whichlandmark.recognition.answer import CANDIDATE_MATCHES, candidate_names
from whichlandmark.recognition.candidates import FEATURES, GEOMETRY_FEATURES
from whichlandmark.recognition.decision import Decider, FallbackDecider
from whichlandmark.recognition.explanation.drawing import Reasons
from whichlandmark.recognition.explanation.explain import explain_answer
from whichlandmark.recognition.folder.load import assemble, load
from whichlandmark.recognition.folder.settings import read_settings, write_settings
from whichlandmark.recognition.predictions import prediction
from whichlandmark.recognition.query import Queries
from whichlandmark.recognition.recognizer import Recognizer
from whichlandmark.recognition.retrieval import Retriever
from whichlandmark.recognition.spatial_verification import SpatialVerifier, nothing_to_compare
from whichlandmark.serving.decode_pool import DecodePool
from whichlandmark.serving.engine import Engine
from whichlandmark.serving.options import ServeOptions
from whichlandmark.serving.server import create_app

PARIS, ELSEWHERE = (48.0, 2.0), (12.0, 34.0)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each step ran, without reading gallery photos for a page."""
    found: Counter[str] = Counter()

    def count(owner: Any, name: str, step: str, of: Any = lambda *given: 1) -> None:
        plain = getattr(owner, name)

        def counted(*given: Any, **named: Any) -> Any:
            found[step] += of(*given)
            return plain(*given, **named)

        monkeypatch.setattr(owner, name, counted)

    def is_query(path: Any) -> int:
        return int(Path(path).parent.name == "queries")

    for home in (query, pipeline, images):
        count(home, "read_bytes", "reads", is_query)
    known = {path.read_bytes() for path in made().parent.rglob("*.jpg")}
    count(images, "_decode", "decodes", lambda data, *_: int(data not in known))
    count(DecodePool, "_submit", "decodes in a worker")
    count(SiftEmbedder, "__call__", "embeddings")
    count(Retriever, "search", "searches")
    count(SpatialVerifier, "verify", "comparisons")
    return found


@pytest.fixture
def query_paths(tmp_path: Path) -> list[Path]:
    """Photos of the four fronts that are not in the gallery, with a location."""
    (tmp_path / "queries").mkdir()
    paths = [tmp_path / "queries" / f"{code}.jpg" for code in range(4)]
    for code, path in enumerate(paths):
        path.write_bytes(taken_at(closer(code), *ELSEWHERE))
    return paths


def closer(code: int) -> Pillow.Image:
    """The middle of a front: recognizable, but not a copy of a gallery photo."""
    return front(code, 9).crop((60, 40, 310, 230))


def use_location(folder: Path) -> None:
    """Rules that verify every answer and use the location of the photo."""
    rules, fitted, generation = read_settings(folder)
    assert fitted is not None
    plain = fitted.stacker
    assert plain is not None
    geometric = replace(
        plain, names=FEATURES + GEOMETRY_FEATURES, means=(*plain.means, *[0.0] * 6),
        scales=(*plain.scales, *[1.0] * 6), weights=(*plain.weights, 0.0, 0.5, *[0.0] * 4),
    )  # fmt: skip
    fitted = replace(fitted, geometric_stacker=geometric)
    rules = replace(rules, sure_below=0.0, sure_above=1.0, location_km=5.0)
    write_settings(folder, rules, fitted, generation)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = copied(tmp_path)
    use_location(found)
    return found


def test_the_command_line_explains_in_one_pass(
    folder: Path,
    query_paths: list[Path],
    counts: Counter[str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "why.html"
    command = ("recognize", query_paths[1], "-r", folder, "--explain", out, "--json")
    code, answered, _ = run(capfd, *command)
    assert (code, json.loads(answered)["photo"]) == (0, str(query_paths[1]))
    assert out.stat().st_size > 1000
    once = ("reads", "decodes", "embeddings", "searches")
    assert counts == {**dict.fromkeys(once, 1), "comparisons": 2}  # of the answer; of what is shown


def test_the_server_explains_in_one_pass(
    folder: Path, query_paths: list[Path], counts: Counter[str]
) -> None:
    engine = Engine(folder, ServeOptions(workers=1))
    with TestClient(create_app(engine), base_url="http://localhost") as client:
        counts.clear()
        reply = client.post("/v1/explain", files={"photo": ("q.jpg", query_paths[1].read_bytes())})
        assert reply.status_code == 200
    once = ("decodes in a worker", "embeddings", "searches")
    taken = {step: n for step, n in counts.items() if n}
    assert taken == {**dict.fromkeys(once, 1), "comparisons": 2}


def test_an_evaluation_takes_each_photo_once(
    folder: Path, query_paths: list[Path], counts: Counter[str]
) -> None:
    """All photos are embedded in one call and searched in one call."""
    opened = load(folder)
    answers = opened.answer(opened.embed([opened.read(path) for path in query_paths]))
    compared = sum(map(bool, answers.verified))
    assert compared >= 2
    counts.clear()
    photos = Photos.of(Photo(path.stem, path, f"place {path.stem}") for path in query_paths)
    found = evaluate_in_detail(opened, photos).predictions
    assert len(found) == 4
    assert counts == {
        "reads": 4, "decodes": 4, "embeddings": 1, "searches": 1, "comparisons": compared,
    }  # fmt: skip
    for path, score, guess in zip(query_paths, found.score, found.guess, strict=True):
        alone = opened(path)
        assert (guess, score) == (alone.guess, pytest.approx(alone.score, abs=1e-4))


def test_an_evaluation_gives_the_answers_of_the_recognizer(folder: Path, tmp_path: Path) -> None:
    """Also for a photo so large that the size it is decoded at makes a difference."""
    large = closer(2).resize((1800, 1368), Pillow.Resampling.BICUBIC)
    path = tmp_path / "large.jpg"
    path.write_bytes(taken_at(large, *ELSEWHERE))
    opened = load(folder)
    found = evaluate_in_detail(opened, Photos.of([Photo("large", path, "place 2")])).predictions
    assert found.score[0] == pytest.approx(opened(path).score, abs=1e-4)


@pytest.fixture
def between(folder: Path) -> Iterator[TestClient]:
    """A served gallery in which places 0 and 1 are far from each other."""
    with SqliteGallery.open(folder / "gallery.sqlite") as gallery:
        gallery.describe([
            LandmarkRecord("place 0", latitude=ELSEWHERE[0], longitude=ELSEWHERE[1]),
            LandmarkRecord("place 1", latitude=PARIS[0], longitude=PARIS[1]),
        ])  # fmt: skip
    engine = Engine(folder, ServeOptions(workers=1))
    with TestClient(create_app(engine), base_url="http://localhost") as client:
        yield client


def halves() -> Pillow.Image:
    """Front 0 on the left, front 1 on the right, so that either could be the answer."""
    picture = front(0, 9).copy()
    picture.paste(front(1, 9).crop((180, 0, 360, 270)), (180, 0))
    return picture


def test_served_evidence_is_that_of_the_served_answer(between: TestClient) -> None:
    """The location of the photo decides between two landmarks; the parts of the score are those of
    the answered one and add up to its score.
    """
    answers = []
    for location in (ELSEWHERE, PARIS):
        photo = ("q.jpg", taken_at(halves(), *location))
        answered = between.post("/v1/recognize", files=[("photos", photo)]).json()["results"][0]
        why = between.post("/v1/explain", files={"photo": photo}).json()
        assert why["answer"]["guess"] == answered["guess"]
        assert why["answer"]["score"] == pytest.approx(answered["score"], abs=1e-4)
        parts = {part["name"]: part for part in why["parts"]}
        added = [part["contribution"] for part in parts.values() if part["contribution"]]
        assert sum(added) == pytest.approx(why["answer"]["score"], abs=1e-4)
        assert parts["location"]["contribution"] == pytest.approx(0, abs=1e-4)  # it is near
        answers.append(answered["guess"])
    assert answers == ["place 0", "place 1"]


def test_an_explanation_agrees_with_the_prediction(folder: Path, query_paths: list[Path]) -> None:
    opened = load(folder)
    photos = [opened.read(path) for path in query_paths]
    answers = opened.answer(opened.embed(photos), evidence=True)
    for row, photo in enumerate(photos):
        answer, why = prediction(answers, row), explain_answer(opened, answers, row, photo)
        assert (why.guess, why.confidence) == (answer.guess, answer.confidence)
        inliers = {
            match.photo_id: match.inliers for match in prediction(answers, row, matches=30).matches
        }
        shown = [reference.landmark for reference in why.references]
        wanted = candidate_names(prediction(answers, row, matches=CANDIDATE_MATCHES))
        assert list(dict.fromkeys(shown)) == wanted  # the guess first, a photo of each
        assert shown.count(answer.guess) == 4
        for reference in why.references:
            assert reference.inliers is not None
            if inliers[reference.photo_id] is not None:
                assert inliers[reference.photo_id] == reference.inliers
            assert reference.shape == (270, 360)
            assert reference.penalty == pytest.approx(
                answers.decider.retriever.gallery_penalties(
                    np.flatnonzero(opened.index.ids[:] == reference.photo_id)
                )[0]
            )
        cosines, codes = answers.found.neighbours.similarity[row], answers.found.codes[row]
        own = codes == answers.codes[row]
        best, other = cosines[own].max(), cosines[~own & (codes >= 0)].max()
        mine = [one for one in why.references if one.landmark == answer.guess]
        rest = [one for one in why.references if one.landmark != answer.guess]
        reasons = why.reasons
        assert reasons.similarity == pytest.approx(best, abs=1e-6)
        assert reasons.lead == pytest.approx(best - other, abs=1e-6)
        assert reasons.details == max(one.inliers or 0 for one in mine)
        assert reasons.other_details == max(one.inliers or 0 for one in rest)
        named = answer.decision != "no_landmark"
        alike = [
            named and (one.similarity >= (best + other) / 2 or one.above_chance) for one in mine
        ]
        assert [one.alike for one in mine] == alike
        assert reasons.alike >= sum(alike) >= named
        assert not any(one.alike for one in rest)
        shown = [near.similarity for near in why.distractors]
        assert len(shown) == 4
        assert shown == sorted(shown, reverse=True)
        assert shown[0] >= float(answers.found.penalty[row]) >= shown[-1] - 1e-6


def test_a_recognizer_cannot_be_changed(folder: Path) -> None:
    opened = load(folder)
    with pytest.raises(FrozenInstanceError):
        opened.embedder = None  # type: ignore[misc, assignment]


def test_an_open_embedder_is_used(folder: Path) -> None:
    own = load(folder).embedder
    assert load(folder, embedder=own).embedder is own


class Damaged(Decider):
    """Finds a damaged block in every answer."""

    def answer(self, queries: Queries, *, evidence: bool = False) -> Any:
        raise IndexFileError("vectors-1.npy: damaged (block 3)")


def test_threads_that_find_damage_fall_back_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened = load(folder)
    whole = opened.decider
    made_anew: list[Decider] = []
    start = threading.Barrier(4)

    def over_gallery() -> Decider:
        made_anew.append(whole)
        return whole

    damaged = Damaged(whole.index, whole.rules, whole.fitted, whole.verifier)
    fallback = FallbackDecider(damaged, over_gallery, folder / "segments")
    shared = replace(opened, fallback=fallback)
    vectors = opened.embed([opened.read(jpeg(front(1, 9)))]).vectors
    answers: list[Any] = []

    def ask() -> None:
        start.wait()
        answers.append(shared.predict(vectors)[0])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [opened.predict(vectors)[0]] * 4
    assert (len(made_anew), len(caplog.records)) == (1, 1)
    assert "gallery rebuild" in caplog.text
    assert shared.decider is whole


def test_a_gallerys_table_without_vectors(folder: Path) -> None:
    with SqliteGallery.open(folder / "gallery.sqlite") as gallery:
        bare, whole = gallery.table(vectors=False), gallery.table()
        assert bare.vectors.shape == (0, gallery.dim)
        for column in ("ids", "paths", "landmarks", "hashes", "rows"):
            assert getattr(bare, column).tolist() == getattr(whole, column).tolist()


def test_an_answer_does_not_depend_on_earlier_queries(folder: Path) -> None:
    """Batches are compared with distractors in float32, which changes no later answer."""
    opened: Recognizer = load(folder)
    fresh = assemble(opened.embedder, opened.gallery, opened.rules, opened.fitted)
    batch = opened.embed([opened.read(jpeg(front(code, 9))) for code in range(4)] * 30)
    opened.answer(Queries(batch.vectors))
    one = Queries(batch.vectors[:1])
    both = [json.dumps(recognizer.answer(one).scores.tolist()) for recognizer in (opened, fresh)]
    assert both[0] == both[1]


def test_an_explanation_of_nothing_makes_no_claims(folder: Path) -> None:
    opened = load(folder)
    stripes = np.tile(np.repeat(np.uint8([40, 200]), 20)[None, :, None], (200, 5, 3))
    for image, nothing in (
        (np.full((8, 200, 3), 90, np.uint8), "small"),
        (np.full((200, 200, 3), 90, np.uint8), "even"),
        (stripes, "plain"),
    ):
        photo = opened.read(image)
        answers = opened.answer(opened.embed([photo]), evidence=True)
        # As if the photo would be answered by the look of the whole.
        reason = nothing_to_compare(image)
        answers = replace(answers, nothing={0: reason}, codes=np.array([-1]))
        why = explain_answer(opened, answers, 0, photo)
        assert why.reasons == Reasons(nothing=nothing)  # type: ignore[arg-type]
        assert (why.references, why.parts, why.distractors) == ((), (), ())
        assert why.title == "Why no landmark?"


def test_an_explanation_without_local_features_says_so(
    folder: Path, query_paths: list[Path]
) -> None:
    opened = load(folder)
    photo = opened.read(query_paths[1])
    answers = opened.answer(Queries(opened.embed([photo]).vectors), evidence=True)
    why = explain_answer(opened, answers, 0, photo)
    assert (why.reasons.details, why.reasons.other_details) == (None, None)
    assert {one.inliers for one in why.references} == {None}
    assert "agree" not in why.why
    names = candidate_names(prediction(answers, 0, matches=CANDIDATE_MATCHES))
    assert {one.landmark for one in why.references} == set(names)


def test_an_explanation_needs_no_photo_file(folder: Path, query_paths: list[Path]) -> None:
    """The size that the gallery's points refer to comes from what the gallery stores."""
    with SqliteGallery.open(folder / "gallery.sqlite") as gallery:
        rows = [row for _, row in gallery.rows_after(-1, 100)]
        gallery.put([replace(row, path=f"/gone/{row.id}") for row in rows])
    opened = load(folder)
    photo = opened.read(query_paths[1])
    answers = opened.answer(opened.embed([photo]), evidence=True)
    why = explain_answer(opened, answers, 0, photo)
    assert {one.shape for one in why.references} == {(270, 360)}
