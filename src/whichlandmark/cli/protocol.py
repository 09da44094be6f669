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
from .challenges import TASKS, recognize_test, score_submission_file
from .given_vectors import Distractors, export_files, export_vectors, given_vectors
from .option_types import complete_words, is_said, one_of

if TYPE_CHECKING:
    from ..core.benchmark import Benchmark
    from ..evaluation.protocols import ProtocolResult


@dataclass(frozen=True, kw_only=True)
class ProtocolOptions:
    """The options of `evaluate` that belong to --protocol; `out` is where the JSON goes.

    data: its folder, which the results name.
    """

    data: Path
    embedder: str | None = None
    ground_truth: Path | None = None
    distractors: Path | None = None
    out: Path | None = None
    table: Path | None = None
    recognizer: Path | None = None
    rules: Path | None = None
    score: str | None = None
    submission: Path | None = None
    submission_in: Path | None = None
    query_descriptors: Path | None = None
    database_descriptors: Path | None = None
    export_descriptors: Path | None = None
    device: str = "auto"
    as_json: bool = False

    def results(self) -> list[tuple[Path, str]]:
        """The files to write, and their kinds; without the submission."""
        from ..evaluation.table_formats import KIND, rows_to_add_to

        found = [(self.out, "file of results")] if self.out else []
        if self.table:
            rows_to_add_to(self.table)  # an error after the work would lose it
            found.append((self.table, KIND))
        return found

    def inputs(self) -> list[Path | None]:
        """The files and folders that are read."""
        return [self.data, self.ground_truth, self.distractors, self.query_descriptors,
                self.database_descriptors]  # fmt: skip

    def reads_photos(self) -> bool:
        """Are photos of the data set embedded, or are vectors or similarities given?"""
        return self.query_descriptors is None and self.submission_in is None

    def refuse_unused(self, protocol: str) -> None:
        """Raises OptionError where an option is given that this protocol has no use for."""
        recognizes = protocol == RECOGNITION and self.submission_in is None
        embeds = protocol != RECOGNITION and self.submission_in is None
        submits = (protocol in TASKS or protocol in ILIAS) and self.submission_in is None
        for option, used in {
            "--recognizer": recognizes, "-r": recognizes, "--rules": recognizes,
            "--score": recognizes, "--embedder": embeds, "--distractors": embeds,
            "--submission": submits, "--all-scores": False, "--query-descriptors": embeds,
            "--database-descriptors": embeds, "--export-descriptors": embeds,
        }.items():  # fmt: skip
            if is_said(option) and not used:
                scored = " with --submission-in" if self.submission_in else ""
                raise OptionError(
                    f"{option} given; --protocol {protocol}{scored} has no use for it"
                )

    def refuse_without_protocol(self) -> None:
        """Raises OptionError where an option of --protocol is given without it."""
        given = {
            "--embedder": self.embedder, "--ground-truth": self.ground_truth,
            "--distractors": self.distractors, "--table": self.table,
            "--submission-in": self.submission_in,
            "--query-descriptors": self.query_descriptors,
            "--database-descriptors": self.database_descriptors,
            "--export-descriptors": self.export_descriptors,
        }  # fmt: skip
        for option, value in given.items():
            if value is not None and is_said(option):
                raise OptionError(f"{option} {value} given; expected --protocol NAME with it")


def _revisited(name: str) -> Callable[[Path, ProtocolOptions], Benchmark]:
    def load(source: Path, options: ProtocolOptions) -> Benchmark:
        from ..data.revisited import read_revisited

        return read_revisited(
            source, name, ground_truth=options.ground_truth, with_photos=options.reads_photos()
        )

    return load


def _gldv2_retrieval(source: Path, options: ProtocolOptions) -> Benchmark:
    from ..data.gldv2_protocols import retrieval_benchmark

    with output.progress() as progress:
        return retrieval_benchmark(
            source, options.ground_truth, with_photos=options.reads_photos(),
            progress=progress("listing"),
        )  # fmt: skip


def _ilias(name: str) -> Callable[[Path, ProtocolOptions], Benchmark]:
    def load(source: Path, options: ProtocolOptions) -> Benchmark:
        from ..data.ilias import read_ilias

        return read_ilias(source, name, with_photos=options.reads_photos())

    return load


RECOGNITION = "gldv2-recognition"  # by a recognizer, so that it has no loader

# name of --protocol → the loader of its data set
LOADERS: dict[str, Callable[[Path, ProtocolOptions], Benchmark]] = {
    "roxford5k": _revisited("roxford5k"),
    "rparis6k": _revisited("rparis6k"),
    "gldv2-retrieval": _gldv2_retrieval,
    "ilias": _ilias("ilias"),
    "mini-ilias": _ilias("mini-ilias"),
}

ILIAS = ("ilias", "mini-ilias")  # whose submissions are files of similarities

PROTOCOLS = (*LOADERS, RECOGNITION)

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
        help="With --protocol: more photos for the database, none of them right: a folder, a "
        "photos.csv, or their vectors (a file, or a folder of files).",
    ),
]

ResultsTable = Annotated[
    Path | None,
    typer.Option(
        "--table",
        help="With --protocol: also write the figures into a table as papers have it (.md, .tex or "
        ".csv); one that is there gets another row.",
    ),
]


