"""An embedder that gives the first answer soonest, and many answers fastest.

Runtimes differ in how long they take to open a network and to run it: OpenVINO opens some in 0.4 s,
to save 10 ms a photo; torch, and a GPU through it, in seconds. A command for one photo would wait
for nothing, one for a thousand gains. How many photos are worth opening the faster one is measured
by `doctor`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...core.hardware import gpu_device_exists
from ...core.types import Embedder, Image, Vectors
from .onnx_embedder import OnnxEmbedder
from .record import onnx_file
from .runtimes import DEFAULT_RUNTIME, runtime_choice

# For a GPU, which nobody has measured: loading torch and starting CUDA takes seconds, a photo on
# the CPU 0.03 (`lite0`) to 1 s (a large transformer).
GPU_FROM_PHOTOS = 16


class SoonestEmbedder:
    """Embeds few photos with the runtime that opens soonest, many with the fastest. Thread-safe.

    The choice depends on the number of photos asked for so far, those of the call or table
    included, never on time; it is final. Both give rows that agree as `doctor` requires, under one
    id. All else is asked of `first`.

    first: of the runtime that opens soonest. open_fastest: opens the other one. from_photos: number
    of photos from which that one is used.
    """

    def __init__(
        self, first: OnnxEmbedder, open_fastest: Callable[[], Embedder], from_photos: int
    ) -> None:
        self.first, self.from_photos = first, from_photos
        self._open_fastest, self._choosing = open_fastest, threading.Lock()
        self._running = threading.Lock()  # of an embedder that is not thread-safe
        self._fastest: Embedder | None = None
        self._asked = 0

    def for_photos(self, count: int) -> Embedder:
        """The embedder of the next `count` photos, which are counted now."""
        with self._choosing:
            self._asked += count
            if self._fastest is None and self._asked >= self.from_photos:
                self._fastest = self._open_fastest()
            return self._fastest or self.first

    def __call__(self, images: Sequence[Image], /) -> Vectors:
        """(H, W, 3) uint8 RGB images of any sizes → (N, dim) float32, unit rows."""
        embedder = self.for_photos(len(images))
        if isinstance(embedder, OnnxEmbedder):
            return embedder(images)
        with self._running:
            return embedder(images)

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return self.first.dim

    @property
    def name(self) -> str:
        """The backbone's name."""
        return self.first.name

    @property
    def id(self) -> str:
        """The id, which is the same for both."""
        return self.first.id

    @property
    def short_side(self) -> int:
        """Minimum short side, in pixels, of a decoded photo."""
        return self.first.short_side

    def open_soon(self) -> None:
        """Open the network that answers first in a thread."""
        self.first.open_soon()

    def save(self, folder: Path, /) -> None:
        """Save the embedder."""
        self.first.save(folder)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # also while it is copied or unpickled, without `first`
            raise AttributeError(name)
        return getattr(self.first, name)

    def __repr__(self) -> str:
        return repr(self.first)


def embedder_for(embedder: Embedder, photos: int) -> Embedder:
    """The embedder to use for a run over so many photos; itself unless it chooses by their number.

    Keep the given one as well: it may own the files of the returned one.
    """
    return embedder.for_photos(photos) if isinstance(embedder, SoonestEmbedder) else embedder


def soonest_embedder(folder: Path, record: dict[str, Any], device: str) -> Embedder | None:
    """An embedder that opens the faster runtime, or the GPU, for many photos only.

    None where one runtime runs all: the network has no ONNX file, or ONNX Runtime is the fastest,
    or the user has named a device that is a GPU.
    """
    from . import load

    if device not in ("auto", "cpu") or onnx_file(record) is None:
        return None
    choice = runtime_choice(str(record.get("id")))
    is_float = record.get("kind") != "onnx" and record.get("precision") != "int8"
    gpu = device == "auto" and is_float and gpu_device_exists() and load.has_torch()
    torch = choice.runtime == "torch" and is_float and load.has_torch()
    slower_to_open = choice.runtime not in (DEFAULT_RUNTIME, "torch") or torch
    from_photos = GPU_FROM_PHOTOS if gpu else choice.from_photos if slower_to_open else 0
    if not from_photos or (choice.unmeasured and record.get("precision") == "int8" and not gpu):
        return None  # rows of int8 networks may differ between runtimes

    def fastest() -> Embedder:
        if load.needs_torch(folder, record, device, None):
            return load.load_torch(folder, device=device)
        return load.load_onnx(folder)

    return SoonestEmbedder(load.load_onnx(folder, runtime=DEFAULT_RUNTIME), fastest, from_photos)
