"""Open or write an embedder folder, or open a pretrained backbone by name; torch only if needed."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...core.errors import DataError, ModelError, OptionError
from ...core.files import read_json, whole_file, write_json
from ...core.hardware import adds_bytes_exactly, gpu_in_sight
from ...core.types import Embedder
from ..preprocessing import Preprocessing, Views
from .runtimes import chosen
from .runtimes import require as require_runtime

if TYPE_CHECKING:
    from .onnx_embedder import OnnxEmbedder
    from .torch_embedder import TorchEmbedder

RECORD = "embedder.json"

FLOAT = "model.onnx"

INT8 = "model.int8.onnx"

WEIGHTS = "model.safetensors"


def write_record(folder: Path, record: dict[str, Any], files: Iterable[str] = ()) -> None:
    """Write embedder.json with the hashes of these files, which stand in the folder already."""
    sealed = {**record, "files": {name: sha256(folder / name) for name in files}}
    write_json(folder / RECORD, sealed | {"sum": _sum(sealed)})


def read_record(folder: Path) -> dict[str, Any]:
    """embedder.json. Raises DataError when it is missing or no JSON."""
    return read_json(folder / RECORD)


def exported(record: dict[str, Any]) -> str | None:
    """The name of the ONNX file of this embedder; None = it has none, as those made earlier."""
    name = INT8 if record.get("precision") == "int8" else FLOAT
    files = record.get("files")
    return name if isinstance(files, dict) and name in files else None


def checked(folder: Path, record: dict[str, Any], name: str) -> Path:
    """The path of a recorded file. Raises ModelError when it, or embedder.json, has changed."""
    if record.get("sum") != _sum(record):
        raise ModelError(
            f"{folder / RECORD}: was changed since it was written: preprocessing or weights may "
            "not be those of embedder.json's id; make the folder again"
        )
    path = folder / name
    if not path.is_file():
        raise ModelError(f"{path}: no such file, but {RECORD} names it; make the folder again")
    if (found := sha256(path)) != record["files"][name]:
        raise ModelError(
            f"{path}: damaged, or of another embedder: its hash is {found[:12]}…, but {RECORD} "
            f"says {record['files'][name][:12]}…; make the folder again"
        )
    return path


def copy_folder(source: Path, target: Path, record: dict[str, Any]) -> None:
    """Copy the recorded files and then embedder.json.

    Raises ModelError when a recorded file is damaged.
    """
    if source.resolve() == target.resolve():
        return
    for name in record["files"]:
        checked(source, record, name)
    for name in record["files"]:
        with whole_file(target / name) as temporary:
            shutil.copyfile(source / name, temporary)
    write_json(target / RECORD, record)


def sha256(path: Path) -> str:
    """Hex digest of a file, read in blocks. Raises ModelError when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None


def _sum(record: dict[str, Any]) -> str:
    own = {key: value for key, value in record.items() if key != "sum"}
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()


PREFIX = "timm:"

log = logging.getLogger("whichlandmark")


@dataclass(frozen=True, kw_only=True)
class PretrainedOptions:
    """How a pretrained backbone becomes an embedder. None = as the backbone was trained."""

    checkpoint: str | None = None  # local weights in timm's format; None = from the model hub
    options: dict[str, Any] = field(default_factory=dict)  # for timm.create_model
    size: int | None = None  # pixels of the long side
    fit: Literal["keep", "squash"] = "keep"  # hold the aspect ratio, or make squares
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    scales: tuple[float, ...] = (1.0,)  # each photo is looked at in these sizes (1 = `size`)
    flip: bool = False  # and mirrored
    gem_p: float = 1.0  # average pooling: what an ImageNet classifier was trained on


def load_embedder(
    source: str | Path, *, device: str = "auto", runtime: str | None = None, callers: int = 1
) -> Embedder:
    """An embedder folder, or "timm:NAME" for a pretrained backbone from the model hub.

    device: "auto" = a GPU where there is one (and torch), else the CPU; "cpu"; "cuda", "cuda:1" ….
    runtime: what runs an exported network on the CPU: "onnxruntime", "openvino" or "torch"; None =
      what `whichlandmark doctor` measured fastest here, else ONNX Runtime.
    callers: threads that call an exported network at once, and share the cores.
    Raises DataError when the folder is not there, ModelError when it is damaged,
    OptionError when it needs torch and torch is not installed.
    """
    if runtime:
        require_runtime(runtime)
    if str(source).startswith(PREFIX):
        return pretrained(str(source), PretrainedOptions(), device=device)
    folder = Path(source)
    if not (folder / RECORD).is_file():
        raise DataError(
            f"{folder}: no embedder there (embedder.json is missing); give a folder made by "
            "`whichlandmark train` or `embedder`, or timm:NAME, or sift"
        )
    record = read_record(folder)
    kind = record.get("kind")
    if kind == "sift":
        from .sift import SiftEmbedder

        return SiftEmbedder.load(folder)
    if kind != "timm":
        raise ModelError(f"{folder}: embedder of kind {kind!r}; expected 'timm' or 'sift'")
    if _needs_torch(folder, record, device, runtime):
        return load_net(folder, device=device)
    return load_exported(folder, runtime=runtime, callers=callers)


def load_net(folder: Path, *, device: str = "auto") -> TorchEmbedder:
    """A folder's network in torch. Raises OptionError without torch, ModelError on damage."""
    require_torch()
    from .torch_embedder import TorchEmbedder

    return TorchEmbedder.load(folder, device=device)


