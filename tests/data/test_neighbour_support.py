"""Neighbour support: supporters against a brute-force count; verified pairs are cached."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.data.test_cleaning import cropped, scene
from tests.features.test_matching import building, seen_from_aside
from tests.support.photos import write_photo
from whichlandmark.core.errors import GalleryError, OptionError
from whichlandmark.core.images import content_hash, read_image
from whichlandmark.core.types import Image, Photos, Vectors
from whichlandmark.data.cleaning import neighbour_support
from whichlandmark.data.cleaning.neighbour_support import (
    LandmarkGroup,
    SupportOptions,
    _count_supporters,
    _doubtful,
    find_unsupported,
)
from whichlandmark.data.cleaning.scan_cache import ScanCache
from whichlandmark.features import pipeline
from whichlandmark.features.embedders.torch_embedder import TorchEmbedder
from whichlandmark.features.embedders.torch_network import Architecture, new_network
from whichlandmark.features.local.keypoints import MatchOptions, keypoints
from whichlandmark.features.local.matching import verify
from whichlandmark.features.preprocessing import Preprocessing
from whichlandmark.gallery.sqlite.store import SqliteGallery
from whichlandmark.recognition.fitting import fit
from whichlandmark.recognition.folder.fill import fill_gallery
from whichlandmark.recognition.indexing import index_photos

pytestmark = pytest.mark.usefixtures("not_exported")
MATCHING = MatchOptions(size=320, features=400)


def quiet(name: str) -> object:
    return lambda done, total: None


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    """Two buildings with five views and one mislabelled photo each; a landmark of two photos that
    match, one of two that do not match, one of a single photo.
    """
    at = tmp_path_factory.mktemp("graph")
    rng = np.random.default_rng(0)
    for name, seed in (("A", 1), ("B", 2)):
        for i in range(5):
            warp = np.eye(3)
            warp[:2, :2] += rng.uniform(-0.08, 0.08, (2, 2))
            warp[:2, 2] = rng.uniform(-20, 20, 2)
            write_photo(at / name / f"{i}.jpg", seen_from_aside(building(seed), warp))
        write_photo(at / name / "odd.jpg", building(10 + seed))
    write_photo(at / "fit" / "0.jpg", building(20))
    write_photo(at / "fit" / "1.jpg", cropped(building(20), 0.1, 0, 0, 0.1))
    write_photo(at / "unfit" / "0.jpg", building(30))
    write_photo(at / "unfit" / "1.jpg", building(31))
    write_photo(at / "alone" / "0.jpg", building(40))
    paths = sorted(at.rglob("*.jpg"))
    return Photos.of_columns(
        [f"{p.parent.name}/{p.stem}" for p in paths], list(map(str, paths)),
        [p.parent.name for p in paths],
    )  # fmt: skip


def embedder(at: Path, seed: int = 0) -> str:
    """A small network with random weights: enough when all neighbours are verified anyway."""
    net = new_network(Architecture(backbone="test_resnet", dim=8), seed=seed)
    TorchEmbedder(net, Preprocessing(size=64), device="cpu").save(
        at / f"embedder {seed}", export=False
    )
    return str(at / f"embedder {seed}")


def found(world: Photos, at: Path, **options: object) -> dict[str, tuple[str, str]]:
    rules = SupportOptions(
        **{"embedder": embedder(at), "trusted": 0, "neighbours": 5, "inliers": 25, **options}
    )  # type: ignore[arg-type]
    with ScanCache(at / "looks.sqlite") as cache:
        dropped = find_unsupported(
            world, cache, at / "graph", rules, matching=MATCHING, progress=quiet
        )  # type: ignore[arg-type]
    return {world.ids[row]: why for row, why in dropped.items()}


@pytest.mark.slow
def test_photos_of_another_landmark_are_found(world: Photos, tmp_path: Path) -> None:
    """In a landmark of two photos one supporter is enough; a single photo needs none."""
    dropped = found(world, tmp_path)
    assert sorted(dropped) == ["A/odd", "B/odd", "unfit/0", "unfit/1"]
    assert dropped["A/odd"][0] == "0 of the 5 nearest support it, 3 wanted"
    assert dropped["unfit/0"] == (
        "0 of the 1 nearest support it, 1 wanted", world.paths[world.ids.tolist().index("unfit/1")],
    )  # fmt: skip
    assert Path(dropped["B/odd"][1]).parent.name == "B"


@pytest.mark.slow
def test_the_result_equals_verifying_all_pairs(world: Photos, tmp_path: Path) -> None:
    """With all photos of the landmark as neighbours: count the supporters among all others."""
    points = [keypoints(read_image(path, short_side=320), MATCHING) for path in world.paths]
    content = [content_hash(Path(path).read_bytes()) for path in world.paths]
    by_content = sorted(range(len(world)), key=lambda row: content[row])
    agree = np.zeros((len(world), len(world)), dtype=int)
    for a, b in itertools.combinations(by_content, 2):
        if world.landmarks[a] == world.landmarks[b]:
            agree[a, b] = agree[b, a] = verify(points[a], points[b], MATCHING).inliers
    for need, inliers in ((2, 40), (4, 25), (4, 140)):
        size = {name: int((world.landmarks == name).sum()) for name in set(world.landmarks)}
        expected = {
            world.ids[row] for row in range(len(world))
            if (agree[row] >= inliers).sum() < min(need, size[world.landmarks[row]] - 1)
        }  # fmt: skip
        dropped = found(world, tmp_path, supporters=need, inliers=inliers)
        assert set(dropped) == expected
    assert len(expected) > 4


@pytest.mark.slow
def test_the_second_run_verifies_nothing(
    world: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = found(world, tmp_path)

    def never(*arguments: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(neighbour_support, "_keypoints", never)
    assert found(world, tmp_path) == first


@pytest.mark.slow
def test_an_interrupted_run_keeps_whole_landmarks(
    world: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, decoded = neighbour_support._keypoints, []

    def interrupted(path: str, matching: MatchOptions) -> object:
        if "/B/" in path:
            raise KeyboardInterrupt
        return plain(path, matching)

    monkeypatch.setattr(neighbour_support, "_keypoints", interrupted)
    with pytest.raises(KeyboardInterrupt):
        found(world, tmp_path)

    def counted(path: str, matching: MatchOptions) -> object:
        decoded.append(Path(path).parent.name)
        return plain(path, matching)

    monkeypatch.setattr(neighbour_support, "_keypoints", counted)
    assert sorted(found(world, tmp_path)) == ["A/odd", "B/odd", "unfit/0", "unfit/1"]
    assert "A" not in decoded
    assert decoded.count("B") == 6


def test_no_recognizer_is_fitted_and_vectors_are_stored(
    world: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resumed run embeds only the photos that the interrupted one did not."""

    def never(*arguments: object, **options: object) -> None:
        raise AssertionError("a recognizer was fitted")

    monkeypatch.setattr(fit, "fit", never)
    monkeypatch.setattr(fit, "fit_and_score", never)
    monkeypatch.setattr(index_photos, "finish_recognizer", never)
    source, put, batches = embedder(tmp_path), SqliteGallery.put, []
    monkeypatch.setattr(pipeline, "BATCH_ROWS", 6)

    def stopped(gallery: SqliteGallery, rows: object) -> None:
        if len(batches) == 1:
            raise KeyboardInterrupt
        batches.append(rows)
        put(gallery, rows)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(SqliteGallery, "put", stopped)
        with pytest.raises(KeyboardInterrupt):
            found(world, tmp_path, embedder=source)
    seen, embed = [], TorchEmbedder.__call__

    def counted(self: TorchEmbedder, images: Sequence[Image], /) -> Vectors:
        seen.append(len(images))
        return embed(self, images)

    monkeypatch.setattr(TorchEmbedder, "__call__", counted)
    assert sorted(found(world, tmp_path, embedder=source)) == ["A/odd", "B/odd", "unfit/0",
                                                               "unfit/1"]  # fmt: skip
    assert sum(seen) == len(world) - 6
    found(world, tmp_path, embedder=source)
    assert sum(seen) == len(world) - 6
    assert not (tmp_path / "graph" / "recognizer.json").exists()


