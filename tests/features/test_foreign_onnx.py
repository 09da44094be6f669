"""ONNX files made elsewhere: each becomes an embedder folder, or one line says what is wrong."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support.photos import photos_of, picture
from whichlandmark.core.errors import ModelError, OptionError, WhichLandmarkError
from whichlandmark.features.embedders import doctor, foreign_onnx, runtimes
from whichlandmark.features.embedders.external_data import external_files
from whichlandmark.features.embedders.load import PretrainedOptions, load_embedder, make_embedder
from whichlandmark.features.embedders.onnx_embedder import OnnxEmbedder
from whichlandmark.features.embedders.record import read_record, write_record

SIZES = [(60, 80), (80, 60), (60, 80), (33, 200), (200, 97), (60, 80)]
IMAGES = [picture(i, 0, size) for i, size in enumerate(SIZES)]
FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
WEIGHTS = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)


def network(
    path: Path,
    *,
    shape: tuple[Any, ...] = ("n", 3, "h", "w"),
    kind: int = FLOAT,
    unit: bool = True,
    patch: int = 0,
    extra: tuple[str, ...] = (),
    scale: float = 1.0,
) -> Path:
    """Mean and maximum of each channel, then a linear layer: (n, 8); `extra` kinds of output.

    patch: sides must be multiples of it, as in a transformer. extra: "map" (n, 3, h, w), "other"
    (n, 6), "text" (an input of token numbers).
    """
    numbers = np.float16 if kind == HALF else np.float32
    channels = "pixels"
    nodes, stored = [], [numpy_helper.from_array((scale * WEIGHTS).astype(numbers), "weights")]
    if patch:  # (n, 3, h, w) → (n·3, p, p, …) fails unless h·w has whole patches, row by row
        nodes += [
            helper.make_node("SpaceToDepth", [channels], ["patches"], blocksize=patch),
            helper.make_node("DepthToSpace", ["patches"], ["joined"], blocksize=patch),
        ]
        channels = "joined"
    nodes += [
        helper.make_node("GlobalAveragePool", [channels], ["mean"]),
        helper.make_node("GlobalMaxPool", [channels], ["most"]),
        helper.make_node("Concat", ["mean", "most"], ["both"], axis=1),
        helper.make_node("Flatten", ["both"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["rows"]),
    ]
    name = "rows"
    if unit:
        nodes.append(helper.make_node("LpNormalization", ["rows"], ["unit"], axis=1, p=2))
        name = "unit"
    outputs = [helper.make_tensor_value_info(name, kind, [shape[0], 8])]
    if "map" in extra:
        nodes.append(helper.make_node("Relu", ["pixels"], ["map"]))
        outputs.insert(0, helper.make_tensor_value_info("map", kind, list(shape)))
    if "other" in extra:
        outputs.append(helper.make_tensor_value_info("flat", kind, [shape[0], 6]))
    inputs = [helper.make_tensor_value_info("pixels", kind, list(shape))]
    if "text" in extra:
        inputs.append(helper.make_tensor_value_info("tokens", TensorProto.INT64, ["n", 77]))
        nodes.append(helper.make_node("Shape", ["tokens"], ["length"]))
    graph = helper.make_graph(nodes, "g", inputs, outputs, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def made(path: Path, out: Path, **options: Any) -> dict[str, Any]:
    return make_embedder(f"onnx:{path}", PretrainedOptions(**options), out)


def opened(folder: Path, runtime: str = "onnxruntime") -> OnnxEmbedder:
    embedder = load_embedder(folder, runtime=runtime)
    assert isinstance(embedder, OnnxEmbedder)
    return embedder


def expected_rows(embedder: OnnxEmbedder) -> np.ndarray:
    """The network's arithmetic in NumPy, on the embedder's own pixels."""
    rows = []
    for image in IMAGES:
        pixels = embedder.preprocessing(image).astype(np.float64)
        row = np.concatenate([pixels.mean(axis=(1, 2)), pixels.max(axis=(1, 2))]) @ WEIGHTS
        rows.append(row / np.linalg.norm(row))
    return np.array(rows)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"unit": False},
        {"kind": HALF},
        {"shape": (1, 3, "h", "w")},
        {"shape": (4, 3, 224, 224)},
        {"shape": (1, 3, 96, 128)},
        {"extra": ("map",)},
        {"patch": 14},
    ],
    ids=str,
)
def test_a_network_gives_its_own_rows(tmp_path: Path, how: dict[str, Any], runtime: str) -> None:
    """Any batch of photos, of any sizes, gives the unit rows that the network's arithmetic says."""
    made(network(tmp_path / "mine.onnx", **how), tmp_path / "e")
    embedder = opened(tmp_path / "e", runtime)
    tolerance = 0.02 if how.get("kind") == HALF else 1e-4
    assert np.abs(embedder(IMAGES) - expected_rows(embedder)).max() < tolerance
    assert np.abs(embedder(IMAGES[3:4]) - expected_rows(embedder)[3:4]).max() < tolerance
    assert (embedder.name, embedder.dim, embedder(IMAGES).dtype) == ("mine", 8, np.float32)


