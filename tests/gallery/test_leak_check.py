"""Leak check: queries that are also in the gallery are found by id, content or appearance."""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from whichlandmark.core.errors import GalleryError
from whichlandmark.core.fingerprint import (
    Fingerprint,
    fingerprint,
    pack,
    same_picture,
    unpack,
    unpack_hashes,
)
from whichlandmark.core.images import read_image
from whichlandmark.core.types import Image
from whichlandmark.gallery import leak_check
from whichlandmark.gallery.leak_check import Leak, LeakCheck, by_kind


def scene(seed: int, size: tuple[int, int] = (240, 320)) -> Image:
    """A picture of large soft shapes and fine grain, unlike that of any other seed."""
    rng = np.random.default_rng(seed)
    coarse = Pillow.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    soft = np.asarray(coarse.resize(size[::-1], Pillow.Resampling.BICUBIC), dtype=float)
    return np.clip(soft + rng.normal(0, 6, (*size, 3)), 0, 255).astype(np.uint8)


def reencoded(image: Image, crop: float = 0.0, quality: int = 60, scale: float = 1.0) -> Image:
    """The image cropped on one side, resized, and encoded as JPEG."""
    height, width = image.shape[:2]
    cut = Pillow.fromarray(image[int(crop * height) :, int(crop * width) :])
    cut = cut.resize((int(cut.width * scale), int(cut.height * scale)))
    file = io.BytesIO()
    cut.save(file, "JPEG", quality=quality)
    return np.asarray(Pillow.open(file).convert("RGB"))


def test_packing_a_fingerprint_changes_it_little() -> None:
    for seed in range(20):
        before = fingerprint(scene(seed))
        after = unpack(pack(before))
        assert (after.bits == before.bits).all()
        assert after.shape == before.shape
        assert np.abs(after.coarse - before.coarse).max() < 1e-3
        assert np.abs(after.small.astype(int) - before.small).max() <= 2
        assert after.small.dtype == np.uint8
        assert len(pack(before)) < 7_000


def test_fingerprints_of_uniform_pictures_survive_packing() -> None:
    for level in (0, 3, 127, 255):
        before = fingerprint(np.full((100, 120, 3), level, dtype=np.uint8))
        after = unpack(pack(before))
        assert (after.small == before.small).all()
        assert not after.coarse.any()
        assert len(pack(before)) < 250


def verdicts(images: Sequence[Image]) -> tuple[int, int, int]:
    """(pairs, pairs of the same picture, verdicts that packing changes) of photos with their own
    crops, and with each other."""
    prints = [fingerprint(image) for image in images]
    pairs, same, changed = 0, 0, 0
    for i, image in enumerate(images):
        others = [
            fingerprint(reencoded(image, crop, quality, scale))
            for crop, quality, scale in ((0, 35, 0.7), (0.04, 80, 1), (0.07, 60, 1), (0.1, 70, 1))
        ]
        for query in [*others, prints[(i + 1) % len(prints)]]:
            plain = same_picture(query, prints[i])
            pairs, same = pairs + 1, same + plain
            changed += same_picture(query, unpack(pack(prints[i]))) != plain
    return pairs, same, changed


def test_packing_changes_no_verdict() -> None:
    pairs, same, changed = verdicts([scene(seed) for seed in range(16)])
    assert 16 < same < pairs
    assert changed == 0


@pytest.mark.skipif(
    "WHICHLANDMARK_REALPHOTOS" not in os.environ, reason="needs a folder of real photos"
)
def test_packing_changes_no_verdict_on_real_photos() -> None:
    paths = sorted(Path(os.environ["WHICHLANDMARK_REALPHOTOS"]).rglob("*.jpg"))[::25]
    pairs, same, changed = verdicts([read_image(path, short_side=384) for path in paths])
    print(f"{pairs} pairs, {same} of the same picture, {changed} verdicts changed")
    assert same > pairs / 4
    assert changed == 0


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:40], lambda b: b"", lambda b: b[:-30], lambda b: b[:150] + b"\0" * 60,
     lambda b: b[:146] + b"\0" * len(b[146:])],
)  # fmt: skip
def test_damaged_bytes_are_an_error(damage: object) -> None:
    data = damage(pack(fingerprint(scene(1))))  # type: ignore[operator]
    with pytest.raises(GalleryError, match="index"):
        unpack(data)


def test_hashes_are_read_without_decompressing() -> None:
    prints = [fingerprint(scene(seed)) for seed in range(5)]
    bits, coarse = unpack_hashes([pack(p) for p in prints])
    assert (bits == np.stack([p.bits for p in prints])).all()
    assert np.abs(coarse.astype(float) - np.stack([p.coarse for p in prints])).max() < 1e-3
    with pytest.raises(GalleryError, match="of 3 bytes is damaged"):
        unpack_hashes([b"abc"])


class Shelf:
    """Packed fingerprints of a gallery that count how often they are read."""

    def __init__(self, prints: Mapping[str, Fingerprint]) -> None:
        self.packed = {photo_id: pack(print_) for photo_id, print_ in prints.items()}
        self.read: list[list[str]] = []

    def __call__(self, ids: Sequence[str]) -> dict[str, bytes]:
        self.read.append(list(ids))
        return {i: self.packed[i] for i in ids if i in self.packed}


