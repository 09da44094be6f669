"""Time and memory of reading vectors of others: distractors in chunks, a database matched by id.

    python benchmarks/descriptor_files.py [--vectors 200000] [--dim 2048]

Prints one line for each format and use: vectors a second of processor time, and by how many
megabytes the process grew beyond its size before, while the file has so many.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from whichlandmark.core.types import Photos
from whichlandmark.features.descriptors.align import aligned, descriptor_chunks
from whichlandmark.features.descriptors.write import write_descriptors


def measure(path: str, ids: list[str], dim: int, use: str) -> None:
    """Read one file in this process, and print what it took."""
    photos = Photos.of_columns(ids[::-1], ids, [""] * len(ids))
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    if use == "distractors":
        for _ in descriptor_chunks(path, dim, notes=[]):
            pass
    else:
        aligned(path, photos, "database")
    seconds = time.process_time() - started
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000
    size = Path(path).stat().st_size / 1e6
    rate = f"{len(ids) / seconds:>10,.0f} vectors/s"
    print(f"{Path(path).suffix:<13} {use:<12} {rate} {grown:>8,.0f} MB, of {size:,.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vectors", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=2048)
    given = parser.parse_args()
    ids = [f"{number:08d}.jpg" for number in range(given.vectors)]
    random = np.random.default_rng(0)
    block = random.normal(size=(10_000, given.dim)).astype(np.float16)
    block /= np.linalg.norm(block.astype(np.float32), axis=1, keepdims=True).astype(np.float16)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("a.npy", "b.safetensors", "c.hdf5"):
            path = Path(folder) / name
            chunks = (
                block[: min(10_000, given.vectors - start)]
                for start in range(0, given.vectors, 10_000)
            )
            write_descriptors(path, chunks, ids, given.dim, facts={}, dtype="float16")
            for use in ("database", "distractors"):
                process = multiprocessing.get_context("spawn").Process(
                    target=measure, args=(str(path), ids, given.dim, use)
                )
                process.start()
                process.join()
            path.unlink()


if __name__ == "__main__":
    main()
