"""`evaluate --protocol` with vectors from files, and its vectors into files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import OptionError
from . import output
from .app import read_source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..core.benchmark import Benchmark
    from ..core.types import Embedder, Photos, Progress, Vectors
    from ..evaluation.protocol_vectors import BenchmarkVectors
    from ..evaluation.similarities import NearestPhotos
    from ..features.pipeline import Failure
    from .protocol import ProtocolOptions

QueryVectors = Annotated[
    Path | None,
    typer.Option(
        "--query-descriptors",
        help="With --protocol: the vectors of the queries (.npy, .safetensors, .hdf5, .mat), in "
        "place of an embedder.",
    ),
]

DatabaseVectors = Annotated[
    Path | None,
    typer.Option("--database-descriptors", help="With --protocol: the vectors of the database."),
]

ExportedVectors = Annotated[
    Path | None,
    typer.Option(
        "--export-descriptors",
        help="With --protocol: also write the vectors, as NAME.queries.npy and NAME.database.npy "
        "for NAME.npy (or .safetensors, .hdf5).",
    ),
]


def given_vectors(benchmark: Benchmark, options: ProtocolOptions) -> BenchmarkVectors | None:
    """The vectors of --query-descriptors and --database-descriptors; None = neither is given."""
    from ..evaluation.protocol_vectors import BenchmarkVectors
    from ..features.descriptors.align import aligned, require_same_embedder

    files = (options.query_descriptors, options.database_descriptors)
    if files == (None, None):
        return None
    if files[0] is None or files[1] is None:
        raise OptionError(
            "one of --query-descriptors and --database-descriptors given; expected both, of one "
            "embedder"
        )
    queries = aligned(files[0], benchmark.queries, "queries")
    database = aligned(files[1], benchmark.database, "database")
    said = {str(file): found.facts.get("embedder", "")
            for file, found in zip(files, (queries, database), strict=True)}  # fmt: skip
    require_same_embedder(said)
    benchmark.notes.extend([*queries.notes, *database.notes])
    facts = database.facts
    return BenchmarkVectors(
        queries=queries.vectors,
        database=database.vectors,
        query_present=queries.present,
        database_present=database.present,
        name=facts.get("name", ""),
        embedder=facts.get("embedder", f"vectors of {files[1].name}"),
        licence=facts.get("licence", "unknown"),
    )


def export_files(path: Path) -> tuple[Path, Path]:
    """The files of queries and database that --export-descriptors writes."""
    return (
        path.with_name(f"{path.stem}.queries{path.suffix}"),
        path.with_name(f"{path.stem}.database{path.suffix}"),
    )


def export_vectors(path: Path, benchmark: Benchmark, vectors: BenchmarkVectors) -> None:
    """Write the vectors of a benchmark; photos without one have no row."""
    import numpy as np

    from ..features.descriptors.embed_photos import chunks_of
    from ..features.descriptors.write import write_descriptors

    facts = {
        "embedder": vectors.embedder, "name": vectors.name, "licence": vectors.licence,
        "image_size": vectors.image_size, "protocol": benchmark.name,
    }  # fmt: skip
    for file, table, rows, present in zip(
        export_files(path),
        (benchmark.queries, benchmark.database),
        (vectors.queries, vectors.database),
        (vectors.query_present, vectors.database_present),
        strict=True,
    ):
        there = np.flatnonzero(present)
        write_descriptors(
            file, chunks_of(rows, there), table.ids[there].tolist(), int(rows.shape[1]), facts=facts
        )
        output.note(f"{len(there)} vectors: {file}")


@dataclass
class Distractors:
    """The distractors of a run, as chunks that pass by once.

    notes, failures: what was met, complete when the last chunk was taken. nearest: also sees each.
    """

    benchmark: Benchmark
    options: ProtocolOptions
    only: NDArray[np.bytes_] | None = None
    notes: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    nearest: NearestPhotos | None = None

    def chunks(
        self, embedder: Embedder | None, vectors: BenchmarkVectors, progress: Any
    ) -> Iterator[Vectors] | None:
        """The vectors of --distractors, from files or of photos; None = none are given."""
        from ..features.descriptors.align import Selection, descriptor_chunks, holds_descriptors

        path = self.options.distractors
        if path is None:
            return None
        selection = Selection(database={*self.benchmark.database.ids}, only=self.only)
        if holds_descriptors(path):
            said = vectors.embedder if embedder else ""
            return self._seen(
                descriptor_chunks(
                    path, int(vectors.queries.shape[1]), selection=selection, embedder=said,
                    notes=self.notes,
                )
            )  # fmt: skip
        if embedder is None:  # refused before the work
            return None
        return self._embedded(photos_of(path), embedder, selection.mask, progress)

    def require_vectors(self, given: str) -> None:
        """Raises OptionError where the distractors are photos, because of what else is given."""
        from ..features.descriptors.align import holds_descriptors

        path = self.options.distractors
        if path is not None and not holds_descriptors(path):
            raise OptionError(
                f"--distractors {path} are photos, but {given} given; expected their vectors: "
                f"`whichlandmark embed {path} -o distractors.npy`"
            )

    def _seen(self, chunks: Iterator[tuple[list[str], Vectors]]) -> Iterator[Vectors]:
        for ids, vectors in chunks:
            if self.nearest is not None:
                self.nearest.add(ids, vectors)
            yield vectors

    def _embedded(
        self, photos: Photos, embedder: Embedder, mask: Any, progress: Any
    ) -> Iterator[Vectors]:
        from ..evaluation.protocol_vectors import embed_distractors

        chosen = mask(photos.ids.tolist())
        if not chosen.all():
            self.notes.append(
                f"{int((~chosen).sum())} photos of --distractors are left out, because their ids "
                f"are in the database or not in the list of distractors; {int(chosen.sum())} are "
                "used"
            )
        shown: Progress = progress("distractors")
        return embed_distractors(
            photos[chosen], embedder, upright=self.benchmark.upright, failures=self.failures,
            progress=shown,
        )  # fmt: skip


def photos_of(path: Path) -> Photos:
    """A photo table, a folder of photos, or a folder of tars as YFCC100M comes in."""
    from ..data.ilias import read_distractor_tars

    found = read_distractor_tars(path) if path.is_dir() else None
    return read_source(path, labelled=False) if found is None else found
