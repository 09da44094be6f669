"""Labels into Immich and off again, against a stand-in: a transcript, and the requests counted.

    python benchmarks/immich_story.py EMPTY [--photos FOLDER --recognizer FOLDER] [--assets 300]
        [--version 2.3.1] [--kills 8] [--clears]

Starts a fake Immich on loopback with so many photos (of FOLDER, at the size of Immich's previews;
without it drawn ones, and a recognizer of 12 of their 16 landmarks), some with a position or a tag,
among videos, trash, an archive and HEIC names, with rate limits and faults on the way. Runs the
commands as a person would, kills some of the runs by SIGKILL, undoes all, and compares what the
server has with what it had before. Where a photo lies in a folder that is named after a landmark,
also says how many labels are wrong. Exit code 1 when anything is left over.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from PIL import Image as Pillow

import tests_on_path  # noqa: F401
import whichlandmark as wl
from tests.support.fake_immich import KEY, FakeImmich, reset, status
from whichlandmark.data.synthetic.families import landmark
from whichlandmark.data.synthetic.photo import landmark_photo
from whichlandmark.data.synthetic.seeded_random import SeededRandom

PREVIEW_SIDE, PREVIEW_QUALITY = 1440, 80  # Immich's own defaults

SHOWN = 24  # lines of each output


def preview(path: Path) -> bytes:
    """A photo as Immich shows it."""
    file = io.BytesIO()
    with Pillow.open(path) as image:
        image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
        image.convert("RGB").save(file, "JPEG", quality=PREVIEW_QUALITY)
    return file.getvalue()


def drawn_world(folder: Path, count: int) -> tuple[Path, Path]:
    """Draw photos of 16 landmarks and index others of 12 of them; folders of photos, recognizer."""

    def draw(kind: str, number: int, copies: int, name: str) -> None:
        place = folder / kind / name
        place.mkdir(parents=True, exist_ok=True)
        for i in range(copies):
            photo = landmark_photo(
                landmark(0, number), SeededRandom(0, f"{kind} {number} {i}"), 640
            )
            Pillow.fromarray(photo).save(place / f"{i}.jpg", quality=90)

    for number in range(16):
        draw("photos", number, -(-count // 16), f"drawn_{number}")
        if number < 12:
            draw("gallery", number, 8, f"drawn_{number}")
    for number in range(60):
        draw("bank", 100 + number, 1, "none")
        os.replace(folder / "bank/none/0.jpg", folder / f"bank/{number}.jpg")
    gallery = wl.read_folder(folder / "gallery")
    bank = wl.read_folder(folder / "bank", labelled=False)
    wl.build("lite0", gallery, distractors=bank).save(folder / "drawn.wl", overwrite=True)
    return folder / "photos", folder / "drawn.wl"


def filled(fake: FakeImmich, paths: list[Path]) -> dict[str, str]:
    """Put photos into the fake. Returns asset id → name of the photo's folder."""
    folders = {}
    for i, path in enumerate(paths):
        more: dict[str, object] = {"taken": f"20{10 + i % 15}-0{1 + i % 9}-11T0{i % 10}:00:00.000Z"}
        if i % 3 == 0:
            more |= {"latitude": 10.0 + i / 100, "longitude": 20.0}
        elif i % 10 == 1:
            more |= {"latitude": 0, "longitude": 0}
        name = f"IMG_{i:04}.{'HEIC' if i % 4 == 0 else 'jpg'}"
        asset = fake.add(name, preview(path), **more)
        if i % 7 == 0:
            fake.tag(asset, f"holiday/{i % 3}")
        folders[asset.id] = path.parent.name
    for i in range(10):
        fake.add(f"film {i}.mp4", None, type="VIDEO")
        fake.add(f"trash {i}.jpg", preview(paths[i]), trashed=True)
        fake.add(f"archive {i}.jpg", preview(paths[i]), visibility="archive")
    return folders


class Story:
    """The commands, run in EMPTY against a fake."""

    def __init__(self, fake: FakeImmich, folder: Path, recognizer: Path) -> None:
        self.fake, self.folder = fake, folder
        (folder / "key.txt").write_text(f"{KEY}\n")
        (folder / "key.txt").chmod(0o600)
        self.given = ["immich", "--url", fake.base, "--key-file", "key.txt", "--state", "state"]
        self.recognizer = ["-r", str(recognizer)]
        self.environment = {**os.environ, "COLUMNS": "110"}

    def run(self, *options: str) -> int:
        """Run one command; print it, what it says, its exit code, its seconds and its requests."""
        self.fake.log.clear()
        began = time.monotonic()
        recognizer = [] if "--undo" in options else self.recognizer
        command = [*self.given, *recognizer, *options]
        done = subprocess.run(
            [sys.executable, "-m", "whichlandmark.cli", *command], cwd=self.folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self.environment,
        )  # fmt: skip
        lines = done.stdout.splitlines()
        if len(lines) > SHOWN:
            lines = [*lines[:SHOWN], f"… {len(lines) - SHOWN} more lines"]
        print(f"\n$ whichlandmark {' '.join(command)}", *lines, sep="\n")
        print(f"[exit code {done.returncode}, {time.monotonic() - began:.1f} s]")
        for kind, number in self.fake.counts().most_common():
            print(f"  {number:5} × {kind}")
        sys.stdout.flush()
        return done.returncode

    def kill(self, after: int, *options: str) -> bool:
        """Run a command, and kill it when the server was asked so often; False = it had ended."""
        self.fake.log.clear()
        recognizer = [] if "--undo" in options else self.recognizer
        running = subprocess.Popen(
            [sys.executable, "-m", "whichlandmark.cli", *self.given, *recognizer, *options],
            cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=self.environment,
        )  # fmt: skip
        while running.poll() is None and len(self.fake.log) < after:
            time.sleep(0.001)
        if running.poll() is None:
            running.send_signal(signal.SIGKILL)
        return running.wait() == -signal.SIGKILL


