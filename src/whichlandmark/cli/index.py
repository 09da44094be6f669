"""Verbs that make and fit a recognizer folder: index (also in shards), tune."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import OptionError
from ..core.json_options import count
from . import output
from .app import (
    CreditsTable,
    Device,
    Distractors,
    GalleryAddress,
    Json,
    LandmarksTable,
    RecognizerArgument,
    Relabel,
    Restore,
    RulesFile,
    ScoreName,
    SearchWhere,
    Source,
    app,
    read_source,
)
from .option_types import BETWEEN, one_of, within

Shards = Annotated[
    int | None,
    typer.Option(
        "--shards",
        callback=within(count(1, 100_000)),
        help="Cut the table into this many shards; each is embedded into a file first.",
    ),
]

OneShard = Annotated[
    str | None,
    typer.Option(
        "--shard", help="Embed only this shard, 0/8 to 7/8; load nothing into the gallery."
    ),
]

Engine = Annotated[
    str | None,
    typer.Option(
        "--engine",
        callback=one_of("local", "ray", old="here"),
        help="Embed the shards in this process (local, the default) or on a cluster (ray).",
    ),
]

ShardPlace = Annotated[
    str | None,
    typer.Option("--shard-folder", help="Folder or URL of the shard files; OUT/shards by default."),
]

Load = Annotated[bool, typer.Option("--load", help="Embed nothing; load the shards that exist.")]

_SHARD = re.compile(r"(\d{1,6})/(\d{1,6})", re.ASCII)


@app.command()
def index(
    source: Source,
    out: Annotated[
        Path,
        typer.Option("-o", "--out", help="The recognizer folder to write, or to add photos to."),
    ],
    embedder: Annotated[
        str | None,
        typer.Option(
            help="lite0, an embedder folder, timm:NAME, or sift, which needs no weights. Default: "
            "that of the recognizer folder, lite0 for a new one."
        ),
    ] = None,
    distractors: Distractors = None,
    rules: RulesFile = None,
    score: ScoreName = None,
    features: Annotated[
        bool,
        typer.Option(
            help="Keep local features, for spatial verification and evidence: 34 KB for each photo."
        ),
    ] = True,
    shards: Shards = None,
    shard: OneShard = None,
    engine: Engine = None,
    shard_folder: ShardPlace = None,
    load: Load = False,
    gallery: GalleryAddress = None,
    search: SearchWhere = None,
    landmarks: LandmarksTable = None,
    credits: CreditsTable = None,
    relabel: Relabel = False,
    restore: Restore = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Embed photos into a recognizer folder, and fit its score and calibration.

    The same command resumes an interrupted run, and adds photos later. What was changed by hand
    with `gallery` stays.
    """
    from ..recognition.indexing.index_photos import IndexOptions, index_photos

    plan = shard_plan(shards, shard, engine, shard_folder, load)
    options = IndexOptions(
        rules=output.rules_given(rules, score), features=features, device=device, gallery=gallery,
        search=search, shards=plan.shards, shard=plan.shard, shard_folder=shard_folder,
        engine=plan.engine, relabel=relabel, restore=restore, landmarks=landmarks, credits=credits,
    )  # fmt: skip
    photos = read_source(source)
    extra = read_source(distractors, labelled=False) if distractors else None
    with output.progress() as progress:
        result = index_photos(photos, extra, out, embedder, options, progress=progress)
    output.result(output.with_notes(result.counts, result.notes, as_json), as_json, title=str(out))
    output.finish_with_failures({f.id: f.reason for f in result.failures})


@app.command()
def tune(
    recognizer: RecognizerArgument,
    photos: Annotated[
        Path | None,
        typer.Option(
            help="More labelled photos, such as a training set, to fit the whitening on: a "
            "photos.csv or a folder."
        ),
    ] = None,
    false_answers: Annotated[
        float | None,
        typer.Option(
            callback=within(BETWEEN),
            help="Choose the threshold so that at most this share of photos without a landmark is "
            "answered, such as 0.01.",
        ),
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Choose whitening and score on leave-one-out queries of the gallery, and store them.

    The table of all that was tried is printed.
    """
    from ..recognition.folder.tune import tune as tune_folder

    extra = read_source(photos) if photos else None
    with output.progress() as progress:
        tuned = tune_folder(
            recognizer, extra, false_answers=false_answers, device=device, progress=progress
        )
    output.tuned(recognizer, tuned, as_json)
    failures = {f.id: f.reason for f in tuned.failures}
    output.finish_with_failures(failures | {leak.id: leak.reason for leak in tuned.leaks})


@dataclass(frozen=True)
class ShardPlan:
    """The options about shards, as `IndexOptions` takes them.

    shards: number of shards, None = no shards. shard: the only one to embed, None = all.
    engine: "local", "ray" or "none" (load only).
    """

    shards: int | None = None
    shard: int | None = None
    engine: str = "local"


def shard_plan(
    shards: int | None, shard: str | None, engine: str | None, folder: str | None, load: bool
) -> ShardPlan:
    """The options about shards, checked together.

    Raises OptionError where they are incomplete or contradictory.
    """
    number, count = None, shards
    if shard is not None:
        number, count = parse_shard(shard, shards)
    if count is None:
        given = {
            f"--engine {engine}": engine is not None, "--load": load,
            f"--shard-folder {folder}": folder is not None,
        }  # fmt: skip
        for option, is_given in given.items():
            if is_given:
                raise OptionError(
                    f"{option} given; expected --shards N with it, the number of shards"
                )
        return ShardPlan()
    if number is not None and (load or engine == "ray"):
        raise OptionError(
            f"--shard {shard} and {'--load' if load else '--engine ray'} given; "
            "--shard makes one shard in this process; leave it out to make or load all"
        )
    if load and engine is not None:
        raise OptionError(f"--load and --engine {engine} given; --load makes no shards")
    return ShardPlan(count, number, "none" if load else engine or "local")


def parse_shard(text: str, shards: int | None) -> tuple[int, int]:
    """Number and count of the value of --shard: "3/8" → (3, 8).

    shards: the value of --shards, None = not given. Raises OptionError for another form, for a
    number that is out of range, or where the two counts differ.
    """
    found = _SHARD.fullmatch(text.strip())
    if not found:
        raise OptionError(f"--shard {text!r} given; expected i/N, as 0/8 to 7/8")
    number, count = int(found[1]), int(found[2])
    if not number < count:
        raise OptionError(
            f"--shard {text} given; of {count} shards the first is 0, the last {count - 1}"
        )
    if shards is not None and shards != count:
        raise OptionError(f"--shards {shards} and --shard {text} given; expected the same number")
    return number, count
