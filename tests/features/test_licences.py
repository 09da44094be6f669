"""The licence of weights: recorded where the embedder is made, carried on, said when it matters."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm

from tests.support.photos import photos_of
from whichlandmark.core.files import write_json
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.features.embedders.load import (
    PretrainedOptions,
    embedder_summary,
    load_embedder,
    pretrained_embedder,
)
from whichlandmark.features.embedders.record import is_non_commercial, licence_of, read_record
from whichlandmark.features.embedders.torch_embedder import TorchEmbedder
from whichlandmark.recognition.indexing.index_photos import IndexOptions, index_photos
from whichlandmark.recognition.rules import Rules


@pytest.mark.parametrize(
    ("licence", "forbids"),
    [
        ("cc-by-nc-4.0", True),
        ("CC BY-NC-SA 4.0", True),
        ("fair-noncommercial-research-license", True),
        ("Non-Commercial use only", True),
        ("apple-amlr", True),
        ("apple-ascl", False),
        ("apache-2.0", False),
        ("dinov3-license", False),
        ("cc-by-sa-4.0", False),
        ("unknown", False),
        ("", False),
    ],
)
def test_licences_that_forbid_commercial_use(licence: str, forbids: bool) -> None:
    assert is_non_commercial(licence) == forbids


def test_timms_licence_is_recorded_and_no_part_of_the_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """timm says cc-by-nc-4.0 of ConvNeXt V2; a local file proves nothing."""
    create = timm.create_model
    monkeypatch.setattr(
        timm, "create_model", lambda *a, **k: create(*a, **k | {"pretrained": False})
    )
    name = "timm:convnextv2_atto"
    made = pretrained_embedder(name, PretrainedOptions(), device="cpu")
    assert made.licence == "cc-by-nc-4.0"
    made.save(tmp_path / "e", export=False)
    assert read_record(tmp_path / "e")["licence"] == "cc-by-nc-4.0"
    assert embedder_summary(tmp_path / "e")["licence"] == "cc-by-nc-4.0"
    opened = load_embedder(tmp_path / "e", device="cpu")
    assert isinstance(opened, TorchEmbedder)
    assert (opened.licence, opened.id) == ("cc-by-nc-4.0", made.id)
    weights = {key: value.contiguous() for key, value in made.net.backbone.state_dict().items()}
    safetensors.torch.save_file(weights, tmp_path / "w.safetensors")
    local: dict[str, Any] = {"checkpoint": str(tmp_path / "w.safetensors")}
    from_file = pretrained_embedder(name, PretrainedOptions(**local), device="cpu")
    assert from_file.licence == "unknown (the file does not say)"
    assert from_file.id == made.id
    told = PretrainedOptions(**local, licence="MIT")
    assert pretrained_embedder(name, told, device="cpu").licence == "MIT"


def test_it_is_said_once_when_photos_are_indexed(
    colour_world: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Restricted(HistogramEmbedder):
        def save(self, folder: Path, /) -> None:
            super().save(folder)
            write_json(folder / "embedder.json", {"kind": "x", "licence": "cc-by-nc-4.0"})

    with caplog.at_level(logging.WARNING):
        index_photos(
            photos_of(colour_world / "gallery"), None, colour_world / "r.wl", Restricted(),
            IndexOptions(rules=Rules(verify=0)), progress=lambda name: lambda done, total: None,
        )  # fmt: skip
    assert caplog.text.count("the licence of its weights, cc-by-nc-4.0, forbids") == 1


def test_folders_that_say_nothing(tmp_path: Path) -> None:
    assert licence_of(tmp_path) == "unknown"
    write_json(tmp_path / "embedder.json", {"kind": "timm"})
    assert licence_of(tmp_path) == "unknown"
    write_json(tmp_path / "embedder.json", {"kind": "sift"})
    assert licence_of(tmp_path) == "none needed (no trained weights)"
