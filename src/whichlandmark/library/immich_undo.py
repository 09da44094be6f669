"""Take off an Immich server all that `label_immich` has put there, and nothing else.

What the state knows is undone exactly. Photos that another machine labelled, or whose state is
lost, are found by the tag `by-whichlandmark`, and lose the tags below this program's root.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..core.types import Progress
from .immich_api import ImmichApi
from .immich_shapes import MARK, PLACED_MARK, Marks, Tag, same_place
from .immich_state import ImmichState, Placed


@dataclass
class ImmichUndo:
    """What was undone. kept: the positions that could not be taken off: photo → why."""

    counts: Counter[str] = field(default_factory=Counter)
    kept: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def undo_immich(
    api: ImmichApi, state: ImmichState, *, root: str, progress: Progress | None = None
) -> ImmichUndo:
    """Take the tags and positions of this program off the server again.

    A tag that the user has put on or taken off stays so; a position is cleared only while it is
    the one that was written. Interrupted, the same call goes on.

    Args:
        api: of the server.
        state: what is remembered of it; may be empty.
        root: the tag above all of this program's.
        progress: called with (photos done, photos).

    Raises:
        NetworkError: when the server cannot be reached, or refuses; what is done is kept.
    """
    return _Undo(api, state, Marks.below(root)).run(progress)


class _Undo:
    def __init__(self, api: ImmichApi, state: ImmichState, marks: Marks) -> None:
        self._api, self._state, self._marks = api, state, marks
        self._done = ImmichUndo()
        self._keeps: set[str] = set()  # assets that keep a position, and the tag that says so

    def run(self, progress: Progress | None) -> ImmichUndo:
        noted = self._state.tagged()
        placed = self._state.placed()
        total = len({asset for asset, _ in noted}) + len(placed)
        for step, one in enumerate(placed, 1):
            self._clear(one)
            if progress:
                progress(step, total)
        self._take_off(noted)
        if progress:
            progress(total, total)
        self._by_tag()
        self._delete_tags()
        touched = self._state.in_state("labelled", "labelling", "foreign")
        self._state.set_states((one.id, "undone") for one in touched)
        return self._done

    def _clear(self, one: Placed) -> None:
        """Take a position off, where it is still the one that was written."""
        asset = self._api.asset(one.asset)
        if asset is None or not same_place(asset.position, one.position):
            self._state.forget_placed([one.asset])
            if asset is not None and asset.position is not None:
                self._done.counts["positions that others changed"] += 1
            return
        before = 0.0 if one.zero else None
        if self._api.set_position(one.asset, before, before):
            asset = self._api.asset(one.asset)
            if asset is None or not same_place(asset.position, one.position):
                self._state.forget_placed([one.asset])
                self._done.counts["positions removed"] += 1
                return
        name = asset.name if asset else one.asset
        self._keep(one.asset, name, "this Immich has no request that clears it")

    def _keep(self, id: str, name: str, why: str) -> None:
        self._keeps.add(id)
        self._done.kept[f"{name} ({id})"] = why

    def _take_off(self, noted: Iterable[tuple[str, Tag]]) -> None:
        """Take the noted tags off, the one that marks all of them last."""
        by_tag: dict[Tag, list[str]] = {}
        for id, tag in noted:
            if not (id in self._keeps and tag.value.endswith(f"/{PLACED_MARK}")):
                by_tag.setdefault(tag, []).append(id)
        for tag in sorted(by_tag, key=lambda tag: (tag.value.endswith(f"/{MARK}"), tag.value)):
            self._done.counts["tags removed"] += self._off(tag, by_tag[tag])
            if tag.value.endswith(f"/{MARK}"):
                self._done.counts["photos"] += len(by_tag[tag])
            self._state.forget_tagged((id, tag.id) for id in by_tag[tag])

    def _off(self, tag: Tag, ids: list[str]) -> int:
        """Take a tag off assets. Returns of how many."""
        try:
            results = self._api.untag_assets(tag, ids)
        except LookupError:  # the tag is deleted, and so on no asset
            return 0
        return sum(not results.get(id, "") for id in ids)

    def _by_tag(self) -> None:
        """Undo what the state does not know, by the tag that marks it."""
        marks = self._marks
        mark = next((tag for tag in self._api.tags() if tag.value == marks.mark), None)
        if mark is None:
            return
        if not self._api.can_search_tags():
            self._done.notes.append(
                f"{self._api.server.shown} cannot search by tag (that came with v1.126): photos "
                "that were labelled from another machine are not looked for, and tags that are "
                "empty now are left; --undo there, or update Immich and --undo again"
            )
            return
        by_tag: dict[Tag, list[str]] = {}
        for found in self._api.tagged(mark):
            asset = self._api.asset(found.id)
            has = asset.tags or () if asset else ()
            if asset is None or all(tag.value != marks.mark for tag in has):
                continue
            for tag in has:
                if not tag.value.startswith(f"{marks.root}/") or tag.value == marks.mark:
                    continue
                if tag.value == marks.placed and asset.position is not None:
                    why = "the state that knows the position is not here"
                    self._keep(asset.id, asset.name, why)
                    continue
                by_tag.setdefault(tag, []).append(asset.id)
            by_tag.setdefault(mark, []).append(asset.id)
        if by_tag:  # noted, so that they are deleted also after an end in the middle
            self._state.note_made_tags([*(tag.value for tag in by_tag), marks.root, marks.placed])
        for tag in sorted(by_tag, key=lambda tag: (tag == mark, tag.value)):
            self._done.counts["tags removed"] += self._off(tag, by_tag[tag])
        self._done.counts["photos"] += len(by_tag.get(mark, []))

    def _delete_tags(self) -> None:
        """Delete the tags that this program made, where nothing has them and none is below them."""
        made = self._state.made_tags()
        if not made or not self._api.can_search_tags():
            return
        there = {tag.value: tag for tag in self._api.tags()}
        gone = {value for value in made if value not in there}
        for value in sorted(made - gone, key=lambda value: (-value.count("/"), value)):
            below = any(other.startswith(f"{value}/") for other in there)
            if below and self._api.has_levels:
                continue
            if not self._api.tagged(there[value], most=1):
                self._api.delete_tag(there.pop(value))
                self._done.counts["tags deleted"] += 1
                gone.add(value)
        self._state.forget_made_tags(gone)
