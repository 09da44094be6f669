"""What a file is, by its first bytes: a photo that can be decoded, another picture, or no picture.

The bytes decide, not the ending, because phones, browsers and messengers write JPEGs that are
called .jfif, .HEIC or nothing at all, and web pages that are called .jpg.
"""

from __future__ import annotations

import struct
from functools import cache
from importlib.util import find_spec

from PIL import features

from .errors import install_command

HEAD_BYTES = 512  # read of each file

CONVERT = "which cannot be decoded: convert it to JPEG"

HEIC_PACKAGE = "pillow_heif"  # of the extra `heic`

RAW_PACKAGE = "rawpy"  # of the extra `raw`

EXTRAS = {"HEIC": "heic", "RAW": "raw"}  # format → the extra that brings its decoder

TIFF_RAW = {
    ".cr2": "Canon", ".nef": "Nikon", ".nrw": "Nikon", ".arw": "Sony", ".srf": "Sony",
    ".sr2": "Sony", ".pef": "Pentax", ".dng": "DNG", ".erf": "Epson", ".3fr": "Hasselblad",
    ".fff": "Hasselblad", ".iiq": "Phase One", ".cap": "Phase One", ".mos": "Leaf",
    ".mef": "Mamiya", ".kdc": "Kodak", ".dcr": "Kodak", ".dcs": "Kodak", ".rwl": "Leica",
    ".gpr": "GoPro", ".srw": "Samsung", ".raw": "camera", ".ptx": "Pentax", ".rwz": "Rawzor",
}  # fmt: skip

_RAW_STARTS = (  # first bytes → maker
    (b"FUJIFILMCCD-RAW", "Fujifilm"), (b"IIRO", "Olympus"), (b"IIRS", "Olympus"),
    (b"MMOR", "Olympus"), (b"IIU\0", "Panasonic"), (b"FOVb", "Sigma"), (b"\0MRM", "Minolta"),
    (b"II\x1a\0\0\0HEAPCCDR", "Canon"),
)  # fmt: skip

# First bytes → kind, of pictures that a camera or a person made.
_OTHER_PICTURES = (
    (b"II\xbc", "JPEG XR"),
    (b"\0\0\0\x0cjP", "JPEG 2000"), (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL", "JPEG XL"), (b"\xff\x0a", "JPEG XL"), (b"8BPS", "Photoshop (PSD)"),
    (b"BM", "BMP"), (b"SIMPLE  =", "FITS"), (b"\x76\x2f\x31\x01", "OpenEXR"),
)  # fmt: skip

_NO_PICTURES = (
    (b"%PDF", "PDF"), (b"%!PS", "PostScript"), (b"PK\x03\x04", "zip archive or Office document"),
    (b"PK\x05\x06", "zip archive"),
    (b"Rar!", "RAR archive"), (b"7z\xbc\xaf", "7z archive"), (b"\x1f\x8b", "gzip archive"),
    (b"\x1a\x45\xdf\xa3", "video"), (b"\x30\x26\xb2\x75", "video"), (b"\0\0\x01\xba", "video"),
    (b"\0\0\x01\xb3", "video"), (b"FLV", "video"), (b"ID3", "sound"), (b"fLaC", "sound"),
    (b"OggS", "sound"), (b"\0\0\x01\0", "icon"), (b"SQLite format 3", "database"),
    (b"gimp xcf", "GIMP file"), (b"\x7fELF", "program"), (b"MZ", "program"),

    (b"bplist00", "Apple property list, such as a placeholder of iCloud: download it first"),
    (b"\0\x05\x16\x07", "AppleDouble file (no photo)"),
    (b"\0\x05\x16\0", "AppleDouble file (no photo)"), (b"\xd0\xcf\x11\xe0", "Office document"),
    (b"version https://git-lfs", "Git LFS pointer, not the file itself: run `git lfs pull`"),
)  # fmt: skip

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# Tags of a TIFF, by which the raw files of cameras differ from it.
_SUBFILE, _COMPRESSION, _PHOTOMETRIC, _MAKE, _SUBDIRECTORIES, _DNG = 254, 259, 262, 271, 330, 50706

# Values of Compression and of PhotometricInterpretation that only raw files have.
_RAW_COMPRESSIONS = (32767, 32769, 32770, 34713, 65000, 65535)

_RAW_PHOTOMETRICS = (32803, 34892)

_TAG_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
              16: 8, 17: 8, 18: 8}  # fmt: skip

_TAG_DIRECTORIES = (34665, 34853)  # EXIF, GPS

_MAX_TAG_VALUES = 300_000  # a photo of 65,500 rows in four layers has 262,000 strips

