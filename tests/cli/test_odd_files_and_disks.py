"""Commands on odd files and disks: told before the work, and never by a hang or a crash."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from PIL import Image as Pillow

from tests.support.photos import picture, write_photo
from whichlandmark import cli
from whichlandmark.core import disks
from whichlandmark.features import pipeline


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["whichlandmark", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two landmarks of six textured photos each."""
    root = tmp_path_factory.mktemp("odd") / "photos"
    for name in range(2):
        for seed in range(6):
            write_photo(root / f"place {name}" / f"{seed}.jpg", picture(name, seed, (120, 160)))
    return root


@pytest.fixture(scope="module")
def recognizer(photos: Path) -> Path:
    out = photos.parent / "r.wl"
    with pytest.MonkeyPatch.context() as patched:
        arguments = ("index", photos, "-o", out, "--embedder", "sift", "--no-features")
        assert run(patched, *arguments) == 0
    return out


WRITING = {
    "index": ("index", "{photos}", "-o", "{out}/r.wl", "--embedder", "sift"),
    "import": ("import", "folder", "{photos}", "-o", "{out}/t.csv"),
    "clean": ("clean", "{table}", "-o", "{out}/c.csv"),
    "split": ("split", "{table}", "--test", "0.2", "-o", "{out}/splits"),
    "evaluate": ("evaluate", "{table}", "-r", "{recognizer}", "-o", "{out}/e.csv"),
    "explain": ("recognize", "{photo}", "-r", "{recognizer}", "--explain", "{out}/e.html"),
    "copy": ("gallery", "copy", "{recognizer}", "{out}/copy.wl"),
    "train": ("train", "{table}", "-o", "{out}/embedder"),
    "keys": ("keys", "add", "{out}/keys.json", "me"),
}


@pytest.mark.parametrize("verb", WRITING)
@pytest.mark.parametrize("fault", ["read-only", "full", "a file"])
def test_where_nothing_can_be_written_no_photo_is_read(
    verb: str, fault: str, photos: Path, recognizer: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    table = tmp_path / "table.csv"
    assert run(monkeypatch, "import", "folder", photos, "-o", table) == 0
    out = tmp_path / "out"
    out.touch() if fault == "a file" else out.mkdir()
    refused = {"read-only": 30, "full": 28}  # EROFS, ENOSPC
    if fault in refused:
        real = disks.tempfile.TemporaryFile, disks.tempfile.mkstemp

        def temporary(number: int) -> object:
            def make(*arguments: object, **options: object) -> object:
                if str(out) in str(options.get("dir")):
                    raise OSError(refused[fault], os.strerror(refused[fault]))
                return real[number](*arguments, **options)  # type: ignore[operator]

            return make

        monkeypatch.setattr(disks.tempfile, "TemporaryFile", temporary(0))
        monkeypatch.setattr(disks.tempfile, "mkstemp", temporary(1))
    monkeypatch.setattr(pipeline, "read_image", None)  # no photo may be decoded
    places = {"photos": photos, "out": out, "table": table, "recognizer": recognizer,
              "photo": photos / "place 0" / "0.jpg"}  # fmt: skip
    capsys.readouterr()
    code = run(monkeypatch, *(part.format(**places) for part in WRITING[verb]))
    told = capsys.readouterr().err
    assert code == 4, told
    assert "cannot be written" in told or "a file; expected a folder" in told
    assert "out" in told
    assert not list(out.iterdir()) if out.is_dir() else True


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes")
def test_a_pipe_among_the_photos_hangs_no_command(
    photos: Path, recognizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = tmp_path / "mixed"
    for seed in range(3):
        write_photo(folder / "a" / f"{seed}.jpg", picture(0, seed))
    os.mkfifo(folder / "a" / "x.jpg")
    (tmp_path / "t.csv").write_text(
        f"id,path,landmark\nx,{folder}/a/x.jpg,a\ny,{folder}/a/0.jpg,a\n"
    )
    assert run(monkeypatch, "import", "folder", folder, "-o", tmp_path / "f.csv") in (0, 3)
    assert run(monkeypatch, "clean", tmp_path / "t.csv", "-o", tmp_path / "c.csv") in (0, 3, 4)
    assert run(
        monkeypatch, "evaluate", tmp_path / "t.csv", "-r", recognizer, "-o", tmp_path / "p.csv"
    ) in (3, 4)
    assert run(monkeypatch, "recognize", folder / "a" / "x.jpg", "-r", recognizer) == 4
    told = capsys.readouterr()
    assert "is a named pipe, not a file" in told.out + told.err


def test_a_blank_photo_is_answered_with_the_reason(
    recognizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    Pillow.new("RGB", (300, 200), (90, 120, 200)).save(tmp_path / "sky.png")
    assert run(monkeypatch, "recognize", tmp_path / "sky.png", "-r", recognizer) == 0
    told = capsys.readouterr().out
    assert "no landmark, because it shows one even color" in told or "no landmark" in told


def test_the_limit_of_megapixels_is_told_and_raised(
    recognizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    Pillow.new("L", (2000, 1500), 99).save(tmp_path / "large.png")
    monkeypatch.setenv("WHICHLANDMARK_MAX_MEGAPIXELS", "2")
    asked = ("recognize", tmp_path / "large.png", "-r", recognizer)
    assert run(monkeypatch, *asked) == 4
    assert "set WHICHLANDMARK_MAX_MEGAPIXELS=3 to decode it" in capsys.readouterr().err
    monkeypatch.setenv("WHICHLANDMARK_MAX_MEGAPIXELS", "3")
    assert run(monkeypatch, *asked) == 0
    monkeypatch.setenv("WHICHLANDMARK_MAX_MEGAPIXELS", "lots")
    assert run(monkeypatch, *asked) == 2
    assert "expected a number of megapixels" in capsys.readouterr().err
