"""Measure seconds and memory of `import gldv2` at full size.

    python benchmarks/import_scale.py FOLDER [rows] [--tree] [--credits]

Creates in FOLDER, unless they are there, 4,132,914 rows of 203,094 landmarks with ids and URLs as
in GLDv2, and the photos as members of 512 bytes in 500 tars with MD5 files; with --tree, as empty
files a/b/c/; with --credits, train_attribution.csv too, only while that option is given. Runs
`whichlandmark import gldv2 --all`, prints seconds and the peak memory of all its processes together
(resident pages; shared pages are counted in each), then reads the table back.
"""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

ROWS, LANDMARKS, TARS = 4_132_914, 203_094, 500
URL = "http://lh3.googleusercontent.com/-{}/Vbvc9n_6gUI/AAAAAAAAdtE/c6xrRKhH8Q4/s1600/"


def random_ids(rows: int) -> list[str]:
    """Distinct ids of 16 hexadecimal digits."""
    numbers = np.random.default_rng(0).integers(0, 2**63, rows, dtype=np.int64)
    assert len(np.unique(numbers)) == rows
    return [f"{number:016x}" for number in (numbers * 2).astype(np.uint64).tolist()]


def write_csvs(root: Path, ids: list[str]) -> None:
    """Write train.csv with a long tail of landmarks, and the file of their categories."""
    rng = np.random.default_rng(1)
    landmarks = (LANDMARKS * rng.random(len(ids)) ** 2).astype(np.int64)
    with open(root / "train.csv", "w") as file:
        file.write("id,url,landmark_id\n")
        file.writelines(
            f"{name},{URL.format(name)},{landmark}\n"
            for name, landmark in zip(ids, landmarks.tolist(), strict=True)
        )
    wiki = "http://commons.wikimedia.org/wiki/Category:Ch%C3%A2teau_de_Lavaux"
    with open(root / "train_label_to_category.csv", "w") as file:
        file.write("landmark_id,category\n")
        file.writelines(f"{number},{wiki}_{number}\n" for number in range(LANDMARKS))


def write_attribution(path: Path, ids: list[str]) -> None:
    """Write authors, licences and pages of all photos."""
    kinds = [f"{kind}/{version}" for kind in ("by", "by-sa") for version in ("2.0", "2.5", "3.0")]
    licences = [f"https://creativecommons.org/licenses/{kind}/" for kind in kinds]
    page = "https://commons.wikimedia.org/wiki/File:Ch%C3%A2teau_de_Lavaux_"
    with open(path, "w") as file:
        file.write("id,url,author,license,title\n")
        file.writelines(
            f"{name},{page}{name}.jpg,Author number {row % 50_000},{licences[row % 6]},"
            f"File:Château de Lavaux {name}.jpg\n"
            for row, name in enumerate(ids)
        )


def tar_bytes(ids: list[str]) -> bytes:
    """A GNU tar with one member of 512 bytes for each id; all headers are made at once."""
    header = np.zeros((len(ids), 1024), dtype=np.uint8)
    names = [f"{i[0]}/{i[1]}/{i[2]}/{i}.jpg".ljust(100, "\0").encode() for i in ids]
    header[:, :100] = np.frombuffer(b"".join(names), dtype=np.uint8).reshape(-1, 100)
    fixed = b"0000644\x000000000\x000000000\x0000000001000\x0013700000000\x00        0"
    header[:, 100:157] = np.frombuffer(fixed, dtype=np.uint8)
    header[:, 257:265] = np.frombuffer(b"ustar  \x00", dtype=np.uint8)
    sums = header[:, :512].sum(axis=1)
    digits = b"".join(b"%06o\0 " % total for total in sums.tolist())
    header[:, 148:156] = np.frombuffer(digits, dtype=np.uint8).reshape(-1, 8)
    header[:, 512:] = 1
    return header.tobytes() + bytes(1024)


def write_tars(root: Path, ids: list[str]) -> None:
    (root / "train").mkdir(exist_ok=True)
    for number in range(TARS):
        data = tar_bytes(ids[number::TARS])
        (root / "train" / f"images_{number:03d}.tar").write_bytes(data)
        digest = hashlib.md5(data).hexdigest()
        text = f"{digest}  images_{number:03d}.tar\n"
        (root / "train" / f"md5.images_{number:03d}.txt").write_text(text)


def write_tree(root: Path, ids: list[str]) -> None:
    for name in sorted(ids):
        folder = f"{root}/train/{name[0]}/{name[1]}/{name[2]}"
        try:
            os.close(os.open(f"{folder}/{name}.jpg", os.O_CREAT | os.O_WRONLY))
        except FileNotFoundError:
            os.makedirs(folder)
            os.close(os.open(f"{folder}/{name}.jpg", os.O_CREAT | os.O_WRONLY))


def resident(pid: int) -> int:
    """Resident bytes of a process and all its children."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (OSError, IndexError):
        return 0  # the process has just ended
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(resident(int(child)) for child in children)


def processor_seconds() -> float:
    """Processor seconds of all ended children and of their children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(command: list[str]) -> str:
    """Seconds, peak memory and exit code of a command; memory is read 20 times a second."""
    before = processor_seconds()
    started, peak = time.perf_counter(), 0
    process = subprocess.Popen(command)
    ended = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.05):
            peak = max(peak, resident(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    ended.set()
    watcher.join()
    seconds, used = time.perf_counter() - started, processor_seconds() - before
    return (
        f"{seconds:.1f} s ({used:.1f} s of processor time), peak {peak / 1e9:.2f} GB, "
        f"exit code {code}; load average {os.getloadavg()[0]:.1f}"
    )


def main() -> None:
    numbers = [word for word in sys.argv[2:] if word.isdigit()]
    folder, rows = Path(sys.argv[1]), int(numbers[0]) if numbers else ROWS
    tree = "--tree" in sys.argv
    root = folder / f"gldv2-{rows}{'-tree' if tree else ''}"
    if not (root / "made").exists():
        started = time.perf_counter()
        root.mkdir(parents=True, exist_ok=True)
        ids = random_ids(rows)
        write_csvs(root, ids)
        (write_tree if tree else write_tars)(root, ids)
        (root / "made").touch()
        print(f"made in {time.perf_counter() - started:.0f} s: {root}")
    out = folder / "imported"
    attribution = root / "train_attribution.csv"
    attribution.unlink(missing_ok=True)
    if "--credits" in sys.argv:
        write_attribution(attribution, random_ids(rows))
    command = [sys.executable, "-m", "whichlandmark.cli"]
    told = measured([*command, "import", "gldv2", str(root), "-o", str(out), "--all"])
    print(f"import {rows:,} rows: {told}")
    script = "import sys; from whichlandmark import read_photos; print(read_photos(sys.argv[1]))"
    print(f"read_photos: {measured([sys.executable, '-c', script, str(out / 'train.csv')])}")


if __name__ == "__main__":
    main()
