"""From a name to a gallery: find landmarks, choose photos of them on Wikimedia Commons, fetch them.

A photo of a landmark is one that says that it depicts it (P180), else one in its category. What is
chosen depends only on what Commons answers and on the options, never on the order of downloads, so
an interrupted run ends with the same tables; and a higher limit adds photos, it replaces none.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from ..core.disks import require_space
from ..core.errors import DataError, OptionError, install_command
from ..core.json_options import Span, check_fields, count
from ..core.results import check_results
from ..core.types import ProgressFor
from . import wikidata
from .candidates import Candidates, find_candidates, in_order
from .distractors import Asked, circles_of, eligible, spots_in
from .http_client import PoliteClient, Sites
from .http_limits import API_SECONDS, MEDIA_BYTES_PER_SECOND
from .wikidata_items import Landmark, Landmarks, check_languages
from .wikidata_where import located
from .wikimedia import BATCH, Commons, CommonsPhoto
from .write_tables import TABLES, Problem, Row, fetch, not_in_tables, write_tables

FEW_PHOTOS = 4  # a landmark with fewer is told; `clean` drops it by default

PICTURE_BYTES = 250_000  # expected of one picture, until some have been fetched

MAX_RADIUS_M = 50_000

# What a reason says of one photo only, which counts are not made of.
_DETAILS = re.compile(r"^(no photo|a copy|too small|a long panorama|Commons makes no .*?) \(.*")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which landmarks, one of: given ones, those around a place, those in a region.

    ids, categories: of Wikidata, of Commons. near: latitude and longitude in degrees, radius_m
    around it. region: id of a city or region.
    """

    ids: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    near: tuple[float, float] | None = None
    radius_m: float = 3_000.0
    region: str = ""

    spans: ClassVar[dict[str, Span]] = {
        "radius_m": Span(10, MAX_RADIUS_M, note="meters"),
        "near": Span(-180, 180, note="degrees"),
    }

    def __post_init__(self) -> None:
        check_fields(self)
        given = [bool(self.ids or self.categories), self.near is not None, bool(self.region)]
        if sum(given) != 1:
            raise OptionError(
                "give one of: Wikidata ids or Commons categories, a place (near), or a city or "
                "region (in)"
            )
        if self.near and not (-90 <= self.near[0] <= 90 and -180 <= self.near[1] <= 180):
            raise OptionError(
                f"near {self.near[0]:g},{self.near[1]:g} given; expected latitude,longitude in "
                "degrees, such as 48.858,2.294"
            )


@dataclass(frozen=True, kw_only=True)
class CommonsOptions:
    """How much to collect.

    landmarks: at most, the most linked ones of a place or region. limit: photos of one landmark.
    languages: of the names. distractors: photos of the place that show none of them. depth: of
    subcategories. dry_run: only find and count.
    """

    landmarks: int = 50
    limit: int = 40
    languages: tuple[str, ...] = ("en",)
    distractors: int = 300
    depth: int = 1
    dry_run: bool = False

    spans: ClassVar[dict[str, Span]] = {
        "landmarks": count(1, 2_000), "limit": count(1, 500), "distractors": count(0, 10_000),
        "depth": count(0, 4),
    }  # fmt: skip

    def __post_init__(self) -> None:
        check_fields(self)
        check_languages(self.languages)


@dataclass(frozen=True)
class CommonsResult:
    """What was collected, or of a dry run what would be.

    landmarks: one row each, most linked first: title, id, city, country, sitelinks, category, and
    how many photos were found and are in the table. counts: name → number, ready to print.
    failures: name → reason, what a user may want to act on. notes: remarks that are no failures.
    """

    landmarks: list[dict[str, Any]]
    counts: dict[str, Any]
    failures: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def import_commons(
    out: str | Path,
    wanted: Wanted,
    options: CommonsOptions | None = None,
    client: PoliteClient | str = "",
    progress: ProgressFor | None = None,
) -> CommonsResult:
    """Collect photos of landmarks from Wikimedia Commons into the folder `out`.

    Written: photos.csv, landmarks.csv, credits.csv, distractors.csv, problems.csv, and the photos.
    What the client's cache holds and what lies in the folder is not fetched again.

    Args:
        out: The folder.
        wanted: Which landmarks.
        options: How many, of what; None = the defaults.
        client: Its cache is in `out`. A text = the contact, your mail address or an https page of
            yours, from which one is made.
        progress: Name of a phase → its progress function.

    Raises:
        OptionError: Without a contact or the extra `collect`; when a table of another program
            would be replaced.
        DataError: When there is no landmark, or not one photo; or the disk has no room.
        NetworkError: When a service cannot be used; what was fetched before is kept.
    """
    if find_spec("bs4") is None:
        raise OptionError(
            "import commons needs beautifulsoup4, which is not installed; install it with: "
            f"{install_command('collect')}"
        )
    folder, options = Path(out), options or CommonsOptions()
    check_results([(folder / name, kind) for name, kind in TABLES.items()])
    if isinstance(client, str):
        with PoliteClient(client, sites=Sites.given(None), cache=folder / "commons.sqlite") as made:
            return _Collection(folder, wanted, options, made, progress).run()
    return _Collection(folder, wanted, options, client, progress).run()


