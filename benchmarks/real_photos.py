"""Evaluate `sift` and a frozen network on real photos: top-1, GAP under each score, seconds.

    python benchmarks/real_photos.py FOLDER [--checkpoint FILE] [--only sift]

FOLDER has index/<landmark>/, query/<landmark>/, unknown/<landmark>/, distractors/ and nonlandmark/.
The gallery is index, with the distractors; the queries are query, unknown and nonlandmark; unknown
landmarks count as no landmark (M = photos of query/). Only the command line is used. "learned" is
the score that `index` chooses; "sure" counts the right answers among those with a confidence of
MIN_CONFIDENCE or more. --checkpoint: weights of timm's mobilenetv2_100 (pad_type=same, mean = std =
0.5); without it only the row of sift is measured.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NETWORK = ["embedder", "timm:mobilenetv2_100", "--option", "pad_type=same", "--mean", "0.5",
           "--std", "0.5"]  # fmt: skip
MIN_CONFIDENCE = 0.97
ROWS = {
    "mobilenetv2 224 squash": ["--size", "224", "--fit", "squash"],
    "mobilenetv2 384 keep": ["--size", "384"],
    "mobilenetv2 384 keep GeM 3": ["--size", "384", "--gem-p", "3"],
    "sift": None,
}


def command(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "whichlandmark.cli", *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode not in (0, 3):  # 3: some photos failed and are listed
        raise SystemExit(f"{' '.join(map(str, arguments))}\n{done.stderr}")
    return done.stdout


def write_queries(photos: Path, path: Path) -> None:
    """Write one table of all queries; unknown landmarks keep their names, which no gallery has."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "path", "landmark"])
        for part in ("query", "unknown", "nonlandmark"):
            for photo in sorted((photos / part).rglob("*.jpg")):
                landmark = "" if part == "nonlandmark" else photo.parent.name
                writer.writerow([photo.relative_to(photos).as_posix(), photo, landmark])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=lambda text: Path(text).resolve())
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--only", help="only rows whose name contains this")
    options = parser.parse_args()
    head()
    for name, flags in ROWS.items():
        if (flags and not options.checkpoint) or (options.only and options.only not in name):
            continue
        with tempfile.TemporaryDirectory() as folder:
            measure(name, flags, options.photos, options.checkpoint, Path(folder))


def head() -> None:
    """Print the column titles of `measure_embedder`."""
    print(f"{'':28} {'top-1':>6} {'cosine':>7} {'seed':>7} {'B':>7} {'B + C':>7} "
          f"{'learned':>7} {'sure':>10} {'index s':>8} {'queries s':>9}")  # fmt: skip


def measure(
    name: str, flags: list[str] | None, photos: Path, checkpoint: Path | None, at: Path
) -> None:
    source = "sift"
    if flags:
        command(*NETWORK, *flags, "--checkpoint", checkpoint, "-o", at / "embedder")
        source = str(at / "embedder")
    measure_embedder(name, source, photos, at)


def measure_embedder(name: str, source: str, photos: Path, at: Path) -> None:
    """Index, evaluate and print one row. source: as for `index --embedder`."""
    write_queries(photos, at / "queries.csv")
    started = time.monotonic()
    command("index", photos / "index", "-o", at / "g.wl", "--embedder", source,
            "--distractors", photos / "distractors")  # fmt: skip
    indexed = time.monotonic()
    # The published table has the top-1 of the nearest photo, so evaluate with the cosine score.
    found = json.loads(
        command("evaluate", at / "queries.csv", "--recognizer", at / "g.wl", "-o", at / "p.csv",
                "--score", "cosine", "--all-scores", "--json")
    )  # fmt: skip
    answered = time.monotonic()
    gaps = found["gap_by_score"]
    learned = json.loads(
        command("evaluate", at / "queries.csv", "--recognizer", at / "g.wl", "-o", at / "p.csv",
                "--score", "learned", "--json")
    )  # fmt: skip
    print(
        f"{name:28} {found['top1']:6.3f} {gaps['cosine']:7.3f} {gaps['query_penalty']:7.3f} "
        f"{gaps['gallery_penalty']:7.3f} {gaps['both_penalties']:7.3f} "
        f"{learned['gap']:7.3f} {confident_share(at / 'p.csv'):>10} "
        f"{indexed - started:8.1f} {answered - indexed:9.1f}",
        flush=True,
    )


def confident_share(predictions: Path) -> str:
    """Right answers among those with a confidence of MIN_CONFIDENCE or more, as "N of M"."""
    with open(predictions, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if float(row["confidence"]) >= MIN_CONFIDENCE]
    return f"{sum(row['landmark'] == row['truth'] for row in rows)} of {len(rows)}"


if __name__ == "__main__":
    main()
