"""Count outdoor scenes with a Places365 network, to find indoor photos.

Zhou et al., "Places: A 10 million image database for scene recognition", TPAMI 2018; the files
are from the repository CSAILVision/places365.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...core.errors import DataError, ModelError, OptionError
from ...core.types import Image
from ...features.embedders.torch_embedder import pick_device
from ...features.preprocessing import Preprocessing

CHECKPOINT = "resnet50_places365.pth.tar"

CHECKPOINTS = "*_places365.pth.tar"

SCENES = "categories_places365.txt"

OUTDOORS = "IO_places365.txt"

# Its authors squash a photo to 256 × 256 and use the 224 × 224 pixels in the middle. We resize the
# long side to 256 instead: a 4:3 photo (256 × 192) then has about as many pixels, is not distorted,
# and is not cropped, which matters because ceilings and skies are mostly near the edges. These
# networks accept any size.
INPUT = Preprocessing(size=256, multiple=16)


class Places365:
    """A `SceneVoter`; open one with `load`.

    id: changes with the weights, the lists, the preprocessing and `top`.
    """

    def __init__(
        self,
        net: nn.Module,
        scenes: Sequence[str],
        outdoor: NDArray[np.bool_],
        *,
        top: int = 5,
        device: str = "auto",
        name: str = "places365",
    ) -> None:
        """scenes: class names. outdoor: (classes,) True = outdoors. top: scenes to count."""
        if not 1 <= top <= len(scenes):
            raise OptionError(f"top {top} given; expected 1 to {len(scenes)} scenes")
        self.device = pick_device(device)
        self.net = net.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.scenes = list(scenes)
        self.outdoor = outdoor
        self.top = top
        self.id = f"{name}-{_digest(net, scenes, outdoor)}-top{top}"

    @classmethod
    def load(cls, folder: str | Path, *, top: int = 5, device: str = "auto") -> Places365:
        """Open a folder with the authors' three files.

        Args:
            folder: With the checkpoint, the list of scenes, and the list of outdoor scenes.
            top: Likeliest scenes of a photo to count, 1 to the number of scenes.
            device: Runs the network.

        Raises:
            DataError: When a file is missing, or a list is not readable.
            ModelError: When the checkpoint is damaged, does not fit the network that it names, or
                has another number of classes than the list.
        """
        folder = Path(folder)
        checkpoint = _checkpoint(folder)
        scenes = read_scenes(_existing(folder / SCENES))
        outdoor = read_outdoor(_existing(folder / OUTDOORS), scenes)
        name, net = read_checkpoint(checkpoint, len(scenes))
        return cls(net, scenes, outdoor, top=top, device=device, name=name)

    @property
    def short_side(self) -> int:
        """Minimum short side of a decoded photo, in pixels."""
        return INPUT.size

    def prepare(self, image: Image, /) -> Image:
        """Resize (H, W, 3) uint8 to a long side of 256, neither cropped nor distorted."""
        return INPUT.resize(image)

    def __call__(self, prepared: Sequence[Image], /) -> list[tuple[int, str]]:
        """Of each photo: how many of its `top` likeliest scenes are outdoors, and their names."""
        votes: list[tuple[int, str]] = [(0, "")] * len(prepared)
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for row, image in enumerate(prepared):
            by_shape.setdefault(image.shape, []).append(row)
        for rows in by_shape.values():
            for row, best in zip(rows, self._top_scenes([prepared[r] for r in rows]), strict=True):
                votes[row] = (
                    int(self.outdoor[best].sum()),
                    ", ".join(self.scenes[scene] for scene in best),
                )
        return votes

    def _top_scenes(self, images: list[Image]) -> NDArray[np.int64]:
        """(n, top) class numbers of photos of one shape, the likeliest first."""
        pixels = torch.from_numpy(np.stack([INPUT.normalise(image) for image in images]))
        with torch.inference_mode():
            pixels = pixels.to(self.device, memory_format=torch.channels_last)
            best: NDArray[np.int64] = self.net(pixels).topk(self.top, dim=1).indices.cpu().numpy()
        return best


def read_scenes(path: Path) -> list[str]:
    """Read lines like `/a/airfield 0`, numbered from 0 → names by number, such as "airfield"."""
    numbers = _read_numbered_names(path, "/a/airfield 0")
    by_number = sorted((number, name) for name, number in numbers.items())
    if [number for number, _ in by_number] != list(range(len(by_number))):
        raise DataError(
            f"{path}: scenes are not numbered from 0 to {len(by_number) - 1}, each once"
        )
    return [name for _, name in by_number]


def read_outdoor(path: Path, scenes: Sequence[str]) -> NDArray[np.bool_]:
    """Read lines like `/a/airfield 2` (1 = indoors, 2 = outdoors) → (scenes,), True = outdoors."""
    kinds = _read_numbered_names(path, "/a/airfield 2")
    if wrong := sorted(name for name, kind in kinds.items() if kind not in (1, 2)):
        raise DataError(
            f"{path}: scene {wrong[0]!r} is {kinds[wrong[0]]}; expected 1 (indoors) or 2 (outdoors)"
        )
    if odd := sorted(set(scenes) ^ set(kinds)):
        raise DataError(
            f"{path}: not the list of these {len(scenes)} scenes: {odd[0]!r} is in only one of "
            f"{SCENES} and {OUTDOORS} ({len(odd)} such scenes); give the pair of one release"
        )
    return np.array([kinds[name] == 2 for name in scenes])


def read_checkpoint(path: Path, classes: int) -> tuple[str, nn.Module]:
    """Load a checkpoint in the authors' layout → (arch, the network).

    The layout is a dict with `arch`, an architecture that timm has too, and `state_dict`, whose
    names begin with `module.`.
    """
    try:
        stored: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types on a damaged or hostile file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{path}: not readable as a checkpoint ({reason})") from None
    arch, weights = _arch_and_weights(path, stored)
    try:
        net: nn.Module = timm.create_model(arch, pretrained=False, num_classes=classes)
    except Exception as error:
        raise ModelError(
            f"{path}: names the network {arch!r}, which timm does not have ({error})"
        ) from None
    expected = net.state_dict()
    named: Any = net.default_cfg.get("classifier", "fc")  # type: ignore[operator,union-attr]
    classifier = named if isinstance(named, str) else named[0]
    if (found := weights.get(f"{classifier}.weight")) is not None and len(found) != classes:
        raise ModelError(
            f"{path}: has {len(found)} classes, but {SCENES} lists {classes} scenes; "
            "give the list that belongs to the checkpoint"
        )
    # `num_batches_tracked` is optional, because PyTorch did not have it in 2017.
    missing = [k for k in expected if k not in weights and not k.endswith("num_batches_tracked")]
    unfit = [k for k, v in weights.items() if k not in expected or expected[k].shape != v.shape]
    if missing or unfit:
        raise ModelError(
            f"{path}: these are not the weights of {arch!r}, which the file names: {len(missing)} "
            f"layers missing, {len(unfit)} that do not fit "
            f"(first: {', '.join((missing + unfit)[:3])}); give the authors' {CHECKPOINT}"
        )
    net.load_state_dict(weights, strict=False)
    return arch, net


def _arch_and_weights(path: Path, stored: Any) -> tuple[str, dict[str, Tensor]]:
    """The architecture's name, and the weights with names without `module.`."""
    arch = stored.get("arch") if isinstance(stored, dict) else None
    weights = stored.get("state_dict") if isinstance(stored, dict) else None
    if not isinstance(arch, str) or not isinstance(weights, dict) or not weights:
        raise ModelError(
            f"{path}: expected a dict with 'arch' and 'state_dict', as the authors of Places365 "
            f"save it; give their {CHECKPOINT}"
        )
    if odd := [key for key, value in weights.items() if not isinstance(value, Tensor)]:
        raise ModelError(f"{path}: {odd[0]!r} in 'state_dict' is not a tensor")
    return arch, {str(key).removeprefix("module."): value for key, value in weights.items()}


