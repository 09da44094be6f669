"""Draw a synthetic world into a folder: photos, tables, and a table of its planted errors."""

from __future__ import annotations

import csv
import io
import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from ...core.errors import DataError, OptionError
from ...core.files import atomic_file, read_json, write_json, write_text
from ...core.hardware import children_without_interrupts, cpu_count
from ...core.json_options import to_json
from ...core.types import Image, Progress
from .distractors import scene_photo
from .families import landmark, landmark_name
from .photo import landmark_photo
from .plan import DrawnWorld, Shot, distractor_shots, query_shots, training_shots
from .seeded_random import SeededRandom

DRAWING_VERSION = 1  # to be increased when equal options draw other pictures than before

JPEG_QUALITY = 88

PHOTOS_PER_TASK = 16

MAX_PHOTOS_IN_ONE_PROCESS = 64  # for up to so many, starting workers takes longer than drawing


def draw_world(
    root: Path,
    world: DrawnWorld | None = None,
    *,
    workers: int = 0,
    progress: Progress | None = None,
) -> None:
    """Draw a world into `root`.

    Writes photos.csv, distractors.csv and queries.csv (id, path, landmark); truth.csv (id, kind,
    true_landmark, original), which lists the planted error of each training photo; world.json; and
    the photos. Existing photos are not drawn again, so an interrupted run can be resumed.

    Args:
        root: a new or empty folder, or one with a world of the same options.
        world: its options.
        workers: processes; 0 = one per usable core. They are spawned, so a script that calls this
            needs the usual `if __name__ == "__main__":`.
        progress: called with (photos done, photos in all).

    Raises:
        DataError: when `root` has a world with other options.
        OptionError: when workers is negative.
    """
    root = Path(root)
    world = world or DrawnWorld()
    if workers < 0:
        raise OptionError(f"workers {workers} given; expected 0 (one per usable core) or more")
    _mark_folder(root, world)
    parts = {
        "photos": training_shots(world),
        "distractors": distractor_shots(world),
        "queries": query_shots(world),
    }
    shots = [shot for part in parts.values() for shot in part]
    _draw(root, world, shots, workers, progress)
    _write_tables(root, world, parts)


def _write_tables(root: Path, world: DrawnWorld, parts: dict[str, list[Shot]]) -> None:
    for name, part in parts.items():
        rows = [(shot.id, shot.path, shot.label) for shot in part]
        _write_table(root / f"{name}.csv", ("id", "path", "landmark"), rows)
    truth = []
    for shot in parts["photos"]:
        shown = shot.number >= 0 and shot.damage is None
        true_landmark = landmark_name(world.seed, shot.number) if shown else ""
        truth.append((shot.id, shot.kind, true_landmark, shot.original))
    _write_table(root / "truth.csv", ("id", "kind", "true_landmark", "original"), truth)


def draw_photo(world: DrawnWorld, shot: Shot) -> Image:
    """Draw one shot: (H, W, 3) uint8 RGB."""
    rng = SeededRandom(world.seed, shot.key)
    if shot.number >= 0:
        image = landmark_photo(landmark(world.seed, shot.number), rng, world.size)
    else:
        image = scene_photo("indoor" if shot.indoor else "anything", rng, world.size)
    if shot.kind == "near_duplicate":
        top, left, bottom, right = (rng.integer(1, max(2, world.size // 40)) for _ in range(4))
        image = np.ascontiguousarray(image[top:-bottom, left:-right])
    return image


def photo_bytes(world: DrawnWorld, shot: Shot) -> bytes:
    """The file of one shot: a JPEG, unless the shot has a planted damage."""
    if shot.damage == "empty":
        return b""
    if shot.damage == "text":
        return b"<html><body>404: this photo has moved</body></html>\n"
    quality = JPEG_QUALITY - 20 if shot.kind == "near_duplicate" else JPEG_QUALITY
    buffer = io.BytesIO()
    picture = Pillow.fromarray(draw_photo(world, shot))
    picture.save(buffer, "JPEG", quality=quality, subsampling=2)
    data = buffer.getvalue()
    return data[: len(data) * 2 // 5] if shot.damage == "truncated" else data


def _mark_folder(root: Path, world: DrawnWorld) -> None:
    """Write world.json, or compare it when the folder has one."""
    marker = root / "world.json"
    options = {"drawing": DRAWING_VERSION, **to_json(world)}
    if not marker.exists():
        write_json(marker, options)
        return
    found = read_json(marker)
    differ = sorted(key for key in {*found, *options} if found.get(key) != options.get(key))
    if differ:
        raise DataError(
            f"{root} has a synthetic world with another {', '.join(differ)}; "
            "give another folder, or delete this one"
        )


def _draw(
    root: Path, world: DrawnWorld, shots: Sequence[Shot], workers: int, progress: Progress | None
) -> None:
    missing = [shot for shot in shots if not (root / shot.path).exists()]
    done = len(shots) - len(missing)
    # Photos of one landmark are in one chunk, so that a process builds its geometry only once.
    missing.sort(key=lambda shot: (shot.number, shot.path))
    chunks = [missing[i : i + PHOTOS_PER_TASK] for i in range(0, len(missing), PHOTOS_PER_TASK)]
    workers = workers or cpu_count()
    if len(missing) <= MAX_PHOTOS_IN_ONE_PROCESS:
        workers = 1
    for count in _draw_chunks(root, world, chunks, workers):
        done += count
        if progress is not None:
            progress(done, len(shots))


def _draw_chunks(
    root: Path, world: DrawnWorld, chunks: Sequence[Sequence[Shot]], workers: int
) -> Iterator[int]:
    """Draw the chunks in this process or in others; yield the number of photos of each."""
    if workers == 1:
        yield from (_draw_chunk(root, world, chunk) for chunk in chunks)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        with children_without_interrupts():
            futures = [pool.submit(_draw_chunk, root, world, chunk) for chunk in chunks]
        try:
            yield from (future.result() for future in futures)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _draw_chunk(root: Path, world: DrawnWorld, shots: Sequence[Shot]) -> int:
    for shot in shots:
        with atomic_file(root / shot.path) as temporary:
            temporary.write_bytes(photo_bytes(world, shot))
    return len(shots)


def _write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())
