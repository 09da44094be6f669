"""Matching two photos: a known homography is found; unrelated pictures share no inliers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from tests.data.test_cleaning import scene
from tests.support import ROOT
from whichlandmark.core import hardware
from whichlandmark.core.errors import OptionError
from whichlandmark.core.hardware import one_blas_thread
from whichlandmark.core.types import Image
from whichlandmark.features.local.keypoints import (
    ROOT_SIFT_STEPS,
    Keypoints,
    MatchOptions,
    keypoints,
    quantized_root_sift,
    strongest,
)
from whichlandmark.features.local.matching import matches, verify, verify_many

WARP = np.array([[0.8, 0.04, 30.0], [-0.05, 0.85, 20.0], [5e-5, 4e-5, 1.0]])


def building(seed: int) -> Image:
    return scene(seed, (384, 512))


def seen_from_aside(image: Image, warp: np.ndarray = WARP) -> Image:
    height, width = image.shape[:2]
    return np.asarray(cv2.warpPerspective(image, warp, (width, height)), dtype=np.uint8)


def moved(points: np.ndarray, warp: np.ndarray = WARP) -> np.ndarray:
    """(n, 2) through a homography, point by point."""
    flat = [warp @ [x, y, 1] for x, y in points]
    return np.array([[x / w, y / w] for x, y, w in flat])


def test_inliers_of_a_warped_picture_lie_where_the_homography_puts_them() -> None:
    for seed in range(3):
        image = building(seed)
        found = verify(keypoints(image), keypoints(seen_from_aside(image)))
        assert found.inliers >= 50
        assert found.query_points.shape == found.gallery_points.shape == (found.inliers, 2)
        apart = np.linalg.norm(moved(found.query_points) - found.gallery_points, axis=1)
        assert np.median(apart) < 1
        assert apart.max() < 8
        assert found.homography is not None
        corners = np.array([[0, 0], [500, 0], [0, 380], [500, 380]])
        assert np.abs(moved(corners, found.homography) - moved(corners)).max() < 3


def test_keypoint_positions_are_in_pixels_of_the_given_photo() -> None:
    """One side twice as large: positions and homography are in each photo's own pixels."""
    image = building(4)
    large = cv2.resize(image, (1024, 768), interpolation=cv2.INTER_CUBIC)
    found = verify(keypoints(image), keypoints(np.asarray(large, dtype=np.uint8)))
    assert found.inliers >= 80
    # A centre at x lies at 2 x + 0.5 in the doubled picture.
    assert np.abs(found.query_points * 2 + 0.5 - found.gallery_points).mean() < 0.5


def test_unrelated_pictures_have_few_inliers() -> None:
    points = [keypoints(building(seed)) for seed in range(8)]
    counts = [verify(a, b).inliers for i, a in enumerate(points) for b in points[:i]]
    assert max(counts) < 12


def test_a_crop_of_the_picture_still_matches() -> None:
    """A building pasted into another scene: only points on it are inliers."""
    image = building(1)
    other = building(2).copy()
    other[40:340, 60:440] = image[40:340, 60:440]
    found = verify(keypoints(image), keypoints(other))
    assert found.inliers >= 30
    inside = (found.gallery_points > [56, 36]).all(axis=1) & (
        found.gallery_points < [444, 344]
    ).all(axis=1)
    assert inside.mean() > 0.95


@pytest.fixture
def threads() -> Iterator[None]:
    """OpenCV's threads are as before after a test that changes them."""
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


def same(one: Keypoints, two: Keypoints) -> bool:
    return (
        one.scale == two.scale
        and np.array_equal(one.points, two.points)
        and np.array_equal(one.descriptors, two.descriptors)
    )


@pytest.mark.usefixtures("threads")
def test_verification_is_deterministic_with_any_number_of_threads() -> None:
    pictures = building(1), seen_from_aside(building(1))
    a, b = (keypoints(picture) for picture in pictures)
    noisy = Keypoints(b.points, np.roll(b.descriptors, 7, axis=0), b.scale)  # mostly wrong matches
    first = verify_many(a, [b, noisy])
    for count in (1, 2, 8):
        cv2.setNumThreads(count)
        assert same(keypoints(pictures[0]), a)
        assert same(keypoints(pictures[1]), b)
        for again, found in zip(verify_many(a, [b, noisy]), first, strict=True):
            assert np.array_equal(again.query_points, found.query_points)
            assert np.array_equal(again.gallery_points, found.gallery_points)


COUNTS = """
import sys; sys.path[:0] = [{tests!r}]
from tests.features.test_matching import building, seen_from_aside
from whichlandmark.features.local.keypoints import keypoints
from whichlandmark.features.local.matching import verify_many
query = keypoints(building(1))
others = [keypoints(seen_from_aside(building(seed))) for seed in (1, 2)]
for found in verify_many(query, others):
    print(found.inliers, hash(found.query_points.tobytes()), hash(found.gallery_points.tobytes()))
"""


def test_results_do_not_depend_on_blas_threads() -> None:
    def output_with(count: int) -> str:
        number = str(count)
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        ran = subprocess.run(
            [sys.executable, "-c", COUNTS.format(tests=str(ROOT))],
            capture_output=True, text=True, check=True,
            env=os.environ | dict.fromkeys(names, number) | {"PYTHONHASHSEED": "0"},
        )  # fmt: skip
        return ran.stdout

    one = output_with(1)
    assert int(one.split()[0]) > 50
    assert output_with(8) == one


