"""Read a folder of photos as a table: <root>/<landmark>/*.jpg, or photos without landmarks."""

from __future__ import annotations

import logging
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from ..core.errors import DataError, OptionError
from ..core.files import local_path, text_of_bytes, valid_text
from ..core.types import SEPARATOR, Photos
from . import left_out as unused
from .table import TableText, read_photos, similar_names

log = logging.getLogger("whichlandmark")

READ_AT_ONCE = 8  # files whose first bytes are read at once, because a network drive is slow

# Folders that say which part of a data set, when, or by which camera, but not which landmark.
_PART = re.compile(
    r"(train|training|val|valid|validation|dev|test|testing|holdout|eval|evaluation|queries|query)"
    r"([-_ ]?(set|data|images|photos|\d{1,2}))?",
    re.IGNORECASE,
)

_DATE = re.compile(
    r"(photos from )?(18|19|20)\d\d([-_. ](0?[1-9]|1[0-2])([-_. ](0?[1-9]|[12]\d|3[01]))?)?"
    r"|(18|19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])?"
    r"|0[1-9]|1[0-2]|(0?[1-9]|1[0-2])[-_. ](january|february|march|april|may|june|july|august|"
    r"september|october|november|december|jan|feb|mar|apr|jun|jul|aug|sep|oct|nov|dec)",
    re.IGNORECASE,
)

_YEAR = re.compile(r"(18|19|20)\d\d.*|photos from.*", re.IGNORECASE | re.DOTALL)

_WRAPPER = re.compile(
    r"photos?|images?|pictures?|pics|imgs?|jpe?gs?|raw|originals?|edited|exports?|dcim|"
    r"\d{3}[a-z_0-9]{5}|camera|camera roll|camera uploads|data|dataset|takeout|google photos",
    re.IGNORECASE,
)


@dataclass(eq=False)
class FoundPhotos:
    """What lies below a folder: the paths of its photos, and path → reason of all other files.

    Paths are absolute, photos sorted folder by folder. A path whose name is not UTF-8 is a `file:`
    URL.
    """

    photos: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def find_photos(root: str | Path) -> FoundPhotos:
    """Find every photo below a folder, at any depth; the first bytes of a file decide what it is.

    Linked folders are followed once. Folders of the system (`@eaDir`, `.Trash`, `__MACOSX`) are
    listed, but no file of theirs is opened.

    Raises:
        DataError: When the folder is missing or may not be read.
    """
    top = os.path.abspath(root)
    if not os.path.isdir(top):
        what = "no folder, but a file" if os.path.exists(top) else "no such folder"
        raise DataError(f"{valid_text(top)}: {what}")
    found = FoundPhotos()
    files = list(_files(top, found.left_out))
    with ThreadPoolExecutor(READ_AT_ONCE, thread_name_prefix="kind") as pool:
        reasons = pool.map(unused.why_not_used, files)
        for path, reason in zip(files, reasons, strict=True):
            if reason:
                found.left_out[valid_text(path)] = reason
            else:
                found.photos.append(valid_text(path))
    return found


def possible_photos(root: str) -> list[str]:
    """The files below a folder that may be photos by their names; none is opened."""
    return [path for path in _files(root, {}) if not path.lower().endswith(".xmp")]


def _files(top: str, left_out: dict[str, str]) -> Iterator[str]:
    """Every file that may be a photo; all others go into `left_out`."""
    seen = {_identity(top)}
    above = {_identity(str(folder)) for folder in Path(os.path.realpath(top)).parents}
    waiting = [top]
    while waiting:  # real folders first, so that a link to one of them is recognised
        links: list[str] = []
        for start in waiting:
            yield from _files_below(start, seen, links, left_out)
        waiting = []
        for link in sorted(links):
            identity = _identity(link)
            if identity in above:
                left_out[valid_text(link)] = "link to a folder around this one (a loop)"
            elif identity in seen:
                left_out[valid_text(link)] = "link to a folder that is read already"
            else:
                seen.add(identity)
                waiting.append(link)


