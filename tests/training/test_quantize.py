"""Int8 conversion: per channel, sensitive layers float, loss limited; the doctor command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.cli.test_commands import json_of, run
from tests.support.photos import photos_of, picture, write_photo
from whichlandmark.core import hardware
from whichlandmark.core.errors import DataError, ModelError, OptionError
from whichlandmark.core.images import read_image
from whichlandmark.core.types import Photos, Vectors
from whichlandmark.features.embedders import doctor, runtimes, torch_embedder
from whichlandmark.features.embedders.doctor import RuntimeSpeed
from whichlandmark.features.embedders.load import (
    PretrainedOptions,
    load_embedder,
    load_onnx,
    load_torch,
    make_embedder,
)
from whichlandmark.features.embedders.onnx_embedder import OnnxEmbedder
from whichlandmark.features.embedders.record import INT8_FILE, read_record
from whichlandmark.features.embedders.torch_embedder import TorchEmbedder
from whichlandmark.features.embedders.torch_network import Architecture, EmbeddingNet, new_network
from whichlandmark.features.preprocessing import Network, Preprocessing
from whichlandmark.training import quantize as quantize_module
from whichlandmark.training.int8 import Quantizer
from whichlandmark.training.quantize import QuantizeResult, quantize


def no_progress(name: str) -> object:
    return lambda *numbers: None


@pytest.fixture(scope="module")
def float_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("float")
    net = new_network(Architecture(backbone="test_resnet", dim=None))
    TorchEmbedder(net, Preprocessing(size=64), device="cpu").save(folder)
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    """Four landmarks of five photos, and three photos without a landmark."""
    at = tmp_path_factory.mktemp("world")
    rows = [(code, i) for code in range(4) for i in range(5)] + [(90 + i, i) for i in range(3)]
    paths = [write_photo(at / f"{c}-{i}.jpg", picture(c, i, (48 + 16 * (i % 2), 64)))
             for c, i in rows]  # fmt: skip
    marks = [f"place {code}" if code < 90 else "" for code, _ in rows]
    return Photos.of_columns([p.stem for p in paths], list(map(str, paths)), marks)


@pytest.fixture(scope="module")
def int8(
    float_folder: Path, world: Photos, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, QuantizeResult]:
    out = tmp_path_factory.mktemp("int8") / "e"
    return out, quantize(float_folder, out, world, max_gap_loss=0.2, progress=no_progress)


def gap_by_hand(vectors: Vectors, marks: Sequence[str]) -> float:
    """Every photo is a query against all others; precision at each right answer, by cosine."""
    answers = []
    for i, row in enumerate(vectors):
        others = [(float(row @ other), marks[j]) for j, other in enumerate(vectors) if j != i]
        score, answer = max(others)
        if answer:
            answers.append((score, answer == marks[i]))
    answers.sort(reverse=True)
    right, total = 0, 0.0
    for rank, (_, hit) in enumerate(answers, 1):
        right += hit
        total += hit * right / rank
    return total / sum(mark != "" for mark in marks)


def test_reported_numbers_match_the_written_model(
    float_folder: Path, world: Photos, int8: tuple[Path, QuantizeResult]
) -> None:
    out, result = int8
    assert result.failures == []
    size = Preprocessing(size=64).short_side
    images = [read_image(Path(path), short_side=size) for path in world.paths]
    exact = load_onnx(float_folder)(images)
    for runtime in ("onnxruntime", "openvino"):
        rows = load_onnx(out, runtime=runtime)(images)
        cosines = [float(a @ b) for a, b in zip(rows, exact, strict=True)]
        assert np.mean(cosines) > 0.98
        assert result.counts["cosine to float, mean"][runtime] == pytest.approx(
            np.mean(cosines), abs=1e-4
        )
        expected = gap_by_hand(rows, world.landmarks.tolist())
        assert result.counts["gap"][runtime] == pytest.approx(expected, abs=1e-6)
    assert result.counts["gap"]["float"] == pytest.approx(
        gap_by_hand(exact, world.landmarks.tolist()), abs=1e-6
    )
    assert result.counts["photos"] == 23


def test_the_int8_folder_has_its_own_id_and_one_small_model(
    float_folder: Path, int8: tuple[Path, QuantizeResult]
) -> None:
    out, _ = int8
    assert sorted(path.name for path in out.iterdir()) == ["embedder.json", INT8_FILE]
    opened = load_embedder(out)
    assert isinstance(opened, OnnxEmbedder)
    assert opened.id.startswith(load_onnx(float_folder).id + "-int8-")
    assert read_record(out)["precision"] == "int8"
    smaller = (out / INT8_FILE).stat().st_size / (float_folder / "model.onnx").stat().st_size
    assert smaller < 0.4
    with pytest.raises(OptionError, match="an int8 embedder runs on the CPU"):
        load_embedder(out, device="cuda")
    with pytest.raises(ModelError, match="int8 already"):
        quantize(out, out.parent / "again", Photos.of([]), progress=no_progress)


def test_every_channel_has_its_own_scale(
    float_folder: Path, int8: tuple[Path, QuantizeResult]
) -> None:
    """The weights of the first int8 convolution are its float weights, scaled per channel."""
    graph = onnx.load(int8[0] / INT8_FILE).graph
    exact = onnx.load(float_folder / "model.onnx").graph
    stored = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    weights = {one.name: numpy_helper.to_array(one) for one in exact.initializer}
    made_by = {node.output[0]: node for node in graph.node}
    conv = next(
        node for node in graph.node
        if node.op_type == "Conv" and made_by[node.input[1]].op_type == "DequantizeLinear"
    )  # fmt: skip
    unpacked = made_by[conv.input[1]]
    bytes_, scales = stored[unpacked.input[0]], stored[unpacked.input[1]]
    original = next(w for name, w in weights.items() if unpacked.input[0].startswith(name))
    assert bytes_.dtype == np.int8
    assert scales.shape == (original.shape[0],)
    largest = np.abs(original).reshape(len(original), -1).max(axis=1)
    bits = 127 if read_record(int8[0])["bits_of_weights"] == 8 else 64
    assert scales == pytest.approx(largest / bits, rel=0.02)
    again = bytes_ * scales[:, None, None, None]
    assert np.abs(again - original).max() <= scales.max() * 0.51
    seen = made_by[conv.input[0]]
    assert stored[seen.input[2]].dtype == np.uint8  # activations are unsigned


def test_int8_that_loses_too_much_is_refused(
    float_folder: Path, world: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def noise(embedder: OnnxEmbedder, path: Path) -> dict[str, Network]:
        rng = np.random.default_rng(0)
        return {"onnxruntime": lambda pixels: _unit(rng.standard_normal((len(pixels), 96)))}

    monkeypatch.setattr(Quantizer, "sensitive_layers", lambda self, error, progress: [])
    monkeypatch.setattr(quantize_module, "_open_runtimes", noise)
    out = tmp_path / "refused"
    with pytest.raises(ModelError, match=r"loses 0\.\d+ GAP .* more than 0\.01: nothing was"):
        quantize(float_folder, out, world, progress=no_progress)
    assert not out.exists()


def _unit(rows: np.ndarray) -> Vectors:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture
def quantizer(float_folder: Path, tmp_path: Path) -> Quantizer:
    rng = np.random.default_rng(0)
    batches = [rng.standard_normal((1, 3, 64, 64), dtype=np.float32) for _ in range(3)]
    return Quantizer(float_folder / "model.onnx", tmp_path, batches)


def float_layers(path: Path, layers: Sequence[str]) -> set[str]:
    graph = onnx.load(path).graph
    made_by = {node.output[0]: node.op_type for node in graph.node}
    return {
        node.name for node in graph.node
        if node.name in layers and made_by.get(node.input[1]) != "DequantizeLinear"
    }  # fmt: skip


def test_sensitive_layers_stay_float(quantizer: Quantizer) -> None:
    """Two layers cause most of the error; leaving one in float removes its part."""
    harm = {quantizer.layers[2]: 0.3, quantizer.layers[-3]: 0.2, quantizer.layers[0]: 0.001}

    def error(path: Path) -> float:
        float_names = float_layers(path, quantizer.layers)
        return sum(value for layer, value in harm.items() if layer not in float_names)

    assert quantizer.sensitive_layers(error) == [quantizer.layers[2], quantizer.layers[-3]]


def test_float_layers_that_do_worse_together_are_not_combined(quantizer: Quantizer) -> None:
    """If two float layers are worse than one, only the better one stays float."""

    def error(path: Path) -> float:
        float_names = float_layers(path, quantizer.layers)
        if len(float_names) > 1:
            return 0.9
        return (
            0.5
            - 0.2 * (quantizer.layers[1] in float_names)
            - 0.1 * (quantizer.layers[4] in float_names)
        )

    assert quantizer.sensitive_layers(error) == [quantizer.layers[1]]


def test_without_vnni_weights_use_seven_bits(
    quantizer: Quantizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older processors add products of bytes in 16 bits, which can saturate."""
    monkeypatch.setattr(hardware, "cpu_features", lambda: ["avx2"])
    quantizer.write(tmp_path / "q.onnx")
    stored = [
        numpy_helper.to_array(one) for one in onnx.load(tmp_path / "q.onnx").graph.initializer
    ]
    bytes_ = [one for one in stored if one.dtype == np.int8 and one.ndim == 4]
    assert max(np.abs(one.astype(int)).max() for one in bytes_) <= 64