class _Collection:
    """One run of `import_commons`."""

    def __init__(
        self,
        out: Path,
        wanted: Wanted,
        options: CommonsOptions,
        client: PoliteClient,
        progress: ProgressFor | None,
    ) -> None:
        self.out, self.wanted, self.options, self.client = out, wanted, options, client
        self.commons = Commons(client)
        self.progress: ProgressFor = progress or (lambda name: lambda done, total: None)
        self.problems: list[Problem] = []
        self.failures: dict[str, str] = {}
        self.notes: list[str] = []
        self.left_out: dict[str, str] = {}  # photo → why

    def run(self) -> CommonsResult:
        landmarks = self._landmarks()
        found = find_candidates(
            self.commons, landmarks, limit=self.options.limit, depth=self.options.depth,
            progress=self.progress("finding photos"),
        )  # fmt: skip
        asked = Asked.of(landmarks)
        for one in found:
            self._list_left_out(one)
            asked.add(one.categories, [*one.usable, *one.refused], one.copies)
        pool = self.options.distractors * 2
        circles = circles_of(self.wanted.near, self.wanted.radius_m, landmarks)
        spots = spots_in(self.commons, circles, asked, pool * 2) if pool else []
        if self.options.distractors and not circles:
            self.notes.append("no distractors: the place of no landmark is known")
        plan = self._plan(found, [spot.pageid for spot in spots])
        if self.options.dry_run:
            return CommonsResult(self._rows(found, {}), plan, self.failures, self.notes)
        require_space(self.out, plan["megabytes"] * 1_000_000, "the photos")
        photos = self._photos(found)
        if not photos:
            raise DataError(self._nothing())
        distractors = self._distractors(spots, asked, pool)
        if circles and len(distractors) < self.options.distractors:
            found_of = f"{len(distractors)} of {self.options.distractors} distractors were found"
            self.notes.append(f"{found_of}: no more photos of the place are free and show none")
        return self._write(found, photos, distractors)

    def _landmarks(self) -> list[Landmark]:
        """The landmarks asked for, most linked first; those that are left out become problems."""
        wanted, options, client = self.wanted, self.options, self.client
        languages = options.languages
        given = len(wanted.ids) + len(wanted.categories)
        self.progress("finding landmarks")(0, given or options.landmarks)
        if wanted.near:
            kilometers = wanted.radius_m / 1000
            found = wikidata.landmarks_near(client, *wanted.near, kilometers, options.landmarks,
                                            languages)  # fmt: skip
        elif wanted.region:
            found = wikidata.landmarks_in(client, wanted.region, options.landmarks, languages)
        else:
            found = wikidata.landmarks_of(client, wanted.ids, languages)
            if wanted.categories:
                also = wikidata.landmarks_of_categories(client, wanted.categories, languages)
                found = Landmarks(
                    found.found + also.found, found.ids | also.ids,
                    found.left_out | also.left_out, found.notes + also.notes,
                )  # fmt: skip
        for name, reason in sorted(found.left_out.items()):
            self.problems.append(("landmark", name, reason))
            if name in wanted.ids or name in wanted.categories:
                self.failures[name] = f"{name}: {reason}"
        if not found.found:
            raise DataError(self._nothing())
        unique = {landmark.id: landmark for landmark in found.found}
        placed = located(client, [*unique.values()], languages)
        self.problems += [("landmark", *note) for note in (*found.notes, *placed.notes)]
        self.notes += placed.faults
        return sorted(placed.found, key=lambda one: (-one.links, int(one.id[1:])))

    def _photos(self, found: Sequence[Candidates]) -> list[Row]:
        """Choose and fetch photos; one that cannot be fetched is replaced by the next one."""
        owners: dict[int, set[str]] = {}
        for one in found:
            for photo in one.usable:
                owners.setdefault(photo.pageid, set()).add(one.landmark.id)
        ids = {one.landmark.id for one in found}
        shared = {pageid for pageid, those in owners.items() if len(those) > 1}
        orders = {one.landmark.id: in_order(one.usable, shared) for one in found}
        chosen: dict[str, list[CommonsPhoto]] = {name: [] for name in orders}
        rows: dict[int, Row] = {}
        failed: set[int] = set()
        while True:
            new: dict[int, CommonsPhoto] = {}
            for name, order in orders.items():
                while len(chosen[name]) < self.options.limit and (following := next(order, None)):
                    if following.pageid not in failed:
                        chosen[name].append(following)
                        new[following.pageid] = following
            new = {pageid: photo for pageid, photo in new.items() if pageid not in rows}
            if not new:
                break
            depicted = self.commons.depicted(new)
            for pageid, photo in new.items():
                labels = owners[pageid] | (depicted.get(pageid, set()) & ids)
                rows[pageid] = Row(photo, tuple(sorted(labels, key=lambda one: int(one[1:]))))
            lost = self._fetch([rows[pageid] for pageid in sorted(new)], "fetching photos")
            failed |= lost
            for name, photos in chosen.items():
                chosen[name] = [photo for photo in photos if photo.pageid not in lost]
            rows = {pageid: row for pageid, row in rows.items() if pageid not in failed}
        return [*rows.values()]

    def _distractors(self, spots: Sequence[Any], asked: Asked, pool: int) -> list[Row]:
        """Choose and fetch distractors; one that fails or depicts a landmark is replaced."""
        if not pool or not spots:
            return []
        self.progress("finding distractors")(0, self.options.distractors)
        photos, refused = eligible(self.commons, spots, asked, pool)
        self._list_refused(refused)
        order = in_order(photos, set())
        rows: dict[int, Row] = {}
        while True:
            new: dict[int, Row] = {}
            while len(rows) + len(new) < self.options.distractors and (photo := next(order, None)):
                new[photo.pageid] = Row(photo)
            if not new:
                break
            depicted = self.commons.depicted(new)
            new = {pageid: row for pageid, row in new.items()
                   if not asked.shown_by(row.photo, (), depicted.get(pageid, set()))}  # fmt: skip
            lost = self._fetch([new[pageid] for pageid in sorted(new)], "fetching distractors")
            rows |= {pageid: row for pageid, row in new.items() if pageid not in lost}
        return [*rows.values()]

    def _fetch(self, rows: Sequence[Row], phase: str) -> set[int]:
        """Fetch photos; returns the page ids of those that failed, which become problems."""
        lost = fetch(rows, self.out, self.client, self.progress(phase))
        titles = {row.photo.pageid: row.photo.title for row in rows}
        for pageid, reason in sorted(lost.items()):
            name = f"commons:{pageid}"
            self.problems.append(("photo", name, f"{reason} ({titles[pageid]})"))
            self.failures[name] = f"{name}: {reason} ({titles[pageid]})"
        return {*lost}

    def _list_left_out(self, one: Candidates) -> None:
        """List what was found for a landmark and is not used, and why."""
        if one.fault:
            self.problems.append(("landmark", one.landmark.id, one.fault))
            self.failures[one.landmark.id] = f"{one.landmark.id}: {one.fault}"
        for pageid, other in one.copies.items():
            said = f"a copy (its bytes are those of commons:{other})"
            self.problems.append(("left out", f"commons:{pageid}", said))
            self.left_out[f"commons:{pageid}"] = said
        self._list_refused(one.refused)

    def _list_refused(self, photos: Iterable[CommonsPhoto]) -> None:
        for photo in photos:
            name = f"commons:{photo.pageid}" if photo.pageid else photo.title
            self.problems.append(("left out", name, f"{photo.refused} ({photo.title})"))
            self.left_out[name] = photo.refused

    def _write(
        self, found: Sequence[Candidates], photos: Sequence[Row], distractors: Sequence[Row]
    ) -> CommonsResult:
        """Write the tables and count what is in them."""
        number = Counter(label for row in photos for label in row.labels)
        for one in found:
            have = number[one.landmark.id]
            if have < FEW_PHOTOS:
                title = one.landmark.record.title
                said = f"{have or 'no'} photo{'s' * (have != 1)}; recognition needs {FEW_PHOTOS}"
                self.problems.append(("landmark", one.landmark.id, f"{title}: {said}"))
        few = [one.landmark for one in found if number[one.landmark.id] < FEW_PHOTOS]
        if few:
            titles = ", ".join(one.record.title for one in few[:5])
            more = f" and {len(few) - 5} more" if len(few) > 5 else ""
            self.notes.append(
                f"landmarks with fewer than {FEW_PHOTOS} photos, which `clean` drops by default: "
                f"{titles}{more}"
            )
        records = {one.landmark.id: one.landmark.record for one in found}
        write_tables(self.out, photos, distractors, records, self.problems)
        if old := not_in_tables(self.out, [*photos, *distractors]):
            self.notes.append(
                f"{old} photos of earlier runs are in no table any more; they stay in {self.out}"
            )
        reasons = Counter(_DETAILS.sub(r"\1", reason) for reason in self.left_out.values())
        counts: dict[str, Any] = {
            "landmarks": len(number), "photos": len(photos),
            "photos of several landmarks": sum(len(row.labels) > 1 for row in photos),
            "distractors": len(distractors), "failed": len(self.failures),
            "left out": dict(sorted(reasons.items())),
        }  # fmt: skip
        return CommonsResult(self._rows(found, number), counts, self.failures, self.notes)

    def _rows(self, found: Sequence[Candidates], number: Mapping[str, int]) -> list[dict[str, Any]]:
        return [
            {
                "title": (record := one.landmark.record).title, "id": one.landmark.id,
                "city": record.city, "country": record.country,
                "sitelinks": one.landmark.links, "category": one.landmark.category,
                "found": len(one.usable), "left_out": len(one.refused),
            } | ({"photos": number[one.landmark.id]} if number else {})
            for one in found
        ]  # fmt: skip

    def _plan(self, found: Sequence[Candidates], spots: Sequence[int]) -> dict[str, Any]:
        """What a run will fetch, as far as it can be known before."""
        limit, distractors = self.options.limit, min(self.options.distractors, len(spots))
        chosen: set[int] = set()
        for one in found:
            photos = in_order(one.usable, set())
            chosen |= {photo.pageid for photo, _ in zip(photos, range(limit), strict=False)}
        there = self._there(chosen) + min(self._there(spots), distractors)
        new = len(chosen) + distractors - there
        requests = math.ceil(len(chosen) / BATCH) + 3 * math.ceil(distractors / BATCH)
        size = new * PICTURE_BYTES
        seconds = requests * API_SECONDS + size / MEDIA_BYTES_PER_SECOND if new else 0
        return {
            "landmarks": sum(bool(one.usable) for one in found), "photos": len(chosen),
            "distractors": distractors, "there already": there,
            "megabytes": math.ceil(size / 1_000_000), "minutes": math.ceil(seconds / 60),
        }  # fmt: skip

    def _there(self, pageids: Iterable[int]) -> int:
        known = map(self.client.cache.photo, pageids)
        return sum(photo is not None and photo.state == "done" for photo in known)

    def _nothing(self) -> str:
        wanted = self.wanted
        shown = "; ".join(f"{name}: {detail}" for _, name, detail in self.problems[:3])
        more = f"; {len(self.problems) - 3} more" if len(self.problems) > 3 else ""
        if wanted.near:
            where, advice = " around this place", "give a larger radius, or another place"
        elif wanted.region:
            where, advice = f" in {wanted.region}", "is it the id of a city or region?"
        else:
            names = [*wanted.ids, *wanted.categories]
            more_names = f" and {len(names) - 3} more" if len(names) > 3 else ""
            where = f" for {', '.join(names[:3])}{more_names}"
            advice = "has its page on Commons photos of it?"
        why = f" ({shown}{more})" if shown else ""
        return f"no photo of a landmark was found{where}{why}; {advice}"
