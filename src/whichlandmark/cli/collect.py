"""Verbs that collect from the web: import commons."""

from __future__ import annotations

import math
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote, urlsplit

import typer

from ..core.errors import DataError, OptionError
from ..core.json_options import count
from . import output
from .app import Json
from .data import import_app
from .option_types import within

if TYPE_CHECKING:
    from ..collect.commons import CommonsResult, Wanted
    from ..collect.http_client import PoliteClient

MAX_NAMED = 5  # failures that are printed

_LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*(k?m)", re.ASCII | re.IGNORECASE)

_ITEM = re.compile(r"[Qq][1-9][0-9]{0,15}", re.ASCII)

Contact = Annotated[
    str,
    typer.Option(
        help="Your mail address or an https page of yours, which goes into the User-Agent "
        "(required): Wikimedia blocks programs whose operator it cannot reach."
    ),
]

# For tests: a stand-in for the services, on this machine.
Api = Annotated[str | None, typer.Option("--api", hidden=True)]


Items = Annotated[
    list[str] | None,
    typer.Argument(
        help="Landmarks: Wikidata ids (Q243), Commons categories ('Eiffel Tower'), or the "
        "addresses of such pages."
    ),
]

OutFolder = Annotated[
    Path, typer.Option("-o", "--out", help="Folder to write the photos and tables into.")
]

Near = Annotated[
    str | None,
    typer.Option(help="The landmarks around this place: latitude,longitude, as 48.858,2.294."),
]

Radius = Annotated[
    str | None, typer.Option(help="With --near: how far around it, as 500m; 3km by default.")
]

Place = Annotated[
    str | None,
    typer.Option(
        "--in",
        help="The landmarks in this city or region: its Wikidata id, as Q90. For a name, the ids "
        "of places of that name are listed.",
    ),
]

Listed = Annotated[
    Path | None,
    typer.Option(
        "--list",
        help="A file of landmarks: one a line, or a csv table with a column wikidata or category.",
    ),
]

MostLandmarks = Annotated[
    int, typer.Option(callback=within(count(1, 2_000)), help="Of a place, the most linked ones.")
]

Limit = Annotated[int, typer.Option(callback=within(count(1, 500)), help="Photos of one landmark.")]

Languages = Annotated[
    str, typer.Option(help="Languages of the landmarks' names; the first one's are shown.")
]

MostDistractors = Annotated[
    int,
    typer.Option(
        callback=within(count(0, 10_000)),
        help="Photos of the same place that show none of the landmarks; 0 = none.",
    ),
]

Depth = Annotated[
    int, typer.Option(callback=within(count(0, 4)), help="How deep subcategories are searched.")
]

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only say which landmarks, how many photos, how long.")
]

Refresh = Annotated[
    bool,
    typer.Option(
        "--refresh", help="Ask again for what earlier runs asked; photos only if changed."
    ),
]


@import_app.command("commons")
def import_commons(
    out: OutFolder,
    items: Items = None,
    contact: Contact = "",
    near: Near = None,
    radius: Radius = None,
    place: Place = None,
    listed: Listed = None,
    landmarks: MostLandmarks = 50,
    limit: Limit = 40,
    languages: Languages = "en",
    distractors: MostDistractors = 300,
    depth: Depth = 1,
    dry_run: DryRun = False,
    refresh: Refresh = False,
    as_json: Json = False,
    api: Api = None,
) -> None:
    """Collect licensed photos of landmarks from Wikimedia Commons, by place, region or name.

    Photos, tables, credits and distractors are written. The same command resumes an interrupted
    run, and fetches only what is new.
    """
    from ..collect.commons import CommonsOptions
    from ..collect.commons import import_commons as run
    from ..collect.http_client import PoliteClient, Sites
    from ..collect.write_tables import TABLES

    output.settings.resumes = True  # after Ctrl-C, by the same command
    sites = Sites.given(api)
    options = CommonsOptions(
        landmarks=landmarks, limit=limit, distractors=distractors, depth=depth, dry_run=dry_run,
        languages=tuple(filter(None, (part.strip() for part in languages.split(",")))),
    )  # fmt: skip
    wanted = _wanted(items or [], listed, near, radius, place)
    output.claim([(out / name, kind) for name, kind in TABLES.items()], [listed])
    with (
        PoliteClient(contact, sites=sites, cache=out / "commons.sqlite", refresh=refresh) as client,
        output.progress() as progress,
    ):
        if isinstance(wanted, str):
            raise OptionError(_places(client, wanted, options.languages[0]))
        result = run(out, wanted, options, client, progress)
    _print_result(out, result, dry_run=dry_run, as_json=as_json)


