"""What is this machine, what is installed, and which runtime runs an embedder fastest here?"""

from __future__ import annotations

import platform
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import DataError, ModelError
from ...core.hardware import facts, gpu_in_sight
from ..preprocessing import Network
from .load import (
    RECORD,
    WEIGHTS,
    exported,
    gpu_names,
    has_torch,
    load_exported,
    load_net,
    read_record,
)
from .onnx_embedder import AT_ONCE, OnnxEmbedder
from .runtimes import DEFAULT, Runtime, installed, remember, version

PACKAGES = ("whichlandmark", "numpy", "onnxruntime", "openvino", "torch", "timm", "onnx")

EXTRAS = {"train": ("torch", "timm", "onnx"), "fast": ("openvino",), "report": ("matplotlib",)}

FASTER = 1.05  # another runtime than the default must be faster by this to be taken

ROUNDS = 7


@dataclass(frozen=True)
class RuntimeSpeed:
    """Of one runtime: seconds to open the file, photos a second one by one and AT_ONCE together."""

    opening: float
    single: float
    together: float


def measure_runtimes(source: str | Path | None = None, *, rounds: int = ROUNDS) -> dict[str, Any]:
    """Facts, versions, extras, the speed of each runtime, and the one to be used.

    source: an embedder folder; None = a small network with random weights, where torch is there
    to make one (then nothing is remembered). The choice is kept in the user's cache folder.
    Raises DataError or ModelError for a folder that cannot be used.
    """
    found: dict[str, Any] = {
        "machine": facts(),
        "versions": {"python": platform.python_version(), **_versions()},
        "extras": {name: _extra(packages) for name, packages in EXTRAS.items()},
        "gpu": _gpu(),
    }
    with tempfile.TemporaryDirectory(prefix="whichlandmark-") as folder:
        if source is not None:
            at = Path(source)
        elif has_torch():
            at = _small(Path(folder))
        else:
            return found
        embedder = _opened(at)
        speeds = measure(at, rounds=rounds)
        best = fastest(speeds)
        found |= {
            "embedder": f"{embedder.id}" if source else f"{embedder.name}, random weights",
            "pixels": "×".join(map(str, _shape(embedder))),
            "runtimes": {name: _told(speed) for name, speed in speeds.items()},
            "used from now on" if source else "would be used": best,
        }
        if source is not None:
            found["remembered in"] = str(remember(embedder.id, best))
    return found


def measure(folder: Path, *, rounds: int = ROUNDS) -> dict[Runtime, RuntimeSpeed]:
    """Speed of every installed runtime on the same pixels, in turns: medians."""
    embedder = _opened(folder)
    networks: dict[Runtime, Network] = {}
    opening: dict[Runtime, float] = {}
    one = np.random.default_rng(0).standard_normal((1, 3, *_shape(embedder)), dtype=np.float32)
    for name in _usable(folder):
        started = time.perf_counter()
        networks[name] = _network(folder, name)
        networks[name](one)
        opening[name] = time.perf_counter() - started
    several = np.repeat(one, AT_ONCE, axis=0)
    times: dict[Runtime, tuple[list[float], list[float]]] = {name: ([], []) for name in networks}
    for _ in range(rounds):
        for name, network in networks.items():
            times[name][0].append(_seconds(network, one))
            times[name][1].append(_seconds(network, several) / AT_ONCE)
    return {
        name: RuntimeSpeed(opening[name], 1 / median(single), 1 / median(together))
        for name, (single, together) in times.items()
    }


def fastest(speeds: dict[Runtime, RuntimeSpeed]) -> Runtime:
    """The runtime with the least time for a photo alone and one among others; ties: the default."""

    def cost(name: Runtime) -> float:
        speed = speeds[name]
        return (1 / speed.single + 1 / speed.together) * (1 if name == DEFAULT else FASTER)

    return min(speeds, key=cost)


def _opened(folder: Path) -> OnnxEmbedder:
    if not (folder / RECORD).is_file():
        raise DataError(f"{folder}: no embedder there (embedder.json is missing)")
    record = read_record(folder)
    if record.get("kind") != "timm":
        raise ModelError(f"{folder}: {record.get('kind')!r} runs no network; nothing to choose")
    if exported(record) is None:
        raise ModelError(
            f"{folder}: holds no ONNX file, so only torch runs it; export it with "
            f"`whichlandmark embedder {folder} -o NEW`"
        )
    return load_exported(folder, runtime=DEFAULT)


def _usable(folder: Path) -> list[Runtime]:
    """torch runs the float network only, and only where its weights are kept."""
    torch_too = (folder / WEIGHTS).is_file() and has_torch()
    return [name for name in installed() if name != "torch" or torch_too]


def _network(folder: Path, name: Runtime) -> Network:
    if name != "torch":
        return load_exported(folder, runtime=name).network
    made = load_net(folder, device="cpu")
    made.net.eval()
    return made.rows


def _shape(embedder: OnnxEmbedder) -> tuple[int, int]:
    """Height and width of a lying photo of 4:3."""
    return embedder.preprocessing.target(3000, 4000)


def _seconds(network: Network, pixels: NDArray[np.float32]) -> float:
    started = time.perf_counter()
    network(pixels)
    return time.perf_counter() - started


def _told(speed: RuntimeSpeed) -> dict[str, float]:
    return {
        "seconds to open": round(speed.opening, 3),
        "photos/s, one by one": round(speed.single, 1),
        f"photos/s, {AT_ONCE} together": round(speed.together, 1),
    }


def _versions() -> dict[str, str]:
    return {name: version(name) or "not installed" for name in PACKAGES}


def _extra(packages: tuple[str, ...]) -> str:
    missing = [name for name in packages if version(name) is None]
    return f"not installed ({', '.join(missing)} missing)" if missing else "installed"


def _gpu() -> str:
    if names := gpu_names():
        return ", ".join(names)
    if not gpu_in_sight():
        return "none"
    why = "cannot use it" if has_torch() else "is not installed: pip install 'whichlandmark[train]'"
    return f"a device file is there, but torch {why}"


def _small(folder: Path) -> Path:
    """A small network with random weights, exported."""
    from ..preprocessing import Preprocessing
    from .torch_embedder import TorchEmbedder
    from .torch_network import Architecture, new_network

    net = new_network(Architecture(backbone="resnet18", dim=128))
    TorchEmbedder(net, Preprocessing(size=224), device="cpu").save(folder)
    return folder
