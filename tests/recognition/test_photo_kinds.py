"""What a recognizer takes as a photo, lists of them, and what misuse is told."""

from __future__ import annotations

import copy
import io
import json
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

import whichlandmark as wl
from tests.support.photos import picture, write_photo
from whichlandmark.core.errors import DataError, ImageError, OptionError
from whichlandmark.core.images import image_of_array, image_of_pillow, read_image
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.features.embedders.sift import SiftEmbedder, SiftOptions

PIXELS = picture(1, 70, (120, 160))
FACTS = (1, 3, 120, 160)


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """gallery/ of 3 landmarks × 5 photos, bank/ and q.png."""
    at = tmp_path_factory.mktemp("world")
    for code in range(3):
        for i in range(5):
            write_photo(at / "gallery" / f"place {code}" / f"{i}.jpg", picture(code, i, (120, 160)))
    for i in range(6):
        write_photo(at / "bank" / f"{i}.jpg", picture(100 + i, i, (120, 160)))
    write_photo(at / "q.png", PIXELS)
    return at


@pytest.fixture(scope="module")
def recognizer(at: Path) -> wl.Recognizer:
    streets = wl.read_folder(at / "bank", labelled=False)
    return wl.build(HistogramEmbedder(), wl.read_folder(at / "gallery"), distractors=streets)


def file_of(at: Path, kind: str) -> Any:
    path = at / "q.png"
    data = path.read_bytes()
    return {
        "str": lambda: str(path), "Path": lambda: path, "bytes": lambda: data,
        "bytearray": lambda: bytearray(data), "memoryview": lambda: memoryview(data),
        "BytesIO": lambda: io.BytesIO(data),
        "Pillow": lambda: Pillow.open(path), "array": lambda: PIXELS,
        "RGBA": lambda: np.dstack([PIXELS, np.full((120, 160), 255, np.uint8)]),
        "not contiguous": lambda: np.asfortranarray(PIXELS),
        "float64": lambda: PIXELS / 255, "float32": lambda: (PIXELS / 255).astype(np.float32),
        "Photo": lambda: wl.Photos.of_columns(["q"], [str(path)], [""])[0],
        "PathLike": lambda: SimpleNamespacePath(path),
    }[kind]()  # fmt: skip


