"""Build a recognizer in memory, load it from a folder, save it; refresh its index files."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ...core.disks import require_writable
from ...core.errors import GalleryError, OptionError
from ...core.progress import progress_for
from ...core.types import Embedder, Photos, Progress, require_table
from ...features.embedders.by_count import SoonestEmbedder
from ...features.embedders.load import default_embedder, load_embedder
from ...features.embedders.onnx_embedder import OnnxEmbedder
from ...features.embedders.own import require_embedder, require_same, save_embedder
from ...gallery.address import (
    GALLERY_FILE,
    Link,
    gallery_in,
    has_gallery,
    is_search_index,
    open_search_index,
    read_link,
)
from ...gallery.base import Gallery
from ...gallery.index import GalleryIndex, SearchRows
from ...gallery.index.mapped import IndexFileError
from ...gallery.index.open import (
    INDEX_FOLDER,
    IndexNeeds,
    delete_index_files,
    open_index,
    refresh,
    warn_index_files_unusable,
)
from ...gallery.index.remote import RemoteRows, Synced, sample_index
from ...gallery.sqlite.store import SqliteGallery
from ..decision import Decider, FallbackDecider, Fitted
from ..location import LandmarkLocations
from ..recognizer import Recognizer
from ..rules import Rules, require_server_rules
from ..spatial_verification import MATCHING_SIDE, SpatialVerifier
from .settings import (
    read_settings,
    read_state,
    require_folder,
    require_place,
    reusable_fit,
    write_settings,
)

if TYPE_CHECKING:
    from ..fitting.whitening import LabelledVectors

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
        photos: Landmark photos. Unreadable ones, and those of several landmarks, are left out.
        distractors: Photos without a landmark, whose landmarks are ignored; they show how similar
            unrelated photos are. None = no distractors.
        rules: How to answer; None = the defaults. With `verify` 0 no local features are stored.
        progress: True = show it; a function = call it with (photos done, all photos).

    Returns:
        A recognizer with a gallery in memory, fitted on that gallery alone.

    Raises:
        OptionError: When no photo table is given, a photo has no landmark, or the object is no
            embedder.
        DataError: When no photo could be read (it gives the first reasons), or an id occurs twice.
    """
    from .fill import open_embedder, photos_and_distractors, require_photos
    from .update import GalleryUpdate, UpdateOptions, fill_gallery

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
    require_photos(gallery, changes)
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
    return _load(Path(folder).expanduser(), rules, device, embedder)


def load_to_answer(folder: Path, *, rules: Rules | None = None, device: str = "auto") -> Recognizer:
    """As `load`, for a program that then answers: the network is opened while the index is."""
    return _load(folder.expanduser(), rules, device, None, soon=True)


