"""Settings on disk: rules and fit in `recognizer.json`, whitening in `whitening-….safetensors`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ...core.disks import read_error
from ...core.errors import DataError, GalleryError, ModelError, OptionError
from ...core.files import atomic_file, read_json, write_json
from ...core.json_options import from_json, to_json
from ...gallery.index.projection import Projection
from ..calibration import Calibration
from ..decision import Fitted
from ..rules import Rules
from ..stacker import Stacker

FORMAT_VERSION = 2

# Rules that change nothing that is fitted: thresholds, location prior, search effort.
RULES_WITHOUT_FIT = {"answer_above", "doubt_above", "false_answers", "location_km", "recall"}


def require_folder(folder: Path) -> None:
    """Raises DataError when there is no such recognizer folder."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such recognizer folder; make one with `whichlandmark index`")


def write_settings(folder: Path, rules: Rules, fitted: Fitted, generation: int) -> None:
    """Write both files. generation: of the gallery that was fitted on.

    The whitening is written first, under a name made from its content, so that an interruption
    leaves the old pair usable.
    """
    whitening = _write_whitening(folder, fitted.projection)
    write_json(
        folder / "recognizer.json",
        {
            "format": FORMAT_VERSION,
            "rules": to_json(rules),
            "calibration": to_json(fitted.calibration),
            "stacker": to_json(fitted.stacker) if fitted.stacker else None,
            "geometric": to_json(fitted.geometric_stacker) if fitted.geometric_stacker else None,
            "negatives": list(fitted.negatives),
            "own_queries": fitted.own_queries,
            "whitening": whitening,
            "generation": generation,
        },
    )
    for old in folder.glob("whitening-*.safetensors"):
        if old.name != whitening:
            old.unlink(missing_ok=True)


def read_settings(folder: Path) -> tuple[Rules, Fitted | None, int]:
    """The stored rules, what was fitted, and the gallery generation it was fitted on.

    Default rules, None and −1 when nothing is stored yet, because an index run was interrupted.

    Raises:
        GalleryError: When either file is damaged.
    """
    path = folder / "recognizer.json"
    if not path.exists():
        return Rules(), None, -1
    record = read_json(path)
    try:
        if record["format"] != FORMAT_VERSION:
            raise GalleryError(
                f"{path}: of format {record['format']}, not {FORMAT_VERSION}; run "
                "`whichlandmark index` on the same photos again"
            )
        fitted = Fitted(
            projection=_read_whitening(folder, record["whitening"]),
            stacker=_optional(Stacker, record["stacker"]),
            geometric_stacker=_optional(Stacker, record["geometric"]),
            calibration=from_json(Calibration, record["calibration"]),
            negatives=tuple(float(score) for score in record["negatives"]),
            own_queries=record.get("own_queries"),
        )
        return from_json(Rules, record["rules"]), fitted, int(record["generation"])
    except (KeyError, TypeError, ValueError, OptionError, ModelError) as error:
        raise GalleryError(
            f"{path}: damaged ({error}); delete it and run `whichlandmark tune {folder}`"
        ) from None


def stored_rules(folder: Path) -> Rules | None:
    """The rules of an earlier run; None when there are none, or they are damaged."""
    try:
        return read_settings(folder)[0] if (folder / "recognizer.json").exists() else None
    except GalleryError:
        return None


def reusable_fit(stored: Rules, rules: Rules, fitted: Fitted | None) -> Fitted | None:
    """What was fitted for the stored rules, if the new rules need the same; else None."""
    changed = {name for name in vars(rules) if getattr(rules, name) != getattr(stored, name)}
    return fitted if changed <= RULES_WITHOUT_FIT else None


def _optional(cls: type[Stacker], values: dict[str, Any] | None) -> Stacker | None:
    return None if values is None else from_json(cls, values)


def _write_whitening(folder: Path, projection: Projection | None) -> str | None:
    if projection is None:
        return None
    from safetensors.numpy import save

    data = save(projection.to_arrays())
    name = f"whitening-{hashlib.sha256(data).hexdigest()[:12]}.safetensors"
    with atomic_file(folder / name) as temporary:
        Path(temporary).write_bytes(data)
    return name


def _read_whitening(folder: Path, name: str | None) -> Projection | None:
    if name is None:
        return None
    from safetensors.numpy import load

    path = folder / Path(name).name
    try:
        data = path.read_bytes()
    except PermissionError as error:
        raise GalleryError(read_error(path, error)) from None
    except OSError as error:
        raise GalleryError(
            f"{path}: missing ({error}); run `whichlandmark tune {folder}` to fit it again"
        ) from None
    if hashlib.sha256(data).hexdigest()[:12] != path.stem.removeprefix("whitening-"):
        raise GalleryError(f"{path}: damaged; run `whichlandmark tune {folder}` to fit it again")
    return Projection.from_arrays(load(data))
