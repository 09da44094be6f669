"""Edit a recognizer's gallery in place: add, remove, relabel and list photos.

Only new photos are embedded.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import DataError, GalleryError, OptionError
from ...core.types import SEPARATOR, Embedder, Photos, Progress
from ...features.embedders.load import load_embedder
from ...features.embedders.own import require_same
from ...features.pipeline import Failure
from ...gallery.address import gallery_in
from ...gallery.protocol import Gallery
from ...gallery.records import check_text, read_credits, read_landmarks
from .fill import fill_gallery, photos_and_distractors
from .load import refresh_index_files
from .settings import read_settings, require_folder

DISTRACTORS = ""  # landmark of photos without a landmark


@dataclass(frozen=True)
class LandmarkTables:
    """CSV files that come with photos: landmark records, and authors and licences of photos."""

    landmarks: Path | None = None
    credits: Path | None = None


@dataclass(frozen=True)
class EditResult:
    """counts: numbers to print; failures: photo id → reason."""

    counts: dict[str, int | str]
    failures: dict[str, str] = field(default_factory=dict)


def open_gallery(folder: Path) -> Gallery:
    """Open the gallery of a recognizer folder. Raises DataError when there is no such folder."""
    require_folder(folder)
    return gallery_in(folder)


def add_photos(
    folder: Path,
    photos: Photos | None,
    *,
    tables: LandmarkTables | None = None,
    device: str = "auto",
    embedder: Embedder | None = None,
    progress: Progress | None = None,
) -> EditResult:
    """Embed photos that the gallery of `folder` lacks; relabel those with another landmark.

    Args:
        folder: The recognizer folder.
        photos: Landmark "" = distractor; None = add only the tables.
        tables: Records of landmarks and credits of photos.
        device: As `load_embedder` takes it.
        embedder: The embedder that made the gallery; None = open the folder's.
        progress: Counts stored photos.

    Raises:
        DataError: For tables that cannot be read, before anything is changed.
        GalleryError: When another embedder than the folder's made the gallery.
    """
    tables = tables or LandmarkTables()
    records = read_landmarks(tables.landmarks) if tables.landmarks else []
    credits = read_credits(tables.credits) if tables.credits else {}
    with open_gallery(folder) as gallery:
        failures: list[Failure] = []
        before = gallery.count()
        if photos is not None:
            if embedder is None:
                embedder = load_embedder(folder / "embedder", device=device)
            else:
                require_same(embedder, gallery.embedder_id, gallery.dim, folder)
            failures = fill_gallery(
                embedder, photos, gallery, features=_stores_features(folder), progress=progress
            )
        known = gallery.stamps()
        used = {landmark for _, _, landmark in known.values()}
        described = [record for record in records if record.name in used]
        if described:
            gallery.describe(described)
        credited = {photo_id: credit for photo_id, credit in credits.items() if photo_id in known}
        if credited:
            gallery.credit(credited)
        refresh_index_files(folder, gallery)
        counts: dict[str, int | str] = {
            "added": len(known) - before, "failed": len(failures), "photos": len(known),
            "records": len(described), "records without a photo": len(records) - len(described),
            "credits": len(credited), "credits without a photo": len(credits) - len(credited),
            "generation": gallery.generation,
        }  # fmt: skip
    return EditResult(counts, {failure.id: failure.reason for failure in failures})


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
    """Remove photos from the gallery; their files stay.

    Args:
        folder: The recognizer folder.
        ids: Ids of the photos; or none, with one of the others.
        landmark: All photos of this landmark.
        distractors: All photos without a landmark.

    Raises:
        OptionError: Unless one of them is given, or for a blank landmark.
        DataError: For unknown ids and landmarks.
    """
    with open_gallery(folder) as gallery:
        chosen = _selected_ids(gallery, ids, landmark, distractors=distractors)
        if chosen:  # an empty batch would still raise the generation
            gallery.remove(chosen)
            refresh_index_files(folder, gallery)
        return EditResult(_counts(gallery, "removed", len(chosen)))


def relabel_photos(folder: Path, ids: Sequence[str], landmark: str | None, to: str) -> EditResult:
    """Give photos, or all photos of a landmark, another landmark; "" makes them distractors.

    The record of a landmark that loses its last photo goes to `to`, if that has none.
    Raises as `remove_photos`.
    """
    label = _checked_label(to, "--to") if to else DISTRACTORS
    with open_gallery(folder) as gallery:
        chosen = _selected_ids(gallery, ids, landmark)
        if chosen:
            gallery.relabel(dict.fromkeys(chosen, label))
            refresh_index_files(folder, gallery)
        return EditResult(_counts(gallery, "relabelled", len(chosen)))


def list_landmarks(folder: Path) -> dict[str, Any]:
    """The landmarks of a gallery with their number of photos and their records."""
    with open_gallery(folder) as gallery:
        counts: dict[str, int] = {}
        for _, _, landmark in gallery.stamps().values():
            counts[landmark] = counts.get(landmark, 0) + 1
        records, generation = gallery.landmarks(), gallery.generation
        embedder = gallery.embedder_id
    distractors = counts.pop(DISTRACTORS, 0)
    landmarks = []
    for name in sorted(counts):
        entry: dict[str, Any] = {"landmark": name, "photos": counts[name]}
        if record := records.get(name):
            entry |= {"title": record.title, "names": dict(record.names),
                      "wikidata": record.wikidata, "latitude": record.latitude,
                      "longitude": record.longitude}  # fmt: skip
        landmarks.append(entry)
    return {"landmarks": landmarks, "photos": sum(counts.values()), "distractors": distractors,
            "embedder": embedder, "generation": generation}  # fmt: skip


def list_photos(folder: Path, landmark: str) -> list[dict[str, str]]:
    """The photos of one landmark ("" = the distractors): id, path, author, licence.

    Raises DataError for an unknown landmark; the message suggests a similar one.
    """
    with open_gallery(folder) as gallery:
        stamps = gallery.stamps()
        ids = _ids_of_landmark(gallery, stamps, landmark)
        credits = gallery.credits(ids)
    return [
        {"id": photo_id, "path": stamps[photo_id][0], **credits[photo_id]._asdict()}
        for photo_id in ids
        if photo_id in credits
    ]


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
        return _ids_of_landmark(gallery, gallery.stamps(), DISTRACTORS)
    if landmark is None:
        return list(dict.fromkeys(ids))
    if not landmark.strip():
        raise OptionError(
            f"--landmark {landmark!r} given; expected the name of a landmark. Photos without one "
            "are removed with `gallery remove --distractors`, or chosen by their ids"
        )
    return _ids_of_landmark(gallery, gallery.stamps(), landmark)


def _ids_of_landmark(
    gallery: Gallery, stamps: dict[str, tuple[str, str, str]], landmark: str
) -> list[str]:
    found = [photo_id for photo_id, entry in stamps.items() if entry[2] == landmark]
    if found or landmark == DISTRACTORS:
        return found
    names = sorted({entry[2] for entry in stamps.values()} - {DISTRACTORS})
    near = difflib.get_close_matches(landmark, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "`whichlandmark gallery list` shows all"
    raise DataError(f"{gallery.name}: no photo of landmark {landmark!r}; {hint}")


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
