"""Compare the runtimes' embedding speed on this CPU with eager torch and the machine's peak.

    python benchmarks/embed_speed.py [--rounds 7] [--batches 1 16] [--checkpoint FILE]

ResNet50, MobileNetV2 and the network of lite0 at 224 × 224 px, random weights (--checkpoint: timm's
MobileNetV2) and 512 dimensions. Each runtime of each network has its own process with one thread
per core; they run in turns, about a quarter of a second each. Times are medians over the rounds.
Ratios are medians of each round's ratio to eager torch, and to torch with channels last, which is
faster. Share of peak: the network's operations (2 for each multiplication and addition) a second,
divided by the faster of the float32 matrix products of numpy and ONNX Runtime (OpenBLAS may not
support a new processor); int8 may exceed it. Beside each target is the share of peak that it needs.
Run it on an idle machine: on shared cores, torch's busy-waiting threads lose much more than others.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ceilings import bandwidth, matrix_product
from whichlandmark.core.hardware import cpu_count, hardware_facts
from whichlandmark.core.types import Vectors
from whichlandmark.features.embedders.load import load_torch
from whichlandmark.features.embedders.record import FLOAT_FILE, INT8_FILE
from whichlandmark.features.embedders.runtimes import open_onnx, open_openvino
from whichlandmark.features.embedders.torch_embedder import TorchEmbedder
from whichlandmark.features.embedders.torch_network import (
    Architecture,
    EmbeddingNet,
    new_network,
    pretrained_network,
)
from whichlandmark.features.preprocessing import Network, Preprocessing
from whichlandmark.training.int8 import Quantizer

SIDE = 224
RUNS = ("torch, eager", "torch, channels last", "ONNX Runtime, float", "OpenVINO, float",
        "ONNX Runtime, int8", "OpenVINO, int8")  # fmt: skip
TARGETS = {
    ("resnet50", "ONNX Runtime, float"): 1.8, ("resnet50", "ONNX Runtime, int8"): 3.5,
    ("resnet50", "OpenVINO, int8"): 5.0, ("mobilenetv2_100", "ONNX Runtime, float"): 2.5,
}  # fmt: skip


def make(folder: Path, backbone: str, checkpoint: Path | None) -> float:
    """Save the float and the int8 network; return the operations of one photo, in 10⁹."""
    options = {"pad_type": "same"} if checkpoint else {}
    architecture = Architecture(backbone=backbone, dim=512, options=options)
    net = (
        pretrained_network(architecture, checkpoint=checkpoint)
        if checkpoint else new_network(architecture)
    )  # fmt: skip
    operations = count_operations(net)
    TorchEmbedder(net, Preprocessing(size=SIDE, fit="squash"), device="cpu").save(folder)
    rng = np.random.default_rng(0)  # the speed does not depend on the pixels
    batches = [rng.standard_normal((1, 3, SIDE, SIDE), dtype=np.float32) for _ in range(4)]
    with tempfile.TemporaryDirectory() as work:
        Quantizer(folder / FLOAT_FILE, Path(work), batches).write(folder / INT8_FILE)
    return operations


def count_operations(net: EmbeddingNet) -> float:
    """10⁹ operations of a photo: 2 per multiplication and addition of conv and linear layers."""
    total = 0

    def count(module: nn.Module, given: object, made: torch.Tensor) -> None:
        nonlocal total
        weight = module.weight
        total += 2 * made.numel() * weight[0].numel()

    hooks = [
        module.register_forward_hook(count)
        for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)
    ]  # fmt: skip
    with torch.inference_mode():
        net.eval()(torch.zeros(1, 3, SIDE, SIDE))
    for hook in hooks:
        hook.remove()
    return total / 1e9


def opened(folder: Path, run: str) -> Network:
    runtime, kind = run.split(", ")
    if runtime == "torch":
        torch.set_num_threads(cpu_count())
        made = load_torch(folder, device="cpu")  # channels last, as in `TorchEmbedder`
        made.net.eval()
        return plainly(made.net) if kind == "eager" else made.run_network
    path = folder / (INT8_FILE if kind == "int8" else FLOAT_FILE)
    return open_openvino(path) if runtime == "OpenVINO" else open_onnx(path)


def plainly(net: EmbeddingNet) -> Network:
    """Run a network by torch with its default memory layout."""
    net = net.to(memory_format=torch.contiguous_format)

    def run(pixels: NDArray[np.float32]) -> Vectors:
        with torch.inference_mode():
            rows: Vectors = net(torch.from_numpy(pixels)).numpy()
        return rows

    return run


def serve(folder: Path, run: str, seconds: float) -> None:
    """One runtime's process: reads batch sizes from stdin, prints milliseconds a photo."""
    network = opened(folder, run)
    for line in sys.stdin:
        batch = int(line)
        pixels = np.random.default_rng(0).standard_normal((batch, 3, SIDE, SIDE), dtype=np.float32)
        network(pixels)  # fills the caches that other processes used
        times: list[float] = []
        ends = time.perf_counter() + seconds
        while len(times) < 2 or time.perf_counter() < ends:
            started = time.perf_counter()
            network(pixels)
            times.append(time.perf_counter() - started)
        print(1e3 * median(times) / batch, flush=True)


