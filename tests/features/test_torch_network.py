"""The torch network and its folder: GeM by hand, shapes, weight files, refusals."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch

from tests.support.photos import picture
from whichlandmark.core.errors import DataError, ModelError, OptionError
from whichlandmark.core.json_options import to_json
from whichlandmark.core.types import Embedder
from whichlandmark.features.embedders import load
from whichlandmark.features.embedders.load import (
    PretrainedOptions,
    load_embedder,
    parse_options,
    pretrained_embedder,
)
from whichlandmark.features.embedders.torch_embedder import TorchEmbedder
from whichlandmark.features.embedders.torch_network import Architecture, GeM, new_network
from whichlandmark.features.preprocessing import Preprocessing, Views

TINY = Architecture(backbone="test_resnet", dim=8)
IMAGES = [picture(i, 0, size) for i, size in enumerate([(60, 80), (80, 60), (60, 80), (33, 200)])]


@pytest.fixture
def embedder() -> TorchEmbedder:
    return TorchEmbedder(new_network(TINY), Preprocessing(size=64), device="cpu")


def test_gem_pooling_matches_a_hand_computation() -> None:
    features = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    expected = ((1 + 8 + 27 + 64) / 4) ** (1 / 3)
    assert float(GeM(3.0)(features).detach()) == pytest.approx(expected, rel=1e-5)
    assert float(GeM(1.0)(features).detach()) == pytest.approx(2.5)  # average pooling
    assert float(GeM(60.0)(features).detach()) == pytest.approx(4.0, rel=0.03)  # towards the max


def test_the_gem_exponent_is_trained() -> None:
    pool = GeM(3.0)
    pool(torch.rand(2, 5, 4, 4)).sum().backward()
    assert pool.p.grad is not None
    assert float(pool.p.grad) != 0


def test_average_pooling_keeps_negative_features_and_is_not_trained() -> None:
    signed = torch.tensor([[[[-1.0, 2.0], [-3.0, 4.0]], [[-1.0, -2.0], [-3.0, -4.0]]]])
    assert GeM(1.0)(signed).tolist() == [[0.5, -2.5]]
    # Any other exponent clamps at 1e-6, as in the paper.
    assert GeM(3.0)(signed)[0].tolist() == pytest.approx([(72 / 4) ** (1 / 3), 1e-6], rel=1e-4)
    assert not GeM(1.0).p.requires_grad
    assert GeM(1.01).p.requires_grad


@pytest.mark.parametrize(
    "backbone", ["test_resnet", "vit_tiny_patch16_224", "convnext_atto", "efficientnet_b0"]
)
def test_pooling_of_p_1_is_the_true_average(backbone: str) -> None:
    """Random weights: many features of these backbones, which end without a ReLU, are negative."""
    net = new_network(Architecture(backbone=backbone, dim=None, gem_p=1.0)).eval()
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = net.backbone.forward_features(pixels)  # type: ignore[operator]
        tokens = features.ndim == 3  # the first is the class token
        average = features[:, 1:].mean(dim=1) if tokens else features.mean(dim=(2, 3))
        rows = net(pixels)
    cosines = torch.nn.functional.cosine_similarity(rows, average, dim=1)
    assert (features < 0).any() == (backbone != "test_resnet")
    assert float(cosines.min()) >= 0.9999


def test_average_pooling_with_and_without_clamping_have_different_ids(tmp_path: Path) -> None:
    """Both have the same weights and architecture, but not the same vectors."""
    made = TorchEmbedder(
        new_network(Architecture(backbone="test_vit", dim=None, gem_p=1.0)),
        Preprocessing(size=64), device="cpu",
    )  # fmt: skip
    made.save(tmp_path, export=False)
    assert load_embedder(tmp_path).id == made.id
    clamped = GeM(1.0)
    clamped.averages = False
    made.net.pool = clamped
    assert TorchEmbedder(made.net, made.preprocessing, device="cpu").id != made.id


def test_mixed_sizes_give_the_same_unit_rows_together_and_alone(embedder: TorchEmbedder) -> None:
    together = embedder(IMAGES)
    assert together.shape == (4, 8)
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(4), abs=1e-5)
    alone = np.concatenate([embedder([image]) for image in IMAGES])
    assert together == pytest.approx(alone, abs=1e-5)
    assert isinstance(embedder, Embedder)
    assert embedder([]).shape == (0, 8)


@pytest.mark.parametrize(
    ("backbone", "options"),
    [("test_vit", {"dynamic_img_size": True}), ("test_convnext", {}), ("test_efficientnet", {})],
)
def test_other_backbone_families_work(backbone: str, options: dict[str, object]) -> None:
    net = new_network(Architecture(backbone=backbone, options=options, dim=8)).eval()
    with torch.inference_mode():
        rows = net(torch.rand(2, 3, 64, 96))
    assert rows.shape == (2, 8)
    assert torch.isfinite(rows).all()


def test_a_saved_network_loads_unchanged(embedder: TorchEmbedder, tmp_path: Path) -> None:
    embedder.save(tmp_path, export=False)
    opened = load_embedder(tmp_path, device="cpu")
    assert opened.id == embedder.id
    assert np.array_equal(opened(IMAGES), embedder(IMAGES))


def test_the_id_depends_on_weights_and_preprocessing(embedder: TorchEmbedder) -> None:
    assert TorchEmbedder(new_network(TINY), Preprocessing(size=64)).id == embedder.id
    assert TorchEmbedder(new_network(TINY, seed=1), Preprocessing(size=64)).id != embedder.id
    assert TorchEmbedder(new_network(TINY), Preprocessing(size=96)).id != embedder.id


def test_changed_weights_are_detected(embedder: TorchEmbedder, tmp_path: Path) -> None:
    embedder.save(tmp_path, export=False)
    changed = TorchEmbedder(new_network(TINY, seed=1), Preprocessing(size=64))
    changed.save(tmp_path / "other", export=False)
    other = (tmp_path / "other" / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(other)
    with pytest.raises(ModelError, match=r"not those of embedder\.json"):
        load_embedder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(other[:100])
    with pytest.raises(ModelError, match="damaged embedder folder"):
        load_embedder(tmp_path)
    with pytest.raises(DataError, match="no embedder in this folder"):
        load_embedder(tmp_path / "nowhere")


def viewed(views: Views | None) -> TorchEmbedder:
    return TorchEmbedder(new_network(TINY), Preprocessing(size=64), device="cpu", views=views)


def test_a_single_view_has_the_same_id_and_rows_as_no_views(embedder: TorchEmbedder) -> None:
    """Galleries made before there were views remain usable."""
    plain = viewed(Views())
    assert plain.id == embedder.id
    assert np.array_equal(plain(IMAGES), embedder(IMAGES))
    sizes = (1.0, 1.5)
    kinds = (None, Views(flip=True), Views(scales=sizes), Views(scales=(1.5,)),
             Views(scales=sizes, flip=True))  # fmt: skip
    ids = {viewed(views).id for views in kinds}
    assert len(ids) == 5


def test_the_id_without_views_is_unchanged(embedder: TorchEmbedder) -> None:
    """Computed independently, without views."""
    preprocessing = to_json(Preprocessing(size=64))
    description = {"architecture": to_json(TINY), "preprocessing": preprocessing}
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for key, value in sorted(embedder.net.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    assert embedder.id == f"test_resnet-{digest.hexdigest()[:12]}"


@pytest.mark.slow
def test_multi_view_vectors_are_the_normalized_sum_of_single_views() -> None:
    """Each view by its own embedder; photos are mirrored before preprocessing."""
    scales = (0.5, 1.0, 1.5)
    squash = [Preprocessing(size=round(64 * s), fit="squash") for s in scales]
    alone = [TorchEmbedder(new_network(TINY), view, device="cpu") for view in squash]
    for flip in (False, True):
        views = Views(scales=scales, flip=flip)
        made = TorchEmbedder(new_network(TINY), Preprocessing(size=64, fit="squash"),
                           device="cpu", views=views)  # fmt: skip
        expected = np.zeros((len(IMAGES), 8))
        for one in alone:
            expected += one(IMAGES)
            if flip:
                expected += one([np.ascontiguousarray(image[:, ::-1]) for image in IMAGES])
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        # Resizing a mirror image rounds some pixels differently.
        assert made(IMAGES) == pytest.approx(expected, abs=5e-3 if flip else 1e-5)
        assert np.linalg.norm(made(IMAGES), axis=1) == pytest.approx(np.ones(4), abs=1e-5)
        assert made.short_side == 144  # enough for the largest view
        assert made([]).shape == (0, 8)


def test_flip_views_make_mirrored_photos_equal() -> None:
    made = viewed(Views(flip=True))
    images = [picture(i, 0, (64, 64)) for i in range(3)]  # not resized
    mirrored = [np.ascontiguousarray(image[:, ::-1]) for image in images]
    assert made(images) == pytest.approx(made(mirrored), abs=1e-5)
    plain = viewed(None)
    assert np.abs(plain(images) - plain(mirrored)).max() > 1e-4


def test_an_embedder_with_views_loads_unchanged(embedder: TorchEmbedder, tmp_path: Path) -> None:
    views = Views(scales=(1.0, 1.5), flip=True)
    made = viewed(views)
    made.save(tmp_path, export=False)
    opened = load_embedder(tmp_path, device="cpu")
    assert isinstance(opened, TorchEmbedder)
    assert opened.views == views
    assert opened.id == made.id
    assert np.array_equal(opened(IMAGES), made(IMAGES))
    record = json.loads((tmp_path / "embedder.json").read_text())
    (tmp_path / "embedder.json").write_text(json.dumps({**record, "views": {"flip": False}}))
    with pytest.raises(ModelError, match=r"not those of embedder\.json"):
        load_embedder(tmp_path)
    (tmp_path / "embedder.json").write_text(json.dumps({**record, "views": {"scale": [1.0]}}))
    with pytest.raises(ModelError, match="damaged embedder folder") as refused:
        load_embedder(tmp_path)
    assert "scales" in str(refused.value)
    # An embedder without views does not record them.
    embedder.save(tmp_path / "plain", export=False)
    assert "views" not in json.loads((tmp_path / "plain" / "embedder.json").read_text())


def test_a_very_small_view_still_works() -> None:
    assert viewed(Views(scales=(0.25, 1.0)))(IMAGES).shape == (4, 8)


@pytest.mark.parametrize("scales", [(), (0.05,), (5.0,), (1.0,) * 10])
def test_views_out_of_range_are_refused(scales: tuple[float, ...]) -> None:
    with pytest.raises(
        OptionError,
        match=r"scales .* given; expected (1 to 9 numbers|a list, each a number, 0\.1 to 4)",
    ):
        Views(scales=scales)


def test_a_backbone_from_a_local_checkpoint(tmp_path: Path) -> None:
    """The file has a classifier of 1,000 classes, like published weights, which is ignored."""
    published = timm.create_model("test_resnet", num_classes=1000)
    path = tmp_path / "published.safetensors"
    safetensors.torch.save_file(published.state_dict(), path)
    options = PretrainedOptions(checkpoint=str(path), size=64, mean=(0.5,) * 3, std=(0.5,) * 3)
    made = pretrained_embedder("timm:test_resnet", options, device="cpu")
    pixels = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        features = published.eval().forward_features(pixels).mean((2, 3))
        expected = torch.nn.functional.normalize(features, dim=1)
        # Average pooling is what the classifier saw.
        assert torch.allclose(made.net.eval()(pixels), expected, atol=1e-5)
    with pytest.raises(ModelError, match="not the weights of 'test_vit'"):
        pretrained_embedder("timm:test_vit", options)
    with pytest.raises(ModelError, match="no such checkpoint file"):
        pretrained_embedder(
            "timm:test_resnet", PretrainedOptions(checkpoint=str(tmp_path / "no.pth"))
        )
    path.write_bytes(b"broken")
    with pytest.raises(ModelError, match="not readable as weights"):
        pretrained_embedder("timm:test_resnet", options)


def test_pickled_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "owned",))

    torch.save({"state_dict": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ModelError, match="not readable as weights"):
        pretrained_embedder(
            "timm:test_resnet", PretrainedOptions(checkpoint=str(tmp_path / "evil.pth"))
        )
    assert not (tmp_path / "owned").exists()


def test_unknown_backbone_names_suggest_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="did you mean 'resnet50'"):
        load_embedder("timm:resnett50")
    with pytest.raises(OptionError, match="expected timm:NAME"):
        pretrained_embedder("resnet50", PretrainedOptions())
    with pytest.raises(ModelError, match="cannot be built"):
        pretrained_embedder(
            "timm:test_resnet", PretrainedOptions(checkpoint="x", options={"no": 1})
        )


def test_an_unreachable_model_hub_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("We couldn't connect")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        ModelError, match="connect, or give a local file: --checkpoint FILE of `embedder`"
    ):
        load_embedder("timm:test_resnet")


def test_the_device_option_is_checked(embedder: TorchEmbedder, tmp_path: Path) -> None:
    embedder.save(tmp_path, export=False)
    with pytest.raises(OptionError, match="expected auto, cpu or cuda"):
        load_embedder(tmp_path, device="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(OptionError, match="sees no GPU"):
            load_embedder(tmp_path, device="cuda")


def test_options_from_the_command_line() -> None:
    given = ["pad_type=same", "drop_rate=0.1", "channels=[8, 16]", "name=a=b"]
    assert parse_options(given) == {
        "pad_type": "same", "drop_rate": 0.1, "channels": [8, 16], "name": "a=b",
    }  # fmt: skip
    with pytest.raises(OptionError, match="expected KEY=VALUE"):
        parse_options(["pad_type"])


def test_without_torch_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(OptionError, match=r"pip install '[^']*\[train\]'"):
        load.require_torch()
