"""Bring a gallery up to date with a table, so that nothing is replaced, moved or undone in silence.

A photo is known by its path and by its bytes, not by its id alone. What was changed by hand stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ...core.disks import file_lock
from ...core.errors import ImageError
from ...core.images import content_hash
from ...core.storage import File, parse, read_bytes, stamp, stamps
from ...core.types import Embedder, Photos, Progress
from ...features.pipeline import COMPUTE_NOTHING, PerPhoto
from ...gallery.base import Gallery
from ...gallery.records import GalleryRow
from ..spatial_verification import DistractorCheck
from .fill import (
    FEATURES,
    Changes,
    embed_rows,
    free_id,
    longer_ids,
    paths_of_own_photos,
    write_paths,
)
from .settings import LOCK_FILE, FolderState, UnfinishedRun, changing_state, id_digest

FEW = 50  # a table this many times smaller than the gallery is looked up photo by photo


@dataclass(frozen=True)
class UpdateOptions:
    """How a gallery follows a table.

    Attributes:
        features: Store local features, fingerprints and thumbnails.
        relabel: The table's landmarks count, also for photos whose landmark was changed by hand
            or whose bytes the gallery has under another landmark.
        restore: Add photos again that were removed by hand.
        corrects: A photo that the gallery has at the same path takes the table's landmark, because
            the table is the list of what is in the gallery; False = report it.
        explicit: The landmark was given for these photos, so no renaming by hand applies.
    """

    features: bool = True
    relabel: bool = False
    restore: bool = False
    corrects: bool = True
    explicit: bool = False


@dataclass(frozen=True)
class _Target:
    """Where a photo of the table goes: its id in the gallery and its landmark there."""

    id: str
    landmark: str


class GalleryUpdate:
    """One run that brings a gallery up to date: `prepare`, then `store` embedded rows.

    Args:
        photos: The table: landmark photos, then distractors (landmark "").
        gallery: Where the photos are stored.
        state: What was changed by hand; None = nothing.
        options: None = the defaults.
        also: Id in the table → another content hash of the photo, as of the file it was made from.
        folder: The recognizer folder, where updates of several processes take turns to store; None
            = no other process has the gallery.
    """

    def __init__(
        self,
        photos: Photos,
        gallery: Gallery,
        state: FolderState | None = None,
        options: UpdateOptions | None = None,
        *,
        also: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self._also, self._folder = also or {}, folder
        self.gallery, (self.photos, several) = gallery, photos.of_one_landmark()
        self.state, self.options = state or FolderState(), options or UpdateOptions()
        self._removed = set() if self.options.restore else {*self.state.removed.values()}
        self.changes = Changes(several=several)
        self.taught: set[str] = set()  # gallery ids whose landmark the table gave again
        self.restored: set[str] = set()  # content hashes of photos that were added again
        self._generation = gallery.generation  # as of which this knows the gallery
        self._few = len(photos) * FEW < gallery.count()
        ids = zip(photos.ids, photos.paths, strict=True) if self._few else ()
        self._known = gallery.stamps(
            [one for photo in ids for one in (photo[0], *longer_ids(*photo))] if self._few else None
        )
        self._targets: dict[str, _Target] = {}  # of photos to store, by table id
        self._with_bytes: dict[str, list[str]] = {}  # content hash → gallery ids, as looked up
        self._replaced: set[str] = set()  # gallery ids of photos whose file has other bytes now
        self._in_table: set[str] = set()  # gallery ids of photos that the table has
        self._pending: dict[str, str] = {}  # gallery id → landmark, while they are stored
        self._check: DistractorCheck | None = None

    def prepare(self) -> Photos:
        """Compare the table with the gallery, change landmarks and paths; what is to be embedded.

        Only photos at known paths are asked for their stamps, because a URL costs a request.
        """
        photos, known = self.photos, self._known
        by_path = {path: photo_id for photo_id, (path, _, _) in known.items()}
        for photo_id, path in zip(photos.ids, photos.paths, strict=True):
            if photo_id in known and known[photo_id][0] == path:
                by_path[path] = photo_id
        placed = [path for path in photos.paths if path in by_path]
        found = dict(zip(placed, stamps(placed), strict=True))
        todo, unplaced = [], []
        relabelled: dict[str, str] = {}
        for row, (photo_id, path) in enumerate(zip(photos.ids, photos.paths, strict=True)):
            stored = by_path.get(path)
            if stored is None:
                unplaced.append(row)
                continue
            if stored in self._in_table:  # the table has this file twice
                wanted = self._current_name(photos.landmarks[row])
                self._same_bytes(photo_id, stored, wanted)
                continue
            self._in_table.add(stored)
            landmark = self._landmark_of(stored, row, relabelled)
            if known[stored][1] != found[path]:
                self._targets[photo_id] = _Target(stored, landmark)
                todo.append(row)
            elif photos.landmarks[row] == known[stored][2]:
                self.changes.unchanged += 1
        if relabelled:
            self.gallery.relabel(relabelled)
            self._known = known | {key: (*known[key][:2], to) for key, to in relabelled.items()}
        todo += self._place(unplaced)
        return photos.take(sorted(todo))

    def settle(self, folder: Path) -> None:
        """Forget what was changed by hand where the table has now overruled it."""
        names = set(self.photos.landmarks) & self.state.renamed.keys()
        overruled = names if self.options.relabel or self.options.explicit else set()
        if not (self.taught or self.restored or overruled):
            return
        with changing_state(folder) as state:
            for name in overruled:
                state.renamed.pop(name, None)
            for photo_id in self.taught:
                state.relabelled.pop(photo_id, None)
            state.removed = {
                key: digest for key, digest in state.removed.items() if digest not in self.restored
            }

    @property
    def in_table(self) -> int:
        """Number of photos of the gallery that the table has."""
        return len(self._in_table & self._known.keys())

    def photos_after(self, to_store: int) -> int:
        """Number of photos in the gallery when those that are to be stored are in it."""
        known = sum(target.id in self._known for target in self._targets.values())
        return self.gallery.count() + to_store - known

    def store(self, rows: Sequence[GalleryRow]) -> None:
        """Store embedded photos of the table, unless the gallery has their bytes already.

        Distractors come after the landmark photos, because they are compared with these.
        """
        with file_lock(self._folder / LOCK_FILE) if self._folder else nullcontext():
            self._see_others(rows)
            self._look_up(row.hash for row in rows)
            known = [(row, self._targets[row.id]) for row in rows if row.id in self._targets]
            self._put([pair for pair in known if pair[1].landmark and self._accepts(*pair)])
            bank = [pair for pair in known if not pair[1].landmark and self._accepts(*pair)]
            if bank:
                self._check = self._check or DistractorCheck(self.gallery)
                reasons = self._check([row for row, _ in bank])
                found = list(zip(bank, reasons, strict=True))
                self.changes.distractors |= {row.id: why for (row, _), why in found if why}
                self._put([pair for pair, why in found if not why])
            self._generation = self.gallery.generation

    def _see_others(self, rows: Sequence[GalleryRow]) -> None:
        """Give photos another id where another process has stored one under theirs by now."""
        if self.gallery.generation == self._generation:
            return
        self._with_bytes.clear()
        new = [row for row in rows if row.id in self._targets
               and self._targets[row.id].id not in self._known]  # fmt: skip
        ids = [one for row in new for one in (row.id, *longer_ids(row.id, row.path))]
        theirs = self.gallery.stamps([*ids, *(self._targets[row.id].id for row in new)])
        self._known |= theirs
        taken = {*theirs, *self.photos.ids, *(one.id for one in self._targets.values())}
        for row in new:
            if (target := self._targets[row.id]).id in theirs:
                self._targets[row.id] = replace(target, id=free_id(row.id, row.path, taken))
                taken.add(self._targets[row.id].id)

    def _put(self, pairs: Sequence[tuple[GalleryRow, _Target]]) -> None:
        if not pairs:
            return  # an empty batch would still raise the generation
        credits = self.gallery.credits([to.id for _, to in pairs if to.id in self._known])
        new = [
            replace(
                row, id=to.id, landmark=to.landmark,
                **(credits[to.id]._asdict() if to.id in credits else {}),
            )
            for row, to in pairs
        ]  # fmt: skip
        self.gallery.put(new)
        for row, (given, _) in zip(new, pairs, strict=True):
            if row.id not in self._known:
                self.changes.added.append(row.id)
                if row.id != given.id:
                    self.changes.renamed_ids[given.id] = row.id
                if self.options.restore:
                    self.restored.add(row.hash)
            elif row.id in self._replaced:
                self.changes.replaced.append(row.id)
            self._known[row.id] = (row.path, row.stamp, row.landmark)

    def _accepts(self, row: GalleryRow, target: _Target) -> bool:
        """Is it to be stored? Not where another photo has the same bytes, or it was removed."""
        same = self._with_bytes[row.hash]
        if not same and row.hash in self._removed:
            self.changes.removed.append(row.id)
            return False
        if same and target.id not in same:
            self._same_bytes(row.id, same[0], target.landmark)
            return target.id in self._known  # its own old bytes are gone
        if target.id not in same:
            same.append(target.id)
            self._replaced.add(target.id)
        self._pending[target.id] = target.landmark
        self._in_table.add(target.id)
        return True

    def _look_up(self, hashes: Iterable[str | None]) -> None:
        """Which photos of the gallery have these bytes?"""
        new = {digest for digest in hashes if digest} - self._with_bytes.keys()
        found = self.gallery.with_hashes(new) if new else {}
        self._with_bytes |= {digest: found.get(digest, []) for digest in new}
        others = {one for ids in found.values() for one in ids} - self._known.keys()
        self._known |= self.gallery.stamps(others)

    def _landmark_of(self, stored: str, row: int, relabelled: dict[str, str]) -> str:
        """The landmark of a photo that the gallery has at the same path."""
        known, photo_id = self._known[stored][2], self.photos.ids[row]
        wanted = self._current_name(self.photos.landmarks[row])
        by_hand = stored in self.state.relabelled
        if wanted == known:
            if by_hand and self.photos.landmarks[row] != known:
                self.changes.kept.append(photo_id)
            return known
        if wanted == "" and not by_hand:
            self.changes.distractors[photo_id] = (
                f"it is gallery photo {stored}, which shows {known!r}: left out; `gallery relabel` "
                "can make it a distractor"
            )
            return known
        if self.options.relabel or (self.options.corrects and not by_hand):
            relabelled[stored] = wanted
            self.taught.add(stored)
            self.changes.moved.append(photo_id)
            return wanted
        if by_hand and not self.options.explicit:
            self.changes.kept.append(photo_id)
        else:
            self._report(photo_id, stored, known, wanted)
        return known

    def _current_name(self, landmark: str) -> str:
        if self.options.explicit or self.options.relabel:
            return landmark
        return self.state.renamed.get(landmark, landmark)

    def _place(self, rows: Sequence[int]) -> list[int]:
        """Decide on photos at paths that the gallery does not have; returns those to embed."""
        photos, todo = self.photos, []
        sizes = {found.partition(":")[0] for _, found, _ in self._known.values()} - {""}
        digests: dict[int, str | None] = {}
        for row in rows:  # a file whose size no photo has need not be read now
            photo_id, path = photos.ids[row], photos.paths[row]
            local = (self._few or bool(sizes)) and isinstance(parse(path), File)
            same_size = local and (self._few or stamp(path).partition(":")[0] in sizes)
            if photo_id in self._known or same_size or id_digest(photo_id) in self.state.removed:
                digests[row] = _hash_of_file(path)
        self._look_up([*digests.values(), *(self._also.get(photos.ids[row]) for row in rows)])
        taken = {*self._known, *photos.ids}
        moved: dict[str, str] = {}
        for row in rows:
            photo_id, path, digest = photos.ids[row], photos.paths[row], digests.get(row)
            landmark = self._current_name(photos.landmarks[row])
            same = self._with_bytes.get(digest or "")
            same = same or self._with_bytes.get(self._also.get(photo_id, ""), [])
            stored = photo_id if photo_id in same else next(iter(same), None)
            if stored is not None and stored not in moved and not stamp(self._known[stored][0]):
                moved[stored] = path
                self._in_table.add(stored)
                self._same_bytes(photo_id, stored, landmark, moved=True)
            elif stored is not None:
                self._same_bytes(photo_id, stored, landmark)
            elif digest in self._removed:
                self.changes.removed.append(photo_id)
            else:
                new_id = photo_id
                if photo_id in self._known:
                    new_id = free_id(photo_id, path, taken)
                    taken.add(new_id)
                if landmark != photos.landmarks[row]:
                    self.changes.followed[photos.landmarks[row]] += 1
                self._targets[photo_id] = _Target(new_id, landmark)
                todo.append(row)
        self._known |= write_paths(self.gallery, moved)
        return todo

    def _same_bytes(
        self, photo_id: str, stored: str, landmark: str, *, moved: bool = False
    ) -> None:
        """Say what becomes of a photo whose bytes the gallery has as photo `stored`."""
        known = self._pending[stored] if stored in self._pending else self._known[stored][2]
        if landmark == known and moved:
            self.changes.new_paths.append(photo_id)
        elif landmark == known:
            self.changes.there[photo_id] = stored
        elif landmark == "":
            self.changes.distractors[photo_id] = (
                f"its file is that of gallery photo {stored}, which shows {known!r}: left out"
            )
        elif self.options.relabel and (moved or stored not in self._in_table):
            self.gallery.relabel({stored: landmark})
            self._known[stored] = (*self._known[stored][:2], landmark)
            self.taught.add(stored)
            self.changes.moved.append(photo_id)
        elif stored in self.state.relabelled and not self.options.explicit:
            self.changes.kept.append(photo_id)
        else:
            self._report(photo_id, stored, known, landmark)

    def _report(self, photo_id: str, stored: str, known: str, wanted: str) -> None:
        there = f"landmark {known!r}" if known else "the distractors"
        self.changes.other_landmark_ids.append(stored)
        self.changes.other_landmark[photo_id] = (
            f"the gallery has this photo as {stored} under {there}, not {wanted!r}: left there; "
            "--relabel moves it"
        )


def fill_gallery(
    embedder: Embedder,
    photos: Photos,
    update: GalleryUpdate,
    *,
    progress: Progress | None = None,
) -> None:
    """Embed and store what `GalleryUpdate.prepare` returned. progress: counts stored photos."""
    each = FEATURES if update.options.features else PerPhoto(COMPUTE_NOTHING.compute, 0)
    update.changes.failures += embed_rows(
        embedder, photos, update.store, each=each, progress=progress
    )


@contextmanager
def updating(
    folder: Path, photos: Photos, gallery: Gallery, verb: str, options: UpdateOptions
) -> Iterator[tuple[GalleryUpdate, Photos]]:
    """Bring the gallery of a recognizer folder up to date with a table, inside the block.

    From before the first photo until the end of the block the folder says that it is unfinished;
    at the end it remembers which photos failed.

    Yields:
        The update, and the photos to embed.
    """
    write_paths(gallery, paths_of_own_photos(folder, gallery))
    with changing_state(folder) as state:  # raises where it is damaged, before anything is changed
        state.forget_unless(gallery.generation)
        update = GalleryUpdate(photos, gallery, state, options, folder=folder)
    todo = update.prepare()
    run = UnfinishedRun.of(verb, photos, update.photos_after(len(todo)))
    with changing_state(folder) as state:
        state.unfinished = [one for one in state.unfinished if not run.covers(one)] + [run]
    yield update, todo
    with changing_state(folder) as state:
        state.unfinished = [one for one in state.unfinished if not run.covers(one)]
        for photo_id in photos.ids:
            state.failed.pop(photo_id, None)
        state.failed |= {failure.id: failure.reason for failure in update.changes.failures}
    update.settle(folder)


def _hash_of_file(path: str) -> str | None:
    with suppress(ImageError):
        return content_hash(read_bytes(path))
    return None