def start(folder: Path, run: str, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--serve", str(folder), run, str(seconds)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def ask(process: subprocess.Popen[str], batch: int) -> float:
    assert process.stdin is not None
    assert process.stdout is not None
    print(batch, file=process.stdin, flush=True)
    return float(process.stdout.readline())


def onnx_product(side: int = 1536) -> Callable[[float], float]:
    """Prepare a measurement of ONNX Runtime's float32 matrix product.

    Returns:
        A function: seconds of measuring → 10⁹ operations a second.
    """
    import onnxruntime
    from onnx import TensorProto, helper

    shapes = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [side, side]) for name in "abc"
    )
    a, b, c = shapes
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["c"])], "product", [a, b], [c]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cpu_count()
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    rows = np.random.default_rng(0).standard_normal((2, side, side), dtype=np.float32)

    def measure(seconds: float) -> float:
        end, fastest = time.perf_counter() + seconds, float("inf")
        while time.perf_counter() < end:
            began = time.perf_counter()
            session.run(None, {"a": rows[0], "b": rows[1]})
            fastest = min(fastest, time.perf_counter() - began)
        return 2 * side**3 / fastest / 1e9

    return measure


def compare(
    folder: Path, batches: list[int], rounds: int
) -> tuple[list[tuple[float, float]], dict[tuple[str, int], list[float]]]:
    """Measure all runtimes in turns.

    Returns:
        For each round the two matrix products (numpy's, ONNX Runtime's); and (runtime, batch) →
        milliseconds a photo in each round.
    """
    peaks: list[tuple[float, float]] = []
    other_product = onnx_product()
    processes = {run: start(folder, run, 0.25) for run in RUNS}
    try:
        for process in processes.values():
            ask(process, 1)  # returns when the network is open
        times: dict[tuple[str, int], list[float]] = {}
        for _ in range(rounds):
            peaks.append((matrix_product(seconds=0.25), other_product(0.25)))
            for batch in batches:
                for run, process in processes.items():
                    times.setdefault((run, batch), []).append(ask(process, batch))
    finally:
        for process in processes.values():
            process.communicate()
    return peaks, times


def report(
    backbone: str, operations: float, peaks: list[tuple[float, float]],
    times: dict[tuple[str, int], list[float]],
) -> None:  # fmt: skip
    ours, theirs = (median(found) for found in zip(*peaks, strict=True))
    peak = max(ours, theirs)
    print(f"\n{backbone}, {SIDE} × {SIDE}, {operations:.2f} Gop a photo; float32 matrix product: "
          f"numpy {ours:.0f}, ONNX Runtime {theirs:.0f} GFLOP/s")  # fmt: skip
    print(f"{'':22}{'batch':>6}{'ms/photo':>10}{'photos/s':>10}{'× eager':>9}{'× ch.last':>10}"
          f"{'of peak':>9}  target (× eager)")  # fmt: skip
    for (run, batch), found in times.items():
        ratio, other = (
            median(t / one for t, one in zip(times[torch_run, batch], found, strict=True))
            for torch_run in RUNS[:2]
        )
        target = TARGETS.get((backbone, run))
        share = operations / (median(found) / 1e3) / peak
        asked = target * operations / (median(times[RUNS[0], batch]) / 1e3) / peak if target else 0
        met = "met" if target and ratio >= target else "MISSED"
        goal = f"≥ {target}: {met}, {asked:.0%} of peak" if target else ""
        print(f"{run:22}{batch:6}{median(found):10.2f}{1e3 / median(found):10.1f}{ratio:9.2f}"
              f"{other:10.2f}{share:9.0%}  {goal}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--checkpoint", type=Path, help="MobileNetV2 weights in timm's format")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        folder, run, seconds = given.serve
        return serve(Path(folder), run, float(seconds))
    print(", ".join(f"{name}: {value}" for name, value in hardware_facts().items()))
    print(f"memory: {bandwidth():.1f} GB/s, one thread copying")
    for backbone in ("resnet50", "mobilenetv2_100", "tf_efficientnet_lite0"):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            checkpoint = given.checkpoint if backbone == "mobilenetv2_100" else None
            operations = make(folder, backbone, checkpoint)
            peaks, times = compare(folder, given.batches, given.rounds)
        report(backbone, operations, peaks, times)
    return None


if __name__ == "__main__":
    main()
