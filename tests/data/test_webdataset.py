"""Import of WebDataset tars: found samples, and samples listed as unusable."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import fsspec
import numpy as np
import pytest

from tests.cli.test_commands import run
from whichlandmark.core.errors import DataError, OptionError
from whichlandmark.core.storage import read_bytes
from whichlandmark.core.types import Photos
from whichlandmark.data.synthetic.plan import DrawnWorld
from whichlandmark.data.synthetic.world import draw_world
from whichlandmark.data.table import read_photos
from whichlandmark.data.webdataset import LabelSource, expand_tars, label_source, read_webdataset

Files = dict[str, bytes]


def write_tar(path: Path, files: Files, form: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    at = tmp_path_factory.mktemp("drawn")
    draw_world(at, DrawnWorld(landmarks=3, unknown_landmarks=1, photos=12, queries=2, size=120,
                              unknown_queries=1, nonlandmark_queries=1, distractors=1))  # fmt: skip
    return read_photos(at / "photos.csv")


def samples(photos: Photos, kind: str) -> Files:
    """In the order of WebDataset's writer: the files of a sample are consecutive."""
    files: Files = {}
    for row in range(len(photos)):
        label = str(photos.landmarks[row])
        files[f"{row:04}.jpg"] = Path(photos.paths[row]).read_bytes()
        files[f"{row:04}.{kind}"] = (
            json.dumps({"landmark": label, "width": 3}) if kind == "json" else label
        ).encode()
    return files


@pytest.mark.parametrize("kind", ["cls", "txt", "json"])
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_synthetic_world_in_tars_becomes_a_table(
    drawn: Photos, tmp_path: Path, kind: str, form: int
) -> None:
    half = len(drawn) // 2
    for i, rows in enumerate((range(half), range(half, len(drawn)))):
        write_tar(tmp_path / f"w-00000{i}.tar", samples(drawn.take(rows), kind), form)
    found, problems = read_webdataset([str(tmp_path / "w-{000000..000001}.tar")], LabelSource(kind))
    assert problems == {}
    assert found.landmarks.tolist() == drawn.landmarks.tolist()
    for row, path in enumerate(found.paths):
        assert read_bytes(path) == Path(drawn.paths[row]).read_bytes()
    assert found.ids[0] == "w-000000/0000"
    assert found.ids[half] == "w-000001/0000"


def test_tars_behind_a_url_are_read(drawn: Photos, tmp_path: Path) -> None:
    data = write_tar(tmp_path / "w-0.tar", samples(drawn, "cls")).read_bytes()
    fsspec.filesystem("memory").pipe_file("/web/w-0.tar", data)
    found, _ = read_webdataset(["memory://web/w-{0..0}.tar"], LabelSource())
    assert len(found) == len(drawn)
    assert all(path.startswith("memory://web/w-0.tar#") for path in found.paths)
    assert read_bytes(found.paths[3]) == Path(drawn.paths[3]).read_bytes()
    gone, problems = read_webdataset(["memory://web/none.tar"], LabelSource())
    assert len(gone) == 0
    assert "memory://web/none.tar" in problems


def test_samples_that_cannot_be_used_are_listed(tmp_path: Path) -> None:
    tar = write_tar(
        tmp_path / "a.tar",
        {
            "x/1.jpg": b"j", "x/1.cls": b"7\n", "x/1.seg.png": b"p", "x/2.cls": b"8",
            "x/3.jpg": b"j", "x/4.jpg": b"j", "x/4.cls": b"a|b", "x/5.jpg": b"j", "x/5.cls": b" ",
            "x/6.webp": b"w", "x/6.cls": b"\xff", "y/1.PNG": b"p", "y/1.cls": "Tour – é".encode(),
            "readme.md": b"!", "x/7.jpg": b"j", "x/7.cls": b"a\nb",
        },
    )  # fmt: skip
    found, problems = read_webdataset([str(tar)], LabelSource())
    assert dict(zip(found.ids, found.landmarks, strict=True)) == {
        "a/x/1": "7", "a/y/1": "Tour – é"
    }  # fmt: skip
    assert sorted(problems) == ["a/x/2", "a/x/3", "a/x/4", "a/x/5", "a/x/6", "a/x/7"]
    assert "without a photo" in problems["a/x/2"]
    assert "no .cls" in problems["a/x/3"]
    unlabelled, none = read_webdataset([str(tar)], LabelSource(""))
    assert len(unlabelled) == 7
    assert set(unlabelled.landmarks) == {""}
    assert none == {}


