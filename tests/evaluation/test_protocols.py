"""Retrieval protocols: against a slow implementation, and photos cropped and read as published."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.support.photos import picture, write_photo
from tests.support.revisited_layout import rotate_by_exif
from whichlandmark.core.benchmark import Benchmark, Judgements
from whichlandmark.core.errors import DataError, ImageError
from whichlandmark.core.types import Image, Photos
from whichlandmark.evaluation.protocol_vectors import (
    BenchmarkVectors,
    cropped,
    embed_benchmark,
    embed_distractors,
)
from whichlandmark.evaluation.protocols import ProtocolResult, run_protocol
from whichlandmark.features.embedders.histogram import HistogramEmbedder

Ap = Literal["trapezoid", "cut_off"]


def table(prefix: str, count: int) -> Photos:
    names = [f"{prefix}{row}" for row in range(count)]
    return Photos.of_columns(names, [f"{name}.jpg" for name in names], [""] * count)


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.int64)


def benchmark_of(
    settings: dict[str, Judgements], queries: int, database: int, ap: Ap = "trapezoid"
) -> Benchmark:
    return Benchmark(
        name="roxford5k", queries=table("q", queries), database=table("d", database),
        settings=settings, average_precision=ap, k=None if ap == "trapezoid" else 5,
        precision_at=(1, 5, 10) if ap == "trapezoid" else (),
    )  # fmt: skip


def vectors_of(
    queries: np.ndarray, database: np.ndarray, absent: tuple[int, ...] = (), unasked: int = -1
) -> BenchmarkVectors:
    present = np.ones(len(database), dtype=bool)
    present[list(absent)] = False
    asked = np.arange(len(queries)) != unasked
    return BenchmarkVectors(
        queries=queries, database=database, query_present=asked, database_present=present,
        name="given", embedder="given-1",
    )  # fmt: skip


def on_a_line(*places: float) -> np.ndarray:
    """Vectors in a plane: the more similar to (1, 0), the smaller the angle."""
    angles = np.array(places)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def value(result: ProtocolResult, setting: str, measure: str = "mAP", added: int = 0) -> float:
    found = [
        row.value for row in result.rows
        if (row.setting, row.measure, row.distractors) == (setting, measure, added)
    ]  # fmt: skip
    assert len(found) == 1
    return found[0]


def test_by_hand_junk_before_and_after_hits() -> None:
    """The ranking is 0 1 2 3 4. Easy = 1, hard = 3, junk = 0 and 4.

    Easy: junk 0, 3, 4 go; 1 is first: AP 1. Medium: 1 _ 3 of (1, 2, 3): (1 + 1)/2·½ +
    (½ + ⅔)/2·½ = 19/24; mP@5: 2 of the first 3. Hard: 0, 1, 4 go; (2, 3): (0 + ½)/2 = ¼; mP@1: 0.
    """
    junk, easy, hard = [0, 4], [1], [3]
    settings = {
        "easy": Judgements([rows(*easy)], [rows(*junk, *hard)], np.array([True])),
        "medium": Judgements([rows(*easy, *hard)], [rows(*junk)], np.array([True])),
        "hard": Judgements([rows(*hard)], [rows(0, 1, 4)], np.array([True])),
    }
    settings["easy"].ignored[0].sort()
    given = vectors_of(on_a_line(0.0), on_a_line(0.1, 0.2, 0.3, 0.4, 0.5))
    result = run_protocol(benchmark_of(settings, 1, 5), given)
    assert value(result, "easy") == pytest.approx(1)
    assert value(result, "medium") == pytest.approx(19 / 24)
    assert value(result, "hard") == pytest.approx(1 / 4)
    assert value(result, "medium", "mP@1") == 1
    assert value(result, "medium", "mP@5") == pytest.approx(2 / 3)
    assert value(result, "medium", "mP@10") == pytest.approx(2 / 3)
    assert value(result, "hard", "mP@1") == 0
    assert value(result, "hard", "mP@5") == pytest.approx(1 / 2)
    assert result.tied_queries == 0


def test_by_hand_distractors_and_ties() -> None:
    """Two photos are equally similar, the wrong one first in the database."""
    settings = {"all": Judgements([rows(1)], [rows()], np.array([True]))}
    given = vectors_of(on_a_line(0.0), on_a_line(0.2, 0.2, 0.4))
    result = run_protocol(
        benchmark_of(settings, 1, 3), given, distractors=[on_a_line(0.1, 0.2), on_a_line(1.0)]
    )
    assert value(result, "all") == pytest.approx(1 / 4)  # wrong, right: (0 + ½)/2
    plain, extra = (row for row in result.rows if row.measure == "mAP")
    assert plain.mean_over_orders == pytest.approx((1 + 1 / 4) / 2)
    assert extra.value == pytest.approx((0 + 1 / 3) / 2)  # the distractor of 0.1, then as before
    orders = [(0 / 1 + 1 / 2) / 2, (0 / 2 + 1 / 3) / 2, (0 / 3 + 1 / 4) / 2]
    assert extra.mean_over_orders == pytest.approx(np.mean(orders))
    assert (extra.distractors, result.distractors, result.tied_queries) == (3, 3, 1)
    assert "as the mean over all their orders, mAP is all 19.44" not in result.rules
    assert any("mean over all their orders" in line for line in result.sentences())


def test_queries_without_positives_are_left_out_or_count_nothing() -> None:
    """Left out where the protocol says so (counted False), as nothing found where it does not."""
    positives = [rows(0), rows()]
    left_out = Judgements(positives, [rows(), rows()], np.array([True, False]))
    counted = Judgements(positives, [rows(), rows()], np.array([True, True]))
    given = vectors_of(on_a_line(0.0, 1.5), on_a_line(0.0, 1.0))
    settings = {"out": left_out, "in": counted}
    result = run_protocol(benchmark_of(settings, 2, 2), given)
    assert (value(result, "out"), value(result, "in")) == (1, 0.5)
    assert result.left_out == {"out": 1, "in": 0}
    assert result.average_precision == {"out": {"q0": 1.0}, "in": {"q0": 1.0, "q1": 0.0}}
    assert [row.queries for row in result.rows if row.measure == "mAP"] == [1, 2]


def test_a_missing_query_counts_0_and_a_missing_photo_is_never_retrieved() -> None:
    settings = {"all": Judgements([rows(0), rows(0, 1)], [rows(), rows()], np.array([True, True]))}
    given = vectors_of(on_a_line(0.0, 0.0), on_a_line(0.0, 0.1, 0.2), absent=(1,), unasked=0)
    result = run_protocol(benchmark_of(settings, 2, 3), given)
    assert result.average_precision["all"] == {"q0": 0.0, "q1": pytest.approx(0.5)}
    assert value(result, "all", "mP@1") == 0.5


def slow(
    benchmark: Benchmark, similarity: np.ndarray, setting: str
) -> tuple[float, dict[str, float]]:
    """mAP and the AP of each query, from a sorted list of everything."""
    judged, each = benchmark.settings[setting], {}
    for query in range(len(benchmark.queries)):
        if not judged.counted[query]:
            continue
        right, junk = set(judged.positives[query].tolist()), set(judged.ignored[query].tolist())
        order = [row for row in sorted(range(similarity.shape[1]),
                                       key=lambda row: (-similarity[query, row], row))
                 if row not in junk and np.isfinite(similarity[query, row])]  # fmt: skip
        ap, found, old = 0.0, 0, 1.0
        for rank, row in enumerate(order, 1):
            found += row in right
            if row in right and benchmark.k is None:
                ap += (old + found / rank) / 2 / len(right)
            elif row in right and rank <= benchmark.k:
                ap += found / rank / min(len(right), benchmark.k)
            old = found / rank
        each[f"q{query}"] = ap
    return float(np.mean([*each.values()])), each


@pytest.mark.parametrize("ap", ["trapezoid", "cut_off"])
@pytest.mark.parametrize("seed", range(12))
def test_against_a_slow_implementation(seed: int, ap: Ap) -> None:
    """Random judgements and vectors of few values: many ties; one photo is missing."""
    rng = np.random.default_rng(seed)
    queries, database, extra = 5, int(rng.integers(8, 40)), int(rng.integers(1, 30))
    settings = {}
    for name in ("easy", "hard"):
        positives, ignored = [], []
        for _ in range(queries):
            shuffled, cut = rng.permutation(database), np.sort(rng.integers(0, 7, 2))
            positives.append(np.sort(shuffled[: cut[0]]))
            ignored.append(np.sort(shuffled[cut[0] : cut[1]]))
        counted = np.array([len(right) > 0 for right in positives]) | (rng.random(queries) < 0.3)
        counted[0] = True
        settings[name] = Judgements(positives, ignored, counted)
    benchmark = benchmark_of(settings, queries, database, ap)
    asked = rng.normal(size=(queries, 3)).astype(np.float32)
    photos, distractors = (rng.choice([-1.0, 1.0, 2.0], (n, 3)) for n in (database, extra))
    chunks = np.array_split(distractors, int(rng.integers(1, 4)))
    result = run_protocol(benchmark, vectors_of(asked, photos, absent=(3,)), distractors=chunks)
    everything = np.concatenate([photos, distractors])
    unit = everything / np.linalg.norm(everything, axis=1, keepdims=True)
    similarity = np.round(asked @ unit.T, 6)
    similarity[:, 3] = -np.inf
    for name in settings:
        measure = benchmark.measure
        mean, each = slow(benchmark, similarity[:, :database], name)
        assert value(result, name, measure) == pytest.approx(mean)
        assert result.average_precision[name] == pytest.approx(each)
        mean, each = slow(benchmark, similarity, name)
        assert value(result, name, measure, extra) == pytest.approx(mean)
        assert result.with_distractors[name] == pytest.approx(each)


def test_a_million_distractors_are_never_held() -> None:
    """Chunks are taken one by one, and each may be forgotten before the next is made."""
    alive: list[int] = []

    def chunks() -> Iterator[np.ndarray]:
        for number in range(20):
            alive.append(number)
            yield np.random.default_rng(number).normal(size=(500, 4)).astype(np.float32)

    settings = {"all": Judgements([rows(0)], [rows()], np.array([True]))}
    given = vectors_of(np.ones((1, 4)), np.eye(4))
    result = run_protocol(benchmark_of(settings, 1, 4), given, distractors=chunks())
    assert (result.distractors, len(alive)) == (10_000, 20)
    assert value(result, "all", added=10_000) < value(result, "all")


def test_vectors_that_do_not_fit_are_refused() -> None:
    settings = {"all": Judgements([rows(0)], [rows()], np.array([True]))}
    benchmark = benchmark_of(settings, 1, 3)
    with pytest.raises(DataError, match="queries have 3 dimensions, the database 2"):
        run_protocol(benchmark, vectors_of(np.ones((1, 3)), np.ones((3, 2))))
    with pytest.raises(DataError, match="2 vectors given; expected 3"):
        run_protocol(benchmark, vectors_of(np.ones((1, 2)), np.ones((2, 2))))
    with pytest.raises(DataError, match=r"distractors of shape \(5, 4\) .* vectors of 2 numbers"):
        run_protocol(
            benchmark, vectors_of(np.ones((1, 2)), np.ones((3, 2))), distractors=[np.ones((5, 4))]
        )
    with pytest.raises(DataError, match="2 of the 3 photos of the database are missing"):
        run_protocol(benchmark, vectors_of(np.ones((1, 2)), np.ones((3, 2)), absent=(0, 1)))
    with pytest.raises(DataError, match="NaN or infinite"):
        run_protocol(benchmark, vectors_of(np.ones((1, 2)), np.full((3, 2), np.nan)))
    result = run_protocol(benchmark, vectors_of(np.ones((1, 2)), 5 * np.ones((3, 2))))
    assert any("4 vectors did not have length 1" in note for note in result.notes)


def test_judgements_that_do_not_fit_are_refused() -> None:
    good = np.array([True])
    for judged, said in (
        (Judgements([rows(3)], [rows()], good), "rows from 3 to 3 of a database of 3 photos"),
        (Judgements([rows(1, 1)], [rows()], good), "repeated or not ordered"),
        (Judgements([rows(1)], [rows(1)], good), "both right and ignored"),
        (Judgements([rows(1), rows(2)], [rows()], good), r"judgements of \[1, 2\] queries"),
    ):
        with pytest.raises(DataError, match=said):
            benchmark_of({"all": judged}, 1, 3)
    with pytest.raises(DataError, match="no setting"):
        benchmark_of({}, 1, 3)


def test_a_crop_is_that_of_pillow() -> None:
    """Halves are rounded to even; outside of the photo it is black."""
    image = picture(1, 1, (20, 30))
    for box in ((2.5, 3.5, 10.5, 9.5), (0, 0, 30, 20), (-2.4, -1, 12.6, 8), (25, 15, 33, 24)):
        expected = np.asarray(Pillow.fromarray(image).crop(box))
        assert np.array_equal(cropped(image, np.array(box, dtype=np.float64)), expected)
    assert cropped(image, np.array([2.5, 3.5, 10.5, 9.5])).shape == (6, 8, 3)
    for box, said in (
        ((5, 5, 5, 9), "has no pixels"), ((9, 5, 5, 9), "has no pixels"),
        ((30, 0, 40, 9), "lies outside of it"), ((-9, 0, 0, 9), "lies outside of it"),
        ((0, 0, 1000, 9), "more than twice as large"),
    ):  # fmt: skip
        with pytest.raises(ImageError, match=said):
            cropped(image, np.array(box, dtype=np.float64))


class Seen(HistogramEmbedder):
    """Remembers the images that it embeds."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[Image] = []

    def __call__(self, images: list[Image], /) -> np.ndarray:  # type: ignore[override]
        self.images += images
        return super().__call__(images)