def evaluate_protocol(name: str, source: Path, options: ProtocolOptions) -> None:
    """Run a benchmark of the field, print its figures and write them."""
    from ..core.challenge_files import MAX_IMAGES, write_retrieval_submission
    from ..evaluation.nearest_photos import nearest_ids
    from ..evaluation.protocol_vectors import embed_benchmark
    from ..evaluation.protocols import run_protocol
    from ..recognition.folder.fill import open_embedder
    from .ilias import finish_ilias, prepare_ilias

    options.refuse_unused(name)
    if options.submission_in and name in ILIAS:
        _score_similarities(name, source, options)
        return
    if options.submission_in:
        score_submission_file(name, source, options)
        return
    if name == RECOGNITION:
        recognize_test(source, options)
        return
    _claim(name, options)
    benchmark = LOADERS[name](source, options)
    extra = Distractors(benchmark, options)
    if not options.reads_photos():
        extra.require_vectors("the vectors of the queries are")
    elif name in ILIAS and options.submission:
        extra.require_vectors("--submission is")
    with output.progress() as progress:
        vectors = given_vectors(benchmark, options)
        embedder = None
        if vectors is None:
            embedder = open_embedder(
                options.embedder, benchmark.database, None, device=options.device,
                progress=progress("vocabulary") if options.embedder == "sift" else None,
            )  # fmt: skip
            if embedder.name == "sift":
                benchmark.notes.append("the vocabulary of sift was fitted on the database")
            vectors = embed_benchmark(benchmark, embedder, progress=progress)
        if name in ILIAS:
            prepare_ilias(source, name, extra, vectors)
        chunks = extra.chunks(embedder, vectors, progress)
        result = run_protocol(benchmark, vectors, distractors=chunks, progress=progress("ranking"))
    result.notes.extend(extra.notes)
    if name in ILIAS:
        result = finish_ilias(result, extra)
    elif options.submission:
        nearest = nearest_ids(benchmark, vectors, MAX_IMAGES)
        write_retrieval_submission(options.submission, nearest)
    if options.export_descriptors:
        export_vectors(options.export_descriptors, benchmark, vectors)
    write_results(name, result, options)
    unread = {failure.id: failure.reason for failure in extra.failures} | result.unreadable
    output.finish_with_failures(unread)


def _claim(name: str, options: ProtocolOptions) -> None:
    """Refuse, before the work, results that cannot be written, and options that exclude others."""
    from ..features.descriptors.write import check_new_descriptors

    if options.embedder and (options.query_descriptors or options.database_descriptors):
        raise OptionError(
            f"--embedder {options.embedder} and vectors given; expected one of them: given vectors "
            "need no embedder"
        )
    results = options.results()
    if options.submission:
        kind = "file of similarities" if name in ILIAS else "retrieval submission"
        results.append((options.submission, kind))
    output.claim(results, options.inputs())
    if options.export_descriptors:
        for file in export_files(options.export_descriptors):
            check_new_descriptors(file)


def _score_similarities(name: str, source: Path, options: ProtocolOptions) -> None:
    from ..evaluation.similarities import measure_similarities

    file = options.submission_in
    assert file is not None
    output.claim(options.results(), [source, file])
    write_results(name, measure_similarities(file, LOADERS[name](source, options)), options)


def write_results(name: str, result: ProtocolResult, options: ProtocolOptions) -> None:
    """Write the results and the table where they are asked for, and print them."""
    import whichlandmark

    from ..core.files import write_json
    from ..evaluation.results_table import row_of
    from ..evaluation.table_formats import add_to_table

    made = {
        "protocol": name, "measured_by": f"whichlandmark {whichlandmark.__version__}",
        "data": str(options.data), "distractors_from": str(options.distractors or "") or None,
    }  # fmt: skip
    facts = made | result.to_dict()
    if options.out:
        write_json(options.out, facts, "file of results")
    if options.table:
        add_to_table(options.table, [row_of(result.to_dict())])
    if result.part:
        output.warn(
            f"{result.protocol}: on a part of the data ({result.part}), so that the figures are "
            "not comparable with published ones"
        )
    if options.as_json:
        output.say_json(facts)
    else:
        print_protocol(result)


def print_protocol(result: ProtocolResult) -> None:
    """Print the figures as a table in percent, then what they depend on."""
    from ..evaluation.protocols import POSITIONS

    where = f" ON A PART OF THE DATA ({result.part})" if result.part else ""
    photos = f", {result.database:,} photos" if result.database else ""
    output.say(f"{result.protocol}{where}: {result.queries:,} queries{photos}")
    embedder = f"{result.name} ({result.embedder})" if result.name else result.embedder
    image_size = "image size unknown" if result.image_size == "unknown" else result.image_size
    size = f"; {image_size}, {result.dim} dimensions" if result.dim else ""
    output.say(f"{embedder}, weights: {result.licence}{size}")
    measures = list(dict.fromkeys(row.measure for row in result.rows))
    widths = [max(9, len(measure) + 2) for measure in measures]
    for added in dict.fromkeys(row.distractors for row in result.rows):
        heading = f"with {added:,} distractors" if added else ""
        columns = "".join(f"{m:>{w}}" for m, w in zip(measures, widths, strict=True))
        output.say(f"\n{heading:<30}{columns}   queries   95 % interval of {measures[0]}")
        for setting in dict.fromkeys(row.setting for row in result.rows):
            rows = [r for r in result.rows if (r.setting, r.distractors) == (setting, added)]
            shares = [1 if row.measure in POSITIONS else 100 for row in rows]
            values = "".join(
                f"{share * row.value:>{width}.2f}"
                for share, row, width in zip(shares, rows, widths, strict=True)
            )
            low, high = (f"{shares[0] * end:.2f}" for end in rows[0].interval)
            output.say(f"{setting:<30}{values}   {rows[0].queries:>7}   {low} to {high}")
    output.say("")
    for line in result.sentences():
        output.say(line)
