"""An ONNX file on OpenVINO (the extra `fast`): a function from pixels to unit rows."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError, OptionError
from ..looking import Network
from ..machine import cpu_count
from ..types import Vectors


def open_openvino(path: Path, *, callers: int = 1) -> Network:
    """(n, 3, h, w) float32 → (n, dim) unit rows, on the CPU.

    callers: threads that call it at once; each has its part of the cores that this process may
    use. Float layers are computed in float32: left alone, OpenVINO takes bfloat16 where a CPU knows
    the word, even one that emulates it. Raises ModelError for a file that is no network,
    OptionError without OpenVINO.
    """
    try:
        import openvino
        from openvino import properties
    except ImportError:
        raise OptionError(
            "this runtime needs openvino; install it with: pip install 'whichlandmark[fast]'"
        ) from None
    settings = {
        properties.hint.performance_mode: properties.hint.PerformanceMode.LATENCY,
        properties.hint.inference_precision: openvino.Type.f32,
        properties.inference_num_threads: cpu_count(),
        properties.num_streams: min(callers, cpu_count()),
        properties.hint.enable_cpu_pinning: False,  # other processes may own that core
    }
    try:
        compiled = openvino.Core().compile_model(os.fspath(path), "CPU", settings)
    except Exception as error:  # OpenVINO raises RuntimeError and kinds of its own
        raise ModelError(f"{path}: cannot be opened by OpenVINO ({error})") from None

    def run(pixels: NDArray[np.float32]) -> Vectors:
        # A request for each call: calls from several threads do not wait for one another.
        found = compiled.create_infer_request().infer({0: pixels}, share_inputs=True)
        return np.array(found[0], dtype=np.float32)

    return run
