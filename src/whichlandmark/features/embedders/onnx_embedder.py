"""An embedder that runs without torch: the ONNX file of an embedder folder, on the CPU.

Its rows equal those of `TorchEmbedder` to within 1e-4, so both have the same id. An int8 embedder
has an id of its own, because its rows are not comparable with those of the float network.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from ...core.errors import ModelError
from ...core.json_options import from_json
from ...core.types import Image, Vectors
from ..preprocessing import InputPipeline, Network, Preprocessing, Views
from .place_evidence import PlaceEvidence
from .record import copy_folder, onnx_file, verified_path

BATCH_SIZE = 8  # photos in a pass; larger passes need more memory and are not faster on a CPU


class SessionOpener(Protocol):
    """Opens an ONNX file; `callers` threads will call the network at the same time."""

    def __call__(self, path: Path, *, callers: int = 1) -> Network: ...


class OnnxEmbedder:
    """A folder's ONNX file with its preprocessing: (H, W, 3) uint8 images → (N, dim) unit rows.

    open_network: opens the file, such as `runtimes.open_onnx`; called for the first photo only,
      because some commands need no more than the embedder's id.
    callers: number of threads that call it at the same time; they share the cores.
    Raises ModelError when the folder is damaged.
    """

    kind = "timm"

    def __init__(
        self, folder: Path, record: dict[str, Any], open_network: SessionOpener, *, callers: int = 1
    ) -> None:
        name = onnx_file(record)
        if name is None:
            raise ModelError(
                f"{folder}: holds no ONNX file; export it with `whichlandmark embedder`"
            )
        self.folder, self.record = folder, record
        self.path = verified_path(folder, record, name)
        self.open_network, self._opening = open_network, threading.Lock()
        self.callers = callers
        self._network: Network | None = None
        self.input_pipeline = InputPipeline(
            from_json(Preprocessing, record["preprocessing"]),
            from_json(Views, record.get("views", {})),
            BATCH_SIZE,
        )

    @property
    def preprocessing(self) -> Preprocessing:
        return self.input_pipeline.preprocessing

    @property
    def views(self) -> Views:
        return self.input_pipeline.views

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return int(self.record["dim"])

    @property
    def name(self) -> str:
        """The backbone's name."""
        return str(self.record["name"])

    @property
    def id(self) -> str:
        """Backbone name and hash of weights, architecture and preprocessing, as saved."""
        return str(self.record["id"])

    @property
    def short_side(self) -> int:
        """Minimum short side, in pixels, of a decoded photo; see `Preprocessing.short_side`."""
        return self.input_pipeline.short_side

    @cached_property
    def place_evidence(self) -> PlaceEvidence | None:
        """What ImageNet's classifier says of its vectors; None when the folder has none."""
        return PlaceEvidence.load(self.folder, self.record)

    def __call__(self, images: Sequence[Image], /) -> Vectors:
        """(H, W, 3) uint8 RGB images of any sizes → (N, dim) float32, unit rows."""
        return self.input_pipeline(images, self.network, self.dim)

    @property
    def network(self) -> Network:
        """(n, 3, h, w) normalised pixels → (n, dim) unit rows; opened at first use."""
        with self._opening:
            if self._network is None:
                self._network = self.open_network(self.path, callers=self.callers)
            return self._network

    def save(self, folder: Path, /) -> None:
        """Copy the folder, with torch weights if it has any. Raises ModelError on damage."""
        copy_folder(self.folder, Path(folder), self.record)
