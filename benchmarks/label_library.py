"""Label a library of real photos, undo it, kill it at random moments: is nothing left over or lost?

    python benchmarks/label_library.py PHOTOS -r paris.wl [--photos 600] [--kills 30] [--many 5000]

PHOTOS has folders of the recognizer's test: `query/<landmark>/`, `unknown/<landmark>/`,
`nonlandmark/`, and `index/<landmark>/` to fill up. They are copied into a library as people have
them: JPEG, HEIC, AVIF, PNG, WebP and TIFF, some with a position or keywords in the file, two in
five with a sidecar of darktable, digiKam, Lightroom, Immich or an odd one, in sub-folders, with
names in several scripts, read-only files, RAW+JPEG pairs, and what systems leave behind. A second
copy is kept. Then the command line runs, and every sidecar is read by exiftool:

    plan       nothing is written
    write      each sidecar says what the plan said, and all else as before; photos are untouched
    again      nothing is left to do, no file is touched
    gps        positions only where neither photo nor sidecar had one
    undo       `diff -r` with the copy prints nothing
    kills      SIGKILL at random moments of write and undo, then the same command again: the same
               bytes as without a kill
    others     exiftool adds a keyword to half of the sidecars; undo takes only ours out
    many       photos/s and memory of a large library, Ctrl-C and resume

Exit code 1 when anything differs. Of the photos of query, unknown and nonlandmark it also says how
many labels are wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image as Pillow

import tests_on_path  # noqa: F401
from tests.support import xmp_shapes
from tests.support.photo_library import (
    exif_of,
    iptc_block,
    make_writable,
    photoshop_segment,
    with_segments,
    xmp_segment,
)
from whichlandmark.library.sidecars import embedded
from whichlandmark.recognition.folder.load import load

FOLDERS = ("2019", "2019/06 June", "2021/Été à Paris", "2021/東京", "DCIM/100APPLE", "read only",
           unicodedata.normalize("NFD", "Années/Château"), "Camera Roll & more (1)")  # fmt: skip

POSITIONS = {  # as they stand in the shapes → latitude or longitude
    "48,51.366600N": 0, "2,21.132000E": 1, "48,51.5N": 0, "2,21.1E": 1,
}  # fmt: skip

OURS = ("XMP-dc:Subject", "XMP-lr:HierarchicalSubject", "XMP-digiKam:TagsList",
        "XMP-microsoft:LastKeywordXMP", "XMP-iptcExt:LocationShown", "XMP-exif:GPSLatitude",
        "XMP-exif:GPSLongitude")  # fmt: skip


@dataclass
class Report:
    """The table: what was looked at, and whether it was right."""

    rows: list[tuple[str, str, bool]] = field(default_factory=list)

    def say(self, what: str, found: str, good: bool = True) -> None:
        self.rows.append((what, found, good))
        print(f"{'' if good else 'FAULT  '}{what}: {found}", flush=True)

    def all_the_same(self, what: str, faults: Sequence[str]) -> None:
        self.say(what, "; ".join(faults[:5]) if faults else "as it should be", not faults)

    @property
    def faults(self) -> int:
        return sum(not good for _, _, good in self.rows)


@dataclass
class World:
    """A library, its copy, and what is known of it."""

    work: Path
    library: Path
    copy: Path
    recognizer: Path
    truth: dict[str, str | None]  # photo → landmark, of test photos
    above: float | None = None  # confidence of a label; None = as measured on the gallery

    def label(self, *options: str, library: Path | None = None) -> list[str]:
        recognizer = () if "--undo" in options else ("-r", str(self.recognizer))
        if recognizer and self.above is not None:
            recognizer += ("--above", str(self.above))
        return [sys.executable, "-m", "whichlandmark", "label", str(library or self.library),
                *recognizer, "--state", str(self.work / "state"), "--json", *options]  # fmt: skip


def make_library(
    folder: Path, photos: Path, count: int, places: dict[str, tuple[float, float]], seed: int
) -> dict[str, str | None]:
    """Copy photos into a library of many shapes. Returns the truth of the test photos.

    places: landmark → its position, which photos of it get.
    """
    rng = random.Random(seed)
    sources = [(path, part) for part in ("query", "unknown", "nonlandmark")
               for path in sorted((photos / part).rglob("*.jpg"))]  # fmt: skip
    more = [(path, "index") for path in sorted((photos / "index").rglob("*.jpg"))]
    rng.shuffle(sources)
    rng.shuffle(more)
    sources = [*sources[:count], *more[: max(0, count - len(sources))]]
    truth: dict[str, str | None] = {}
    for number, (source, part) in enumerate(sources):
        name = source.parent.name
        where = places.get(name, (48.8566, 2.3522))
        path = put(folder, number, source, where, rng)
        if part != "index":
            truth[path] = name if part == "query" else None
    leave_behind(folder)
    return truth


def put(
    folder: Path, number: int, source: Path, where: tuple[float, float], rng: random.Random
) -> str:
    """One photo: its format, its metadata and its sidecar go by its number."""
    below = FOLDERS[number % len(FOLDERS)]
    stem = ("IMG_{0:04}", "été {0}", "{0} & «b» 100%", "DSC{0:05}", "写真{0} 🗼")[number % 5]
    ending = {3: "heic", 7: "webp", 11: "avif", 15: "png", 19: "tif"}.get(number % 40, "jpg")
    if number % 40 in (23, 24):
        ending = "JPG"
    path = folder / below / f"{stem.format(number)}.{ending}"
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = exif_of(position=where) if number % 7 == 0 else exif_of(keywords="Windows;Paris")
    if ending in ("jpg", "JPG"):
        shutil.copyfile(source, path)
        if number % 9 == 4:
            with_segments(path, photoshop_segment(iptc_block("Ferien", "Straße")))
        if number % 9 == 5:
            shape = xmp_shapes.SHAPES[("digikam", "exiftool", "locations")[number % 3]]
            with_segments(path, xmp_segment(shape))
        if number % 7 in (0, 1):
            segment = b"Exif\0\0" + exif.removeprefix(b"Exif\0\0")
            head = b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big")
            with_segments(path, head + segment)
    else:
        save(source, path, exif)
    if number % 5 in (1, 3):
        put_sidecar(path, number, where, rng)
    if number % 50 == 9:
        path.chmod(0o444)
    return path.relative_to(folder).as_posix()


def save(source: Path, path: Path, exif: bytes) -> None:
    """The photo in another format."""
    image = Pillow.open(source).convert("RGB")
    if path.suffix == ".heic":
        import pillow_heif

        pillow_heif.from_pillow(image).save(path, quality=90, exif=exif)
    elif path.suffix == ".tif":
        image.save(path, compression="tiff_lzw")
    else:
        image.save(path, quality=92, exif=exif)


def put_sidecar(path: Path, number: int, where: tuple[float, float], rng: random.Random) -> None:
    """A sidecar of a program, of any odd shape or a broken one, beside a photo."""
    name = ("darktable", "digikam", "lightroom", "exiftool", "immich")[number // 5 % 5]
    if number % 4 == 3:
        name = rng.choice(list(xmp_shapes.SHAPES))
    data = xmp_shapes.SHAPES[name]
    if b"48,51" in data:
        for text, axis in POSITIONS.items():
            data = data.replace(text.encode(), coordinate(where[axis], axis).encode())
    beside = path.with_name(f"{path.name}.xmp")
    if name in ("lightroom", "camera raw") and path.suffix == ".jpg":
        beside = path.with_suffix(".xmp")
        if number % 2:  # the sidecar is that of the raw photo
            path.with_suffix(".CR2").write_bytes(b"II*\0\x10\0\0\0CR\2\0" + bytes(64))
    elif number % 30 == 8:
        beside = path.with_name(f"{path.name}.XMP")
    if number % 60 == 13:
        data = rng.choice([data for data, _ in xmp_shapes.HOSTILE.values()])[:100_000]
    beside.write_bytes(data)
    if number % 60 == 31:
        beside.chmod(0o444)
    if name == "darktable":
        path.with_name(f"{path.stem}_01{path.suffix}.xmp").write_bytes(data)


def coordinate(degrees: float, axis: int) -> str:
    letter = ("NS", "EW")[axis][degrees < 0]
    return f"{int(abs(degrees))},{abs(degrees) % 1 * 60:.6f}{letter}"


def leave_behind(folder: Path) -> None:
    """What systems and clouds leave in a library, and a folder that may not be written to."""
    photos = sorted(folder.rglob("*.jpg"))
    for photo in photos[::40]:
        thumbs = photo.parent / "@eaDir" / photo.name
        if os.access(photo.parent, os.W_OK):
            thumbs.mkdir(parents=True)
            shutil.copyfile(photo, thumbs / "SYNOPHOTO_THUMB_M.jpg")
            (photo.parent / f".{photo.stem}.HEIC.icloud").write_bytes(b"bplist00" + bytes(99))
            (photo.parent / f"._{photo.name}").write_bytes(b"\0\5\x16\7" + bytes(99))
            (photo.parent / f"{photo.stem} gone.jpg.xmp").write_bytes(
                xmp_shapes.SHAPES["exiftool"])  # fmt: skip
    (folder / "read only").chmod(0o555)


def copy_of(folder: Path, place: Path) -> Path:
    """A copy with times, modes and links; `cp` keeps what `shutil.copytree` cannot."""
    remove_tree(place)
    subprocess.run(["cp", "-a", str(folder), str(place)], check=True)
    return place


def remove_tree(place: Path) -> None:
    if place.exists():
        make_writable(place)
        shutil.rmtree(place)


def differences(one: Path, other: Path) -> list[str]:
    run = subprocess.run(["diff", "-r", str(one), str(other)], capture_output=True, text=True,
                         errors="replace")  # fmt: skip
    return run.stdout.splitlines() + run.stderr.splitlines()


def other_files(one: Path, other: Path) -> list[str]:
    """Files that only one of two folders has, or whose bytes differ."""
    first, second = (
        {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}
        for top in (one, other)
    )
    return sorted(name for name in {*first, *second} if first.get(name) != second.get(name))


def other_times(one: Path, other: Path) -> list[str]:
    """Files whose time or mode differs."""
    found = []
    for path in sorted(other.rglob("*")):
        was, now = path.lstat(), (one / path.relative_to(other)).lstat()
        if path.is_file() and (was.st_mtime_ns, was.st_mode) != (now.st_mtime_ns, now.st_mode):
            found.append(str(path.relative_to(other)))
    return found


def run(command: Sequence[str], good: Sequence[int] = (0, 3)) -> tuple[dict[str, Any], float, int]:
    """Output, seconds and exit code of the command line."""
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode not in good:
        raise SystemExit(f"{' '.join(command)}\nexit code {done.returncode}\n{done.stderr[-3000:]}")
    return json.loads(done.stdout or "{}"), seconds, done.returncode


def exiftool_reads(folder: Path, endings: Sequence[str] = ("xmp",)) -> dict[str, dict[str, Any]]:
    """File → fields that exiftool reads of it, but for those of the file itself."""
    options = [part for ending in endings for part in ("-ext", ending)]
    done = subprocess.run(
        ["exiftool", "-j", "-G1", "-struct", "-a", "-m", "-r", "-c", "%.6f", *options,
         str(folder)], capture_output=True, text=True
    )  # fmt: skip
    dropped = ("System:", "File:", "ExifTool:", "Composite:", "SourceFile", "XMP-x:", "XMP-rdf:")
    return {
        os.path.relpath(found["SourceFile"], folder): {
            name: value for name, value in found.items() if not name.startswith(dropped)
        }
        for found in json.loads(done.stdout or "[]")
    }


def as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value] if str(value or "").strip() else []


def check_written(world: World, plan: dict[str, Any], report: Report, gps: bool) -> None:
    """Compare what exiftool reads with the plan, and with the copy."""
    was, now = exiftool_reads(world.copy), exiftool_reads(world.library)
    wanted: dict[str, list[dict[str, Any]]] = {}
    for row in plan["photos"]:
        if row["state"] == "write":
            name = os.path.relpath(row["sidecar"], world.library)
            wanted.setdefault(name, []).append(row)
    unread = [name for name in wanted if not now.get(name)]
    faults = [fault for name, rows in wanted.items() if name not in unread for row in rows
              for fault in lacking(name, row["wanted"], now[name])]  # fmt: skip
    report.all_the_same(f"exiftool reads {len(wanted) - len(unread)} sidecars as planned", faults)
    odd = [name for name in unread if was.get(name)]
    report.say("written, but not read by exiftool", f"{len(unread)} (UTF-32 or own prefixes: it "
               "does not read the originals either)", not odd)  # fmt: skip
    faults = []
    for name, before in was.items():
        after = now.get(name, {})
        keys = {*before, *after} - ({*OURS} if name in wanted else set())
        faults += [f"{name}: {key}" for key in keys if before.get(key) != after.get(key)]
        for key in OURS[:5]:
            old = as_list(before.get(key))
            if as_list(after.get(key))[: len(old)] != old:
                faults.append(f"{name}: {key} lost something")
    report.all_the_same(f"all else in {len(was)} sidecars is as before", faults)
    check_positions(world, wanted, was, now, report, gps)
    new = [name for name in now if name not in was and name not in wanted]
    report.all_the_same("no other sidecar is new", new)


def lacking(name: str, wanted: dict[str, Any], said: dict[str, Any]) -> Iterator[str]:
    for key, field_name in (("keywords", OURS[0]), ("hierarchy", OURS[1])):
        there = {str(text).casefold() for text in as_list(said.get(field_name))}
        for text in wanted.get(key, ()):
            if text.casefold() not in there:
                yield f"{name}: {field_name} lacks {text}"
    shown = as_list(said.get(OURS[4]))
    for place in wanted.get("places", ()):
        address = f"http://www.wikidata.org/entity/{place['wikidata']}"
        if not any(
            address in as_list(one.get("LocationId")) if place["wikidata"]
            else place["name"] == one.get("LocationName") for one in shown
        ):  # fmt: skip
            yield f"{name}: LocationShown lacks {place['name']}"


def check_positions(
    world: World, wanted: dict[str, list[dict[str, Any]]], was: dict[str, dict[str, Any]],
    now: dict[str, dict[str, Any]], report: Report, gps: bool,
) -> None:  # fmt: skip
    photos = exiftool_reads(world.copy, ("jpg", "heic", "webp", "avif", "png", "tif"))
    faults, given = [], 0
    for name, said in now.items():
        before = {key: was.get(name, {}).get(key) for key in OURS[5:]}
        after = {key: said.get(key) for key in OURS[5:]}
        if before == after:
            continue
        given += 1
        rows = wanted.get(name, [])
        if not gps or any(before.values()) or not rows or not rows[0]["wanted"].get("position"):
            faults.append(f"{name}: a position that should not be there")
            continue
        latitude = float(str(after[OURS[5]]).split(" ")[0])
        if abs(abs(latitude) - abs(rows[0]["wanted"]["position"][0])) > 1e-5:
            faults.append(f"{name}: {latitude}")
        photo = photos.get(rows[0]["photo"], {})
        if any("GPSLat" in key for key in photo if "iptcExt" not in key):
            faults.append(f"{name}: the photo has a position of its own")
    report.say(f"positions written ({'with' if gps else 'without'} --gps)",
               "; ".join(faults[:5]) or str(given), not faults and (gps or not given))  # fmt: skip


def check_answers(world: World, plan: dict[str, Any], report: Report) -> None:
    labels = [row for row in plan["photos"] if row["photo"] in world.truth
              and row["state"] in ("write", "known", "blocked") and row["landmark"]]  # fmt: skip
    wrong = [row["photo"] for row in labels if row["landmark"] != world.truth[row["photo"]]]
    report.say("test photos", f"{len(world.truth)}, {len(labels)} labelled above "
               f"{plan['above']:.3f}, {len(wrong)} of them wrong {wrong[:3]}")  # fmt: skip


def kill_once(world: World, mode: str, watched: Path, seconds: float, rng: random.Random) -> bool:
    """Start write or undo and kill it: when a chosen sidecar changes, or after a random time.

    Returns whether it was running still.
    """

    def state() -> tuple[int, int] | None:
        try:
            found = watched.stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_ino

    before, begun = state(), time.perf_counter()
    limit = begun + (rng.uniform(0, seconds) if rng.random() < 0.4 else 10 * seconds + 60)
    child = subprocess.Popen(world.label(mode), stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)  # fmt: skip
    while child.poll() is None and time.perf_counter() < limit and state() == before:
        time.sleep(0.0005)
    if child.poll() is None:
        time.sleep(rng.choice((0, 0, 0.001, 0.01, 0.05)))
    running = child.poll() is None
    child.send_signal(signal.SIGKILL)
    child.wait()
    return running


def kills(world: World, expected: Path, changed: Sequence[str], count: int, seconds: float,
          report: Report, rng: random.Random) -> None:  # fmt: skip
    """Kill write and undo in turn, and run each once more: it has to come out the same."""
    running, faults = 0, list[str]()
    for number in range(count):
        mode, goal = (("--write", expected), ("--undo", world.copy))[number % 2]
        for _ in range(rng.choice((1, 1, 2))):
            watched = world.library / rng.choice(changed)
            running += kill_once(world, mode, watched, seconds, rng)
        left = [path for path in world.library.rglob("*") if path.name.endswith((".tmp", "~"))]
        run(world.label(mode))
        found = differences(world.library, goal)
        faults += [f"kill {number} of {mode}: {line}" for line in found[:2]]
        print(f"  kill {number + 1} of {count}: {mode}, {len(found)} differences, "
              f"{len(left)} temporary files before", flush=True)  # fmt: skip
    report.all_the_same(f"{count} kills and resumes ({running} while it ran)", faults)


def others_edit(world: World, photos: dict[str, str], report: Report) -> None:
    """exiftool edits half of the sidecars after write; undo keeps its edits.

    photos: sidecar that was written → its photo.
    """
    before = exiftool_reads(world.copy)
    written = [name for name in exiftool_reads(world.library) if name in photos]
    half = [name for name in written if os.access(world.library / name, os.W_OK)][::2]
    listed = world.work / "half.txt"
    listed.write_text("\n".join(str(world.library / name) for name in half))
    subprocess.run(
        ["exiftool", "-q", "-q", "-m", "-overwrite_original", "-XMP-dc:Subject+=by others",
         "-XMP-xmp:Label=Blue", "-@", str(listed)], check=False
    )  # fmt: skip
    edited = [name for name in half if b"by others" in (world.library / name).read_bytes()]
    run(world.label("--undo"))
    after = exiftool_reads(world.library)
    faults = []
    for name in edited:
        said, own = after.get(name, {}), repeated(world.copy / photos[name])
        was = own | {key: value for key, value in before.get(name, {}).items() if as_list(value)}
        if own.get(OURS[4]) and was[OURS[4]] == own[OURS[4]]:  # repeated in fewer words
            said, was = ({**one, OURS[4]: None} for one in (said, was))
        subjects = sorted(str(text) for text in as_list(said.get(OURS[0])))
        if subjects != sorted([*(str(text) for text in as_list(was.get(OURS[0]))), "by others"]):
            faults.append(f"{name}: {subjects}")
        for key in {*said, *was} - {OURS[0]}:
            there = str(was.get(key) or "").strip()  # exiftool drops what is empty
            if key == "XMP-xmp:Label":
                there = "Blue"
            if (there or key in OURS) and str(said.get(key) or "") != there:
                faults.append(f"{name}: {key} {said.get(key)} {was.get(key)}")
    what = f"undo after exiftool edited {len(edited)} sidecars keeps its edits"
    report.all_the_same(what, faults)
    left = {*other_files(world.library, world.copy)} - {*edited}
    report.all_the_same("all other files are as before", sorted(left))


def repeated(photo: Path) -> dict[str, Any]:
    """What a sidecar repeats of its photo where it had no such list, in exiftool's words."""
    said = embedded(str(photo))
    lists = (said.keywords, said.hierarchy, said.digikam, said.microsoft, said.places)
    return {key: list(texts) for key, texts in zip(OURS, lists, strict=False) if texts}


