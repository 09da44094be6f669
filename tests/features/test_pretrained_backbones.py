"""Backbones of every kind: their own vectors, sizes, checkpoints, names; what does not suit them.

Random weights and few layers: the shapes and the errors are those of the published models.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from torch import nn

from tests.support.photos import picture
from whichlandmark.core.errors import ModelError, OptionError
from whichlandmark.core.json_options import from_json
from whichlandmark.features.embedders.load import (
    PretrainedOptions,
    load_embedder,
    load_onnx,
    load_torch,
    make_embedder,
    pretrained_embedder,
)
from whichlandmark.features.embedders.torch_embedder import TorchEmbedder
from whichlandmark.features.embedders.torch_network import Architecture, pretrained_network
from whichlandmark.features.embedders.torch_pretrained import imagenet_classifier

SMALL = {"depth": 1, "embed_dim": 32, "num_heads": 2}

DINOV2 = "vit_small_patch14_dinov2"

# name → options that make it small, pooling, fit, and the multiple of a side
KINDS: dict[str, tuple[dict[str, Any], str, str, int]] = {
    "test_resnet": ({}, "gem", "keep", 32),
    "regnety_002": ({}, "gem", "keep", 32),
    "mobilenetv3_small_050": ({}, "model", "keep", 32),
    "test_efficientnet": ({}, "gem", "keep", 32),
    "test_convnext": ({}, "model", "keep", 32),
    "swin_tiny_patch4_window7_224": (
        {"depths": [1, 1, 1, 1], "embed_dim": 16, "num_heads": [1, 1, 1, 1]}, "gem", "pad", 32,
    ),
    "beit_base_patch16_224": (SMALL, "model", "squash", 16),
    DINOV2: (SMALL, "model", "pad", 14),
    "vit_small_patch16_dinov3": (SMALL, "cls", "pad", 16),
    "vit_base_patch16_siglip_224": (SMALL, "model", "pad", 16),
    "vit_pe_core_tiny_patch16_384": (SMALL, "model", "pad", 16),
    "vit_base_patch32_clip_224": (SMALL, "model", "pad", 32),
    "deit3_small_patch16_224": (SMALL, "model", "pad", 16),
    "xcit_nano_12_p16_224": (SMALL, "model", "pad", 16),
    "test_maxvit": ({}, "gem", "squash", 32),
}  # fmt: skip


def published(name: str, path: Path, classes: int = 0, **options: Any) -> tuple[nn.Module, Path]:
    """A model of timm with random weights, and the file that it is saved in."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=classes, **options).eval()
    for parameter in model.parameters():  # published weights are not zeros and ones
        parameter.data += 0.02 * torch.randn_like(parameter)
    file = path / f"{name}.safetensors"
    safetensors.torch.save_file(
        {key: value.contiguous() for key, value in model.state_dict().items()}, file
    )
    return model, file


def opened(name: str, file: Path, **options: Any) -> TorchEmbedder:
    return pretrained_embedder(
        f"timm:{name}", PretrainedOptions(checkpoint=str(file), **options), device="cpu"
    )


@pytest.mark.parametrize("name", KINDS)
def test_vectors_are_those_of_the_model_itself(name: str, tmp_path: Path) -> None:
    options, pool, fit, multiple = KINDS[name]
    _, file = published(name, tmp_path, **options)
    free = fit != "squash"
    made = opened(name, file, options=options, size=160 if free else None)
    assert (made.net.architecture.pool, made.preprocessing.fit) == (pool, fit)
    assert made.preprocessing.multiple == multiple
    own_options = dict(made.net.architecture.options)
    if pool == "cls":  # its makers' choice; timm's default is the mean
        own_options["global_pool"] = "token"
    plain = timm.create_model(name, num_classes=0, **own_options).eval()
    plain.load_state_dict(safetensors.torch.load_file(file))
    for shape in ((480, 640), (600, 3000)):
        photo = picture(3, 1, shape)
        (batch,) = made.input_pipeline.batches([photo])
        assert batch.shape[2] < batch.shape[3] or not free
        assert not any(side % multiple for side in batch.shape[2:])
        with torch.inference_mode():
            own = plain(torch.from_numpy(batch)).numpy()[0]
        cosine = float(made([photo])[0] @ own / np.linalg.norm(own))
        assert cosine >= 0.9999


