"""Put the photos of a named group into the gallery, and take them out again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...core.errors import ImageError, OptionError
from ...core.fingerprint import fingerprint, same_picture
from ...core.images import content_hash, jpeg, read_image
from ...core.storage import read_bytes
from ...core.types import Embedder, Photos, Progress
from ...gallery.base import Gallery
from ...gallery.records import LandmarkRecord
from .discovery_groups import DiscoveredPhoto, Discovery, DiscoveryError
from .edit import (
    add_photos,
    describe_landmark,
    open_gallery,
    photos_to_add,
    relabel_photos,
    remove_photos,
)
from .settings import read_state
from .update import UpdateOptions


@dataclass(frozen=True)
class NamedDiscovery:
    """What naming a group did.

    landmark: the label in the gallery. known: the gallery had it before. used: the photos that
    show it. added, moved: ids in the gallery of new photos, and of distractors that were moved.
    left_out: name → why a photo was not used. generation: of the gallery.
    """

    discovery: Discovery
    landmark: str
    known: bool
    used: tuple[DiscoveredPhoto, ...]
    added: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    generation: int = 0


def add_to_gallery(
    folder: Path,
    group: Discovery,
    landmark: str,
    *,
    record: LandmarkRecord | None = None,
    embedder: Embedder | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> NamedDiscovery:
    """Add a group's photos to a landmark, as `gallery add` does; see `DiscoveryStore.name`.

    Photos that the gallery has under another landmark stay there, and are left out.
    """
    left_out: dict[str, str] = {}
    facts = record or _suggested(group, landmark)
    found = {photo.name: (photo, digest) for photo in group.photos
             if (digest := _hash_now(photo, left_out))}  # fmt: skip
    with open_gallery(folder, to_change=True) as gallery:
        label, known = _label_of(gallery, landmark, facts.wikidata if facts else "")
        elsewhere = _elsewhere(gallery, {digest for _, digest in found.values()})
        wanted = {}
        for name, (photo, digest) in found.items():
            other = elsewhere.get(digest, (label, ""))[0]
            if other in (label, ""):
                wanted[name] = (photo, digest)
            else:
                left_out[name] = f"the gallery has this photo, as {other!r}"
        moved = [one for _, digest in wanted.values() if digest in elsewhere
                 for one in elsewhere[digest][1:] if elsewhere[digest][0] == ""]  # fmt: skip
    names, paths = list(wanted), [photo.file for photo, _ in wanted.values()]
    table = photos_to_add(
        Photos.of_columns(names, paths, [""] * len(names)), landmark=label, distractors=False
    )
    if not names:
        raise DiscoveryError("no_photos", _none_left(group, left_out))
    options = UpdateOptions(relabel=True, restore=True, corrects=False, explicit=True)
    done = add_photos(
        folder, table, device=device, embedder=embedder, options=options, progress=progress
    )
    left_out |= {name: why for name, why in done.failures.items() if name in wanted}
    used = tuple(photo for name, (photo, _) in wanted.items() if name not in left_out)
    if not used:
        raise DiscoveryError("no_photos", _none_left(group, left_out))
    with open_gallery(folder) as gallery:
        ids = gallery.with_hashes({wanted[photo.name][1] for photo in used})
        stamps = gallery.stamps([one for several in ids.values() for one in several])
        files = {photo.file for photo in used}
        added = sorted(one for one, (path, _, of) in stamps.items()
                       if path in files and of == label and one not in moved)  # fmt: skip
    _describe(folder, label, facts)
    with open_gallery(folder) as gallery:
        return NamedDiscovery(group, label, known, used, added, moved, left_out, gallery.generation)


def kept_photos(group: Discovery, keep: Sequence[int] | None) -> tuple[DiscoveredPhoto, ...]:
    """The photos of a group at these positions, None = all. Raises OptionError for others."""
    if keep is None:
        return group.photos
    chosen = sorted(set(keep))
    if not chosen or chosen[0] < 0 or chosen[-1] >= len(group.photos):
        raise OptionError(
            f"photos {chosen} of group {group.id} given; expected numbers from 0 to "
            f"{len(group.photos) - 1}"
        )
    return tuple(group.photos[at] for at in chosen)


def take_from_gallery(folder: Path, landmark: str, ids: dict[str, list[str]]) -> None:
    """Undo `add_to_gallery`: of its photos, those that still show this landmark in the gallery."""
    landmark = label_now(folder, landmark)
    with open_gallery(folder, to_change=True) as gallery:
        stamps = gallery.stamps([*ids.get("added", []), *ids.get("moved", [])])
    there = {one for one, (_, _, label) in stamps.items() if label == landmark}
    if added := [one for one in ids.get("added", []) if one in there]:
        remove_photos(folder, added, None)
    if moved := [one for one in ids.get("moved", []) if one in there]:
        relabel_photos(folder, moved, None, "")


def label_now(folder: Path, landmark: str) -> str:
    """The label of a landmark, which may have been renamed by hand since."""
    return read_state(folder).renamed.get(landmark) or landmark


def _hash_now(photo: DiscoveredPhoto, left_out: dict[str, str]) -> str:
    """The content hash of a photo's file; "" and a reason when it is another picture now."""
    try:
        data = read_bytes(photo.file)
        digest = content_hash(data)
        if digest == photo.hash:
            return digest
        now = jpeg(read_image(data, name=photo.file))
    except ImageError as error:
        left_out[photo.name] = str(error)
        return ""
    if photo.thumbnail:  # other programs write keywords into photos: is the picture the same?
        shown = fingerprint(read_image(photo.thumbnail))
        if not same_picture(shown, fingerprint(read_image(now))):
            left_out[photo.name] = "the file has another picture since it was listed"
            return ""
    return digest


