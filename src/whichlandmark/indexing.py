"""Photos → a recognizer folder on disk, resumable: what is embedded already stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from .deciding import Fitted
from .embedding import Failure, Progress, fill_gallery, merged
from .errors import GalleryError, ImageError
from .far import require_plain
from .gallery.contract import AnyGallery
from .gallery.link import Link, open_or_create, write_link
from .images import read_image
from .loading import load_embedder
from .opening import refresh_segments, searched_there
from .recognition import Recognizer
from .recognizer_folder import assemble, require_photos
from .rules import Rules
from .settings import read_settings, write_settings
from .types import Embedder, Image, Photos


@dataclass(frozen=True)
class Indexed:
    """What an index run left: numbers to print, and the photos that failed."""

    counts: dict[str, int | str]
    failures: list[Failure]


def index_photos(
    photos: Photos,
    distractors: Photos | None,
    folder: Path,
    source: str,
    *,
    rules: Rules | None = None,
    device: str = "auto",
    progress: Callable[[str], Progress],
) -> Indexed:
    """Embed photos and distractors into `folder`; add to what is there.

    source: an embedder folder, "timm:NAME", or "sift" (its vocabulary is fitted on these
      photos, unless the folder holds one already).
    rules: None = those of an earlier run into the folder. Where they compare nothing by geometry
      (verify 0), no local features are kept.
    Raises GalleryError, before anything is written, when the folder was made by another
    embedder; DataError when no photo could be read.
    """
    table = merged(photos, distractors)
    chosen = rules_of(folder, rules)
    embedder = embedder_of(source, table, folder, device=device, progress=progress("fitting"))
    with gallery_of(folder, embedder) as gallery:
        failures = fill_gallery(
            embedder, table, gallery, features=chosen.verify > 0, progress=progress("indexing")
        )
        require_photos(gallery, failures)
        recognizer = settle(folder, embedder, gallery, chosen)
        index = recognizer.index
        counts: dict[str, int | str] = {
            "photos": len(index.ids), "landmarks": len(index.names),
            "distractors": len(index.bank), "failed": len(failures),
            "not in this table": gallery.count() - len(table) + len(failures),
            "embedder": embedder.id, "score": recognizer.rules.score,
        }  # fmt: skip
    return Indexed(counts, failures)


def place_gallery(folder: Path, link: Link, rules: Rules | None) -> None:
    """Say where the gallery of a folder is to be, before the first photo is indexed.

    Raises OptionError when the rules do not go with it, GalleryError when it is elsewhere already.
    """
    if link.search == "there" and rules is not None:
        require_plain(rules)
    write_link(folder, link)


def rules_of(folder: Path, rules: Rules | None) -> Rules:
    """The rules given, those of an earlier run, or the defaults of such a gallery.

    Raises OptionError when the gallery cannot be searched so.
    """
    chosen = rules or _stored(folder)
    if not searched_there(folder):
        return chosen
    if rules is None and not (folder / "recognizer.json").exists():
        return replace(chosen, whitening="none")
    require_plain(chosen)
    return chosen


def embedder_of(
    source: str, table: Photos, folder: Path, *, device: str = "auto", progress: Progress
) -> Embedder:
    """What `source` names; for "sift" that of the folder, or one fitted on the table."""
    if source == "sift":
        return _sift(table, folder, progress)
    return load_embedder(source, device=device)


def gallery_of(folder: Path, embedder: Embedder) -> AnyGallery:
    """The gallery of a folder, opened or made, for this embedder: where `gallery.json` says, or in
    a file.

    The embedder goes first: a folder with a gallery always has what made it. Raises GalleryError
    when there is one of another embedder.
    """
    if not (folder / "embedder" / "embedder.json").exists():
        embedder.save(folder / "embedder")
    gallery = open_or_create(folder, embedder.id, embedder.dim)
    try:
        gallery.require(embedder.id)
    except GalleryError:
        gallery.close()
        raise
    return gallery


def settle(folder: Path, embedder: Embedder, gallery: AnyGallery, rules: Rules) -> Recognizer:
    """A filled gallery → a recognizer folder: what the rules need is fitted, unless nothing has
    changed since it was; settings and segment files are written.
    """
    gallery.optimize()
    far = folder if searched_there(folder) else None
    recognizer = assemble(embedder, gallery, rules, _still_fits(folder, rules, gallery), folder=far)
    write_settings(folder, rules, recognizer.fitted, gallery.generation)
    refresh_segments(folder, gallery)
    return recognizer


def _stored(folder: Path) -> Rules:
    """The rules of an earlier run; the defaults when there are none, or none that can be read."""
    try:
        return read_settings(folder)[0]
    except GalleryError:
        return Rules()


def _still_fits(folder: Path, rules: Rules, gallery: AnyGallery) -> Fitted | None:
    """What was fitted before (by `tune`, say), when neither photos nor rules have changed since."""
    with suppress(GalleryError):
        stored, fitted, generation = read_settings(folder)
        if stored == rules and generation == gallery.generation:
            return fitted
    return None


def _sift(table: Photos, folder: Path, progress: Progress) -> Embedder:
    if (folder / "embedder" / "embedder.json").exists():
        embedder = load_embedder(folder / "embedder")
        if embedder.name != "sift":
            raise GalleryError(f"{folder}: made by embedder {embedder.name!r}, not by sift")
        return embedder
    from .embedders.sift import SiftEmbedder, SiftOptions

    options = SiftOptions()
    return SiftEmbedder.fit(_readable(table, options.size, progress), options)


def _readable(photos: Photos, size: int, progress: Progress) -> Iterator[Image]:
    """The photos that can be decoded, one at a time; the others are listed when indexed."""
    for row, path in enumerate(photos.paths):
        with suppress(ImageError):
            yield read_image(path, short_side=size)
        progress(row + 1, len(photos))
