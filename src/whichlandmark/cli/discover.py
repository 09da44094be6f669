"""The verb discover: find photos of landmarks that the gallery does not know, and name them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import NetworkError, OptionError
from ..core.json_options import count
from . import output
from .app import Device, Json, RecognizerFolder, app
from .collect import Api
from .option_types import within

if TYPE_CHECKING:
    from ..core.photo_files import LatLon
    from ..library.discover import Discovered
    from ..library.suggestions import Nearby
    from ..recognition.folder.discoveries import Discovery, DiscoveryStore, LandmarkSuggestion

EXAMPLES = 2  # paths of a group that the table shows

Library = Annotated[
    Path, typer.Argument(help="A folder of photos, searched with all folders in it.")
]

Page = Annotated[
    Path | None, typer.Option(help="Write the groups with small pictures as an HTML page.")
]

MinPhotos = Annotated[
    int,
    typer.Option(
        callback=within(count(2)),
        help="Photos that a group has at least; bursts and copies count once.",
    ),
]

Names = Annotated[
    list[str] | None,
    typer.Option(
        "--name",
        help="GROUP=NAME: the group's number in the last list, or its id, and what it shows, a new "
        "landmark or one of the gallery. GROUP alone takes the suggestion. May be repeated.",
    ),
]

Dismissed = Annotated[
    list[str] | None,
    typer.Option(
        "--not-a-landmark", help="GROUP that shows no landmark: never ask again; may be repeated."
    ),
]

Reopened = Annotated[
    list[str] | None,
    typer.Option(
        "--reopen",
        help="Id of a GROUP whose name, or --not-a-landmark, is to be undone; may be repeated.",
    ),
]

Places = Annotated[
    Path | None,
    typer.Option(help="A landmarks.csv with coordinates, to suggest names for photos with GPS."),
]

OptionalContact = Annotated[
    str,
    typer.Option(
        help="Ask Wikidata which landmarks are where photos with GPS were taken: your mail address "
        "or an https page of yours. Without it nothing is sent anywhere."
    ),
]

State = Annotated[
    Path | None,
    typer.Option(
        help="Folder for what is remembered of the library. Default: below ~/.local/state."
    ),
]


@app.command()
def discover(
    library: Library,
    recognizer: RecognizerFolder,
    page: Page = None,
    min_photos: MinPhotos = 3,
    name: Names = None,
    not_a_landmark: Dismissed = None,
    reopen: Reopened = None,
    places: Places = None,
    contact: OptionalContact = "",
    state: State = None,
    device: Device = "auto",
    as_json: Json = False,
    api: Api = None,
) -> None:
    """Find groups of photos of landmarks that the gallery does not know, and name them.

    A named group joins the gallery. Photos are never changed; the same command resumes.
    """
    from ..recognition.folder.discoveries import DiscoveryStore

    given = ["whichlandmark", "discover", str(library), "-r", str(recognizer)]
    command = shlex.join(given + (["--state", str(state)] if state else []))
    if name or not_a_landmark or reopen:
        if page or places or contact:
            raise OptionError(
                "--name, --not-a-landmark and --reopen decide on the groups of the last list; give "
                "--page, --places and --contact when you list the groups"
            )
        decisions = _decisions(
            DiscoveryStore(recognizer), library, name or [], not_a_landmark or [], reopen or []
        )
        _decide(recognizer, decisions, device, as_json)
        return
    found = _search(
        library, recognizer, page, places, (contact, api), min_photos, state, device
    )  # fmt: skip
    if page:
        _write_page(recognizer, found, page, library, command)
    _print(found, page, command, as_json)
    output.settings.photos_left_out |= output.name_left_out(found.left_out)
    output.finish_with_failures(found.failed)


def _search(
    library: Path,
    recognizer: Path,
    page: Path | None,
    places: Path | None,
    wikidata: tuple[str, str | None],
    min_photos: int,
    state: Path | None,
    device: str,
) -> Discovered:
    """Search the library."""
    from ..gallery.records import read_landmarks
    from ..library.discover import DiscoverOptions
    from ..library.discover import discover as run
    from ..recognition.folder.load import load

    if page:
        output.claim([(page, "page")], [places])
    records = [one for one in read_landmarks(places) if one.latitude is not None] if places else []
    if places and not records:
        raise OptionError(f"{places}: no landmark in it has coordinates (latitude, longitude)")
    with _nearby(recognizer, *wikidata) as nearby, output.progress() as progress:
        options = DiscoverOptions(
            min_photos=min_photos, places=records, places_name=places.name if places else "",
            nearby=nearby,
        )  # fmt: skip
        opened = load(recognizer, device=device)
        return run(library, recognizer, opened, options, state=state, progress=progress)


@contextmanager
def _nearby(recognizer: Path, contact: str, api: str | None) -> Iterator[Nearby | None]:
    """A function that asks Wikidata for the most linked landmark near a position; None without
    a contact. A server that cannot be reached is told once.
    """
    if not contact:
        yield None
        return
    from ..collect.http_client import PoliteClient, Sites
    from ..collect.wikidata import landmarks_near
    from ..library.suggestions import NEAR_KM
    from ..recognition.folder.discoveries import LandmarkSuggestion
    from ..recognition.location import distance_km

    sites, unreachable = Sites.given(api), False
    with PoliteClient(contact, sites=sites, cache=recognizer / "commons.sqlite") as client:

        def ask(place: LatLon) -> LandmarkSuggestion | None:
            nonlocal unreachable
            if unreachable:
                return None
            try:
                found = landmarks_near(client, round(place[0], 3), round(place[1], 3), NEAR_KM, 1)
            except NetworkError as error:
                unreachable = True
                output.warn(f"no names from Wikidata: {error}")
                return None
            if not found.found:
                return None
            record = found.found[0].record
            meters = 0.0
            if record.latitude is not None and record.longitude is not None:
                meters = 1000 * float(distance_km(place, (record.latitude, record.longitude)))
            why = f"{meters:.0f} m from the photos, by Wikidata"
            return LandmarkSuggestion.of(record, why, "near")

        yield ask


def _decisions(
    store: DiscoveryStore,
    library: Path,
    names: Sequence[str],
    dismissed: Sequence[str],
    reopened: Sequence[str],
) -> list[tuple[Discovery, str, str]]:
    """(group, action, landmark) of all options; an error before any of them is done."""
    from ..core.types import SEPARATOR
    from ..library.discover import library_key

    key, found = library_key(library), []
    for text in names:
        group, has_name, landmark = text.partition("=")
        one = store.resolve(group, key)
        if not has_name:
            if one.suggestion is None:
                raise OptionError(f"--name {text}: no name is suggested; give {group}=NAME")
            landmark = one.suggestion.landmark or one.suggestion.title.replace(SEPARATOR, "/")
        if not landmark.strip():
            raise OptionError(f"--name {text} given; expected GROUP=NAME, such as 1=Carcassonne")
        found.append((one, "name", landmark))
    found += [(store.resolve(one, key), "dismiss", "") for one in dismissed]
    found += [(store.resolve(one, key), "reopen", "") for one in reopened]
    seen: set[str] = set()
    for one, _, _ in found:
        if one.id in seen:
            raise OptionError(f"group {one.number or one.id} is given twice; decide on it once")
        seen.add(one.id)
    return found


def _decide(
    recognizer: Path, decisions: Sequence[tuple[Discovery, str, str]], device: str, as_json: bool
) -> None:
    """Do what the options say, and print it."""
    from ..features.embedders.load import load_embedder
    from ..recognition.folder.discoveries import DiscoveryStore

    store = DiscoveryStore(recognizer)
    naming = any(action == "name" for _, action, _ in decisions)
    embedder = load_embedder(recognizer / "embedder", device=device) if naming else None
    rows: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    with output.progress() as progress:
        for one, action, landmark in decisions:
            row: dict[str, Any] = {"id": one.id, "action": action}
            done_before = (one.state, one.landmark.casefold()) in (
                ("named", landmark.strip().casefold() if action == "name" else None),
                ("dismissed" if action == "dismiss" else None, ""),
            )
            if done_before:  # by this command, which was interrupted when it had done it
                row |= {"landmark": one.landmark, "already": True}
            elif action == "name":
                done = store.name(
                    one.id, landmark, embedder=embedder, progress=progress("adding photos")
                )
                left_out |= done.left_out
                row |= {"landmark": done.landmark, "new": not done.known,
                        "added": len(done.added), "moved": len(done.moved),
                        "left_out": done.left_out, "generation": done.generation}  # fmt: skip
            elif action == "dismiss":
                store.dismiss(one.id)
            else:
                store.reopen(one.id)
            rows.append(row)
    if as_json:
        output.say_json({"decisions": rows})
    else:
        for row in rows:
            output.say(_done_in_words(row))
    output.finish_with_failures(left_out)


def _done_in_words(row: dict[str, Any]) -> str:
    if row.get("already"):
        said = "named so" if row["action"] == "name" else "dismissed"
        return f"{row['id']}  {said} already (--reopen {row['id']} undoes it)"
    if row["action"] == "dismiss":
        return f"{row['id']}  no landmark: it is not asked about again (--reopen {row['id']})"
    if row["action"] == "reopen":
        return f"{row['id']}  open again"
    photos = "1 photo" if row["added"] == 1 else f"{row['added']} photos"
    moved = f", {row['moved']} moved from the distractors" if row["moved"] else ""
    new = "new landmark" if row["new"] else "landmark of the gallery"
    return (
        f"{row['id']}  {output.visible(row['landmark'])}: {new}, {photos} added{moved} "
        f"(--reopen {row['id']} undoes it)"
    )


def _write_page(
    recognizer: Path, found: Discovered, page: Path, library: Path, command: str
) -> None:
    from ..core.files import text_of_bytes
    from ..library.discover_page import write_page
    from ..recognition.folder.discoveries import DiscoveryStore

    store = DiscoveryStore(recognizer)
    write_page(
        page, [store.get(one.id) for one in found.open],
        title=f"New landmarks in {text_of_bytes(library.absolute().name)}",
        command=text_of_bytes(command), photos=found.answers.photos, compared=found.compared,
    )  # fmt: skip


def _print(found: Discovered, page: Path | None, command: str, as_json: bool) -> None:
    if as_json:
        output.say_json({
            "photos": found.answers.photos, "failed": found.failed, "unnamed": found.compared,
            "groups": [_group_object(one) for one in found.open], "decided": found.decided,
            "warnings": list(found.notes),
        })  # fmt: skip
        return
    for note in found.notes:
        output.warn(note)
    for one in found.open:
        photos = f"{len(one.photos)} photos"
        scenes = f" ({one.size} without copies)" if one.size < len(one.photos) else ""
        said = "no name suggested"
        if one.suggestion:
            said = f"{output.visible(one.suggestion.title)}? {output.visible(one.suggestion.why)}"
        output.say(f"{one.number:>3}  {photos}{scenes}  {said}")
        for photo in one.photos[:EXAMPLES]:
            output.say(f"       {output.visible(photo.name)}")
    groups = "1 group" if len(found.open) == 1 else f"{len(found.open)} groups"
    output.say(
        f"{groups} in {found.answers.photos} photos, of which the gallery does not name "
        f"{found.compared}" + (f"; {found.decided} decided before" if found.decided else "")
    )
    if page:
        output.say(f"page: {page}")
    if found.open:
        output.say(f"name one: {command} --name 1=NAME   (or --not-a-landmark 1)")


def _group_object(one: Discovery) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "id": one.id, "number": one.number, "size": one.size,
        "suggestion": asdict(one.suggestion) if one.suggestion else None,
        "photos": [{"name": photo.name, "file": photo.file} for photo in one.photos],
    }  # fmt: skip