def test_a_saturating_processor_gives_a_warning(
    int8: tuple[Path, QuantizeResult], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(hardware, "cpu_features", lambda: ["avx512_vnni"])
    load_embedder(int8[0])
    assert caplog.text == ""
    monkeypatch.setattr(hardware, "cpu_features", lambda: ["avx2"])
    load_embedder(int8[0])
    expected = read_record(int8[0])["bits_of_weights"] == 8
    assert ("make the int8 embedder on this machine" in caplog.text) == expected


def test_an_empty_model_cannot_be_quantized(tmp_path: Path) -> None:
    value = onnx.helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, ["n", 3, "h", "w"])
    out = onnx.helper.make_tensor_value_info("rows", onnx.TensorProto.FLOAT, None)
    node = onnx.helper.make_node("Relu", ["pixels"], ["rows"])
    graph = onnx.helper.make_graph([node], "g", [value], [out])
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10
    )
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="holds no layer"):
        Quantizer(tmp_path / "m.onnx", tmp_path, [])


def test_a_transformer_is_quantized_by_its_linear_layers(tmp_path: Path) -> None:
    """Products of two activations, sums and softmax stay float."""
    net = new_network(
        Architecture(
            backbone="test_vit", options={"dynamic_img_size": True}, dim=None, pool="model"
        )
    )
    preprocessing = Preprocessing(size=96, multiple=16, fit="pad", strict=True)
    TorchEmbedder(net, preprocessing, device="cpu").save(tmp_path / "e")
    made = load_onnx(tmp_path / "e", runtime="onnxruntime")
    images = [picture(code, 1, (48, 64)) for code in range(6)]
    batches = [batch for image in images for batch in made.input_pipeline.batches([image])]
    quantizer = Quantizer(made.path, tmp_path, batches)
    # The convolution of the patches, and four layers in each of its six blocks.
    assert len(quantizer.layers) == 1 + 4 * 6
    assert len(quantizer.always_float) == 2 * 6
    quantizer.write(tmp_path / INT8_FILE)
    nodes = onnx.load(tmp_path / INT8_FILE).graph.node
    of_weights = [node for node in nodes if node.op_type in ("MatMul", "Gemm", "Conv")]
    quantized = [node for node in of_weights if "DequantizeLinear" in node.input[1]]
    assert len(quantized) == len(quantizer.layers)
    network = runtimes.open_onnx(tmp_path / INT8_FILE)
    rows = made.input_pipeline(images, network, made.dim)
    assert np.sum(rows * made(images), axis=1).mean() >= 0.98


