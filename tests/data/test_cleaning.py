"""Cleaning: the reason of each drop; near duplicates are one photograph, not one place."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from whichlandmark.core.errors import OptionError
from whichlandmark.core.fingerprint import Fingerprint, candidate_pairs, fingerprint, same_picture
from whichlandmark.core.types import Image, Photo, Photos
from whichlandmark.data.cleaning import reasons as cleaning
from whichlandmark.data.cleaning.drop import CleaningRules, CleanResult, clean, write_cleaning
from whichlandmark.data.cleaning.scan_cache import ScanCache


def scene(seed: int, size: tuple[int, int] = (192, 256)) -> Image:
    """A drawn view of a place: sky, ground and a facade with random rectangles."""
    rng = np.random.default_rng(seed)
    height, width = size
    image = np.empty((height, width, 3), np.uint8)
    image[:] = rng.integers(120, 230, 3)
    cv2.rectangle(
        image, (0, height * 3 // 4), (width, height), rng.integers(40, 120, 3).tolist(), -1
    )
    left, top = rng.integers(20, 60, 2).tolist()
    cv2.rectangle(
        image, (left, top), (width - 50, height - 30), rng.integers(60, 200, 3).tolist(), -1
    )
    for _ in range(60):
        x, y = int(rng.integers(left, width - 60)), int(rng.integers(top, height - 40))
        w, h = rng.integers(4, 22, 2).tolist()
        cv2.rectangle(image, (x, y), (x + w, y + h), rng.integers(0, 256, 3).tolist(), -1)
    return cv2.GaussianBlur(image, (3, 3), 0)


def visitors(image: Image, seed: int) -> Image:
    """The same view at another time: different people and clouds."""
    rng = np.random.default_rng(seed)
    image = image.copy()
    height, width = image.shape[:2]
    for _ in range(5):
        x, tall = int(rng.integers(10, width - 20)), int(rng.integers(40, 70))
        colour = rng.integers(0, 256, 3).tolist()
        cv2.ellipse(image, (x, height - tall // 2), (9, tall // 2), 0, 0, 360, colour, -1)
        centre = (int(rng.integers(0, width)), int(rng.integers(0, 40)))
        cv2.ellipse(image, centre, (40, 8), 0, 0, 360, (250, 250, 250), -1)
    return image


def encoded(image: Image, quality: int = 90) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def decoded(data: bytes) -> Image:
    return np.asarray(Pillow.open(io.BytesIO(data)).convert("RGB"))


def cropped(image: Image, top: float, left: float, bottom: float, right: float) -> Image:
    height, width = image.shape[:2]
    rows = slice(round(top * height), height - round(bottom * height))
    return np.ascontiguousarray(image[rows, round(left * width) : width - round(right * width)])


def collection(tmp_path: Path, files: dict[str, bytes]) -> Photos:
    """Write photos named "landmark/name"; those named "none/…" have no landmark."""
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return Photos.of(
        Photo(name, tmp_path / name, None if name.startswith("none/") else name.split("/")[0])
        for name in files
    )


def reasons(result: CleanResult) -> dict[str, tuple[str, str]]:
    return {drop.id: (drop.reason, drop.detail) for drop in result.dropped}


class Brightness:
    """A voter for tests: votes by the mean pixel, and records sides and batch sizes."""

    id = "brightness"
    short_side = 256

    def __init__(self) -> None:
        self.sides: list[int] = []
        self.batches: list[int] = []

    def prepare(self, image: Image) -> Image:
        self.sides.append(min(image.shape[:2]))
        return image[::8, ::8]

    def __call__(self, prepared: Sequence[Image]) -> list[tuple[int, str]]:
        self.batches.append(len(prepared))
        return [(4, "bright") if image.mean() > 60 else (2, "dark") for image in prepared]


def near_pairs(prints: Sequence[Fingerprint]) -> list[tuple[int, int]]:
    """Pairs of the same photograph, as `clean` finds them: by hash, then by comparing pixels."""
    bits, coarse = np.stack([p.bits for p in prints]), np.stack([p.coarse for p in prints])
    return [(a, b) for a, b in candidate_pairs(bits, coarse) if same_picture(prints[a], prints[b])]


SAME = {
    "re-encoded": lambda image: decoded(encoded(image, 40)),
    "half the size": lambda image: np.asarray(Pillow.fromarray(image).reduce(2)),
    "doubled": lambda image: np.asarray(Pillow.fromarray(image).resize((512, 384))),
    "cropped": lambda image: cropped(image, 0.03, 0.02, 0.02, 0.03),
    "cropped at one side": lambda image: cropped(image, 0.0, 0.05, 0.0, 0.0),
    "brighter": lambda image: np.clip(image * 1.15 + 8.0, 0, 255).astype(np.uint8),
}


@pytest.mark.parametrize("change", SAME)
def test_the_same_photograph_is_found(change: str) -> None:
    """In both orders: it does not matter which photo is aligned to the other."""
    for seed in range(8):
        image = scene(seed)
        a, b = fingerprint(image), fingerprint(decoded(encoded(SAME[change](image), 85)))
        assert same_picture(a, b), seed
        assert same_picture(b, a), seed
        assert near_pairs([a, b]) == [(0, 1)]


def test_two_crops_of_one_photograph_are_found() -> None:
    for seed in range(8):
        image = scene(seed)
        one, two = cropped(image, 0.02, 0, 0, 0.02), cropped(image, 0, 0.02, 0.02, 0)
        assert near_pairs([fingerprint(one), fingerprint(two)]) == [(0, 1)]


def test_another_photo_from_the_same_spot_is_no_duplicate() -> None:
    for seed in range(8):
        later = [visitors(scene(seed), 10 * seed + i) for i in range(3)]
        assert near_pairs([fingerprint(image) for image in [scene(seed), *later]]) == []


def test_other_places_and_other_shapes_are_no_duplicates() -> None:
    prints = [fingerprint(scene(seed)) for seed in range(40)]
    assert near_pairs(prints) == []
    wide = fingerprint(cropped(scene(0), 0.2, 0, 0.2, 0))
    assert not same_picture(prints[0], wide)
    flipped = fingerprint(np.ascontiguousarray(scene(0)[:, ::-1]))
    assert not same_picture(prints[0], flipped)


def test_uniform_pictures_are_compared_by_color() -> None:
    night, fog, mist = (
        fingerprint(np.full((100, 130, 3), value, np.uint8)) for value in (5, 200, 202)
    )
    assert same_picture(fog, mist)
    assert not same_picture(night, fog)
    assert not same_picture(night, fingerprint(scene(0)))


def test_the_perceptual_hash_matches_a_hand_computation() -> None:
    """64 DCT coefficients, each a double sum; a bit is 1 above the median of all but the first."""
    image = scene(3)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    tiny = cv2.resize(
        cv2.resize(grey, (96, 96), interpolation=cv2.INTER_AREA), (32, 32),
        interpolation=cv2.INTER_AREA,
    ).astype(float)  # fmt: skip
    angles = (2 * np.arange(32) + 1) * np.pi / 64
    low = np.array([
        (tiny * np.cos(u * angles)[:, None] * np.cos(v * angles)).sum()
        * (0.5**0.5 if u == 0 else 1) * (0.5**0.5 if v == 0 else 1)
        for u in range(8) for v in range(8)
    ])  # fmt: skip
    assert fingerprint(image).bits.tolist() == np.packbits(low > np.median(low[1:])).tolist()


def test_drop_reasons_apply_in_their_order(tmp_path: Path) -> None:
    a, b, c = (encoded(scene(seed)) for seed in (1, 2, 3))
    photos = collection(tmp_path, {
        "A/1.jpg": a, "A/2.jpg": b, "A/3.jpg": a, "A/4.jpg": b"no photo", "A/5.jpg": b[:2000],
        "A/6.jpg": encoded(cropped(scene(2), 0.02, 0.02, 0.02, 0.02), 70),
        "B/1.jpg": c, "C/1.jpg": c, "C/2.jpg": encoded(scene(4)), "none/1.jpg": encoded(scene(5)),
    })  # fmt: skip
    result = clean(photos, CleaningRules(min_photos=2))
    assert result.kept.ids.tolist() == ["A/1.jpg", "A/2.jpg", "none/1.jpg"]
    found = reasons(result)
    assert list(found) == [i for i in photos.ids if i not in set(result.kept.ids)]
    assert found["A/3.jpg"] == (cleaning.DUPLICATE, "A/1.jpg")
    assert found["A/4.jpg"][0] == found["A/5.jpg"][0] == cleaning.UNREADABLE
    assert str(tmp_path / "A/5.jpg") in found["A/5.jpg"][1]
    assert found["A/6.jpg"] == (cleaning.NEAR_DUPLICATE, "A/2.jpg")
    assert found["B/1.jpg"] == (cleaning.CONFLICTING, "C/1.jpg (C)")
    assert found["C/1.jpg"] == (cleaning.CONFLICTING, "B/1.jpg (B)")
    assert found["C/2.jpg"] == (cleaning.TOO_FEW, "1 left, 2 wanted")
    assert result.counts() == {
        cleaning.UNREADABLE: 2, cleaning.CONFLICTING: 2, cleaning.DUPLICATE: 1,
        cleaning.NEAR_DUPLICATE: 1, cleaning.TOO_FEW: 1,
    }  # fmt: skip


def test_photos_dropped_earlier_count_towards_too_few_photos(tmp_path: Path) -> None:
    """Two photos and a copy of one: kept with min_photos 2, dropped with 3."""
    a, b = encoded(scene(1)), encoded(scene(2))
    photos = collection(tmp_path, {"A/1.jpg": a, "A/2.jpg": b, "A/3.jpg": a})
    assert len(clean(photos, CleaningRules(min_photos=2)).kept) == 2
    assert len(clean(photos, CleaningRules(min_photos=3)).kept) == 0
    assert len(clean(photos).kept) == 0  # the default is 4


def test_photos_of_several_landmarks_stay_and_count_for_none(tmp_path: Path) -> None:
    photos = collection(tmp_path, {f"a/{i}.jpg": encoded(scene(i)) for i in range(3)})
    several = Photos.of_columns(photos.ids, photos.paths, ["a", "a", "a|b"])
    seen: list[str] = []

    def unsupported(part: Photos, cache: ScanCache) -> dict[int, tuple[str, str]]:
        seen.extend(part.landmarks)
        return {}

    result = clean(several, CleaningRules(min_photos=2), find_unsupported=unsupported)
    assert (result.dropped, seen) == ([], ["a", "a"])
    result = clean(several, CleaningRules(min_photos=3))
    assert [row.landmark for row in result.dropped] == ["a", "a"]
    assert list(result.kept.landmarks) == ["a|b"]


def test_one_and_several_landmarks_of_one_photo_are_no_contradiction(tmp_path: Path) -> None:
    """The copy of most landmarks is kept; versions of one photograph under A and A|B both are."""
    a, b = encoded(scene(1)), encoded(scene(2))
    photos = collection(tmp_path, {
        "A/1.jpg": a, "A|B/1.jpg": a, "B/1.jpg": a, "A/2.jpg": b,
        "A|B/2.jpg": encoded(cropped(scene(2), 0.02, 0.02, 0.02, 0.02), 70),
        "C/1.jpg": encoded(scene(3)), "A|B/3.jpg": encoded(scene(3)),
    })  # fmt: skip
    result = clean(photos, CleaningRules(min_photos=1))
    assert reasons(result) == {
        "A/1.jpg": (cleaning.DUPLICATE, "A|B/1.jpg"), "B/1.jpg": (cleaning.DUPLICATE, "A|B/1.jpg"),
        "A|B/3.jpg": (cleaning.CONFLICTING, "C/1.jpg (C)"),
        "C/1.jpg": (cleaning.CONFLICTING, "A|B/3.jpg (A|B)"),
    }  # fmt: skip
    assert result.kept.ids.tolist() == ["A|B/1.jpg", "A/2.jpg", "A|B/2.jpg"]
    assert result.leaks == []


def test_the_near_duplicate_with_most_pixels_is_kept(tmp_path: Path) -> None:
    """More pixels win over better quality; with equal pixels and bytes the first id is kept."""
    big = scene(1, (384, 512))
    small = np.asarray(Pillow.fromarray(big).reduce(2))
    photos = collection(tmp_path, {
        "A/1.jpg": encoded(small, 100), "A/2.jpg": encoded(big, 30), "A/3.jpg": encoded(small, 60),
        "B/2.jpg": encoded(scene(2), 90), "B/1.jpg": encoded(scene(2), 90) + b" ",
    })  # fmt: skip
    assert (tmp_path / "A/1.jpg").stat().st_size > (tmp_path / "A/2.jpg").stat().st_size
    result = clean(photos, CleaningRules(min_photos=1))
    assert result.kept.ids.tolist() == ["A/2.jpg", "B/1.jpg"]
    assert {detail for _, detail in reasons(result).values()} == {"A/2.jpg", "B/1.jpg"}


def test_near_duplicates_of_near_duplicates_are_one_group(tmp_path: Path) -> None:
    """A chain of crops: the ends are too different to be a pair, but both match the middle one."""
    image = scene(1, (384, 512))
    crops = [cropped(image, 0, share, share, 0) for share in (0, 0.04, 0.08)]
    ends = [fingerprint(crop) for crop in (crops[0], crops[2])]
    assert near_pairs(ends) == []
    photos = collection(tmp_path, {f"A/{i}.jpg": encoded(crop) for i, crop in enumerate(crops)})
    assert clean(photos, CleaningRules(min_photos=1)).kept.ids.tolist() == ["A/0.jpg"]


def test_the_same_picture_under_two_landmarks_is_reported(tmp_path: Path) -> None:
    photos = collection(tmp_path, {
        "A/1.jpg": encoded(scene(1)), "B/1.jpg": encoded(scene(1), 60),
        "B/2.jpg": encoded(scene(2)), "none/1.jpg": encoded(scene(2), 60),
    })  # fmt: skip
    result = clean(photos, CleaningRules(min_photos=1))
    assert result.dropped == []
    assert [(leak.id, leak.detail) for leak in result.leaks] == [
        ("A/1.jpg", "B/1.jpg (B)"), ("B/1.jpg", "A/1.jpg (A)"),
        ("B/2.jpg", "none/1.jpg (no landmark)"), ("none/1.jpg", "B/2.jpg (B)"),
    ]  # fmt: skip
    assert result.counts() == {cleaning.LEAK: 4}


def test_the_outdoor_vote_runs_after_duplicates_and_before_too_few_photos(tmp_path: Path) -> None:
    """A duplicate stays a duplicate; the photo is decoded at least as large as the voter needs."""
    dark = encoded(np.asarray(Pillow.fromarray(scene(3)).point(lambda value: value // 4)))
    big = encoded(scene(1, (900, 1200)))
    photos = collection(tmp_path, {"A/1.jpg": big, "A/2.jpg": dark, "A/3.jpg": dark})
    bright = Brightness()
    result = clean(photos, CleaningRules(min_photos=1), voter=bright)
    assert reasons(result) == {
        "A/2.jpg": (cleaning.NOT_OUTDOOR, "2 outdoors of: dark"),
        "A/3.jpg": (cleaning.DUPLICATE, "A/2.jpg"),
    }  # fmt: skip
    assert sorted(bright.sides) == [192, 192, sorted(bright.sides)[-1]]
    assert sorted(bright.sides)[-1] >= 256
    assert len(clean(photos, CleaningRules(min_photos=2), voter=bright).kept) == 0
    # Two outdoor scenes are enough when the rules need two.
    assert len(clean(photos, CleaningRules(min_photos=1, outdoor=2), voter=bright).kept) == 2


def test_the_result_does_not_depend_on_the_order_of_the_table(tmp_path: Path) -> None:
    image = scene(1)
    files = {f"A/{i}.jpg": encoded(image, 60 + 5 * i) for i in range(5)}
    files |= {f"B/{i}.jpg": encoded(scene(9)) for i in range(3)}
    photos = collection(tmp_path, files)
    first = clean(photos, CleaningRules(min_photos=1))
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(photos))
        other = clean(photos.take(order), CleaningRules(min_photos=1))
        assert set(other.kept.ids) == set(first.kept.ids) == {"A/4.jpg", "B/0.jpg"}
        assert reasons(other) == reasons(first)


def test_progress_and_the_list_of_drops_are_written(tmp_path: Path) -> None:
    photos = collection(tmp_path, {
        "A/1.jpg": encoded(scene(1)), "A/2.jpg": b"", "B/1.jpg": encoded(scene(1), 60),
    })  # fmt: skip
    calls: list[tuple[int, int]] = []
    result = clean(photos, CleaningRules(min_photos=1), progress=lambda *call: calls.append(call))
    assert calls[-1] == (3, 3)
    write_cleaning(tmp_path / "out" / "cleaning.csv", result)
    with open(tmp_path / "out" / "cleaning.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "path", "landmark", "reason", "detail"]
    assert [(row["id"], row["path"], row["reason"]) for row in rows] == [
        ("A/2.jpg", "../A/2.jpg", "unreadable"),
        ("A/1.jpg", "../A/1.jpg", "kept: same picture under two landmarks"),
        ("B/1.jpg", "../B/1.jpg", "kept: same picture under two landmarks"),
    ]
    assert "the file is empty" in rows[0]["detail"]
    assert all((tmp_path / name).exists() for name in photos.ids)


def test_options_are_checked() -> None:
    for wrong in ({"min_photos": 0}, {"outdoor": -1}, {"near_bits": 33}, {"near_bits": -1}):
        with pytest.raises(OptionError, match="given; expected"):
            CleaningRules(**wrong)


def test_a_smaller_hash_distance_compares_fewer_photos(tmp_path: Path) -> None:
    image = scene(1)
    photos = collection(tmp_path, {
        "A/1.jpg": encoded(image), "A/2.jpg": encoded(cropped(image, 0, 0.06, 0.06, 0)),
    })  # fmt: skip
    assert len(clean(photos, CleaningRules(min_photos=1)).kept) == 1
    assert len(clean(photos, CleaningRules(min_photos=1, near_bits=0)).kept) == 2


def test_a_photo_that_is_in_the_other_table_is_dropped(tmp_path: Path) -> None:
    """By bytes, by picture, by id, and by a chain of crops with one end in the other table."""
    big = scene(5, (384, 512))
    photos = collection(tmp_path, {
        "A/bytes.jpg": encoded(scene(1)), "A/small.jpg": encoded(scene(2), 60),
        "A/id.jpg": encoded(scene(3)), "A/end.jpg": encoded(cropped(big, 0, 0.08, 0.08, 0)),
        "A/mid.jpg": encoded(cropped(big, 0, 0.04, 0.04, 0)), "A/own.jpg": encoded(scene(6)),
    })  # fmt: skip
    (tmp_path / "t").mkdir()
    test = {
        "bytes": encoded(scene(1)), "big": encoded(scene(2)), "A/id.jpg": encoded(scene(7)),
        "whole": encoded(big), "broken": b"no photo",
    }  # fmt: skip
    for number, data in enumerate(test.values()):
        (tmp_path / "t" / f"{number}.jpg").write_bytes(data)
    others = Photos.of(
        Photo(name, tmp_path / "t" / f"{number}.jpg", "B") for number, name in enumerate(test)
    )
    alone = clean(photos, CleaningRules(min_photos=1))
    assert set(reasons(alone)) == {"A/end.jpg"}
    result = clean(photos, CleaningRules(min_photos=1), against={"test.csv": others})
    assert result.kept.ids.tolist() == ["A/own.jpg"]
    also = "also in test.csv"
    assert reasons(result) == {
        "A/bytes.jpg": (also, "bytes (B)"), "A/small.jpg": (also, "big (B)"),
        "A/id.jpg": (also, "A/id.jpg (B)"), "A/mid.jpg": (also, "whole (B)"),
        "A/end.jpg": (also, "whole (B)"),
    }  # fmt: skip
    assert result.counts() == {also: 5}
    assert {Path(drop.compared_path).parent.name for drop in result.dropped} == {"t"}


def test_the_landmark_check_sees_only_photos_not_dropped_before(tmp_path: Path) -> None:
    """No unreadable photo, no copy, none without a landmark, none of a landmark dropped anyway."""
    photos = collection(tmp_path, {
        "A/1.jpg": encoded(scene(1)), "A/2.jpg": encoded(scene(2)), "A/3.jpg": encoded(scene(2)),
        "A/4.jpg": encoded(scene(4)), "B/1.jpg": encoded(scene(5)), "none/1.jpg": b"",
        "none/2.jpg": encoded(scene(6)),
    })  # fmt: skip
    seen: list[list[str]] = []

    def odd(left: Photos, cache: ScanCache) -> dict[int, tuple[str, str]]:
        seen.append(left.ids.tolist())
        return {1: ("0 of 2 support it", left.paths[0])}

    result = clean(photos, CleaningRules(min_photos=2), find_unsupported=odd)
    assert seen == [["A/1.jpg", "A/2.jpg", "A/4.jpg"]]
    assert result.kept.ids.tolist() == ["A/1.jpg", "A/4.jpg", "none/2.jpg"]
    assert reasons(result)["A/2.jpg"] == (cleaning.UNSUPPORTED, "0 of 2 support it")
    assert reasons(result)["B/1.jpg"] == (cleaning.TOO_FEW, "1 left, 2 wanted")
    assert len(clean(photos, CleaningRules(min_photos=3), find_unsupported=odd).kept) == 1


def test_duplicate_candidates_match_brute_force() -> None:
    """All pairs of near hashes whose coarse copies are similar or all zero (uniform photos)."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (60, 64))
    for row in range(20, 40):  # near another one
        bits[row] = bits[row - 20]
        bits[row, rng.permutation(64)[: rng.integers(12, 21)]] ^= 1
    coarse = rng.normal(size=(60, 64)).astype(np.float32)
    coarse[20:36] = coarse[:16] + 0.5 * rng.normal(size=(16, 64)).astype(np.float32)
    coarse /= np.linalg.norm(coarse, axis=1, keepdims=True)
    coarse[[3, 39]] = 0
    expected = [
        (a, b) for a in range(60) for b in range(a + 1, 60)
        if (bits[a] != bits[b]).sum() <= 16
        and (coarse[a] @ coarse[b] >= 0.85 or not coarse[a].any() or not coarse[b].any())
    ]  # fmt: skip
    packed = np.packbits(bits.astype(np.uint8), axis=1)
    assert list(candidate_pairs(packed, coarse, 16)) == expected
    assert 5 < len(expected) < 20