def test_queries_are_cropped_as_stored_before_anything_else(tmp_path: Path) -> None:
    """The box is one of the stored pixels, also where EXIF data say that the photo is turned."""
    image = picture(3, 3, (40, 90))
    path = write_photo(tmp_path / "q.png", image)
    turned = write_photo(tmp_path / "turned.jpg", image)
    rotate_by_exif(turned)
    photos = Photos.of_columns(
        ["q", "turned", "whole"], [str(path), str(turned), str(path)], [""] * 3
    )
    judged = Judgements([rows(0)] * 3, [rows()] * 3, np.ones(3, dtype=bool))
    boxes = np.array([[10.0, 5, 40, 25], [10, 5, 40, 25], [np.nan] * 4])
    benchmark = Benchmark(
        name="roxford5k", queries=photos, database=photos, settings={"all": judged},
        average_precision="trapezoid", boxes=boxes,
    )  # fmt: skip
    embedder = Seen()
    vectors = embed_benchmark(benchmark, embedder)
    assert vectors.query_present.all()
    assert [each.shape for each in embedder.images[:3]] == [(20, 30, 3), (20, 30, 3), (40, 90, 3)]
    assert np.array_equal(embedder.images[0], image[5:25, 10:40])
    with Pillow.open(turned) as opened:
        stored = np.asarray(opened.convert("RGB"))
    assert np.array_equal(embedder.images[1], stored[5:25, 10:40])
    assert [each.shape[:2] for each in embedder.images[3:]] == [(40, 90)] * 3
    upright = embed_distractors(photos, embedder, upright=True, failures=[])
    assert sum(map(len, upright)) == 3
    assert embedder.images[-2].shape[:2] == (90, 40)


