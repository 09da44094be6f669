"""Raw photos of cameras, written byte by byte: a small sensor picture, and a JPEG as the preview.

They are as little of each format as LibRaw needs to find the preview. The preview is red above and
blue below.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image as Pillow

SENSOR = 800, 600  # width, height

PREVIEW = 640, 480

PLACE = 48.858333, 2.294444

Entry = tuple[int, int, Any]  # tag, type, values, or the bytes of a text

_LETTERS = {1: "B", 3: "H", 4: "I", 7: "B"}

GPS: list[Entry] = [
    (1, 2, b"N\0"), (2, 5, [(48, 1), (51, 1), (3000, 100)]),
    (3, 2, b"E\0"), (4, 5, [(2, 1), (17, 1), (4000, 100)]),
]  # fmt: skip


def preview(size: tuple[int, int] = PREVIEW, exif: Pillow.Exif | None = None) -> bytes:
    """A JPEG, red above and blue below."""
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2], pixels[height // 2 :] = (200, 40, 40), (40, 40, 200)
    out = io.BytesIO()
    Pillow.fromarray(pixels).save(out, "JPEG", quality=90, **({"exif": exif} if exif else {}))
    return out.getvalue()


def tiff(
    directories: Sequence[tuple[str, list[Entry], str]],
    blobs: dict[str, bytes],
    *,
    magic: bytes = b"II*\0",
    head: bytes = b"",
) -> bytes:
    """A little-endian TIFF. A directory: its name, its entries, and the name of the next.

    A value "@x" is the offset of the blob x, "#x" its length, and "x" the offset of a directory.
    """
    places: dict[str, int] = {"": 0}
    out = bytearray()
    for _ in range(2):  # the offsets of the first turn are used in the second
        out = bytearray(magic + struct.pack("<I", 8 + len(head)) + head)
        for name, entries, following in directories:
            places[name] = len(out)
            behind, start = bytearray(), len(out) + 2 + 12 * len(entries) + 4
            out += struct.pack("<H", len(entries))
            for tag, form, values in sorted(entries, key=lambda entry: entry[0]):
                data, count = _packed(form, values, places)
                if len(data) > 4:
                    behind += data + b"\0" * (len(data) % 2)
                    data = struct.pack("<I", start + len(behind) - len(data) - len(data) % 2)
                out += struct.pack("<HHI", tag, form, count) + data.ljust(4, b"\0")
            out += struct.pack("<I", places.get(following, 0)) + behind
        for name, data in blobs.items():
            places["@" + name], places["#" + name] = len(out), len(data)
            out += data + b"\0" * (len(data) % 2)
    return bytes(out)


def _packed(form: int, values: Any, places: dict[str, int]) -> tuple[bytes, int]:
    if isinstance(values, bytes):
        return values, len(values)
    numbers = [places.get(value, 0) if isinstance(value, str) else value for value in values]
    if form in (5, 10):
        return b"".join(struct.pack("<II", *pair) for pair in numbers), len(numbers)
    return struct.pack(f"<{len(numbers)}{_LETTERS[form]}", *numbers), len(numbers)


def sensor_entries() -> list[Entry]:
    """The directory of the sensor's picture, whose pixels are the blob "sensor"."""
    width, height = SENSOR
    return [
        (254, 4, [0]), (256, 4, [width]), (257, 4, [height]), (258, 3, [16]), (259, 3, [1]),
        (262, 3, [32803]), (273, 4, ["@sensor"]), (277, 3, [1]), (278, 4, [height]),
        (279, 4, ["#sensor"]), (33421, 3, [2, 2]), (33422, 1, [0, 1, 1, 2]),
    ]  # fmt: skip


def sensor_pixels() -> bytes:
    return (np.arange(SENSOR[0] * SENSOR[1]) % 4096).astype("<u2").tobytes()


def dng(
    orientation: int = 1, jpeg: bytes | None = None, *, bitmap: bool = False, position: bool = True
) -> bytes:
    """A DNG. jpeg: its preview. bitmap: the preview is 640 × 480 pixels of gray instead."""
    data = bytes([90] * (PREVIEW[0] * PREVIEW[1] * 3)) if bitmap else jpeg or preview()
    first: list[Entry] = [
        (254, 4, [1]), (256, 4, [PREVIEW[0]]), (257, 4, [PREVIEW[1]]), (258, 3, [8, 8, 8]),
        (259, 3, [1 if bitmap else 7]), (262, 3, [2 if bitmap else 6]), (271, 2, b"Acme\0"),
        (272, 2, b"Cam 1\0"), (273, 4, ["@preview"]), (274, 3, [orientation]), (277, 3, [3]),
        (278, 4, [PREVIEW[1]]), (279, 4, ["#preview"]), (330, 4, ["raw"]),
        (50706, 1, [1, 4, 0, 0]), (50708, 2, b"Acme Cam 1\0"), (50778, 3, [21]),
        (50721, 10, [(1, 1), (0, 1), (0, 1), (0, 1), (1, 1), (0, 1), (0, 1), (0, 1), (1, 1)]),
    ]  # fmt: skip
    first += [(34853, 4, ["gps"])] if position else []
    return tiff(
        [("first", first, ""), ("raw", sensor_entries(), ""), ("gps", GPS, "")],
        {"sensor": sensor_pixels(), "preview": data},
    )


