"""The blocks of metadata in a photo file, found without decoding it: EXIF, XMP, IPTC-IIM.

Only headers and the blocks themselves are read; what lies between is skipped. A file that is cut
short or damaged has the blocks that come before the damage.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from PIL.TiffImagePlugin import IFDRational

from ..core.file_kinds import photo_format
from ..core.hardware import max_file_bytes
from .xmp_packet import MAX_BYTES

_MAX_STEPS = 20_000  # chunks, segments or tags looked at in one file

_XMP, _EXTENDED = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"

_PHOTOSHOP = b"Photoshop 3.0\0"

_PNG_XMP, _PNG_IPTC = b"XML:com.adobe.xmp", b"Raw profile type iptc"

# Tags of a TIFF, and their sizes by type.
_TIFF_XMP, _TIFF_IPTC, _TIFF_PHOTOSHOP = 700, 33723, 34377

GPS, XP_KEYWORDS = 34853, 40094

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 13: 4, 16: 8}

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"IIRO", b"IIRS", b"MMOR", b"IIU\0")

_CR3_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")

_CR3_CANON = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")

Tags = dict[int, object]  # of a directory of EXIF: numbers, texts, tuples of rationals


@dataclass
class Blocks:
    """What was found. exif: tags of the first directory; gps: those of the directory of positions.

    known: is the file of a kind whose metadata are found here?
    """

    xmp: list[bytes] = field(default_factory=list)
    iptc: list[bytes] = field(default_factory=list)
    exif: Tags = field(default_factory=dict)
    gps: Tags = field(default_factory=dict)
    known: bool = True


def read_blocks(path: str) -> Blocks:
    """The blocks of a photo file. Raises OSError when it cannot be read."""
    blocks = Blocks()
    with open(path, "rb") as file:
        head = file.read(64)
        try:
            if head.startswith(b"\xff\xd8"):
                _jpeg(file, 0, blocks)
            elif head.startswith(b"\x89PNG"):
                _png(file, blocks)
            elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
                _webp(file, blocks)
            elif head.startswith(_TIFF_MAGIC):
                _tiff(file, blocks)
            elif head.startswith(b"FUJIFILMCCD-RAW"):
                file.seek(84)
                _jpeg(file, int.from_bytes(file.read(4), "big"), blocks)
            elif head[4:12] == b"ftypcrx ":
                _cr3(file, blocks)
            elif photo_format(head) in ("HEIC", "AVIF"):
                _heif(file, blocks)
            else:
                blocks.known = photo_format(head) == "GIF"
        except (struct.error, ValueError, IndexError, zlib.error, OverflowError):
            pass  # cut short or damaged: what came before counts
    return blocks


def _read(file: BinaryIO, at: int, size: int) -> bytes:
    if not 0 <= size <= MAX_BYTES:
        raise ValueError("a block that is too large")
    file.seek(at)
    return file.read(size)


def _jpeg(file: BinaryIO, start: int, blocks: Blocks) -> None:
    """Segments up to the first scan."""
    at, extended = start + 2, dict[int, bytes]()
    for _ in range(_MAX_STEPS):
        head = _read(file, at, 4)
        if len(head) < 4 or head[0] != 0xFF or head[1] in (0xDA, 0xD9):
            break
        if head[1] == 0xFF:  # fill bytes
            at += 1
            continue
        size = int.from_bytes(head[2:], "big")
        if head[1] in (0xE1, 0xED):
            segment = _read(file, at + 4, size - 2)
            if segment.startswith(b"Exif\0"):
                _exif(segment[6:], blocks)
            elif segment.startswith(_XMP):
                blocks.xmp.append(segment[len(_XMP) :])
            elif segment.startswith(_EXTENDED):
                rest = segment[len(_EXTENDED) + 32 :]  # after the digest of the whole
                extended[int.from_bytes(rest[4:8], "big")] = rest[8:]
            elif segment.startswith(_PHOTOSHOP):
                blocks.iptc += _photoshop(segment[len(_PHOTOSHOP) :])
        at += 2 + size
    if extended:
        blocks.xmp.append(b"".join(part for _, part in sorted(extended.items())))


def _photoshop(data: bytes) -> Iterator[bytes]:
    """IPTC-IIM in the resources of Photoshop."""
    at = 0
    while data[at : at + 4] == b"8BIM":
        kind = data[at + 4 : at + 6]
        at += 6 + (data[at + 6] + 2) // 2 * 2
        size = int.from_bytes(data[at : at + 4], "big")
        if kind == b"\x04\x04":
            yield data[at + 4 : at + 4 + size]
        at += 4 + size + size % 2


def _png(file: BinaryIO, blocks: Blocks) -> None:
    at = 8
    for _ in range(_MAX_STEPS):
        head = _read(file, at, 8)
        if len(head) < 8:
            return
        size, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind == b"eXIf":
            _exif(_read(file, at + 8, size), blocks)
        elif kind in (b"iTXt", b"zTXt", b"tEXt") and size <= MAX_BYTES:
            _png_text(kind, _read(file, at + 8, size), blocks)
        at += 12 + size


def _png_text(kind: bytes, chunk: bytes, blocks: Blocks) -> None:
    name, _, rest = chunk.partition(b"\0")
    if name not in (_PNG_XMP, _PNG_IPTC):
        return
    packed = kind == b"zTXt"
    if kind == b"iTXt":
        packed, rest = rest[:1] == b"\1", rest[2:].split(b"\0", 2)[2]
    elif kind == b"zTXt":
        rest = rest[1:]
    if packed:
        rest = zlib.decompressobj().decompress(rest, MAX_BYTES)
    if name == _PNG_XMP:
        blocks.xmp.append(rest)
    else:  # as ImageMagick writes it: name, length and hexadecimal digits, with Photoshop's frame
        digits = b"".join(rest.split()[2:])
        data = bytes.fromhex(digits.decode("ascii"))
        blocks.iptc += _photoshop(data) if data.startswith(b"8BIM") else [data]


def _webp(file: BinaryIO, blocks: Blocks) -> None:
    at = 12
    for _ in range(_MAX_STEPS):
        head = _read(file, at, 8)
        if len(head) < 8:
            return
        size = int.from_bytes(head[4:], "little")
        if head[:4] == b"EXIF":
            data = _read(file, at + 8, size)
            _exif(data[6:] if data.startswith(b"Exif\0\0") else data, blocks)
        elif head[:4] == b"XMP ":
            blocks.xmp.append(_read(file, at + 8, size))
        at += 8 + size + size % 2


def _exif(data: bytes, blocks: Blocks) -> None:
    _tiff(io.BytesIO(data), blocks)


def _tiff(file: BinaryIO, blocks: Blocks) -> None:
    """Tags of the first directory, of a TIFF, a raw file like it, or EXIF data."""
    head = _read(file, 0, 16)
    order, big = "<" if head[:1] == b"I" else ">", head[2:4] in (b"+\0", b"\0+")
    start = struct.unpack(order + ("Q" if big else "I"), head[8:16] if big else head[4:8])[0]
    wanted = (_TIFF_XMP, _TIFF_IPTC, _TIFF_PHOTOSHOP, GPS, XP_KEYWORDS)
    for tag, value in _directory(file, order, big, start, wanted):
        if tag == GPS and isinstance(value, tuple):
            blocks.gps.update(_directory(file, order, big, int(value[0]), range(32)))
        elif tag == XP_KEYWORDS:
            blocks.exif[tag] = value
        elif isinstance(value, tuple) and tag != GPS:  # IPTC-IIM is often of the type LONG
            value = struct.pack(f"{order}{len(value)}I", *value)
        if not isinstance(value, bytes):
            continue
        if tag == _TIFF_XMP:
            blocks.xmp.append(value)
        elif tag == _TIFF_IPTC:
            blocks.iptc.append(value)
        elif tag == _TIFF_PHOTOSHOP:
            blocks.iptc += _photoshop(value)


def _directory(
    file: BinaryIO, order: str, big: bool, start: int, wanted: range | tuple[int, ...]
) -> Iterator[tuple[int, object]]:
    """Tag and value of the wanted entries."""
    entry, room = ("HHQ", 8) if big else ("HHI", 4)
    count = int(
        struct.unpack(order + ("Q" if big else "H"), _read(file, start, 8 if big else 2))[0]
    )
    size = struct.calcsize(order + entry) + room
    table = _read(file, start + (8 if big else 2), min(count, _MAX_STEPS) * size)
    for at in range(0, len(table) - size + 1, size):
        tag, kind, values = struct.unpack_from(order + entry, table, at)
        if tag not in wanted or kind not in _SIZES:
            continue
        length, value = values * _SIZES[kind], table[at + size - room : at + size]
        if length > room:
            value = _read(file, struct.unpack(order + ("Q" if big else "I"), value)[0], length)
        value = value[:length]
        if kind in (5, 10):
            numbers = struct.unpack(f"{order}{len(value) // 4}{'I' if kind == 5 else 'i'}", value)
            pairs = zip(numbers[::2], numbers[1::2], strict=False)
            yield tag, tuple(IFDRational(*pair) for pair in pairs)
        elif kind in (3, 4, 13, 16):
            letter = {3: "H", 16: "Q"}.get(kind, "I")
            yield tag, struct.unpack(f"{order}{len(value) // _SIZES[kind]}{letter}", value)
        else:
            yield tag, value


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start of the content and end of each box of an ISO media file."""
    at = start
    for _ in range(_MAX_STEPS):
        head = _read(file, at, 16)
        size, kind, inside = int.from_bytes(head[:4], "big"), head[4:8], at + 8
        if size == 1:
            size, inside = int.from_bytes(head[8:16], "big"), at + 16
        if at + size > end or size < inside - at:
            return
        yield kind, inside, at + size
        at += size


