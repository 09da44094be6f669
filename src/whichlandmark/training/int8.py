"""Quantize a float ONNX file to int8, calibrated with photos; sensitive layers stay float.

Weights are int8 with one scale per output channel. Activations are uint8; their range is the mean
over photos of each photo's minimum and maximum (Jacob et al., "Quantization and training of neural
networks for efficient integer-arithmetic-only inference", CVPR 2018). The file is in QDQ format:
explicit quantize and dequantize nodes, which each runtime fuses in its own way.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import ModelError, OptionError, install_command
from ..core.hardware import has_exact_int8
from ..core.types import Progress
from ..features.embedders.external_data import external_files
from ..features.embedders.runtimes import short_reason

MeasureError = Callable[
    [Path], float
]  # an int8 file → mean distance of its rows from the float rows

QUANTIZED_OPS = ("Conv", "Gemm", "MatMul", "Add", "Clip", "Relu", "MaxPool", "GlobalAveragePool")

# In a transformer the sums and activations between the layers stay float: a few of their numbers
# are hundreds of times as large as the others, which 8 bits cannot hold together.
TRANSFORMER_OPS = ("Conv", "Gemm", "MatMul")

MIN_ERROR_SHARE = 0.1  # a layer stays float if this alone reduces the error by this share


class Quantizer:
    """Writes int8 versions of one float file, with different layers left in float.

    work_folder: for temporary files. batches: (n, 3, h, w) float32 network inputs for calibration;
    the range of each batch is measured separately, so batches of one photo are best. Raises
    ModelError when the network has nothing to quantize, OptionError without `onnx`.
    """

    def __init__(
        self, model: Path, work_folder: Path, batches: Iterable[NDArray[np.float32]]
    ) -> None:
        try:
            import onnx
            from onnxruntime.quantization.shape_inference import quant_pre_process
        except ImportError as error:
            raise OptionError(
                f"int8 needs {error.name}; install it with: {install_command('train')}"
            ) from None
        self.work_folder, self.batches = work_folder, batches
        self.prepared = work_folder / "prepared.onnx"
        with _quiet():
            try:
                if external_files(model):  # ONNX Runtime would look for these beside its own copy
                    onnx.save(onnx.load(model), work_folder / "whole.onnx")
                    model = work_folder / "whole.onnx"
                quant_pre_process(str(model), str(self.prepared), skip_symbolic_shape=True)
            except Exception as error:  # of many kinds, for networks made elsewhere
                reason = short_reason(error)
                raise ModelError(f"{model}: cannot be converted to int8 ({reason})") from None
        graph = onnx.load(self.prepared).graph
        stored = {tensor.name for tensor in graph.initializer}  # old files list these as inputs too
        self.input = next(one.name for one in graph.input if one.name not in stored)
        products = [node for node in graph.node if node.op_type == "MatMul"]
        linear = {node.name for node in products if stored.intersection(node.input)}
        self.layers = [
            node.name
            for node in graph.node
            if node.op_type in ("Conv", "Gemm") or node.name in linear
        ]
        if not self.layers:
            raise ModelError(f"{model}: holds no layer that could be converted to int8")
        self.ops: tuple[str, ...] = QUANTIZED_OPS
        # Products of two activations, as in attention, stay float.
        self.always_float = [node.name for node in products if node.name not in linear]
        if any(node.op_type == "Softmax" for node in graph.node):
            self.ops = TRANSFORMER_OPS

    def write(self, path: Path, float_layers: Iterable[str] = ()) -> None:
        """Write an int8 file in which the named layers stay float."""
        from onnxruntime import quantization as q

        with _quiet():
            q.quantize_static(
                str(self.prepared),
                str(path),
                _calibration_reader(self.input, self.batches),
                quant_format=q.QuantFormat.QDQ,
                per_channel=True,
                activation_type=q.QuantType.QUInt8,
                weight_type=q.QuantType.QInt8,
                reduce_range=not has_exact_int8(),
                op_types_to_quantize=list(self.ops),
                nodes_to_exclude=sorted({*float_layers, *self.always_float}),
                extra_options={"CalibMovingAverage": True},
                calibration_cache_path=self.work_folder / "ranges.json",
            )

    def sensitive_layers(self, error: MeasureError, progress: Progress | None = None) -> list[str]:
        """The layers that should stay float, found by leaving each one in float in turn.

        The selected layers are also measured together, because a runtime's fusion can fail around
        float layers. If together they are worse than the best single layer, only that one is
        returned.
        """
        trial = self.work_folder / "trial.onnx"
        self.write(trial)
        full_error = error(trial)
        gains = {}
        for done, layer in enumerate(self.layers, 1):
            self.write(trial, [layer])
            gains[layer] = full_error - error(trial)
            if progress:
                progress(done, len(self.layers))
        float_layers = [
            layer for layer, gain in gains.items() if gain >= MIN_ERROR_SHARE * full_error
        ]
        if float_layers:
            self.write(trial, float_layers)
            if error(trial) > full_error - max(gains.values()):
                float_layers = [max(float_layers, key=lambda layer: gains[layer])]
        return float_layers


def _calibration_reader(name: str, batches: Iterable[NDArray[np.float32]]) -> object:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        remaining = iter(batches)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            batch = next(self.remaining, None)
            return None if batch is None else {name: batch}

    return Reader()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the quantizer's prints and log lines below error."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)
