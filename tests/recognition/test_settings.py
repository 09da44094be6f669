"""Settings on disk: exact round trips; errors on damage say what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.random_galleries import queries_near, random_index
from whichlandmark.core.errors import DataError, GalleryError
from whichlandmark.recognition.calibration import Calibration
from whichlandmark.recognition.decision import Decider, Fitted
from whichlandmark.recognition.fitting.fit import fit
from whichlandmark.recognition.folder import settings
from whichlandmark.recognition.folder.settings import read_settings, write_settings
from whichlandmark.recognition.query import Queries
from whichlandmark.recognition.rules import Rules

RULES = Rules(whitening_dim=5, verify=0, false_answers=0.05, location_km=2.5, query_bank=7)
INDEX = random_index([6] * 6, 40, seed=4)


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return fit(INDEX, RULES)


@pytest.fixture
def folder(tmp_path: Path, fitted: Fitted) -> Path:
    write_settings(tmp_path, RULES, fitted, 12)
    return tmp_path


def change(folder: Path, **values: object) -> None:
    path = folder / "recognizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_settings_read_back_to_the_last_bit(folder: Path, fitted: Fitted) -> None:
    rules, opened, generation = read_settings(folder)
    assert (rules, generation) == (RULES, 12)
    assert opened is not None
    assert opened.projection is not None
    assert fitted.projection is not None
    assert (opened.projection.axes == fitted.projection.axes).all()
    assert (opened.projection.mean == fitted.projection.mean).all()
    assert opened.stacker == fitted.stacker
    assert opened.geometric_stacker is None
    assert opened.calibration == fitted.calibration
    assert opened.negatives == fitted.negatives
    vectors = queries_near(INDEX, 9)
    one = Decider(INDEX, RULES, fitted).answer(Queries(vectors))
    two = Decider(INDEX, rules, opened).answer(Queries(vectors))
    assert (one.scores == two.scores).all()
    assert (one.confidence == two.confidence).all()


@pytest.mark.parametrize("rules", [Rules(), RULES, Rules().with_score("power_vote"),
                                   Rules(unknown_share=0.0, sure_above=1.0)])  # fmt: skip
def test_all_rules_survive_writing_and_reading(tmp_path: Path, rules: Rules) -> None:
    bare = Fitted(None, None, None, Calibration(slope=1.0, offset=2.0))
    write_settings(tmp_path, rules, bare, 0)
    stored, opened, _ = read_settings(tmp_path)
    assert stored == rules
    assert opened == Fitted(None, None, None, bare.calibration) or vars(opened) == vars(bare)
    assert not list(tmp_path.glob("whitening-*"))


def test_both_stackers_and_isotonic_steps_survive(tmp_path: Path, fitted: Fitted) -> None:
    steps = Calibration(kind="isotonic", slope=1.0, offset=0.0, thresholds=(0.0, 1.0),
                        values=(0.1, 0.8))  # fmt: skip
    both = Fitted(fitted.projection, fitted.stacker, fitted.stacker, steps, (-1.5, 0.1 + 0.2))
    write_settings(tmp_path, RULES, both, 3)
    opened = read_settings(tmp_path)[1]
    assert opened is not None
    assert opened.geometric_stacker == fitted.stacker
    assert opened.calibration == steps
    assert opened.negatives == (-1.5, 0.1 + 0.2)


def test_without_stored_settings_the_defaults_apply(tmp_path: Path) -> None:
    assert read_settings(tmp_path) == (Rules(), None, -1)


def test_writing_again_leaves_one_whitening_file_and_the_same_bytes(
    folder: Path, fitted: Fitted
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    write_settings(folder, RULES, fitted, 12)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    other = fit(INDEX, Rules(whitening_dim=4, verify=0))
    write_settings(folder, RULES, other, 13)
    (whitening,) = folder.glob("whitening-*")
    assert whitening.name not in before
    opened = read_settings(folder)[1]
    assert opened is not None
    assert opened.projection is not None
    assert opened.projection.axes.shape == (4, 12)
    write_settings(folder, RULES, Fitted(None, None, None, other.calibration), 14)
    assert [path.name for path in folder.glob("[!.]*")] == ["recognizer.json"]


def test_a_write_stopped_between_the_two_files_keeps_the_old_pair(
    folder: Path, fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(settings, "write_json", stop)
    with pytest.raises(KeyboardInterrupt):
        write_settings(folder, RULES, fit(INDEX, Rules(whitening_dim=4, verify=0)), 13)
    assert len(list(folder.glob("whitening-*"))) == 2
    _, opened, generation = read_settings(folder)
    assert generation == 12
    assert opened is not None
    assert (opened.projection.axes == fitted.projection.axes).all()  # type: ignore[union-attr]


@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "other"])
def test_a_damaged_whitening_file_is_reported(folder: Path, harm: str) -> None:
    (path,) = folder.glob("whitening-*")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    content = path.read_bytes()
    damaged = {"flip": bytes(data), "cut": content[:-1], "empty": b"", "other": b"x" * 9}
    path.write_bytes(damaged[harm])
    with pytest.raises(GalleryError, match=r"whitening-\w+\.safetensors: damaged; run `which") as e:
        read_settings(folder)
    assert f"whichlandmark tune {folder}" in str(e.value)
    path.write_bytes(content)
    read_settings(folder)


def test_a_missing_whitening_file_is_reported(folder: Path) -> None:
    (path,) = folder.glob("whitening-*")
    path.unlink()
    with pytest.raises(GalleryError, match=r"missing .*; run `whichlandmark tune .*` to fit it"):
        read_settings(folder)


def test_no_file_outside_the_folder_is_read(folder: Path) -> None:
    (path,) = folder.glob("whitening-*")
    inner = folder / "inner"
    inner.mkdir()
    (inner / "recognizer.json").write_bytes((folder / "recognizer.json").read_bytes())
    change(inner, whitening=f"../{path.name}")
    with pytest.raises(GalleryError, match=r"inner/whitening-.*missing"):
        read_settings(inner)


@pytest.mark.parametrize("given", [1, 3, "2", None])
def test_another_format_says_what_to_do(folder: Path, given: object) -> None:
    change(folder, format=given)
    with pytest.raises(GalleryError, match=r"of format .*, not 2; run `whichlandmark index` on"):
        read_settings(folder)


@pytest.mark.parametrize(
    "values",
    [
        {"rules": {"scor": "cosine"}},
        {"rules": {"known_share": 2.0}},
        {"rules": None},
        {"stacker": {"names": ["a"], "means": [0.0], "scales": [0.0], "weights": [1.0]}},
        {"stacker": {"names": ["a"], "means": [0.0], "scales": [1.0], "weights": []}},
        {"stacker": 7},
        {"calibration": {"slope": "steep", "offset": 0.0}},
        {"calibration": {}},
        {"negatives": None},
        {"negatives": ["low"]},
        {"whitening": 5},
        {"generation": "new"},
        {"generation": None},
    ],
)
def test_damaged_settings_are_reported(folder: Path, values: dict[str, object]) -> None:
    change(folder, **values)
    with pytest.raises(GalleryError, match=r"recognizer\.json: damaged .*whichlandmark tune"):
        read_settings(folder)


@pytest.mark.parametrize(
    "gone", ["format", "rules", "calibration", "stacker", "negatives", "whitening", "generation"]
)
def test_a_missing_field_is_reported(folder: Path, gone: str) -> None:
    path = folder / "recognizer.json"
    record = json.loads(path.read_text())
    del record[gone]
    path.write_text(json.dumps(record))
    with pytest.raises(GalleryError, match=rf"damaged \('{gone}'\)"):
        read_settings(folder)


def test_invalid_json_is_reported(folder: Path) -> None:
    for text in ("", "{", "[1, 2]", "\x00"):
        (folder / "recognizer.json").write_text(text)
        with pytest.raises(DataError, match=r"recognizer\.json: (not readable|expected)"):
            read_settings(folder)
