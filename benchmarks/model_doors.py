"""Which backbones of timm become embedders, and are their vectors the models' own?

    python benchmarks/model_doors.py FOLDER [--names resnet50,…] [--size 224] [--int8]

Saves random weights of each backbone to one file in FOLDER (the vectors mean nothing, but shapes,
errors and differences are the real ones), then runs `embedder timm:NAME --checkpoint FILE`, `index`
of twelve photos and `recognize` of two (640 × 480 and 3000 × 600), as the command line does.

cosine: of the embedder's vector to plain `timm` on the same pixels, the lower of the two photos'.
onnx: largest difference of a number of ONNX Runtime's vectors from torch's.
int8: exit code of `embedder e --int8`, and the cosine to the float vectors.
--size is for backbones that take any size; the others get photos of their own size.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import timm
import torch

import tests_on_path  # noqa: F401
from tests.support.photos import picture, write_photo
from whichlandmark.cli import app, output
from whichlandmark.features.embedders.load import load_onnx, load_torch
from whichlandmark.features.embedders.record import onnx_file, read_record

SHORT = {"depth": 4}  # blocks in the place of 12, because --int8 tries each layer

NAMES: dict[str, dict[str, Any]] = {
    "resnet50": {},
    "regnety_002": {},
    "mobilenetv3_small_050": {},
    "efficientnet_b0": {},
    "convnext_tiny": {"depths": [1, 1, 3, 1]},
    "swin_tiny_patch4_window7_224": {"depths": [1, 1, 2, 1]},
    "beit_base_patch16_224": SHORT,
    "vit_small_patch14_dinov2": SHORT,
    "vit_small_patch16_dinov3": SHORT,
    "vit_base_patch16_siglip_224": SHORT,
    "vit_pe_core_tiny_patch16_384": SHORT,
    "vit_base_patch32_clip_224": SHORT,
    "deit3_small_patch16_224": SHORT,
    "xcit_nano_12_p16_224": SHORT,
    "maxvit_rmlp_pico_rw_256": {},
}

SHAPES = {"640 x 480": (480, 640), "3000 x 600": (600, 3000)}

COLUMNS = (
    "embedder",
    "pool",
    "fit",
    "cosine",
    *SHAPES,
    "index",
    "recognize",
    "onnx",
    "int8",
    "s",
)


def command(*arguments: object) -> tuple[int, str]:
    """Exit code and all output of one command."""
    old, sys.argv = sys.argv, ["whichlandmark", *map(str, arguments)]
    text = io.StringIO()
    code = 0
    try:
        with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
            output.exit_with(app)
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.argv = old
    return code, text.getvalue()


def own_vectors(name: str, checkpoint: Path, options: dict[str, Any], batches: list[Any]) -> Any:
    """Unit rows of plain timm on the same pixels, with the pooling that the embedder states."""
    model = timm.create_model(name, num_classes=0, **options).eval()
    model.load_state_dict(safetensors.torch.load_file(checkpoint), strict=False)
    with torch.inference_mode():
        rows = torch.cat([model(torch.from_numpy(batch)) for batch in batches])
    return torch.nn.functional.normalize(rows.float(), dim=1).numpy()


def measure(name: str, folder: Path, size: int, *, int8: bool) -> dict[str, Any]:
    """The columns of one backbone, and what the last command that failed said."""
    options = NAMES.get(name, {})
    started = time.perf_counter()
    checkpoint, made, gallery = folder / f"{name}.safetensors", folder / "e", folder / "g.wl"
    for old in (made, gallery, folder / "e8"):
        shutil.rmtree(old, ignore_errors=True)
    if not checkpoint.exists():
        torch.manual_seed(0)
        safetensors.torch.save_file(timm.create_model(name, **options).state_dict(), checkpoint)
    source: list[object] = ["embedder", f"timm:{name}", "--checkpoint", checkpoint, "-o", made]
    for key, value in options.items():
        source += ["--option", f"{key}={json.dumps(value)}"]
    code, said = command(*source, "--size", size)
    if code and "pixels only" in said:
        code, said = command(*source)
    row: dict[str, Any] = {"embedder": code, "said": said.strip().splitlines()[-1:]}
    if code:
        return row | {"s": time.perf_counter() - started}
    embedder, record = load_torch(made, device="cpu"), read_record(made)
    photos = [picture(i, 1, shape) for i, shape in enumerate(SHAPES.values())]
    pool = record["architecture"].get("pool", "gem")
    row["pool"] = {"gem": "mean"}.get(pool, pool)
    batches = [batch for photo in photos for batch in embedder.input_pipeline.batches([photo])]
    row |= {
        key: "x".join(map(str, batch.shape[2:])) for key, batch in zip(SHAPES, batches, strict=True)
    }
    row["fit"] = record["preprocessing"]["fit"]
    own_options = dict(record["architecture"]["options"])
    if pool == "cls":
        own_options["global_pool"] = "token"
    rows = embedder(photos)
    own = own_vectors(name, checkpoint, own_options, batches)
    row["cosine"] = f"{(rows * own).sum(axis=1).min():.6f}"
    row["index"], row["said"] = command(
        "index", folder / "photos", "-o", gallery, "--embedder", made
    )
    queries = [folder / f"{i}.jpg" for i in range(len(photos))]
    row["recognize"], answers = command("recognize", *queries, "-r", gallery)
    row["said"] += answers
    row["onnx"] = "none"
    if onnx_file(record):
        row["onnx"] = f"{np.abs(load_onnx(made, runtime='onnxruntime')(photos) - rows).max():.0e}"
    if int8 and onnx_file(record):
        code, said = command(
            "embedder", made, "-o", folder / "e8", "--int8", "--calibrate", folder / "photos",
            "--max-gap-loss", 1, "--json",
        )  # fmt: skip
        row["int8"] = f"{code}"
        if code == 0:
            cosine = json.loads(said[said.index("{") :])["cosine to float, mean"]
            row["int8"] += f" {min(cosine.values()):.4f}"
        row["said"] += said if code else ""
    return row | {"s": time.perf_counter() - started}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--names", default=",".join(NAMES))
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--int8", action="store_true")
    given = parser.parse_args()
    folder: Path = given.folder
    for landmark in range(4):
        for i in range(3):
            path = folder / "photos" / f"place {landmark}" / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_photo(path, picture(landmark, i, (120, 160)))
    for i, shape in enumerate(SHAPES.values()):
        write_photo(folder / f"{i}.jpg", picture(i, 1, shape))
    print(f"{'':<29}" + "".join(f"{column:>11}" for column in COLUMNS))
    for name in given.names.split(","):
        row = measure(name, folder, given.size, int8=given.int8)
        row["s"] = f"{row['s']:.0f}"
        print(f"{name:<29}" + "".join(f"{row.get(c, '-')!s:>11}" for c in COLUMNS), flush=True)
        if row.get("index", row["embedder"]) or row.get("recognize") or "unexpected" in str(row):
            print(f"    {row['said']}", flush=True)


if __name__ == "__main__":
    main()