def many(world: World, photos: Path, count: int, report: Report) -> None:
    """A large library: speed and memory; Ctrl-C in the middle, and the rest."""
    library = world.work / "many"
    sources = sorted(path for part in ("query", "unknown", "nonlandmark", "index")
                     for path in (photos / part).rglob("*.jpg"))  # fmt: skip
    for number in range(count):
        place = library / f"{number // 500:03}" / f"IMG_{number:05}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        # A few bytes more make it another photo, of other bytes.
        place.write_bytes(sources[number % len(sources)].read_bytes() + b"%d" % number)
    state = world.work / "state of many"
    command = world.label("--csv", str(world.work / "many.csv"), library=library)
    command[command.index("--state") + 1] = str(state)
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    time.sleep(min(60.0, 8 + count / 50))
    child.send_signal(signal.SIGINT)
    _, words = child.communicate()
    first = time.perf_counter() - start
    report.say("Ctrl-C", f"exit code {child.returncode} after {first:.0f} s: "
               f"{words.strip().splitlines()[-1][:160]}", child.returncode == 130)  # fmt: skip
    plan, seconds, _ = run(command)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    report.say(
        "photos of the large library", f"{len(plan['photos'])}", len(plan["photos"]) == count
    )
    total = first + seconds
    report.say("answered", f"{count / total:.1f} photos/s in {total:.0f} s with the interruption; "
               f"peak memory of any run {peak:.0f} MB")  # fmt: skip
    _, seconds, _ = run(command)
    report.say("planned again, all known", f"{seconds:.1f} s, {count / seconds:.0f} photos/s")
    written, seconds, _ = run([*command, "--write"])
    report.say("written", f"{written['written']['new']} sidecars in {seconds:.1f} s")
    undo = world.label("--undo", library=library)
    undo[undo.index("--state") + 1] = str(state)
    undone, seconds, _ = run(undo)
    report.say("undone", f"{undone['deleted']} sidecars in {seconds:.1f} s",
               not list(library.rglob("*.xmp")))  # fmt: skip


