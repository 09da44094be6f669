"""Verbs that make embedders: train, embedder, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..core.json_options import SHARE, Span, count, strict_json
from . import option_types, output
from .app import Json, OutEmbedder, Source, app, read_source
from .option_types import one_of, within


@app.command()
def doctor(
    embedder: Annotated[
        Path | None,
        typer.Argument(
            help="The embedder folder to measure with; without it, a small random network."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure every installed runtime on this machine; the fastest is used from then on."""
    from ..features.embedders.doctor import measure_runtimes

    found = measure_runtimes(embedder)
    if as_json:
        output.say(strict_json(found))
        return
    for name, value in found.items():
        if not isinstance(value, dict):
            output.say(f"{name:<18}{value}")
            continue
        output.say(name)
        for key, inner in value.items():
            if isinstance(inner, dict):
                inner = "  ".join(f"{number:g} {unit}" for unit, number in inner.items())
            output.say(f"  {key:<36}{inner}")


Checkpoint = Annotated[
    Path | None, typer.Option(help="Local file of weights; without it they are downloaded.")
]

BackboneOptions = Annotated[
    list[str] | None,
    typer.Option(help="KEY=VALUE for timm's create_model; may be repeated."),
]

Mean = Annotated[
    str | None,
    typer.Option(help="Mean of the pixels (0 to 1): one number, or three with commas."),
]

Std = Annotated[
    str | None,
    typer.Option(help="Standard deviation of the pixels: one number, or three with commas."),
]

Pool = Annotated[
    str | None,
    typer.Option(
        callback=one_of("model", "cls", "mean", "gem"),
        help="Pooling: model (its own head), cls, mean or gem; without it, what its makers use.",
    ),
]

GemExponent = Annotated[
    float | None,
    typer.Option(
        callback=within(Span(0.1, 20)),
        help="Exponent of GeM pooling; 1 is average pooling, 3 is usual.",
    ),
]

Fit = Annotated[
    str | None,
    typer.Option(
        callback=one_of("keep", "pad", "pad-center", "squash", "crop"),
        help="keep or pad the aspect ratio (pad-center: as ILIAS does), or squash or crop photos "
        "to squares; without it, what suits the backbone.",
    ),
]

Interpolation = Annotated[
    str | None,
    typer.Option(
        callback=one_of("bilinear", "bicubic"),
        help="bilinear or bicubic; without it, what suits the backbone.",
    ),
]

Scales = Annotated[
    str,
    typer.Option(help="Embed each photo at these multiples of --size and average: 0.71,1,1.42."),
]

NetworkSource = Annotated[
    str,
    typer.Argument(
        help="timm:NAME, such as timm:resnet50, onnx:FILE for a network made elsewhere, or an "
        "embedder folder."
    ),
]

LongSide = Annotated[
    int | None,
    typer.Option(callback=within(count(16, 4096)), help="Pixels of a photo's long side."),
]

Flip = Annotated[bool, typer.Option("--flip", help="Embed each photo mirrored too, and average.")]

PatchSize = Annotated[
    int | None,
    typer.Option(
        "--multiple",
        callback=within(count(1, 4096)),
        help="Of an ONNX file: both sides become multiples of it; tried out if not given.",
    ),
]

OutputName = Annotated[
    str | None,
    typer.Option("--output", help="Of an ONNX file: the output with one vector for each photo."),
]

Licence = Annotated[
    str | None,
    typer.Option(help="Licence of the weights, where neither timm nor the ONNX file says it."),
]

Int8 = Annotated[
    bool, typer.Option("--int8", help="Convert the network to int8; needs --calibrate.")
]

CalibrationPhotos = Annotated[
    Path | None,
    typer.Option(help="Labelled photos to calibrate the int8 network on and measure it with."),
]

MaxGapLoss = Annotated[
    float,
    typer.Option(
        callback=within(SHARE),
        help="Refuse an int8 network that loses more GAP than this, 0 to 1.",
    ),
]


