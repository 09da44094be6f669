"""Report this machine and the installed packages; measure which runtime is fastest."""

from __future__ import annotations

import logging
import math
import platform
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import DataError, ModelError, install_command
from ...core.hardware import gpu_device_exists, hardware_facts
from ...core.types import Vectors
from ..preprocessing import Network
from .load import gpu_names, has_torch, load_onnx, load_torch
from .onnx_embedder import BATCH_SIZE, OnnxEmbedder
from .record import NETWORK_KINDS, RECORD_FILE, WEIGHTS_FILE, onnx_file, read_record
from .runtimes import (
    DEFAULT_RUNTIME,
    Runtime,
    RuntimeChoice,
    installed_runtimes,
    package_version,
    remember_runtime,
)

PACKAGES = ("whichlandmark", "numpy", "onnxruntime", "openvino", "torch", "timm", "onnx")

EXTRAS = {"train": ("torch", "timm", "onnx"), "fast": ("openvino",), "report": ("matplotlib",)}

MIN_SPEEDUP = 1.05  # a runtime replaces the default only if it is faster by this factor

TIMING_ROUNDS = 7

MIN_COSINE = 0.999  # of two runtimes' rows of a photo, where both are used for one embedder

MAX_FROM_PHOTOS = 10_000

# Between the runtimes' unit rows of a network made elsewhere; of one that we exported, the export
# was compared with torch, and those of int8 networks differ.
MAX_DIFFERENCE = 0.01

log = logging.getLogger("whichlandmark")


@dataclass(frozen=True)
class RuntimeSpeed:
    """Speed of one runtime: seconds to open the file and embed one photo; photos per second one by
    one, and in batches of BATCH_SIZE. cosine: of its row of a photo with that of the default one.
    """

    seconds_to_open: float
    photos_per_second: float
    batched_photos_per_second: float
    cosine: float = 1.0


def measure_runtimes(
    source: str | Path | None = None, *, rounds: int = TIMING_ROUNDS
) -> dict[str, Any]:
    """Measure all installed runtimes and store the fastest one in the user's cache folder.

    Args:
        source: An embedder folder; None = a small network with random weights, if torch is
            installed; the choice is not stored then.
        rounds: Timed passes of each runtime and batch size; the median counts.

    Returns:
        Facts about the machine, package versions, extras, speeds, and the runtime to use.

    Raises:
        DataError: When the folder holds no embedder.
        ModelError: When the embedder has no ONNX file, or runs no network.
    """
    versions = {name: package_version(name) or "not installed" for name in PACKAGES}
    extras = {}
    for extra, packages in EXTRAS.items():
        missing = [name for name in packages if package_version(name) is None]
        extras[extra] = f"not installed ({', '.join(missing)} missing)" if missing else "installed"
    report: dict[str, Any] = {
        "machine": hardware_facts(),
        "versions": {"python": platform.python_version(), **versions},
        "extras": extras,
        "gpu": _gpu_status(),
    }
    with tempfile.TemporaryDirectory(prefix="whichlandmark-") as temporary:
        if source is not None:
            folder = Path(source)
        elif has_torch():
            folder = Path(temporary)
            _save_random_embedder(folder)
        else:
            return report
        embedder = _open_embedder(folder)
        speeds = measure(folder, rounds=rounds)
        best = choice_of(speeds)
        report |= {
            "embedder": f"{embedder.id}" if source else f"{embedder.name}, random weights",
            "pixels": "×".join(map(str, _input_shape(embedder))),
            "runtimes": {name: _speed_report(speed) for name, speed in speeds.items()},
            "used from now on" if source else "would be used": best.runtime,
        }
        if best.from_photos:
            report["from so many photos"] = best.from_photos
            report["for fewer, because it opens sooner"] = DEFAULT_RUNTIME
        if source is not None:
            report["remembered in"] = str(remember_runtime(embedder.id, best))
    return report


