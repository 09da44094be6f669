"""Crop shapes near the photos' aspect ratio, at a constant number of pixels."""

from __future__ import annotations

import numpy as np
import pytest

from whichlandmark.core.errors import OptionError
from whichlandmark.training.augment import crop_shape


@pytest.mark.parametrize(
    ("aspects", "shape"),
    [
        ([4 / 3] * 5, (192, 256)),
        ([3 / 4] * 5, (256, 192)),
        ([1.0, 1.05, 0.9], (224, 224)),
        ([3.0] * 4, (192, 256)),  # a panorama: the widest available shape
        ([4 / 3, 4 / 3, 4 / 3, 0.5, 0.5], (192, 256)),  # the median
        ([16 / 9, 9 / 16], (224, 224)),  # one of each: a square
    ],
)
def test_crop_shapes_at_224(aspects: list[float], shape: tuple[int, int]) -> None:
    assert crop_shape(np.array(aspects), 224) == shape


@pytest.mark.parametrize("side", [96, 128, 160, 224, 256, 288, 384, 512])
def test_crop_shapes_keep_the_area_on_the_grid(side: int) -> None:
    """Exhaustive search: no other multiples have smaller errors of both area and ratio."""
    for ratio in (3 / 4, 1.0, 4 / 3):
        h, w = crop_shape(np.array([ratio]), side)
        assert h % 32 == w % 32 == 0
        errors = [abs(np.log(h * w / side**2)), abs(np.log(w / h / ratio))]
        for other_h in range(32, 2 * side, 32):
            for other_w in range(32, 2 * side, 32):
                area = abs(np.log(other_h * other_w / side**2))
                shape = abs(np.log(other_w / other_h / ratio))
                assert area > errors[0] - 1e-9 or shape > errors[1] - 1e-9
        assert errors[0] < 0.3
    assert crop_shape(np.array([1.0]), side) == (side, side)


def test_portrait_and_landscape_are_treated_alike() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        aspects = np.exp(rng.normal(0, 0.4, 9))
        assert crop_shape(aspects, 224) == crop_shape(1 / aspects, 224)[::-1]


def test_other_ratios_and_strides() -> None:
    assert crop_shape(np.array([2.0]), 256, ratios=(0.5, 2.0), multiple=16) == (176, 368)
    assert crop_shape(np.array([1.0]), 20) == (32, 32)  # at least one multiple


@pytest.mark.parametrize(
    ("aspects", "side"), [([], 224), ([1.0, 0.0], 224), ([float("nan")], 224), ([1.0], 0)]
)
def test_impossible_shapes_are_refused(aspects: list[float], side: int) -> None:
    with pytest.raises(OptionError, match="given for a crop shape"):
        crop_shape(np.array(aspects), side)
