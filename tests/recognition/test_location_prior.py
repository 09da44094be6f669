"""Landmark locations and the prior from the location of a photo."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.support.random_galleries import index_of, unit
from whichlandmark.core.errors import OptionError
from whichlandmark.gallery.records import LandmarkRecord
from whichlandmark.recognition.location import LandmarkLocations
from whichlandmark.recognition.query import read_query

EIFFEL, BIG_BEN = (48.8584, 2.2945), (51.5007, -0.1246)


def world() -> LandmarkLocations:
    index = index_of(["ben", "eiffel", "half", "lost"], unit(np.eye(4)))
    records = {
        "eiffel": LandmarkRecord("eiffel", latitude=EIFFEL[0], longitude=EIFFEL[1]),
        "ben": LandmarkRecord("ben", latitude=BIG_BEN[0], longitude=BIG_BEN[1]),
        "half": LandmarkRecord("half"),
        "elsewhere": LandmarkRecord("elsewhere", latitude=1.0, longitude=2.0),
    }
    return LandmarkLocations.of(index, records)


def geotagged(latitude: float, longitude: float) -> bytes:
    """A small JPEG with a location in its EXIF data."""
    exif = Pillow.Exif()

    def parts(value: float) -> tuple[float, float, float]:
        minutes = abs(value) % 1 * 60
        return float(int(abs(value))), float(int(minutes)), minutes % 1 * 60

    gps = exif.get_ifd(0x8825)
    gps.update({1: "N" if latitude >= 0 else "S", 2: parts(latitude),
                3: "E" if longitude >= 0 else "W", 4: parts(longitude)})  # fmt: skip
    data = io.BytesIO()
    Pillow.new("RGB", (16, 16)).save(data, "JPEG", exif=exif)
    return data.getvalue()


def slow_km(one: tuple[float, float], other: tuple[float, float]) -> float:
    """By the angle between two points on a sphere."""
    (a, b), (c, d) = (tuple(map(math.radians, p)) for p in (one, other))
    cosine = math.sin(a) * math.sin(c) + math.cos(a) * math.cos(c) * math.cos(b - d)
    return 6371.0088 * math.acos(min(1.0, cosine))


def test_each_landmark_code_has_its_location() -> None:
    where = world().coordinates
    assert where[0].tolist() == list(BIG_BEN)
    assert where[1].tolist() == list(EIFFEL)
    assert np.isnan(where[2:]).all()


@pytest.mark.parametrize("scale", [0.5, 5.0, 500.0])
def test_prior_weights_match_a_slow_computation(scale: float) -> None:
    one = (48.85, 2.35)
    prior = world().prior([one], scale)
    found = prior(0, np.array([1, 0, 3, -1]))
    for value, other in zip(found, (EIFFEL, BIG_BEN), strict=False):
        near = 1 / (1 + (slow_km(one, other) / scale) ** 2)
        assert value == pytest.approx(math.log(0.01 + 0.99 * near), rel=1e-6)
    assert found[2:].tolist() == [0.0, 0.0]  # unknown location; no landmark
    assert found[1] < found[0] < 0
    assert found.min() >= math.log(0.01)  # no landmark is ruled out


def test_an_unknown_code_does_not_use_the_last_landmark() -> None:
    """Code −1 must have weight 0, although row −1 of the array is the last landmark."""
    locations = LandmarkLocations(np.array([[0.0, 0.0], list(EIFFEL)]))
    assert locations.prior([BIG_BEN], 1.0)(0, np.array([-1, -1])).tolist() == [0.0, 0.0]


def test_each_query_uses_its_own_location() -> None:
    prior = world().prior([None, EIFFEL, BIG_BEN], 5.0)
    codes = np.array([0, 1])
    assert prior(0, codes).tolist() == [0.0, 0.0]
    assert prior(1, codes)[1] == pytest.approx(0.0)
    assert prior(2, codes)[0] == pytest.approx(0.0)
    assert prior(1, codes)[0] < -4
    assert prior(2, codes)[1] < -4


def test_the_location_of_a_photo_is_read_from_bytes_and_from_a_file(tmp_path: Path) -> None:
    for point in (EIFFEL, BIG_BEN, (-33.8568, 151.2153)):
        data = geotagged(*point)
        (tmp_path / "photo.jpg").write_bytes(data)
        for photo in (data, tmp_path / "photo.jpg", str(tmp_path / "photo.jpg")):
            read = read_query(photo, short_side=16, location=True)
            assert read.location == pytest.approx(point, abs=1e-6)
            assert read_query(photo, short_side=16).location is None  # not read without `location`


def test_pixels_and_photos_without_exif_have_no_location() -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    assert read_query(pixels, short_side=0, location=True).location is None
    data = io.BytesIO()
    Pillow.new("RGB", (16, 16)).save(data, "JPEG")
    assert read_query(data.getvalue(), short_side=0, location=True).location is None


def test_a_scale_out_of_range_is_refused() -> None:
    with pytest.raises(OptionError, match="scale 0 km"):
        world().prior([EIFFEL], 0)(0, np.array([1]))
    with pytest.raises(OptionError, match="expected latitude"):
        world().prior([(91.0, 0.0)], 1.0)(0, np.array([1]))