def test_the_summary_says_what_was_assumed_and_found(tmp_path: Path) -> None:
    summary = made(network(tmp_path / "mine.onnx", patch=14, unit=False), tmp_path / "e")
    assert summary["size"] == 322
    assert summary["multiple"] == 14
    assert summary["mean"] == [0.485, 0.456, 0.406]
    assert summary["licence"] == "unknown (the file does not say)"
    assert summary["found out"] == {
        "size": "322 pixels were assumed; another one with --size",
        "mean and std": "ImageNet's where not given; others with --mean and --std",
        "multiple": "14: it refuses other sides",
        "rows": "normalised to unit length by us",
    }
    summary = made(network(tmp_path / "fixed.onnx", shape=(4, 3, 96, 128)), tmp_path / "f")
    assert (summary["size"], summary["sides"], summary["fit"]) == (128, [96, 128], "squash")
    assert "96 × 128, the only ones it takes" in summary["found out"]["sides"]
    assert summary["found out"]["batch"] == "4, the only one it takes"


def test_a_network_that_takes_one_square_is_given_squares(tmp_path: Path) -> None:
    """Its axes are declared as free, but it adds 224 × 224 positions."""
    path = network(tmp_path / "mine.onnx")
    model = onnx.load(path)
    positions = np.zeros((1, 1, 224, 224), np.float32)
    model.graph.initializer.append(numpy_helper.from_array(positions, "positions"))
    for node in model.graph.node:
        node.input[:] = ["moved" if name == "pixels" else name for name in node.input]
    model.graph.node.insert(0, helper.make_node("Add", ["pixels", "positions"], ["moved"]))
    onnx.save(model, path)
    with pytest.raises(ModelError, match=r"nor does it take squares of 322; .* with --size"):
        made(path, tmp_path / "e")
    summary = made(path, tmp_path / "e", size=224)
    assert summary["found out"]["fit"] == "squash, because it takes squares only"
    assert np.abs(opened(tmp_path / "e")(IMAGES) - expected_rows(opened(tmp_path / "e"))).max() < (
        1e-4
    )


def test_a_network_whose_photos_change_each_other_runs_photo_by_photo(tmp_path: Path) -> None:
    """It subtracts half the mean of the batch, as a BatchNorm in training mode does."""
    path = network(tmp_path / "mine.onnx")
    model = onnx.load(path)
    for node in model.graph.node:
        node.input[:] = ["moved" if name == "flat" else name for name in node.input]
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "half"))
    linear = next(i for i, node in enumerate(model.graph.node) if node.op_type == "MatMul")
    for node in (
        helper.make_node("Sub", ["flat", "part"], ["moved"]),
        helper.make_node("Mul", ["batch mean", "half"], ["part"]),
        helper.make_node("ReduceMean", ["flat"], ["batch mean"], axes=[0], keepdims=1),
    ):
        model.graph.node.insert(linear, node)
    onnx.save(model, path)
    summary = made(path, tmp_path / "e")
    assert "photos of one batch change each other's rows" in summary["found out"]["batch"]
    embedder = opened(tmp_path / "e")
    assert np.array_equal(embedder(IMAGES)[2:3], embedder(IMAGES[2:3]))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, path)
    with pytest.raises(ModelError, match="depends on the other photos of its batch of 4"):
        made(path, tmp_path / "f")


