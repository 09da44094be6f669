"""Local features as bytes: lossless, and every damaged bit is detected."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from tests.features.test_matching import building, same, seen_from_aside
from whichlandmark.core.errors import DataError
from whichlandmark.features.local.keypoints import (
    MAX_STORED_KEYPOINTS,
    Keypoints,
    MatchOptions,
    keypoints,
    pack,
    strongest,
    unpack,
)
from whichlandmark.features.local.matching import verify


def test_packing_and_unpacking_loses_nothing() -> None:
    for size in (320, 640, 1100):  # enlarged and shrunk
        found = keypoints(building(1), MatchOptions(size=size))
        assert len(found.points) > 100
        assert same(unpack(pack(found, 10**4)), found)


def test_only_the_strongest_keypoints_are_stored() -> None:
    found = keypoints(building(1))
    assert len(found.points) > 110
    for most in (100, MAX_STORED_KEYPOINTS):
        assert same(unpack(pack(found, most)), strongest(found, most))
        assert len(pack(found, most)) == 16 + 68 * min(most, len(found.points))
    assert pack(found) == pack(found, MAX_STORED_KEYPOINTS)


def test_stored_keypoints_give_the_same_inliers_as_the_photo() -> None:
    a, b = keypoints(building(2)), keypoints(seen_from_aside(building(2)))
    direct, packed = verify(a, b), verify(a, unpack(pack(b, 10**4)))
    assert direct.inliers > 50
    assert np.array_equal(direct.query_points, packed.query_points)
    assert np.array_equal(direct.gallery_points, packed.gallery_points)


def test_a_uniform_picture_packs_to_no_keypoints() -> None:
    none = keypoints(np.full((80, 60, 3), 7, np.uint8))
    data = pack(none)
    assert len(data) == 16
    assert same(unpack(data), none)
    assert unpack(data).descriptors.shape == (0, 128)


def test_the_byte_layout_matches_its_description() -> None:
    """The bytes are decoded independently."""
    descriptors = np.arange(256, dtype=np.uint8).reshape(2, 128) % 16
    units = np.array([[320, 64], [65535, 0]])
    points = ((units / 32 + 0.5) / 0.5 - 0.5).astype(np.float32)
    data = pack(Keypoints(points, descriptors, 0.5))
    assert struct.unpack_from("<BBH", data) == (1, 0, 2)
    assert struct.unpack_from("<d", data, 8) == (0.5,)
    assert struct.unpack_from("<HHHH", data[16:20] + data[84:88]) == (320, 64, 65535, 0)
    first = [data[20] & 15, data[20] >> 4, data[21] & 15, data[21] >> 4]
    assert first == descriptors[0, :4].tolist() == [0, 1, 2, 3]


def test_every_flipped_bit_is_detected() -> None:
    data = pack(strongest(keypoints(building(1)), 3))
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DataError, match="local features"):
            unpack(bytes(damaged))


@pytest.mark.parametrize("cut", [0, 1, 15, 16, 83, -1])
def test_truncated_or_extended_data_is_refused(cut: int) -> None:
    data = pack(strongest(keypoints(building(1)), 3))
    with pytest.raises(DataError, match="expected"):
        unpack(data[:cut])
    with pytest.raises(DataError, match="expected"):
        unpack(data + b"x")


def test_another_version_is_refused_by_number() -> None:
    data = pack(strongest(keypoints(building(1)), 3))
    with pytest.raises(DataError, match="version 9; this program reads 1"):
        unpack(b"\x09" + data[1:])


def test_impossible_keypoints_are_refused() -> None:
    found = strongest(keypoints(building(1)), 3)
    for points in (found.points - 1e4, found.points + 1e5, found.points * np.nan):
        with pytest.raises(DataError, match="outside their photo"):
            pack(Keypoints(np.asarray(points, np.float32), found.descriptors, found.scale))
    with pytest.raises(DataError, match="numbers from 0 to 15"):
        pack(Keypoints(found.points, found.descriptors + np.uint8(16), found.scale))
    with pytest.raises(DataError, match=r"\(2, 128\) for 3 keypoints"):
        pack(Keypoints(found.points, found.descriptors[:2], found.scale))
