"""Whitening against its definition (identity covariance, right axes, unit rows)."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from whichlandmark.core.errors import DataError, ModelError, OptionError
from whichlandmark.gallery.index.projection import Projection
from whichlandmark.recognition.fitting import whitening
from whichlandmark.recognition.fitting.whitening import (
    learned_whitening,
    pca_whitening,
    same_landmark_pairs,
)


@pytest.fixture
def world() -> tuple[np.ndarray, np.ndarray]:
    """60 photos of 12 landmarks in 8 dimensions: separated on axes 0 to 2, noisy on axis 7."""
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(12), 5)
    apart = rng.normal(size=(12, 8)) * [1.5, 1.2, 0.9, 0.1, 0.1, 0.1, 0.1, 0.1]
    noise = rng.normal(size=(60, 8)) * [0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 3]
    rows = apart[codes] + noise + 0.5
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), codes


def nearest_right(vectors: np.ndarray, codes: np.ndarray) -> float:
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    return float((codes[cosines.argmax(axis=1)] == codes).mean())


def test_pca_whitening_makes_the_covariance_the_identity(world: tuple) -> None:
    vectors, _ = world
    whitening = pca_whitening(vectors, dim=5)
    raw = (vectors.astype(float) - whitening.mean) @ whitening.axes.T.astype(float)
    assert raw.mean(axis=0) == pytest.approx(np.zeros(5), abs=1e-5)
    assert raw.T @ raw / 60 == pytest.approx(np.eye(5), abs=1e-4)
    assert whitening(vectors) == pytest.approx(raw / np.linalg.norm(raw, axis=1)[:, None], abs=1e-5)
    # Derived in another way: the singular vectors of the centred rows span the same axes.
    _, _, right = np.linalg.svd(vectors.astype(float) - vectors.astype(float).mean(axis=0))
    unscaled = whitening.axes / np.linalg.norm(whitening.axes, axis=1)[:, None]
    assert np.abs((unscaled * right[:5]).sum(axis=1)) == pytest.approx(np.ones(5), abs=1e-5)


def test_shrinkage_is_a_share_of_the_mean_variance(world: tuple) -> None:
    vectors, _ = world
    whitening = pca_whitening(vectors, dim=8, shrinkage=0.3)
    covariance = np.cov(vectors.T.astype(float), bias=True)
    values = np.sort(np.linalg.eigvalsh(covariance))[::-1]
    expected = 1 / np.sqrt(values + 0.3 * np.trace(covariance) / 8)
    assert np.linalg.norm(whitening.axes, axis=1) == pytest.approx(expected, rel=1e-4)


def test_few_photos_of_many_dimensions_get_the_axes_of_the_full_matrices() -> None:
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(30, 64)).astype(np.float32)
    codes = np.repeat(np.arange(10), 3)
    pairs = same_landmark_pairs(codes, most=1000, seed=0)
    found = learned_whitening(vectors, pairs, dim=8, shrinkage=0.2)
    rows = vectors.astype(float) - vectors.astype(float).mean(axis=0)
    gaps = rows[pairs[:, 0]] - rows[pairs[:, 1]]
    within = gaps.T @ gaps / len(pairs)
    shrunk = 0.8 * within + (0.2 + 1e-6) * np.trace(within) / 64 * np.eye(64)
    total = rows.T @ rows / len(rows)
    # axes·shrunk·axesᵀ = 1, and axes·total·axesᵀ holds the largest generalized eigenvalues.
    axes = found.axes.astype(float)
    assert axes @ shrunk @ axes.T == pytest.approx(np.eye(8), abs=1e-4)
    values = np.sort(np.linalg.eigvals(np.linalg.solve(shrunk, total)).real)[::-1][:8]
    assert axes @ total @ axes.T == pytest.approx(np.diag(values), abs=1e-3)


def test_the_scatter_of_pairs_is_the_mean_of_their_outer_products(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also when some photos are in no pair, and pairs do not fill the last block."""
    rng = np.random.default_rng(3)
    rows, pairs = rng.normal(size=(20, 5)), rng.integers(0, 18, size=(41, 2))
    gaps = rows[pairs[:, 0]] - rows[pairs[:, 1]]
    monkeypatch.setattr(whitening, "PAIRS_AT_ONCE", 16)
    found = whitening._scatter_of_pairs(rows, pairs)
    assert found == pytest.approx(gaps.T @ gaps / 41, abs=1e-12)


def test_axes_without_variance_are_dropped() -> None:
    flat = np.zeros((10, 6), dtype=np.float32)
    flat[:, :2] = np.random.default_rng(1).normal(size=(10, 2))
    whitening = pca_whitening(flat, dim=6)
    assert whitening.axes.shape == (2, 6)
    assert np.isfinite(whitening.axes).all()
    few = pca_whitening(np.eye(4, 9, dtype=np.float32), dim=9)
    assert few.axes.shape == (3, 9)  # four photos span three axes
    for rows in (0, 1, 3):
        with pytest.raises(DataError, match=f"{rows} vectors that do not differ"):
            pca_whitening(np.ones((rows, 4), dtype=np.float32), dim=2)


