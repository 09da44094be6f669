"""Import WebDataset tars as a photo table of addresses into them, without unpacking.

A sample is a run of consecutive files whose names are equal up to the first dot: `0001.jpg`,
`0001.cls`, `0001.json`.
"""

from __future__ import annotations

import glob
import json
import logging
import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from ..core.disks import refuse_special
from ..core.errors import DataError, ImageError, OptionError
from ..core.file_kinds import HEAD_BYTES
from ..core.files import text_of_bytes, valid_text
from ..core.storage import TarMember, is_url, open_store
from ..core.types import SEPARATOR, Photos
from .left_out import is_photo_like, system_reason, why_not_a_photo
from .photo_locations import tar_members
from .table import TableText

log = logging.getLogger("whichlandmark")

LABEL_KINDS = ("cls", "txt", "json", "none")

MAX_LABEL_BYTES = 1_000_000  # larger files are not read as labels

# Files beside the photos of a sample, which are never photos.
TEXT_SUFFIXES = (".json", ".txt", ".cls", ".id", ".url", ".caption", ".npy", ".npz", ".pt", ".pyd")

MAX_TARS_PER_RANGE = 1_000_000

_RANGE = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}", re.ASCII)


@dataclass(frozen=True)
class LabelSource:
    """Which file of a sample contains its landmark.

    kind: suffix of the file, "cls", "txt" (text) or "json" (the value of `key`); "" = photos have
    no landmark.
    """

    kind: str = "cls"
    key: str = "landmark"


def label_source(kind: str, key: str) -> LabelSource:
    """The source that --label and --key choose. Raises OptionError for another kind."""
    if kind not in LABEL_KINDS:
        raise OptionError(f"--label {kind!r} given; expected {', '.join(LABEL_KINDS[:-1])} or none")
    return LabelSource("" if kind == "none" else kind, key)


@dataclass
class SampleColumns:
    """Columns of the samples read so far.

    text: reads the labels. problems: sample or tar → why it cannot be used. left_out: member of a
      tar → why it is no photo.
    """

    text: TableText
    ids: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    landmarks: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass
class _Sample:
    photo: TarMember | None = None
    label: bytes | None = None


def read_webdataset(sources: Sequence[str], label: LabelSource) -> tuple[Photos, dict[str, str]]:
    """List the photos of WebDataset tars, in their order.

    A photo's id is "<name of the tar>/<name of the sample>"; where tars in several folders have one
    name, with their folders before it.

    Args:
        sources: Paths, folders, patterns (`photos-*.tar`), ranges (`photos-{000000..000012}.tar`),
            URLs.
        label: Which file contains the landmark.

    Returns:
        The table, whose `left_out` names the members that are no photos though they could be, and
        sample or tar → reason of what cannot be used: a sample without a photo or without the
        label, a damaged tar.

    Raises:
        DataError: When there is no tar, when two photos have the same id, or when a tar is
            compressed, because no address can point into it.
    """
    found = SampleColumns(TableText("labels of the tars"))
    for tar, name in _tar_names(expand_tars(sources)).items():
        try:
            _read_tar(tar, name, label, found)
        except (tarfile.TarError, OSError, ImageError, ValueError) as error:
            found.problems[valid_text(tar)] = f"damaged, or cannot be read ({error})"
    landmarks = found.text.whole_numbers(found.landmarks, "landmarks")
    photos = Photos.of_columns(found.ids, found.paths, landmarks, left_out=found.left_out)
    photos.check_ids()
    return found.text.report(photos), found.problems


def _tar_names(tars: Sequence[str]) -> dict[str, str]:
    """Tar → the start of its photos' ids: its name without .tar, with as many of its folders before
    it as keep it apart from the others. A tar that is given twice counts once.
    """
    once = {tar if is_url(tar) else os.path.realpath(tar): tar for tar in tars}
    if len(once) < len(tars):
        log.warning("%d tars are given twice and read once", len(tars) - len(once))
    parts = {tar: tar[: -len(".tar")].replace(os.sep, "/").split("/") for tar in once.values()}
    names, depth = {tar: split[-1] for tar, split in parts.items()}, 1
    while len({*names.values()}) < len(names) and depth < max(map(len, parts.values())):
        depth += 1
        counts = Counter(names.values())
        for tar, name in names.items():
            if counts[name] > 1:
                names[tar] = "/".join(parts[tar][-depth:])
    return {tar: text_of_bytes(name) for tar, name in names.items()}


def expand_tars(sources: Sequence[str]) -> list[str]:
    """Expand patterns and ranges to absolute paths or URLs. Raises DataError for a missing tar."""
    tars: list[str] = []
    for source in sources:
        for name in _expand_ranges(source):
            if is_url(name):
                tars.append(name)
                continue
            matches = sorted(glob.glob(name)) if glob.has_magic(name) else [name]
            if os.path.isdir(name):
                matches = sorted(glob.glob(os.path.join(glob.escape(name), "*.tar")))
            if not all(os.path.isfile(match) for match in matches) or not matches:
                raise DataError(f"{name}: no such tar")
            tars += [os.path.abspath(match) for match in matches]
    for tar in tars:
        if not tar.endswith(".tar"):
            raise DataError(f"{tar}: expected a name that ends in .tar, not compressed")
    return tars


