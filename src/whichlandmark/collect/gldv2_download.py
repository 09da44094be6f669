"""Fetch Google Landmarks v2: its tables, and the photos of some landmarks or whole tars.

Names of files and sizes are those of the README of cvdfoundation/google-landmark, as it was in
November 2026. Photos of some landmarks are fetched by byte ranges, from known offsets or by a
search (`gldv2_tars` says what it rests on). That the store answers Range requests has been reported
in public, and was not tried here. Every file is complete or not there; what is there is not
fetched again, so that the same command goes on after a stop of any kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

from ..core.disks import require_space
from ..core.errors import DataError, NetworkError, OptionError
from ..core.json_options import unknown_message
from ..core.progress import StartPhase
from ..data import gldv2_tables
from ..data.gldv2 import SUBSET_FOLDER, TABLE_FOLDERS
from ..data.gldv2_tables import TAR_BYTES, TARS, Place
from ..data.import_tools import listing_problems
from ..data.photo_locations import photo_path
from .gldv2_store import Fetching, save
from .gldv2_tars import spans, tar_name
from .http_client import PoliteClient, RefusedError, Sites

TABLES = {
    "train": ("metadata/train.csv", "metadata/train_clean.csv",
              "metadata/train_label_to_category.csv", "metadata/train_attribution.csv"),
    "index": ("metadata/index.csv", "metadata/index_image_to_landmark.csv",
              "metadata/index_label_to_category.csv"),
    "test": ("metadata/test.csv", "ground_truth/recognition_solution_v2.1.csv"),
}  # fmt: skip

# Which photos a landmark has, and what landmarks are called; test has the landmarks of train.
LABELS = {"train": "train.csv", "index": "index_image_to_landmark.csv",
          "test": "recognition_solution_v2.1.csv"}  # fmt: skip

CATEGORIES = {"train": "train_label_to_category.csv", "index": "index_label_to_category.csv",
              "test": "train_label_to_category.csv"}  # fmt: skip

MEAN_BYTES = {"train": 121_000, "index": 112_000, "test": 85_000}  # of a photo, by the README

MAX_NAMED = 10  # landmarks in a note

MAX_TABLE_BYTES = 8_000_000_000

# Of a search, measured with tars as large as the real ones: requests and bytes for one photo.
SEARCH_REQUESTS, SEARCH_PHOTOS = 3.7, 8.0


@dataclass(frozen=True, kw_only=True)
class FetchOptions:
    """What to fetch.

    parts: of train, index, test. landmarks: ids; categories: words of their names, a landmark of
    any entry; largest: only the N with most photos. limit: photos of a landmark. clean: only
    photos of train_clean.csv. offsets: a table of where photos are. whole_tars: allow whole tars.
    dry_run: fetch tables only, and count.
    """

    parts: tuple[str, ...] = ("train",)
    landmarks: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    largest: int | None = None
    limit: int | None = None
    clean: bool = False
    offsets: Path | None = None
    whole_tars: bool = False
    dry_run: bool = False

    @property
    def is_subset(self) -> bool:
        """Are only some photos asked for?"""
        chosen = self.landmarks or self.categories or self.largest is not None
        return bool(chosen or self.limit is not None or self.clean)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> FetchOptions:
        """From some of the fields. Raises OptionError for another name."""
        known = [one.name for one in fields(cls)]
        for name in given:
            if name not in known:
                raise OptionError(unknown_message(name, known, "option"))
        several = ("parts", "landmarks", "categories")
        found: dict[str, Any] = dict(given)
        for name in {*several} & {*given}:
            one = isinstance(given[name], str | int)
            found[name] = tuple(map(str, [given[name]] if one else given[name]))
        if found.get("offsets"):
            found["offsets"] = Path(found["offsets"])
        return cls(**found)

    def check(self) -> None:
        """Raises OptionError for what does not fit together."""
        for part in self.parts:
            if part not in TARS:
                raise OptionError(f"part {part!r} given; expected {', '.join(TARS)}")
        if self.landmarks and len({part == "index" for part in self.parts}) > 1:
            raise OptionError(
                "--landmarks with index and another part: the same number is another landmark in "
                "index; fetch the parts one after the other, or choose by --category"
            )
        if self.clean and set(self.parts) != {"train"}:
            raise OptionError("--clean is about train only, because train_clean.csv is")
        if not self.is_subset and not self.whole_tars:
            tars = sum(TARS[part] for part in self.parts)
            size = sum(TARS[part] * TAR_BYTES[part] for part in self.parts) / 1e9
            raise OptionError(
                f"all of {' and '.join(self.parts)} is {tars} tars of about {size:,.0f} GB in all; "
                "give --whole-tars to fetch them, or choose photos by --landmarks, --category or "
                "--largest, which takes no whole tars"
            )


@dataclass(frozen=True)
class FetchResult:
    """What a fetch did.

    counts: name → number, ready to print. problems: kind → the first problems of that kind, then
    how many more there are. notes: remarks that are not failures.
    """

    counts: dict[str, int]
    problems: dict[str, list[str]]
    notes: list[str]


def fetch_gldv2(
    out: str | Path, options: FetchOptions | Mapping[str, Any] | None = None, *,
    progress: StartPhase | None = None, api: str | None = None,
) -> FetchResult:  # fmt: skip
    """Fetch tables and photos of Google Landmarks v2 into a folder that `import gldv2` reads.

    Written: metadata/*.csv; PART/a/b/c/<id>.jpg, or PART/images_000.tar … of whole parts;
    subset/*.csv, the tables' rows of the photos asked for; problems.csv where something could not
    be had.

    Args:
        out: The folder. What it has is not fetched again; landmarks fetched before stay.
        options: What to fetch: a `FetchOptions`, or some of its fields, as {"landmarks": ["7"]}.
            Without a choice of photos or `whole_tars` it is refused: all of train is 500 GB.
        progress: Name of a phase → its progress function.
        api: A stand-in for the store on this machine, for tests.

    Raises:
        OptionError: When options do not fit together, or a landmark is unknown.
        NetworkError: When the store cannot be reached; the same call goes on later.
        DataError: When the disk is full, or a table cannot be used.
    """
    folder = Path(out)
    if not isinstance(options, FetchOptions):
        options = FetchOptions.of(options or {})
    options.check()
    for place in (folder, folder / SUBSET_FOLDER):
        for left_over in place.glob(".*.csv.????????"):  # by a run that was killed
            left_over.unlink(missing_ok=True)
    for mark in (*folder.glob("*/*.part.etag"), *folder.glob("md5sum/*/*.part.etag")):
        if not mark.with_suffix("").exists():  # killed before it deleted that, too
            mark.unlink(missing_ok=True)
    with ExitStack() as opened:
        client = opened.enter_context(PoliteClient(None, sites=Sites.given(api)))
        path = folder / "problems.csv"
        problems = opened.enter_context(listing_problems(path))
        to = Fetching(folder, client, problems, progress or (lambda name: lambda *numbers: None))
        run = _Fetch(to, options)
        run.fetch_tables()
        for part in options.parts:
            if options.is_subset:
                run.fetch_subset(part)
            else:
                run.fetch_whole(part)
        asked = client.counts
        if not options.dry_run:
            to.counts["requests"] = asked["files"]
            to.counts["megabytes"] = ceil(asked["bytes"] / 1e6)
        return FetchResult(
            to.counts, {kind: problems.lines(kind) for kind in problems.counts}, run.notes
        )


@dataclass(eq=False)
class _Fetch:
    """State of one fetch. tables: name → file."""

    to: Fetching
    options: FetchOptions
    notes: list[str] = field(default_factory=list)
    tables: dict[str, Path] = field(default_factory=dict)

    def fetch_tables(self) -> None:
        """Fetch the tables that are not there. All are kept whole in metadata/."""
        keys = [key for part in self.options.parts for key in TABLES[part]]
        if "test" in self.options.parts and self.options.is_subset:
            keys.append("metadata/train_label_to_category.csv")
        here, wanted = {}, []
        for key in dict.fromkeys(keys):
            name = key.rpartition("/")[2]
            places = [self.to.out / one / name for one in TABLE_FOLDERS if one != SUBSET_FOLDER]
            if found := next((one for one in places if one.is_file()), None):
                here[name] = found
            elif not (self.options.dry_run and name == "train_attribution.csv"):
                wanted.append((key, name, places[-1]))
        show = self.to.phase("fetching tables") if wanted else None
        for number, (key, name, path) in enumerate(wanted):
            told = partial(show, number, len(wanted)) if show else None
            try:
                save(self.to.client, key, path, MAX_TABLE_BYTES, show=told)
                if not {"id", "landmark_id"} & {*gldv2_tables.header_of(path)}:
                    raise DataError(f"{path}: no column id or landmark_id")
            except (RefusedError, DataError) as error:
                if isinstance(error, DataError) and path.is_file():
                    path.unlink()  # a web page of somebody between, which is not to stay
                elif isinstance(error, DataError):
                    raise  # the disk is full
                self.to.problems.add("table", name, str(error))
                continue
            self.to.count("tables fetched")
            here[name] = path
        self.tables = here

    def table(self, name: str) -> Path:
        """A table that there is no way without."""
        if name not in self.tables:
            reason = "; ".join(self.to.problems.lines("table"))
            raise NetworkError(f"no photo can be chosen without {name}: {reason}")
        return self.tables[name]

    def _tars_left(self, part: str) -> int:
        tars = [self.to.out / part / tar_name(number) for number in range(TARS[part])]
        return sum(not tar.is_file() for tar in tars)

    def fetch_whole(self, part: str) -> None:
        """Fetch all tars of a part."""
        left = self._tars_left(part)
        if self.options.dry_run:
            self.to.count("tars", left)
            self.to.count("requests", 2 * left)
            self.to.count("megabytes", left * TAR_BYTES[part] // 10**6)
            return
        require_space(self.to.out, left * TAR_BYTES[part], "the tars")
        self.to.fetch_whole(part)
        for key in TABLES[part]:  # `import gldv2` reads the whole tables from now on
            (self.to.out / SUBSET_FOLDER / key.rpartition("/")[2]).unlink(missing_ok=True)

    def fetch_subset(self, part: str) -> None:
        """Fetch the chosen photos of one part, unless all of its tars are there."""
        if not self._tars_left(part):
            self.to.count("tars here before", TARS[part])
            self.notes.append(f"all tars of {part} are in {self.to.out / part}: nothing to fetch")
            return
        photos = self._choose(part)
        self._name_landmarks(part, photos)
        self.to.count("landmarks", len(photos))
        ids = {one for some in photos.values() for one in some}
        self.to.count("photos wanted", len(ids))
        missing = {one for one in ids if not photo_path(self.to.out / part, one).is_file()}
        self.to.count("photos here before", len(ids) - len(missing))
        places: dict[str, Place] = {}
        if self.options.offsets:
            places = gldv2_tables.read_offsets(self.options.offsets, part, missing)
            self.to.count("photos at known offsets", len(places))
        rest = missing - set(places)
        if self.options.dry_run:
            self._estimate(part, places, rest)
            return
        self._require_space(part, places, rest)
        self._cut_tables(part, ids)
        if wrong := self.to.fetch_known(part, places):
            name, reason = next(iter(wrong.items()))
            self.notes.append(
                f"{len(wrong):,} photos are not where {self.options.offsets} says, such as {name}: "
                f"{reason}; they were looked for elsewhere"
            )
            rest |= set(wrong)
        if rest and self.options.whole_tars:
            self.to.unpack_from_tars(part, rest, ids)
        elif rest:
            self.to.search(part, rest, gldv2_tables.sorted_ids(self.table(f"{part}.csv")))

    def _choose(self, part: str) -> dict[str, list[str]]:
        """Landmark → ids of the photos wanted."""
        options = self.options
        labels = self.table("train_clean.csv" if options.clean else LABELS[part])
        wanted = set(options.landmarks) if options.landmarks else None
        if options.categories:
            category_file = self.table(CATEGORIES[part])
            named = set[str]()
            for words in options.categories:
                found = gldv2_tables.named_landmarks(category_file, [words])
                if not found:
                    raise OptionError(f"--category {words!r}: no landmark of {part} is called so")
                named |= found
            wanted = named | (wanted or set())
        if options.largest is not None:
            sized = self.tables.get("train_clean.csv") if part == "train" else None
            counts = gldv2_tables.photo_counts(sized or labels)
            order = sorted(
                (name for name in counts if name and (wanted is None or name in wanted)),
                key=lambda name: (-counts[name], len(name), name),
            )
            wanted = set(order[: options.largest])
        chosen = gldv2_tables.photos_of(labels, wanted)
        if unknown := sorted(set(options.landmarks) - set(chosen)):
            self._refuse_unknown(unknown, part, known=bool(chosen))
        return {
            landmark: sorted(dict.fromkeys(photos))[: options.limit]
            for landmark, photos in chosen.items()
        }

    def _name_landmarks(self, part: str, photos: dict[str, list[str]]) -> None:
        """Note what the chosen landmarks are called, because ids and words are easily mistaken."""
        path = self.tables.get(CATEGORIES[part])
        names = gldv2_tables.categories(path) if path and photos else {}
        largest = sorted(photos, key=lambda name: (-len(photos[name]), len(name), name))
        told = [
            f"{name} {gldv2_tables.name_of(names.get(name, '')) or '(no name)'}: "
            f"{len(photos[name]):,} photos" for name in largest[:MAX_NAMED]
        ]  # fmt: skip
        more = f"; and {len(largest) - MAX_NAMED:,} more" if len(largest) > MAX_NAMED else ""
        self.notes.append(f"landmarks of {part}: {'; '.join(told) or 'none'}{more}")

    def _refuse_unknown(self, unknown: list[str], part: str, *, known: bool) -> None:
        """Raises OptionError where no landmark is known; else lists the unknown ones."""
        where = f"{part}{' (train_clean.csv)' if self.options.clean else ''}"
        if not known:
            raise OptionError(
                f"--landmarks {','.join(unknown[:5])}: no photo of {where} has this landmark; "
                f"{self.to.out / 'metadata' / CATEGORIES[part]} lists all of them"
            )
        for name in unknown:
            self.to.problems.add("landmark", name, f"no photo of {where} has this landmark")

    def _estimate(self, part: str, places: dict[str, Place], rest: set[str]) -> None:
        """Count what would be fetched."""
        requests = spans(places)
        size = float(sum(span.end - span.start for span in requests))
        asked = len(requests)
        if rest and self.options.whole_tars:
            self.to.count("tars", TARS[part])
            size += TARS[part] * TAR_BYTES[part]
            asked += 2 * TARS[part]
        elif rest:
            size += SEARCH_PHOTOS * MEAN_BYTES[part] * len(rest)
            asked += round(SEARCH_REQUESTS * len(rest))
            self.notes.append(
                f"{len(rest):,} photos of {part} are at no known offset: each is searched for by "
                f"{SEARCH_REQUESTS:.0f} to 5 requests; --offsets TABLE saves most of them"
            )
        self.to.count("requests", asked)
        self.to.count("megabytes", ceil(size / 1e6))

    def _require_space(self, part: str, places: dict[str, Place], rest: set[str]) -> None:
        size = sum(place.size for place in places.values()) + len(rest) * MEAN_BYTES[part]
        tar = TAR_BYTES[part] if rest and self.options.whole_tars else 0
        require_space(self.to.out, size + tar, "the photos")

    def _cut_tables(self, part: str, ids: set[str]) -> None:
        """Write the rows of these photos, and of those fetched before, into subset/.

        `import gldv2` then reads these tables, and misses no photo that was never asked for.
        """
        names = [key.rpartition("/")[2] for key in TABLES[part]]
        names = [name for name in names if name in self.tables and name != CATEGORIES[part]]
        folder = self.to.out / SUBSET_FOLDER
        before = set[str]()
        if (folder / f"{part}.csv").is_file():
            chunks = gldv2_tables.plain_rows(folder / f"{part}.csv", {})
            before = {one for chunk in chunks for one in chunk.ids}
        if ids <= before and all((folder / name).is_file() for name in names):
            return
        show = self.to.phase("cutting tables")
        for number, name in enumerate(sorted(names, key=lambda name: name == f"{part}.csv")):
            show(number, len(names), name)
            gldv2_tables.cut_table(self.tables[name], folder / name, ids | before)