def test_several_outputs_need_a_choice(tmp_path: Path) -> None:
    path = network(tmp_path / "mine.onnx", extra=("other", "map"))
    with pytest.raises(OptionError, match=r"choose one with --output: unit \(8\), flat \(6\)"):
        made(path, tmp_path / "e")
    assert made(path, tmp_path / "e", output="flat")["dimensions"] == 6
    assert opened(tmp_path / "e")(IMAGES).shape == (6, 6)
    with pytest.raises(OptionError, match=r"--output 'map' is not one row .* map \(n, 3, h, w\)"):
        made(path, tmp_path / "e", output="map")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"shape": ("n", "h", "w", 3)}, r"channels last; .*permute\(0, 2, 3, 1\)"),
        ({"shape": ("n", 3, "w")}, r"expected one input, \(N, 3, H, W\)"),
        ({"extra": ("text",)}, r"tokens .* of tensor\(int64\); export the image part"),
        ({"shape": (128, 3, 32, 32)}, "takes 128 photos in every pass; expected at most 64"),
        ({"scale": 0.0}, "has NaN or infinite numbers|is the same for every photo"),
        ({"scale": 0.0, "unit": False}, "is the same for every photo"),
        ({"scale": np.nan}, "has NaN or infinite numbers"),
        ({"shape": ("n", 3, 8, 8)}, "size 8 given; expected a whole number, 16 to 4,096"),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_refused(tmp_path: Path, how: dict[str, Any], message: str) -> None:
    path = network(tmp_path / "mine.onnx", **how)
    with pytest.raises(WhichLandmarkError, match=message):
        made(path, tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_options_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    fixed = network(tmp_path / "fixed.onnx", shape=("n", 3, 96, 128))
    for options in ({"size": 322}, {"multiple": 14}, {"scales": (1.0, 1.4)}):
        with pytest.raises(OptionError, match="takes photos of 96 × 128 pixels only; leave out --"):
            made(fixed, tmp_path / "e", **options)
    with pytest.raises(OptionError, match=r"--checkpoint given with onnx:FILE"):
        made(fixed, tmp_path / "e", checkpoint="w.pth")
    free = network(tmp_path / "free.onnx", patch=14)
    with pytest.raises(OptionError, match=r"multiples of 14: give --multiple 14"):
        made(free, tmp_path / "e", multiple=16)
    with pytest.raises(OptionError, match="make an embedder folder of it first"):
        load_embedder(f"onnx:{free}")
    made(fixed, tmp_path / "e")
    for options in ({"device": "cuda"}, {"runtime": "torch"}):
        with pytest.raises(OptionError, match="runs on the CPU in onnxruntime or openvino"):
            load_embedder(tmp_path / "e", **options)


def test_files_that_hold_no_network_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, message: str) -> None:
        with pytest.raises(ModelError, match=message) as caught:
            made(path, tmp_path / "e")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "e").exists()

    path = network(tmp_path / "mine.onnx")
    whole = path.read_bytes()
    refused(tmp_path / "none.onnx", "no such file")
    refused(tmp_path, "is a folder")
    for damaged in (b"", b"no network", b"\x89PNG\r\n\x1a\n", bytes(2000), whole[:-40]):
        path.write_bytes(damaged)
        refused(path, "is empty|is no ONNX network, or is cut off")
    for cut in range(1, len(whole), 7):  # no cut ends in another kind of error
        path.write_bytes(whole[:cut])
        refused(path, r"mine\.onnx")
    path.write_bytes(whole)
    monkeypatch.setattr(foreign_onnx, "MAX_BYTES", 100)
    refused(path, "expected at most 0 GB")
    with open(path, "r+b") as file:
        file.truncate(2**31)
    refused(path, r"has 2\.1 GB, but an ONNX file has at most 2\.1 GB")


def test_custom_operators_are_named_and_never_loaded(tmp_path: Path) -> None:
    path = network(tmp_path / "mine.onnx")
    model = onnx.load(path)
    model.graph.node[0].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    onnx.save(model, path)
    with pytest.raises(ModelError, match="libraries of custom operators are never loaded"):
        made(path, tmp_path / "e")


