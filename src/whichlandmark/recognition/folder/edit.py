"""A recognizer's gallery, edited in place: nothing that is there is embedded again."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import DataError, GalleryError, OptionError
from ...core.types import SEPARATOR, Photos
from ...features.embedders.load import load_embedder
from ...features.pipeline import Failure, Progress
from ...gallery.address import gallery_in
from ...gallery.protocol import Gallery
from ...gallery.records import check_text, read_credits, read_landmarks
from .fill import fill_gallery, photos_and_distractors
from .load import refresh_segments
from .settings import read_settings

DISTRACTORS = ""  # the landmark of photos without one


@dataclass(frozen=True)
class LandmarkTables:
    """Files that come with photos: what is known of their landmarks, and who made them."""

    landmarks: Path | None = None
    credits: Path | None = None


@dataclass(frozen=True)
class EditResult:
    """Numbers to print, and what failed: → why."""

    counts: dict[str, int | str]
    failures: dict[str, str] = field(default_factory=dict)


def open_gallery(folder: Path) -> Gallery:
    """The gallery of a recognizer folder. Raises DataError when there is no such folder."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such recognizer folder; make one with `whichlandmark index`")
    return gallery_in(folder)


def add_photos(
    folder: Path,
    photos: Photos | None,
    *,
    tables: LandmarkTables | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> EditResult:
    """Embed photos that are not there yet into the gallery of `folder`.

    photos: "" = distractor; None = only the tables are new. A photo that is there with another
      landmark is relabelled.
    Raises GalleryError when the folder's embedder did not make its gallery; DataError for tables
    that cannot be read, before anything is changed.
    """
    tables = tables or LandmarkTables()
    records = read_landmarks(tables.landmarks) if tables.landmarks else []
    credits = read_credits(tables.credits) if tables.credits else {}
    with open_gallery(folder) as gallery:
        failures: list[Failure] = []
        before = gallery.count()
        if photos is not None:
            embedder = load_embedder(folder / "embedder", device=device)
            failures = fill_gallery(
                embedder, photos, gallery, features=_keeps_features(folder), progress=progress
            )
        known = gallery.stamps()
        used = {landmark for _, _, landmark in known.values()}
        described = [record for record in records if record.name in used]
        if described:
            gallery.describe(described)
        credited = {one: credit for one, credit in credits.items() if one in known}
        if credited:
            gallery.credit(credited)
        refresh_segments(folder, gallery)
        counts: dict[str, int | str] = {
            "added": len(known) - before, "failed": len(failures), "photos": len(known),
            "records": len(described), "records without a photo": len(records) - len(described),
            "credits": len(credited), "credits without a photo": len(credits) - len(credited),
            "generation": gallery.generation,
        }  # fmt: skip
    return EditResult(counts, {failure.id: failure.reason for failure in failures})


def _keeps_features(folder: Path) -> bool:
    """Was it indexed so? Not where its rules compare nothing by geometry."""
    try:
        return read_settings(folder)[0].verify > 0
    except GalleryError:  # damaged settings: whoever opens the recognizer is told
        return True


def photos_to_add(photos: Photos, *, landmark: str | None, distractors: bool) -> Photos:
    """The table as it goes in: all of one landmark, all distractors, or as it is labelled.

    Raises OptionError when both are given, or a photo has no landmark and neither is given.
    """
    if landmark is not None and distractors:
        raise OptionError("--landmark and --distractors given; expected one of them")
    if landmark is None and not distractors:
        return photos_and_distractors(photos, None)
    label = DISTRACTORS if distractors else _label(landmark or "", "--landmark")
    column = np.full(len(photos), label, dtype=object)
    return Photos(photos.ids, photos.paths, column, photos.usages)


def remove_photos(folder: Path, ids: Sequence[str], landmark: str | None) -> EditResult:
    """Forget photos by id, or all of a landmark; their files on disk are not touched.

    Raises OptionError unless one of both is given, DataError for unknown ids and landmarks.
    """
    with open_gallery(folder) as gallery:
        chosen = _chosen(gallery, ids, landmark)
        if chosen:  # an empty batch would be a new generation too
            gallery.remove(chosen)
            refresh_segments(folder, gallery)
        return EditResult(_after(gallery, "removed", len(chosen)))


def relabel_photos(folder: Path, ids: Sequence[str], landmark: str | None, to: str) -> EditResult:
    """Give photos, or all photos of a landmark, another one; "" makes them distractors.

    A landmark that loses its last photo passes its record on to `to`, if that has none.
    Raises as `remove_photos`.
    """
    label = _label(to, "--to") if to else DISTRACTORS
    with open_gallery(folder) as gallery:
        chosen = _chosen(gallery, ids, landmark)
        if chosen:
            gallery.relabel(dict.fromkeys(chosen, label))
            refresh_segments(folder, gallery)
        return EditResult(_after(gallery, "relabelled", len(chosen)))


def list_landmarks(folder: Path) -> dict[str, Any]:
    """The landmarks of a gallery with their photos counted and what is known of them."""
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

    Raises DataError for an unknown landmark, naming the nearest.
    """
    with open_gallery(folder) as gallery:
        stamps = gallery.stamps()
        ids = _of_landmark(gallery, stamps, landmark)
        credits = gallery.credits(ids)
    return [
        {"id": one, "path": stamps[one][0], **credits[one]._asdict()}
        for one in ids
        if one in credits
    ]


def _chosen(gallery: Gallery, ids: Sequence[str], landmark: str | None) -> list[str]:
    if bool(ids) == (landmark is not None):
        raise OptionError("expected ids of photos, or --landmark NAME (one of both)")
    if landmark is None:
        return list(dict.fromkeys(ids))
    return _of_landmark(gallery, gallery.stamps(), landmark)


def _of_landmark(
    gallery: Gallery, stamps: dict[str, tuple[str, str, str]], landmark: str
) -> list[str]:
    found = [one for one, entry in stamps.items() if entry[2] == landmark]
    if found or landmark == DISTRACTORS:
        return found
    names = sorted({entry[2] for entry in stamps.values()} - {DISTRACTORS})
    near = difflib.get_close_matches(landmark, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "`whichlandmark gallery list` shows all"
    raise DataError(f"{gallery.name}: no photo of landmark {landmark!r}; {hint}")


def _label(name: str, option: str) -> str:
    label = name.strip()
    if not label or SEPARATOR in label or not label.isprintable():
        raise OptionError(
            f"{option} {name!r} given; expected one landmark's name in printable characters, "
            f"without {SEPARATOR!r}, which stands between several"
        )
    check_text("landmark", label, option)
    return label


def _after(gallery: Gallery, what: str, count: int) -> dict[str, int | str]:
    return {what: count, "photos": gallery.count(), "generation": gallery.generation}