def show(world: World, report: Report, count: int, rng: random.Random) -> None:
    """Plan, write, check, undo, kill."""
    plan, seconds, code = run(world.label())
    states = Counter(row["state"] for row in plan["photos"])
    report.say("plan", f"{len(plan['photos'])} photos in {seconds:.1f} s, exit code {code}: "
               f"{dict(states)}")  # fmt: skip
    report.all_the_same("the plan wrote nothing", differences(world.library, world.copy))
    check_answers(world, plan, report)
    written, seconds, code = run(world.label("--write"))
    done = written["written"]
    report.say("write", f"{done['new']} new, {done['merged']} merged, {len(done['failures'])} "
               f"failed in {seconds:.1f} s, exit code {code}")  # fmt: skip
    check_written(world, plan, report, gps=False)
    report.all_the_same("only sidecars differ", [
        name for name in other_files(world.library, world.copy) if not name.lower().endswith(".xmp")
    ])  # fmt: skip
    expected = copy_of(world.library, world.work / "expected")
    run(world.label("--write"))
    report.all_the_same("written again: the same bytes", differences(world.library, expected))
    report.all_the_same("written again: no file is touched", other_times(world.library, expected))
    undone, seconds, _ = run(world.label("--undo"))
    report.say("undo", f"{undone['restored']} restored, {undone['deleted']} deleted in "
               f"{seconds:.1f} s")  # fmt: skip
    report.all_the_same("diff -r after undo", differences(world.library, world.copy))
    report.all_the_same("times and modes after undo", other_times(world.library, world.copy))
    plan, _, _ = run(world.label("--write", "--gps"))
    check_written(world, plan, report, gps=True)
    run(world.label("--undo"))
    report.all_the_same("diff -r after undo of --gps", differences(world.library, world.copy))
    owners = {os.path.relpath(row["sidecar"], world.library): row["photo"]
              for row in plan["photos"] if row["state"] == "write"}  # fmt: skip
    kills(world, expected, sorted(owners), count, seconds, report, rng)
    run(world.label("--undo"), good=(0, 3, 4))
    run(world.label("--write"))
    others_edit(world, owners, report)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("-r", "--recognizer", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=600, help="0 = only --many")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--many", type=int, default=5000, help="0 = leave this part out")
    parser.add_argument("--above", type=float, help="default: as measured on the gallery")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--work",
        type=Path,
        help="a folder that stays; run again with it, the same library is used again",
    )
    options = parser.parse_args()
    if not shutil.which("exiftool"):
        raise SystemExit("exiftool is needed, to read what was written with another program")
    work = options.work or Path(tempfile.mkdtemp(prefix="label-library-"))
    recognizer = work / "recognizer.wl"
    if not recognizer.exists():
        shutil.copytree(options.recognizer, recognizer)
    sys.setrecursionlimit(100_000)  # exiftool reads the sidecar of 5,000 levels
    library, report = work / "library", Report()
    world = World(work, library, work / "copy", recognizer, {}, options.above)
    if options.photos:
        if (work / "truth.json").exists():  # an earlier run's library, whose answers are known
            copy_of(work / "copy", library)
        else:
            opened = load(recognizer)
            places = {name: (one.latitude, one.longitude) for name, one in opened.records.items()
                      if one.latitude is not None and one.longitude is not None}  # fmt: skip
            opened.gallery.close()
            made = make_library(library, options.folder, options.photos, places, options.seed)
            copy_of(library, work / "copy")
            (work / "truth.json").write_text(json.dumps(made))
        world.truth = json.loads((work / "truth.json").read_text())
        sidecars = sum(path.suffix.lower() == ".xmp" for path in library.rglob("*"))
        report.say("library", f"{options.photos} photos, {sidecars} sidecars, in {work}")
        show(world, report, options.kills, random.Random(options.seed))
    if options.many:
        many(world, options.folder, options.many, report)
    print("\n| what | found | |\n|---|---|---|")
    for what, found, good in report.rows:
        print(f"| {what} | {found} | {'' if good else 'FAULT'} |")
    if not options.work:
        remove_tree(work)
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
