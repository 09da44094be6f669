"""The example that labels a photo library: sidecars and csv, and no photo is touched."""

from __future__ import annotations

import csv
import runpy
import sys
import xml.etree.ElementTree as Xml
from pathlib import Path

import pytest

import whichlandmark
from tests.support.served_world import front, made

EXAMPLE = Path(whichlandmark.__file__).parents[2] / "examples" / "label_folder.py"
LI = ".//{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"
EXIF = ".//{http://ns.adobe.com/exif/1.0/}"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(EXAMPLE), run_name="__main__")
    return int(ended.value.code or 0)


def test_sidecars_and_csv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    library = tmp_path / "library"
    (library / "2024").mkdir(parents=True)
    front(1, 9).save(library / "2024" / "a.jpg")
    front(60, 0).save(library / "b.JPG")
    front(2, 9).save(library / "c.jpg")
    (library / "d.png").write_bytes(b"no photo")
    (library / "c.jpg.xmp").write_text("mine")
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in library.rglob("*") if p.is_file()}
    assert run(monkeypatch, made(), library, "--xmp", "--csv", tmp_path / "labels.csv") == 0
    out = capsys.readouterr()
    assert "3 photos answered, 1 failed, 1 sidecars written" in out.out
    assert "d.png" in out.err
    after = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in library.rglob("*") if p.is_file()}
    assert before.items() <= after.items()
    assert set(after) - set(before) == {library / "2024" / "a.jpg.xmp"}
    packet = Xml.parse(library / "2024" / "a.jpg.xmp").getroot()
    assert [item.text for item in packet.iterfind(LI)] == ["First Place"]
    assert packet.findtext(f"{EXIF}GPSLatitude") == "48,51.498000N"
    assert packet.findtext(f"{EXIF}GPSLongitude") == "2,17.670000E"
    with open(tmp_path / "labels.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["photo"], row["landmark"]) for row in rows] == [
        ("2024/a.jpg", "place 1"), ("b.JPG", ""), ("c.jpg", "place 2"),
    ]  # fmt: skip


def test_a_server_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    front(1, 9).save(tmp_path / "a.jpg")
    assert run(monkeypatch, "http://127.0.0.1:1/", tmp_path, "--xmp") == 1
    assert "refused" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.xmp"))
    assert run(monkeypatch, "r.wl", tmp_path) == 2


def test_a_title_cannot_leave_its_element() -> None:
    sidecar = runpy.run_path(str(EXAMPLE))["sidecar"]
    title = "</rdf:li><evil/>&amp; \"'"
    place = {"title": title, "landmark": "l", "latitude": -0.5, "longitude": -179.75}
    text = sidecar({"candidates": [place]})
    packet = Xml.fromstring(text[text.index("?>") + 2 :])
    assert [item.text for item in packet.iterfind(LI)] == [title]
    assert packet.findtext(f"{EXIF}GPSLatitude") == "0,30.000000S"
    assert packet.findtext(f"{EXIF}GPSLongitude") == "179,45.000000W"
