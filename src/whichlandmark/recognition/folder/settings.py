"""Rules and what was fitted for them ⇄ `recognizer.json` and `whitening-….safetensors`."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

from ...core.errors import GalleryError, ModelError, OptionError
from ...core.files import read_json, whole_file, write_json
from ...core.json_options import from_json, to_json
from ...gallery.index.projection import Projection
from ..calibration import Calibration, Stacker
from ..decision import Fitted
from ..rules import Rules

FORMAT = 2


def write_settings(folder: Path, rules: Rules, fitted: Fitted, generation: int) -> None:
    """The whitening goes first, under the name of its content: a stop between the two leaves the
    old pair whole.
    """
    whitening = _write_whitening(folder, fitted.projection)
    write_json(
        folder / "recognizer.json",
        {
            "format": FORMAT,
            "rules": to_json(rules),
            "calibration": to_json(fitted.calibration),
            "stacker": to_json(fitted.stacker) if fitted.stacker else None,
            "geometric": to_json(fitted.geometric) if fitted.geometric else None,
            "negatives": list(fitted.negatives),
            "whitening": whitening,
            "generation": generation,
        },
    )
    for old in folder.glob("whitening-*.safetensors"):
        if old.name != whitening:
            old.unlink(missing_ok=True)


def read_settings(folder: Path) -> tuple[Rules, Fitted | None, int]:
    """Stored rules, what was fitted, and the gallery generation it was fitted on.

    Defaults when nothing is stored yet (an index run was interrupted). Raises GalleryError when
    either file is damaged.
    """
    path = folder / "recognizer.json"
    if not path.exists():
        return Rules(), None, -1
    record = read_json(path)
    try:
        if record["format"] != FORMAT:
            raise GalleryError(
                f"{path}: of format {record['format']}, not {FORMAT}; run `whichlandmark index` on "
                "the same photos again"
            )
        fitted = Fitted(
            projection=_read_whitening(folder, record["whitening"]),
            stacker=_optional(Stacker, record["stacker"]),
            geometric=_optional(Stacker, record["geometric"]),
            calibration=from_json(Calibration, record["calibration"]),
            negatives=tuple(float(score) for score in record["negatives"]),
        )
        return from_json(Rules, record["rules"]), fitted, int(record["generation"])
    except (KeyError, TypeError, ValueError, OptionError, ModelError) as error:
        raise GalleryError(
            f"{path}: damaged ({error}); delete it and run `whichlandmark tune {folder}`"
        ) from None


def stored_rules(folder: Path) -> Rules | None:
    """The rules of an earlier run; None when there are none, or none that can be read."""
    try:
        return read_settings(folder)[0] if (folder / "recognizer.json").exists() else None
    except GalleryError:
        return None


def _optional(cls: type[Stacker], values: dict[str, Any] | None) -> Stacker | None:
    return None if values is None else from_json(cls, values)


def _write_whitening(folder: Path, projection: Projection | None) -> str | None:
    if projection is None:
        return None
    from safetensors.numpy import save

    data = save(projection.to_arrays())
    name = f"whitening-{hashlib.sha256(data).hexdigest()[:12]}.safetensors"
    with whole_file(folder / name) as temporary:
        Path(temporary).write_bytes(data)
    return name


def _read_whitening(folder: Path, name: str | None) -> Projection | None:
    if name is None:
        return None
    from safetensors.numpy import load

    path = folder / Path(name).name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise GalleryError(
            f"{path}: missing ({error}); run `whichlandmark tune {folder}` to fit it again"
        ) from None
    if hashlib.sha256(data).hexdigest()[:12] != path.stem.removeprefix("whitening-"):
        raise GalleryError(f"{path}: damaged; run `whichlandmark tune {folder}` to fit it again")
    return Projection.from_arrays(load(data))


def kept_fit(stored: Rules, rules: Rules, fitted: Fitted | None) -> Fitted | None:
    """What was fitted, when the new rules change only how answers are spoken of."""
    spoken = ("answer_above", "doubt_above", "false_answers", "location_km", "recall")
    changed = {name for name in vars(rules) if getattr(rules, name) != getattr(stored, name)}
    return fitted if changed <= set(spoken) else None


def describe(fitted: Fitted) -> dict[str, Any]:
    """What was fitted, in few words."""
    kinds = {"stacker": fitted.stacker, "with geometry": fitted.geometric}
    return {
        "whitening": None if fitted.projection is None else list(fitted.projection.axes.shape),
        **{name: dataclasses.asdict(made)["examples"] for name, made in kinds.items() if made},
        "calibration": fitted.calibration.kind,
    }
