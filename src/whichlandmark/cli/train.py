"""Train, embedder, doctor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from . import output
from .app import Json, Out, Source, app


@app.command()
def doctor(
    embedder: Annotated[
        Path | None, typer.Argument(help="An embedder folder; a small random one without it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What this machine can do, and which runtime is fastest here; used from then on."""
    from ..features.embedders.doctor import measure_runtimes

    found = measure_runtimes(embedder)
    if as_json:
        output.say(json.dumps(found, ensure_ascii=False))
        return
    for name, value in found.items():
        if not isinstance(value, dict):
            output.say(f"{name:<18}{value}")
            continue
        output.say(name)
        for key, inner in value.items():
            if isinstance(inner, dict):
                inner = "  ".join(f"{number:g} {what}" for what, number in inner.items())
            output.say(f"  {key:<36}{inner}")


@app.command()
def embedder(
    source: Annotated[str, typer.Argument(help="timm:NAME, such as timm:resnet50, or a folder")],
    out: Out,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Local weights; without it they are downloaded.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE for the backbone; may be repeated.")
    ] = None,
    mean: Annotated[str | None, typer.Option(help="One number, or three with commas.")] = None,
    std: Annotated[str | None, typer.Option(help="One number, or three with commas.")] = None,
    size: Annotated[int | None, typer.Option(help="Pixels of the long side.")] = None,
    fit: Annotated[str, typer.Option(help="keep the aspect ratio, or squash to squares.")] = "keep",
    gem_p: Annotated[float, typer.Option(help="1 = average pooling, 3 = GeM.")] = 1.0,
    scales: Annotated[
        str, typer.Option(help="Look at each photo in these sizes: 0.71,1,1.42 of --size.")
    ] = "1",
    flip: Annotated[bool, typer.Option("--flip", help="Look at each photo mirrored too.")] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Round the network to int8 (with --calibrate).")
    ] = False,
    calibrate: Annotated[
        Path | None, typer.Option(help="Labelled photos that int8 is fitted to and measured on.")
    ] = None,
    max_gap_loss: Annotated[
        float, typer.Option(help="Refuse an int8 network that loses more GAP than this, 0 to 1.")
    ] = 0.01,
    as_json: Json = False,
) -> None:
    """Make an embedder folder: a pretrained backbone as it is, or a folder exported or in int8."""
    from ..core.errors import OptionError
    from ..core.json_options import from_json
    from ..data.folders import read_photos_or_folder
    from ..features.embedders.load import PretrainedOptions, make_embedder, parse_options
    from ..training.quantize import make_int8

    given = {
        "checkpoint": str(checkpoint) if checkpoint else None,
        "size": size,
        "fit": fit,
        "mean": output.three_numbers(mean, "--mean"),
        "std": output.three_numbers(std, "--std"),
        "gem_p": gem_p,
        "options": parse_options(option or []),
        "scales": output.numbers(scales, "--scales"),
        "flip": flip,
    }
    options = from_json(PretrainedOptions, given)
    if int8 != (calibrate is not None):
        raise OptionError("one of --int8 and --calibrate given; expected both or neither")
    if calibrate is None:
        output.result(make_embedder(source, options, out), as_json, title=f"{out}: embedder")
        return
    with output.progress() as progress:
        made = make_int8(
            source,
            options,
            out,
            read_photos_or_folder(calibrate),
            max_gap_loss=max_gap_loss,
            progress=progress,
        )
    output.result(made.counts, as_json, title=f"{out}: int8 embedder")
    output.finish_with_failures({failure.id: failure.reason for failure in made.failures})


@app.command()
def train(
    source: Source,
    out: Out,
    recipe: Annotated[
        str | None, typer.Option(help="Settings to begin with: seed, strong or finetune.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="JSON file of settings; see docs/training.md.")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE; may be repeated.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the photos.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    database: Annotated[
        Path | None, typer.Option(help="Validate against these photos (with --queries).")
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help="Validate with these questions (with --database).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train an embedder on labelled photos. The same command resumes an interrupted run."""
    from ..core.errors import OptionError
    from ..core.files import read_json
    from ..core.json_options import from_json
    from ..data.folders import read_photos_or_folder
    from ..features.embedders.load import parse_options, require_torch
    from ..training.config import TrainConfig
    from ..training.config import recipe as recipe_settings

    settings: dict[str, Any] = recipe_settings(recipe) if recipe else {}
    settings |= read_json(config) if config else {}
    settings |= parse_options(setting or [])
    flags = {"epochs": epochs, "device": device}
    settings |= {name: value for name, value in flags.items() if value is not None}
    chosen = from_json(TrainConfig, settings)
    if (database is None) != (queries is None):
        raise OptionError("one of --database and --queries given; expected both or neither")
    validation = (
        (read_photos_or_folder(database), read_photos_or_folder(queries))
        if database and queries
        else None
    )
    photos = read_photos_or_folder(source)
    require_torch()
    from ..training.train import train as train_embedder

    with output.progress() as progress:
        made = train_embedder(
            photos, chosen, out=out, validation=validation, report=progress("training")
        )
    best = read_json(out / "training" / "run.json")["best"]
    output.result(best, as_json, title=f"{out}: {made.id}; best epoch")
