"""An ONNX file on ONNX Runtime: a function from pixels to unit rows."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..looking import Network
from ..machine import cpu_count
from ..types import Vectors


def open_onnx(path: Path, *, callers: int = 1) -> Network:
    """(n, 3, h, w) float32 → (n, dim) unit rows, on the CPU.

    callers: threads that call it at once; each has its part of the cores that this process may
    use. Raises ModelError for a file that is no network.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, cpu_count() // callers)
    options.log_severity_level = 3  # errors
    options.enable_mem_pattern = False  # plans for one shape; photos have many
    # A waiting thread that spins takes the core from the threads that decode the next photos.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(
            os.fspath(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # the runtime raises its own kinds, without a common base
        raise ModelError(f"{path}: cannot be opened by ONNX Runtime ({error})") from None
    name = session.get_inputs()[0].name

    def run(pixels: NDArray[np.float32]) -> Vectors:
        rows: Vectors = session.run(None, {name: pixels})[0]
        return rows

    return run
