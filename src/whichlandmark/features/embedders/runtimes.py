"""ONNX Runtime and OpenVINO sessions; choice of runtime."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from importlib import metadata, util
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ...core.errors import DataError, ModelError, OptionError
from ...core.files import read_json, write_json
from ...core.hardware import cpu_count, processor
from ...core.types import Vectors
from ..preprocessing import Network


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


Runtime = Literal["onnxruntime", "openvino", "torch"]

RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)

DEFAULT: Runtime = "onnxruntime"


def installed() -> list[Runtime]:
    """The runtimes that are there; none is loaded."""
    return [name for name in RUNTIMES if util.find_spec(name) is not None]


def chosen(embedder_id: str) -> Runtime:
    """What runs this embedder on the CPU here: what was measured fastest, else ONNX Runtime."""
    with suppress(DataError):
        name = read_json(cache_file()).get(_key(embedder_id))
        for runtime in RUNTIMES:
            if name == runtime and util.find_spec(runtime) is not None:
                return runtime
    return DEFAULT


def remember(embedder_id: str, runtime: Runtime) -> Path:
    """Keep what was measured fastest. Raises DataError when the cache cannot be written."""
    path = cache_file()
    known: dict[str, object] = {}
    with suppress(DataError):
        known = read_json(path)
    write_json(path, known | {_key(embedder_id): runtime})
    return path


def cache_file() -> Path:
    """$XDG_CACHE_HOME/whichlandmark/runtimes.json, in ~/.cache where that is not set."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "whichlandmark" / "runtimes.json"


def version(package: str) -> str | None:
    """Its version; None = not installed."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def require(runtime: str) -> Runtime:
    """The runtime of that name. Raises OptionError for any other word."""
    for known in RUNTIMES:
        if runtime == known:
            return known
    raise OptionError(f"runtime {runtime!r} given; expected one of: {', '.join(RUNTIMES)}")


def _key(embedder_id: str) -> str:
    """Another processor, core count or version may have another fastest."""
    here = [processor(), cpu_count(), *(version(name) for name in RUNTIMES)]
    digest = hashlib.sha256(json.dumps(here).encode()).hexdigest()[:12]
    return f"{embedder_id} on {digest}"