def _files_below(
    start: str, seen: set[tuple[int, int]], links: list[str], left_out: dict[str, str]
) -> Iterator[str]:
    stack = [(start, "")]  # folders, and why their files are not used
    while stack:
        folder, reason = stack.pop()
        try:
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            left_out[valid_text(folder)] = f"folder cannot be read ({error.strerror})"
            continue
        folders = []
        for entry in listed:
            why = reason or unused.system_reason(entry.name)
            if entry.is_dir(follow_symlinks=False):
                seen.add(_identity(entry.path))
                folders.append((entry.path, why))
            elif why:
                left_out[valid_text(entry.path)] = why
            elif entry.is_symlink() and os.path.isdir(entry.path):
                links.append(entry.path)
            else:
                yield entry.path
        stack += reversed(folders)


def _identity(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return (-1, -1)
    return (status.st_dev, status.st_ino) if stat.S_ISDIR(status.st_mode) else (-1, -1)


def read_folder(root: str | Path, *, labelled: bool = True, level: int | None = None) -> Photos:
    """Read every photo below a folder as a table, in sorted order.

    A photo's id is `<root's name>/<path below root>`, so that photos of two folders have different
    ids. What a file is, its first bytes decide. Every file that is not in the table is in its
    `left_out`, with the reason: HEIC, RAW, videos, thumbnails of the system, broken links.

    Args:
        root: The folder.
        labelled: True = a photo's landmark is the name of a folder that it lies in, and photos in
            no such folder are left out. False = no photo has a landmark (distractors).
        level: Which folder below `root` names the landmark: 1 = the first, 2 = the second. None =
            the first that is not the name of a part (`train`, `test`) or a date (`2019`).

    Returns:
        The table of photos, at least one.

    Raises:
        DataError: When the folder is missing, when it has no photo in the expected layout, when the
            landmarks may be its first folders as well as its second ones and no level is given, or
            when a landmark folder's name contains "|", which separates several landmarks of one
            photo.
        OptionError: When the level is not 1 or more.
    """
    if level is not None and (level < 1 or not labelled):
        raise OptionError(
            f"level {level} given; expected 1 or more, and only for photos with landmarks"
        )
    top = os.path.abspath(os.path.expanduser(root))
    if top.lower().endswith((".csv", ".tsv")) and os.path.isfile(top):
        raise DataError(f"{valid_text(top)}: a table, not a folder; use read_photos({top!r})")
    found = find_photos(top)
    if not found.photos:
        raise DataError(_no_photos(top, labelled, found.left_out))
    below = {path: _folders_below(path, top) for path in found.photos}
    landmarks: dict[str, str | None] = dict.fromkeys(found.photos, "")
    if labelled:
        landmarks = _landmarks(below, top, level)
        for path, landmark in landmarks.items():
            if landmark is None:
                inside = "/".join(below[path]) or os.path.basename(top)
                found.left_out[path] = f"photo in no landmark folder (directly in {inside})"
    used = [path for path in found.photos if landmarks[path] is not None]
    if not used:
        raise DataError(_no_landmark_folder(top, below))
    if loose := len(found.photos) - len(used):
        log.warning("%d photos outside the landmark folders of %s are left out",
                    loose, valid_text(top))  # fmt: skip
    ids = _unique(f"{text_of_bytes(os.path.basename(top))}/{_below(path, top)}" for path in used)
    names = [landmarks[path] or "" for path in used]
    return Photos.of_columns(ids, used, names, left_out=found.left_out)


def _below(path: str, top: str) -> str:
    return text_of_bytes(local_path(path)[len(top.rstrip(os.sep)) + 1 :].replace(os.sep, "/"))


def _folders_below(path: str, top: str) -> tuple[str, ...]:
    return tuple(_below(path, top).split("/")[:-1])


def _unique(ids: Iterator[str]) -> list[str]:
    """The ids; one that occurs twice, because its bytes were no UTF-8, gets a mark."""
    seen: dict[str, None] = {}
    for photo_id in ids:
        while photo_id in seen:
            photo_id += "~"
        seen[photo_id] = None
    return list(seen)


def _landmarks(
    below: dict[str, tuple[str, ...]], top: str, level: int | None
) -> dict[str, str | None]:
    """Path → landmark, "" = none, None = it lies in no landmark folder."""
    skipped = _Layout(set(below.values())).skipped if level is None else {}
    depths = {
        folders: (level - 1 if level else _leading(folders, skipped)) for folders in below.values()
    }
    if level is None:
        if any(depth < len(folders) for folders, depth in depths.items()):
            _report_skipped(skipped, top)
        _check_depth({folders: depth for folders, depth in depths.items() if depth < len(folders)},
                     top)  # fmt: skip
    landmarks: dict[str, str | None] = {}
    spellings: dict[str, set[str]] = {}
    text = TableText(valid_text(top))
    for path, folders in below.items():
        depth = depths[folders]
        if depth >= len(folders):
            landmarks[path] = None
            continue
        raw = folders[depth]
        if SEPARATOR in raw:
            raise DataError(
                f"{top}/{'/'.join(folders[: depth + 1])}: {SEPARATOR!r} separates several "
                "landmarks of one photo, so no landmark name may contain it; rename the folder"
            )
        name = text.landmark(raw, f"{top}/{'/'.join(folders[: depth + 1])}")
        landmarks[path] = name
        spellings.setdefault(name, set()).add(raw)
    _report_names(Counter(filter(None, landmarks.values())), spellings, top)
    whole = text.whole_numbers(list(filter(None, landmarks.values())), "landmarks")
    numbers = dict(zip(filter(None, landmarks.values()), whole, strict=True))
    text.log_notes()
    return {path: numbers.get(name, name) if name else name for path, name in landmarks.items()}


class _Layout:
    """Which folders of a tree are no landmarks, because they name a part, a date or a camera.

    skipped: such folders, as tuples of names below the root → what they are.
    """

    def __init__(self, holding: set[tuple[str, ...]]) -> None:
        """holding: the folders that hold photos directly."""
        self.holding = holding
        self.children: dict[tuple[str, ...], set[str]] = {}
        for folders in holding:
            for depth, name in enumerate(folders):
                self.children.setdefault(folders[:depth], set()).add(name)
        self.skipped: dict[tuple[str, ...], str] = {}
        waiting: list[tuple[str, ...]] = [()]
        while waiting:
            parent = waiting.pop()
            names = self.children.get(parent, set())
            for name in sorted(names):
                if kind := self._kind(parent, name, names):
                    self.skipped[(*parent, name)] = kind
                    waiting.append((*parent, name))

    def _kind(self, parent: tuple[str, ...], name: str, siblings: set[str]) -> str:
        """What a folder is that names no landmark; "" = it names one."""
        kind = _kind_of(name, inside_a_date=bool(parent) and self.skipped.get(parent) == "date")
        others = [other for other in siblings if not _kind_of(other, inside_a_date=True)]
        holds = (*parent, name) in self.holding
        if kind == "folder of photos":
            return "" if holds or len(siblings) > 1 else kind
        if kind and others:  # among landmarks: 2019 may be a landmark's number
            numbers = name.isdigit() and any(other.isdigit() for other in others)
            return "" if holds or numbers else kind
        return kind


def _kind_of(name: str, *, inside_a_date: bool) -> str:
    if _PART.fullmatch(name):
        return "part of a data set"
    if _DATE.fullmatch(name) and (inside_a_date or _YEAR.match(name)):
        return "date"
    return "folder of photos" if _WRAPPER.fullmatch(name) else ""


def _leading(folders: tuple[str, ...], skipped: dict[tuple[str, ...], str]) -> int:
    depth = 0
    while depth < len(folders) and folders[: depth + 1] in skipped:
        depth += 1
    return depth


def _report_skipped(skipped: dict[tuple[str, ...], str], top: str) -> None:
    for kind in dict.fromkeys(skipped.values()):
        names = sorted({folders[-1] for folders, other in skipped.items() if other == kind})
        log.warning(
            "%s: %s (%s): the folders below name the landmarks; --level 1 takes the first folders",
            valid_text(top), _some(names), kind,
        )  # fmt: skip


def _check_depth(depths: dict[tuple[str, ...], int], top: str) -> None:
    """Raises DataError where the folders of landmarks hold only folders, which may be the landmarks
    as well.

    depths: folders below the root that hold photos → number of folders before the landmark.
    """
    pairs = {folders[depth : depth + 2] for folders, depth in depths.items()}
    deeper = {pair for pair in pairs if len(pair) == 2}
    if not deeper or len(deeper) < len(pairs):
        if deeper:
            log.warning("%s: photos lie at several depths; the first folder is the landmark",
                        valid_text(top))  # fmt: skip
        return
    second = [pair[1] for pair in deeper]
    if all(_kind_of(name, inside_a_date=True) for name in second):
        return
    if len({*second}) <= len(deeper) / 2:  # the same in many landmarks: day, night
        return
    first, after = sorted({pair[0] for pair in deeper}), 1 + min(depths.values())
    raise DataError(
        f"{valid_text(top)}: the photos lie two folders deep, such as "
        f"{'/'.join(min(deeper))}; which folder names the landmark? Make a table first: "
        f"`whichlandmark import folder … --level {after}` for {_some(first)}, --level {after + 1} "
        f"for {_some(sorted({*second}))} (in Python: read_folder(…, level={after}))"
    )


def _report_names(counts: Counter[str], spellings: dict[str, set[str]], top: str) -> None:
    joined = [name for name, raw in spellings.items() if name and len(raw) > 1]
    if joined:
        log.warning(
            "%s: %s: folders whose names differ only in invisible ways (Unicode form, blanks) are "
            "one landmark", valid_text(top), _some(joined),
        )  # fmt: skip
    for names in similar_names(counts):
        log.warning(
            "%s: look alike, and are kept as different landmarks: %s; rename the folders if they "
            "are one", valid_text(top), ", ".join(f"{n!r} ({counts[n]} photos)" for n in names),
        )  # fmt: skip


def _some(names: Sequence[str], most: int = 3) -> str:
    more = f" … ({len(names)} in all)" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _no_photos(top: str, labelled: bool, left_out: dict[str, str]) -> str:
    layout = "<landmark>/*.jpg" if labelled else "*.jpg"
    expected = f"expected {valid_text(top)}/{layout} (also .png, .webp, .gif, .avif)"
    seen = "; ".join(unused.counted(left_out))
    return f"{valid_text(top)}: no photos found; {expected}" + (f"; there: {seen}" if seen else "")


def _no_landmark_folder(top: str, below: dict[str, tuple[str, ...]]) -> str:
    inside = sorted({"/".join(folders) for folders in below.values()})
    where = f" (they lie in {_some(inside)})" if inside != [""] else ""
    hint = "; if those folders are landmarks, --level 1" if where else ""
    return (
        f"{valid_text(top)}: {len(below)} photos without a landmark folder{where}; expected "
        f"{valid_text(top)}/<landmark>/*.jpg, or read it as photos without landmarks "
        f"(labelled=False, --unlabelled){hint}"
    )


def read_photos_or_folder(source: str | Path, *, labelled: bool = True) -> Photos:
    """Read a photos.csv, a folder of photos or, where it needs no landmark, one photo.

    Raises DataError when `source` is none of these.

    labelled: as in `read_folder`; a photos.csv always keeps its landmarks.
    """
    if Path(source).is_dir():
        return read_folder(source, labelled=labelled)
    if not Path(source).exists():
        raise DataError(f"{source}: no such file or folder")
    path = os.path.abspath(source)
    name = text_of_bytes("/".join(Path(path).parts[-2:]))
    if not unused.why_not_used(path) and Path(path).suffix.lower() not in (".csv", ".txt"):
        if labelled:
            raise DataError(
                f"{valid_text(path)}: a photo; expected a photos.csv or a folder with one "
                "sub-folder of photos for each landmark"
            )
        return Photos.of_columns([name], [valid_text(path)], [""])
    return read_photos(source)