_BRANDS = {
    b"avif": "AVIF", b"avis": "AVIF",
    b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"hevx": "HEIC",
    b"heim": "HEIC", b"heis": "HEIC", b"hevm": "HEIC", b"hevs": "HEIC",
    b"jxl ": "JPEG XL", b"jp2 ": "JPEG 2000", b"vvic": "VVC", b"evbi": "EVC",
}  # fmt: skip

_HEIF_BRANDS = (b"mif1", b"msf1", b"miaf", b"mif2")  # of a container, whatever codes its pictures


@cache
def photo_formats() -> tuple[str, ...]:
    """Formats that are decoded here; AVIF and HEIC only where what decodes them is installed."""
    avif = ("AVIF",) if features.check("avif") else ()
    heic = ("HEIC",) if find_spec(HEIC_PACKAGE) else ()
    return ("JPEG", "PNG", "WEBP", "GIF", *avif, "TIFF", *heic)


@cache
def raw_is_read() -> bool:
    """Is what takes the preview out of a raw photo installed?"""
    return find_spec(RAW_PACKAGE) is not None


def formats_in_words() -> str:
    """ "JPEG, PNG, WebP, GIF, AVIF or TIFF": what `photo_formats` has."""
    *names, last = (name.replace("WEBP", "WebP") for name in photo_formats())
    return f"{', '.join(names)} or {last}"


