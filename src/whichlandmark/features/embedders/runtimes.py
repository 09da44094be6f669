"""Run ONNX files with ONNX Runtime or OpenVINO, and choose between the installed runtimes."""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ...core.errors import DataError, ModelError, OptionError, install_command
from ...core.files import read_json, write_json
from ...core.hardware import cpu_count, processor_name
from ...core.types import Vectors
from ..preprocessing import Network

Runtime = Literal["onnxruntime", "openvino", "torch"]

RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)

DEFAULT_RUNTIME: Runtime = "onnxruntime"  # which also opens soonest

# Photos from which a runtime is used whose opening was not measured, by earlier versions.
FROM_PHOTOS_UNMEASURED = 32

_RUNTIME_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .+ failed:)?")


def onnx_session(path: Path, *, callers: int = 1) -> Any:
    """An ONNX Runtime session for the CPU, without libraries of custom operators.

    callers: as in `open_onnx`. Raises ModelError for a file that is not a network.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, cpu_count() // callers)
    options.log_severity_level = 3  # errors
    options.enable_mem_pattern = False  # it plans memory for one input shape, but photos have many
    # Spinning threads would take cores from the threads that decode the next photos.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(
            os.fspath(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # the runtime's exceptions have no common base class
        reason = short_reason(error)
        if "not a registered function/op" in reason:
            reason += "; libraries of custom operators are never loaded"
        raise ModelError(f"{path}: cannot be opened by ONNX Runtime ({reason})") from None


def open_onnx(path: Path, *, callers: int = 1, output: str | None = None) -> Network:
    """Open an ONNX file for the CPU: (n, 3, h, w) float32 → (n, dim) unit rows.

    callers: number of threads that call it at the same time; each gets its share of the cores of
    this process. output: name of the output to compute; None = the first one. Raises ModelError for
    a file that is not a network.
    """
    session = onnx_session(path, callers=callers)
    name = session.get_inputs()[0].name
    wanted = [output or session.get_outputs()[0].name]

    def run(pixels: NDArray[np.float32]) -> Vectors:
        rows: Vectors = session.run(wanted, {name: pixels})[0]
        return rows

    return run


def open_openvino(path: Path, *, callers: int = 1, output: str | None = None) -> Network:
    """Open an ONNX file for the CPU: (n, 3, h, w) float32 → (n, dim) unit rows.

    callers, output: as in `open_onnx`. Precision is set to float32, because by default OpenVINO
    uses bfloat16 on every CPU that supports it, even one that only emulates it. Raises ModelError
    for a file that is not a network, OptionError without OpenVINO.
    """
    try:
        import openvino
        from openvino import properties
    except ImportError:
        raise OptionError(
            f"this runtime needs openvino; install it with: {install_command('fast')}"
        ) from None
    settings = {
        properties.hint.performance_mode: properties.hint.PerformanceMode.LATENCY,
        properties.hint.inference_precision: openvino.Type.f32,
        properties.inference_num_threads: cpu_count(),
        properties.num_streams: min(callers, cpu_count()),
        properties.hint.enable_cpu_pinning: False,  # other processes may be pinned to the same core
    }
    try:
        compiled = openvino.Core().compile_model(os.fspath(path), "CPU", settings)
        wanted = compiled.output(output or 0)
    except Exception as error:  # OpenVINO raises RuntimeError and its own exceptions
        reason = short_reason(error)
        raise ModelError(f"{path}: cannot be opened by OpenVINO ({reason})") from None

    def run(pixels: NDArray[np.float32]) -> Vectors:
        # One request per call, so that concurrent calls do not wait for each other.
        outputs = compiled.create_infer_request().infer({0: pixels}, share_inputs=True)
        return np.array(outputs[wanted], dtype=np.float32)

    return run


def short_reason(error: Exception) -> str:
    """One line of what a runtime raised, without its places in its own source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    line = (telling or lines or [type(error).__name__])[0]
    return _RUNTIME_PREFIX.sub("", line)[:300]


def installed_runtimes() -> list[Runtime]:
    """The installed runtimes; none is imported."""
    return [name for name in RUNTIMES if util.find_spec(name) is not None]


@dataclass(frozen=True)
class RuntimeChoice:
    """The fastest runtime, and the number of photos from which it is used.

    With fewer photos the default one answers sooner. 0 = the fastest is always used. unmeasured: an
    earlier version stored it, which compared neither the opening nor the rows of int8 networks.
    """

    runtime: Runtime = DEFAULT_RUNTIME
    from_photos: int = 0
    unmeasured: bool = False


def runtime_choice(embedder_id: str) -> RuntimeChoice:
    """What `doctor` has stored of this embedder on this machine; ONNX Runtime without that."""
    with suppress(DataError):
        stored = read_json(runtime_cache_file()).get(_cache_key(embedder_id))
        named = stored if isinstance(stored, dict) else {"runtime": stored}
        count: Any = named.get("from_photos")
        measured = isinstance(count, int) and not isinstance(count, bool) and count >= 0
        for runtime in RUNTIMES:
            if named.get("runtime") == runtime and util.find_spec(runtime) is not None:
                count = count if measured else FROM_PHOTOS_UNMEASURED
                return RuntimeChoice(runtime, count, unmeasured=not measured)
    return RuntimeChoice()


def remember_runtime(embedder_id: str, choice: RuntimeChoice) -> Path:
    """Store the fastest runtime of an embedder; returns the cache file.

    Raises DataError when it cannot be written.
    """
    path = runtime_cache_file()
    known: dict[str, object] = {}
    with suppress(DataError):
        known = read_json(path)
    stored = {"runtime": choice.runtime, "from_photos": choice.from_photos}
    write_json(path, known | {_cache_key(embedder_id): stored})
    return path


def runtime_cache_file() -> Path:
    """$XDG_CACHE_HOME/whichlandmark/runtimes.json; $XDG_CACHE_HOME defaults to ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "whichlandmark" / "runtimes.json"


def package_version(package: str) -> str | None:
    """The installed version of a package; None = not installed."""
    from importlib import metadata

    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def parse_runtime(runtime: str) -> Runtime:
    """Check the name of a runtime. Raises OptionError for an unknown one."""
    for known in RUNTIMES:
        if runtime == known:
            return known
    raise OptionError(f"runtime {runtime!r} given; expected one of: {', '.join(RUNTIMES)}")


def _cache_key(embedder_id: str) -> str:
    """Includes processor, core count and versions, because the fastest runtime depends on them."""
    environment = [processor_name(), cpu_count(), *(package_version(name) for name in RUNTIMES)]
    digest = hashlib.sha256(json.dumps(environment).encode()).hexdigest()[:12]
    return f"{embedder_id} on {digest}"
