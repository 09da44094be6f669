"""Which sidecar belongs to a photo, and what the photo file itself says.

Programs name sidecars in two ways. darktable, digiKam, Immich and PhotoPrism write `IMG.jpg.xmp`
beside `IMG.jpg`; Lightroom and Camera Raw write `IMG.xmp` beside `IMG.CR2`, and none for a JPEG.
A new sidecar is always `IMG.jpg.xmp`, because `IMG.xmp` would be that of the raw photo too.
`IMG_01.jpg.xmp`, darktable's second version of `IMG.jpg`, belongs to no photo.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator

from ..core.disks import read_error
from ..core.errors import DataError
from ..core.file_kinds import TIFF_RAW
from ..core.files import local_path
from ..core.images import SUFFIXES
from ..core.photo_files import position_of_tags
from .metadata_blocks import XP_KEYWORDS, Blocks, read_blocks
from .xmp import Metadata, XmpError, comparable, read_xmp

SIDECAR = ".xmp"

_RAW = {*TIFF_RAW, ".cr3", ".crw", ".raf", ".orf", ".rw2", ".x3f", ".mrw"}

_PHOTOS = {*SUFFIXES, *_RAW, ".jpe", ".jfif", ".heic", ".heif", ".hif", ".jxl", ".jp2", ".psd",
           ".bmp"}  # fmt: skip

_FOR_EXTENSION = re.compile(
    rb"""photoshop:SidecarForExtension(?:\s*=\s*["']|>)\s*([A-Za-z0-9]{1,10})"""
)

_MAX_HEAD = 1_000_000  # bytes of a sidecar in which the extension is looked for

_MAX_KEYWORDS = 10_000  # of one photo

_LATITUDE, _LONGITUDE = 2, 4  # tags of the directory of positions


def sidecar_of(photo: str, siblings: Collection[str]) -> tuple[str, bool]:
    """The sidecar of a photo, and whether it exists.

    Args:
        photo: The photo's path.
        siblings: Names of all files in its folder.

    Returns:
        A path in the same folder: an existing `IMG.jpg.xmp`, else an existing `IMG.xmp` that
        belongs to no other photo, else a new `IMG.jpg.xmp`. Letter case and the way in which
        accents are written may differ in existing names.
    """
    folder, name = os.path.split(local_path(photo))
    found = _same_name(name + SIDECAR, siblings)
    owner = _same_name(found[: -len(SIDECAR)], siblings) if found else ""
    if found and owner not in ("", name) and found[: -len(SIDECAR)] != name:
        found = ""  # of a photo whose name differs in letter case only
    if not found:
        short = _same_name(os.path.splitext(name)[0] + SIDECAR, siblings)
        if short and _is_of(short, name, siblings, _extension_in(os.path.join(folder, short))):
            found = short
    return os.path.join(folder, found or name + SIDECAR), bool(found)


def _same_name(name: str, siblings: Collection[str]) -> str:
    """The sibling of this name, exactly or else but for letter case and accents; "" = none."""
    if name in siblings:
        return name
    alike: tuple[Callable[[str], str], ...] = (_normal, lambda text: _normal(text).casefold())
    for form in alike:
        for other in sorted(siblings):
            if form(other) == form(name):
                return other
    return ""


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _is_of(short: str, name: str, siblings: Collection[str], extension: str) -> bool:
    """Is `IMG.xmp` the sidecar of this photo: by the extension in it, or else because the photo
    is the only raw one of this name, or the only one?
    """
    if extension:
        return _suffix(name) == f".{extension.lower()}"
    stem = _normal(os.path.splitext(short)[0]).casefold()
    photos = [
        other for other in siblings
        if _normal(os.path.splitext(other)[0]).casefold() == stem and _suffix(other) in _PHOTOS
    ]  # fmt: skip
    claims = [other for other in photos if _suffix(other) in _RAW] or photos
    return claims == [name]


def _extension_in(sidecar: str) -> str:
    """photoshop:SidecarForExtension, by which Adobe's programs say whose sidecar it is."""
    try:
        with open(sidecar, "rb") as file:
            found = _FOR_EXTENSION.search(file.read(_MAX_HEAD))
    except OSError:
        return ""
    return found[1].decode() if found else ""


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def embedded(photo: str) -> Metadata:
    """What a photo file itself says: keywords, hierarchy, locations shown and position.

    Keywords are those of XMP, IPTC-IIM and Windows' XPKeywords. `has_position` is true also for
    half a position, a damaged one, and for files of a kind in which none can be looked for.

    Raises:
        DataError: the file cannot be read.
    """
    path = local_path(photo)
    try:
        blocks = read_blocks(path)
    except OSError as error:
        raise DataError(read_error(photo, error)) from None
    packets, damaged = _packets(blocks)
    position = position_of_tags(blocks.gps) or next(
        (one.position for one in packets if one.position), None
    )
    has_position = (
        damaged or not blocks.known or _LATITUDE in blocks.gps or _LONGITUDE in blocks.gps
        or any(one.has_position for one in packets)
    )  # fmt: skip
    keywords = [text for one in packets for text in one.keywords]
    keywords += [text for block in blocks.iptc for text in _iptc_keywords(block)]
    keywords += _windows_keywords(blocks.exif.get(XP_KEYWORDS))
    first: dict[str, str] = {}
    for text in keywords[:_MAX_KEYWORDS]:
        first.setdefault(comparable(text), text)
    return Metadata(
        tuple(first.values()),
        next((one.hierarchy for one in packets if one.hierarchy), ()),
        next((one.places for one in packets if one.places), ()),
        position,
        next((one.digikam for one in packets if one.digikam), ()),
        next((one.microsoft for one in packets if one.microsoft), ()),
        has_position,
    )


def _packets(blocks: Blocks) -> tuple[list[Metadata], bool]:
    """What the XMP packets say; is there one that cannot be read, and has perhaps a position?"""
    found, damaged = [], False
    for packet in blocks.xmp:
        try:
            found.append(read_xmp(packet))
        except XmpError:
            damaged |= b"GPSL" in packet
    return found, damaged


def _iptc_keywords(block: bytes) -> Iterator[str]:
    """Keywords (dataset 2:25), in the coded character set that dataset 1:90 names."""
    at, utf8 = 0, False
    while block[at : at + 1] == b"\x1c" and len(block) >= at + 5:
        record, dataset = block[at + 1], block[at + 2]
        size = int.from_bytes(block[at + 3 : at + 5], "big")
        at += 5
        if size & 0x8000:  # the size is in as many bytes as this says
            length = min(size & 0x7FFF, 8)
            size, at = int.from_bytes(block[at : at + length], "big"), at + length
        value = block[at : at + size]
        if (record, dataset) == (1, 90):
            utf8 = value == b"\x1b%G"
        elif (record, dataset) == (2, 25) and (text := _iptc_text(value, utf8)):
            yield text
        at += size


def _iptc_text(value: bytes, utf8: bool) -> str:
    """A text; without a coded character set it is UTF-8 where it can be, else Windows Latin."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = value.decode("utf-8" if utf8 else "cp1252", "replace")
    return text.strip("\0 \t\r\n")


def _windows_keywords(value: object) -> list[str]:
    """Of XPKeywords: UTF-16, parted by semicolons."""
    if not isinstance(value, bytes):
        return []
    text = value.decode("utf-16-le", "replace").split("\0")[0]
    return [part.strip() for part in text.split(";") if part.strip()]