def test_vectors_are_those_of_a_gallery_with_features(world: Photos, tmp_path: Path) -> None:
    """To the last bit, because photos are decoded at the same scale."""
    one = TorchEmbedder.load(Path(embedder(tmp_path)), device="cpu")
    found(world, tmp_path)
    with (
        SqliteGallery.open(tmp_path / "graph" / "gallery.sqlite") as gallery,
        SqliteGallery.create(None, one.id, one.dim) as full,
    ):
        fill_gallery(one, world, full)
        kept, expected = gallery.table(), full.table()
    assert kept.ids.tolist() == expected.ids.tolist()
    assert kept.hashes.tolist() == expected.hashes.tolist()
    assert kept.vectors.tobytes() == expected.vectors.tobytes()


def test_cleaning_imports_no_recognizer() -> None:
    code = (
        "import sys, whichlandmark.data.cleaning.neighbour_support as g;"
        "r = 'whichlandmark.recognition.';"
        "print(*(m for m in sys.modules if m in (r + 'recognizer', r + 'indexing.index_photos',"
        "r + 'fitting.fit')))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []


def test_supporters_are_counted_among_the_nearest_neighbours_only() -> None:
    """Neighbours are verified in order, no more than needed, and each pair only once."""
    group = LandmarkGroup(
        np.array(["a", "b", "c", "d"], dtype=object), np.array(["2", "1", "4", "3"], dtype=object),
        np.array([[1, 2], [0, 2], [3, 0], [2, 1]]), np.array([0, 1, 2, 3]),
    )  # fmt: skip
    known = {("1", "2"): 50, ("2", "4"): 10, ("1", "4"): 50, ("3", "4"): 0, ("1", "3"): 31}
    with ScanCache() as cache, ThreadPoolExecutor(1) as pool:
        cache.put_pairs(neighbour_support._options_key(MATCHING), known)
        assert _count_supporters(group, 2, cache, 30, MATCHING, pool) == {0: 1, 1: 2, 2: 0, 3: 1}
        assert _count_supporters(group, 1, cache, 30, MATCHING, pool) == {0: 1, 1: 1, 2: 0, 3: 1}
        some = dataclasses.replace(group, doubtful=np.array([2]))
        assert _count_supporters(some, 1, cache, 10, MATCHING, pool) == {2: 1}


def test_doubtful_photos_match_brute_force() -> None:
    rng = np.random.default_rng(0)
    landmarks = np.array([f"L{i % 3}" for i in range(30)], dtype=object)
    centres = rng.normal(size=(3, 8))
    vectors = centres[np.arange(30) % 3] + 0.9 * rng.normal(size=(30, 8))
    vectors[4] = vectors[7] = vectors[10]  # equal vectors: each is still a neighbour of the others
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    for trusted in (1, 2, 5):
        expected = []
        for row in range(30):
            others = [other for other in range(30) if other != row]
            others.sort(key=lambda other: (-float(vectors[row] @ vectors[other]), other))
            expected.append(sum(landmarks[o] == landmarks[row] for o in others[:5]) < trusted)
        assert _doubtful(vectors, landmarks, trusted).tolist() == expected
    assert 0 < sum(expected) < 30
    assert _doubtful(vectors, landmarks, 0).all()


@pytest.mark.slow
def test_trusted_photos_are_not_verified(world: Photos, tmp_path: Path) -> None:
    """A photo without supporters is kept when enough nearest photos are of its landmark."""
    strict = found(world, tmp_path, inliers=10**6)
    assert set(strict) == set(world.ids) - {"alone/0"}
    mild = found(world, tmp_path, inliers=10**6, trusted=1)
    with SqliteGallery.open(tmp_path / "graph" / "gallery.sqlite") as gallery:
        table = gallery.table()
    doubtful = _doubtful(table.vectors.astype(np.float32), table.landmarks, 1)
    assert set(mild) == set(table.ids[doubtful]) - {"alone/0"}
    assert 0 < len(mild) < len(strict)


@pytest.mark.slow
def test_another_embedder_is_refused(world: Photos, tmp_path: Path) -> None:
    found(world, tmp_path)
    with pytest.raises(GalleryError, match="made by embedder 'test_resnet"):
        found(world, tmp_path, embedder=embedder(tmp_path, seed=1))


@pytest.mark.parametrize(
    "wrong",
    [{"neighbours": 0}, {"supporters": 0}, {"inliers": 0}, {"neighbours": 2}, {"trusted": 6}],
)
def test_options_are_checked(wrong: dict[str, int]) -> None:
    with pytest.raises(OptionError, match="given; expected"):
        SupportOptions(**wrong)  # type: ignore[arg-type]


def test_scenes_do_not_match_each_other() -> None:
    """What the other tests rely on: the mislabelled photos match nothing."""
    a, b = (keypoints(scene(seed, (384, 512)), MATCHING) for seed in (1, 11))
    assert verify(a, b, MATCHING).inliers < 15