def _wanted(
    items: list[str], listed: Path | None, near: str | None, radius: str | None, place: str | None
) -> Wanted | str:
    """The landmarks that the options ask for; a text = the name of a place, which is no id."""
    from ..collect.commons import Wanted

    given = [f"{len(items)} ITEMS"] * bool(items) + [f"--list {listed}"] * bool(listed)
    places = [f"--near {near}"] * (near is not None) + [f"--in {place}"] * (place is not None)
    if len(places) + bool(given) != 1:
        raise OptionError(
            f"{' and '.join(given + places) or 'no landmarks'} given; expected one of: ITEMS (with "
            "or without --list FILE), --near LATITUDE,LONGITUDE, or --in PLACE"
        )
    if radius is not None and near is None:
        raise OptionError(f"--radius {radius} given without --near; expected both")
    if near is not None:
        return Wanted(near=_degrees(near), radius_m=_meters(radius or "3km"))
    if place is not None:
        kind, name = _item(place)
        return Wanted(region=name) if kind == "wikidata" else name
    found = [_item(text) for text in items]
    found += [_item(text) for text in _lines(listed)] if listed else []
    ids = tuple(dict.fromkeys(name for kind, name in found if kind == "wikidata"))
    names = tuple(dict.fromkeys(name for kind, name in found if kind == "category"))
    if not found:
        raise DataError(f"{listed}: names no landmark; expected one a line, such as Q243")
    return Wanted(ids=ids, categories=names)


def _item(text: str) -> tuple[str, str]:
    """("wikidata", id) or ("category", name) of an id, a category, or the address of its page."""
    name = text.strip()
    if re.match(r"https?://|//", name, re.IGNORECASE):
        parts = urlsplit(name)
        host = (parts.hostname or "").replace(".m.", ".").removeprefix("www.").removeprefix("m.")
        title = unquote(parts.path).removeprefix("/wiki/").removeprefix("/entity/")
        is_category = host == "commons.wikimedia.org" and title.startswith("Category:")
        if not is_category and not (host == "wikidata.org" and _ITEM.fullmatch(title)):
            raise OptionError(
                f"{name!r} given; expected the address of an item of Wikidata or of a category of "
                "Commons (a page of Wikipedia links to both)"
            )
        name = title
    if _ITEM.fullmatch(name):
        return "wikidata", name.upper()
    category = re.sub(r"^category\s*:\s*", "", name.replace("_", " "), flags=re.IGNORECASE).strip()
    if not category:
        raise OptionError(f"{text!r} given; expected a name behind it, as 'Category:Eiffel Tower'")
    return "category", category


def _lines(path: Path) -> list[str]:
    """The landmarks in a file: the column wikidata, else category, of a csv table; else its lines.

    Blank lines and those that begin with # are skipped.
    """
    from ..core.csv_files import open_csv, open_text
    from ..core.disks import read_error

    try:
        with open_text(path) as text:
            lines = [line.strip() for line in text]
    except OSError as error:
        raise DataError(read_error(path, error)) from None
    except UnicodeError as error:
        raise DataError(f"{path}: not readable as UTF-8 ({error})") from None
    names = [name.strip().casefold() for name in re.split(r"[,;\t]", lines[0])] if lines else []
    columns = [name for name in ("wikidata", "category") if name in names]
    if not columns:
        return [line for line in lines if line and not line.startswith("#")]
    with open_csv(path) as (header, rows):
        at = [[name.casefold() for name in header].index(column) for column in columns]
        cells = ([row[number].strip() for number in at] for _, row in rows)
        return [found for row in cells if (found := next(filter(None, row), ""))]


