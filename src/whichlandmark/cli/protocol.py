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
    from ..features.embedders.load import default_embedder, load_embedder
    from .app import read_source

    results = [(options.out, "file of results")] if options.out else []
    output.claim(results, [source, options.ground_truth, options.distractors])
    benchmark = LOADERS[name](source, options)
    for note in benchmark.notes:
        output.note(f"note: {note}")
    extra = read_source(options.distractors, labelled=False) if options.distractors else None
    embedder = load_embedder(options.embedder or default_embedder(), device=options.device)
    failures: list[Failure] = []
    with output.progress() as progress:
        vectors = embed_benchmark(benchmark, embedder, progress=progress)
        chunks = None
        if extra is not None:
            chunks = embed_distractors(
                extra, embedder, upright=benchmark.upright, failures=failures,
                progress=progress("distractors"),
            )  # fmt: skip
        result = run_protocol(benchmark, vectors, distractors=chunks, progress=progress("ranking"))
    if options.out:
        made = {"protocol": name, "measured_by": f"whichlandmark {whichlandmark.__version__}"}
        write_json(options.out, made | result.to_dict(), "file of results")
    print_protocol(result, as_json=options.as_json)
    unread = {failure.id: failure.reason for failure in failures} | result.unreadable
    output.finish_with_failures(unread)


def print_protocol(result: ProtocolResult, *, as_json: bool) -> None:
    """Print the figures as a table in percent, then what they depend on."""
    if as_json:
        output.say_json(result.to_dict())
        return
    output.say(f"{result.protocol}: {result.queries} queries, {result.database} photos")
    for row in result.rows:
        low, high = row.interval
        added = f" with {row.distractors} distractors" if row.distractors else ""
        output.say(
            f"  {row.setting:<8} {row.measure:<8} {100 * row.value:6.2f}   "
            f"{100 * low:6.2f} to {100 * high:6.2f}   {row.queries} queries{added}"
        )
