"""Tell by its first bytes what a file is, and why it is or is not a photo that can be used.

The bytes decide, not the ending, because phones, browsers and messengers write JPEGs that are
called .jfif, .HEIC or nothing at all, and web pages that are called .jpg.
"""

from __future__ import annotations

import csv
import errno
import os
import re
import stat
from pathlib import Path

from ..core.files import atomic_file, text_of_bytes
from ..core.images import SUFFIXES
from ..core.results import require_own_result

HEAD_BYTES = 512  # read of each file

MAX_REASONS = 20  # printed

CONVERT = "which cannot be decoded: convert it to JPEG"

# Folders and files that operating systems, cameras, NAS boxes and photo programs make for
# themselves. What lies in such a folder is no photo of its owner's choice: thumbnails, deleted and
# older versions.
SYSTEM_NAMES = re.compile(
    r"@eadir|@syno.*|@__thumb|@recycle|@recently-snapshot|@tmp|#recycle|#snapshot|\$recycle\.bin|"
    r"recycler|recycled|system volume information|__macosx|lost\+found|lost\.dir|thumbs\.db.*|"
    r"ehthumbs\.db|ehthumbs_vista\.db|desktop\.ini|picasa\.ini|zbthumbnail\.info|icon\r|"
    r"network trash folder|temporary items|thumbnails|found\.\d{3}|syno(eastream|index).*|"
    r".*@syno(eastream|resource)|.*\.(lrdata|lrcat|cocatalog)|node_modules",
    re.IGNORECASE | re.DOTALL,
)

_TIFF_RAW = {
    ".cr2": "Canon", ".nef": "Nikon", ".nrw": "Nikon", ".arw": "Sony", ".srf": "Sony",
    ".sr2": "Sony", ".pef": "Pentax", ".dng": "DNG", ".erf": "Epson", ".3fr": "Hasselblad",
    ".fff": "Hasselblad", ".iiq": "Phase One", ".cap": "Phase One", ".mos": "Leaf",
    ".mef": "Mamiya", ".kdc": "Kodak", ".dcr": "Kodak", ".dcs": "Kodak", ".rwl": "Leica",
    ".gpr": "GoPro", ".srw": "Samsung", ".raw": "camera", ".ptx": "Pentax", ".rwz": "Rawzor",
}  # fmt: skip

# Endings of photos that cannot be decoded: such a file is a photo that its owner misses.
OTHER_PHOTO_SUFFIXES = frozenset({
    ".jfif", ".jpe", ".jif", ".jfi", ".heic", ".heif", ".hif", ".heics", ".tif", ".tiff", ".bmp",
    ".jp2", ".jxl", ".cr3", ".crw", ".raf", ".orf", ".rw2", ".x3f", ".mrw", *_TIFF_RAW,
})  # fmt: skip

_PHOTO_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")

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
    (b"%PDF", "PDF"), (b"PK\x03\x04", "zip archive or Office document"),
    (b"PK\x05\x06", "zip archive"),
    (b"Rar!", "RAR archive"), (b"7z\xbc\xaf", "7z archive"), (b"\x1f\x8b", "gzip archive"),
    (b"\x1a\x45\xdf\xa3", "video"), (b"\x30\x26\xb2\x75", "video"), (b"\0\0\x01\xba", "video"),
    (b"\0\0\x01\xb3", "video"), (b"FLV", "video"), (b"ID3", "sound"), (b"fLaC", "sound"),
    (b"OggS", "sound"), (b"\0\0\x01\0", "icon"), (b"SQLite format 3", "database"),
    (b"gimp xcf", "GIMP file"), (b"\x7fELF", "program"), (b"MZ", "program"),
    (b"bplist00", "Apple property list"), (b"\0\x05\x16\x07", "AppleDouble file (no photo)"),
    (b"\0\x05\x16\0", "AppleDouble file (no photo)"), (b"\xd0\xcf\x11\xe0", "Office document"),
    (b"version https://git-lfs", "Git LFS pointer, not the file itself: run `git lfs pull`"),
)  # fmt: skip

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_BRANDS = {
    b"avif": "", b"avis": "", b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"hevx": "HEIC",
    b"heim": "HEIC", b"heis": "HEIC", b"hevm": "HEIC", b"hevs": "HEIC", b"crx ": "Canon RAW",
}  # fmt: skip


def why_not_used(path: str, status: os.stat_result | None = None) -> str:
    """Why this file is not a photo that can be decoded, in a few words; "" = it is one.

    Only plain files are opened, because opening a pipe waits for its other end. A file with a
    photo's ending whose bytes are text or of no known kind counts as a photo: a damaged one, which
    the decoder names.
    """
    try:
        status = status or os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return _special(status.st_mode)
        if not status.st_size:
            return "empty file"
        opened = os.open(
            path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        )
        try:
            head = os.read(opened, HEAD_BYTES)
        finally:
            os.close(opened)
    except OSError as error:
        return _cannot_be_read(path, error)
    return why_not_a_photo(head, os.path.basename(path))


