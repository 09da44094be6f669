"""The Places365 indoor/outdoor vote, with small networks saved like the authors' checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from tests.support.photos import picture
from whichlandmark.core.errors import DataError, ModelError, OptionError, WhichLandmarkError
from whichlandmark.data.cleaning.places365 import CHECKPOINT, OUTDOORS, SCENES, Places365

NAMES = ["/a/airfield", "/a/alley", "/a/apartment_building/outdoor", "/b/bedroom", "/b/bridge",
         "/c/castle", "/c/cafeteria", "/l/lobby", "/m/museum/indoor", "/t/tower"]  # fmt: skip
OUTDOOR = ["airfield", "alley", "apartment_building/outdoor", "bridge", "castle", "tower"]


def network(arch: str = "test_resnet", seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    net = timm.create_model(arch, num_classes=len(NAMES)).eval()
    last = net.get_classifier()
    torch.nn.init.normal_(last.weight)  # so that scenes differ from photo to photo
    return net


def folder(tmp_path: Path, net: torch.nn.Module, **changes: Any) -> Path:
    """Write the three files as the authors' are: a DataParallel model, saved in 2017."""
    weights = {
        f"module.{key}": value for key, value in net.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }  # fmt: skip
    stored = {"epoch": 90, "arch": "test_resnet", "best_prec1": 54.6, "state_dict": weights}
    (tmp_path / SCENES).write_text("".join(f"{n} {i}\n" for i, n in enumerate(NAMES)))
    kinds = [2 if name[3:] in OUTDOOR else 1 for name in NAMES]
    lines = [f"{name} {kind}\n" for name, kind in zip(NAMES, kinds, strict=True)]
    (tmp_path / OUTDOORS).write_text("".join(lines))
    torch.save(stored | changes, tmp_path / CHECKPOINT, _use_new_zipfile_serialization=False)
    return tmp_path


def test_votes_match_a_hand_computation(tmp_path: Path) -> None:
    """Run each photo alone through the network and look up its five likeliest scenes."""
    net = network()
    voter = Places365.load(folder(tmp_path, net), device="cpu")
    sizes = [(300, 400), (400, 300), (256, 256), (300, 400), (90, 400)]
    photos = [picture(i, i, size) for i, size in enumerate(sizes)]
    prepared = [voter.prepare(photo) for photo in photos]
    assert [p.shape[:2] for p in prepared] == [
        (192, 256), (256, 192), (256, 256), (192, 256), (64, 256)
    ]  # fmt: skip
    votes = voter(prepared)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    for image, (outdoor, scenes) in zip(prepared, votes, strict=True):
        pixels = ((torch.tensor(image) / 255 - mean) / std).permute(2, 0, 1)[None]
        with torch.no_grad():
            ranked = net(pixels)[0].argsort(descending=True)[:5].tolist()
        names = [NAMES[scene][3:] for scene in ranked]
        assert scenes == ", ".join(names)
        assert outdoor == sum(name in OUTDOOR for name in names)
    assert len({scenes for _, scenes in votes}) > 1
    assert voter([]) == []


def test_a_photo_has_the_same_vote_in_any_batch(tmp_path: Path) -> None:
    voter = Places365.load(folder(tmp_path, network()), device="cpu", top=3)
    small = [voter.prepare(picture(i, i, (120, 160 + 40 * (i % 3)))) for i in range(9)]
    assert voter(small) == [vote for image in small for vote in voter([image])]
    assert all(len(scenes.split(", ")) == 3 for _, scenes in voter(small))


def test_the_voter_id_changes_with_everything_that_may_change_votes(tmp_path: Path) -> None:
    at = folder(tmp_path, network())
    ids = {Places365.load(at, top=top, device="cpu").id for top in (3, 5, 5)}
    ids.add(Places365.load(folder(tmp_path, network(seed=1)), device="cpu").id)
    text = (at / OUTDOORS).read_text()
    (at / OUTDOORS).write_text(text.replace("/c/castle 2", "/c/castle 1"))
    ids.add(Places365.load(at, device="cpu").id)
    assert len(ids) == 4


