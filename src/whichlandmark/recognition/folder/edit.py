"""Edit a recognizer's gallery in place: add, remove, relabel, describe and credit photos.

Only new photos are embedded.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...core.disks import require_writable
from ...core.errors import DataError, GalleryError, OptionError
from ...core.types import SEPARATOR, Embedder, Photos, Progress
from ...features.embedders.load import load_embedder
from ...features.embedders.own import require_same
from ...gallery.address import gallery_in
from ...gallery.base import Gallery
from ...gallery.copy import LandmarkTables
from ...gallery.records import Credit, LandmarkRecord, check_text
from ...gallery.sqlite.store import SqliteGallery
from .fill import Changes, photos_and_distractors
from .load import refresh_index_files
from .settings import (
    changing_state,
    id_digest,
    own_photo,
    read_settings,
    require_folder,
)
from .update import UpdateOptions, fill_gallery, updating

DISTRACTORS = ""  # landmark of photos without a landmark


@dataclass(frozen=True)
class EditResult:
    """counts: numbers to print; failures: photo id → why it was not used; notes: lines to say."""

    counts: dict[str, int | str]
    failures: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def open_gallery(folder: Path, *, to_change: bool = False) -> Gallery:
    """Open the gallery of a recognizer folder.

    Raises DataError when there is no such folder, or, `to_change`, when it cannot be written.
    """
    require_folder(folder)
    if to_change:
        require_writable(folder, folder=True)
    return gallery_in(folder)


def add_photos(
    folder: Path,
    photos: Photos | None,
    *,
    tables: LandmarkTables | None = None,
    device: str = "auto",
    embedder: Embedder | None = None,
    options: UpdateOptions | None = None,
    progress: Progress | None = None,
) -> EditResult:
    """Embed photos that the gallery of `folder` lacks.

    A photo is known by its path and by its bytes. One that the gallery has under another landmark
    is reported and stays, and one that was removed by hand is left out, unless `options` say so.

    Args:
        folder: The recognizer folder.
        photos: Landmark "" = distractor; None = add only the tables.
        tables: Records of landmarks and credits of photos.
        device: As `load_embedder` takes it.
        embedder: The embedder that made the gallery; None = open the folder's.
        options: How photos that are there already are dealt with; None = nothing is moved.
        progress: Counts stored photos.

    Raises:
        DataError: For tables that cannot be read, before anything is changed.
        GalleryError: When another embedder than the folder's made the gallery.
    """
    rows = (tables or LandmarkTables()).read()
    options = options or UpdateOptions(corrects=False)
    changes = Changes()
    with open_gallery(folder, to_change=True) as gallery:
        if photos is not None:
            if embedder is None:
                embedder = load_embedder(folder / "embedder", device=device)
            else:
                require_same(embedder, gallery.embedder_id, gallery.dim, folder)
            gallery.require(embedder.id)
            how = replace(options, features=_stores_features(folder))
            with updating(folder, photos, gallery, "gallery add", how) as (update, todo):
                fill_gallery(embedder, todo, update, progress=progress)
                refresh_index_files(folder, gallery)
            changes = update.changes
        from_tables = rows.put_into(gallery, photos)
        refresh_index_files(folder, gallery)
        counts: dict[str, int | str] = {
            **changes.counts, "photos": gallery.count(), **from_tables,
            "generation": gallery.generation,
        }  # fmt: skip
    return EditResult(counts, changes.problems, tuple(changes.notes()))


def _stores_features(folder: Path) -> bool:
    """Does the gallery store local features? It does unless its rules verify no photos."""
    try:
        return read_settings(folder)[0].verify > 0
    except GalleryError:  # damaged settings are reported when the recognizer is opened
        return True


def photos_to_add(photos: Photos, *, landmark: str | None, distractors: bool) -> Photos:
    """The table to add: all of one landmark, all distractors, or as it is labelled.

    Raises:
        OptionError: When both are given, or neither and a photo has no landmark.
    """
    if landmark is not None and distractors:
        raise OptionError("--landmark and --distractors given; expected one of them")
    if landmark is None and not distractors:
        return photos_and_distractors(photos, None)
    label = DISTRACTORS if distractors else _checked_label(landmark or "", "--landmark")
    column = np.full(len(photos), label, dtype=object)
    return Photos(photos.ids, photos.paths, column, photos.usages)


def remove_photos(
    folder: Path, ids: Sequence[str], landmark: str | None, *, distractors: bool = False
) -> EditResult:
    """Remove photos from the gallery; their files stay, but those that a server stored there.

    Args:
        folder: The recognizer folder.
        ids: Ids of the photos; or none, with one of the others.
        landmark: All photos of this landmark.
        distractors: All photos without a landmark.

    Raises:
        OptionError: Unless one of them is given, or for a blank landmark.
        DataError: For unknown ids and landmarks.
    """
    with open_gallery(folder, to_change=True) as gallery:
        chosen = _selected_ids(gallery, ids, landmark, distractors=distractors)
        notes: tuple[str, ...] = ()
        if chosen:  # an empty batch would still raise the generation
            _remember_removed(folder, gallery, chosen)
            gallery.remove(chosen)
            refresh_index_files(folder, gallery)
            for file in filter(None, (own_photo(folder, one) for one in chosen)):
                file.unlink(missing_ok=True)
            notes = ("`index` and `gallery add` leave them out from now on, unless with --restore",)
            if isinstance(gallery, SqliteGallery) and gallery.state().stale:
                notes += (f"unused parts of the file may still hold bytes of them: `whichlandmark "
                          f"gallery compact {folder}` erases these",)  # fmt: skip
        if not gallery.count():
            notes += ("the gallery is empty now: nothing can be named until photos are added",)
        return EditResult(_counts(gallery, "removed", len(chosen)), notes=notes)


def _remember_removed(folder: Path, gallery: Gallery, ids: Sequence[str]) -> None:
    """Write down which photos are removed by hand, so that the next `index` leaves them out."""
    hashes = gallery.hashes(ids)
    with changing_state(folder) as state:
        for photo_id, digest in hashes.items():
            state.removed[id_digest(photo_id)] = digest
            state.relabelled.pop(photo_id, None)


def relabel_photos(
    folder: Path,
    ids: Sequence[str],
    landmark: str | None,
    to: str,
    *,
    merge: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> EditResult:
    """Give photos, or all photos of a landmark, another landmark; "" makes them distractors.

    It is remembered, so that neither `index` nor `gallery add` undoes it. The record of a landmark
    that loses its last photo goes to `to`, if that has none.

    Args:
        folder: The recognizer folder.
        ids: Ids of the photos; or none, with `landmark`.
        landmark: All photos of this landmark.
        to: The new landmark.
        merge: A whole landmark may become part of one that exists.
        changes: Of the record of `to`, as `describe_landmark` takes them, in the same change.

    Raises:
        ExistsError: Where a landmark is renamed to one that exists, without `merge`.
        OptionError: As `remove_photos`.
        DataError: As `remove_photos`.
    """
    label = _checked_label(to, "--to") if to else DISTRACTORS
    with open_gallery(folder, to_change=True) as gallery:
        chosen = _selected_ids(gallery, ids, landmark)
        stamps = gallery.stamps(chosen if landmark is None else None)
        others = sum(entry[2] == label for entry in stamps.values())
        if landmark is not None and label and label != landmark and others and not merge:
            raise ExistsError(
                f"{gallery.name}: there is a landmark {label!r} already, with {others} photos; "
                f"--merge puts the {len(chosen)} photos of {landmark!r} there, which cannot be "
                "undone at once"
            )
        changed = [one for one in chosen if one not in stamps or stamps[one][2] != label]
        if changed:
            new = []
            if changes:
                known = gallery.landmarks()
                old = known.get(label) or known.get(landmark or "") or LandmarkRecord(label)
                new = [replace(old, name=label).changed(changes)]
            _remember_relabelled(folder, stamps, changed, landmark, label)
            gallery.relabel(dict.fromkeys(changed, label), new)
            refresh_index_files(folder, gallery)
        return EditResult(_counts(gallery, "relabelled", len(changed)))


class ExistsError(OptionError):
    """A landmark would be renamed to one that exists."""


def _remember_relabelled(
    folder: Path,
    stamps: dict[str, tuple[str, str, str]],
    ids: Sequence[str],
    renamed: str | None,
    label: str,
) -> None:
    """Write down which landmarks are changed by hand. renamed: the whole landmark, if it is."""
    with changing_state(folder) as state:
        for photo_id in ids:
            if photo_id in stamps:
                state.relabelled.setdefault(photo_id, stamps[photo_id][2])
                if state.relabelled[photo_id] == label:  # back to what the table said
                    del state.relabelled[photo_id]
        state.renamed.pop(label, None)  # photos of this name are wanted again
        if renamed is not None:
            for old, new in state.renamed.items():
                if new == renamed:
                    state.renamed[old] = label
            state.renamed[renamed] = label


def describe_landmark(
    folder: Path, landmark: str, changes: Mapping[str, Any] | None = None
) -> tuple[LandmarkRecord, int]:
    """Change fields of a landmark's record, or only read it.

    Args:
        folder: The recognizer folder.
        landmark: A landmark that has photos.
        changes: Field of `LandmarkRecord` → its new value, None = none; `names` is merged by
            language. The other fields stay.

    Returns:
        The record, empty where there is none, and the generation of the gallery.

    Raises:
        DataError: For an unknown landmark, or a value that no record may have, which is named.
    """
    with open_gallery(folder, to_change=bool(changes)) as gallery:
        if landmark not in (known := gallery.labels().names):
            raise _no_landmark(gallery, landmark, known)
        old = gallery.landmarks().get(landmark) or LandmarkRecord(landmark)
        record = old.changed(changes or {})
        if record != old:
            gallery.describe([record])
            refresh_index_files(folder, gallery)
        return record, gallery.generation


def credit_photos(
    folder: Path,
    ids: Sequence[str],
    landmark: str | None = None,
    changes: Mapping[str, str | None] | None = None,
) -> tuple[dict[str, Credit], int]:
    """Change the credits of photos, or only read them.

    Args:
        folder: The recognizer folder.
        ids: Ids of the photos; or none, with `landmark`.
        landmark: All photos of this landmark.
        changes: Field of `Credit` → its new value, None or "" = unknown. The others stay, but a
            new licence without its `licence_url` takes the address of the old one away.

    Returns:
        Id → credit, and the generation of the gallery.

    Raises:
        OptionError: As `remove_photos`.
        DataError: For unknown ids, or a text that no credit may have.
    """
    with open_gallery(folder, to_change=bool(changes)) as gallery:
        chosen = _selected_ids(gallery, ids, landmark)
        old = gallery.credits(chosen)
        given = {field: value or "" for field, value in (changes or {}).items()}
        new = {one: _changed_credit(old.get(one, Credit("", "")), given) for one in chosen}
        if new != old:  # an unknown id is an error of `credit` that suggests a known one
            gallery.credit(new)
            refresh_index_files(folder, gallery)
        return new, gallery.generation


def _changed_credit(credit: Credit, given: Mapping[str, str]) -> Credit:
    new = credit._replace(**given)
    if new.licence != credit.licence and "licence_url" not in given:
        return new._replace(licence_url="")
    return new


def _selected_ids(
    gallery: Gallery, ids: Sequence[str], landmark: str | None, *, distractors: bool = False
) -> list[str]:
    """The ids given, or those of a landmark, or those of all distractors.

    A blank name is refused, because it is mostly an unset variable of a script, and would select
    every distractor.
    """
    if bool(ids) + (landmark is not None) + distractors != 1:
        raise OptionError(
            "expected ids of photos, or --landmark NAME (one of both); `remove` also takes "
            "--distractors"
        )
    if distractors:
        return ids_of_landmark(gallery, gallery.stamps(), DISTRACTORS)
    if landmark is None:
        return list(dict.fromkeys(ids))
    if not landmark.strip():
        raise OptionError(
            f"--landmark {landmark!r} given; expected the name of a landmark. Photos without one "
            "are removed with `gallery remove --distractors`, or chosen by their ids"
        )
    return ids_of_landmark(gallery, gallery.stamps(), landmark)


def ids_of_landmark(
    gallery: Gallery, stamps: dict[str, tuple[str, str, str]], landmark: str
) -> list[str]:
    """Ids of a landmark's photos, "" = the distractors; DataError, with a hint, for no photos."""
    found = [photo_id for photo_id, entry in stamps.items() if entry[2] == landmark]
    if not found and landmark != DISTRACTORS:
        raise _no_landmark(gallery, landmark, {entry[2] for entry in stamps.values()})
    return found


def _no_landmark(gallery: Gallery, landmark: str, known: Iterable[str]) -> DataError:
    names = sorted({*known} - {DISTRACTORS})
    near = difflib.get_close_matches(landmark, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "`whichlandmark gallery list` shows all"
    return DataError(f"{gallery.name}: no photo of landmark {landmark!r}; {hint}")


def _checked_label(name: str, option: str) -> str:
    label = name.strip()
    if not label or SEPARATOR in label or not label.isprintable():
        raise OptionError(
            f"{option} {name!r} given; expected one landmark's name in printable characters, "
            f"without {SEPARATOR!r}, which separates several"
        )
    check_text("landmark", label, option)
    return label


def _counts(gallery: Gallery, what: str, count: int) -> dict[str, int | str]:
    return {what: count, "photos": gallery.count(), "generation": gallery.generation}