def wrong_labels(fake: FakeImmich, folders: dict[str, str], recognizer: wl.Recognizer) -> str:
    """How many photos were labelled, and how many of them wrongly, by the names of folders."""
    counts: Counter[str] = Counter()
    titles = {str(name): str(name).replace("_", " ") for name in recognizer.index.names}
    titles |= recognizer.titles()
    for id, folder in folders.items():
        values = fake.values(fake.assets[id])
        if "landmark/by-whichlandmark" in values:
            counts["labelled"] += 1
            counts["wrong"] += f"landmark/{titles.get(folder, folder)}" not in values
        counts["of a known landmark"] += folder in titles
    return ", ".join(f"{number} {what}" for what, number in counts.items())


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("empty", type=Path)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--recognizer", type=Path)
    parser.add_argument("--assets", type=int, default=300)
    parser.add_argument("--version", default="2.3.1")
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--clears", action="store_true", help="a server that clears positions")
    given = parser.parse_args()
    given.empty.mkdir(parents=True, exist_ok=True)
    chance = random.Random(5)
    source, recognizer = given.photos, given.recognizer
    if source is None or recognizer is None:
        source, recognizer = drawn_world(given.empty / "drawn", given.assets)
    paths = sorted(
        Path(folder, name)
        for folder, _, names in os.walk(source, followlinks=True)
        for name in names
        if name.lower().endswith((".jpg", ".jpeg"))
    )
    chance.shuffle(paths)
    paths = (paths * (given.assets // max(1, len(paths)) + 1))[: given.assets]
    major, minor, patch = map(int, given.version.split("."))
    fake = FakeImmich((major, minor, patch), clears=given.clears)
    folders = filled(fake, paths)
    before = fake.snapshot()
    print(f"Immich v{given.version}: {len(fake.assets)} assets, {given.assets} photos to answer")
    with fake.running():
        story = Story(fake, given.empty, recognizer.absolute())
        failed = story.run("--dry-run", "--gps")
        failed |= fake.snapshot() != before
        shutil.rmtree(given.empty / "state")
        fake.fault("thumbnail", *[None] * 40, status(429, wait="2"), reset,
                   status(502, "Bad Gateway", html=True))  # fmt: skip
        fake.fault("/tags/.*/assets", status(503), reset)
        failed |= story.run("--gps")
        print("by the folders' names:", wrong_labels(fake, folders, wl.load(recognizer)))
        failed |= story.run("--gps")
        once = fake.snapshot()
        undone = story.run("--undo")
        positions = sum(fake.assets[id].latitude != one[3] for id, one in before["photos"].items())
        after = fake.snapshot()
        left = 0 if given.clears else positions
        print(f"\nleft over: {difference(before, after)} (positions that stay: {left})")
        failed |= undone not in (0, 3) or (given.clears and after != before)
        if given.clears:
            failed |= killed(story, given, chance, before, once)
    return int(bool(failed))


def killed(
    story: Story, given: argparse.Namespace, chance: random.Random, before: object, once: object
) -> bool:
    """Kill runs and undos at random moments; whether anything was other than without."""
    shutil.rmtree(given.empty / "state")
    kills = sum(
        story.kill(chance.randrange(3, given.assets * 2), "--gps") for _ in range(given.kills)
    )
    wrong = story.run("--gps", "--quiet") != 0 or story.fake.snapshot() != once
    kills += sum(story.kill(chance.randrange(3, 60), "--undo") for _ in range(given.kills))
    wrong |= story.run("--undo", "--quiet") != 0 or story.fake.snapshot() != before
    print(f"\n{kills} of {2 * given.kills} runs were killed; same result as without: {not wrong}")
    return wrong


def difference(before: dict[str, dict[str, object]], after: dict[str, dict[str, object]]) -> str:
    """What differs, in words."""
    photos = [id for id, one in before["photos"].items() if after["photos"].get(id) != one]
    tags = sorted(set(after["tags"]) ^ set(before["tags"]))
    return f"{len(photos)} photos, {len(tags)} tags {tags or ''}"


if __name__ == "__main__":
    sys.exit(main())