def _checkpoint(folder: Path) -> Path:
    """The one checkpoint of the folder; the ResNet50 where there are several."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; {_expected_files()}")
    found = sorted(folder.glob(CHECKPOINTS))
    if folder / CHECKPOINT in found:
        return folder / CHECKPOINT
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise DataError(
            f"{folder}: {CHECKPOINT} is missing (checkpoints: {names}); {_expected_files()}"
        )
    return found[0]


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"{path}: no such file; {_expected_files()}")
    return path


def _expected_files() -> str:
    return f"expected a folder with {CHECKPOINT}, {SCENES} and {OUTDOORS} of CSAILVision/places365"


def _read_numbered_names(path: Path, example: str) -> dict[str, int]:
    """Read lines of a name and a number → {name without "/a/": number}."""
    found: dict[str, int] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not readable as text ({error})") from None
    for line, text in enumerate(lines, 1):
        words = text.split()
        if not words:
            continue
        if len(words) != 2 or not words[1].isdigit() or not words[0].startswith("/"):
            raise DataError(f"{path}, line {line}: {text!r}; expected a line like {example!r}")
        name = "/".join(words[0].split("/")[2:]) or words[0]  # "/a/airport/inside" → airport/inside
        if name in found:
            raise DataError(f"{path}, line {line}: scene {name!r} occurs twice")
        found[name] = int(words[1])
    if not found:
        raise DataError(f"{path}: the list is empty; expected lines like {example!r}")
    return found


def _digest(net: nn.Module, scenes: Sequence[str], outdoor: NDArray[np.bool_]) -> str:
    digest = hashlib.sha256(repr((INPUT, list(scenes), outdoor.tolist())).encode())
    for key, value in sorted(net.state_dict().items()):
        digest.update(key.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
