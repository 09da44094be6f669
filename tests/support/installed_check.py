"""Check an installed whichlandmark: `python installed_check.py src/whichlandmark`.

Run it without pytest in an environment that has only the package and its core dependencies. It
checks that every file of the source folder is installed, every module can be imported, the command
line runs, and a recognizer built from drawn photos recognizes new ones.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import whichlandmark

# Packages of the extras; the core must be importable without them.
EXTRAS = {
    "accelerate", "anyio", "fastapi", "fsspec", "h11", "kornia", "matplotlib", "multipart", "onnx",
    "onnxscript", "openvino", "prometheus_client", "psycopg", "pyarrow", "pydantic",
    "qdrant_client", "ray", "starlette", "tensorboard", "timm", "torch", "torchvision", "uvicorn",
}  # fmt: skip


def run(*arguments: object) -> str:
    """The standard output of a command; SystemExit when it fails."""
    command = [sys.executable, "-m", "whichlandmark.cli", *map(str, arguments)]
    utf8 = {**os.environ, "PYTHONUTF8": "1"}
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=utf8)
    if done.returncode:
        sys.exit(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def files_not_installed(source: Path, installed: Path) -> list[str]:
    """Files of the source folder that are not installed with the same bytes."""
    return [
        name.as_posix()
        for path in sorted(source.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
        for name in [path.relative_to(source)]
        if not (installed / name).is_file() or (installed / name).read_bytes() != path.read_bytes()
    ]


def import_every_module() -> dict[str, str]:
    """Import all modules. Returns {module that needs an extra: the missing package}."""
    missing: dict[str, str] = {}
    for module in pkgutil.walk_packages(whichlandmark.__path__, "whichlandmark."):
        if module.name.endswith(".__main__"):
            continue
        try:
            importlib.import_module(module.name)
        except (ModuleNotFoundError, whichlandmark.WhichLandmarkError) as error:
            absent = error if isinstance(error, ModuleNotFoundError) else error.__context__
            extra = (getattr(absent, "name", None) or "").partition(".")[0]
            if extra not in EXTRAS:
                raise
            missing[module.name] = extra
    return missing


def draw_photo(path: Path, landmark: int, photo: int) -> None:
    """Draw a landmark's pattern of rectangles, with another shift and brightness in each photo."""
    pattern, view = np.random.default_rng(landmark), np.random.default_rng([landmark, photo])
    image = np.full((240, 320, 3), pattern.integers(60, 200, 3), dtype=np.float64)
    shift = view.integers(-12, 13, 2)
    for _ in range(25):
        top, left = pattern.integers(10, [150, 230]) + shift
        height, width = pattern.integers(12, 70, 2)
        image[max(top, 0) : top + height, max(left, 0) : left + width] = pattern.integers(0, 256, 3)
    image = image * view.uniform(0.8, 1.2) + view.normal(0, 4, image.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(path, quality=92)


def recognize_drawn_photos(folder: Path) -> None:
    """Run `index` and `recognize` on drawn photos of six landmarks and on distractors."""
    for landmark in range(6):
        for photo in range(6):
            draw_photo(folder / "places" / f"place {landmark}" / f"{photo}.jpg", landmark, photo)
    for other in range(20):
        draw_photo(folder / "streets" / f"{other}.jpg", 100 + other, 0)
    recognizer = folder / "places.wl"
    run("index", folder / "places", "-o", recognizer, "--distractors", folder / "streets")
    page = folder / "why.html"
    for landmark in range(6):
        query = folder / f"query {landmark}.jpg"
        draw_photo(query, landmark, 99)
        answer = json.loads(run("recognize", query, "-r", recognizer, "--json", "--explain", page))
        if answer["guess"] != f"place {landmark}":
            sys.exit(f"a photo of place {landmark} was recognized as {answer}")
        if "<html" not in page.read_text(encoding="utf-8"):
            sys.exit(f"--explain wrote no page: {page.read_text(encoding='utf-8')[:200]}")


def main() -> None:
    """Run all checks, the simplest first."""
    source, installed = Path(sys.argv[1]).resolve(), Path(whichlandmark.__file__).parent
    if installed.is_relative_to(source.parent):
        sys.exit(f"{installed} is the source folder itself; install the package, not --editable")
    if different := files_not_installed(source, installed):
        sys.exit(f"missing in the installed package, or different from {source}: {different}")
    missing = import_every_module()
    version = importlib.metadata.version("whichlandmark")
    if whichlandmark.__version__ != version or version not in run("--version"):
        sys.exit(f"--version prints {run('--version')!r}; the package says {version}")
    if "recognize" not in run("--help"):
        sys.exit("--help does not name the verb recognize")
    with tempfile.TemporaryDirectory() as folder:
        recognize_drawn_photos(Path(folder))
    extras = ", ".join(sorted(set(missing.values()))) or "none"
    print(f"whichlandmark {version} is complete; {len(missing)} modules need extras: {extras}")


if __name__ == "__main__":
    main()
