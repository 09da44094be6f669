"""Evaluate `lite0`, `sift` and a frozen network on real photos: top-1, GAP, AUROC, seconds.

    python benchmarks/real_photos.py FOLDER [--checkpoint FILE] [--only lite0] [--tune]

FOLDER has index/<landmark>/, query/<landmark>/, unknown/<landmark>/, distractors/ and nonlandmark/.
The gallery is index, with the distractors; the queries are query, unknown and nonlandmark; unknown
landmarks count as no landmark (M = photos of query/). Only the command line is used. "learned" is
the score that `index` chooses; "sure" counts the right answers among those with a confidence of
MIN_CONFIDENCE or more; AUROCs, of unknown landmarks and of photos of none, are those of the learned
score. --checkpoint: weights of timm's mobilenetv2_100 (pad_type=same, mean = std = 0.5); without it
only `lite0` and `sift` are measured, which need no torch. --tune: measure again after `tune`.
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
ROWS: dict[str, list[str] | str] = {
    "lite0": "lite0",
    "lite0, three sizes": ["lite0", "--scales", "0.71,1,1.42"],
    "mobilenetv2 224 squash": [*NETWORK[1:], "--size", "224", "--fit", "squash"],
    "mobilenetv2 384 keep": [*NETWORK[1:], "--size", "384"],
    "mobilenetv2 384 keep GeM 3": [*NETWORK[1:], "--size", "384", "--gem-p", "3"],
    "sift": "sift",
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
    parser.add_argument("--tune", action="store_true", help="measure again after tune")
    options = parser.parse_args()
    head()
    for name, source in ROWS.items():
        of_checkpoint = source[0].startswith("timm:")
        if (of_checkpoint and not options.checkpoint) or (options.only or "") not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            at = Path(folder)
            if isinstance(source, list):
                weights = ("--checkpoint", options.checkpoint) if of_checkpoint else ()
                command("embedder", *source, *weights, "-o", at / "embedder")
                source = str(at / "embedder")
            measure_embedder(name, source, options.photos, at)
            if options.tune:
                command("tune", at / "g.wl")
                answer(f"{name}, tuned", at, 0.0, score=None)


def head() -> None:
    """Print the column titles of `measure_embedder`."""
    print(f"{'':28} {'top-1':>6} {'cosine':>7} {'seed':>7} {'B':>7} {'B + C':>7} "
          f"{'learned':>7} {'top-1':>6} {'unknown':>7} {'none':>6} {'sure':>10} {'index s':>8} "
          f"{'queries s':>9}")  # fmt: skip


def measure_embedder(name: str, source: str, photos: Path, at: Path) -> None:
    """Index, evaluate and print one row. source: as for `index --embedder`."""
    write_queries(photos, at / "queries.csv")
    started = time.monotonic()
    command("index", photos / "index", "-o", at / "g.wl", "--embedder", source,
            "--distractors", photos / "distractors")  # fmt: skip
    answer(name, at, time.monotonic() - started, score="learned")


def answer(name: str, at: Path, seconds: float, *, score: str | None) -> None:
    """Evaluate a recognizer and print its row. score: None = by the rules that it has."""
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
                *(("--score", score) if score else ()), "--json")
    )  # fmt: skip
    print(
        f"{name:28} {found['top1']:6.3f} {gaps['cosine']:7.3f} {gaps['query_penalty']:7.3f} "
        f"{gaps['gallery_penalty']:7.3f} {gaps['both_penalties']:7.3f} "
        f"{learned['gap']:7.3f} {learned['top1']:6.3f} {learned['auroc_unknown']:7.3f} "
        f"{learned['auroc_no_landmark']:6.3f} {confident_share(at / 'p.csv'):>10} {seconds:8.1f} "
        f"{answered - indexed:9.1f}",
        flush=True,
    )


def confident_share(predictions: Path) -> str:
    """Right answers among those with a confidence of MIN_CONFIDENCE or more, as "N of M"."""
    with open(predictions, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if float(row["confidence"]) >= MIN_CONFIDENCE]
    return f"{sum(row['landmark'] == row['truth'] for row in rows)} of {len(rows)}"


if __name__ == "__main__":
    main()
