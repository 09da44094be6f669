"""Evaluate on a public data set laid out as Google Landmarks v2: import, index, evaluate.

    python examples/evaluate_gldv2.py /data/gldv2 gldv2/ --embedder embedder/ --distractors streets/

The first argument is the data set's folder: its csv files and its tars or unpacked photos, as
downloaded (docs/data.md lists them). Tables, recognizer, predictions.csv and submission.csv are
written into the second folder. The gallery is `train.csv` (its clean selection if there is one),
the queries are `test.csv`. The same command resumes an interrupted run. Prints the GAP as the
challenge counts it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

EXIT_SOME_FAILED = 3  # exit code: done, but some photos could not be used; they are listed


def run(*arguments: object) -> None:
    """Run a whichlandmark command. Ends this program when the command fails."""
    command = [sys.executable, "-m", "whichlandmark.cli", *map(str, arguments)]
    print("whichlandmark", *command[3:], file=sys.stderr, flush=True)
    code = subprocess.run(command, stdout=sys.stderr).returncode
    if code not in (0, EXIT_SOME_FAILED):
        sys.exit(code)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="folder of the data set")
    parser.add_argument("out", type=Path, help="output folder")
    parser.add_argument("--embedder", default="lite0", help="lite0, a folder, timm:NAME, or sift")
    parser.add_argument("--distractors", type=Path, help="photos without a landmark")
    parser.add_argument("--no-md5", action="store_true", help="do not check the MD5 of the tars")
    options = parser.parse_args()
    tables, recognizer = options.out / "tables", options.out / "recognizer.wl"

    run("import", "gldv2", options.root, "-o", tables, *["--no-md5"] * options.no_md5)
    distractors = ["--distractors", options.distractors] if options.distractors else []
    run("index", tables / "train.csv", "-o", recognizer, "--embedder", options.embedder,
        *distractors)  # fmt: skip

    predictions = options.out / "predictions.csv"
    run("evaluate", tables / "test.csv", "--recognizer", recognizer, "-o", predictions,
        "--submission", options.out / "submission.csv")  # fmt: skip

    scores = json.loads(predictions.with_suffix(".scores.json").read_text(encoding="utf-8"))
    print(f"{scores['queries']} queries, {scores['known']} of them show a landmark of the gallery")
    print(f"GAP, as the challenge counts it: {scores['gap_all_landmarks']:.4f}")
    for usage, gap in scores["gap_by_usage"].items():
        print(f"  of {usage}: {gap:.4f}")
    print(f"GAP over the queries of gallery landmarks: {scores['gap']:.4f}")


if __name__ == "__main__":
    main()
