"""A plan as csv, GeoJSON and JSON: what each says of a photo, and whose files it replaces."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.support.plans import EIFFEL, hostile, plan_of, planned
from whichlandmark.core.errors import OptionError
from whichlandmark.library.outputs import CSV_COLUMNS, plan_object, write_csv, write_geojson
from whichlandmark.library.plan import Plan
from whichlandmark.library.xmp import Additions, Place

LABEL = Additions(keywords=("Eiffel Tower",), hierarchy=("Places|France|Paris|Eiffel Tower",),
                  places=(EIFFEL,))  # fmt: skip


@pytest.fixture
def plan() -> Plan:
    return plan_of(
        planned("trip/1.jpg", "eiffel", "Eiffel Tower", 0.98765432, place=EIFFEL, wanted=LABEL),
        planned("2.jpg", "eiffel", "Eiffel Tower", 0.6, place=EIFFEL, state="not_sure",
                why="confidence 0.600, below 0.97"),
        planned("3.jpg", None, "", math.nan, state="no_landmark"),
        planned("4.jpg", None, "", math.nan, state="failed", why="4.jpg: damaged"),
        planned("ü.jpg", "null_island", "Null Island", 0.99, place=Place("Null Island",
                latitude=0.0, longitude=0.0),
                wanted=Additions(keywords=("Null Island",), position=(0.0, -0.5))),
        planned("5.jpg", "nowhere", "Nowhere", 0.99, place=Place("Nowhere"),
                wanted=Additions(keywords=("Nowhere",)), state="blocked", why="read-only"),
    )  # fmt: skip


def read_rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_has_a_row_for_each_photo(plan: Plan, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", plan)
    assert (tmp_path / "t.csv").read_bytes().startswith(b"\xef\xbb\xbfphoto,landmark,title,")
    rows = read_rows(tmp_path / "t.csv")
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [row["photo"] for row in rows] == [row.photo for row in plan]
    assert rows[0] == {
        "photo": "trip/1.jpg", "landmark": "eiffel", "title": "Eiffel Tower",
        "decision": "landmark", "confidence": "0.987654", "state": "write", "why": "",
        "sidecar": "/lib/trip/1.jpg.xmp", "keywords": "Eiffel Tower",
        "hierarchy": "Places|France|Paris|Eiffel Tower", "wikidata": "Q243", "city": "Paris",
        "country": "France", "latitude": "48.858222", "longitude": "2.2945", "position": "",
    }  # fmt: skip
    assert (rows[1]["state"], rows[1]["why"]) == ("not_sure", "confidence 0.600, below 0.97")
    assert {rows[3][name] for name in ("landmark", "confidence", "latitude")} == {""}
    assert (rows[4]["latitude"], rows[4]["longitude"]) == ("0", "0")
    assert rows[4]["position"] == "0 -0.5"
    assert (rows[5]["latitude"], rows[5]["keywords"]) == ("", "Nowhere")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_cell_is_a_formula(start: str, tmp_path: Path) -> None:
    bad = f"{start}HYPERLINK(1)"
    place = Place(bad, bad, bad, bad, "FR", -1.5, -2.5)
    row = planned(bad, bad, bad, 0.99, place=place, why=bad,
                  wanted=Additions((bad,), (bad,), (place,), (-1.0, -2.0)))  # fmt: skip
    write_csv(tmp_path / "t.csv", plan_of(row))
    (cells,) = read_rows(tmp_path / "t.csv")
    for name in ("photo", "landmark", "title", "why", "keywords", "hierarchy", "wikidata", "city",
                 "country"):  # fmt: skip
        assert cells[name] == f"'{bad}", name
    assert cells["position"] == "'-1 -2"
    assert cells["latitude"] == "-1.5"  # a number


POSITION = {"type": "array", "minItems": 2, "maxItems": 2, "prefixItems": [
    {"type": "number", "minimum": -180, "maximum": 180},
    {"type": "number", "minimum": -90, "maximum": 90}]}  # fmt: skip
POINT = {"type": "object", "required": ["type", "coordinates"],
         "properties": {"type": {"const": "Point"}, "coordinates": POSITION}}  # fmt: skip
RFC_7946: dict[str, Any] = {
    "type": "object", "required": ["type", "features"], "not": {"required": ["crs"]},
    "properties": {
        "type": {"const": "FeatureCollection"},
        "features": {"type": "array", "items": {
            "type": "object", "required": ["type", "geometry", "properties"],
            "properties": {"type": {"const": "Feature"},
                           "properties": {"type": ["object", "null"]},
                           "geometry": {"oneOf": [{"type": "null"}, POINT]}},
        }},
    },
}  # fmt: skip


def test_the_map_is_geojson(plan: Plan, tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    write_geojson(tmp_path / "m.geojson", plan)
    text = (tmp_path / "m.geojson").read_text(encoding="utf-8")
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    jsonschema.validate(found, RFC_7946)
    features = found["features"]
    assert [one["properties"]["photo"] for one in features] == ["trip/1.jpg", "ü.jpg", "5.jpg"]
    assert features[0]["geometry"] == {"type": "Point", "coordinates": [2.2945, 48.858222]}
    assert features[1]["geometry"] == {"type": "Point", "coordinates": [0.0, 0.0]}
    assert features[2]["geometry"] is None
    assert features[0]["properties"] == {
        "photo": "trip/1.jpg", "title": "Eiffel Tower", "landmark": "eiffel", "wikidata": "Q243",
        "city": "Paris", "country": "France", "confidence": 0.98765432, "state": "write",
    }  # fmt: skip


def test_a_map_without_photos_is_a_map(tmp_path: Path) -> None:
    write_geojson(tmp_path / "m.geojson", plan_of())
    assert json.loads((tmp_path / "m.geojson").read_text())["features"] == []
    write_csv(tmp_path / "t.csv", plan_of())
    assert read_rows(tmp_path / "t.csv") == []


@pytest.mark.parametrize("write", [write_csv, write_geojson])
def test_only_an_own_result_is_replaced(write: Any, plan: Plan, tmp_path: Path) -> None:
    path = tmp_path / "out"
    for content in (b"mine", b'{"type": "FeatureCollection", "features": []}', b"photo,landmark\n"):
        path.write_bytes(content)
        with pytest.raises(OptionError, match="exists, and is not a"):
            write(path, plan)
        assert path.read_bytes() == content
    path.unlink()
    write(path, plan)
    first = path.read_bytes()
    write(path, plan)
    assert path.read_bytes() == first


def test_the_object_tells_the_whole_plan(plan: Plan) -> None:
    found = json.loads(json.dumps(plan_object(plan), allow_nan=False))
    assert found["schema"] == "whichlandmark.plan/1"
    assert (found["library"], found["recognizer"], found["above"]) == ("/lib", "paris.wl", 0.97)
    assert found["counts"] == {"write": 2, "not_sure": 1, "no_landmark": 1, "failed": 1,
                               "blocked": 1}  # fmt: skip
    assert found["landmarks"] == {"Eiffel Tower": 1, "Nowhere": 1, "Null Island": 1}
    assert found["notes"] == ["a note"]
    assert found["left_out"] == 2
    assert list(found["lost"]) == ["/lib/x.heic"]
    first, unsure, *_ = found["photos"]
    assert first == {
        "photo": "trip/1.jpg", "decision": "landmark", "landmark": "eiffel",
        "title": "Eiffel Tower", "confidence": 0.98765432, "state": "write", "why": "",
        "sidecar": "/lib/trip/1.jpg.xmp",
        "place": {"name": "Eiffel Tower", "wikidata": "Q243", "city": "Paris", "country": "France",
                  "country_code": "FR", "latitude": 48.858222, "longitude": 2.2945},
        "wanted": {"keywords": ["Eiffel Tower"], "hierarchy": ["Places|France|Paris|Eiffel Tower"],
                   "places": [{"name": "Eiffel Tower", "wikidata": "Q243", "city": "Paris",
                               "country": "France", "country_code": "FR", "latitude": 48.858222,
                               "longitude": 2.2945}]},
    }  # fmt: skip
    assert unsure["wanted"] == {}
    assert found["photos"][3]["confidence"] is None
    assert found["photos"][4]["wanted"]["position"] == [0.0, -0.5]


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    plan = hostile()
    write_csv(tmp_path / "t.csv", plan)
    assert len(read_rows(tmp_path / "t.csv")) == len(plan)
    write_geojson(tmp_path / "m.geojson", plan)
    found = json.loads((tmp_path / "m.geojson").read_text(encoding="utf-8"))
    assert [one["properties"]["photo"] for one in found["features"]] == [row.photo for row in plan]