@app.command()
def embedder(
    source: NetworkSource,
    out: OutEmbedder,
    checkpoint: Checkpoint = None,
    option: BackboneOptions = None,
    mean: Mean = None,
    std: Std = None,
    size: LongSide = None,
    fit: Fit = None,
    interpolation: Interpolation = None,
    pool: Pool = None,
    gem_p: GemExponent = None,
    scales: Scales = "1",
    flip: Flip = False,
    multiple: PatchSize = None,
    output_name: OutputName = None,
    licence: Licence = None,
    int8: Int8 = False,
    calibrate: CalibrationPhotos = None,
    max_gap_loss: MaxGapLoss = 0.01,
    as_json: Json = False,
) -> None:
    """Make an embedder from a pretrained backbone or an ONNX file; or convert one to int8."""
    from ..core.errors import OptionError
    from ..core.json_options import from_json
    from ..core.results import FOLDER
    from ..features.embedders.load import PretrainedOptions, make_embedder, parse_options
    from ..features.preprocessing import SPANS
    from ..training.quantize import make_int8

    given = {
        "checkpoint": str(checkpoint) if checkpoint else None,
        "size": size,
        "fit": fit,
        "interpolation": interpolation,
        "pool": pool,
        "mean": option_types.three_numbers(mean, "--mean", SPANS["mean"]),
        "std": option_types.three_numbers(std, "--std", SPANS["std"]),
        "gem_p": gem_p,
        "options": parse_options(option or []),
        "scales": option_types.numbers(scales, "--scales", SPANS["scales"]),
        "flip": flip,
        "multiple": multiple,
        "output": output_name,
        "licence": licence,
    }
    options = from_json(PretrainedOptions, given)
    output.claim([(out, FOLDER)], [source, checkpoint, calibrate])
    if int8 != (calibrate is not None):
        raise OptionError("one of --int8 and --calibrate given; expected both or neither")
    if calibrate is None:
        output.result(make_embedder(source, options, out), as_json, title=f"{out}: embedder")
        return
    photos = read_source(calibrate)
    with output.progress() as progress:
        made = make_int8(
            source, options, out, photos, max_gap_loss=max_gap_loss, progress=progress
        )  # fmt: skip
    output.result(made.counts, as_json, title=f"{out}: int8 embedder")
    output.finish_with_failures({failure.id: failure.reason for failure in made.failures})


Recipe = Annotated[
    str | None,
    typer.Option(
        callback=one_of("seed", "strong", "finetune"),
        help="Settings to start from: seed, strong or finetune.",
    ),
]

ConfigFile = Annotated[
    Path | None,
    typer.Option(help="JSON file of settings, which override the recipe; see docs/training.md."),
]

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="KEY=VALUE: one setting, which overrides recipe and file; may be repeated.",
    ),
]

TrainDevice = Annotated[
    str | None,
    typer.Option(
        callback=option_types.device,
        help="auto (a GPU if there is one, else the CPU), cpu or cuda.",
    ),
]

Database = Annotated[
    Path | None, typer.Option(help="Gallery photos to validate with (needs --queries).")
]

Queries = Annotated[
    Path | None, typer.Option(help="Query photos to validate with (needs --database).")
]


@app.command()
def train(
    source: Source,
    out: OutEmbedder,
    recipe: Recipe = None,
    config: ConfigFile = None,
    setting: Settings = None,
    epochs: Annotated[
        int | None,
        typer.Option(callback=within(count(1, 100_000)), help="Passes over the photos."),
    ] = None,
    device: TrainDevice = None,
    database: Database = None,
    queries: Queries = None,
    as_json: Json = False,
) -> None:
    """Train an embedder on labelled photos.

    The same command resumes an interrupted run; with more --epochs, a finished one goes on.
    """
    from ..core.errors import OptionError
    from ..core.files import read_json
    from ..core.results import FOLDER
    from ..features.embedders.load import parse_options, require_torch
    from ..training.config import chosen_config

    output.claim([(out, FOLDER)], [source, config, database, queries])
    given: dict[str, Any] = read_json(config) if config else {}
    given |= parse_options(setting or [])
    flags = {"epochs": epochs, "device": device}
    given |= {name: value for name, value in flags.items() if value is not None}
    chosen = chosen_config(given, recipe_name=recipe)
    if (database is None) != (queries is None):
        raise OptionError("one of --database and --queries given; expected both or neither")
    validation = (read_source(database), read_source(queries)) if database and queries else None
    photos = read_source(source)
    require_torch()
    from ..training.train import train as train_embedder

    with output.progress() as progress:
        made = train_embedder(
            photos, chosen, out=out, validation=validation, report=progress("training")
        )
    best = read_json(out / "training" / "run.json")["best"]
    listed = out / "training" / "unreadable.json"
    failures = read_json(listed) if listed.exists() else {}
    best |= {"epoch": int(best["epoch"]), "unreadable": len(failures)}
    output.result(best, as_json, title=f"{out}: {made.id}; best epoch")
    output.finish_with_failures(failures, listed=listed)