def test_usual_sizes_are_those_of_the_benchmark(tmp_path: Path) -> None:
    sizes = {
        DINOV2: 728, "vit_small_patch16_dinov3": 768, "vit_base_patch16_siglip_512": 720,
        "vit_pe_core_tiny_patch16_384": 512, "deit3_small_patch16_224": 384,
    }  # fmt: skip
    for name, size in sizes.items():
        _, file = published(name, tmp_path, **SMALL)
        made = opened(name, file, options=SMALL)
        assert made.preprocessing.size == size
        assert made.preprocessing.interpolation == "bicubic"
    _, file = published("test_resnet", tmp_path)
    made = opened("test_resnet", file)
    assert made.preprocessing.size == 160  # its trained size, as before
    assert "interpolation" not in made.input_pipeline.settings()["preprocessing"]


def test_pooling_by_choice(tmp_path: Path) -> None:
    name = "beit_base_patch16_224"  # its own head is the mean, then a norm
    _, file = published(name, tmp_path, **SMALL)
    photo = picture(3, 1, (224, 224))
    rows = {}
    for pool in ("cls", "mean", "model"):
        made = opened(name, file, options=SMALL, pool=pool)
        rows[pool] = made([photo])[0]
    (batch,) = made.input_pipeline.batches([photo])
    with torch.inference_mode():
        tokens = made.net.backbone.forward_features(torch.from_numpy(batch))[0]  # type: ignore[operator]
    for pool, own in (("cls", tokens[0]), ("mean", tokens[1:].mean(dim=0))):
        assert rows[pool] == pytest.approx((own / own.norm()).numpy(), abs=1e-5)
    assert len({tuple(row.round(3)) for row in rows.values()}) == 3


def test_pooling_that_does_not_suit_is_refused(tmp_path: Path) -> None:
    files = {
        name: published(name, tmp_path)[1] for name in ("test_vit", "test_convnext", "test_resnet")
    }
    with pytest.raises(OptionError, match="features are tokens"):
        opened("test_vit", files["test_vit"], gem_p=3.0)
    with pytest.raises(OptionError, match="can be negative"):
        opened("test_convnext", files["test_convnext"], pool="gem")
    assert opened("test_resnet", files["test_resnet"], pool="gem").net.architecture.gem_p == 3
    with pytest.raises(OptionError, match="no class token"):
        opened("test_resnet", files["test_resnet"], pool="cls")
    with pytest.raises(OptionError, match="expected one of them"):
        opened("test_resnet", files["test_resnet"], pool="mean", gem_p=3.0)


def test_choices_are_listed_when_none_of_them_is_given() -> None:
    with pytest.raises(OptionError, match="expected one of 'model', 'cls', 'mean', 'gem'"):
        from_json(PretrainedOptions, {"pool": "average"})


def test_a_fixed_size_is_squashed_to_with_a_notice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, file = published("beit_base_patch16_224", tmp_path, **SMALL)
    with caplog.at_level(logging.WARNING, logger="whichlandmark"):
        opened("beit_base_patch16_224", file, options=SMALL)
    (notice,) = caplog.records
    assert "photos of 224 × 224 pixels only: photos are squashed" in notice.getMessage()
    for options, advice in (
        ({"fit": "keep"}, "use --fit squash"),
        ({"size": 384}, "--option img_size=384"),
        ({"scales": (0.71, 1.0)}, "leave them out"),
    ):
        with pytest.raises(OptionError, match=advice):
            opened("beit_base_patch16_224", file, options=SMALL, **options)
    larger = opened("beit_base_patch16_224", file, options=SMALL | {"img_size": 256})
    assert larger.preprocessing.size == 256  # timm resamples the positions of the file


def test_several_scales_are_multiples_of_the_patch(tmp_path: Path) -> None:
    _, file = published(DINOV2, tmp_path, **SMALL)
    for fit in ("pad", "keep", "squash", "crop"):
        made = opened(DINOV2, file, options=SMALL, size=140, fit=fit, scales=(0.71, 1.0, 1.42))
        batches = made.input_pipeline.batches([picture(1, 1, (90, 160))])
        assert [batch.shape[3] for batch in batches] == [98, 140, 196]
        assert not any(side % 14 for batch in batches for side in batch.shape[2:])
        assert np.linalg.norm(made([picture(1, 1, (90, 160))])) == pytest.approx(1, abs=1e-5)