def test_a_network_without_onnx_file_cannot_become_int8(
    world: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = new_network(Architecture(backbone="test_resnet", dim=None))
    TorchEmbedder(net, Preprocessing(size=64), device="cpu").save(tmp_path / "e", export=False)

    def export(net: EmbeddingNet, path: Path, **_: object) -> None:
        raise ModelError("cannot be written as ONNX")

    monkeypatch.setattr(torch_embedder, "export_onnx", export)
    with pytest.raises(ModelError, match="keep the float embedder, which runs with torch"):
        quantize_module.make_int8(
            str(tmp_path / "e"), PretrainedOptions(), tmp_path / "e8", world, max_gap_loss=1,
            progress=no_progress,
        )  # fmt: skip


def test_unusable_calibration_photos_and_options_are_refused(
    float_folder: Path, world: Photos, tmp_path: Path
) -> None:
    singles = world.take([0, 5, 10, 22])
    with pytest.raises(DataError, match="none with two photos"):
        quantize(float_folder, tmp_path / "out", singles, progress=no_progress)
    both = Photos.of_columns(singles.ids[:2], singles.paths[:2], ["a|b", "a|b"])
    with pytest.raises(DataError, match="0 photos of 0 landmarks given, none with two photos"):
        quantize(float_folder, tmp_path / "out", both, progress=no_progress)
    with pytest.raises(OptionError, match="expected 0 to 1"):
        quantize(float_folder, tmp_path / "out", world, max_gap_loss=-0.1, progress=no_progress)
    with pytest.raises(OptionError, match="choose another folder"):
        quantize(float_folder, float_folder, world, progress=no_progress)
    broken = Photos.of_columns(["a", "b"], [str(tmp_path / "a"), str(tmp_path / "b")], ["x", "x"])
    with pytest.raises(DataError, match="none of the 2 photos could be read"):
        quantize(float_folder, tmp_path / "out", broken, progress=no_progress)


def test_the_fastest_runtime_is_chosen_only_when_clearly_faster() -> None:
    ort, slow = RuntimeSpeed(0.1, 100, 100), RuntimeSpeed(0.1, 20, 30)
    assert doctor.fastest({"onnxruntime": ort, "torch": slow}) == "onnxruntime"
    assert (
        doctor.fastest({"onnxruntime": ort, "openvino": RuntimeSpeed(0.5, 103, 104)})
        == "onnxruntime"
    )
    assert (
        doctor.fastest({"onnxruntime": ort, "openvino": RuntimeSpeed(0.5, 120, 110)}) == "openvino"
    )
    assert (
        doctor.fastest({"onnxruntime": ort, "openvino": RuntimeSpeed(0.5, 300, 60)})
        == "onnxruntime"
    )


def test_doctor_counts_the_photos_that_make_up_for_opening() -> None:
    default = RuntimeSpeed(0.1, 50, 100)  # 20 ms a photo alone, 10 ms in a batch

    def chosen(other: RuntimeSpeed) -> tuple[str, int]:
        found = doctor.choice_of({"onnxruntime": default, "openvino": other})
        return found.runtime, found.from_photos

    assert chosen(RuntimeSpeed(0.5, 100, 200)) == ("openvino", 40)  # 0.4 s for 10 ms
    assert chosen(RuntimeSpeed(0.5, 45, 1000)) == ("openvino", 45)  # gains in batches only: 9 ms
    assert chosen(RuntimeSpeed(0.5, 50, 100)) == ("onnxruntime", 0)  # not faster
    assert chosen(RuntimeSpeed(0.05, 100, 200)) == ("openvino", 0)  # opens sooner too
    assert chosen(RuntimeSpeed(0.5, 100, 200, cosine=0.99)) == ("openvino", 0)  # rows differ
    assert chosen(RuntimeSpeed(0.5, 100, 200, cosine=float("nan"))) == ("openvino", 0)
    assert chosen(RuntimeSpeed(1e6, 100, 200)) == ("openvino", doctor.MAX_FROM_PHOTOS)


def test_doctor_measures_and_stores_the_choice(
    float_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    slow = {"onnxruntime": RuntimeSpeed(0.1, 10, 10), "openvino": RuntimeSpeed(0.3, 20, 20)}
    monkeypatch.setattr(doctor, "measure", lambda folder, rounds: slow)
    report = json_of(capfd, "doctor", float_folder)
    assert report["used from now on"] == "openvino"
    assert report["runtimes"]["openvino"]["photos/s, one by one"] == 20
    assert report["machine"]["cores"] >= 1
    assert "ceilings" not in report
    embedder = load_onnx(float_folder)
    # Opening it takes 0.2 s longer, and a photo 0.05 s less.
    assert runtimes.runtime_choice(embedder.id) == runtimes.RuntimeChoice("openvino", 4)
    assert report["from so many photos"] == 4
    assert report["for fewer, because it opens sooner"] == "onnxruntime"
    code, out, _ = run(capfd, "doctor", float_folder)
    assert (code, "openvino" in out, "GFLOP/s" in out) == (0, True, False)
    code, _, err = run(capfd, "doctor", tmp_path / "nowhere")
    assert (code, "no embedder in this folder" in err) == (4, True)


def test_every_installed_runtime_is_measured(float_folder: Path) -> None:
    speeds = doctor.measure(float_folder, rounds=1)
    assert list(speeds) == ["onnxruntime", "openvino", "torch"]
    assert all(
        min(s.seconds_to_open, s.photos_per_second, s.batched_photos_per_second) > 0
        for s in speeds.values()
    )


def test_embedder_command_writes_int8(
    float_folder: Path, colour_world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    summary = json_of(capfd, "embedder", float_folder, "-o", tmp_path / "copy")
    assert summary["embedder"] == load_onnx(tmp_path / "copy").id
    (colour_world / "gallery" / "place 0" / "bad.jpg").write_bytes(b"no photo")
    summary = json_of(
        capfd, "embedder", float_folder, "-o", tmp_path / "e8", "--int8", "--calibrate",
        colour_world / "gallery", "--max-gap-loss", 0.5, code=3,
    )  # fmt: skip
    assert summary["photos"] == 24
    assert load_onnx(tmp_path / "e8").id == summary["embedder"]
    for given, message in (
        (["--int8"], "expected both or neither"),
        (["--size", 96], "go with timm:NAME or onnx:FILE only"),
    ):
        code, _, err = run(capfd, "embedder", float_folder, "-o", tmp_path / "no", *given)
        assert (code, message in err) == (2, True)
    assert not (tmp_path / "no").exists()
    assert len(photos_of(colour_world / "gallery")) == 25


def test_a_folder_without_onnx_is_exported_first(
    float_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_torch(float_folder, device="cpu").save(tmp_path / "old", export=False)
    record = json.loads((tmp_path / "old" / "embedder.json").read_text())
    for key in ("files", "sum", "precision"):
        del record[key]
    (tmp_path / "old" / "embedder.json").write_text(json.dumps(record))
    exported: list[EmbeddingNet] = []

    def export(net: EmbeddingNet, path: Path, **_: object) -> None:
        exported.append(net)  # a real export takes seconds; test_onnx_embedder.py tests it
        shutil.copyfile(float_folder / "model.onnx", path)

    monkeypatch.setattr(torch_embedder, "export_onnx", export)
    summary = make_embedder(str(tmp_path / "old"), PretrainedOptions(), tmp_path / "new")
    assert (summary["file"], len(exported)) == ("model.onnx", 1)
    assert load_onnx(tmp_path / "new").id == load_onnx(float_folder).id
