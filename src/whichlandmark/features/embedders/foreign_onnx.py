"""An embedder folder from an ONNX file made elsewhere: check it, find how to call it, copy it.

Everything is found by running the network on drawn pictures, because the shapes that a file
declares are often missing or wrong. Nothing is written before all of it works.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import ModelError, OptionError
from ...core.files import atomic_file
from ...core.json_options import to_json
from ..preprocessing import InputPipeline, Preprocessing, Views
from .external_data import external_files
from .onnx_embedder import Interface
from .record import FLOAT_FILE, INT8_FILE, RECORD_FILE, UNSTATED, WEIGHTS_FILE, sha256, write_record
from .runtimes import onnx_session, package_version, short_reason

ONNX_PREFIX = "onnx:"

DEFAULT_SIZE = 322  # of a network that takes any size: 23 patches of 14 pixels, about 20 of 16

DEFAULT_MULTIPLE = 32

# Tried when the network refuses sides that are multiples of 32; 14 is the patch of DINOv2.
OTHER_MULTIPLES = (14, 28, 64, 24, 48, 12, 20, 40, 56, 96, 112, 128)

PHOTO_SIZES = ((480, 640), (640, 480), (600, 3000))  # landscape, portrait, panorama

IMAGENET = Preprocessing()  # its mean and standard deviation

MAX_BYTES = 8_000_000_000  # of the network with its data files, which must fit into memory

MAX_BATCH = 64  # photos of a fixed batch; each pass computes them all, also for one photo

SAME_ROW = 1e-3  # a row may differ by this from that of the same photo in another batch

Rows = dict[str, NDArray[Any]]  # name of an output → what it gave


@dataclass(frozen=True)
class _Input:
    """The image input: its name, whether float16, and its batch and sides; 0 = any."""

    name: str
    half: bool
    batch: int
    sides: tuple[int, int]


@dataclass(frozen=True)
class _Tried:
    """A network in a session, with the input it takes and the statistics of its pixels."""

    path: Path
    session: Any
    image: _Input
    statistics: Preprocessing

    def run(self, shape: tuple[int, int], seeds: Sequence[int]) -> Rows:
        """All outputs for drawn photos, one for each seed, (height, width) `shape`."""
        pixels = np.stack([_drawn(shape, seed, self.statistics) for seed in seeds])
        given = pixels.astype(np.float16 if self.image.half else np.float32)
        names = [output.name for output in self.session.get_outputs()]
        try:
            return dict(zip(names, self.session.run(None, {self.image.name: given}), strict=True))
        except Exception as error:  # the runtime's exceptions have no common base class
            raise ModelError(
                f"{self.path}: fails on {len(seeds)} photo(s) of {shape[0]} × {shape[1]} pixels "
                f"({short_reason(error)})"
            ) from None


def make_foreign(source: str, options: Any, out: Path) -> dict[str, str]:
    """Write an embedder folder of the network in an ONNX file.

    source: "onnx:FILE". options: `PretrainedOptions`, of which those of a backbone must be unset.
    Returns what was found out or assumed, for printing. Raises OptionError for options that do not
    fit, ModelError for a file that cannot be used; nothing is written then.
    """
    path = Path(source.removeprefix(ONNX_PREFIX))
    _require_fitting(options)
    files = _files(path)
    session = onnx_session(path)
    image = _image_input(path, session)
    said: dict[str, str] = {}
    preprocessing = _preprocessing(path, image, options)
    tried = _Tried(path, session, image, preprocessing)
    preprocessing = _fitting(tried, preprocessing, options, said)
    output, dim = _output(tried, preprocessing, options.output)
    batch = _batch(tried, preprocessing, output, said)
    unit = _checked_rows(tried, preprocessing, output, batch)
    pipeline = InputPipeline(preprocessing, Views(scales=options.scales, flip=options.flip))
    for view in pipeline.views.expand(preprocessing):
        tried.run(view.target_shape(*PHOTO_SIZES[0]), range(image.batch or 1))
    stated = session.get_modelmeta().custom_metadata_map
    licence = options.licence or stated.get("license") or stated.get("licence") or UNSTATED
    interface = Interface(output=output, batch=batch, half=image.half, unit_rows=unit)
    record = {
        "kind": "onnx",
        "name": path.stem,
        "dim": dim,
        "precision": "float32",
        "network": to_json(interface),
        **pipeline.settings(),
        "licence": licence,
        "versions": {"onnxruntime": package_version("onnxruntime")},
    }
    hashes = [sha256(file) for file in files.values()]
    described = {key: record[key] for key in ("network", "preprocessing", "views") if key in record}
    digest = hashlib.sha256(json.dumps([hashes, described], sort_keys=True).encode())
    _copy(files, out)
    write_record(out, record | {"id": f"{path.stem}-{digest.hexdigest()[:12]}"}, files)
    if not unit:
        said["rows"] = "normalised to unit length by us"
    return said


def _require_fitting(options: Any) -> None:
    """Raises OptionError when options of a timm backbone were given."""
    ours = {
        "size", "fit", "interpolation", "mean", "std", "scales", "flip", "multiple", "output",
        "licence",
    }  # fmt: skip
    default = type(options)()
    for one in dataclasses.fields(options):
        if one.name not in ours and getattr(options, one.name) != getattr(default, one.name):
            raise OptionError(
                f"--{one.name.replace('_', '-')} given with {ONNX_PREFIX}FILE, which holds network "
                "and weights; it goes with timm:NAME"
            )


def _files(path: Path) -> dict[str, Path]:
    """Name in the embedder folder → file, of the network and its data. Raises ModelError."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise ModelError(f"{path}: {what}; expected an ONNX file, as in onnx:model.onnx")
    names = external_files(path)
    for reserved in (FLOAT_FILE, INT8_FILE, RECORD_FILE, WEIGHTS_FILE):
        if reserved in names:
            raise ModelError(f"{path}: keeps weights in {reserved!r}, a name of our own files")
    files = {FLOAT_FILE: path} | {name: path.parent / name for name in names}
    if (size := sum(file.stat().st_size for file in files.values())) > MAX_BYTES:
        raise ModelError(
            f"{path}: {size / 1e9:.1f} GB with its data; expected at most {MAX_BYTES / 1e9:.0f} GB"
        )
    return files