def _label_of(gallery: Gallery, landmark: str, wikidata: str) -> tuple[str, bool]:
    """The gallery's label of a landmark given by label, title, name or Wikidata id; else a new one.

    Returns:
        The label, and whether the gallery has it.
    """
    wanted, labels = landmark.strip(), gallery.labels().names
    if wanted in labels:
        return wanted, True
    called: dict[str, set[str]] = {}
    records = gallery.landmarks()
    for label in labels:
        record = records.get(label, LandmarkRecord(label))
        for text in (label.replace("_", " "), record.title, *record.names.values()):
            called.setdefault(text.casefold(), set()).add(label)
    found = called.get(wanted.casefold(), set()) if wanted else set()
    if len(found) > 1:
        several = ", ".join(sorted(found))
        raise OptionError(f"several landmarks are called {landmark!r}: give one of {several}")
    found = found or {one for one in labels if one in records and wikidata
                      and records[one].wikidata == wikidata}  # fmt: skip
    return (min(found), True) if found else (wanted, False)


def _elsewhere(gallery: Gallery, hashes: set[str]) -> dict[str, tuple[str, ...]]:
    """Content hash → landmark and ids of the gallery photos with these bytes."""
    same = gallery.with_hashes(hashes)
    stamps = gallery.stamps([one for ids in same.values() for one in ids])
    return {digest: (max(stamps[one][2] for one in ids), *ids) for digest, ids in same.items()}


def _suggested(group: Discovery, given: str) -> LandmarkRecord | None:
    """The record to store: the suggestion's, where the group was named as suggested."""
    suggestion, wanted = group.suggestion, given.strip().casefold()
    if suggestion is None or not wanted:
        return None
    same = wanted in (suggestion.title.casefold(), suggestion.landmark.casefold())
    return suggestion.record(given.strip()) if same else None


def _describe(folder: Path, label: str, record: LandmarkRecord | None) -> None:
    """Fill what the landmark's record lacks; nothing that is known is replaced."""
    if record is None:
        return
    old, _ = describe_landmark(folder, label)
    new = {name: value for name, value in vars(record).items()
           if name != "name" and value not in ("", None, {})}  # fmt: skip
    changes = {name: value for name, value in new.items()
               if getattr(old, name) in ("", None, {})}  # fmt: skip
    if ("latitude" in changes) != ("longitude" in changes):
        changes = {name: changes[name] for name in changes.keys() - {"latitude", "longitude"}}
    if old.wikidata and record.wikidata and old.wikidata != record.wikidata:
        return  # it is said to be of another landmark
    if changes:
        describe_landmark(folder, label, changes)


def _none_left(group: Discovery, left_out: dict[str, str]) -> str:
    why = f" ({next(iter(left_out.values()))})" if left_out else ""
    return (
        f"none of the photos of group {group.id} can be added{why}; `whichlandmark discover` lists "
        "what is there now"
    )
