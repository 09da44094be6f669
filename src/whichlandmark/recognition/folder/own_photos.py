"""Photos whose files a recognizer folder keeps itself: stored by a server, removed, put back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...core.files import atomic_file
from ...core.images import content_hash
from ...core.types import Embedder, Photos
from ...gallery.base import Gallery
from ...gallery.records import GalleryRow, LandmarkRecord
from .edit import open_gallery, photos_to_add
from .load import refresh_index_files
from .settings import PHOTO_FOLDER, changing_state, id_digest, own_photo, read_state
from .update import GalleryUpdate, UpdateOptions, fill_gallery

ROWS_AT_ONCE = 32  # photos read in one go while they are copied


@dataclass(frozen=True, eq=False)
class SentPhoto:
    """A photo to add. jpeg: as it is stored; sent_hash: content hash of the file as sent."""

    jpeg: bytes
    sent_hash: str = ""


@dataclass(frozen=True)
class StoredPhotos:
    """What became of photos that were given to a gallery.

    added, moved: ids; there: ids of photos that the gallery had; elsewhere: id → the other landmark
    under which the gallery has it; left_out: id → why it was not used.
    """

    added: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    elsewhere: dict[str, str] = field(default_factory=dict)
    moved: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def store_photos(
    folder: Path,
    embedder: Embedder,
    landmark: str,
    photos: Sequence[SentPhoto],
    *,
    move: bool = False,
) -> StoredPhotos:
    """Keep photos in the folder and index them. Storing the same photo again changes nothing.

    Args:
        folder: The recognizer folder.
        embedder: The one that made its gallery.
        landmark: Of all these photos; "" = they show none.
        photos: None = only the name is checked.
        move: Photos that the gallery has under another landmark get this one.

    Raises:
        OptionError: For a name that no landmark may have.
        DataError: When the folder cannot be written.
    """
    place = folder.resolve() / PHOTO_FOLDER
    named = {f"{content_hash(photo.jpeg)[:40]}.jpg": photo for photo in photos}
    ids = {f"{PHOTO_FOLDER}/{name}": photo for name, photo in named.items()}
    paths = [str(place / name) for name in named]
    table = photos_to_add(
        Photos.of_columns(list(ids), paths, [""] * len(ids)),
        landmark=landmark or None, distractors=not landmark,
    )  # fmt: skip
    if not ids:
        return StoredPhotos()
    written = []
    for name, photo in named.items():
        if not (place / name).exists():
            with atomic_file(place / name) as temporary:
                temporary.write_bytes(photo.jpeg)
            written.append(name)
    options = UpdateOptions(relabel=move, restore=True, corrects=False, explicit=True)
    sent = {one: photo.sent_hash for one, photo in ids.items()}
    with open_gallery(folder, to_change=True) as gallery:
        update = GalleryUpdate(
            table, gallery, read_state(folder), options, also=sent, folder=folder
        )
        fill_gallery(embedder, update.prepare(), update)
        refresh_index_files(folder, gallery)
        changes = update.changes
        known = gallery.stamps([*ids, *changes.other_landmark_ids])
    update.settle(folder)
    for name in written:
        if f"{PHOTO_FOLDER}/{name}" not in known:  # there as another file, or left out
            (place / name).unlink(missing_ok=True)
    left_out = {one: why for one, why in changes.problems.items()
                if one not in changes.other_landmark}  # fmt: skip
    told = {*changes.added, *changes.problems, *changes.there, *changes.moved}
    return StoredPhotos(
        changes.added,
        [*changes.there.values(), *(one for one in ids if one not in told)],
        {one: known[one][2] if one in known else "" for one in changes.other_landmark_ids},
        sorted(update.taught),
        left_out,
    )


@dataclass(frozen=True, eq=False)
class CopiedPhotos:
    """Photos of a gallery with all that is stored of them, from just before they are removed.

    Attributes:
        embedder_id: Of the gallery.
        rows: As the gallery has them.
        files: Id → the file that the folder kept of it, and its time in ns.
        records: Landmark → its record.
        removed: Digest of an id → content hash, of those recorded as removed by hand before.
        relabelled: Id → the landmark before it was changed by hand.
        renamed: Landmarks of these photos that had another name by then.
        twins: Content hashes that other photos of the gallery have too.
    """

    embedder_id: str
    rows: list[GalleryRow]
    files: dict[str, tuple[bytes, int]]
    records: dict[str, LandmarkRecord]
    removed: dict[str, str]
    relabelled: dict[str, str]
    renamed: set[str]
    twins: set[str]

    @property
    def size(self) -> int:
        """Bytes of vectors, features, thumbnails and files."""
        blobs = sum(row.vector.nbytes + len(row.keypoints) + len(row.fingerprint)
                    + len(row.thumbnail) for row in self.rows)  # fmt: skip
        return blobs + sum(len(data) for data, _ in self.files.values())


def copy_photos(
    folder: Path, gallery: Gallery, ids: Sequence[str], max_bytes: int
) -> CopiedPhotos | None:
    """Copy photos into memory, so that `put_back` can undo their removal.

    Args:
        folder: The recognizer folder.
        gallery: Its gallery.
        ids: Of photos in it.
        max_bytes: The most that the copy may take.

    Returns:
        The copy; None = it would take more.
    """
    kept = {one: file for one in ids if (file := own_photo(folder, one))}
    if sum(file.stat().st_size for file in kept.values()) > max_bytes:
        return None
    files = {one: (file.read_bytes(), file.stat().st_mtime_ns) for one, file in kept.items()}
    state = read_state(folder)
    digests = {id_digest(one) for one in ids} & state.removed.keys()
    copied = CopiedPhotos(
        gallery.embedder_id, [], files, {},
        {digest: state.removed[digest] for digest in digests},
        {one: state.relabelled[one] for one in ids if one in state.relabelled},
        set(), set(),
    )  # fmt: skip
    for start in range(0, len(ids), ROWS_AT_ONCE):
        part = ids[start : start + ROWS_AT_ONCE]
        copied.rows.extend(row for _, row in gallery.rows_after(-(2**63), len(part), part))
        if copied.size > max_bytes:
            return None
    labels = {row.landmark for row in copied.rows}
    copied.renamed.update(labels & state.renamed.keys())
    records = gallery.landmarks()
    copied.records.update({one: records[one] for one in labels & records.keys()})
    same = gallery.with_hashes({row.hash for row in copied.rows})
    copied.twins.update(digest for digest, found in same.items() if {*found} - {*ids})
    return copied


def put_back(folder: Path, copied: CopiedPhotos) -> list[str]:
    """Put removed photos back as they were; they come last in the order of the gallery.

    A landmark that was renamed meanwhile gets them under its new name.

    Returns:
        Ids of those that could not be put back, because the gallery has a photo of that id or of
        these bytes again.

    Raises:
        DataError: When the folder cannot be written.
        GalleryError: When another embedder made the gallery meanwhile.
    """
    with open_gallery(folder, to_change=True) as gallery:
        gallery.require(copied.embedder_id)
        known = gallery.stamps([row.id for row in copied.rows])
        same = gallery.with_hashes({row.hash for row in copied.rows}).keys() - copied.twins
        back = [row for row in copied.rows if row.id not in known and row.hash not in same]
        if back:
            state, records = read_state(folder), gallery.landmarks()
            names = {label: label if label in copied.renamed else state.renamed.get(label, label)
                     for label in {row.landmark for row in back}}  # fmt: skip
            for row in back:
                if row.id in copied.files:
                    data, time = copied.files[row.id]
                    with atomic_file(file := folder.resolve() / row.id) as temporary:
                        temporary.write_bytes(data)
                    os.utime(file, ns=(time, time))  # as the stamp in the gallery says
            lost = [replace(record, name=names[label]) for label, record in copied.records.items()
                    if names.get(label) and names[label] not in records]  # fmt: skip
            if lost:  # before the photos, so that no reader sees them without it
                gallery.describe(lost)
            gallery.put([replace(row, landmark=names[row.landmark]) for row in back])
            _forget_removal(folder, [row.id for row in back], copied)
            refresh_index_files(folder, gallery)
    there = {row.id for row in back}
    return [row.id for row in copied.rows if row.id not in there]


def _forget_removal(folder: Path, ids: Sequence[str], copied: CopiedPhotos) -> None:
    """Make the state what it was before the photos were removed by hand."""
    with changing_state(folder) as state:
        for photo_id in ids:
            digest = id_digest(photo_id)
            state.removed.pop(digest, None)
            if digest in copied.removed:
                state.removed[digest] = copied.removed[digest]
            if photo_id in copied.relabelled:
                state.relabelled[photo_id] = copied.relabelled[photo_id]
