"""From a name to an answer: import a city, clean, index, tune, recognize, serve; a transcript.

    python benchmarks/collect_story.py EMPTY [--landmarks 25] [--photos 900] [--limit 40]

Starts a stand-in of Wikimedia on loopback with a drawn city, which refuses what Wikimedia refuses,
and runs each command against it as a person would, with the real clock. Prints each command, what
it says, its exit code and its time, and what the stand-in counted; then how many new photos are
answered rightly. Pictures of the page (EMPTY/page-*.png), the tables and pages stay in EMPTY, to be
looked at. Exit code 1 when a command fails or the stand-in had to refuse something.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import tests_on_path  # noqa: F401
from served import serving
from tests.support.fake_city import CITY, drawn_city
from tests.support.fake_wikimedia import FakeWikimedia
from tests.support.fake_world import Drawing, World, picture

SHOWN = 40  # lines of each output, from the start and the end
COMMANDS = (
    "import commons --in {city} --landmarks {landmarks} --limit {limit} --languages en,fr "
    "--contact me@example.org -o city --dry-run",
    "import commons --in {city} --landmarks {landmarks} --limit {limit} --languages en,fr "
    "--contact me@example.org -o city",
    "import commons --in {city} --landmarks {landmarks} --limit {limit} --languages en,fr "
    "--contact me@example.org -o city",
    "clean city/photos.csv -o city/clean.csv --graph",
    "index city/clean.csv -o city.wl --landmarks city/landmarks.csv --credits city/credits.csv "
    "--distractors city/distractors.csv",
    "tune city.wl",
    "recognize new -r city.wl --csv answers.csv",
    "evaluate new/new.csv -r city.wl -o predictions.csv",
    "report predictions.csv -o report.html",
)


def run(command: str, folder: Path, address: str) -> int:
    """Run one command, and print it with its output, exit code and seconds."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "whichlandmark.cli", *command.split()], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "WHICHLANDMARK_COMMONS_URL": address, "COLUMNS": "110"},
    )  # fmt: skip
    lines = done.stdout.splitlines()
    if len(lines) > SHOWN:
        cut = f"… {len(lines) - SHOWN} more lines"
        lines = [*lines[: SHOWN // 2], cut, *lines[-SHOWN // 2 :]]
    print(f"\n$ whichlandmark {command}", *lines, sep="\n")
    print(f"[exit code {done.returncode}, {time.monotonic() - began:.1f} s]", flush=True)
    return done.returncode


def draw_queries(world: World, folder: Path, landmarks: int) -> None:
    """Photos that the city's Commons does not have: 3 of each landmark, and as many of none."""
    folder.mkdir()
    shown = [number for number in range(landmarks) for _ in range(3)]
    rows = ["id,path,landmark"]
    for at, number in enumerate([*shown, *[-1] * len(shown)]):
        name = world.landmarks[number] if number >= 0 else "none"
        drawing = Drawing(20, number, f"new {at}", 960)
        size = (960, round(960 * (drawing.shape() or 0.75)))
        (folder / f"{name}-{at}.jpg").write_bytes(picture(drawing, size))
        rows.append(f"{at},{name}-{at}.jpg,{name if number >= 0 else ''}")
    (folder / "new.csv").write_text("\n".join(rows) + "\n")


def score(answers: Path) -> None:
    """Print how many of the new photos were answered rightly."""
    import csv

    with open(answers, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    shown = [row for row in rows if "none-" not in row["path"]]
    none = [row for row in rows if "none-" in row["path"]]
    named = [row for row in shown if row["decision"] == "landmark"]
    right = sum(row["landmark"] in row["path"] for row in named)
    false = sum(row["decision"] == "landmark" for row in none)
    print(f"\nnew photos: {len(shown)} of landmarks, {len(named)} of them named, {right} rightly; "
          f"{len(none)} without one, {false} of them named")  # fmt: skip


def take_pictures(recognizer: Path, photo: Path, folder: Path) -> None:
    """Serve the recognizer, ask about a photo on the page, and save pictures of what it shows."""
    from playwright.sync_api import sync_playwright

    chromium = next(path for path in ("/usr/bin/chromium", "/usr/bin/google-chrome")
                    if Path(path).exists())  # fmt: skip
    with serving(recognizer) as server, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium)
        for name in ("city/clean.cleaning.html", "report.html"):
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto((folder / name).resolve().as_uri())
            page.screenshot(path=folder / f"page-{Path(name).stem}.png", full_page=True)
        for name, size in (("phone", (390, 844)), ("desktop", (1440, 900))):
            page = browser.new_page(viewport={"width": size[0], "height": size[1]})
            page.goto(f"http://127.0.0.1:{server.port}/")
            page.set_input_files("#files", str(photo))
            page.locator("#answers h2, #answers h3").first.wait_for()
            page.wait_for_timeout(1500)
            page.screenshot(path=folder / f"page-{name}-answer.png", full_page=True)
            page.goto(f"http://127.0.0.1:{server.port}/#gallery")
            page.locator("#landmarks .card").first.click()
            page.locator(".photos li img").first.wait_for()
            page.wait_for_timeout(1500)
            page.screenshot(path=folder / f"page-{name}-landmark.png", full_page=True)
        browser.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--landmarks", type=int, default=25)
    parser.add_argument("--photos", type=int, default=900)
    parser.add_argument("--limit", type=int, default=40)
    given = parser.parse_args()
    given.folder.mkdir(parents=True)
    world = drawn_city(given.landmarks, given.photos)
    draw_queries(world, given.folder / "new", given.landmarks)
    values = {"city": CITY, "landmarks": given.landmarks, "limit": given.limit}
    with FakeWikimedia(world) as server:
        codes = [run(text.format(**values), given.folder, server.base) for text in COMMANDS]
        refused = {name: n for name, n in server.counts.items() if name.startswith("refused")}
        print("\nthe stand-in counted:", json.dumps(dict(sorted(server.counts.items()))))
        print(f"API requests at once: {server.max_parallel_api}; files at once: "
              f"{server.max_parallel_media}; files sent: {len(server.fetched)}, "
              f"sent twice: {sum(n > 1 for n in server.fetched.values())}")  # fmt: skip
    score(given.folder / "answers.csv")
    first = sorted((given.folder / "new").glob(f"{world.landmarks[0]}-*.jpg"))[0]
    take_pictures(given.folder / "city.wl", first, given.folder)
    return 1 if any(code not in (0, 3) for code in codes) or refused else 0


if __name__ == "__main__":
    sys.exit(main())