def photo_format(data: bytes) -> str:
    """The format of a photo with these first bytes, as Pillow names it; "" = not decoded."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith(_TIFF_STARTS):
        return "" if data[8:10] == b"CR" else "TIFF"
    if data[4:8] == b"ftyp":
        brands = _brands(data)
        form = next((_BRANDS[brand] for brand in brands if brand in _BRANDS), "")
        if not form and {*_HEIF_BRANDS} & {*brands}:
            form = _coded_by(data)
        return form if form in photo_formats() else ""
    return ""


def kind_of(head: bytes, suffix: str = "", *, raw: bool = True) -> str | None:
    """What a file is that is no JPEG, PNG, WebP or GIF, and what to do with it.

    Args:
        head: its first `HEAD_BYTES` bytes.
        suffix: the ending of its name in lower case, which tells makers of raw photos apart.
        raw: are raw photos read by their previews where LibRaw is installed? The server: no.

    Returns:
        A few words; "" = an AVIF, HEIC, TIFF or raw photo that can be decoded, None = of no known
        kind.
    """
    if maker := raw_kind(head, suffix):
        if not raw:
            return f"{maker} RAW, {CONVERT}"
        return "" if raw_is_read() else not_decoded(f"{maker} RAW")
    if head[4:8] == b"ftyp":
        return _of_brands(head)
    if head.startswith(_TIFF_STARTS):
        return ""
    for start, kind in _OTHER_PICTURES:
        if head.startswith(start):
            return f"{kind}, {CONVERT}"
    for start, kind in _NO_PICTURES:
        if head.startswith(start):
            return kind
    if head[:4] == b"RIFF":
        return {b"AVI ": "video", b"WAVE": "sound"}.get(head[8:12])
    if head[4:8] in (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"):
        return "video"
    if suffix in (".mts", ".m2ts", ".ts", ".mpg", ".mpeg", ".3gp", ".mp4", ".mov", ".m4v", ".avi"):
        return "video"
    return _text(head)


def raw_kind(head: bytes, suffix: str = "") -> str:
    """Whose raw photo begins so, "Canon" or "DNG"; "" = none, or one that begins as a TIFF does."""
    if head[4:8] == b"ftyp":
        return "Canon" if b"crx " in _brands(head) else ""
    if head.startswith(_TIFF_STARTS):
        return "Canon" if head[8:10] == b"CR" else TIFF_RAW.get(suffix, "")
    return next((maker for start, maker in _RAW_STARTS if head.startswith(start)), "")


def _brands(head: bytes) -> list[bytes]:
    size = min(int.from_bytes(head[:4], "big"), len(head), 200)
    return [head[8:12], *(head[at : at + 4] for at in range(16, size, 4))]


def _of_brands(head: bytes) -> str:
    """The kind of an ISO media file, by its brands: a photo container or a video."""
    brands = _brands(head)
    for brand in brands:
        if brand in _BRANDS:
            return "" if photo_format(head) else not_decoded(_BRANDS[brand])
    if {*_HEIF_BRANDS} & {*brands}:
        form = _coded_by(head)
        return "" if form in photo_formats() else not_decoded(form)
    return "video"


def _coded_by(head: bytes) -> str:
    """The format of a HEIF file whose brands name no coding, by the kinds of its first items."""
    listed = head[:HEAD_BYTES]
    return "HEIC" if b"hvc1" in listed else "AVIF" if b"av01" in listed else "HEIF"


@cache
def not_decoded(form: str) -> str:
    """A format in the words of `kind_of`: that it is not decoded here, and what helps."""
    extra = EXTRAS.get(form.rpartition(" ")[2])
    return f"{form}, {CONVERT}" + (f", or {install_command(extra)}" if extra else "")


def format_of(kind: str) -> str:
    """The name of the format in the words of `kind_of`: "HEIC, which cannot …" → "HEIC"."""
    for mark in (",", ":", " ("):
        kind = kind.partition(mark)[0]
    return kind


def tiff_tags(data: bytes) -> tuple[dict[int, tuple[int, ...]], int]:
    """Numbers of the first directory of a TIFF, by tag, and where the next directory is noted.

    Up to 64 numbers of each tag; a text is the numbers of its bytes.

    Raises:
        ValueError: the directory is damaged, or its values take more bytes than the file has, so
            that a small file would fill the memory.
    """
    order = "<" if data[:1] == b"I" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    try:
        start = struct.unpack_from(f"{order}Q" if big else f"{order}I", data, 8 if big else 4)[0]
    except struct.error:
        raise ValueError("damaged directory (it is cut off)") from None
    tags, end = _directory(data, order, big, start)
    total = sum(size for _, size in tags.values())
    for tag in _TAG_DIRECTORIES:
        if tag in tags and tags[tag][0]:
            inner, _ = _directory(data, order, big, tags[tag][0][0])
            total += sum(size for _, size in inner.values())
    if total > len(data):
        raise ValueError("its tags are larger than the file")
    return {tag: values for tag, (values, _) in tags.items() if values}, end


def _directory(
    data: bytes, order: str, big: bool, start: int
) -> tuple[dict[int, tuple[tuple[int, ...], int]], int]:
    """Tag → its first numbers and its bytes; the offset behind the last tag."""
    head, entry, room = ("Q", "HHQ", 8) if big else ("H", "HHI", 4)
    found: dict[int, tuple[tuple[int, ...], int]] = {}
    try:
        (count,) = struct.unpack_from(order + head, data, start)
        at, step = start + struct.calcsize(order + head), struct.calcsize(order + entry) + room
        for position in range(at, at + count * step, step):
            tag, form, values = struct.unpack_from(order + entry, data, position)
            size = values * _TAG_SIZES.get(form, 0)
            if values > _MAX_TAG_VALUES and form not in (1, 2, 6, 7):
                raise ValueError(f"a tag of {values} values")
            where = position + step - room
            if size > room:
                (where,) = struct.unpack_from(order + ("Q" if big else "I"), data, where)
            letter = {1: "B", 2: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}.get(form)
            read = f"{order}{min(values, 64)}{letter}" if letter and values else order
            found[tag] = struct.unpack_from(read, data, where), size
    except (struct.error, OverflowError) as error:
        raise ValueError(f"damaged directory ({error})") from None
    return found, at + count * step


def raw_maker(tags: dict[int, tuple[int, ...]]) -> str:
    """Whose camera wrote a TIFF as its raw file, "DNG" for that format; "" = an ordinary TIFF.

    The first directory of such a file holds a small preview, or samples that are not colors yet.
    """
    if _DNG in tags:
        return "DNG"
    make = bytes(value & 0xFF for value in tags.get(_MAKE, ())).split(b"\0")[0]
    maker = make.decode("ascii", "replace").strip().split(" ")[0].title()
    preview = tags.get(_SUBFILE, (0,))[:1] == (1,) and _SUBDIRECTORIES in tags
    raw = (
        tags.get(_COMPRESSION, (1,))[0] in _RAW_COMPRESSIONS
        or tags.get(_PHOTOMETRIC, (0,))[0] in _RAW_PHOTOMETRICS
        or (maker and (preview or tags.get(_COMPRESSION, (1,))[0] == 6))
    )
    return (maker or "camera") if raw else ""


def _text(head: bytes) -> str | None:
    if head and not head.strip(b"\0"):
        return "only zero bytes: a placeholder or an unfinished download"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<head", b"<body", b"<script")) or b"<html" in start:
        return "web page (HTML)"
    if start.startswith(b"<svg") or (start.startswith(b"<?xml") and b"<svg" in start):
        return "SVG drawing"
    if start.startswith((b"<?xml", b"<error")) and b"<error" in start:
        return "error message of a server (XML)"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "text"
    try:
        text = head.decode() if len(head) < HEAD_BYTES else head[:-4].decode(errors="ignore")
    except UnicodeDecodeError:
        return None
    printable = sum(letter.isprintable() or letter in "\t\r\n\f" for letter in text)
    return "text" if text and printable == len(text) and "\ufffd" not in text else None
