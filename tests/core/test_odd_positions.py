"""Positions as cameras, phones and programs write them: the right value or None."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from typing import Any

import pytest
from PIL import Image as Pillow
from PIL.TiffImagePlugin import IFDRational

from whichlandmark.core.photo_files import location_of

NONE = IFDRational(0, 0)

EAST = {3: "E", 4: (2.0, 17.0, 40.2)}

PARIS = (48.8583, 2.2945)


def photo(tags: dict[int, Any], form: str = "JPEG") -> bytes:
    data = io.BytesIO()
    Pillow.new("RGB", (8, 8)).save(data, form, exif=exif_bytes(tags))
    return data.getvalue()


def exif_bytes(tags: dict[int, Any]) -> bytes:
    """A directory of positions: texts as ASCII, numbers as signed rationals, of any count."""
    entries, values = b"", b""
    start = 26 + 2 + 12 * len(tags) + 4
    for tag, value in sorted(tags.items()):
        if isinstance(value, str | bytes):
            raw = value.encode() + b"\0" if isinstance(value, str) else value
            entry = struct.pack(">HHI", tag, 2, len(raw))
        else:
            parts = value if isinstance(value, tuple) else (value,)
            raw = b"".join(rational(part) for part in parts)
            entry = struct.pack(">HHI", tag, 10, len(parts))
        if len(raw) <= 4:
            entries += entry + raw.ljust(4, b"\0")
        else:
            entries += entry + struct.pack(">I", start + len(values))
            values += raw
    pointer = struct.pack(">HHHII", 1, 0x8825, 4, 1, 26) + b"\0\0\0\0"
    gps = struct.pack(">H", len(tags)) + entries + b"\0\0\0\0" + values
    return b"Exif\0\0MM\0*\0\0\0\x08" + pointer + gps


def rational(part: Any) -> bytes:
    if isinstance(part, IFDRational):
        return struct.pack(">ii", int(part.numerator), part.denominator)
    fraction = Fraction(part).limit_denominator(100_000)
    return struct.pack(">ii", fraction.numerator, fraction.denominator)


def xmp_photo(text: str, form: str = "JPEG") -> bytes:
    data = io.BytesIO()
    packet = f"<x:xmpmeta><rdf:Description {text}/></x:xmpmeta>".encode()
    Pillow.new("RGB", (8, 8)).save(data, form, xmp=packet)
    return data.getvalue()


@pytest.mark.parametrize(
    "latitude",
    [
        {1: "N", 2: (48.8583, NONE, NONE)}, {1: "N", 2: (48.8583, 0, 0)}, {1: "N", 2: 48.8583},
        {1: "N", 2: (48, 51.498, NONE)}, {1: "N", 2: (48, 51.498, 0)}, {1: "N", 2: (48, 51.498)},
        {1: "N", 2: (48, 51, 29.88)}, {1: "n", 2: (48, 51, 29.88)}, {1: "North", 2: 48.8583},
        {1: "N\0\0", 2: "48.8583"}, {1: "N", 2: "48/1 51/1 2988/100"}, {2: "48,51.498N"},
        {1: "N", 2: "48 deg 51' 29.88\""}, {1: "N", 2: "48:51:29.88"},
        {1: "N", 2: "+48.8583"}, {2: "48,51,29.88N"},
    ],
)  # fmt: skip
def test_a_position_as_some_cameras_write_it(latitude: dict[int, Any]) -> None:
    assert location_of(photo(latitude | EAST)) == pytest.approx(PARIS, abs=1e-4)


@pytest.mark.parametrize(
    "latitude",
    [
        {1: "S", 2: "-33.5"}, {1: "S", 2: (33.5, 0, 0)}, {2: "-33.5"}, {1: "s", 2: (33, 30.0, 0)},
        {1: "South", 2: (33, 30, 0)}, {2: "33,30.0S"},
    ],
)  # fmt: skip
def test_a_southern_position(latitude: dict[int, Any]) -> None:
    assert location_of(photo(latitude | EAST)) == pytest.approx((-33.5, 2.2945), abs=1e-4)


@pytest.mark.parametrize(
    "fault",
    [
        {2: (48, NONE, NONE)}, {2: 48}, {2: (48, IFDRational(51, 0), 0)}, {2: (NONE, 51, 30)},
        {2: (48, 51)}, {2: (48.5, 51, 30)}, {2: (48, 51.5, 30)}, {2: "48,85"}, {2: "48;a;1"},
        {2: "-48.5"}, {2: ()}, {2: ""}, {2: "somewhere"}, {2: "48,51.5S"}, {1: "X"}, {1: ""},
        {4: (190, 0, 0)}, {4: (358.5, 0, 0)}, {2: (90, 0, 1)}, {4: (2147483647, 0, 0)},
        {3: "O"}, {1: None}, {2: None}, {9: "V"}, {9: b"V\0"}, {2: (48, 51, 30, 7)},
        {2: "48/0 51/1 30/1"}, {2: "1e400"}, {2: "٤٨.٥"},
    ],
)  # fmt: skip
def test_a_position_that_may_be_wrong_is_none(fault: dict[int, Any]) -> None:
    tags = {1: "N", 2: (48.0, 51.0, 29.88), **EAST} | fault
    assert location_of(photo({tag: value for tag, value in tags.items() if value is not None})) is (
        None
    )


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_positions_in_each_format(form: str) -> None:
    tags = {1: "N", 2: (48.0, 51.0, 29.88), **EAST}
    assert location_of(photo(tags, form)) == pytest.approx(PARIS, abs=1e-4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('exif:GPSLatitude="48,51.498N" exif:GPSLongitude="2,17.67E"', PARIS),
        ('exif:GPSLatitude="33,51,24S" exif:GPSLongitude="151,12,36E"', (-33.856667, 151.21)),
        ('exif:GPSLatitude="48,51.498N"', None),
        ('exif:GPSLatitude="48,51.498" exif:GPSLongitude="2,17.67"', None),
        ('exif:GPSLatitude="48,51.5N" exif:GPSLongitude="2,17.7E" exif:GPSStatus="V"', None),
        ('exif:GPSLatitude="48,51.5N" exif:GPSLatitude="49,51.5N" exif:GPSLongitude="2,1.5E"',
         None),
        ('a="1"/><Iptc4xmpExt:LocationShown><exif:GPSLatitude>48,51.498N</exif:GPSLatitude>'
         "<exif:GPSLongitude>2,17.67E</exif:GPSLongitude></Iptc4xmpExt:LocationShown>", None),
        ('a="1"/><x:LocationShown/><x:LocationCreated><exif:GPSLatitude>1,2.3N</exif:GPSLatitude>'
         "<exif:GPSLongitude>2,1.6E</exif:GPSLongitude></x:LocationCreated><rdf:Description "
         'exif:GPSLatitude="48,51.498N" exif:GPSLongitude="2,17.67E"', PARIS),
    ],
)  # fmt: skip
def test_positions_that_only_xmp_has(text: str, expected: tuple[float, float] | None) -> None:
    for form in ("JPEG", "WEBP"):
        found = location_of(xmp_photo(text, form))
        assert found == (pytest.approx(expected, abs=1e-4) if expected else None)
