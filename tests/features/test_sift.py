"""RootSIFT + VLAD: invariances, a slow reference computation, determinism, damaged folders."""

from __future__ import annotations

import dataclasses
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import safetensors.numpy

from whichlandmark.core.errors import DataError, ModelError, OptionError
from whichlandmark.core.types import Embedder, Image
from whichlandmark.features.embedders import sift
from whichlandmark.features.embedders import sift as sift_module
from whichlandmark.features.embedders.sift import SiftEmbedder, SiftOptions, describe

SMALL = SiftOptions(size=240, features=300, words=16, descriptor_dim=32, dim=64)


def facade(seed: int, size: tuple[int, int] = (240, 320)) -> Image:
    """A picture of random ornaments; the same seed gives the same picture at any size."""
    rng = np.random.default_rng(seed)
    wall = np.full((240, 320, 3), rng.integers(80, 180, 3), np.uint8)
    for _ in range(90):
        x, y, r = (int(rng.integers(low, high)) for low, high in ((10, 310), (10, 230), (3, 16)))
        colour = rng.integers(0, 256, 3).tolist()
        if rng.random() < 0.5:
            cv2.rectangle(wall, (x - r, y - r // 2), (x + r, y + r), colour, -1)
        else:
            cv2.circle(wall, (x, y), r, colour, 2)
    return cv2.resize(wall, size[::-1], interpolation=cv2.INTER_AREA)


def tilted(image: Image, degrees: float, scale: float) -> Image:
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, scale)
    return np.asarray(cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REFLECT))


@pytest.fixture(scope="module")
def walls() -> list[Image]:
    return [facade(seed) for seed in range(30)]


@pytest.fixture(scope="module")
def fitted(walls: list[Image]) -> SiftEmbedder:
    return SiftEmbedder.fit(walls, SMALL)


def test_sift_embeds_to_unit_rows(fitted: SiftEmbedder, walls: list[Image]) -> None:
    assert isinstance(fitted, Embedder)
    assert (fitted.name, fitted.short_side, fitted.dim) == ("sift", 240, 15)
    rows = fitted([*walls[:3], facade(99, (50, 400)), facade(98, (800, 600))])
    assert rows.shape == (5, 15)
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)
    assert fitted([]).shape == (0, 15)


@pytest.mark.parametrize(
    ("degrees", "scale", "light"), [(8, 1.0, 1.0), (-5, 1.15, 0.8), (0, 0.87, 1.2), (0, 1.0, 0.5)]
)
def test_a_tilted_view_is_nearest_to_its_own_wall(
    fitted: SiftEmbedder, walls: list[Image], degrees: float, scale: float, light: float
) -> None:
    views = [
        np.clip(tilted(wall, degrees, scale) * light, 0, 255).astype(np.uint8) for wall in walls
    ]
    similarity = fitted(views) @ fitted(walls).T
    own = np.diag(similarity).copy()
    np.fill_diagonal(similarity, -1)
    assert np.mean(own > similarity.max(axis=1)) >= 0.9
    assert own.mean() > similarity.max(axis=1).mean() + 0.15


def test_the_vector_hardly_depends_on_the_photo_size(fitted: SiftEmbedder) -> None:
    """A larger picture of the same wall is resized to the same size."""
    large = [cv2.resize(facade(seed), (640, 480)) for seed in range(10)]
    similarity = fitted(large) @ fitted([facade(seed) for seed in range(10)]).T
    assert similarity.argmax(axis=1).tolist() == list(range(10))


def test_descriptors_are_upright(walls: list[Image]) -> None:
    """A rotated wall has other descriptors; a keypoint with two orientations counts once."""
    found = describe(walls[0], SMALL)
    assert found.dtype == np.uint8
    assert len(np.unique(found, axis=0)) == len(found) <= SMALL.features + 5
    turned = describe(np.ascontiguousarray(np.rot90(walls[0])), SMALL)
    near = np.linalg.norm(found[:, None].astype(float) - turned[None], axis=2).min(axis=1)
    again = describe(tilted(walls[0], 3, 1), SMALL)
    nearer = np.linalg.norm(found[:, None].astype(float) - again[None], axis=2).min(axis=1)
    assert np.median(nearer) < 0.7 * np.median(near)


def test_small_photos_are_at_most_doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    resize = cv2.resize
    monkeypatch.setattr(
        cv2, "resize", lambda grey, to, **how: sizes.append(to) or resize(grey, to, **how)
    )
    for size in [(60, 80), (240, 320), (1, 500), (90, 45)]:
        describe(np.zeros((*size, 3), np.uint8), SMALL)
    assert sizes == [(160, 120), (240, 180), (240, 1), (90, 180)]


def test_a_photo_without_keypoints_still_gets_a_vector(fitted: SiftEmbedder) -> None:
    rows = fitted([np.full((100, 100, 3), value, np.uint8) for value in (0, 255)])
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)
    assert rows[0].tobytes() == rows[1].tobytes()


