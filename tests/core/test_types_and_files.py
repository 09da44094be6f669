"""Photo tables, options as JSON, atomic file writes, preprocessing sizes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from whichlandmark.core import errors
from whichlandmark.core.errors import DataError, OptionError, WhichLandmarkError
from whichlandmark.core.files import atomic_file, read_json, write_json
from whichlandmark.core.json_options import from_json, to_json, unknown_message
from whichlandmark.core.types import Photo, Photos
from whichlandmark.features.preprocessing import Preprocessing


def photos(sizes: dict[str, int]) -> Photos:
    """A table with this number of photos of each landmark; "" = no landmark."""
    return Photos.of(
        Photo(f"{name}-{i}", Path(f"/p/{name}/{i}.jpg"), name or None)
        for name, count in sizes.items()
        for i in range(count)
    )


def test_split_keeps_every_landmark_in_train() -> None:
    table = photos({"a": 10, "b": 2, "c": 1, "": 8})
    train, test = table.split(test=0.25, seed=0)
    assert len(train) + len(test) == 21
    assert not set(train.ids) & set(test.ids)
    counts = {name: len(rows) for name, rows in test.rows_by_landmark().items()}
    assert sum(counts.values()) == 5
    assert counts[""] == 2
    assert counts["a"] in (2, 3)
    assert set(train.landmarks) == {"a", "b", "c", ""}
    again = table.split(test=0.25, seed=0)[1]
    assert again.ids.tolist() == test.ids.tolist()
    assert table.split(test=0.25, seed=1)[1].ids.tolist() != test.ids.tolist()
    with pytest.raises(OptionError, match="between 0 and 1"):
        table.split(test=1.0)


@pytest.mark.parametrize(("each", "share"), [(3, 0.1), (2, 0.1), (4, 0.25), (7, 0.3), (3, 0.01)])
def test_the_share_of_the_split_is_what_was_asked_where_landmarks_are_small(
    each: int, share: float
) -> None:
    table = photos({f"L{i}": each for i in range(50)} | {"one": 1})
    for seed in range(5):
        train, test = table.split(test=share, seed=seed)
        assert len(test) == max(1, round(share * 50 * each))
        assert len({*train.landmarks}) == 51


def test_photos_can_be_built_from_rows_or_columns() -> None:
    table = photos({"a": 2, "": 1})
    assert table[0] == Photo("a-0", Path("/p/a/0.jpg"), "a")
    assert table[2].landmark is None
    assert [photo.id for photo in table.take([2, 0])] == ["-0", "a-0"]
    assert len(table.take(table.landmarks == "a")) == 2
    assert len(table.take([])) == 0
    assert repr(table) == "Photos(3 photos, 1 landmarks, 1 without a landmark)"
    both = Photos.of_columns(["x", "y"], ["x.jpg", "y.jpg"], ["a|b", "a"])
    assert repr(both) == "Photos(2 photos, 2 landmarks, 0 without a landmark)"
    with pytest.raises(DataError, match="'a-0' occurs twice"):
        Photos.of([table[0], table[0]])


def test_every_error_has_a_documented_code() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert all(issubclass(kind, WhichLandmarkError) for kind in kinds)
    assert {kind.exit_code for kind in kinds} == {1, 2, 4, 5, 6, 7}
    for kind in kinds:
        assert kind.__name__ in (errors.__doc__ or "")


@dataclass(frozen=True, kw_only=True)
class Sample:
    count: int = 1
    share: float = 0.5
    sides: tuple[int, int] = (1, 2)
    name: str | None = None


def test_options_survive_a_json_round_trip() -> None:
    given = Sample(count=3, share=1, sides=(4, 5), name="x")
    assert from_json(Sample, to_json(given)) == given
    assert from_json(Sample, {"share": 1}).share == 1.0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cuont": 1}, "did you mean 'count'"),
        ({"zzz": 1}, "expected one of: count, name, share, sides"),
        ({"count": 1.5}, "count 1.5 given; expected a whole number"),
        ({"count": True}, "expected a whole number"),
        ({"share": "half"}, "share 'half' given; expected a number"),
        ({"sides": [1, 2, 3]}, r"sides \[1, 2, 3\] given; expected a list of 2"),
    ],
)
def test_option_errors_say_what_was_expected(values: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        from_json(Sample, values)
    assert "did you mean" in unknown_message("trian", ["train", "test"], "verb")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a" / "x.json"
    write_json(path, {"name": "Göbekli Tepe"})
    assert read_json(path) == {"name": "Göbekli Tepe"}

    def fail_half_way() -> None:
        with atomic_file(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert read_json(path) == {"name": "Göbekli Tepe"}
    assert [p.name for p in path.parent.iterdir()] == ["x.json"]
    for text, reason in [("[1]", "expected a JSON object"), ("{", "not readable as JSON")]:
        path.write_text(text)
        with pytest.raises(DataError, match=reason):
            read_json(path)
    with pytest.raises(DataError, match="no such file"):
        read_json(tmp_path / "gone.json")


@pytest.mark.parametrize("shape", [(300, 400), (400, 300), (100, 1000), (64, 64), (5, 900)])
def test_resizing_keeps_the_aspect_ratio(shape: tuple[int, int]) -> None:
    """The long side becomes `size`; the short side differs only by rounding to 32 pixels."""
    resized = Preprocessing(size=256)(np.zeros((*shape, 3), np.uint8)).shape
    assert resized[0] == 3
    assert max(resized[1:]) == 256
    for side, exact in zip(resized[1:], (256 * s / max(shape) for s in shape), strict=True):
        assert side % 32 == 0
        assert abs(side - exact) <= 16 or side == 32
    assert Preprocessing(size=224, fit="squash").target_shape(*shape) == (224, 224)


def test_normalisation_matches_a_calculation_by_hand() -> None:
    image = np.full((32, 32, 3), (0, 128, 255), np.uint8)
    pixels = Preprocessing(size=32, mean=(0.5, 0.4, 0.3), std=(0.5, 0.25, 0.1))(image)
    expected = [(0 - 0.5) / 0.5, (128 / 255 - 0.4) / 0.25, (1 - 0.3) / 0.1]
    assert pixels[:, 5, 7] == pytest.approx(expected, abs=1e-5)
    for wrong in ({"size": 3}, {"std": (0.1, 0, 0.1)}, {"multiple": 0}):
        with pytest.raises(OptionError):
            Preprocessing(**wrong)


def test_a_resized_photo_is_not_resized_again() -> None:
    """The decoding threads resize a photo; resizing in the embedder must then change nothing."""
    rng = np.random.default_rng(0)
    for size, multiple in ((224, 32), (496, 32), (240, 16), (17, 7), (100, 1), (336, 224)):
        preprocessing = Preprocessing(size=size, multiple=multiple)
        for height, width in rng.integers(1, 3000, (500, 2)):
            target = preprocessing.target_shape(int(height), int(width))
            assert preprocessing.target_shape(*target) == target


def test_photos_are_decoded_at_one_and_a_half_times_the_network_size() -> None:
    keep = Preprocessing(size=224)
    for shape in ((1200, 1600), (4000, 500), (300, 9000), (1000, 1000)):
        short, long = keep.decode_sides
        scale = max(short / min(shape), long / max(shape))
        for side, target in zip(shape, keep.target_shape(*shape), strict=True):
            assert side * scale >= 1.45 * target or target == 32
    assert Preprocessing(size=224, fit="squash").decode_sides == (336, 0)
