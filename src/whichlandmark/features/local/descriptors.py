"""Upright SIFT descriptors of many points at once, read from the pyramid in which they were found.

A descriptor has 4 × 4 cells of 8 directions, as Lowe's and as OpenCV's, in OpenCV's order: matched
with descriptors of `cv2.SIFT`, which older galleries store, they prove as many pairs as among
themselves (benchmarks/LOG.md). In place of all pixels under a cell, 16 × 16 samples of a point's
surroundings are taken, so that all points have equally many.

A gradient is split between the two nearest of the 8 directions as a sum of these two vectors, which
needs no angle. Grey levels and weights are whole numbers of small steps, so that every sum of a
cell is exact in float32, for any order of summation: descriptors do not depend on the processor's
matrix product, nor on its threads.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.hardware import one_blas_thread
from .scale_space import Floats, Pyramid, ScalePoints

CELLS = 4  # a side

DIRECTIONS = 8

CELL_SIGMAS = 3.0  # width of a cell

SAMPLES = 16  # a side; they cover the cells and half a cell around them

SAMPLE_SIGMAS = (CELLS + 1) * CELL_SIGMAS / SAMPLES  # between neighbouring samples

WEIGHT_STEPS = 64  # of a sample's weight

MAX_SHARE = 0.2  # of a descriptor's length that one of its values may have

OPENCV_STEPS = 512  # of the length of a descriptor, in which `cv2.SIFT` rounds its values to bytes

MOST_SAMPLED = 1024  # points at once, because OpenCV's results have fewer than 2¹⁵ rows

CHUNK = 64  # points whose samples stay in the processor's cache


def upright_sift(pyramid: Pyramid, points: ScalePoints) -> NDArray[np.uint8]:
    """(n, 128) descriptors of points of a pyramid, as bytes like those of `cv2.SIFT`."""
    surroundings = _sampled(pyramid, points)
    # One for all chunks, because memory that is new to the process takes longer than the work.
    split = np.empty((DIRECTIONS, CHUNK, SAMPLES * SAMPLES), np.float32)
    with one_blas_thread():
        parts = [
            _histograms(surroundings[i : i + CHUNK], split) for i in range(0, len(points), CHUNK)
        ]
    raw = np.concatenate([np.empty((0, CELLS * CELLS * DIRECTIONS)), *parts])
    lengths = np.linalg.norm(raw, axis=1, keepdims=True)
    raw = np.minimum(raw, MAX_SHARE * lengths)
    lengths = np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), 1)
    return np.asarray(np.minimum(OPENCV_STEPS * raw / lengths, 255), dtype=np.uint8)


def _sampled(pyramid: Pyramid, points: ScalePoints) -> Floats:
    """(n, 18, 18): grey levels around each point; 16 × 16 and a margin of 1 sample."""
    import cv2

    side = SAMPLES + 2
    offsets = ((np.arange(side) - (side - 1) / 2) * SAMPLE_SIGMAS).astype(np.float32)
    sampled = np.empty((len(points), side, side), np.float32)
    for octave, layer in np.unique([points.octave, points.layer], axis=1).T.tolist():
        rows = np.flatnonzero((points.octave == octave) & (points.layer == layer))
        pixel = np.float32(2**octave)
        for part in np.split(rows, range(MOST_SAMPLED, len(rows), MOST_SAMPLED)):
            steps = points.sigma[part, None] * offsets
            x, y = points.x[part, None] / pixel + steps, points.y[part, None] / pixel + steps
            shape = (len(part), side, side)
            found: Any = cv2.remap(
                pyramid[octave][layer],
                np.broadcast_to(x[:, None, :], shape).reshape(-1, side),
                np.broadcast_to(y[:, :, None], shape).reshape(-1, side),
                cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE,
            )  # fmt: skip
            sampled[part] = found.reshape(shape)
    return sampled


def _histograms(samples: Floats, space: Floats) -> NDArray[np.float64]:
    """(n, 128): the gradients of each cell by direction, of (n, 18, 18) grey levels.

    space: (8, n or more, 256), overwritten.
    """
    count = len(samples)
    shape = (count, SAMPLES * SAMPLES)
    right = (samples[:, 1:-1, 2:] - samples[:, 1:-1, :-2]).reshape(shape)
    up = (samples[:, :-2, 1:-1] - samples[:, 2:, 1:-1]).reshape(shape)
    # Each gradient is the sum of a vector along an axis and one along a diagonal.
    east, north = np.maximum(right, 0), np.maximum(up, 0)
    west, south = east - right, north - up
    surplus = (east + west) - (north + south)
    across = np.maximum(surplus, 0)
    along = across - surplus
    split = space[:, :count]
    sides = ((east, across), (east, north), (north, along), (west, north),
             (west, across), (west, south), (south, along), (east, south))  # fmt: skip
    for direction, (one, other) in enumerate(sides):
        np.minimum(one, other, out=split[direction])
    cells = split.reshape(-1, SAMPLES * SAMPLES) @ _cell_weights()
    sums = cells.reshape(DIRECTIONS, count, CELLS * CELLS).astype(np.float64)
    sums[1::2] *= 2**0.5  # the length of a diagonal
    return np.asarray(sums.transpose(1, 2, 0).reshape(count, -1))


@cache
def _cell_weights() -> Floats:
    """(256, 16): what a sample weighs in each cell, in whole steps of 1/64.

    Bilinear between the centres of cells, times a Gaussian around the point as wide as two cells.
    """
    places = (np.arange(SAMPLES) - (SAMPLES - 1) / 2) * SAMPLE_SIGMAS / CELL_SIGMAS
    centres = np.arange(CELLS) - (CELLS - 1) / 2
    side = np.maximum(0, 1 - np.abs(places[:, None] - centres))
    side *= np.exp(-(places**2) / (CELLS**2 / 2))[:, None]
    weights = (side[:, None, :, None] * side[None, :, None, :]).reshape(-1, CELLS * CELLS)
    return np.asarray(np.rint(weights * WEIGHT_STEPS), dtype=np.float32)
