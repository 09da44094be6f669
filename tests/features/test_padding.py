"""Padding as the scripts of ILIAS do it, against a slow version written after their code."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from whichlandmark.features.preprocessing import InputPipeline, Preprocessing, Views

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def slow(photo: NDArray[np.uint8], size: int, multiple: int) -> NDArray[np.float64]:
    """LargeSideResize, ToTensor, Normalize and MultiplierPadding, number by number.

    ilias-vrg/ilias: feature_extraction/src/datasets/transforms.py, model/extractors/timm.py.
    """
    height, width = photo.shape[:2]
    ratio = float(height) / float(width)
    rows = int(size * ratio) if ratio <= 1 else size
    columns = int(size / ratio) if ratio > 1 else size
    rows, columns = max(1, rows), max(1, columns)
    resized = np.asarray(Image.fromarray(photo).resize((columns, rows)))  # bicubic, Pillow's own
    tall = math.ceil(rows / multiple) * multiple
    wide = math.ceil(columns / multiple) * multiple
    top, left = (tall - rows) // 2, (wide - columns) // 2
    padded = np.zeros((3, tall, wide))
    for y in range(rows):
        for x in range(columns):
            for channel in range(3):
                value = resized[y, x, channel] / 255
                padded[channel, top + y, left + x] = (value - MEAN[channel]) / STD[channel]
    return padded


@pytest.mark.parametrize("multiple", [14, 16])
@pytest.mark.parametrize(
    ("height", "width"), [(30, 40), (40, 30), (33, 33), (7, 90), (90, 7), (1, 50), (200, 301)]
)
def test_pad_center_is_the_padding_of_ilias(height: int, width: int, multiple: int) -> None:
    photo = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    ours = Preprocessing(
        size=45, fit="pad-center", multiple=multiple, interpolation="bicubic", mean=MEAN, std=STD
    )
    expected = slow(photo, 45, multiple)
    assert ours.target_shape(height, width) == expected.shape[1:]
    # The color around the photo is a whole number, theirs is the mean itself.
    np.testing.assert_allclose(ours(photo), expected, atol=0.5 / 255 / min(STD) + 1e-5)


@pytest.mark.parametrize("shape", [(300, 400), (400, 300), (299, 211), (20, 1000)])
def test_a_padded_photo_is_not_padded_again(shape: tuple[int, int]) -> None:
    ours = Preprocessing(size=45, fit="pad-center", multiple=16)
    once = ours.resize(np.full((*shape, 3), 200, dtype=np.uint8))
    assert once.shape[0] % 16 == once.shape[1] % 16 == 0
    assert max(once.shape) == 48
    np.testing.assert_array_equal(ours.resize(once), once)


def test_pad_stays_in_the_corner() -> None:
    white = np.full((30, 64, 3), 255, dtype=np.uint8)
    padded = Preprocessing(size=64, fit="pad", multiple=16).resize(white)
    assert padded.shape == (32, 64, 3)
    assert (padded[:30] == 255).all()
    assert (padded[30:] != 255).all()


def test_several_scales_are_padded_each() -> None:
    preprocessing = Preprocessing(size=45, fit="pad-center", multiple=16)
    pipeline = InputPipeline(preprocessing, Views(scales=(0.7, 1.0)))
    photo = np.full((30, 60, 3), 9, dtype=np.uint8)
    assert [batch.shape for batch in pipeline.batches([photo])] == [(1, 3, 16, 32), (1, 3, 32, 48)]