def why_not_a_photo(head: bytes, name: str) -> str:
    """The same from a file's first bytes and its name; "" = a photo, perhaps a damaged one."""
    suffix = os.path.splitext(name)[1].lower()
    if head.startswith(_PHOTO_MAGIC) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return ""
    kind = _kind(head, suffix)
    if kind in (None, "text") and suffix in SUFFIXES:
        return ""
    if kind is None:
        return "no photo (a file of unknown kind)"
    if kind and suffix in SUFFIXES:
        return f"{kind}, though its name ends in {suffix}"
    return kind


def _kind(head: bytes, suffix: str) -> str | None:
    """What the file is; "" = an AVIF, None = of no known kind."""
    if head[4:8] == b"ftyp":
        return _of_brands(head)
    if head.startswith(_TIFF_STARTS):
        maker = _TIFF_RAW.get(suffix)
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
            kind = _BRANDS[brand]
            return kind and f"{kind}, {CONVERT}"
    if {b"mif1", b"msf1"} & {*brands}:
        return f"HEIF, {CONVERT}"
    return "video"


def _text(head: bytes) -> str | None:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "web page (HTML)"
    if start.startswith(b"<svg") or (start.startswith(b"<?xml") and b"<svg" in start):
        return "SVG drawing"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "text"
    try:
        text = head.decode() if len(head) < HEAD_BYTES else head[:-4].decode(errors="ignore")
    except UnicodeDecodeError:
        return None
    printable = sum(letter.isprintable() or letter in "\t\r\n\f" for letter in text)
    return "text" if text and printable == len(text) and "\ufffd" not in text else None


def _special(mode: int) -> str:
    for is_kind, kind in (
        (stat.S_ISFIFO, "FIFO"), (stat.S_ISSOCK, "socket"), (stat.S_ISBLK, "device"),
        (stat.S_ISCHR, "device"), (stat.S_ISDIR, "folder"),
    ):  # fmt: skip
        if is_kind(mode):
            return f"{kind}, no file"
    return "no plain file"


def _cannot_be_read(path: str, error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "link loop"
    if error.errno == errno.ENOENT and os.path.islink(path):
        return "broken link: what it points to is not there"
    if isinstance(error, PermissionError):
        return "may not be read (permission denied)"
    return f"cannot be read ({error.strerror or error})"


def system_reason(name: str) -> str:
    """Why a file or folder of this name belongs to a system or a program; "" = it does not."""
    if name.startswith("._"):
        return "system file (._…, made by macOS)"
    if name.startswith(".") and name.endswith(".icloud"):
        return "photo that is only in iCloud: download it first"
    if name.lower().endswith((".photoslibrary", ".aplibrary")):
        return "in an Apple photo library: export the photos first"
    if SYSTEM_NAMES.fullmatch(name):
        return f"system file or folder ({printable(name)})"
    hidden = name.startswith(".") and name not in (".", "..")
    return "hidden file or folder" if hidden else ""


def printable(name: str) -> str:
    """A name as text that can be written and printed: bytes that are not UTF-8 become %XX, and
    control characters become blanks.
    """
    text = text_of_bytes(name)
    return "".join(letter if letter.isprintable() else " " for letter in text)


def counted(left_out: dict[str, str], *, named: int = 0) -> list[str]:
    """One line for each reason, the most frequent first: how many files, and the first of them.

    named: how many files a line names at most.
    """
    by_reason: dict[str, list[str]] = {}
    for path, reason in left_out.items():
        by_reason.setdefault(_without_places(reason), []).append(path)
    lines = []
    for reason, paths in sorted(by_reason.items(), key=lambda item: -len(item[1])):
        names = ", ".join(printable(path) for path in paths[:named])
        more = f" and {len(paths) - named} more" if named and len(paths) > named else ""
        lines.append(f"{len(paths)} × {reason}" + (f": {names}{more}" if names else ""))
    if len(lines) > MAX_REASONS:
        lines[MAX_REASONS:] = [f"… and {len(lines) - MAX_REASONS} more reasons"]
    return lines


def _without_places(reason: str) -> str:
    return re.sub(r" \(directly in .*\)$", "", reason, flags=re.DOTALL)


def write_left_out(path: Path, left_out: dict[str, str]) -> None:
    """Write every file that was left out and its reason as a csv, atomically; without any, remove
    the csv of an earlier run.
    """
    if not left_out:
        require_own_result(path, "list of files left out")
        path.unlink(missing_ok=True)
        return
    with (
        atomic_file(path, "list of files left out") as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "reason"))
        writer.writerows(left_out.items())


def lost_photos(left_out: dict[str, str]) -> dict[str, str]:
    """Those of `left_out` that are photos, by their content or ending, and that were not used.

    The others are plainly no photos: text, video, what systems and programs made for themselves.
    """
    return {path: reason for path, reason in left_out.items() if is_photo_like(path, reason)}


def is_photo_like(name: str, reason: str) -> bool:
    """Is a file of this name, left out for this reason, one that its owner calls a photo?"""
    if reason.startswith(("system file", "hidden file")) or "folder that is read" in reason:
        return False
    suffix = os.path.splitext(name.partition(".tar#")[2].rpartition("@")[0] or name)[1].lower()
    return (
        CONVERT in reason or "only in iCloud" in reason or "landmark folder" in reason
        or ("photo" in reason and "no photo" not in reason)
        or reason.startswith("folder") or suffix in SUFFIXES or suffix in OTHER_PHOTO_SUFFIXES
    )  # fmt: skip