def _load(
    folder: Path, rules: Rules | None, device: str, embedder: Embedder | None, *, soon: bool = False
) -> Recognizer:
    require_folder(folder)
    gallery = gallery_in(folder)
    try:
        if embedder is None:
            embedder = load_embedder(folder / "embedder", device=device)
            if soon and isinstance(embedder, OnnxEmbedder | SoonestEmbedder):
                embedder.open_soon()
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
    """A recognizer of an open gallery. Raises GalleryError when another embedder made it.

    Args:
        embedder: The embedder that made the gallery's vectors.
        gallery: The photos to compare with.
        rules: None = the defaults.
        fitted: None = fit on the gallery now.
        extra: Training photos for that fit.
        folder: Use the search index or index files of this recognizer folder where they are
            undamaged and of the gallery's current generation; None = read the gallery itself.
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

    def opened(fitted: Fitted | None, *, search_index: bool = True) -> FallbackDecider:
        first, prepared = None, None
        if folder is not None:
            try:
                index, prepared = open_index(folder, gallery, search_index=search_index)
                first = decider(index.made_by(embedder), prepared, fitted)
            except IndexFileError as error:
                warn_index_files_unusable(error, folder)
        read = first is not None and prepared and not isinstance(first.index.vectors, RemoteRows)
        index_files = folder / INDEX_FOLDER if folder and read else None
        first = first or over_gallery(fitted)
        used = first.fitted  # a later fallback must not fit again
        unindexed = partial(opened, used, search_index=False)
        return FallbackDecider(first, lambda: over_gallery(used), index_files, unindexed)

    fallback = opened(fitted)
    probed = [str(photo_id) for photo_id in fallback.current.index.ids[:PHOTOS_PROBED]]
    features = any(keypoints is not None for keypoints in verifier.keypoints(probed))
    return Recognizer(
        embedder=embedder,
        gallery=gallery,
        rules=rules,
        fitted=fallback.current.fitted,
        fallback=fallback,
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
    from ...gallery.copy import copy_gallery

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


def refresh_index_files(
    folder: Path,
    gallery: Gallery,
    *,
    rebuild: bool = False,
    begin: bool = False,
    progress: Progress | None = None,
) -> None:
    """Bring index files and search index up to date with the gallery and the stored whitening.

    A search index that cannot be synced is warned of, because the gallery answers without it.

    Args:
        folder: The recognizer folder.
        gallery: Its gallery.
        rebuild: Delete the existing index files first.
        begin: Sync a search index also where no sync has ended yet.
        progress: Of that sync.
    """
    if rebuild:
        delete_index_files(folder / INDEX_FOLDER)
    link = read_link(folder) or Link()
    if link.search == "here" or link.address is None:
        try:
            rules, fitted, _ = read_settings(folder)
            needs = IndexNeeds(fitted.projection if fitted else None, rules.recall)
        except GalleryError:  # damaged settings are reported when the recognizer is opened
            needs = IndexNeeds()
        refresh(folder / INDEX_FOLDER, gallery, needs)
    if not is_search_index(link.search):
        return
    try:
        search_index = open_search_index(link.search)
        state = None if begin else search_index.state()
        if begin or (state is not None and state.complete):
            search_index.sync(gallery, progress=progress)
        else:
            log.warning("%s", search_index_state(folder, gallery)["text"])
    except (GalleryError, OptionError) as error:
        log.warning(
            "%s. The gallery is up to date, and answers without its search index until "
            "`whichlandmark gallery sync %s` has run", error, folder,
        )  # fmt: skip


def search_index_state(folder: Path, gallery: Gallery) -> dict[str, Any]:
    """What the search index of a folder holds, as JSON fields and as a line `text`; {} = none."""
    link = read_link(folder) or Link()
    if not is_search_index(link.search):
        return {}
    index, now = open_search_index(link.search), gallery.state()
    try:
        held = index.state()
        trouble = "" if held else "there is none yet"
    except GalleryError as error:
        held, trouble = None, str(error).removeprefix(f"{index.name}: ")
    if held and not held.complete:
        trouble = "a sync has not ended"
    elif held and held.generation != now.generation:
        trouble = f"holds generation {held.generation}, the gallery is at {now.generation}"
    elif held and held.digest != now.photo_digest:
        trouble = "holds another gallery"
    remedy = f"{trouble}: not searched until `whichlandmark gallery sync {folder}`"
    good = f"up to date, generation {now.generation}, {now.photos:,} photos"
    return {
        "address": index.name, "up_to_date": not trouble,
        "generation": held and held.generation, "photos": held and held.photos,
        "text": f"search index {index.name}: {remedy if trouble else good}",
    }  # fmt: skip


def sync_search_index(
    folder: Path, *, rebuild: bool = False, progress: Progress | None = None
) -> Synced:
    """Bring the search index of a recognizer folder in step with its gallery.

    rebuild: throw the index away and make it again.

    Raises:
        OptionError: When the folder has no search index.
        GalleryError: When its server or the gallery cannot be used; BusyError when another sync
            works on it.
    """
    require_folder(folder)
    link = read_link(folder) or Link()
    if not is_search_index(link.search):
        raise OptionError(
            f"{folder}: has no search index; `whichlandmark index PHOTOS -o {folder} --search "
            "qdrant://HOST:6334/NAME` gives it one"
        )
    with gallery_in(folder) as gallery:
        index = open_search_index(link.search)
        return index.sync(gallery, rebuild=rebuild, progress=progress)