def test_the_size_of_ilias_is_not_rounded(tmp_path: Path) -> None:
    _, file = published(DINOV2, tmp_path, **SMALL)
    made = opened(DINOV2, file, options=SMALL, size=141, fit="pad-center")
    assert made.preprocessing.size == 141
    assert made.input_pipeline.batches([picture(1, 1, (90, 160))])[0].shape[2:] == (84, 154)
    assert np.linalg.norm(made([picture(1, 1, (90, 160))])) == pytest.approx(1, abs=1e-5)


def test_a_backbone_that_fails_writes_no_folder(tmp_path: Path) -> None:
    """Its features are two lists of tokens, which have no mean."""
    _, file = published("crossvit_9_240", tmp_path)
    options = PretrainedOptions(checkpoint=str(file), pool="mean")
    with pytest.raises(ModelError, match=r"cannot embed a photo of 640 × 480.*another --pool"):
        make_embedder("timm:crossvit_9_240", options, tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_onnx_of_any_and_of_one_size_without_torch(tmp_path: Path) -> None:
    photos = [picture(1, 1, (48, 64)), picture(2, 1, (90, 30))]
    for name in ("test_vit3", "beit_base_patch16_224"):
        options = SMALL if name.startswith("beit") else {}
        _, file = published(name, tmp_path, **options)
        size = None if options else 96
        given = PretrainedOptions(checkpoint=str(file), options=options, size=size)
        summary = make_embedder(f"timm:{name}", given, tmp_path / name)
        assert (summary["file"], summary["pool"]) == ("model.onnx", "model")
        rows = load_onnx(tmp_path / name, runtime="onnxruntime")(photos)
        again = load_torch(tmp_path / name, device="cpu")
        assert np.abs(again(photos) - rows).max() <= 1e-4


def test_a_file_for_another_image_size_and_with_leftovers(tmp_path: Path) -> None:
    model, file = published(DINOV2, tmp_path, **SMALL, img_size=70)
    weights = safetensors.torch.load_file(file)
    extra = {
        "mask_token": torch.zeros(1, 32), "head.last_layer.weight": torch.zeros(2, 2),
        "head.weight": torch.zeros(10, 32), "logit_scale": torch.zeros(1),
    }  # fmt: skip
    safetensors.torch.save_file(weights | extra, file)
    made = opened(DINOV2, file, options=SMALL, size=70)
    assert made.net.backbone.pos_embed.shape[1] == 1 + 37 * 37  # type: ignore[union-attr,index]
    assert torch.equal(made.net.backbone.cls_token, model.cls_token)  # type: ignore[arg-type]
    safetensors.torch.save_file(weights | {"stranger.weight": torch.zeros(1)}, file)
    with pytest.raises(ModelError, match=r"0 layers missing, 1 that do not fit.*stranger"):
        opened(DINOV2, file, options=SMALL)
    del weights["norm.weight"]
    safetensors.torch.save_file(weights, file)
    with pytest.raises(ModelError, match=r"1 layers missing.*norm\.weight"):
        opened(DINOV2, file, options=SMALL)


def test_the_makers_own_file_of_dinov2(tmp_path: Path) -> None:
    """It names registers otherwise, holds a mask token, and a position of the class token."""
    name = "vit_small_patch14_reg4_dinov2"
    model, _ = published(name, tmp_path, **SMALL, img_size=70)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    of_class = torch.full((1, 1, 32), 0.5)
    meta = {key: value for key, value in weights.items() if key not in ("reg_token", "cls_token")}
    meta |= {
        "register_tokens": weights["reg_token"], "mask_token": torch.zeros(1, 32),
        "cls_token": weights["cls_token"] - of_class,
        "pos_embed": torch.cat([of_class, weights["pos_embed"]], dim=1),
    }  # fmt: skip
    torch.save(meta, tmp_path / "dinov2_vits14_reg4_pretrain.pth")
    options = SMALL | {"img_size": 70}
    made = opened(name, tmp_path / "dinov2_vits14_reg4_pretrain.pth", options=options, size=70)
    own = made.net.backbone.state_dict()
    for key, value in weights.items():
        assert torch.allclose(own[key], value, atol=1e-6), key


def test_a_local_folder_of_the_hubs_layout(tmp_path: Path) -> None:
    model, _ = published("test_vit3", tmp_path, img_size=96)
    model.pretrained_cfg = {  # type: ignore[assignment]
        **model.pretrained_cfg, "input_size": (3, 96, 96), "mean": (0.1, 0.2, 0.3),  # type: ignore[dict-item]
    }  # fmt: skip
    timm.models.save_for_hf(model, tmp_path / "mine", safe_serialization=True)
    made = pretrained_embedder(f"timm:local-dir:{tmp_path / 'mine'}", PretrainedOptions())
    assert made.name == "test_vit3"
    assert made.preprocessing.mean == (0.1, 0.2, 0.3)
    assert torch.equal(made.net.backbone.pos_embed, model.pos_embed)  # type: ignore[arg-type]
    made.save(tmp_path / "e", export=False)
    assert load_embedder(tmp_path / "e").id == made.id  # without the folder it came from
    (tmp_path / "mine" / "model.safetensors").unlink()
    for folder, message in (("mine", "no weights in this folder"), ("no", "no config.json")):
        with pytest.raises(ModelError, match=message):
            pretrained_embedder(f"timm:local-dir:{tmp_path / folder}", PretrainedOptions())
    (tmp_path / "mine" / "config.json").write_text("[]")
    with pytest.raises(ModelError, match=r"config\.json is not one of timm"):
        pretrained_embedder(f"timm:local-dir:{tmp_path / 'mine'}", PretrainedOptions())


@pytest.mark.parametrize("name", ["hf-hub:me/mine", "hf_hub:me/mine"])
def test_a_model_of_the_hub(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's client is replaced: what it would download lies in a folder."""
    model, _ = published("test_vit3", tmp_path)
    timm.models.save_for_hf(model, tmp_path / "me" / "mine", safe_serialization=True)

    def download(repo_id: str, filename: str, **_: object) -> str:
        return str(tmp_path / repo_id / filename)

    monkeypatch.setattr("timm.models._hub.hf_hub_download", download)
    made = pretrained_embedder(f"timm:{name}", PretrainedOptions(size=96), device="cpu")
    assert made.name == "test_vit3"
    assert torch.equal(made.net.backbone.norm.weight, model.norm.weight)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["resnet50", "hf-hub:owner/name"])
def test_without_the_hub_one_line_at_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    started = time.monotonic()
    with pytest.raises(ModelError, match=r"it does not answer.*; connect, or give") as refused:
        load_embedder(f"timm:{name}")
    assert "\n" not in str(refused.value)
    assert time.monotonic() - started < 10
    assert not caplog.records
    assert not constants.HF_HUB_OFFLINE  # as before


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("resnett50", "did you mean 'resnet50', "),
        ("vit_small_patch14_dinov2.lvd", "did you mean 'vit_small_patch14_dinov2.lvd142m'"),
        ("qqqq", "did you mean "),
        ("facebook/dinov2", "expected hf-hub:facebook/dinov2"),
        ("nowhere:x", "expected a name of timm, hf-hub:OWNER/NAME or local-dir:PATH"),
    ],
)
def test_wrong_names_get_the_nearest(name: str, near: str) -> None:
    with pytest.raises(ModelError) as refused:
        load_embedder(f"timm:{name}")
    assert near in str(refused.value)
    assert len(str(refused.value)) < 300


