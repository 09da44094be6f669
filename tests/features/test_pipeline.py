"""Photos to vectors: independent of threads, bounded memory, failures listed, resumable."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.support.photos import photos_of, picture, write_photo
from whichlandmark.core import images as images_module
from whichlandmark.core.errors import GalleryError
from whichlandmark.core.images import content_hash, read_image
from whichlandmark.core.types import Image, Photos, Vectors
from whichlandmark.features import pipeline
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.features.pipeline import PerPhoto, embed
from whichlandmark.features.prefetch import ByteBudget
from whichlandmark.features.preprocessing import InputPipeline, Preprocessing, Views
from whichlandmark.gallery.sqlite.store import SqliteGallery
from whichlandmark.recognition.folder.fill import fill_gallery

SHAPES = [(60, 80), (80, 60), (64, 64), (40, 120), (300, 400)]


class Shapes:
    """An embedder with an input pipeline: mean colours; records the shapes of each pass."""

    name, id, dim, short_side = "shapes", "shapes-1", 3, 96

    def __init__(self, views: Views | None = None, batch_size: int = 4) -> None:
        self.input_pipeline = InputPipeline(
            Preprocessing(size=64, multiple=16), views or Views(), batch_size
        )
        self.passes: list[list[tuple[int, ...]]] = []

    def __call__(self, images: Sequence[Image], /) -> Vectors:
        self.passes.append([image.shape[:2] for image in images])
        return self.input_pipeline(images, self._network, 3)

    def _network(self, pixels: np.ndarray) -> np.ndarray:
        rows = pixels.mean(axis=(2, 3)) + len(pixels) * 1e-3  # depends on the size of the pass
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)

    def save(self, folder: Path, /) -> None:
        raise NotImplementedError


@pytest.fixture
def table(tmp_path: Path) -> Photos:
    """150 photos of five shapes in turn; four are damaged, missing or empty."""
    for i in range(150):
        size = SHAPES[i * 7 % 5 if i % 11 else 4]
        write_photo(tmp_path / "photos" / "place" / f"{i:03}.jpg", picture(i % 9, i, size))
    photos = photos_of(tmp_path / "photos")
    for row, data in ((3, b"broken"), (70, b""), (149, b"\xff\xd8\xff")):
        Path(photos.paths[row]).write_bytes(data)
    Path(photos.paths[71]).unlink()
    return photos


def all_of(embedder: Any, photos: Photos, **options: Any) -> tuple[list[int], Vectors, list[Any]]:
    rows, vectors, more = [], [], []
    for batch in embed(embedder, photos, **options):
        rows += batch.rows.tolist()
        vectors.append(batch.vectors)
        more += [batch.hashes, batch.computed, [(f.id, f.reason) for f in batch.failures]]
    return rows, np.concatenate(vectors), more


def test_vectors_do_not_depend_on_the_number_of_threads(
    table: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, found = images_module.read_image, []

    def unsteady(data: bytes, **options: Any) -> Image:  # photos are decoded in any order
        time.sleep(data[len(data) // 2] % 4 / 1000 if data else 0)
        return real(data, **options)

    monkeypatch.setattr(pipeline, "read_image", unsteady)
    for threads in (1, 2, 8):
        embedder = Shapes()
        rows, vectors, more = all_of(
            embedder, table, threads=threads, per_photo=PerPhoto(lambda image: image.shape, 0)
        )
        found.append((rows, vectors.tobytes(), more, embedder.passes))
    assert found[0] == found[1] == found[2]
    assert found[0][0] == [row for row in range(150) if row not in (3, 70, 71, 149)]
    assert [len(hashes) for hashes in found[0][2][::3]] == [63, 62, 21]  # 64 rows a batch


def test_vectors_equal_those_of_each_photo_alone(table: Photos) -> None:
    embedder = HistogramEmbedder()
    rows, vectors, more = all_of(embedder, table)
    for row, vector in zip(rows, vectors, strict=True):
        image = read_image(table.paths[row], short_side=64)
        assert np.array_equal(embedder([image])[0], vector)
    hashes = [content_hash(Path(table.paths[row]).read_bytes()) for row in rows]
    assert [digest for part in more[::3] for digest in part] == hashes


@pytest.mark.parametrize("views", [Views(), Views(scales=(1.0, 0.5), flip=True)])
def test_photos_of_one_shape_share_a_batch_and_keep_their_aspect_ratio(
    table: Photos, views: Views
) -> None:
    embedder = Shapes(views)
    rows, vectors, _ = all_of(embedder, table)
    sizes = views.expand(embedder.input_pipeline.preprocessing)
    assert len(embedder.passes) < 50  # 146 photos of five shapes in fours: at least 37 passes
    for shapes in embedder.passes:
        assert len({tuple(size.target_shape(*shape) for size in sizes) for shape in shapes}) == 1
    for row, vector in zip(
        rows, vectors, strict=True
    ):  # close to those of a pass with this photo alone
        alone = Shapes(views)([read_image(table.paths[row])])[0]
        assert float(alone @ vector) > 0.995


def test_failures_are_listed_at_their_position(table: Photos) -> None:
    batches = list(embed(Shapes(), table))
    assert [[f.id[-7:-4] for f in batch.failures] for batch in batches] == [
        ["003"], ["070", "071"], ["149"],
    ]  # fmt: skip
    assert "no such file" in batches[1].failures[1].reason
    none = table.take([3, 70, 71])
    (batch,) = embed(Shapes(), none)
    assert (batch.vectors.shape, len(batch.failures)) == ((0, 3), 3)
    assert list(embed(Shapes(), table.take([]))) == []


@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize("kind", [HistogramEmbedder, Shapes])
def test_huge_photos_stay_within_the_byte_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, threads: int
) -> None:
    """PNGs are decoded at full size; without a limit, 8 threads would hold up to 64 of them."""
    for i in range(24):
        path = tmp_path / "photos" / f"{i:02}.png"
        path.parent.mkdir(exist_ok=True)
        Pillow.fromarray(picture(i, i, (600, 500) if i % 5 else (40, 50))).save(path)
    paths = [str(path) for path in sorted((tmp_path / "photos").iterdir())]
    photos = Photos.of_columns([str(i) for i in range(24)], paths, [""] * 24)
    one, budgets = 600 * 500 * 8, []

    class Watched(ByteBudget):
        def __init__(self, limit: int) -> None:
            super().__init__(limit)
            budgets.append(self)

    monkeypatch.setattr(pipeline, "ByteBudget", Watched)
    expected = all_of(kind(), photos, threads=1)[1]
    monkeypatch.setattr(pipeline, "max_decoding_bytes", lambda: one)
    monkeypatch.setattr(pipeline, "MAX_WAITING_BYTES", one)
    rows, vectors, _ = all_of(kind(), photos, threads=threads)
    assert rows == list(range(24))
    assert np.allclose(vectors, expected, atol=1e-2)
    assert one <= budgets[1].peak <= 2 * one
    assert budgets[1].used == 0
    if threads == 8:
        assert budgets[0].peak < 24 * one  # the default budget is not nearly used up
    # Each photo is larger than the budget.
    monkeypatch.setattr(pipeline, "max_decoding_bytes", lambda: one // 2)
    assert all_of(kind(), photos, threads=threads)[0] == list(range(24))


def test_enlarged_photos_count_with_their_enlarged_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(40):
        write_photo(tmp_path / "photos" / f"{i:02}.jpg", picture(i, i, (10, 10)))
    budgets: list[ByteBudget] = []

    class Watched(ByteBudget):
        def __init__(self, limit: int) -> None:
            super().__init__(limit)
            budgets.append(self)

    monkeypatch.setattr(pipeline, "ByteBudget", Watched)
    monkeypatch.setattr(pipeline, "max_decoding_bytes", lambda: 5 * 64 * 64 * 3)
    monkeypatch.setattr(pipeline, "MAX_WAITING_BYTES", 5 * 64 * 64 * 3)
    rows, _, _ = all_of(Shapes(batch_size=32), photos_of(tmp_path / "photos"))
    assert rows == list(range(40))
    assert 5 * 64 * 64 * 3 <= budgets[0].peak <= 10 * 64 * 64 * 3


def test_closing_the_iterator_stops_all_threads(table: Photos) -> None:
    batches = embed(Shapes(), table)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith(("decode", "network"))]


def test_an_error_of_the_network_is_raised_without_hanging(table: Photos) -> None:
    class Broken(Shapes):
        def __call__(self, images: Sequence[Image], /) -> Vectors:
            if len(self.passes) == 7:
                raise RuntimeError("device lost")
            return super().__call__(images)

    with pytest.raises(RuntimeError, match="device lost"):
        all_of(Broken(), table)


def test_an_interrupted_run_keeps_complete_batches_and_resumes(
    table: Photos, tmp_path: Path
) -> None:
    class Interrupted(Shapes):
        def __call__(self, images: Sequence[Image], /) -> Vectors:
            if len(self.passes) == 30:
                raise KeyboardInterrupt
            return super().__call__(images)

    progress: list[tuple[int, int]] = []
    with SqliteGallery.create(tmp_path / "g.sqlite", "shapes-1", 3) as gallery:
        with pytest.raises(KeyboardInterrupt):
            fill_gallery(Interrupted(), table, gallery, features=False)
        kept = gallery.count()
        assert kept in (63, 63 + 62)
        again = Shapes()
        failures = fill_gallery(
            again,
            table,
            gallery,
            features=False,
            progress=lambda *numbers: progress.append(numbers),
        )
        assert sum(map(len, again.passes)) == 146 - kept
        assert len(failures) == 4
        assert gallery.table().ids.tolist() == [table.ids[r] for r in range(150)
                                                if r not in (3, 70, 71, 149)]  # fmt: skip
    assert progress[-1][0] == progress[-1][1]


def test_a_batch_is_written_while_the_next_is_embedded(table: Photos) -> None:
    """The write of the first batch blocks until a later pass has started."""
    later = threading.Event()
    writing: list[int] = []

    class Signalling(Shapes):
        def __call__(self, images: Sequence[Image], /) -> Vectors:
            if writing:
                later.set()
            return super().__call__(images)

    with SqliteGallery.create(None, "shapes-1", 3) as gallery:
        put, generation = gallery.put, gallery.generation

        def slow(rows: Any) -> None:
            writing.append(len(rows))
            assert len(writing) > 1 or later.wait(20)
            put(rows)

        gallery.put = slow  # type: ignore[method-assign]
        fill_gallery(Signalling(batch_size=1), table, gallery, features=False)
        assert writing == [63, 62, 21]
        assert gallery.generation == generation + 3  # one transaction a batch


def test_a_failed_write_ends_the_run(table: Photos) -> None:
    with SqliteGallery.create(None, "shapes-1", 3) as gallery:

        def full(rows: Any) -> None:
            raise GalleryError("the disk is full")

        gallery.put = full  # type: ignore[method-assign]
        with pytest.raises(GalleryError, match="disk is full"):
            fill_gallery(Shapes(), table, gallery, features=False)