def _degrees(text: str) -> tuple[float, float]:
    try:
        latitude, longitude = (float(part) for part in text.split(","))
    except ValueError:
        latitude = longitude = math.nan
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):  # NaN is neither
        raise OptionError(
            f"--near {text} given; expected latitude,longitude in degrees, such as 48.858,2.294"
        )
    return latitude, longitude


def _meters(text: str) -> float:
    from ..collect.commons import Wanted

    found, span = _LENGTH.fullmatch(text.strip()), Wanted.spans["radius_m"]
    meters = float(found[1]) * (1000 if found[2].lower() == "km" else 1) if found else 0.0
    if meters not in span:
        raise OptionError(
            f"--radius {text} given; expected a number with m or km, as 500m or 3km, from "
            f"{span.low:g}m to {span.high / 1000:g}km"
        )
    return meters


def _places(client: PoliteClient, name: str, language: str) -> str:
    """What to say about the name of a place: the items that it may mean."""
    from ..collect.wikidata import find_places

    hits = find_places(client, name, language)
    if not hits:
        return f"--in {name}: Wikidata knows no such place; expected its id, such as --in Q90"
    shown = "".join(
        f"\n  --in {hit.id:<10} {': '.join(filter(None, (hit.label, hit.description)))}"
        for hit in hits
    )
    return f"--in {name}: a name may mean several places; choose one by its id:{shown}"


def _print_result(out: Path, result: CommonsResult, *, dry_run: bool, as_json: bool) -> None:
    """Print the landmarks of a dry run, the counts, and the commands that follow; exit code 3 where
    something failed.
    """
    following = [] if dry_run else _next_commands(out, bool(result.counts["distractors"]))
    if as_json:
        output.say_json({
            "table": result.landmarks, **result.counts, "failures": result.failures,
            "warnings": result.notes, "next": following,
        })  # fmt: skip
    else:
        if dry_run:
            _print_landmarks(result.landmarks)
        said = "a run would fetch" if dry_run else str(out)
        output.result(result.counts, False, title=said)
        for note in result.notes:
            output.warn(f"note: {note}")
        if dry_run:
            output.say("the same command without --dry-run fetches them")
        else:
            output.say("next:")
        for line in following:
            output.say(f"  {line}")
    for number, reason in enumerate(result.failures.values()):
        if number < MAX_NAMED:
            output.warn(reason)
    if (more := len(result.failures) - MAX_NAMED) > 0:
        where = "" if dry_run else f"; all are in {out / 'problems.csv'}"
        output.warn(f"… and {more} more{where}")
    if result.failures:
        raise output.PartlyFailedError


def _print_landmarks(rows: list[dict[str, Any]]) -> None:
    output.say(f"{'landmark':<32} {'id':<10} {'sitelinks':>9} {'photos found':>13}  category")
    for row in rows:
        title = row["title"] if len(row["title"]) <= 32 else f"{row['title'][:31]}…"
        output.say(
            f"{title:<32} {row['id']:<10} {row['sitelinks']:>9} {row['found']:>13}  "
            f"{row['category'] or '(none)'}"
        )


def _next_commands(out: Path, distractors: bool) -> list[str]:
    """The commands that make a recognizer of the tables."""

    def at(name: str) -> str:
        return shlex.quote(str(out / name))

    also = f" --distractors {at('distractors.csv')}" if distractors else ""
    return [
        f"whichlandmark clean {at('photos.csv')} -o {at('cleaned.csv')} --graph",
        f"whichlandmark index {at('cleaned.csv')} -o {at('recognizer')} --landmarks "
        f"{at('landmarks.csv')} --credits {at('credits.csv')}{also}",
        f"whichlandmark tune {at('recognizer')}",
        f"whichlandmark recognize PHOTO.jpg -r {at('recognizer')}",
        f"whichlandmark serve {at('recognizer')}",
    ]
