"""Where photos are inside the tars of Google Landmarks v2: by a table of offsets, or by a search.

Each part is cut into tars PART/images_000.tar … (train 500, index 100, test 20; README of
github.com/cvdfoundation/google-landmark), whose members are a/b/c/<id>.jpg. No table of offsets is
published. They can be searched for, because the tars follow one another in the order of ids, and so
do the members of a tar. That order is not documented. What speaks for it: a public list of photos
that were taken "out of the tars with HTTP range requests (binary search on the tar headers)"; ids
b0b2d091… and b0b2db10… published as photos of images_345.tar, where 0xb0b2 / 0x10000 × 500 = 345.1;
and an open issue of that repository in which images_000.tar unpacks to 0/0/0/0000…. The search
checks it at every header that it meets, and ends with `UnorderedError` where it does not hold. A
photo is only ever taken where the 512 bytes before it are a tar header of its name and size.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.storage import TAR_BLOCK
from ..data.gldv2_tables import MAX_PHOTO_BYTES, Place
from ..data.photo_locations import parse_header

GAP_BYTES = 16_384  # two photos that are closer than this are fetched by one request

MAX_RANGE_BYTES = 16_000_000  # of one request for several photos

_MEMBER_NAME = re.compile(r"(?:\./)?[^/]/[^/]/[^/]/([A-Za-z0-9_-]{3,64})\.jpg")

_MAX_PROBES = 60  # requests for one photo; three or four are usual

_FIRST_BYTES = 8192  # of a tar: entries of folders stand before its first photo


class UnorderedError(Exception):
    """The photos of the tars are not in the order of their ids, so none can be searched for."""


class Span(NamedTuple):
    """The photos of one request: bytes start … end − 1 of a tar, which begin with a header."""

    tar: int
    start: int
    end: int
    ids: tuple[str, ...]


def tar_name(number: int) -> str:
    """images_007.tar"""
    return f"images_{number:03d}.tar"


def spans(places: dict[str, Place]) -> list[Span]:
    """Requests for photos at known places: neighbours of one tar by one request."""
    found: list[Span] = []
    for photo_id, place in sorted(places.items(), key=lambda item: (item[1], item[0])):
        start, end = place.offset - TAR_BLOCK, place.offset + place.size
        if found and found[-1].tar == place.tar and (
            start <= found[-1].end + GAP_BYTES and end - found[-1].start <= MAX_RANGE_BYTES
        ):  # fmt: skip
            last = found[-1]
            found[-1] = Span(last.tar, last.start, max(last.end, end), (*last.ids, photo_id))
        else:
            found.append(Span(place.tar, start, end, (photo_id,)))
    return found


def photo_in(data: bytes, at: int, photo_id: str, size: int) -> bytes | str:
    """The photo whose header is at `at`, or what is wrong there."""
    block = data[at : at + TAR_BLOCK]
    member = parse_header(block, 0) if len(block) == TAR_BLOCK else None
    if member is None or id_of(member[0]) != photo_id or member[2] != size:
        found = "no tar header" if member is None else f"{member[0]!r} of {member[2]} bytes"
        return f"{found} there; expected {photo_id}.jpg of {size} bytes"
    photo = data[at + TAR_BLOCK : at + TAR_BLOCK + size]
    if len(photo) < size:
        return f"cut short: {len(photo)} of {size} bytes"
    return photo if photo.startswith(b"\xff\xd8\xff") else "not a JPEG photo"


def id_of(member: str) -> str:
    """The photo's id from a member's name a/b/c/<id>.jpg; "" for any other name."""
    found = _MEMBER_NAME.fullmatch(member)
    return found[1] if found and f"{'/'.join(found[1][:3])}/" in member else ""


class _Member(NamedTuple):
    """A header that was seen: rank of its id among all ids, where it is, where the next one is."""

    rank: int
    start: int
    end: int
    size: int


@dataclass
class _Tar:
    """What is known of a tar. members: in its order; size: of the whole file, in bytes."""

    size: int
    members: list[_Member] = field(default_factory=list)


# Bytes start … end − 1 of a tar, or fewer where it ends, and the size of the whole tar.
ReadTar = Callable[[int, int, int], tuple[bytes, int]]


@dataclass(eq=False)
class TarSearch:
    """Finds photos in tars that are ordered by id, by reading a few short ranges of them.

    ids: (N,) bytes, all ids of the part, sorted. tars: how many the part has. read: reads a range.
    """

    ids: NDArray[np.bytes_]
    tars: int
    read: ReadTar
    known: dict[int, _Tar] = field(default_factory=dict)

    def find(self, photo_id: str) -> tuple[Place, bytes] | None:
        """Where the photo is, and its header and data; None = in no tar.

        Raises:
            UnorderedError: When the tars are not ordered by id.
        """
        rank = self._rank(photo_id)
        if rank < 0:
            return None
        number = self._tar_before(rank)
        while True:
            tar = self._opened(number)
            if (found := self._in_tar(number, tar, rank)) is not None:
                member, data = found
                return Place(number, member.start + TAR_BLOCK, member.size), data
            number += 1
            # A photo behind the last one of a tar is in the next, unless that begins behind it.
            if number >= self.tars or rank < self._opened(number).members[0].rank:
                return None

    def _rank(self, photo_id: str) -> int:
        key = photo_id.encode()
        row = int(np.searchsorted(self.ids, np.bytes_(key)))
        return row if row < len(self.ids) and self.ids[row] == key else -1

    def _opened(self, number: int) -> _Tar:
        """A tar of which the first photo is known."""
        if number in self.known:
            return self.known[number]
        data, size = self.read(number, 0, _FIRST_BYTES)
        tar = _Tar(size)
        self._walk(tar, data, 0, 0)
        if not tar.members:
            raise UnorderedError(f"{tar_name(number)} does not begin with photos")
        self.known[number] = tar
        order = [self.known[n].members[0].rank for n in sorted(self.known)]
        if any(a >= b for a, b in pairwise(order)):
            raise UnorderedError(f"{tar_name(number)} is not in the order of ids")
        return tar

    def _tar_before(self, rank: int) -> int:
        """The last tar whose first photo is not behind this rank."""
        low, high = 0, self.tars  # the tar is in low … high − 1
        guess = min(rank * self.tars // len(self.ids), self.tars - 1)
        while high - low > 1:
            guess = min(max(guess, low), high - 1)
            if self._opened(guess).members[0].rank <= rank:
                low, guess = guess, guess + 1
                first = self.known[low].members[0].rank
                if low + 1 not in self.known and rank - first < 0.9 * len(self.ids) / self.tars:
                    return low  # else it is in the next one, which `find` opens then
            else:
                high, guess = guess, guess - 1
        return low

    def _in_tar(self, number: int, tar: _Tar, rank: int) -> tuple[_Member, bytes] | None:
        """The photo of this rank and its bytes; None where it is not in the tar."""
        blank: tuple[int, int] | None = None  # bytes just read, in which no header begins
        bound = clear = -1  # where the next known photo begins; from `clear` to there none begins
        for _ in range(_MAX_PROBES):
            at = bisect_right(tar.members, rank, key=lambda member: member.rank)
            if not at:
                return None
            left, right = tar.members[at - 1], tar.members[at] if at < len(tar.members) else None
            if left.rank == rank:
                data, _ = self.read(number, left.start, left.start + TAR_BLOCK + left.size)
                return left, data
            if bound != (bound := right.start if right else tar.size):
                clear, blank = bound, None
            if left.end + TAR_BLOCK > clear:
                return None
            if blank:
                start, end = blank[1], min(clear, 3 * blank[1] - 2 * blank[0])
            else:
                before = rank - left.rank - 1
                behind = right.rank if right else self._ranks_end(number, tar)
                between = max(behind - left.rank - 1, before + 1)
                start, end = _window(before, between, left.end, clear)
            data, _ = self.read(number, start, end)
            noted = len(tar.members)
            ended = self._walk(tar, data, start, left.end)
            if found := self._complete(tar, rank, data, start):
                return found
            if ended:
                tar.size = min(tar.size, ended)
            elif len(tar.members) > noted:
                blank = None
            else:
                blank = (blank[0] if blank else start, end)
                if end >= clear:
                    clear, blank = blank[0], None
        return None

    def _ranks_end(self, number: int, tar: _Tar) -> int:
        """The rank behind the tar's last photo, estimated unless the next tar is known."""
        if number + 1 in self.known:
            return self.known[number + 1].members[0].rank
        usual = tar.members[0].rank + round(len(self.ids) / self.tars)
        return max(usual, tar.members[-1].rank + 2)

    def _walk(self, tar: _Tar, data: bytes, start: int, known_header: int) -> int:
        """Note the photos whose headers are in `data`, which begins at `start` of the tar.

        known_header: a position where a header is. Returns where the tar's end mark is, 0 = not
        seen.
        """
        at = 0
        in_step = start == known_header
        while at + TAR_BLOCK <= len(data):
            block = data[at : at + TAR_BLOCK]
            member = parse_header(block, start + at + TAR_BLOCK)
            too_large = member is not None and member[2] > MAX_PHOTO_BYTES
            if member is None or too_large or not (in_step or id_of(member[0])):
                if in_step and not block.strip(b"\0"):
                    return start + at
                in_step = False
                at += TAR_BLOCK
                continue
            in_step = True
            length = TAR_BLOCK + -(-member[2] // TAR_BLOCK) * TAR_BLOCK
            if (rank := self._rank(id_of(member[0]))) >= 0:
                self._note(tar, _Member(rank, start + at, start + at + length, member[2]))
            at += length
        return 0

    def _note(self, tar: _Tar, member: _Member) -> None:
        at = bisect_right(tar.members, member.rank, key=lambda other: other.rank)
        before = tar.members[at - 1] if at else None
        if before and before.rank == member.rank:
            return
        if (before and before.end > member.start) or (
            at < len(tar.members) and tar.members[at].start < member.end
        ):
            raise UnorderedError("photos of a tar are not in the order of their ids")
        tar.members.insert(at, member)

    def _complete(
        self, tar: _Tar, rank: int, data: bytes, start: int
    ) -> tuple[_Member, bytes] | None:
        """The photo of this rank, if it is in `data` as a whole."""
        at = bisect_right(tar.members, rank, key=lambda member: member.rank)
        if not at or tar.members[at - 1].rank != rank:
            return None
        member = tar.members[at - 1]
        end = member.start + TAR_BLOCK + member.size
        if member.start < start or end > start + len(data):
            return None
        return member, data[member.start - start : end - start]


def _window(before: int, between: int, low: int, high: int) -> tuple[int, int]:
    """The bytes to read for a photo that `before` of `between` photos precede, in low … high.

    Sizes of photos vary by about 0.7 of their mean, so the sum of k of them by 0.7 · √k means.
    Where that is small, the window holds the whole photo; else it only has to hold some header.
    """
    mean = max((high - low) / between, 2.0 * TAR_BLOCK)
    unsure = 0.8 * mean * min(before, between - before - 1) ** 0.5
    middle = low + before * mean
    if unsure > 2.5 * mean:
        start, end = middle - mean, middle + 1.5 * mean
    else:
        start, end = middle - unsure, middle + unsure + 1.6 * mean
    first = min(max(low, int(start) // TAR_BLOCK * TAR_BLOCK), high - TAR_BLOCK)
    return first, max(min(high, -(-int(end) // TAR_BLOCK) * TAR_BLOCK), first + TAR_BLOCK)
