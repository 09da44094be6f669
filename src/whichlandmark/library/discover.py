"""Find groups of photos of landmarks that the gallery does not know, in a library of photos.

The photos that the recognizer does not name are compared with each other, first by their vectors,
then by their keypoints, and grouped; the groups are kept in the recognizer folder
(`DiscoveryStore`) until a person has named them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.files import local_path, text_of_bytes
from ..core.fingerprint import candidate_pairs as similar_hashes
from ..core.fingerprint import same_picture, unpack_hashes
from ..core.types import Floats, ProgressFor, Vectors
from ..gallery.records import LandmarkRecord
from ..recognition.folder.discoveries import (
    DiscoveredPhoto,
    Discovery,
    DiscoveryStore,
    FoundGroup,
)
from ..recognition.recognizer import Recognizer
from .answers import Counts, LibraryAnswers
from .grouping import (
    VERIFIED_INLIERS,
    Group,
    Seen,
    Similarity,
    candidate_pairs,
    compare,
    group,
    scenes_of,
)
from .photo_looks import PhotoLook, PhotoLooks
from .suggestions import GroupFacts, Nearby, Suggester, folders_of

NAMED_FROM = 0.9  # confidence of an answer from which a photo counts as named

BACKGROUND = 5  # nearest distractors whose mean cosine is what photos have in common by chance

SEARCHED_AT_ONCE = 512  # photos, to bound the memory


@dataclass(frozen=True)
class DiscoverOptions:
    """How groups are made.

    min_photos: that a group has at least, bursts and copies counted once. places: records of
    landmarks, of a table called `places_name`, whose names are suggested for photos taken near
    them. nearby: asks someone else for such a landmark; None = nobody.
    """

    min_photos: int = 3
    places: Sequence[LandmarkRecord] = ()
    places_name: str = ""
    nearby: Nearby | None = None


@dataclass(frozen=True)
class Discovered:
    """What was found.

    open: groups to name, the largest first. decided: number of groups that were named or dismissed
    before. answers: of the whole library. compared: photos that the gallery does not name. failed:
    path → why a photo could not be read. notes: what a reader should know.
    """

    open: list[Discovery]
    decided: int
    answers: Counts
    compared: int
    failed: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Unnamed:
    """Photos that the gallery does not name: paths below the library, files, guesses, vectors."""

    names: list[str]
    files: list[str]
    guesses: list[tuple[str, float] | None]
    vectors: Vectors

    def take(self, rows: Sequence[int]) -> _Unnamed:
        return _Unnamed(
            [self.names[row] for row in rows], [self.files[row] for row in rows],
            [self.guesses[row] for row in rows], self.vectors[list(rows)],
        )  # fmt: skip


def library_key(library: str | Path) -> str:
    """What a library is called in the store: its absolute path."""
    return text_of_bytes(os.path.abspath(os.path.expanduser(library)))


def discover(
    library: str | Path,
    folder: Path,
    recognizer: Recognizer,
    options: DiscoverOptions | None = None,
    *,
    state: Path | None = None,
    progress: ProgressFor,
) -> Discovered:
    """Search a library, and store the groups that were found in the recognizer folder.

    An interrupted search goes on where it stopped.

    Args:
        library: A folder of photos; nothing in it is changed.
        folder: The recognizer folder.
        recognizer: Opened from it.
        options: None = the defaults.
        state: What is remembered of the library; None = the place of `state_folder`.
        progress: Name of a step → its progress function.

    Raises:
        BusyError: When another process works on this library.
        DataError: When the library is missing, or a folder may not be written to.
    """
    options, store = options or DiscoverOptions(), DiscoveryStore(folder)
    top = os.path.abspath(os.path.expanduser(library))
    with LibraryAnswers(library, recognizer, state=state) as answers:
        counts = answers.update(progress("recognizing"))
        unnamed, files, failed = _unnamed(answers)
        with PhotoLooks.open(answers.state) as looks:
            looks.forget_unless(files)
            suggest = Suggester(
                top, recognizer.records, folders_of(files, top), options.places,
                options.places_name, options.nearby,
            )  # fmt: skip
            found = _groups(unnamed, recognizer, looks, suggest, options.min_photos, progress)
        left_out = answers.left_out
    key = library_key(library)
    open_groups = store.put(found, key)
    decided = len(store.all("all", key)) - len(open_groups)
    notes = () if len(recognizer.index.distractor_ids) else (
        "the gallery has no distractors (photos without a landmark), so only photos whose details "
        "match are grouped; add some with `gallery add --distractors`",
    )  # fmt: skip
    return Discovered(open_groups, decided, counts, len(unnamed.files), failed, left_out, notes)


def _unnamed(answers: LibraryAnswers) -> tuple[_Unnamed, list[str], dict[str, str]]:
    """The photos that the gallery does not name, all files, and what could not be read."""
    names, files, guesses, vectors = [], [], [], []
    everything, failed = [], {}
    for one in answers:
        everything.append(one.file)
        if one.error is not None:
            failed[one.photo] = one.error
            continue
        answer = one.answer
        if answer["decision"] == "landmark" and answer["confidence"] >= NAMED_FROM:
            continue
        names.append(one.photo)
        files.append(one.file)
        guess = answer["guess"]
        guesses.append((str(guess), float(answer["confidence"])) if guess else None)
        vectors.append(one.vector)
    dim = answers.recognizer.embedder.dim
    rows = np.stack(vectors).astype(np.float32) if vectors else np.empty((0, dim), np.float32)
    return _Unnamed(names, files, guesses, rows), everything, failed


def _groups(
    unnamed: _Unnamed,
    recognizer: Recognizer,
    looks: PhotoLooks,
    suggest: Suggester,
    min_photos: int,
    progress: ProgressFor,
) -> list[FoundGroup]:
    """The groups among photos, with suggestions."""
    everything = _as_compared(recognizer, unnamed.vectors)
    likely = np.unique(candidate_pairs(everything).rows)
    read = looks.update([unnamed.files[row] for row in likely], progress("reading photos"))
    usable = _usable(recognizer, unnamed, likely.tolist(), read)
    photos, similarity = unnamed.take(usable), everything.take(usable)
    pairs = candidate_pairs(similarity)
    report = progress("comparing photos")
    inliers = compare(
        pairs,
        lambda row, others: looks.inliers(photos.files[row], [photos.files[at] for at in others]),
        lambda done: report(done, len(pairs.rows)),
    )
    own = [read[file] for file in photos.files]
    scenes = scenes_of(
        len(own), _same_pictures(photos.files, own, looks), [look.time for look in own],
        pairs.rows, inliers >= VERIFIED_INLIERS,
    )  # fmt: skip
    seen = Seen([look.place for look in own], scenes)
    found = group(similarity, pairs, inliers, seen, min_photos)
    return [
        _found(one, photos, own, looks, suggest, similarity.like_gallery(one.rows)) for one in found
    ]


def _as_compared(recognizer: Recognizer, vectors: Vectors) -> Similarity:
    """Vectors as the recognizer compares them, and what each has in common with distractors.

    Without distractors the gallery's nearest photos are in their place.
    """
    rows: list[Vectors] = []
    background, gallery = [np.empty(0)], [np.empty(0)]
    taught = len(recognizer.index.distractor_ids) > 0
    for start in range(0, len(vectors), SEARCHED_AT_ONCE):
        found = recognizer.decider.retriever.search(vectors[start : start + SEARCHED_AT_ONCE])
        rows.append(found.queries)
        gallery.append(_mean_of_nearest(found.neighbours.similarity))
        background.append(_mean_of_nearest(found.distractors.similarity) if taught else gallery[-1])
    return Similarity(
        np.concatenate(rows) if rows else vectors, np.concatenate(background),
        np.concatenate(gallery), taught,
    )  # fmt: skip


def _mean_of_nearest(cosines: NDArray[np.float32]) -> Floats:
    """(Q,) mean of the first of (Q, K) descending cosines; 0 where there are none."""
    near = cosines[:, :BACKGROUND]
    return near.mean(axis=1, dtype=np.float64) if near.shape[1] else np.zeros(len(near))


def _usable(
    recognizer: Recognizer, unnamed: _Unnamed, rows: list[int], read: dict[str, PhotoLook]
) -> list[int]:
    """Rows of photos that could be read and that the gallery does not have as a landmark's."""
    gallery = recognizer.gallery
    same = gallery.with_hashes({look.hash for look in read.values() if look.hash})
    stamps = gallery.stamps([one for ids in same.values() for one in ids])
    known = {digest for digest, ids in same.items() if any(stamps[one][2] for one in ids)}
    looks = {row: read[unnamed.files[row]] for row in rows}
    return [row for row, look in looks.items() if not look.error and look.hash not in known]


