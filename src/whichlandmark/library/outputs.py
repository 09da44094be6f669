"""A plan as a csv table for spreadsheets, as GeoJSON for maps, and as one JSON object."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..core import csv_files
from ..core.files import write_json
from ..data.left_out import lost_photos
from ..recognition.answer import spreadsheet_text
from .plan import Plan, PlannedLabel
from .xmp import Additions, Place

SCHEMA = "whichlandmark.plan/1"  # an incompatible change increments the number

CSV_COLUMNS = (
    "photo", "landmark", "title", "decision", "confidence", "state", "why", "sidecar", "keywords",
    "hierarchy", "wikidata", "city", "country", "latitude", "longitude", "position",
)  # fmt: skip


def write_csv(path: Path, plan: Plan) -> None:
    """Write one row for each photo of the library, whole or not at all.

    `latitude` and `longitude` are the landmark's; `position` is what `--gps` writes as the photo's.
    Text that a spreadsheet would run as a formula begins with an apostrophe.

    Raises:
        OptionError: When the file exists and is no such table.
    """
    rows = (_cells(row) for row in plan)
    csv_files.write_csv(path, "table of labels", CSV_COLUMNS, rows, spreadsheet=True)


def _cells(row: PlannedLabel) -> list[str]:
    place, wanted = row.place or Place(""), row.wanted
    texts = (
        row.photo, row.landmark or "", row.title, row.decision, _number(row.confidence, ".6g"),
        row.state, row.why, row.sidecar, "; ".join(wanted.keywords), "; ".join(wanted.hierarchy),
        place.wikidata, place.city, place.country,
    )  # fmt: skip
    position = wanted.position or (None, None)
    numbers = (place.latitude, place.longitude)
    return [
        *map(spreadsheet_text, texts), *(_number(number, ".8g") for number in numbers),
        spreadsheet_text(" ".join(_number(number, ".8g") for number in position).strip()),
    ]  # fmt: skip


def _number(value: float | None, form: str) -> str:
    """A number; "" = it is not known."""
    return "" if value is None or math.isnan(value) else format(value, form)


def write_geojson(path: Path, plan: Plan) -> None:
    """Write the labelled photos at the positions of their landmarks, by RFC 7946.

    A landmark without coordinates has the geometry null. Positions are longitude, latitude.

    Raises:
        OptionError: When the file exists and is no such file.
    """
    features = [_feature(row) for row in plan if row.labelled]
    value = {"type": "FeatureCollection", "generator": "whichlandmark", "features": features}
    write_json(path, value, "map of labels")


def _feature(row: PlannedLabel) -> dict[str, Any]:
    place = row.place or Place(row.title)
    known = place.latitude is not None and place.longitude is not None
    point = {"type": "Point", "coordinates": [place.longitude, place.latitude]}
    return {
        "type": "Feature",
        "geometry": point if known else None,
        "properties": {
            "photo": row.photo, "title": row.title, "landmark": row.landmark,
            "wikidata": place.wikidata, "city": place.city, "country": place.country,
            "confidence": _finite(row.confidence), "state": row.state,
        },
    }  # fmt: skip


def plan_object(plan: Plan) -> dict[str, Any]:
    """A plan as a JSON object. What is not known is null; an empty text says the same of texts."""
    return {
        "schema": SCHEMA,
        "library": plan.library,
        "recognizer": plan.recognizer,
        "above": plan.above,
        "counts": dict(plan.counts),
        "landmarks": dict(plan.landmarks),
        "notes": list(plan.notes),
        "photos": [row_object(row) for row in plan],
        "lost": lost_photos(dict(plan.left_out)),
        "left_out": len(plan.left_out),
    }


def row_object(row: PlannedLabel) -> dict[str, Any]:
    """What would be done with one photo, as a JSON object."""
    return {
        "photo": row.photo, "decision": row.decision, "landmark": row.landmark,
        "title": row.title, "confidence": _finite(row.confidence), "state": row.state,
        "why": row.why, "sidecar": row.sidecar,
        "place": place_object(row.place) if row.place else None,
        "wanted": dict(_wanted_items(row.wanted)),
    }  # fmt: skip


def place_object(place: Place) -> Mapping[str, Any]:
    """A place as a JSON object."""
    return {
        "name": place.name, "wikidata": place.wikidata, "city": place.city,
        "country": place.country, "country_code": place.country_code,
        "latitude": place.latitude, "longitude": place.longitude,
    }  # fmt: skip


def _wanted_items(wanted: Additions) -> Iterator[tuple[str, Any]]:
    """What a sidecar has to say, without what is empty."""
    if wanted.keywords:
        yield "keywords", list(wanted.keywords)
    if wanted.hierarchy:
        yield "hierarchy", list(wanted.hierarchy)
    if wanted.places:
        yield "places", [place_object(place) for place in wanted.places]
    if wanted.position:
        yield "position", list(wanted.position)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