def _copy(files: dict[str, Path], out: Path) -> None:
    for name, source in files.items():
        target = out / name
        if target.exists() and target.samefile(source):
            continue
        with atomic_file(target) as temporary:
            shutil.copyfile(source, temporary)


def _image_input(path: Path, session: Any) -> _Input:
    """The only input, checked. Raises ModelError unless it takes images as (N, 3, H, W) floats."""
    inputs = session.get_inputs()
    listed = "; ".join(f"{one.name} {_shape(one)} of {one.type}" for one in inputs) or "none"
    expected = f"expected one input, (N, 3, H, W) of float or float16, but its inputs are: {listed}"
    if len(inputs) != 1:
        hint = "; export the image part of the network alone" if len(inputs) > 1 else ""
        raise ModelError(f"{path}: {expected}{hint}")
    (image,) = inputs
    shape = list(image.shape or [])
    if len(shape) == 4 and shape[3] == 3 and shape[1] != 3:
        raise ModelError(
            f"{path}: takes (N, H, W, 3), channels last; {expected}; export it with "
            "pixels.permute(0, 2, 3, 1) in front"
        )
    fixed_channels = isinstance(shape[1], int) if len(shape) == 4 else False
    if (
        image.type not in ("tensor(float)", "tensor(float16)")
        or len(shape) != 4
        or (fixed_channels and shape[1] != 3)
    ):
        raise ModelError(f"{path}: {expected}")
    batch, height, width = (side if isinstance(side, int) and side > 0 else 0 for side in
                            (shape[0], shape[2], shape[3]))  # fmt: skip
    if batch > MAX_BATCH:
        raise ModelError(
            f"{path}: takes {batch} photos in every pass; expected at most {MAX_BATCH}"
        )
    sides = (height or width, width or height)
    return _Input(image.name, image.type == "tensor(float16)", batch, sides)


