"""Does a photo show a building or another structure? Asked of ImageNet's classifier.

A network that was trained on ImageNet ends in a linear classifier of its pooled features, which are
what an embedder returns, less their length. Therefore a vector of the gallery tells what its photo
shows, without the photo and without another pass of the network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...core.errors import ModelError
from ...core.files import atomic_file
from ...core.types import Floats, Vectors
from .record import verified_path

# Numbers of the ImageNet classes (ILSVRC 2012) that a landmark may be.
STRUCTURES = {
    425: "barn", 437: "beacon", 442: "bell cote", 449: "boathouse", 483: "castle", 497: "church",
    498: "cinema", 500: "cliff dwelling", 525: "dam", 538: "dome", 562: "fountain",
    580: "greenhouse", 624: "library", 649: "megalith", 663: "monastery", 668: "mosque",
    682: "obelisk", 698: "palace", 708: "pedestal", 718: "pier", 727: "planetarium", 743: "prison",
    755: "radio telescope", 821: "steel arch bridge", 825: "stone wall", 832: "stupa",
    839: "suspension bridge", 853: "thatch", 858: "tile roof", 863: "totem pole",
    873: "triumphal arch", 884: "vault", 888: "viaduct", 900: "water tower",
}  # fmt: skip

CLASSES = 1000


class PlaceEvidence:
    """(N, D) unit rows → (N,) log-odds that the photo shows a building or another structure.

    weight (1000, D), bias (1000,): of the classifier. length: of typical pooled features, because
    a unit row has lost its own; AUROC hardly changes with it (benchmarks/lite0_choices.py).
    square_roots: Are the rows square roots of the features?
    """

    FILE: ClassVar[str] = "classifier.safetensors"

    def __init__(
        self,
        weight: NDArray[Any],
        bias: NDArray[Any],
        length: float,
        *,
        square_roots: bool = False,
    ) -> None:
        if weight.ndim != 2 or len(weight) != CLASSES or bias.shape != (CLASSES,):
            raise ModelError(
                f"a classifier of shapes {weight.shape} and {bias.shape} given; expected "
                f"({CLASSES}, D) and ({CLASSES},)"
            )
        # float16 halves the file; rounding here makes a saved one equal to the new one.
        self.weight, self.bias = weight.astype(np.float16), bias.astype(np.float32)
        self.length, self.square_roots = length, square_roots
        self._scaled = self.weight.astype(np.float32).T * np.float32(length)
        self._is_structure = np.isin(np.arange(CLASSES), list(STRUCTURES))

    def __call__(self, vectors: Vectors, /) -> Floats:
        """log Σ p(structure classes) / Σ p(all other classes), p by softmax."""
        features = vectors.astype(np.float32)
        if self.square_roots:
            features = features**2
            features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
        logits = features @ self._scaled + self.bias
        odds = [_log_sum(logits[:, own]) for own in (self._is_structure, ~self._is_structure)]
        return np.asarray(odds[0] - odds[1])

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the classifier; returns what the embedder's record needs to know of it."""
        from safetensors.numpy import save

        with atomic_file(folder / self.FILE) as temporary:
            temporary.write_bytes(save({"weight": self.weight, "bias": self.bias}))
        return {
            "classifier": {
                "labels": "ImageNet", "length": self.length, "square_roots": self.square_roots
            }
        }  # fmt: skip

    @classmethod
    def load(cls, folder: Path, record: dict[str, Any]) -> PlaceEvidence | None:
        """The evidence of an embedder folder; None when it has none. Raises ModelError."""
        if cls.FILE not in record.get("files", {}):
            return None
        from safetensors import SafetensorError
        from safetensors.numpy import load

        path = verified_path(folder, record, cls.FILE)
        try:
            arrays, described = load(path.read_bytes()), record["classifier"]
            return cls(
                arrays["weight"], arrays["bias"], float(described["length"]),
                square_roots=bool(described["square_roots"]),
            )  # fmt: skip
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{path}: not a classifier ({error}); make the folder again") from None


def typical_length(weight: NDArray[np.float32], bias: NDArray[np.float32]) -> float:
    """A length for pooled features whose photos are not at hand, from the classifier alone.

    1.5 times the shortest at which features along a class's own weights are of that class with a
    mean probability of 0.99; of `lite0` that is 8.5, where photos of landmarks have 8.3.
    """
    own = weight / np.maximum(np.linalg.norm(weight, axis=1, keepdims=True), 1e-12)
    products = own @ weight.T
    for length in 2.0 ** np.arange(0, 8, 0.125):
        logits = length * products + bias
        sure = np.exp(np.diag(logits) - _log_sum(logits)).mean()
        if sure >= 0.99:
            return float(1.5 * length)
    return 256.0


def _log_sum(logits: NDArray[np.float32]) -> Floats:
    """log Σ exp of each row."""
    highest = logits.max(axis=1, keepdims=True)
    sums = np.exp(logits - highest).sum(axis=1, dtype=np.float64)
    return np.asarray(highest[:, 0] + np.log(sums), dtype=np.float64)
