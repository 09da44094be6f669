"""Fill a gallery's landmark records from Wikidata: names, places, Wikipedia articles.

A landmark is looked up by the Wikidata id of its record, else by a Commons category that a table
names. One that has only a name is searched for, and what is found is a suggestion that a person
confirms: a name alone is often that of another thing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.types import Progress
from ..gallery.records import WHERE, LandmarkRecord
from ..recognition.folder.edit import open_gallery
from ..recognition.folder.load import refresh_index_files
from ..recognition.folder.settings import require_folder
from ..recognition.location import distance_km
from .enrich_tables import Suggestion, read_confirmed, read_table, write_suggestions
from .wikidata import find_places, landmarks_of, landmarks_of_categories
from .wikidata_items import BATCH, ID, Landmark, Landmarks, check_languages
from .wikidata_where import located

if TYPE_CHECKING:
    from .http_client import PoliteClient

MAX_SUGGESTIONS = 5  # for one landmark

MAX_NAMED = 10  # landmarks in one note

FAR_KM = 20.0  # from the record's place: told, because the item may be another thing of that name


@dataclass(frozen=True)
class EnrichOptions:
    """How `enrich` looks up landmarks, and what it changes.

    Attributes:
        languages: of the names and articles; the first that has a name gives the title.
        table: csv with the columns `landmark` and `category` (a name or an address of Commons),
            or `wikidata`; the landmarks.csv of `import gldv2` is one.
        confirmed: the table of suggestions, with "yes" where a suggestion is right.
        suggestions: where to write the suggestions for landmarks that have only a name; None =
            these are not searched for.
        replace: overwrite what the records have; without it only what they lack is filled.
        dry_run: change nothing and write no table.
    """

    languages: tuple[str, ...] = ("en",)
    table: str | Path | None = None
    confirmed: str | Path | None = None
    suggestions: str | Path | None = None
    replace: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class EnrichResult:
    """What `enrich` did.

    counts: numbers to print; changed: landmark → the fields that were filled; left_out: landmark →
    why nothing was found for it; notes: lines to say.
    """

    counts: dict[str, int | str]
    changed: dict[str, list[str]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    suggestions: list[Suggestion] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def enrich(
    folder: str | Path, client: PoliteClient | str, options: EnrichOptions | None = None,
    progress: Progress | None = None,
) -> EnrichResult:  # fmt: skip
    """Fill the records of a recognizer's landmarks, in one change of its gallery.

    Args:
        folder: The recognizer folder.
        client: Asks Wikidata and Commons; or the mail address or https page of whoever runs this,
            and the answers are kept in `commons.sqlite` in the folder.
        options: What is looked up and changed.
        progress: Counts landmarks that were looked up.

    Raises:
        OptionError: For languages or a contact that are none, or without the extra `collect`.
        DataError: For a folder or table that cannot be used, before anything is asked for.
        NetworkError: When the services cannot be used; nothing is changed then.
    """
    folder, options = Path(folder), options or EnrichOptions()
    check_languages(options.languages)
    if isinstance(client, str):
        from .http_client import PoliteClient, Sites

        require_folder(folder)
        cache = folder / "commons.sqlite"
        with PoliteClient(client, sites=Sites.given(None), cache=cache) as opened:
            return enrich(folder, opened, options, progress)
    with open_gallery(folder, to_change=not options.dry_run) as gallery:
        labels, records = gallery.labels().names, gallery.landmarks()
    known = {name: records.get(name) or LandmarkRecord(name) for name in labels}
    looked = _Lookup(client, options, known, progress)
    looked.plan()
    looked.look_up()
    suggestions = looked.suggest() if options.suggestions else []
    changed: dict[str, list[str]] = {}
    with open_gallery(folder, to_change=not options.dry_run) as gallery:
        records = gallery.landmarks()  # they may have been edited since
        there = {*gallery.labels().names}
        new = []
        for name, landmark in looked.found.items():
            old = records.get(name) or LandmarkRecord(name)
            record = filled(old, landmark.record, replace_all=options.replace)
            if record != old and name in there:
                new.append(record)
                changed[name] = _differences(old, record)
        if new and not options.dry_run:
            gallery.describe(new)
            refresh_index_files(folder, gallery)
        generation = gallery.generation
    if options.suggestions and not options.dry_run:
        write_suggestions(Path(options.suggestions), suggestions)
    unknown = len(labels) - len(looked.ids) - len(looked.categories)
    counts: dict[str, int | str] = {
        "landmarks": len(labels), "with a Wikidata id": len(looked.ids),
        "with a Commons category": len(looked.categories), "with only a name": unknown,
        "would change" if options.dry_run else "changed": len(changed),
        "complete already": len(looked.found) - len(changed), "left out": len(looked.left_out),
        "suggestions": len(suggestions), "generation": generation,
    }  # fmt: skip
    return EnrichResult(counts, changed, looked.left_out, suggestions, looked.all_notes(unknown))


class _Lookup:
    """Finds the items of landmarks.

    known: landmark → its record, empty where it has none. ids, categories: what a landmark is
    looked up by; found: landmark → its item.
    """

    def __init__(
        self, client: PoliteClient, options: EnrichOptions, known: dict[str, LandmarkRecord],
        progress: Progress | None,
    ) -> None:  # fmt: skip
        self.client, self.options, self.known, self.progress = client, options, known, progress
        self.ids: dict[str, str] = {}
        self.categories: dict[str, str] = {}
        self.found: dict[str, Landmark] = {}
        self.left_out: dict[str, str] = {}
        self.notes: list[str] = []
        self.done = 0  # landmarks

    def plan(self) -> None:
        """Choose what each landmark is looked up by; the tables are read here."""
        table = read_table(Path(self.options.table)) if self.options.table else {}
        confirmed = read_confirmed(Path(self.options.confirmed)) if self.options.confirmed else {}
        for name in sorted(confirmed.keys() - self.known.keys()):
            self.left_out[name] = "is confirmed, and the gallery has no photo of it"
        if table and not table.keys() & self.known.keys():
            self.notes.append(f"{self.options.table}: none of its {len(table)} landmarks is in "
                              "the gallery; expected the labels of its photos")  # fmt: skip
        for name, record in self.known.items():
            own, given = record.wikidata, confirmed.get(name, "")
            if given and own and own != given and not self.options.replace:
                self.notes.append(f"{name}: the gallery says {own} and keeps it, not the "
                                  f"confirmed {given}; --replace takes that")  # fmt: skip
                given = ""
            of_table, category = table.get(name, ("", ""))
            # `import commons` labels landmarks by their ids.
            label = name if ID.fullmatch(name) else ""
            if item := given or own or of_table or label:
                self.ids[name] = item
            elif category:
                self.categories[name] = category

    def look_up(self) -> None:
        """Ask for all of these."""
        for asked, ask in ((self.ids, landmarks_of), (self.categories, landmarks_of_categories)):
            for part in _parts(list(asked)):
                answer = ask(self.client, [asked[name] for name in part], self.options.languages)
                self._take({name: asked[name] for name in part}, answer)
                self._count(len(part))
        counts = Counter(landmark.id for landmark in self.found.values())
        for item in [item for item, count in counts.items() if count > 1]:
            same = ", ".join(name for name, landmark in self.found.items() if landmark.id == item)
            self.notes.append(f"{item} is the item of several landmarks: {same}")
        self._locate()

    def _locate(self) -> None:
        """Ask for city and country of the landmarks whose records lack some of these."""
        lacking = {
            landmark.id: landmark for name, landmark in self.found.items()
            if self.options.replace or not all(getattr(self.known[name], one) for one in WHERE)
        }  # fmt: skip
        placed = located(self.client, [*lacking.values()], self.options.languages)
        by_id = {one.id: one for one in placed.found}
        for name, landmark in self.found.items():
            self.found[name] = by_id.get(landmark.id, landmark)
            self.notes += [f"{name}: {one} {text}" for one, text in placed.notes
                           if one == landmark.id]  # fmt: skip
        self.notes += placed.faults

    def _count(self, more: int) -> None:
        self.done += more
        if self.progress:
            searched = self.options.suggestions is not None
            asked = len(self.ids) + len(self.categories)
            self.progress(self.done, len(self.known) if searched else asked)

    def _take(self, asked: Mapping[str, str], answer: Landmarks) -> None:
        items = {one.id: one for one in answer.found}
        notes: dict[str, list[str]] = {}
        for item, text in answer.notes:
            notes.setdefault(item, []).append(text)
        for name, what in asked.items():
            item = answer.ids.get(what, "")
            if item not in items:
                self.left_out[name] = f"{what}: {answer.left_out.get(what, 'nothing was found')}"
                continue
            self.found[name] = items[item]
            for one in dict.fromkeys((what, item)):
                self.notes += [f"{name}: {one} {text}" for text in notes.get(one, ())]
            if (far := _distance(self.known[name], items[item].record) or 0) > FAR_KM:
                self.notes.append(f"{name}: {item} is {far:,.0f} km from its place in the gallery; "
                                  "is it the right item?")  # fmt: skip

    def suggest(self) -> list[Suggestion]:
        """Search for the landmarks without an item, by their names."""
        languages = self.options.languages
        rest = [name for name in self.known if name not in self.found]
        hits = {}
        for name in rest:
            record = self.known[name]
            text = record.title or next(iter(record.names.values()), "") or name.replace("_", " ")
            hits[name] = find_places(self.client, text, languages[0], MAX_SUGGESTIONS)
            self._count(name not in self.left_out)
        if nothing := [name for name, found in hits.items() if not found]:
            self.notes.append(f"nothing is found by the name of {len(nothing)} landmarks: "
                              f"{', '.join(nothing[:MAX_NAMED])}"
                              f"{' …' if len(nothing) > MAX_NAMED else ''}")  # fmt: skip
        items = list(dict.fromkeys(hit.id for found in hits.values() for hit in found))
        places: dict[str, Landmark] = {}
        for part in _parts(items):
            answer = landmarks_of(self.client, part, languages)
            by_id = {one.id: one for one in answer.found}
            places |= {asked: by_id[item] for asked, item in answer.ids.items()}
        suggestions = []
        for name, found in hits.items():
            record = self.known[name]
            for hit in found:
                there = places.get(hit.id)
                distance = _distance(record, there.record) if there else None
                suggestions.append(Suggestion(name, record.title, hit.id, hit.label,
                                              hit.description, distance))  # fmt: skip
        return suggestions

    def all_notes(self, unknown: int) -> list[str]:
        """The notes of the run."""
        if unknown and not self.options.suggestions:
            self.notes.append(
                f"{unknown} landmarks have neither a Wikidata id nor a category: "
                "-o suggestions.csv searches for them by their names"
            )
        return self.notes


def filled(old: LandmarkRecord, new: LandmarkRecord, *, replace_all: bool) -> LandmarkRecord:
    """The record `old` with what it lacks from `new`, or with all that `new` has."""
    changes: dict[str, Any] = {}
    texts = ["title", "wikidata", "source"]
    if replace_all or not _elsewhere(old, new):
        texts += WHERE
    for name in texts:
        if getattr(new, name) and (replace_all or not getattr(old, name)):
            changes[name] = getattr(new, name)
    if new.latitude is not None and (replace_all or old.latitude is None):
        changes |= {"latitude": new.latitude, "longitude": new.longitude}
    for kind in ("names", "wikipedia"):
        own = {language.lower(): language for language in getattr(old, kind)}
        for language, text in getattr(new, kind).items():
            if replace_all or language.lower() not in own:
                changes.setdefault(kind, {})[own.get(language.lower(), language)] = text
    return old.changed(changes)


def _elsewhere(old: LandmarkRecord, new: LandmarkRecord) -> bool:
    """Whether the records name different countries, so that a mixture would contradict itself."""
    codes = {old.country_code, new.country_code}
    names = {old.country.casefold(), new.country.casefold()}
    return len(codes) > 1 if "" not in codes else len(names - {""}) > 1


def _differences(old: LandmarkRecord, new: LandmarkRecord) -> list[str]:
    """What differs, in words: title, name:fr, wikidata, place, city, source, wikipedia:fr."""
    found = [name for name in ("title", "wikidata", "source")
             if getattr(old, name) != getattr(new, name)]  # fmt: skip
    if (old.latitude, old.longitude) != (new.latitude, new.longitude):
        found.append("place")
    found += [name for name in WHERE if getattr(old, name) != getattr(new, name)]
    for column, kind in (("name", "names"), ("wikipedia", "wikipedia")):
        before, after = getattr(old, kind), getattr(new, kind)
        found += [f"{column}:{one}" for one in after if after[one] != before.get(one)]
    return found


def _distance(old: LandmarkRecord, new: LandmarkRecord) -> float | None:
    if old.latitude is None or old.longitude is None or new.latitude is None:
        return None
    there = (new.latitude, new.longitude or 0.0)
    return float(distance_km((old.latitude, old.longitude), there))


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for at in range(0, len(names), BATCH):
        yield names[at : at + BATCH]
