"""Compare a small network trained on drawn photos alone with `sift`, on real photos.

    python benchmarks/default_embedder.py FOLDER [--out DIR] [--epochs 30] [--set KEY=VALUE …]

FOLDER: real photos as for real_photos.py. Draws a large world, trains with `whichlandmark train`,
and prints the frozen network's row beside that of sift, with one protocol. Such a network becomes
the default of `index` if its GAP is at least 0.05 higher than that of sift.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from real_photos import command, head, measure_embedder
from whichlandmark.data.synthetic.plan import DrawnWorld
from whichlandmark.data.synthetic.world import draw_world

WORLD = DrawnWorld(
    seed=1000, landmarks=150, unknown_landmarks=2, photos=5000, queries=10, unknown_queries=2,
    nonlandmark_queries=10, distractors=10, mislabelled=0, duplicate=0, near_duplicate=0, indoor=0,
    corrupt=0,
)  # fmt: skip
SETTINGS = {
    "backbone": "resnet10t", "options": {"channels": [48, 96, 192, 384], "stem_width": 24},
    "dim": 256, "size": 192, "crop": 112, "least_area": 0.25, "jitter": 0.6, "workers": 1,
    "landmarks_per_batch": 16, "photos_per_landmark": 4, "subspaces": 6, "loss": "both",
    "lr": 3e-3, "ema": 0.998, "validation": 0.05,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=lambda text: Path(text).resolve())
    parser.add_argument("--out", type=Path, default=Path("runs/default_embedder"))
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    options = parser.parse_args()
    at = options.out
    if not (at / "world" / "photos.csv").exists():
        draw_world(at / "world", WORLD)
    (at / "settings.json").write_text(json.dumps(SETTINGS))
    words = [word for setting in options.settings for word in ("--set", setting)]
    started = time.monotonic()
    told = json.loads(
        command("train", at / "world" / "photos.csv", "-o", at / "embedder", "--config",
                at / "settings.json", "--epochs", options.epochs, "--json", *words)
    )  # fmt: skip
    size = (at / "embedder" / "model.safetensors").stat().st_size / 4e6
    minutes = (time.monotonic() - started) / 60
    print(f"trained in {minutes:.1f} min; {size:.1f} million weights; "
          f"validation GAP {told['gap_nearest_photo']:.3f} on drawn photos",
          flush=True)  # fmt: skip
    head()
    for name, source in (("drawn photos alone", str(at / "embedder")), ("sift", "sift")):
        with tempfile.TemporaryDirectory() as folder:
            measure_embedder(name, source, options.photos, Path(folder))


if __name__ == "__main__":
    main()
