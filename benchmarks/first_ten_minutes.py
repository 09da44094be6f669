"""The first ten minutes of a photo owner and of an engineer, from a fresh clone, as transcripts.

    python benchmarks/first_ten_minutes.py FOLDER --work EMPTY [--who owner|engineer]

FOLDER is laid out as for real_photos.py. Clones this checkout into EMPTY, makes a new virtual
environment, installs as the README says, and runs what such a person types, the usual mistakes
included. Prints each command, the first and last lines of what it says, its exit code and its time;
writes EMPTY/owner.md and EMPTY/engineer.md. Pictures and pages stay in EMPTY, to be looked at.
Exit code 1 when a command ended with another exit code than expected.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
SHOWN = 14  # lines of output in a transcript, from the start and the end

# (command, expected exit code); `paris`, `holiday`, `streets` are folders of photos.
OWNER = (
    ("pip install --quiet ./whichlandmark", 0),
    ("whichlandmark", 2),
    ("whichlandmark recognise holiday", 2),
    ("whichlandmark recognize holiday", 2),
    ("whichlandmark index paris -o paris.wl", 0),
    ("whichlandmark recognize holiday -r paris.wl", 0),
    ("whichlandmark index paris -o paris.wl --distractors streets", 0),
    ("whichlandmark recognize holiday -r paris.wl --csv answers.csv", 0),
    ("head -4 answers.csv", 0),
    ("whichlandmark recognize holiday/query-3.jpg -r paris.wl --explain why.html", 0),
    ("whichlandmark recognize 'holiday/query-*.jpg' nowhere.jpg -r paris.wl", 3),
    ("whichlandmark gallery list paris.wl", 0),
    ("whichlandmark gallery add paris.wl more", 0),
    ("whichlandmark serve paris.wl", 2),
)

ENGINEER = (
    ("pip install --quiet './whichlandmark[report,train,serve]'", 0),
    ("whichlandmark import csv manifest.csv --path path --landmark landmark --id name -o t.csv", 0),
    ("whichlandmark import folder paris -o photos.csv", 0),
    ("whichlandmark clean photos.csv -o clean.csv", 0),
    ("whichlandmark split clean.csv -o splits --test 0.2", 0),
    ("whichlandmark index splits/train.csv -o r.wl --distractors streets", 0),
    ("whichlandmark evaluate splits/test.csv -r r.wl -o p.csv", 0),
    ("whichlandmark report p.csv -o report.html", 0),
    ("whichlandmark report p.csv -o splits/test.csv", 2),
    ("whichlandmark tune r.wl", 0),
    ("whichlandmark evaluate splits/test.csv -r r.wl -o tuned.csv", 0),
    ("whichlandmark compare p.csv tuned.csv", 0),
    ("whichlandmark train splits/train.csv -o e --recipe finetune --set crop=0", 2),
    ("whichlandmark train splits/train.csv -o e --recipe finetune --epochs 1", 0),
    ("python -c \"import whichlandmark as wl; r = wl.load('r.wl'); print(repr(r)); "
     "print(r('holiday/query-3.jpg')); print(wl.read_photos('splits/test.csv')[:3])\"", 0),
    ("whichlandmark serve r.wl --port 8765 & sleep 8; curl -s -F photos=@holiday/query-3.jpg "
     "http://127.0.0.1:8765/v1/recognize | head -c 400; kill $!", 0),
)  # fmt: skip


def lay_out(photos: Path, work: Path) -> None:
    """Copy photos as a person has them: labelled ones, others, a holiday, and a csv of all."""
    shutil.copytree(photos / "index", work / "paris", dirs_exist_ok=True)
    shutil.copytree(photos / "distractors", work / "streets", dirs_exist_ok=True)
    (work / "holiday").mkdir(exist_ok=True)
    for part, every in (("query", 12), ("unknown", 12), ("nonlandmark", 20)):
        found = sorted(path for path in (photos / part).rglob("*") if path.is_file())
        for number, path in enumerate(found[::every]):
            shutil.copy(path, work / "holiday" / f"{part}-{number}{path.suffix}")
    for path in sorted(path for path in (photos / "query").rglob("*") if path.is_file())[::9]:
        (work / "more" / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, work / "more" / path.parent.name / path.name)
    lines = ["name,path,landmark"]
    for path in sorted((work / "paris").rglob("*.*")):
        below = path.relative_to(work)
        lines.append(f'"{below.parent.name} {path.stem}","{below}","{path.parent.name}"')
    (work / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def transcript(who: str, commands: tuple[tuple[str, int], ...], work: Path) -> bool:
    """Run the commands, print and write them; True when every exit code is as expected."""
    subprocess.run([sys.executable, "-m", "venv", work / f"venv-{who}"], check=True)
    path = f"{work / f'venv-{who}' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    lines, right, begun = [f"# {who}\n"], True, time.perf_counter()
    for command, expected in commands:
        started = time.perf_counter()
        done = subprocess.run(
            ["bash", "-c", command], cwd=work, env=clean | {"PATH": path}, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        seconds, whole = time.perf_counter() - started, time.perf_counter() - begun
        said = done.stdout.splitlines()
        if len(said) > 2 * SHOWN:
            said = [*said[:SHOWN], f"… {len(said) - 2 * SHOWN} more lines …", *said[-SHOWN:]]
        wrong = "" if done.returncode == expected else f", EXPECTED {expected}"
        right &= not wrong
        lines += ["```text", f"$ {command}", *(line[:200] for line in said), "```",
                  f"exit code {done.returncode}{wrong}; {seconds:.1f} s, {whole / 60:.1f} minutes "
                  "since the start\n"]  # fmt: skip
        print("\n".join(lines[-len(said) - 4 :]), flush=True)
    (work / f"{who}.md").write_text("\n".join(lines), encoding="utf-8")
    return right


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--who", choices=("owner", "engineer"))
    given = parser.parse_args()
    work = given.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "whichlandmark").exists():
        subprocess.run(["git", "clone", "--quiet", CHECKOUT, work / "whichlandmark"], check=True)
    lay_out(given.photos, work)
    right = True
    for who, commands in (("owner", OWNER), ("engineer", ENGINEER)):
        if given.who in (None, who):
            right &= transcript(who, commands, work)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