def load_exported(folder: Path, *, runtime: str | None = None, callers: int = 1) -> OnnxEmbedder:
    """A folder's ONNX file on the CPU, without torch. Raises as `load_embedder` does."""
    from .onnx_embedder import OnnxEmbedder
    from .runtimes import open_onnx, open_openvino

    record = read_record(folder)
    if record.get("bits_of_weights") == 8 and not adds_bytes_exactly():
        log.warning(
            "%s: its bytes were chosen for a processor that adds them exactly, and this one does "
            "not: answers may be worse; make the int8 embedder on this machine",
            folder,
        )
    name = require_runtime(runtime) if runtime else chosen(str(record.get("id")))
    opener = open_openvino if name == "openvino" else open_onnx
    return OnnxEmbedder(folder, record, opener, callers=callers)


def _needs_torch(folder: Path, record: dict[str, Any], device: str, runtime: str | None) -> bool:
    """Does torch run this folder? It alone knows GPUs, and folders without an ONNX file."""
    int8 = record.get("precision") == "int8"
    if int8 and device not in ("auto", "cpu"):
        raise OptionError(
            f"{folder}: an int8 embedder runs on the CPU, but device {device!r} was given; "
            "use auto or cpu, or the float embedder that it was made from"
        )
    if device.startswith("cuda"):
        return True
    if device not in ("auto", "cpu"):
        raise OptionError(f"device {device!r} given; expected auto, cpu or cuda")
    if device == "auto" and not int8 and gpu_names():
        return True
    wanted = runtime or chosen(str(record.get("id")))
    return exported(record) is None or (wanted == "torch" and not int8 and has_torch())


def gpu_names() -> list[str]:
    """The GPUs that torch can use; without a device file in sight torch is not even loaded."""
    if not (gpu_in_sight() and has_torch()):
        return []
    import torch

    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def has_torch() -> bool:
    """Are torch and timm installed? Neither is loaded."""
    return all(util.find_spec(name) for name in ("torch", "timm"))


def pretrained(source: str, options: PretrainedOptions, *, device: str = "auto") -> TorchEmbedder:
    """ "timm:NAME" → a headless pretrained backbone: pooled features, unit rows.

    Raises ModelError for an unknown name, unfitting weights or an unreachable hub.
    """
    if not source.startswith(PREFIX):
        raise OptionError(f"{source!r} given; expected timm:NAME, such as timm:resnet50")
    require_torch()
    from .torch_embedder import TorchEmbedder
    from .torch_network import Architecture, pretrained_network

    architecture = Architecture(
        backbone=source.removeprefix(PREFIX),
        options=options.options,
        dim=None,
        gem_p=options.gem_p,
    )
    checkpoint = Path(options.checkpoint) if options.checkpoint else None
    net = pretrained_network(architecture, checkpoint=checkpoint)
    made_for: Any = net.backbone.pretrained_cfg
    preprocessing = Preprocessing(
        size=options.size or max(made_for["input_size"][1:]),
        fit=options.fit,
        mean=options.mean or tuple(made_for["mean"]),
        std=options.std or tuple(made_for["std"]),
    )
    views = Views(scales=options.scales, flip=options.flip)
    return TorchEmbedder(net, preprocessing, device=device, views=views)


def parse_options(pairs: list[str]) -> dict[str, Any]:
    """["pad_type=same", "drop_rate=0.1"] → {"pad_type": "same", "drop_rate": 0.1}.

    A value is read as JSON where it is JSON, else as a word. Raises OptionError without "=".
    """
    parsed: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise OptionError(f"option {pair!r} given; expected KEY=VALUE")
        try:
            parsed[key] = json.loads(value)
        except ValueError:
            parsed[key] = value
    return parsed


def require_torch() -> None:
    """Raises OptionError with the install command when torch or timm is missing."""
    try:
        import timm
        import torch
    except ImportError as error:
        raise OptionError(
            f"this embedder needs {error.name}; install it with: pip install 'whichlandmark[train]'"
        ) from None
    del timm, torch


def make_embedder(source: str, options: PretrainedOptions, out: Path) -> dict[str, Any]:
    """Write the embedder `source` ("timm:NAME" or a folder) into `out`, exported.

    options: of a backbone; a folder has its own. Returns numbers to print.
    Raises OptionError, DataError or ModelError.
    """
    if not source.startswith(PREFIX):
        return _exported_folder(_folder(source, options), out)
    made = pretrained(source, options, device="cpu")
    made.save(out)
    return summary_of(out)


def summary_of(folder: Path) -> dict[str, Any]:
    """What a folder holds, as numbers to print."""
    record = read_record(folder)
    name = exported(record)
    return {
        "embedder": record["id"],
        "dimensions": record["dim"],
        **record["preprocessing"],
        **record.get("views", {}),
        "file": name or f"{WEIGHTS}, for torch only",
        "megabytes": round((folder / (name or WEIGHTS)).stat().st_size / 1e6, 1),
    }


def _folder(source: str, options: PretrainedOptions) -> Path:
    if not Path(source).is_dir():
        raise OptionError(
            f"{source!r} given; expected timm:NAME, such as timm:resnet50, or an embedder folder"
        )
    if not (Path(source) / RECORD).is_file():
        raise DataError(f"{source}: no embedder there ({RECORD} is missing)")
    if options != PretrainedOptions():
        raise OptionError(
            f"{source}: a folder has its own weights and preprocessing; options of a backbone "
            "(--checkpoint, --size, --scales …) go with timm:NAME only"
        )
    if read_record(Path(source)).get("kind") != "timm":
        raise ModelError(f"{source}: has no network; expected a folder of `train` or `embedder`")
    return Path(source)


def _exported_folder(source: Path, out: Path) -> dict[str, Any]:
    """Copied where it has an ONNX file already, else opened in torch and saved with one."""
    if exported(read_record(source)):
        load_exported(source).save(out)
    else:
        load_net(source, device="cpu").save(out)
    return summary_of(out)
