"""An embedder folder without torch: its ONNX file on whichever runtime is at hand.

The rows are those of `net.embedder.NetEmbedder` to 1e-4, and the id is the same. An int8 folder
has an id of its own: its rows are not those of the float network.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from ...core.errors import ModelError
from ...core.json_options import from_json
from ...core.types import Image, Vectors
from ..preprocessing import InputPipeline, Network, Preprocessing, Views
from .load import checked, copy_folder, exported

AT_ONCE = 8  # photos in one pass: more gain nothing on a CPU and take memory


class SessionOpener(Protocol):
    """What opens an ONNX file for so many threads that will call it at once."""

    def __call__(self, path: Path, *, callers: int = 1) -> Network: ...


class OnnxEmbedder:
    """A folder's ONNX file with its preprocessing: (H, W, 3) uint8 images → (N, dim) unit rows.

    open_network: what runs the file, such as `onnx.open_onnx`; called at the first photo, for
      commands that only ask who the embedder is need not wait for it.
    callers: threads that call it at once, and share the cores.
    Raises ModelError when the folder is damaged.
    """

    kind = "timm"

    def __init__(
        self, folder: Path, record: dict[str, Any], open_network: SessionOpener, *, callers: int = 1
    ) -> None:
        name = exported(record)
        if name is None:
            raise ModelError(
                f"{folder}: holds no ONNX file; export it with `whichlandmark embedder`"
            )
        self.folder, self.record = folder, record
        self.path = checked(folder, record, name)
        self.open_network, self._opening = open_network, threading.Lock()
        self.callers = callers
        self._network: Network | None = None
        self.looking = InputPipeline(
            from_json(Preprocessing, record["preprocessing"]),
            from_json(Views, record.get("views", {})),
            AT_ONCE,
        )

    @property
    def preprocessing(self) -> Preprocessing:
        return self.looking.preprocessing

    @property
    def views(self) -> Views:
        return self.looking.views

    @property
    def dim(self) -> int:
        """Length of a row."""
        return int(self.record["dim"])

    @property
    def name(self) -> str:
        """The backbone's name."""
        return str(self.record["name"])

    @property
    def id(self) -> str:
        """Name and hash of weights, architecture and preprocessing, as when it was saved."""
        return str(self.record["id"])

    @property
    def short_side(self) -> int:
        """Pixels of the short side that a photo needs; see `Preprocessing`."""
        return self.looking.short_side

    def __call__(self, images: Sequence[Image], /) -> Vectors:
        """(H, W, 3) uint8 RGB images of any sizes → (N, dim) float32, unit rows."""
        return self.looking(images, self.network, self.dim)

    @property
    def network(self) -> Network:
        """(n, 3, h, w) normalised pixels → (n, dim) unit rows; opened once."""
        with self._opening:
            if self._network is None:
                self._network = self.open_network(self.path, callers=self.callers)
            return self._network

    def save(self, folder: Path, /) -> None:
        """Copy the folder: weights for torch too, where they are. Raises ModelError on damage."""
        copy_folder(self.folder, Path(folder), self.record)
