"""Load, save, build; fallback when index files are damaged."""

from __future__ import annotations

from pathlib import Path

from ...core.errors import DataError, GalleryError, OptionError
from ...core.types import Embedder, Photos
from ...features.embedders.load import load_embedder
from ...gallery.address import FILE, gallery_in, has_gallery
from ...gallery.copy import copy_gallery
from ...gallery.index import GalleryIndex, SearchRows
from ...gallery.index.mapped import IndexFileError
from ...gallery.index.open import SEGMENTS, open_index, searched_there, warn_of_segments
from ...gallery.index.refresh import IndexNeeds, refresh, throw_away
from ...gallery.index.remote import RemoteRows, sampled
from ...gallery.protocol import Gallery
from ...gallery.sqlite.store import SqliteGallery
from ..decision import Decider, FallbackDecider, Fitted
from ..fitting.whitening import Labelled
from ..location import LandmarkLocations
from ..recognizer import Recognizer
from ..rules import Rules, require_plain
from ..spatial_verification import SIDE, SpatialVerifier
from .fill import fill_gallery, photos_and_distractors, require_photos
from .settings import kept_fit, read_settings, write_settings

PHOTOS_PROBED = 3  # photos that are asked whether the gallery keeps local features


def build(
    embedder: Embedder,
    photos: Photos,
    *,
    distractors: Photos | None = None,
    rules: Rules | None = None,
) -> Recognizer:
    """Index photos (and a bank of distractors) in memory. `Recognizer.save` keeps it.

    Raises DataError naming the first reasons when not one photo could be read.
    """
    gallery = SqliteGallery.create(None, embedder.id, embedder.dim)
    features = (rules or Rules()).verify > 0
    failures = fill_gallery(
        embedder, photos_and_distractors(photos, distractors), gallery, features=features
    )
    require_photos(gallery, failures)
    return assemble(embedder, gallery, rules)


def load(
    folder: str | Path,
    *,
    rules: Rules | None = None,
    device: str = "auto",
    embedder: Embedder | None = None,
) -> Recognizer:
    """Open a folder written by `Recognizer.save` or `whichlandmark index`.

    rules: other rules than the stored ones; what they need is then fitted anew. embedder: one that
    is open already; None = that of the folder, on `device`. Photos that were added or removed
    since count at once; what was fitted stays until `tune` or `index` runs.
    Raises GalleryError or DataError.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such recognizer folder; make one with `whichlandmark index`")
    gallery = gallery_in(folder)
    try:
        embedder = embedder or load_embedder(folder / "embedder", device=device)
        stored, fitted, _ = read_settings(folder)
        if rules and rules != stored:
            fitted = kept_fit(stored, rules, fitted)
        return assemble(embedder, gallery, rules or stored, fitted, folder=folder)
    except BaseException:
        gallery.close()
        raise


def assemble(
    embedder: Embedder,
    gallery: Gallery,
    rules: Rules | None = None,
    fitted: Fitted | None = None,
    *,
    extra: Labelled | None = None,
    folder: Path | None = None,
) -> Recognizer:
    """A recognizer of an open gallery.

    fitted: None = fitted on the gallery now, with the help of `extra` training photos when they
    are given. folder: whose segment files are searched in place of the gallery where they are
    whole and of its very state; None = the gallery itself is read.
    Raises GalleryError when another embedder made the gallery.
    """
    gallery.require(embedder.id)
    rules = rules or Rules()
    geometry, records = SpatialVerifier(gallery), gallery.landmarks()

    def decider(index: GalleryIndex, prepared: SearchRows | None, fitted: Fitted | None) -> Decider:
        fitted = fitted or _fit(index, rules, extra, geometry)
        return Decider(
            index, rules, fitted, geometry, prepared, LandmarkLocations.of(index, records)
        )

    def over_gallery(fitted: Fitted | None) -> Decider:
        return decider(GalleryIndex.of(gallery.table()), None, fitted)

    def over_segments(folder: Path) -> tuple[Decider, bool]:
        index, prepared = open_index(folder, gallery)
        return decider(index, prepared, fitted), prepared is not None

    first, segments = None, False
    if folder is not None:
        try:
            first, segments = over_segments(folder)
        except IndexFileError as error:
            warn_of_segments(error, folder)
    first = first or over_gallery(fitted)
    known = first.fitted  # a later fallback keeps it
    few = [str(one) for one in first.index.ids[:PHOTOS_PROBED]]
    features = any(stored is not None for stored in geometry.of(few))
    return Recognizer(
        embedder=embedder, gallery=gallery, rules=rules, fitted=known,
        deciding=FallbackDecider(
            first, lambda: over_gallery(known), folder / SEGMENTS if folder and segments else None
        ),
        geometry=geometry, records=records, features=features,
        short_side=max(embedder.short_side, SIDE if features else 0),
    )  # fmt: skip


def save(recognizer: Recognizer, folder: Path) -> None:
    """Write everything into one folder. Raises OptionError when it holds a gallery already."""
    if has_gallery(folder):
        raise OptionError(f"{folder}: holds a gallery already; choose a new folder")
    gallery, embedder = recognizer.gallery, recognizer.embedder
    if isinstance(gallery, SqliteGallery):
        gallery.copy_to(folder / FILE).close()
    else:
        with SqliteGallery.create(folder / FILE, embedder.id, embedder.dim) as copy:
            copy_gallery(gallery, copy)
    embedder.save(folder / "embedder")
    write_settings(folder, recognizer.rules, recognizer.fitted, gallery.generation)
    with SqliteGallery.open(folder / FILE) as saved:
        refresh_segments(folder, saved)


def _fit(
    index: GalleryIndex, rules: Rules, extra: Labelled | None, geometry: SpatialVerifier
) -> Fitted:
    from ..fitting import fit

    if isinstance(index.vectors, RemoteRows):
        require_plain(rules)
        index = sampled(index)
    return fit.fit(index, rules, extra, geometry=geometry)


def refresh_segments(folder: Path, gallery: Gallery, *, anew: bool = False) -> None:
    """Bring the segment files up to date with the gallery and what was fitted.

    anew: trust none of those that are there.
    """
    if anew:
        throw_away(folder / SEGMENTS)
    if searched_there(folder):
        return
    try:
        rules, fitted, _ = read_settings(folder)
        wanted = IndexNeeds(fitted.projection if fitted else None, rules.recall)
    except GalleryError:  # damaged settings: whoever opens the recognizer is told
        wanted = IndexNeeds()
    refresh(folder / SEGMENTS, gallery, wanted)