def test_blas_thread_limits_are_restored() -> None:
    """With nested and concurrent users, in any order of leaving, and after an error."""
    from threadpoolctl import ThreadpoolController, threadpool_limits

    def threads() -> set[int]:
        return {lib["num_threads"] for lib in ThreadpoolController().select(user_api="blas").info()}

    hardware._blas_limit.cache_clear()  # of a test before; libraries were loaded since then
    with threadpool_limits(2, user_api="blas"):
        before = threads()  # some builds of OpenCV include a single-threaded BLAS
        assert 2 in before
        first, second = one_blas_thread(), one_blas_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert threads() == {1}
        second.__exit__(None, None, None)
        assert threads() == before
        with pytest.raises(ZeroDivisionError), one_blas_thread():
            _ = 1 / 0
        assert threads() == before
        with ThreadPoolExecutor(4) as pool:
            points = keypoints(building(1))
            found = list(pool.map(lambda _: verify(points, points).inliers, range(8)))
        assert len(set(found)) == 1
        assert threads() == before


def slow_matches(a: Keypoints, b: Keypoints, ratio: float) -> list[list[int]]:
    """Pair by pair, with integer arithmetic."""
    rows, columns = a.descriptors.astype(int).tolist(), b.descriptors.astype(int)
    distances = np.array([((columns - row) ** 2).sum(axis=1) for row in rows])
    found = []
    for row in range(len(distances)):
        first, second = np.argsort(distances[row], kind="stable")[:2]
        mutual = distances[:, first].argmin() == row
        if mutual and distances[row, first] <= ratio**2 * distances[row, second]:
            found.append([row, int(first)])
    return found


@pytest.mark.parametrize("ratio", [0.7, 0.85, 1.0])
def test_matches_equal_a_slow_search(ratio: float) -> None:
    a, b = keypoints(building(1)), keypoints(seen_from_aside(building(1)))
    found = matches(a, b, ratio).tolist()
    assert found == slow_matches(a, b, ratio)
    assert len(found) >= 50


def test_equal_descriptors_match_in_order_or_fail_the_ratio_test() -> None:
    """Equal descriptors: the first is the nearest, and never clearly nearer than the second."""
    rng = np.random.default_rng(0)
    few = Keypoints(np.zeros((6, 2), np.float32), rng.integers(0, 16, (6, 128), np.uint8), 1.0)
    twice = Keypoints(np.zeros((12, 2), np.float32), np.tile(few.descriptors, (2, 1)), 1.0)
    assert matches(few, few).tolist() == [[i, i] for i in range(6)]
    assert matches(few, few).tolist() == slow_matches(few, few, 0.85)
    zero = matches(few, twice).tolist()  # 0 is at most 0.85 times 0
    assert zero == slow_matches(few, twice, 0.85)
    assert matches(few, strongest(twice, 1)).shape == (0, 2)


def test_descriptors_are_quantized_root_sift() -> None:
    raw = np.random.default_rng(0).integers(0, 200, (50, 128)).astype(np.float32)
    raw[3] = 0
    steps = quantized_root_sift(raw)
    for row, values in zip(steps, raw, strict=True):
        wanted = [
            min(15, round(ROOT_SIFT_STEPS * (v / max(values.sum(), 1)) ** 0.5)) for v in values
        ]
        assert row.tolist() == wanted
    found = keypoints(building(1)).descriptors
    assert found.max() <= 15
    # Unit rows, apart from rounding and clipping.
    norms = np.linalg.norm(found / ROOT_SIFT_STEPS, axis=1)
    assert np.median(norms) == pytest.approx(1, abs=0.05)


def test_verify_many_equals_verifying_one_by_one() -> None:
    query = keypoints(building(1))
    others = [keypoints(seen_from_aside(building(seed))) for seed in (2, 1, 3)]
    others.append(keypoints(np.full((100, 100, 3), 90, np.uint8)))
    together = verify_many(query, others)
    alone = [verify(query, other) for other in others]
    assert [found.inliers for found in together] == [found.inliers for found in alone]
    assert together[1].inliers > 50
    assert together[3].inliers == 0
    assert verify_many(query, []) == []


def test_the_strongest_come_first() -> None:
    """Detecting fewer keypoints gives the first of many, so a gallery can keep the first ones."""
    many = keypoints(building(1), MatchOptions(features=1000))
    few = keypoints(building(1), MatchOptions(features=100))
    first = {tuple(place) for place in strongest(many, 120).points.tolist()}
    assert len(first) == 120
    shared = sum(tuple(place) in first for place in few.points.tolist())
    assert shared >= 0.95 * len(few.points)


def test_a_mirror_image_has_no_inliers() -> None:
    image = building(3)
    grid = keypoints(image)
    mirrored = Keypoints(grid.points * [-1, 1] + [511, 0], grid.descriptors, grid.scale)
    assert len(matches(grid, mirrored)) > 100
    assert verify(grid, mirrored).inliers == 0
    assert verify(grid, grid).inliers > 100


def test_keypoints_are_unique_by_position_and_absent_in_a_uniform_picture() -> None:
    found = keypoints(building(1), MatchOptions(features=300))
    places = np.floor((found.points + 0.5) * found.scale / 2 + 1e-4).astype(int).tolist()
    assert len({tuple(place) for place in places}) == len(places) <= 300
    grey = keypoints(np.full((100, 100, 3), 90, np.uint8))
    assert len(grey.points) == 0
    assert verify(grey, found).inliers == verify(found, grey).inliers == 0


@pytest.mark.parametrize(
    "wrong",
    [{"size": 3}, {"size": 2001}, {"features": 1}, {"ratio": 0.0}, {"confidence": 1.0},
     {"tolerance": 0.0}],
)  # fmt: skip
def test_options_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="given; expected"):
        MatchOptions(**wrong)
