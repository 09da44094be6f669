"""What a file is, by its first bytes: a photo that can be decoded, another picture, or no picture.

The bytes decide, not the ending, because phones, browsers and messengers write JPEGs that are
called .jfif, .HEIC or nothing at all, and web pages that are called .jpg.
"""

from __future__ import annotations

from PIL import features

HEAD_BYTES = 512  # read of each file

CONVERT = "which cannot be decoded: convert it to JPEG"

TIFF_RAW = {
    ".cr2": "Canon", ".nef": "Nikon", ".nrw": "Nikon", ".arw": "Sony", ".srf": "Sony",
    ".sr2": "Sony", ".pef": "Pentax", ".dng": "DNG", ".erf": "Epson", ".3fr": "Hasselblad",
    ".fff": "Hasselblad", ".iiq": "Phase One", ".cap": "Phase One", ".mos": "Leaf",
    ".mef": "Mamiya", ".kdc": "Kodak", ".dcr": "Kodak", ".dcs": "Kodak", ".rwl": "Leica",
    ".gpr": "GoPro", ".srw": "Samsung", ".raw": "camera", ".ptx": "Pentax", ".rwz": "Rawzor",
}  # fmt: skip

# First bytes → kind, of pictures that a camera or a person made.
_OTHER_PICTURES = (
    (b"FUJIFILMCCD-RAW", "Fujifilm RAW"), (b"IIRO", "Olympus RAW"), (b"IIRS", "Olympus RAW"),
    (b"MMOR", "Olympus RAW"), (b"IIU\0", "Panasonic RAW"), (b"FOVb", "Sigma RAW"),
    (b"\0MRM", "Minolta RAW"), (b"II\x1a\0\0\0HEAPCCDR", "Canon RAW"), (b"II\xbc", "JPEG XR"),
    (b"\0\0\0\x0cjP", "JPEG 2000"), (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL", "JPEG XL"), (b"\xff\x0a", "JPEG XL"), (b"8BPS", "Photoshop file"),
    (b"BM", "BMP"),
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

_BRANDS = {
    b"avif": "AVIF", b"avis": "AVIF",
    b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"hevx": "HEIC",
    b"heim": "HEIC", b"heis": "HEIC", b"hevm": "HEIC", b"hevs": "HEIC", b"crx ": "Canon RAW",
}  # fmt: skip


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
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis", b"mif1", b"msf1"):
        brands = data[8 : min(int.from_bytes(data[:4], "big"), 200)]
        return "AVIF" if features.check("avif") and b"avi" in brands else ""
    return ""


def kind_of(head: bytes, suffix: str = "") -> str | None:
    """What a file is that is no JPEG, PNG, WebP or GIF, and what to do with it.

    Args:
        head: its first `HEAD_BYTES` bytes.
        suffix: the ending of its name in lower case, which tells makers of raw photos apart.

    Returns:
        A few words; "" = an AVIF that can be decoded, None = of no known kind.
    """
    if head[4:8] == b"ftyp":
        return _of_brands(head)
    if head.startswith(_TIFF_STARTS):
        maker = TIFF_RAW.get(suffix)
        return f"{f'{maker} RAW' if maker else 'TIFF'}, {CONVERT}"
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


def _of_brands(head: bytes) -> str:
    """The kind of an ISO media file, by its brands: a photo container or a video."""
    size = int.from_bytes(head[:4], "big")
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, min(size, len(head)), 4))]
    for brand in brands:
        if brand in _BRANDS:
            return "" if photo_format(head) else f"{_BRANDS[brand]}, {CONVERT}"
    if {b"mif1", b"msf1"} & {*brands}:
        return f"HEIF, {CONVERT}"
    return "video"


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
