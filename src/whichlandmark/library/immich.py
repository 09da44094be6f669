"""Label the photos of an Immich server: new ones are read, answered, and tagged with the landmark.

A photo that is labelled gets `landmark/NAME` and `landmark/by-whichlandmark`, and, only when asked
and only where it has none, the landmark's position. What a user takes off is never put on again.
`immich_undo` takes everything off again.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import TypeVar

from ..core.errors import NetworkError
from ..core.photo_files import LatLon
from ..core.types import Progress
from ..recognition.answer import shown_name
from ..recognition.recognizer import Recognizer
from ..recognition.sure import sure_confidence
from .immich_api import ImmichApi
from .immich_client import CONNECTIONS, RefusedError
from .immich_shapes import MARK, PLACED_MARK, ROOT, Asset, Marks, Tag, same_place
from .immich_state import Answer, ImmichState, KnownAsset, Placed
from .stored_answers import answer_keys

PHOTOS_AT_ONCE = 32  # previews in memory; after a kill at most so many are asked for again

OVERLAP = timedelta(hours=1)  # of the times that two listings cover, because commits may come late

Made = TypeVar("Made")


@dataclass(frozen=True)
class ImmichOptions:
    """What `label_immich` does.

    above: least confidence of a label; None = as `sure_confidence` says. gps: write positions.
    root: the tag above all of this program's, with any levels. limit: photos to answer in this run.
    again: also answer what an earlier recognizer answered, and label what was undone. archived:
    photos of the archive, too. language: of the landmarks' names.
    """

    above: float | None = None
    gps: bool = False
    root: str = ROOT
    limit: int | None = None
    again: bool = False
    archived: bool = False
    dry_run: bool = False
    language: str = ""


@dataclass
class ImmichRun:
    """What a run has done. above: the least confidence of a label. landmarks: title → number of
    photos that were labelled, or would be; photos: these, each with its page in Immich.
    """

    above: float
    counts: Counter[str] = field(default_factory=Counter)
    landmarks: Counter[str] = field(default_factory=Counter)
    photos: list[dict[str, str | float]] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def label_immich(
    api: ImmichApi, state: ImmichState, recognizer: Recognizer, options: ImmichOptions,
    progress: Progress | None = None,
) -> ImmichRun:  # fmt: skip
    """Answer the photos that are new on the server, and tag those that are certain enough.

    Interrupted at any moment, the same call goes on: at most 32 photos are answered again, and none
    is tagged otherwise.

    Args:
        api: of the server.
        state: what is remembered of it.
        recognizer: answers the photos.
        options: what is done.
        progress: called with (photos answered, photos to answer).

    Raises:
        NetworkError: when the server cannot be reached, or refuses; what is done is kept.
    """
    return _Bridge(api, state, recognizer, options).run(progress)


class _Bridge:
    def __init__(
        self, api: ImmichApi, state: ImmichState, recognizer: Recognizer, options: ImmichOptions
    ) -> None:
        self._api, self._state, self._recognizer = api, state, recognizer
        self._options, self._marks = options, Marks.below(options.root)
        self._key = answer_keys(recognizer)[1]
        self._done = ImmichRun(self._sure() if options.above is None else options.above)
        if options.above is None and (note := state.meta("note of sure")):
            self._done.notes.append(note)
        self._tags: dict[str, Tag] = {}
        # Values of the tags on the server, before the first is made.
        self._there: set[str] | None = None

    def _sure(self) -> float:
        """The confidence of `sure_confidence`, remembered, because it may take a fit."""
        state = self._state
        if state.meta("sure of") != self._key:
            sure = sure_confidence(self._recognizer)
            state.set_meta("sure", repr(sure.confidence))
            state.set_meta("note of sure", sure.note)
            state.set_meta("sure of", self._key)
        return float(state.meta("sure"))

    def run(self, progress: Progress | None) -> ImmichRun:
        options, state, done = self._options, self._state, self._done
        if not options.dry_run:
            self._require_safe()
            self._finish()
        if options.again:
            state.ask_again(self._key)
        elif others := state.asked_by_others(self._key):
            done.notes.append(
                f"{others} photos were answered by an earlier state of this recognizer, and not "
                "labelled; --all answers them again"
            )
        self._list()
        self._label_sure()
        now = time.time()
        to_answer = state.answerable(now, options.limit or 2**62)
        left = state.count_answerable(now) - len(to_answer)
        if progress:
            progress(0, len(to_answer))
        answered = 0
        for batch in _chunks(to_answer, PHOTOS_AT_ONCE):
            self._answer(batch)
            self._label_sure()
            answered += len(batch)
            if progress:
                progress(answered, len(to_answer))
        if options.dry_run:
            would = state.sure(done.above, self._key, 2**62)
            done.counts["would label"] = len(would)
            self._tell(would)
            if options.gps:
                done.counts["would place"] = sum(
                    not one.has_position and self._position_of(one.landmark) is not None
                    for one in would
                )
        if left:
            done.counts["left for the next run"] = left
        return done

    def _require_safe(self) -> None:
        if self._api.loses_positions():
            raise NetworkError(
                f"{self._api.server.shown} deletes the position of every photo that is tagged "
                "while reverse geocoding is off (its issue 17511, mended in v1.132); update it, or "
                "switch reverse geocoding on under Administration > Settings > Map"
            )

    def _list(self) -> None:
        """Note the photos that the server has changed since the last listing."""
        options, state, newest = self._options, self._state, ""
        name = "listed until, with the archive" if options.archived else "listed until"
        after = "" if options.again else state.meta(name)
        for page in self._api.images(updated_after=after, archived=options.archived):
            self._done.counts["new"] += state.add(page)
            newest = max([newest, *(one.updated for one in page)])
        if until := _listed_until(newest, self._api.connection.started):
            state.set_meta(name, max(until, after))

    def _answer(self, batch: Sequence[KnownAsset]) -> None:
        """Fetch previews, answer them, and keep the answers in one step."""
        pool = ThreadPoolExecutor(CONNECTIONS)
        try:
            fetched = list(pool.map(self._preview, batch))
        finally:  # after Ctrl-C, and when the server is away, the others are not waited for
            pool.shutdown(cancel_futures=True)
        photos = [data for data in fetched if isinstance(data, bytes)]
        found = iter(self._recognizer(photos) if photos else [])
        answers: list[Answer] = []
        for one, data in zip(batch, fetched, strict=True):
            if isinstance(data, Answer):
                answers.append(data)
                continue
            answer = next(found)
            if answer.decision == "failed":
                reason = (answer.error or "cannot be decoded").partition(": ")[2] or answer.error
                answers.append(Answer(one.id, "failed", why=reason or "cannot be decoded"))
            else:
                named = answer.landmark if answer.decision == "landmark" else None
                confidence = answer.confidence if math.isfinite(answer.confidence) else 0.0
                answers.append(Answer(one.id, "answered", named or "", confidence))
        self._state.keep(answers, self._key, time.time())
        self._done.counts.update(one.state for one in answers)
        self._done.failures |= self._state.failures(one.id for one in answers)

    def _preview(self, one: KnownAsset) -> bytes | Answer:
        """The preview of an asset, or what becomes of it without."""
        try:
            data = self._api.preview(one.id)
        except LookupError:
            return Answer(one.id, "gone")
        except RefusedError as error:
            return Answer(one.id, "waiting", why=str(error))
        return Answer(one.id, "waiting") if data is None else data

    def _label_sure(self) -> None:
        """Label the answered photos that are certain enough, a batch at a time."""
        if self._options.dry_run:
            return
        while batch := self._state.sure(self._done.above, self._key, PHOTOS_AT_ONCE):
            self._note(batch)
            self._finish()

    def _note(self, batch: Sequence[KnownAsset]) -> None:
        """Look at the photos as they are now, and note what will be written to which."""
        marks = self._marks
        values = {one.id: marks.of(self._title(one.landmark)) for one in batch}
        self._make_tags([marks.mark, *values.values(), *([marks.placed] * self._options.gps)])
        tagged: list[tuple[str, Tag]] = []
        placed: list[Placed] = []
        fates: list[tuple[str, str]] = []
        for one in batch:
            asset = self._api.asset(one.id)
            if asset is None or asset.trashed or not self._is_shown(asset):
                fates.append((one.id, "gone"))
                continue
            has = {tag.value for tag in asset.tags or ()}
            if marks.mark in has:
                fates.append((one.id, "foreign"))
                continue
            fates.append((one.id, "labelling"))
            wanted = [marks.mark, values[one.id]]
            position = self._position_of(one.landmark) if self._options.gps else None
            if position and asset.position is None:
                placed.append(Placed(one.id, position, asset.zero))
                wanted.append(marks.placed)
            tagged += [(one.id, self._tags[value]) for value in wanted if value not in has]
        self._state.note_changes(tagged, placed, [id for id, fate in fates if fate == "labelling"])
        self._state.set_states(pair for pair in fates if pair[1] != "labelling")
        self._done.counts.update(fate for _, fate in fates if fate != "labelling")

    def _is_shown(self, asset: Asset) -> bool:
        return asset.shown or (asset.archived and self._options.archived)

    def _finish(self) -> None:
        """Write what is noted: tags, then positions; also after an end in the middle of it."""
        if not (batch := self._state.in_state("labelling")):
            return
        ids = {one.id for one in batch}
        by_tag: dict[Tag, list[str]] = {}
        for id, tag in self._state.tagged(ids):
            by_tag.setdefault(tag, []).append(id)
        gone: set[str] = set()
        for tag in sorted(by_tag, key=lambda tag: (not tag.value.endswith(f"/{MARK}"), tag.value)):
            refused = self._put(tag, by_tag[tag])
            self._state.forget_tagged((id, tag.id) for id in refused)
            gone |= refused
        for one in self._state.placed(sorted(ids - gone)):
            self._place(one)
        self._state.forget_placed(gone)
        self._state.set_states((id, "gone" if id in gone else "labelled") for id in ids)
        labelled = [one for one in batch if one.id not in gone]
        self._done.counts.update({"labelled": len(labelled), "gone": len(gone)})
        self._tell(labelled)

    def _tell(self, photos: Sequence[KnownAsset]) -> None:
        """Add photos with a label to what the run tells."""
        for one in photos:
            title = self._title(one.landmark)
            self._done.landmarks[title] += 1
            self._done.photos.append({
                "id": one.id, "name": one.name, "landmark": one.landmark, "title": title,
                "confidence": one.confidence,
                "page": f"{self._api.connection.address}/photos/{one.id}",
            })  # fmt: skip

    def _put(self, tag: Tag, ids: Sequence[str]) -> set[str]:
        """Put a tag on assets. Returns those that are gone."""
        try:
            results = self._api.tag_assets(tag, ids)
        except LookupError:  # someone has deleted the tag meanwhile
            self._tags.pop(tag.value, None)
            self._make_tags([tag.value], deleted=True)
            new = self._tags[tag.value]
            self._state.note_changes([(id, new) for id in ids], [], ids)
            self._state.forget_tagged((id, tag.id) for id in ids)
            results = self._api.tag_assets(new, ids)
        return {id for id in ids if results.get(id, "") not in ("", "duplicate")}

    def _place(self, one: Placed) -> None:
        """Write a position, unless the asset has got one in the meantime."""
        asset = self._api.asset(one.asset)
        if asset is not None and asset.position is None:
            if self._api.set_position(one.asset, *one.position):
                self._done.counts["positions"] += 1
                return
        elif asset is not None and same_place(asset.position, one.position):
            self._done.counts["positions"] += 1  # written before an end
            return
        self._state.forget_placed([one.asset])
        for id, tag in self._state.tagged([one.asset]):
            if tag.value == self._marks.placed or tag.value.endswith(f"/{PLACED_MARK}"):
                self._api.untag_assets(tag, [id])
                self._state.forget_tagged([(id, tag.id)])

    def _make_tags(self, values: Sequence[str], *, deleted: bool = False) -> None:
        """Have the tags of these values; those that are made are noted before.

        deleted: they were there a moment ago.
        """
        missing = sorted({value for value in values if value not in self._tags})
        if not missing:
            return
        if self._there is None or deleted:
            found = self._api.tags()
            self._there = {tag.value for tag in found}
            self._tags = {tag.value: tag for tag in found if tag.value.startswith(self._marks.root)}
            missing = [value for value in missing if value not in self._tags]
        with_parents = set(missing)
        if self._api.has_levels:
            with_parents |= {
                value.rsplit("/", n)[0] for value in missing for n in range(1, value.count("/") + 1)
            }
        self._state.note_made_tags(with_parents - self._there)
        if missing:
            self._tags |= self._api.make_tags(missing)
        self._there |= with_parents

    def _title(self, landmark: str) -> str:
        return shown_name(landmark, self._recognizer.records, self._options.language)

    def _position_of(self, landmark: str) -> LatLon | None:
        record = self._recognizer.records.get(landmark)
        if record is None or record.latitude is None or record.longitude is None:
            return None
        return record.latitude, record.longitude


def _listed_until(newest: str, date: str) -> str:
    """Until when a listing that has just ended is complete; "" = nothing tells.

    newest: of the times of change in it. date: the server's clock before it began.
    """
    times: list[datetime] = []
    for text, read in ((newest, datetime.fromisoformat), (date, parsedate_to_datetime)):
        try:
            times.append(read(text).astimezone(UTC))
        except (ValueError, TypeError, OverflowError):
            continue
    if not newest or not times:
        return ""
    try:
        return (min(times) - OVERLAP).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    except OverflowError:
        return ""


def _chunks(rows: Sequence[Made], size: int) -> Iterator[list[Made]]:
    given = iter(rows)
    while some := list(islice(given, size)):
        yield some
