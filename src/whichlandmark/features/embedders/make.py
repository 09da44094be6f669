"""An embedder folder from what is at hand: a pretrained backbone, or another folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...core.errors import DataError, ModelError, OptionError
from .load import (
    PREFIX,
    RECORD,
    WEIGHTS,
    PretrainedOptions,
    exported,
    load_exported,
    load_net,
    pretrained,
    read_record,
)


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
