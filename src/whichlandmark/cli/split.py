"""The verb split: cut a photo table into tables for training, the gallery and queries."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..core.json_options import SEED, count
from . import output
from .app import Distractors, Json, OutTables, Source, app, read_source
from .option_types import BETWEEN, within

TestShare = Annotated[
    float | None,
    typer.Option(
        callback=within(BETWEEN),
        help="Share of each landmark's photos that goes into test.csv; 0.1 if neither this nor "
        "--landmarks is given.",
    ),
]

ValidationLandmarks = Annotated[
    int | None,
    typer.Option(
        callback=within(count()),
        help="Number of landmarks of a validation set, instead of a share of each landmark.",
    ),
]

UnknownLandmarks = Annotated[
    int,
    typer.Option(
        callback=within(count(0)),
        help="Number of landmarks that only test.csv or queries.csv shows, as unknown ones.",
    ),
]

QueryShare = Annotated[
    float,
    typer.Option(
        callback=within(BETWEEN),
        help="With --landmarks: share of each validation landmark's photos that become queries.",
    ),
]

BankShare = Annotated[
    float,
    typer.Option(
        callback=within(BETWEEN),
        help="Share of the distractors that goes into the gallery; the rest become test queries.",
    ),
]


Seed = Annotated[int, typer.Option(callback=within(SEED), help="Another seed draws another split.")]


@app.command()
def split(
    source: Source,
    out: OutTables,
    test: TestShare = None,
    landmarks: ValidationLandmarks = None,
    unknown: UnknownLandmarks = 0,
    query_share: QueryShare = 0.1,
    distractors: Distractors = None,
    bank_share: BankShare = 0.5,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Cut a table into train.csv and test.csv; with --landmarks, into training and validation.

    With --unknown and --distractors, the queries also show what the gallery does not know; bank.csv
    has the distractors of the gallery. The validation set is database.csv (gallery photos),
    queries.csv and bank.csv; train.csv has the other landmarks.
    """
    from ..core.errors import OptionError
    from ..data import splits
    from ..data.table import write_photos

    if landmarks is not None and test is not None:
        raise OptionError("--test and --landmarks given; expected one of them")
    options: splits.HoldOutOptions | splits.SplitOptions
    if landmarks is None:
        names, test = splits.TEST_TABLES, 0.1 if test is None else test
        options = splits.HoldOutOptions(
            test=test, unknown=unknown, bank_share=bank_share, seed=seed
        )  # fmt: skip
    else:
        names = splits.VALIDATION_TABLES
        options = splits.SplitOptions(
            landmarks=landmarks, unknown=unknown, query_share=query_share, bank_share=bank_share,
            seed=seed,
        )  # fmt: skip
    output.claim([(out / f"{name}.csv", "photo table") for name in names], [source, distractors])
    photos = read_source(source)
    extra = read_source(distractors, labelled=False) if distractors else None
    known = splits.known_contents(source)
    if isinstance(options, splits.HoldOutOptions):
        made = splits.split_test(photos, options, distractors=extra, known=known)
    else:
        made = splits.split_validation(photos, options, distractors=extra, known=known)
    for name, part in made.tables.items():
        write_photos(out / f"{name}.csv", part)
    counts: dict[str, Any] = {name: len(part) for name, part in made.tables.items()}
    counts["kinds of queries"] = splits.query_kinds(made)
    if made.left_out:
        counts["left out: same content in another table"] = len(made.left_out)
    output.result(counts, as_json, title=", ".join(f"{out}/{name}.csv" for name in made.tables))
    for note in splits.missing_kinds(made, test):
        output.warn(f"note: {note}")
    output.finish_with_failures(made.unreadable)
