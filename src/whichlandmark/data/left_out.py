"""Why files of a folder are not used: what they are, or whose; lists and counts of them."""

from __future__ import annotations

import csv
import errno
import os
import re
import stat
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from ..core.disks import special_kind
from ..core.file_kinds import (
    CONVERT,
    EXTRAS,
    HEAD_BYTES,
    TIFF_RAW,
    format_of,
    kind_of,
    photo_format,
)
from ..core.files import atomic_file, text_of_bytes
from ..core.images import SUFFIXES
from ..core.results import require_own_result

MAX_REASONS = 20  # printed

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

# Endings of photos that cannot be decoded: such a file is a photo that its owner misses.
OTHER_PHOTO_SUFFIXES = frozenset({
    ".jfif", ".jpe", ".jif", ".jfi", ".heic", ".heif", ".hif", ".heics", ".tif", ".tiff", ".bmp",
    ".jp2", ".jxl", ".cr3", ".crw", ".raf", ".orf", ".rw2", ".x3f", ".mrw", *TIFF_RAW,
})  # fmt: skip

SIDECAR_FILE = "sidecar: metadata of a photo, no photo"


def why_not_used(path: str, status: os.stat_result | None = None) -> str:
    """Why this file is not a photo that can be decoded, in a few words; "" = it is one.

    Only plain files are opened, because opening a pipe waits for its other end. A file with a
    photo's ending whose bytes are text or of no known kind counts as a photo: a damaged one, which
    the decoder names.
    """
    try:
        status = status or os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return special_kind(status.st_mode) or "no plain file"
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
    if photo_format(head) not in ("", "AVIF", "TIFF"):  # a raw file of a camera begins as a TIFF
        return ""
    kind = kind_of(head, suffix)
    if kind in (None, "text") and suffix in SUFFIXES:
        return ""
    if kind in (None, "text") and suffix == ".xmp":
        return SIDECAR_FILE
    if kind is None:
        return "no photo (a file of unknown kind)"
    if kind and suffix in SUFFIXES:
        return f"{kind}, though its name ends in {suffix}"
    return kind


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


def without_command(reason: str) -> str:
    """A reason without the command that installs a decoder; `formats_not_decoded` says it once."""
    return re.sub(r", or pip install .*?(?=, though its name|$)", "", reason, flags=re.DOTALL)


def formats_not_decoded(reasons: Mapping[str, str]) -> list[str]:
    """One line for each format that is not decoded here: how many photos, and what helps.

    reasons: file → why it was not used or could not be read; others than those of formats may be
    among them.
    """
    found: dict[tuple[str, str], Counter[str]] = {}  # format, what helps → makers
    for reason in reasons.values():
        if CONVERT not in reason:
            continue
        kind = reason.partition("its content: ")[2] or reason
        maker, _, form = format_of(kind).rpartition(" ")
        if form not in EXTRAS:
            maker, form = "", format_of(kind)
        command = kind.partition(f"{CONVERT}, or ")[2].partition(", though its name")[0]
        if form == "RAW" and not command:
            form = "RAW without a preview that can be used"
        elif form == "TIFF":
            form = "TIFF of a rare kind"
        found.setdefault((form, command), Counter())[maker] += 1
    lines = []
    for (form, command), makers in sorted(found.items(), key=lambda item: -item[1].total()):
        one = makers.total() == 1
        whose = ", ".join(f"{count} {maker}" for maker, count in makers.most_common() if maker)
        photos = f"{makers.total()} photo{' is' if one else 's are'} {form}"
        helps = f"which this installation cannot decode: {command}"
        if not command:
            helps = f"which cannot be decoded: convert {'it' if one else 'them'} to JPEG"
        lines.append(f"{photos}{f' ({whose})' if whose else ''}, {helps}")
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
