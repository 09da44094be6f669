"""A float ONNX file → an int8 one, calibrated with photos; layers that hurt stay float.

Weights are signed bytes, one scale for each output channel; activations are unsigned bytes, their
range the mean over photos of each photo's smallest and largest value (Jacob et al., "Quantization
and training of neural networks for efficient integer-arithmetic-only inference", CVPR 2018). QDQ:
the file says what is rounded where, and each runtime fuses that in its own way.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import ModelError, OptionError
from ..core.hardware import adds_bytes_exactly
from ..core.types import Progress

Error = Callable[[Path], float]  # a candidate file → how far its rows are from the float rows

ROUNDED = ("Conv", "Gemm", "MatMul", "Add", "Clip", "Relu", "MaxPool", "GlobalAveragePool")

HURTS = 0.1  # a layer stays float when that alone takes away this share of the whole error


class Quantizer:
    """One float file with the ranges of its activations, ready to be rounded in several ways.

    work: a folder for files on the way. batches: (n, 3, h, w) float32, as the network sees
    photos; each is one look for the ranges, so batches of one photo are best.
    Raises ModelError when the network holds nothing to round, OptionError without `onnx`.
    """

    def __init__(self, model: Path, work: Path, batches: Iterable[NDArray[np.float32]]) -> None:
        try:
            import onnx
            from onnxruntime.quantization.shape_inference import quant_pre_process
        except ImportError as error:
            raise OptionError(
                f"int8 needs {error.name}; install it with: pip install 'whichlandmark[train]'"
            ) from None
        self.work, self.batches = work, batches
        self.prepared = work / "prepared.onnx"
        with _quiet():
            quant_pre_process(str(model), str(self.prepared), skip_symbolic_shape=True)
        graph = onnx.load(self.prepared).graph
        self.layers = [node.name for node in graph.node if node.op_type in ("Conv", "Gemm")]
        if not self.layers:
            raise ModelError(f"{model}: holds no convolution that could be rounded to int8")

    def write(self, path: Path, floats: Iterable[str] = ()) -> None:
        """Write the int8 file; the layers named in `floats` stay float."""
        from onnxruntime import quantization as q

        with _quiet():
            q.quantize_static(
                str(self.prepared),
                str(path),
                _reader(self.batches),
                quant_format=q.QuantFormat.QDQ,
                per_channel=True,
                activation_type=q.QuantType.QUInt8,
                weight_type=q.QuantType.QInt8,
                reduce_range=not adds_bytes_exactly(),
                op_types_to_quantize=list(ROUNDED),
                nodes_to_exclude=sorted(floats),
                extra_options={"CalibMovingAverage": True},
                calibration_cache_path=self.work / "ranges.json",
            )

    def best(self, error: Error, progress: Progress | None = None) -> list[str]:
        """The layers that should stay float, found by leaving out each in turn.

        A runtime's fusing can go wrong around a float layer: the choice as a whole is measured
        too, and given up for none at all where it is no better.
        """
        trial = self.work / "trial.onnx"
        self.write(trial)
        whole = error(trial)
        gains = {}
        for done, layer in enumerate(self.layers, 1):
            self.write(trial, [layer])
            gains[layer] = whole - error(trial)
            if progress:
                progress(done, len(self.layers))
        floats = [layer for layer, gain in gains.items() if gain >= HURTS * whole]
        if floats:
            self.write(trial, floats)
            if error(trial) > whole - max(gains.values()):  # worse than its best layer alone
                floats = [max(floats, key=lambda layer: gains[layer])]
        return floats


def _reader(batches: Iterable[NDArray[np.float32]]) -> object:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        left = iter(batches)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            batch = next(self.left, None)
            return None if batch is None else {"pixels": batch}

    return Reader()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser gives advice through the root logger; errors still come through."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)
