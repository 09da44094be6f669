"""A drawn world on disk: photos, tables and the truth about them."""

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
from ...core.files import read_json, whole_file, write_json, write_text
from ...core.hardware import cpu_count
from ...core.json_options import to_json
from ...core.types import Image, Progress
from .distractors import scene_photo
from .families import landmark, landmark_name
from .photo import landmark_photo
from .plan import DrawnWorld, Shot, distractor_shots, query_shots, training_shots
from .seeded_random import SeededRandom

DRAWING = 1  # counts up when the same options begin to give other pictures

QUALITY = 88

CHUNK = 16

FEW = 64  # photos; fewer are drawn in this process, for starting others would take longer


def draw_world(
    root: Path,
    world: DrawnWorld | None = None,
    *,
    workers: int = 0,
    progress: Progress | None = None,
) -> None:
    """Draw a world into `root`.

    Writes photos.csv, distractors.csv and queries.csv (id, path, landmark), truth.csv (id,
    kind, true_landmark, original: what is wrong with which training photo), world.json, and
    the photos. Photos that are there already stay, so an interrupted run can be resumed.
    workers: processes; 0 = one per usable core. They are spawned: a script needs the usual
      `if __name__ == "__main__":`. progress: called with (photos done, photos in all).
    Raises DataError when `root` holds a world with other options, OptionError for workers < 0.
    """
    root = Path(root)
    world = world or DrawnWorld()
    if workers < 0:
        raise OptionError(f"workers {workers} given; expected 0 (one per usable core) or more")
    _claim(root, world)
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
    truth = [(s.id, s.kind, _true_landmark(world, s), s.original) for s in parts["photos"]]
    _write_table(root / "truth.csv", ("id", "kind", "true_landmark", "original"), truth)


def draw_photo(world: DrawnWorld, shot: Shot) -> Image:
    """The picture of one shot, before it is encoded: (H, W, 3) uint8 RGB."""
    chance = SeededRandom(world.seed, shot.key)
    if shot.number >= 0:
        image = landmark_photo(landmark(world.seed, shot.number), chance, world.size)
    else:
        image = scene_photo("indoor" if shot.indoor else "anything", chance, world.size)
    if shot.kind == "near_duplicate":
        top, left, bottom, right = (chance.whole(1, max(2, world.size // 40)) for _ in range(4))
        image = np.ascontiguousarray(image[top:-bottom, left:-right])
    return image


def photo_bytes(world: DrawnWorld, shot: Shot) -> bytes:
    """The file of one shot: a JPEG, unless the shot is a damaged one."""
    if shot.damage == "empty":
        return b""
    if shot.damage == "text":
        return b"<html><body>404: this photo has moved</body></html>\n"
    quality = QUALITY - 20 if shot.kind == "near_duplicate" else QUALITY
    buffer = io.BytesIO()
    picture = Pillow.fromarray(draw_photo(world, shot))
    picture.save(buffer, "JPEG", quality=quality, subsampling=2)
    data = buffer.getvalue()
    return data[: len(data) * 2 // 5] if shot.damage == "truncated" else data


def _claim(root: Path, world: DrawnWorld) -> None:
    """Mark the folder as this world's."""
    marker = root / "world.json"
    options = {"drawing": DRAWING, **to_json(world)}
    if not marker.exists():
        write_json(marker, options)
        return
    found = read_json(marker)
    differ = sorted(key for key in {*found, *options} if found.get(key) != options.get(key))
    if differ:
        raise DataError(
            f"{root} holds a drawn world with another {', '.join(differ)}; "
            "give another folder, or delete that one"
        )


def _draw(
    root: Path, world: DrawnWorld, shots: Sequence[Shot], workers: int, progress: Progress | None
) -> None:
    missing = [shot for shot in shots if not (root / shot.path).exists()]
    done = len(shots) - len(missing)
    # Photos of one landmark go together: its geometry is built once in each process.
    missing.sort(key=lambda shot: (shot.number, shot.path))
    chunks = [missing[i : i + CHUNK] for i in range(0, len(missing), CHUNK)]
    workers = workers or cpu_count()
    for count in _counts(root, world, chunks, workers if len(missing) > FEW else 1):
        done += count
        if progress is not None:
            progress(done, len(shots))


def _counts(
    root: Path, world: DrawnWorld, chunks: Sequence[Sequence[Shot]], workers: int
) -> Iterator[int]:
    """Draw chunks here or in other processes; yields the photos of each that is done."""
    if workers == 1:
        yield from (_draw_chunk(root, world, chunk) for chunk in chunks)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        futures = [pool.submit(_draw_chunk, root, world, chunk) for chunk in chunks]
        yield from (future.result() for future in futures)


def _draw_chunk(root: Path, world: DrawnWorld, shots: Iterable[Shot]) -> int:
    count = 0
    for shot in shots:
        data = photo_bytes(world, shot)
        with whole_file(root / shot.path) as temporary:
            temporary.write_bytes(data)
        count += 1
    return count


def _true_landmark(world: DrawnWorld, shot: Shot) -> str:
    shown = shot.number >= 0 and shot.damage is None
    return landmark_name(world.seed, shot.number) if shown else ""


def _write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())