def _expand_ranges(source: str) -> Iterator[str]:
    """`a-{00..02}.tar` → a-00.tar, a-01.tar, a-02.tar: as many digits as the first number."""
    found = _RANGE.search(source)
    if not found:
        yield source
        return
    first, last = int(found[1]), int(found[2])
    if last < first or last - first >= MAX_TARS_PER_RANGE:
        raise DataError(
            f"{source}: {found[0]} given; expected a rising range of at most "
            f"{MAX_TARS_PER_RANGE:,} tars"
        )
    for number in range(first, last + 1):
        yield from _expand_ranges(source.replace(found[0], f"{number:0{len(found[1])}}", 1))


def _read_tar(path: str, tar_name: str, label: LabelSource, found: SampleColumns) -> None:
    """Add the samples of a tar to `found`. Files of one sample may stand apart.

    Raises TarError where the tar is damaged; the samples before that position have been added.
    """
    samples: dict[str, _Sample] = {}
    last = ""
    try:
        with _open_tar(path) as file:
            end = file.seek(0, os.SEEK_END)
            for name, start, size in tar_members(file):
                if start + size > end:
                    raise tarfile.ReadError("cut short")
                member = TarMember(valid_text(path), text_of_bytes(name), start, size)
                if name.endswith("/"):
                    continue
                if why := next(filter(None, map(system_reason, name.split("/"))), ""):
                    found.left_out[str(member)] = why
                    continue
                last, suffix = _split_name(member.name)
                sample = samples.setdefault(last, _Sample())
                if suffix == f".{label.kind}" and size <= MAX_LABEL_BYTES:
                    file.seek(start)
                    sample.label = file.read(size)
                elif suffix not in TEXT_SUFFIXES:
                    _add_file(sample, member, suffix, _head(file, start, size), found)
    except (tarfile.TarError, OSError, ImageError, ValueError):
        samples.pop(last, None)  # its other files may be after the damage
        raise
    finally:
        for name, sample in samples.items():
            _add_sample(f"{tar_name}/{name}", sample, label, found)


def _head(file: BinaryIO, start: int, size: int) -> bytes:
    file.seek(start)
    return file.read(min(size, HEAD_BYTES))


def _add_file(
    sample: _Sample, member: TarMember, suffix: str, head: bytes, found: SampleColumns
) -> None:
    """Take a member as its sample's photo if its bytes or its ending say that it is one."""
    if suffix.count(".") > 1:  # a mask or a depth map beside the photo: 0001.seg.png
        return
    why = why_not_a_photo(head, member.name) if head else "empty file"
    if why:
        if is_photo_like(member.name, why):
            found.left_out[str(member)] = why
    elif sample.photo is None:
        sample.photo = member
    else:
        found.left_out[str(member)] = "a second photo of one sample; the first is used"


def _add_sample(photo_id: str, sample: _Sample, label: LabelSource, found: SampleColumns) -> None:
    """Add a complete sample to the columns, or to the problems."""
    if sample == _Sample():
        return  # only files that are neither photo nor label
    if sample.photo is None:
        found.problems[photo_id] = "a label without a photo"
        return
    try:
        landmark = _read_label(sample.label, label, found.text, photo_id) if label.kind else ""
    except (ValueError, DataError) as error:
        found.problems[photo_id] = str(error)
        return
    found.ids.append(photo_id)
    found.paths.append(str(sample.photo))
    found.landmarks.append(landmark)


def _read_label(data: bytes | None, label: LabelSource, text: TableText, photo_id: str) -> str:
    """The landmark in a label file's bytes. Raises ValueError when there is none."""
    if data is None:
        raise ValueError(f"no .{label.kind} with its landmark")
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    value: Any = data.decode("utf-16" if wide else "utf-8-sig")
    if label.kind == "json":
        try:
            value = json.loads(value)
        except RecursionError:
            raise ValueError("its .json is nested too deeply") from None
        value = value.get(label.key) if isinstance(value, dict) else None
        if isinstance(value, float) and value.is_integer():  # as pandas writes whole numbers
            value = int(value)
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise ValueError(f"no text under {label.key!r} in its .json")
    name = str(value).strip()
    if not name or SEPARATOR in name or len(name.splitlines()) != 1:
        raise ValueError(f"landmark {name[:80]!r}; expected one line without {SEPARATOR!r}")
    return text.landmark(name, photo_id)


def _split_name(name: str) -> tuple[str, str]:
    """ "a/0001.seg.jpg" → ("a/0001", ".seg.jpg"), as WebDataset does."""
    folder, slash, file = name.rpartition("/")
    stem, dot, suffix = file.partition(".")
    return folder + slash + stem, (dot + suffix).lower()


@contextmanager
def _open_tar(path: str) -> Iterator[BinaryIO]:
    if not is_url(path):
        refuse_special(path)
        with open(path, "rb") as file:
            yield file
        return
    store, within = open_store(path)
    with store.open(within, "rb") as file:
        yield file
