"""Import WebDataset tars as a photo table of addresses into them, without unpacking.

A sample is a run of consecutive files whose names are equal up to the first dot: `0001.jpg`,
`0001.cls`, `0001.json`.
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
from .photo_locations import tar_members

LABEL_KINDS = ("cls", "txt", "json", "none")

MAX_LABEL_BYTES = 1_000_000  # larger files are not read as labels

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
    """Columns of the samples read so far. problems: sample or tar → why it cannot be used."""

    ids: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    landmarks: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)


@dataclass
class _Sample:
    photo: TarMember | None = None
    label: bytes | None = None


def read_webdataset(sources: Sequence[str], label: LabelSource) -> tuple[Photos, dict[str, str]]:
    """List the photos of WebDataset tars, in their order.

    A photo's id is "<name of the tar>/<name of the sample>".

    Args:
        sources: Paths, patterns (`photos-*.tar`), ranges (`photos-{000000..000012}.tar`), URLs.
        label: Which file contains the landmark.

    Returns:
        The table, and sample or tar → reason of what cannot be used: a sample without a photo or
        without the label, a damaged tar.

    Raises:
        DataError: When there is no tar, when two photos have the same id, or when a tar is
            compressed, because no address can point into it.
    """
    found = SampleColumns()
    for tar in expand_tars(sources):
        try:
            _read_tar(tar, label, found)
        except (tarfile.TarError, OSError, ImageError) as error:
            found.problems[tar] = f"{tar}: damaged, or cannot be read ({error})"
    photos = Photos.of_columns(found.ids, found.paths, found.landmarks)
    photos.check_ids()
    return photos, found.problems


def expand_tars(sources: Sequence[str]) -> list[str]:
    """Expand patterns and ranges to absolute paths or URLs. Raises DataError for a missing tar."""
    tars: list[str] = []
    for source in sources:
        for name in _expand_ranges(source):
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


def _read_tar(path: str, label: LabelSource, found: SampleColumns) -> None:
    """Add the samples of a tar to `found`.

    Raises TarError where the tar is damaged; the samples before that position have been added.
    """
    stem = os.path.basename(path)[: -len(".tar")]
    sample_name, sample = "", _Sample()
    with _open_tar(path) as file:
        end = file.seek(0, os.SEEK_END)
        for name, start, size in tar_members(file):
            if start + size > end:
                raise tarfile.ReadError("cut short")
            next_name, suffix = _split_name(name)
            if next_name != sample_name:
                _add_sample(f"{stem}/{sample_name}", sample, label, found)
                sample_name, sample = next_name, _Sample()
            if suffix in SUFFIXES:
                sample.photo = TarMember(path, name, start, size)
            elif suffix == f".{label.kind}" and size <= MAX_LABEL_BYTES:
                file.seek(start)
                sample.label = file.read(size)
        _add_sample(f"{stem}/{sample_name}", sample, label, found)


def _add_sample(photo_id: str, sample: _Sample, label: LabelSource, found: SampleColumns) -> None:
    """Add a complete sample to the columns, or to the problems."""
    if sample == _Sample():
        return  # before the first sample, or only files that are neither photo nor label
    if sample.photo is None:
        found.problems[photo_id] = f"{photo_id}: a label without a photo"
        return
    try:
        landmark = _read_label(sample.label, label) if label.kind else ""
    except ValueError as error:
        found.problems[photo_id] = f"{photo_id}: {error}"
        return
    found.ids.append(photo_id)
    found.paths.append(str(sample.photo))
    found.landmarks.append(landmark)


def _read_label(data: bytes | None, label: LabelSource) -> str:
    """The landmark in a label file's bytes. Raises ValueError when there is none."""
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


def _split_name(name: str) -> tuple[str, str]:
    """ "a/0001.seg.jpg" → ("a/0001", ".seg.jpg"), as WebDataset does."""
    folder, slash, file = name.rpartition("/")
    stem, dot, suffix = file.partition(".")
    return folder + slash + stem, (dot + suffix).lower()


@contextmanager
def _open_tar(path: str) -> Iterator[BinaryIO]:
    if not is_url(path):
        with open(path, "rb") as file:
            yield file
        return
    store, within = open_store(path)
    with store.open(within, "rb") as file:
        yield file