def test_vlad_matches_a_slow_computation() -> None:
    rng = np.random.default_rng(0)
    sample = rng.random((500, 12)).astype(np.float32)
    arrays = sift_module.fit_vocabulary(sample, 5, 4, 0)
    descriptors = sample[:40]
    sums = [[0.0] * 4 for _ in range(5)]
    for descriptor in descriptors.astype(float):
        point = [
            sum((descriptor - arrays["descriptor_mean"]) * axis)
            for axis in arrays["descriptor_axes"].astype(float)
        ]
        distances = [sum((p - w) ** 2 for p, w in zip(point, word, strict=True))
                     for word in arrays["words"].astype(float)]  # fmt: skip
        word = distances.index(min(distances))
        sums[word] = [s + p - w for s, p, w in zip(sums[word], point, arrays["words"][word],
                                                   strict=True)]  # fmt: skip
    flat: list[float] = []
    for row in sums:
        length = sum(value**2 for value in row) ** 0.5
        flat += [np.sign(value) * abs(value / length) ** 0.5 for value in row]
    whole = sum(value**2 for value in flat) ** 0.5
    expected = [value / whole for value in flat]
    assert sift_module.vlad(descriptors, arrays) == pytest.approx(expected, abs=1e-4)
    assert not sift_module.vlad(np.empty((0, 12), np.float32), arrays).any()


def test_the_vocabulary_is_a_fixed_point_of_k_means() -> None:
    """Three clusters far apart: each word is the mean of the points nearest to it."""
    rng = np.random.default_rng(1)
    sample = np.concatenate([rng.normal(5 * i, 0.1, (50, 6)) for i in range(3)]).astype(np.float32)
    arrays = sift_module.fit_vocabulary(sample, 3, 2, 0)
    reduced = (sample - arrays["descriptor_mean"]) @ arrays["descriptor_axes"].T
    means = [reduced[50 * i : 50 * i + 50].mean(axis=0) for i in range(3)]
    found = arrays["words"][np.argsort(arrays["words"][:, 0])]
    assert found == pytest.approx(np.array(sorted(means, key=lambda m: m[0])), abs=1e-4)
    assert arrays["descriptor_axes"] @ arrays["descriptor_axes"].T == pytest.approx(
        np.eye(2), abs=1e-5
    )


def test_whitening_makes_all_directions_vary_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    rows = (rng.normal(size=(400, 10)) * np.geomspace(10, 0.5, 10) + 3).astype(np.float32)

    def spread() -> np.ndarray:
        made = sift_module.fit_whitening(rows, 6)
        turned = (rows - made["mean"]) @ made["axes"].T
        covariance = turned.T @ turned
        assert covariance == pytest.approx(np.diag(np.diag(covariance)), abs=1e-3)
        return np.diag(covariance)

    shrunk = spread()
    assert np.all(np.diff(shrunk) < 0)  # small axes stay small
    assert shrunk[0] == pytest.approx(1 / (1 + sift_module.WHITENING_SHRINKAGE), abs=1e-3)
    monkeypatch.setattr(sift_module, "WHITENING_SHRINKAGE", 0.0)
    assert spread() == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
def test_the_same_fit_twice_has_the_same_id(walls: list[Image], fitted: SiftEmbedder) -> None:
    again = SiftEmbedder.fit(iter(walls), SMALL)
    assert again.id == fitted.id
    assert len(again.id) == len("sift-") + 12
    assert SiftEmbedder.fit(walls[:-1], SMALL).id != fitted.id
    other = SiftOptions(**{**vars(SMALL), "seed": 1})
    assert SiftEmbedder.fit(walls, other).id != fitted.id


def test_vectors_depend_neither_on_the_batch_nor_on_threads(
    fitted: SiftEmbedder, walls: list[Image]
) -> None:
    rows = fitted(walls[:6])
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        alone = np.concatenate([fitted([wall]) for wall in walls[:6]])
    finally:
        cv2.setNumThreads(before)
    assert rows.tobytes() == alone.tobytes()


FIT = """
import hashlib, numpy as np
from whichlandmark.features.embedders.sift import fit_vocabulary, fit_whitening
rng = np.random.default_rng(0)
arrays = fit_vocabulary(rng.random((120_000, 128), dtype=np.float32), 64, 64, 0)
arrays |= fit_whitening(rng.normal(size=(600, 1024)).astype(np.float32), 256)
print({name: hashlib.sha256(array).hexdigest() for name, array in arrays.items()})
"""


