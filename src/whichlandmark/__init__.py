"""Which landmark is in this photo, or none?

    import whichlandmark as wl

    photos = wl.read_folder("paris/")                        # paris/<landmark>/*.jpg
    train, test = photos.split(test=0.25, seed=0)
    recognizer = wl.build(train, distractors=wl.read_folder("streets/", labelled=False))
    prediction = recognizer("holiday.jpg")

`read_folder` and `read_photos` make a table of photos; `build` makes a recognizer of one, with the
embedder `lite0` or one that `train` or `load_embedder` give; `load` opens a recognizer from its
folder; `evaluate` measures it. `Rules` and `TrainConfig` hold their settings. Every error
raised on purpose is a `WhichLandmarkError`.

Names are loaded when they are first used, because `import whichlandmark` should load neither torch
nor OpenCV nor FAISS.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .collect.commons import import_commons as import_commons
    from .collect.enrich import enrich as enrich
    from .collect.gldv2_download import fetch_gldv2 as fetch_gldv2
    from .core.errors import WhichLandmarkError as WhichLandmarkError
    from .core.types import Photos as Photos
    from .core.types import Prediction as Prediction
    from .data.folders import read_folder as read_folder
    from .data.table import read_photos as read_photos
    from .data.table import write_photos as write_photos
    from .evaluation.evaluate import evaluate as evaluate
    from .evaluation.scores import Scores as Scores
    from .features.embedders.load import load_embedder as load_embedder
    from .library.label import label_folder as label_folder
    from .recognition.folder.load import build as build
    from .recognition.folder.load import load as load
    from .recognition.recognizer import Recognizer as Recognizer
    from .recognition.rules import Rules as Rules
    from .training.config import TrainConfig as TrainConfig
    from .training.train import train as train

    __version__: str

_HOMES = {
    "Photos": "core.types",
    "Prediction": "core.types",
    "Recognizer": "recognition.recognizer",
    "Rules": "recognition.rules",
    "Scores": "evaluation.scores",
    "TrainConfig": "training.config",
    "WhichLandmarkError": "core.errors",
    "build": "recognition.folder.load",
    "enrich": "collect.enrich",
    "evaluate": "evaluation.evaluate",
    "fetch_gldv2": "collect.gldv2_download",
    "import_commons": "collect.commons",
    "label_folder": "library.label",
    "load": "recognition.folder.load",
    "load_embedder": "features.embedders.load",
    "read_folder": "data.folders",
    "read_photos": "data.table",
    "train": "training.train",
    "write_photos": "data.table",
}

__all__ = ["Photos", "Prediction", "Recognizer", "Rules", "Scores", "TrainConfig",
           "WhichLandmarkError", "build", "enrich", "evaluate", "fetch_gldv2", "import_commons",
           "label_folder", "load", "load_embedder", "read_folder", "read_photos", "train",
           "write_photos"]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "__version__":  # stands in pyproject.toml alone; reading it costs milliseconds
        value = import_module("importlib.metadata").version(__name__)
    elif name in _HOMES:
        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    else:
        raise AttributeError(f"module 'whichlandmark' has no attribute {name!r}{_hint(name)}")
    globals()[name] = value  # also over a module of the same name
    return value


def _hint(name: str) -> str:
    """What a name may have meant; nothing for names that Python and notebooks look for."""
    if name.startswith("_"):
        return ""
    if name in ("recognize", "recognise", "predict", "classify"):
        return "; a recognizer is called: whichlandmark.load(FOLDER)(photo)"
    near = import_module("difflib").get_close_matches(name, __all__, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def __dir__() -> list[str]:
    return sorted(__all__)
