"""The nearest vectors by inner product: exact, or through cells with exact refinement."""

from __future__ import annotations

from .building import RECALL_AT, WORTHWHILE, build_cells
from .cells import Cells
from .exact import Candidates, nearest
from .halves import widen

__all__ = ["RECALL_AT", "WORTHWHILE", "Candidates", "Cells", "build_cells", "nearest", "widen"]