def _cr3(file: BinaryIO, blocks: Blocks) -> None:
    """Canon's raw files: boxes with XMP, EXIF and position."""
    end = file.seek(0, io.SEEK_END)
    for kind, inside, after in _boxes(file, 0, end):
        if kind == b"uuid" and _read(file, inside, 16) == _CR3_XMP:
            blocks.xmp.append(_read(file, inside + 16, after - inside - 16))
        if kind != b"moov":
            continue
        for inner, at, stop in _boxes(file, inside, after):
            if inner != b"uuid" or _read(file, at, 16) != _CR3_CANON:
                continue
            for name, first, last in _boxes(file, at + 16, stop):
                data = _read(file, first, last - first) if name in (b"CMT1", b"CMT4") else b""
                if name == b"CMT1":
                    _exif(data, blocks)
                elif name == b"CMT4":  # a TIFF whose first directory is that of positions
                    order = "<" if data[:1] == b"I" else ">"
                    start = struct.unpack_from(order + "I", data, 4)[0]
                    found = _directory(io.BytesIO(data), order, False, start, range(32))
                    blocks.gps.update(found)


def _heif(file: BinaryIO, blocks: Blocks) -> None:
    """HEIC and AVIF, by their decoders, which find the blocks; no pixel is decoded."""
    from ..core.photo_files import METADATA_ERRORS, open_photo

    data = _read_whole(file)
    try:
        with open_photo(data) as opened:
            exif, xmp = opened.info.get("exif"), opened.info.get("xmp")
    except METADATA_ERRORS:
        blocks.known = False
        return
    if isinstance(xmp, bytes):
        blocks.xmp.append(xmp)
    if isinstance(exif, bytes) and exif:
        _exif(exif[6:] if exif.startswith(b"Exif\0\0") else exif, blocks)


def _read_whole(file: BinaryIO) -> bytes:
    if file.seek(0, io.SEEK_END) > max_file_bytes():
        return b""
    file.seek(0)
    return file.read()
