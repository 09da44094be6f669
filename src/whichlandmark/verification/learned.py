"""A learned matcher in the place of SIFT: DISK or ALIKED with LightGlue, by kornia.

Slower (seconds a pair without a GPU), and better where light or viewpoint differ much. The extra
`whichlandmark[match]`. DISK: Tyszkiewicz et al., NeurIPS 2020. ALIKED: Zhao et al., IEEE TIM 2023.
LightGlue: Lindenberger et al., ICCV 2023. Nothing is downloaded unless asked.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError, OptionError
from ..types import Image
from .keypoints import Matching, Points
from .matching import Verified, explained

FILES = {  # as published: the detector's weights, the matcher's
    "disk": ("depth-save.pth", "disk_lightglue.pth"),
    "aliked": ("aliked-n16.pth", "aliked_lightglue.pth"),
}
_SHAPES = 32  # sides are padded to a multiple of this, which both networks take


@dataclass(frozen=True, kw_only=True)
class Learned:
    """features: which keypoints. weights: a folder with the two files of `FILES`; None = kornia's
    published ones, which are fetched into torch's cache only with `download`.
    """

    features: Literal["disk", "aliked"] = "disk"
    weights: Path | None = None
    download: bool = False
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.features not in FILES:
            raise OptionError(
                f"features {self.features!r} given; expected one of {', '.join(FILES)}"
            )
        if self.weights is None and not self.download:
            raise ModelError(
                f"the learned matcher needs weights: give a folder with "
                f"{' and '.join(FILES[self.features])}, or allow the download (download=True)"
            )


class LearnedMatcher:
    """Verifies two photos as `verify` does: which matches does one homography explain?

    `matching` says size, number of keypoints and the homography's tolerance, as for SIFT.
    Raises ModelError when kornia is missing, or weights are missing, unreachable or others.
    """

    def __init__(self, options: Learned, matching: Matching | None = None) -> None:
        self.options = options
        self.matching = matching or Matching()
        try:
            self._detector, self._glue = _networks(options, self.matching.features)
        except ImportError as error:
            raise ModelError(
                f"the learned matcher needs {error.name}: pip install 'whichlandmark[match]'"
            ) from None
        for network in (self._detector, self._glue):
            network.to(options.device).eval().requires_grad_(False)

    def verify(self, image_a: Image, image_b: Image) -> Verified:
        """Two (H, W, 3) uint8 RGB photos → the matches that one homography explains."""
        import torch

        with torch.inference_mode():
            (here, scale_a, one), (there, scale_b, two) = self._look(image_a), self._look(image_b)
            if min(len(here), len(there)) == 0:
                pairs = np.empty((0, 2), dtype=np.int64)
            else:
                pairs = self._glue({"image0": one, "image1": two})["matches"][0].cpu().numpy()
        here, there = here[pairs[:, 0]], there[pairs[:, 1]]
        return explained(here, there, (scale_a, scale_b), self.matching)

    def _look(self, image: Image) -> tuple[Points, float, dict[str, Any]]:
        """Places in pixels of the photo, its scale, and what LightGlue takes."""
        import torch

        pixels, scale = _resized(image, self.matching.size)
        height, width = pixels.shape[:2]
        padded = np.pad(pixels, ((0, -height % _SHAPES), (0, -width % _SHAPES), (0, 0)))
        tensor = torch.from_numpy(padded).permute(2, 0, 1)[None].float().div(255)
        found = self._detect(tensor.to(self.options.device))
        inside = (found.keypoints < torch.tensor([width, height]).to(found.keypoints)).all(dim=1)
        points = found.keypoints[inside]
        given = {
            "keypoints": points[None],
            "descriptors": found.descriptors[inside][None],
            "image_size": torch.tensor([[width, height]], device=points.device),
        }
        places = (points.cpu().numpy() + 0.5) / scale - 0.5
        return np.asarray(places, dtype=np.float32), scale, given

    def _detect(self, batch: Any) -> Any:
        most = {"n": self.matching.features} if self.options.features == "disk" else {}
        return self._detector(batch, **most)[0]


def _networks(options: Learned, most: int) -> tuple[Any, Any]:
    """The detector, of at most so many keypoints, and LightGlue, with their weights."""
    from kornia.feature import ALIKED, DISK, LightGlue

    if options.weights is None:
        return _fetched(options.features, most)
    first, second = (options.weights / name for name in FILES[options.features])
    glue = LightGlue(features=None, input_dim=128)
    _fill(glue, _renamed(_read(second), glue.conf.n_layers), second)
    if options.features == "aliked":
        detector: Any = ALIKED("aliked-n16", max_num_keypoints=most)
        _fill(detector, _read(first), first)
        return detector, glue
    detector = DISK()
    stored = _read(first)
    _fill(detector, stored.get("extractor", stored), first)
    return detector, glue


def _fetched(features: str, most: int) -> tuple[Any, Any]:
    """Published weights, from torch's cache or the network."""
    from kornia.feature import ALIKED, DISK, LightGlue

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of each failed try: the error below tells the last
            if features == "disk":
                return DISK.from_pretrained(), LightGlue(features)
            return ALIKED.from_pretrained(max_num_keypoints=most), LightGlue(features)
    except (OSError, RuntimeError, ValueError) as error:  # urllib's errors are OSErrors
        raise ModelError(
            f"the weights of {features} + LightGlue could not be fetched ({error}); fetch "
            f"{' and '.join(FILES[features])} elsewhere and give their folder"
        ) from None


def _read(path: Path) -> dict[str, Any]:
    import torch

    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file; the learned matcher needs it") from None
    except Exception as error:  # torch raises a dozen kinds on a damaged or hostile file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{path}: not readable as weights ({reason})") from None
    if not isinstance(stored, dict):
        raise ModelError(f"{path}: holds {type(stored).__name__}; expected named tensors")
    return stored


def _renamed(stored: dict[str, Any], layers: int) -> dict[str, Any]:
    """LightGlue's published names → kornia's."""
    for layer in range(layers):
        for part in ("self_attn", "cross_attn"):
            old, new = f"{part}.{layer}.", f"transformers.{layer}.{part}."
            stored = {
                new + key.removeprefix(old) if key.startswith(old) else key: value
                for key, value in stored.items()
            }
    return stored


def _fill(network: Any, stored: dict[str, Any], path: Path) -> None:
    """Weights into a network. Raises ModelError unless every one of its parameters is there."""
    try:
        result = network.load_state_dict(stored, strict=False)
    except (RuntimeError, AttributeError, TypeError) as error:
        reason = str(error).split("\n")[-1].strip()
        raise ModelError(f"{path}: made for another network ({reason})") from None
    names = {name for name, _ in network.named_parameters()}
    missing = sorted(names & set(result.missing_keys))
    if missing:
        raise ModelError(f"{path}: made for another network; it lacks {missing[0]!r}")


def _resized(image: Image, size: int) -> tuple[NDArray[np.uint8], float]:
    """The photo with its long side at `size` pixels, at most doubled, and the scale of that."""
    import cv2

    scale = min(size / max(image.shape[:2]), 2.0)
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=shrink), np.uint8), scale
