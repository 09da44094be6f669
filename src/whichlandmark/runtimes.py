"""Which program runs an embedder's network on this machine: ONNX Runtime, OpenVINO or torch.

`whichlandmark doctor` measures and remembers the fastest in the user's cache folder, for this
processor, these versions and that embedder. Nothing remembered, or nothing readable: ONNX Runtime.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from importlib import metadata, util
from pathlib import Path
from typing import Literal, get_args

from .errors import DataError, OptionError
from .files import read_json, write_json
from .machine import cpu_count, processor

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