def _preprocessing(path: Path, image: _Input, options: Any) -> Preprocessing:
    """As the options and the network's own input say, before it was tried."""
    height, width = image.sides
    plain = Preprocessing(
        mean=options.mean or IMAGENET.mean,
        std=options.std or IMAGENET.std,
        interpolation=options.interpolation or "bilinear",
    )
    if not height:
        multiple, size = options.multiple or DEFAULT_MULTIPLE, options.size or DEFAULT_SIZE
        return replace(plain, size=size, fit=options.fit or "keep", multiple=multiple)
    wrong = {
        f"--size {options.size}": options.size not in (None, max(height, width)),
        f"--multiple {options.multiple}": options.multiple is not None,
        "--scales": options.scales != (1.0,),
    }
    for option, is_wrong in wrong.items():
        if is_wrong:
            raise OptionError(
                f"{path}: takes photos of {height} × {width} pixels only; leave out {option}"
            )
    sides = None if height == width else (height, width)
    return replace(plain, size=max(height, width), fit="squash", multiple=1, sides=sides)


def _fitting(
    tried: _Tried, wanted: Preprocessing, options: Any, said: dict[str, str]
) -> Preprocessing:
    """The preprocessing that the network takes: as wanted, else other sides, else squares."""
    height, width = tried.image.sides
    if height:
        tried.run((height, width), range(tried.image.batch or 1))
        said["sides"] = f"{height} × {width}, the only ones it takes: photos are squashed to them"
        return wanted
    if not options.size:
        said["size"] = f"{wanted.size} pixels were assumed; another one with --size"
    if not (options.mean and options.std):
        said["mean and std"] = "ImageNet's where not given; others with --mean and --std"
    refusal: ModelError | None = None
    for preprocessing in _candidates(wanted):
        try:
            for size in PHOTO_SIZES:
                tried.run(preprocessing.target_shape(*size), range(tried.image.batch or 1))
        except ModelError as error:
            refusal = refusal or error
            continue
        if preprocessing.fit != wanted.fit:
            said["fit"] = "squash, because it takes squares only"
        elif preprocessing != wanted and options.multiple:
            raise OptionError(
                f"{refusal}; it takes sides that are multiples of {preprocessing.multiple}: give "
                f"--multiple {preprocessing.multiple}"
            )
        elif preprocessing != wanted:
            said["multiple"] = f"{preprocessing.multiple}: it refuses other sides"
        return preprocessing
    raise ModelError(
        f"{refusal}; nor does it take squares of {wanted.size}; give the size that it was made for "
        "with --size, and --multiple if its sides must be multiples of a patch"
    )


def _candidates(wanted: Preprocessing) -> Iterator[Preprocessing]:
    yield wanted
    if wanted.fit != "keep":
        return
    for multiple in OTHER_MULTIPLES:
        if multiple <= wanted.size and multiple != wanted.multiple:
            yield replace(wanted, multiple=multiple)
    yield replace(wanted, fit="squash")


def _output(tried: _Tried, preprocessing: Preprocessing, wanted: str | None) -> tuple[str, int]:
    """Name and dimensions of the output of one row a photo. Raises ModelError or OptionError."""
    photos = tried.image.batch or 1
    runs = [tried.run(preprocessing.target_shape(*size), range(photos)) for size in PHOTO_SIZES[:2]]
    usable = {}
    for name, first in runs[0].items():
        shapes = {run[name].shape for run in runs}
        is_float = first.dtype.kind == "f"
        is_rows = first.ndim == 2 and first.shape[0] == photos and first.shape[1] > 1
        if len(shapes) == 1 and is_float and is_rows:
            usable[name] = first.shape[1]
    listed = ", ".join(f"{one.name} {_shape(one)}" for one in tried.session.get_outputs())
    if wanted is not None:
        if wanted not in usable:
            raise OptionError(
                f"{tried.path}: --output {wanted!r} is not one row of numbers for each photo; its "
                f"outputs: {listed}"
            )
        return wanted, usable[wanted]
    if not usable:
        raise ModelError(
            f"{tried.path}: no output is one row of numbers for each photo, (N, D); its outputs: "
            f"{listed}; export it with pooling, so that a photo gives one vector"
        )
    if len(usable) > 1:
        raise OptionError(
            f"{tried.path}: {len(usable)} outputs are one row for each photo; choose one with "
            f"--output: {', '.join(f'{name} ({dim})' for name, dim in usable.items())}"
        )
    return next(iter(usable.items()))