def _same_pictures(
    files: Sequence[str], own: Sequence[PhotoLook], looks: PhotoLooks
) -> list[tuple[int, int]]:
    """Pairs of photos that are the same picture: copies, re-encoded, resized, slightly cropped."""
    if not files:
        return []
    first: dict[str, int] = {}
    found = [(first.setdefault(look.hash, row), row) for row, look in enumerate(own)]
    once = sorted(first.values())
    bits, coarse = unpack_hashes(looks.packed_fingerprints([files[row] for row in once]))
    joined: dict[int, int] = {}  # row → one that is the same picture
    for a, b in similar_hashes(bits, coarse.astype(np.float32)):
        one, two = once[a], once[b]
        if two in joined:  # so that n copies take n comparisons
            continue
        if same_picture(looks.fingerprint(files[one]), looks.fingerprint(files[two])):
            joined[two] = one
    return [*found, *joined.items()]


def _found(
    one: Group, photos: _Unnamed, own: Sequence[PhotoLook], looks: PhotoLooks, suggest: Suggester,
    like_gallery: bool,
) -> FoundGroup:  # fmt: skip
    facts = GroupFacts(
        [photos.files[row] for row in one.rows], [own[row].place for row in one.rows],
        [photos.guesses[row] for row in one.rows], like_gallery,
    )  # fmt: skip
    library = text_of_bytes(os.path.basename(local_path(suggest.top)) or "library")
    members = tuple(
        DiscoveredPhoto(
            photos.files[row],
            f"{library}/{photos.names[row]}",
            own[row].hash,
            own[row].place,
            looks.thumbnail(photos.files[row]),
        )
        for row in one.rows
    )
    return FoundGroup(members, one.size, suggest(facts))
