"""A vector is mixed with its neighbours': query expansion, database augmentation.

*Inductive* as long as the neighbours are gallery photos: expand a query with other queries,
and it is transductive. A gallery photo that was augmented carries its neighbours inside: where
one of them is then used as a question, augment again without it, or the answer leaks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import OptionError
from ..types import Rows
from .rows import Floats, unit_rows

BLOCK = 1024  # gallery rows at a time: 1,024 × 10 neighbours × 512 × 4 bytes = 21 MB


def expanded(
    queries: Floats, vectors: NDArray[Any], similarity: NDArray[Any], *, alpha: float = 3.0
) -> Floats:
    """αQE: unit of q + Σ cos^alpha · e over its neighbours. *Inductive* (see above).

    Radenović, Tolias, Chum, "Fine-tuning CNN image retrieval with no human annotation", TPAMI
    2019: alpha 3; alpha 0 is the average query expansion of Chum et al., ICCV 2007. queries
    (Q, D), their neighbours' vectors (Q, n, D) and cosines (Q, n) → (Q, D). A neighbour of
    cosine 0 or less weighs nothing. Raises OptionError for a negative alpha.
    """
    weights = _weights(similarity, alpha)
    mixed = np.einsum("qn,qnd->qd", weights, np.asarray(vectors, dtype=np.float64))
    return unit_rows(queries + mixed)


def augmented(
    gallery: NDArray[Any], rows: Rows, similarity: NDArray[Any], *, alpha: float = 3.0
) -> Floats:
    """Database augmentation: each gallery row mixed with its neighbours, as in `expanded`.

    *Inductive.* Turcot & Lowe, "Better matching with fewer features", ICCV workshops 2009;
    Arandjelović & Zisserman, "Three things everyone should know to improve object retrieval",
    CVPR 2012. gallery (N, D), rows (N, n) of the neighbours, similarity (N, n) → (N, D). A row
    that names itself, or is below 0, adds nothing: the photo has its own weight of 1.
    """
    own = rows == np.arange(len(rows))[:, None]
    cosines = np.where(own | (rows < 0), 0, similarity)
    parts = [np.empty((0, gallery.shape[1]), dtype=np.float32)]
    for start in range(0, len(gallery), BLOCK):
        part = slice(start, start + BLOCK)
        near = gallery[np.maximum(rows[part], 0)]
        own_rows = np.asarray(gallery[part], dtype=np.float32)
        parts.append(expanded(own_rows, near, cosines[part], alpha=alpha))
    return np.concatenate(parts)


def _weights(similarity: NDArray[Any], alpha: float) -> NDArray[np.float64]:
    if not alpha >= 0:
        raise OptionError(f"alpha {alpha} given; expected 0 or more (3 is usual)")
    cosines = np.asarray(similarity, dtype=np.float64)
    return np.where(cosines > 0, np.maximum(cosines, 0) ** alpha, 0)  # 0 to the power 0 is 0 here