def _batch(tried: _Tried, preprocessing: Preprocessing, output: str, said: dict[str, str]) -> int:
    """Photos of each pass, 0 = any number: 1 where photos of a larger batch change each other."""
    shape = preprocessing.target_shape(*PHOTO_SIZES[0])
    fixed = tried.image.batch
    if fixed:
        said["batch"] = f"{fixed}, the only one it takes"
        if fixed == 1:
            return 1
        first = tried.run(shape, range(fixed))[output]
        elsewhere = tried.run(shape, [*range(fixed, 2 * fixed - 1), 0])[output]
        if not _same(first[:1], elsewhere[-1:]):
            raise ModelError(
                f"{tried.path}: a photo's row depends on the other photos of its batch of {fixed}; "
                "export it in evaluation mode, or with a batch of 1"
            )
        return fixed
    alone = np.concatenate([tried.run(shape, [seed])[output] for seed in range(3)])
    try:
        together = [tried.run(shape, range(count))[output] for count in (2, 3)]
    except ModelError:
        said["batch"] = "photo by photo, because it fails on several"
        return 1
    if all(_same(rows, alone[: len(rows)]) for rows in together):
        return 0
    said["batch"] = "photo by photo, because photos of one batch change each other's rows"
    return 1


def _checked_rows(tried: _Tried, preprocessing: Preprocessing, output: str, batch: int) -> bool:
    """Whether rows have unit length. Raises ModelError for NaN, zeros, and equal rows."""
    shape = preprocessing.target_shape(*PHOTO_SIZES[0])
    passes = [[first] * (batch or 1) for first in range(4)]
    rows = np.concatenate([tried.run(shape, seeds)[output][:1] for seeds in passes])
    rows = rows.astype(np.float64)
    if not np.isfinite(rows).all():
        raise ModelError(
            f"{tried.path}: output {output!r} has NaN or infinite numbers for ordinary photos; "
            "expected finite ones (a float16 network may overflow: export it as float32)"
        )
    lengths = np.linalg.norm(rows, axis=1)
    if not lengths.min() > 0 or _same(rows, np.repeat(rows[:1], len(rows), axis=0), 1e-6):
        raise ModelError(
            f"{tried.path}: output {output!r} is the same for every photo, so it tells none from "
            "another; choose another output with --output, or check the export"
        )
    return bool((abs(lengths - 1) < 1e-3).all())


def _same(rows: NDArray[Any], others: NDArray[Any], tolerance: float = SAME_ROW) -> bool:
    """Equal rows, up to `tolerance` times their length; NaN is judged elsewhere."""
    if rows.shape != others.shape:
        return False
    difference = np.abs(rows.astype(np.float64) - others).max()
    return not difference > tolerance * np.linalg.norm(rows, axis=1).max()


def _drawn(shape: tuple[int, int], seed: int, statistics: Preprocessing) -> NDArray[np.float32]:
    """(3, h, w) normalised pixels of a drawn picture: a colour, a slope and noise."""
    height, width = shape
    generator = np.random.default_rng([seed, height, width])
    slope = np.linspace(-60, 60, width)[None, :, None] + np.linspace(-40, 40, height)[:, None, None]
    picture = generator.integers(60, 196, 3) + slope * generator.uniform(-1, 1, 3)
    picture = picture + generator.normal(0, 25, (height, width, 3))
    return statistics.normalise(np.clip(picture, 0, 255).astype(np.uint8))


def _shape(one: Any) -> str:
    return "(" + ", ".join(str(side) for side in one.shape or []) + ")"