def column(*values: str) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


GALLERY = {f"g{seed}": scene(seed) for seed in range(30)}


@pytest.fixture(scope="module")
def prints() -> dict[str, Fingerprint]:
    return {name: fingerprint(image) for name, image in GALLERY.items()}


def test_leaks_by_content_and_appearance_are_found_not_by_id_alone(
    prints: dict[str, Fingerprint],
) -> None:
    check = LeakCheck(column(*prints), column(*(f"hash {i}" for i in prints)), Shelf(prints))
    assert check.compares_fingerprints
    queries = {
        "g3": scene(100),  # another picture with the id of a gallery photo
        "copy": GALLERY["g7"],
        "smaller": reencoded(GALLERY["g11"], scale=0.5),
        "cropped": reencoded(GALLERY["g12"], crop=0.04),
        "new": scene(101),
        "same place": np.roll(GALLERY["g13"], 90, axis=1),
    }
    hashes = ["x0", "hash g7", *(f"x{i}" for i in range(1, 5))]
    found = check(list(queries), hashes, [fingerprint(image) for image in queries.values()])
    assert found == [
        None, Leak("copy", "content", "g7"), Leak("smaller", "look", "g11"),
        Leak("cropped", "look", "g12"), None, None,
    ]  # fmt: skip
    assert by_kind([leak for leak in found if leak]) == {"id": 0, "content": 1, "look": 2}
    assert by_kind([]) == {"id": 0, "content": 0, "look": 0}
    assert [leak.photo in leak.reason for leak in found[1:4]] == [True] * 3


def test_fingerprints_are_read_in_parts_and_then_only_of_candidates(
    prints: dict[str, Fingerprint], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leak_check, "BLOCK_PHOTOS", 8)
    shelf = Shelf(prints)
    check = LeakCheck(column(*prints), column(*prints), shelf)
    assert [len(ids) for ids in shelf.read] == [8, 8, 8, 6]
    shelf.read.clear()
    check(["new"], ["x"], [fingerprint(scene(102))])
    assert len(shelf.read) <= 2  # because a hash may be near by chance
    shelf.read.clear()
    (leak,) = check(["copy"], ["x"], [prints["g20"]])
    assert leak == Leak("copy", "look", "g20")
    assert ["g20"] in shelf.read


def test_leaks_equal_those_of_comparing_every_pair(prints: dict[str, Fingerprint]) -> None:
    check = LeakCheck(column(*prints), column(*prints), Shelf(prints))
    rng = np.random.default_rng(0)
    queries = [
        fingerprint(reencoded(GALLERY[f"g{i}"], crop=rng.uniform(0, 0.12), quality=50))
        for i in range(30)
    ]
    found = check([f"q{i}" for i in range(30)], [f"x{i}" for i in range(30)], queries)

    def same(a: Fingerprint, b: Fingerprint) -> bool:
        return int(np.unpackbits(a.bits ^ b.bits).sum()) <= 16 and same_picture(a, b)

    slow = [next((n for n, p in prints.items() if same(q, p)), None) for q in queries]
    assert sum(name is not None for name in slow) > 10
    assert [leak.photo if leak else None for leak in found] == slow


def test_a_gallery_with_few_or_no_fingerprints(prints: dict[str, Fingerprint]) -> None:
    some = {name: prints[name] for name in ("g1", "g2")}
    check = LeakCheck(column(*prints), column(*prints), Shelf(some))
    found = check(["a", "b"], ["x", "y"], [prints["g1"], prints["g5"]])
    assert found == [Leak("a", "look", "g1"), None]
    without = LeakCheck(column(*prints), column(*prints))
    assert not without.compares_fingerprints
    assert without(["a", "g1"], ["x", "g2"]) == [None, Leak("g1", "id", "g1")]
    empty = LeakCheck(column(), column(), Shelf({}))
    assert not empty.compares_fingerprints
    assert empty(["a"], ["x"], [prints["g1"]]) == [None]


def test_a_uniform_picture_leaks_only_into_an_equal_one() -> None:
    """A black photo has no detail to compare: it equals other black ones, not every photo."""
    dark = np.zeros((120, 160, 3), dtype=np.uint8)
    prints = {"dark": fingerprint(dark), "grey": fingerprint(dark + 90)}
    check = LeakCheck(column(*prints), column(*prints), Shelf(prints))
    found = check(["a", "b"], ["x", "y"], [fingerprint(dark + 1), fingerprint(scene(0))])
    assert found == [Leak("a", "look", "dark"), None]


def test_of_equal_gallery_photos_the_first_is_named(prints: dict[str, Fingerprint]) -> None:
    twice = {"b": prints["g4"], "a": prints["g4"], "c": dataclasses.replace(prints["g4"])}
    check = LeakCheck(column(*twice), column("h", "h", "h"), Shelf(twice))
    found = check(["q", "r"], ["x", "h"], [prints["g4"], prints["g4"]])
    assert found == [Leak("q", "look", "b"), Leak("r", "content", "b")]