def test_photos_that_cannot_be_read_are_listed(tmp_path: Path) -> None:
    good = write_photo(tmp_path / "a.jpg", picture(1, 1))
    (tmp_path / "b.jpg").write_text("no photo")
    names = ["a", "b", "gone", "small"]
    paths = [str(tmp_path / f"{name}.jpg") for name in names[:3]] + [str(good)]
    photos = Photos.of_columns(names, paths, [""] * 4)
    judged = Judgements([rows(0)] * 4, [rows()] * 4, np.ones(4, dtype=bool))
    boxes = np.array([[0.0, 0, 50, 50]] * 3 + [[500, 500, 600, 600]])
    benchmark = Benchmark(
        name="roxford5k", queries=photos, database=photos, settings={"all": judged},
        average_precision="trapezoid", boxes=boxes,
    )  # fmt: skip
    vectors = embed_benchmark(benchmark, HistogramEmbedder())
    assert vectors.query_present.tolist() == [True, False, False, False]
    assert vectors.database_present.tolist() == [True, False, False, True]
    assert sorted(vectors.unreadable) == ["b", "gone", "small"]
    assert "lies outside of it; is it of another size or turned?" in vectors.unreadable["small"]
    with pytest.raises(DataError, match="3 of the 4 queries are missing or cannot be read"):
        run_protocol(benchmark, vectors)