def test_a_label_can_come_from_a_json_key(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", {
        "1.jpg": b"j", "1.json": b'{"place": "Rome"}', "2.jpg": b"j", "2.json": b'{"place": 3}',
        "3.jpg": b"j", "3.json": b'["Rome"]', "4.jpg": b"j", "4.json": b"{", "5.jpg": b"j",
        "5.json": b'{"place": null}',
    })  # fmt: skip
    found, problems = read_webdataset([str(tar)], LabelSource("json", "place"))
    assert found.landmarks.tolist() == ["Rome", "3"]
    assert sorted(problems) == ["a/3", "a/4", "a/5"]


@pytest.mark.parametrize("cut", [0.5, 0.97])
def test_samples_before_the_cut_of_a_truncated_tar_are_read(
    drawn: Photos, tmp_path: Path, cut: float
) -> None:
    tar = write_tar(tmp_path / "a.tar", samples(drawn, "cls"))
    whole, _ = read_webdataset([str(tar)], LabelSource())
    data = tar.read_bytes()
    end = data.rindex(b"ustar") if cut > 0.9 else int(len(data) * cut)
    tar.write_bytes(data[:end])
    part, problems = read_webdataset([str(tar)], LabelSource())
    assert problems[str(tar)].startswith("damaged")
    assert 0 < len(part) < len(whole)
    assert part.paths.tolist() == whole.paths.tolist()[: len(part)]
    for path in part.paths:
        read_bytes(path)


def test_shard_patterns_expand_to_tars(tmp_path: Path) -> None:
    for name in ("p-08.tar", "p-09.tar", "p-10.tar"):
        write_tar(tmp_path / name, {})
    names = [str(tmp_path / f"p-{i}.tar") for i in ("08", "09", "10")]
    assert expand_tars([f"{tmp_path}/p-{{08..10}}.tar"]) == names
    assert expand_tars([f"{tmp_path}/p-*.tar"]) == names
    assert expand_tars(["s3://b/{0..1}-{00..01}.tar"]) == [
        f"s3://b/{a}-{b}.tar" for a in "01" for b in ("00", "01")
    ]
    for bad in ("p-{08..11}.tar", "none-*.tar", "p-{10..08}.tar"):
        with pytest.raises(DataError, match=r"no such tar|rising range"):
            expand_tars([f"{tmp_path}/{bad}"])
    with pytest.raises(DataError, match="not compressed"):
        expand_tars(["s3://b/a.tar.gz"])


def test_shards_of_one_name_in_two_folders_keep_apart(tmp_path: Path) -> None:
    for folder in ("x/a", "x/b", "y/b"):
        write_tar(tmp_path / folder / "same.tar", {"1.jpg": b"j", "1.cls": b"x"})
    write_tar(tmp_path / "other.tar", {"1.jpg": b"j", "1.cls": b"x"})
    tars = [f"{tmp_path}/*/*/same.tar", f"{tmp_path}/other.tar", f"{tmp_path}/x/a/same.tar"]
    found, problems = read_webdataset(tars, LabelSource())
    assert found.ids.tolist() == ["a/same/1", "x/b/same/1", "y/b/same/1", "other/1"]
    assert problems == {}


def test_an_unknown_label_file_is_refused() -> None:
    with pytest.raises(OptionError, match="cls, txt, json or none"):
        label_source("caption", "")


def test_import_webdataset_command(
    drawn: Photos, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = samples(drawn, "cls")
    tar = write_tar(tmp_path / "a.tar", files | {"99.jpg": b"j"})
    out = tmp_path / "photos.csv"
    code, printed, err = run(capfd, "import", "webdataset", tar, "-o", out)
    assert code == 3
    assert "1 × no .cls with its landmark: a/99" in err
    assert "a/99,no .cls with its landmark" in (tmp_path / "photos.left_out.csv").read_text()
    assert str(out) in printed
    assert np.array_equal(read_photos(out).landmarks, drawn.landmarks)
    code, _, err = run(capfd, "import", "webdataset", tar, "-o", out, "--label", "caption")
    assert code == 2
    code, _, err = run(capfd, "import", "webdataset", tmp_path / "no.tar", "-o", out)
    assert (code, "no such tar" in err) == (4, True)