def test_learned_whitening_makes_differences_within_landmarks_white(world: tuple) -> None:
    vectors, codes = world
    pairs = same_landmark_pairs(codes, most=1000, seed=0)
    whitening = learned_whitening(vectors, pairs, dim=8)
    gaps = np.array([vectors[i].astype(float) - vectors[j] for i, j in pairs]) @ whitening.axes.T
    assert gaps.T @ gaps / len(gaps) == pytest.approx(np.eye(8), abs=1e-3)
    raw = (vectors.astype(float) - whitening.mean) @ whitening.axes.T
    covariance = raw.T @ raw / 60
    assert covariance - np.diag(np.diag(covariance)) == pytest.approx(np.zeros((8, 8)), abs=1e-3)
    assert (np.diff(np.diag(covariance)) <= 1e-6).all()  # by falling variance
    short = learned_whitening(vectors, pairs, dim=3)
    assert short.axes == pytest.approx(whitening.axes[:3])


def test_knowing_the_landmarks_helps_where_the_widest_axis_is_noise(world: tuple) -> None:
    vectors, codes = world
    plain = nearest_right(vectors, codes)
    by_pairs = learned_whitening(vectors, same_landmark_pairs(codes, most=999, seed=0), dim=3)
    by_width = nearest_right(pca_whitening(vectors, dim=3)(vectors), codes)
    assert nearest_right(by_pairs(vectors), codes) > max(plain + 0.1, by_width + 0.15)


def test_few_photos_in_many_dimensions_need_shrinkage_only() -> None:
    rng = np.random.default_rng(3)
    codes = np.array([0, 0, 1, 1, 2, 2, -1, -1])  # the last two: no landmark
    vectors = rng.normal(size=(8, 100)).astype(np.float32)
    pairs = same_landmark_pairs(codes, most=10, seed=0)
    shrunk = learned_whitening(vectors, pairs, dim=5, shrinkage=0.1)
    assert np.isfinite(shrunk.axes).all()
    whitened = shrunk(vectors)
    assert np.linalg.norm(whitened, axis=1) == pytest.approx(np.ones(8), abs=1e-6)
    assert np.isfinite(learned_whitening(vectors, pairs, dim=5).axes).all()


def test_whitening_that_cannot_be_fitted_is_refused() -> None:
    vectors = np.eye(4, dtype=np.float32)
    with pytest.raises(DataError, match="no two differing photos of one landmark"):
        learned_whitening(vectors, np.empty((0, 2), dtype=np.int64), dim=2)
    with pytest.raises(OptionError, match="dim 0 given"):
        pca_whitening(vectors, dim=0)
    with pytest.raises(OptionError, match=r"shrinkage 1\.5 given"):
        pca_whitening(vectors, dim=1, shrinkage=1.5)


def test_pairs_share_a_landmark_and_large_landmarks_do_not_dominate() -> None:
    codes = np.array([1, 0, 1, -1, 0, -1, *[2] * 20, 3])
    everything = same_landmark_pairs(codes, most=10_000, seed=0)
    expected = {
        (i, j)
        for i in range(len(codes))
        for j in range(i + 1, len(codes))
        if codes[i] == codes[j] >= 0
    }
    assert {tuple(pair) for pair in everything.tolist()} == expected
    assert len(everything) == len(expected)
    large_first = np.where(codes == 3, 3, 2 - codes)[codes >= 0]
    pairs_drawn = same_landmark_pairs(large_first, most=3, seed=0)
    assert set(large_first[pairs_drawn[:, 0]]) == {0, 1, 2}
    few = [same_landmark_pairs(codes, most=9, seed=seed) for seed in (0, 0, 1)]
    assert np.array_equal(few[0], few[1])
    assert not np.array_equal(few[0], few[2])
    assert same_landmark_pairs(np.array([-1, -1]), most=5, seed=0).shape == (0, 2)


def test_fitting_does_not_depend_on_threads_and_signs_are_fixed(world: tuple) -> None:
    vectors, codes = world
    fits, pairs = [], same_landmark_pairs(codes, most=999, seed=0)
    for threads in (1, 2):
        with threadpool_limits(threads):
            fits.append(pca_whitening(vectors, dim=6).axes)
            fits.append(learned_whitening(vectors, pairs, dim=6).axes)
    assert np.array_equal(fits[0], fits[2])
    assert np.array_equal(fits[1], fits[3])
    for axes in fits:
        assert (np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1) > 0).all()


def test_zero_rows_stay_zero_and_a_projection_reads_back(world: tuple) -> None:
    from safetensors.numpy import load, save

    vectors, _ = world
    whitening = pca_whitening(vectors, dim=4)
    rows = np.concatenate([vectors[:2], np.zeros((1, 8), np.float32), whitening.mean[None]])
    whitened = whitening(rows)
    assert not whitened[2:].any()
    again = Projection.from_arrays(load(save(whitening.to_arrays())))
    assert np.array_equal(again(rows), whitened)
    assert whitening(np.empty((0, 8), dtype=np.float32)).shape == (0, 4)
    with pytest.raises(ModelError, match=r"\['axes'\]; expected \['axes', 'mean'\]"):
        Projection.from_arrays({"axes": whitening.axes})
    with pytest.raises(ModelError, match=r"mean \(8,\) and axes \(4, 7\)"):
        Projection.from_arrays({"axes": whitening.axes[:, :7], "mean": whitening.mean})
    with pytest.raises(ModelError, match="NaN or infinite"):
        Projection.from_arrays({"axes": whitening.axes * np.nan, "mean": whitening.mean})
