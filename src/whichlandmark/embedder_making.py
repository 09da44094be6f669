"""An embedder folder from what is at hand: a pretrained backbone, or another folder."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .data.folders import read_photos_or_folder
from .embedder_folder import RECORD, WEIGHTS, exported, read_record
from .errors import DataError, ModelError, OptionError
from .loading import PREFIX, PretrainedOptions, load_exported, load_net, pretrained
from .pipeline.pipeline import Progress
from .quantising import Quantised, quantise


def make_embedder(source: str, options: PretrainedOptions, out: Path) -> dict[str, Any]:
    """Write the embedder `source` ("timm:NAME" or a folder) into `out`, exported.

    options: of a backbone; a folder has its own. Returns numbers to print.
    Raises OptionError, DataError or ModelError.
    """
    if not source.startswith(PREFIX):
        return _exported_folder(_folder(source, options), out)
    made = pretrained(source, options, device="cpu")
    made.save(out)
    return told(out)


def make_int8(
    source: str,
    options: PretrainedOptions,
    out: Path,
    photos: Path,
    *,
    max_gap_loss: float,
    progress: Callable[[str], Progress],
) -> Quantised:
    """Write the int8 embedder of `source` into `out`; photos: labelled. Raises as `quantise`."""
    table = read_photos_or_folder(photos)
    with tempfile.TemporaryDirectory(prefix="whichlandmark-") as temporary:
        folder = Path(temporary)
        if not source.startswith(PREFIX) and exported(read_record(_folder(source, options))):
            folder = Path(source)
        else:
            make_embedder(source, options, folder)
        made = quantise(folder, out, table, max_gap_loss=max_gap_loss, progress=progress)
    return Quantised(told(out) | made.counts, made.failures)


def told(folder: Path) -> dict[str, Any]:
    """What a folder holds, as numbers to print."""
    record = read_record(folder)
    name = exported(record)
    return {
        "embedder": record["id"], "dimensions": record["dim"],
        **record["preprocessing"], **record.get("views", {}),
        "file": name or f"{WEIGHTS}, for torch only",
        "megabytes": round((folder / (name or WEIGHTS)).stat().st_size / 1e6, 1),
    }  # fmt: skip


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
    return told(out)