def with_external_data(path: Path, location: str, *, beside: bool = True) -> Path:
    model = onnx.load(network(path))
    tensor = model.graph.initializer[0]
    if beside:
        (path.parent / location).parent.mkdir(parents=True, exist_ok=True)
        (path.parent / location).write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_weights_in_a_second_file_come_along(tmp_path: Path, runtime: str) -> None:
    path = with_external_data(tmp_path / "from" / "mine.onnx", "parts/mine.onnx.data")
    made(path, tmp_path / "e")
    assert external_files(tmp_path / "e" / "model.onnx") == ["parts/mine.onnx.data"]
    embedder = opened(tmp_path / "e", runtime)
    assert np.abs(embedder(IMAGES) - expected_rows(embedder)).max() < 1e-4
    embedder.save(tmp_path / "copy")
    assert np.array_equal(opened(tmp_path / "copy", runtime)(IMAGES), embedder(IMAGES))
    data = tmp_path / "copy" / "parts" / "mine.onnx.data"
    data.write_bytes(data.read_bytes()[::-1])
    with pytest.raises(ModelError, match=r"mine\.onnx\.data: damaged"):
        load_embedder(tmp_path / "copy")


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "a/../../secret", "C:\\x", ""])
def test_weights_outside_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret").write_bytes(WEIGHTS.tobytes())
    path = with_external_data(tmp_path / "from" / "mine.onnx", location, beside=False)
    with pytest.raises(ModelError, match="outside its own folder: refused"):
        made(path, tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_weights_behind_a_link_or_missing_are_refused(tmp_path: Path) -> None:
    path = with_external_data(tmp_path / "from" / "mine.onnx", "data")
    (tmp_path / "from" / "data").unlink()
    with pytest.raises(ModelError, match="which is not beside it; get that file too"):
        made(path, tmp_path / "e")
    (tmp_path / "secret").write_bytes(WEIGHTS.tobytes())
    (tmp_path / "from" / "data").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelError, match="outside its own folder: refused"):
        made(path, tmp_path / "e")
    with_external_data(tmp_path / "from" / "mine.onnx", "embedder.json")
    with pytest.raises(ModelError, match="a name of our own files"):
        made(path, tmp_path / "e")


def test_a_folder_from_others_cannot_reach_outside_itself(tmp_path: Path) -> None:
    """Its record has right hashes, so only the paths are wrong."""
    (tmp_path / "secret").write_bytes(WEIGHTS.tobytes())
    made(network(tmp_path / "mine.onnx"), tmp_path / "e")
    record = read_record(tmp_path / "e")
    with_external_data(tmp_path / "e" / "model.onnx", "../secret", beside=False)
    write_record(tmp_path / "e", record, ["model.onnx"])
    with pytest.raises(ModelError, match="outside its own folder: refused"):
        load_embedder(tmp_path / "e")
    with_external_data(tmp_path / "e" / "model.onnx", "data")
    write_record(tmp_path / "e", record, ["model.onnx"])
    with pytest.raises(ModelError, match=r"belongs to the network, but embedder\.json does not"):
        load_embedder(tmp_path / "e")
    network(tmp_path / "e" / "model.onnx")
    write_record(tmp_path / "e", record, ["model.onnx", "../secret"])
    with pytest.raises(ModelError, match=r"names a file outside the folder, '\.\./secret'"):
        opened(tmp_path / "e").save(tmp_path / "copy")


def test_the_id_follows_network_and_preprocessing(tmp_path: Path) -> None:
    path = network(tmp_path / "mine.onnx")
    first = made(path, tmp_path / "1")["embedder"]
    assert first.startswith("mine-")
    assert made(path, tmp_path / "2", licence="MIT")["embedder"] == first
    assert made(path, tmp_path / "3", size=256)["embedder"] != first
    assert made(path, tmp_path / "4", mean=(0.5, 0.5, 0.5))["embedder"] != first
    assert made(network(path, unit=False), tmp_path / "5")["embedder"] != first
    assert make_embedder(str(tmp_path / "1"), PretrainedOptions(), tmp_path / "6")["embedder"] == (
        first
    )