class SimpleNamespacePath:
    """A path of another library."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


KINDS = ["str", "Path", "bytes", "bytearray", "memoryview", "BytesIO", "Pillow", "array", "RGBA",
         "not contiguous", "float64", "float32", "Photo", "PathLike"]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_photo(kind: str, at: Path, recognizer: wl.Recognizer) -> None:
    expected = recognizer(str(at / "q.png"))
    assert expected.guess == "place 1"
    assert recognizer(file_of(at, kind)) == expected
    (in_a_list,) = recognizer([file_of(at, kind)])
    assert (in_a_list.guess, in_a_list.decision) == (expected.guess, expected.decision)
    assert in_a_list.score == pytest.approx(expected.score, abs=1e-5)


def test_home_is_expanded(
    at: Path, recognizer: wl.Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(at))
    assert recognizer("~/q.png") == recognizer(at / "q.png")
    assert recognizer(Path("~/q.png")) == recognizer(at / "q.png")
    assert len(wl.read_folder("~/gallery")) == 15


class SimpleColumn(list[str]):
    """What a recognizer sees of a column of pandas."""

    ndim, iloc = 1, None

    def __array__(self) -> Any:
        return np.array([*self], dtype=object)


GRAY = PIXELS[:, :, 0]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (GRAY, np.dstack([GRAY] * 3)),
        (GRAY[:, :, None], np.dstack([GRAY] * 3)),
        (GRAY / 255, np.dstack([GRAY] * 3)),
        (np.dstack([PIXELS, np.zeros((120, 160), np.uint8)]), np.full_like(PIXELS, 255)),
        (np.zeros((1, 1), np.uint8), np.zeros((1, 1, 3), np.uint8)),
        (np.ones((4, 5), np.float16), np.full((4, 5, 3), 255, np.uint8)),
    ],
)
def test_arrays(array: Any, expected: Any) -> None:
    found = image_of_array(array)
    assert (found.dtype, found.flags.c_contiguous) == (np.uint8, True)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr",
                                  "LAB", "HSV", "I", "F", "I;16"])  # fmt: skip
def test_pillow_images_of_every_mode(mode: str) -> None:
    gray = Pillow.fromarray(np.full((30, 40), 128, np.uint8))
    if mode == "I;16":
        shown = Pillow.fromarray(np.full((30, 40), 128 * 257, np.uint16))
    elif mode in ("LAB", "HSV", "PA"):
        shown = gray.convert("RGB") if mode != "PA" else gray.convert("LA")
        shown = shown.convert(mode) if mode != "LAB" else Pillow.new("LAB", (40, 30), (128, 0, 0))
    else:
        shown = gray.convert(mode)
    found = image_of_pillow(shown)
    assert found.shape == (30, 40, 3)
    if mode not in ("1", "LAB"):
        assert abs(int(found[15, 20, 1]) - 128) < 4
    assert shown.size == (40, 30)


def test_a_pillow_image_is_turned_upright(tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    Pillow.fromarray(PIXELS).save(tmp_path / "t.png", exif=exif)
    np.testing.assert_array_equal(
        image_of_pillow(Pillow.open(tmp_path / "t.png")), read_image(tmp_path / "t.png")
    )
    data = (tmp_path / "t.png").read_bytes()
    with pytest.raises(ImageError, match="cannot be decoded"):
        image_of_pillow(Pillow.open(io.BytesIO(data[: len(data) // 2])))


def tensor() -> Any:
    torch = pytest.importorskip("torch")
    return torch.zeros(3, 9, 8)


@pytest.mark.parametrize(
    ("photo", "message"),
    [
        (lambda: 3, "int given; expected a photo: a path"),
        (lambda: None, "NoneType given"),
        (lambda: {"a": 1}, "dict given"),
        (lambda: "", "an empty path"),
        (lambda: ".", "is a folder; for its photos use recognizer\\(read_folder"),
        (lambda: io.StringIO("x"), "was opened as text; open it with open\\(path, 'rb'\\)"),
        (lambda: PIXELS.transpose(2, 0, 1), "channels first; use array.transpose\\(1, 2, 0\\)"),
        (lambda: PIXELS[None], "expected one photo: use list\\(array\\)"),
        (lambda: PIXELS.astype(np.uint16), "type uint16 given.*array / 65535"),
        (lambda: PIXELS.astype(np.int64), "array.astype\\(np.uint8\\)"),
        (lambda: PIXELS > 3, "array.astype\\(float\\)"),
        (lambda: PIXELS.astype(float), "0 \\(black\\) to 1 \\(white\\).*astype\\(np.uint8\\)"),
        (lambda: np.full((9, 9), np.nan), "without NaN: use np.nan_to_num"),
        (lambda: np.full((9, 9), -0.5), "use np.clip"),
        (lambda: PIXELS[:0], "it has no pixels"),
        (lambda: PIXELS[:, :, :2], "1, 3 or 4 channels last"),
        (lambda: PIXELS[0, 0], "height × width"),
        (lambda: PIXELS.astype(object), "type object given"),
        (tensor, r"torch.Tensor given; use the array photo.permute\(1, 2, 0\).cpu\(\).numpy\(\)"),
        (lambda: [[1]], "list given; expected a photo"),
        (lambda: [3], "int given; expected a photo"),
    ],
)
def test_what_is_no_photo_is_told_what_to_give(
    photo: Any, message: str, recognizer: wl.Recognizer
) -> None:
    with pytest.raises(OptionError, match=message):
        recognizer(photo())


def test_open_files(at: Path, recognizer: wl.Recognizer) -> None:
    with open(at / "q.png", "rb") as file:
        answer = recognizer(file)
        assert (answer.photo, answer) == (str(at / "q.png"), recognizer(at / "q.png"))
        with pytest.raises(ImageError, match=r"photo\.seek\(0\)"):
            recognizer(file)  # it is at its end
        file.seek(0)
        assert recognizer([file])[0].guess == "place 1"
    with pytest.raises(ImageError, match=r"cannot be read \(.*closed"):
        recognizer(file)
    with pytest.raises(OptionError, match="gave no bytes"):
        recognizer(SimpleNamespace(read=lambda: None))


def test_lists_tuples_generators_and_tables(at: Path, recognizer: wl.Recognizer) -> None:
    path, table = str(at / "q.png"), wl.read_folder(at / "gallery")
    assert recognizer([]) == []
    assert len(recognizer((path, path))) == 2
    assert [answer.guess for answer in recognizer(path for _ in range(40))] == ["place 1"] * 40
    assert [a.guess for a in recognizer(table)] == list(table.landmarks)
    assert [a.photo for a in recognizer(table)] == list(table.paths)
    assert len(recognizer(table.paths[:3])) == len(recognizer(np.array([path] * 3))) == 3
    column = SimpleColumn([path, path])
    assert [answer.guess for answer in recognizer(column)] == ["place 1"] * 2
    mixed = recognizer([path, PIXELS, Path(path), io.BytesIO(b"no photo"), "gone.jpg"])
    assert [a.decision for a in mixed] == [mixed[0].decision] * 3 + ["failed"] * 2


def test_a_failed_photo_of_a_list(at: Path, recognizer: wl.Recognizer) -> None:
    for given in (["gone.jpg", str(at / "q.png")], [Path("gone.jpg"), PIXELS]):
        failed, good = recognizer(given)
        assert (failed.decision, failed.landmark, failed.guess) == ("failed", None, None)
        assert failed.error == "gone.jpg: no such file"
        assert not failed.confidence >= 0  # NaN
        assert failed.to_dict() == {
            "photo": "gone.jpg",
            "error": {"code": "not_found", "message": failed.error, "hint": "Check the path."},
        }
        assert good.guess == "place 1"
    with pytest.raises(ImageError, match="no such file"):  # alone it is an error
        recognizer("gone.jpg")


def pickled(answer: wl.Prediction) -> wl.Prediction:
    return pickle.loads(pickle.dumps(answer))  # noqa: S301 – made here


def test_to_dict_is_the_answer_of_every_interface(at: Path, recognizer: wl.Recognizer) -> None:
    answer = recognizer(at / "q.png")
    found = answer.to_dict()
    assert json.loads(json.dumps(found)) == found
    assert (found["schema"], found["photo"]) == ("whichlandmark.answer/1", str(at / "q.png"))
    assert found["words"].startswith("place 1")
    for same in (copy.deepcopy(answer), pickled(answer)):
        assert same == answer
    with pytest.raises(OptionError, match=r"recognizer\.to_dict\(prediction\)"):
        pickled(answer).to_dict()


def test_reprs_fit_a_line(at: Path, recognizer: wl.Recognizer) -> None:
    table = wl.read_folder(at / "gallery")
    scores = wl.evaluate(recognizer, wl.Photos.of_columns(["q"], [str(at / "q.png")], ["place 1"]))
    shown = {
        repr(table): "Photos(15 photos, 3 landmarks, 0 without a landmark)",
        repr(table[0]): "Photo('gallery/place 0/0.jpg', 'place 0')",
        repr(recognizer): "Recognizer(15 photos of 3 landmarks, 6 distractors; embedder histogram",
        repr(wl.Rules(answer_above=0.8)): "Rules(answer_above=0.8)",
        repr(wl.TrainConfig(epochs=3)): "TrainConfig(epochs=3)",
        repr(scores): "Scores(1.000 GAP, 1.000 top-1; 1 queries: 1 known",
        repr(HistogramEmbedder()): "HistogramEmbedder(histogram, 216 dimensions)",
        repr(recognizer(PIXELS)): "Prediction('place 1', ",
        repr(recognizer([b"1"])[0]): "Prediction(failed: ",
    }
    for text, beginning in shown.items():
        assert text.startswith(beginning)
        assert len(text) < 110
        assert "\n" not in text


def test_html_for_notebooks_is_escaped(at: Path, recognizer: wl.Recognizer) -> None:
    odd = wl.Photos.of_columns(["<b>"], ["<script>.jpg"], ["A & B"])
    html = odd._repr_html_()
    assert "&lt;script&gt;" in html
    assert "A &amp; B" in html
    assert "<script>" not in html
    assert "the first 10 rows" in wl.read_folder(at / "gallery")._repr_html_()
    answer = recognizer(at / "q.png")
    assert answer._repr_html_().startswith("<table>")
    assert "<td>guess</td><td>place 1</td>" in answer._repr_html_()
    assert "gone" in recognizer(["gone.jpg"])[0]._repr_html_()
    scores = wl.evaluate(recognizer, wl.Photos.of_columns(["q"], [str(at / "q.png")], ["place 1"]))
    assert "<td>gap</td><td>1.000</td>" in scores._repr_html_()
    assert scores.to_dict()["gap"] == 1


def test_pandas_is_used_where_it_is(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = wl.read_folder(at / "gallery")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(OptionError, match="pip install pandas"):
        table.to_pandas()
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=dict))
    frame = table.to_pandas()
    assert list(frame) == ["id", "path", "landmark", "usage", "tier"]
    assert frame["landmark"][-1] == "place 2"


def test_tables_are_sliced_masked_and_joined(at: Path) -> None:
    table = wl.read_folder(at / "gallery")
    assert list(table[:2].ids) == [table[0].id, table[1].id]
    assert list(table[::-5].landmarks) == ["place 2", "place 1", "place 0"]
    assert table[-1].id == table["gallery/place 2/4.jpg"].id == "gallery/place 2/4.jpg"
    assert len(table[table.landmarks == "place 1"]) == 5
    assert list(table[[3, 1]].ids) == [table[3].id, table[1].id]
    assert len(table[np.array([], dtype=int)]) == len(table[:0]) == 0
    both = table + wl.read_folder(at / "bank", labelled=False)
    assert (len(both), len(list(both))) == (21, 21)
    assert both.rows_by_landmark()[""].tolist() == list(range(15, 21))


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (
            lambda t: t["gallery/place 1/33.jpg"],
            OptionError,
            "did you mean 'gallery/place 1/3.jpg'",
        ),
        (lambda t: t[15], IndexError, "row 15 of a table of 15 photos"),
        (lambda t: t[[True]], OptionError, "a mask of 1 values given for 15 photos"),
        (lambda t: t[[1.5]], OptionError, "expected row numbers or a boolean mask"),
        (lambda t: t + t, DataError, "occurs twice"),
        (lambda t: t + 1, TypeError, "Photos"),
        (lambda t: wl.build("paris/"), OptionError, r"read it first: read_folder\('paris/'\)"),
        (lambda t: wl.build(["a.jpg"]), OptionError, "table of photos.*got list"),
        (lambda t: wl.build(list(t)), OptionError, r"make one of it: Photos.of\(…\)"),
        (lambda t: wl.build(t, distractors="bank"), OptionError, "distractors expects a table"),
        (lambda t: wl.build(t, progress=3), OptionError, "True, False or a function"),
        (lambda t: wl.evaluate("r.wl", t), OptionError, "with a recognizer of load or build"),
        (lambda t: wl.write_photos("x.csv", [1]), OptionError, "table of photos"),
        (lambda t: wl.Photos.of([1]), OptionError, "expects single photos"),
        (lambda t: wl.load("nowhere"), DataError, "no such recognizer folder; make one with"),
        (lambda t: wl.read_photos("."), DataError, "a folder, not a photo table; use read_folder"),
        (lambda t: wl.recognize, AttributeError, r"whichlandmark.load\(FOLDER\)\(photo\)"),
        (lambda t: wl.read_foldr, AttributeError, "did you mean 'read_folder'"),
    ],
)
def test_misuse_is_told_what_to_do(use: Any, error: type, message: str, at: Path) -> None:
    with pytest.raises(error, match=message):
        use(wl.read_folder(at / "gallery"))


def test_a_table_given_as_a_folder(tmp_path: Path) -> None:
    (tmp_path / "photos.csv").write_text("id,path\n")
    with pytest.raises(DataError, match="a table, not a folder; use read_photos"):
        wl.read_folder(tmp_path / "photos.csv")


def test_progress_of_build_and_evaluate(
    at: Path, recognizer: wl.Recognizer, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[int, int]] = []
    table = wl.read_folder(at / "gallery")
    wl.build(HistogramEmbedder(), table, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (15, 15)
    query = wl.Photos.of_columns(["q"], [str(at / "q.png")], ["place 1"])
    wl.evaluate(recognizer, query, progress=True)
    assert capsys.readouterr().err == "evaluating: 1 of 1\n"


def test_save_replaces_only_when_told(at: Path, tmp_path: Path, recognizer: wl.Recognizer) -> None:
    folder = tmp_path / "r.wl"
    recognizer.save(folder)
    with pytest.raises(OptionError, match="overwrite=True"):
        recognizer.save(folder)
    smaller = wl.build(HistogramEmbedder(), wl.read_folder(at / "gallery")[:10])
    smaller.save(folder, overwrite=True)
    opened = wl.load(folder, embedder=HistogramEmbedder())
    assert len(opened.index.ids) == 10
    opened.save(folder, overwrite=True)  # onto the folder that it is opened from
    assert len(wl.load(folder, embedder=HistogramEmbedder()).index.ids) == 10
    assert [path.name for path in tmp_path.iterdir()] == ["r.wl"]
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    with pytest.raises(OptionError, match="no recognizer folder"):
        recognizer.save(tmp_path / "notes", overwrite=True)
    assert (tmp_path / "notes" / "mine.txt").exists()


def test_reprs_of_other_embedders() -> None:
    embedder = SiftEmbedder.fit([PIXELS, picture(2, 1, (120, 160))] * 8, SiftOptions())
    assert repr(embedder).startswith("SiftEmbedder(sift, ")