def test_the_imagenet_classifier_of_pooled_features(tmp_path: Path) -> None:
    for name in ("test_resnet", "test_vit", "test_convnext"):
        model, file = published(name, tmp_path, classes=1000)
        made = opened(name, file)
        found = imagenet_classifier(made.net.architecture, checkpoint=file)
        assert found is not None
        side = timm.get_pretrained_cfg(name).input_size[1]
        pixels = torch.rand(2, 3, side, side)
        with torch.inference_mode():
            logits = made.net.pool_features(pixels) @ found[0].T + found[1]
            assert torch.allclose(logits, model(pixels), atol=1e-4)
    # The classifier of this one was trained on the class token.
    averaged = Architecture(backbone="test_vit", dim=None, gem_p=1.0)
    _, file = published("test_vit", tmp_path, classes=1000)
    assert imagenet_classifier(averaged, checkpoint=file) is None
    _, file = published("test_vit", tmp_path)  # without classifier
    token = Architecture(backbone="test_vit", dim=None, gem_p=1.0, pool="model")
    assert imagenet_classifier(token, checkpoint=file) is None


def test_a_trained_head_may_follow_any_pooling(tmp_path: Path) -> None:
    _, file = published("test_vit3", tmp_path)
    architecture = Architecture(backbone="test_vit3", dim=8, gem_p=1.0, pool="model")
    net = pretrained_network(architecture, checkpoint=file, any_size=True).train()
    rows = net(torch.rand(2, 3, 96, 64))
    rows.sum().backward()
    assert rows.shape == (2, 8)
    assert net.architecture.options == {"dynamic_img_size": True}
