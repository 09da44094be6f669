"""Make a synthetic world and a small network, once in a cache folder, for other benchmarks."""

from __future__ import annotations

from pathlib import Path

from whichlandmark.core.types import Photos
from whichlandmark.data.synthetic.plan import DrawnWorld
from whichlandmark.data.synthetic.world import draw_world
from whichlandmark.data.table import read_photos


def drawn_photos(cache: Path, count: int, size: int) -> Photos:
    """`count` labelled training photos of `size` pixels; each pair of both has its own world.

    All photos are different drawings, because copies would have equal vectors, and a test could not
    detect two photos that were swapped.
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
    """An embedder folder with an ONNX file; its random weights depend on one seed."""
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
