"""Photo cache: photos re-encoded near training size in large files, for fast decoding.

The folder has `prepared.json` (which photos, which size) and, per 1,024 photos, `NNNNN.bin`
(concatenated JPEGs) and `NNNNN.npy` (offset of each). Building it can be interrupted and resumed.
"""

from __future__ import annotations

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from ..core.errors import DataError, ImageError
from ..core.files import atomic_file, read_json, write_json
from ..core.hardware import cpu_count
from ..core.images import read_image
from ..core.types import Image, Photos, Progress

PHOTOS_PER_SHARD = 1024  # photos per file

JPEG_QUALITY = 92  # of the JPEGs, which are not chroma subsampled

FORMAT_VERSION = 1


class PhotoCache:
    """Reads photos of a cache folder by row of the table it was built from."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count
        self._starts: dict[int, NDArray[np.int64]] = {}

    def read(self, row: int) -> Image:
        """(H, W, 3) uint8 RGB. Raises ImageError for a photo that could not be cached."""
        shard, index = divmod(row, PHOTOS_PER_SHARD)
        if shard not in self._starts:
            self._starts[shard] = np.load(
                _shard_file(self.folder, shard, "npy"), allow_pickle=False
            )
        start, stop = self._starts[shard][index : index + 2]
        with open(_shard_file(self.folder, shard, "bin"), "rb") as file:
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
    """Re-encode all photos, with a short side of at most `short_side` pixels, into a folder.

    Files that the folder already has are kept. Raises DataError when they were made from other
    photos or for another size.
    """
    digest = hashlib.sha256()
    for photo_id, path in zip(photos.ids, photos.paths, strict=True):
        digest.update(f"{photo_id}\0{path}\n".encode())
    table_hash = digest.hexdigest()[:16]
    source = {"format": FORMAT_VERSION, "short_side": short_side, "photos": table_hash}
    record = folder / "prepared.json"
    if record.exists() and read_json(record) != source:
        raise DataError(
            f"{folder}: holds other prepared photos, or the same at another size; give another "
            "folder, or delete this one"
        )
    write_json(record, source)
    with ThreadPoolExecutor(cpu_count()) as pool:
        for start in range(0, len(photos), PHOTOS_PER_SHARD):
            if not _shard_file(folder, start // PHOTOS_PER_SHARD, "npy").exists():
                paths = photos.paths[start : start + PHOTOS_PER_SHARD]
                parts = list(pool.map(lambda path: _encode(path, short_side), paths))
                _write(folder, start // PHOTOS_PER_SHARD, parts)
            if progress:
                progress(min(start + PHOTOS_PER_SHARD, len(photos)), len(photos))
    return PhotoCache(folder, len(photos))


def _encode(path: str, short_side: int) -> bytes:
    """The photo as a JPEG; empty if it cannot be decoded."""
    try:
        picture = Pillow.fromarray(read_image(path, short_side=short_side * 3 // 2))
    except ImageError:
        return b""
    scale = short_side / min(picture.size)
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in picture.size)
        picture = picture.resize((width, height), Pillow.Resampling.BILINEAR, reducing_gap=3.0)
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return data.getvalue()


def _write(folder: Path, shard: int, parts: list[bytes]) -> None:
    """Write a shard; `.npy` comes last, so that a shard with this file is complete."""
    with atomic_file(_shard_file(folder, shard, "bin")) as temporary:
        temporary.write_bytes(b"".join(parts))
    with atomic_file(_shard_file(folder, shard, "npy")) as temporary, open(temporary, "wb") as file:
        np.save(file, np.cumsum([0, *map(len, parts)], dtype=np.int64))


def _shard_file(folder: Path, shard: int, suffix: str) -> Path:
    return folder / f"{shard:05d}.{suffix}"
