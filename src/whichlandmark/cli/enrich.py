"""Verbs for what a gallery says of its landmarks: gallery describe, gallery enrich."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..core.errors import OptionError
from ..core.json_options import Span
from . import option_types, output
from .app import Json, RecognizerArgument
from .collect import Api, Contact
from .gallery import gallery_app
from .option_types import each_of

TEXTS = {"name": "names", "wikipedia": "wikipedia"}  # option → field of the record, by language

MAX_LISTED = 20  # changed landmarks and notes that are printed; --json has all


Articles = Annotated[
    list[str] | None,
    typer.Option(help="LANGUAGE=TITLE: the article about it, fr=…; may be repeated."),
]

Clear = Annotated[
    list[str] | None,
    typer.Option(
        callback=each_of(
            "title", "names", "wikipedia", "wikidata", "place", "city", "country",
            "country_code", "source",
            also=("name:", "wikipedia:"),
        ),
        help="Remove title, names, name:fr, wikipedia, wikipedia:fr, wikidata, place, city, "
        "country, country_code or source; may be repeated.",
    ),
]  # fmt: skip

Languages = Annotated[
    str, typer.Option(help="Languages of names and articles; the first one's is the title.")
]

LandmarkTable = Annotated[
    Path | None,
    typer.Option(
        help="A csv table with the columns landmark, and category (of Commons) or wikidata; "
        "the landmarks.csv of `import gldv2` is one."
    ),
]

Suggestions = Annotated[
    Path | None,
    typer.Option(
        "-o", "--out",
        help="Search for the landmarks that have only a name, and write what is found into this "
        "table, for you to confirm.",
    ),
]  # fmt: skip

Confirmed = Annotated[
    Path | None,
    typer.Option(help="That table, with yes in the column confirmed where it is right."),
]

Answers = Annotated[
    Path | None,
    typer.Option(help="File of the answers; commons.sqlite in the recognizer folder."),
]


@gallery_app.command()
def describe(
    folder: RecognizerArgument,
    landmark: Annotated[str, typer.Argument(help="A landmark, as `gallery list` prints it.")],
    title: Annotated[str | None, typer.Option(help="The name to show to people.")] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(help="LANGUAGE=NAME: its name in a language, fr=…; may be repeated."),
    ] = None,
    wikipedia: Articles = None,
    wikidata: Annotated[str | None, typer.Option(help="Its Wikidata id, such as Q243.")] = None,
    place: Annotated[
        str | None, typer.Option(help="LATITUDE,LONGITUDE in degrees, such as 48.858,2.294.")
    ] = None,
    city: Annotated[
        str | None, typer.Option(help="City or municipality where it is, such as Paris.")
    ] = None,
    country: Annotated[str | None, typer.Option(help="Country where it is.")] = None,
    country_code: Annotated[
        str | None, typer.Option(help="Two letters of the country (ISO 3166-1), such as FR.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Web address of the page where this was found.")
    ] = None,
    clear: Clear = None,
    as_json: Json = False,
) -> None:
    """Show what the gallery says of a landmark, or change it: title, names, place …"""
    from ..recognition.answer import landmark_object
    from ..recognition.folder.edit import describe_landmark

    changes: dict[str, Any] = {}
    for field in clear or []:
        kind, colon, language = field.partition(":")
        if colon:
            changes.setdefault(TEXTS[kind], {})[language] = None
        else:
            changes |= dict.fromkeys(("latitude", "longitude") if field == "place" else (field,))
    given = {"title": title, "wikidata": wikidata, "source": source, "city": city,
             "country": country, "country_code": country_code and country_code.upper()}  # fmt: skip
    changes |= {field: value for field, value in given.items() if value is not None}
    for option, what, pairs in (("name", "NAME", name), ("wikipedia", "TITLE", wikipedia)):
        for pair in pairs or []:
            language, equals, text = pair.partition("=")
            if not (language and equals and text.strip()):
                raise OptionError(
                    f"--{option} {pair} given; expected LANGUAGE={what}, such as fr=Louvre"
                )
            texts = changes.get(TEXTS[option]) or {}
            changes[TEXTS[option]] = {**texts, language: text.strip()}
    if place is not None:
        degrees = option_types.numbers(place, "--place", Span(-180, 180), lengths=(2,))
        changes |= dict(zip(("latitude", "longitude"), degrees, strict=True))
    record, generation = describe_landmark(folder, landmark, changes)
    shown = {**landmark_object(landmark, {landmark: record}), "generation": generation}
    output.result(shown, as_json, title=str(folder))


@gallery_app.command()
def enrich(
    folder: RecognizerArgument,
    contact: Contact = "",
    languages: Languages = "en",
    table: LandmarkTable = None,
    suggestions: Suggestions = None,
    confirmed: Confirmed = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Overwrite what the gallery says already.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would change; no table is written.")
    ] = False,
    cache: Answers = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask again for what earlier runs asked.")
    ] = False,
    as_json: Json = False,
    api: Api = None,
) -> None:
    """Fill names, places and Wikipedia articles of landmarks from Wikidata, in one change.

    What the gallery says already stays. The same command resumes an interrupted run.
    """
    from ..collect.enrich import EnrichOptions
    from ..collect.enrich import enrich as run
    from ..collect.http_client import PoliteClient, Sites
    from ..recognition.folder.settings import require_folder

    sites = Sites.given(api)
    require_folder(folder)
    if suggestions:
        output.claim([(suggestions, "table of suggestions")], [table, confirmed])
    options = EnrichOptions(
        tuple(filter(None, (part.strip() for part in languages.split(",")))),
        table=table, confirmed=confirmed, suggestions=suggestions, replace=replace,
        dry_run=dry_run,
    )  # fmt: skip
    answers = cache or folder / "commons.sqlite"
    with (
        PoliteClient(contact, sites=sites, cache=answers, refresh=refresh) as client,
        output.progress() as progress,
    ):
        done = run(folder, client, options, progress("asking"))
    if as_json:
        lists = {"changes": done.changed, "left_out": done.left_out, "warnings": done.notes}
        output.say_json(done.counts | lists)
    else:
        output.result(done.counts, False, title=str(folder))
        lines = [f"  {name}: {', '.join(fields)}" for name, fields in done.changed.items()]
        for show, listed in ((output.say, lines), (output.warn, done.notes)):
            for line in listed[:MAX_LISTED]:
                show(line)
            if len(listed) > MAX_LISTED:
                show(f"… {len(listed) - MAX_LISTED} more; --json names all")
        if suggestions and not dry_run:
            output.note(f"say yes in the column confirmed of {suggestions} where it is right, "
                        f"then give --confirmed {suggestions}")  # fmt: skip
    output.finish_with_failures(done.left_out)
