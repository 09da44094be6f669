"""Photos re-encoded near training size, in a few large files: decoding them is quick.

Folder: `prepared.json` (which photos, which size) and, for every 1,024 photos, `NNNNN.bin`
(JPEGs one after another) with `NNNNN.npy` (where each begins). Interrupted work goes on.
"""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from ..core.errors import DataError, ImageError
from ..core.files import read_json, whole_file, write_json
from ..core.hardware import cpu_count
from ..core.images import read_image
from ..core.types import Image, Photos, Progress

SHARD = 1024  # photos in a file

QUALITY = 92  # of the JPEGs, without chroma subsampling: little is lost

FORMAT = 1


class PhotoCache:
    """`read(row)` → (H, W, 3) uint8 RGB; rows are those of the table it was prepared from."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count
        self._starts: dict[int, NDArray[np.int64]] = {}

    def read(self, row: int) -> Image:
        """Raises ImageError for a photo that could not be decoded when it was prepared."""
        shard, place = divmod(row, SHARD)
        if shard not in self._starts:
            self._starts[shard] = np.load(_name(self.folder, shard, "npy"), allow_pickle=False)
        start, stop = self._starts[shard][place : place + 2]
        with open(_name(self.folder, shard, "bin"), "rb") as file:
            file.seek(int(start))
            data = file.read(int(stop - start))
        if not data:
            raise ImageError(f"photo {row} of {self.folder}: could not be decoded")
        return read_image(data, name=f"photo {row} of {self.folder}")


def build_photo_cache(
    photos: Photos,
    folder: Path,
    short_side: int,
    *,
    progress: Progress | None = None,
) -> PhotoCache:
    """Re-encode every photo whose short side is longer than `short_side` pixels at that size.

    What the folder holds already stays. Raises DataError when it was made from other photos
    or for another size.
    """
    made_of = {"format": FORMAT, "short_side": short_side, "photos": _table_hash(photos)}
    record = folder / "prepared.json"
    if record.exists() and read_json(record) != made_of:
        raise DataError(
            f"{folder}: holds other prepared photos, or the same at another size; give another "
            "folder, or delete this one"
        )
    write_json(record, made_of)
    with ThreadPoolExecutor(cpu_count()) as pool:
        for start in range(0, len(photos), SHARD):
            if not _name(folder, start // SHARD, "npy").exists():
                paths = photos.paths[start : start + SHARD]
                parts = list(pool.map(lambda path: _encoded(path, short_side), paths))
                _write(folder, start // SHARD, parts)
            if progress:
                progress(min(start + SHARD, len(photos)), len(photos))
    return PhotoCache(folder, len(photos))


def _encoded(path: str, short_side: int) -> bytes:
    """The photo as a JPEG of that size; nothing when it cannot be decoded."""
    try:
        picture = Pillow.fromarray(read_image(path, short_side=short_side * 3 // 2))
    except ImageError:
        return b""
    scale = short_side / min(picture.size)
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in picture.size)
        picture = picture.resize((width, height), Pillow.Resampling.BILINEAR, reducing_gap=3.0)
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=QUALITY, subsampling=0)
    return data.getvalue()


def _write(folder: Path, shard: int, parts: list[bytes]) -> None:
    """The photos first: a shard whose `.npy` stands there is whole."""
    with whole_file(_name(folder, shard, "bin")) as temporary:
        temporary.write_bytes(b"".join(parts))
    with whole_file(_name(folder, shard, "npy")) as temporary, open(temporary, "wb") as file:
        np.save(file, np.cumsum([0, *map(len, parts)], dtype=np.int64))


def _name(folder: Path, shard: int, suffix: str) -> Path:
    return folder / f"{shard:05d}.{suffix}"


def _table_hash(photos: Photos) -> str:
    import hashlib

    digest = hashlib.sha256()
    for photo_id, path in zip(photos.ids, photos.paths, strict=True):
        digest.update(f"{photo_id}\0{path}\n".encode())
    return digest.hexdigest()[:16]
