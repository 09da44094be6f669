"""Build a recognizer in memory, load it from a folder, save it; refresh its index files."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from ...core.disks import require_writable
from ...core.errors import GalleryError, OptionError
from ...core.progress import progress_for
from ...core.types import Embedder, Photos, Progress, require_table
from ...features.embedders.load import default_embedder, load_embedder
from ...features.embedders.own import require_embedder, require_same, save_embedder
from ...gallery.address import GALLERY_FILE, gallery_in, has_gallery
from ...gallery.base import Gallery
from ...gallery.copy import copy_gallery
from ...gallery.index import GalleryIndex, SearchRows
from ...gallery.index.mapped import IndexFileError
from ...gallery.index.open import (
    INDEX_FOLDER,
    open_index,
    searched_on_server,
    warn_index_files_unusable,
)
from ...gallery.index.refresh import IndexNeeds, delete_index_files, refresh
from ...gallery.index.remote import RemoteRows, sample_index
from ...gallery.sqlite.store import SqliteGallery
from ..decision import Decider, FallbackDecider, Fitted
from ..fitting.whitening import LabelledVectors
from ..location import LandmarkLocations
from ..recognizer import Recognizer
from ..rules import Rules, require_server_rules
from ..spatial_verification import MATCHING_SIDE, SpatialVerifier
from .fill import open_embedder, photos_and_distractors, require_photos
from .settings import (
    read_settings,
    read_state,
    require_folder,
    require_place,
    reusable_fit,
    write_settings,
)
from .update import GalleryUpdate, UpdateOptions, fill_gallery

log = logging.getLogger("whichlandmark")

PHOTOS_PROBED = 3  # photos read to find out whether a gallery stores local features


def build(
    embedder: Embedder | str | Path | Photos,
    photos: Photos | None = None,
    *,
    distractors: Photos | None = None,
    rules: Rules | None = None,
    progress: bool | Progress | None = None,
) -> Recognizer:
    """Index photos in memory; `Recognizer.save` writes the result to a folder.

    Args:
        embedder: Turns photos into vectors, (N, D) unit rows; any object that does so, or a name
            or folder as `load_embedder` takes it. Left out, as in `build(photos)`: "lite0".
        photos: Landmark photos, one landmark each. Unreadable ones are left out.
        distractors: Photos without a landmark, whose landmarks are ignored; they show how similar
            unrelated photos are. None = no distractors.
        rules: How to answer; None = the defaults. With `verify` 0 no local features are stored.
        progress: True = show it; a function = call it with (photos done, all photos).

    Returns:
        A recognizer with a gallery in memory, fitted on that gallery alone.

    Raises:
        OptionError: When no photo table is given, a photo has no landmark, or the object is no
            embedder.
        DataError: When no photo could be read (it gives the first reasons), a photo has several
            landmarks, or an id occurs twice.
    """
    if isinstance(embedder, Photos):
        if photos is not None:
            raise OptionError("two tables of photos given; expected build(embedder, photos)")
        photos, embedder = embedder, default_embedder()
    if photos is None:
        require_table(embedder, "build(photos)")
    photos = require_table(photos, "build(embedder, photos)")
    if distractors is not None:
        require_table(distractors, "distractors")
    if isinstance(embedder, str | Path):
        embedder = open_embedder(embedder, photos, None)
    require_embedder(embedder)
    gallery = SqliteGallery.create(None, embedder.id, embedder.dim)
    options = UpdateOptions(features=(rules or Rules()).verify > 0)
    update = GalleryUpdate(photos_and_distractors(photos, distractors), gallery, options=options)
    with progress_for(progress, "indexing") as move:
        fill_gallery(embedder, update.prepare(), update, progress=move)
    changes = update.changes
    require_photos(gallery, changes.problems)
    for line in changes.notes():
        log.warning("%s", line)
    unread = {failure.id for failure in changes.failures}
    for photo_id, reason in changes.problems.items():
        if photo_id not in unread:
            log.warning("%s: %s", photo_id, reason)
    return assemble(embedder, gallery, rules)


def load(
    folder: str | Path,
    *,
    rules: Rules | None = None,
    device: str = "auto",
    embedder: Embedder | None = None,
) -> Recognizer:
    """Open a folder written by `Recognizer.save` or `whichlandmark index`.

    Photos that were added or removed since are used at once; what was fitted is replaced only when
    `tune` or `index` runs.

    Args:
        folder: The recognizer folder.
        rules: Rules to use instead of the stored ones; what they need is then fitted now, and
            nothing is written. None = the stored ones.
        device: Device of the folder's embedder: "auto", "cpu", "cuda", "cuda:1" ….
        embedder: The embedder that made the folder, compared by its id, as one that is open already
            or an object that no folder can hold; None = open the folder's.

    Returns:
        A recognizer over the folder's gallery, which stays open.

    Raises:
        DataError: When there is no such folder, or it has no embedder.
        GalleryError: When gallery or settings are damaged, another embedder made the gallery, or
            its server cannot be reached.
        ModelError: When the folder's embedder is damaged, or is a Python object and none is given.
        OptionError: When that embedder needs torch and torch is not installed, or a server searches
            the gallery and cannot do so by the rules.
    """
    folder = Path(folder).expanduser()
    require_folder(folder)
    gallery = gallery_in(folder)
    try:
        if embedder is None:
            embedder = load_embedder(folder / "embedder", device=device)
        else:
            require_same(embedder, gallery.embedder_id, gallery.dim, folder)
        stored, fitted, _ = read_settings(folder)
        if rules and rules != stored:
            fitted = reusable_fit(stored, rules, fitted)
        recognizer = assemble(embedder, gallery, rules or stored, fitted, folder=folder)
        state = read_state(folder)
        photos = gallery.count() if state.unfinished else 0
        warnings = tuple(f"{folder}: {text}" for text in state.warnings(photos))
        for text in warnings:
            log.warning("%s", text)
        return replace(recognizer, warnings=warnings, unfinished=state.unfinished_field(photos))
    except BaseException:
        gallery.close()
        raise


def assemble(
    embedder: Embedder,
    gallery: Gallery,
    rules: Rules | None = None,
    fitted: Fitted | None = None,
    *,
    extra: LabelledVectors | None = None,
    folder: Path | None = None,
) -> Recognizer:
    """A recognizer of an open gallery.

    Args:
        embedder: The embedder that made the gallery's vectors.
        gallery: The photos to compare with.
        rules: None = the defaults.
        fitted: None = fit on the gallery now.
        extra: Training photos for that fit.
        folder: Use the index files of this recognizer folder where they are undamaged and of the
            gallery's current generation; None = read the gallery itself.

    Raises:
        GalleryError: When another embedder made the gallery.
    """
    gallery.require(embedder.id)
    rules = rules or Rules()
    verifier, records = SpatialVerifier(gallery), gallery.landmarks()

    def decider(index: GalleryIndex, prepared: SearchRows | None, fitted: Fitted | None) -> Decider:
        fitted = fitted or _fit(index, rules, extra, verifier)
        locations = LandmarkLocations.of(index, records)
        return Decider(index, rules, fitted, verifier, prepared, locations)

    def over_gallery(fitted: Fitted | None) -> Decider:
        return decider(GalleryIndex.of(gallery.table()).made_by(embedder), None, fitted)

    first, index_files = None, None
    if folder is not None:
        try:
            index, prepared = open_index(folder, gallery)
            first = decider(index.made_by(embedder), prepared, fitted)
            index_files = folder / INDEX_FOLDER if prepared is not None else None
        except IndexFileError as error:
            warn_index_files_unusable(error, folder)
    first = first or over_gallery(fitted)
    used = first.fitted  # a later fallback must not fit again
    probed = [str(photo_id) for photo_id in first.index.ids[:PHOTOS_PROBED]]
    features = any(keypoints is not None for keypoints in verifier.keypoints(probed))
    return Recognizer(
        embedder=embedder,
        gallery=gallery,
        rules=rules,
        fitted=used,
        fallback=FallbackDecider(first, lambda: over_gallery(used), index_files),
        verifier=verifier,
        records=records,
        features=features,
        short_side=max(embedder.short_side, MATCHING_SIDE if features else 0),
    )


def save(recognizer: Recognizer, folder: Path, *, overwrite: bool = False) -> None:
    """Write everything into one folder.

    overwrite: replace the recognizer that it holds. The new one is written beside it first.

    Raises:
        OptionError: When the folder holds a recognizer already, or other files.
    """
    if has_gallery(folder):
        if not overwrite:
            raise OptionError(
                f"{folder}: holds a gallery already; choose a new folder, or replace it with "
                "overwrite=True"
            )
        _replace(recognizer, folder)
        return
    require_place(folder)
    require_writable(folder, folder=True)
    gallery, embedder = recognizer.gallery, recognizer.embedder
    if isinstance(gallery, SqliteGallery):
        gallery.copy_to(folder / GALLERY_FILE).close()
    else:
        with SqliteGallery.create(folder / GALLERY_FILE, embedder.id, embedder.dim) as copy:
            copy_gallery(gallery, copy)
    save_embedder(embedder, folder / "embedder")
    write_settings(folder, recognizer.rules, recognizer.fitted, gallery.generation)
    with SqliteGallery.open(folder / GALLERY_FILE) as saved:
        refresh_index_files(folder, saved)


def _replace(recognizer: Recognizer, folder: Path) -> None:
    """Write the recognizer beside the folder, then put it in its place."""
    parent = folder.resolve().parent
    with TemporaryDirectory(prefix=f".{folder.name}.", dir=parent) as beside:
        save(recognizer, Path(beside, "new"))
        os.replace(folder.resolve(), Path(beside, "old"))
        os.replace(Path(beside, "new"), folder.resolve())


def _fit(
    index: GalleryIndex, rules: Rules, extra: LabelledVectors | None, verifier: SpatialVerifier
) -> Fitted:
    """Fit the rules; of a gallery that its server searches, on a sample of its photos."""
    from ..fitting import fit

    if isinstance(index.vectors, RemoteRows):
        require_server_rules(rules)
        index = sample_index(index)
    return fit.fit(index, rules, extra, verifier=verifier)


def refresh_index_files(folder: Path, gallery: Gallery, *, rebuild: bool = False) -> None:
    """Bring the index files up to date with the gallery and with the stored whitening.

    rebuild: delete the existing ones first.
    """
    if rebuild:
        delete_index_files(folder / INDEX_FOLDER)
    if searched_on_server(folder):
        return
    try:
        rules, fitted, _ = read_settings(folder)
        needs = IndexNeeds(fitted.projection if fitted else None, rules.recall)
    except GalleryError:  # damaged settings are reported when the recognizer is opened
        needs = IndexNeeds()
    refresh(folder / INDEX_FOLDER, gallery, needs)