def test_the_licence_is_recorded_and_a_non_commercial_one_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = network(tmp_path / "mine.onnx")
    model = onnx.load(path)
    helper.set_model_props(model, {"license": "cc-by-nc-4.0"})
    onnx.save(model, path)
    with caplog.at_level(logging.WARNING):
        assert made(path, tmp_path / "e")["licence"] == "cc-by-nc-4.0"
    assert caplog.text.count("cc-by-nc-4.0, forbids commercial use") == 1
    caplog.clear()
    assert made(path, tmp_path / "e", licence="MIT, bought")["licence"] == "MIT, bought"
    assert caplog.text == ""
    assert opened(tmp_path / "e").licence == "MIT, bought"


def test_doctor_measures_it_and_leaves_out_a_runtime_that_cannot_run_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made(network(tmp_path / "mine.onnx", shape=(2, 3, 64, 96), unit=False), tmp_path / "e")
    report = doctor.measure_runtimes(tmp_path / "e", rounds=1)
    assert set(report["runtimes"]) == {"onnxruntime", "openvino"}
    assert report["pixels"] == "64×96"

    def fail(path: Path, *, callers: int = 1, output: str | None = None) -> object:
        raise ModelError("no such operator")

    monkeypatch.setattr(runtimes, "open_openvino", fail)
    assert set(doctor.measure_runtimes(tmp_path / "e", rounds=1)["runtimes"]) == {"onnxruntime"}
    assert "openvino is not measured, because it cannot run this network" in caplog.text
    monkeypatch.setattr(
        runtimes,
        "open_openvino",
        lambda path, callers=1, output=None: lambda pixels: -np.ones((len(pixels), 8), np.float32),
    )
    assert set(doctor.measure_runtimes(tmp_path / "e", rounds=1)["runtimes"]) == {"onnxruntime"}
    assert "openvino is not measured: its rows differ by" in caplog.text


def test_photos_that_break_the_network_are_one_clear_error(tmp_path: Path) -> None:
    """The square root of a negative mean is NaN; the drawn pictures that are tried have none."""
    path = network(tmp_path / "mine.onnx", unit=False)
    model = onnx.load(path)
    model.graph.node.append(helper.make_node("Sqrt", ["rows"], ["root"]))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("root", FLOAT, ["n", 8]))
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.abs(WEIGHTS), "weights"))
    onnx.save(model, path)
    made(path, tmp_path / "e", mean=(0.0, 0.0, 0.0))
    record = read_record(tmp_path / "e")
    record["preprocessing"]["mean"] = [1.0, 1.0, 1.0]
    write_record(tmp_path / "e", record, ["model.onnx"])
    with pytest.raises(ModelError, match="mine: gives NaN or infinite numbers for a photo"):
        opened(tmp_path / "e")(IMAGES)


@pytest.mark.slow
def test_it_converts_to_int8(tmp_path: Path, colour_world: Path) -> None:
    from whichlandmark.training.quantize import make_int8

    path = network(tmp_path / "mine.onnx", shape=(2, 3, 64, 96), unit=False)
    model = onnx.load(path)
    kernel = np.random.default_rng(1).normal(size=(3, 3, 3, 3)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(kernel, "kernel"))
    model.graph.node[0].input[0] = model.graph.node[1].input[0] = "felt"
    model.graph.node.insert(0, helper.make_node("Conv", ["pixels", "kernel"], ["felt"]))
    onnx.save(model, path, save_as_external_data=True, location="mine.data", size_threshold=0)
    photos = photos_of(colour_world / "gallery")
    result = make_int8(
        f"onnx:{path}", PretrainedOptions(), tmp_path / "int8", photos, max_gap_loss=0.5,
        progress=lambda name: lambda done, total: None,
    )  # fmt: skip
    made(path, tmp_path / "float")
    assert result.counts["file"] == "model.int8.onnx"
    first, second = opened(tmp_path / "float"), opened(tmp_path / "int8")
    assert second.id.startswith(f"{first.id}-int8-")
    assert (first(IMAGES) * second(IMAGES)).sum(axis=1).min() > 0.9
    made(network(path, kind=HALF), tmp_path / "half")
    with pytest.raises(ModelError, match="a float16 network; int8 is made of a float32 one"):
        make_int8(
            str(tmp_path / "half"), PretrainedOptions(), tmp_path / "no", photos, max_gap_loss=0.5,
            progress=lambda name: lambda done, total: None,
        )  # fmt: skip