def test_other_architectures_and_the_newer_file_format_load(tmp_path: Path) -> None:
    at = folder(tmp_path, network())
    net = network("resnet18")
    weights = {f"module.{key}": value for key, value in net.state_dict().items()}
    (at / CHECKPOINT).unlink()
    torch.save({"arch": "resnet18", "state_dict": weights}, at / "resnet18_places365.pth.tar")
    voter = Places365.load(at, device="cpu")
    assert voter.id.startswith("resnet18-")
    assert torch.equal(voter.net.get_classifier().weight, net.get_classifier().weight)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def edit(name: str, old: str, new: str) -> Any:
    def change(at: Path) -> None:
        text = (at / name).read_text()
        assert old in text
        (at / name).write_text(text.replace(old, new))

    return change


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (lambda at: (at / CHECKPOINT).unlink(), DataError, "is missing"),
        (lambda at: (at / SCENES).unlink(), DataError, "no such file; expected a folder with"),
        (lambda at: (at / OUTDOORS).unlink(), DataError, f"{OUTDOORS}: no such file"),
        (lambda at: cut(at / CHECKPOINT), ModelError, "not readable as a checkpoint"),
        (lambda at: torch.save({"arch": "test_resnet"}, at / CHECKPOINT), ModelError,
         "expected a dict with 'arch' and 'state_dict'"),
        (lambda at: torch.save([1, 2], at / CHECKPOINT), ModelError, "expected a dict"),
        (lambda at: folder(at, network(), arch="resnet50"), ModelError,
         "not the weights of 'resnet50'"),
        (lambda at: folder(at, network("resnet18")), ModelError, "not the weights of .test_r"),
        (lambda at: folder(at, network(), arch="resnet51"), ModelError, "which timm does not have"),
        (lambda at: folder(at, network(), state_dict={"module.x": 3}), ModelError, "not a tensor"),
        (edit(SCENES, "/t/tower 9\n", ""), DataError, "'tower' is in only one"),
        (edit(SCENES, "/t/tower 9", "/t/tower 8"), DataError, "not numbered from 0 to 9"),
        (edit(SCENES, "/t/tower 9", "tower"), DataError, f"{SCENES}, line 10"),
        (edit(OUTDOORS, "/t/tower 2", "/t/tower 3"), DataError, "'tower' is 3; expected 1"),
        (edit(OUTDOORS, "/t/tower 2", "/t/towers 2"), DataError, "the pair of one release"),
        (edit(OUTDOORS, "/t/tower 2", "/b/bridge 2"), DataError, "'bridge' occurs twice"),
        (lambda at: (at / OUTDOORS).write_text("\n"), DataError, "the list is empty"),
    ],
)  # fmt: skip
def test_unfit_checkpoints_are_named_in_the_error(
    tmp_path: Path, fault: Any, error: type[WhichLandmarkError], message: str
) -> None:
    at = folder(tmp_path, network())
    fault(at)
    with pytest.raises(error, match=message) as caught:
        Places365.load(at, device="cpu")
    assert str(at) in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_scene_list_of_another_checkpoint_is_refused(tmp_path: Path) -> None:
    at = folder(tmp_path, network())
    for name in (SCENES, OUTDOORS):
        lines = (at / name).read_text().splitlines()
        (at / name).write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(ModelError, match="has 10 classes, but categories"):
        Places365.load(at, device="cpu")


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "owned",))

    at = folder(tmp_path, network())
    torch.save({"arch": "test_resnet", "state_dict": {}, "x": Hostile()}, at / CHECKPOINT)
    with pytest.raises(ModelError, match="not readable as a checkpoint"):
        Places365.load(at, device="cpu")
    assert not (tmp_path / "owned").exists()


def test_the_number_of_scenes_is_checked(tmp_path: Path) -> None:
    at = folder(tmp_path, network())
    for top in (0, 11):
        with pytest.raises(OptionError, match="expected 1 to 10 scenes"):
            Places365.load(at, top=top, device="cpu")
    with pytest.raises(DataError, match="no such folder"):
        Places365.load(at / "nowhere")


def test_votes_are_finite_for_unusual_photos(tmp_path: Path) -> None:
    voter = Places365.load(folder(tmp_path, network()), device="cpu")
    odd = [np.zeros((1, 900, 3), np.uint8), np.full((40, 30, 3), 255, np.uint8)]
    assert all(0 <= outdoor <= 5 for outdoor, _ in voter([voter.prepare(image) for image in odd]))
