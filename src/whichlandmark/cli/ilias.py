"""`evaluate --protocol ilias` and mini-ilias: which distractors, similarities, which part it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..evaluation.protocol_vectors import BenchmarkVectors
    from ..evaluation.protocols import ProtocolResult
    from .given_vectors import Distractors


def prepare_ilias(source: Path, name: str, extra: Distractors, vectors: BenchmarkVectors) -> None:
    """Which distractors mini-ILIAS has; and the nearest photos, where they are to be written."""
    import numpy as np

    from ..data.ilias import CUT_OFF, mini_distractors
    from ..evaluation.similarities import NearestPhotos

    if name == "mini-ilias" and extra.options.distractors is not None:
        extra.only = mini_distractors(source)
        if extra.only is None:
            extra.notes.append(
                "no image_ids/mini_ilias_yfcc100m_ids.txt: all photos of --distractors are used"
            )
    if extra.options.submission is None:
        return
    asked = np.flatnonzero(vectors.query_present)
    extra.nearest = NearestPhotos(
        extra.benchmark.queries.ids[asked].tolist(), np.asarray(vectors.queries[asked]), CUT_OFF
    )
    there = np.flatnonzero(vectors.database_present)
    for start in range(0, len(there), 4096):
        rows = there[start : start + 4096]
        ids = extra.benchmark.database.ids[rows].tolist()
        extra.nearest.add(ids, np.asarray(vectors.database[rows]))


def finish_ilias(result: ProtocolResult, extra: Distractors) -> ProtocolResult:
    """Write the similarities, and say which part of the data was measured."""
    from ..data.ilias import part_of
    from ..evaluation.similarities import write_similarities

    if extra.nearest is not None and extra.options.submission is not None:
        write_similarities(extra.options.submission, extra.nearest)
    return replace(result, part=part_of(extra.benchmark, result.distractors))
