"""WebDataset tars → a photo table of addresses into them: nothing is unpacked.

A sample is files that follow one another in a tar under one name up to the first dot:
`0001.jpg`, `0001.cls`, `0001.json`.
"""

from __future__ import annotations

import glob
import json
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from ..core.errors import DataError, ImageError, OptionError
from ..core.images import SUFFIXES
from ..core.storage import TarMember, is_url, open_store
from ..core.types import SEPARATOR, Photos
from .photo_locations import entries

KINDS = ("cls", "txt", "json", "none")

LARGEST_LABEL = 1_000_000  # bytes of a file that holds a label

MOST_TARS = 1_000_000

_RANGE = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}", re.ASCII)


@dataclass(frozen=True)
class LabelPlace:
    """Where a sample's landmark stands. kind: "cls", "txt" or "json", the suffix of the file that
    holds it (text; of JSON the value of `key`); "" = no photo has one.
    """

    kind: str = "cls"
    key: str = "landmark"


def label_of(kind: str, key: str) -> LabelPlace:
    """What --label and --key say. Raises OptionError for another kind."""
    if kind not in KINDS:
        raise OptionError(f"--label {kind!r} given; expected {', '.join(KINDS[:-1])} or none")
    return LabelPlace("" if kind == "none" else kind, key)


@dataclass
class SampleColumns:
    """Columns of what was read so far, and what could not be used: name → reason."""

    ids: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    landmarks: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)


@dataclass
class _Sample:
    photo: TarMember | None = None
    label: bytes | None = None


def read_webdataset(sources: Sequence[str], label: LabelPlace) -> tuple[Photos, dict[str, str]]:
    """The photos of WebDataset tars, in their order, and name → reason of samples that cannot be
    used: without a photo, without a label where one is wanted, or of a tar that is damaged.

    sources: paths, patterns (`photos-*.tar`), ranges (`photos-{000000..000012}.tar`), URLs.
    id: "<name of the tar>/<name of the sample>".
    Raises DataError when there is no tar, when two photos have one id, and for a compressed tar:
    no address reaches into it.
    """
    found = SampleColumns()
    for tar in tars_of(sources):
        try:
            _read_tar(tar, label, found)
        except (tarfile.TarError, OSError, ImageError) as error:
            found.problems[tar] = f"{tar}: damaged, or cannot be read ({error})"
    photos = Photos.of_columns(found.ids, found.paths, found.landmarks)
    photos.check_ids()
    return photos, found.problems


def tars_of(sources: Sequence[str]) -> list[str]:
    """Every tar that is meant: absolute paths, or URLs. Raises DataError where there is none."""
    tars: list[str] = []
    for source in sources:
        for name in _ranged(source):
            if is_url(name):
                tars.append(name)
                continue
            matches = sorted(glob.glob(name)) if glob.has_magic(name) else [name]
            if not all(os.path.isfile(match) for match in matches) or not matches:
                raise DataError(f"{name}: no such tar")
            tars += [os.path.abspath(match) for match in matches]
    for tar in tars:
        if not tar.endswith(".tar"):
            raise DataError(f"{tar}: expected a name that ends in .tar, not compressed")
    return tars


def _ranged(source: str) -> Iterator[str]:
    """`a-{00..02}.tar` → a-00.tar, a-01.tar, a-02.tar: with the digits of the first number."""
    found = _RANGE.search(source)
    if not found:
        yield source
        return
    first, last = int(found[1]), int(found[2])
    if last < first or last - first >= MOST_TARS:
        raise DataError(f"{source}: {found[0]} given; expected a rising range")
    for number in range(first, last + 1):
        yield from _ranged(source.replace(found[0], f"{number:0{len(found[1])}}", 1))


def _read_tar(path: str, label: LabelPlace, found: SampleColumns) -> None:
    """Raises TarError where the tar is damaged; what stands before that place is found."""
    stem = os.path.basename(path)[: -len(".tar")]
    last, sample = "", _Sample()
    with _opened(path) as file:
        end = file.seek(0, os.SEEK_END)
        for name, start, size in entries(file):
            if start + size > end:
                raise tarfile.ReadError("cut short")
            key, suffix = _split(name)
            if key != last:
                _take(f"{stem}/{last}", sample, label, found)
                last, sample = key, _Sample()
            if suffix in SUFFIXES:
                sample.photo = TarMember(path, name, start, size)
            elif suffix == f".{label.kind}" and size <= LARGEST_LABEL:
                file.seek(start)
                sample.label = file.read(size)
        _take(f"{stem}/{last}", sample, label, found)


def _take(photo_id: str, sample: _Sample, label: LabelPlace, found: SampleColumns) -> None:
    """A whole sample: into the columns, or among the problems."""
    if sample == _Sample():
        return  # before the first one; or files of which none is wanted
    if sample.photo is None:
        found.problems[photo_id] = f"{photo_id}: a label without a photo"
        return
    try:
        landmark = _landmark(sample.label, label) if label.kind else ""
    except ValueError as error:
        found.problems[photo_id] = f"{photo_id}: {error}"
        return
    found.ids.append(photo_id)
    found.paths.append(str(sample.photo))
    found.landmarks.append(landmark)


def _landmark(data: bytes | None, label: LabelPlace) -> str:
    """Raises ValueError where there is none."""
    if data is None:
        raise ValueError(f"no .{label.kind} with its landmark")
    value: Any = data.decode("utf-8")
    if label.kind == "json":
        value = json.loads(value)
        value = value.get(label.key) if isinstance(value, dict) else None
        if not isinstance(value, str | int):
            raise ValueError(f"no text under {label.key!r} in its .json")
    landmark = str(value).strip()
    if not landmark or SEPARATOR in landmark or len(landmark.splitlines()) != 1:
        raise ValueError(f"landmark {landmark[:80]!r}; expected one line without {SEPARATOR!r}")
    return landmark


def _split(name: str) -> tuple[str, str]:
    """ "a/0001.seg.jpg" → ("a/0001", ".seg.jpg"), as WebDataset does."""
    folder, slash, file = name.rpartition("/")
    stem, dot, suffix = file.partition(".")
    return folder + slash + stem, (dot + suffix).lower()


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    if not is_url(path):
        with open(path, "rb") as file:
            yield file
        return
    store, within = open_store(path)
    with store.open(within, "rb") as file:
        yield file
