"""Verbs for the gallery of a recognizer: gallery add, remove, relabel, list, feedback, verify, …"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..core.errors import OptionError
from ..core.json_options import strict_json
from . import output
from .app import (
    CreditsTable,
    Device,
    GalleryAddress,
    Json,
    LandmarksTable,
    RecognizerArgument,
    Relabel,
    Restore,
    SearchWhere,
    app,
    read_source,
)
from .option_types import each_of, one_of

gallery_app = typer.Typer(
    help="List, edit, check, repair and copy the gallery of a recognizer.",
    no_args_is_help=True,
)

app.add_typer(gallery_app, name="gallery")

Ids = Annotated[
    list[str] | None,
    typer.Argument(help="Ids of photos, as `gallery list --landmark` prints them."),
]

Landmark = Annotated[str | None, typer.Option(help="All photos of this landmark, instead of ids.")]


@gallery_app.command()
def add(
    folder: RecognizerArgument,
    source: Annotated[
        Path | None,
        typer.Argument(
            help="A photos.csv or a folder of photos; leave it out to add only the tables of "
            "--landmarks and --credits."
        ),
    ] = None,
    landmark: Annotated[str | None, typer.Option(help="The landmark of all these photos.")] = None,
    distractors: Annotated[bool, typer.Option(help="The photos show no landmark.")] = False,
    landmarks: LandmarksTable = None,
    credits: CreditsTable = None,
    relabel: Relabel = False,
    restore: Restore = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Embed more photos into the gallery. The same command resumes an interrupted run.

    A photo that the gallery has already, by its bytes, is not added again.
    """
    from ..gallery.copy import LandmarkTables
    from ..recognition.folder.edit import add_photos, photos_to_add
    from ..recognition.folder.update import UpdateOptions

    photos = None
    if source:
        found = read_source(source, labelled=landmark is None and not distractors)
        photos = photos_to_add(found, landmark=landmark, distractors=distractors)
    elif not (landmarks or credits):
        raise OptionError("nothing to add: give photos, --landmarks or --credits")
    options = UpdateOptions(
        relabel=relabel, restore=restore, corrects=False, explicit=landmark is not None
    )
    with output.progress() as progress:
        done = add_photos(
            folder, photos, tables=LandmarkTables(landmarks, credits), device=device,
            options=options, progress=progress("adding"),
        )  # fmt: skip
    output.result(output.with_notes(done.counts, done.notes, as_json), as_json, title=str(folder))
    nothing = photos is not None and done.counts["failed"] == len(photos)
    output.finish_with_failures(done.failures, nothing_done=nothing)


