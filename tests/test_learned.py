"""The learned matcher runs for real, on weights drawn by chance: shape, files, refusals."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from kornia.feature import ALIKED, DISK, LightGlue

from test_verification import building
from whichlandmark.errors import ModelError, OptionError
from whichlandmark.verification import Matching
from whichlandmark.verification.learned import FILES, Learned, LearnedMatcher

SMALL = Matching(size=192, features=128)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights under the published names, and in the published layouts."""
    at = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    glue = LightGlue(features=None, input_dim=128)
    # Published files say "self_attn.0.…" where kornia says "transformers.0.self_attn.…".
    stored = {}
    for key, value in glue.state_dict().items():
        part = key.split(".")
        if part[0] == "transformers":
            key = ".".join([part[2], part[1], *part[3:]])
        stored[key] = value
    assert any(key.startswith("self_attn.0.") for key in stored)
    torch.save({"extractor": DISK().state_dict()}, at / FILES["disk"][0])
    torch.save(ALIKED("aliked-n16").state_dict(), at / FILES["aliked"][0])
    for name in FILES:
        torch.save(stored, at / FILES[name][1])
    return at


@pytest.mark.parametrize("features", ["disk", "aliked"])
def test_it_runs_on_a_folder_of_weights(folder: Path, features: str) -> None:
    matcher = LearnedMatcher(Learned(features=features, weights=folder), SMALL)  # type: ignore[arg-type]
    image, other = building(1), building(2)[:300]
    first, again = (matcher.verify(image, other) for _ in range(2))
    assert first.query_points.shape == first.gallery_points.shape == (first.inliers, 2)
    assert np.array_equal(first.query_points, again.query_points)
    for points, (height, width) in (
        (first.query_points, (384, 512)),
        (first.gallery_points, (300, 512)),
    ):
        assert ((points >= -1) & (points <= [width, height])).all()
    points, scale, given = matcher._look(image)
    assert scale == 0.375
    assert 0 < len(points) <= SMALL.features
    assert given["descriptors"].shape == (1, len(points), 128)
    assert points.min() >= -0.5
    assert (points <= [511.5, 383.5]).all()


def test_its_matches_become_inliers_of_one_homography(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random networks match nothing; a matcher that pairs equal rows shows the rest is right."""
    matcher = LearnedMatcher(Learned(weights=folder), SMALL)
    rows = torch.arange(SMALL.features)

    def pair(data: dict[str, dict[str, torch.Tensor]]) -> dict[str, list[torch.Tensor]]:
        count = min(data[name]["keypoints"].shape[1] for name in ("image0", "image1"))
        return {"matches": [torch.stack([rows[:count]] * 2, dim=1)]}

    monkeypatch.setattr(matcher, "_glue", pair)
    image = building(1)
    found = matcher.verify(image, image)
    assert found.inliers > 20
    assert np.array_equal(found.query_points, found.gallery_points)
    assert found.homography is not None
    assert found.homography / found.homography[2, 2] == pytest.approx(np.eye(3), abs=1e-3)


def test_nothing_is_downloaded_unless_asked() -> None:
    with pytest.raises(ModelError, match=r"depth-save\.pth and disk_lightglue\.pth.*download=True"):
        Learned()


def test_offline_it_says_what_to_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network here")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("time.sleep", lambda _: None)  # kornia waits between its tries
    with pytest.raises(ModelError, match=r"could not be fetched.*give their folder"):
        LearnedMatcher(Learned(download=True), SMALL)


def test_unfit_weights_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"disk_lightglue\.pth: no such file"):
        LearnedMatcher(Learned(weights=tmp_path), SMALL)
    for name in FILES["disk"]:
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    detector, glue = (tmp_path / name for name in FILES["disk"])
    detector.write_bytes((folder / FILES["aliked"][0]).read_bytes())
    with pytest.raises(ModelError, match=r"depth-save\.pth: made for another network"):
        LearnedMatcher(Learned(weights=tmp_path), SMALL)
    glue.write_bytes(glue.read_bytes()[:1000])
    with pytest.raises(ModelError, match="not readable as weights"):
        LearnedMatcher(Learned(weights=tmp_path), SMALL)
    torch.save([1, 2], glue)
    with pytest.raises(ModelError, match="holds list; expected named tensors"):
        LearnedMatcher(Learned(weights=tmp_path), SMALL)
    torch.save({"x": torch.zeros(3)}, glue)
    with pytest.raises(ModelError, match="made for another network; it lacks"):
        LearnedMatcher(Learned(weights=tmp_path), SMALL)


def test_without_kornia_it_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "kornia.feature", None)
    with pytest.raises(ModelError, match=r"pip install 'whichlandmark\[match\]'"):
        LearnedMatcher(Learned(weights=folder), SMALL)


def test_other_features_are_refused() -> None:
    with pytest.raises(OptionError, match="'sift' given; expected one of disk, aliked"):
        Learned(features="sift", download=True)  # type: ignore[arg-type]