@pytest.mark.slow
def test_the_fit_does_not_depend_on_threads() -> None:
    """At sizes where k-means and LAPACK would otherwise differ in the last bits."""
    found = [
        subprocess.run(
            [sys.executable, "-c", FIT], capture_output=True, text=True, check=True,
            env={"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
        ).stdout
        for threads in ("1", "3")
    ]  # fmt: skip
    assert found[0] == found[1] != ""


def test_memory_is_bounded_and_one_pass_is_enough(
    walls: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A uniform random sample of the photos is described; late photos are as likely as early."""

    counts = np.zeros(40)
    for seed in range(300):
        options = SiftOptions(most_photos=10, seed=seed)
        numbered: Iterator[Image] = (np.full((1, 1, 3), i, np.uint8) for i in range(40))
        with monkeypatch.context() as patch:
            patch.setattr(sift, "describe", lambda image, _: image[0])
            kept = sift._describe_sample(numbered, options)
        assert len(kept) == 10
        for found in kept:
            counts[found[0, 0]] += 1
    assert np.abs(counts / 300 - 0.25).max() < 0.1  # four standard deviations
    few = SiftOptions(**{**vars(SMALL), "most_photos": 12})
    assert SiftEmbedder.fit(iter(walls), few).dim == 6


def test_an_eighth_of_the_photos_gives_the_dimensions(walls: list[Image]) -> None:
    """More axes hold what sets these photos apart, and new ones are similar to everything."""
    options = dataclasses.replace(SMALL, words=4, features=50)
    assert SiftEmbedder.fit((walls * 6)[:152], options).dim == 19
    assert SiftEmbedder.fit(walls + walls[:6], options).dim == 16  # few photos: up to half of them


def test_few_photos_give_fewer_dimensions_with_a_warning(
    walls: list[Image], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "whichlandmark"):
        assert SiftEmbedder.fit(walls[:8], SMALL).dim == 4
    assert "8 photos give 4 dimensions, not 64" in caplog.text
    alike = SiftEmbedder.fit([walls[0]] * 6, SMALL)  # no variance at all
    assert np.isfinite(alike(walls[:2])).all()


def test_too_few_photos_to_fit_are_refused(walls: list[Image]) -> None:
    for images in ([], walls[:3], [np.zeros((90, 90, 3), np.uint8)] * 9):
        with pytest.raises(DataError, match="sift needs 4 photos and 64 keypoints at least"):
            SiftEmbedder.fit(images, SMALL)
    for wrong in ({"words": 0}, {"descriptor_dim": 129}, {"most_photos": 3}):
        with pytest.raises(OptionError, match="given"):
            SiftOptions(**wrong)


def test_a_saved_embedder_loads_unchanged(
    fitted: SiftEmbedder, walls: list[Image], tmp_path: Path
) -> None:
    fitted.save(tmp_path / "e")
    opened = SiftEmbedder.load(tmp_path / "e")
    assert (opened.id, opened.dim, opened.options) == (fitted.id, fitted.dim, SMALL)
    assert opened(walls[:2]).tobytes() == fitted(walls[:2]).tobytes()
    record = json.loads((tmp_path / "e" / "embedder.json").read_text())
    assert set(record) == {"kind", "name", "id", "dim", "options", "versions"}
    assert record["kind"] == "sift"
    assert set(record["versions"]) == {"opencv", "faiss"}


def damaged(folder: Path, fault: str) -> None:
    weights, about = folder / "model.safetensors", folder / "embedder.json"
    arrays = safetensors.numpy.load_file(weights)
    record = json.loads(about.read_text())
    if fault == "cut short":
        weights.write_bytes(weights.read_bytes()[:-9])
        return
    if fault == "no weights":
        weights.unlink()
        return
    if fault == "no record":
        about.unlink()
        return
    if fault == "array missing":
        del arrays["words"]
    if fault == "axes missing":
        del arrays["axes"]
    if fault == "other type":
        arrays["mean"] = arrays["mean"].astype(np.float64)
    if fault == "not finite":
        arrays["mean"][3] = np.nan
    if fault == "other shape":
        arrays["words"] = arrays["words"].T.copy()
    if fault == "one number changed":
        arrays["words"][0, 0] += 0.01
    if fault == "unknown option":
        record["options"]["wrods"] = 3
    if fault == "options of another kind":
        record["options"] = [1]
    if fault == "another seed":
        record["options"]["seed"] = 5
    safetensors.numpy.save_file(arrays, weights)
    about.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("cut short", "missing or damaged"),
        ("no weights", "missing or damaged"),
        ("no record", "no such file"),
        ("array missing", "arrays of shapes"),
        ("axes missing", "arrays of shapes"),
        ("other type", "'mean': expected finite float32"),
        ("not finite", "'mean': expected finite float32"),
        ("other shape", "arrays of shapes"),
        ("one number changed", r"is not the one of embedder\.json"),
        ("unknown option", "did you mean 'words'"),
        ("options of another kind", "missing or damaged"),
        ("another seed", r"is not the one of embedder\.json"),
    ],
)
def test_damaged_folders_are_refused(
    fitted: SiftEmbedder, tmp_path: Path, fault: str, message: str
) -> None:
    fitted.save(tmp_path)
    damaged(tmp_path, fault)
    with pytest.raises(ModelError, match=message) as caught:
        SiftEmbedder.load(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))


def test_sift_without_photos_is_told_where_it_comes_from() -> None:
    from whichlandmark.features.embedders.load import load_embedder

    with pytest.raises(DataError, match="sift is fitted by `index --embedder sift`"):
        load_embedder("sift")
