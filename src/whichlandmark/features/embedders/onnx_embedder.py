"""An embedder that runs without torch: the ONNX file of an embedder folder, on the CPU.

Rows of a network that `TorchEmbedder` exported equal its own to within 1e-4, so both have the same
id. An int8 embedder has an id of its own, because its rows are not comparable with those of the
float network. A network made elsewhere also has an `Interface`: how it is called.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...core.errors import ModelError
from ...core.json_options import from_json
from ...core.types import Image, Vectors
from ..preprocessing import InputPipeline, Network, Preprocessing, Views
from .external_data import external_files
from .place_evidence import PlaceEvidence
from .record import copy_folder, onnx_file, recorded_licence, verified_path
from .runtimes import short_reason

BATCH_SIZE = 8  # photos in a pass; larger passes need more memory and are not faster on a CPU


class SessionOpener(Protocol):
    """Opens an ONNX file; `callers` threads will call the network at the same time."""

    def __call__(self, path: Path, *, callers: int = 1, output: str | None = None) -> Network: ...


@dataclass(frozen=True, kw_only=True)
class Interface:
    """How a network that was made elsewhere is called; saved in embedder.json as "network".

    output: name of the output that holds the rows. batch: photos of every pass, 0 = any number.
    half: it takes float16 pixels. unit_rows: its rows have unit length, else they are normalised.
    """

    output: str
    batch: int = 0
    half: bool = False
    unit_rows: bool = False

    def adapt(self, network: Network, name: str) -> Network:
        """The network as every other one is called: any batch of float32 → float32 unit rows.

        name: for the ModelError where it fails, or gives NaN.
        """

        def run(pixels: NDArray[np.float32]) -> Vectors:
            parts = [self._run(network, part, name) for part in self._passes(pixels)]
            rows = np.concatenate(parts)[: len(pixels)]
            if self.unit_rows:
                return rows
            lengths = np.linalg.norm(rows, axis=1, keepdims=True)
            return np.asarray(rows / np.maximum(lengths, 1e-12), dtype=np.float32)

        return run

    def _passes(self, pixels: NDArray[np.float32]) -> list[NDArray[Any]]:
        """The batches of the network's own size; the last is filled up with its last photo."""
        given = pixels.astype(np.float16) if self.half else pixels
        if not self.batch:
            return [given]
        missing = -len(given) % self.batch
        filled = np.concatenate([given, np.repeat(given[-1:], missing, axis=0)])
        return np.split(filled, len(filled) // self.batch)

    def _run(self, network: Network, pixels: NDArray[Any], name: str) -> Vectors:
        try:
            rows = np.asarray(network(pixels), dtype=np.float32)
        except Exception as error:  # the runtimes' exceptions have no common base class
            shape = "×".join(map(str, pixels.shape))
            raise ModelError(f"{name}: fails on {shape} pixels ({short_reason(error)})") from None
        if not np.isfinite(rows).all():
            raise ModelError(f"{name}: gives NaN or infinite numbers for a photo")
        return rows


class OnnxEmbedder:
    """A folder's ONNX file with its preprocessing: (H, W, 3) uint8 images → (N, dim) unit rows.

    open_network: opens the file, such as `runtimes.open_onnx`; called for the first photo only,
      because some commands need no more than the embedder's id.
    callers: number of threads that call it at the same time; they share the cores.
    Raises ModelError when the folder is damaged.
    """

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
        for data_file in external_files(self.path):
            verified_path(folder, record, data_file)
        self.open_network, self._opening = open_network, threading.Lock()
        self.callers = callers
        called = record.get("network")
        self.interface = from_json(Interface, called) if called else None
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
    def licence(self) -> str:
        """The licence of the weights, "unknown" where nobody said it."""
        return recorded_licence(self.record)

    @property
    def short_side(self) -> int:
        """Minimum short side, in pixels, of a decoded photo; see `Preprocessing.short_side`."""
        return self.input_pipeline.short_side

    @cached_property
    def place_evidence(self) -> PlaceEvidence | None:
        """What ImageNet's classifier says of its vectors; None when the folder has none."""
        return PlaceEvidence.load(self.folder, self.record)

    @property
    def default_fit(self) -> dict[str, Any] | None:
        """Coefficients for galleries that are too small to fit their own; None = none."""
        return self.record.get("default_fit")

    def __call__(self, images: Sequence[Image], /) -> Vectors:
        """(H, W, 3) uint8 RGB images of any sizes → (N, dim) float32, unit rows."""
        return self.input_pipeline(images, self.network, self.dim)

    @property
    def network(self) -> Network:
        """(n, 3, h, w) normalised pixels → (n, dim) unit rows; opened at first use."""
        with self._opening:
            if self._network is None:
                self._network = self.opened(self.path, self.open_network)
            return self._network

    def open_soon(self) -> None:
        """Open the network in a thread, for a program that has to open other files first."""

        def open_it() -> None:
            with suppress(Exception):  # raised again when the network is used
                _ = self.network

        threading.Thread(target=open_it, name="open network").start()

    def opened(self, path: Path, opener: SessionOpener) -> Network:
        """A version of this embedder's network, such as one in int8, in any runtime."""
        if self.interface is None:
            return opener(path, callers=self.callers)
        network = opener(path, callers=self.callers, output=self.interface.output)
        return self.interface.adapt(network, self.name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}, {self.dim} dimensions)"

    def save(self, folder: Path, /) -> None:
        """Copy the folder, with torch weights if it has any. Raises ModelError on damage."""
        copy_folder(self.folder, Path(folder), self.record)
