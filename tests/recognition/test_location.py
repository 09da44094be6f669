"""EXIF locations are read, or refused when damaged; distances; the location prior."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL.TiffImagePlugin import IFDRational

from whichlandmark.core.errors import OptionError
from whichlandmark.core.photo_files import location_of
from whichlandmark.recognition.location import distance_km, location_prior

EIFFEL = {1: "N", 2: (48, 51, 29.99), 3: "E", 4: (2, 17, 40.2)}


def photo(tags: dict[int, Any] | None, kind: str = "JPEG") -> bytes:
    picture, exif, data = Pillow.new("RGB", (32, 24), "grey"), Pillow.Exif(), io.BytesIO()
    if tags is not None:
        exif[0x8825] = tags
    picture.save(data, kind, exif=exif)
    return data.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_degrees_minutes_and_seconds_are_read(kind: str) -> None:
    found = location_of(photo(EIFFEL, kind))
    assert found == pytest.approx((48.858331, 2.2945), abs=1e-6)


def test_south_and_west_are_negative() -> None:
    rio = {1: "S", 2: (22, 57, 6.8), 3: "W", 4: (43, 12, 37.8)}
    assert location_of(photo(rio)) == pytest.approx((-22.951889, -43.2105), abs=1e-6)
    whole = {1: "s", 2: (22.5, 0, 0), 3: "W", 4: (180, 0, 0)}  # decimal degrees only
    assert location_of(photo(whole)) == pytest.approx((-22.5, -180))


@pytest.mark.parametrize(
    "fault",
    [
        {2: (91, 0, 0)}, {4: (180, 0, 1)}, {2: (48, 61, 0)}, {2: (48, 0, 75)},
        {2: (48, 51)}, {2: (48, 51, 29, 3)}, {1: "E"}, {3: "N"}, {1: ""}, {9: "V"},
        {2: (IFDRational(0, 0), 0, 0)}, {2: (0, 0, 0), 4: (0, 0, 0)},
    ],
)  # fmt: skip
def test_an_impossible_position_is_none(fault: dict[int, Any]) -> None:
    assert location_of(photo(EIFFEL)) is not None
    assert location_of(photo(EIFFEL | fault)) is None


def test_an_incomplete_position_is_none() -> None:
    for tag in EIFFEL:
        assert location_of(photo({k: v for k, v in EIFFEL.items() if k != tag})) is None
    assert location_of(photo(None)) is None
    assert location_of(photo({})) is None


def test_damaged_exif_gives_none_or_a_valid_position() -> None:
    whole = photo(EIFFEL)
    at = whole.index(b"Exif")
    rng = np.random.default_rng(0)
    assert location_of(b"") is None
    assert location_of(b"not a photo") is None
    answers = set()
    for _ in range(400):
        damaged = bytearray(whole)
        for point in rng.integers(at, at + 200, 3):
            damaged[point] = rng.integers(256)
        found = location_of(bytes(damaged[: rng.integers(at, len(whole) + 1)]))
        answers.add(found is None)
        if found is not None:
            assert abs(found[0]) <= 90
            assert abs(found[1]) <= 180
    assert answers == {True, False}


def slow_km(a: tuple[float, float], b: tuple[float, float]) -> float:
    """By the angle between two vectors from the Earth's centre."""
    one, two = (
        np.array([math.cos(la) * math.cos(lo), math.cos(la) * math.sin(lo), math.sin(la)])
        for la, lo in (map(math.radians, point) for point in (a, b))
    )
    return 6371.0088 * math.atan2(np.linalg.norm(np.cross(one, two)), one @ two)


def test_great_circle_distances() -> None:
    assert distance_km((0, 0), (0, 90)) == pytest.approx(6371.0088 * math.pi / 2)
    assert distance_km((90, 0), (-90, 77)) == pytest.approx(6371.0088 * math.pi)
    assert distance_km((10, 179.9), (10, -179.9)) < 25  # across the date line
    assert distance_km((48.8583, 2.2945), (51.5007, -0.1246)) == pytest.approx(341, abs=1)
    rng = np.random.default_rng(0)
    one = (float(rng.uniform(-90, 90)), float(rng.uniform(-180, 180)))
    others = np.stack([rng.uniform(-90, 90, 50), rng.uniform(-180, 180, 50)], axis=1)
    expected = [slow_km(one, tuple(point)) for point in others]
    assert distance_km(one, others) == pytest.approx(expected, rel=1e-9)
    unknown = distance_km(one, np.array([[np.nan, np.nan], one]))
    assert np.isnan(unknown[0])
    assert unknown[1] == 0
    with pytest.raises(OptionError, match="latitude ±90°"):
        distance_km((91, 0), (0, 0))


def test_the_prior_is_smooth_and_never_zero() -> None:
    far = np.linspace(0, 20_000, 4001)
    weights = location_prior(far, 50)
    assert weights[0] == 0
    assert (np.diff(weights) < 0).all()
    assert weights.min() > math.log(0.01)
    assert location_prior(np.array([50.0]), 50) == pytest.approx(math.log(0.01 + 0.99 / 2))
    assert location_prior(np.array([np.nan, 3.0]), 50)[0] == 0
    near = location_prior(np.array([9.9, 10.0, 10.1]), 10)
    assert np.ptp(np.diff(near)) < 1e-3  # no step at the scale


@pytest.mark.parametrize(
    ("scale", "wrong"), [(0, 0.01), (-1, 0.01), (math.inf, 0.01), (1, 0), (1, 1)]
)
def test_location_options_are_checked(scale: float, wrong: float) -> None:
    with pytest.raises(OptionError, match="given; expected"):
        location_prior(np.array([1.0]), scale, wrong=wrong)
    with pytest.raises(OptionError, match="distance -1"):
        location_prior(np.array([-1.0]), 1)
