"""Fill a gallery: embed the photos that it lacks. An interrupted run continues where it stopped."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from ...core.disks import file_lock
from ...core.errors import DataError, GalleryError, ImageError, OptionError
from ...core.fingerprint import fingerprint, pack
from ...core.images import jpeg, read_image
from ...core.storage import stamps as stamps_of
from ...core.types import Embedder, Image, Photos, Progress, several_landmarks_note
from ...features.embedders.lite0 import stored_version
from ...features.embedders.load import default_embedder, load_embedder
from ...features.embedders.own import require_embedder, save_embedder
from ...features.embedders.record import warn_of_licence
from ...features.pipeline import COMPUTE_NOTHING, EmbeddedBatch, Failure, PerPhoto, embed
from ...features.prefetch import BackgroundTask
from ...gallery.address import has_gallery, open_or_create
from ...gallery.base import Gallery
from ...gallery.records import GalleryRow
from ..spatial_verification import MATCHING_SIDE, local_features
from .settings import LOCK_FILE, PHOTO_FOLDER, own_photo


@dataclass(frozen=True)
class StoredFeatures:
    """What a gallery stores of a photo besides its vector, each packed; b"" = not stored."""

    keypoints: bytes
    fingerprint: bytes
    thumbnail: bytes


def features_of(image: Image) -> StoredFeatures:
    """(H, W, 3) uint8 → local features, fingerprint and thumbnail."""
    return StoredFeatures(local_features(image), pack(fingerprint(image)), jpeg(image))


FEATURES = PerPhoto(features_of, MATCHING_SIDE)

MAX_NAMES = 5  # in a note

MOVED_AT_ONCE = 256  # photos written in one batch, 50 KB each


def fill_gallery(
    embedder: Embedder,
    photos: Photos,
    gallery: Gallery,
    *,
    features: bool = True,
    short_side: int = 0,
    progress: Progress | None = None,
) -> list[Failure]:
    """Embed the photos that the gallery lacks and store them; returns those that failed.

    A photo is stored already when its id, path, file size and file time are unchanged. A changed
    landmark is relabelled without embedding again. Each batch is one transaction, written while the
    next one is embedded.

    Args:
        embedder: The embedder that made the gallery's vectors.
        photos: Landmark photos and distractors (landmark "").
        gallery: Where they are stored.
        features: Store local features, fingerprints and thumbnails too, about 50 KB a photo;
            without them spatial verification is not possible.
        short_side: Pixels that the short side of a photo is decoded at, at least, where neither
            the embedder nor `features` needs as many.
        progress: Counts stored photos.

    Raises:
        GalleryError: When another embedder made the gallery.
    """
    gallery.require(embedder.id)
    stamps = stamps_of(photos.paths)
    known = gallery.stamps()
    todo, relabelled = [], {}
    for row, photo_id in enumerate(photos.ids):
        stored = known.get(photo_id)
        if stored is None or stored[:2] != (photos.paths[row], stamps[row]):
            todo.append(row)
        elif stored[2] != photos.landmarks[row]:
            relabelled[photo_id] = photos.landmarks[row]
    if relabelled:
        gallery.relabel(relabelled)
    each = FEATURES if features else PerPhoto(COMPUTE_NOTHING.compute, short_side)
    todo_stamps = [stamps[row] for row in todo]
    return embed_rows(
        embedder, photos.take(todo), gallery.put, stamps=todo_stamps, each=each, progress=progress
    )


def embed_rows(
    embedder: Embedder,
    photos: Photos,
    store: Callable[[list[GalleryRow]], None],
    *,
    stamps: Sequence[str] | None = None,
    each: PerPhoto = FEATURES,
    progress: Progress | None = None,
) -> list[Failure]:
    """Embed photos and store them batch by batch, in order; returns those that failed.

    A batch is stored in a thread while the next one is embedded.

    Args:
        embedder: The embedder that made the gallery's vectors.
        photos: The photos, all of which are embedded.
        store: Called with the rows of each batch that has any, because an empty one would still
            raise the generation of the gallery.
        stamps: Of their files, where they are known; None = find them now.
        each: What is computed of every photo besides its vector.
        progress: Counts stored photos.
    """
    stamps = stamps_of(photos.paths) if stamps is None else stamps
    failures: list[Failure] = []
    done = 0

    def count(stored: int) -> None:
        nonlocal done
        done += stored
        if progress:
            progress(done, len(photos))

    with BackgroundTask(count) as writing:
        for batch in embed(embedder, photos, per_photo=each):
            rows = [gallery_row(photos, batch, i, stamps[row]) for i, row in enumerate(batch.rows)]
            write: Callable[[], None] = partial(store, rows) if rows else lambda: None
            writing.start(write, len(rows) + len(batch.failures))
            failures += batch.failures
    return failures


def gallery_row(photos: Photos, batch: EmbeddedBatch, i: int, stamp: str) -> GalleryRow:
    """The i-th photo of a batch as a gallery row. stamp: of its file, from before it was read."""
    row, stored = batch.rows[i], batch.computed[i] or StoredFeatures(b"", b"", b"")
    return GalleryRow(
        photos.ids[row], photos.paths[row], photos.landmarks[row], batch.hashes[i], stamp,
        batch.vectors[i], stored.keypoints, stored.fingerprint, stored.thumbnail,
    )  # fmt: skip


def write_paths(gallery: Gallery, moved: Mapping[str, str]) -> dict[str, tuple[str, str, str]]:
    """Give photos a new path, id → path, without embedding them again; their new `stamps`."""
    ids, written = list(moved), dict[str, tuple[str, str, str]]()
    for start in range(0, len(ids), MOVED_AT_ONCE):
        found = gallery.rows_after(-1, MOVED_AT_ONCE, ids[start : start + MOVED_AT_ONCE])
        stamps = stamps_of([moved[row.id] for _, row in found])
        batch = [replace(found[i][1], path=moved[found[i][1].id], stamp=stamp)
                 for i, stamp in enumerate(stamps)]  # fmt: skip
        gallery.put(batch)
        written |= {row.id: (row.path, row.stamp, row.landmark) for row in batch}
    return written


def paths_of_own_photos(folder: Path, gallery: Gallery) -> dict[str, str]:
    """Photos that a server stored in a folder which was moved or copied since: id → path now."""
    files = (folder / PHOTO_FOLDER).glob("*.jpg")
    found = gallery.stamps([f"{PHOTO_FOLDER}/{file.name}" for file in files])
    now = {one: str(own_photo(folder, one)) for one in found if own_photo(folder, one)}
    return {one: path for one, path in now.items() if path != found[one][0]}


@dataclass
class Changes:
    """What an update did; photos are named by their id in the table.

    Attributes:
        added: Gallery ids of new photos.
        replaced: Gallery ids of photos whose file has other bytes now.
        unchanged: Number of photos that the gallery has at the same path, as they are.
        there: Ids of photos whose bytes the gallery has at another path → gallery id.
        new_paths: Photos whose file was moved: known by their bytes.
        moved: Photos that were moved to the table's landmark.
        kept: Photos that kept the landmark that was changed by hand.
        removed, several: Photos left out: removed by hand, or of several landmarks.
        renamed_ids: Id in the table → longer id in the gallery, where another photo has the id.
        followed: Old landmark → number of new photos that got its new name.
        other_landmark: Id → reason: the gallery has the same bytes under another landmark.
        other_landmark_ids: The ids in the gallery of these photos.
        distractors: Id → reason: a distractor that is a gallery photo or shows a landmark.
        failures: Photos that could not be read.
    """

    added: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    unchanged: int = 0
    there: dict[str, str] = field(default_factory=dict)
    new_paths: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    several: list[str] = field(default_factory=list)
    renamed_ids: dict[str, str] = field(default_factory=dict)
    followed: Counter[str] = field(default_factory=Counter)
    other_landmark: dict[str, str] = field(default_factory=dict)
    other_landmark_ids: list[str] = field(default_factory=list)
    distractors: dict[str, str] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    @property
    def problems(self) -> dict[str, str]:
        """Id → reason of every photo of the table that was not used."""
        failed = {failure.id: failure.reason for failure in self.failures}
        return failed | self.other_landmark | self.distractors

    @property
    def counts(self) -> dict[str, int]:
        """Numbers to print: those that every run has, then those that are not 0."""
        always = {"added": len(self.added), "failed": len(self.failures)}
        rest = {
            "replaced": len(self.replaced), "already there": len(self.there) + self.unchanged,
            "new paths": len(self.new_paths), "moved": len(self.moved),
            "kept by hand": len(self.kept), "removed by hand": len(self.removed),
            "several landmarks": len(self.several),
            "new ids": len(self.renamed_ids), "other landmark": len(self.other_landmark),
            "distractors left out": len(self.distractors),
        }  # fmt: skip
        return always | {name: count for name, count in rest.items() if count}

    def notes(self) -> list[str]:
        """What happened that a user may not expect, one line each, for stderr and JSON."""
        found = []
        if self.replaced:
            found.append(f"replaced {_named(self.replaced)}: the file has changed")
        if self.there:
            pairs = [new if new == old else f"{new} = {old}" for new, old in self.there.items()]
            found.append(f"already there {_named(pairs)}: the gallery has the same bytes")
        if self.new_paths:
            found.append(f"new path of {_named(self.new_paths)}: the same bytes as before")
        if self.renamed_ids:
            pairs = [f"{old} → {new}" for old, new in self.renamed_ids.items()]
            found.append(f"longer id of {_named(pairs)}: another photo has the id")
        if self.moved:
            found.append(f"moved {_named(self.moved)}: to the landmark of the table")
        if self.kept:
            found.append(
                f"kept {len(self.kept)} landmarks changed by hand ({_few(self.kept)}); --relabel "
                "takes the table's"
            )
        if self.removed:
            found.append(
                f"left out {_named(self.removed)}: removed by hand; --restore adds them again"
            )
        if self.several:
            found.append(several_landmarks_note(self.several))
        for old, count in self.followed.items():
            found.append(f"{count} new photos of {old!r} are under its new name, given by hand")
        return found


def _named(names: Sequence[str]) -> str:
    return f"{len(names)} ({_few(names)})"


def _few(names: Sequence[str]) -> str:
    more = ", …" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def photos_and_distractors(photos: Photos, distractors: Photos | None) -> Photos:
    """Landmark photos and distractors as one table; landmarks of the distractors are dropped.

    A distractor of another folder whose id is that of a landmark photo gets a longer id.

    Raises:
        OptionError: When a landmark photo has no landmark.
        DataError: When an id occurs twice.
    """
    if unnamed := int((photos.landmarks == "").sum()):
        raise OptionError(
            f"{unnamed} of the {len(photos)} photos to index have no landmark; give photos "
            "without a landmark as distractors"
        )
    if distractors is None or not len(distractors):
        return photos
    photos.check_ids()
    distractors.check_ids()
    own, taken = set(photos.ids), {*photos.ids, *distractors.ids}
    ids = distractors.ids.copy()
    for row, photo_id in enumerate(distractors.ids):
        if photo_id in own:
            ids[row] = free_id(photo_id, distractors.paths[row], taken)
            taken.add(ids[row])
    return Photos(
        np.concatenate([photos.ids, ids]),
        np.concatenate([photos.paths, distractors.paths]),
        np.concatenate([photos.landmarks, np.full(len(distractors), "", dtype=object)]),
        np.concatenate([photos.usages, distractors.usages]),
    )


def longer_ids(photo_id: str, path: str) -> list[str]:
    """The ids that a photo gets where others are taken, the first first: with more of its path."""
    parts = [part for part in path.replace(os.sep, "/").split("/") if part]
    longer = ["/".join(parts[-count:]) for count in range(1, len(parts) + 1)]
    digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return [*(one for one in longer if len(one) > len(photo_id)), f"{photo_id}~{digest}"]


def free_id(photo_id: str, path: str, taken: Container[str]) -> str:
    """An id that is not taken, for a photo whose id another photo has.

    The same path always gets the same id, as long as the same other ids are taken.
    """
    longer = longer_ids(photo_id, path)
    return next((one for one in longer if one not in taken), longer[-1])


def require_photos(gallery: Gallery, changes: Changes) -> None:
    """Raises DataError, with the first reasons, when the gallery is empty after `changes`."""
    if gallery.count() == 0:
        reasons = [*changes.problems.values()][:3]
        if changes.removed:
            many = f"{len(changes.removed)} were removed by hand"
            reasons.append(f"{many} (--restore adds them again)")
        reasons += [several_landmarks_note(changes.several)] if changes.several else []
        raise DataError(f"no photo could be indexed: {'; '.join(reasons) or 'none were given'}")


def open_embedder(
    embedder: Embedder | str | Path | None,
    photos: Photos,
    folder: Path | None,
    *,
    device: str = "auto",
    progress: Progress | None = None,
) -> Embedder:
    """The embedder for the gallery of a recognizer folder, opened where a name is given.

    Args:
        embedder: An embedder; an embedder folder; "lite0", in the version of the folder's;
            "timm:NAME"; "sift": the folder's, else fitted on `photos`; None: folder's or default.
        photos: The photos to index.
        folder: The recognizer folder; None = there is none.
        device: As `load_embedder` takes it.
        progress: Of fitting SIFT's vocabulary.

    Raises:
        GalleryError: For "sift" when the folder has another embedder.
    """
    own = folder / "embedder" if folder is not None else None
    own = own if own is not None and (own / "embedder.json").exists() else None
    if embedder is None:
        embedder = own or default_embedder()
    if not isinstance(embedder, str | Path):
        require_embedder(embedder)
        return embedder
    if embedder != "sift":
        return load_embedder(stored_version(embedder, own), device=device)
    if own is not None:
        stored = load_embedder(own)
        if stored.name != "sift":
            raise GalleryError(f"{folder}: made by embedder {stored.name!r}, not by sift")
        return stored
    from ...features.embedders.sift import SiftEmbedder, SiftOptions

    options = SiftOptions()
    return SiftEmbedder.fit(_decoded(photos, options.size, progress), options)


def _decoded(photos: Photos, size: int, progress: Progress | None) -> Iterator[Image]:
    """Decode one photo at a time; skip damaged ones, because `fill_gallery` lists them."""
    for row, path in enumerate(photos.paths):
        with suppress(ImageError):
            yield read_image(path, short_side=size)
        if progress:
            progress(row + 1, len(photos))


def gallery_for(folder: Path, embedder: Embedder) -> Gallery:
    """Open or create the gallery of a recognizer folder: a file, or where `gallery.json` says.

    The embedder is saved first, so that a folder with a gallery always has its embedder. Of two
    processes that do so, the second opens what the first has made.

    Raises:
        GalleryError: When another embedder made the gallery.
    """
    with file_lock(folder / LOCK_FILE):
        if not ((folder / "embedder" / "embedder.json").exists() and has_gallery(folder)):
            save_embedder(embedder, folder / "embedder")
        gallery = open_or_create(folder, embedder.id, embedder.dim)
    warn_of_licence(folder / "embedder")
    try:
        gallery.require(embedder.id)
    except GalleryError:
        gallery.close()
        raise
    return gallery
