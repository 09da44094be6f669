"""A drawn world and a small network in a cache folder, made once: for benchmarks of whole jobs."""

from __future__ import annotations

from pathlib import Path

from whichlandmark.core.types import Photos
from whichlandmark.data.synthetic.plan import DrawnWorld
from whichlandmark.data.synthetic.world import draw_world
from whichlandmark.data.table import read_photos


def drawn_photos(cache: Path, count: int, size: int) -> Photos:
    """`count` training photos with landmarks, of `size` pixels; a world for every pair of both.

    Each is a picture of its own: copies of fewer would have equal vectors, and a photo that takes
    another's place would not be seen.
    """
    landmarks = min(max(8, count // 40), 1000)
    world = DrawnWorld(landmarks=landmarks, unknown_landmarks=1, photos=count, queries=2, size=size,
                       unknown_queries=1, nonlandmark_queries=1, distractors=1, mislabelled=0,
                       duplicate=0, near_duplicate=0, indoor=0, corrupt=0)  # fmt: skip
    folder = cache / f"photos-{count}-{size}"
    draw_world(folder, world)
    photos = read_photos(folder / "photos.csv")
    return photos.take(photos.landmarks != "")


def network(cache: Path, backbone: str, size: int, dim: int) -> Path:
    """An embedder folder with an ONNX file; random weights, drawn by one seed."""
    folder = cache / f"{backbone}-{size}-{dim}"
    if not (folder / "embedder.json").exists():
        import torch

        from whichlandmark.features.embedders.torch_embedder import TorchEmbedder
        from whichlandmark.features.embedders.torch_network import Architecture, new_network
        from whichlandmark.features.preprocessing import Preprocessing

        torch.manual_seed(0)
        net = new_network(Architecture(backbone=backbone, dim=dim)).eval()
        TorchEmbedder(net, Preprocessing(size=size), device="cpu").save(folder)
    return folder