def dng_without_preview() -> bytes:
    """A DNG that holds the sensor's picture and nothing else."""
    entries = [*sensor_entries(), (271, 2, b"Acme\0"), (272, 2, b"Cam 1\0"),
               (50706, 1, [1, 4, 0, 0]), (50708, 2, b"Acme\0")]  # fmt: skip
    return tiff([("first", entries, "")], {"sensor": sensor_pixels()})


MAKERS = {  # ending → make, model, first bytes, behind them, does the JPEG stand in tag 513?
    ".nef": (b"NIKON CORPORATION\0", b"NIKON D90\0", b"II*\0", b"", False),
    ".arw": (b"SONY\0", b"ILCE-7\0", b"II*\0", b"", True),
    ".cr2": (b"Canon\0", b"Canon EOS 5D\0", b"II*\0", b"CR\x02\0\0\0\0\0", False),
    ".pef": (b"PENTAX\0", b"PENTAX K-5\0", b"II*\0", b"", True),
    ".srw": (b"SAMSUNG\0", b"NX300\0", b"II*\0", b"", True),
    ".orf": (b"OLYMPUS IMAGING CORP.\0", b"E-M1\0", b"IIRO", b"", True),
}


def raw_of(suffix: str, orientation: int = 1) -> bytes:
    """A raw file of the maker with this ending, with a position."""
    make, model, magic, head, tag_513 = MAKERS[suffix]
    first: list[Entry] = [
        (254, 4, [1]), (256, 4, [PREVIEW[0]]), (257, 4, [PREVIEW[1]]), (258, 3, [8, 8, 8]),
        (259, 3, [6]), (262, 3, [6]), (271, 2, make), (272, 2, model), (274, 3, [orientation]),
        (277, 3, [3]), (34853, 4, ["gps"]), (330, 4, ["raw"]),
    ]  # fmt: skip
    if tag_513:
        first += [(513, 4, ["@preview"]), (514, 4, ["#preview"])]
    else:
        first += [(273, 4, ["@preview"]), (278, 4, [PREVIEW[1]]), (279, 4, ["#preview"])]
    return tiff(
        [("first", first, ""), ("raw", sensor_entries(), ""), ("gps", GPS, "")],
        {"sensor": sensor_pixels(), "preview": preview()},
        magic=magic,
        head=head,
    )


def raf(orientation: int = 1) -> bytes:
    """A Fujifilm RAF: its JPEG has the EXIF data."""
    exif = Pillow.Exif()
    exif[0x0112], exif[271], exif[272] = orientation, "FUJIFILM", "X-T1"
    exif._ifds[0x8825] = {1: "N", 2: (48.0, 51.0, 30.0), 3: "E", 4: (2.0, 17.0, 40.0)}
    jpeg, (width, height), pixels = preview(exif=exif), SENSOR, sensor_pixels()
    tags = struct.pack(">I", 3) + b"".join(
        struct.pack(">HHHH", tag, 4, *size)
        for tag, size in ((0x100, (height, width)), (0x110, (0, 0)), (0x111, (height, width)))
    )
    at = 160
    places = (at, len(jpeg), at + len(jpeg), len(tags), at + len(jpeg) + len(tags), len(pixels))
    head = b"FUJIFILMCCD-RAW 0201FF383501X-T1".ljust(84, b"\0") + struct.pack(">IIIIII", *places)
    return head.ljust(at, b"\0") + jpeg + tags + pixels


def cr3_head() -> bytes:
    """The beginning of a CR3, with its position; its pictures are missing."""
    position = tiff([("first", GPS, "")], {})
    box = struct.pack(">I", 8 + len(position)) + b"CMT4" + position
    moov = struct.pack(">I", 8 + 24 + len(box)) + b"moov"
    canon = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
    uuid = struct.pack(">I", 24 + len(box)) + b"uuid" + canon
    return b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + moov + uuid + box