@gallery_app.command()
def remove(
    folder: RecognizerArgument,
    ids: Ids = None,
    landmark: Landmark = None,
    distractors: Annotated[
        bool,
        typer.Option("--distractors", help="All photos without a landmark, instead of ids."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Remove photos from the gallery, with vectors and local features. Photo files stay."""
    from ..recognition.folder.edit import remove_photos

    done = remove_photos(folder, ids or [], landmark, distractors=distractors)
    output.result(output.with_notes(done.counts, done.notes, as_json), as_json, title=str(folder))


@gallery_app.command()
def relabel(
    folder: RecognizerArgument,
    to: Annotated[str, typer.Option(help='The new landmark; "" makes the photos distractors.')],
    ids: Ids = None,
    landmark: Landmark = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Put --landmark into a landmark that exists.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Give photos another landmark. Neither `index` nor `gallery add` undoes it."""
    from ..recognition.folder.edit import relabel_photos

    done = relabel_photos(folder, ids or [], landmark, to, merge=merge)
    output.result(done.counts, as_json, title=str(folder))


@gallery_app.command()
def credit(
    folder: RecognizerArgument,
    ids: Ids = None,
    landmark: Landmark = None,
    author: Annotated[str | None, typer.Option(help="Who took the photos.")] = None,
    licence: Annotated[str | None, typer.Option(help="The licence that they are under.")] = None,
    licence_url: Annotated[str | None, typer.Option(help="Web address of the licence.")] = None,
    source: Annotated[str | None, typer.Option(help="Web address that they come from.")] = None,
    clear: Annotated[
        list[str] | None,
        typer.Option(
            callback=each_of("author", "licence", "licence_url", "source"),
            help="Remove author, licence, licence_url or source; may be repeated.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show author, licence and source of photos, or change them."""
    from ..recognition.folder.edit import credit_photos

    given = {"author": author, "licence": licence, "licence_url": licence_url, "source": source}
    changes: dict[str, str | None] = dict.fromkeys(clear or [])
    changes |= {field: value.strip() for field, value in given.items() if value is not None}
    credits, generation = credit_photos(folder, ids or [], landmark, changes)
    if as_json:
        photos = [{"id": one, **found._asdict()} for one, found in credits.items()]
        output.say_json({"photos": photos, "generation": generation})
        return
    for one, found in credits.items():
        output.say(f"{one}  ({' · '.join(text for text in found if text) or 'no credit'})")


@gallery_app.command("list")
def list_(
    folder: RecognizerArgument,
    landmark: Annotated[
        str | None, typer.Option(help='List the photos of this landmark; "" lists the distractors.')
    ] = None,
    records: Annotated[
        Path | None,
        typer.Option(help="Write titles, names and coordinates of landmarks as a landmarks.csv."),
    ] = None,
    credits: Annotated[
        Path | None,
        typer.Option(help="Write authors, licences and sources of photos as a credits.csv."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the landmarks of the gallery, or the photos of one landmark.

    The tables of --records and --credits are what `gallery add` reads.
    """
    from ..gallery.copy import LandmarkTables
    from ..recognition.folder.maintain import export_tables, list_landmarks, list_photos

    if records or credits:
        tables = ((records, "table of landmark records"), (credits, "table of credits"))
        output.claim([(path, kind) for path, kind in tables if path])
        written = export_tables(folder, LandmarkTables(records, credits))
        output.result(written.counts, as_json, title=str(folder))
        return
    if landmark is not None:
        photos = list_photos(folder, landmark)
        if as_json:
            output.say(strict_json({"landmark": landmark, "photos": photos}))
        for photo in [] if as_json else photos:
            parts = (photo[name] for name in ("author", "licence", "licence_url", "source"))
            shown = " · ".join(text for text in parts if text)
            output.say(f"{photo['id']}  {photo['path']}" + (f"  ({shown})" if shown else ""))
        return
    found = list_landmarks(folder)
    if as_json:
        output.say(strict_json(found))
        return
    for record in found["landmarks"]:
        title = record["title"]
        output.say(
            f"{record['photos']:6}  {record['landmark']}" + (f"  ({title})" if title else "")
        )
    output.say(
        f"{found['photos']} photos of {len(found['landmarks'])} landmarks, "
        f"{found['distractors']} distractors; generation {found['generation']}"
    )
    if found["search_index"]:
        output.say(found["search_index"]["text"])
    for line in found["warnings"]:
        output.warn(line)
    if failed := found["failed"]:
        output.warn(f"{len(failed)} photos could not be read when they were indexed last:")
        for photo_id, reason in failed.items():
            output.warn(f"  {photo_id}: {reason}")


@gallery_app.command()
def feedback(
    folder: RecognizerArgument,
    approve: Annotated[
        str | None, typer.Option(help="Id: put its photo into the gallery under its landmark.")
    ] = None,
    landmark: Annotated[
        str | None, typer.Option(help='With --approve, what the photo shows; "" = no landmark.')
    ] = None,
    discard: Annotated[str | None, typer.Option(help="Id: delete its photo.")] = None,
    state: Annotated[
        str,
        typer.Option(
            callback=one_of("open", "approved", "corrected", "discarded", "all"),
            help="Which to list: open, approved, corrected, discarded or all.",
        ),
    ] = "open",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """List what people said of answers of the server, or approve or discard one entry."""
    from ..recognition.folder.feedback import entry_in_words, feedback_of, review_feedback

    if (approve and discard) or (landmark is not None and not approve):
        raise OptionError("expected --approve ID, which takes --landmark NAME, or --discard ID")
    if entry_id := approve or discard:
        action: Literal["approve", "discard"] = "approve" if approve else "discard"
        done = review_feedback(folder, entry_id, action, landmark, device=device)
        output.result(output.with_notes(done.counts, done.notes, as_json), as_json, title=entry_id)
        return
    found = feedback_of(folder)
    listed = found.of_state(state)
    if as_json:
        counts = {"total": len(listed), "open": len(found.of_state("open"))}
        output.say_json({**counts, "unreadable": found.unreadable, "entries": listed})
        return
    for entry in listed:
        output.say(entry_in_words(entry))
    entries = "1 entry" if len(listed) == 1 else f"{len(listed)} entries"
    output.say(f"{entries} ({state}), {len(found.of_state('open'))} to review")
    if found.unreadable:
        output.warn(f"lines of feedback.jsonl that cannot be read: {found.unreadable}, left out")


@gallery_app.command()
def verify(folder: RecognizerArgument, as_json: Json = False) -> None:
    """Compare everything in the gallery with its checksums. Exit code 5 when damaged."""
    from ..core.errors import GalleryError
    from ..recognition.folder.maintain import verify_gallery

    done = verify_gallery(folder)
    if as_json:
        lists = {"fault list": done.faults, "warnings": done.warnings}
        output.say(strict_json(done.counts | lists))
    else:
        output.result(done.counts, False, title=str(folder))
        for line in done.warnings:
            output.warn(f"warning: {line}")
    for line in done.faults:
        output.warn(f"fault: {line}")
    if done.faults:
        raise GalleryError(
            f"{folder}: {len(done.faults)} faults; `whichlandmark gallery rebuild {folder}` keeps "
            "everything that is undamaged"
        )


@gallery_app.command()
def rebuild(folder: RecognizerArgument, as_json: Json = False) -> None:
    """Repair a damaged gallery: keep what is undamaged, list what is lost (exit code 3)."""
    from ..recognition.folder.maintain import rebuild_gallery

    done = rebuild_gallery(folder)
    output.result(done.counts, as_json, title=str(folder))
    output.finish_with_failures(done.failures)


@gallery_app.command()
def copy(
    source: Annotated[
        str, typer.Argument(help="A recognizer folder, or the address of a gallery.")
    ],
    target: Annotated[str, typer.Argument(help="A new folder, or the address of a new gallery.")],
    gallery: GalleryAddress = None,
    search: SearchWhere = None,
    as_json: Json = False,
) -> None:
    """Copy a gallery to a file or a database server, or back.

    The same command resumes an interrupted copy.
    """
    from ..gallery.address import Link
    from ..recognition.folder.maintain import copy_to

    link = Link(address=gallery, search=search or "here") if gallery or search else None
    with output.progress() as progress:
        done = copy_to(source, target, link=link, progress=progress("copying"))
    output.result(done, as_json, title=target)


@gallery_app.command()
def compact(folder: RecognizerArgument, as_json: Json = False) -> None:
    """Free the disk space of removed photos, and erase what is left of them in the file."""
    from ..recognition.folder.maintain import compact_gallery

    done = compact_gallery(folder)
    output.result(output.with_notes(done.counts, done.notes, as_json), as_json, title=str(folder))


@gallery_app.command()
def sync(
    folder: RecognizerArgument,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Throw the search index away and make it again.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring the search index of `index --search qdrant://…` in step with the gallery.

    The same command resumes an interrupted run.
    """
    from ..recognition.folder.load import sync_search_index

    with output.progress() as progress:
        done = sync_search_index(folder, rebuild=rebuild, progress=progress("syncing"))
    counts = {"photos": done.photos, "written": done.written, "deleted": done.deleted,
              "generation": done.generation}  # fmt: skip
    output.result(counts, as_json, title=str(folder))
