"""`evaluate --protocol`: benchmarks of the field, run as their authors do.

A benchmark of its own needs a loader in `data` that returns a `Benchmark`, and a line in LOADERS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import OptionError
from . import output
from .option_types import complete_words, is_said, one_of

if TYPE_CHECKING:
    from ..core.benchmark import Benchmark
    from ..evaluation.protocols import ProtocolResult
    from ..features.pipeline import Failure


@dataclass(frozen=True, kw_only=True)
class ProtocolOptions:
    """The options of `evaluate` that belong to --protocol; `out` is where the JSON goes."""

    embedder: str | None = None
    ground_truth: Path | None = None
    distractors: Path | None = None
    out: Path | None = None
    table: Path | None = None
    device: str = "auto"
    as_json: bool = False

    def refuse_without_protocol(self) -> None:
        """Raises OptionError where an option of --protocol is given without it."""
        given = {
            "--embedder": self.embedder, "--ground-truth": self.ground_truth,
            "--distractors": self.distractors, "--table": self.table,
        }  # fmt: skip
        for option, value in given.items():
            if value is not None and is_said(option):
                raise OptionError(f"{option} {value} given; expected --protocol NAME with it")


def _revisited(name: str) -> Callable[[Path, ProtocolOptions], Benchmark]:
    def load(source: Path, options: ProtocolOptions) -> Benchmark:
        from ..data.revisited import read_revisited

        return read_revisited(source, name, ground_truth=options.ground_truth)

    return load


# name of --protocol → the loader of its data set
LOADERS: dict[str, Callable[[Path, ProtocolOptions], Benchmark]] = {
    "roxford5k": _revisited("roxford5k"),
    "rparis6k": _revisited("rparis6k"),
}

PROTOCOLS = tuple(LOADERS)

# Options of `evaluate`

ProtocolName = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        callback=one_of(*PROTOCOLS),
        autocompletion=complete_words(*PROTOCOLS),
        help=f"Run a benchmark of the field as its authors do: {', '.join(PROTOCOLS)}. SOURCE is "
        "the data set's folder.",
    ),
]

ProtocolEmbedder = Annotated[
    str | None,
    typer.Option(
        "--embedder",
        help="With --protocol: lite0 (the default), an embedder folder or timm:NAME.",
    ),
]

GroundTruth = Annotated[
    Path | None,
    typer.Option(
        "--ground-truth", help="With --protocol: its ground truth, where it is not in the folder."
    ),
]

ExtraPhotos = Annotated[
    Path | None,
    typer.Option(
        "--distractors",
        help="With --protocol: more photos for the database, none of them right: a folder or a "
        "photos.csv.",
    ),
]

ResultsTable = Annotated[
    Path | None,
    typer.Option(
        "--table", help="With --protocol: also write a table in the format of papers (.md)."
    ),
]


def evaluate_protocol(name: str, source: Path, options: ProtocolOptions) -> None:
    """Run a benchmark of the field, print its figures and write them."""
    import whichlandmark

    from ..core.files import write_json
    from ..evaluation.protocol_vectors import embed_benchmark, embed_distractors
    from ..evaluation.protocols import run_protocol
    from ..recognition.folder.fill import open_embedder
    from .app import read_source

    results = [(options.out, "file of results")] if options.out else []
    output.claim(results, [source, options.ground_truth, options.distractors])
    benchmark = LOADERS[name](source, options)
    extra = read_source(options.distractors, labelled=False) if options.distractors else None
    failures: list[Failure] = []
    with output.progress() as progress:
        embedder = open_embedder(
            options.embedder, benchmark.database, None, device=options.device,
            progress=progress("vocabulary") if options.embedder == "sift" else None,
        )  # fmt: skip
        if embedder.name == "sift":
            benchmark.notes.append("the vocabulary of sift was fitted on the database")
        vectors = embed_benchmark(benchmark, embedder, progress=progress)
        chunks = None
        if extra is not None:
            chunks = embed_distractors(
                extra, embedder, upright=benchmark.upright, failures=failures,
                progress=progress("distractors"),
            )  # fmt: skip
        result = run_protocol(benchmark, vectors, distractors=chunks, progress=progress("ranking"))
    made = {
        "protocol": name, "measured_by": f"whichlandmark {whichlandmark.__version__}",
        "data": str(source), "distractors_from": str(options.distractors or "") or None,
    }  # fmt: skip
    facts = made | result.to_dict()
    if options.out:
        write_json(options.out, facts, "file of results")
    if options.as_json:
        output.say_json(facts)
    else:
        print_protocol(result)
    unread = {failure.id: failure.reason for failure in failures} | result.unreadable
    output.finish_with_failures(unread)


def print_protocol(result: ProtocolResult) -> None:
    """Print the figures as a table in percent, then what they depend on."""
    output.say(
        f"{result.protocol}: {result.queries} queries, {result.database} photos\n"
        f"{result.name} ({result.embedder}), weights: {result.licence}; {result.image_size}, "
        f"{result.dim} dimensions"
    )
    measures = list(dict.fromkeys(row.measure for row in result.rows))
    for added in dict.fromkeys(row.distractors for row in result.rows):
        heading = f"with {added} distractors" if added else ""
        columns = "".join(f"{measure:>9}" for measure in measures[1:])
        output.say(f"\n{heading:<28}{measures[0]:>9}   95 % interval{columns}   queries")
        for setting in dict.fromkeys(row.setting for row in result.rows):
            rows = [r for r in result.rows if (r.setting, r.distractors) == (setting, added)]
            low, high = (f"{100 * end:.2f}" for end in rows[0].interval)
            others = "".join(f"{100 * row.value:>9.2f}" for row in rows[1:])
            output.say(
                f"{setting:<28}{100 * rows[0].value:>9.2f}   {low:>6} to {high:<6}{others}"
                f"   {rows[0].queries:>7}"
            )
    output.say("")
    for line in result.sentences():
        output.say(line)
