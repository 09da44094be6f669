"""Is every file of a messy photo folder either used or named? Import, clean, index, recognize.

    python benchmarks/nas_folder.py --work FOLDER [--files 2000] [--seed 0] [--embedder sift]

Makes a folder as a NAS box has it: landmark folders with photos of several phones, and among them
what their systems, cameras, browsers and copies leave behind: thumbnails in `@eaDir`, deleted files
in `#recycle`, HEIC, RAW, TIFF, videos, sidecars, JPEGs with other endings, cut and empty files, web
pages called .jpg, names that are not UTF-8, links, loops, a FIFO, copies, photos of one colour.
Then it runs the four commands as a user does and counts with `os.walk`, not with the package:

    import:    files = rows of the table + files of its list of what was left out
    clean:     rows  = rows kept + rows of its list of what was dropped
    index:     rows  = photos of the gallery + photos named as failed, known or in conflict
    recognize: files = answers + photos that failed + files named as not used

Exit code 1 when one of the sums is wrong. The folder is removed afterwards unless --keep is given.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

LANDMARKS = ("Tour Eiffel", "Café de Flore", "Louvre", "Pont Neuf", "St. Paul's", "東京タワー",
             "Храм", "Sagrada Família", "Big Ben", "Brandenburger Tor")  # fmt: skip


def scene(landmark: int, seed: int, size: tuple[int, int] = (320, 240)) -> Pillow.Image:
    """A photo of a drawn landmark: the same shapes, seen from elsewhere in another light."""
    shapes = np.random.default_rng([landmark, 7])
    rng = np.random.default_rng([landmark, seed])
    canvas = np.full((400, 500, 3), shapes.integers(90, 200, 3), dtype=np.float64)
    for _ in range(60):
        y, x = shapes.integers(0, 360), shapes.integers(0, 460)
        height, width = shapes.integers(12, 90, 2)
        canvas[y : y + height, x : x + width] = shapes.integers(0, 256, 3)
    for _ in range(10):  # what stands before it: people, trees, cars
        y, x, height, width = rng.integers(0, (330, 430, 70, 70))
        canvas[y : y + height, x : x + width] = rng.integers(0, 256, 3)
    high = int(rng.integers(180, 380))
    top, left = rng.integers(0, 400 - high), rng.integers(0, 500 - high)
    view = canvas[top : top + high, left : left + int(1.3 * high)] * rng.uniform(0.7, 1.2)
    view += rng.normal(0, 4, view.shape)
    return Pillow.fromarray(view.clip(0, 255).astype(np.uint8)).resize(size)


def encoded(picture: Pillow.Image, kind: str = "JPEG", **options: object) -> bytes:
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return data.getvalue()


def box(brand: bytes) -> bytes:
    """The start of an ISO media file: HEIC, MP4, MOV, CR3."""
    return struct.pack(">I", 24) + b"ftyp" + brand + b"\0\0\0\0" + brand + b"isom" + b"\0" * 400


def tiff_start() -> bytes:
    return b"II*\0\x08\0\0\0" + bytes(400)


# Name of an oddity → its file's ending, and how its bytes are made from a good photo's.
FILES: dict[str, tuple[str, Callable[[Pillow.Image], bytes]]] = {
    "jpeg": (".jpg", lambda p: encoded(p, quality=88)),
    "jpeg, upper case": (".JPG", lambda p: encoded(p)),
    "jpeg called jfif": (".jfif", lambda p: encoded(p)),
    "jpeg called jpe": (".jpe", lambda p: encoded(p)),
    "jpeg called HEIC": (".HEIC", lambda p: encoded(p)),
    "jpeg without an ending": ("", lambda p: encoded(p)),
    "jpeg called png": (".png", lambda p: encoded(p)),
    "png called jpg": (".jpg", lambda p: encoded(p, "PNG")),
    "webp": (".webp", lambda p: encoded(p, "WEBP")),
    "gif": (".gif", lambda p: encoded(p, "GIF")),
    "avif": (".avif", lambda p: encoded(p, "AVIF")),
    "progressive": (".jpeg", lambda p: encoded(p, progressive=True)),
    "cmyk": (".jpg", lambda p: encoded(p.convert("CMYK"))),
    "gray": (".jpg", lambda p: encoded(p.convert("L"))),
    "motion photo": (".jpg", lambda p: encoded(p) + box(b"mp42")),
    "one colour": (".jpg", lambda p: encoded(Pillow.new("RGB", (300, 200), (9, 90, 200)))),
    "one pixel": (".png", lambda p: encoded(Pillow.new("RGB", (1, 1)), "PNG")),
    "cut short": (".jpg", lambda p: encoded(p)[:1500]),
    "cut to its header": (".jpg", lambda p: encoded(p)[:30]),
    "empty": (".jpg", lambda p: b""),
    "web page called jpg": (".jpg", lambda p: b"<!DOCTYPE html><html><body>404</body></html>"),
    "noise called jpg": (".jpg", lambda p: np.random.default_rng(1).bytes(900)),
    "huge header": (".png", lambda p: huge_png(p)),
    "git lfs": (".jpg", lambda p: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
    "heic": (".heic", lambda p: box(b"heic")),
    "heic called jpg": (".jpg", lambda p: box(b"heic")),
    "tiff": (".tif", lambda p: encoded(p, "TIFF")),
    "raw, Nikon": (".nef", lambda p: tiff_start()),
    "raw, Canon": (".CR3", lambda p: box(b"crx ")),
    "raw, DNG": (".dng", lambda p: tiff_start()),
    "mp4": (".mp4", lambda p: box(b"isom")),
    "mov": (".MOV", lambda p: box(b"qt  ")),
    "sidecar": (".jpg.xmp", lambda p: b"<?xpacket begin=''?><x:xmpmeta/>"),
    "aae": (".AAE", lambda p: b'<?xml version="1.0"?><plist/>'),
    "takeout": (".jpg.json", lambda p: b'{"title": "IMG.jpg"}'),
    "download": (".jpg.crdownload", lambda p: encoded(p)[:700]),
    "pdf": (".pdf", lambda p: b"%PDF-1.7\n"),
    "psd": (".psd", lambda p: b"8BPS\0\1" + bytes(60)),
    "bmp": (".bmp", lambda p: encoded(p, "BMP")),
}  # fmt: skip

# Where a row of the table may end up, as `index --json` counts it.
INDEX_COUNTS = ("photos", "failed", "already there", "other landmark")

COMMON = ("jpeg", "jpeg, upper case", "progressive", "png called jpg", "webp")

# Where systems put copies and remains: folder and name, from the name of a photo.
SYSTEM = (
    "@eaDir/{name}/SYNOPHOTO_THUMB_M.jpg", "#recycle/{name}", ".Trash-1000/files/{name}",
    "$RECYCLE.BIN/S-1-5-21/{name}", "__MACOSX/._{name}", "._{name}", ".thumbnails/{name}",
    "@Recycle/{name}", "lost+found/{name}", "#snapshot/GMT-2024/{name}", ".{name}.icloud",
)  # fmt: skip

SYSTEM_FILES = ("Thumbs.db", ".DS_Store", "desktop.ini", "ZbThumbnail.info", ".picasa.ini")


def huge_png(picture: Pillow.Image) -> bytes:
    """A PNG whose header claims 60,000 × 60,000 pixels."""
    data = bytearray(encoded(picture, "PNG"))
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    return bytes(data)


def make_folder(root: Path, files: int, seed: int) -> None:
    """Write `files` files and links, of all the kinds above, below `root`."""
    rng = np.random.default_rng(seed)
    written = 0
    oddities = [name for name in FILES if name not in COMMON]
    for number in range(10**9):
        if written >= files - 12:  # the rest are the links and the FIFO
            break
        landmark = int(rng.integers(len(LANDMARKS)))
        folder = root / LANDMARKS[landmark]
        odd = rng.random() < 0.4
        kind = str(rng.choice(oddities if odd else COMMON))
        suffix, make = FILES[kind]
        name = f"IMG_{number:05}{suffix}".encode()
        if rng.random() < 0.02:
            name = b"caf\xe9 " + name  # Latin-1
        elif rng.random() < 0.02:
            name = "naïve\N{COMBINING ACUTE ACCENT} 🗼 ".encode() + name
        elif rng.random() < 0.01:
            name = b"line\nbreak\t" + name
        data = make(scene(landmark, number))
        write(os.fsencode(folder) + b"/" + name, data)
        written += 1
        if rng.random() < 0.12:
            place = str(rng.choice(SYSTEM)).format(name=f"IMG_{number:05}.jpg")
            write(os.fsencode(folder / place), data[:2000])
            written += 1
        if rng.random() < 0.03:
            write(os.fsencode(folder / "copies" / f"copy of {number}{suffix or '.jpg'}"), data)
            written += 1
    for name in SYSTEM_FILES:
        write(os.fsencode(root / LANDMARKS[0] / name), b"\0" * 30)
    first = root / LANDMARKS[0]
    os.mkfifo(first / "pipe.jpg")
    (first / "gone.jpg").symlink_to("nowhere.jpg")
    (first / "round.jpg").symlink_to("round.jpg")
    (first / "again").symlink_to(root)
    (root / LANDMARKS[1] / "Louvre, linked").symlink_to(root / LANDMARKS[2])
    write(os.fsencode(root / "loose.jpg"), encoded(scene(1, 1)))
    (first / "zero.jpg").symlink_to("/dev/zero")


def write(path: bytes, data: bytes) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def entries(root: Path) -> int:
    """Number of files and links below the folder, as `os.walk` finds them."""
    count = 0
    for folder, folders, names in os.walk(root):
        count += len(names) + sum(os.path.islink(os.path.join(folder, name)) for name in folders)
    return count


def run(*arguments: object) -> tuple[int, str, str, float]:
    """Exit code, stdout, stderr and seconds of one command."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "whichlandmark", *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    print(f"\n$ whichlandmark {' '.join(map(str, arguments))}\nexit code {done.returncode}, "
          f"{seconds:.1f} s")  # fmt: skip
    for line in done.stderr.splitlines()[:25]:
        print("  " + line[:180])
    return done.returncode, done.stdout, done.stderr, seconds


def rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def check(name: str, whole: int, parts: dict[str, int]) -> bool:
    right = whole == sum(parts.values())
    sums = " + ".join(f"{count} {part}" for part, count in parts.items())
    print(f"{'right' if right else 'WRONG'}: {name}: {whole} = {sums}")
    return right


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--embedder", default="sift")
    parser.add_argument("--keep", action="store_true")
    given = parser.parse_args()
    root, out = given.work / "photo", given.work / "out"
    for folder in (root, out):
        shutil.rmtree(folder, ignore_errors=True)
    make_folder(root, given.files, given.seed)
    out.mkdir(parents=True)
    files = entries(root)
    print(f"{files} files and links below {root}")
    right = []

    table = out / "photos.csv"
    run("import", "folder", root, "-o", table)
    used, left_out = rows(table), rows(out / "photos.left_out.csv")
    for reason, count in Counter(row["reason"] for row in left_out).most_common():
        print(f"  {count:5} {reason}")
    right.append(check("import", files, {"used": len(used), "named": len(left_out)}))

    clean = out / "clean.csv"
    run("clean", table, "-o", clean)
    kept, dropped = rows(clean), rows(out / "clean.cleaning.csv")
    parts = {"kept": len(kept), "dropped and named": len(dropped)}
    right.append(check("clean", len(used), parts))

    recognizer = out / "r.wl"
    for source in (table, clean):  # the table with damaged photos and copies, and the clean one
        shutil.rmtree(recognizer, ignore_errors=True)
        _, text, _, _ = run(
            "index", source, "-o", recognizer, "--embedder", given.embedder, "--json"
        )
        counts = json.loads(text)
        parts = {name: counts.get(name, 0) for name in INDEX_COUNTS}
        right.append(check(f"index {source.name}", len(rows(source)), parts))

    _, text, said, seconds = run("recognize", root, "-r", recognizer, "--json")
    answers = [json.loads(line) for line in text.splitlines()]
    not_a_photo = {row["path"] for row in left_out}
    kinds = Counter("failed" if "error" in answer else answer["decision"] for answer in answers)
    print(f"  {dict(kinds)}; {seconds / max(1, len(answers)) * 1000:.0f} ms a photo")
    not_used = int(re.search(r"^(\d+) files were not used", said, re.M)[1])
    lost = sum(answer["photo"] in not_a_photo for answer in answers if "error" in answer)
    parts = {"answered": len(answers) - kinds["failed"], "failed": kinds["failed"] - lost,
             "not used": not_used}  # fmt: skip
    right.append(check("recognize", files, parts))
    if not given.keep:
        for folder in (root, out):
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if all(right) else 1


if __name__ == "__main__":
    sys.exit(main())