def measure(folder: Path, *, rounds: int = TIMING_ROUNDS) -> dict[Runtime, RuntimeSpeed]:
    """Median speed of every installed runtime on the same pixels.

    The runtimes take turns, so that a slow phase of the machine affects all of them.
    """
    embedder = _open_embedder(folder)
    made_elsewhere = embedder.interface is not None and embedder.record["precision"] == "float32"
    networks: dict[Runtime, Network] = {}
    rows: dict[Runtime, Vectors] = {}
    seconds_to_open: dict[Runtime, float] = {}
    shape = (1, 3, *_input_shape(embedder))
    single = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    has_weights = WEIGHTS_FILE in embedder.record["files"]  # int8 and foreign networks have none
    for name in installed_runtimes():
        if name == "torch" and not (has_weights and has_torch()):
            continue
        started = time.perf_counter()
        try:
            network = _open_network(folder, name)
            rows[name] = network(single)
        except ModelError as error:
            if name == DEFAULT_RUNTIME or not made_elsewhere:
                raise
            log.warning("%s is not measured, because it cannot run this network: %s", name, error)
            continue
        difference = float(np.abs(rows[name] - rows[DEFAULT_RUNTIME]).max())
        if made_elsewhere and not difference <= MAX_DIFFERENCE:
            log.warning("%s is not measured: its rows differ by %.2g from those of %s", name,
                        difference, DEFAULT_RUNTIME)  # fmt: skip
            continue
        seconds_to_open[name] = time.perf_counter() - started
        networks[name] = network
    batch = np.repeat(single, BATCH_SIZE, axis=0)
    single_seconds: dict[Runtime, list[float]] = {name: [] for name in networks}
    batched_seconds: dict[Runtime, list[float]] = {name: [] for name in networks}
    for _ in range(rounds):
        for name, network in networks.items():
            single_seconds[name].append(_seconds_of(network, single))
            batched_seconds[name].append(_seconds_of(network, batch) / BATCH_SIZE)
    return {
        name: RuntimeSpeed(
            seconds_to_open[name],
            1 / median(single_seconds[name]),
            1 / median(batched_seconds[name]),
            float((rows[name] * rows[DEFAULT_RUNTIME]).sum()),
        )
        for name in networks
    }


def choice_of(speeds: dict[Runtime, RuntimeSpeed]) -> RuntimeChoice:
    """The fastest runtime, and the number of photos that make up for the time it takes to open.

    Where its rows differ too much from those of the default one, it is always used, so that a
    photo's vector does not depend on how many others were asked for.
    """
    best = fastest(speeds)
    ours, first = speeds[best], speeds[DEFAULT_RUNTIME]
    later = ours.seconds_to_open - first.seconds_to_open
    if best == DEFAULT_RUNTIME or later <= 0 or not ours.cosine >= MIN_COSINE:
        return RuntimeChoice(best)
    gained = max(
        1 / first.photos_per_second - 1 / ours.photos_per_second,
        1 / first.batched_photos_per_second - 1 / ours.batched_photos_per_second,
    )
    return RuntimeChoice(best, min(math.ceil(later / gained), MAX_FROM_PHOTOS))


def fastest(speeds: dict[Runtime, RuntimeSpeed]) -> Runtime:
    """The runtime with the least sum of the seconds of a single and of a batched photo.

    The default wins unless another one is faster by MIN_SPEEDUP.
    """

    def cost(name: Runtime) -> float:
        speed = speeds[name]
        seconds = 1 / speed.photos_per_second + 1 / speed.batched_photos_per_second
        return seconds * (1 if name == DEFAULT_RUNTIME else MIN_SPEEDUP)

    return min(speeds, key=cost)


def _open_embedder(folder: Path) -> OnnxEmbedder:
    if not (folder / RECORD_FILE).is_file():
        raise DataError(f"{folder}: no embedder in this folder (embedder.json is missing)")
    record = read_record(folder)
    if record.get("kind") not in NETWORK_KINDS:
        raise ModelError(
            f"{folder}: {record.get('kind')!r} runs no network, so there is no runtime to choose"
        )
    if onnx_file(record) is None:
        raise ModelError(
            f"{folder}: holds no ONNX file, so only torch runs it; export it with "
            f"`whichlandmark embedder {folder} -o NEW`"
        )
    return load_onnx(folder, runtime=DEFAULT_RUNTIME)


def _open_network(folder: Path, name: Runtime) -> Network:
    if name != "torch":
        return load_onnx(folder, runtime=name).network
    embedder = load_torch(folder, device="cpu")
    embedder.net.eval()
    return embedder.run_network


def _input_shape(embedder: OnnxEmbedder) -> tuple[int, int]:
    """(height, width) of the network's input for a landscape photo of 4:3."""
    return embedder.preprocessing.target_shape(3000, 4000)


def _seconds_of(network: Network, pixels: NDArray[np.float32]) -> float:
    started = time.perf_counter()
    network(pixels)
    return time.perf_counter() - started


def _speed_report(speed: RuntimeSpeed) -> dict[str, float]:
    return {
        "seconds to open": round(speed.seconds_to_open, 3),
        "photos/s, one by one": round(speed.photos_per_second, 1),
        f"photos/s, {BATCH_SIZE} together": round(speed.batched_photos_per_second, 1),
    }


def _gpu_status() -> str:
    if names := gpu_names():
        return ", ".join(names)
    if not gpu_device_exists():
        return "none"
    why = "cannot use it" if has_torch() else f"is not installed: {install_command('train')}"
    return f"a GPU device file exists, but torch {why}"


def _save_random_embedder(folder: Path) -> None:
    """Save a small network with random weights, exported to ONNX."""
    from ..preprocessing import Preprocessing
    from .torch_embedder import TorchEmbedder
    from .torch_network import Architecture, new_network

    net = new_network(Architecture(backbone="resnet18", dim=128))
    TorchEmbedder(net, Preprocessing(size=224), device="cpu").save(folder)
